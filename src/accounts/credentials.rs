//! What an account proves itself with: SCRAM keys (RFC 5802 section 3, RFC 7677; SHA-512 likewise), never a password.
//!
//! Salts are given by the caller. Passwords are prepared with the mapping, normalisation and prohibitions of
//! `SASLprep` (RFC 4013) on current Unicode tables; its bidirectional and unassigned-code-point checks are left
//! out, so that no password of a newer script is refused. Nothing here prints or logs a secret.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

/// The longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// The hash function of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScramHash {
    Sha1,
    Sha256,
    Sha512,
}

impl ScramHash {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Sha512, Self::Sha256, Self::Sha1];

    /// Those for which every account has keys, however old it is.
    pub const OLD: &'static [Self] = &[Self::Sha256, Self::Sha1];

    /// The size of its output.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Never: every hash has an output.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// `H(data)` of RFC 5802 §2.2.
    #[must_use]
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// `HMAC(key, data)` of RFC 5802 §2.2.
    #[must_use]
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    /// `Hi(password, salt, iterations)` of RFC 5802 §2.2: slow on purpose.
    #[must_use]
    pub fn salted(self, password: &Password, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut out = vec![0; self.len()];
        pbkdf2::derive(algorithm, iterations, salt, password.0.as_bytes(), &mut out);
        out
    }
}

/// Why a text is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    Empty,
    TooLong,
    /// A control character or another one that `SASLprep` prohibits.
    Character,
}

impl std::fmt::Display for PasswordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the password is empty",
            Self::TooLong => "the password is longer than 1024 bytes",
            Self::Character => "the password has a control character or another one that cannot be typed reliably",
        })
    }
}

impl std::error::Error for PasswordError {}

/// A prepared password on its way to becoming keys, or to being compared with them.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Prepares a password (RFC 4013 §2).
    ///
    /// # Errors
    /// [`PasswordError`] if it is empty, too long or has a prohibited character.
    pub fn prepare(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD {
            return Err(PasswordError::TooLong);
        }
        let mapped: String = text
            .chars()
            .map(|character| if is_foreign_space(character) { ' ' } else { character })
            .filter(|character| !is_mapped_to_nothing(*character))
            .collect();
        let prepared = ComposingNormalizerBorrowed::new_nfkc().normalize(&mapped).into_owned();
        if prepared.is_empty() {
            return Err(PasswordError::Empty);
        }
        if prepared.chars().any(is_prohibited) {
            return Err(PasswordError::Character);
        }
        Ok(Self(prepared))
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// RFC 3454 table C.1.2.
const fn is_foreign_space(character: char) -> bool {
    matches!(character, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// RFC 3454 table B.1.
const fn is_mapped_to_nothing(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200c}' | '\u{200d}' | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// RFC 3454 tables C.2.1 to C.9, as RFC 4013 §2.3 lists them.
fn is_prohibited(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{340}' | '\u{341}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2061}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{2ff0}'..='\u{2ffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff9}'..='\u{fffd}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}')
        || (character as u32) & 0xfffe == 0xfffe
}

/// How often the password is hashed (RFC 5802 §5.1 `i`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Iterations(NonZeroU32);

impl Iterations {
    /// The least that the RFC lets a server announce.
    pub const MIN: u32 = 4096;
    /// The most that we store: an imported number must not stall a worker for seconds.
    pub const MAX: u32 = 10_000_000;

    /// `count`, if it is neither too low nor absurd.
    #[must_use]
    pub const fn new(count: u32) -> Option<Self> {
        match NonZeroU32::new(count) {
            Some(number) if count >= Self::MIN && count <= Self::MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// As a number.
    #[must_use]
    pub const fn count(self) -> NonZeroU32 {
        self.0
    }
}

impl Default for Iterations {
    fn default() -> Self {
        // More than the RFC asks for: it is what a stolen store costs per guess.
        Self(NonZeroU32::MIN.saturating_add(9_999))
    }
}

impl TryFrom<u32> for Iterations {
    type Error = &'static str;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        Self::new(count).ok_or("the iteration count is not between 4096 and 10000000")
    }
}

impl From<Iterations> for u32 {
    fn from(iterations: Iterations) -> Self {
        iterations.0.get()
    }
}

/// What the server keeps for one hash function (RFC 5802 §3): with it a client can be recognised, but not
/// impersonated elsewhere.
#[derive(Clone, Serialize, Deserialize)]
pub struct ScramKeys {
    #[serde(with = "base64_text")]
    pub salt: Vec<u8>,
    pub iterations: Iterations,
    #[serde(with = "base64_text")]
    pub stored_key: Vec<u8>,
    #[serde(with = "base64_text")]
    pub server_key: Vec<u8>,
}

impl ScramKeys {
    /// The keys of a password.
    #[must_use]
    pub fn derive(hash: ScramHash, password: &Password, salt: &[u8], iterations: Iterations) -> Self {
        let salted = hash.salted(password, salt, iterations.count());
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&hash.hmac(&salted, b"Client Key")),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }

    /// Compares a password in constant time; as slow as [`Self::derive`].
    #[must_use]
    pub fn verify(&self, hash: ScramHash, password: &Password) -> Verdict {
        let derived = Self::derive(hash, password, &self.salt, self.iterations);
        match constant_time::verify_slices_are_equal(&derived.stored_key, &self.stored_key) {
            Ok(()) => Verdict::Right,
            Err(_) => Verdict::Wrong,
        }
    }

    fn fits(&self, hash: ScramHash) -> bool {
        let size = hash.len();
        !self.salt.is_empty()
            && self.salt.len() <= 256
            && self.stored_key.len() == size
            && self.server_key.len() == size
    }
}

/// Prints what is announced to anybody who asks, no key.
impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The salts of new credentials: random octets.
#[derive(Clone, Copy)]
pub struct Salts {
    pub sha1: [u8; 16],
    pub sha256: [u8; 16],
    pub sha512: [u8; 16],
}

/// All that an account is recognised by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Credentials {
    pub sha1: ScramKeys,
    pub sha256: ScramKeys,
    /// Missing in accounts whose password is older than these keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha512: Option<ScramKeys>,
}

/// The serialised form, before its sizes are checked.
#[derive(Deserialize)]
struct Stored {
    sha1: ScramKeys,
    sha256: ScramKeys,
    sha512: Option<ScramKeys>,
}

impl TryFrom<Stored> for Credentials {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let Stored { sha1, sha256, sha512 } = stored;
        let fits = sha1.fits(ScramHash::Sha1) && sha256.fits(ScramHash::Sha256);
        if fits && sha512.as_ref().is_none_or(|keys| keys.fits(ScramHash::Sha512)) {
            Ok(Self { sha1, sha256, sha512 })
        } else {
            Err("a SCRAM key or salt has the wrong size")
        }
    }
}

/// Whether a password is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
}

impl Credentials {
    /// The credentials of a new password; milliseconds of work, so not on a worker thread.
    #[must_use]
    pub fn derive(password: &Password, salts: &Salts, iterations: Iterations) -> Self {
        Self {
            sha1: ScramKeys::derive(ScramHash::Sha1, password, &salts.sha1, iterations),
            sha256: ScramKeys::derive(ScramHash::Sha256, password, &salts.sha256, iterations),
            sha512: Some(ScramKeys::derive(ScramHash::Sha512, password, &salts.sha512, iterations)),
        }
    }

    /// The keys for one hash function, if there are any.
    #[must_use]
    pub fn into_keys(self, hash: ScramHash) -> Option<ScramKeys> {
        match hash {
            ScramHash::Sha1 => Some(self.sha1),
            ScramHash::Sha256 => Some(self.sha256),
            ScramHash::Sha512 => self.sha512,
        }
    }

    /// Compares a password in constant time; as slow as [`ScramKeys::derive`].
    #[must_use]
    pub fn verify(&self, password: &Password) -> Verdict {
        self.sha256.verify(ScramHash::Sha256, password)
    }
}

/// Makes credentials for accounts that do not exist, so that nobody can tell them from those that do
/// (RFC 6120 §6.5.10): the same name always has the same salt.
#[derive(Clone)]
pub struct Decoy {
    /// Shared: the prepared key is most of a kilobyte, and every login has a copy.
    key: Arc<hmac::Key>,
    /// What every decoy seems to be recognised by. Of a key nobody ever learns more than that his proof does not fit it.
    seeming: [u8; 32],
    iterations: Iterations,
}

impl Decoy {
    /// `secret` is random and stays the same across restarts: a salt that changes betrays the decoy. `iterations` is
    /// what new accounts get.
    #[must_use]
    pub fn new(secret: &[u8; 32], iterations: Iterations) -> Self {
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"decoys");
        let key = hmac::Key::new(hmac::HMAC_SHA256, own.as_ref());
        let seeming = octets(&key, b"key", "");
        Self { key: Arc::new(key), seeming, iterations }
    }

    /// The keys that the unknown account `user` seems to have; no password fits them.
    #[must_use]
    pub fn keys(&self, hash: ScramHash, user: &str) -> ScramKeys {
        // These are what they were when there were two hash functions: a salt that changes betrays the decoy.
        let label: &[u8] = if hash == ScramHash::Sha512 { b"more salts" } else { b"salts" };
        // That a salt looks like any other is all that shows.
        let salts = octets(&self.key, label, user);
        let (first, second) = salts.split_at(salts.len() / 2);
        let salt = if hash == ScramHash::Sha256 { second } else { first }.to_vec();
        let key: Vec<u8> = self.seeming.iter().copied().cycle().take(hash.len()).collect();
        ScramKeys { salt, iterations: self.iterations, stored_key: key.clone(), server_key: key }
    }
}

/// 32 octets that only we can foresee.
fn octets(key: &hmac::Key, label: &[u8], user: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    context.update(&[0]);
    context.update(user.as_bytes());
    let mut octets = [0; 32];
    octets.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    octets
}

impl std::fmt::Debug for Decoy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoy(…)")
    }
}

/// Octets at rest: base64.
mod base64_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Engine, STANDARD};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        // The decoder's own message would quote a symbol of the secret.
        STANDARD.decode(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::prepare(text).unwrap()
    }

    fn some() -> Credentials {
        let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
        Credentials::derive(&password("pencil"), &salts, Iterations::new(4096).unwrap())
    }

    #[test]
    fn a_password_is_recognised_after_a_rest_in_the_store() {
        let stored = serde_json::to_string(&some()).unwrap();
        let credentials: Credentials = serde_json::from_str(&stored).unwrap();
        assert_eq!(credentials.verify(&password("pencil")), Verdict::Right);
        assert_eq!(credentials.verify(&password("pencil ")), Verdict::Wrong);
        assert_eq!(credentials.verify(&password("Pencil")), Verdict::Wrong);
        assert!(!stored.contains("pencil"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = some();
        let printed =
            format!("{credentials:?} {:?} {:?}", password("pencil"), Decoy::new(&[7; 32], Iterations::default()));
        assert!(!printed.contains("pencil"), "{printed}");
        assert!(!printed.contains("key"), "{printed}");
        for octets in [&credentials.sha1.stored_key, &credentials.sha256.server_key] {
            let listed = octets.iter().take(3).map(u8::to_string).collect::<Vec<_>>().join(", ");
            assert!(!printed.contains(&listed), "{printed}");
        }
    }

    #[test]
    fn damaged_credentials_are_refused() {
        let good: serde_json::Value = serde_json::to_value(some()).unwrap();
        assert!(serde_json::from_value::<Credentials>(good.clone()).is_ok());
        for (hash, field, value) in [
            ("sha1", "stored_key", serde_json::json!("AAAA")),
            ("sha256", "server_key", serde_json::json!("not base64")),
            ("sha256", "server_key", serde_json::json!("")),
            ("sha256", "salt", serde_json::json!("")),
            ("sha1", "iterations", serde_json::json!(4095)),
            ("sha1", "iterations", serde_json::json!(0)),
            ("sha1", "iterations", serde_json::json!(10_000_001)),
            ("sha512", "stored_key", serde_json::json!("AAAA")),
        ] {
            let mut bad = good.clone();
            bad[hash][field] = value;
            assert!(serde_json::from_value::<Credentials>(bad).is_err(), "{hash} {field}");
        }
        let mut old = good;
        old.as_object_mut().unwrap().remove("sha512");
        let old: Credentials = serde_json::from_value(old).unwrap();
        assert!(old.clone().into_keys(ScramHash::Sha512).is_none());
        assert_eq!(old.verify(&password("pencil")), Verdict::Right);
        assert!(!serde_json::to_string(&old).unwrap().contains("sha512"));
        assert_eq!(u32::from(Iterations::default()), 10_000);
    }

    // Proves: RFC 4013 §3
    #[test]
    fn passwords_are_prepared_as_the_examples_say() {
        for (text, prepared) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("u\u{308}", "\u{fc}"),
            ("\u{1f511}", "\u{1f511}"),
        ] {
            assert_eq!(password(text).0, prepared, "{text:?}");
        }
        for (text, error) in [
            ("", PasswordError::Empty),
            ("\u{ad}", PasswordError::Empty),
            ("a\u{7}", PasswordError::Character),
            ("a\0b", PasswordError::Character),
            ("a\nb", PasswordError::Character),
            ("\u{e000}", PasswordError::Character),
            ("\u{1fffe}", PasswordError::Character),
            ("\u{202e}", PasswordError::Character),
        ] {
            assert_eq!(Password::prepare(text).err(), Some(error), "{text:?}");
        }
        assert_eq!(Password::prepare(&"x".repeat(MAX_PASSWORD + 1)).err(), Some(PasswordError::TooLong));
    }

    #[test]
    fn a_decoy_is_stable_and_tells_nothing() {
        let decoy = |secret: u8| Decoy::new(&[secret; 32], Iterations::default());
        let mut salts = std::collections::BTreeSet::new();
        for hash in ScramHash::ALL {
            let salt = |secret, user| decoy(secret).keys(*hash, user).salt;
            assert_eq!(salt(7, "a@b"), salt(7, "a@b"));
            assert_ne!(salt(7, "a@b"), salt(7, "c@b"));
            assert_ne!(salt(7, "a@b"), salt(8, "a@b"));
            let keys = decoy(7).keys(*hash, "a@b");
            assert!(keys.fits(*hash));
            assert_eq!(keys.salt.len(), some().into_keys(*hash).unwrap().salt.len());
            assert_eq!(keys.verify(*hash, &password("x")), Verdict::Wrong);
            salts.insert(keys.salt);
        }
        assert_eq!(salts.len(), 3);
    }

    /// Whoever saw the salt of a decoy before the server knew a third hash function sees the same one now.
    #[test]
    fn the_salts_of_decoys_are_what_they_were() {
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), b"decoys");
        let salts = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()), b"salts\0a@b");
        let decoy = Decoy::new(&[7; 32], Iterations::default());
        assert_eq!(decoy.keys(ScramHash::Sha1, "a@b").salt, salts.as_ref()[..16]);
        assert_eq!(decoy.keys(ScramHash::Sha256, "a@b").salt, salts.as_ref()[16..]);
    }
}

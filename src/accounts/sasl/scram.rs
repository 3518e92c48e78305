//! SCRAM, server side (RFC 5802; RFC 7677 for SHA-256; SHA-512 likewise).
//!
//! Two values, each valid at one moment: [`ClientFirst`] while the credentials are looked up, [`Challenged`] while
//! the client computes its proof. The server's nonce comes from the caller.

use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::accounts::credentials::{ScramHash, ScramKeys};
use crate::jid::BareJid;

use super::channel_binding::{BindingType, Bindings};
use super::error::{SaslCondition, SaslError};
use super::identity;
use super::mechanism::Variant;

/// The longest message of a client: name and authorization identity at their limits, all of it escaped.
const MAX_MESSAGE: usize = 4096;

/// The longest nonce that a client may send.
const MAX_NONCE: usize = 256;

/// The server's part of the nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Random octets as the printable characters of RFC 5802 §5.1.
    #[must_use]
    pub fn new(random: [u8; 18]) -> Self {
        Self(STANDARD.encode(random))
    }

    #[cfg(test)]
    pub(super) fn literal(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The client-first-message (RFC 5802 §7).
#[derive(Debug, Clone)]
pub struct ClientFirst {
    pub account: BareJid,
    hash: ScramHash,
    gs2_header: String,
    /// The type that the client chose, with this connection's data.
    binding: Vec<u8>,
    /// The message without GS2 header, as it came.
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads the message for an account at `domain`; `bindings` is what was offered on this connection.
    ///
    /// # Errors
    /// `malformed-request`, `invalid-authzid`; `not-authorized` where the channel binding cannot be, or where
    /// nobody can have such a name.
    pub fn parse(
        (hash, variant): (ScramHash, Variant),
        bindings: &Bindings,
        domain: &str,
        message: &[u8],
    ) -> Result<Self, SaslError> {
        let text = text(message)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SaslError::malformed("the GS2 header is incomplete"));
        };
        let binding = choose(flag, variant, bindings)?;
        let authzid = match authzid.strip_prefix("a=") {
            Some(name) => Some(unescape(name)?),
            None if authzid.is_empty() => None,
            None => return Err(SaslError::malformed("the GS2 header has an unknown attribute")),
        };
        let mut attributes = bare.split(',');
        let user = unescape(value(attributes.next(), "n=")?)?;
        let nonce = value(attributes.next(), "r=")?;
        if nonce.is_empty() || nonce.len() > MAX_NONCE || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SaslError::malformed("the nonce is empty, too long or not printable"));
        }
        extensions(attributes)?;
        let account = identity::account(&user, domain)?;
        identity::admit(authzid.as_deref(), &account)?;
        Ok(Self {
            account,
            hash,
            gs2_header: text.strip_suffix(bare).unwrap_or_default().to_owned(),
            binding: binding.map(<[u8]>::to_vec).unwrap_or_default(),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// The hash function of its mechanism.
    #[must_use]
    pub const fn hash(&self) -> ScramHash {
        self.hash
    }

    /// As if its channel binding had this data.
    #[cfg(test)]
    pub(super) fn bound_to(mut self, data: &[u8]) -> Self {
        self.binding = data.to_vec();
        self
    }

    /// The server-first-message, and what waits for its answer. `keys` are those for [`Self::hash`]; `optional` are further
    /// attributes, a comma in front of each.
    #[must_use]
    pub fn challenge(self, keys: &ScramKeys, nonce: &Nonce, optional: &str) -> (String, Challenged) {
        let nonce = self.nonce + &nonce.0;
        let salt = STANDARD.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}{optional}", keys.iterations.count());
        let mut bound = self.gs2_header.into_bytes();
        bound.extend_from_slice(&self.binding);
        let challenged = Challenged {
            hash: self.hash,
            bound,
            nonce,
            transcript: format!("{},{challenge}", self.bare),
            stored_key: keys.stored_key.clone(),
            server_key: keys.server_key.clone(),
        };
        (challenge, challenged)
    }
}

/// A client that has got the challenge.
#[derive(Clone)]
pub struct Challenged {
    hash: ScramHash,
    /// What the `c` attribute must hold: GS2 header and channel binding data.
    bound: Vec<u8>,
    nonce: String,
    /// The beginning of `AuthMessage`.
    transcript: String,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Challenged {
    /// Checks the client-final-message; the result is the server-final-message.
    ///
    /// # Errors
    /// `malformed-request`, or `not-authorized` for a wrong nonce, channel binding or proof.
    pub fn finish(self, message: &[u8]) -> Result<String, SaslError> {
        let text = text(message)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or_else(|| SaslError::malformed("the proof is missing"))?;
        let mut attributes = without_proof.split(',');
        let bound = decode(value(attributes.next(), "c=")?)?;
        let nonce = value(attributes.next(), "r=")?;
        extensions(attributes)?;
        let proof = decode(proof)?;
        if proof.len() != self.hash.len() {
            return Err(SaslError::malformed("the proof has the wrong size"));
        }
        if nonce != self.nonce {
            return Err(SaslError::new(SaslCondition::NotAuthorized, "the nonce is not the one of the challenge"));
        }
        if constant_time::verify_slices_are_equal(&bound, &self.bound).is_err() {
            return Err(SaslError::new(SaslCondition::NotAuthorized, "the channel binding does not match"));
        }
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = self.hash.hmac(&self.stored_key, transcript.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(proof, mask)| proof ^ mask).collect();
        if constant_time::verify_slices_are_equal(&self.hash.digest(&client_key), &self.stored_key).is_err() {
            return Err(SaslCondition::NotAuthorized.into());
        }
        Ok(format!("v={}", STANDARD.encode(self.hash.hmac(&self.server_key, transcript.as_bytes()))))
    }
}

/// Prints no key.
impl std::fmt::Debug for Challenged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenged").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The channel binding data that a GS2 flag asks for (RFC 5802 §6).
fn choose<'b>(flag: &str, variant: Variant, bindings: &'b Bindings) -> Result<Option<&'b [u8]>, SaslError> {
    let refused = |text| Err(SaslError::new(SaslCondition::NotAuthorized, text));
    match (flag, variant) {
        ("n", Variant::Bare) => Ok(None),
        // The client believes that no -PLUS was offered: somebody has taken it off the list.
        ("y", Variant::Bare) if !bindings.is_empty() => refused("this server does offer channel binding"),
        ("y", Variant::Bare) => Ok(None),
        ("n" | "y", Variant::Plus) => Err(SaslError::malformed("this mechanism needs a channel binding")),
        (flag, variant) => match (flag.strip_prefix("p="), variant) {
            (None, _) => Err(SaslError::malformed("the channel binding flag is unknown")),
            (Some(_), Variant::Bare) => Err(SaslError::malformed("this mechanism has no channel binding")),
            (Some(name), Variant::Plus) => match BindingType::parse(name).and_then(|kind| bindings.data(kind)) {
                Some(data) => Ok(Some(data)),
                None => refused("this connection cannot do that channel binding type"),
            },
        },
    }
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    if message.len() > MAX_MESSAGE {
        return Err(SaslError::malformed("the message is too long"));
    }
    let text = str::from_utf8(message).map_err(|_| SaslError::malformed("the message is not UTF-8"))?;
    if text.contains('\0') { Err(SaslError::malformed("the message has a NUL")) } else { Ok(text) }
}

/// The value of an attribute that must be the next one.
fn value<'t>(attribute: Option<&'t str>, name: &str) -> Result<&'t str, SaslError> {
    let attribute = attribute.unwrap_or_default();
    attribute.strip_prefix(name).ok_or(if attribute.starts_with("m=") {
        SaslError::malformed("mandatory extensions are not supported")
    } else {
        SaslError::malformed("an attribute is missing or out of order")
    })
}

/// Optional extensions are ignored, but must look like some (RFC 5802 §5.1, §7).
fn extensions<'t>(attributes: impl Iterator<Item = &'t str>) -> Result<(), SaslError> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', ..] => return Err(SaslError::malformed("mandatory extensions are not supported")),
            [b'a' | b'n' | b'r' | b'c' | b's' | b'i' | b'p' | b'v' | b'e', b'=', ..] => {
                return Err(SaslError::malformed("an attribute is out of order"));
            }
            [name, b'=', _, ..] if name.is_ascii_alphabetic() => {}
            _ => return Err(SaslError::malformed("this is no attribute")),
        }
    }
    Ok(())
}

/// A `saslname` (RFC 5802 §5.1 `n`).
fn unescape(name: &str) -> Result<String, SaslError> {
    if name.is_empty() {
        return Err(SaslError::malformed("the name is empty"));
    }
    let mut parts = name.split('=');
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(SaslError::malformed("the name is not escaped")),
        };
        unescaped.push(character);
        unescaped.push_str(rest);
    }
    Ok(unescaped)
}

fn decode(text: &str) -> Result<Vec<u8>, SaslError> {
    STANDARD.decode(text).map_err(|_| SaslError::malformed("an attribute is not base64"))
}

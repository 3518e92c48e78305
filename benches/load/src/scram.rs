//! The client's side of SCRAM-SHA-1 (RFC 5802), the strongest mechanism that all servers have.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";

type Salted = [u8; 20];

/// Salted passwords by salt and number of iterations: a client computes each once, as real ones do.
#[derive(Debug, Default)]
pub struct Cache(RefCell<HashMap<(Vec<u8>, u32), Salted>>);

impl Cache {
    fn salted(&self, salt: &[u8], iterations: NonZeroU32) -> Salted {
        let mut cache = self.0.borrow_mut();
        *cache.entry((salt.to_vec(), iterations.get())).or_insert_with(|| {
            let mut salted = Salted::default();
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, iterations, salt, PASSWORD.as_bytes(), &mut salted);
            salted
        })
    }
}

/// The first message of the client, without its GS2 header.
pub fn first(user: &str) -> String {
    let mut nonce = [0; 12];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system has random numbers");
    format!("n={user},r={}", STANDARD.encode(nonce))
}

/// The answer to the server's challenge.
pub fn answer(cache: &Cache, first: &str, challenge: &str) -> io::Result<String> {
    let field = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
    let parts = field("r=").zip(field("s=")).zip(field("i=").and_then(|it| it.parse().ok()));
    let Some(((nonce, salt), iterations)) = parts else {
        return Err(io::Error::other(format!("not a SCRAM challenge: {challenge}")));
    };
    let salted = cache.salted(&STANDARD.decode(salt).map_err(io::Error::other)?, iterations);
    let client_key = sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, client_key.as_ref());
    let without_proof = format!("c={},r={nonce}", STANDARD.encode("n,,"));
    let signature = sign(stored_key.as_ref(), format!("{first},{challenge},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
}

fn sign(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), data)
}

/// What a server may store for [`PASSWORD`].
pub struct Stored {
    pub salt: &'static str,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

/// Keys for a server whose accounts are written to its storage directly.
pub fn stored(salt: &'static str, iterations: NonZeroU32) -> Stored {
    let salted = Cache::default().salted(salt.as_bytes(), iterations);
    let client_key = sign(&salted, b"Client Key");
    Stored {
        salt,
        iterations: iterations.get(),
        stored_key: digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, client_key.as_ref()).as_ref().to_vec(),
        server_key: sign(&salted, b"Server Key").as_ref().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5802 §5.
    #[test]
    fn the_example_of_the_rfc() {
        let cache = Cache::default();
        let salt = STANDARD.decode("QSXCR+Q6sek8bf92").unwrap();
        let mut salted = Salted::default();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, NonZeroU32::new(4096).unwrap(), &salt, b"pencil", &mut salted);
        cache.0.borrow_mut().insert((salt, 4096), salted);
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let answer = answer(&cache, "n=user,r=fyko+d2lbbFgONRv9qkxdawL", challenge).unwrap();
        assert_eq!(answer, "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
    }
}

//! What a client keeps for us, so that it need not see our certificate again: session tickets (RFC 8446 §4.6.1, RFC 5077).
//!
//! A ticket is sealed with AES-256-GCM. The key is made in memory, replaced every six hours and gone after twelve; what is
//! sealed with one key in that time stays far below the 2^32 for which nonces may be drawn at random (NIST SP 800-38D).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::crypto::GetRandomFailed;
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;
use zeroize::Zeroizing;

use crate::nonces;

/// Seconds after which tickets are sealed with another key; twice as long they are good.
const ROTATION: u32 = 6 * 60 * 60;

/// Octets of the key.
const KEY: usize = 32;

/// Tickets of which nobody else knows the keys.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    Ok(Arc::new(TicketRotator::new(ROTATION, || Ok(Box::new(Seal::new()?)))?))
}

/// One key.
struct Seal(LessSafeKey);

impl Seal {
    fn new() -> Result<Self, GetRandomFailed> {
        let mut key = Zeroizing::new([0; KEY]);
        rand::fill(key.as_mut_slice()).map_err(|_| GetRandomFailed)?;
        // A key of this length is always one.
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| GetRandomFailed)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl ProducesTickets for Seal {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * ROTATION
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        nonces::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = ticket.get_mut(NONCE_LEN..)?;
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_with_the_same_key_is_opened() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        for plain in [b"".as_slice(), b"a session", &[7; 4000]] {
            let ticket = seal.encrypt(plain).unwrap();
            assert_ne!(ticket, seal.encrypt(plain).unwrap());
            assert_eq!(seal.decrypt(&ticket).as_deref(), Some(plain));
            assert_eq!(other.decrypt(&ticket), None);
            for at in 0..ticket.len() {
                let mut forged = ticket.clone();
                forged[at] ^= 1;
                assert_eq!(seal.decrypt(&forged), None, "{at}");
            }
            for length in 0..ticket.len() {
                assert_eq!(seal.decrypt(&ticket[..length]), None, "{length}");
            }
        }
        assert_eq!(format!("{seal:?}"), "Seal(…)");
    }
}

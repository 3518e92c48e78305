//! What clients and other servers come back with: the state of a session of TLS, sealed, so that nothing has to be stored here.
//!
//! Sealed by AES-256-GCM-SIV (RFC 8452), in one pass over keys that are made once. Nonces come from the stock of those that
//! everybody may see: one that is given out twice tells no more than whether both tickets hold the same (decision 0035).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::TicketRotator;
use rustls::crypto::GetRandomFailed;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::random;

/// Octets of a key.
const KEY: usize = 32;

/// Octets of what proves that a ticket is ours.
const TAG: usize = 16;

/// Seconds in which a key seals. For as long again it opens what it has sealed, and then it is gone.
const SEALING: u32 = 6 * 60 * 60;

/// Tickets under keys that change, of which nobody else knows.
///
/// # Errors
/// The cryptographic library takes no key.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    Ok(Arc::new(TicketRotator::new(SEALING, || Ok(Box::new(Sealer::new()?)))?))
}

/// One key.
struct Sealer(LessSafeKey);

impl Sealer {
    fn new() -> Result<Self, GetRandomFailed> {
        let mut key = Zeroizing::new([0; KEY]);
        random::draw(key.as_mut_slice());
        let key = UnboundKey::new(&AES_256_GCM_SIV, key.as_slice()).map_err(|_| GetRandomFailed)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * SEALING
    }

    /// The nonce, what is sealed, and the tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let nonce = random::nonce::<NONCE_LEN>();
        let mut ticket = Vec::with_capacity(NONCE_LEN + plain.len() + TAG);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = ticket.get_mut(NONCE_LEN..)?;
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

/// Prints no key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &[u8] = b"the secret from which the next handshake goes on";

    #[test]
    fn nobody_else_makes_opens_or_changes_a_ticket() {
        let (ours, other) = (Sealer::new().unwrap(), Sealer::new().unwrap());
        let ticket = ours.encrypt(STATE).unwrap();
        assert_eq!(ticket.len(), NONCE_LEN + STATE.len() + TAG);
        assert_eq!(ticket.capacity(), ticket.len(), "nothing of it was left where it was before");
        assert!(!ticket.windows(8).any(|some| STATE.windows(8).any(|plain| plain == some)));
        assert_eq!(ours.decrypt(&ticket).as_deref(), Some(STATE));
        assert_ne!(
            ours.encrypt(STATE).unwrap(),
            ticket,
            "who sees two of them does not know that they are of one client"
        );
        assert_eq!(other.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ours.decrypt(&changed), None, "octet {at}");
            assert_eq!(ours.decrypt(&ticket[..at]), None, "{at} octets");
        }
        assert_eq!(ours.encrypt(b"").and_then(|ticket| ours.decrypt(&ticket)), Some(Vec::new()));
        assert_eq!(format!("{ours:?}"), "Sealer(…)");
    }

    // The value is one of those with which the RFC ends, for a plain text of eight octets.
    #[test]
    fn what_seals_is_what_the_rfc_says() {
        let (mut key, mut nonce) = ([0; KEY], [0; NONCE_LEN]);
        (key[0], nonce[0]) = (1, 3);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).unwrap());
        let mut sealed = vec![1, 0, 0, 0, 0, 0, 0, 0];
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).unwrap();
        assert_eq!(crate::hexadecimal::text(&sealed), "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28");
    }

    #[test]
    fn every_maker_of_tickets_has_keys_of_its_own() {
        let (ours, other) = (tickets().unwrap(), tickets().unwrap());
        let ticket = ours.encrypt(STATE).unwrap();
        assert_eq!(ours.decrypt(&ticket).as_deref(), Some(STATE));
        assert_eq!(other.decrypt(&ticket), None);
        assert_eq!((ours.enabled(), ours.lifetime()), (true, 2 * SEALING));
    }
}

//! TLS of our side: certificates, configurations, trust.
//!
//! TLS 1.2 (with the extended master secret, RFC 7627) and 1.3 with the defaults of rustls, which
//! are those of RFC 9325. The handshake accepts any certificate of another server and only checks
//! that the peer holds its key; whom it proves is judged afterwards, in `federation::proof`. Clients are asked for a
//! certificate only where authorities are trusted to vouch for them, and whatever they show is judged afterwards, too.
//! It must never know streams, domains that are served, or policy.

mod addresses;
mod client;
pub mod development;
mod identity;
pub mod names;
pub mod path;
mod peer_tickets;
mod server;
mod sessions;
mod tickets;
mod trust;
mod verifier;

#[cfg(test)]
pub(crate) mod mint;
#[cfg(test)]
mod tests;

pub use addresses::{Vouched, vouched};
pub use client::{
    ClientCertificate, ClientTls, Outgoing, has_nothing_in_common, is_too_old, is_unwelcome, server_name,
};
pub use identity::{DateWarning, Identities, Identity, LoadError, Problem, end_point_hash};
pub use server::{Acceptor, Incoming, ServerTls};
pub use sessions::Resumable;
pub use trust::Trust;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};

use crate::random;

/// The cryptography of rustls that all configurations use; none is installed for the whole process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { secure_random: &Public, ..rustls::crypto::aws_lc_rs::default_provider() })
}

/// What rustls draws by itself is seen by everybody: randoms, session ids, ages of tickets. Keys come from the cryptographic
/// library directly.
#[derive(Debug)]
struct Public;

impl SecureRandom for Public {
    fn fill(&self, room: &mut [u8]) -> Result<(), GetRandomFailed> {
        random::fill(room);
        Ok(())
    }
}

//! Tickets with which another server resumes a session of TLS that it has had with us (RFC 8446 §2.2, RFC 5077).
//!
//! A ticket has the certificates of the peer in it, which are judged each time as if they were new. What no ticket has is a
//! signature by the peer's key, so each says when there was one, and from one ticket to the next that time stays what it was: a
//! day after it nothing is resumed. The keys of tickets live in memory, other ones for each certificate of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::tickets::tickets;

/// How long a session may be resumed after the peer has shown that it holds its key, in either direction.
pub(super) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What makes the tickets of one certificate.
#[derive(Debug)]
pub(super) struct Tickets {
    sealed: Arc<dyn ProducesTickets>,
    /// Times in tickets are seconds since then.
    begin: Instant,
}

/// The tickets of one connection.
#[derive(Debug)]
struct OfConnection {
    tickets: Arc<Tickets>,
    /// When the peer has shown that it holds its key.
    proven: AtomicU64,
}

impl Tickets {
    pub(super) fn new() -> Result<Arc<Self>, rustls::Error> {
        Ok(Arc::new(Self { sealed: tickets()?, begin: Instant::now() }))
    }

    /// `config` for one connection, which takes these tickets and gives a new one.
    pub(super) fn on(self: &Arc<Self>, config: &ServerConfig) -> Arc<ServerConfig> {
        let proven = AtomicU64::new(self.now());
        let mut config = config.clone();
        config.ticketer = Arc::new(OfConnection { tickets: Arc::clone(self), proven });
        Arc::new(config)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }
}

impl ProducesTickets for OfConnection {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.tickets.sealed.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let proven = self.proven.load(Ordering::Relaxed).to_be_bytes();
        let plain = Zeroizing::new([&proven, plain].concat());
        self.tickets.sealed.encrypt(&plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut opened = self.tickets.sealed.decrypt(cipher)?;
        let proven = u64::from_be_bytes(*opened.first_chunk()?);
        if self.tickets.now().saturating_sub(proven) >= LIFETIME.as_secs() {
            return None;
        }
        // If the session is not resumed after all, the next ticket ends sooner than it had to.
        self.proven.store(proven, Ordering::Relaxed);
        // No second place in memory has a secret in it.
        opened.drain(..size_of::<u64>());
        Some(opened)
    }
}

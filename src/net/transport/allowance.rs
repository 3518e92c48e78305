//! How many bytes of TLS a peer may send that lead to no content.
//!
//! rustls collects up to 64 KiB of an unfinished handshake message, before and after the handshake.
//! 12 KiB keep a buffer that grows by doubling at 16 KiB.

use std::io;

/// From a peer that has not authenticated.
pub(super) const STRANGER: usize = 12 * 1024;
/// From a peer that has, or that we chose to connect to: the limit of rustls itself.
pub(super) const TRUSTED: usize = 64 * 1024;

/// What is left of the bytes that a peer may send without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    limit: usize,
    left: usize,
}

impl Allowance {
    pub(super) const fn for_a_stranger() -> Self {
        Self { limit: STRANGER, left: STRANGER }
    }

    pub(super) const fn for_a_trusted_peer() -> Self {
        Self { limit: TRUSTED, left: TRUSTED }
    }

    /// What may still be read.
    pub(super) const fn left(self) -> usize {
        self.left
    }

    pub(super) const fn spend(&mut self, read: usize) {
        self.left = self.left.saturating_sub(read);
    }

    /// Content has come; `kept` bytes behind it wait for the rest of their record.
    pub(super) const fn renew(&mut self, kept: usize) {
        self.left = self.limit.saturating_sub(kept);
    }

    /// What is reported once nothing is left.
    pub(super) fn exceeded() -> io::Error {
        let reason = "the peer sends more bytes of TLS without content than is allowed";
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }
}

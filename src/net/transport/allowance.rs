//! How many bytes of TLS a peer may send that lead to no content.
//!
//! rustls collects up to 64 KiB of an unfinished handshake message, before and after the handshake.
//! The limits keep a buffer that grows by doubling at 16 KiB during the handshake and at 8 KiB after
//! it. Whoever sends more gets [`io::ErrorKind::QuotaExceeded`], after which the stream can still be
//! written to.

use std::io;

/// For the handshake of a peer that connected to us: room for a chain of certificates.
pub(super) const HANDSHAKE: usize = 9 * 1024;
/// From a peer that has not authenticated. What it has to say is shorter, and with half an element in
/// the buffer of the stream it stays below what it may cost.
pub(super) const STRANGER: usize = 4 * 1024;
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
        Self { limit: STRANGER, left: HANDSHAKE }
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
        io::Error::new(io::ErrorKind::QuotaExceeded, reason)
    }
}

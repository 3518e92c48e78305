//! One client: handshake, then bound until the stream ends (RFC 6120).
//!
//! Each phase is a type of its own that owns only what is valid then. Knows nothing of other
//! servers and of extensions.

mod authentication;
mod bound;
mod context;
mod detached;
mod dialogue;
mod entry;
mod handshake;
mod inbound;
mod line;
mod outgoing;
mod resumption;
mod visits;
mod wire;

pub use bound::Bound;
pub use context::{Context, Settings};
pub use handshake::{Secured, Security, open, secure};

#[cfg(test)]
mod tests;

//! One client: handshake, then bound until the stream ends (RFC 6120).
//!
//! Each phase is a type of its own that owns only what is valid then. Knows nothing of other
//! servers and of extensions.

mod bound;
mod detached;
mod dialogue;
mod entry;
mod handshake;
mod inbound;
mod outgoing;
mod pace;
mod resumption;
mod visits;
mod wire;

pub use bound::Bound;
pub use handshake::{Context, Secured, Security, Settings, open, secure};
pub use pace::Pace;

#[cfg(test)]
mod tests;

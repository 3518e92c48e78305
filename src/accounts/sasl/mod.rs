//! SASL mechanisms, server side, without I/O (RFC 4422; RFC 6120 section 6).
//!
//! Messages are octets: base64 and the XML around them are the business of `negotiation`. A mechanism never
//! learns where credentials come from, and an unknown user is served with the credentials of a
//! [`Decoy`](super::credentials::Decoy), so that the code path is the same. [`scram_client`] is the other side of
//! SCRAM, for our own tools and tests.

pub mod channel_binding;
pub mod downgrade;
mod error;
pub mod external;
pub mod hashed_token;
mod identity;
mod mechanism;
pub mod plain;
pub mod scram;
pub mod scram_client;

pub use error::{SASL_NS, SaslCondition, SaslError};
pub use mechanism::{Mechanism, Variant};

#[cfg(test)]
mod tests;

//! Negotiation of a stream, without I/O: features, the SASL exchange, resource binding (RFC 6120 sections 5 to 7).
//!
//! [`login::Login`] is the machine until authentication, [`bind::Binding`] the one after the stream restart; both
//! take what the peer sent or what the caller has looked up, and return effects. Knows nothing of sockets and of how
//! a peer is connected; never reads storage, and never computes a password hash by itself.

pub mod bind;
pub mod features;
pub mod login;
pub mod sasl_profile;

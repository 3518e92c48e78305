//! Negotiation of a stream, without I/O: features, the SASL exchange, resource binding (RFC 6120 sections 5 to 7).
//!
//! [`login::Login`] is the machine until authentication, in two syntaxes ([`sasl_profile`], [`xep_0388_sasl2`]);
//! [`bind::Binding`] is the one behind it. Both take what the peer sent or what the caller has looked up, and return effects. Knows nothing of sockets and of how
//! a peer is connected; never reads storage, and never computes a password hash by itself.

pub mod bind;
pub mod features;
pub mod login;
pub mod sasl_profile;
pub mod wishes;
pub mod xep_0386_bind2;
pub mod xep_0388_sasl2;
pub mod xep_0484_fast;

//! People: their accounts, credentials, rosters and subscriptions, and the server side of SASL.
//!
//! Everything here is a rule without I/O, clock or randomness; what is stored is read and written by the caller.
//! Knows nothing of streams and sessions.

pub mod credentials;
pub mod roster;
pub mod sasl;
pub mod subscription;

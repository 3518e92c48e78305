//! People: their accounts, credentials, rosters and subscriptions, and the server side of SASL.
//!
//! Everything here is a rule without I/O, clock or randomness; what is stored is read and written by the caller,
//! `directory`, `removal`, `admins` and `tokens` excepted. Knows nothing of streams and sessions.

pub mod activity;
pub mod admins;
pub mod blocklist;
pub mod contact;
pub mod credentials;
pub mod directory;
pub mod preferences;
pub mod random;
pub mod removal;
pub mod roster;
pub mod sasl;
pub mod subscription;
pub mod tokens;

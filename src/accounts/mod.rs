//! People: their accounts, credentials, rosters and subscriptions, and the server side of SASL.
//!
//! Everything here is a rule without I/O, clock or randomness; what is stored is read and written by the caller,
//! `directory`, `removal`, `admins`, `tokens` and `clients` excepted. Knows nothing of streams and sessions.

pub mod activity;
pub mod admins;
pub mod attempts;
pub mod blocklist;
pub mod clients;
pub mod contact;
pub mod credentials;
pub mod directory;
pub mod preferences;
pub mod push;
pub mod removal;
pub mod roster;
pub mod sasl;
pub mod subscription;
pub mod tokens;
pub mod traces;

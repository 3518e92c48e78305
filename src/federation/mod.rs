//! Streams with other servers.

pub mod proof;

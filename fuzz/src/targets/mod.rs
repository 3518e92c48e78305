//! The targets, each a function in a file of its own.

pub(crate) mod config;
pub(crate) mod dialback;
pub(crate) mod differential;
pub(crate) mod dns;
pub(crate) mod forms;
pub(crate) mod gate;
pub(crate) mod jid;
pub(crate) mod login;
pub(crate) mod muc;
pub(crate) mod roster;
pub(crate) mod sasl;
pub(crate) mod stanza;
pub(crate) mod storage;
pub(crate) mod stream;
pub(crate) mod tree;

//! Stages: plain functions on a stanza's way to a local account, never futures.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::stanza::{Stanza, StanzaError};
use crate::storage::Writes;

/// What of an account's log is held in memory.
#[derive(Debug, Default)]
pub struct Shelf {
    /// Positions of entries that nobody has received.
    pub undelivered: BTreeSet<u64>,
}

/// A stanza on its way to `account`, with what a stage may change.
#[derive(Debug)]
pub struct Passing<'a, 's> {
    pub account: &'a BareJid,
    pub stanza: &'a Stanza<'s>,
    pub shelf: &'a mut Shelf,
    pub writes: &'a mut Writes,
    pub now: Timestamp,
}

/// What a stage of the kind `Undelivered` decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next one may look.
    Pass,
    /// It is taken care of; the sender hears nothing.
    Taken,
    /// The sender gets this error.
    Refuse(StanzaError),
}

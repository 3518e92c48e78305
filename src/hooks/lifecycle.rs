//! Points in the life of a session.

use std::pin::Pin;

use crate::jid::BareJid;
use crate::stanza::Stanza;

/// A stanza that was kept for an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Delayed {
    /// Its position in the account's log.
    pub position: u64,
    /// Ready to be written, with its delay stamp (XEP-0203).
    pub stanza: Stanza<'static>,
}

/// Fetches the entries at the given positions of an account's log, in order, for a resource that
/// has become able to receive them.
pub type Backlog = Box<dyn Fn(BareJid, Vec<u64>) -> Pin<Box<dyn Future<Output = Vec<Delayed>> + Send>> + Send + Sync>;

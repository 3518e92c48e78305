//! The seam to other domains' servers.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::stanza::Stanza;
use crate::storage::Position;

/// A local and a remote domain: stanzas between them keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    pub local: Arc<str>,
    pub remote: Arc<str>,
}

/// A stanza on its way to another domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaving {
    pub stanza: Stanza<'static>,
    /// Where storage keeps it until the other server has it, if somebody was told that it is safe.
    pub kept: Option<Kept>,
}

/// An entry in the log of the local domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub position: Position,
    /// When the stanza came.
    pub time: Timestamp,
    /// How long ago that was, for one that a server which has ended left behind: its entry is undelivered. Any other is
    /// queued.
    pub left_behind: Option<Duration>,
}

impl From<Stanza<'static>> for Leaving {
    fn from(stanza: Stanza<'static>) -> Self {
        Self { stanza, kept: None }
    }
}

/// Takes stanzas for other domains; implemented by `federation`.
pub trait RemoteDelivery: Send + Sync {
    /// Queues `stanzas` in order; never blocks. Each is delivered or answered with an error.
    fn send(&self, pair: &Pair, stanzas: Vec<Leaving>);

    /// Asks the other server of `pair` for a sign of life; a stream is opened for that if there is none.
    fn knock(&self, pair: &Pair);

    /// Kept stanzas below `upto` that are not delivered become undelivered in their logs.
    fn settle(&self, upto: Position);
}

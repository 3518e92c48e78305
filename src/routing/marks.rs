//! Which stanzas in a ring are entries of its account's log, and what is left of a ring when its session ends.

use std::collections::VecDeque;

use super::pieces::Pieces;
use super::retained::{Lapsed, Resumable};

/// What a stanza in a ring is in the log of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// An entry that is marked as undelivered there, and waits no longer once the stanza has arrived.
    Undelivered(u64),
    /// An entry that becomes undelivered if the stanza does not arrive.
    Queued(Queued),
}

impl Mark {
    pub(super) const fn position(self) -> u64 {
        match self {
            Self::Undelivered(position) | Self::Queued(Queued { position, .. }) => position,
        }
    }

    /// The position of an entry that is marked as undelivered.
    pub(super) const fn undelivered(self) -> Option<u64> {
        match self {
            Self::Undelivered(position) => Some(position),
            Self::Queued(_) => None,
        }
    }
}

/// An entry of the log that was handed to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) position: u64,
    /// It stays in the log when it has arrived.
    pub(super) archived: bool,
}

/// What is left in a ring when its session ends. Places count the bytes that ever came in.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remains {
    /// Whole stanzas; those that end at `written` or before are not to be written again.
    pub(super) text: Pieces,
    /// The place of the first byte of `text`.
    pub(super) start: u64,
    /// The place up to which the transport took the bytes, or the client confirmed them.
    pub(super) written: u64,
    /// Places behind marked stanzas, with their marks, that did not come out of
    /// [`super::ring::Ring::delivered`].
    pub(super) marks: VecDeque<(u64, Mark)>,
    /// The client might have come back for it and has not.
    pub(super) lapsed: Option<Lapsed>,
    /// The client might have come back, now or after a restart.
    pub(super) resumable: Option<Resumable>,
}

/// What became of the marks of a ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// Queued entries that are undelivered from now on.
    pub(super) late: Vec<u64>,
    /// There are further queued entries.
    pub(super) watched: bool,
    /// The session has ended.
    pub(super) is_over: bool,
}

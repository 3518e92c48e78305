//! What a queue consists of, and what leaves it.

use std::collections::HashSet;

use tokio::time::Instant;

use super::OVERHEAD;
use crate::clock::Timestamp;
use crate::jid::Jid;
use crate::stanza::{Kind, Payload, PresenceType, Stanza};

/// A queued stanza: where it ends, and what is needed to answer it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) length: usize,
    /// `None` for what is no stanza that somebody sent.
    pub(super) head: Option<Stanza<'static>>,
    pub(super) hold: Hold,
    /// Among the stanzas that the peer counts; 0 before it is sent.
    pub(super) number: u64,
}

/// Until when an entry stays.
#[derive(Debug)]
pub(super) enum Hold {
    /// Until it is handed over.
    Sent,
    /// Until it is confirmed.
    Confirmed(Kept),
    /// Until it is handed over, and no longer than the link: it is a question of ours ...
    Probe,
    /// ... or makes the peer count what follows ...
    Opening,
    /// ... or an answer.
    Aside,
}

/// A stanza that storage keeps until it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its place in the log of the local domain.
    pub(crate) position: u64,
    /// When it came.
    pub(crate) time: Timestamp,
    pub(crate) since: Instant,
    /// The log says that it is undelivered; otherwise it is only queued there.
    pub(crate) marked: bool,
    /// It says how late it is.
    pub(crate) stamped: bool,
}

/// What has left the queue.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Left {
    /// To be answered, if it was not delivered.
    pub(crate) heads: Vec<Stanza<'static>>,
    /// What the log has as undelivered.
    pub(crate) marked: Vec<u64>,
    /// What the log has as queued.
    pub(crate) unmarked: Vec<u64>,
    /// What the queue was charged with for it.
    pub(crate) freed: usize,
}

/// What becomes of an entry between two links.
pub(super) enum Fate {
    Stays,
    /// With this element behind its payload.
    StaysWith(String),
    Leaves,
    /// Nobody is to be told.
    LeavesQuietly,
}

impl Left {
    pub(super) fn take(&mut self, entry: Entry) {
        self.freed += entry.length + OVERHEAD;
        if let Some(kept) = entry.kept() {
            self.positions(*kept);
        }
        self.heads.extend(entry.head);
    }

    pub(super) fn positions(&mut self, kept: Kept) {
        let positions = if kept.marked { &mut self.marked } else { &mut self.unmarked };
        positions.push(kept.position);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.heads.extend(other.heads);
        self.marked.extend(other.marked);
        self.unmarked.extend(other.unmarked);
        self.freed += other.freed;
    }
}

impl Entry {
    pub(super) const fn kept(&self) -> Option<&Kept> {
        match &self.hold {
            Hold::Confirmed(kept) => Some(kept),
            Hold::Sent | Hold::Probe | Hold::Opening | Hold::Aside => None,
        }
    }

    /// What is no stanza that somebody sent.
    pub(super) const fn aside(length: usize, hold: Hold) -> Self {
        Self { length, head: None, hold, number: 0 }
    }

    /// Whether it is presence, and what follows says something else to the same address; `later` has what follows.
    pub(super) fn is_stale(&self, later: &mut HashSet<(String, String)>) -> bool {
        let Some(head) = &self.head else { return false };
        let is_state = matches!(head.kind, Kind::Presence(PresenceType::Available | PresenceType::Unavailable));
        let text = |jid: &Option<Jid>| jid.as_ref().map(ToString::to_string).unwrap_or_default();
        is_state && !later.insert((text(&head.from), text(&head.to)))
    }

    /// Whether it stays although it was handed over.
    pub(super) const fn stays(&self) -> bool {
        self.number > 0 || self.kept().is_some()
    }
}

/// Writes a stanza with one more element behind its payload.
pub(super) fn push_with(out: &mut String, stanza: &str, tail: &str) {
    // A stanza without payload has nothing that could be late.
    let end = stanza.rfind("</").filter(|_| stanza.ends_with('>') && !stanza.ends_with("/>"));
    let (front, end) = end.and_then(|at| stanza.split_at_checked(at)).unwrap_or((stanza, ""));
    out.push_str(front);
    if !end.is_empty() {
        out.push_str(tail);
        out.push_str(end);
    }
}

/// The stanza without its payload: enough to answer it with an error.
pub(crate) fn head(mut stanza: Stanza<'static>) -> Stanza<'static> {
    stanza.payload = Payload::EMPTY;
    stanza
}

//! What the log of an owner consists of.

use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(doc)]
use super::Writes;
use crate::jid::{BareJid, Jid};

/// The place of an entry. It grows within a log, is never reused, and is unique in the whole storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position that `number` names, for those who keep positions elsewhere.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A position that is free for one entry: appending consumes it, so no two entries share one.
#[derive(Debug)]
#[must_use = "a position is taken to append an entry at it"]
pub struct Slot {
    position: Position,
    open: Open,
}

impl Slot {
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The position, and what says that its entry may still come.
    pub(super) fn open(self) -> (Position, Open) {
        (self.position, self.open)
    }
}

/// As long as it lives, the entry at this position or one behind it may still be submitted.
#[derive(Debug)]
pub(super) struct Open {
    floor: u64,
    positions: Arc<Positions>,
}

impl Open {
    /// The one that stands for both.
    pub(super) fn join(self, other: Self) -> Self {
        if self.floor <= other.floor { self } else { other }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.positions.lock();
        if let Some(place) = open.iter().position(|floor| *floor == self.floor) {
            open.swap_remove(place);
        }
    }
}

/// Hands out positions. A range of them is reserved on disk, so that a position which somebody saw before a crash is not
/// given to another entry after it.
#[derive(Debug)]
pub(super) struct Positions {
    next: AtomicU64,
    /// Positions that were handed out and whose entries nobody has submitted yet.
    open: Mutex<Vec<u64>>,
}

impl Positions {
    /// How many positions are reserved at a time: far more than fit into the queue of the writer.
    pub(super) const RANGE: u64 = 1 << 24;

    pub(super) fn starting_at(first: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(first), open: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>) -> Slot {
        let mut open = self.lock();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.push(number);
        drop(open);
        Slot { position: Position(number), open: Open { floor: number, positions: Arc::clone(self) } }
    }

    /// The position that is handed out next.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Below this position nothing more will be submitted.
    pub(super) fn settled(&self) -> u64 {
        let open = self.lock();
        open.iter().min().copied().unwrap_or_else(|| self.next())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a stanza went, seen from the owner of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Received,
    Sent,
}

/// Why an entry is kept. An entry without marks is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Marks(u8);

impl Marks {
    pub const NONE: Self = Self(0);
    /// The archive shows it (XEP-0313).
    pub const ARCHIVED: Self = Self(1);
    /// No client has got it yet (RFC 6121 §8.5.2.2).
    pub const UNDELIVERED: Self = Self(2);
    /// It was handed to a session, and nobody knows yet whether it arrived. Counts until [`Writes::hand_over`] passes its
    /// position; an entry that is found in front of that when the data is opened becomes undelivered.
    pub const QUEUED: Self = Self(4);

    /// Whether all of `marks` are set.
    #[must_use]
    pub const fn contains(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }

    /// All but `marks`.
    #[must_use]
    pub const fn without(self, marks: Self) -> Self {
        Self(self.0 & !marks.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How they are stored: twice, because they change and so have no part in the checksum of their entry. Marks that are
    /// set and cleared in this form stay in it.
    pub(super) const fn bits(self) -> i64 {
        let [once, twice] = [self.0, self.0];
        u16::from_le_bytes([once, twice]) as i64
    }

    /// Nothing if one of the two has changed. Marks that this version does not know are ignored.
    pub(super) const fn from_bits(bits: i64) -> Option<Self> {
        let known = Self::ARCHIVED.0 | Self::UNDELIVERED.0 | Self::QUEUED.0;
        let [once, twice, ..] = bits.to_le_bytes();
        if bits >> 16 == 0 && once == twice { Some(Self(once & known)) } else { None }
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The place of an entry in the queue of a session that its client may come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Stands for the name of the session.
    pub session: i64,
    /// How many stanzas have been sent to the session when this one has.
    pub number: u64,
}

/// One stanza in the log of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub direction: Direction,
    /// The JID of the other side, as text.
    pub peer: Arc<str>,
    /// Unix time in milliseconds.
    pub time: u64,
    pub marks: Marks,
    /// The whole stanza as XML.
    pub payload: Arc<str>,
}

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub position: Position,
    pub entry: Entry,
}

/// A part of a log, oldest entry first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub entries: Vec<Stored>,
    /// Entries that are missing or whose checksum is wrong. They are left out of `entries`.
    pub damaged: Vec<Position>,
    /// There may be more entries behind this position.
    pub more: Option<Position>,
}

/// Some of the archived entries of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    pub after: Option<Position>,
    pub before: Option<Position>,
    /// Not older than this (Unix time in milliseconds).
    pub since: Option<u64>,
    /// Not younger than this.
    pub until: Option<u64>,
    /// Exchanged with this address; if it is bare, with any of its resources.
    pub peer: Option<Jid>,
}

impl Range {
    /// Whether an entry exchanged with `peer` is meant, as far as that decides.
    pub(super) fn is_with(&self, peer: &str) -> bool {
        self.peer.as_ref().is_none_or(|wanted| {
            let peer = if wanted.is_bare() { bare(peer) } else { peer };
            wanted.as_str() == peer
        })
    }
}

/// Archived entries that are too old.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    pub entries: Vec<(BareJid, Position)>,
    /// There may be more from this account on.
    pub more: Option<BareJid>,
}

/// From which end of a [`Range`] entries are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Oldest,
    Youngest,
}

/// The text of a JID without its resourcepart.
pub(super) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_has_nothing_open_before_it() {
        let positions = Positions::starting_at(5);
        assert_eq!(positions.settled(), 5);
        let (first, second) = (positions.take(), positions.take());
        assert_eq!(positions.settled(), 5);
        let (_, joined) = positions.take().open();
        let (_, first) = first.open();
        let joined = joined.join(first);
        drop(second);
        assert_eq!(positions.settled(), 5);
        drop(joined);
        assert_eq!((positions.settled(), positions.next()), (8, 8));
    }

    #[test]
    fn marks_are_a_set() {
        let both = Marks::ARCHIVED | Marks::UNDELIVERED;
        assert_eq!(both | Marks::ARCHIVED, both);
        assert!(both.contains(both) && both.contains(Marks::ARCHIVED) && both.contains(Marks::NONE));
        assert!(!Marks::ARCHIVED.contains(both) && !both.contains(Marks::QUEUED));
        assert_eq!(both.without(Marks::ARCHIVED | Marks::QUEUED), Marks::UNDELIVERED);
        assert!(both.without(both).is_empty() && !both.is_empty());
    }

    #[test]
    fn a_changed_mark_is_found() {
        let marks = Marks::ARCHIVED | Marks::QUEUED;
        assert_eq!(Marks::from_bits(marks.bits()), Some(marks));
        assert_eq!(Marks::from_bits(marks.bits() | Marks::UNDELIVERED.bits()), Some(marks | Marks::UNDELIVERED));
        for bit in 0..64 {
            assert_eq!(Marks::from_bits(marks.bits() ^ (1 << bit)), None);
        }
    }

    #[test]
    fn a_bare_address_stands_for_its_resources() {
        let with = |wanted: &str, peer| Range { peer: Some(wanted.parse().unwrap()), ..Range::default() }.is_with(peer);
        assert!(with("a@b", "a@b/c") && with("a@b", "a@b") && with("a@b/c", "a@b/c"));
        assert!(!with("a@b/c", "a@b/d") && !with("a@b/c", "a@b") && !with("a@b", "x@b/c"));
    }
}

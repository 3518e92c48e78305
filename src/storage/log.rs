//! What the log of an owner consists of.

use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};

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
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a position is taken to append an entry at it"]
pub struct Slot(Position);

impl Slot {
    #[must_use]
    pub const fn position(&self) -> Position {
        self.0
    }
}

/// Hands out positions. A range of them is reserved on disk, so that a position which somebody saw before a crash is not
/// given to another entry after it.
#[derive(Debug)]
pub(super) struct Positions(AtomicU64);

impl Positions {
    /// How many positions are reserved at a time: far more than fit into the queue of the writer.
    pub(super) const RANGE: u64 = 1 << 24;

    pub(super) const fn starting_at(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    pub(super) fn take(&self) -> Slot {
        Slot(Position(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    /// The position that is handed out next.
    pub(super) fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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

    /// Whether all of `marks` are set.
    #[must_use]
    pub const fn contains(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// Bits that this version does not know are ignored.
    pub(super) const fn from_bits(bits: i64) -> Self {
        let mut marks = Self::NONE;
        if bits & 1 != 0 {
            marks.0 |= Self::ARCHIVED.0;
        }
        if bits & 2 != 0 {
            marks.0 |= Self::UNDELIVERED.0;
        }
        marks
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One stanza in the log of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub direction: Direction,
    /// The JID of the other side, as text.
    pub peer: String,
    /// Unix time in milliseconds.
    pub time: u64,
    pub marks: Marks,
    /// The whole stanza as XML.
    pub payload: String,
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

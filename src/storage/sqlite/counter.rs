//! The counters: each stands in a table of its own, with a checksum that says which one it is.

use rusqlite::Connection;

use super::super::Error;
use super::checksum::{HANDED, INDEXED, RESERVED, sum};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// Positions below it may have been seen by somebody.
    Reserved,
    /// Archived entries below it are in the index.
    Indexed,
    /// Entries below it that have the mark for queued have arrived or are undelivered.
    Handed,
}

impl Counter {
    pub(super) const ALL: [Self; 3] = [Self::Reserved, Self::Indexed, Self::Handed];

    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Reserved => "positions",
            Self::Indexed => "indexed",
            Self::Handed => "handed",
        }
    }

    /// What its checksum begins with.
    pub(super) const fn kind(self) -> i64 {
        match self {
            Self::Reserved => RESERVED,
            Self::Indexed => INDEXED,
            Self::Handed => HANDED,
        }
    }

    pub(super) fn checksum(self, value: i64) -> i64 {
        sum([self.kind(), value], [])
    }

    pub(super) fn set(self, connection: &Connection, value: i64) -> Result<(), Error> {
        let mut statement = connection.prepare_cached(match self {
            Self::Reserved => "UPDATE positions SET reserved = ?1, checksum = ?2",
            Self::Indexed => "UPDATE indexed SET upto = ?1, checksum = ?2",
            Self::Handed => "UPDATE handed SET upto = ?1, checksum = ?2",
        })?;
        match statement.execute([value, self.checksum(value)])? {
            1 => Ok(()),
            rows => Err(Error::Corrupt(format!("{rows} rows in table {}", self.table()))),
        }
    }
}

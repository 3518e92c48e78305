//! How many frames of the write-ahead log were synced, in a file beside it.
//!
//! A bit that flips in the last transaction of the log looks like a crash in the middle of it, and so does an end that is
//! missing. This number tells them apart. It is written when a sync has returned and is not synced itself: after a power
//! loss it may say less than there was, never more.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::super::Error;
use super::{directory, wal};
use crate::fnv;

/// Octets of what says which log it is about: SQLite gives it others each time it begins anew.
pub(super) const SALTS: usize = 8;
/// Octets before the checksum.
const COVERED: usize = SALTS + 4;
const LENGTH: usize = COVERED + 8;

/// What was written last about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Synced {
    salts: [u8; SALTS],
    frames: u32,
}

/// Writes it down after each commit.
#[derive(Debug)]
pub(super) struct Keeper {
    /// How many frames are in the log since the last commit, as SQLite says; 0 when that is written down.
    frames: Arc<AtomicU32>,
    log: File,
    file: File,
    path: PathBuf,
}

/// The file about the log of a database; either may be named.
pub(super) fn path(database: &Path) -> PathBuf {
    database.with_extension("synced")
}

impl Synced {
    /// That so many frames of the log with these salts were synced.
    pub(super) const fn of(salts: [u8; SALTS], frames: u32) -> Self {
        Self { salts, frames }
    }

    /// What is known about the log of a database. Nothing is, if the file is missing or a bit of it is another.
    pub(super) fn read(database: &Path) -> Result<Option<Self>, Error> {
        let path = path(database);
        match std::fs::read(&path) {
            Ok(octets) => Ok(Self::parse(&octets)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::at(&path)(error)),
        }
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let (covered, checksum) = octets.split_at_checked(COVERED)?;
        let (salts, frames) = covered.split_first_chunk()?;
        let is_right = *checksum == fnv::hash(covered.iter().copied()).to_be_bytes();
        is_right.then_some(Self { salts: *salts, frames: wal::word(frames, 0)? })
    }

    fn octets(self) -> [u8; LENGTH] {
        let mut octets = [0; LENGTH];
        let (covered, checksum) = octets.split_at_mut(COVERED);
        covered[..SALTS].copy_from_slice(&self.salts);
        covered[SALTS..].copy_from_slice(&self.frames.to_be_bytes());
        checksum.copy_from_slice(&fnv::hash(covered.iter().copied()).to_be_bytes());
        octets
    }

    /// How many frames the log with these salts must have.
    pub(super) fn frames_of(self, salts: &[u8]) -> usize {
        if self.salts == salts { usize::try_from(self.frames).unwrap_or(usize::MAX) } else { 0 }
    }
}

impl Keeper {
    /// For the connection that writes to a database, whose log exists.
    pub(super) fn new(connection: &mut Connection, database: &Path) -> Result<Self, Error> {
        let frames = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&frames);
        connection.wal_hook(Some(move |_: &mut _, count| {
            seen.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let (log, path) = (wal::path(database), path(database));
        directory::create_file(&path)?;
        Ok(Self {
            frames,
            log: File::open(&log).map_err(Error::at(&log))?,
            file: OpenOptions::new().write(true).open(&path).map_err(Error::at(&path))?,
            path,
        })
    }

    /// To be called when a commit has returned.
    pub(super) fn note(&self) -> Result<(), Error> {
        let frames = self.frames.swap(0, Ordering::Relaxed);
        if frames == 0 {
            // Nothing was written.
            return Ok(());
        }
        let mut salts = [0; SALTS];
        let noted = self
            .log
            .read_exact_at(&mut salts, wal::SALTS_AT)
            .and_then(|()| self.file.write_all_at(&Synced::of(salts, frames).octets(), 0));
        match noted {
            // What stands there is less than there is, which is allowed; what was committed must not seem to have failed.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
            noted => noted.map_err(Error::at(&self.path)),
        }
    }

    /// To be called before the log goes.
    pub(super) fn forget(self) -> Result<(), Error> {
        std::fs::remove_file(&self.path).map_err(Error::at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_about_one_log() {
        let known = Synced::of(*b"saltsalt", 70_000);
        assert_eq!(Synced::parse(&known.octets()), Some(known));
        assert_eq!(known.frames_of(b"saltsalt"), 70_000);
        assert_eq!(known.frames_of(b"saltsalu"), 0);
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let octets = Synced::of(*b"saltsalt", 70_000).octets();
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Synced::parse(&flipped), None, "bit {bit}");
        }
        for length in 0..octets.len() {
            assert_eq!(Synced::parse(&octets[..length]), None, "{length} octets");
        }
    }
}

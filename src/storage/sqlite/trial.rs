//! Tries where a write-ahead log leads to, with copies of the database and of the log.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::Error;
use super::directory::create_file;
use super::wal;

/// The copies. Nobody may read them who may not read the database, and they go when this does, with what a crash has left
/// of earlier ones.
pub(super) struct Trial<'a> {
    database: &'a Path,
    copy: PathBuf,
}

impl<'a> Trial<'a> {
    pub(super) fn of(database: &'a Path) -> Self {
        let mut copy = database.as_os_str().to_owned();
        copy.push("-copy");
        Self { database, copy: PathBuf::from(copy) }
    }

    /// Where the page of a frame, counted from one, seems to belong, as `log` has it: `None` if the database is not in
    /// order then, otherwise how many octets of it are what that page held before. What the page itself holds may well be
    /// right, wherever it is; and two places may both be in order, when what is missing in one of them is an update.
    pub(super) fn fits(&self, log: &[u8], frame: usize) -> Result<Option<usize>, Error> {
        self.make(log)?;
        let found = Connection::open(&self.copy)
            .and_then(|opened| opened.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)));
        match found.map_err(Error::from) {
            Ok(found) if found == "ok" => self.likeness(log, frame).map(Some),
            Err(error @ Error::NoRoom(_)) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn make(&self, log: &[u8]) -> Result<(), Error> {
        // A copy has the permissions of what it is a copy of.
        std::fs::copy(self.database, &self.copy).map_err(Error::at(&self.copy))?;
        let path = wal::path(&self.copy);
        create_file(&path)?;
        std::fs::write(&path, log).map_err(Error::at(&path))
    }

    fn likeness(&self, log: &[u8], frame: usize) -> Result<usize, Error> {
        let Some((number, page)) = wal::page(log, frame) else { return Ok(0) };
        let alike = |other: &[u8]| page.iter().zip(other).filter(|(one, other)| one == other).count();
        let earlier = (1..frame).rev().find_map(|frame| wal::page(log, frame).filter(|(at, _)| *at == number));
        if let Some((_, earlier)) = earlier {
            return Ok(alike(earlier));
        }
        let (mut before, place) = (vec![0; page.len()], u64::from(number.saturating_sub(1)) * page.len() as u64);
        let at = Error::at(self.database);
        let database = File::open(self.database).map_err(at)?;
        // A page that is new was never there.
        if database.metadata().map_err(at)?.len() < place + page.len() as u64 {
            return Ok(0);
        }
        database.read_exact_at(&mut before, place).map_err(at)?;
        Ok(alike(&before))
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let mut name = self.copy.as_os_str().to_owned();
            name.push(end);
            // What is not there need not go.
            let _ = std::fs::remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::wal::tests::log;
    use super::*;

    #[test]
    fn nobody_else_reads_what_is_tried_and_nothing_of_it_stays() {
        let folder = std::env::temp_dir().join(format!("comity-trial-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = folder.join("database");
        create_file(&database).unwrap();
        let files = || -> Vec<_> { std::fs::read_dir(&folder).unwrap().map(Result::unwrap).collect() };
        let trial = Trial::of(&database);
        trial.make(b"a log").unwrap();
        assert_eq!(files().len(), 3);
        for file in files() {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        drop(trial);
        assert_eq!(files().len(), 1);
        for left in ["database-copy", "database-copy-wal", "database-copy-shm"] {
            std::fs::write(folder.join(left), "left by a crash").unwrap();
        }
        wal::mend(&database, None).unwrap();
        assert_eq!(files().len(), 1);
        std::fs::remove_file(&database).unwrap();
        Trial::of(&database).fits(b"a log", 1).unwrap_err();
        assert_eq!(files().len(), 0);
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_page_is_compared_with_what_was_there_before() {
        let folder = std::env::temp_dir().join(format!("comity-likeness-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (database, log) = (folder.join("database"), log());
        let (number, page) = wal::page(&log, 1).unwrap();
        let mut before = vec![0xff; usize::try_from(number).unwrap() * page.len()];
        let start = before.len() - page.len();
        before[start..].copy_from_slice(page);
        before[start + 17] ^= 1;
        std::fs::write(&database, &before).unwrap();
        let trial = Trial::of(&database);
        assert_eq!(trial.likeness(&log, 1).unwrap(), page.len() - 1);
        // It was never there.
        assert_eq!(trial.likeness(&log, 2).unwrap(), 0);
        // With an update of the same page that is in the log.
        let mut again = log.clone();
        again.copy_within(32..36, 32 + 24 + 512);
        let other = wal::page(&again, 2).unwrap().1;
        let alike = page.iter().zip(other).filter(|(one, other)| one == other).count();
        assert_eq!(trial.likeness(&again, 2).unwrap(), alike);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

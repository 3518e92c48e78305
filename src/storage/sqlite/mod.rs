//! The backend over SQLite: one file in the data directory, in write-ahead mode.
//!
//! One connection writes, a few read. The log is a table that only grows at its end and has no second index: with one an
//! insert costs three times as much, and with the owner in front of its key ten times. What must be found by owner
//! stands in small tables of its own: undelivered positions from the beginning, archived ones as soon as a few thousand
//! can be sorted in together. Until then they are found by reading the end of the log.

mod apply;
mod archive;
mod checksum;
mod counter;
mod directory;
mod examine;
mod groups;
mod header;
mod index;
mod readers;
mod repair;
mod rows;
mod salvage;
mod schema;
mod synced;
mod times;
mod trial;
mod wal;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, ErrorCode};

pub(super) use self::apply::Sqlite;
pub(super) use self::directory::Lock;
pub(super) use self::readers::Readers;
pub(super) use self::rows::Rows;
pub use self::schema::SCHEMA_VERSION;
use self::synced::{Keeper, Synced};
#[cfg(feature = "testing")]
pub use self::wal::mend_log;
use super::handle::SECRET;
use super::writer::Bounds;
use super::{Error, Position};

/// Makes a connection give back what it has read and does not need at the moment.
const RELAX: &str = "PRAGMA shrink_memory";

/// An opened database.
pub(super) struct Opened<L> {
    pub(super) backend: Sqlite,
    pub(super) readers: Readers,
    /// Keeps other processes out for as long as it lives.
    pub(super) lock: L,
    /// The first free position.
    pub(super) first: u64,
    pub(super) bounds: Bounds,
    pub(super) secret: [u8; SECRET],
}

/// Opens or creates the database in `directory`.
pub(super) fn open(directory: &Path, readers: usize) -> Result<Opened<Lock>, Error> {
    directory::create(directory)?;
    let lock = Lock::take(directory)?;
    let file = directory::database(directory, |file| {
        let mut connection = Connection::open_with_flags(file, directory::WRITE)?;
        schema::migrate(&mut connection)?;
        // Last, so that nothing is in a write-ahead log, which would keep its name.
        schema::configure(&connection)?;
        connection.close().map_err(|(_, error)| error.into())
    })?;
    header::mend(&file)?;
    wal::mend(&file, Synced::read(&file)?)?;
    let mut connection = match connect(directory, &file) {
        Err(Error::Corrupt(reason)) => {
            salvage::salvage(&file, &reason)?;
            connect(directory, &file)?
        }
        connected => connected?,
    };
    let (first, reserved) = schema::reserve(&mut connection)?;
    schema::requeue(&mut connection, first)?;
    let bounds = Bounds { reserved, indexed: index::upto(&connection)? };
    let secret = schema::secret(&connection)?;
    let keeper = Keeper::new(&mut connection, &file)?;
    let readers = Readers::on_disk(file, readers);
    let backend = Sqlite::new(Arc::new(Mutex::new(connection)), readers.clone(), Some(keeper))?;
    Ok(Opened { backend, readers, lock, first, bounds, secret })
}

/// Opens the database for writing, with the current schema and nothing wrong in it.
fn connect(directory: &Path, file: &Path) -> Result<Connection, Error> {
    let mut connection = Connection::open_with_flags(file, directory::WRITE)?;
    schema::check_application(&connection, file)?;
    schema::configure(&connection)?;
    // The write-ahead log exists now, and its name must survive as what is committed to it does. SQLite sees to that with
    // the first commit, but says nothing if it fails.
    directory::sync(directory)?;
    schema::check(&connection)?;
    schema::migrate(&mut connection)?;
    examine::examine(&mut connection)?;
    index::complete(&mut connection)?;
    // Looking at everything has read everything.
    connection.execute_batch(RELAX)?;
    Ok(connection)
}

/// A database in memory. Its readers share the connection of its writer.
pub(super) type Memory = Arc<Mutex<Connection>>;

/// Opens what an earlier server has left in memory, or something new. What keeps others out of a directory is in memory
/// what keeps the data for the next one.
pub(super) fn open_in_memory(left: Option<Memory>) -> Result<Opened<Memory>, Error> {
    let memory = match left {
        Some(memory) => memory,
        None => Arc::new(Mutex::new(Connection::open_in_memory()?)),
    };
    let (first, bounds, secret) = {
        let mut connection = memory.lock().unwrap_or_else(PoisonError::into_inner);
        schema::migrate(&mut connection)?;
        let (first, reserved) = schema::reserve(&mut connection)?;
        schema::requeue(&mut connection, first)?;
        let bounds = Bounds { reserved, indexed: index::upto(&connection)? };
        (first, bounds, schema::secret(&connection)?)
    };
    let readers = Readers::in_memory(Arc::clone(&memory));
    let backend = Sqlite::new(Arc::clone(&memory), readers.clone(), None)?;
    Ok(Opened { backend, readers, lock: memory, first, bounds, secret })
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let has_no_room = error.sqlite_error().is_some_and(|it| {
            // The second is about the index of the write-ahead log, which is made anew whenever it is missing: that it
            // could not grow says nothing about the data. Where a sync finds no room, SQLite tells it from neither.
            it.code == ErrorCode::DiskFull || it.extended_code == SQLITE_IOERR_SHMSIZE
        });
        let is_corrupt = match &error {
            // What was written has the type that is read, and what is asked for in this way is there.
            rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => true,
            other => matches!(
                other.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig)
            ),
        };
        match error.to_string() {
            reason if has_no_room => Self::NoRoom(reason),
            reason if is_corrupt => Self::Corrupt(reason),
            reason => Self::Engine(reason),
        }
    }
}

/// SQLite has signed numbers only. Positions never come near the middle of their range.
fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl ToSql for Position {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(column(self.number()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::Backend as _;
    use super::*;

    #[test]
    fn what_is_wrong_is_told_apart() {
        let connection = Connection::open_in_memory().unwrap();
        let wrong = |sql| connection.execute_batch(sql).map_err(Error::from).unwrap_err();
        connection.execute_batch("CREATE TABLE t (a BLOB UNIQUE) STRICT").unwrap();
        let twice = wrong("INSERT INTO t VALUES (x'01'), (x'01')");
        assert!(matches!(twice, Error::Engine(_)), "{twice:?}");
        let full = wrong("PRAGMA max_page_count = 4; INSERT INTO t VALUES (zeroblob(65536))");
        assert!(matches!(full, Error::NoRoom(_)), "{full:?}");

        let none = connection.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)).map_err(Error::from);
        assert!(matches!(none, Err(Error::Corrupt(_))), "{none:?}");
        let text = connection.query_row("SELECT 'a'", [], |row| row.get::<_, i64>(0)).map_err(Error::from);
        assert!(matches!(text, Err(Error::Corrupt(_))), "{text:?}");
    }

    #[test]
    fn a_writer_that_is_lost_leaves_the_write_ahead_log_as_it_is() {
        let left = |name: &str, abandoned: bool| {
            let directory = std::env::temp_dir().join(format!("comity-{name}-{}", std::process::id()));
            let Opened { mut backend, readers, lock, first, .. } = open(&directory, 1).unwrap();
            backend.commit(&[], Some(first + 1000), None).unwrap();
            if abandoned {
                backend.abandon();
            }
            drop((backend, readers, lock));
            let files = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
            let logs = files.filter(|file| file.to_str().unwrap().ends_with("-wal")).count();
            std::fs::remove_dir_all(&directory).unwrap();
            logs
        };
        assert_eq!((left("closed", false), left("lost", true)), (0, 1));
    }
}

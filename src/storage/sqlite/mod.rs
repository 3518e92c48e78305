//! The backend over SQLite: one file in the data directory, in write-ahead mode.
//!
//! One connection writes, a few read. The log is a table that only grows at its end and has no second index: with one an
//! insert costs three times as much, and with the owner in front of its key ten times. What must be found by owner
//! stands in small tables of its own: undelivered positions from the beginning, archived ones as soon as a few thousand
//! can be sorted in together. Until then they are found by reading the end of the log.

mod apply;
mod archive;
mod checksum;
mod directory;
mod groups;
mod index;
mod readers;
mod rows;
mod schema;
mod times;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput};

pub(super) use self::apply::Sqlite;
pub(super) use self::directory::Lock;
pub(super) use self::readers::Readers;
pub(super) use self::rows::Rows;
pub use self::schema::SCHEMA_VERSION;
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
    let file = directory::database(directory)?;
    let mut connection = Connection::open_with_flags(&file, directory::WRITE)?;
    schema::check_application(&connection, &file)?;
    schema::configure(&connection)?;
    schema::migrate(&mut connection)?;
    index::complete(&mut connection)?;
    let (first, reserved) = schema::reserve(&mut connection)?;
    schema::requeue(&mut connection, first)?;
    let bounds = Bounds { reserved, indexed: index::upto(&connection)? };
    let secret = schema::secret(&connection)?;
    let readers = Readers::on_disk(file, readers);
    let backend = Sqlite::new(Arc::new(Mutex::new(connection)), readers.clone());
    Ok(Opened { backend, readers, lock, first, bounds, secret })
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
    let backend = Sqlite::new(Arc::clone(&memory), readers.clone());
    Ok(Opened { backend, readers, lock: memory, first, bounds, secret })
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.to_string())
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

//! The tables and their versions.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::handle::SECRET;
use super::super::log::Positions;
use super::super::{Error, Marks};
use super::column;
use crate::crash;

/// Step n leads from version n to version n + 1. A step that was released never changes; a new version is a new step, a
/// new sample in `tests/data/` and nothing else.
const STEPS: &[&str] = &[
    "
    -- local is empty for a domain itself.
    CREATE TABLE owners (
        id INTEGER PRIMARY KEY,
        domain TEXT NOT NULL,
        local TEXT NOT NULL,
        UNIQUE (domain, local)
    ) STRICT;
    CREATE TABLE cells (
        owner INTEGER NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (owner, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE maps (
        owner INTEGER NOT NULL,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (owner, name, key)
    ) STRICT, WITHOUT ROWID;
    -- Grows at its end only; no second index.
    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        owner INTEGER NOT NULL,
        direction INTEGER NOT NULL,
        time INTEGER NOT NULL,
        marks INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        peer TEXT NOT NULL,
        payload TEXT NOT NULL
    ) STRICT;
    CREATE TABLE undelivered (
        owner INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (owner, position)
    ) STRICT, WITHOUT ROWID;
    -- One row: all positions below it may have been seen by somebody.
    CREATE TABLE positions (reserved INTEGER NOT NULL) STRICT;
    INSERT INTO positions VALUES (1);
",
    "
    -- Finds the archived entries of an owner; filled in the background, below the position in indexed.
    CREATE TABLE archived (
        owner INTEGER NOT NULL,
        position INTEGER NOT NULL,
        time INTEGER NOT NULL,
        -- A fingerprint of the bare JID of the other side.
        peer INTEGER NOT NULL,
        PRIMARY KEY (owner, position)
    ) STRICT, WITHOUT ROWID;
    -- One row.
    CREATE TABLE indexed (upto INTEGER NOT NULL) STRICT;
    INSERT INTO indexed VALUES (1);
    -- One row, made when the data is opened for the first time.
    CREATE TABLE secret (value BLOB NOT NULL) STRICT;
",
    "
    -- One row: below this position an entry with the mark for queued has arrived or is undelivered.
    CREATE TABLE handed (upto INTEGER NOT NULL) STRICT;
    INSERT INTO handed VALUES (1);
    -- The number of an entry in the queue of a session, for a client that comes back after a restart.
    CREATE TABLE queued (
        position INTEGER NOT NULL,
        session INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (position, session)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- In which groups of archived entries of an owner there is something of a peer; of a group its first and last
    -- position.
    CREATE TABLE exchanged (
        owner INTEGER NOT NULL,
        peer INTEGER NOT NULL,
        upto INTEGER NOT NULL,
        first INTEGER NOT NULL,
        PRIMARY KEY (owner, peer, upto)
    ) STRICT, WITHOUT ROWID;
    -- Of each indexed portion of the log its first position, the earliest time from there on, and the latest time up to
    -- its end.
    CREATE TABLE times (
        first INTEGER PRIMARY KEY,
        earliest INTEGER NOT NULL,
        latest INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX times_earliest ON times (earliest, first);
    CREATE INDEX times_latest ON times (latest, first);
    -- What was indexed before is indexed again.
    DELETE FROM archived;
    UPDATE indexed SET upto = 1;
",
];

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Says in the file whose it is: "Comi".
const APPLICATION: i64 = 0x436f_6d69;

/// Refuses a database of another program before anything is written to it.
pub(super) fn check_application(connection: &Connection, file: &Path) -> Result<(), Error> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_ours = application == APPLICATION || (application == 0 && objects == 0);
    if is_ours { Ok(()) } else { Err(Error::Foreign { path: file.to_owned() }) }
}

/// Sets up the writing connection of a database on disk.
pub(super) fn configure(connection: &Connection) -> Result<(), Error> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::Engine(format!("write-ahead mode is not available here (but {mode})")));
    }
    // The writer moves the write-ahead log by itself, in idle moments.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;",
    )?;
    Ok(())
}

/// Brings the schema up to date, each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(found).ok().filter(|done| *done <= STEPS.len());
    let done = done.ok_or(Error::Newer { found, known: SCHEMA_VERSION })?;
    for (version, step) in (1_i64..).zip(STEPS).skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Reserves a range of positions; returns its first and the one behind it.
pub(super) fn reserve(connection: &mut Connection) -> Result<(u64, u64), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let reserved: Option<i64> =
        transaction.query_row("SELECT max(reserved) FROM positions", [], |row| row.get(0)).optional()?.flatten();
    // The entries are asked too, in case the row was damaged: a position must never be used twice.
    let used: Option<i64> = transaction.query_row("SELECT max(position) FROM log", [], |row| row.get(0))?;
    let first = reserved.unwrap_or(1).max(used.unwrap_or(0).saturating_add(1));
    let first = u64::try_from(first).map_err(|_| Error::Engine("the position counter is damaged".into()))?;
    let behind = first.saturating_add(Positions::RANGE);
    transaction.execute("DELETE FROM positions", [])?;
    transaction.execute("INSERT INTO positions VALUES (?1)", [column(behind)])?;
    transaction.commit()?;
    Ok((first, behind))
}

/// Entries that had been handed to sessions when the server ended in the middle of everything wait for their accounts
/// again, for nobody knows whether they arrived. `next` is the position that is handed out next.
pub(super) fn requeue(connection: &mut Connection, next: u64) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = "position >= (SELECT max(upto) FROM handed) AND marks & ?1";
    let (queued, undelivered) = (Marks::QUEUED.bits(), Marks::UNDELIVERED.bits());
    transaction.execute(&format!("UPDATE log SET marks = marks | ?2 WHERE {found}"), [queued, undelivered])?;
    let note = format!("INSERT OR IGNORE INTO undelivered SELECT owner, position FROM log WHERE {found}");
    transaction.execute(&note, [queued])?;
    transaction.execute("UPDATE handed SET upto = ?1", [column(next)])?;
    crash::at(crash::Point::Requeue);
    transaction.commit()?;
    crash::at(crash::Point::Requeue);
    Ok(())
}

/// The secret of the data; made if there is none yet.
pub(super) fn secret(connection: &Connection) -> Result<[u8; SECRET], Error> {
    let known: Option<Vec<u8>> = connection.query_row("SELECT value FROM secret", [], |row| row.get(0)).optional()?;
    if let Some(known) = known {
        return known.try_into().map_err(|_| Error::Engine("the secret is damaged".into()));
    }
    let mut secret = [0; SECRET];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::Engine("there are no random numbers".into()))?;
    connection.execute("INSERT INTO secret VALUES (?1)", [secret.as_slice()])?;
    Ok(secret)
}

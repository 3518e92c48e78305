//! The tables and their versions.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::super::handle::SECRET;
use super::super::log::Positions;
use super::super::{Error, Marks};
use super::checksum::Kept;
use super::column;

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
    -- Everything has a checksum from here on, see `checked`; that of marks is that they stand there twice.
    ALTER TABLE owners RENAME TO old_owners;
    CREATE TABLE owners (
        id INTEGER PRIMARY KEY,
        domain TEXT NOT NULL,
        local TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (domain, local)
    ) STRICT;
    ALTER TABLE cells RENAME TO old_cells;
    CREATE TABLE cells (
        owner INTEGER NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (owner, name)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE maps RENAME TO old_maps;
    CREATE TABLE maps (
        owner INTEGER NOT NULL,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (owner, name, key)
    ) STRICT, WITHOUT ROWID;
    UPDATE log SET marks = marks * 257;
    -- Counters and the secret are written twice.
    ALTER TABLE positions ADD COLUMN copy INTEGER NOT NULL DEFAULT 0;
    UPDATE positions SET copy = reserved;
    ALTER TABLE indexed ADD COLUMN copy INTEGER NOT NULL DEFAULT 0;
    UPDATE indexed SET copy = upto;
    ALTER TABLE handed ADD COLUMN copy INTEGER NOT NULL DEFAULT 0;
    UPDATE handed SET copy = upto;
    ALTER TABLE secret ADD COLUMN copy BLOB NOT NULL DEFAULT x'';
    ALTER TABLE secret ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
",
];

/// The version from which on cells, maps and owners have checksums.
const CHECKED: i64 = 4;

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
    // To its end: the change is committed behind the row that says what it is.
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let modes = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let mode = modes.concat();
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
        if version == CHECKED {
            checked(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Gives checksums to what had none.
fn checked(connection: &Connection) -> Result<(), Error> {
    let mut old = connection.prepare("SELECT id, domain, local FROM old_owners")?;
    let mut new = connection.prepare("INSERT INTO owners VALUES (?1, ?2, ?3, ?4)")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let (id, domain, local): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let checksum = Kept::Owner { domain: &domain, local: &local }.checksum(id);
        new.execute(params![id, domain, local, checksum])?;
    }
    let mut old = connection.prepare("SELECT owner, name, value FROM old_cells")?;
    let mut new = connection.prepare("INSERT INTO cells VALUES (?1, ?2, ?3, ?4)")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let (owner, name, value): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let checksum = Kept::Cell { name: &name, value: &value }.checksum(owner);
        new.execute(params![owner, name, value, checksum])?;
    }
    let mut old = connection.prepare("SELECT owner, name, key, value FROM old_maps")?;
    let mut new = connection.prepare("INSERT INTO maps VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let (owner, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let (key, value): (String, String) = (row.get(2)?, row.get(3)?);
        let checksum = Kept::Item { name: &name, key: &key, value: &value }.checksum(owner);
        new.execute(params![owner, name, key, value, checksum])?;
    }
    let secret: Option<Vec<u8>> = connection.query_row("SELECT value FROM secret", [], |row| row.get(0)).optional()?;
    if let Some(secret) = secret {
        connection.execute("DELETE FROM secret", [])?;
        keep_secret(connection, &secret)?;
    }
    connection.execute_batch("DROP TABLE old_owners; DROP TABLE old_cells; DROP TABLE old_maps;")?;
    Ok(())
}

/// Reserves a range of positions; returns its first and the one behind it.
pub(super) fn reserve(connection: &mut Connection) -> Result<(u64, u64), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let reserved: Option<i64> = transaction
        .query_row("SELECT max(max(reserved, copy)) FROM positions", [], |row| row.get(0))
        .optional()?
        .flatten();
    // The entries are asked too, in case the row was damaged: a position must never be used twice.
    let used: Option<i64> = transaction.query_row("SELECT max(position) FROM log", [], |row| row.get(0))?;
    let first = reserved.unwrap_or(1).max(used.unwrap_or(0).saturating_add(1));
    let first = u64::try_from(first).map_err(|_| Error::Engine("the position counter is damaged".into()))?;
    let behind = first.saturating_add(Positions::RANGE);
    transaction.execute("DELETE FROM positions", [])?;
    transaction.execute("INSERT INTO positions VALUES (?1, ?1)", [column(behind)])?;
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
    transaction.execute("UPDATE handed SET upto = ?1, copy = ?1", [column(next)])?;
    transaction.commit()?;
    Ok(())
}

/// The secret of the data; made if there is none yet.
pub(super) fn secret(connection: &Connection) -> Result<[u8; SECRET], Error> {
    let known: Option<(Vec<u8>, Vec<u8>, i64)> = connection
        .query_row("SELECT value, copy, checksum FROM secret", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    if let Some((value, copy, checksum)) = known {
        let is_right = |secret: &[u8]| Kept::Secret(secret).checksum(0) == checksum;
        let known = if is_right(&value) || value == copy { value } else { copy.clone() };
        if !is_right(&known) && known != copy {
            return Err(Error::Damaged("the secret".into()));
        }
        return known.try_into().map_err(|_| Error::Damaged("the secret".into()));
    }
    let mut secret = [0; SECRET];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::Engine("there are no random numbers".into()))?;
    keep_secret(connection, &secret)?;
    Ok(secret)
}

/// Writes the secret of data that has none.
pub(super) fn keep_secret(connection: &Connection, secret: &[u8]) -> Result<(), Error> {
    let checksum = Kept::Secret(secret).checksum(0);
    connection.execute("INSERT INTO secret VALUES (?1, ?1, ?2)", params![secret, checksum])?;
    Ok(())
}

//! The tables and their versions.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::super::handle::SECRET;
use super::super::log::Positions;
use super::super::{Error, Marks};
use super::checksum::{Kept, VERSION, place, sum};
use super::column;
use super::counter::Counter;
use super::repair::{Kind, Row};
use crate::crash;
use crate::random;

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
    ALTER TABLE positions ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE indexed ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE handed ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE queued ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    -- One row: the version, and the checksum of what leads to the tables.
    CREATE TABLE version (
        number INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    INSERT INTO version VALUES (0, 0, 0);
    ALTER TABLE secret ADD COLUMN copy BLOB NOT NULL DEFAULT x'';
    ALTER TABLE secret ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
",
];

/// The version from which on everything has a checksum.
const CHECKED: i64 = 5;

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Says in the file whose it is: "Comi".
pub(super) const APPLICATION: u32 = 0x436f_6d69;

/// Refuses a database of another program before anything is written to it.
pub(super) fn check_application(connection: &Connection, file: &Path) -> Result<(), Error> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_ours = application == i64::from(APPLICATION) || (application == 0 && objects == 0);
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
        if version >= CHECKED {
            seal(&transaction, version)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Notes the version and the checksum of the schema; to be called in the transaction that has changed it.
pub(super) fn seal(connection: &Connection, version: i64) -> Result<(), Error> {
    let schema = checksum(connection)?;
    let sum = sum([VERSION, version, schema], []);
    connection.execute("UPDATE version SET number = ?1, schema = ?2, checksum = ?3", [version, schema, sum])?;
    Ok(())
}

/// Covers the tables, their indexes, and the pages on which they begin.
fn checksum(connection: &Connection) -> Result<i64, Error> {
    let query = "SELECT rootpage, type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema ORDER BY name";
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut state = 0;
    while let Some(row) = rows.next()? {
        let text = |column| row.get_ref(column)?.as_bytes().map_err(rusqlite::Error::from);
        state = sum([state, row.get(0)?], [text(1)?, text(2)?, text(3)?, text(4)?]);
    }
    Ok(state)
}

/// Looks whether what leads to the tables is as it was written: a table that begins on another page would be another
/// table. A version that is none, because a bit of it has flipped, is put right.
pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match sealed(connection) {
        Ok(Some(version)) if version <= SCHEMA_VERSION && (found ^ version).count_ones() == 1 => {
            tracing::error!(found, version, "a flipped bit of the version of the schema was put right");
            connection.pragma_update(None, "user_version", version)?;
            Ok(())
        }
        Ok(Some(version)) if found == version => Ok(()),
        // Of an older version, which had no checksums; or of a newer one, which is refused.
        Ok(None) if found < CHECKED => Ok(()),
        _ if found > SCHEMA_VERSION => Ok(()),
        Ok(_) => Err(Error::Corrupt("the version of the schema".into())),
        Err(error) => Err(error),
    }
}

/// The version that was noted with the schema as it is; nothing if there is no place for it.
fn sealed(connection: &Connection) -> Result<Option<i64>, Error> {
    let table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'version')";
    if !connection.query_row(table, [], |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let noted = connection.query_row("SELECT * FROM version", [], columns);
    let (number, schema, checksum) = noted.map_err(|error| match error.sqlite_error_code() {
        // There is no such table, although it is listed.
        Some(ErrorCode::Unknown) => Error::Corrupt(error.to_string()),
        _ => error.into(),
    })?;
    let noted = Row { numbers: vec![number, schema], texts: Vec::new(), checksum };
    let is_right = noted.is_right(Kind::Version);
    let right = if is_right { Some(noted) } else { noted.repaired(Kind::Version) };
    let now = self::checksum(connection)?;
    match right.as_ref().map(|right| right.numbers.as_slice()) {
        Some([number, schema]) if *schema == now => {
            if !is_right {
                tracing::error!("a flipped bit beside the version of the schema was put right");
                seal(connection, *number)?;
            }
            Ok(Some(*number))
        }
        _ => Err(Error::Corrupt("the schema is not what was written".into())),
    }
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
    let mut old = connection.prepare("SELECT position, session, number FROM queued")?;
    let mut new = connection.prepare("UPDATE queued SET checksum = ?3 WHERE position = ?1 AND session = ?2")?;
    let queued = old.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (position, session, number) in queued.collect::<Result<Vec<(i64, i64, i64)>, _>>()? {
        new.execute([position, session, place(position, session, number)])?;
    }
    for counter in Counter::ALL {
        let value = format!("SELECT * FROM {}", counter.table());
        counter.set(connection, connection.query_row(&value, [], |row| row.get(0))?)?;
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
    let reserved: i64 = transaction.query_row("SELECT reserved FROM positions", [], |row| row.get(0))?;
    // The entries are asked too: a position must never be used twice.
    let used: Option<i64> = transaction.query_row("SELECT max(position) FROM log", [], |row| row.get(0))?;
    let first = reserved.max(used.unwrap_or(0).saturating_add(1));
    let first = u64::try_from(first).map_err(|_| Error::Engine("the position counter is damaged".into()))?;
    let behind = first.saturating_add(Positions::RANGE);
    Counter::Reserved.set(&transaction, column(behind))?;
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
    Counter::Handed.set(&transaction, column(next))?;
    crash::at(crash::Point::Requeue);
    transaction.commit()?;
    crash::at(crash::Point::Requeue);
    Ok(())
}

/// The secret of the data; made if there is none yet. What a flipped bit has changed is put right.
pub(super) fn secret(connection: &Connection) -> Result<[u8; SECRET], Error> {
    let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let known: Option<(Vec<u8>, Vec<u8>, i64)> =
        connection.query_row("SELECT value, copy, checksum FROM secret", [], columns).optional()?;
    let Some((value, copy, checksum)) = known else {
        let secret = random::octets();
        keep_secret(connection, &secret)?;
        return Ok(secret);
    };
    // Two of the three agree.
    let is_right = |secret: &Vec<u8>| Kept::Secret(secret).checksum(0) == checksum;
    let known = [&value, &copy].into_iter().find(|secret| is_right(secret)).or((value == copy).then_some(&value));
    let damaged = || Error::Corrupt("the secret".into());
    let known: [u8; SECRET] = known.and_then(|known| known.as_slice().try_into().ok()).ok_or_else(damaged)?;
    if value != copy || !is_right(&value) {
        tracing::error!("a flipped bit of the secret was put right");
        let checksum = Kept::Secret(&known).checksum(0);
        connection
            .execute("UPDATE secret SET value = ?1, copy = ?1, checksum = ?2", params![known.as_slice(), checksum])?;
    }
    Ok(known)
}

/// Writes the secret of data that has none.
pub(super) fn keep_secret(connection: &Connection, secret: &[u8]) -> Result<(), Error> {
    let checksum = Kept::Secret(secret).checksum(0);
    connection.execute("INSERT INTO secret VALUES (?1, ?1, ?2)", params![secret, checksum])?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A database in which nothing is.
    pub(in super::super) fn empty() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
    }

    fn versioned(connection: &Connection, version: i64) -> Result<(), Error> {
        connection.pragma_update(None, "user_version", version).unwrap();
        check(connection)
    }

    #[test]
    fn a_version_that_is_not_what_was_noted_is_put_right_or_refused() {
        let connection = empty();
        versioned(&connection, SCHEMA_VERSION).unwrap();
        versioned(&connection, SCHEMA_VERSION ^ 1 << 20).unwrap();
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(found, SCHEMA_VERSION);
        let other = (0..SCHEMA_VERSION).find(|other| (other ^ SCHEMA_VERSION).count_ones() == 2).unwrap();
        assert!(matches!(versioned(&connection, other), Err(Error::Corrupt(_))));
        // Whoever brings it up to date says that it is too new.
        versioned(&connection, SCHEMA_VERSION + 3 + (1 << 20)).unwrap();
    }

    #[test]
    fn only_old_versions_have_no_checksum_of_their_schema() {
        let connection = Connection::open_in_memory().unwrap();
        versioned(&connection, CHECKED - 1).unwrap();
        assert!(matches!(versioned(&connection, CHECKED), Err(Error::Corrupt(_))));
    }
}

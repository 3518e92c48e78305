//! Writing: the jobs of a group in one transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};

use super::super::writer::{Backend, Checkpoint, Job};
use super::super::writes::Change;
use super::super::{Direction, Entry, Error, Marks, Position, Receipt};
use super::archive::ENTRY;
use super::checksum::{Covered, Kept, place};
use super::counter::Counter;
use super::readers::Readers;
use super::rows::{self, entry};
use super::synced::Keeper;
use super::{RELAX, column, groups, index};
use crate::crash;
use crate::jid::BareJid;

/// How many owners' row numbers are kept in memory.
const OWNERS: usize = 1 << 16;
/// How many prepared statements a connection keeps; more than there are.
const STATEMENTS: usize = 64;

/// The writing connection.
#[derive(Debug)]
pub(in super::super) struct Sqlite {
    /// Shared with the readers only when the database is in memory.
    connection: Arc<Mutex<Connection>>,
    /// They rest when the writer does.
    readers: Readers,
    owners: Owners,
    /// Only of a database on disk.
    keeper: Option<Keeper>,
}

/// The row numbers of owners that exist.
#[derive(Debug, Default)]
struct Owners(HashMap<BareJid, i64, foldhash::fast::RandomState>);

impl<'a> Covered<'a> {
    fn of(position: Position, owner: i64, entry: &'a Entry) -> Self {
        Self {
            position: column(position.number()),
            owner,
            direction: direction(entry.direction),
            time: column(entry.time),
            peer: entry.peer.as_bytes(),
            payload: entry.payload.as_bytes(),
        }
    }
}

/// Has statements prepared once for each connection, whatever values they are given: otherwise some plans depend on the
/// values, and those statements are prepared again each time.
pub(super) fn keep_statements(connection: &Connection) -> Result<(), Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

impl Sqlite {
    pub(super) fn new(
        connection: Arc<Mutex<Connection>>,
        readers: Readers,
        keeper: Option<Keeper>,
    ) -> Result<Self, Error> {
        keep_statements(&connection.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(Self { connection, readers, owners: Owners::default(), keeper })
    }
}

impl Backend for Sqlite {
    fn commit(&mut self, jobs: &[Job], reserve: Option<u64>, index: Option<u64>) -> Result<Vec<Receipt>, Error> {
        let committed = self.transact(jobs, reserve, index);
        if committed.is_err() {
            // The owners that it created are gone with it.
            self.owners.0.clear();
            return committed;
        }
        self.keeper.as_ref().map_or(Ok(()), Keeper::note)?;
        committed
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        let statement = match checkpoint {
            Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Checkpoint::Whole => {
                self.keeper.take().map_or(Ok(()), Keeper::forget)?;
                "PRAGMA wal_checkpoint(TRUNCATE)"
            }
        };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        crash::at(crash::Point::Checkpoint);
        connection.query_row(statement, [], |_| Ok(()))?;
        Ok(())
    }

    /// Everybody who logs in has a time written beside his keys, so that after a while most accounts would lie in the
    /// cache; the pages that the next change needs are read from the system's own cache in microseconds.
    fn relax(&mut self) -> Result<(), Error> {
        self.owners = Owners::default();
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).execute_batch(RELAX)?;
        self.readers.relax()
    }

    fn abandon(&mut self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // The last connection that closes would move the write-ahead log, with another sync.
        if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, "the write-ahead log is moved although storage is lost");
        }
    }
}

impl Sqlite {
    fn transact(&mut self, jobs: &[Job], reserve: Option<u64>, index: Option<u64>) -> Result<Vec<Receipt>, Error> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut existing = Vec::new();
        let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for job in jobs {
            if let Some(creation) = &job.creation {
                if self.owners.exists(&transaction, &creation.owner)? {
                    existing.push(job.receipt);
                    continue;
                }
                self.owners.create(&transaction, &creation.owner)?;
            }
            for (owner, change) in job.writes.changes() {
                match self.owners.find_or_create_domain(&transaction, owner)? {
                    Some(id) => {
                        apply(&transaction, &mut insert, id, change)?;
                        if matches!(change, Change::DeleteOwner) {
                            self.owners.0.remove(owner);
                        }
                    }
                    // The account was removed after the change was thought of.
                    None => tracing::debug!(%owner, "a change of an account that does not exist was dropped"),
                }
            }
        }
        drop(insert);
        if let Some(upto) = jobs.iter().filter_map(|job| job.writes.handed()).max() {
            hand_over(&transaction, upto)?;
        }
        if let Some(reserve) = reserve {
            Counter::Reserved.set(&transaction, column(reserve))?;
        }
        if let Some(upto) = index {
            index::extend(&transaction, upto)?;
        }
        crash::at(crash::Point::Commit);
        transaction.commit()?;
        Ok(existing)
    }
}

impl Owners {
    fn find(&mut self, connection: &Connection, owner: &BareJid) -> Result<Option<i64>, Error> {
        if let Some(id) = self.0.get(owner) {
            return Ok(Some(*id));
        }
        let id = rows::find(connection, owner)?;
        if let Some(id) = id {
            self.keep(owner, id);
        }
        Ok(id)
    }

    fn create(&mut self, connection: &Connection, owner: &BareJid) -> Result<i64, Error> {
        let insert = "INSERT INTO owners (domain, local, checksum) VALUES (?1, ?2, 0)";
        let id = connection.prepare_cached(insert)?.insert(params![owner.domain(), local(owner)])?;
        // It covers the number, which is known only now.
        let checksum = Kept::Owner { domain: owner.domain(), local: local(owner) }.checksum(id);
        connection.prepare_cached("UPDATE owners SET checksum = ?2 WHERE id = ?1")?.execute([id, checksum])?;
        self.keep(owner, id);
        Ok(id)
    }

    /// One whose row is damaged exists, too.
    fn exists(&mut self, connection: &Connection, owner: &BareJid) -> Result<bool, Error> {
        match self.find(connection, owner) {
            Err(Error::Damaged(_)) => Ok(true),
            found => Ok(found?.is_some()),
        }
    }

    /// A domain exists as soon as it has something to keep.
    fn find_or_create_domain(&mut self, connection: &Connection, owner: &BareJid) -> Result<Option<i64>, Error> {
        match self.find(connection, owner) {
            Ok(None) if owner.local().is_none() => self.create(connection, owner).map(Some),
            // Nobody can read it either, so there is hardly anybody who writes; the others go on.
            Err(error @ Error::Damaged(_)) => {
                tracing::error!(%owner, %error, "what was to be written is lost");
                Ok(None)
            }
            found => found,
        }
    }

    fn keep(&mut self, owner: &BareJid, id: i64) {
        if self.0.len() >= OWNERS {
            self.0.clear();
        }
        self.0.insert(owner.clone(), id);
    }
}

/// How the localpart is stored.
pub(super) fn local(owner: &BareJid) -> &str {
    owner.local().unwrap_or_default()
}

/// How a direction is stored.
pub(super) const fn direction(direction: Direction) -> i64 {
    match direction {
        Direction::Received => 0,
        Direction::Sent => 1,
    }
}

/// Appending is nearly all there is, so its statement stays at hand.
fn apply(connection: &Connection, insert: &mut CachedStatement<'_>, owner: i64, change: &Change) -> Result<(), Error> {
    match change {
        Change::PutCell { name, value } => connection
            .prepare_cached("INSERT OR REPLACE INTO cells VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![owner, name, value, Kept::Cell { name, value }.checksum(owner)])?,
        Change::DeleteCell { name } => connection
            .prepare_cached("DELETE FROM cells WHERE owner = ?1 AND name = ?2")?
            .execute(params![owner, name])?,
        Change::PutItem { name, key, value } => connection
            .prepare_cached("INSERT OR REPLACE INTO maps VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![owner, name, key, value, Kept::Item { name, key, value }.checksum(owner)])?,
        Change::DeleteItem { name, key } => connection
            .prepare_cached("DELETE FROM maps WHERE owner = ?1 AND name = ?2 AND key = ?3")?
            .execute(params![owner, name, key])?,
        Change::ClearMap { name } => connection
            .prepare_cached("DELETE FROM maps WHERE owner = ?1 AND name = ?2")?
            .execute(params![owner, name])?,
        Change::Append { position, entry } => return append(connection, insert, (owner, *position), entry),
        Change::Mark { position, marks } => return mark(connection, owner, *position, *marks),
        Change::Unmark { position, marks } => return unmark(connection, owner, *position, *marks),
        Change::Queue { position, queued } => {
            let number = column(queued.number);
            let checksum = place(column(position.number()), queued.session, number);
            connection.prepare_cached("INSERT OR REPLACE INTO queued VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                position,
                queued.session,
                number,
                checksum
            ])?
        }
        Change::Replace { position, payload } => return replace(connection, owner, *position, payload),
        Change::Remove { position } => {
            connection
                .prepare_cached("DELETE FROM log WHERE position = ?1 AND owner = ?2")?
                .execute(params![position, owner])?;
            forget_archived(connection, owner, *position)?;
            forget_undelivered(connection, owner, *position)?
        }
        Change::Trim => return groups::trim(connection, owner),
        Change::DeleteOwner => return delete(connection, owner),
    };
    Ok(())
}

fn append(
    connection: &Connection,
    insert: &mut CachedStatement<'_>,
    (owner, position): (i64, Position),
    entry: &Entry,
) -> Result<(), Error> {
    if entry.marks.is_empty() {
        return Ok(());
    }
    let covered = Covered::of(position, owner, entry);
    insert.execute(params![
        covered.position,
        owner,
        covered.direction,
        covered.time,
        entry.marks.bits(),
        covered.checksum(),
        &*entry.peer,
        &*entry.payload,
    ])?;
    if entry.marks.contains(Marks::UNDELIVERED) {
        note_undelivered(connection, owner, position)?;
    }
    Ok(())
}

/// The checksum goes with the payload.
fn replace(connection: &Connection, owner: i64, position: Position, payload: &Arc<str>) -> Result<(), Error> {
    let number = column(position.number());
    let mut statement = connection.prepare_cached(ENTRY)?;
    let mut rows = statement.query(params![position, owner])?;
    let Some(found) = rows.next()?.map(|row| entry(row, number, owner)).transpose()?.flatten() else { return Ok(()) };
    let replaced = Entry { payload: Arc::clone(payload), ..found };
    connection.prepare_cached("UPDATE log SET payload = ?2, checksum = ?3 WHERE position = ?1")?.execute(params![
        position,
        &*replaced.payload,
        Covered::of(position, owner, &replaced).checksum()
    ])?;
    Ok(())
}

fn mark(connection: &Connection, owner: i64, position: Position, marks: Marks) -> Result<(), Error> {
    let changed = connection
        .prepare_cached("UPDATE log SET marks = marks | ?3 WHERE position = ?1 AND owner = ?2")?
        .execute(params![position, owner, marks.bits()])?;
    if changed > 0 && marks.contains(Marks::UNDELIVERED) {
        note_undelivered(connection, owner, position)?;
    }
    if changed > 0 && marks.contains(Marks::ARCHIVED) {
        note_archived(connection, owner, position)?;
    }
    Ok(())
}

fn unmark(connection: &Connection, owner: i64, position: Position, marks: Marks) -> Result<(), Error> {
    let cleared = (marks | Marks::QUEUED).bits();
    let deleted = connection
        .prepare_cached("DELETE FROM log WHERE position = ?1 AND owner = ?2 AND marks & ~?3 = 0")?
        .execute(params![position, owner, cleared])?;
    if deleted == 0 {
        connection
            .prepare_cached("UPDATE log SET marks = marks & ~?3 WHERE position = ?1 AND owner = ?2")?
            .execute(params![position, owner, cleared])?;
    }
    if marks.contains(Marks::UNDELIVERED) {
        connection.prepare_cached("DELETE FROM queued WHERE position = ?1")?.execute([position])?;
        forget_undelivered(connection, owner, position)?;
    }
    if marks.contains(Marks::ARCHIVED) {
        forget_archived(connection, owner, position)?;
    }
    Ok(())
}

/// An entry may be archived later than its neighbours are indexed.
fn note_archived(connection: &Connection, owner: i64, position: Position) -> Result<(), Error> {
    let query = "SELECT time, peer FROM log, indexed WHERE position = ?1 AND owner = ?2 AND position < indexed.upto";
    let mut statement = connection.prepare_cached(query)?;
    let found = statement.query_row(params![position, owner], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    let Some((time, peer)) = found.optional()? else { return Ok(()) };
    index::insert(connection, owner, position, (time, &peer))
}

fn forget_archived(connection: &Connection, owner: i64, position: Position) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached("DELETE FROM archived WHERE owner = ?1 AND position = ?2")?;
    Ok(statement.execute(params![owner, position])?)
}

fn note_undelivered(connection: &Connection, owner: i64, position: Position) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO undelivered VALUES (?1, ?2)")?;
    Ok(statement.execute(params![owner, position])?)
}

fn forget_undelivered(connection: &Connection, owner: i64, position: Position) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached("DELETE FROM undelivered WHERE owner = ?1 AND position = ?2")?;
    Ok(statement.execute(params![owner, position])?)
}

/// Every entry below `upto` has arrived or is marked as undelivered.
fn hand_over(connection: &Connection, upto: Position) -> Result<(), Error> {
    let within = "position >= (SELECT upto FROM handed) AND position < ?1";
    let arrived = format!("DELETE FROM log WHERE {within} AND marks = ?2");
    connection.prepare_cached(&arrived)?.execute(params![upto, Marks::QUEUED.bits()])?;
    let numbers = format!(
        "DELETE FROM queued WHERE {within}
             AND NOT EXISTS (SELECT 1 FROM log WHERE log.position = queued.position AND marks & ?2)"
    );
    connection.prepare_cached(&numbers)?.execute(params![upto, Marks::UNDELIVERED.bits()])?;
    Counter::Handed.set(connection, column(upto.number()))
}

fn delete(connection: &Connection, owner: i64) -> Result<(), Error> {
    for statement in [
        "DELETE FROM cells WHERE owner = ?1",
        "DELETE FROM maps WHERE owner = ?1",
        // What is in neither table has come since the index was extended, or is on its way to sessions.
        "DELETE FROM queued WHERE position IN (SELECT position FROM undelivered WHERE owner = ?1)",
        "DELETE FROM log WHERE position IN (SELECT position FROM archived WHERE owner = ?1)",
        "DELETE FROM log WHERE position IN (SELECT position FROM undelivered WHERE owner = ?1)",
        "DELETE FROM log WHERE position >= (SELECT min(indexed.upto, handed.upto) FROM indexed, handed) AND owner = ?1",
        "DELETE FROM archived WHERE owner = ?1",
        "DELETE FROM exchanged WHERE owner = ?1",
        "DELETE FROM undelivered WHERE owner = ?1",
        "DELETE FROM owners WHERE id = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([owner])?;
    }
    Ok(())
}

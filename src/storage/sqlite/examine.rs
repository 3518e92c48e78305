//! What is looked at when the data is opened, because nobody would see it by reading.
//!
//! Every row has a checksum, so a damaged one is found when it is read. One that cannot be reached any more is not: a
//! value that is missing looks like one that was never written. So the trees of the tables are walked and the checksums
//! compared before anything is served. A row that a bit changed is put right, and so is what another table repeats; for
//! the rest the start is refused.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, TransactionBehavior, params};

use super::super::log::bare;
use super::super::{Entry, Error, Marks};
use super::checksum::{Kept, fingerprint};
use super::counter::Counter;
use super::repair::{Kind, Row};
use super::rows::entry;
use super::schema::{SCHEMA_VERSION, seal, secret};
use super::{groups, times};

/// The tables with values that stand nowhere else, and are small.
const VALUES: [&str; 8] = ["cells", "maps", "queued", "positions", "indexed", "handed", "secret", "version"];
/// Up to so many pages of 4 KiB the log is walked, too. In a larger one what is missing is noticed by those who are led
/// to it from another table.
const SMALL: i64 = 1 << 14;
/// The checksum of a row that nobody can put right: whoever reads it finds that it is damaged.
pub(super) const KNOWN: i64 = 0;
/// So many complaints say enough.
const COMPLAINTS: usize = 3;

/// Looks at everything that can be looked at in a moment.
pub(super) fn examine(connection: &mut Connection) -> Result<(), Error> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let is_small = pages <= SMALL;
    let trees = if is_small { Trees::of_all(connection) } else { Trees::Unknown };
    for table in VALUES {
        refuse(table, &trees.complaints(connection, table)?)?;
    }
    if is_small {
        refuse("log", &trees.complaints(connection, "log")?)?;
    }
    counters(connection)?;
    secret(connection)?;
    owners(connection, trees)?;
    values(connection, "cells", Kind::Cell, "owner, name, value, checksum")?;
    values(connection, "maps", Kind::Item, "owner, name, key, value, checksum")?;
    values(connection, "queued", Kind::Queued, "position, session, number, checksum")?;
    entries(connection, if is_small { 0 } else { super::column(super::index::upto(connection)?) })?;
    undelivered(connection, trees)?;
    if !trees.complaints(connection, "times")?.is_empty() {
        tracing::error!("the times of the log are damaged and are noted anew");
        times::renew(connection)?;
        sound(connection, "times")?;
    }
    if is_small {
        archived(connection, trees)?;
        if !trees.complaints(connection, "exchanged")?.is_empty() || !groups::are_complete(connection)? {
            tracing::error!("who is in which part of an archive is damaged and is noted anew");
            groups::renew(connection)?;
            sound(connection, "exchanged")?;
        }
        free(connection, trees)?;
    }
    Ok(())
}

/// What is known of the trees of all tables, and of the list of free pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trees {
    Sound,
    /// Whoever wants to know looks at the one that he means.
    Unknown,
}

impl Trees {
    /// Walks through everything once. What is wrong is found by those who can do something about it.
    fn of_all(connection: &Connection) -> Self {
        let is_sound = complaints(connection, "integrity_check").is_ok_and(|complaints| complaints.is_empty());
        if is_sound { Self::Sound } else { Self::Unknown }
    }

    /// What is wrong with the tree of a table.
    fn complaints(self, connection: &Connection, table: &str) -> Result<Vec<String>, Error> {
        match self {
            Self::Sound => Ok(Vec::new()),
            // A quick check does not look whether keys are in order. No table here has an index of its own that it could
            // skip.
            Self::Unknown => complaints(connection, &format!("integrity_check('{table}')")),
        }
    }
}

fn complaints(connection: &Connection, check: &str) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(&format!("PRAGMA {check}"))?;
    let lines = statement.query_map([], |row| row.get(0))?.take(COMPLAINTS).collect::<Result<Vec<String>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Looks at a table that was put right.
fn sound(connection: &Connection, table: &str) -> Result<(), Error> {
    refuse(table, &Trees::Unknown.complaints(connection, table)?)
}

fn refuse(table: &str, complaints: &[String]) -> Result<(), Error> {
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(Error::Corrupt(format!("table {table}: {}", complaints.join("; "))))
    }
}

/// The tables are sound, so what is wrong elsewhere is the list of free pages. All is written anew without it.
fn free(connection: &Connection, trees: Trees) -> Result<(), Error> {
    let complaints = || complaints(connection, "quick_check");
    let found = if trees == Trees::Sound { Vec::new() } else { complaints()? };
    if found.is_empty() {
        return Ok(());
    }
    tracing::error!(complaints = found.join("; "), "the list of free pages is damaged and is made anew");
    connection.execute_batch("VACUUM")?;
    seal(connection, SCHEMA_VERSION)?;
    let left = complaints()?;
    if left.is_empty() { Ok(()) } else { Err(Error::Corrupt(left.join("; "))) }
}

/// The counters, in which a flipped bit is put right.
fn counters(connection: &Connection) -> Result<(), Error> {
    for counter in Counter::ALL {
        let (table, kind) = (counter.table(), Kind::Counter(counter));
        let found = connection.query_row(&format!("SELECT * FROM {table}"), [], |next| row(next, kind))?;
        let damaged = || Error::Corrupt(format!("table {table}"));
        let found = found.ok_or_else(damaged)?;
        if !found.is_right(kind) {
            let right = found.repaired(kind).and_then(|row| row.numbers.first().copied()).ok_or_else(damaged)?;
            tracing::error!(table, "a flipped bit of a counter was put right");
            counter.set(connection, right)?;
        }
    }
    Ok(())
}

/// Whether a row is as it was written, or known not to be. This is asked of every row at every start.
fn is_right(row: &rusqlite::Row<'_>, kind: Kind) -> rusqlite::Result<bool> {
    let (many, long) = kind.shape();
    // No kind has more.
    let (mut numbers, mut texts): ([i64; 4], [&[u8]; 3]) = ([0; 4], [&[]; 3]);
    let (numbers, texts) = (numbers.get_mut(..many).unwrap_or_default(), texts.get_mut(..long).unwrap_or_default());
    for (column, number) in numbers.iter_mut().enumerate() {
        let ValueRef::Integer(found) = row.get_ref(column)? else { return Ok(false) };
        *number = found;
    }
    for (column, text) in (many..).zip(texts.iter_mut()) {
        let ValueRef::Text(found) = row.get_ref(column)? else { return Ok(false) };
        *text = found;
    }
    let ValueRef::Integer(checksum) = row.get_ref(many + long)? else { return Ok(false) };
    Ok(checksum == KNOWN || kind.sum(numbers, texts) == Some(checksum))
}

/// Reads a row of numbers, texts and a checksum; nothing if a column is something else.
fn row(row: &rusqlite::Row<'_>, kind: Kind) -> rusqlite::Result<Option<Row>> {
    let (numbers, texts) = kind.shape();
    let mut found = Row { numbers: Vec::new(), texts: Vec::new(), checksum: 0 };
    for column in 0..=numbers + texts {
        match row.get_ref(column)? {
            ValueRef::Integer(number) if column < numbers => found.numbers.push(number),
            ValueRef::Text(text) if (numbers..numbers + texts).contains(&column) => found.texts.push(text.to_vec()),
            ValueRef::Integer(number) if column == numbers + texts => found.checksum = number,
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Rows that are found by their keys: a flipped bit in a key hides the row from whoever has a right to it. If there is such
/// a row, all are written anew, for it may stand in the wrong place.
fn values(connection: &mut Connection, table: &str, kind: Kind, columns: &str) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let mut rows = statement.query([])?;
        loop {
            let Some(next) = rows.next()? else { return Ok(()) };
            if !is_right(next, kind)? {
                break;
            }
        }
    }
    tracing::error!(table, "a value is damaged; what one bit has changed is put right");
    let schema = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    let create: String = transaction.query_row(schema, [table], |row| row.get(0))?;
    transaction.execute_batch(&format!("ALTER TABLE {table} RENAME TO damaged; {create}"))?;
    {
        let mut statement = transaction.prepare(&format!("SELECT {columns} FROM damaged"))?;
        let mut rows = statement.query([])?;
        while let Some(next) = rows.next()? {
            let Some(found) = row(next, kind)? else {
                return Err(Error::Corrupt(format!("a row of table {table}")));
            };
            let right = match found.checksum {
                KNOWN => found,
                // Perhaps the columns are not where they were, and that can be seen only in the page.
                _ => found.repaired(kind).ok_or_else(|| Error::Corrupt(format!("a row of table {table}")))?,
            };
            right.insert(&transaction, kind, 0)?;
        }
    }
    transaction.execute_batch("DROP TABLE damaged")?;
    seal(&transaction, SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Entries from a position on, as far as nobody is led to them from another table.
fn entries(connection: &mut Connection, from: i64) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut repaired = Vec::new();
    {
        let mut statement = transaction.prepare(
            "SELECT position, owner, direction, time, peer, payload, checksum, marks FROM log WHERE position >= ?1",
        )?;
        let mut rows = statement.query([from])?;
        while let Some(next) = rows.next()? {
            if is_right(next, Kind::Entry)? {
                continue;
            }
            let Some(found) = row(next, Kind::Entry)? else { continue };
            if let (Some(right), Ok(marks)) = (found.repaired(Kind::Entry), next.get_ref(7)?.as_i64()) {
                repaired.push((next.get::<_, i64>(0)?, right, marks));
            }
        }
    }
    for (place, right, marks) in &repaired {
        tracing::error!(position = place, "a flipped bit of a log entry was put right");
        transaction.execute("DELETE FROM log WHERE position = ?1", [place])?;
        right.insert(&transaction, Kind::Entry, *marks)?;
    }
    transaction.commit()?;
    Ok(())
}

/// An owner as one of its two places has it.
type Name = (String, String);

/// Owners stand in their table and in the index by which they are found: what is wrong in one is right in the other.
fn owners(connection: &mut Connection, trees: Trees) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let complaints = trees.complaints(&transaction, "owners")?;
    let rows = names(&transaction, "SELECT id, domain, local, checksum FROM owners NOT INDEXED")?;
    let is_right = |id: i64, (domain, local): &Name, checksum| Kept::Owner { domain, local }.checksum(id) == checksum;
    if complaints.is_empty() && rows.iter().all(|(id, (name, checksum))| is_right(*id, name, *checksum)) {
        return Ok(());
    }
    tracing::error!(complaints = complaints.join("; "), "the list of accounts is damaged and is put right");
    let index = "SELECT id, domain, local, 0 FROM owners INDEXED BY sqlite_autoindex_owners_1 ORDER BY domain, local";
    let copies = names(&transaction, index)?;
    let mut right = BTreeMap::new();
    for (id, (name, checksum)) in rows {
        let copy = copies.get(&id).map(|(copy, _)| copy);
        if is_right(id, &name, checksum) || copy == Some(&name) {
            let sum = Kept::Owner { domain: &name.0, local: &name.1 }.checksum(id);
            right.insert(id, (name, sum));
        } else if let Some(copy) = copy.filter(|copy| is_right(id, copy, checksum)) {
            right.insert(id, (copy.clone(), checksum));
        } else {
            // It stays as it is, and whoever reads it finds out.
            right.insert(id, (name, checksum));
        }
    }
    transaction.execute("DELETE FROM owners", [])?;
    let mut insert = transaction.prepare("INSERT INTO owners VALUES (?1, ?2, ?3, ?4)")?;
    for (id, ((domain, local), checksum)) in &right {
        insert.execute(params![id, domain, local, checksum])?;
    }
    drop(insert);
    transaction.commit()?;
    sound(connection, "owners")
}

fn names(connection: &Connection, query: &str) -> Result<BTreeMap<i64, (Name, i64)>, Error> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut names = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // A text that is none any more is not right.
        let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str().unwrap_or_default().to_owned());
        names.insert(row.get(0)?, ((text(1)?, text(2)?), row.get(3)?));
    }
    Ok(names)
}

/// An entry that waits stands in the table of those that do and has the mark. If one of the first leads nowhere, one of
/// the second has lost its way.
fn undelivered(connection: &mut Connection, trees: Trees) -> Result<(), Error> {
    let insert = "INSERT OR IGNORE INTO undelivered (owner, position) VALUES (?1, ?2)";
    let lead = |transaction: &Connection, owner, position, _: &Entry| transaction.execute(insert, [owner, position]);
    lead_back((connection, trees), "undelivered", Marks::UNDELIVERED, is_led_astray, lead)
}

fn is_led_astray(connection: &Connection) -> Result<bool, Error> {
    let lost = "SELECT EXISTS (SELECT 1 FROM undelivered LEFT JOIN log
                ON log.position = undelivered.position AND log.owner = undelivered.owner
                WHERE ifnull(log.marks, 0) & ?1 = 0)";
    Ok(connection.query_row(lost, [Marks::UNDELIVERED.bits()], |row| row.get(0))?)
}

/// The same for archived entries below the position up to which the index goes.
fn archived(connection: &mut Connection, trees: Trees) -> Result<(), Error> {
    let insert = "INSERT OR REPLACE INTO archived SELECT ?1, ?2, ?3, ?4 FROM indexed WHERE ?2 < upto";
    let lead = |transaction: &Connection, owner, position, entry: &Entry| {
        let peer = fingerprint(bare(&entry.peer));
        transaction.execute(insert, params![owner, position, super::column(entry.time), peer])
    };
    lead_back((connection, trees), "archived", Marks::ARCHIVED, is_wrongly_indexed, lead)
}

fn is_wrongly_indexed(connection: &Connection) -> Result<bool, Error> {
    let mut statement = connection.prepare(
        "SELECT ifnull(log.marks, 0) & ?1, log.time IS archived.time, log.peer, archived.peer FROM archived
         LEFT JOIN log ON log.position = archived.position AND log.owner = archived.owner",
    )?;
    let mut rows = statement.query([Marks::ARCHIVED.bits()])?;
    while let Some(row) = rows.next()? {
        let is_with = row
            .get_ref(2)?
            .as_str()
            .is_ok_and(|peer| row.get_ref(3).is_ok_and(|print| print == ValueRef::Integer(fingerprint(bare(peer)))));
        if row.get::<_, i64>(0)? == 0 || !row.get::<_, bool>(1)? || !is_with {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Leads from `table` to all entries with a mark again, if its tree is damaged or `is_wrong` says that there is something
/// in it that does not lead to one. What is in the table stays: it says that something is damaged to whoever reads it.
fn lead_back(
    (connection, trees): (&mut Connection, Trees),
    table: &str,
    mark: Marks,
    is_wrong: impl Fn(&Connection) -> Result<bool, Error>,
    lead: impl Fn(&Connection, i64, i64, &Entry) -> rusqlite::Result<usize>,
) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_sound = trees.complaints(&transaction, table)?.is_empty();
    if is_sound && !is_wrong(&transaction)? {
        return Ok(());
    }
    tracing::error!(table, "a table that leads to entries of the log is damaged and is put right");
    if !is_sound {
        transaction.execute(&format!("DELETE FROM {table}"), [])?;
    }
    let mut statement = transaction.prepare(
        "SELECT position, direction, time, marks, checksum, peer, payload, owner FROM log WHERE marks & ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([mark.bits()])?;
    while let Some(row) = rows.next()? {
        let (position, owner): (i64, i64) = (row.get(0)?, row.get(7)?);
        if let Some(entry) = entry(row, position, owner)? {
            lead(&transaction, owner, position, &entry)?;
        }
    }
    drop(rows);
    drop(statement);
    transaction.commit()?;
    sound(connection, table)
}

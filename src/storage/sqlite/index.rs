//! The index of archived entries by owner, filled in portions: neighbours come together, so a portion costs a fraction of
//! what its entries would cost one by one.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::super::log::bare;
use super::super::{End, Error, Marks, Position};
use super::checksum::fingerprint;
use super::counter::Counter;
use super::times::{self, Spans};
use super::{column, groups};

/// Entries that are indexed together when much is to be made up for.
const PORTION: i64 = 1 << 16;

/// Which entries of an owner are meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Positions behind this one ...
    pub(super) after: i64,
    /// ... and before this one.
    pub(super) before: i64,
    /// Not older than this ...
    pub(super) since: i64,
    /// ... and not younger.
    pub(super) until: i64,
}

/// Archived entries below this position are in the index.
pub(super) fn upto(connection: &Connection) -> Result<u64, Error> {
    let upto: i64 = connection.query_row("SELECT max(upto) FROM indexed", [], |row| row.get(0))?;
    u64::try_from(upto).map_err(|_| Error::Engine("the index of the log is damaged".into()))
}

/// Makes up for an index that a new version has thrown away.
pub(super) fn complete(connection: &mut Connection) -> Result<(), Error> {
    loop {
        let behind = "SELECT position FROM log WHERE position >= ?1 ORDER BY position LIMIT 1 OFFSET ?2";
        let from = column(upto(connection)?);
        let behind: Option<i64> = connection.query_row(behind, [from, PORTION], |row| row.get(0)).optional()?;
        // The rest is indexed on occasion.
        let Some(behind) = behind else { return Ok(()) };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        extend(&transaction, behind.unsigned_abs())?;
        transaction.commit()?;
    }
}

/// Brings the index up to the position `upto`, below which the log is complete.
pub(super) fn extend(connection: &Connection, upto: u64) -> Result<(), Error> {
    let from = self::upto(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT owner, position, time, peer, marks FROM log WHERE position >= ?1 AND position < ?2 ORDER BY position",
    )?;
    let mut rows = statement.query(params![column(from), column(upto)])?;
    let (mut archived, mut spans) = (Vec::<(i64, i64, i64, i64)>::new(), Spans::default());
    while let Some(row) = rows.next()? {
        let (position, time): (i64, i64) = (row.get(1)?, row.get(2)?);
        spans.add(position, time);
        // One of the two is enough: whoever is led to the entry finds out what is wrong with the other.
        if row.get::<_, i64>(4)? & Marks::ARCHIVED.bits() != 0 {
            let peer = row.get_ref(3)?.as_str().map_or(0, |peer| fingerprint(bare(peer)));
            archived.push((row.get(0)?, position, time, peer));
        }
    }
    archived.sort_unstable();
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO archived VALUES (?1, ?2, ?3, ?4)")?;
    for entry in &archived {
        insert.execute(*entry)?;
    }
    for (owner, position, ..) in archived {
        groups::close_at(connection, owner, position)?;
    }
    spans.note(connection)?;
    Counter::Indexed.set(connection, column(upto))
}

/// Takes in an entry that is archived later than its neighbours were indexed.
pub(super) fn insert(
    connection: &Connection,
    owner: i64,
    position: Position,
    (time, peer): (i64, &str),
) -> Result<(), Error> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO archived VALUES (?1, ?2, ?3, ?4)")?;
    if statement.execute(params![owner, position, time, fingerprint(bare(peer))])? > 0 {
        groups::reopen(connection, owner, column(position.number()))?;
    }
    Ok(())
}

/// Shows the indexed positions of an owner that are in `bounds`, of one peer or of all, until `each` has enough.
pub(super) fn each(
    connection: &Connection,
    owner: i64,
    peer: Option<i64>,
    bounds: Bounds,
    end: End,
    each: &mut impl FnMut(i64) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<()>, Error> {
    let bounds = times::narrow(connection, bounds)?;
    match peer {
        None => scan(connection, (owner, None), bounds, end, each),
        Some(peer) => groups::each(connection, (owner, peer), bounds, end, each),
    }
}

/// The same, looking at every position of the owner.
pub(super) fn scan(
    connection: &Connection,
    (owner, peer): (i64, Option<i64>),
    bounds: Bounds,
    end: End,
    each: &mut impl FnMut(i64) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<()>, Error> {
    let mut statement = connection.prepare_cached(match end {
        End::Oldest => {
            "SELECT position FROM archived WHERE owner = ?1 AND position > ?2 AND position < ?3
             AND time BETWEEN ?4 AND ?5 AND (?6 IS NULL OR peer = ?6) ORDER BY position"
        }
        End::Youngest => {
            "SELECT position FROM archived WHERE owner = ?1 AND position > ?2 AND position < ?3
             AND time BETWEEN ?4 AND ?5 AND (?6 IS NULL OR peer = ?6) ORDER BY position DESC"
        }
    })?;
    let Bounds { after, before, since, until } = bounds;
    let mut rows = statement.query(params![owner, after, before, since, until, peer])?;
    while let Some(row) = rows.next()? {
        if each(row.get(0)?)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::super::schema::tests::empty;
    use super::*;

    #[test]
    fn what_is_missing_is_made_up_for_but_for_what_is_no_portion() {
        let mut connection = empty();
        // Every second one is archived.
        let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
            INSERT INTO log (position, owner, direction, time, marks, checksum, peer, payload)
            SELECT n, 1, 0, n, CASE WHEN n % 2 = 0 THEN ?2 ELSE ?3 END, 0, 'juliet@capulet.lit', '' FROM numbers";
        let marks = [Marks::ARCHIVED, Marks::UNDELIVERED].map(Marks::bits);
        connection.execute(fill, params![2 * PORTION + 10, marks[0], marks[1]]).unwrap();
        complete(&mut connection).unwrap();
        assert_eq!(upto(&connection).unwrap(), 1 + 2 * PORTION.unsigned_abs());
        let query = "SELECT count(*), min(position), max(position) FROM archived";
        let archived = connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(archived, (PORTION, 2, 2 * PORTION));
    }
}

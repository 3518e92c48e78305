//! Who is in which part of a long archive: the entries of an owner form groups of some hundred, and for each group it is
//! noted with whom they were exchanged. Whoever looks for one peer reads the groups in which there is something of him.
//!
//! Which entry is the last of a group follows from its owner and position alone, so nobody has to count. A group that
//! loses its last entry becomes one with the next; what is noted of it does no harm, because it is only where to look.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::super::{End, Error};
use super::checksum::mixed;
use super::index::{Bounds, scan};

/// A group has as many entries on average. What is noted depends on it: it must never change.
const GROUP: u64 = 128;

/// Whether an entry is the last of its group.
const fn is_last(owner: i64, position: i64) -> bool {
    mixed(owner, position).is_multiple_of(GROUP)
}

/// Notes who is in the group whose last entry this is, if it is one.
pub(super) fn close_at(connection: &Connection, owner: i64, position: i64) -> Result<(), Error> {
    if !is_last(owner, position) {
        return Ok(());
    }
    let (peers, first) = members(connection, owner, position)?;
    let mut note = connection.prepare_cached("INSERT OR REPLACE INTO exchanged VALUES (?1, ?2, ?3, ?4)")?;
    for peer in peers {
        note.execute([owner, peer, position, first])?;
    }
    Ok(())
}

/// Who is in the group whose last entry this is, and its first one.
fn members(connection: &Connection, owner: i64, position: i64) -> Result<(BTreeSet<i64>, i64), Error> {
    let mut statement = connection.prepare_cached(
        "SELECT position, peer FROM archived WHERE owner = ?1 AND position <= ?2 ORDER BY position DESC",
    )?;
    let mut rows = statement.query([owner, position])?;
    let (mut peers, mut first) = (BTreeSet::<i64>::new(), position);
    while let Some(row) = rows.next()? {
        let found: i64 = row.get(0)?;
        if found != position && is_last(owner, found) {
            break;
        }
        first = found;
        peers.insert(row.get(1)?);
    }
    Ok((peers, first))
}

/// An entry has come into a group that may have been closed long ago.
pub(super) fn reopen(connection: &Connection, owner: i64, position: i64) -> Result<(), Error> {
    let mut statement = connection
        .prepare_cached("SELECT position FROM archived WHERE owner = ?1 AND position >= ?2 ORDER BY position")?;
    let mut rows = statement.query([owner, position])?;
    while let Some(row) = rows.next()? {
        let found: i64 = row.get(0)?;
        if is_last(owner, found) {
            // Groups that have become parts of this one would be read before what lies in front of them.
            let (peers, first) = members(connection, owner, found)?;
            let mut forget = connection
                .prepare_cached("DELETE FROM exchanged WHERE owner = ?1 AND peer = ?2 AND upto >= ?3 AND upto < ?4")?;
            for peer in peers {
                forget.execute([owner, peer, first, found])?;
            }
            return close_at(connection, owner, found);
        }
    }
    Ok(())
}

/// Forgets the groups of which nothing is left.
pub(super) fn trim(connection: &Connection, owner: i64) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM exchanged WHERE owner = ?1
             AND upto < coalesce((SELECT min(position) FROM archived WHERE owner = ?1), 9223372036854775807)",
    )?;
    statement.execute([owner])?;
    Ok(())
}

/// Whether every entry of the index that is in a group is found by its peer.
pub(super) fn are_complete(connection: &Connection) -> Result<bool, Error> {
    Ok(are_in_order(connection)? && are_noted(connection)?)
}

/// Whether no group of a peer ends behind another one and begins before it.
fn are_in_order(connection: &Connection) -> Result<bool, Error> {
    let mut statement = connection.prepare("SELECT owner, peer, first FROM exchanged ORDER BY owner, peer, upto")?;
    let mut rows = statement.query([])?;
    let mut before = (0, 0, 0);
    while let Some(row) = rows.next()? {
        let found: (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if (found.0, found.1) == (before.0, before.1) && found.2 < before.2 {
            return Ok(false);
        }
        before = found;
    }
    Ok(true)
}

fn are_noted(connection: &Connection) -> Result<bool, Error> {
    let mut statement =
        connection.prepare("SELECT owner, position, peer FROM archived ORDER BY owner DESC, position DESC")?;
    // What is noted must end within the group, or whoever reads up to the end of the group does not come across it.
    let mut noted = connection.prepare(
        "SELECT first FROM exchanged WHERE owner = ?1 AND peer = ?2 AND upto >= ?3 AND upto <= ?4 AND first <= ?3
         ORDER BY upto DESC",
    )?;
    let mut rows = statement.query([])?;
    let (mut group, mut found) = (None, BTreeMap::<i64, i64>::new());
    while let Some(row) = rows.next()? {
        let (owner, position, peer): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if is_last(owner, position) {
            group = Some((owner, position));
            found.clear();
        }
        let Some((_, upto)) = group.filter(|group| group.0 == owner) else { continue };
        if found.get(&peer).is_some_and(|first| *first <= position) {
            continue;
        }
        let first: Option<i64> = noted.query_row([owner, peer, position, upto], |row| row.get(0)).optional()?;
        let Some(first) = first else { return Ok(false) };
        found.insert(peer, first);
    }
    Ok(true)
}

/// Notes anew who is in which group.
pub(super) fn renew(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM exchanged", [])?;
    let mut statement = transaction.prepare("SELECT owner, position FROM archived")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        close_at(&transaction, row.get(0)?, row.get(1)?)?;
    }
    drop(rows);
    drop(statement);
    transaction.commit()?;
    Ok(())
}

/// Shows the positions in `bounds` of what was exchanged with `peer`, until `each` has enough.
pub(super) fn each(
    connection: &Connection,
    (owner, peer): (i64, i64),
    bounds: Bounds,
    end: End,
    each: &mut impl FnMut(i64) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<()>, Error> {
    // What comes behind it is in no group yet, or in one that reaches beyond.
    let last = last_before(connection, owner, bounds.before)?;
    let open = Bounds { after: bounds.after.max(last), ..bounds };
    if end == End::Youngest && scan(connection, (owner, Some(peer)), open, end, each)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let mut statement = connection.prepare_cached(match end {
        End::Oldest => {
            "SELECT first, upto FROM exchanged WHERE owner = ?1 AND peer = ?2 AND upto > ?3 AND upto <= ?4 ORDER BY upto"
        }
        End::Youngest => {
            "SELECT first, upto FROM exchanged WHERE owner = ?1 AND peer = ?2 AND upto > ?3 AND upto <= ?4
             ORDER BY upto DESC"
        }
    })?;
    let mut rows = statement.query(params![owner, peer, bounds.after, last])?;
    // A part that two groups have is read once.
    let mut left = Bounds { before: last.saturating_add(1), ..bounds };
    while let Some(row) = rows.next()? {
        let (first, upto): (i64, i64) = (row.get(0)?, row.get(1)?);
        let part = Bounds { after: left.after.max(first - 1), before: left.before.min(upto + 1), ..left };
        match end {
            End::Oldest => left.after = left.after.max(upto),
            End::Youngest => left.before = left.before.min(first),
        }
        if part.before - part.after > 1 && scan(connection, (owner, Some(peer)), part, end, each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if end == End::Oldest {
        return scan(connection, (owner, Some(peer)), open, end, each);
    }
    Ok(ControlFlow::Continue(()))
}

/// The last entry of the last group that ends before a position; 0 if there is none.
fn last_before(connection: &Connection, owner: i64, before: i64) -> Result<i64, Error> {
    let mut statement = connection
        .prepare_cached("SELECT position FROM archived WHERE owner = ?1 AND position < ?2 ORDER BY position DESC")?;
    let mut rows = statement.query([owner, before])?;
    while let Some(row) = rows.next()? {
        let found: i64 = row.get(0)?;
        if is_last(owner, found) {
            return Ok(found);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::schema::tests::empty;
    use super::*;

    /// What is noted depends on it.
    #[test]
    fn groups_end_where_they_always_have() {
        let ends: Vec<_> = (1..1000).filter(|position| is_last(1, *position)).collect();
        assert_eq!(ends, [48, 141, 156, 200, 426, 477, 494, 554, 733, 842, 851, 872, 905]);
        assert_eq!((1..100_000).filter(|position| is_last(7, *position)).count(), 792);
    }

    #[test]
    fn groups_of_a_peer_may_begin_together_and_none_before_one_that_ends_earlier() {
        let connection = empty();
        let note = |row: [i64; 4]| connection.execute("INSERT INTO exchanged VALUES (?1, ?2, ?3, ?4)", row).unwrap();
        // Owner, peer, last, first.
        for row in [[1, 1, 48, 10], [1, 1, 141, 10], [1, 1, 156, 40], [1, 2, 48, 5], [2, 2, 48, 1]] {
            note(row);
        }
        assert!(are_in_order(&connection).unwrap());
        note([1, 1, 200, 39]);
        assert!(!are_in_order(&connection).unwrap());
    }

    #[test]
    fn an_entry_of_which_nothing_is_noted_is_missed() {
        let mut connection = empty();
        let archive = |row: [i64; 3]| {
            connection
                .execute("INSERT INTO archived (owner, position, peer, time) VALUES (?1, ?2, ?3, 0)", row)
                .unwrap()
        };
        // The second group of the first owner has no end yet, and the second owner has none at all.
        for row in [[1, 46, 5], [1, 47, 5], [1, 48, 6], [1, 49, 6], [2, 1, 7]] {
            archive(row);
        }
        assert!(!are_complete(&connection).unwrap());
        renew(&mut connection).unwrap();
        assert!(are_complete(&connection).unwrap());
        let change = |sql| {
            assert_eq!(connection.execute(sql, []).unwrap(), 1);
            let is_complete = are_complete(&connection).unwrap();
            connection.execute("UPDATE exchanged SET first = 46, upto = 48", []).unwrap();
            is_complete
        };
        assert!(!change("UPDATE exchanged SET first = 47 WHERE peer = 5"));
        assert!(!change("UPDATE exchanged SET upto = 49 WHERE peer = 6"));
        assert!(!change("DELETE FROM exchanged WHERE peer = 6"));
    }
}

//! When the entries of a portion of the log came, so that nobody who asks for a time reads all that came before. Clocks
//! go back now and then: a portion is noted with the latest time of all up to it, and the earliest of all from it on.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::super::Error;
use super::column;
use super::index::{self, Bounds};

/// Entries of one portion.
const PORTION: usize = 1024;

/// When the entries of some portions came.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// First position, earliest and latest time.
    all: Vec<(i64, i64, i64)>,
    /// How many entries the last one has.
    entries: usize,
}

impl Spans {
    /// Adds an entry behind all others.
    pub(super) fn add(&mut self, position: i64, time: i64) {
        match self.all.last_mut().filter(|_| self.entries < PORTION) {
            Some((_, earliest, latest)) => {
                (*earliest, *latest) = ((*earliest).min(time), (*latest).max(time));
                self.entries += 1;
            }
            None => {
                self.all.push((position, time, time));
                self.entries = 1;
            }
        }
    }

    /// Notes them; they lie behind all that were noted before.
    pub(super) fn note(self, connection: &Connection) -> Result<(), Error> {
        let mut before: Option<i64> = connection
            .prepare_cached("SELECT latest FROM times ORDER BY first DESC LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let mut lower = connection.prepare_cached("UPDATE times SET earliest = ?1 WHERE earliest > ?1")?;
        let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO times VALUES (?1, ?2, ?3)")?;
        for (first, earliest, latest) in self.all {
            lower.execute([earliest])?;
            let upto = before.map_or(latest, |before| before.max(latest));
            insert.execute(params![first, earliest, upto])?;
            before = Some(upto);
        }
        Ok(())
    }
}

/// Notes anew when what is indexed came.
pub(super) fn renew(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM times", [])?;
    let mut spans = Spans::default();
    {
        let mut statement = transaction
            .prepare("SELECT position, time FROM log WHERE position < (SELECT upto FROM indexed) ORDER BY position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            spans.add(row.get(0)?, row.get(1)?);
        }
    }
    spans.note(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Leaves out positions at which there is nothing of the wanted time.
pub(super) fn narrow(connection: &Connection, mut bounds: Bounds) -> Result<Bounds, Error> {
    let find = |query: &str, time: i64| -> Result<Option<i64>, Error> {
        Ok(connection.prepare_cached(query)?.query_row([time], |row| row.get(0)).optional()?)
    };
    if bounds.since > 0 {
        let first = find("SELECT first FROM times WHERE latest >= ?1 ORDER BY latest, first LIMIT 1", bounds.since)?;
        let first = first.map_or_else(|| index::upto(connection).map(column), Ok)?;
        bounds.after = bounds.after.max(first - 1);
    }
    if bounds.until < i64::MAX {
        let first = find("SELECT first FROM times WHERE earliest > ?1 ORDER BY earliest, first LIMIT 1", bounds.until)?;
        bounds.before = bounds.before.min(first.unwrap_or(i64::MAX));
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::super::schema::tests::empty;
    use super::*;

    #[test]
    fn portions_that_are_too_old_or_too_young_are_left_out() {
        let connection = empty();
        connection.execute("UPDATE indexed SET upto = 5000", []).unwrap();
        let portion = i64::try_from(PORTION).unwrap();
        let mut spans = Spans::default();
        (0..3 * portion).for_each(|number| spans.add(10 + number, 100_000 + number));
        spans.note(&connection).unwrap();
        let narrowed = |since, until| {
            let bounds = narrow(&connection, Bounds { after: 0, before: i64::MAX, since, until }).unwrap();
            (bounds.after, bounds.before)
        };
        assert_eq!(narrowed(0, i64::MAX), (0, i64::MAX));
        assert_eq!(narrowed(100_000 + portion - 1, i64::MAX), (9, i64::MAX));
        assert_eq!(narrowed(100_000 + portion, i64::MAX), (9 + portion, i64::MAX));
        assert_eq!(narrowed(0, 100_000 + portion - 1), (0, 10 + portion));
        assert_eq!(narrowed(0, 100_000 + portion), (0, 10 + 2 * portion));
        assert_eq!(narrowed(0, 100_000 + 3 * portion), (0, i64::MAX));
        // What is not indexed yet may be of any time.
        assert_eq!(narrowed(100_000 + 3 * portion, i64::MAX), (4999, i64::MAX));

        // A clock that went back: from now on something old may come anywhere.
        let mut spans = Spans::default();
        spans.add(4000, 90_000);
        spans.note(&connection).unwrap();
        assert_eq!(narrowed(0, 95_000), (0, i64::MAX));
        assert_eq!(narrowed(100_000 + 2 * portion, i64::MAX), (9 + 2 * portion, i64::MAX));
    }
}

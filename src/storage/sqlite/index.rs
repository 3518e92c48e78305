//! The index of archived entries by owner, filled in portions: neighbours come together, so a portion costs a fraction of
//! what its entries would cost one by one.

use rusqlite::{Connection, params};

use super::super::log::bare;
use super::super::{Error, Marks};
use super::checksum::fingerprint;
use super::column;

/// Archived entries below this position are in the index.
pub(super) fn upto(connection: &Connection) -> Result<u64, Error> {
    let upto: i64 = connection.query_row("SELECT max(upto) FROM indexed", [], |row| row.get(0))?;
    u64::try_from(upto).map_err(|_| Error::Engine("the index of the log is damaged".into()))
}

/// Brings the index up to the position `upto`, below which the log is complete.
pub(super) fn extend(connection: &Connection, upto: u64) -> Result<(), Error> {
    let from = self::upto(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT owner, position, time, peer FROM log WHERE position >= ?1 AND position < ?2 AND marks & ?3",
    )?;
    let archived = statement.query_map(params![column(from), column(upto), Marks::ARCHIVED.bits()], |row| {
        let peer = row.get_ref(3)?.as_str().map_or(0, |peer| fingerprint(bare(peer)));
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, peer))
    })?;
    let mut archived: Vec<(i64, i64, i64, i64)> = archived.collect::<Result<_, _>>()?;
    archived.sort_unstable();
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO archived VALUES (?1, ?2, ?3, ?4)")?;
    for entry in archived {
        insert.execute(entry)?;
    }
    connection.prepare_cached("UPDATE indexed SET upto = ?1, copy = ?1")?.execute([column(upto)])?;
    Ok(())
}

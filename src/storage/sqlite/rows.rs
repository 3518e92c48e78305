//! Reading rows, before they become typed values.

use std::cell::RefCell;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{Direction, Entry, Error, Marks, Page, Position, Queued, Stored};
use super::apply::{direction, local};
use super::checksum::{Covered, Kept, place};
use crate::jid::BareJid;

/// A page ends behind the entry that makes it larger than this.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// What an account has in `own` and its domain in two maps, in one look, which takes as long whatever there is. Rows have
/// positive numbers, so nobody owns what is looked for in place of what is nobody's.
macro_rules! look {
    ($own:literal) => {
        concat!(
            "SELECT who.id, who.checksum, home.id, home.checksum, own.value, own.checksum,
                    one.value, one.checksum, other.value, other.checksum
             FROM (SELECT 1)
             LEFT JOIN owners AS who ON who.domain = ?1 AND who.local = ?2
             LEFT JOIN owners AS home ON home.domain = ?1 AND home.local = ''
             LEFT JOIN ",
            $own,
            " LEFT JOIN maps AS one ON one.owner = ifnull(home.id, 0) AND one.name = ?4 AND one.key = ?2
             LEFT JOIN maps AS other ON other.owner = ifnull(home.id, 0) AND other.name = ?5 AND other.key = ?2"
        )
    };
}
const LOOK_AT_CELL: &str = look!("cells AS own ON own.owner = ifnull(who.id, 0) AND own.name = ?3 AND ?6 IS NULL");
const LOOK_AT_ITEM: &str = look!("maps AS own ON own.owner = ifnull(who.id, 0) AND own.name = ?3 AND own.key = ?6");

/// The rows as of one moment.
#[derive(Clone, Copy)]
pub(in super::super) struct Rows<'a> {
    pub(super) connection: &'a Connection,
    owners: &'a Owners,
}

/// The row numbers of the owners that were asked for last at that moment: an account and its domain.
#[derive(Default)]
pub(super) struct Owners(RefCell<[Option<(BareJid, i64)>; 2]>);

impl Owners {
    fn find(&self, owner: &BareJid) -> Option<i64> {
        let kept = self.0.borrow();
        kept.iter().flatten().find(|(known, _)| known == owner).map(|(_, id)| *id)
    }

    fn keep(&self, owner: &BareJid, id: i64) {
        let mut kept = self.0.borrow_mut();
        kept.rotate_right(1);
        kept[0] = Some((owner.clone(), id));
    }
}

/// The row number of an owner. Its name comes from an index, which may lead to somebody else.
pub(super) fn find(connection: &Connection, owner: &BareJid) -> Result<Option<i64>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT id, checksum FROM owners WHERE domain = ?1 AND local = ?2")?;
    let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found: Option<(i64, i64)> = statement.query_row(params![owner.domain(), local(owner)], columns).optional()?;
    let Some((id, checksum)) = found else { return Ok(None) };
    Kept::Owner { domain: owner.domain(), local: local(owner) }.check(id, checksum)?;
    Ok(Some(id))
}

impl<'a> Rows<'a> {
    pub(super) const fn new(connection: &'a Connection, owners: &'a Owners) -> Self {
        Self { connection, owners }
    }

    pub(super) fn owner(self, owner: &BareJid) -> Result<Option<i64>, Error> {
        if let Some(id) = self.owners.find(owner) {
            return Ok(Some(id));
        }
        let id = find(self.connection, owner)?;
        if let Some(id) = id {
            self.owners.keep(owner, id);
        }
        Ok(id)
    }

    pub(in super::super) fn cell(self, owner: &BareJid, name: &str) -> Result<Option<String>, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(None) };
        let query = "SELECT value, checksum FROM cells WHERE owner = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(String, i64)> =
            statement.query_row(params![owner, name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((value, checksum)) = found else { return Ok(None) };
        Kept::Cell { name, value: &value }.check(owner, checksum)?;
        Ok(Some(value))
    }

    pub(in super::super) fn item(self, owner: &BareJid, name: &str, key: &str) -> Result<Option<String>, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(None) };
        let query = "SELECT value, checksum FROM maps WHERE owner = ?1 AND name = ?2 AND key = ?3";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(String, i64)> =
            statement.query_row(params![owner, name, key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((value, checksum)) = found else { return Ok(None) };
        Kept::Item { name, key, value: &value }.check(owner, checksum)?;
        Ok(Some(value))
    }

    /// The value of a cell of an account, or of a key of one of its maps, and what two maps of its domain have under its
    /// localpart: in one look, and as long a one whatever there is.
    pub(in super::super) fn account(
        self,
        account: &BareJid,
        (own, key): (&str, Option<&str>),
        [one, other]: [&str; 2],
    ) -> Result<(Option<String>, [Option<String>; 2]), Error> {
        let look = if key.is_none() { LOOK_AT_CELL } else { LOOK_AT_ITEM };
        let mut statement = self.connection.prepare_cached(look)?;
        let (domain, name) = (account.domain(), local(account));
        let (owners, values) = statement.query_row(params![domain, name, own, one, other, key], |row| {
            let owners = [(row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)];
            let values = [(row.get(4)?, row.get(5)?), (row.get(6)?, row.get(7)?), (row.get(8)?, row.get(9)?)];
            Ok((owners, values))
        })?;
        let [who, home] = [(name, owners[0]), ("", owners[1])].map(|(local, (id, checksum)): (_, (Option<i64>, _))| {
            let Some((id, checksum)) = id.zip(checksum) else { return Ok(None) };
            Kept::Owner { domain, local }.check(id, checksum).map(|()| Some(id))
        });
        let (who, home) = (who?, home?);
        let [value, first, second] = values;
        let of_domain = [checked(home, (one, Some(name)), first)?, checked(home, (other, Some(name)), second)?];
        Ok((checked(who, (own, key), value)?, of_domain))
    }

    pub(in super::super) fn items(self, owner: &BareJid, name: &str) -> Result<Vec<(String, String)>, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(Vec::new()) };
        let query = "SELECT key, value, checksum FROM maps WHERE owner = ?1 AND name = ?2 ORDER BY key";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params![owner, name])?;
        let mut items = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            Kept::Item { name, key: &key, value: &value }.check(owner, row.get(2)?)?;
            items.push((key, value));
        }
        Ok(items)
    }

    pub(in super::super) fn exists(self, owner: &BareJid) -> Result<bool, Error> {
        Ok(self.owner(owner)?.is_some())
    }

    pub(in super::super) fn locals(self, domain: &str) -> Result<Vec<String>, Error> {
        let query = "SELECT id, local, checksum FROM owners WHERE domain = ?1 AND local <> '' ORDER BY local";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query([domain])?;
        let mut locals = Vec::new();
        while let Some(row) = rows.next()? {
            let local: String = row.get(1)?;
            // It is damaged for whoever asks for it, and for nobody else.
            if (Kept::Owner { domain, local: &local }).check(row.get(0)?, row.get(2)?).is_ok() {
                locals.push(local);
            }
        }
        Ok(locals)
    }

    pub(in super::super) fn undelivered_count(self, owner: &BareJid) -> Result<u64, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(0) };
        let mut statement = self.connection.prepare_cached("SELECT count(*) FROM undelivered WHERE owner = ?1")?;
        let count: i64 = statement.query_row([owner], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    pub(in super::super) fn undelivered(
        self,
        owner: &BareJid,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Error> {
        let query =
            "SELECT undelivered.position, log.direction, log.time, log.marks, log.checksum, log.peer, log.payload
                     FROM undelivered LEFT JOIN log
                     ON log.position = undelivered.position AND log.owner = undelivered.owner
                     WHERE undelivered.owner = ?1 AND undelivered.position > ?2
                     ORDER BY undelivered.position LIMIT ?3";
        self.entries(query, owner, after, limit)
    }

    pub(in super::super) fn queued(self, owner: &BareJid) -> Result<Vec<(Position, Queued)>, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(Vec::new()) };
        let mut statement = self.connection.prepare_cached(
            "SELECT queued.position, session, number, checksum FROM undelivered JOIN queued
             ON queued.position = undelivered.position WHERE owner = ?1 ORDER BY queued.position",
        )?;
        let mut rows = statement.query([owner])?;
        let mut queued = Vec::new();
        while let Some(row) = rows.next()? {
            let (position, session, number): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if place(position, session, number) == row.get::<_, i64>(3)? {
                let position = Position::new(position.cast_unsigned());
                queued.push((position, Queued { session, number: number.cast_unsigned() }));
            } else {
                // It comes again under another number.
                tracing::error!(owner, position, "the place of an entry in the queue of a session is damaged");
            }
        }
        Ok(queued)
    }

    pub(in super::super) fn page(self, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        let query = "SELECT position, direction, time, marks, checksum, peer, payload FROM log
                     WHERE owner = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
        self.entries(query, owner, after, limit)
    }

    fn entries(self, query: &str, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        let mut page = Page::default();
        let Some(owner) = self.owner(owner)? else { return Ok(page) };
        let after = after.unwrap_or(Position::new(0));
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params![owner, after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let position = Position::new(number.cast_unsigned());
            match entry(row, number, owner)? {
                Some(entry) => {
                    bytes += entry.payload.len();
                    page.entries.push(Stored { position, entry });
                }
                None => {
                    tracing::error!(owner, position = number, "a log entry is damaged and was left out");
                    page.damaged.push(position);
                }
            }
            count += 1;
            if count >= limit || bytes >= PAGE_BYTES {
                page.more = Some(position);
                break;
            }
        }
        Ok(page)
    }
}

/// The value of a cell, or of a key of a map, if it is there.
fn checked(
    owner: Option<i64>,
    (name, key): (&str, Option<&str>),
    (value, checksum): (Option<String>, Option<i64>),
) -> Result<Option<String>, Error> {
    let (Some(owner), Some(value), Some(checksum)) = (owner, value, checksum) else { return Ok(None) };
    let kept = match key {
        None => Kept::Cell { name, value: &value },
        Some(key) => Kept::Item { name, key, value: &value },
    };
    kept.check(owner, checksum).map(|()| Some(value))
}

/// The entry in `row`, or `None` if it is damaged.
pub(super) fn entry(row: &Row<'_>, position: i64, owner: i64) -> Result<Option<Entry>, Error> {
    let number = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_i64().ok());
    let (Some(way), Some(time), Some(marks), Some(checksum)) = (number(1)?, number(2)?, number(3)?, number(4)?) else {
        return Ok(None);
    };
    let (ValueRef::Text(peer), ValueRef::Text(payload)) = (row.get_ref(5)?, row.get_ref(6)?) else { return Ok(None) };
    let covered = Covered { position, owner, direction: way, time, peer, payload };
    if covered.checksum() != checksum {
        return Ok(None);
    }
    let known = [Direction::Received, Direction::Sent].into_iter().find(|known| direction(*known) == way);
    let (Some(direction), Some(marks), Ok(peer), Ok(payload)) =
        (known, Marks::from_bits(marks), std::str::from_utf8(peer), std::str::from_utf8(payload))
    else {
        return Ok(None);
    };
    let (peer, payload) = (peer.into(), payload.into());
    Ok(Some(Entry { direction, peer, time: time.cast_unsigned(), marks, payload }))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::apply::keep_statements;
    use super::super::schema::tests::empty;
    use super::*;

    #[test]
    fn a_look_is_prepared_once() {
        let connection = empty();
        keep_statements(&connection).unwrap();
        for account in ["romeo@verona.example", "juliet@verona.example", "benvolio@padua.example"] {
            let account = BareJid::parse(account).unwrap();
            for own in [("cell", None), ("map", Some("key"))] {
                Rows::new(&connection, &Owners::default()).account(&account, own, ["one", "other"]).unwrap();
            }
        }
        for look in [LOOK_AT_CELL, LOOK_AT_ITEM] {
            let look = connection.prepare_cached(look).unwrap();
            assert_eq!([StatementStatus::Run, StatementStatus::RePrepare].map(|what| look.get_status(what)), [3, 0]);
        }
    }

    #[test]
    fn whoever_looks_once_hears_of_damage_as_well() {
        let connection = empty();
        let (domain, juliet) = ("verona.example", BareJid::parse("juliet@verona.example").unwrap());
        for (id, local) in [(1, ""), (2, "juliet")] {
            let checksum = Kept::Owner { domain, local }.checksum(id);
            let row = params![id, domain, local, checksum];
            connection
                .execute("INSERT INTO owners (id, domain, local, checksum) VALUES (?1, ?2, ?3, ?4)", row)
                .unwrap();
        }
        let checksum = Kept::Cell { name: "cell", value: "1" }.checksum(2);
        connection
            .execute("INSERT INTO cells (owner, name, value, checksum) VALUES (2, 'cell', '1', ?1)", [checksum])
            .unwrap();
        for name in ["one", "other"] {
            let checksum = Kept::Item { name, key: "juliet", value: "2" }.checksum(1);
            connection
                .execute(
                    "INSERT INTO maps (owner, name, key, value, checksum) VALUES (1, ?1, 'juliet', '2', ?2)",
                    params![name, checksum],
                )
                .unwrap();
        }
        let looked = || Rows::new(&connection, &Owners::default()).account(&juliet, ("cell", None), ["one", "other"]);
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(looked().unwrap(), (value("1"), [value("2"), value("2")]));
        for table in ["cells", "maps", "owners"] {
            let add = |sign: &str| format!("UPDATE {table} SET checksum = checksum {sign} 1");
            connection.execute(&add("+"), []).unwrap();
            assert!(matches!(looked(), Err(Error::Damaged(_))), "{table}");
            connection.execute(&add("-"), []).unwrap();
        }
        for (table, place) in [("maps", "name = 'other'"), ("owners", "local = ''"), ("owners", "local = 'juliet'")] {
            let damage = |sign: &str| format!("UPDATE {table} SET checksum = checksum {sign} 1 WHERE {place}");
            connection.execute(&damage("+"), []).unwrap();
            assert!(matches!(looked(), Err(Error::Damaged(_))), "{table}: {place}");
            connection.execute(&damage("-"), []).unwrap();
        }
        assert!(looked().is_ok());
    }
}

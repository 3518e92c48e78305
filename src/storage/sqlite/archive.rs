//! Reading archived entries: from their index, and from the end of the log that is not in it yet.

use std::ops::ControlFlow;

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::super::log::bare;
use super::super::{End, Entry, Error, Expired, Marks, Page, Position, Range, Stored};
use super::checksum::fingerprint;
use super::column;
use super::index::{self, Bounds};
use super::rows::{PAGE_BYTES, Rows, entry};
use crate::jid::BareJid;

/// What an entry is read from.
pub(super) const ENTRY: &str =
    "SELECT position, direction, time, marks, checksum, peer, payload FROM log WHERE position = ?1 AND owner = ?2";

/// Owners that are looked at in one go.
const OWNERS: i64 = 1000;

/// Entries that are taken in one go from the end of the log, which is short.
const AT_END: i64 = 10_000;

/// A page that is being filled.
struct Filling<'a, 's> {
    range: &'a Range,
    limit: usize,
    owner: i64,
    read: CachedStatement<'s>,
    page: Page,
    bytes: usize,
}

impl Rows<'_> {
    pub(in super::super) fn archived(
        self,
        owner: &BareJid,
        range: &Range,
        (end, limit): (End, usize),
    ) -> Result<Page, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(Page::default()) };
        let read = self.connection.prepare_cached(ENTRY)?;
        let mut filling = Filling { range, limit, owner, read, page: Page::default(), bytes: 0 };
        self.each(owner, range, end, |position| filling.take(position))?;
        let mut page = filling.page;
        if end == End::Youngest {
            page.entries.reverse();
        }
        Ok(page)
    }

    pub(in super::super) fn archived_count(self, owner: &BareJid, range: &Range) -> Result<u64, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(0) };
        let mut count = 0;
        self.each(owner, range, End::Oldest, |_| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    pub(in super::super) fn is_archived(self, owner: &BareJid, position: Position) -> Result<bool, Error> {
        let Some(owner) = self.owner(owner)? else { return Ok(false) };
        let query = "SELECT 1 FROM log WHERE position = ?1 AND owner = ?2 AND marks & ?3";
        let mut statement = self.connection.prepare_cached(query)?;
        Ok(statement.query_row(params![position, owner, Marks::ARCHIVED.bits()], |_| Ok(())).optional()?.is_some())
    }

    /// The owners in `domain` of more than `most` indexed entries, and how many are too many.
    pub(in super::super) fn crowded(self, domain: &str, most: u64) -> Result<Vec<(BareJid, u64)>, Error> {
        // One walk through the index, which is ordered by owner.
        let mut statement = self.connection.prepare_cached(
            "SELECT local, surplus FROM
                 (SELECT owner, count(*) - ?1 AS surplus FROM archived
                  WHERE owner IN (SELECT id FROM owners WHERE domain = ?2) GROUP BY owner HAVING count(*) > ?1) AS crowd
             JOIN owners ON owners.id = crowd.owner",
        )?;
        let mut rows = statement.query(params![column(most), domain])?;
        let mut crowded = Vec::new();
        while let Some(row) = rows.next()? {
            let (local, surplus): (String, i64) = (row.get(0)?, row.get(1)?);
            if let Ok(owner) = BareJid::account(&local, domain) {
                crowded.push((owner, surplus.unsigned_abs()));
            }
        }
        Ok(crowded)
    }

    /// Archived entries older than `before` of the accounts of `domain` from `from` on.
    pub(in super::super) fn expired(
        self,
        domain: &str,
        from: Option<&BareJid>,
        before: u64,
        limit: usize,
    ) -> Result<Expired, Error> {
        let mut expired = Expired::default();
        let mut owners = self.connection.prepare_cached(
            "SELECT id, local FROM owners WHERE domain = ?1 AND local >= ?2 AND local <> '' ORDER BY local LIMIT ?3",
        )?;
        let mut oldest =
            self.connection.prepare_cached("SELECT position, time FROM archived WHERE owner = ?1 ORDER BY position")?;
        let from = from.and_then(BareJid::local).unwrap_or_default();
        let mut rows = owners.query(params![domain, from, OWNERS])?;
        let mut visited = 0;
        while let Some(row) = rows.next()? {
            let (id, local): (i64, String) = (row.get(0)?, row.get(1)?);
            visited += 1;
            if visited == OWNERS || expired.entries.len() >= limit {
                // As it is written there: it may be the name of nobody any more.
                expired.more = Some(BareJid::from_kept(&format!("{local}@{domain}")));
                return Ok(expired);
            }
            let Ok(owner) = BareJid::account(&local, domain) else { continue };
            let mut entries = oldest.query([id])?;
            while let Some(entry) = entries.next()? {
                let (position, time): (i64, i64) = (entry.get(0)?, entry.get(1)?);
                if time >= column(before) {
                    break;
                }
                if expired.entries.len() >= limit {
                    expired.more = Some(owner);
                    return Ok(expired);
                }
                expired.entries.push((owner.clone(), Position::new(position.cast_unsigned())));
            }
        }
        self.expired_at_end(domain, before, &mut expired.entries)?;
        Ok(expired)
    }

    /// The same of what is not indexed yet, of all accounts.
    fn expired_at_end(self, domain: &str, before: u64, entries: &mut Vec<(BareJid, Position)>) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached(
            "SELECT position, local FROM log JOIN owners ON owners.id = log.owner
             WHERE position >= ?1 AND marks & ?2 AND time < ?3 AND domain = ?4 AND local <> '' ORDER BY position LIMIT ?5",
        )?;
        let indexed = column(index::upto(self.connection)?);
        let marks = Marks::ARCHIVED.bits();
        let mut rows = statement.query(params![indexed, marks, column(before), domain, AT_END])?;
        while let Some(row) = rows.next()? {
            let (position, local): (i64, String) = (row.get(0)?, row.get(1)?);
            if let Ok(owner) = BareJid::account(&local, domain) {
                entries.push((owner, Position::new(position.cast_unsigned())));
            }
        }
        Ok(())
    }

    /// Shows the positions of `range`, except that of a full JID as a peer only the bare one counts, until `each` has
    /// enough.
    fn each(
        self,
        owner: i64,
        range: &Range,
        end: End,
        mut each: impl FnMut(i64) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let bounds = Bounds {
            after: range.after.map_or(0, |after| column(after.number())),
            before: range.before.map_or(i64::MAX, |before| column(before.number())),
            since: range.since.map_or(0, column),
            until: range.until.map_or(i64::MAX, column),
        };
        let peer = range.peer.as_ref().map(|peer| bare(peer.as_str()));
        let indexed = column(index::upto(self.connection)?);
        let unindexed = Bounds { after: bounds.after.max(indexed - 1), ..bounds };
        if end == End::Youngest && self.at_end(owner, peer, unindexed, end, &mut each)?.is_break() {
            return Ok(());
        }
        let print = peer.map(fingerprint);
        if index::each(self.connection, owner, print, bounds, end, &mut each)?.is_continue() && end == End::Oldest {
            let _ = self.at_end(owner, peer, unindexed, end, &mut each)?;
        }
        Ok(())
    }

    /// Shows positions of the end of the log.
    fn at_end(
        self,
        owner: i64,
        peer: Option<&str>,
        bounds: Bounds,
        end: End,
        each: &mut impl FnMut(i64) -> Result<ControlFlow<()>, Error>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut statement = self.connection.prepare_cached(match end {
            End::Oldest => {
                "SELECT position, peer FROM log WHERE position > ?2 AND position < ?3 AND owner = ?1
                 AND marks & ?6 AND time BETWEEN ?4 AND ?5 ORDER BY position"
            }
            End::Youngest => {
                "SELECT position, peer FROM log WHERE position > ?2 AND position < ?3 AND owner = ?1
                 AND marks & ?6 AND time BETWEEN ?4 AND ?5 ORDER BY position DESC"
            }
        })?;
        let Bounds { after, before, since, until } = bounds;
        let mut rows = statement.query(params![owner, after, before, since, until, Marks::ARCHIVED.bits()])?;
        while let Some(row) = rows.next()? {
            let is_meant =
                peer.is_none_or(|peer| row.get_ref(1).is_ok_and(|it| it.as_str().is_ok_and(|it| bare(it) == peer)));
            if is_meant && each(row.get(0)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Filling<'_, '_> {
    fn take(&mut self, number: i64) -> Result<ControlFlow<()>, Error> {
        let position = Position::new(number.cast_unsigned());
        let owner = self.owner;
        let read = self.read.query_row(params![number, owner], |row| {
            entry(row, number, owner).map_err(|_| rusqlite::Error::InvalidQuery)
        });
        match read.optional()?.flatten() {
            None => {
                tracing::error!(owner, position = number, "an archived entry is damaged and was left out");
                self.page.damaged.push(position);
            }
            Some(entry) if self.range.is_with(&entry.peer) => return Ok(self.keep(position, entry)),
            Some(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn keep(&mut self, position: Position, entry: Entry) -> ControlFlow<()> {
        let Some(last) = self.page.entries.last().map(|last| last.position) else {
            self.add(position, entry);
            return ControlFlow::Continue(());
        };
        // One more was found than is wanted.
        if self.page.entries.len() >= self.limit || self.bytes >= PAGE_BYTES {
            self.page.more = Some(last);
            return ControlFlow::Break(());
        }
        self.add(position, entry);
        ControlFlow::Continue(())
    }

    fn add(&mut self, position: Position, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.payload.len());
        self.page.entries.push(Stored { position, entry });
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Owners;
    use super::super::schema::tests::empty;
    use super::*;

    #[test]
    fn owners_whose_names_are_none_any_more_hide_nobody() {
        let connection = empty();
        // A space is in no name.
        let names = (0..3 * OWNERS).map(|number| format!("a {number:05}")).chain(["zoe".to_owned()]);
        for (id, local) in (1..).zip(names) {
            let insert = "INSERT INTO owners (id, domain, local, checksum) VALUES (?1, 'verona.lit', ?2, 0)";
            connection.execute(insert, params![id, local]).unwrap();
        }
        let zoe = 3 * OWNERS + 1;
        connection.execute("INSERT INTO archived VALUES (?1, 7, 1, 0)", [zoe]).unwrap();
        let (mut from, mut found) = (None, Vec::new());
        loop {
            let rows = Rows::new(&connection, &Owners::default()).expired("verona.lit", from.as_ref(), 2, 10).unwrap();
            found.extend(rows.entries);
            let Some(more) = rows.more else { break };
            assert!(from.as_ref() < Some(&more), "it gets on");
            from = Some(more);
        }
        assert_eq!(found, [("zoe@verona.lit".parse().unwrap(), Position::new(7))]);
    }
}

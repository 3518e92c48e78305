//! Reading archived entries: from their index, and from the end of the log that is not in it yet.

use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Statement, params};

use super::super::log::bare;
use super::super::{End, Entry, Error, Expired, Marks, Page, Position, Range, Stored};
use super::checksum::fingerprint;
use super::rows::{PAGE_BYTES, Rows, entry};
use super::{column, index};
use crate::jid::BareJid;

/// What an entry is read from.
const ENTRY: &str =
    "SELECT position, direction, time, marks, checksum, peer, payload FROM log WHERE position = ?1 AND owner = ?2";

/// A page that is being filled.
struct Filling<'a, 's> {
    range: &'a Range,
    limit: usize,
    owner: i64,
    read: Statement<'s>,
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
        let read = self.connection.prepare(ENTRY)?;
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

    /// The owners of more than `most` indexed entries, and how many are too many.
    pub(in super::super) fn crowded(self, most: u64) -> Result<Vec<(BareJid, u64)>, Error> {
        // One walk through the index, which is ordered by owner.
        let mut statement = self.connection.prepare_cached(
            "SELECT domain, local, surplus FROM
                 (SELECT owner, count(*) - ?1 AS surplus FROM archived GROUP BY owner HAVING count(*) > ?1) AS crowd
             JOIN owners ON owners.id = crowd.owner",
        )?;
        let mut rows = statement.query([column(most)])?;
        let mut crowded = Vec::new();
        while let Some(row) = rows.next()? {
            let (domain, local, surplus): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Ok(owner) = BareJid::account(&local, &domain) {
                crowded.push((owner, surplus.unsigned_abs()));
            }
        }
        Ok(crowded)
    }

    /// Archived entries of all owners behind `after` that are older than `before`, the oldest first; ends at the first that is not.
    pub(in super::super) fn expired(self, after: Position, before: u64, limit: usize) -> Result<Expired, Error> {
        let mut statement = self.connection.prepare_cached(
            "SELECT position, time, marks, domain, local FROM log JOIN owners ON owners.id = log.owner
             WHERE position > ?1 ORDER BY position LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut expired = Expired::default();
        while let Some(row) = rows.next()? {
            let (position, time, marks): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if time >= column(before) {
                break;
            }
            let position = Position::new(position.cast_unsigned());
            expired.more = Some(position);
            let (domain, local): (String, String) = (row.get(3)?, row.get(4)?);
            if Marks::from_bits(marks).is_some_and(|marks| marks.contains(Marks::ARCHIVED))
                && let Ok(owner) = BareJid::account(&local, &domain)
            {
                expired.entries.push((owner, position));
            }
        }
        Ok(expired)
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
        let indexed = column(index::upto(self.connection)?);
        let direction = match end {
            End::Oldest => "ASC",
            End::Youngest => "DESC",
        };
        let after = range.after.map_or(0, |after| column(after.number()));
        let before = range.before.map_or(i64::MAX, |before| column(before.number()));
        let (since, until) = (range.since.map_or(0, column), range.until.map_or(i64::MAX, column));
        let peer = range.peer.as_ref().map(|peer| bare(peer.as_str()));
        let mut in_index = self.connection.prepare_cached(&format!(
            "SELECT position FROM archived WHERE owner = ?1 AND position > ?2 AND position < ?3
             AND time BETWEEN ?4 AND ?5 AND (?6 IS NULL OR peer = ?6) ORDER BY position {direction}"
        ))?;
        let mut at_end = self.connection.prepare_cached(&format!(
            "SELECT position, peer FROM log WHERE position > ?2 AND position < ?3 AND owner = ?1
             AND marks & ?6 AND time BETWEEN ?4 AND ?5 ORDER BY position {direction}"
        ))?;
        let fingerprint = peer.map_or(Value::Null, |peer| Value::Integer(fingerprint(peer)));
        let parts = [(true, after, before), (false, after.max(indexed - 1), before)];
        let order = if end == End::Oldest { [0, 1] } else { [1, 0] };
        for (is_index, after, before) in order.into_iter().filter_map(|place: usize| parts.get(place).copied()) {
            let bounds = (owner, after, before, since, until);
            let mut rows = if is_index {
                in_index.query(params![bounds.0, bounds.1, bounds.2, bounds.3, bounds.4, fingerprint])?
            } else {
                let marks = Marks::ARCHIVED.bits();
                at_end.query(params![bounds.0, bounds.1, bounds.2, bounds.3, bounds.4, marks])?
            };
            while let Some(row) = rows.next()? {
                // The index holds no text; whoever reads the entry compares it.
                let is_other = !is_index
                    && peer.is_some_and(|peer| {
                        row.get_ref(1).ok().and_then(|it| it.as_str().ok()).map(bare) != Some(peer)
                    });
                if !is_other && each(row.get(0)?)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
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

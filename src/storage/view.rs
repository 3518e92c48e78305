//! Reading: what was durable at one moment.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shapes::decode;
use super::sqlite::Rows;
use super::{Cell, End, Error, Expired, Map, Page, Position, Queued, Range};
use crate::jid::BareJid;

/// What an account has itself, and what two maps have under its name.
type Known<T, U, V> = (Option<T>, Option<U>, Option<V>);

/// What is wanted of an account itself.
pub enum Own<'a, T> {
    Cell(&'a Cell<T>),
    /// What a map has under this key.
    Item(&'a Map<T>, &'a str),
}

/// The durable data as of one moment.
pub struct View<'a> {
    rows: Rows<'a>,
}

/// The durable data for one look: a single statement, which sees one moment by itself.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    rows: Rows<'a>,
}

impl<'a> Look<'a> {
    pub(super) const fn new(rows: Rows<'a>) -> Self {
        Self { rows }
    }

    /// What `account` has itself, and what two maps of its domain have under its localpart; it takes as long whatever
    /// there is.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub fn account<T, U, V>(
        self,
        account: &BareJid,
        own: Own<'_, T>,
        (one, other): (&Map<U>, &Map<V>),
    ) -> Result<Known<T, U, V>, Error>
    where
        T: Serialize + DeserializeOwned,
        U: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let (own, key) = match own {
            Own::Cell(cell) => (cell.name(), None),
            Own::Item(map, key) => (map.name(), Some(key)),
        };
        let (value, [first, second]) = self.rows.account(account, (own, key), [one.name(), other.name()])?;
        Ok((
            value.map(|text| decode(own, &text)).transpose()?,
            first.map(|text| decode(one.name(), &text)).transpose()?,
            second.map(|text| decode(other.name(), &text)).transpose()?,
        ))
    }
}

impl<'a> View<'a> {
    pub(super) const fn new(rows: Rows<'a>) -> Self {
        Self { rows }
    }

    /// The value of `cell`.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub fn cell<T: Serialize + DeserializeOwned>(&self, cell: &Cell<T>, owner: &BareJid) -> Result<Option<T>, Error> {
        self.rows.cell(owner, cell.name())?.map(|text| decode(cell.name(), &text)).transpose()
    }

    /// The value of `key` in `map`.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub fn item<V: Serialize + DeserializeOwned>(
        &self,
        map: &Map<V>,
        owner: &BareJid,
        key: &str,
    ) -> Result<Option<V>, Error> {
        self.rows.item(owner, map.name(), key)?.map(|text| decode(map.name(), &text)).transpose()
    }

    /// For what is read in one look.
    #[must_use]
    pub const fn look(&self) -> Look<'a> {
        Look::new(self.rows)
    }

    /// All values of `map` with their keys, in the order of the keys' octets.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub fn items<V: Serialize + DeserializeOwned>(
        &self,
        map: &Map<V>,
        owner: &BareJid,
    ) -> Result<Vec<(String, V)>, Error> {
        let items = self.rows.items(owner, map.name())?;
        items.into_iter().map(|(key, text)| Ok((key, decode(map.name(), &text)?))).collect()
    }

    /// Whether `owner` exists.
    ///
    /// # Errors
    /// What the database says.
    pub fn exists(&self, owner: &BareJid) -> Result<bool, Error> {
        self.rows.exists(owner)
    }

    /// The accounts of `domain`, in the order of their names.
    ///
    /// # Errors
    /// What the database says.
    pub fn owners(&self, domain: &str) -> Result<Vec<BareJid>, Error> {
        let mut owners = Vec::new();
        for local in self.rows.locals(domain)? {
            match BareJid::account(&local, domain) {
                Ok(owner) => owners.push(owner),
                // Only a change of the preparation rules can do that; the other accounts must stay usable.
                Err(error) => tracing::warn!(local, domain, %error, "a stored account has no valid address"),
            }
        }
        Ok(owners)
    }

    /// The undelivered entries of `owner` behind `after`, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub fn undelivered(&self, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        self.rows.undelivered(owner, after, limit)
    }

    /// How many entries of `owner` are undelivered.
    ///
    /// # Errors
    /// What the database says.
    pub fn undelivered_count(&self, owner: &BareJid) -> Result<u64, Error> {
        self.rows.undelivered_count(owner)
    }

    /// The undelivered entries of `owner` that are in the queues of sessions.
    ///
    /// # Errors
    /// What the database says.
    pub fn queued(&self, owner: &BareJid) -> Result<Vec<(Position, Queued)>, Error> {
        self.rows.queued(owner)
    }

    /// The archived entries of `owner` in `range`, the oldest first: at most `limit` (one at least) from that `end`, and
    /// not many more than fit into a megabyte. [`Page::more`] is set if there is one more.
    ///
    /// # Errors
    /// What the database says.
    pub fn archived(&self, owner: &BareJid, range: &Range, end: End, limit: usize) -> Result<Page, Error> {
        self.rows.archived(owner, range, (end, limit))
    }

    /// How many archived entries of `owner` are in `range`; of a peer only the bare JID counts.
    ///
    /// # Errors
    /// What the database says.
    pub fn archived_count(&self, owner: &BareJid, range: &Range) -> Result<u64, Error> {
        self.rows.archived_count(owner, range)
    }

    /// Whether `owner` has an archived entry at `position`.
    ///
    /// # Errors
    /// What the database says.
    pub fn is_archived(&self, owner: &BareJid, position: Position) -> Result<bool, Error> {
        self.rows.is_archived(owner, position)
    }

    /// Archived entries of accounts of `domain` that are older than the time `before` (Unix time in milliseconds), those
    /// of each the oldest first: about `limit`, beginning with the account `from`. Those that are so young that they are
    /// not indexed come last.
    ///
    /// # Errors
    /// What the database says.
    pub fn expired(&self, domain: &str, from: Option<&BareJid>, before: u64, limit: usize) -> Result<Expired, Error> {
        self.rows.expired(domain, from, before, limit)
    }

    /// The accounts of `domain` that have more than `most` archived entries, each with how many it has too many. Entries
    /// that are so young that they are not indexed do not count.
    ///
    /// # Errors
    /// What the database says.
    pub fn crowded(&self, domain: &str, most: u64) -> Result<Vec<(BareJid, u64)>, Error> {
        self.rows.crowded(domain, most)
    }

    /// The entries of `owner` behind `after`, at most `limit`. Reads past the entries of other owners.
    ///
    /// # Errors
    /// What the database says.
    pub fn page(&self, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        self.rows.page(owner, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, Writes};

    #[tokio::test]
    async fn one_look_finds_what_single_ones_do() {
        const CELL: Cell<u32> = Cell::new("cell");
        const ONE: Map<u32> = Map::new("one");
        const OTHER: Map<u32> = Map::new("other");
        let [juliet, romeo, home] =
            ["juliet@verona.example", "romeo@verona.example", "verona.example"].map(|jid| BareJid::parse(jid).unwrap());
        let storage = Storage::open_in_memory().unwrap();
        let known = |jid: &BareJid| {
            storage.read_blocking(|view| view.look().account(jid, Own::Cell(&CELL), (&ONE, &OTHER))).unwrap()
        };
        assert_eq!(known(&juliet), (None, None, None), "nobody is there, not even the domain");
        storage.create(&juliet, Writes::new()).await.unwrap();
        storage.create(&romeo, Writes::new()).await.unwrap();
        let mut writes = Writes::new();
        CELL.put(&mut writes, &juliet, &7).unwrap();
        ONE.put(&mut writes, &home, "juliet", &1).unwrap();
        OTHER.put(&mut writes, &home, "romeo", &2).unwrap();
        // The same names elsewhere do not count.
        ONE.put(&mut writes, &romeo, "romeo", &3).unwrap();
        CELL.put(&mut writes, &home, &4).unwrap();
        storage.submit(writes);
        assert_eq!(known(&juliet), (Some(7), Some(1), None));
        assert_eq!(known(&romeo), (None, None, Some(2)));
        let one = |jid: &BareJid, key: &str| {
            storage.read_blocking(|view| view.look().account(jid, Own::Item(&ONE, key), (&ONE, &OTHER))).unwrap()
        };
        assert_eq!(one(&romeo, "romeo"), (Some(3), None, Some(2)));
        assert_eq!((one(&romeo, "cell"), one(&juliet, "romeo")), ((None, None, Some(2)), (None, Some(1), None)));
    }
}

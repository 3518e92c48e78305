//! The accounts in memory: loaded on demand, bounded, the longest unused go first.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hashbrown::HashTable;

use crate::accounts::activity::LAST_LOGIN;
use crate::accounts::blocklist::{BLOCKED, Blocklist};
use crate::accounts::contact::Contact;
use crate::accounts::credentials::Credentials;
use crate::accounts::directory::{self, Standing};
use crate::accounts::preferences::PREFERENCES;
use crate::accounts::push::REGISTRATIONS;
use crate::accounts::removal;
use crate::accounts::roster::Version;
use crate::hooks::Shelf;
use crate::jid::BareJid;
use crate::storage::{Cell, Error, Map, Storage, View};

use super::account::{Account, State};
use super::neighbours::Neighbours;
use super::remote::Pair;
use super::suspended::Suspended;

/// Roster items and waiting requests, by the contact's bare JID.
pub const CONTACTS: Map<Contact> = Map::new("roster");

/// The version of the roster (RFC 6121 §2.6).
pub const ROSTER_VERSION: Cell<Version> = Cell::new("roster-version");

/// How many parts the table has, so that tasks seldom wait for each other.
const SHARDS: usize = 64;

/// Entries of a log that are read at a time: somebody else decided how long they are.
const PAGE: usize = 32;

/// Entries by what is made of their addresses ([`Accounts::hash`]), which also says in which part they are.
type Table = HashTable<Arc<Account>>;

/// The cache of account entries.
pub(super) struct Accounts {
    shards: Vec<RwLock<Table>>,
    hasher: foldhash::fast::RandomState,
    storage: Storage,
    suspended: Arc<Suspended>,
    /// Entries without a session that one part may hold.
    spare: usize,
    ticks: AtomicU64,
    /// Accounts that are being removed: what is read of them now is not worth keeping.
    leaving: Mutex<HashSet<BareJid>>,
    /// Who of those in memory has contacts where.
    pub(super) neighbours: Neighbours,
}

impl Accounts {
    pub(super) fn new(storage: Storage, suspended: Arc<Suspended>, spare: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
            storage,
            suspended,
            spare: spare.div_ceil(SHARDS),
            ticks: AtomicU64::new(0),
            leaving: Mutex::default(),
            neighbours: Neighbours::default(),
        }
    }

    /// The entry of the account `jid` (a bare JID's text), if it is loaded.
    pub(super) fn cached(&self, jid: &str) -> Option<Arc<Account>> {
        let hash = self.hash(jid);
        let table = self.shard(hash)?.read().unwrap_or_else(PoisonError::into_inner);
        let account = table.find(hash, |account| account.jid.as_str() == jid)?;
        account.touch(self.ticks.fetch_add(1, Ordering::Relaxed));
        Some(Arc::clone(account))
    }

    /// Whether it is loaded. That does not count as use.
    pub(super) fn has(&self, jid: &str) -> bool {
        let hash = self.hash(jid);
        let table = self.shard(hash).map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        table.is_some_and(|table| table.find(hash, |account| account.jid.as_str() == jid).is_some())
    }

    /// Every loaded entry.
    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        self.parts().flatten().collect()
    }

    /// The same, part by part, for those who have time: each is looked at when it is asked for.
    pub(super) fn parts(&self) -> impl Iterator<Item = Vec<Arc<Account>>> {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect())
    }

    /// The loaded entries of one domain with contacts at the other, the same order each time. That does not count as use.
    pub(super) fn with_contacts(&self, pair: &Pair) -> Vec<Arc<Account>> {
        let all = self.neighbours.of(&pair.remote).into_iter().filter(|jid| jid.domain() == &*pair.local);
        let loaded = all.filter_map(|jid| {
            let hash = self.hash(jid.as_str());
            let table = self.shard(hash)?.read().unwrap_or_else(PoisonError::into_inner);
            table.find(hash, |account| account.jid == jid).cloned()
        });
        loaded.collect()
    }

    /// Reads an account from storage; `None` if there is none. Two loads at once end with one
    /// entry.
    pub(super) async fn load(&self, jid: &BareJid) -> Result<Option<Arc<Account>>, Error> {
        self.all_durable().await?;
        let owner = jid.clone();
        // One visit to a blocking thread, and everything as of one moment.
        let state = self
            .storage
            .read(move |view| if removal::is_pending(view, &owner)? { Ok(None) } else { state(view, &owner) })
            .await?;
        Ok(state.and_then(|state| self.keep(jid, state)))
    }

    /// The entry of an account whose removal has begun. Nobody else finds it from now on, until [`Self::left`].
    pub(super) async fn leave(&self, jid: &BareJid) -> Result<Option<Arc<Account>>, Error> {
        self.leaving().insert(jid.clone());
        if let Some(account) = self.forget(jid) {
            return Ok(Some(account));
        }
        self.all_durable().await?;
        let owner = jid.clone();
        let state = self.storage.read(move |view| state(view, &owner)).await?;
        Ok(state.map(|state| Arc::new(Account::new(jid.clone(), state))))
    }

    /// Nothing is left of the account.
    pub(super) fn left(&self, jid: &BareJid) {
        self.leaving().remove(jid);
    }

    /// The keys of an account that somebody wants to log in to, and whether he may. Nothing else is read
    /// before he has proved to be its owner: it would show by the time that it takes which accounts there are.
    pub(super) async fn credentials(&self, jid: &BareJid) -> Result<Option<(Credentials, Standing)>, Error> {
        let owner = jid.clone();
        self.storage.look(move |look| directory::credentials(look, &owner)).await
    }

    /// An entry may have left memory with its last writes still queued.
    async fn all_durable(&self) -> Result<(), Error> {
        Ok(self.storage.durable(self.storage.latest()).await?)
    }

    /// Takes what was read into the table, unless somebody was faster.
    fn keep(&self, jid: &BareJid, mut state: State) -> Option<Arc<Account>> {
        state.in_flight = self.suspended.positions(jid);
        state.awaited = self.suspended.has(jid);
        let hash = self.hash(jid.as_str());
        let mut table = self.shard(hash)?.write().unwrap_or_else(PoisonError::into_inner);
        if self.leaving().contains(jid) {
            return None;
        }
        let known = table.find(hash, |account| account.jid == *jid).cloned();
        let account = known.unwrap_or_else(|| {
            self.neighbours.came(jid, &state.contacts);
            let account = Arc::new(Account::new(jid.clone(), state));
            table.insert_unique(hash, Arc::clone(&account), |it| self.hash(it.jid.as_str()));
            account
        });
        account.touch(self.ticks.fetch_add(1, Ordering::Relaxed));
        self.evict(&mut table);
        Some(account)
    }

    fn leaving(&self) -> MutexGuard<'_, HashSet<BareJid>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an account that was removed.
    fn forget(&self, jid: &BareJid) -> Option<Arc<Account>> {
        let hash = self.hash(jid.as_str());
        let mut table = self.shard(hash)?.write().unwrap_or_else(PoisonError::into_inner);
        let account = self.take(&mut table, jid)?;
        drop(table);
        self.neighbours.went(jid, &account.lock().contacts);
        Some(account)
    }

    /// Lets the longest unused entries go once there are too many; one that is in use, by a session
    /// or by a task that routes to it, is held elsewhere too.
    fn evict(&self, table: &mut Table) {
        if table.len() <= self.spare {
            return;
        }
        let mut idle: Vec<(u64, BareJid)> = table
            .iter()
            .filter(|account| Arc::strong_count(account) == 1)
            .map(|account| (account.used.load(Ordering::Relaxed), account.jid.clone()))
            .collect();
        if idle.len() <= self.spare {
            return;
        }
        idle.sort_unstable();
        // A quarter at a time, so that the search is rare.
        let surplus = idle.len() - self.spare + self.spare / 4;
        for (_, jid) in idle.into_iter().take(surplus) {
            if let Some(account) = self.take(table, &jid) {
                // Nobody else has it, so nobody holds its lock.
                self.neighbours.went(&jid, &account.lock().contacts);
            }
        }
    }

    /// Takes an entry out.
    fn take(&self, table: &mut Table, jid: &BareJid) -> Option<Arc<Account>> {
        let found = table.find_entry(self.hash(jid.as_str()), |account| account.jid == *jid);
        found.ok().map(|entry| entry.remove().0)
    }

    fn hash(&self, jid: &str) -> u64 {
        self.hasher.hash_one(jid)
    }

    fn shard(&self, hash: u64) -> Option<&RwLock<Table>> {
        self.shards.get(usize::try_from(hash >> 32).unwrap_or_default() % SHARDS)
    }
}

/// What is kept of an account, if it exists.
fn state(view: &View<'_>, jid: &BareJid) -> Result<Option<State>, Error> {
    if !view.exists(jid)? {
        return Ok(None);
    }
    // A key that is no JID any more, because the tables of Unicode moved on, names nobody.
    let contacts = view.items(&CONTACTS, jid)?.into_iter();
    let contacts = contacts.filter_map(|(jid, contact)| Some((jid.parse().ok()?, contact))).collect();
    let blocked = view.items(&BLOCKED, jid)?.into_iter().map(|(address, _)| address);
    Ok(Some(State {
        standing: directory::standing(view, jid)?,
        gone: false,
        unused: view.cell(&LAST_LOGIN, jid)?.is_none(),
        contacts,
        blocked: Blocklist::kept(jid, blocked),
        roster_version: view.cell(&ROSTER_VERSION, jid)?.unwrap_or_default(),
        resources: Vec::new(),
        shelf: Shelf { undelivered: undelivered(view, jid)? },
        preferences: view.cell(&PREFERENCES, jid)?.map(Box::new),
        push: view.cell(&REGISTRATIONS, jid)?.map(Box::new),
        in_flight: BTreeSet::new(),
        awaited: false,
        lapsed: None,
        copied: None,
    }))
}

fn undelivered(view: &View<'_>, jid: &BareJid) -> Result<BTreeSet<u64>, Error> {
    let (mut positions, mut after) = (BTreeSet::new(), None);
    loop {
        let page = view.undelivered(jid, after, PAGE)?;
        positions.extend(page.entries.iter().map(|stored| stored.position.number()));
        after = page.more;
        if after.is_none() {
            return Ok(positions);
        }
    }
}

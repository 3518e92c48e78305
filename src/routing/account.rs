//! A local account in memory: what is needed to route to it, loaded before the first stanza.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accounts::contact::Contact;
use crate::accounts::roster::Version;
use crate::hooks::Shelf;
use crate::jid::{BareJid, Jid};
use crate::stanza::Stanza;

use super::delivery::Target;
use super::ring::Ring;

/// The account entry: shared by every session of the account and by every task that routes to it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) jid: BareJid,
    state: Mutex<State>,
    /// When it was last asked for, in the cache's own ticks.
    pub(super) used: AtomicU64,
}

/// What the lock protects. No lock of a second account is ever taken while one is held.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) contacts: HashMap<BareJid, Contact>,
    /// Counts every change of the roster (RFC 6121 §2.6).
    pub(super) roster_version: Version,
    pub(super) resources: Vec<Resource>,
    pub(super) shelf: Shelf,
    /// Undelivered positions that some session's ring holds.
    pub(super) in_flight: BTreeSet<u64>,
}

/// A connected resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) jid: Jid,
    /// Tells two sessions apart that used the same resourcepart one after the other.
    pub(super) binding: u64,
    pub(super) ring: Arc<Ring>,
    pub(super) available: Option<Available>,
    /// Has asked for the roster, so it gets pushes (RFC 6121 §2.2).
    pub(super) interested: bool,
    /// Who was sent directed presence (RFC 6121 §4.6).
    pub(super) directed: HashSet<Jid>,
}

/// The last broadcast presence of an available resource.
#[derive(Debug, Clone)]
pub(super) struct Available {
    pub(super) priority: i8,
    pub(super) presence: Arc<Stanza<'static>>,
}

impl Account {
    pub(super) fn new(jid: BareJid, state: State) -> Self {
        Self { jid, state: Mutex::new(state), used: AtomicU64::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held ends one session; the entry stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, tick: u64) {
        self.used.store(tick, Ordering::Relaxed);
    }
}

impl State {
    pub(super) fn resource(&self, binding: u64) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.binding == binding)
    }

    pub(super) fn resource_mut(&mut self, binding: u64) -> Option<&mut Resource> {
        self.resources.iter_mut().find(|resource| resource.binding == binding)
    }

    /// How `to`, an address of this account, names it.
    pub(super) fn target(&self, to: &Jid) -> Target {
        if to.is_bare() {
            return Target::Bare;
        }
        self.resources.iter().position(|resource| resource.jid == *to).map_or(Target::Gone, Target::Connected)
    }

    /// The contacts that receive this account's presence.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &BareJid> {
        self.contacts.iter().filter(|(_, contact)| contact.state().subscription().has_from()).map(|(jid, _)| jid)
    }

    /// Whether `jid` receives this account's presence.
    pub(super) fn is_subscriber(&self, jid: &Jid) -> bool {
        self.contacts.get(jid.bare_str()).is_some_and(|contact| contact.state().subscription().has_from())
    }

    /// The last presence of every available resource.
    pub(super) fn presences(&self) -> Vec<Arc<Stanza<'static>>> {
        self.resources.iter().filter_map(|it| it.available.as_ref()).map(|it| Arc::clone(&it.presence)).collect()
    }
}

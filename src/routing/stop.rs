//! The end of a server in order.
//!
//! Its sessions end one after the other, and others go on sending until they end, too: clients, other servers, services. A
//! session that has ended therefore stays where messages reach it until nobody is left who could send any. Then all of
//! them leave, those that their clients may come back to with everything that has come meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::stream::StreamError;

use super::Router;
use super::account::{Account, Resource, State};
use super::binding::Binding;
use super::departure::Departing;

/// How many sessions somebody holds: they have not come to their end.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

impl Held {
    pub(super) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_less(&self) {
        // What the session has routed comes before.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Binding {
    /// Whether the session stays until all leave, although nobody holds it any more.
    pub(super) fn stays(&self) -> bool {
        // One whose resource another one has taken over has left already.
        let is_there = || self.account.lock().resources.iter().any(|resource| resource.binding == self.id);
        self.router.is_stopping() && is_there()
    }
}

impl Router {
    /// Ends every session, as the server stops; from here on nobody begins one or comes back to one. Until
    /// [`Router::depart_all`] messages reach all of them.
    pub fn end_all(&self, error: &StreamError) {
        self.stopping.store(true, Ordering::Release);
        for account in self.in_order() {
            for resource in &account.lock().resources {
                resource.ring.close(error.clone());
            }
        }
    }

    /// Whether the server stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// How many sessions have not come to their end.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.bound.0.load(Ordering::Acquire)
    }

    /// Whoever sees the presence of a session from elsewhere learns that it is gone, while he can be reached. Those here
    /// have gone as well.
    pub fn take_leave(&self) {
        for account in self.in_order() {
            let gone: Vec<(Jid, Vec<Jid>)> = {
                let state = account.lock();
                state
                    .resources
                    .iter()
                    .map(|resource| (resource.jid.clone(), self.elsewhere(&state, resource)))
                    .collect()
            };
            let mut batch = self.batch();
            for (jid, watchers) in gone {
                let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(jid);
                watchers.iter().for_each(|watcher| self.notify(&gone, watcher, &mut batch));
            }
            batch.finish();
        }
    }

    /// Who sees the presence of a session and has no account here.
    fn elsewhere(&self, state: &State, resource: &Resource) -> Vec<Jid> {
        let is_available = resource.available.is_some();
        let watchers = state.subscribers().filter(|watcher| is_available && !state.blocks_contact(watcher));
        let watchers = watchers.map(|watcher| Jid::from(BareJid::from_kept(watcher)));
        let directed = resource.directed.keys().filter(|jid| !is_available || !state.is_subscriber(jid)).cloned();
        watchers.chain(directed).filter(|jid| !self.has_accounts(jid.domain())).collect()
    }

    /// All sessions leave: what they have not got is kept for them, or for their accounts. Nobody must route anything any
    /// more.
    pub fn depart_all(&self) {
        for account in self.in_order() {
            let leaving = |it: &Resource| (it.jid.clone(), it.binding, Arc::clone(&it.ring));
            let all: Vec<_> = account.lock().resources.iter().map(leaving).collect();
            for (jid, id, ring) in all {
                let (jid, ring, account) = (&jid, &*ring, &account);
                self.depart(&Departing { jid, ring, account, id, restored: None, is_kept: true });
            }
        }
    }

    /// The same each time, so that what a test finds is found again.
    pub(super) fn in_order(&self) -> Vec<Arc<Account>> {
        let mut accounts = self.accounts.all();
        accounts.sort_unstable_by(|one, other| one.jid.cmp(&other.jid));
        accounts
    }
}

#[cfg(test)]
mod tests;

//! The guardian of presence at work: carries out what the rules of `guardian` say about domains that are lost and come back.
//!
//! The presence of people elsewhere is asked for by probes (RFC 6121 §4.3), that of ours is said anew. Nobody here is told
//! anything as long as there is hope that it still holds; who is not heard of then is said to be gone, resource by resource.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::hooks::{Hooks, PeerChange};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, PresenceType, Stanza};

use super::Router;
use super::account::{Account, State};
use super::attendance::Attendance;
use super::guardian::{Act, Rules};
use super::hosts::Host;
use super::probes::probe;
use super::remote::Pair;

/// So much is sent at once when everybody at a domain is asked for; then others get their turn.
const PORTION: usize = 500;
const PAUSE: Duration = Duration::from_millis(100);
/// So many resources of ours are remembered of whose presence somebody elsewhere could not be told, and for so long.
const OWED: usize = 10_000;
const OWED_FOR: Duration = Duration::from_secs(3600);

/// Which resource of ours somebody elsewhere could not be told of, and when.
type Owed = BTreeMap<(Jid, BareJid), Instant>;

/// What the guardian knows.
#[derive(Debug, Default)]
pub(super) struct Guard {
    rules: Mutex<Rules>,
    attendance: Mutex<Attendance>,
    owed: Mutex<Owed>,
    /// Something is to be done.
    bell: Notify,
}

impl Guard {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attendance(&self) -> MutexGuard<'_, Attendance> {
        self.attendance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the resource or the contact are of these domains.
fn is_between(pair: &Pair, ours: &Jid, theirs: &BareJid) -> bool {
    ours.domain() == &*pair.local && theirs.domain() == &*pair.remote
}

/// Whether a contact (a bare JID's text) is at `domain`.
fn is_at(contact: &str, domain: &str) -> bool {
    contact.split_once('@').map_or(contact, |(_, domain)| domain) == domain
}

fn unavailable(from: Jid) -> Stanza<'static> {
    Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(from)
}

impl Router {
    /// A stream of `pair` broke, or could not be had.
    pub fn lost(&self, pair: &Pair) {
        let mut rules = self.guard.rules();
        // Under the lock, so that everybody hears of one thing after the other.
        for act in rules.lost(pair, Instant::now()) {
            match act {
                Act::Doubt => self.guard.attendance().doubt(pair),
                Act::Tell(change) => self.peer_changed(pair, change),
                Act::Ask | Act::Renew | Act::Sweep => {}
            }
        }
        drop(rules);
        self.guard.bell.notify_one();
    }

    /// A stream of `pair` was established, or the other server has answered.
    pub fn reached(&self, pair: &Pair) {
        if self.guard.rules().reached(pair, Instant::now()) {
            self.guard.bell.notify_one();
        }
    }

    fn peer_changed(&self, pair: &Pair, change: PeerChange) {
        tracing::debug!(local = %pair.local, remote = %pair.remote, ?change, "another server");
        self.hooks().into_iter().for_each(|hooks: &Hooks| hooks.peer_changed(&pair.local, &pair.remote, change));
    }

    /// Does what is due about domains that were lost, for ever.
    pub async fn watch_peers(&self) {
        loop {
            let (due, next) = {
                let mut rules = self.guard.rules();
                let due = rules.due(Instant::now());
                for (pair, act) in &due {
                    if let Act::Tell(change) = act {
                        self.peer_changed(pair, *change);
                    }
                }
                (due, rules.next())
            };
            for (pair, act) in &due {
                match act {
                    Act::Ask => self.ask_for_life(pair),
                    Act::Renew => {
                        self.renew(pair).await;
                        self.guard.rules().renewed(pair, Instant::now());
                    }
                    Act::Sweep => self.sweep(pair),
                    Act::Doubt | Act::Tell(_) => {}
                }
            }
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.guard.bell.notified() => {}
            }
        }
    }

    /// Notes what a contact elsewhere has said to `account`, if that is subscribed to it.
    pub(super) fn note_attendance(&self, account: &Account, state: &State, from: &Jid, kind: PresenceType) {
        if matches!(self.hosts.of(from.domain()), Host::Remote)
            && let Some(local) = self.hosts.local(account.jid.domain())
            && state.contacts.state(from.bare_str()).subscription().has_to()
        {
            self.guard.attendance().note(local, from, kind);
        }
    }

    /// Notes that somebody elsewhere could not be told of the presence of one of our resources; `error` says so to it.
    pub fn note_untold(&self, error: &Stanza<'_>) {
        let (Kind::Presence(PresenceType::Error), Some(ours), Some(theirs)) = (error.kind, &error.to, &error.from)
        else {
            return;
        };
        let (mut owed, now) = (self.guard.owed(), Instant::now());
        if owed.len() >= OWED {
            owed.retain(|_, since| *since + OWED_FOR > now);
        }
        if !ours.is_bare() && owed.len() < OWED {
            owed.insert((ours.clone(), theirs.to_bare()), now);
        }
    }

    /// If anybody depends on it.
    fn ask_for_life(&self, pair: &Pair) {
        let now = Instant::now();
        let mut owed = self.guard.owed();
        owed.retain(|_, since| *since + OWED_FOR > now);
        let is_owed = owed.keys().any(|(ours, theirs)| is_between(pair, ours, theirs));
        drop(owed);
        if is_owed || self.guard.attendance().has_anybody(pair) {
            self.remote.knock(pair);
        }
    }

    /// Asks for the presence of everybody at a domain, and says ours.
    async fn renew(&self, pair: &Pair) {
        let mut batch = self.batch();
        let is_meant = |(ours, theirs): &(Jid, BareJid), _: &mut Instant| is_between(pair, ours, theirs);
        let owed: Vec<_> = self.guard.owed().extract_if(.., is_meant).collect();
        for ((ours, theirs), _) in owed {
            let account = self.accounts.cached(ours.bare_str());
            let state = account.as_ref().map(|account| account.lock());
            let is_there = |state: &State| state.resources.iter().any(|it| it.jid == ours && it.available.is_some());
            let is_there = state.is_some_and(|state| is_there(&state));
            if !is_there {
                self.notify(&unavailable(ours), theirs.as_jid(), &mut batch);
            }
        }
        batch.finish();
        let mut sent = 0;
        for account in self.in_order() {
            if account.jid.domain() != &*pair.local {
                continue;
            }
            if sent >= PORTION {
                sent = 0;
                sleep(PAUSE).await;
                if self.guard.rules().is_lost(pair) {
                    return;
                }
            }
            sent += self.renew_account(&account, &pair.remote).await;
        }
    }

    /// The same for one account; gives how many stanzas that took.
    async fn renew_account(&self, account: &Arc<Account>, remote: &str) -> usize {
        let (presences, contacts) = {
            let state = account.lock();
            let contacts = state.contacts.states().filter(|(jid, _)| is_at(jid, remote) && !state.blocks_contact(jid));
            let contacts = contacts.map(|(jid, it)| (BareJid::from_kept(jid), it.subscription()));
            (state.presences(), contacts.collect::<Vec<_>>())
        };
        let mut batch = self.batch();
        for (contact, _) in contacts.iter().filter(|(_, subscription)| subscription.has_from()) {
            if presences.is_empty() {
                self.notify(&unavailable(account.jid.clone().into()), contact.as_jid(), &mut batch);
            } else {
                self.share_available(&presences, contact, &mut batch);
            }
        }
        for (contact, _) in contacts.iter().filter(|(_, it)| it.has_to() && !presences.is_empty()) {
            self.deliver(probe(&account.jid, contact), &mut batch).await;
        }
        batch.finish();
        contacts.len() * (1 + presences.len())
    }

    /// Whoever has not been heard of is gone.
    fn sweep(&self, pair: &Pair) {
        let gone = self.guard.attendance().take_doubtful(pair);
        if gone.is_empty() {
            return;
        }
        tracing::info!(local = %pair.local, remote = %pair.remote, count = gone.len(), "contacts count as gone");
        let mut contacts: BTreeMap<&str, Vec<&Jid>> = BTreeMap::new();
        gone.iter().for_each(|jid| contacts.entry(jid.bare_str()).or_default().push(jid));
        let mut batch = self.batch();
        for account in self.in_order() {
            if account.jid.domain() != &*pair.local {
                continue;
            }
            let told: Vec<&Jid> = {
                let state = account.lock();
                let is_there = state.resources.iter().any(|it| it.available.is_some());
                let known = state.contacts.states().filter(|(_, it)| is_there && it.subscription().has_to());
                known.filter_map(|(jid, _)| contacts.get(jid)).flatten().copied().collect()
            };
            for jid in told {
                self.notify(&unavailable(jid.clone()), account.jid.as_jid(), &mut batch);
            }
        }
        batch.finish();
    }
}

#[cfg(test)]
mod tests;

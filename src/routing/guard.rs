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
use super::batch::Batch;
use super::contacts::domain_of;
use super::guardian::{Act, Rules};
use super::hosts::Host;
use super::owed::Owed;
use super::probes::probe;
use super::remote::Pair;

/// So much is sent at once when everybody at a domain is asked for; then others get their turn.
const PORTION: usize = 500;
const PAUSE: Duration = Duration::from_millis(100);

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

fn unavailable(from: Jid) -> Stanza<'static> {
    Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(from)
}

impl Router {
    /// A stream of `pair` broke.
    pub fn lost(&self, pair: &Pair) {
        self.doubt(pair, Rules::lost);
    }

    /// No stream of `pair` could be had.
    pub fn out_of_reach(&self, pair: &Pair) {
        self.doubt(pair, Rules::out_of_reach);
    }

    fn doubt(&self, pair: &Pair, rule: fn(&mut Rules, &Pair, Instant) -> Vec<Act>) {
        let mut rules = self.guard.rules();
        // Under the lock, so that everybody hears of one thing after the other.
        for act in rule(&mut rules, pair, Instant::now()) {
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
        if !ours.is_bare() {
            self.guard.owed().note((ours.clone(), theirs.to_bare()), Instant::now());
        }
    }

    /// If anybody depends on it.
    fn ask_for_life(&self, pair: &Pair) {
        let is_owed = self.guard.owed().is_owed(pair, Instant::now());
        if is_owed || self.guard.attendance().has_anybody(pair) {
            self.remote.knock(pair);
        }
    }

    /// Asks for the presence of everybody at a domain, and says ours.
    async fn renew(&self, pair: &Pair) {
        let mut batch = self.batch();
        let owed = self.guard.owed().take(pair, Instant::now());
        for (ours, theirs) in owed {
            let account = self.accounts.cached(ours.bare_str());
            let state = account.as_ref().map(|account| account.lock());
            let is_there = |state: &State| state.resources.iter().any(|it| it.jid == ours && it.available.is_some());
            if !state.as_deref().is_some_and(is_there) {
                self.say(&unavailable(ours.clone()), theirs.as_jid(), &mut batch);
                // Under the lock, so that it goes first if somebody says that it is there.
                batch.hand_over();
            }
        }
        batch.finish();
        let mut sent = 0;
        for account in self.accounts.with_contacts(pair) {
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
        let mut batch = self.batch();
        let (asked, said) = self.say_anew(account, remote, &mut batch);
        let sent = asked.len() + said;
        for contact in asked {
            self.deliver(probe(&account.jid, &contact), &mut batch).await;
        }
        batch.finish();
        sent
    }

    /// Says the presence of an account to its contacts at a domain. Gives those who are to be asked for theirs, and how many
    /// stanzas that took.
    fn say_anew(&self, account: &Account, remote: &str, batch: &mut Batch) -> (Vec<BareJid>, usize) {
        let (mut asked, mut said) = (Vec::new(), 0);
        let state = account.lock();
        let presences = state.presences();
        let contacts =
            state.contacts.states().filter(|(jid, _)| domain_of(jid) == remote && !state.blocks_contact(jid));
        for (contact, subscription) in contacts.map(|(jid, it)| (BareJid::from_kept(jid), it.subscription())) {
            if subscription.has_from() && presences.is_empty() {
                self.say(&unavailable(account.jid.clone().into()), contact.as_jid(), batch);
                said += 1;
            } else if subscription.has_from() {
                presences.iter().for_each(|presence| self.say(presence, contact.as_jid(), batch));
                said += presences.len();
            }
            if subscription.has_to() && !presences.is_empty() {
                asked.push(contact);
            }
        }
        // Under the lock, so that it goes before whatever a session says next.
        batch.hand_over();
        (asked, said)
    }

    /// Says something to somebody elsewhere, which needs no lock of an account.
    fn say(&self, presence: &Stanza<'_>, to: &Jid, batch: &mut Batch) {
        if matches!(self.hosts.of(to.domain()), Host::Remote) {
            self.to_remote(&presence.borrow().to(to.clone()), to, batch);
        }
    }

    /// Whoever has not been heard of is gone.
    fn sweep(&self, pair: &Pair) {
        let gone = self.guard.attendance().take_doubtful(pair);
        if gone.is_empty() {
            tracing::debug!(local = %pair.local, remote = %pair.remote, "nobody counts as gone");
        } else {
            tracing::info!(local = %pair.local, remote = %pair.remote, count = gone.len(), "contacts count as gone");
            self.say_gone(pair, &gone);
        }
    }

    /// Tells those who see them that contacts have gone, but for those who come back at this moment.
    fn say_gone(&self, pair: &Pair, gone: &[Jid]) {
        let mut contacts: BTreeMap<&str, Vec<&Jid>> = BTreeMap::new();
        gone.iter().for_each(|jid| contacts.entry(jid.bare_str()).or_default().push(jid));
        let mut batch = self.batch();
        for account in self.accounts.with_contacts(pair) {
            // Whoever says that he is there says it under this lock, too: before this, and he is present, or behind it.
            let mut state = account.lock();
            if state.resources.iter().all(|it| it.available.is_none()) {
                continue;
            }
            let told: Vec<&Jid> = {
                let known = state.contacts.states().filter(|(_, it)| it.subscription().has_to());
                let known = known.filter_map(|(jid, _)| contacts.get(jid)).flatten().copied();
                let attendance = self.guard.attendance();
                known.filter(|jid| !attendance.is_present(pair, jid)).collect()
            };
            for jid in told {
                let presence = unavailable(jid.clone());
                let write = |out: &mut String, to: &str| presence.write_to(out, Some(to));
                self.notify_resources((&account, &mut state), &presence, None, write, &mut batch);
            }
        }
        batch.finish();
    }
}

#[cfg(test)]
mod tests;

//! Whom accounts block (the mechanism behind XEP-0191): nothing reaches an account from there, nothing leaves it for
//! there, and it seems to be offline there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::accounts::blocklist::BLOCKED;
use crate::hooks::{Hooks, Interest, Unblocked};
use crate::jid::{BareJid, Jid};
use crate::random;
use crate::stanza::{Condition, IqType, Kind, PresenceType, Stanza, StanzaError};
use crate::storage::Receipt;
use crate::xml::Element;

use super::Router;
use super::account::{Account, State};
use super::batch::Batch;
use super::binding::Binding;
use super::router::Back;

impl Account {
    /// Whether the account has nothing to do with `who`. Most block nobody, and need no lock to say so.
    #[inline]
    pub(super) fn blocks(&self, who: &Jid) -> bool {
        self.blocking.load(Ordering::Relaxed) && self.has_blocked(who)
    }

    #[cold]
    fn has_blocked(&self, who: &Jid) -> bool {
        self.lock().blocked.blocks(who)
    }

    /// The list has changed; its lock is held.
    fn note_blocking(&self, state: &State) {
        self.blocking.store(!state.blocked.is_empty(), Ordering::Relaxed);
    }
}

/// What somebody hears from an account that blocks him (XEP-0191 §3.3): as if there were no such account.
pub(super) fn unheard(stanza: &Stanza<'_>) -> Back {
    match stanza.kind {
        Kind::Presence(_) => None,
        Kind::Message(_) | Kind::Iq(_) => stanza.error(&Condition::ServiceUnavailable.into()),
    }
}

impl Router {
    /// A client writes to somebody whom its account blocks (XEP-0191 §3.3).
    pub(super) fn refuse_blocked(&self, binding: &Binding, stanza: &Stanza<'_>, batch: &mut Batch) {
        if let Some(refusal) = self.hooks().and_then(Hooks::refusal) {
            binding.refuse(stanza, refusal, batch);
        }
    }

    /// Has `account` block addresses: whoever knew that its resources are available hears that they are not.
    pub(super) fn block_all(
        &self,
        account: &Arc<Account>,
        whom: &[Jid],
        push: &Element,
    ) -> Result<Receipt, StanzaError> {
        let mut batch = self.batch();
        let (told, presences, directed) = {
            let mut state = account.lock();
            let mut told = watchers(&state, whom);
            told.retain(|who| !state.blocked.blocks(who));
            let added: BTreeSet<&Jid> = whom.iter().filter(|it| !state.blocked.contains(it)).collect();
            let added: Vec<&Jid> = added.into_iter().collect();
            if !state.blocked.has_room(&added) {
                return Err(StanzaError::new(Condition::ResourceConstraint, "too many addresses are blocked"));
            }
            for address in added {
                state.blocked.insert(&account.jid, address);
                if let Err(error) = BLOCKED.put(&mut batch.writes, &account.jid, address.as_str(), &self.clock.now()) {
                    tracing::error!(%error, "an address that is blocked could not be written");
                }
            }
            account.note_blocking(&state);
            told.retain(|who| state.blocked.blocks(who));
            let directed = withdraw(&mut state);
            tell_interested(&state, push, &mut batch);
            batch.write_locked(&state);
            (told, state.presences(), directed)
        };
        let gone = |who: Option<Jid>| Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(who);
        for who in &told {
            for presence in &presences {
                self.notify(&gone(presence.from.clone()), who, &mut batch);
            }
        }
        for (resource, who) in directed {
            self.left(&resource, &who);
            self.notify(&gone(Some(resource)), &who, &mut batch);
        }
        Ok(batch.finish())
    }

    /// The opposite: whoever may know which resources are available hears it again.
    pub(super) fn unblock_some(&self, account: &Arc<Account>, whom: Unblocked, push: &Element) -> Receipt {
        let mut batch = self.batch();
        let (told, presences) = {
            let mut state = account.lock();
            let removed: Vec<Jid> = match whom {
                Unblocked::These(whom) => whom.into_iter().filter(|it| state.blocked.contains(it)).collect(),
                Unblocked::All => state.blocked.addresses().filter_map(|it| it.parse().ok()).collect(),
            };
            let mut told = watchers(&state, &removed);
            told.retain(|who| state.blocked.blocks(who));
            for address in &removed {
                state.blocked.remove(address);
                BLOCKED.delete(&mut batch.writes, &account.jid, address.as_str());
            }
            account.note_blocking(&state);
            told.retain(|who| !state.blocked.blocks(who));
            tell_interested(&state, push, &mut batch);
            batch.write_locked(&state);
            (told, state.presences())
        };
        for who in &told {
            for presence in &presences {
                self.notify(presence, who, &mut batch);
            }
        }
        batch.finish()
    }
}

/// Those who receive the account's presence and are meant by one of `addresses`.
fn watchers(state: &State, addresses: &[Jid]) -> BTreeSet<Jid> {
    let mut watchers = BTreeSet::new();
    for address in addresses {
        if address.local().is_some() || !address.is_bare() {
            watchers.extend(state.is_subscriber(address).then(|| address.clone()));
        } else {
            let all = state.subscribers().map(|it| Jid::from(BareJid::from_kept(it)));
            watchers.extend(all.filter(|it| it.domain() == address.domain()));
        }
    }
    watchers
}

/// Takes out who was sent directed presence and is blocked now: resources, and whom each of them has to tell that it is
/// gone.
fn withdraw(state: &mut State) -> Vec<(Jid, Jid)> {
    let State { resources, blocked, contacts, .. } = state;
    let mut told = Vec::new();
    for resource in resources {
        let available = resource.available.is_some();
        for (who, _) in resource.directed.extract_if(.., |who, _| blocked.blocks(who)) {
            // The others hear it as those who receive all presence.
            if !available || !contacts.is_subscriber(&who) {
                told.push((resource.jid.clone(), who));
            }
        }
    }
    told
}

/// Sends a request to the sessions that want to know of changes.
fn tell_interested(state: &State, push: &Element, batch: &mut Batch) {
    let mut stanza = Stanza::new(Kind::Iq(IqType::Set)).id(random::token()).payload(push.clone());
    for resource in state.resources.iter().filter(|resource| resource.interests.has(Interest::Blocklist)) {
        stanza.to = Some(resource.jid.clone());
        batch.push(&resource.ring, |out| stanza.write(out));
    }
}

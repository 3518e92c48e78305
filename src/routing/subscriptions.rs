//! Subscriptions carried out: the state machine of `accounts::subscription` decides, this module
//! stores, pushes and routes (RFC 6121 §3).

use std::sync::Arc;

use crate::accounts::roster::Request;
use crate::accounts::subscription::{Share, SubscriptionType, Transition, inbound, outbound};
use crate::jid::{BareJid, Jid};
use crate::random;
use crate::stanza::{Condition, Kind, PresenceType, Stanza, StanzaError};

use super::Router;
use super::account::{Account, State};
use super::batch::Batch;
use super::binding::Binding;
use super::delivery::Target;
use super::hosts::Host;
use super::roster::{push, save};

impl Router {
    /// A client manages a subscription (RFC 6121 appendix A.2).
    pub(super) async fn subscription_from_client(
        &self,
        binding: &Binding,
        kind: SubscriptionType,
        mut stanza: Stanza<'_>,
        batch: &mut Batch,
    ) {
        let account = &binding.account;
        let contact = match stanza.to.as_ref().map(Jid::to_bare) {
            Some(contact) if contact != account.jid => contact,
            // Nobody subscribes to himself, and to nobody there is nothing to subscribe.
            _ => return binding.refuse(&stanza, &Condition::BadRequest.into(), batch),
        };
        // RFC 6121 §3.1.2: from bare JID to bare JID.
        stanza.from = Some(account.jid.clone().into());
        stanza.to = Some(contact.clone().into());
        let _held = self.hold(&contact, batch).await;
        let (transition, presences) = {
            let mut state = account.lock();
            let before = state.contacts.state(contact.as_str());
            let transition = outbound(before, kind);
            if transition.state != before && !self.has_room(&state, &contact) {
                drop(state);
                let full = StanzaError::new(Condition::ResourceConstraint, "the roster is full");
                return binding.refuse(&stanza, &full, batch);
            }
            self.apply(account, &mut state, &contact, (transition, None), batch);
            (transition, state.presences())
        };
        if transition.share == Some(Share::Unavailable) {
            self.share_unavailable(&presences, &contact, batch);
        }
        if transition.forward {
            self.deliver(stanza, batch).await;
        }
        if transition.share == Some(Share::Available) {
            self.share_available(&presences, &contact, batch);
        }
    }

    /// A request may have been lost on its way to another server, so it is sent anew whenever a
    /// resource of the account becomes available (RFC 6121 §3.1.2).
    pub(super) async fn ask_again(&self, binding: &Binding, contact: &BareJid, batch: &mut Batch) {
        if matches!(self.hosts.of(contact.domain()), Host::Remote) {
            let request = Stanza::new(Kind::Presence(PresenceType::Subscribe))
                .from(Jid::from(binding.account.jid.clone()))
                .to(Jid::from(contact.clone()))
                .id(random::token());
            self.deliver(request, batch).await;
        }
    }

    /// Somebody manages a subscription with a local account (RFC 6121 appendix A.3).
    pub(super) async fn subscription_to_account(
        &self,
        account: &Arc<Account>,
        kind: SubscriptionType,
        stanza: &Stanza<'_>,
        to: &Jid,
        batch: &mut Batch,
    ) {
        let Some(contact) = stanza.from.as_ref().map(Jid::to_bare) else { return };
        // RFC 6121 §8.5.3.2.2: only a request may name a resource that is not there.
        let astray = kind != SubscriptionType::Subscribe && account.lock().target(to) == Target::Gone;
        if contact == account.jid || astray {
            return;
        }
        let stanza = stanza.borrow().to(Jid::from(account.jid.clone())).from(Jid::from(contact.clone()));
        let judged = {
            let mut state = account.lock();
            if state.gone {
                return;
            }
            let before = state.contacts.state(contact.as_str());
            let transition = inbound(before, kind);
            if transition.state != before && !self.has_room(&state, &contact) {
                return;
            }
            if transition.state.pending_in() && !before.pending_in() && self.is_crowded(&state, contact.domain()) {
                None
            } else {
                // RFC 6121 §3.1.6: the stanza comes before the push.
                if transition.forward {
                    forward(&state, kind, &stanza, batch);
                }
                let request = transition.state.pending_in().then(|| Request::of(contact.clone(), &stanza));
                self.apply(account, &mut state, &contact, (transition, request), batch);
                Some((transition, state.presences()))
            }
        };
        let Some((transition, presences)) = judged else { return self.refuse_request(&stanza, batch).await };
        self.answer_contact(account, &contact, transition, &presences, batch).await;
    }

    async fn answer_contact(
        &self,
        account: &Account,
        contact: &BareJid,
        transition: Transition,
        presences: &[Arc<Stanza<'static>>],
        batch: &mut Batch,
    ) {
        if let Some(reply) = transition.reply {
            let reply =
                Stanza::new(Kind::Presence(reply)).from(Jid::from(account.jid.clone())).to(Jid::from(contact.clone()));
            // A reply to a subscription stanza is one itself; it ends at the state machine.
            Box::pin(self.deliver(reply, batch)).await;
        }
        match transition.share {
            Some(Share::Available) => self.share_available(presences, contact, batch),
            Some(Share::Unavailable) => self.share_unavailable(presences, contact, batch),
            None => {}
        }
    }

    /// Whether as many requests of this other domain wait as may.
    fn is_crowded(&self, state: &State, domain: &str) -> bool {
        let most = self.limits.load().requests;
        let is_of = |request: &&Request| request.from.domain() == domain;
        most > 0
            && matches!(self.hosts.of(domain), Host::Remote)
            && state.contacts.requests().filter(is_of).nth(most - 1).is_some()
    }

    async fn refuse_request(&self, stanza: &Stanza<'_>, batch: &mut Batch) {
        let text = "too many requests of this domain wait for an answer";
        if let Some(error) = stanza.error(&StanzaError::new(Condition::PolicyViolation, text)) {
            // An error is not answered.
            Box::pin(self.deliver(error, batch)).await;
        }
    }

    /// Whether the roster can take `contact`, or has it already.
    fn has_room(&self, state: &State, contact: &BareJid) -> bool {
        state.contacts.contains(contact) || state.contacts.len() < self.limits.load().contacts
    }

    /// Stores the new state and pushes what the roster shows.
    fn apply(
        &self,
        account: &Arc<Account>,
        state: &mut State,
        contact: &BareJid,
        (transition, request): (Transition, Option<Request>),
        batch: &mut Batch,
    ) {
        let before = state.contacts.state(contact.as_str());
        if transition.state == before {
            return;
        }
        let mut entry = state.contacts.get(contact).unwrap_or_default();
        entry.set_state(contact, transition.state, request);
        save(account, contact, &entry, batch);
        state.contacts.set(contact, entry);
        self.accounts.neighbours.changed(&account.jid, state, contact);
        if transition.push {
            push(account, state, contact, batch);
        }
        batch.write_locked(state);
    }

    pub(super) fn share_available(&self, presences: &[Arc<Stanza<'static>>], contact: &BareJid, batch: &mut Batch) {
        for presence in presences {
            self.notify(presence, contact.as_jid(), batch);
        }
    }

    pub(super) fn share_unavailable(&self, presences: &[Arc<Stanza<'static>>], contact: &BareJid, batch: &mut Batch) {
        for presence in presences {
            let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(presence.from.clone());
            self.notify(&gone, contact.as_jid(), batch);
        }
    }
}

/// RFC 6121 §3.1.3: a request goes to the available resources; §3.1.6, §3.2.3, §3.3.3: the rest to
/// the interested ones.
fn forward(state: &State, kind: SubscriptionType, stanza: &Stanza<'_>, batch: &mut Batch) {
    for resource in &state.resources {
        let wanted = match kind {
            SubscriptionType::Subscribe => resource.available.is_some(),
            _ => resource.interested,
        };
        if wanted {
            batch.push(&resource.ring, |out| stanza.write(out));
        }
    }
}

#[cfg(test)]
mod tests;

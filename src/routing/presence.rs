//! Availability: broadcast, probes, directed presence (RFC 6121 §4).

use std::sync::Arc;

use crate::accounts::subscription::SubscriptionType;
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Condition, Kind, PresenceType, Stanza, StanzaError};

use super::Router;
use super::account::{Account, Available, Resource, State};
use super::batch::Batch;
use super::binding::Binding;
use super::hosts::Host;
use super::ring::Ring;
use super::router::{Back, unsubscribed};

/// Where a broadcast goes, gathered under the account's lock and used after it.
#[derive(Default)]
struct Audience {
    /// Contacts with a subscription, and for `unavailable` whoever got directed presence.
    watchers: Vec<Jid>,
    /// The account's own available resources.
    own: Vec<Arc<Ring>>,
}

/// What the first available presence of a resource causes beyond the broadcast.
#[derive(Default)]
struct Arrival {
    /// Contacts whose presence the account receives.
    probes: Vec<BareJid>,
    /// What the new resource must be told: its siblings' presence and requests that wait.
    told: Vec<Stanza<'static>>,
}

impl Router {
    pub(super) async fn presence_from_client(
        &self,
        binding: &Binding,
        kind: PresenceType,
        stanza: Stanza<'_>,
        batch: &mut Batch,
    ) {
        if let Some(kind) = SubscriptionType::of(kind) {
            return self.subscription_from_client(binding, kind, stanza, batch).await;
        }
        match (kind, &stanza.to) {
            (PresenceType::Available, None) => self.broadcast_available(binding, stanza, batch).await,
            (PresenceType::Unavailable, None) => self.broadcast_unavailable(binding, stanza, batch),
            (PresenceType::Available | PresenceType::Unavailable, Some(to)) => {
                note_directed(binding, kind, to);
                self.deliver(stanza, batch).await;
            }
            (PresenceType::Error | PresenceType::Probe, Some(_)) => self.deliver(stanza, batch).await,
            // Without `to` these say nothing to anybody.
            (_, None) | (_, Some(_)) => {}
        }
    }

    async fn broadcast_available(&self, binding: &Binding, stanza: Stanza<'_>, batch: &mut Batch) {
        let priority = match priority(&stanza) {
            Ok(priority) => priority,
            Err(error) => {
                if let Some(answer) = stanza.error(&error) {
                    batch.push(&binding.ring, None, |out| answer.write(out));
                }
                return;
            }
        };
        if priority >= 0 {
            self.deliver_backlog(binding, batch).await;
        }
        let presence = Arc::new(stanza.into_owned());
        let Some((audience, arrival)) = announce(binding, priority, &presence) else { return };
        self.tell(&audience, &presence, batch);
        for stanza in &arrival.told {
            batch.push(&binding.ring, None, |out| stanza.write(out));
        }
        for contact in &arrival.probes {
            let probe = Stanza::new(Kind::Presence(PresenceType::Probe))
                .from(Jid::from(binding.account.jid.clone()))
                .to(Jid::from(contact.clone()));
            match self.hosts.of(contact.domain()) {
                // An account that is not loaded has no available resource.
                Host::Accounts if self.accounts.cached(contact.as_str()).is_none() => {}
                Host::Accounts => self.probe_neighbour(contact, binding, batch),
                Host::Remote => self.deliver(probe, batch).await,
            }
        }
    }

    /// RFC 6121 §4.3.1: for contacts of this server the presence is here already.
    fn probe_neighbour(&self, contact: &BareJid, binding: &Binding, batch: &mut Batch) {
        let Some(contact) = self.accounts.cached(contact.as_str()) else { return };
        let presences = {
            let state = contact.lock();
            if state.is_subscriber(&binding.jid) { state.presences() } else { Vec::new() }
        };
        let to = Jid::from(binding.account.jid.clone());
        for presence in presences {
            batch.push(&binding.ring, None, |out| presence.write_to(out, Some(&to)));
        }
    }

    /// Broadcasts `unavailable` for a resource and forgets its presence (RFC 6121 §4.5).
    pub(super) fn broadcast_unavailable(&self, binding: &Binding, stanza: Stanza<'_>, batch: &mut Batch) {
        let audience = {
            let mut state = binding.account.lock();
            let Some(resource) = state.resource_mut(binding.id) else { return };
            let was_available = resource.available.take().is_some();
            let directed = std::mem::take(&mut resource.directed);
            let mut audience = if was_available { audience(&state) } else { Audience::default() };
            // RFC 6121 §4.6.3: also to those who know only from directed presence.
            audience.watchers.extend(directed.into_iter().filter(|jid| !was_available || !state.is_subscriber(jid)));
            audience
        };
        let mut presence = stanza.into_owned();
        presence.from = Some(binding.jid.clone());
        self.tell(&audience, &Arc::new(presence), batch);
    }

    /// Writes one presence to everybody in `audience`: one payload, many headers.
    fn tell(&self, audience: &Audience, presence: &Arc<Stanza<'static>>, batch: &mut Batch) {
        let own = presence.from.as_ref().map(|from| Jid::from(from.to_bare()));
        for ring in &audience.own {
            batch.push(ring, None, |out| presence.write_to(out, own.as_ref()));
        }
        for watcher in &audience.watchers {
            self.notify(presence, watcher, batch);
        }
    }

    /// Delivers a presence notification to one watcher; never loads an account, because one that
    /// is not loaded has no resource to deliver to.
    pub(super) fn notify(&self, presence: &Stanza<'static>, to: &Jid, batch: &mut Batch) {
        match self.hosts.of(to.domain()) {
            Host::Remote => {
                let Some(from) = &presence.from else { return };
                let Some(local) = self.hosts.local(from.domain()).map(Arc::clone) else { return };
                let pair = super::Pair { local, remote: to.domain().into() };
                batch.send(pair, presence.clone().to(to.clone()));
            }
            Host::Accounts => {
                let Some(account) = self.accounts.cached(to.bare_str()) else { return };
                let state = account.lock();
                let reached = |resource: &&Resource| {
                    if to.is_bare() { resource.available.is_some() } else { resource.jid == *to }
                };
                for resource in state.resources.iter().filter(reached) {
                    batch.push(&resource.ring, None, |out| presence.write_to(out, Some(to)));
                }
            }
        }
    }

    /// Answers a probe (RFC 6121 §4.3.2).
    pub(super) async fn probed(&self, account: &Account, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        let from = stanza.from.as_ref()?;
        let asker = Jid::from(from.to_bare());
        let own = asker.as_str() == account.jid.as_str();
        let presences = {
            let state = account.lock();
            if !own && !state.is_subscriber(&asker) {
                return Some(unsubscribed(to, from));
            }
            state.presences()
        };
        let seen: Vec<_> = presences.into_iter().filter(|it| to.is_bare() || it.from.as_ref() == Some(to)).collect();
        if seen.is_empty() {
            // Rule 3: a deterministic answer, from the bare JID.
            let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable));
            return Some(gone.from(Jid::from(account.jid.clone())).to(asker));
        }
        for presence in seen {
            self.notify(&presence, &asker, batch);
        }
        None
    }

    /// Delivers what was kept while nobody could receive it, before anybody sees the resource as
    /// available, so that older messages come first.
    async fn deliver_backlog(&self, binding: &Binding, batch: &mut Batch) {
        loop {
            let waiting: Vec<u64> = {
                let state = binding.account.lock();
                let Some(own) = state.resource(binding.id) else { return };
                if own.available.as_ref().is_some_and(|it| it.priority >= 0) {
                    return;
                }
                // What another session's ring holds is on its way there.
                let held = |position: &&u64| !state.in_flight.contains(*position);
                state.shelf.undelivered.iter().filter(held).copied().collect()
            };
            if waiting.is_empty() {
                return;
            }
            batch.flush();
            let Some(hooks) = self.hooks() else { return };
            // Whoever kept a message may have submitted it just now; readers see what is durable.
            if self.storage.durable(self.storage.latest()).await.is_err() {
                return;
            }
            let delayed = hooks.backlog(&binding.account.jid, waiting.clone()).await;
            let mut state = binding.account.lock();
            let found: Vec<u64> = delayed.iter().map(|it| it.position).collect();
            for it in delayed {
                if batch.push(&binding.ring, Some(it.position), |out| it.stanza.write(out)) {
                    state.in_flight.insert(it.position);
                }
            }
            // An entry that can no longer be read must not make this loop endless.
            for position in waiting.into_iter().filter(|position| !found.contains(position)) {
                state.shelf.undelivered.remove(&position);
            }
            if state.resource(binding.id).is_none() {
                return;
            }
        }
    }
}

/// Makes a resource available and gathers whom to tell; `None` if the session is gone.
fn announce(binding: &Binding, priority: i8, presence: &Arc<Stanza<'static>>) -> Option<(Audience, Arrival)> {
    let mut state = binding.account.lock();
    let resource = state.resource_mut(binding.id)?;
    let initial = resource.available.is_none();
    resource.available = Some(Available { priority, presence: Arc::clone(presence) });
    let audience = audience(&state);
    let arrival = if initial { arrival(&state, binding) } else { Arrival::default() };
    Some((audience, arrival))
}

fn audience(state: &State) -> Audience {
    Audience {
        watchers: state.subscribers().cloned().map(Jid::from).collect(),
        own: state.resources.iter().filter(|it| it.available.is_some()).map(|it| Arc::clone(&it.ring)).collect(),
    }
}

fn arrival(state: &State, binding: &Binding) -> Arrival {
    let probes = state
        .contacts
        .iter()
        .filter(|(_, contact)| contact.state().subscription().has_to())
        .map(|(jid, _)| jid.clone())
        .collect();
    let own = Jid::from(binding.account.jid.clone());
    let siblings = state
        .resources
        .iter()
        .filter(|it| it.binding != binding.id)
        .filter_map(|it| it.available.as_ref())
        .map(|it| Stanza::clone(&it.presence).to(own.clone()));
    // RFC 6121 §3.1.3: a request stays until it is answered.
    let requests =
        state.contacts.values().filter_map(|it| it.request.as_ref()).map(|it| it.stanza(&binding.account.jid));
    Arrival { probes, told: siblings.chain(requests).collect() }
}

fn note_directed(binding: &Binding, kind: PresenceType, to: &Jid) {
    let mut state = binding.account.lock();
    let Some(resource) = state.resource_mut(binding.id) else { return };
    if kind == PresenceType::Available {
        // One session may not make the server remember without bound.
        if resource.directed.len() < 1000 {
            resource.directed.insert(to.clone());
        }
    } else {
        resource.directed.remove(to);
    }
}

/// The priority that a presence stanza gives (RFC 6121 §4.7.2.3).
fn priority(stanza: &Stanza<'_>) -> Result<i8, StanzaError> {
    if !stanza.payload.as_str().contains("priority") {
        return Ok(0);
    }
    let elements = stanza.payload.elements();
    let Some(element) = elements.iter().find(|element| element.is("priority", CLIENT_NS)) else { return Ok(0) };
    element
        .text()
        .trim()
        .parse()
        .map_err(|_| StanzaError::new(Condition::BadRequest, "priority is an integer from -128 to 127"))
}

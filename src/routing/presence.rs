//! Availability: initial, subsequent, unavailable and directed presence (RFC 6121 §4.2, §4.4 to §4.6).

use std::sync::Arc;

use crate::accounts::activity::{LAST_SEEN, LastSeen};
use crate::accounts::subscription::SubscriptionType;
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Condition, Kind, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::Router;
use super::account::{Account, Available, Resource, State};
use super::backlog::{CaughtUp, Patience, waiting};
use super::batch::Batch;
use super::binding::Binding;
use super::elsewhere::Told;
use super::hosts::Host;
use super::ring::Ring;

/// How many entities a session may have told its presence directly: they are remembered.
pub(super) const MOST_DIRECTED: usize = 1000;

/// The longest status that is remembered of somebody who has left, in bytes.
const MOST_STATUS: usize = 1024;

/// Where a broadcast goes, gathered under the account's lock and used after it.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Contacts with a subscription, each with a NUL behind it.
    watchers: String,
    /// For `unavailable`: who got directed presence.
    pub(super) directed: Vec<Jid>,
    /// The account's own available resources.
    own: Vec<Arc<Ring>>,
    /// For `unavailable`: the account had one available resource, and has none now.
    leaves_nobody: bool,
}

/// What the first available presence of a resource causes beyond the broadcast.
#[derive(Default)]
struct Arrival {
    /// Whether the resource was not available before.
    initial: bool,
    /// Contacts whose presence the account receives.
    probes: Vec<BareJid>,
    /// Contacts who were asked and have not answered.
    asked: Vec<BareJid>,
    /// What the new resource must be told: its siblings' presence and requests that wait.
    told: Vec<Stanza<'static>>,
    /// Whether anybody has been here before.
    first: bool,
}

/// How an announcement went.
enum Announced {
    Told(Audience, Arrival),
    /// Messages have been stored since the last look; they go first.
    MoreWaits,
    /// Another session has taken the resource over.
    Gone,
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
            (PresenceType::Unavailable, None) => self.broadcast_unavailable(binding, &stanza, batch),
            (PresenceType::Available | PresenceType::Unavailable, Some(to)) => match note_directed(binding, kind, to) {
                Ok(was) => {
                    self.told(binding, &stanza, was, batch);
                    self.deliver(stanza, batch).await;
                }
                Err(error) => binding.refuse(&stanza, &error, batch),
            },
            (PresenceType::Error | PresenceType::Probe, Some(_)) => self.deliver(stanza, batch).await,
            // Without `to` an error or a probe says nothing to anybody.
            (_, None) | (_, Some(_)) => {}
        }
    }

    /// RFC 6121 §4.2.2, §4.4.2. What was kept for the account comes first, so that messages stay in
    /// order: while the resource catches up, it does not count as available.
    pub(super) async fn broadcast_available(&self, binding: &Binding, stanza: Stanza<'_>, batch: &mut Batch) {
        let priority = match priority(&stanza) {
            Ok(priority) => priority,
            Err(error) => return binding.refuse(&stanza, &error, batch),
        };
        let presence = Arc::new(stanza.into_owned());
        self.arrive(binding, Available { priority, presence }, batch).await;
    }

    /// Goes on where a client has to confirm some messages before it gets the others.
    pub(super) async fn arrive(&self, binding: &Binding, available: Available, batch: &mut Batch) {
        let Available { priority, presence } = available;
        // A client that confirms does so on the stream that this task reads.
        let patience = if binding.ring.retains() { Patience::None } else { Patience::Wait };
        let (audience, arrival) = loop {
            if priority >= 0 {
                match self.catch_up(&binding.account, &binding.ring, patience, batch).await {
                    CaughtUp::All => {}
                    CaughtUp::Full => return put_off(binding, Available { priority, presence }),
                    CaughtUp::Ending => return,
                }
            }
            match announce(binding, priority, &presence) {
                Announced::Told(audience, arrival) => break (audience, arrival),
                Announced::MoreWaits => {}
                Announced::Gone => return,
            }
        };
        binding.remember(batch);
        self.tell(&audience, &presence, batch);
        for stanza in &arrival.told {
            batch.push_stanza(&binding.ring, stanza, |out| stanza.write(out));
        }
        for contact in &arrival.probes {
            self.probe(binding, contact, batch).await;
        }
        for contact in &arrival.asked {
            self.ask_again(binding, contact, batch).await;
        }
        if let Some(notices) = arrival.initial.then(|| self.notices.of(binding.jid.domain())).flatten() {
            Box::pin(self.greet(binding, &notices, arrival.first, batch)).await;
        }
    }

    fn broadcast_unavailable(&self, binding: &Binding, stanza: &Stanza<'_>, batch: &mut Batch) {
        let audience = fall_silent(&mut binding.account.lock(), binding.id);
        let Some((mut audience, was_available)) = audience else { return };
        binding.remember(batch);
        if was_available {
            // RFC 6121 §4.5.2: also to the resource that sent it.
            audience.own.push(Arc::clone(&binding.ring));
        }
        self.note_last_seen(&binding.account, &audience, stanza, batch);
        self.tell(&audience, stanza, batch);
    }

    /// Remembers when the last available resource of an account became unavailable, and what it said.
    pub(super) fn note_last_seen(
        &self,
        account: &Account,
        audience: &Audience,
        presence: &Stanza<'_>,
        batch: &mut Batch,
    ) {
        if !audience.leaves_nobody {
            return;
        }
        let elements = presence.payload.elements();
        let status = elements.iter().find(|element| element.is("status", CLIENT_NS)).map(Element::text);
        let status = status.filter(|status| !status.is_empty() && status.len() <= MOST_STATUS);
        let seen = LastSeen { at: self.clock.now(), status };
        if let Err(error) = LAST_SEEN.put(&mut batch.writes, &account.jid, &seen) {
            tracing::error!(%error, "the end of a presence could not be written");
        }
    }

    /// Writes one presence to everybody in `audience`: one payload, many headers.
    pub(super) fn tell(&self, audience: &Audience, presence: &Stanza<'_>, batch: &mut Batch) {
        let own = presence.from.as_ref().map(Jid::bare_str);
        for ring in &audience.own {
            batch.push_stanza(ring, presence, |out| presence.write_to(out, own));
        }
        if presence.kind == Kind::Presence(PresenceType::Unavailable) {
            presence.from.iter().for_each(|session| self.gone(session));
        }
        let letter = presence.letter();
        let mut rest = audience.watchers.as_str();
        while let Some((watcher, behind)) = split_at_byte(rest, 0) {
            rest = behind;
            let domain = split_at_byte(watcher, b'@').map_or(watcher, |(_, domain)| domain);
            match self.hosts.of(domain) {
                Host::Remote | Host::Service(_) => {
                    self.notify(presence, &BareJid::from_kept(watcher).into(), batch);
                }
                Host::Accounts => {
                    self.notify_account(presence, watcher, None, |out, to| letter.write_to(out, to), batch);
                }
            }
        }
        for jid in &audience.directed {
            self.notify(presence, jid, batch);
        }
    }

    /// Delivers a presence notification to one watcher; never loads an account, because one that
    /// is not loaded has no resource to deliver to.
    pub(super) fn notify(&self, presence: &Stanza<'_>, to: &Jid, batch: &mut Batch) {
        match self.hosts.of(to.domain()) {
            Host::Remote => {
                self.to_remote(&presence.borrow().to(to.clone()), to, batch);
            }
            Host::Service(service) => {
                if let Some(error) = service.take(&presence.borrow().to(to.clone()), batch) {
                    self.bounce(&error, batch);
                }
            }
            Host::Accounts => {
                let full = Some(to).filter(|to| !to.is_bare());
                let write = |out: &mut String, to: &str| presence.write_to(out, Some(to));
                self.notify_account(presence, to.bare_str(), full, write, batch);
            }
        }
    }

    /// The same for an account of this server: for the one resource `full`, or for all that are
    /// available. `write` writes the presence to an address.
    fn notify_account(
        &self,
        presence: &Stanza<'_>,
        bare: &str,
        full: Option<&Jid>,
        write: impl Fn(&mut String, &str),
        batch: &mut Batch,
    ) {
        if let Some(account) = self.accounts.cached(bare) {
            self.notify_resources((&account, &mut account.lock()), presence, full, write, batch);
        }
    }

    /// The same for an account that is locked.
    pub(super) fn notify_resources(
        &self,
        (account, state): (&Account, &mut State),
        presence: &Stanza<'_>,
        full: Option<&Jid>,
        write: impl Fn(&mut String, &str),
        batch: &mut Batch,
    ) {
        if presence.from.as_ref().is_some_and(|from| state.blocked.blocks(from)) {
            return;
        }
        if presence.kind == Kind::Presence(PresenceType::Unavailable)
            && !self.is_stopping()
            && let Some(from) = &presence.from
        {
            state.forget_directed(from, full.unwrap_or(account.jid.as_jid()), batch);
        }
        let reached = |it: &&Resource| full.map_or(it.available.is_some(), |full| it.jid == *full);
        let to = full.unwrap_or(account.jid.as_jid()).as_str();
        for resource in state.resources.iter().filter(reached) {
            batch.push_stanza(&resource.ring, presence, |out| write(out, to));
        }
    }
}

/// What stands before and behind the first `byte`, which is ASCII.
fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Remembers the presence of a resource that cannot take all its messages at once.
fn put_off(binding: &Binding, available: Available) {
    if let Some(resource) = binding.account.lock().resource_mut(binding.id) {
        resource.arriving = Some(Box::new(available));
    }
}

/// Makes a resource available and gathers whom to tell.
fn announce(binding: &Binding, priority: i8, presence: &Arc<Stanza<'static>>) -> Announced {
    let mut state = binding.account.lock();
    if priority >= 0 && waiting(&state).next().is_some() {
        return Announced::MoreWaits;
    }
    let Some(resource) = state.resource_mut(binding.id) else { return Announced::Gone };
    let initial = resource.available.is_none();
    resource.arriving = None;
    resource.available = Some(Available { priority, presence: Arc::clone(presence) });
    let arrival = if initial { arrival(&mut state, binding) } else { Arrival::default() };
    Announced::Told(audience(&state), arrival)
}

/// Makes a resource unavailable, and says whom to tell and whether it was available (RFC 6121
/// §4.5.2); `None` if it is bound no more.
fn fall_silent(state: &mut State, binding: u64) -> Option<(Audience, bool)> {
    let resource = state.resource_mut(binding)?;
    let was_available = resource.available.take().is_some();
    resource.arriving = None;
    let directed = std::mem::take(&mut resource.directed);
    let account = resource.jid.to_bare();
    let mut audience = if was_available { audience(state) } else { Audience::default() };
    // RFC 6121 §4.6.3: also those who know only from directed presence.
    let knows = |jid: &Jid| was_available && (state.is_subscriber(jid) || jid.bare_str() == account.as_str());
    audience.directed.extend(directed.into_keys().filter(|jid| !knows(jid)));
    audience.leaves_nobody = was_available && !state.gone && state.resources.iter().all(|it| it.available.is_none());
    Some((audience, was_available))
}

/// Takes a resource out of its account, with those who must hear that it is unavailable.
pub(super) fn leave(state: &mut State, binding: u64) -> Option<(Resource, Audience)> {
    let (audience, _) = fall_silent(state, binding)?;
    Some((state.remove(binding)?, audience))
}

/// Those who receive the presence of the account's resources.
pub(super) fn audience(state: &State) -> Audience {
    let watchers = state.subscribers().filter(|watcher| !state.blocks_contact(watcher));
    let watchers = watchers.fold(String::new(), |mut all, watcher| {
        all.push_str(watcher);
        all.push('\0');
        all
    });
    Audience {
        watchers,
        directed: Vec::new(),
        own: state.resources.iter().filter(|it| it.available.is_some()).map(|it| Arc::clone(&it.ring)).collect(),
        leaves_nobody: false,
    }
}

fn arrival(state: &mut State, binding: &Binding) -> Arrival {
    let first = std::mem::take(&mut state.unused);
    let probes = state
        .contacts
        .states()
        .filter(|(jid, it)| it.subscription().has_to() && !state.blocks_contact(jid))
        .map(|(jid, _)| BareJid::from_kept(jid))
        .collect();
    let own = Jid::from(binding.account.jid.clone());
    let siblings = state
        .resources
        .iter()
        .filter(|it| it.binding != binding.id)
        .filter_map(|it| it.available.as_ref())
        .map(|it| Stanza::clone(&it.presence).to(own.clone()));
    // RFC 6121 §3.1.3: a request stays until it is answered.
    let requests = state.contacts.requests().filter(|it| !state.blocked.blocks(it.from.as_jid()));
    let requests = requests.map(|it| it.stanza(&binding.account.jid));
    let asked = state.contacts.states().filter(|(jid, it)| it.ask() && !state.blocks_contact(jid));
    let asked = asked.map(|(jid, _)| BareJid::from_kept(jid)).collect();
    Arrival { initial: true, probes, asked, told: siblings.chain(requests).collect(), first }
}

/// Remembers who has to hear that the resource becomes unavailable (RFC 6121 §4.6.3); gives what he was before.
fn note_directed(binding: &Binding, kind: PresenceType, to: &Jid) -> Result<Option<Told>, StanzaError> {
    let mut state = binding.account.lock();
    let Some(resource) = state.resource_mut(binding.id) else { return Ok(None) };
    if kind == PresenceType::Unavailable {
        return Ok(resource.directed.remove(to));
    }
    if resource.directed.len() >= MOST_DIRECTED && !resource.directed.contains_key(to) {
        return Err(StanzaError::new(Condition::ResourceConstraint, "too many receivers of directed presence"));
    }
    let was = resource.directed.get(to).copied();
    resource.directed.insert(to.clone(), was.unwrap_or(Told::Somebody));
    Ok(was)
}

/// The priority that a presence stanza gives (RFC 6121 §4.7.2.3).
pub(super) fn priority(stanza: &Stanza<'_>) -> Result<i8, StanzaError> {
    if !stanza.payload.as_str().contains("priority") {
        return Ok(0);
    }
    let elements = stanza.payload.elements();
    let Some(element) = elements.iter().find(|element| element.is("priority", CLIENT_NS)) else { return Ok(0) };
    let bad = |_| StanzaError::new(Condition::BadRequest, "priority is an integer from -128 to 127");
    element.text().trim().parse().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;

    // Proves: RFC 6121 §4.7.2.3
    #[test]
    fn priorities() {
        let read = |payload: &'static str| {
            priority(&Stanza::new(Kind::Presence(PresenceType::Available)).payload(Payload::canonical(payload)))
        };
        assert_eq!(read(""), Ok(0));
        assert_eq!(read("<show>away</show><priority> -5 </priority>"), Ok(-5));
        assert_eq!(read("<priority xmlns='urn:other'>x</priority>"), Ok(0));
        for wrong in
            ["<priority/>", "<priority>128</priority>", "<priority>-129</priority>", "<priority>1.5</priority>"]
        {
            assert_eq!(read(wrong).map_err(|error| error.condition), Err(Condition::BadRequest), "{wrong}");
        }
    }
}

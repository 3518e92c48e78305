//! Sessions whose clients may come back although the server has ended since.
//!
//! Storage knows of every session that may be resumed: whose it is, its presence, how many of its client's stanzas were in
//! safe hands, and which number each message has that it was sent and has not confirmed. When the server starts, these
//! sessions wait: without a ring, without presence, and with their messages kept from others. A client that comes back
//! says what it has; the rest is sent to it again, its presence is announced afresh, and requests that it has no answer
//! to are answered with an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::accounts::clients::number;
use crate::accounts::tokens::AgentId;
use crate::hooks::{Interest, Interests, Seated};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, MessageType, PresenceType, Stanza, StanzaError};
use crate::storage::{Error, Map, Position, Queued, View, Writes};
use crate::stream::{ContentNamespace, StreamCondition, StreamError, read_back};

use super::Router;
use super::account::{Account, Resource, State};
use super::backlog::{Patience, waiting};
use super::batch::Batch;
use super::binding::Binding;
use super::elsewhere::{Told, rooms};
use super::presence::{Audience, audience, priority};
use super::retained::{Handled, Lapsed, Resumption, session_key};
use super::ring::Ring;
use super::unanswered::Asked;
use super::watch::arrived;

/// The sessions of a domain that may be resumed, by their names.
const SESSIONS: Map<Record> = Map::new("sessions");

/// How many stanzas of their clients are in safe hands, by the same names.
const HANDLED: Map<u64> = Map::new("sessions-handled");

/// Which of those are requests that their clients may have no answer to, by the same names.
const REQUESTS: Map<Vec<Asked>> = Map::new("sessions-requests");

/// No client has got as many stanzas, and none is taken for seen that is numbered so far behind the last one.
pub(super) const UNSEEN: u64 = 1 << 30;

/// A session in storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The full JID.
    jid: String,
    /// How long it waits for its client.
    seconds: u64,
    /// Its last broadcast presence, if it is available.
    presence: Option<String>,
    /// It gets roster pushes.
    interested: bool,
    #[serde(default)]
    interests: Interests,
    /// The number of its client.
    #[serde(default)]
    client: u64,
    /// The rooms that it has entered, and under which names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
}

/// A session that waits since the server has started.
#[derive(Debug)]
pub(super) struct Session {
    jid: Jid,
    resumption: Resumption,
    handled: u64,
    presence: Option<Stanza<'static>>,
    /// The priority of that.
    priority: Option<i8>,
    interested: bool,
    interests: Interests,
    client: u64,
    rooms: Vec<Jid>,
    /// Positions of messages that it was sent and has not confirmed, with their numbers, and of those that have come since.
    queue: BTreeMap<u64, u64>,
    /// Those of them that others have got and nobody else waits for.
    got: Vec<u64>,
    requests: Vec<Asked>,
    until: Instant,
}

/// The waiting sessions of one account.
#[derive(Debug, Default)]
struct Waiting {
    sessions: Vec<Session>,
    /// Messages in several queues that one of the sessions has got.
    taken: BTreeSet<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    accounts: Mutex<BTreeMap<BareJid, Waiting>>,
    /// How many accounts there are, for those who look often.
    count: AtomicUsize,
}

impl Suspended {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<BareJid, Waiting>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether sessions of `account` wait: no further ones will.
    pub(super) fn has(&self, account: &BareJid) -> bool {
        !self.is_empty() && self.lock().contains_key(account)
    }

    /// The messages of `account` that are in somebody's queue.
    pub(super) fn positions(&self, account: &BareJid) -> BTreeSet<u64> {
        if self.is_empty() {
            return BTreeSet::new();
        }
        let all = self.lock();
        let sessions = all.get(account).map(|waiting| waiting.sessions.as_slice()).unwrap_or_default();
        sessions.iter().flat_map(|session| session.queue.keys().copied()).collect()
    }

    /// Of messages that somebody has got, those that nobody else waits for.
    pub(super) fn take(&self, account: &BareJid, mut positions: Vec<u64>) -> Vec<u64> {
        if !self.is_empty()
            && let Some(waiting) = self.lock().get_mut(account)
        {
            let Waiting { sessions, taken } = waiting;
            positions.retain(|position| {
                let wanted = sessions.iter().any(|session| session.queue.contains_key(position));
                if wanted {
                    taken.insert(*position);
                }
                !wanted
            });
        }
        positions
    }

    /// The sessions of `account`, with the numbers of their clients.
    fn of(&self, account: &BareJid) -> Vec<(Jid, u64)> {
        let all = self.lock();
        let sessions = all.get(account).map(|waiting| waiting.sessions.as_slice()).unwrap_or_default();
        sessions.iter().map(|session| (session.jid.clone(), session.client)).collect()
    }

    /// Whether a message is for a session of `account` that waits.
    pub(super) fn awaits(&self, account: &BareJid, meant: Meant<'_>) -> bool {
        self.lock().get(account).is_some_and(|waiting| waiting.sessions.iter().any(meant.among(&waiting.sessions)))
    }

    /// Those that a message is for get its entry at `position` when they are back; gives its places in their queues.
    pub(super) fn keep(&self, account: &BareJid, position: u64, meant: Meant<'_>) -> Vec<Queued> {
        let mut all = self.lock();
        let Some(waiting) = all.get_mut(account) else { return Vec::new() };
        let is_meant = meant.among(&waiting.sessions);
        let sessions = waiting.sessions.iter_mut().filter(|session| is_meant(session));
        sessions.filter_map(|session| session.enqueue(position)).collect()
    }

    /// Takes the first session of `account` out that is meant.
    fn remove(&self, account: &BareJid, meant: impl Fn(&Session) -> bool) -> Option<Removed> {
        if self.is_empty() {
            return None;
        }
        let mut all = self.lock();
        let waiting = all.get_mut(account)?;
        let place = waiting.sessions.iter().position(meant)?;
        let session = waiting.sessions.remove(place);
        let Waiting { sessions, taken } = waiting;
        let alone = |position: &u64| !sessions.iter().any(|other| other.queue.contains_key(position));
        let free: Vec<u64> = session.queue.keys().copied().filter(alone).collect();
        let (got, free): (Vec<u64>, Vec<u64>) = free.into_iter().partition(|position| taken.remove(position));
        if sessions.is_empty() {
            all.remove(account);
            self.count.store(all.len(), Ordering::Relaxed);
        }
        Some(Removed { session, got, free })
    }

    /// The accounts that have a session whose time is over, and when the next one's is.
    fn due(&self, now: Instant) -> (Vec<BareJid>, Option<Instant>) {
        let all = self.lock();
        let ends = |waiting: &Waiting| waiting.sessions.iter().map(|session| session.until).min();
        let due = all.iter().filter(|(_, waiting)| ends(waiting).is_some_and(|until| until <= now));
        let next = all.values().filter_map(ends).filter(|until| *until > now).min();
        (due.map(|(account, _)| account.clone()).collect(), next)
    }
}

/// Which of the sessions that wait a message is for, as if they were there (RFC 6121 §8.5).
#[derive(Debug, Clone, Copy)]
pub(super) struct Meant<'a> {
    kind: MessageType,
    to: &'a Jid,
    /// The highest priority of those that are there.
    highest: Option<i8>,
}

impl<'a> Meant<'a> {
    /// `None` if the stanza is no message.
    pub(super) fn by(stanza: &Stanza<'_>, to: &'a Jid, state: &State) -> Option<Self> {
        let Kind::Message(kind) = stanza.kind else { return None };
        Some(Self { kind, to, highest: state.resources.iter().filter_map(Resource::priority).max() })
    }

    /// Tells which of `sessions` are meant.
    fn among(self, sessions: &[Session]) -> impl Fn(&Session) -> bool + use<'a> {
        let Self { kind, to, highest } = self;
        let most = sessions.iter().filter_map(|session| session.priority).chain(highest).max();
        let most = most.filter(|most| *most >= 0 && matches!(kind, MessageType::Normal | MessageType::Chat));
        move |session| if to.is_bare() { most.is_some() && session.priority == most } else { session.jid == *to }
    }
}

/// A session that waits no longer.
struct Removed {
    session: Session,
    /// Messages of its queue that another session has got and that nobody waits for any more.
    got: Vec<u64>,
    /// Messages of its queue that are in no other queue.
    free: Vec<u64>,
}

impl Router {
    /// Has the sessions wait that could be resumed when the server ended. To be called once, before anybody connects.
    ///
    /// # Errors
    /// What storage says.
    pub async fn restore(&self) -> Result<(), Error> {
        let now = Instant::now();
        let mut accounts: BTreeMap<BareJid, Waiting> = BTreeMap::new();
        for domain in self.hosts.accounts() {
            let domain = BareJid::from_kept(domain);
            for session in self.storage.read(move |view| kept(view, &domain, now)).await? {
                accounts.entry(session.jid.to_bare()).or_default().sessions.push(session);
            }
        }
        self.suspended.count.store(accounts.len(), Ordering::Relaxed);
        *self.suspended.lock() = accounts;
        Ok(())
    }

    /// Ends the restored sessions whose clients have not come back in time; returns when to look again, if ever.
    pub async fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let (due, next) = self.suspended.due(now);
        for account in due {
            while let Some(removed) = self.suspended.remove(&account, |session| session.until <= now) {
                self.lapse(&account, removed).await;
            }
        }
        next
    }

    /// A session has not been resumed: what was kept for it goes another way, and its contacts learn that it is gone.
    async fn lapse(&self, account: &BareJid, removed: Removed) {
        let mut batch = self.batch();
        forget(&removed.session.jid, &removed.session.resumption.name, &mut batch.writes);
        let loaded = self.load(account, &mut batch).await.ok().flatten();
        if let Some(loaded) = loaded {
            let Removed { session, got, free } = removed;
            let (audience, heir) = {
                let mut state = loaded.lock();
                state.awaited = self.suspended.has(account);
                arrived(&mut state, account, got, &mut batch.writes);
                release(&mut state, &free);
                let handled = Handled { count: session.handled, ..Handled::default() };
                let name = session.resumption.name.clone();
                state.lapsed.get_or_insert_default().push(Lapsed { name, handled });
                let is_back = state.resources.iter().any(|resource| resource.jid == session.jid);
                let mut seen = if session.presence.is_some() { audience(&state) } else { Audience::default() };
                seen.directed = session.rooms;
                let audience = (!is_back).then_some(seen);
                (audience, heir(&state))
            };
            if let Some(audience) = audience {
                let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(session.jid.clone());
                self.tell(&audience, &gone, &mut batch);
            }
            if let Some(ring) = heir {
                self.catch_up(&loaded, &ring, Patience::Wait, &mut batch).await;
            }
        }
        batch.finish();
    }

    /// A new session takes the place of the restored ones that are meant.
    pub(super) async fn supersede(&self, account: &BareJid, meant: impl Fn(&Jid) -> bool) {
        while let Some(removed) = self.suspended.remove(account, |session| meant(&session.jid)) {
            Box::pin(self.lapse(account, removed)).await;
        }
    }

    /// The sessions of an account, each with the number by which its owner ends it (XEP-0494): that of its client, or its
    /// own.
    pub(super) fn seats_of(&self, account: &BareJid) -> Vec<Seated> {
        let numbered = |jid: &Jid, client: u64| if client == 0 { number(jid.as_str()) } else { client };
        let mut all: Vec<Seated> = Vec::new();
        if let Some(account) = self.accounts.cached(account.as_str()) {
            let state = account.lock();
            all.extend(state.resources.iter().map(|resource| Seated {
                number: numbered(&resource.jid, resource.client),
                jid: resource.jid.clone(),
                last: Some(resource.ring.last_heard()),
            }));
        }
        let waiting = self.suspended.of(account).into_iter();
        all.extend(waiting.map(|(jid, client)| Seated { number: numbered(&jid, client), jid, last: None }));
        all
    }

    /// Ends the sessions of an account that have this number.
    pub(super) async fn end_seats(&self, account: &BareJid, number: u64) {
        let error = StreamError::new(StreamCondition::NotAuthorized, "the access of this client was revoked");
        let meant: Vec<Jid> =
            self.seats_of(account).into_iter().filter(|seated| seated.number == number).map(|it| it.jid).collect();
        for jid in &meant {
            self.end_sessions(jid, &error);
        }
        self.supersede(account, |jid| meant.contains(jid)).await;
    }

    /// Gives a restored session back to its client.
    pub(super) fn revive(self: &Arc<Self>, account: &Arc<Account>, name: &str) -> Option<Binding> {
        let request = self.acknowledgement()?.request();
        let mut state = account.lock();
        if self.is_stopping() {
            // It waits on.
            return None;
        }
        let removed = self.suspended.remove(&account.jid, |session| session.resumption.name == name)?;
        state.awaited = self.suspended.has(&account.jid);
        let Removed { mut session, got, .. } = removed;
        // It may have got them, too: its client has not said yet.
        session.got = got;
        let ring = Arc::new(Ring::new(self.limits.load().ring_bytes, self.clock.now()));
        let handled = Handled { count: session.handled, ..Handled::default() };
        ring.restore(request, session.resumption.clone(), handled);
        let id = self.bindings.fetch_add(1, Ordering::Relaxed);
        let mut resource = Resource::new(session.jid.clone(), id, Arc::clone(&ring));
        (resource.interested, resource.interests) = (session.interested, session.interests);
        resource.client = session.client;
        resource.directed = session.rooms.iter().map(|room| (room.clone(), Told::Room)).collect();
        if session.interests.has(Interest::Copies) {
            account.note_copies();
        }
        state.resources.push(resource);
        drop(state);
        Some(Binding::new(self, Arc::clone(account), (session.jid.clone(), id, ring), Some(Box::new(session))))
    }
}

/// The sessions of `domain` that storage knows of.
fn kept(view: &View<'_>, domain: &BareJid, now: Instant) -> Result<Vec<Session>, Error> {
    let handled: HashMap<_, _> = view.items(&HANDLED, domain)?.into_iter().collect();
    let mut requests: HashMap<_, _> = view.items(&REQUESTS, domain)?.into_iter().collect();
    let mut sessions = Vec::new();
    for (name, record) in view.items(&SESSIONS, domain)? {
        let handled = handled.get(&name).copied().unwrap_or_default();
        let Some(mut session) = Session::kept(name, record, handled, now) else { continue };
        let key = session_key(&session.resumption.name);
        let queued = view.queued(&session.jid.to_bare())?.into_iter().filter(|(_, queued)| queued.session == key);
        session.requests = requests.remove(&session.resumption.name).unwrap_or_default();
        session.queue = queued.map(|(position, queued)| (position.number(), queued.number)).collect();
        sessions.push(session);
    }
    // Their names are random; those of one account end in the same order each time.
    sessions.sort_by(|one, other| one.jid.cmp(&other.jid));
    Ok(sessions)
}

impl Session {
    /// As it is in storage; `None` if that makes no sense (any more).
    fn kept(name: String, record: Record, handled: u64, now: Instant) -> Option<Self> {
        let time = Duration::from_secs(record.seconds);
        let presence = record.presence.as_deref().and_then(stanza);
        Some(Self {
            jid: record.jid.parse().ok()?,
            resumption: Resumption { name, time },
            handled,
            priority: presence.as_ref().and_then(|presence| priority(presence).ok()),
            presence,
            interested: record.interested,
            interests: record.interests,
            client: record.client,
            rooms: record.rooms.iter().filter_map(|room| room.parse().ok()).collect(),
            queue: BTreeMap::new(),
            got: Vec::new(),
            requests: Vec::new(),
            until: now + time,
        })
    }
}

impl Session {
    /// A message has come for it; gives its place in the queue if it is not there yet.
    fn enqueue(&mut self, position: u64) -> Option<Queued> {
        if self.queue.contains_key(&position) {
            return None;
        }
        // Nobody but the client knows how many stanzas it has got: the number has to be above that, whatever it is.
        let last = self.queue.values().max().copied().unwrap_or_default();
        let number = if last < UNSEEN { last + UNSEEN } else { last + 1 };
        self.queue.insert(position, number);
        Some(Queued { session: session_key(&self.resumption.name), number })
    }

    /// The messages of its queue are on their way to nobody.
    pub(super) fn release(&self, state: &mut State, account: &BareJid, writes: &mut Writes) {
        arrived(state, account, self.got.clone(), writes);
        let positions: Vec<u64> = self.queue.keys().copied().collect();
        release(state, &positions);
    }
}

impl Binding {
    /// The session is that of this client.
    pub fn belongs_to(&self, agent: &AgentId) {
        if let Some(resource) = self.account.lock().resource_mut(self.id) {
            resource.client = number(agent.as_str());
        }
    }

    /// Notes in storage that the session may be resumed, and what is needed for that.
    pub fn remember(&self, batch: &mut Batch) {
        let state = self.account.lock();
        if let Some(resource) = state.resources.iter().find(|resource| resource.binding == self.id) {
            resource.remember(batch);
        }
    }

    /// Notes in storage that `count` stanzas of the client are in safe hands once the batch is.
    pub fn handled(&self, count: u64, batch: &mut Batch) {
        note_handled(&self.jid, &self.ring, count, &mut batch.writes);
    }

    pub(super) fn note_requests(&self, count: Option<u64>, batch: &mut Batch) {
        note_requests(&self.jid, &self.ring, count, &mut batch.writes);
    }

    /// The server has ended before the client got an answer to these.
    fn apologise(&self, requests: Vec<Asked>, handled: u64, batch: &mut Batch) {
        let error =
            StanzaError::new(Condition::RecipientUnavailable, "the server has ended before there was an answer");
        for Asked { id, to, .. } in requests {
            // From here on it is a request like any other, so that it is answered even if the server ends again.
            self.ring.asks(handled, &id, to.as_deref());
            let to = to.and_then(|to| to.parse().ok()).unwrap_or_else(|| Jid::from(self.account.jid.clone()));
            let request = Stanza::new(Kind::Iq(IqType::Get)).id(id).from(self.jid.clone()).to(to);
            if let Some(answer) = request.error(&error) {
                batch.push_answer(&self.ring, &answer);
            }
        }
        self.note_requests(Some(handled), batch);
    }

    /// The client of a restored session has handled `count` stanzas, modulo 2^32: what it has not got is sent to it, and
    /// its presence is announced afresh.
    pub(super) async fn renew(&self, session: Session, count: u32, batch: &mut Batch) {
        let Session { presence, queue, handled, mut requests, resumption, priority, .. } = session;
        let known = |number: u64| {
            // The client has seen it if its number is not above the count, on a circle of 2^32 numbers.
            super::retained::modulo(number.wrapping_sub(u64::from(count)).wrapping_sub(1)) >= u32::MAX / 2
        };
        let (has, misses): (Vec<_>, Vec<_>) = queue.into_iter().partition(|(_, number)| known(*number));
        let router = &self.router;
        let has = router.suspended.take(&self.account.jid, has.into_iter().map(|(position, _)| position).collect());
        let misses: BTreeSet<u64> = misses.into_iter().map(|(position, _)| position).collect();
        // Other stanzas get the numbers that they had. If the server ends again before they have new ones, the client must
        // not seem to have seen them.
        for (number, position) in (UNSEEN..).zip(&misses) {
            let queued = Queued { session: session_key(&resumption.name), number };
            batch.writes.queue(&self.account.jid, Position::new(*position), queued);
        }
        arrived(&mut self.account.lock(), &self.account.jid, has, &mut batch.writes);
        requests.retain(|asked| !asked.answer.is_some_and(known));
        self.apologise(requests, handled, batch);
        router.revisit(self, presence.as_ref());
        let takes_all = presence.is_some() && priority.is_some_and(|priority| priority >= 0);
        if takes_all {
            // What waits comes first, as for every resource that becomes available.
            release(&mut self.account.lock(), &misses.into_iter().collect::<Vec<_>>());
        } else if !misses.is_empty() {
            router.catch_up_with(&self.account, &self.ring, misses, batch).await;
        }
        if let Some(presence) = presence {
            router.broadcast_available(self, presence, batch).await;
        }
    }
}

impl Resource {
    /// Notes in storage what is needed to resume the session, if it may be resumed.
    pub(super) fn remember(&self, batch: &mut Batch) {
        let Some(resumption) = self.ring.resumption() else { return };
        let record = Record {
            jid: self.jid.as_str().to_owned(),
            seconds: resumption.time.as_secs(),
            presence: self.available.as_ref().map(|available| available.presence.to_xml()),
            interested: self.interested,
            interests: self.interests,
            client: self.client,
            rooms: rooms(self).map(Jid::to_string).collect(),
        };
        let domain = BareJid::from_kept(self.jid.domain());
        // A record is always written as JSON.
        let _ = SESSIONS.put(&mut batch.writes, &domain, &resumption.name, &record);
    }
}

/// Notes that `count` stanzas of the client of a session are in safe hands once `writes` is, if it may come back.
pub(super) fn note_handled(jid: &Jid, ring: &Ring, count: u64, writes: &mut Writes) {
    let Some((name, open)) = ring.unanswered(Some(count)) else { return };
    let domain = BareJid::from_kept(jid.domain());
    let _ = HANDLED.put(writes, &domain, &name, &count);
    write_requests(&domain, &name, open, writes);
}

/// Notes which requests of a client are open among those of its stanzas that are in safe hands: the first `count`, or as
/// many as storage knows already.
pub(super) fn note_requests(jid: &Jid, ring: &Ring, count: Option<u64>, writes: &mut Writes) {
    if let Some((name, open)) = ring.unanswered(count) {
        write_requests(&BareJid::from_kept(jid.domain()), &name, open, writes);
    }
}

fn write_requests(domain: &BareJid, name: &str, open: Option<Vec<Asked>>, writes: &mut Writes) {
    match open {
        Some(open) if open.is_empty() => REQUESTS.delete(writes, domain, name),
        Some(open) => {
            let _ = REQUESTS.put(writes, domain, name, &open);
        }
        None => {}
    }
}

/// Forgets a session that may not be resumed any more.
pub(super) fn forget(jid: &Jid, name: &str, writes: &mut Writes) {
    let domain = BareJid::from_kept(jid.domain());
    SESSIONS.delete(writes, &domain, name);
    HANDLED.delete(writes, &domain, name);
    REQUESTS.delete(writes, &domain, name);
}

/// Messages are on their way to nobody any more.
pub(super) fn release(state: &mut State, positions: &[u64]) {
    for position in positions {
        state.in_flight.remove(position);
    }
}

/// The session that gets what waits for nobody else.
pub(super) fn heir(state: &State) -> Option<Arc<Ring>> {
    // A session without connection may not read for long, and the next one gets them, too.
    let heir = state.most_available().filter(|it| it.ring.away().is_none() && waiting(state).next().is_some());
    heir.map(|heir| Arc::clone(&heir.ring))
}

/// A stanza that was kept as text.
pub(super) fn stanza(text: &str) -> Option<Stanza<'static>> {
    read_back(text, ContentNamespace::Client).next().map(|(_, stanza)| stanza.into_owned())
}

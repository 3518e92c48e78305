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

use crate::hooks::{Interest, Interests};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, PresenceType, Stanza, StanzaError};
use crate::storage::{Error, Map, View, Writes};
use crate::stream::{ContentNamespace, read_back};

use super::Router;
use super::account::{Account, Resource, State};
use super::backlog::{Patience, waiting};
use super::batch::Batch;
use super::binding::Binding;
use super::presence::audience;
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
}

/// A session that waits since the server has started.
#[derive(Debug)]
pub(super) struct Session {
    jid: Jid,
    resumption: Resumption,
    handled: u64,
    presence: Option<Stanza<'static>>,
    interested: bool,
    interests: Interests,
    /// Positions of messages that it was sent and has not confirmed, with their numbers.
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
    accounts: Mutex<HashMap<BareJid, Waiting>>,
    /// How many accounts there are, for those who look often.
    count: AtomicUsize,
}

impl Suspended {
    fn lock(&self) -> MutexGuard<'_, HashMap<BareJid, Waiting>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
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
        let mut accounts: HashMap<BareJid, Waiting> = HashMap::new();
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
                arrived(&mut state, account, got, &mut batch.writes);
                release(&mut state, &free);
                let handled = Handled { count: session.handled, ..Handled::default() };
                let name = session.resumption.name.clone();
                state.lapsed.get_or_insert_default().push(Lapsed { name, handled });
                let is_back = state.resources.iter().any(|resource| resource.jid == session.jid);
                let audience = (session.presence.is_some() && !is_back).then(|| audience(&state));
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

    /// Gives a restored session back to its client.
    pub(super) fn revive(self: &Arc<Self>, account: &Arc<Account>, name: &str) -> Option<Binding> {
        let request = self.acknowledgement()?.request();
        let removed = self.suspended.remove(&account.jid, |session| session.resumption.name == name)?;
        let Removed { mut session, got, .. } = removed;
        // It may have got them, too: its client has not said yet.
        session.got = got;
        let ring = Arc::new(Ring::new(self.limits.load().ring_bytes, self.clock.now()));
        let handled = Handled { count: session.handled, ..Handled::default() };
        ring.restore(request, session.resumption.clone(), handled);
        let id = self.bindings.fetch_add(1, Ordering::Relaxed);
        let mut state = account.lock();
        let mut resource = Resource::new(session.jid.clone(), id, Arc::clone(&ring));
        (resource.interested, resource.interests) = (session.interested, session.interests);
        if session.interests.has(Interest::Copies) {
            account.note_copies();
        }
        state.resources.push(resource);
        drop(state);
        let (jid, account, router) = (session.jid.clone(), Arc::clone(account), Arc::clone(self));
        Some(Binding { jid, ring, account, id, router, restored: Some(Box::new(session)) })
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
    Ok(sessions)
}

impl Session {
    /// As it is in storage; `None` if that makes no sense (any more).
    fn kept(name: String, record: Record, handled: u64, now: Instant) -> Option<Self> {
        let time = Duration::from_secs(record.seconds);
        Some(Self {
            jid: record.jid.parse().ok()?,
            resumption: Resumption { name, time },
            handled,
            presence: record.presence.as_deref().and_then(stanza),
            interested: record.interested,
            interests: record.interests,
            queue: BTreeMap::new(),
            got: Vec::new(),
            requests: Vec::new(),
            until: now + time,
        })
    }
}

impl Session {
    /// The messages of its queue are on their way to nobody.
    pub(super) fn release(&self, state: &mut State, account: &BareJid, writes: &mut Writes) {
        arrived(state, account, self.got.clone(), writes);
        let positions: Vec<u64> = self.queue.keys().copied().collect();
        release(state, &positions);
    }
}

impl Binding {
    /// Notes in storage that the session may be resumed, and what is needed for that.
    pub fn remember(&self, batch: &mut Batch) {
        let state = self.account.lock();
        if let Some(resource) = state.resources.iter().find(|resource| resource.binding == self.id) {
            resource.remember(batch);
        }
    }

    /// Notes in storage that `count` stanzas of the client are in safe hands once the batch is.
    pub fn handled(&self, name: &str, count: u64, batch: &mut Batch) {
        let domain = BareJid::from_kept(self.jid.domain());
        let _ = HANDLED.put(&mut batch.writes, &domain, name, &count);
        self.note_requests(Some(count), batch);
    }

    /// Notes which requests of the client are open among those of its stanzas that are in safe hands: the first `count`,
    /// or as many as storage knows already.
    pub(super) fn note_requests(&self, count: Option<u64>, batch: &mut Batch) {
        let Some((name, open)) = self.ring.unanswered(count) else { return };
        let domain = BareJid::from_kept(self.jid.domain());
        if open.is_empty() {
            REQUESTS.delete(&mut batch.writes, &domain, &name);
        } else {
            let _ = REQUESTS.put(&mut batch.writes, &domain, &name, &open);
        }
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
        let Session { presence, queue, handled, mut requests, .. } = session;
        let known = |number: u64| {
            // The client has seen it if its number is not above the count, on a circle of 2^32 numbers.
            super::retained::modulo(number.wrapping_sub(u64::from(count)).wrapping_sub(1)) >= u32::MAX / 2
        };
        let (has, misses): (Vec<_>, Vec<_>) = queue.into_iter().partition(|(_, number)| known(*number));
        let router = &self.router;
        let has = router.suspended.take(&self.account.jid, has.into_iter().map(|(position, _)| position).collect());
        {
            let mut state = self.account.lock();
            arrived(&mut state, &self.account.jid, has, &mut batch.writes);
            release(&mut state, &misses.iter().map(|(position, _)| *position).collect::<Vec<_>>());
        }
        requests.retain(|asked| !asked.answer.is_some_and(known));
        self.apologise(requests, handled, batch);
        match presence {
            // What waits comes first, as for every resource that becomes available.
            Some(presence) => router.broadcast_available(self, presence, batch).await,
            None if misses.is_empty() => {}
            None => {
                router.catch_up(&self.account, &self.ring, Patience::None, batch).await;
            }
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
        };
        let domain = BareJid::from_kept(self.jid.domain());
        // A record is always written as JSON.
        let _ = SESSIONS.put(&mut batch.writes, &domain, &resumption.name, &record);
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
fn release(state: &mut State, positions: &[u64]) {
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

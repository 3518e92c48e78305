//! What all queues and streams of this server share.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::Guard;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::federation::audit::Audit;
use crate::federation::budgets::Budgets;
use crate::federation::claims::Claims;
use crate::federation::counting::Pairs;
use crate::federation::delivery::Waiting;
use crate::federation::history::Histories;
use crate::federation::inbound::Inbound;
use crate::federation::incoming::Rules;
use crate::federation::lanes::WayBack;
use crate::federation::link::Links;
use crate::federation::settings::{Settings, Ways};
use crate::federation::xep_0220_dialback::Signer;
use crate::jid::BareJid;
use crate::live::Live;
use crate::routing::Pair;
use crate::storage::{Marks, Position, Writes};

/// Keys that are verified at a time, over all streams: each costs a connection.
const CALL_BACKS: usize = 64;
/// Domains that are looked up at a time for streams of others: each costs some questions to the DNS.
const LOOK_UPS: usize = 64;
/// How long streams may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(3);

/// Talks to other servers.
pub struct Federation {
    links: Links,
    rules: Arc<Rules>,
    inbound: Arc<OnceLock<Weak<dyn Inbound>>>,
    queues: Mutex<HashMap<Pair, Arc<Waiting>>>,
    /// The cost of everything in all queues.
    queued: AtomicUsize,
    /// Entries of the logs of our domains that were not delivered when this server stopped and are not marked so yet.
    abandoned: Mutex<Vec<(Arc<str>, u64)>>,
    /// Streams of others that take our stanzas, too.
    ways_back: Mutex<HashMap<Pair, WayBack>>,
    /// What became of the attempts to reach other servers.
    histories: Mutex<Histories>,
    /// What has arrived from others that count.
    arrivals: Mutex<Pairs>,
    /// A stream of one of those has ended since somebody looked whether they are too many.
    has_ended: AtomicBool,
    /// The streams that are open.
    audit: Arc<Audit>,
    /// What others have used of what they may.
    budgets: Arc<Budgets>,
    call_backs: Semaphore,
    look_ups: Semaphore,
    tasks: Mutex<JoinSet<()>>,
    closing: watch::Sender<bool>,
    /// Wakes those who wait for that, the first one first.
    ending: Notify,
    own: Weak<Self>,
}

impl Federation {
    /// Federation for the domains in `settings`; streams are served once [`Federation::attach`] was called.
    #[must_use]
    pub fn new(settings: Live<Settings>, ways: Ways) -> Arc<Self> {
        let secret = Signer::new(&ways.secret);
        let inbound: Arc<OnceLock<Weak<dyn Inbound>>> = Arc::default();
        let hosts = Arc::clone(&inbound);
        let resolver = ways.resolver.clone();
        let claims: Arc<Claims> = Arc::default();
        let rules = Rules {
            settings: settings.clone(),
            secret: secret.clone(),
            claims: Arc::clone(&claims),
            is_local: Box::new(move |domain| {
                hosts.get().and_then(Weak::upgrade).is_some_and(|inbound| inbound.is_local(domain))
            }),
            dns_is_signed: Box::new(move || resolver.load().validates()),
            stream_features: ways.stream_features.clone(),
            name: settings.load().domains.first().map_or("", String::as_str).into(),
        };
        Arc::new_cyclic(|own| Self {
            links: Links { settings, ways, secret, claims },
            rules: Arc::new(rules),
            inbound,
            queues: Mutex::default(),
            queued: AtomicUsize::new(0),
            abandoned: Mutex::default(),
            ways_back: Mutex::default(),
            histories: Mutex::default(),
            arrivals: Mutex::default(),
            has_ended: AtomicBool::new(false),
            audit: Arc::default(),
            budgets: Arc::default(),
            call_backs: Semaphore::new(CALL_BACKS),
            look_ups: Semaphore::new(LOOK_UPS),
            tasks: Mutex::default(),
            closing: watch::Sender::new(false),
            ending: Notify::new(),
            own: Weak::clone(own),
        })
    }

    /// Says where stanzas go that arrive. Only the first call counts; the receiver is not kept alive.
    pub fn attach<I: Inbound + 'static>(&self, inbound: &Arc<I>) {
        let weak = Arc::downgrade(inbound);
        self.inbound.get_or_init(|| weak);
    }

    /// Ends all streams: what is queued on an open one still goes out, what has arrived is still taken, what storage keeps
    /// stays there, the rest is answered with errors.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        self.ending.notify_waiters();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        // Streams of others take what is under way; they count as long as they hold a receiver.
        let _ = timeout(DRAIN, self.closing.closed()).await;
    }

    /// What [`Federation::stop`] waits for until it is dropped.
    pub(crate) fn until_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Resolves when everything is to end.
    pub(crate) async fn closing(&self) {
        let mut ending = pin!(self.ending.notified());
        // Before the look, so that it is not missed.
        ending.as_mut().enable();
        if !self.is_closing() {
            ending.await;
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// The domains that are served here.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        self.settings().domains.clone()
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.links.settings.load()
    }

    pub(crate) fn ways(&self) -> &Ways {
        &self.links.ways
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules)
    }

    pub(crate) fn inbound(&self) -> Option<Arc<dyn Inbound>> {
        self.inbound.get().and_then(Weak::upgrade)
    }

    pub(crate) fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    pub(crate) fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    pub(crate) fn call_backs(&self) -> &Semaphore {
        &self.call_backs
    }

    pub(crate) fn look_ups(&self) -> &Semaphore {
        &self.look_ups
    }

    pub(crate) fn queues(&self) -> MutexGuard<'_, HashMap<Pair, Arc<Waiting>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for `pair`, with a task that tends it.
    pub(crate) fn waiting(&self, pair: &Pair) -> Arc<Waiting> {
        let mut queues = self.queues();
        if let Some(waiting) = queues.get(pair) {
            return Arc::clone(waiting);
        }
        let waiting = Arc::new(Waiting::new(pair.clone()));
        queues.insert(pair.clone(), Arc::clone(&waiting));
        if let Some(own) = self.own.upgrade() {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(own.tend(Arc::clone(&waiting)));
        }
        waiting
    }

    pub(crate) fn abandoned(&self) -> MutexGuard<'_, Vec<(Arc<str>, u64)>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ways_back(&self) -> MutexGuard<'_, HashMap<Pair, WayBack>> {
        self.ways_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn histories(&self) -> MutexGuard<'_, Histories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arrivals(&self) -> MutexGuard<'_, Pairs> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream that counts has ended.
    pub(crate) fn note_end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether one has since the last time.
    pub(crate) fn take_end(&self) -> bool {
        self.has_ended.swap(false, Ordering::Relaxed)
    }

    /// Has the log of `local` keep what has not arrived.
    pub(crate) fn mark(&self, local: &str, positions: &[u64]) {
        self.note(positions, |writes, position| {
            writes.mark(&BareJid::from_kept(local), position, Marks::UNDELIVERED);
        });
    }

    /// Entries of the log of `local` wait no longer.
    pub(crate) fn unmark(&self, local: &str, positions: &[u64]) {
        self.note(positions, |writes, position| {
            writes.unmark(&BareJid::from_kept(local), position, Marks::UNDELIVERED);
        });
    }

    fn note(&self, positions: &[u64], change: impl Fn(&mut Writes, Position)) {
        if !positions.is_empty() {
            let mut writes = Writes::new();
            positions.iter().for_each(|position| change(&mut writes, Position::new(*position)));
            self.links.ways.storage.submit(writes);
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn charge(&self, cost: usize) {
        self.queued.fetch_add(cost, Ordering::Relaxed);
    }

    pub(crate) fn discharge(&self, cost: usize) {
        self.queued.fetch_sub(cost, Ordering::Relaxed);
    }
}

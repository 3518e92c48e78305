//! What all queues and streams of this server share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::Guard;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::federation::delivery::Waiting;
use crate::federation::inbound::Inbound;
use crate::federation::incoming::Rules;
use crate::federation::link::Links;
use crate::federation::settings::{Settings, Ways};
use crate::federation::xep_0220_dialback::Secret;
use crate::live::Live;
use crate::routing::Pair;

/// Keys that are verified at a time, over all streams: each costs a connection.
const CALL_BACKS: usize = 64;
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
    call_backs: Semaphore,
    tasks: Mutex<JoinSet<()>>,
    closing: watch::Sender<bool>,
    own: Weak<Self>,
}

impl Federation {
    /// Federation for the domains in `settings`; streams are served once [`Federation::attach`] was called.
    #[must_use]
    pub fn new(settings: Live<Settings>, ways: Ways) -> Arc<Self> {
        let secret = Secret::new(&ways.secret);
        let inbound: Arc<OnceLock<Weak<dyn Inbound>>> = Arc::default();
        let hosts = Arc::clone(&inbound);
        let rules = Rules {
            settings: settings.clone(),
            secret: secret.clone(),
            is_local: Box::new(move |domain| {
                hosts.get().and_then(Weak::upgrade).is_some_and(|inbound| inbound.is_local(domain))
            }),
            stream_features: ways.stream_features.clone(),
            name: settings.load().domains.first().map_or("", String::as_str).into(),
        };
        Arc::new_cyclic(|own| Self {
            links: Links { settings, ways, secret },
            rules: Arc::new(rules),
            inbound,
            queues: Mutex::default(),
            queued: AtomicUsize::new(0),
            call_backs: Semaphore::new(CALL_BACKS),
            tasks: Mutex::default(),
            closing: watch::Sender::new(false),
            own: Weak::clone(own),
        })
    }

    /// Says where stanzas go that arrive. Only the first call counts; the receiver is not kept alive.
    pub fn attach<I: Inbound + 'static>(&self, inbound: &Arc<I>) {
        let weak = Arc::downgrade(inbound);
        self.inbound.get_or_init(|| weak);
    }

    /// Ends all streams: what is queued on an open one still goes out, what has arrived is still taken,
    /// the rest is answered with errors.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        // Streams of others take what is under way; they count as long as they hold a receiver.
        let _ = timeout(DRAIN, self.closing.closed()).await;
    }

    /// A receiver that tells when everything is to end; [`Federation::stop`] waits until it is dropped.
    pub(crate) fn until_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Resolves when everything is to end.
    pub(crate) async fn closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
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

    pub(crate) fn call_backs(&self) -> &Semaphore {
        &self.call_backs
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
        let waiting = Arc::new(Waiting::default());
        queues.insert(pair.clone(), Arc::clone(&waiting));
        if let Some(own) = self.own.upgrade() {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(own.tend(pair.clone(), Arc::clone(&waiting)));
        }
        waiting
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

//! One component: who it is, whether it is connected, what waits for it.
//!
//! It must never know what carries the bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::hooks::Hosted;
use crate::jid::{BareJid, Jid};
use crate::routing::{Batch, Service};
use crate::stanza::{Condition, Stanza, StanzaError};

use super::{Settings, Standing};

/// A component, connected or not.
pub(super) struct Component {
    pub(super) settings: Settings,
    state: Mutex<State>,
    /// Tells that the place has become free.
    freed: Notify,
}

#[derive(Default)]
struct State {
    place: Place,
    /// Whole stanzas that nobody has taken out yet.
    text: String,
    /// Bytes that wait: those, and what was taken out and is not yet with the operating system.
    waiting: usize,
    /// The task of the connection, if it waits for something to write.
    idle: Option<Waker>,
}

/// The one place that a component has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Free,
    Taken {
        since: Timestamp,
        address: Option<SocketAddr>,
    },
    /// Whoever had it has gone, and not everybody knows.
    Left,
}

/// There is a connection for this component already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupied;

impl Component {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::default(), freed: Notify::new() })
    }

    /// Its domain.
    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Takes the place for a connection from `address`; `greeting` goes out before any stanza.
    pub(super) async fn take_place(
        &self,
        since: Timestamp,
        address: Option<SocketAddr>,
        greeting: &str,
    ) -> Result<(), Occupied> {
        loop {
            // Made before the look, so that nothing after it is missed.
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                match state.place {
                    Place::Taken { .. } => return Err(Occupied),
                    Place::Free => {
                        state.place = Place::Taken { since, address };
                        state.say(greeting);
                        return Ok(());
                    }
                    Place::Left => {}
                }
            }
            freed.await;
        }
    }

    /// Nothing is taken for the connection any more; gives what it has not taken out.
    pub(super) fn leave_place(&self) -> String {
        let mut state = self.lock();
        state.place = Place::Left;
        state.waiting = 0;
        state.idle = None;
        std::mem::take(&mut state.text)
    }

    /// Everybody knows that the last connection is gone: there may be another.
    pub(super) fn free_place(&self) {
        self.lock().place = Place::Free;
        self.freed.notify_waiters();
    }

    /// Moves what waits into `out`, which must be empty.
    pub(super) fn poll_take(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let mut state = self.lock();
        if state.text.is_empty() {
            state.idle = Some(context.waker().clone());
            return Poll::Pending;
        }
        *out = std::mem::take(&mut state.text).into_bytes();
        Poll::Ready(())
    }

    /// Moves what waits into `out`, which must be empty, without waiting for any.
    pub(super) fn take_rest(&self, out: &mut Vec<u8>) {
        *out = std::mem::take(&mut self.lock().text).into_bytes();
    }

    /// Notes that the operating system has taken `bytes` more.
    pub(super) fn handed_over(&self, bytes: usize) {
        let mut state = self.lock();
        state.waiting = state.waiting.saturating_sub(bytes);
    }

    /// Says something that is no stanza. For the connection's own task, which looks for it before it
    /// waits.
    pub(super) fn say(&self, text: &str) {
        self.lock().say(text);
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.lock();
        let (since, address) = match state.place {
            Place::Taken { since, address } => (Some(since), address),
            Place::Free | Place::Left => (None, None),
        };
        Standing { name: Arc::clone(&self.settings.name), since, address, waiting: state.waiting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.waiting += text.len();
    }

    /// Why nothing can be taken at the moment.
    fn refusal(&self, most: usize) -> Option<StanzaError> {
        if !matches!(self.place, Place::Taken { .. }) {
            return Some(not_connected());
        }
        (self.waiting >= most)
            .then(|| StanzaError::new(Condition::ResourceConstraint, "too much is waiting for the service"))
    }
}

/// The error for a stanza that nobody is there to take (RFC 6120 §8.3.3.17).
pub(super) fn not_connected() -> StanzaError {
    StanzaError::new(Condition::RemoteServerTimeout, "the service is not connected")
}

impl Service for Component {
    fn take(&self, stanza: &Stanza<'_>, batch: &mut Batch) -> Option<Stanza<'static>> {
        let mut state = self.lock();
        if let Some(error) = state.refusal(self.settings.queue_bytes) {
            drop(state);
            return stanza.error(&error);
        }
        let before = state.text.len();
        stanza.write(&mut state.text);
        state.waiting += state.text.len() - before;
        if let Some(task) = state.idle.take() {
            batch.wake(task);
        }
        None
    }

    fn listed(&self, domain: &str) -> Option<Hosted> {
        let there = *self.settings.parent == *domain && matches!(self.lock().place, Place::Taken { .. });
        let jid = BareJid::of_domain(self.name()).ok().filter(|_| there)?;
        Some(Hosted { jid: Jid::from(jid), name: self.settings.title.clone() })
    }
}

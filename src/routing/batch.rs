//! What one wake-up of one input task causes, gathered: log appends, sessions to wake, stanzas for
//! other domains.

use std::sync::Arc;

use crate::stanza::Stanza;
use crate::storage::{Receipt, Storage, Writes};

use super::remote::{Pair, RemoteDelivery};
use super::ring::{Pushed, Ring};

/// The effects of routing, applied together.
///
/// Dropping it applies them too: a session that is cancelled owes its receivers their wake-up.
pub struct Batch {
    storage: Storage,
    remote: Arc<dyn RemoteDelivery>,
    pub(super) writes: Writes,
    dirty: Vec<Arc<Ring>>,
    links: Vec<(Pair, Vec<Stanza<'static>>)>,
}

impl Batch {
    pub(super) fn new(storage: Storage, remote: Arc<dyn RemoteDelivery>) -> Self {
        Self { storage, remote, writes: Writes::default(), dirty: Vec::new(), links: Vec::new() }
    }

    /// Writes one stanza into a session's ring; `false` if the session takes none any more.
    pub(super) fn push(&mut self, ring: &Arc<Ring>, mark: Option<u64>, write: impl FnOnce(&mut String)) -> bool {
        match ring.push_marked(mark, write) {
            Pushed::First => {
                self.dirty.push(Arc::clone(ring));
                true
            }
            Pushed::Joined => true,
            Pushed::Refused => false,
        }
    }

    /// Queues a stanza for another domain.
    pub(super) fn send(&mut self, pair: Pair, stanza: Stanza<'static>) {
        match self.links.iter_mut().find(|(known, _)| *known == pair) {
            Some((_, stanzas)) => stanzas.push(stanza),
            None => self.links.push((pair, vec![stanza])),
        }
    }

    /// Applies everything so far. What was written to storage is durable once the receipt is.
    pub fn flush(&mut self) -> Receipt {
        let receipt =
            if self.writes.is_empty() { Receipt::NONE } else { self.storage.submit(std::mem::take(&mut self.writes)) };
        for ring in self.dirty.drain(..) {
            ring.wake();
        }
        for (pair, stanzas) in self.links.drain(..) {
            self.remote.send(&pair, stanzas);
        }
        receipt
    }

    /// Applies everything.
    pub fn finish(mut self) -> Receipt {
        self.flush()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}

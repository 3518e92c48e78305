//! Messages whose senders are told that they are in safe hands, on their way through sessions or to other servers: the
//! log has them, and somebody has to notice which of them do not arrive.
//!
//! An entry is marked as queued when it is written, which costs nothing. Those that have not arrived after a while become
//! undelivered, which costs a row each and is rare; all others below a position are then done with, and storage learns
//! that position in one write. After a crash what lies behind it becomes undelivered: nobody knows whether it arrived.

use std::sync::{Arc, Mutex, PoisonError};

use crate::crash;
use crate::jid::BareJid;
use crate::storage::{Marks, Position, Writes};

use super::Router;
use super::account::State;
use super::ring::Ring;
use super::suspended::heir;

/// Rings that hold queued messages, with their accounts.
#[derive(Debug, Default)]
pub(super) struct Watched {
    rings: Mutex<Vec<(BareJid, Arc<Ring>)>>,
    /// Storage knows that what is below this position is done with.
    handed: Mutex<u64>,
}

impl Watched {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(BareJid, Arc<Ring>)>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// Looks after the queued messages in the ring of a session of `account`.
    pub(super) fn watch(&self, account: &BareJid, ring: &Arc<Ring>) {
        if ring.needs_watch() {
            self.watched.lock().push((account.clone(), Arc::clone(ring)));
        }
    }

    /// Queued messages below `upto` that have not arrived become undelivered; the others there are done with. `upto` must
    /// be a position below which everything was submitted, as [`Router::settled`] gives it. Also writes down who has logged
    /// in since the last time.
    pub fn settle(&self, upto: Position) {
        self.write_logins();
        let rings = std::mem::take(&mut *self.watched.lock());
        let mut still = Vec::new();
        for (jid, ring) in rings {
            let account = self.accounts.cached(jid.as_str());
            let mut state = account.as_ref().map(|account| account.lock());
            let settled = ring.settle(upto.number());
            let mut writes = Writes::new();
            for position in settled.late {
                writes.mark(&jid, Position::new(position), Marks::UNDELIVERED);
                let Some(state) = &mut state else { continue };
                state.shelf.undelivered.insert(position);
                if !settled.is_over {
                    state.in_flight.insert(position);
                }
            }
            // Under the lock, so that a confirmation comes behind it.
            self.storage.submit(writes);
            let heir = state.filter(|_| settled.is_over).and_then(|state| heir(&state));
            if let Some(account) = account.filter(|_| heir.is_some()) {
                self.inherit(&account, heir);
            }
            if settled.watched {
                still.push((jid, ring));
            }
        }
        self.watched.lock().extend(still);
        self.remote.settle(upto);
        let mut handed = self.watched.handed.lock().unwrap_or_else(PoisonError::into_inner);
        if *handed < upto.number() {
            *handed = upto.number();
            crash::at(crash::Point::Settle);
            let mut writes = Writes::new();
            writes.hand_over(upto);
            self.storage.submit(writes);
        }
    }

    /// Everything below this position is with the storage writer, and in the rings that it goes to.
    #[must_use]
    pub fn settled(&self) -> Position {
        self.storage.settled()
    }
}

/// Entries of the log that have arrived wait no longer.
pub(super) fn arrived(state: &mut State, account: &BareJid, positions: Vec<u64>, writes: &mut Writes) {
    for position in positions {
        state.shelf.undelivered.remove(&position);
        state.in_flight.remove(&position);
        writes.unmark(account, Position::new(position), Marks::UNDELIVERED);
    }
}

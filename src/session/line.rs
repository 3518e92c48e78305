//! The connection of a bound session: its own task reads and writes, and whoever has something for the client writes as well, if
//! nobody is at it.

use std::sync::{Arc, Mutex, Weak};

use crate::net::Transport;
use crate::routing::{Outlet, Ring};

use super::outgoing::Outgoing;

/// What the lock protects.
pub(super) struct Ends {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
}

/// The connection, as others have it.
struct Shared(Mutex<Option<Ends>>);

/// The connection, as its session has it. Nobody else writes once it is gone, and what was not written is back in the ring.
pub(super) struct Line(Arc<Shared>);

impl Line {
    pub(super) fn new(transport: Transport, ring: &Arc<Ring>) -> Self {
        let outgoing = Outgoing::new(Arc::clone(ring));
        let shared = Arc::new(Shared(Mutex::new(Some(Ends { transport, outgoing }))));
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        ring.connect(weak);
        Self(shared)
    }

    /// Does something with it; nobody else does meanwhile. Nothing is to be done with it any more if somebody has panicked in
    /// the middle of a write.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Ends) -> T) -> Option<T> {
        self.0.0.lock().ok()?.as_mut().map(work)
    }

    /// Takes it away from everybody else.
    pub(super) fn close(self) -> Option<Ends> {
        self.0.take()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl Shared {
    fn take(&self) -> Option<Ends> {
        match self.0.lock() {
            Ok(mut ends) => ends.take(),
            // Nobody knows what of a record has gone out: nothing else is to follow it.
            Err(poisoned) => {
                let nowhere = || Transport::plain(tokio::io::empty(), None);
                poisoned.into_inner().take().map(|ends| Ends { transport: nowhere(), ..ends })
            }
        }
    }
}

impl Outlet for Shared {
    fn write_now(&self) -> bool {
        let Ok(mut ends) = self.0.try_lock() else { return false };
        ends.as_mut().is_some_and(|Ends { transport, outgoing }| outgoing.write_now(transport))
    }
}

//! The ring of a session whose client counts what it gets and may come back (XEP-0198).

use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::hooks::TooHigh;
use crate::routing::binding::Binding;
use crate::routing::retained::{Handled, Resumption, Retained, Retention};

use super::{Ring, too_slow};

impl Ring {
    /// From here on every stanza counts and is kept until the client confirms it.
    pub fn retain(&self, retention: Retention) {
        let mut state = self.lock();
        state.push_words(&retention.opening);
        let retained = Retained::new(state.pushed, retention.request, retention.resumption);
        state.retained = Some(Box::new(retained));
    }

    /// Makes the ring that of a session which was there before the server started.
    pub(in crate::routing) fn restore(&self, request: &'static str, resumption: Resumption, handled: Handled) {
        self.lock().retained = Some(Box::new(Retained::restored(request, resumption, handled)));
    }

    /// Whether stanzas are kept until the client confirms them.
    #[must_use]
    pub fn retains(&self) -> bool {
        self.lock().retained.is_some()
    }

    /// Writes something that is no stanza and not kept. For the session's own task, which looks for
    /// it before it waits.
    pub fn push_aside(&self, text: &str) {
        let mut state = self.lock();
        let before = state.cost();
        if !state.takes(before) {
            return;
        }
        match &mut state.retained {
            Some(retained) => retained.aside.push_str(text),
            None => state.push_words(text),
        }
        if before > state.limit {
            state.close(too_slow());
        }
    }

    /// The client has handled `count` of the stanzas that count, modulo 2^32. Says whether storage is to be told what
    /// that means for its requests.
    pub(in crate::routing) fn confirm(&self, count: u32) -> Result<bool, TooHigh> {
        let mut state = self.lock();
        let Some(retained) = &mut state.retained else { return Ok(false) };
        retained.confirm(count)?;
        let stale = retained.is_stale();
        let waiters = state.room.take();
        drop(state);
        waiters.into_iter().for_each(|waiters| waiters.wake());
        Ok(stale)
    }

    /// How long the session waits for its client to come back, if it does.
    #[must_use]
    pub fn resumption(&self) -> Option<Resumption> {
        self.lock().retained.as_ref()?.resumption.clone()
    }

    /// The connection is gone; `handled` is what has come over it.
    pub(in crate::routing) fn leave(&self, handled: Handled) {
        let mut state = self.lock();
        state.outlet = None;
        if let Some(retained) = &mut state.retained {
            (retained.away, retained.cut) = (Some(handled), None);
            retained.aside.clear();
        }
    }

    /// Whether nobody sees what is written: there is no connection, or nobody looks at the client.
    pub(in crate::routing) fn is_unattended(&self) -> bool {
        let state = self.lock();
        state.held.is_some() || state.retained.as_ref().is_some_and(|retained| retained.away.is_some())
    }

    /// What the client has not confirmed.
    pub(in crate::routing) fn unconfirmed(&self) -> String {
        let state = self.lock();
        let taken = state.retained.iter().flat_map(|retained| retained.unconfirmed());
        taken.chain(state.bytes.iter()).collect()
    }

    /// What came from the client before its connection was lost, as long as it is away.
    #[must_use]
    pub fn away(&self) -> Option<Handled> {
        self.lock().retained.as_ref()?.away
    }

    /// Waits for a connection to claim the session, or for the session's end; `None` is the end.
    pub(in crate::routing) fn poll_heir(&self, context: &mut Context<'_>) -> Poll<Option<oneshot::Sender<Binding>>> {
        let mut state = self.lock();
        if state.close.is_some() || state.shut {
            return Poll::Ready(None);
        }
        if let Some(heir) = state.retained.as_mut().and_then(|retained| retained.heir.take()) {
            return Poll::Ready(Some(heir));
        }
        state.stalled = true;
        state.listen(context);
        Poll::Pending
    }

    /// Claims the session for another connection if it is called `name`. The last claim counts.
    pub(in crate::routing) fn claim(&self, name: &str) -> Option<oneshot::Receiver<Binding>> {
        let mut state = self.lock();
        let closing = state.close.is_some() || state.shut;
        let retained = state.retained.as_mut().filter(|retained| !closing && retained.is_called(name))?;
        let (heir, receiver) = oneshot::channel();
        retained.heir = Some(heir);
        state.wake_all();
        Some(receiver)
    }

    /// The client has come back and has handled `count` stanzas; the others go out again.
    pub(in crate::routing) fn resume(&self, count: u32) -> Result<(), TooHigh> {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(retained) = &mut state.retained {
            retained.resume(count, &mut state.bytes)?;
        }
        // XEP-0352 §5.2: every connection begins with somebody who looks.
        state.release();
        state.held = None;
        (state.stalled, state.in_hand) = (false, 0);
        state.room.take().into_iter().for_each(|waiters| waiters.wake());
        Ok(())
    }
}

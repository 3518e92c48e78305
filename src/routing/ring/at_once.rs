//! What a ring has goes out at once where nobody is at it: whoever has something for the client moves it to the connection, without
//! a switch to the session's task.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::{Ring, hand_out};

/// More than that, which is one record of TLS, is left to the session's task, so that nobody is busy for long with somebody else's
/// connection.
const MUCH: usize = 16 * 1024;

/// What somebody finds in a ring who does not wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// Bytes were moved to the caller's buffer; they start and end at a stanza's edge.
    Bytes,
    Nothing,
    /// The session is to end, or to go on without its connection, which is for its task to see to.
    End,
}

/// Where the bytes of a ring go.
pub trait Outlet: Send + Sync {
    /// Writes what the ring has as far as that is possible at once. `false` if something is left to do for the session's task,
    /// which may be at it already.
    fn write_now(&self) -> bool;
}

impl Ring {
    /// The session has a connection: what is written from now on may go there.
    pub fn connect(&self, outlet: Weak<dyn Outlet>) {
        self.lock().outlet = Some(outlet);
    }

    /// The session's task has its turn: nobody need write or wake it until it waits, which it does not before it has written what
    /// there is. So what it says to its own client goes out together.
    pub fn tend(&self) {
        self.tended.store(true, Ordering::Relaxed);
    }

    /// Has what waits go out, by the caller or by the session's task; whoever got [`Pushed::First`](super::Pushed) owes this call,
    /// or [`Ring::wake`].
    pub fn flush(&self) {
        let outlet = {
            let mut state = self.lock();
            state.dirty = false;
            if state.stalled || self.tended.load(Ordering::Relaxed) {
                return;
            }
            state.outlet.as_ref().filter(|_| state.bytes.len() <= MUCH).and_then(Weak::upgrade)
        };
        let mut owed = Owed(Some(self));
        if outlet.is_some_and(|outlet| outlet.write_now()) {
            owed.0 = None;
        }
    }

    /// The same for somebody who does not wait and cannot end the session.
    pub fn take_now(&self, out: &mut Vec<u8>) -> Now {
        let mut state = self.lock();
        if state.close.is_some() || state.without_connection().is_some() {
            return Now::End;
        }
        state.in_hand = 0;
        let piece = state.piece();
        if hand_out(state, piece, out) { Now::Bytes } else { Now::Nothing }
    }
}

/// What the session's task is owed by somebody who did not write everything, for whatever reason.
struct Owed<'a>(Option<&'a Ring>);

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        // Also a task that waits for its transport by now: the transport may have been told to wake nobody.
        let waker = self.0.and_then(|ring| ring.lock().waker.take());
        waker.into_iter().for_each(Waker::wake);
    }
}

//! The outgoing bytes of one client session: who writes to a session writes here, the session's
//! own task moves them to the socket.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::clock::Timestamp;
use crate::stream::StreamError;

/// What a session's task finds in its ring.
#[derive(Debug)]
pub enum Taken {
    /// Bytes were moved to the caller's buffer; they start and end at a stanza's edge.
    Bytes,
    /// The session is to end: with this error, or without one if the reason needs none.
    Close(Option<StreamError>),
}

/// Whether a write found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The ring had nothing waiting: its task has to be woken.
    First,
    /// Somebody wakes the task already.
    Joined,
    /// The session is ending or its reader is too slow; nothing was written.
    Refused,
}

/// What is left in a ring when its session ends. Places count the bytes that ever came in.
#[derive(Debug, Default)]
pub struct Remains {
    /// Stanzas that nobody took out.
    pub waiting: String,
    /// The place behind `waiting`.
    pub end: u64,
    /// The place up to which the transport took the bytes.
    pub written: u64,
    /// Places behind marked stanzas, with their marks, that did not come out of
    /// [`Ring::delivered`].
    pub marks: Vec<(u64, u64)>,
}

/// A bounded queue of bytes behind its own short lock.
#[derive(Debug)]
pub struct Ring {
    state: Mutex<State>,
    /// Bytes that may wait before the reader counts as too slow.
    limit: usize,
    /// When the session last sent anything, in milliseconds since 1970.
    heard: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    bytes: String,
    waker: Option<Waker>,
    /// Somebody has promised to wake the task.
    dirty: bool,
    close: Option<Option<StreamError>>,
    /// No further writes are taken.
    shut: bool,
    /// Bytes that ever came in, and bytes of those that the transport has taken.
    pushed: u64,
    written: u64,
    /// Places behind which a delivery counts as written, with what they stand for.
    marks: VecDeque<(u64, u64)>,
}

impl Ring {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit, heard: AtomicI64::new(0) }
    }

    /// Lets `write` append one whole stanza.
    ///
    /// A reader that leaves more than the limit waiting is closed with `policy-violation`; what
    /// it did not get stays in the ring for [`Ring::shut`].
    pub fn push(&self, write: impl FnOnce(&mut String)) -> Pushed {
        self.push_marked(None, write)
    }

    /// Like [`Ring::push`]; `mark` comes out of [`Ring::delivered`] once the bytes are written.
    pub fn push_marked(&self, mark: Option<u64>, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        if state.shut || state.close.is_some() {
            return Pushed::Refused;
        }
        let before = state.bytes.len();
        write(&mut state.bytes);
        state.pushed += (state.bytes.len() - before) as u64;
        if let Some(mark) = mark {
            let place = state.pushed;
            state.marks.push_back((place, mark));
        }
        if state.bytes.len() > self.limit {
            let slow = StreamError::new(crate::stream::StreamCondition::PolicyViolation, "too slow a reader");
            state.close = Some(Some(slow));
        }
        if std::mem::replace(&mut state.dirty, true) { Pushed::Joined } else { Pushed::First }
    }

    /// Wakes the session's task; whoever got [`Pushed::First`] owes this call.
    pub fn wake(&self) {
        let waker = {
            let mut state = self.lock();
            state.dirty = false;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the session from outside, after what is waiting has been written.
    pub fn close(&self, error: Option<StreamError>) {
        let mut state = self.lock();
        state.close.get_or_insert(error);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what waits into `out`, which must be empty, or reports that the session is to end.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Taken> {
        let mut state = self.lock();
        if !state.bytes.is_empty() {
            *out = std::mem::take(&mut state.bytes).into_bytes();
            return Poll::Ready(Taken::Bytes);
        }
        if let Some(error) = &state.close {
            return Poll::Ready(Taken::Close(error.clone()));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Notes that the transport took `bytes` more.
    pub fn written(&self, bytes: usize) {
        self.lock().written += bytes as u64;
    }

    /// Takes out the marks whose stanzas the transport has taken.
    pub fn delivered(&self) -> Vec<u64> {
        let mut state = self.lock();
        let written = state.written;
        let done = state.marks.iter().take_while(|(place, _)| *place <= written).count();
        state.marks.drain(..done).map(|(_, mark)| mark).collect()
    }

    /// Notes that the session sent something at `now`.
    pub fn heard(&self, now: Timestamp) {
        self.heard.store(now.unix_ms(), Ordering::Relaxed);
    }

    /// When the session last sent something.
    #[must_use]
    pub fn last_heard(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.heard.load(Ordering::Relaxed))
    }

    /// Whether any mark waits to come out of [`Ring::delivered`].
    #[must_use]
    pub fn has_marks(&self) -> bool {
        !self.lock().marks.is_empty()
    }

    /// Refuses further writes and hands back what is left.
    pub fn shut(&self) -> Remains {
        let mut state = self.lock();
        state.shut = true;
        Remains {
            waiting: std::mem::take(&mut state.bytes),
            end: state.pushed,
            written: state.written,
            marks: std::mem::take(&mut state.marks).into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(ring: &Ring) -> Result<String, Option<Option<StreamError>>> {
        let mut out = Vec::new();
        match ring.poll_take(&mut Context::from_waker(Waker::noop()), &mut out) {
            Poll::Ready(Taken::Bytes) => Ok(String::from_utf8(out).unwrap()),
            Poll::Ready(Taken::Close(error)) => Err(Some(error)),
            Poll::Pending => Err(None),
        }
    }

    #[test]
    fn only_the_first_writer_wakes() {
        let ring = Ring::new(100);
        assert_eq!(ring.push(|out| out.push_str("<a/>")), Pushed::First);
        assert_eq!(ring.push(|out| out.push_str("<b/>")), Pushed::Joined);
        ring.wake();
        assert_eq!(take(&ring), Ok("<a/><b/>".into()));
        assert_eq!(take(&ring), Err(None));
        assert_eq!(ring.push(|out| out.push_str("<c/>")), Pushed::First);
    }

    #[test]
    fn a_slow_reader_is_closed_and_keeps_what_it_did_not_get() {
        let ring = Ring::new(5);
        ring.push(|out| out.push_str("<a/>"));
        assert_eq!(ring.push(|out| out.push_str("<b/>")), Pushed::Joined);
        assert_eq!(ring.push(|out| out.push_str("<c/>")), Pushed::Refused);
        assert_eq!(take(&ring), Ok("<a/><b/>".into()));
        assert!(matches!(take(&ring), Err(Some(Some(_)))));
        assert_eq!(ring.shut().waiting, "");
    }

    #[test]
    fn closing_lets_waiting_bytes_go_first() {
        let ring = Ring::new(100);
        ring.push(|out| out.push_str("<a/>"));
        ring.close(None);
        assert_eq!(ring.push(|out| out.push_str("<b/>")), Pushed::Refused);
        assert_eq!(take(&ring), Ok("<a/>".into()));
        assert_eq!(take(&ring), Err(Some(None)));
    }

    #[test]
    fn marks_come_out_once_written() {
        let ring = Ring::new(100);
        ring.push_marked(Some(7), |out| out.push_str("<a/>"));
        ring.push_marked(Some(8), |out| out.push_str("<b/>"));
        ring.written(4);
        assert_eq!(ring.delivered(), [7]);
        ring.written(4);
        assert_eq!(ring.delivered(), [8]);
        assert!(ring.delivered().is_empty());
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let ring = Ring::new(100);
        ring.push(|out| out.push_str("<a/>"));
        assert_eq!(ring.shut().waiting, "<a/>");
        assert_eq!(ring.push(|out| out.push_str("<b/>")), Pushed::Refused);
    }
}

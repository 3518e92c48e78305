//! The outgoing bytes of one client session: who writes to a session writes here, the session's
//! own task moves them to the socket.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::clock::Timestamp;
use crate::stream::{StreamCondition, StreamError};

/// What a session's task finds in its ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes were moved to the caller's buffer; they start and end at a stanza's edge.
    Bytes,
    /// The session is to end with this error.
    Close(StreamError),
}

/// Whether a write found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The ring had nothing waiting: its task has to be woken.
    First,
    /// Somebody wakes the task already.
    Joined,
    /// The session is over, or about to be; nothing was written.
    Refused,
}

/// What is left in a ring when its session ends. Places count the bytes that ever came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Whole stanzas; the transport has taken those that end at `written` or before.
    pub(super) text: String,
    /// The place of the first byte of `text`.
    pub(super) start: u64,
    /// The place up to which the transport took the bytes.
    pub(super) written: u64,
    /// Places behind marked stanzas, with their marks, that did not come out of
    /// [`Ring::delivered`].
    pub(super) marks: VecDeque<(u64, u64)>,
}

/// A bounded queue of bytes behind its own short lock.
#[derive(Debug)]
pub struct Ring {
    state: Mutex<State>,
    /// Bytes that may wait before the reader counts as too slow; one stanza may exceed it.
    limit: usize,
    /// When the session last sent anything, in milliseconds since 1970.
    heard: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    bytes: String,
    waker: Option<Waker>,
    /// The task waits for its transport: new bytes are no reason to wake it.
    stalled: bool,
    /// Somebody has promised to wake the task.
    dirty: bool,
    /// Who waits for room.
    room: Option<Waker>,
    close: Option<StreamError>,
    /// The task has taken what is written before the end; the rest finds another way.
    last_taken: bool,
    /// No further writes are taken.
    shut: bool,
    /// Bytes that ever came in, and bytes of those that the transport has taken.
    pushed: u64,
    written: u64,
    /// Places behind which a delivery counts as written, with what they stand for.
    marks: VecDeque<(u64, u64)>,
}

impl Ring {
    /// An empty ring of a session that begins `now`.
    #[must_use]
    pub fn new(limit: usize, now: Timestamp) -> Self {
        Self { state: Mutex::default(), limit, heard: AtomicI64::new(now.unix_ms()) }
    }

    /// Lets `write` append one whole stanza; `mark` counts as delivered once its bytes are written.
    ///
    /// A reader that leaves more than the limit waiting is closed with `policy-violation`. Until its
    /// session has ended, the ring takes stanzas still, so that they find another way in their order.
    pub fn push(&self, mark: Option<u64>, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        let before = state.bytes.len();
        if state.shut || before > 2 * self.limit {
            return Pushed::Refused;
        }
        if before > self.limit {
            state.close(StreamError::new(StreamCondition::PolicyViolation, "too slow a reader"));
        }
        write(&mut state.bytes);
        state.pushed += (state.bytes.len() - before) as u64;
        if let Some(mark) = mark {
            let place = state.pushed;
            state.marks.push_back((place, mark));
        }
        if std::mem::replace(&mut state.dirty, true) { Pushed::Joined } else { Pushed::First }
    }

    /// Wakes the session's task; whoever got [`Pushed::First`] owes this call.
    pub fn wake(&self) {
        let waker = {
            let mut state = self.lock();
            state.dirty = false;
            if state.stalled { None } else { state.waker.take() }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the session from outside. What waits is still written if the transport takes it at once.
    pub fn close(&self, error: StreamError) {
        self.lock().close(error);
    }

    /// Moves what waits into `out`, which must be empty, or reports that the session is to end.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Taken> {
        let mut state = self.lock();
        state.stalled = false;
        if !state.bytes.is_empty() && !state.last_taken {
            state.last_taken = state.close.is_some();
            *out = std::mem::take(&mut state.bytes).into_bytes();
            let room = state.room.take();
            drop(state);
            if let Some(waker) = room {
                waker.wake();
            }
            return Poll::Ready(Taken::Bytes);
        }
        if let Some(error) = &state.close {
            return Poll::Ready(Taken::Close(error.clone()));
        }
        state.listen(context);
        Poll::Pending
    }

    /// For a task whose transport takes nothing: waits until the session is to end all the same.
    pub fn poll_closing(&self, context: &mut Context<'_>) -> Poll<StreamError> {
        let mut state = self.lock();
        if let Some(error) = &state.close {
            return Poll::Ready(error.clone());
        }
        state.stalled = true;
        state.listen(context);
        Poll::Pending
    }

    /// Waits until little enough is left waiting that more can be written without hurry; `false` if
    /// the session is ending.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.shut || state.close.is_some() {
            return Poll::Ready(false);
        }
        if state.bytes.len() <= self.limit / 2 {
            return Poll::Ready(true);
        }
        state.room = Some(context.waker().clone());
        Poll::Pending
    }

    /// Notes that the transport took `bytes` more.
    pub fn written(&self, bytes: usize) {
        self.lock().written += bytes as u64;
    }

    /// Takes back the bytes that came out last, so that they are there when the session ends; those
    /// that were [`Ring::written`] among them do no harm.
    pub fn give_back(&self, bytes: Vec<u8>) {
        // They came out of a string. If they were none any more, they would not be worth keeping.
        let mut front = String::from_utf8(bytes).unwrap_or_default();
        let mut state = self.lock();
        front.push_str(&state.bytes);
        state.bytes = front;
    }

    /// Takes out the marks whose stanzas the transport has taken.
    pub(super) fn delivered(&self) -> Vec<u64> {
        let mut state = self.lock();
        let written = state.written;
        let done = state.marks.iter().take_while(|(place, _)| *place <= written).count();
        state.marks.drain(..done).map(|(_, mark)| mark).collect()
    }

    /// Notes that the session sent something at `now`.
    pub(super) fn heard(&self, now: Timestamp) {
        self.heard.store(now.unix_ms(), Ordering::Relaxed);
    }

    /// When the session last sent something.
    #[must_use]
    pub(super) fn last_heard(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.heard.load(Ordering::Relaxed))
    }

    /// Refuses further writes and hands out what is left.
    pub(super) fn shut(&self) -> Remains {
        let mut state = self.lock();
        state.shut = true;
        if let Some(waker) = state.room.take() {
            waker.wake();
        }
        let text = std::mem::take(&mut state.bytes);
        Remains {
            start: state.pushed.saturating_sub(text.len() as u64),
            text,
            written: state.written,
            marks: std::mem::take(&mut state.marks),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, error: StreamError) {
        self.close.get_or_insert(error);
        // Waking under the lock is rare here and does nothing but schedule.
        for waker in [self.waker.take(), self.room.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn listen(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(limit: usize) -> Ring {
        Ring::new(limit, Timestamp::from_unix_ms(0))
    }

    fn push(ring: &Ring, text: &str) -> Pushed {
        ring.push(None, |out| out.push_str(text))
    }

    /// The bytes, or `None` if there are none now.
    fn take(ring: &Ring) -> Option<String> {
        let mut out = Vec::new();
        match ring.poll_take(&mut Context::from_waker(Waker::noop()), &mut out) {
            Poll::Ready(Taken::Bytes) => Some(String::from_utf8(out).unwrap()),
            Poll::Ready(Taken::Close(error)) => Some(error.condition.as_str().to_owned()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn only_the_first_writer_wakes() {
        let ring = ring(100);
        assert_eq!(push(&ring, "<a/>"), Pushed::First);
        assert_eq!(push(&ring, "<b/>"), Pushed::Joined);
        ring.wake();
        assert_eq!(take(&ring).as_deref(), Some("<a/><b/>"));
        assert_eq!(take(&ring), None);
        assert_eq!(push(&ring, "<c/>"), Pushed::First);
    }

    #[test]
    fn a_slow_reader_is_closed_and_keeps_what_it_did_not_get() {
        let ring = ring(5);
        push(&ring, "<a/>");
        assert_eq!(push(&ring, "<bb/>"), Pushed::Joined, "one stanza may exceed the limit");
        let mut context = Context::from_waker(Waker::noop());
        assert!(ring.poll_closing(&mut context).is_pending());
        assert_eq!(push(&ring, "<c/>"), Pushed::Joined, "it goes the way of the others");
        assert_eq!(push(&ring, "<d/>"), Pushed::Refused, "there is an end to it");
        let Poll::Ready(error) = ring.poll_closing(&mut context) else { panic!("still open") };
        assert_eq!(error.condition, StreamCondition::PolicyViolation);
        assert_eq!(ring.shut().text, "<a/><bb/><c/>");
    }

    #[test]
    fn closing_lets_waiting_bytes_go_first() {
        let ring = ring(100);
        push(&ring, "<a/>");
        ring.close(StreamCondition::Conflict.into());
        push(&ring, "<b/>");
        assert_eq!(take(&ring).as_deref(), Some("<a/><b/>"));
        push(&ring, "<c/>");
        assert_eq!(take(&ring).as_deref(), Some("conflict"));
        assert_eq!(ring.shut().text, "<c/>");
    }

    #[test]
    fn marks_come_out_once_written() {
        let ring = ring(100);
        ring.push(Some(7), |out| out.push_str("<a/>"));
        ring.push(Some(8), |out| out.push_str("<b/>"));
        ring.written(4);
        assert_eq!(ring.delivered(), [7]);
        ring.written(4);
        assert_eq!(ring.delivered(), [8]);
        assert!(ring.delivered().is_empty());
    }

    #[test]
    fn what_was_taken_and_not_written_is_there_at_the_end() {
        let ring = ring(100);
        push(&ring, "<a/>");
        push(&ring, "<b/>");
        take(&ring);
        ring.written(4);
        push(&ring, "<c/>");
        ring.give_back(b"<a/><b/>".to_vec());
        let remains = ring.shut();
        assert_eq!((remains.text.as_str(), remains.start, remains.written), ("<a/><b/><c/>", 0, 4));
        assert_eq!(push(&ring, "<d/>"), Pushed::Refused);
    }

    #[test]
    fn room_comes_with_reading() {
        let mut context = Context::from_waker(Waker::noop());
        let ring = ring(6);
        assert_eq!(ring.poll_room(&mut context), Poll::Ready(true));
        push(&ring, "<a/>");
        assert_eq!(ring.poll_room(&mut context), Poll::Pending);
        take(&ring);
        assert_eq!(ring.poll_room(&mut context), Poll::Ready(true));
        ring.shut();
        assert_eq!(ring.poll_room(&mut context), Poll::Ready(false));
    }
}

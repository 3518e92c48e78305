//! The outgoing bytes of one client session: who writes to a session writes here, the session's
//! own task moves them to the socket.

mod resuming;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::clock::Timestamp;
use crate::hooks::Urgency;
use crate::stanza::Stanza;
use crate::stream::{StreamCondition, StreamError};

use super::held::{Held, Judge};
use super::marks::{Mark, Remains, Settled};
use super::retained::{Lapsed, Retained};
use super::unanswered::Asked;

/// What a session's task finds in its ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes were moved to the caller's buffer; they start and end at a stanza's edge.
    Bytes,
    /// The session is to end with this error.
    Close(StreamError),
    /// The connection is to end with this error; the session may go on without it.
    Cut(StreamError),
    /// The client has come back on another connection, which waits for the session.
    Inherited,
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

/// Whether a client sends stanzas at this moment: then the radio of its phone is on anyway (XEP-0286 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talks {
    Yes,
    No,
}

/// So many marks are kept for a client that confirms nothing and says nothing. It is asked whether it is there long before.
const UNSURE: usize = 10_000;

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
    room: Vec<Waker>,
    close: Option<Box<StreamError>>,
    /// The task has taken what is written before the end; the rest finds another way.
    last_taken: bool,
    /// No further writes are taken.
    shut: bool,
    /// Bytes that ever came in, and bytes of those that the transport has taken.
    pushed: u64,
    written: u64,
    /// Bytes of those that a client which confirms nothing has got, as far as anybody can tell: it has said something since.
    sure: u64,
    /// Places behind which a delivery counts as written, with what they stand for.
    marks: VecDeque<(u64, Mark)>,
    /// Somebody looks after the queued ones among them.
    watched: bool,
    /// What is kept for a client that confirms what it has handled.
    retained: Option<Box<Retained>>,
    /// What waits because nobody looks at the client, if nobody does.
    held: Option<Box<Held>>,
}

impl Ring {
    /// An empty ring of a session that begins `now`.
    #[must_use]
    pub fn new(limit: usize, now: Timestamp) -> Self {
        Self { state: Mutex::default(), limit, heard: AtomicI64::new(now.unix_ms()) }
    }

    /// Lets `write` append one whole stanza.
    ///
    /// A reader that leaves more than the limit waiting is closed with `policy-violation`. Until its
    /// session has ended, the ring takes stanzas still, so that they find another way in their order.
    pub fn push(&self, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        if state.admit(self.limit) { state.push(write) } else { Pushed::Refused }
    }

    /// The same for a stanza that may wait if nobody looks at the client.
    pub(super) fn push_stanza(&self, stanza: &Stanza<'_>, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        if !state.admit(self.limit) {
            return Pushed::Refused;
        }
        if let Some(held) = &mut state.held {
            let urgency = held.urgency(stanza);
            if urgency != Urgency::Now {
                let mut text = String::new();
                write(&mut text);
                return if held.hold(stanza, urgency, text) { Pushed::Joined } else { state.push(|_| {}) };
            }
        }
        state.push(write)
    }

    /// Has stanzas wait from now on for which the `judge` says so; without one none does. For the session's own task,
    /// which looks for what has waited before it waits itself.
    pub(super) fn attend(&self, judge: Option<Judge>) {
        let mut state = self.lock();
        if state.held.is_none() || judge.is_none() {
            state.release();
            state.held = judge.map(|judge| Box::new(Held::new(judge)));
        }
    }

    /// The same for a stanza that is an entry of the log; says which number it has, if the client may come back.
    pub(super) fn push_entry(
        &self,
        mark: Mark,
        write: impl FnOnce(&mut String),
    ) -> (Pushed, Option<crate::storage::Queued>) {
        let mut state = self.lock();
        if !state.admit(self.limit) {
            return (Pushed::Refused, None);
        }
        let pushed = state.push(write);
        let place = state.pushed;
        // What the log has as undelivered is bounded there, and nobody else stands for it.
        if state.retained.is_some() || mark.undelivered().is_some() || state.marks.len() < UNSURE {
            state.marks.push_back((place, mark));
        }
        (pushed, state.retained.as_ref().and_then(|retained| retained.queued()))
    }

    /// The same for a stanza that answers the request `id`.
    pub(super) fn push_answer(&self, id: &str, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        if !state.admit(self.limit) {
            return Pushed::Refused;
        }
        let pushed = state.push(write);
        if let Some(retained) = &mut state.retained {
            retained.answered(id);
        }
        pushed
    }

    /// The client's stanza with the number `count` is a request.
    pub(super) fn asks(&self, count: u64, id: &str, to: Option<&str>) {
        if let Some(retained) = &mut self.lock().retained {
            retained.asks(count, id, to);
        }
    }

    /// What the session is called, if its client may come back, and what storage is to know of the client's requests, now
    /// that `count` of its stanzas are in safe hands, if that changes.
    pub(super) fn unanswered(&self, count: Option<u64>) -> Option<(String, Option<Vec<Asked>>)> {
        self.lock().retained.as_mut()?.unanswered(count)
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

    /// Ends the connection from outside; a session whose client may come back goes on without it.
    pub fn cut(&self, error: StreamError) {
        self.lock().cut(error);
    }

    /// Moves what waits into `out`, which must be empty, or reports that the session is to end.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Taken> {
        let mut state = self.lock();
        state.stalled = false;
        if let Some(end) = state.without_connection() {
            return Poll::Ready(end);
        }
        if state.has_something() && !state.last_taken {
            state.last_taken = state.close.is_some();
            let pushed = state.pushed;
            let mut waiting = std::mem::take(&mut state.bytes);
            let room = match &mut state.retained {
                None => std::mem::take(&mut state.room),
                // Only a confirmation makes room.
                Some(retained) => {
                    retained.take(&mut waiting, pushed);
                    Vec::new()
                }
            };
            drop(state);
            *out = waiting.into_bytes();
            room.into_iter().for_each(Waker::wake);
            return Poll::Ready(Taken::Bytes);
        }
        if let Some(error) = &state.close {
            return Poll::Ready(Taken::Close(StreamError::clone(error)));
        }
        state.listen(context);
        Poll::Pending
    }

    /// For a task whose transport takes nothing: waits until the session is to end all the same.
    pub fn poll_closing(&self, context: &mut Context<'_>) -> Poll<Taken> {
        let mut state = self.lock();
        if let Some(end) = state.without_connection() {
            return Poll::Ready(end);
        }
        if let Some(error) = &state.close {
            return Poll::Ready(Taken::Close(StreamError::clone(error)));
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
        if state.held() <= self.limit / 2 {
            return Poll::Ready(true);
        }
        if !state.room.iter().any(|waker| waker.will_wake(context.waker())) {
            state.room.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether little enough waits that more can be written without hurry.
    pub(super) fn has_room(&self) -> bool {
        self.lock().held() <= self.limit / 2
    }

    /// How many bytes more can be written without hurry.
    pub(super) fn room(&self) -> usize {
        (self.limit / 2).saturating_sub(self.lock().held())
    }

    /// Notes that the transport took `bytes` more.
    pub fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.written += bytes as u64;
        let written = state.written;
        if let Some(retained) = &mut state.retained {
            retained.written(written);
        }
    }

    /// Takes back the bytes that came out last, so that they are there when the session ends; those
    /// that were [`Ring::written`] among them do no harm.
    pub fn give_back(&self, bytes: Vec<u8>) {
        // They came out of a string. If they were none any more, they would not be worth keeping.
        let mut front = String::from_utf8(bytes).unwrap_or_default();
        let mut state = self.lock();
        if state.retained.as_ref().is_some_and(|retained| !retained.is_untouched()) {
            // What has to be kept never left.
            return;
        }
        front.push_str(&state.bytes);
        state.bytes = front;
    }

    /// The client has said something. Takes out the marks whose stanzas have arrived, as far as anybody can tell: the client
    /// has confirmed them, or where stanzas are not counted the transport had taken them before. Returns the positions of
    /// the undelivered ones. What has waited goes out while the client talks.
    pub(super) fn delivered(&self, talks: Talks) -> Vec<u64> {
        let mut state = self.lock();
        if talks == Talks::Yes && state.held.is_some() {
            state.release();
        }
        state.sure = state.written;
        let upto = state.arrived();
        let done = state.marks.iter().take_while(|(place, _)| *place <= upto).count();
        let arrived = state.marks.drain(..done).filter_map(|(_, mark)| match mark {
            Mark::Undelivered(position) => Some(position),
            Mark::Queued(_) => None,
        });
        arrived.collect()
    }

    /// The positions of the entries of the log that it holds.
    pub(super) fn positions(&self) -> BTreeSet<u64> {
        self.lock().marks.iter().map(|(_, mark)| mark.position()).collect()
    }

    /// Whether somebody has to look after the queued marks from now on; says so once.
    pub(super) fn needs_watch(&self) -> bool {
        !std::mem::replace(&mut self.lock().watched, true)
    }

    /// Takes out the queued marks whose stanzas have arrived, and turns the others below the position `upto` into
    /// undelivered ones.
    pub(super) fn settle(&self, upto: u64) -> Settled {
        let mut state = self.lock();
        let done = state.arrived();
        let (mut late, mut watched) = (Vec::new(), false);
        state.marks.retain_mut(|(place, mark)| {
            let Mark::Queued(queued) = *mark else { return true };
            if *place <= done {
                return false;
            }
            if queued.position < upto {
                *mark = Mark::Undelivered(queued.position);
                late.push(queued.position);
            } else {
                watched = true;
            }
            true
        });
        state.watched = watched;
        if state.marks.is_empty() {
            // An idle session owns no buffer.
            state.marks = VecDeque::new();
        }
        Settled { late, watched, is_over: state.shut }
    }

    /// Notes that the session sent something at `now`; returns how many milliseconds later that is
    /// than the last time. For the session's own task.
    pub(super) fn heard(&self, now: Timestamp) -> u64 {
        let before = self.heard.load(Ordering::Relaxed);
        self.heard.store(now.unix_ms(), Ordering::Relaxed);
        u64::try_from(now.unix_ms().saturating_sub(before)).unwrap_or_default()
    }

    /// When the session last sent something.
    #[must_use]
    pub(super) fn last_heard(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.heard.load(Ordering::Relaxed))
    }

    /// Whether the session has sent nothing since `before`, as far as anybody can tell at `now`: what it sent in the future
    /// is nothing to go by, because the clock has been set back since.
    pub(super) fn is_silent(&self, before: Timestamp, now: Timestamp) -> bool {
        let heard = self.last_heard();
        heard < before || heard > now
    }

    /// Marks of stanzas that were written to a session that has ended, to be looked after like those of one that goes on.
    pub(super) fn put_back(&self, marks: Vec<(u64, Mark)>) {
        self.lock().marks.extend(marks);
    }

    /// Refuses further writes and hands out what is left.
    pub(super) fn shut(&self) -> Remains {
        let mut state = self.lock();
        state.release();
        state.shut = true;
        std::mem::take(&mut state.room).into_iter().for_each(Waker::wake);
        let written = state.done();
        let (mut text, mut lapsed, mut resumable) = (std::mem::take(&mut state.bytes), None, None);
        if let Some(retained) = state.retained.take() {
            resumable = retained.resumable();
            lapsed =
                retained.away.zip(retained.resumption.clone()).map(|(handled, it)| Lapsed { name: it.name, handled });
            text = retained.all(&text);
        }
        Remains {
            start: state.pushed.saturating_sub(text.len() as u64),
            text,
            written,
            marks: std::mem::take(&mut state.marks),
            lapsed,
            resumable,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, write: impl FnOnce(&mut String)) -> Pushed {
        if self.held.is_some() {
            self.release();
        }
        self.append(write);
        if std::mem::replace(&mut self.dirty, true) { Pushed::Joined } else { Pushed::First }
    }

    /// What has waited goes out now.
    fn release(&mut self) {
        let waited = self.held.as_mut().map(|held| held.release());
        for text in waited.into_iter().flatten() {
            self.append(|bytes| bytes.push_str(&text));
        }
    }

    fn append(&mut self, write: impl FnOnce(&mut String)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() == before {
            return;
        }
        self.pushed += (self.bytes.len() - before) as u64;
        let place = self.pushed;
        if let Some(retained) = &mut self.retained {
            retained.pushed(place);
        }
    }

    fn close(&mut self, error: StreamError) {
        self.close.get_or_insert_with(|| Box::new(error));
        self.wake_all();
    }

    fn cut(&mut self, error: StreamError) {
        match self.retained.as_mut().filter(|retained| retained.resumption.is_some()) {
            Some(retained) => retained.cut = Some(error),
            None => {
                self.close.get_or_insert_with(|| Box::new(error));
            }
        }
        self.wake_all();
    }

    /// Whether more may be written. A reader that leaves more than `limit` waiting is closed.
    fn admit(&mut self, limit: usize) -> bool {
        let held = self.held();
        if self.shut || held > 2 * limit {
            return false;
        }
        if held > limit || self.retained.as_ref().is_some_and(|retained| retained.is_full()) {
            self.close(StreamError::new(StreamCondition::PolicyViolation, "too slow a reader"));
        }
        true
    }

    /// Why the session is to go on without its connection.
    fn without_connection(&self) -> Option<Taken> {
        let retained = self.retained.as_ref()?;
        if retained.heir.is_some() {
            return Some(Taken::Inherited);
        }
        retained.cut.clone().map(Taken::Cut)
    }

    fn has_something(&self) -> bool {
        !self.bytes.is_empty() || self.retained.as_ref().is_some_and(|retained| retained.has_more())
    }

    /// Bytes that wait, to be taken or to be confirmed.
    fn held(&self) -> usize {
        self.bytes.len() + self.retained.as_ref().map_or(0, |retained| retained.held())
    }

    /// The place up to which nothing is left to write.
    fn done(&self) -> u64 {
        self.retained.as_ref().map_or(self.written, |retained| retained.done(self.written))
    }

    /// The place up to which stanzas have arrived, as far as anybody can tell.
    fn arrived(&self) -> u64 {
        self.retained.as_ref().map_or(self.sure, |retained| retained.done(self.written))
    }

    fn wake_all(&mut self) {
        // Waking under the lock is rare here and does nothing but schedule.
        self.waker.take().into_iter().chain(std::mem::take(&mut self.room)).for_each(Waker::wake);
    }

    fn listen(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests;

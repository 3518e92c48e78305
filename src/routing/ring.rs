//! The outgoing bytes of one client session: who writes to a session writes here. Whoever finds it empty has it moved to the
//! socket if nobody is at it; what that leaves, the session's own task moves.

mod arrival;
mod at_once;
mod resuming;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::clock::Timestamp;
use crate::hooks::Urgency;
use crate::jid::Jid;
use crate::stanza::Stanza;
use crate::stream::{StreamCondition, StreamError};

use super::held::{Held, Judge};
use super::marks::{Mark, Remains};
use super::memory::Waiting;
use super::pieces::Pieces;
use super::retained::{Lapsed, Retained};
use super::unanswered::Asked;
pub use at_once::{Now, Outlet};

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
    /// The ring had nothing waiting: whoever has pushed owes a [`Ring::flush`] or a [`Ring::wake`].
    First,
    /// Somebody owes that already.
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
const UNSURE: usize = 8192;

/// So much may come beyond the limit until a session that is closed for it has ended: it finds another way in its order.
const BEYOND: usize = 32 * 1024;

/// A bounded queue of bytes behind its own short lock.
#[derive(Debug)]
pub struct Ring {
    state: Mutex<State>,
    /// When the session last sent anything, in milliseconds since 1970.
    heard: AtomicI64,
    /// The session's task has its turn, and writes what there is before it waits. Taken back under the lock.
    tended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may wait before the reader counts as too slow; one stanza may exceed it.
    limit: usize,
    bytes: Pieces,
    /// What somebody has in hand of them, until he has written all of that.
    in_hand: usize,
    waker: Option<Waker>,
    /// Where the bytes go, as long as there is a connection.
    outlet: Option<Weak<dyn Outlet>>,
    /// The task waits for its transport: new bytes are no reason to wake it.
    stalled: bool,
    /// Somebody has promised to write it out, or to wake the task.
    dirty: bool,
    room: Option<Box<Waiters>>,
    close: Option<Box<Closing>>,
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

/// Who waits for room.
#[derive(Debug, Default)]
struct Waiters(Vec<Waker>);

/// The end of a session, from outside.
#[derive(Debug)]
struct Closing {
    error: StreamError,
    /// The place up to which everything goes out before; the rest finds another way.
    upto: u64,
}

impl Ring {
    /// An empty ring of a session that begins `now`.
    #[must_use]
    pub fn new(limit: usize, now: Timestamp) -> Self {
        let state = State { limit, ..State::default() };
        Self { state: Mutex::new(state), heard: AtomicI64::new(now.unix_ms()), tended: AtomicBool::new(false) }
    }

    /// Lets `write` append one whole stanza. A reader that leaves more than the limit waiting is closed with
    /// `policy-violation`. Until its session has ended, the ring takes some stanzas still, so that they find another way in
    /// their order. What somebody has in hand to write waits as well, and so does what the client has not confirmed: a
    /// session whose client reads nothing costs so much and no more.
    pub fn push(&self, write: impl FnOnce(&mut String)) -> Pushed {
        self.lock().push(write)
    }

    /// The same for a stanza that may wait if nobody looks at the client.
    pub(super) fn push_stanza(&self, stanza: &Stanza<'_>, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        if state.held.is_some()
            && state.takes(state.cost())
            && let Some(held) = &mut state.held
        {
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
        let pushed = state.push(write);
        if pushed == Pushed::Refused {
            return (pushed, None);
        }
        let place = state.pushed;
        // What the log has as undelivered is bounded there, and nobody else stands for it.
        if state.retained.is_some() || mark.undelivered().is_some() || state.marks.len() < UNSURE {
            state.marks.push_back((place, mark));
        }
        (pushed, state.retained.as_ref().and_then(|retained| retained.queued()))
    }

    /// The same for very many stanzas at once, which others have as well: they are written to `to` when it is their turn.
    pub(super) fn show(&self, stanzas: VecDeque<Arc<Stanza<'static>>>, to: &Jid) -> Pushed {
        let mut state = self.lock();
        if !state.takes(state.cost()) {
            return Pushed::Refused;
        }
        state.release();
        for bytes in state.bytes.show(stanzas, to) {
            state.count(bytes);
        }
        state.push(|_| {})
    }

    /// The same for a stanza that answers the request `id`.
    pub(super) fn push_answer(&self, id: &str, write: impl FnOnce(&mut String)) -> Pushed {
        let mut state = self.lock();
        let pushed = state.push(write);
        if let Some(retained) = state.retained.as_mut().filter(|_| pushed != Pushed::Refused) {
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

    /// Wakes the session's task.
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

    /// Moves a piece of what waits into `out`, which must be empty, or reports that the session is to end. Whoever asks has
    /// written what came out before.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Taken> {
        let mut state = self.lock();
        self.tended.store(false, Ordering::Relaxed);
        state.stalled = false;
        state.in_hand = 0;
        if let Some(end) = state.without_connection() {
            return Poll::Ready(end);
        }
        let piece = state.piece();
        if piece.is_none() {
            if let Some(closing) = &state.close {
                return Poll::Ready(Taken::Close(closing.error.clone()));
            }
            state.listen(context);
        }
        if hand_out(state, piece, out) { Poll::Ready(Taken::Bytes) } else { Poll::Pending }
    }

    /// For a task whose transport takes nothing: waits until the session is to end all the same.
    pub fn poll_closing(&self, context: &mut Context<'_>) -> Poll<Taken> {
        let mut state = self.lock();
        self.tended.store(false, Ordering::Relaxed);
        if let Some(end) = state.without_connection() {
            return Poll::Ready(end);
        }
        if let Some(closing) = &state.close {
            return Poll::Ready(Taken::Close(closing.error.clone()));
        }
        state.stalled = true;
        state.listen(context);
        Poll::Pending
    }

    /// Waits until little enough is left waiting that more can be written without hurry; `false` if the session is ending.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.shut || state.close.is_some() {
            return Poll::Ready(false);
        }
        if state.has_room() {
            return Poll::Ready(true);
        }
        state.room.get_or_insert_default().note(context.waker());
        Poll::Pending
    }

    /// Whether little enough waits that more can be written without hurry.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// How many bytes more can be written without hurry.
    pub(super) fn room(&self) -> usize {
        let state = self.lock();
        (state.limit / 2).saturating_sub(state.held())
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
        let front = String::from_utf8(bytes).unwrap_or_default();
        let mut state = self.lock();
        state.in_hand = 0;
        if state.retained.as_ref().is_some_and(|retained| !retained.is_untouched()) {
            // What has to be kept never left.
            return;
        }
        let mut all = Pieces::from(front);
        all.extend(std::mem::take(&mut state.bytes));
        state.bytes = all;
    }

    /// Notes that the session sent something at `now`; returns how many milliseconds after the last time. For its own task.
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

    /// What waits, and whom it waits for; for those who count.
    pub(super) fn waiting(&self) -> Waiting {
        let state = self.lock();
        Waiting {
            bytes: state.cost() + state.held.as_ref().map_or(0, |held| held.bytes()),
            is_inactive: state.held.is_some(),
            is_detached: state.retained.as_ref().is_some_and(|retained| retained.away.is_some()),
        }
    }

    /// Refuses further writes and hands out what is left.
    pub(super) fn shut(&self) -> Remains {
        let mut state = self.lock();
        state.release();
        (state.shut, state.outlet) = (true, None);
        state.room.take().into_iter().for_each(|waiters| waiters.wake());
        let written = state.done();
        let (mut text, mut lapsed, mut resumable) = (std::mem::take(&mut state.bytes), None, None);
        if let Some(retained) = state.retained.take() {
            resumable = retained.resumable();
            lapsed =
                retained.away.zip(retained.resumption.clone()).map(|(handled, it)| Lapsed { name: it.name, handled });
            text = retained.all(text);
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

impl Waiters {
    fn note(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn push(&mut self, write: impl FnOnce(&mut String)) -> Pushed {
        let before = self.cost();
        if !self.takes(before) {
            return Pushed::Refused;
        }
        if self.held.is_some() {
            self.release();
        }
        let bytes = self.bytes.append(write);
        if before > self.limit / 2 && !self.takes(before + bytes) {
            self.bytes.take_back(bytes);
            self.close(too_slow());
            return Pushed::Refused;
        }
        self.count(bytes);
        if before > self.limit || self.retained.as_ref().is_some_and(|retained| retained.is_full()) {
            self.close(too_slow());
        }
        if std::mem::replace(&mut self.dirty, true) { Pushed::Joined } else { Pushed::First }
    }

    /// What has waited goes out now.
    fn release(&mut self) {
        let waited = self.held.as_mut().map(|held| held.release());
        for text in waited.into_iter().flatten() {
            let bytes = self.bytes.append(|out| out.push_str(&text));
            self.count(bytes);
        }
    }

    /// A stanza of so many bytes has come.
    fn count(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.pushed += bytes as u64;
        if let Some(retained) = &mut self.retained {
            retained.pushed(self.pushed);
        }
    }

    /// Something has come that is no stanza.
    fn push_words(&mut self, words: &str) {
        self.bytes.append(|out| out.push_str(words));
        self.pushed += words.len() as u64;
    }

    fn close(&mut self, error: StreamError) {
        let upto = self.pushed;
        self.close.get_or_insert_with(|| Box::new(Closing { error, upto }));
        self.wake_all();
    }

    fn cut(&mut self, error: StreamError) {
        match self.retained.as_mut().filter(|retained| retained.resumption.is_some()) {
            Some(retained) => {
                retained.cut = Some(error);
                self.wake_all();
            }
            None => self.close(error),
        }
    }

    /// Whether a stanza may be there if it all costs so much then.
    const fn takes(&self, cost: usize) -> bool {
        !self.shut && cost.saturating_sub(BEYOND) <= self.limit
    }

    /// Why the session is to go on without its connection.
    fn without_connection(&self) -> Option<Taken> {
        let retained = self.retained.as_ref()?;
        if retained.heir.is_some() {
            return Some(Taken::Inherited);
        }
        retained.cut.clone().map(Taken::Cut)
    }

    /// Whether a piece goes out, now or before the end.
    fn is_next(&self) -> bool {
        let waits = match &self.close {
            None => !self.bytes.is_empty(),
            Some(closing) => self.start() < closing.upto,
        };
        waits && !self.is_put_off()
    }

    /// What has not been written yet is not, as long as too much is kept that the client has not confirmed.
    fn is_put_off(&self) -> bool {
        let is_much = |retained: &Retained| retained.held() > self.limit / 2;
        self.bytes.is_unwritten() && self.retained.as_deref().is_some_and(is_much)
    }

    /// Takes out what goes out next; somebody has it in hand then.
    fn piece(&mut self) -> Option<String> {
        let is_next = self.is_next();
        if !is_next && !self.retained.as_ref().is_some_and(|retained| retained.has_more()) {
            return None;
        }
        let mut piece = if is_next { self.bytes.pop() } else { String::new() };
        let place = self.start();
        if let Some(retained) = &mut self.retained {
            retained.take(&mut piece, place);
        }
        self.in_hand = piece.len();
        Some(piece)
    }

    /// The place of the first byte that has not been taken.
    fn start(&self) -> u64 {
        self.pushed.saturating_sub(self.bytes.len() as u64)
    }

    /// Bytes that wait: to be taken, written or confirmed.
    fn held(&self) -> usize {
        self.bytes.memory() + self.in_hand + self.retained.as_ref().map_or(0, |retained| retained.held())
    }

    /// What a client costs that does not read: where it has to confirm, it has read nothing of what there are marks for.
    fn cost(&self) -> usize {
        let marks = size_of::<(u64, Mark)>() * self.marks.len();
        self.held() + self.retained.as_ref().map_or(0, |retained| retained.bookkeeping() + marks)
    }

    /// Whether little enough waits that more can be written without hurry.
    fn has_room(&self) -> bool {
        self.held() <= self.limit / 2
    }

    /// Those who have waited for room, if there is some.
    fn who_has_room(&mut self) -> Option<Box<Waiters>> {
        if self.room.is_some() && self.has_room() { self.room.take() } else { None }
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
        self.waker.take().into_iter().for_each(Waker::wake);
        self.room.take().into_iter().for_each(|waiters| waiters.wake());
    }

    fn listen(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}

/// Moves what was taken out into `out`, with nobody kept waiting who has waited for room; whether there was anything.
fn hand_out(mut state: MutexGuard<'_, State>, piece: Option<String>, out: &mut Vec<u8>) -> bool {
    let waiters = state.who_has_room();
    drop(state);
    waiters.into_iter().for_each(|waiters| waiters.wake());
    let Some(piece) = piece else { return false };
    *out = piece.into_bytes();
    true
}

fn too_slow() -> StreamError {
    StreamError::new(StreamCondition::PolicyViolation, "too slow a reader")
}

#[cfg(test)]
mod tests;

//! The jobs that wait for the writer, bounded in bytes by the good manners of those who submit.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::writer::{Backlog, Group, Job, Urgency};
use super::{Receipt, Writes};

/// Jobs on their way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Those who wait until there is room wait here.
    room: Notify,
    /// How many bytes may wait before [`Queue::pressure`] holds.
    bound: usize,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Job>,
    rows: usize,
    bytes: usize,
    /// When the oldest job came.
    since: Instant,
    /// The receipt of the latest job.
    last: Receipt,
    /// The receipt of the latest job that the writer took.
    taken: Receipt,
    /// The highest receipt that somebody waits for.
    wanted: Receipt,
    /// No job is accepted any more.
    closed: bool,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Next {
    Commit(Vec<Job>),
    /// Nothing has come for a while.
    Idle,
    /// Nothing is left, and nothing will come.
    Close,
}

impl Queue {
    pub(super) fn new(bound: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            rows: 0,
            bytes: 0,
            since: Instant::now(),
            last: Receipt::NONE,
            taken: Receipt::NONE,
            wanted: Receipt::NONE,
            closed: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), room: Notify::new(), bound }
    }

    /// Takes a job in. After [`Queue::close`] the job is dropped, and its receipt is never reached.
    pub(super) fn push(&self, writes: Writes, creation: Option<super::writer::Creation>) -> Receipt {
        let mut state = self.lock();
        let before = state.backlog(Duration::ZERO);
        let receipt = state.last.next();
        state.last = receipt;
        if state.closed {
            return receipt;
        }
        if state.jobs.is_empty() {
            state.since = Instant::now();
        }
        // A creation writes one row and has somebody who waits for its answer.
        if creation.is_some() {
            state.wanted = receipt;
            state.rows += 1;
        }
        state.rows = state.rows.saturating_add(writes.rows());
        state.bytes = state.bytes.saturating_add(writes.bytes());
        state.jobs.push_back(Job { receipt, writes, creation });
        let after = state.backlog(Duration::ZERO);
        drop(state);
        // The writer sleeps until a known time unless one of these changes it.
        if before.rows == 0 || before.is_full() != after.is_full() || before.urgency != after.urgency {
            self.work.notify_one();
        }
        receipt
    }

    /// Somebody waits for `receipt`.
    pub(super) fn hurry(&self, receipt: Receipt) {
        let mut state = self.lock();
        let before = state.urgency();
        state.wanted = state.wanted.max(receipt);
        let changed = before != state.urgency();
        drop(state);
        if changed {
            self.work.notify_one();
        }
    }

    /// Whether fewer bytes than the bound are queued.
    pub(super) fn has_room(&self) -> bool {
        self.lock().bytes < self.bound
    }

    /// Whether anything is queued.
    pub(super) fn has_jobs(&self) -> bool {
        !self.lock().jobs.is_empty()
    }

    /// Waits until fewer bytes than the bound are queued.
    pub(super) async fn pressure(&self) {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Waits for work: at most `patience` (for ever without one) while there is none.
    pub(super) fn wait(&self, patience: Option<Duration>) -> Next {
        let mut state = self.lock();
        let idle_from = Instant::now();
        loop {
            let now = Instant::now();
            let sleep = if state.jobs.is_empty() {
                if state.closed {
                    return Next::Close;
                }
                match patience.map(|patience| patience.saturating_sub(now.saturating_duration_since(idle_from))) {
                    Some(Duration::ZERO) => return Next::Idle,
                    left => left,
                }
            } else {
                let left = state.backlog(now.saturating_duration_since(state.since)).due();
                if left.is_zero() || state.closed {
                    let jobs = state.take();
                    drop(state);
                    self.room.notify_waiters();
                    return Next::Commit(jobs);
                }
                Some(left)
            };
            state = match sleep {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(sleep) => self.work.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Waits for `pause`, or until nothing more is accepted; says whether that is so.
    pub(super) fn rest(&self, pause: Duration) -> bool {
        let state = self.lock();
        let rest = self.work.wait_timeout_while(state, pause, |state| !state.closed);
        rest.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Takes one group of jobs at once, without gathering; nothing if there is none.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let jobs = if state.jobs.is_empty() { None } else { Some(state.take()) };
        drop(state);
        self.room.notify_waiters();
        jobs
    }

    /// Accepts nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Accepts nothing more and drops what is queued.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        (state.rows, state.bytes) = (0, 0);
        drop(state);
        drop(jobs);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// The receipt of the latest job.
    pub(super) fn last(&self) -> Receipt {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn urgency(&self) -> Urgency {
        if self.wanted > self.taken { Urgency::Awaited } else { Urgency::Nobody }
    }

    fn backlog(&self, age: Duration) -> Backlog {
        Backlog { rows: self.rows, bytes: self.bytes, urgency: self.urgency(), age }
    }

    /// Takes jobs from the front until a group is full. What stays keeps its age, so it is due soon.
    fn take(&mut self) -> Vec<Job> {
        let mut group = Group::default();
        let mut jobs = Vec::new();
        while !group.is_full() {
            let Some(job) = self.jobs.pop_front() else { break };
            group.add(&job);
            self.taken = job.receipt;
            jobs.push(job);
        }
        self.rows = self.rows.saturating_sub(group.rows);
        self.bytes = self.bytes.saturating_sub(group.bytes);
        jobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue) -> Receipt {
        queue.push(Writes::new(), None)
    }

    #[test]
    fn it_is_urgent_as_long_as_somebody_waits_for_something_in_it() {
        let queue = Queue::new(1);
        let is_awaited = || matches!(queue.lock().urgency(), Urgency::Awaited);
        let first = push(&queue);
        assert!(!is_awaited());
        queue.hurry(first);
        assert!(is_awaited());
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(!is_awaited());
        push(&queue);
        queue.hurry(first);
        assert!(!is_awaited(), "it is written already");
    }

    #[test]
    fn what_is_full_has_no_room() {
        let queue = Queue::new(100);
        assert!(queue.has_room());
        queue.lock().bytes = 99;
        assert!(queue.has_room());
        queue.lock().bytes = 100;
        assert!(!queue.has_room());
    }

    #[test]
    fn nothing_is_taken_in_at_the_end() {
        let queue = Queue::new(1);
        assert!(!queue.rest(Duration::ZERO));
        push(&queue);
        queue.close();
        assert!(queue.rest(Duration::MAX));
        push(&queue);
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(matches!(queue.wait(None), Next::Close));
    }
}

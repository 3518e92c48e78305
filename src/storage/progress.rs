//! How far the writer has come, and who waits for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::handle::Shared;
use super::{Lost, Receipt};
use crate::crash;

/// The published durable number with the list of those who wait for a later one.
#[derive(Debug)]
pub(super) struct Progress {
    durable: AtomicU64,
    waiters: Mutex<Waiters>,
    end: watch::Sender<End>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// By receipt, so that a commit finds exactly those whom it concerns; the second number tells them apart.
    wakers: BTreeMap<(Receipt, u64), Waker>,
    last: u64,
}

/// Whether the writer still works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    Closed,
    Lost(Lost),
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { durable: AtomicU64::new(0), waiters: Mutex::default(), end: watch::Sender::new(End::NotYet) }
    }

    pub(super) fn durable(&self) -> Receipt {
        if crash::is_careless() {
            return Receipt::new(u64::MAX);
        }
        Receipt::new(self.durable.load(Ordering::Acquire))
    }

    /// Everything up to `receipt` is on disk.
    pub(super) fn publish(&self, receipt: Receipt) {
        self.durable.store(receipt.number(), Ordering::Release);
        let reached = {
            let mut waiters = self.lock();
            let later = waiters.wakers.split_off(&(receipt.next(), 0));
            std::mem::replace(&mut waiters.wakers, later)
        };
        reached.into_values().for_each(Waker::wake);
    }

    /// Nothing more will become durable. The first end counts.
    pub(super) fn end(&self, end: End) {
        self.end.send_if_modified(|current| {
            let first = *current == End::NotYet;
            if first {
                *current = end;
            }
            first
        });
        let all = std::mem::take(&mut self.lock().wakers);
        all.into_values().for_each(Waker::wake);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// Whether `receipt` is reached; `None` while that is open.
    fn state(&self, receipt: Receipt) -> Option<Result<(), Lost>> {
        if self.durable() >= receipt {
            return Some(Ok(()));
        }
        match &*self.end.borrow() {
            End::NotYet => None,
            End::Closed => Some(Err(Lost::closed())),
            End::Lost(lost) => Some(Err(lost.clone())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a receipt is durable; see [`super::Storage::durable`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Durable {
    shared: Arc<Shared>,
    receipt: Receipt,
    /// The number under which this future is in the list.
    waiter: Option<u64>,
}

impl Durable {
    pub(super) const fn new(shared: Arc<Shared>, receipt: Receipt) -> Self {
        Self { shared, receipt, waiter: None }
    }
}

impl Future for Durable {
    type Output = Result<(), Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(result) = this.shared.progress.state(this.receipt) {
            return Poll::Ready(result);
        }
        let first = this.waiter.is_none();
        {
            let mut waiters = this.shared.progress.lock();
            // Asked again under the lock, because a commit takes the list after it has published its number.
            if let Some(result) = this.shared.progress.state(this.receipt) {
                return Poll::Ready(result);
            }
            let waiter = *this.waiter.get_or_insert_with(|| {
                waiters.last += 1;
                waiters.last
            });
            waiters.wakers.insert((this.receipt, waiter), context.waker().clone());
        }
        if first {
            this.shared.queue.hurry(this.receipt);
        }
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.shared.progress.lock().wakers.remove(&(self.receipt, waiter));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::super::{Options, Writes};
    use super::*;

    #[tokio::test]
    async fn who_waits_no_longer_is_forgotten() {
        let shared = Shared::new(Options::default(), 1);
        let receipt = shared.queue.push(Writes::new(), None);
        let waiting = || shared.progress.lock().wakers.len();
        let mut context = Context::from_waker(Waker::noop());
        let mut stays = pin!(Durable::new(Arc::clone(&shared), receipt));
        {
            let mut goes = pin!(Durable::new(Arc::clone(&shared), receipt));
            assert!(stays.as_mut().poll(&mut context).is_pending() && goes.as_mut().poll(&mut context).is_pending());
            assert_eq!(waiting(), 2);
        }
        assert_eq!(waiting(), 1);
        shared.progress.publish(receipt);
        assert_eq!(waiting(), 0);
        stays.await.unwrap();
    }
}

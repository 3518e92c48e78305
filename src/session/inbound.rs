//! How many of a client's stanzas are in safe hands: the longest row of them, from the first, of
//! which everything that they caused to be written is durable.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::hooks::{Acknowledgement, Wish};
use crate::random;
use crate::routing::{Batch, Binding, Handled, Resumption, Retention, Router};
use crate::storage::{Durable, Receipt};

/// How long an answer may wait for storage; then it says how far storage has come.
const PATIENCE: Duration = Duration::from_millis(250);

/// The count of a session that has enabled acknowledgement.
pub(super) struct Inbound {
    /// Stanzas that have been routed.
    count: u64,
    /// Whether its client may come back, and which count storage knows then.
    is_resumable: bool,
    noted: u64,
    /// Those of them that are in safe hands.
    durable: u64,
    /// Further ones: up to which count, and what has to become durable for that. Both only grow.
    unsettled: VecDeque<(u64, Receipt)>,
    /// The client wanted to know up to this count.
    due: Option<u64>,
    /// It has had no answer since, not even one that says less.
    unanswered: bool,
    wait: Option<Wait>,
}

/// An answer that storage is not ready for.
struct Wait {
    durable: Durable,
    /// `None` once a first answer was given.
    patience: Option<Pin<Box<Sleep>>>,
}

/// What a session keeps from now on, if its client wants this; its opening says so to the client.
pub(super) fn agreed(router: &Router, words: &dyn Acknowledgement, wish: Wish) -> Retention {
    let resumption = match wish {
        Wish::Count => None,
        Wish::CountAndResume(asked) => {
            let longest = router.resume_timeout();
            let time = asked.map_or(longest, |asked| asked.min(longest));
            // Part of a second is no promise.
            (time.as_secs() > 0).then(|| Resumption { name: random::token(), time })
        }
    };
    let opening = words.enabled(resumption.as_ref().map(|it| (it.name.as_str(), it.time)));
    Retention { opening, request: words.request(), resumption }
}

impl Inbound {
    /// After `count` stanzas, all in safe hands.
    pub(super) const fn new(count: u64, is_resumable: bool) -> Self {
        Self {
            count,
            is_resumable,
            noted: count,
            durable: count,
            unsettled: VecDeque::new(),
            due: None,
            unanswered: false,
            wait: None,
        }
    }

    /// The number of the stanza that is routed next.
    pub(super) const fn next(&self) -> u64 {
        self.count + 1
    }

    /// One more stanza was routed.
    pub(super) const fn counted(&mut self, batch: &mut Batch) {
        self.count += 1;
        batch.routed();
    }

    /// The client is told when what comes is in safe hands, and what of it is in storage is counted there with it.
    pub(super) fn follow(&self, binding: &Binding, batch: &mut Batch) {
        batch.follow_client(binding, self.count);
    }

    /// The client wants to know.
    pub(super) fn asked(&mut self) {
        (self.due, self.unanswered) = (Some(self.count), true);
        if let Some(wait) = &mut self.wait {
            wait.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        }
    }

    /// Whether it waits for an answer.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Applies `batch`: what was counted so far is in safe hands once that is durable.
    ///
    /// The count of a session whose client may come back is written with what its stanzas have caused to be written, or
    /// when the client asks: what it has been told once holds after the server has ended, too.
    pub(super) fn covered(&mut self, binding: &Binding, batch: &mut Batch, router: &Router) {
        batch.unfollow();
        let mut noted = true;
        if self.is_resumable && self.noted != self.count {
            noted = batch.has_written() || self.unanswered;
            if noted {
                binding.handled(self.count, batch);
                self.noted = self.count;
            }
        }
        let receipt = batch.flush();
        if noted {
            self.cover(receipt, router);
        }
    }

    fn cover(&mut self, receipt: Receipt, router: &Router) {
        let (settled, count) = (self.reached(router), self.count);
        match self.unsettled.back_mut() {
            Some((upto, last)) if *last >= receipt => *upto = count,
            Some((upto, _)) if *upto == count => {}
            None if settled == count => {}
            _ => self.unsettled.push_back((count, receipt)),
        }
    }

    /// How many stanzas have come, for whoever takes over.
    pub(super) fn handled(&self) -> Handled {
        let receipt = self.unsettled.back().map_or(Receipt::NONE, |(_, receipt)| *receipt);
        Handled { count: self.count, receipt }
    }

    /// The count that an answer gives at this moment.
    pub(super) fn reached(&mut self, router: &Router) -> u64 {
        while let Some((count, _)) = self.unsettled.front().filter(|(_, receipt)| router.is_durable(*receipt)) {
            self.durable = *count;
            self.unsettled.pop_front();
        }
        self.durable
    }

    /// The count to answer with, if it is time for an answer; otherwise waits for it. To be asked
    /// again until there is none.
    pub(super) fn poll_due(&mut self, context: &mut Context<'_>, router: &Router) -> Option<u64> {
        let answer = self.poll_answer(context, router);
        self.unanswered &= answer.is_none() && self.due.is_some();
        answer
    }

    fn poll_answer(&mut self, context: &mut Context<'_>, router: &Router) -> Option<u64> {
        let due = self.due?;
        let reached = self.reached(router);
        if reached >= due {
            (self.due, self.wait) = (None, None);
            return Some(reached);
        }
        if self.wait.is_none() {
            let (_, receipt) = self.unsettled.front()?;
            let patience = Some(Box::pin(tokio::time::sleep(PATIENCE)));
            self.wait = Some(Wait { durable: router.durable(*receipt), patience });
        }
        let wait = self.wait.as_mut()?;
        match Pin::new(&mut wait.durable).poll(context) {
            Poll::Ready(Ok(())) => {
                self.wait = None;
                return Some(self.reached(router));
            }
            Poll::Ready(Err(_)) => {
                // Storage has failed, and with it the server: nothing is promised any more.
                (self.due, self.wait) = (None, None);
                return None;
            }
            Poll::Pending => {}
        }
        if wait.patience.as_mut()?.as_mut().poll(context).is_ready() {
            wait.patience = None;
            return Some(self.durable);
        }
        None
    }

    /// The next answer that is due, however long it takes; `None` if there is none.
    pub(super) async fn answer(&mut self, router: &Router) -> Option<u64> {
        poll_fn(|context| match self.poll_due(context, router) {
            None if self.unanswered => Poll::Pending,
            answer => Poll::Ready(answer),
        })
        .await
    }
}

//! Queues and links brought together: one task per domain pair that has something to send.
//!
//! A stanza waits in the queue of its pair until a link is ready, and goes out in order. If no link can be had, what
//! storage keeps waits for another attempt, and everything else is answered with an error. It must never know what a
//! stanza means.
//!
//! While a link is being opened stanzas gather; when that fails those that do not wait are answered, and for
//! [`REMEMBERED`] those that follow as well, without another attempt. A link that breaks is no failure;
//! if something waits, another is opened. Two links in a row that took nothing are one.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::federation::Federation;
use crate::federation::driving::Ended;
use crate::federation::failure::{Failure, Fault};
use crate::federation::link::Link;
use crate::federation::queue::{Kept, LATE, Left, Queue, head};
use crate::federation::schedule::Schedule;
use crate::routing::{Leaving, Pair, RemoteDelivery};
use crate::stanza::{IqType, Kind, MessageType, Stanza};
use crate::storage::Position;

/// How long a failure counts for what comes after it and does not wait.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How long a message that was sent waits to be confirmed although no link can be had and storage does not keep it: when the
/// stream goes on, the peer says whether it has come.
const UNSURE: Duration = Duration::from_secs(300);
/// Answers may fill this part of the room: who asks and does not read what he gets has asked too much.
const ANSWERS: usize = 4;
/// Refused stanzas that wait for their answer at most; beyond it they are dropped.
const REFUSED: usize = 4096;

/// What waits for one pair, and the bell of its task.
pub(crate) struct Waiting {
    pub(crate) pair: Pair,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queue: Queue,
    /// Heads of stanzas that found no room, to be answered.
    refused: Vec<(Stanza<'static>, Fault)>,
    /// The other server has connected to us, so it may be reached.
    nudged: bool,
    /// The task has gone; a new entry is needed.
    retired: bool,
}

impl Waiting {
    pub(crate) fn new(pair: Pair) -> Self {
        Self { pair, state: Mutex::default(), news: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when there is something new.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// There is something new.
    pub(crate) fn ring(&self) {
        self.news.notify_one();
    }

    /// Whether nothing waits, and how many stanzas have been delivered so far.
    fn queued(&self) -> (bool, u64) {
        let state = self.lock();
        (state.queue.is_empty(), state.queue.gone())
    }
}

impl RemoteDelivery for Federation {
    fn send(&self, pair: &Pair, stanzas: Vec<Leaving>) {
        if stanzas.is_empty() {
            return;
        }
        loop {
            let waiting = self.waiting(pair);
            let mut state = waiting.lock();
            if state.retired {
                continue;
            }
            for leaving in stanzas {
                self.enqueue(&mut state, pair, leaving);
            }
            drop(state);
            waiting.ring();
            return;
        }
    }

    fn knock(&self, pair: &Pair) {
        // If streams are there, the answer says that the other server is.
        let (_, ping) = self.ping(pair);
        self.send(pair, vec![ping.into()]);
    }

    fn settle(&self, upto: Position) {
        let all: Vec<_> = self.queues().values().cloned().collect();
        for waiting in all {
            let mut state = waiting.lock();
            let late = state.queue.settle(upto.number());
            // Under the lock, so that a confirmation comes behind it.
            self.mark(&waiting.pair.local, &late);
        }
        // After the queues: what has left one of them without being delivered is here.
        self.abandoned().retain(|(local, position)| {
            let is_late = *position < upto.number();
            if is_late {
                self.mark(local, &[*position]);
            }
            !is_late
        });
        self.forget_some();
    }
}

impl Federation {
    fn enqueue(&self, state: &mut State, pair: &Pair, Leaving { stanza, kept }: Leaving) {
        let settings = self.settings();
        // What has been accepted once is not refused for want of room.
        let is_new = kept.is_none_or(|kept| kept.left_behind.is_none());
        let most = if is_answer(&stanza) { settings.queue_bytes / ANSWERS } else { settings.queue_bytes };
        let is_full = || is_full(state.queue.cost(), self.queued(), (most, settings.queue_bytes_total));
        let (stanza, fault) = if !settings.policy.permits(&pair.remote) {
            (stanza, Fault::Forbidden)
        } else if is_new && is_full() {
            (stanza, Fault::Overloaded)
        } else {
            let hold = kept.map(|kept| {
                let now = Instant::now();
                Kept {
                    position: kept.position.number(),
                    time: kept.time,
                    // The peer may have it; that it is late, whatever the clock says, tells the peer that it is not said again.
                    since: kept.left_behind.and_then(|age| now.checked_sub(age.max(LATE))).unwrap_or(now),
                    marked: !is_new,
                    stamped: false,
                }
            });
            match state.queue.push(stanza, hold) {
                Ok(cost) => return self.charge(cost),
                Err(stanza) => (*stanza, Fault::TooLarge),
            }
        };
        if let Some(kept) = kept.filter(|_| !is_new) {
            self.unmark(&pair.local, &[kept.position.number()]);
        }
        if is_answer(&stanza) {
            // Nobody is told of that.
            tracing::debug!(local = %pair.local, remote = %pair.remote, "an answer that found no room was dropped");
        } else if state.refused.len() < REFUSED {
            state.refused.push((head(stanza), fault));
        } else {
            tracing::warn!(local = %pair.local, remote = %pair.remote, "a stanza that found no room was dropped");
        }
    }

    /// The task of one pair; ends when nothing waits and no link is open.
    pub(crate) async fn tend(self: Arc<Self>, waiting: Arc<Waiting>) {
        let pair = &waiting.pair;
        // Links in a row that took nothing, and how the last one ended.
        let mut fruitless: Option<(u8, Failure)> = None;
        let mut schedule = Schedule::new(pair);
        loop {
            self.answer_refused(&waiting).await;
            if self.is_closing() {
                return self.abandon(&waiting).await;
            }
            if self.retire(&waiting) {
                self.idle(pair);
                return;
            }
            let (is_empty, gone) = waiting.queued();
            if is_empty {
                // Only refused stanzas came.
                continue;
            }
            let carried = match fruitless.take_if(|(times, _)| *times > 1) {
                Some((_, failure)) => Err(failure),
                None => self.carry(&waiting).await,
            };
            match carried {
                Ok((ended, why)) => {
                    let left = waiting.lock().queue.link_lost(Instant::now());
                    self.delivered(&waiting, &left);
                    self.disconnected(pair, &why);
                    tracing::debug!(local = %pair.local, remote = %pair.remote, reason = %why, "stream ended");
                    let times = fruitless.map_or(0, |(times, _)| times);
                    fruitless = (waiting.queued().1 == gone).then_some((times + 1, why));
                    if fruitless.is_none() {
                        schedule.succeeded();
                    }
                    match ended {
                        Ended::InOrder => {}
                        Ended::Broken => self.lost(pair),
                        Ended::Closing => return self.abandon(&waiting).await,
                    }
                }
                Err(failure) => {
                    tracing::info!(local = %pair.local, remote = %pair.remote, %failure, "no stream to another server");
                    fruitless = None;
                    let pause = schedule.failed();
                    let waits = failure.fault == Fault::Unreachable && waiting.lock().queue.is_kept();
                    let next = waits.then(|| self.ways().clock.now().after(pause));
                    self.unreachable(pair, &failure, next);
                    self.out_of_reach(pair);
                    self.wait(&waiting, &failure, pause).await;
                }
            }
        }
    }

    /// Chooses a link and has it carry what waits, until it ends: one that the other server has opened, if it takes ours,
    /// too, or else one of our own.
    async fn carry(&self, waiting: &Arc<Waiting>) -> Result<(Ended, Failure), Failure> {
        if let Some(ended) = self.lend(waiting).await {
            return Ok(ended);
        }
        self.connecting(&waiting.pair);
        let link = self.open(waiting).await?;
        self.connected(&waiting.pair, link.proof.as_deref());
        self.reached(&waiting.pair);
        Ok(self.drive(link, waiting).await)
    }

    /// Opens a link; what is refused meanwhile is answered meanwhile.
    async fn open(&self, waiting: &Waiting) -> Result<Link, Failure> {
        waiting.lock().nudged = false;
        let mut opening = pin!(self.links().deliver(&waiting.pair));
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened,
                () = waiting.news() => self.answer_refused(waiting).await,
                () = self.closing() => return Err(stopping()),
            }
        }
    }

    /// No link can be had: what does not wait is answered, now and for a while; what waits does so for `pause`, or until
    /// there is a reason to try again.
    async fn wait(&self, waiting: &Waiting, failure: &Failure, pause: Duration) {
        let begin = Instant::now();
        loop {
            if self.is_closing() {
                return;
            }
            self.give_up(waiting, failure).await;
            let expiry = self.settings().expiry;
            let (is_empty, oldest) = {
                let state = waiting.lock();
                (state.queue.is_empty(), state.queue.oldest())
            };
            let until = begin + if is_empty { REMEMBERED } else { pause };
            let expires = oldest.and_then(|oldest| oldest.checked_add(expiry));
            let next = expires.map_or(until, |at| until.min(at));
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    if until <= Instant::now() {
                        return;
                    }
                }
                () = waiting.news() => {
                    self.answer_refused(waiting).await;
                    let is_nudged = std::mem::take(&mut waiting.lock().nudged);
                    if is_nudged || Instant::now() >= begin + REMEMBERED {
                        return;
                    }
                }
                () = self.closing() => return,
            }
        }
    }

    /// Answers what waits no longer for a domain that cannot be reached.
    async fn give_up(&self, waiting: &Waiting, failure: &Failure) {
        if failure.fault != Fault::Unreachable {
            // It will not be better soon.
            let left = waiting.lock().queue.take_all();
            return self.answer(waiting, left, failure).await;
        }
        let expiry = self.settings().expiry;
        let unsure = Instant::now().checked_sub(expiry.min(UNSURE));
        let left = waiting.lock().queue.leave_behind(unsure);
        self.answer(waiting, left, failure).await;
        let Some(before) = Instant::now().checked_sub(expiry) else { return };
        let left = waiting.lock().queue.expire(before);
        if !left.heads.is_empty() {
            let expired = match expiry.as_secs() {
                0 => failure.clone(),
                seconds => Failure::unreachable(format!("not delivered within {seconds} seconds: {failure}")),
            };
            self.answer(waiting, left, &expired).await;
        }
    }

    /// The other server of `pair` has connected to us.
    pub(crate) fn nudge(&self, pair: &Pair) {
        let Some(waiting) = self.queues().get(pair).cloned() else { return };
        waiting.lock().nudged = true;
        waiting.ring();
    }

    pub(crate) async fn answer_refused(&self, waiting: &Waiting) {
        let refused = std::mem::take(&mut waiting.lock().refused);
        self.bounce(refused.iter().filter_map(|(head, fault)| returned(head, &error(*fault))).collect()).await;
    }

    /// Answers what has left the queue with `failure`.
    pub(crate) async fn answer(&self, waiting: &Waiting, left: Left, failure: &Failure) {
        self.bounce(left.heads.iter().filter_map(|head| returned(head, failure)).collect()).await;
        self.delivered(waiting, &left);
    }

    /// What has left the queue is done with.
    pub(crate) fn delivered(&self, waiting: &Waiting, left: &Left) {
        self.discharge(left.freed);
        self.unmark(&waiting.pair.local, &left.marked);
    }

    async fn bounce(&self, errors: Vec<Stanza<'static>>) {
        if let Some(inbound) = self.inbound().filter(|_| !errors.is_empty()) {
            inbound.bounced(errors).await;
        }
    }

    /// The server stops: what storage does not keep is answered, the rest waits there for the next start.
    async fn abandon(&self, waiting: &Waiting) {
        let (kept, left) = {
            let mut queues = self.queues();
            let mut state = waiting.lock();
            state.retired = true;
            queues.remove(&waiting.pair);
            let left = state.queue.leave_behind(None);
            let kept = state.queue.take_all();
            let local = &waiting.pair.local;
            self.abandoned().extend(kept.unmarked.iter().map(|position| (Arc::clone(local), *position)));
            (kept, left)
        };
        self.discharge(kept.freed);
        self.answer(waiting, left, &stopping()).await;
        self.answer_refused(waiting).await;
    }

    /// Takes the pair off the list if nothing waits.
    fn retire(&self, waiting: &Waiting) -> bool {
        let mut queues = self.queues();
        let mut state = waiting.lock();
        if state.queue.is_empty() && state.refused.is_empty() {
            state.retired = true;
            queues.remove(&waiting.pair);
        }
        state.retired
    }
}

/// Whether it is what the other server has asked for.
const fn is_answer(stanza: &Stanza<'_>) -> bool {
    matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error) | Kind::Message(MessageType::Error))
}

/// Whether no more may wait for one pair, for which `cost` waits already, and `all` for all of them. What is left when few have
/// filled most of the room is for the others.
const fn is_full(cost: usize, all: usize, (most, most_of_all): (usize, usize)) -> bool {
    let is_scarce = all >= most_of_all - most_of_all / 4;
    cost >= most || all >= most_of_all || (is_scarce && cost >= most / 16)
}

/// The error for a stanza that is not sent.
fn returned(head: &Stanza<'_>, failure: &Failure) -> Option<Stanza<'static>> {
    let Stanza { from, to, id, .. } = head;
    tracing::debug!(?from, ?to, id = id.as_deref(), %failure, "a stanza is not sent");
    head.error(&failure.stanza_error())
}

/// Why a stanza was refused before anything was tried.
pub(crate) fn error(fault: Fault) -> Failure {
    let reason = match fault {
        Fault::Forbidden => "this server does not federate with that domain",
        Fault::TooLarge => "the other server does not take anything that large",
        _ => "too much is waiting for that domain",
    };
    Failure::new(fault, reason)
}

fn stopping() -> Failure {
    Failure::unreachable("this server stops")
}

#[cfg(test)]
mod tests {
    use super::is_full;

    #[test]
    fn who_has_filled_most_of_the_room_leaves_the_rest_to_others() {
        let bounds = (160, 1000);
        for (cost, all, full) in
            [(159, 749, false), (160, 160, true), (10, 750, true), (9, 750, false), (9, 999, false), (0, 1000, true)]
        {
            assert_eq!(is_full(cost, all, bounds), full, "{cost} {all}");
        }
    }
}

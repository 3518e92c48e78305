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
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::accounts::random;
use crate::federation::Federation;
use crate::federation::failure::{Failure, Fault};
use crate::federation::link::{Link, below};
use crate::federation::outgoing::refused;
use crate::federation::queue::{Kept, Left, Queue, head};
use crate::federation::schedule::Schedule;
use crate::federation::wire::{Broken, Turn, Wire};
use crate::jid::{BareJid, Jid};
use crate::routing::{Leaving, Pair, RemoteDelivery};
use crate::stanza::{CLIENT_NS, IqType, Kind, Stanza};
use crate::storage::Position;
use crate::stream::{CLOSE, Event, STREAMS_NS, StreamCondition, StreamError};

/// How long a failure counts for what comes after it and does not wait.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How long a peer may take no byte while something waits for it.
const STALLED: Duration = Duration::from_secs(60);
/// How long the last words of a link may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Refused stanzas that wait for their answer at most; beyond it they are dropped.
const REFUSED: usize = 4096;
/// Octets of randomness in the id of a probe: an answer cannot be guessed.
const ID_OCTETS: usize = 16;

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

/// How a link came to its end.
enum Ended {
    /// It is not needed any more, or the peer had enough; whatever waits gets another.
    Over,
    /// The server stops.
    Closing,
}

impl Waiting {
    pub(crate) fn new(pair: Pair) -> Self {
        Self { pair, state: Mutex::default(), news: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            waiting.news.notify_one();
            return;
        }
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
    }
}

impl Federation {
    fn enqueue(&self, state: &mut State, pair: &Pair, Leaving { stanza, kept }: Leaving) {
        let settings = self.settings();
        // What has been accepted once is not refused for want of room.
        let is_new = kept.is_none_or(|kept| kept.left_behind.is_none());
        let is_full =
            || state.queue.cost() >= settings.queue_bytes || self.queued() >= settings.queue_bytes_total;
        let (stanza, fault) = if !settings.policy.permits(&pair.remote) {
            (stanza, Fault::Forbidden)
        } else if is_new && is_full() {
            (stanza, Fault::Overloaded)
        } else {
            let now = Instant::now();
            let hold = kept.map(|kept| Kept {
                position: kept.position.number(),
                time: kept.time,
                since: kept.left_behind.and_then(|age| now.checked_sub(age)).unwrap_or(now),
                marked: !is_new,
                stamped: false,
            });
            match state.queue.push(stanza, hold) {
                Ok(cost) => return self.charge(cost),
                Err(stanza) => (*stanza, Fault::TooLarge),
            }
        };
        if let Some(kept) = kept.filter(|_| !is_new) {
            self.unmark(&pair.local, &[kept.position.number()]);
        }
        if state.refused.len() < REFUSED {
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
        let mut schedule = Schedule::default();
        loop {
            self.answer_refused(&waiting).await;
            if self.is_closing() {
                return self.abandon(&waiting).await;
            }
            if self.retire(&waiting) {
                return;
            }
            let (is_empty, gone) = waiting.queued();
            if is_empty {
                // Only refused stanzas came.
                continue;
            }
            let opened = match fruitless.take_if(|(times, _)| *times > 1) {
                Some((_, failure)) => Err(failure),
                None => self.open(&waiting).await,
            };
            match opened {
                Ok(link) => {
                    let (ended, why) = self.drive(link, &waiting).await;
                    let left = waiting.lock().queue.link_lost();
                    self.discharge(left.freed);
                    tracing::debug!(local = %pair.local, remote = %pair.remote, reason = %why, "stream ended");
                    let times = fruitless.map_or(0, |(times, _)| times);
                    fruitless = (waiting.queued().1 == gone).then_some((times + 1, why));
                    if fruitless.is_none() {
                        schedule.succeeded();
                    }
                    if matches!(ended, Ended::Closing) {
                        return self.abandon(&waiting).await;
                    }
                }
                Err(failure) => {
                    tracing::info!(local = %pair.local, remote = %pair.remote, %failure, "no stream to another server");
                    fruitless = None;
                    let pause = schedule.failed(below);
                    self.wait(&waiting, &failure, pause).await;
                }
            }
        }
    }

    /// Opens a link; what is refused meanwhile is answered meanwhile.
    async fn open(&self, waiting: &Waiting) -> Result<Link, Failure> {
        waiting.lock().nudged = false;
        let mut opening = pin!(self.links().deliver(&waiting.pair));
        loop {
            tokio::select! {
                opened = &mut opening => return opened,
                () = waiting.news.notified() => self.answer_refused(waiting).await,
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
            let oldest = waiting.lock().queue.oldest();
            let until = begin + oldest.map_or(REMEMBERED, |_| pause);
            let expires = oldest.and_then(|oldest| oldest.checked_add(expiry));
            let next = expires.map_or(until, |at| until.min(at));
            tokio::select! {
                () = sleep_until(next) => {
                    if until <= Instant::now() {
                        return;
                    }
                }
                () = waiting.news.notified() => {
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
        let left = waiting.lock().queue.leave_behind();
        self.answer(waiting, left, failure).await;
        let expiry = self.settings().expiry;
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

    /// Writes what waits and reads what comes until the link ends.
    async fn drive(&self, mut link: Link, waiting: &Waiting) -> (Ended, Failure) {
        self.begin(&link, waiting).await;
        let mut portion = Vec::new();
        let mut attention = None;
        let mut stalled = pin!(sleep(self.settings().idle_timeout));
        loop {
            if portion.is_empty() {
                attention = self.next_portion(waiting, &mut portion);
                let patience = if portion.is_empty() { self.settings().idle_timeout } else { STALLED };
                stalled.as_mut().reset(Instant::now() + patience);
            }
            let broken = tokio::select! {
                turn = link.wire.turn(&portion) => match turn {
                    Ok(Turn::HandedOver(count)) => {
                        let freed = waiting.lock().queue.handed_over(count, Instant::now());
                        self.discharge(freed);
                        portion.clear();
                        None
                    }
                    Ok(Turn::Arrived) => self.listen(&mut link).err(),
                    Err(broken) => Some(broken),
                },
                () = waiting.news.notified() => {
                    self.answer_refused(waiting).await;
                    None
                }
                () = &mut stalled => {
                    let why = if portion.is_empty() { "idle" } else { "the other server takes nothing" };
                    self.part(link, portion.is_empty(), waiting).await;
                    return (Ended::Over, Failure::unreachable(why));
                }
                () = sleep_until(attention.unwrap_or_else(Instant::now)), if attention.is_some() && portion.is_empty() => {
                    if waiting.lock().queue.silent_at().is_some_and(|at| at <= Instant::now()) {
                        self.part(link, true, waiting).await;
                        return (Ended::Over, Failure::unreachable("the other server does not answer"));
                    }
                    None
                }
                () = sleep_until(link.until.unwrap_or_else(Instant::now)), if link.until.is_some() && portion.is_empty() => {
                    self.part(link, true, waiting).await;
                    return (Ended::Over, Failure::unreachable("the certificate of the other server has expired"));
                }
                () = self.closing(), if portion.is_empty() => {
                    self.part(link, true, waiting).await;
                    return (Ended::Closing, Failure::unreachable("this server stops"));
                }
            };
            if let Some(broken) = broken {
                let failure = match broken {
                    Broken::Lost(why) => Failure::unreachable(why),
                    Broken::Refused(error) => refused(&error),
                };
                farewell(link, portion.is_empty()).await;
                return (Ended::Over, failure);
            }
        }
    }

    /// Makes the queue ready for a link.
    async fn begin(&self, link: &Link, waiting: &Waiting) {
        let stamp = |time| (self.ways().delay)(&waiting.pair.local, time).to_xml(CLIENT_NS);
        let left = {
            let mut state = waiting.lock();
            let before = state.queue.cost();
            let left = state.queue.begin(link.largest, Instant::now(), stamp);
            // What says how late it is has grown.
            self.charge((state.queue.cost() + left.freed).saturating_sub(before));
            left
        };
        self.answer(waiting, left, &error(Fault::TooLarge)).await;
    }

    /// What is to be written next, and when to look again although nothing happens.
    fn next_portion(&self, waiting: &Waiting, portion: &mut Vec<u8>) -> Option<Instant> {
        let mut state = waiting.lock();
        let queue = &mut state.queue;
        let mut attention = None;
        if queue.is_unconfirmed() {
            let now = Instant::now();
            if queue.probe_due(now).is_some_and(|due| due <= now) {
                let (id, probe) = self.probe(&waiting.pair);
                self.charge(queue.probe(id, probe, now));
            }
            attention = queue.probe_due(now).or_else(|| queue.silent_at());
        }
        portion.extend_from_slice(queue.portion());
        attention
    }

    /// A question that any server answers (XEP-0199), if only with an error (RFC 6120 §8.2.3).
    fn probe(&self, pair: &Pair) -> (String, Stanza<'static>) {
        let id = random::token(ID_OCTETS);
        let domain = |name| Jid::from(BareJid::from_kept(name));
        let probe = Stanza::new(Kind::Iq(IqType::Get))
            .id(id.clone())
            .from(domain(&pair.local))
            .to(domain(&pair.remote))
            .payload(self.ways().probe.clone());
        (id, probe)
    }

    /// Whether a stanza of `pair` that has come from the other server answers a probe; then it is dealt with.
    pub(crate) fn heard(&self, pair: &Pair, stanza: &Stanza<'_>) -> bool {
        let (Kind::Iq(IqType::Result | IqType::Error), Some(id)) = (stanza.kind, stanza.id.as_deref()) else {
            return false;
        };
        let is_domain = |jid: &Option<Jid>, domain: &str| jid.as_ref().is_some_and(|jid| jid.as_str() == domain);
        if !is_domain(&stanza.from, &pair.remote) || !is_domain(&stanza.to, &pair.local) {
            return false;
        }
        let Some(waiting) = self.queues().get(pair).cloned() else { return false };
        let Some(left) = waiting.lock().queue.answered(id) else { return false };
        self.delivered(&waiting, &left);
        waiting.news.notify_one();
        true
    }

    /// The other server of `pair` has connected to us.
    pub(crate) fn nudge(&self, pair: &Pair) {
        let Some(waiting) = self.queues().get(pair).cloned() else { return };
        waiting.lock().nudged = true;
        waiting.news.notify_one();
    }

    /// What a peer says on a stream that carries only our stanzas: nothing but its end matters.
    fn listen(&self, link: &mut Link) -> Result<(), Broken> {
        while let Some(event) = link.wire.read()? {
            match event {
                Event::Nonza(element) if element.is("error", STREAMS_NS) => {
                    return Err(Broken::Refused(StreamError::from_element(&element)));
                }
                // T-S2S-1: neither answers that nobody waits for nor anything else has an effect.
                Event::Nonza(_) => {}
                Event::Close => return Err(Broken::Lost("the other server closed the stream".to_owned())),
                Event::Open(_) | Event::Stanza(_) | Event::Rejected(_) => {
                    return Err(Broken::Refused(StreamError::new(
                        StreamCondition::NotAuthorized,
                        "stanzas go the other way",
                    )));
                }
            }
        }
        Ok(())
    }

    /// Ends a link from our side. A peer that ends the stream in its turn has handled all before (RFC 6120 §4.4).
    async fn part(&self, link: Link, whole: bool, waiting: &Waiting) {
        if !whole || !waiting.lock().queue.is_unconfirmed() {
            return farewell(link, whole).await;
        }
        if timeout(FAREWELL, conclude(link.wire)).await == Ok(true) {
            let left = waiting.lock().queue.confirm_all();
            self.delivered(waiting, &left);
        }
    }

    async fn answer_refused(&self, waiting: &Waiting) {
        let refused = std::mem::take(&mut waiting.lock().refused);
        let errors = refused.iter().filter_map(|(head, fault)| head.error(&error(*fault).stanza_error()));
        self.bounce(errors.collect()).await;
    }

    /// Answers what has left the queue with `failure`.
    async fn answer(&self, waiting: &Waiting, left: Left, failure: &Failure) {
        let error = failure.stanza_error();
        self.bounce(left.heads.iter().filter_map(|head| head.error(&error)).collect()).await;
        self.delivered(waiting, &left);
    }

    /// What has left the queue is done with.
    fn delivered(&self, waiting: &Waiting, left: &Left) {
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
            let left = state.queue.leave_behind();
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

/// Why a stanza was refused before anything was tried.
fn error(fault: Fault) -> Failure {
    let reason = match fault {
        Fault::Forbidden => "this server does not federate with that domain",
        Fault::TooLarge => "the other server does not take anything that large",
        _ => "too much is waiting for that domain",
    };
    Failure::new(fault, reason)
}

/// Ends a link from our side, politely unless a stanza was cut.
async fn farewell(link: Link, whole: bool) {
    let last = if whole { CLOSE } else { "" };
    let _ = timeout(FAREWELL, link.wire.close(last)).await;
}

/// Ends the stream and waits for the peer to do so; whether it did.
async fn conclude(mut wire: Wire) -> bool {
    if wire.write(CLOSE).await.is_err() {
        return false;
    }
    loop {
        match wire.event().await {
            Ok(Event::Close) => {
                wire.close("").await;
                return true;
            }
            Ok(Event::Nonza(element)) if element.is("error", STREAMS_NS) => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn stopping() -> Failure {
    Failure::unreachable("this server stops")
}

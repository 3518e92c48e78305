//! Queues and links brought together: one task per domain pair that has something to send.
//!
//! A stanza waits in the queue of its pair until a link is ready, goes out in order, and is answered
//! with an error if no link can be had. It must never know what a stanza means.
//!
//! While a link is being opened stanzas gather; when that fails all of them are answered, and for
//! [`REMEMBERED`] those that follow as well, without another attempt. A link that breaks is no failure;
//! if something waits, another is opened. Two links in a row that took nothing are one.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::federation::Federation;
use crate::federation::failure::{Failure, Fault};
use crate::federation::link::Link;
use crate::federation::outgoing::refused;
use crate::federation::queue::{Queue, head};
use crate::federation::wire::{Broken, Turn};
use crate::routing::{Pair, RemoteDelivery};
use crate::stanza::Stanza;
use crate::stream::{CLOSE, Event, STREAMS_NS, StreamCondition, StreamError};

/// How long a failure counts for what comes after it.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How long a peer may take no byte while something waits for it.
const STALLED: Duration = Duration::from_secs(60);
/// How long the last words of a link may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Refused stanzas that wait for their answer at most; beyond it they are dropped.
const REFUSED: usize = 4096;

/// What waits for one pair, and the bell of its task.
#[derive(Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Heads of stanzas that found no room, to be answered.
    refused: Vec<(Stanza<'static>, Fault)>,
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing waits, and how many stanzas have left so far.
    fn queued(&self) -> (bool, u64) {
        let state = self.lock();
        (state.queue.is_empty(), state.queue.gone())
    }
}

impl RemoteDelivery for Federation {
    fn send(&self, pair: &Pair, stanzas: Vec<Stanza<'static>>) {
        if stanzas.is_empty() {
            return;
        }
        loop {
            let waiting = self.waiting(pair);
            let mut state = waiting.lock();
            if state.retired {
                continue;
            }
            for stanza in stanzas {
                self.enqueue(&mut state, pair, stanza);
            }
            drop(state);
            waiting.news.notify_one();
            return;
        }
    }
}

impl Federation {
    fn enqueue(&self, state: &mut State, pair: &Pair, stanza: Stanza<'static>) {
        let settings = self.settings();
        let (stanza, fault) = if !settings.policy.permits(&pair.remote) {
            (stanza, Fault::Forbidden)
        } else if state.queue.cost() >= settings.queue_bytes || self.queued() >= settings.queue_bytes_total {
            (stanza, Fault::Overloaded)
        } else {
            match state.queue.push(stanza) {
                Ok(cost) => return self.charge(cost),
                Err(stanza) => (*stanza, Fault::TooLarge),
            }
        };
        if state.refused.len() < REFUSED {
            state.refused.push((head(stanza), fault));
        } else {
            tracing::warn!(local = %pair.local, remote = %pair.remote, "a stanza that found no room was dropped");
        }
    }

    /// The task of one pair; ends when nothing waits and no link is open.
    pub(crate) async fn tend(self: Arc<Self>, pair: Pair, waiting: Arc<Waiting>) {
        // Links in a row that took nothing, and how the last one ended.
        let mut fruitless: Option<(u8, Failure)> = None;
        loop {
            self.answer_refused(&waiting).await;
            if self.retire(&pair, &waiting) {
                return;
            }
            let (is_empty, gone) = waiting.queued();
            if is_empty {
                // Only refused stanzas came.
                continue;
            }
            let opened = match fruitless.take_if(|(times, _)| *times > 1) {
                Some((_, failure)) => Err(failure),
                None => self.open(&pair, &waiting).await,
            };
            match opened {
                Ok(link) => {
                    let (ended, why) = self.drive(link, &waiting).await;
                    waiting.lock().queue.link_lost();
                    tracing::debug!(local = %pair.local, remote = %pair.remote, reason = %why, "stream ended");
                    let times = fruitless.map_or(0, |(times, _)| times);
                    fruitless = (waiting.queued().1 == gone).then_some((times + 1, why));
                    if matches!(ended, Ended::Closing) {
                        self.give_up(&waiting, &stopping()).await;
                    }
                }
                Err(failure) => {
                    tracing::info!(local = %pair.local, remote = %pair.remote, %failure, "no stream to another server");
                    fruitless = None;
                    self.remember(&waiting, &failure).await;
                }
            }
        }
    }

    /// Opens a link; what is refused meanwhile is answered meanwhile.
    async fn open(&self, pair: &Pair, waiting: &Waiting) -> Result<Link, Failure> {
        let mut opening = pin!(self.links().deliver(pair));
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened,
                () = waiting.news.notified() => self.answer_refused(waiting).await,
                () = self.closing() => return Err(stopping()),
            }
        }
    }

    /// Answers everything with `failure`, now and for a while.
    async fn remember(&self, waiting: &Waiting, failure: &Failure) {
        let until = Instant::now() + REMEMBERED;
        loop {
            self.give_up(waiting, failure).await;
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                () = waiting.news.notified() => self.answer_refused(waiting).await,
                () = self.closing() => return self.give_up(waiting, &stopping()).await,
            }
        }
    }

    /// Writes what waits and reads what comes until the link ends.
    async fn drive(&self, mut link: Link, waiting: &Waiting) -> (Ended, Failure) {
        let (too_large, freed) = waiting.lock().queue.limit(link.largest);
        self.discharge(freed);
        let error = error(Fault::TooLarge).stanza_error();
        self.bounce(too_large.iter().filter_map(|head| head.error(&error)).collect()).await;
        let mut portion = Vec::new();
        let mut stalled = pin!(sleep(self.settings().idle_timeout));
        loop {
            if portion.is_empty() {
                portion.extend_from_slice(waiting.lock().queue.portion());
                let patience = if portion.is_empty() { self.settings().idle_timeout } else { STALLED };
                stalled.as_mut().reset(Instant::now() + patience);
            }
            let broken = tokio::select! {
                // Rare things first, so that a peer which never stops cannot hide them; what waits goes out before the end.
                biased;
                () = &mut stalled => {
                    let why = if portion.is_empty() { "idle" } else { "the other server takes nothing" };
                    farewell(link, portion.is_empty()).await;
                    return (Ended::Over, Failure::unreachable(why));
                }
                () = sleep_until(link.until.unwrap_or_else(Instant::now)), if link.until.is_some() && portion.is_empty() => {
                    farewell(link, true).await;
                    return (Ended::Over, Failure::unreachable("the certificate of the other server has expired"));
                }
                () = waiting.news.notified() => {
                    self.answer_refused(waiting).await;
                    None
                }
                () = self.closing(), if portion.is_empty() => {
                    farewell(link, true).await;
                    return (Ended::Closing, Failure::unreachable("this server stops"));
                }
                turn = link.wire.turn(&portion) => match turn {
                    Ok(Turn::HandedOver(count)) => {
                        let freed = waiting.lock().queue.handed_over(count);
                        self.discharge(freed);
                        portion.clear();
                        None
                    }
                    Ok(Turn::Arrived) => self.listen(&mut link).err(),
                    Err(broken) => Some(broken),
                },
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

    async fn answer_refused(&self, waiting: &Waiting) {
        let refused = std::mem::take(&mut waiting.lock().refused);
        let errors = refused.iter().filter_map(|(head, fault)| head.error(&error(*fault).stanza_error()));
        self.bounce(errors.collect()).await;
    }

    async fn give_up(&self, waiting: &Waiting, failure: &Failure) {
        let (heads, freed) = {
            let mut state = waiting.lock();
            let freed = state.queue.cost();
            (state.queue.take_all(), freed)
        };
        self.discharge(freed);
        let error = failure.stanza_error();
        self.bounce(heads.iter().filter_map(|head| head.error(&error)).collect()).await;
    }

    async fn bounce(&self, errors: Vec<Stanza<'static>>) {
        if let Some(inbound) = self.inbound().filter(|_| !errors.is_empty()) {
            inbound.bounced(errors).await;
        }
    }

    /// Takes the pair off the list if nothing waits.
    fn retire(&self, pair: &Pair, waiting: &Waiting) -> bool {
        let mut queues = self.queues();
        let mut state = waiting.lock();
        if state.queue.is_empty() && state.refused.is_empty() {
            state.retired = true;
            queues.remove(pair);
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

fn stopping() -> Failure {
    Failure::unreachable("this server stops")
}

//! What goes out on a stream that another server has opened and that goes both ways (XEP-0288): what waits for pairs that it
//! has proven, and our own words in between.
//!
//! A lane is what one queue has of the stream. Queues take turns, and nothing gets into the middle of a stanza. The tasks that
//! tend the queues lend them, and get them back when the lane ends. It must never know what comes in on the stream.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::federation::Federation;
use crate::federation::delivery::Waiting;
use crate::federation::driving::{Ended, IDLE, STALLED, UNPROVEN};
use crate::federation::failure::Failure;
use crate::federation::proof::Proof;
use crate::federation::queue::PORTION;
use crate::routing::Pair;

/// Words of ours that may wait for a peer that reads nothing.
const WORDS: usize = 64 * 1024;
/// So many queues may be on their way to a stream.
const LENT: usize = 16;

/// A queue on its way to a stream.
pub(crate) struct Lent {
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) end: oneshot::Sender<(Ended, Failure)>,
}

/// Where a queue can be lent to.
#[derive(Clone)]
pub(crate) struct WayBack {
    pub(crate) lend: mpsc::Sender<Lent>,
    /// Rung when there is something new in a queue that has been lent.
    pub(crate) bell: Arc<Notify>,
}

impl WayBack {
    /// Whether they lead to the same stream.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.lend.same_channel(&other.lend)
    }
}

struct Lane {
    lent: Lent,
    /// How the peer has proven that it takes what goes there.
    proof: Arc<Proof>,
    /// When something went out last.
    active: Instant,
    /// When to look again although nothing happens.
    attention: Option<Instant>,
}

impl Lane {
    /// Whether what has proven the peer still does.
    fn counts(&self, federation: &Federation) -> bool {
        federation.settings().accepts(&self.lent.waiting.pair.remote, Some(&self.proof))
    }
}

/// Whose bytes are being handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Words,
    Lane(usize),
}

/// What an end of a stream leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer takes nothing.
    Stalled,
}

/// All lanes of a stream.
pub(crate) struct Lanes {
    way: WayBack,
    lending: mpsc::Receiver<Lent>,
    lanes: Vec<Lane>,
    /// Which lane has its turn.
    turn: usize,
    /// Of ours, not handed over yet. How much of them goes at a time is not ours to say: it may be a part of a character.
    words: Vec<u8>,
    portion: Vec<u8>,
    source: Source,
    /// Since when it is being handed over.
    since: Instant,
    /// A stanza of this lane has been handed over in part.
    cut: Option<usize>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        let (lend, lending) = mpsc::channel(LENT);
        Self {
            way: WayBack { lend, bell: Arc::new(Notify::new()) },
            lending,
            lanes: Vec::new(),
            turn: 0,
            words: Vec::new(),
            portion: Vec::new(),
            source: Source::Words,
            since: Instant::now(),
            cut: None,
        }
    }

    pub(crate) fn way(&self) -> &WayBack {
        &self.way
    }

    /// Where queues come from, and what is to be handed over: empty if there is nothing.
    pub(crate) fn parts(&mut self) -> (&mut mpsc::Receiver<Lent>, &[u8]) {
        (&mut self.lending, &self.portion)
    }

    /// Takes a queue that was lent and is ready.
    pub(crate) fn take(&mut self, lent: Lent, proof: Arc<Proof>) {
        self.lanes.push(Lane { lent, proof, active: Instant::now(), attention: None });
    }

    /// Something of ours is to be said, as soon as no stanza is in the way.
    pub(crate) fn say(&mut self, words: &str) -> Result<(), Fault> {
        self.words.extend_from_slice(words.as_bytes());
        if self.words.len() > WORDS { Err(Fault::Stalled) } else { Ok(()) }
    }

    /// Whether something has been begun that the stream must not end in.
    fn is_busy(&self) -> bool {
        !self.portion.is_empty() || self.cut.is_some()
    }

    /// Puts the next portion together, if the one before has gone. `Finish` takes nothing new.
    pub(crate) fn fill(&mut self, federation: &Federation, what: What) {
        if !self.portion.is_empty() {
            return;
        }
        self.since = Instant::now();
        if let Some(at) = self.cut {
            if let Some(lane) = self.lanes.get(at) {
                let state = lane.lent.waiting.lock();
                // Whoever else waits gets a turn at the end of this stanza.
                let is_alone = self.lanes.len() == 1 && self.words.is_empty() && what == What::Everything;
                let portion = if is_alone { state.queue.portion() } else { state.queue.rest() };
                self.portion.extend_from_slice(portion);
            }
            self.source = Source::Lane(at);
            return;
        }
        if !self.words.is_empty() {
            self.portion.extend_from_slice(self.words.get(..PORTION).unwrap_or(&self.words));
            self.source = Source::Words;
            return;
        }
        if what == What::Finish {
            return;
        }
        for step in 0..self.lanes.len() {
            let at = (self.turn + step) % self.lanes.len();
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if !lane.counts(federation) {
                lane.attention = Some(self.since);
                continue;
            }
            lane.attention = federation.next_portion(&lane.lent.waiting, &mut self.portion);
            if !self.portion.is_empty() {
                (self.source, self.turn) = (Source::Lane(at), at + 1);
                return;
            }
        }
    }

    /// `count` bytes of the portion are with the operating system.
    pub(crate) fn handed_over(&mut self, count: usize, federation: &Federation) {
        let now = Instant::now();
        self.portion.clear();
        match self.source {
            Source::Words => self.words = self.words.split_off(count.min(self.words.len())),
            Source::Lane(at) => {
                let Some(lane) = self.lanes.get_mut(at) else { return };
                let mut state = lane.lent.waiting.lock();
                let freed = state.queue.handed_over(count, now);
                self.cut = state.queue.is_cut().then_some(at);
                drop(state);
                lane.active = now;
                federation.discharge(freed);
            }
        }
    }

    /// When something has to be looked at although nothing happens.
    pub(crate) fn attention(&self, federation: &Federation) -> Option<Instant> {
        if !self.portion.is_empty() {
            return Some(self.since + STALLED);
        }
        // All lanes have just been asked what they have.
        let idle = federation.settings().idle_timeout;
        self.lanes.iter().map(|lane| lane.attention.unwrap_or(lane.active + idle)).min()
    }

    /// Looks at what has had long enough. The pairs of lanes that have ended because the peer answers nothing, or counts as
    /// unproven now, are given back: their queues should not come here again.
    pub(crate) fn look(&mut self, federation: &Federation) -> Result<Vec<Pair>, Fault> {
        let now = Instant::now();
        if !self.portion.is_empty() && self.since + STALLED <= now {
            return Err(Fault::Stalled);
        }
        if self.is_busy() {
            return Ok(Vec::new());
        }
        let idle = federation.settings().idle_timeout;
        let (mut gone, mut stay) = (Vec::new(), Vec::new());
        for lane in std::mem::take(&mut self.lanes) {
            let (is_silent, is_idle) = {
                let queue = &lane.lent.waiting.lock().queue;
                let is_silent = queue.silent_at().is_some_and(|at| at <= now);
                (is_silent, queue.is_empty() && lane.active + idle <= now)
            };
            if is_silent {
                gone.push(lane.lent.waiting.pair.clone());
                end(lane, Ended::Broken, "the other server does not answer");
            } else if !lane.counts(federation) {
                gone.push(lane.lent.waiting.pair.clone());
                end(lane, Ended::InOrder, UNPROVEN);
            } else if is_idle {
                end(lane, Ended::InOrder, IDLE);
            } else {
                stay.push(lane);
            }
        }
        self.lanes = stay;
        Ok(gone)
    }

    /// Gives all queues back.
    pub(crate) fn end(&mut self, ended: Ended, why: &str) {
        self.lending.close();
        for lane in std::mem::take(&mut self.lanes) {
            end(lane, ended, why);
        }
        self.cut = None;
    }
}

/// What goes into a portion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Everything,
    /// Only what has been begun, and words of ours.
    Finish,
}

fn end(lane: Lane, ended: Ended, why: &str) {
    // Whoever has lent it and does not wait for it any more has it back already.
    let _ = lane.lent.end.send((ended, Failure::unreachable(why)));
}

impl Federation {
    /// Says where queues of `pair` can be lent to.
    pub(crate) fn offer(&self, pair: &Pair, way: &WayBack) {
        self.ways_back().insert(pair.clone(), way.clone());
    }

    /// Queues of `pair` are not taken there any more.
    pub(crate) fn withdraw(&self, pair: &Pair, way: &WayBack) {
        let mut ways = self.ways_back();
        if ways.get(pair).is_some_and(|other| other.is(way)) {
            ways.remove(pair);
        }
    }

    /// Lends a queue to a stream that the other server has opened, if there is one, until the lane ends.
    pub(crate) async fn lend(&self, waiting: &Arc<Waiting>) -> Option<(Ended, Failure)> {
        let way = self.ways_back().get(&waiting.pair).cloned()?;
        let (end, mut ended) = oneshot::channel();
        if way.lend.try_send(Lent { waiting: Arc::clone(waiting), end }).is_err() {
            self.withdraw(&waiting.pair, &way);
            return None;
        }
        self.connected_back(&waiting.pair);
        loop {
            tokio::select! {
                biased;
                ended = &mut ended => {
                    let broken = || {
                        let ended = if self.is_closing() { Ended::Closing } else { Ended::Broken };
                        (ended, Failure::unreachable("the connection to the other server broke"))
                    };
                    return Some(ended.unwrap_or_else(|_| broken()));
                }
                () = waiting.news() => {
                    self.answer_refused(waiting).await;
                    way.bell.notify_one();
                }
            }
        }
    }
}

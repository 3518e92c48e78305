//! What another server sends us, counted for it (XEP-0198): how many of its stanzas are in safe hands, and streams that it
//! may resume although their connection has broken, or this server has ended since.
//!
//! One stream of a pair of domains counts, the one that has begun last; whatever still comes on an older one has come on
//! this one, too, or will. A peer that does not know what of an older stream has arrived sends the last of it once more, in
//! front of everything else: the first messages of each sender on a stream are dropped as long as they are among those that
//! `recent` remembers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::federation::Federation;
use crate::federation::recent::{Coming, Print, Recent, Repeats, fingerprint};
use crate::hooks::Wish;
use crate::jid::BareJid;
use crate::random;
use crate::routing::{Pair, Progress};
use crate::stanza::Stanza;
use crate::storage::{Error, Map, Receipt, Writes};
use crate::stream::{StreamCondition, StreamError};

/// How long a stream may be resumed whose connection has broken.
const RESUMABLE: Duration = Duration::from_secs(600);
/// So many pairs are remembered without a stream, with so many messages altogether; longer ago means sooner forgotten.
pub(crate) const PAIRS: usize = 10_000;
const MESSAGES: usize = 1 << 20;
/// A pair that was not heard of for so long is forgotten when the server starts.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What has arrived lately, for the first of our domains. A pair has some rows; the last one says how far its stream has
/// come.
const ARRIVALS: Map<Row> = Map::new("arrivals");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    local: String,
    remote: String,
    number: u64,
    /// Milliseconds since 1970.
    written: i64,
    /// What the stream is called, if it may be resumed, and so many of its stanzas have been handled.
    stream: Option<String>,
    count: u64,
    /// Messages that have come.
    messages: Vec<u64>,
    /// Who has said them, as long as something may come once more on the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    senders: Option<Vec<u64>>,
}

fn key(pair: &Pair, number: u64) -> String {
    format!("{} {} {number}", pair.local, pair.remote)
}

/// What has arrived of one pair of domains.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Whoever routes its stanzas has this, so that no two streams do at the same time.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many streams there have been; the last one counts.
    streams: u64,
    /// When another one begins this is dropped.
    latest: Option<oneshot::Sender<()>>,
    /// What the stream is called, if it may be resumed.
    name: Option<String>,
    /// So many of its stanzas have been handled.
    count: u64,
    recent: Recent,
    /// Since when it has no connection.
    lost: Option<Instant>,
}

pub(crate) type Pairs = HashMap<Pair, Arc<Arrivals>>;

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the stream `name` may be resumed.
    fn is_resumable(&self, name: &str, now: Instant) -> bool {
        let is_late = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) >= RESUMABLE);
        self.name.as_deref() == Some(name) && !is_late
    }

    /// Says in storage how far the stream has come, and what is remembered.
    fn write(&mut self, pair: &Pair, owner: &BareJid, time: Timestamp, writes: &mut Writes) {
        self.forget_gone(pair, owner, writes);
        let (number, messages) = self.recent.row();
        let row = Row {
            local: pair.local.to_string(),
            remote: pair.remote.to_string(),
            number,
            written: time.unix_ms(),
            stream: self.name.clone(),
            count: self.count,
            messages: messages.to_vec(),
            senders: self.recent.senders().map(<[u64]>::to_vec),
        };
        // A row is always written as JSON.
        let _ = ARRIVALS.put(writes, owner, &key(pair, number), &row);
    }

    fn forget_gone(&mut self, pair: &Pair, owner: &BareJid, writes: &mut Writes) {
        for number in self.recent.take_gone() {
            ARRIVALS.delete(writes, owner, &key(pair, number));
        }
    }
}

/// How far a stream will have come when a batch is done; written with what its stanzas cause, so that both are known after a
/// crash or neither.
pub struct Note {
    arrivals: Arc<Arrivals>,
    owner: BareJid,
    pair: Pair,
    time: Timestamp,
    /// For each stanza, how many the stream has brought with it, and what tells it from others.
    stanzas: Vec<(u64, Option<Print>)>,
    /// So many of them are noted.
    noted: usize,
}

impl Progress for Note {
    fn reached(&mut self, routed: usize, writes: &mut Writes) {
        let mut state = self.arrivals.lock();
        let more = self.stanzas.get(self.noted..routed).unwrap_or_default();
        state.recent.add(more.iter().filter_map(|(_, print)| *print), Instant::now());
        if let Some((count, _)) = more.last() {
            state.count = *count;
        }
        self.noted += more.len();
        if !writes.is_empty() {
            state.write(&self.pair, &self.owner, self.time, writes);
        }
    }
}

/// How many stanzas of one stream have been handled, and what the peer is told of them.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    count: u64,
    /// So many of them are in safe hands.
    durable: u64,
    /// Further ones: up to which count, and what has to become durable for that. Both only grow.
    unsettled: VecDeque<(u64, Receipt)>,
    /// The peer wants to know up to this count.
    asked: Option<u64>,
}

impl Counting {
    /// What everything that has been handled waits for.
    pub(crate) fn latest(&self) -> Receipt {
        self.unsettled.back().map_or(Receipt::NONE, |(_, receipt)| *receipt)
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// `more` stanzas have been handled, and are in safe hands once `receipt` is durable.
    fn handled(&mut self, more: u64, receipt: Receipt) {
        self.count += more;
        let receipt = receipt.max(self.latest());
        match self.unsettled.back_mut() {
            Some((upto, last)) if *last == receipt => *upto = self.count,
            None if receipt == Receipt::NONE => self.durable = self.count,
            _ => self.unsettled.push_back((self.count, receipt)),
        }
    }

    /// The peer wants to know how far that is.
    pub(crate) fn ask(&mut self) {
        self.asked = Some(self.count);
    }

    /// Whether it waits for an answer.
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// How far everything is in safe hands.
    pub(crate) fn reached(&mut self, is_durable: impl Fn(Receipt) -> bool) -> u64 {
        while let Some((upto, _)) = self.unsettled.pop_front_if(|(_, receipt)| is_durable(*receipt)) {
            self.durable = upto;
        }
        self.durable
    }

    /// The answer to the peer, if that is all it has asked for.
    pub(crate) fn answer(&mut self, is_durable: impl Fn(Receipt) -> bool) -> Option<u64> {
        let asked = self.asked?;
        let reached = self.reached(is_durable);
        (reached >= asked).then(|| {
            self.asked = None;
            reached
        })
    }
}

/// A stream that is counted.
pub(crate) struct Counted {
    pub(crate) counting: Counting,
    arrivals: Arc<Arrivals>,
    /// Which of the streams of the pair it is.
    number: u64,
    /// Fails when another one has begun.
    superseded: oneshot::Receiver<()>,
    repeats: Repeats,
    /// Something was dropped that is not counted in storage.
    has_dropped: bool,
    /// What has come since something was routed last.
    stanzas: Vec<(u64, Option<Print>)>,
    pair: Pair,
    owner: BareJid,
    federation: Arc<Federation>,
}

impl Counted {
    /// Whether a stanza for `pair` is a message that has come before; if not, it is the next one to be routed. It is the
    /// `more`th since the last ones were.
    pub(crate) fn is_repeated(&mut self, pair: &Pair, stanza: &Stanza<'_>, more: u64) -> bool {
        let print = if *pair == self.pair { fingerprint(stanza) } else { None };
        match print.map(|print| self.repeats.take(print, Instant::now)) {
            Some(Coming::Again) => {
                self.has_dropped = true;
                return true;
            }
            Some(Coming::NewFirst) => self.arrivals.lock().recent.confirmed(Instant::now()),
            Some(Coming::New) | None => {}
        }
        self.stanzas.push((self.counting.count + more, print));
        false
    }

    /// Has everybody else wait who routes stanzas of the pair.
    ///
    /// # Errors
    /// `conflict` if another stream has taken the place of this one.
    pub(crate) async fn turn(&self) -> Result<OwnedMutexGuard<()>, StreamError> {
        let turn = Arc::clone(&self.arrivals.turn).lock_owned().await;
        if self.is_latest(&self.arrivals.lock()) { Ok(turn) } else { Err(StreamCondition::Conflict.into()) }
    }

    const fn is_latest(&self, state: &State) -> bool {
        state.streams == self.number
    }

    /// What is to be written with the effects of what has come.
    pub(crate) fn note(&mut self) -> Note {
        Note {
            arrivals: Arc::clone(&self.arrivals),
            owner: self.owner.clone(),
            pair: self.pair.clone(),
            time: self.federation.ways().clock.now(),
            stanzas: std::mem::take(&mut self.stanzas),
            noted: 0,
        }
    }

    /// `more` stanzas have been handled, and are in safe hands once `receipt` is durable.
    pub(crate) fn handled(&mut self, more: u64, mut receipt: Receipt) {
        let mut state = self.arrivals.lock();
        if self.is_latest(&state) {
            state.count = self.counting.count + more;
            // Nobody would know it on a stream that is resumed after a crash.
            if std::mem::take(&mut self.has_dropped) {
                let ways = self.federation.ways();
                let mut writes = Writes::new();
                state.write(&self.pair, &self.owner, ways.clock.now(), &mut writes);
                receipt = receipt.max(ways.storage.submit(writes));
            }
        }
        drop(state);
        self.counting.handled(more, receipt);
    }

    /// Resolves when another stream takes the place of this one; not to be asked again after that.
    pub(crate) async fn superseded(&mut self) {
        let _ = (&mut self.superseded).await;
    }

    /// The peer has closed the stream: it does not go on.
    pub(crate) fn close(self) {
        let mut state = self.arrivals.lock();
        if self.is_latest(&state) {
            state.name = None;
            state.recent.end(Instant::now());
            let mut writes = Writes::new();
            state.forget_gone(&self.pair, &self.owner, &mut writes);
            self.federation.ways().storage.submit(writes);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.arrivals.lock();
        if self.is_latest(&state) {
            state.lost = Some(Instant::now());
            self.federation.note_end();
        }
    }
}

impl Federation {
    /// Who has the rows in storage.
    fn arrivals_owner(&self) -> BareJid {
        BareJid::from_kept(&self.rules().name)
    }

    /// Counts a stream of `pair` from now on; gives what it is called and for how long it may be resumed, if it may.
    pub(crate) async fn count(self: &Arc<Self>, pair: &Pair, wish: Wish) -> (Counted, Option<(String, Duration)>) {
        let name = (wish != Wish::Count).then(random::token);
        let arrivals = Arc::clone(self.arrivals().entry(pair.clone()).or_default());
        let _turn = arrivals.turn.lock().await;
        let counted = self.start_counting(pair, &arrivals, |state| {
            (state.name, state.count) = (name.clone(), 0);
            state.recent.begin(Instant::now())
        });
        (counted, name.map(|name| (name, RESUMABLE)))
    }

    /// Goes on with the stream `name`, if it is one of those that have proven one of `pairs`.
    pub(crate) async fn take_over<'p>(
        self: &Arc<Self>,
        pairs: impl IntoIterator<Item = &'p Pair>,
        name: &str,
    ) -> Option<Counted> {
        let is_meant = |arrivals: &Arrivals| arrivals.lock().is_resumable(name, Instant::now());
        let (pair, arrivals) = {
            let known = self.arrivals();
            let mut found = pairs.into_iter().filter_map(|pair| Some((pair, known.get(pair)?)));
            let (pair, arrivals) = found.find(|(_, arrivals)| is_meant(arrivals))?;
            (pair, Arc::clone(arrivals))
        };
        let _turn = arrivals.turn.lock().await;
        // Meanwhile the peer may have begun anew.
        let resume = |state: &mut State| state.recent.resume(Instant::now());
        is_meant(&arrivals).then(|| self.start_counting(pair, &arrivals, resume))
    }

    /// From now on another stream counts; whoever says so has the turn.
    fn start_counting(
        self: &Arc<Self>,
        pair: &Pair,
        arrivals: &Arc<Arrivals>,
        prepare: impl FnOnce(&mut State) -> Repeats,
    ) -> Counted {
        let (latest, superseded) = oneshot::channel();
        let mut state = arrivals.lock();
        let repeats = prepare(&mut state);
        state.streams += 1;
        (state.latest, state.lost) = (Some(latest), None);
        let mut counting = Counting::default();
        // What has been handled, and what is remembered, need not be durable yet.
        counting.handled(state.count, self.ways().storage.latest());
        let number = state.streams;
        drop(state);
        Counted {
            counting,
            arrivals: Arc::clone(arrivals),
            number,
            superseded,
            repeats,
            has_dropped: false,
            stanzas: Vec::new(),
            pair: pair.clone(),
            owner: self.arrivals_owner(),
            federation: Arc::clone(self),
        }
    }

    /// Forgets pairs without a stream if there are too many, once some streams have ended.
    pub(crate) fn forget_some(&self) {
        if !self.take_end() {
            return;
        }
        let mut known = self.arrivals();
        // Nobody is about to begin a stream of it.
        let is_idle = |arrivals: &Arc<Arrivals>| Arc::strong_count(arrivals) == 1;
        let since = |arrivals: &Arc<Arrivals>| arrivals.lock().lost.filter(|_| is_idle(arrivals));
        let count = |arrivals: &Arc<Arrivals>| arrivals.lock().recent.size();
        let (mut pairs, mut messages) = (0, 0);
        for arrivals in known.values().filter(|arrivals| since(arrivals).is_some()) {
            (pairs, messages) = (pairs + 1, messages + count(arrivals));
        }
        if pairs <= PAIRS && messages <= MESSAGES {
            return;
        }
        let lost = known.iter().filter_map(|(pair, arrivals)| Some((since(arrivals)?, count(arrivals), pair.clone())));
        let mut lost: Vec<(Instant, usize, Pair)> = lost.collect();
        lost.sort_unstable_by_key(|(since, ..)| *since);
        let (mut writes, owner) = (Writes::new(), self.arrivals_owner());
        for (_, count, pair) in lost {
            if pairs <= PAIRS && messages <= MESSAGES {
                break;
            }
            (pairs, messages) = (pairs - 1, messages - count);
            let gone = known.remove(&pair);
            let rows = gone.iter().flat_map(|arrivals| arrivals.lock().recent.rows().collect::<Vec<_>>());
            rows.for_each(|number| ARRIVALS.delete(&mut writes, &owner, &key(&pair, number)));
        }
        drop(known);
        self.ways().storage.submit(writes);
    }

    /// Has the streams wait that could be resumed when the server ended. To be called once, before anybody connects.
    ///
    /// # Errors
    /// What storage says.
    pub async fn restore(&self) -> Result<(), Error> {
        let owner = self.arrivals_owner();
        let kept = self.ways().storage.read({
            let owner = owner.clone();
            move |view| view.items(&ARRIVALS, &owner)
        });
        let mut rows: Vec<(String, Row)> = kept.await?;
        rows.sort_unstable_by_key(|(_, row)| row.number);
        let (now, time, mut writes) = (Instant::now(), self.ways().clock.now(), Writes::new());
        let mut known = self.arrivals();
        for (key, row) in rows {
            if time.since(Timestamp::from_unix_ms(row.written)) > FORGOTTEN {
                ARRIVALS.delete(&mut writes, &owner, &key);
                continue;
            }
            let pair = Pair { local: row.local.into(), remote: row.remote.into() };
            let mut state = known.entry(pair).or_default().lock();
            // The last rows are those of the stream.
            let begins = row.stream != state.name;
            state.recent.restore((row.number, row.messages), row.senders, begins, now);
            (state.name, state.count, state.lost) = (row.stream, row.count, Some(now));
        }
        drop(known);
        self.ways().storage.submit(writes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    /// Receipts that grow.
    fn receipts(count: usize) -> Vec<Receipt> {
        let storage = Storage::open_in_memory().unwrap();
        let next = || {
            let mut writes = Writes::new();
            ARRIVALS.delete(&mut writes, &BareJid::parse("here.example").unwrap(), "x");
            storage.submit(writes)
        };
        (0..count).map(|_| next()).collect()
    }

    // Proves: XEP-0198 §4
    #[test]
    fn only_what_is_durable_is_acknowledged() {
        let receipts = receipts(3);
        let upto = |last: usize| {
            let last = receipts[last];
            move |receipt: Receipt| receipt <= last
        };
        let mut counting = Counting::default();
        counting.handled(2, Receipt::NONE);
        counting.ask();
        assert_eq!(counting.answer(|_| false), Some(2), "nothing was written");
        assert_eq!(counting.answer(|_| true), None, "it has not asked again");
        counting.handled(1, receipts[1]);
        counting.handled(3, Receipt::NONE);
        counting.handled(1, receipts[2]);
        assert_eq!((counting.count(), counting.latest()), (7, receipts[2]));
        counting.ask();
        assert_eq!(counting.answer(upto(0)), None);
        assert_eq!(counting.reached(upto(0)), 2);
        assert_eq!(counting.reached(upto(1)), 6, "what wrote nothing waits for what came before it");
        assert_eq!(counting.answer(upto(1)), None);
        assert_eq!(counting.answer(upto(2)), Some(7));
    }
}

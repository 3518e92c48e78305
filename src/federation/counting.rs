//! What another server sends us, counted for it (XEP-0198): how many of its stanzas are in safe hands, and streams that it
//! may resume although their connection has broken, or this server has ended since.
//!
//! A peer that has ended in the middle does not know what of its last stream has arrived, and sends the last of it once
//! more, in front of everything else. So the first messages of its next stream are dropped if they were the last of the
//! stream before, up to the first that was not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::accounts::random;
use crate::federation::Federation;
use crate::hooks::Wish;
use crate::jid::{BareJid, Jid};
use crate::routing::Pair;
use crate::stanza::{Kind, Stanza};
use crate::storage::{Error, Map, Receipt, Writes};

/// How long a stream is remembered whose connection has broken.
const REMEMBERED: Duration = Duration::from_secs(600);
/// For how long messages are remembered that a peer may send once more.
const RECENT: Duration = Duration::from_secs(10);
/// So many of them at most.
const RECENTS: usize = 16_384;
/// So many streams may be resumed; further ones are only counted.
const MOST: usize = 10_000;
/// Octets of randomness in the name of a stream.
const NAME_OCTETS: usize = 16;

/// The streams that may be resumed, by their names, with the first of our domains.
const STREAMS: Map<Record> = Map::new("streams");

/// A stream in storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    local: String,
    remote: String,
    /// So many of its stanzas have been handled, and what they caused is written.
    count: u64,
}

/// How far a stream will have come when a batch is done.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    owner: &'a BareJid,
    name: Option<&'a str>,
    pair: &'a Pair,
    count: u64,
}

impl Note<'_> {
    /// To be written with what the stanzas caused, so that both are known after a crash or neither.
    pub fn write(&self, writes: &mut Writes) {
        let Some(name) = self.name else { return };
        let Pair { local, remote } = self.pair;
        let record = Record { local: local.to_string(), remote: remote.to_string(), count: self.count };
        // A record is always written as JSON.
        let _ = STREAMS.put(writes, self.owner, name, &record);
    }
}

/// How many stanzas of one stream have been handled.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    /// What the stream is called, if it may be resumed.
    name: Option<String>,
    count: u64,
    /// So many of them are in safe hands.
    durable: u64,
    /// Further ones: up to which count, and what has to become durable for that. Both only grow.
    unsettled: VecDeque<(u64, Receipt)>,
    /// The peer wants to know up to this count.
    asked: Option<u64>,
    recent: Recent,
}

impl Counting {
    const fn new(name: Option<String>, count: u64) -> Self {
        Self { name, count, durable: count, unsettled: VecDeque::new(), asked: None, recent: Recent::new() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// What everything that has been handled waits for.
    pub(crate) fn latest(&self) -> Receipt {
        self.unsettled.back().map_or(Receipt::NONE, |(_, receipt)| *receipt)
    }

    /// `more` stanzas have been handled, and are in safe hands once `receipt` is durable.
    pub(crate) fn handled(&mut self, more: u64, receipt: Receipt) {
        self.count += more;
        let receipt = receipt.max(self.latest());
        match self.unsettled.back_mut() {
            Some((upto, last)) if *last == receipt => *upto = self.count,
            None if receipt == Receipt::NONE => self.durable = self.count,
            _ => self.unsettled.push_back((self.count, receipt)),
        }
    }

    fn remember(&mut self, message: u64, now: Instant) {
        let is_old = |(time, _): &(Instant, u64)| now.saturating_duration_since(*time) > RECENT;
        while self.recent.len() >= RECENTS || self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, message));
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

/// Asks for the count of a stream in order to go on with it.
type Claim = oneshot::Sender<Counting>;

/// A stream that may be resumed.
pub(crate) struct Stream {
    pair: Pair,
    state: State,
}

enum State {
    /// It has a connection, which gives it up when it is asked to.
    Open(mpsc::UnboundedSender<Claim>),
    Lost {
        counting: Counting,
        until: Instant,
    },
    /// The peer has closed it, and may not know of our last answer.
    Closed {
        recent: Recent,
        until: Instant,
    },
}

/// Messages, and when they came.
type Recent = VecDeque<(Instant, u64)>;

pub(crate) type Streams = HashMap<String, Stream>;

impl State {
    /// Until when a stream without connection is remembered.
    const fn until(&self) -> Option<Instant> {
        match self {
            Self::Open(_) => None,
            Self::Lost { until, .. } | Self::Closed { until, .. } => Some(*until),
        }
    }

    fn recent(self) -> Recent {
        match self {
            Self::Open(_) => Recent::new(),
            Self::Lost { counting, .. } => counting.recent,
            Self::Closed { recent, .. } => recent,
        }
    }
}

/// The count of a stream that has a connection; when it goes, the stream waits to be resumed.
pub(crate) struct Counted {
    pub(crate) counting: Counting,
    pub(crate) claims: mpsc::UnboundedReceiver<Claim>,
    /// The last messages of the stream before.
    repeats: HashSet<u64>,
    pair: Pair,
    owner: BareJid,
    federation: Arc<Federation>,
}

impl Counted {
    /// What is to be written when `more` stanzas are handled.
    pub(crate) fn note(&self, more: u64) -> Note<'_> {
        let count = self.counting.count() + more;
        Note { owner: &self.owner, name: self.counting.name(), pair: &self.pair, count }
    }

    /// Whether a stanza for `pair` is a message that was among the last of the stream before.
    pub(crate) fn is_repeated(&mut self, pair: &Pair, stanza: &Stanza<'_>) -> bool {
        if *pair != self.pair {
            return false;
        }
        let Some(message) = fingerprint(stanza) else { return false };
        self.counting.remember(message, Instant::now());
        let is_repeated = self.repeats.remove(&message);
        if !is_repeated && !self.repeats.is_empty() {
            // What is sent once more comes first.
            self.repeats = HashSet::new();
        }
        is_repeated
    }

    /// Gives the stream to whoever goes on with it.
    pub(crate) fn give_up(&mut self, claim: Claim) {
        // If nobody goes on with it, it is back in its place.
        if let Err(counting) = claim.send(std::mem::take(&mut self.counting)) {
            self.counting = counting;
        }
    }

    /// The peer has closed the stream: it does not go on.
    pub(crate) fn close(mut self) {
        if let Some(name) = self.counting.name.take() {
            let recent = std::mem::take(&mut self.counting.recent);
            let state = State::Closed { recent, until: Instant::now() + REMEMBERED };
            self.federation.streams().insert(name.clone(), Stream { pair: self.pair.clone(), state });
            self.federation.forget(&self.owner, [name]);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counting = std::mem::take(&mut self.counting);
        if let Some(name) = counting.name.clone() {
            let state = State::Lost { counting, until: Instant::now() + REMEMBERED };
            self.federation.streams().insert(name, Stream { pair: self.pair.clone(), state });
        }
    }
}

/// What tells a message from others of its pair: its sender, its id, and what it says. `None` without an id: then nobody
/// can say whether somebody says the same thing twice.
fn fingerprint(stanza: &Stanza<'_>) -> Option<u64> {
    let (Kind::Message(_), Some(id)) = (stanza.kind, &stanza.id) else { return None };
    let mut said = stanza.payload.as_str();
    // A message that is sent once more may say how late it is, behind everything else.
    while let Some((front, _)) =
        said.rsplit_once("<delay ").filter(|(_, last)| last.ends_with("/>") && !last.contains('<'))
    {
        said = front;
    }
    let mut hasher = DefaultHasher::new();
    (stanza.from.as_ref().map(Jid::as_str), stanza.to.as_ref().map(Jid::as_str), id, said).hash(&mut hasher);
    Some(hasher.finish())
}

impl Federation {
    /// Who has the streams in storage.
    fn streams_owner(&self) -> BareJid {
        BareJid::from_kept(&self.rules().name)
    }

    fn forget(&self, owner: &BareJid, names: impl IntoIterator<Item = String>) {
        let mut writes = Writes::new();
        names.into_iter().for_each(|name| STREAMS.delete(&mut writes, owner, &name));
        self.ways().storage.submit(writes);
    }

    /// Counts a stream of `pair` from now on; gives for how long it may be resumed, if it may.
    pub(crate) fn count(self: &Arc<Self>, pair: &Pair, wish: Wish) -> (Counted, Option<Duration>) {
        let owner = self.streams_owner();
        let now = Instant::now();
        let mut streams = self.streams();
        // Who begins anew does not go on with what was before.
        let is_over = |stream: &Stream| stream.state.until().is_some_and(|until| until <= now || stream.pair == *pair);
        let (mut over, mut repeats) = (Vec::new(), HashSet::new());
        for (name, stream) in streams.extract_if(|_, stream| is_over(stream)) {
            over.push(name);
            if stream.pair == *pair {
                repeats.extend(stream.state.recent().into_iter().map(|(_, message)| message));
            }
        }
        let is_full = streams.len() >= MOST;
        drop(streams);
        self.forget(&owner, over);
        // A name that could be guessed is none.
        let wanted = !is_full && wish != Wish::Count;
        let name = Some(random::token(NAME_OCTETS)).filter(|name| wanted && !name.is_empty());
        let time = name.as_ref().map(|_| REMEMBERED);
        let mut counted = self.counted(pair, Counting::new(name, 0), owner);
        counted.repeats = repeats;
        (counted, time)
    }

    fn counted(self: &Arc<Self>, pair: &Pair, counting: Counting, owner: BareJid) -> Counted {
        let (claim, claims) = mpsc::unbounded_channel();
        if let Some(name) = counting.name() {
            let stream = Stream { pair: pair.clone(), state: State::Open(claim) };
            self.streams().insert(name.to_owned(), stream);
        }
        let federation = Arc::clone(self);
        Counted { counting, claims, repeats: HashSet::new(), pair: pair.clone(), owner, federation }
    }

    /// Goes on with the stream `name`, if it is one of those that have proven one of `pairs`.
    pub(crate) async fn take_over(self: &Arc<Self>, pairs: &[Pair], name: &str) -> Option<Counted> {
        let now = Instant::now();
        let (pair, claim) = {
            let mut streams = self.streams();
            let stream = streams.get(name).filter(|stream| pairs.contains(&stream.pair))?;
            let pair = stream.pair.clone();
            match &stream.state {
                State::Open(claim) => (pair, claim.clone()),
                State::Lost { until, .. } if *until <= now => return None,
                State::Closed { .. } => return None,
                State::Lost { .. } => {
                    let State::Lost { counting, .. } = streams.remove(name)?.state else { return None };
                    drop(streams);
                    return Some(self.counted(&pair, counting, self.streams_owner()));
                }
            }
        };
        let (answer, counting) = oneshot::channel();
        claim.send(answer).ok()?;
        Some(self.counted(&pair, counting.await.ok()?, self.streams_owner()))
    }

    /// Has the streams wait that could be resumed when the server ended. To be called once, before anybody connects.
    ///
    /// # Errors
    /// What storage says.
    pub async fn restore(&self) -> Result<(), Error> {
        let owner = self.streams_owner();
        let kept = self.ways().storage.read(move |view| view.items(&STREAMS, &owner)).await?;
        let until = Instant::now() + REMEMBERED;
        let streams = kept.into_iter().map(|(name, record)| {
            let pair = Pair { local: record.local.into(), remote: record.remote.into() };
            let counting = Counting::new(Some(name.clone()), record.count);
            (name, Stream { pair, state: State::Lost { counting, until } })
        });
        self.streams().extend(streams);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, MessageType, Payload};
    use crate::storage::Storage;

    /// Receipts that grow.
    fn receipts(count: usize) -> Vec<Receipt> {
        let storage = Storage::open_in_memory().unwrap();
        let next = || {
            let mut writes = Writes::new();
            STREAMS.delete(&mut writes, &BareJid::parse("here.example").unwrap(), "x");
            storage.submit(writes)
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_message_is_told_by_who_says_what_under_which_id() {
        let print = |from: &str, id: &'static str, said: &str| {
            let message = Stanza::new(Kind::Message(MessageType::Chat)).from(from.parse::<Jid>().ok()).id(id);
            fingerprint(&message.payload(Payload::canonical(said))).unwrap()
        };
        let delay = "<delay xmlns='urn:xmpp:delay' from='here.example' stamp='2026-01-01T00:00:00.000Z'/>";
        let one = print("a@here.example/x", "1", "<body>hi</body>");
        assert_eq!(one, print("a@here.example/x", "1", &format!("<body>hi</body>{delay}{delay}")));
        assert_ne!(one, print("a@here.example/x", "1", &format!("<body>hi</body>{delay}<x xmlns='y'/>")));
        for other in [
            print("a@here.example/y", "1", "<body>hi</body>"),
            print("a@here.example/x", "2", "<body>hi</body>"),
            print("a@here.example/x", "1", "<body>ho</body>"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(fingerprint(&Stanza::new(Kind::Message(MessageType::Chat))), None);
        assert_eq!(fingerprint(&Stanza::new(Kind::Iq(IqType::Get)).id("1")), None);
    }

    #[test]
    fn recent_messages_are_bounded_in_time_and_number() {
        let mut counting = Counting::default();
        let begin = Instant::now();
        for number in 0..=RECENTS as u64 {
            counting.remember(number, begin);
        }
        assert_eq!((counting.recent.len(), counting.recent[0].1), (RECENTS, 1));
        counting.remember(0, begin + RECENT + Duration::from_secs(1));
        assert_eq!(counting.recent.len(), 1);
    }

    // Proves: XEP-0198 §4
    #[test]
    fn only_what_is_durable_is_acknowledged() {
        let receipts = receipts(3);
        let upto = |last: usize| {
            let last = receipts[last];
            move |receipt: Receipt| receipt <= last
        };
        let mut counting = Counting::new(None, 0);
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

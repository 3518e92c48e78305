//! One link in use: what waits is written, what the peer says about it is taken in, until one of the two ends it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::federation::Federation;
use crate::federation::audit::{Direction, Listed};
use crate::federation::back::Back;
use crate::federation::delivery::{Waiting, error};
use crate::federation::failure::{Failure, Fault};
use crate::federation::inbound::Inbound;
use crate::federation::link::Link;
use crate::federation::meter::end_of;
use crate::federation::outgoing::refused;
use crate::federation::questions::{Questions, is_between_domains};
use crate::federation::queue::Left;
use crate::federation::wire::{Broken, Turn};
use crate::federation::xep_0220_dialback::Dialback;
use crate::hooks::{Acknowledgement, Heard};
use crate::jid::{BareJid, Jid};
use crate::random;
use crate::routing::Pair;
use crate::stanza::{IqType, Kind, Stanza};
use crate::stream::{CLOSE, Event, STREAMS_NS, StreamCondition, StreamError};
use crate::xml::Element;

/// How long a peer may take no byte while something waits for it.
pub(crate) const STALLED: Duration = Duration::from_secs(60);
/// Why a link ends that nobody needs.
pub(crate) const IDLE: &str = "idle";
/// Why a link ends that the peer does not need.
const CLOSED: &str = "the other server closed the stream";
/// Why a link ends whose proof the operator does not accept any more.
pub(crate) const UNPROVEN: &str = "what has proven the other server counts no more";
/// How long the last words of a link may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a stream may be resumed of which the peer does not say it.
const RESUMABLE: Duration = Duration::from_secs(300);

/// How a link came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    /// It is not needed any more, or the peer had enough and has said so; whatever waits gets another.
    InOrder,
    /// It broke: the peer may have gone, and what was on the way with it.
    Broken,
    /// The server stops.
    Closing,
}

impl Federation {
    /// Writes what waits and reads what comes until the link ends.
    pub(crate) async fn drive(&self, mut link: Link, waiting: &Waiting) -> (Ended, Failure) {
        if let Err(broken) = self.begin(&mut link, waiting).await {
            farewell(link, &last_words(&broken)).await;
            return (ended(&broken), broken.into());
        }
        let listed = self.audit().list(Direction::Out, link.wire.transport(), self.ways().clock.now());
        listed.prove(&waiting.pair, link.proof.as_ref());
        if let Some(back) = &mut link.back {
            back.meter.join(&waiting.pair.remote, self);
            listed.goes_both_ways();
        }
        let Stop { ended, why, last } = self.exchange(&mut link, waiting, &listed).await;
        if let (Ended::Broken, Some(back)) = (ended, &link.back) {
            back.others().for_each(|pair| self.lost(pair));
        }
        match last {
            Last::InOrder => self.part(link, waiting).await,
            Last::Words(words) => {
                self.answer_all(&mut link).await;
                farewell(link, &words).await;
            }
        }
        (ended, why)
    }

    async fn exchange(&self, link: &mut Link, waiting: &Waiting, listed: &Listed) -> Stop {
        let mut portion = Vec::new();
        let mut attention = None;
        let mut stalled = pin!(sleep(self.settings().idle_timeout));
        loop {
            if portion.is_empty() {
                if !self.settings().accepts(&waiting.pair.remote, link.proof.as_deref()) {
                    return Stop::in_order(Ended::InOrder, UNPROVEN);
                }
                attention = self.next_portion(waiting, &mut portion);
                let patience = if portion.is_empty() { self.settings().idle_timeout } else { STALLED };
                stalled.as_mut().reset(Instant::now() + patience);
            }
            let rest = link.back.as_ref().and_then(|back| back.meter.rest());
            let reads = rest.is_none() && link.back.as_ref().is_none_or(|back| !back.questions.are_many());
            let broken = tokio::select! {
                // Rare things first, so that a peer which never stops cannot hide them; what waits goes out before the end.
                biased;
                () = &mut stalled => return match portion.is_empty() {
                    true => Stop::in_order(Ended::InOrder, IDLE),
                    false => {
                        let why = Failure::unreachable("the other server takes nothing");
                        Stop { ended: Ended::Broken, why, last: Last::Words(String::new()) }
                    }
                },
                () = waiting.news() => {
                    self.answer_refused(waiting).await;
                    None
                }
                () = sleep_until(link.until.unwrap_or_else(Instant::now)), if link.until.is_some() && portion.is_empty() => {
                    return Stop::in_order(Ended::InOrder, "the certificate of the other server has expired");
                }
                () = self.closing(), if portion.is_empty() => {
                    return Stop::in_order(Ended::Closing, "this server stops");
                }
                () = end_of(rest), if rest.is_some() => {
                    link.back.iter_mut().for_each(|back| back.meter.rested());
                    None
                }
                question = Questions::due(link.back.as_mut().map(|back| &mut back.questions), &self.ways().storage) => {
                    self.put(question).await.err().map(Broken::from)
                }
                turn = link.wire.turn(&portion, reads) => match turn {
                    Ok(Turn::HandedOver(count)) => {
                        let freed = waiting.lock().queue.handed_over(count, Instant::now());
                        self.discharge(freed);
                        listed.count(count);
                        portion.clear();
                        None
                    }
                    Ok(Turn::Arrived) => self.listen(link, waiting, listed).await.err(),
                    Err(broken) => Some(broken),
                },
                () = sleep_until(attention.unwrap_or_else(Instant::now)), if attention.is_some() && portion.is_empty() => {
                    if waiting.lock().queue.silent_at().is_some_and(|at| at <= Instant::now()) {
                        return Stop::in_order(Ended::Broken, "the other server does not answer");
                    }
                    None
                }
            };
            if let Some(broken) = broken {
                // Nothing gets into the middle of a stanza.
                let words = if portion.is_empty() { last_words(&broken) } else { String::new() };
                return Stop { ended: ended(&broken), why: broken.into(), last: Last::Words(words) };
            }
        }
    }

    /// Makes the queue ready for a link, and goes on with the stream before if the peer does so.
    async fn begin(&self, link: &mut Link, waiting: &Waiting) -> Result<(), Broken> {
        let inbound = self.inbound();
        let words = inbound.as_deref().and_then(Inbound::acknowledgement);
        // On a stream that goes both ways nothing is counted: it would have to be in both directions. A request confirms.
        let offered = words.filter(|words| {
            link.back.is_none() && link.offers.as_ref().is_some_and(|features| words.is_offered(features))
        });
        let before = waiting.lock().queue.resumable(Instant::now());
        let left = match (offered, before) {
            (Some(words), Some(name)) => resume(link, words, &name, waiting).await?,
            _ => waiting.lock().queue.not_resumed(None),
        };
        let terms = (link.largest, offered.map(Acknowledgement::enable));
        self.prepare(waiting, left, terms).await;
        Ok(())
    }

    /// The same without any talk: `left` has left the queue since the stream before.
    pub(crate) async fn prepare(&self, waiting: &Waiting, left: Left, terms: (Option<usize>, Option<&'static str>)) {
        self.answer(waiting, left, &Failure::unreachable("the connection to the other server broke")).await;
        let stamp = |time| (self.ways().delay)(&waiting.pair.local, time);
        let left = {
            let mut state = waiting.lock();
            let before = state.queue.cost();
            let left = state.queue.begin(terms, Instant::now(), stamp);
            // What says how late it is has grown.
            self.charge((state.queue.cost() + left.freed).saturating_sub(before));
            left
        };
        self.answer(waiting, left, &error(Fault::TooLarge)).await;
    }

    /// What is to be written next, and when to look again although nothing happens.
    pub(crate) fn next_portion(&self, waiting: &Waiting, portion: &mut Vec<u8>) -> Option<Instant> {
        let mut state = waiting.lock();
        let queue = &mut state.queue;
        let mut attention = None;
        if queue.is_unconfirmed() {
            let now = Instant::now();
            if queue.probe_due(now).is_some_and(|due| due <= now) {
                let (id, probe) = self.probe(&waiting.pair, queue.is_counted());
                self.charge(queue.probe(id, &probe, now));
            }
            attention = queue.probe_due(now).or_else(|| queue.silent_at());
        }
        portion.extend_from_slice(queue.portion());
        attention
    }

    /// A question whose answer confirms what was sent: how far a peer has counted (XEP-0198), or anything, since any server
    /// answers a request (XEP-0199), if only with an error (RFC 6120 §8.2.3).
    fn probe(&self, pair: &Pair, is_counted: bool) -> (String, String) {
        if is_counted {
            let inbound = self.inbound();
            let words = inbound.as_deref().and_then(Inbound::acknowledgement);
            return (String::new(), words.map(Acknowledgement::request).unwrap_or_default().to_owned());
        }
        let (id, ping) = self.ping(pair);
        (id, ping.to_xml())
    }

    /// A request of our domain to the other one, and its id.
    pub(crate) fn ping(&self, pair: &Pair) -> (String, Stanza<'static>) {
        // An answer cannot be guessed.
        let id = random::token();
        let domain = |name| Jid::from(BareJid::from_kept(name));
        let ping = Stanza::new(Kind::Iq(IqType::Get))
            .id(id.clone())
            .from(domain(&pair.local))
            .to(domain(&pair.remote))
            .payload(self.ways().probe.clone());
        (id, ping)
    }

    /// Whether a stanza of `pair` that has come from the other server answers a probe; then it is dealt with.
    pub(crate) fn heard(&self, pair: &Pair, stanza: &Stanza<'_>) -> bool {
        let (Kind::Iq(IqType::Result | IqType::Error), Some(id)) = (stanza.kind, stanza.id.as_deref()) else {
            return false;
        };
        if !is_between_domains(pair, stanza) {
            return false;
        }
        // Whatever it answers, it is there.
        self.reached(pair);
        let Some(waiting) = self.queues().get(pair).cloned() else { return false };
        let Some(left) = waiting.lock().queue.answered(id) else { return false };
        self.delivered(&waiting, &left);
        waiting.ring();
        true
    }

    /// What a peer says on a stream of ours: its end, how far it has come, and where the stream goes both ways its stanzas.
    async fn listen(&self, link: &mut Link, waiting: &Waiting, listed: &Listed) -> Result<(), Broken> {
        let done = self.take_in(link, waiting, listed).await;
        if let Some(back) = &mut link.back {
            // What came before an end was read as well.
            back.meter.charge(Some(listed));
        }
        done
    }

    async fn take_in(&self, link: &mut Link, waiting: &Waiting, listed: &Listed) -> Result<(), Broken> {
        let refused = |condition, text| Err(Broken::Refused(StreamError::new(condition, text)));
        while let Some(event) = self.next_event(link).await? {
            match event {
                Event::Nonza(element) => match Dialback::read(&element) {
                    Some(Ok(said)) if link.back.is_some() => self.asked(link, said, waiting, listed)?,
                    _ => self.told(&element, waiting)?,
                },
                Event::Close => return Err(Broken::Lost(CLOSED.to_owned())),
                Event::Open(_) => return refused(StreamCondition::BadFormat, "a second header"),
                Event::Stanza(_) | Event::Rejected(_) if link.back.is_none() => {
                    return refused(StreamCondition::NotAuthorized, "stanzas go the other way");
                }
                Event::Rejected(rejected) => {
                    let proven = link.back.as_ref().map(|back| back.proven.as_slice()).unwrap_or_default();
                    self.reject(proven, rejected)?;
                }
                // All of them were gathered.
                Event::Stanza(_) => {}
            }
        }
        Ok(())
    }

    /// The next event; where the stream goes both ways, behind the stanzas in front of it, which are routed.
    async fn next_event(&self, Link { wire, back, .. }: &mut Link) -> Result<Option<Event<'static>>, StreamError> {
        match back {
            Some(back) => {
                let Back { proven, meter, questions } = &mut **back;
                self.gather(wire, proven, meter, &mut None, Some(questions)).await
            }
            None => wire.read(),
        }
    }

    fn told(&self, element: &Element, waiting: &Waiting) -> Result<(), Broken> {
        if element.is("error", STREAMS_NS) {
            return Err(Broken::Told(StreamError::from_element(element)));
        }
        let inbound = self.inbound();
        let Some(words) = inbound.as_deref().and_then(Inbound::acknowledgement) else { return Ok(()) };
        let mut state = waiting.lock();
        let queue = &mut state.queue;
        let left = match words.hear(element) {
            Some(Heard::Handled(count)) => {
                queue.acknowledged(count).map_err(|fault| Broken::Refused(words.too_high(fault)))?
            }
            Some(Heard::Enabled(name)) => {
                queue.counted(name.map(|(name, time)| (name, time.unwrap_or(RESUMABLE))));
                return Ok(());
            }
            Some(Heard::Failed(_)) => queue.uncounted(),
            Some(Heard::Request) => {
                drop(state);
                // No stanza on this stream is counted.
                return self.say_aside(waiting, &words.handled(0));
            }
            // T-S2S-1: neither answers that nobody waits for nor anything else has an effect.
            Some(Heard::Resumed(_)) | None => return Ok(()),
        };
        drop(state);
        self.delivered(waiting, &left);
        Ok(())
    }

    /// Has an answer go out among the stanzas.
    pub(crate) fn say_aside(&self, waiting: &Waiting, words: &str) -> Result<(), Broken> {
        let cost = waiting.lock().queue.aside(words);
        let refused = || StreamError::new(StreamCondition::PolicyViolation, "questions whose answers are not taken");
        self.charge(cost.ok_or_else(refused)?);
        Ok(())
    }

    /// Ends a link from our side. A peer that ends the stream in its turn has handled all before (RFC 6120 §4.4), and if it
    /// counts it has said so.
    async fn part(&self, link: Link, waiting: &Waiting) {
        let mut ended = true;
        if link.back.is_some() || waiting.lock().queue.is_unconfirmed() {
            ended = timeout(FAREWELL, self.conclude(link, waiting)).await == Ok(true);
            if ended && !waiting.lock().queue.is_counted() {
                let left = waiting.lock().queue.confirm_all();
                self.delivered(waiting, &left);
            }
        } else {
            farewell(link, CLOSE).await;
        }
        // A peer that has not said so may not know that the stream is over, and can go on with it.
        if ended {
            waiting.lock().queue.closed();
        }
    }

    /// Ends the stream and waits for the peer to do so; whether it did. What was on its way here is still taken.
    async fn conclude(&self, mut link: Link, waiting: &Waiting) -> bool {
        let ended = link.wire.write(CLOSE).await.is_ok() && self.until_closed(&mut link, waiting).await;
        self.answer_all(&mut link).await;
        if ended {
            link.wire.close("").await;
        }
        ended
    }

    /// Takes what comes until the peer closes the stream; whether it does.
    async fn until_closed(&self, link: &mut Link, waiting: &Waiting) -> bool {
        loop {
            match self.next_event(link).await {
                Ok(Some(Event::Close)) => return true,
                Ok(Some(Event::Nonza(element))) if self.told(&element, waiting).is_err() => return false,
                Ok(Some(_)) => {}
                Ok(None) if link.wire.fill().await.is_err() => return false,
                Ok(None) => {}
                Err(_) => return false,
            }
        }
    }

    /// Has questions answered that still wait.
    async fn answer_all(&self, link: &mut Link) {
        if let Some(back) = &mut link.back {
            self.put_all(&mut back.questions).await;
        }
    }
}

/// Why a link is given up, and what the peer hears of that.
struct Stop {
    ended: Ended,
    why: Failure,
    last: Last,
}

/// What a peer hears last.
enum Last {
    /// The stream is over, and it may say so as well.
    InOrder,
    /// These words.
    Words(String),
}

impl Stop {
    fn in_order(ended: Ended, why: &str) -> Self {
        Self { ended, why: Failure::unreachable(why), last: Last::InOrder }
    }
}

/// Whether a peer that ends a link goes on as before.
fn ended(broken: &Broken) -> Ended {
    match broken {
        Broken::Lost(why) if why == CLOSED => Ended::InOrder,
        // What is idle may be closed in this way, too.
        Broken::Told(error) if error.condition == StreamCondition::ConnectionTimeout => Ended::InOrder,
        Broken::Closed | Broken::Lost(_) | Broken::Refused(_) | Broken::Told(_) | Broken::Unwelcome(_) => Ended::Broken,
    }
}

/// Ends a link from our side with these words.
pub(crate) async fn farewell(link: Link, last: &str) {
    let _ = timeout(FAREWELL, link.wire.close(last)).await;
}

/// What a peer is told at the end.
fn last_words(broken: &Broken) -> String {
    match broken {
        Broken::Refused(error) => error.to_xml() + CLOSE,
        Broken::Closed | Broken::Lost(_) | Broken::Unwelcome(_) | Broken::Told(_) => CLOSE.to_owned(),
    }
}

/// Asks the peer to go on with the stream `name`; gives what has left the queue over it.
async fn resume(link: &mut Link, words: &dyn Acknowledgement, name: &str, waiting: &Waiting) -> Result<Left, Broken> {
    link.wire.write(&words.resume(name)).await?;
    let answer = async {
        loop {
            match link.wire.event().await? {
                Event::Nonza(element) if element.is("error", STREAMS_NS) => {
                    return Err(Broken::Told(StreamError::from_element(&element)));
                }
                Event::Nonza(element) => {
                    if let Some(heard @ (Heard::Resumed(_) | Heard::Failed(_))) = words.hear(&element) {
                        return Ok(heard);
                    }
                }
                _ => return Err(Broken::Lost("the other server does not say whether it goes on".to_owned())),
            }
        }
    };
    let late = |_| Broken::Lost("the other server does not answer".to_owned());
    let answer = timeout(STALLED, answer).await.map_err(late)??;
    let mut state = waiting.lock();
    match answer {
        Heard::Resumed(count) => state.queue.resumed(count).map_err(|fault| {
            state.queue.closed();
            Broken::Refused(words.too_high(fault))
        }),
        Heard::Failed(count) => Ok(state.queue.not_resumed(count)),
        _ => Ok(Left::default()),
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed => Self::unreachable("the other server closed the connection"),
            Broken::Lost(why) | Broken::Unwelcome(why) => Self::unreachable(why),
            Broken::Refused(error) => Self::unreachable(format!("what the other server sent was refused: {error}")),
            Broken::Told(error) => refused(&error),
        }
    }
}

//! One link in use: what waits is written, what the peer says about it is taken in, until one of the two ends it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::accounts::random;
use crate::federation::Federation;
use crate::federation::audit::Direction;
use crate::federation::delivery::{Waiting, error};
use crate::federation::failure::{Failure, Fault};
use crate::federation::inbound::Inbound;
use crate::federation::link::Link;
use crate::federation::outgoing::refused;
use crate::federation::queue::Left;
use crate::federation::wire::{Broken, Turn};
use crate::hooks::{Acknowledgement, Heard};
use crate::jid::{BareJid, Jid};
use crate::routing::Pair;
use crate::stanza::{IqType, Kind, Stanza};
use crate::stream::{CLOSE, Event, STREAMS_NS, StreamCondition, StreamError};
use crate::xml::Element;

/// How long a peer may take no byte while something waits for it.
const STALLED: Duration = Duration::from_secs(60);
/// Why a link ends that nobody needs.
pub(crate) const IDLE: &str = "idle";
/// Why a link ends that the peer does not need.
const CLOSED: &str = "the other server closed the stream";
/// How long the last words of a link may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a stream may be resumed of which the peer does not say it.
const RESUMABLE: Duration = Duration::from_secs(300);
/// Octets of randomness in the id of a probe: an answer cannot be guessed.
const ID_OCTETS: usize = 16;

/// How a link came to its end.
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
            farewell(link, true).await;
            return (ended(&broken), broken.into());
        }
        let listed = self.audit().list(Direction::Out, link.wire.transport(), self.ways().clock.now());
        listed.prove(&waiting.pair, link.proof.as_ref());
        let mut portion = Vec::new();
        let mut attention = None;
        let mut stalled = pin!(sleep(self.settings().idle_timeout));
        loop {
            if portion.is_empty() {
                if !self.settings().accepts(&waiting.pair.remote, link.proof.as_deref()) {
                    self.part(link, true, waiting).await;
                    return (Ended::InOrder, Failure::unreachable("what has proven the other server counts no more"));
                }
                attention = self.next_portion(waiting, &mut portion);
                let patience = if portion.is_empty() { self.settings().idle_timeout } else { STALLED };
                stalled.as_mut().reset(Instant::now() + patience);
            }
            let broken = tokio::select! {
                // Rare things first, so that a peer which never stops cannot hide them; what waits goes out before the end.
                biased;
                () = &mut stalled => {
                    let (ended, why) = match portion.is_empty() {
                        true => (Ended::InOrder, IDLE),
                        false => (Ended::Broken, "the other server takes nothing"),
                    };
                    self.part(link, portion.is_empty(), waiting).await;
                    return (ended, Failure::unreachable(why));
                }
                () = waiting.news() => {
                    self.answer_refused(waiting).await;
                    None
                }
                () = sleep_until(link.until.unwrap_or_else(Instant::now)), if link.until.is_some() && portion.is_empty() => {
                    self.part(link, true, waiting).await;
                    return (Ended::InOrder, Failure::unreachable("the certificate of the other server has expired"));
                }
                () = self.closing(), if portion.is_empty() => {
                    self.part(link, true, waiting).await;
                    return (Ended::Closing, Failure::unreachable("this server stops"));
                }
                turn = link.wire.turn(&portion) => match turn {
                    Ok(Turn::HandedOver(count)) => {
                        let freed = waiting.lock().queue.handed_over(count, Instant::now());
                        self.discharge(freed);
                        listed.count(count);
                        portion.clear();
                        None
                    }
                    Ok(Turn::Arrived) => self.listen(&mut link, waiting).err(),
                    Err(broken) => Some(broken),
                },
                () = sleep_until(attention.unwrap_or_else(Instant::now)), if attention.is_some() && portion.is_empty() => {
                    if waiting.lock().queue.silent_at().is_some_and(|at| at <= Instant::now()) {
                        self.part(link, true, waiting).await;
                        return (Ended::Broken, Failure::unreachable("the other server does not answer"));
                    }
                    None
                }
            };
            if let Some(broken) = broken {
                farewell(link, portion.is_empty()).await;
                return (ended(&broken), broken.into());
            }
        }
    }

    /// Makes the queue ready for a link, and goes on with the stream before if the peer does so.
    async fn begin(&self, link: &mut Link, waiting: &Waiting) -> Result<(), Broken> {
        let inbound = self.inbound();
        let words = inbound.as_deref().and_then(Inbound::acknowledgement);
        let offered = words.filter(|words| link.offers.as_ref().is_some_and(|features| words.is_offered(features)));
        let before = waiting.lock().queue.resumable(Instant::now());
        let left = match (offered, before) {
            (Some(words), Some(name)) => resume(link, words, &name, waiting).await?,
            _ => waiting.lock().queue.not_resumed(None),
        };
        self.answer(waiting, left, &Failure::unreachable("the connection to the other server broke")).await;
        let stamp = |time| (self.ways().delay)(&waiting.pair.local, time);
        let left = {
            let mut state = waiting.lock();
            let before = state.queue.cost();
            let terms = (link.largest, offered.map(Acknowledgement::enable));
            let left = state.queue.begin(terms, Instant::now(), stamp);
            // What says how late it is has grown.
            self.charge((state.queue.cost() + left.freed).saturating_sub(before));
            left
        };
        self.answer(waiting, left, &error(Fault::TooLarge)).await;
        Ok(())
    }

    /// What is to be written next, and when to look again although nothing happens.
    fn next_portion(&self, waiting: &Waiting, portion: &mut Vec<u8>) -> Option<Instant> {
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
        let id = random::token(ID_OCTETS);
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
        let is_domain = |jid: &Option<Jid>, domain: &str| jid.as_ref().is_some_and(|jid| jid.as_str() == domain);
        if !is_domain(&stanza.from, &pair.remote) || !is_domain(&stanza.to, &pair.local) {
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

    /// What a peer says on a stream that carries only our stanzas: nothing but its end matters, and how far it has come.
    fn listen(&self, link: &mut Link, waiting: &Waiting) -> Result<(), Broken> {
        while let Some(event) = link.wire.read()? {
            match event {
                Event::Nonza(element) => self.told(&element, waiting)?,
                Event::Close => return Err(Broken::Lost(CLOSED.to_owned())),
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

    fn told(&self, element: &Element, waiting: &Waiting) -> Result<(), Broken> {
        if element.is("error", STREAMS_NS) {
            return Err(Broken::Refused(StreamError::from_element(element)));
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
                // No stanza ever comes on this stream.
                self.charge(queue.aside(&words.handled(0)));
                return Ok(());
            }
            // T-S2S-1: neither answers that nobody waits for nor anything else has an effect.
            Some(Heard::Resumed(_)) | None => return Ok(()),
        };
        drop(state);
        self.delivered(waiting, &left);
        Ok(())
    }

    /// Ends a link from our side. A peer that ends the stream in its turn has handled all before (RFC 6120 §4.4), and if it
    /// counts it has said so.
    async fn part(&self, link: Link, whole: bool, waiting: &Waiting) {
        let mut ended = whole;
        if whole && waiting.lock().queue.is_unconfirmed() {
            ended = timeout(FAREWELL, self.conclude(link, waiting)).await == Ok(true);
            if ended && !waiting.lock().queue.is_counted() {
                let left = waiting.lock().queue.confirm_all();
                self.delivered(waiting, &left);
            }
        } else {
            farewell(link, whole).await;
        }
        // A peer that has not said so may not know that the stream is over, and can go on with it.
        if ended {
            waiting.lock().queue.closed();
        }
    }

    /// Ends the stream and waits for the peer to do so; whether it did.
    async fn conclude(&self, mut link: Link, waiting: &Waiting) -> bool {
        if link.wire.write(CLOSE).await.is_err() {
            return false;
        }
        loop {
            match link.wire.event().await {
                Ok(Event::Close) => {
                    link.wire.close("").await;
                    return true;
                }
                Ok(Event::Nonza(element)) if self.told(&element, waiting).is_err() => return false,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Whether a peer that ends a link goes on as before.
fn ended(broken: &Broken) -> Ended {
    match broken {
        Broken::Lost(why) if why == CLOSED => Ended::InOrder,
        // What is idle may be closed in this way, too.
        Broken::Refused(error) if error.condition == StreamCondition::ConnectionTimeout => Ended::InOrder,
        Broken::Closed | Broken::Lost(_) | Broken::Refused(_) | Broken::Unwelcome(_) => Ended::Broken,
    }
}

/// Ends a link from our side, politely unless a stanza was cut.
pub(crate) async fn farewell(link: Link, whole: bool) {
    let last = if whole { CLOSE } else { "" };
    let _ = timeout(FAREWELL, link.wire.close(last)).await;
}

/// Asks the peer to go on with the stream `name`; gives what has left the queue over it.
async fn resume(link: &mut Link, words: &dyn Acknowledgement, name: &str, waiting: &Waiting) -> Result<Left, Broken> {
    link.wire.write(&words.resume(name)).await?;
    let answer = async {
        loop {
            match link.wire.event().await? {
                Event::Nonza(element) if element.is("error", STREAMS_NS) => {
                    return Err(Broken::Refused(StreamError::from_element(&element)));
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
            Broken::Refused(error) => refused(&error),
        }
    }
}

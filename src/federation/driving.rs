//! One link in use: what waits is written, what the peer says about it is taken in, until one of the two ends it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::accounts::random;
use crate::federation::Federation;
use crate::federation::delivery::{Waiting, error};
use crate::federation::failure::{Failure, Fault};
use crate::federation::inbound::Inbound;
use crate::federation::incoming::{PAIRS, Proven, untrusted};
use crate::federation::link::Link;
use crate::federation::outgoing::refused;
use crate::federation::proof::{Role, Shown};
use crate::federation::queue::Left;
use crate::federation::wire::{Broken, Turn};
use crate::federation::xep_0220_dialback::{Dialback, Verdict};
use crate::hooks::{Acknowledgement, Heard};
use crate::jid::{BareJid, Jid};
use crate::routing::Pair;
use crate::stanza::{CLIENT_NS, Condition, IqType, Kind, Stanza, StanzaError};
use crate::stream::{CLOSE, Event, STREAMS_NS, StreamCondition, StreamError};
use crate::xml::Element;

/// How long a peer may take no byte while something waits for it.
pub(crate) const STALLED: Duration = Duration::from_secs(60);
/// Why a link ends that nobody needs.
pub(crate) const IDLE: &str = "idle";
/// How long the last words of a link may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a stream may be resumed of which the peer does not say it.
const RESUMABLE: Duration = Duration::from_secs(300);
/// Octets of randomness in the id of a probe: an answer cannot be guessed.
const ID_OCTETS: usize = 16;

/// How a link came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    /// It is not needed any more, or the peer had enough; whatever waits gets another.
    Over,
    /// The server stops.
    Closing,
}

impl Federation {
    /// Writes what waits and reads what comes until the link ends.
    pub(crate) async fn drive(&self, mut link: Link, waiting: &Waiting) -> (Ended, Failure) {
        if let Err(broken) = self.begin(&mut link, waiting).await {
            farewell(link, Some(last_words(&broken))).await;
            return (Ended::Over, broken.into());
        }
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
                // Rare things first, so that a peer which never stops cannot hide them; what waits goes out before the end.
                biased;
                () = &mut stalled => {
                    let why = if portion.is_empty() { IDLE } else { "the other server takes nothing" };
                    self.part(link, portion.is_empty(), waiting).await;
                    return (Ended::Over, Failure::unreachable(why));
                }
                () = waiting.news() => {
                    self.answer_refused(waiting).await;
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
                turn = link.wire.turn(&portion) => match turn {
                    Ok(Turn::HandedOver(count)) => {
                        let freed = waiting.lock().queue.handed_over(count, Instant::now());
                        self.discharge(freed);
                        portion.clear();
                        None
                    }
                    Ok(Turn::Arrived) => match self.listen(&mut link, waiting).await {
                        Ok(()) => {
                            // What comes keeps a stream open that goes both ways.
                            if portion.is_empty() && !link.proven.is_empty() {
                                stalled.as_mut().reset(Instant::now() + self.settings().idle_timeout);
                            }
                            None
                        }
                        Err(broken) => Some(broken),
                    },
                    Err(broken) => Some(broken),
                },
                () = sleep_until(attention.unwrap_or_else(Instant::now)), if attention.is_some() && portion.is_empty() => {
                    if waiting.lock().queue.silent_at().is_some_and(|at| at <= Instant::now()) {
                        self.part(link, true, waiting).await;
                        return (Ended::Over, Failure::unreachable("the other server does not answer"));
                    }
                    None
                }
            };
            if let Some(broken) = broken {
                farewell(link, portion.is_empty().then(|| last_words(&broken))).await;
                return (Ended::Over, broken.into());
            }
        }
    }

    /// Makes the queue ready for a link, and goes on with the stream before if the peer does so.
    async fn begin(&self, link: &mut Link, waiting: &Waiting) -> Result<(), Broken> {
        let inbound = self.inbound();
        let words = inbound.as_deref().and_then(Inbound::acknowledgement);
        // On a stream that goes both ways nothing is counted: it would have to be in both directions.
        let offered = words.filter(|words| {
            link.proven.is_empty() && link.offers.as_ref().is_some_and(|features| words.is_offered(features))
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
        let stamp = |time| (self.ways().delay)(&waiting.pair.local, time).to_xml(CLIENT_NS);
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
        let id = random::token(ID_OCTETS);
        let domain = |name| Jid::from(BareJid::from_kept(name));
        let probe = Stanza::new(Kind::Iq(IqType::Get))
            .id(id.clone())
            .from(domain(&pair.local))
            .to(domain(&pair.remote))
            .payload(self.ways().probe.clone());
        (id, probe.to_xml())
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
        waiting.ring();
        true
    }

    /// What a peer says on a stream of ours: its end matters, how far it has come, and where the stream goes both ways its
    /// stanzas.
    async fn listen(&self, link: &mut Link, waiting: &Waiting) -> Result<(), Broken> {
        loop {
            match self.gather(&mut link.wire, None, &link.proven, &mut None).await? {
                None => return Ok(()),
                Some(Event::Nonza(element)) => match Dialback::read(&element) {
                    Some(Ok(said)) if !link.proven.is_empty() => self.asked(link, said, waiting),
                    _ => self.told(&element, waiting)?,
                },
                Some(Event::Rejected(rejected)) => self.reject(&link.proven, rejected)?,
                Some(Event::Close) => return Err(Broken::Lost("the other server closed the stream".to_owned())),
                Some(Event::Open(_) | Event::Stanza(_)) => {
                    return Err(Broken::Refused(StreamError::new(StreamCondition::BadFormat, "a second header")));
                }
            }
        }
    }

    /// Dialback on a stream of ours that goes both ways (XEP-0288 §2.2). The peer may speak for another of its domains if
    /// its certificate proves that; a key proves nothing here, because it would come for an id that the peer has chosen.
    fn asked(&self, link: &mut Link, said: Dialback, waiting: &Waiting) {
        let answer = match said {
            Dialback::Result { from, to, .. } => {
                let verdict = self.also(link, Pair { local: to.clone(), remote: from.clone() });
                Dialback::ResultAnswer { from: to, to: from, verdict }
            }
            Dialback::Verify { from, to, id, key } => self.rules().verify(from, to, id, &key),
            // T-S2S-1: nobody has asked.
            Dialback::ResultAnswer { .. } | Dialback::VerifyAnswer { .. } => return,
        };
        self.charge(waiting.lock().queue.aside(&answer.to_xml()));
        waiting.ring();
    }

    /// Whether the certificate that the peer has shown proves another pair.
    fn also(&self, link: &mut Link, pair: Pair) -> Verdict {
        let rules = self.rules();
        let error = |condition, text: &str| Verdict::Error(StanzaError::new(condition, text));
        if !(rules.is_local)(&pair.local) {
            return error(Condition::ItemNotFound, "this domain is not served here");
        }
        if (rules.is_local)(&pair.remote) || !rules.permits(&pair.remote) {
            return error(Condition::PolicyViolation, "this server does not federate with that domain");
        }
        if link.proven.iter().any(|proven| proven.pair == pair) {
            return Verdict::Valid;
        }
        if link.proven.len() >= PAIRS {
            return error(Condition::ResourceConstraint, "too many domains on one stream");
        }
        let chain = link.wire.transport().peer_certificates();
        match self.links().prove(Shown { chain: &chain, role: Role::Server }, &pair.remote, &[]) {
            Ok(proof) => {
                link.proven.push(Proven { pair, proof: Arc::new(proof) });
                Verdict::Valid
            }
            Err(reason) => Verdict::Error(untrusted(&reason)),
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
        if whole && (waiting.lock().queue.is_unconfirmed() || !link.proven.is_empty()) {
            ended = timeout(FAREWELL, self.conclude(link, waiting)).await == Ok(true);
            if ended && !waiting.lock().queue.is_counted() {
                let left = waiting.lock().queue.confirm_all();
                self.delivered(waiting, &left);
            }
        } else {
            farewell(link, whole.then(|| CLOSE.to_owned())).await;
        }
        // A peer that has not said so may not know that the stream is over, and can go on with it.
        if ended {
            waiting.lock().queue.closed();
        }
    }

    /// Ends the stream and waits for the peer to do so; whether it did. What was on its way here is still taken.
    async fn conclude(&self, mut link: Link, waiting: &Waiting) -> bool {
        if link.wire.write(CLOSE).await.is_err() {
            return false;
        }
        loop {
            match self.gather(&mut link.wire, None, &link.proven, &mut None).await {
                Ok(Some(Event::Close)) => {
                    link.wire.close("").await;
                    return true;
                }
                Ok(Some(Event::Nonza(element))) if self.told(&element, waiting).is_err() => return false,
                Ok(Some(_)) => {}
                Ok(None) if link.wire.fill().await.is_err() => return false,
                Ok(None) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Ends a link from our side, with these words unless a stanza was cut.
async fn farewell(link: Link, last: Option<String>) {
    let _ = timeout(FAREWELL, link.wire.close(last.as_deref().unwrap_or_default())).await;
}

/// What a peer is told at the end.
fn last_words(broken: &Broken) -> String {
    match broken {
        Broken::Refused(error) => error.to_xml() + CLOSE,
        Broken::Lost(_) | Broken::Unwelcome(_) | Broken::Told(_) => CLOSE.to_owned(),
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
            Broken::Lost(why) | Broken::Unwelcome(why) => Self::unreachable(why),
            Broken::Refused(error) => Self::unreachable(format!("what the other server sent was refused: {error}")),
            Broken::Told(error) => refused(&error),
        }
    }
}

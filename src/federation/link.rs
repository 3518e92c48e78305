//! Opening a stream to the server of a domain: from the DNS to the right to send stanzas.
//!
//! The thin driver of [`Outgoing`]: it moves bytes, negotiates TLS, keeps the time, and walks on to the
//! next address or to a fresh stream when one will not do.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};

use crate::accounts::random;
use crate::clock::Clock;
use crate::federation::dial::{Dialer, Door};
use crate::federation::failure::{Failure, Fault};
use crate::federation::incoming::Proven;
use crate::federation::outgoing::{Aim, Certificate, Event, Next, Outgoing, Retry, Traffic, Ways};
use crate::federation::policy::Proofs;
use crate::federation::proof::{Asked, Endpoint, Grounds, Kind, Proof, Reason, Role, Shown, prove};
use crate::federation::resolve::{Start, candidates};
use crate::federation::settings::{self, Settings};
use crate::federation::wire::{Broken, Wire};
use crate::federation::xep_0220_dialback::{Secret, Verdict};
use crate::live::Live;
use crate::net::Transport;
use crate::net::tls::{ClientCertificate, Outgoing as OutgoingTls, is_unwelcome, server_name};
use crate::routing::Pair;
use crate::stream::{self, CLOSE, Limits};
use crate::xml::Element;

/// Opens streams.
pub(crate) struct Links {
    pub(crate) settings: Live<Settings>,
    pub(crate) ways: settings::Ways,
    pub(crate) secret: Secret,
}

/// A stream on which stanzas of its pair may be sent.
pub(crate) struct Link {
    pub(crate) wire: Wire,
    /// How the peer has proven itself, if it had to.
    pub(crate) proof: Option<Arc<Proof>>,
    /// When the peer's certificate ends, if that is what proves it.
    pub(crate) until: Option<Instant>,
    /// The largest stanza that the peer takes, if it has said so.
    pub(crate) largest: Option<usize>,
    /// The pairs for which stanzas of the peer are welcome on it (XEP-0288): none, unless it goes both ways.
    pub(crate) proven: Vec<Proven>,
    /// The features that came once we were authenticated.
    pub(crate) offers: Option<Element>,
}

/// What a stream was opened for is done.
pub(crate) enum Opened {
    Ready(Box<Link>),
    Answered(Verdict, Asked),
}

enum Attempt {
    Opened(Opened),
    Retry(Retry, Failure),
    Failed(Failure),
}

/// What is tried on one stream.
#[derive(Clone, Copy)]
struct Plan {
    certificate: ClientCertificate,
    ways: Ways,
}

impl Links {
    /// Opens a stream that may carry stanzas for `pair`.
    pub(crate) async fn deliver(&self, pair: &Pair) -> Result<Link, Failure> {
        match self.open(pair, &Aim::Deliver).await? {
            Opened::Ready(link) => Ok(*link),
            Opened::Answered(..) => Err(Failure::unreachable("an answer without a question")),
        }
    }

    /// Asks the authoritative server of `pair.remote` about a key that came for our stream `id`, on a
    /// stream of its own (XEP-0220 §2.1.2).
    pub(crate) async fn verify(&self, pair: &Pair, id: String, key: String) -> Result<(Verdict, Asked), Failure> {
        match self.open(pair, &Aim::Verify { id, key }).await? {
            Opened::Answered(verdict, asked) => Ok((verdict, asked)),
            Opened::Ready(_) => Err(Failure::unreachable("no answer to the question")),
        }
    }

    /// Judges what a peer has shown, with all that counts now.
    pub(crate) fn prove(&self, shown: Shown<'_>, domain: &str, endpoints: &[Endpoint]) -> Result<Proof, Reason> {
        let (settings, trust) = (self.settings.load(), self.ways.trust.load());
        let grounds = Grounds { now: now(&self.ways.clock), trust: &trust, pins: &settings.pins, endpoints };
        let proof = prove(shown, domain, &grounds)?;
        match proof.kind() {
            kind if settings.policy.accepts(domain, kind) => Ok(proof),
            kind => Err(Reason::NotAccepted(kind)),
        }
    }

    async fn open(&self, pair: &Pair, aim: &Aim) -> Result<Opened, Failure> {
        let patience = self.settings.load().connect_timeout;
        let deadline = Instant::now() + patience;
        let late = |known: &str| {
            let seconds = patience.as_secs();
            Failure::unreachable(format!("no stream to {} within {seconds} seconds{known}", pair.remote))
        };
        let resolver = self.ways.resolver.get();
        let found = candidates(&**resolver, &pair.remote, below);
        let groups = timeout_at(deadline, found).await.map_err(|_| late(", DNS does not answer"))??;
        let mut dialer = Dialer::new(&*self.ways.network, &**resolver, groups);
        match timeout_at(deadline, self.walk(&mut dialer, pair, aim)).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(dialer.failure()),
            Err(_) => Err(late(&dialer.so_far())),
        }
    }

    /// Goes from door to door until one leads to what is wanted.
    async fn walk(&self, dialer: &mut Dialer<'_>, pair: &Pair, aim: &Aim) -> Option<Opened> {
        while let Some((transport, door)) = dialer.next().await {
            let mut plan = Plan { certificate: ClientCertificate::Shown, ways: Ways::ExternalThenDialback };
            let mut has_broken = false;
            let mut transport = Some(transport);
            while let Some(fresh) = transport.take() {
                let (retry, mut failure) = match self.attempt(fresh, &door, pair, aim, plan).await {
                    Attempt::Opened(opened) => return Some(opened),
                    Attempt::Retry(retry, failure) => (Some(retry), failure),
                    Attempt::Failed(failure) => (None, failure),
                };
                // Who has closed over our certificate may have closed over something else, which goes by. Then it says nothing
                // that there is no other way.
                if has_broken && matches!(failure.fault, Fault::Unproven | Fault::KeyRefused) {
                    failure.fault = Fault::Unreachable;
                }
                has_broken |= failure.fault == Fault::Unreachable;
                tracing::debug!(local = %pair.local, remote = %pair.remote, %door, %failure, "stream not established");
                dialer.reject(&door, &failure);
                if retry.is_some_and(|retry| plan.change(retry)) {
                    transport = dialer.again(&door).await;
                }
            }
        }
        None
    }

    /// One connection, from its first byte.
    async fn attempt(&self, transport: Transport, door: &Door, pair: &Pair, aim: &Aim, plan: Plan) -> Attempt {
        let accepts_dialback = self.settings.load().policy.accepts(&pair.remote, Kind::Dialback);
        let proofs = if accepts_dialback { Proofs::CertificateOrDialback } else { Proofs::Certificate };
        let traffic = if self.settings.load().bidi { Traffic::BothWays } else { Traffic::OneWay };
        let mut rules = Outgoing::new(pair.clone(), aim.clone(), plan.ways, proofs, traffic, self.secret.clone());
        let mut wire = Wire::new(transport, Limits::UNAUTHENTICATED);
        let mut proof: Option<Arc<Proof>> = None;
        let mut effect = rules.begin(door.start);
        loop {
            if !effect.write.is_empty()
                && let Err(broken) = wire.write(&effect.write).await
            {
                effect = rules.handle(lost(broken));
                continue;
            }
            let event = match effect.next {
                Next::Read => hear(&mut wire).await,
                Next::Restart => {
                    wire.restart();
                    hear(&mut wire).await
                }
                Next::Secure if !wire.is_clean() => {
                    // The data that follows was not protected, whoever sent it (RFC 6120 §5.4.3.1).
                    return Attempt::Failed(Failure::unproven("the other server sent data behind <proceed/>"));
                }
                Next::Secure => match self.secure(&mut wire, door, pair, plan).await {
                    Ok(judged) => {
                        let certificate = certificate(&judged);
                        proof = judged.ok().map(Arc::new);
                        Event::Secured { certificate, ours: plan.certificate }
                    }
                    Err(lost) => lost,
                },
                Next::Ready => {
                    wire.trust_peer(self.settings.load().limits);
                    let until = proof.as_ref().and_then(|proof| proof.until());
                    let until = until.map(|end| Instant::now() + left(&self.ways.clock, end));
                    let how = proof.as_ref().map(|proof| proof.to_string());
                    tracing::info!(local = %pair.local, remote = %pair.remote, %door, proof = how, "stream established");
                    let (largest, offers) = (rules.largest(), rules.offers());
                    let theirs = proof.clone().filter(|_| rules.is_bidirectional());
                    let proven = theirs.map(|proof| Proven { pair: pair.clone(), proof }).into_iter().collect();
                    let link = Link { wire, proof, until, largest, proven, offers };
                    return Attempt::Opened(Opened::Ready(Box::new(link)));
                }
                Next::Answered(verdict) => {
                    wire.close(CLOSE).await;
                    let proof = proof.map(|proof| Box::new(Proof::clone(&proof)));
                    let asked = Asked { server: door.address.to_string(), security: door.security, proof };
                    return Attempt::Opened(Opened::Answered(verdict, asked));
                }
                Next::Retry(retry, failure) => return Attempt::Retry(retry, failure),
                Next::Fail(failure) => return Attempt::Failed(failure),
            };
            effect = rules.handle(event);
        }
    }

    async fn secure(
        &self,
        wire: &mut Wire,
        door: &Door,
        pair: &Pair,
        plan: Plan,
    ) -> Result<Result<Proof, Reason>, Event> {
        let no_name = || Event::Lost("TLS cannot express this domain".to_owned());
        let name = server_name(&pair.remote).ok_or_else(no_name)?;
        let how = match door.start {
            Start::Starttls => OutgoingTls::StartTls,
            Start::DirectTls => OutgoingTls::Direct,
        };
        let config = self.ways.client_tls.config(&pair.local, how, plan.certificate);
        let handshake = wire.secure(|transport| transport.connect_tls(config, name));
        handshake.await.map_err(|error| match is_unwelcome(&error) {
            true => Event::Unwelcome(error.to_string()),
            false => Event::Lost(format!("TLS failed: {error}")),
        })?;
        let chain = wire.transport().peer_certificates();
        let shown = Shown { chain: &chain, role: Role::Server };
        Ok(self.prove(shown, &pair.remote, door.endpoint.as_deref().map_or(&[], std::slice::from_ref)))
    }
}

/// The judgement on a server as the rules want it.
fn certificate(judged: &Result<Proof, Reason>) -> Certificate {
    match judged {
        Ok(_) => Certificate::Proves,
        Err(reason) if reason.is_contradiction(Role::Server) => Certificate::Contradicts(reason.to_string()),
        Err(reason) => Certificate::SaysNothing(reason.to_string()),
    }
}

impl Plan {
    /// Whether that makes a difference.
    fn change(&mut self, retry: Retry) -> bool {
        match retry {
            Retry::WithoutCertificate if self.certificate == ClientCertificate::Shown => {
                self.certificate = ClientCertificate::Withheld;
                true
            }
            Retry::WithDialback if self.ways == Ways::ExternalThenDialback => {
                self.ways = Ways::Dialback;
                true
            }
            _ => false,
        }
    }
}

async fn hear(wire: &mut Wire) -> Event {
    match wire.event().await {
        Ok(stream::Event::Open(header)) => Event::Open(header),
        Ok(stream::Event::Nonza(element)) => Event::Element(element),
        Ok(stream::Event::Close) => Event::Lost("the other server closed the stream".to_owned()),
        Ok(stream::Event::Stanza(_) | stream::Event::Rejected(_)) => {
            Event::Lost("the other server sent a stanza on a stream that carries only ours".to_owned())
        }
        Err(broken) => lost(broken),
    }
}

fn lost(broken: Broken) -> Event {
    match broken {
        Broken::Lost(why) => Event::Lost(why),
        Broken::Refused(error) => Event::Lost(format!("what the other server sent was refused: {error}")),
        Broken::Told(error) => Event::Lost(format!("the other server closed the stream: {error}")),
        Broken::Unwelcome(why) => Event::Unwelcome(why),
    }
}

/// The time now, as certificates have it.
pub(crate) fn now(clock: &Clock) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now().unix_ms()).unwrap_or(0))
}

/// How long it is until `end`; a year at most, which is as good as for ever and never overflows.
pub(crate) fn left(clock: &Clock, end: SystemTime) -> Duration {
    end.duration_since(now(clock)).unwrap_or_default().min(Duration::from_secs(365 * 24 * 3600))
}

/// A random number from 0 to `most`; without randomness the first record is as good as any.
pub(crate) fn below(most: u32) -> u32 {
    let random = random::octets::<8>().map_or(0, u64::from_le_bytes);
    u32::try_from(random % (u64::from(most) + 1)).unwrap_or(0)
}

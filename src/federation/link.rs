//! Opening a stream to the server of a domain: from the DNS to the right to send stanzas.
//!
//! The thin driver of [`Outgoing`]: it moves bytes, negotiates TLS, keeps the time, and walks on to the
//! next address or to a fresh stream when one will not do.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::federation::back::Back;
use crate::federation::claims::{Claim, Claims};
use crate::federation::dial::{Dialer, Door};
use crate::federation::failure::{Failure, Fault};
use crate::federation::outgoing::{Aim, Certificate, Event, Next, Outgoing, Retry, Traffic, Ways};
use crate::federation::policy::Proofs;
use crate::federation::proof::{Asked, Endpoint, Grounds, Kind, Proof, Reason, Role, Shown, prove};
use crate::federation::resolve::{Start, candidates};
use crate::federation::settings::{self, Settings};
use crate::federation::trace::{Depth, Seen, Trace};
use crate::federation::trouble::{Phase, Trouble};
use crate::federation::wire::{Broken, Wire};
use crate::federation::xep_0220_dialback::{Signer, Verdict};
use crate::live::Live;
use crate::net::Transport;
use crate::net::tls::{
    ClientCertificate, Outgoing as OutgoingTls, Resumable, has_nothing_in_common, is_too_old, is_unwelcome, server_name,
};
use crate::random;
use crate::routing::Pair;
use crate::stream::{self, CLOSE, Limits};
use crate::xml::Element;

/// Opens streams.
pub(crate) struct Links {
    pub(crate) settings: Live<Settings>,
    pub(crate) ways: settings::Ways,
    pub(crate) secret: Signer,
    pub(crate) claims: Arc<Claims>,
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
    /// If it goes both ways (XEP-0288).
    pub(crate) back: Option<Box<Back>>,
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
struct Plan {
    certificate: ClientCertificate,
    ways: Ways,
    /// When it has to be done.
    limit: Instant,
    /// What it may resume, and leave to be resumed; nothing for a handshake in full.
    session: Option<Arc<Resumable>>,
}

/// Whether a session of TLS may be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Resumed,
    /// As with somebody whom nobody knows.
    Full,
}

/// What streams are opened for.
pub(crate) struct Errand<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) aim: &'a Aim,
    pub(crate) traffic: Traffic,
    /// The ways to authenticate that are tried first.
    pub(crate) ways: Ways,
    pub(crate) handshake: Handshake,
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
        let accepted = &settings.policy.terms(domain).proofs;
        let grounds = Grounds { now: now(&self.ways.clock), trust: &trust, pins: &settings.pins, endpoints, accepted };
        let proof = prove(shown, domain, &grounds)?;
        match proof.kind() {
            kind if settings.policy.accepts(domain, kind) => Ok(proof),
            kind => Err(Reason::NotAccepted(kind)),
        }
    }

    async fn open(&self, pair: &Pair, aim: &Aim) -> Result<Opened, Failure> {
        let patience = self.settings.load().connect_timeout;
        let deadline = Instant::now() + patience;
        let late = |trace: &Trace| {
            let (seconds, known) = (patience.as_secs(), trace.shortened());
            let known = match known.as_str() {
                "" if trace.knows_addresses() => Trouble::NoAnswer.to_string(),
                "" => "DNS does not answer".to_owned(),
                _ => known,
            };
            let reason = format!("no stream to {} within {seconds} seconds: {known}", pair.remote);
            Failure { fault: Fault::Unreachable, reason, trouble: trace.last_trouble().cloned() }
        };
        let resolver = self.ways.resolver.get();
        let mut trace = Trace::new(Depth::Brief);
        let found = candidates(&**resolver, &pair.remote, patience, below, &mut trace);
        let Ok(groups) = timeout_at(deadline, found).await else { return Err(late(&trace)) };
        let mut dialer = Dialer::new(&*self.ways.network, &**resolver, groups?, trace, patience);
        let traffic = if self.settings.load().bidi { Traffic::BothWays } else { Traffic::OneWay };
        let (ways, handshake) = (Ways::ExternalThenDialback, Handshake::Resumed);
        let errand = Errand { pair, aim, traffic, ways, handshake };
        match timeout_at(deadline, self.walk(&mut dialer, &errand, deadline)).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if Instant::now() < deadline => Err(dialer.failure()),
            Ok(None) | Err(_) => Err(late(&dialer.trace)),
        }
    }

    /// Goes from door to door until one leads to what is wanted.
    async fn walk(&self, dialer: &mut Dialer<'_>, errand: &Errand<'_>, deadline: Instant) -> Option<Opened> {
        while let Some((transport, door)) = dialer.next().await {
            let now = Instant::now();
            // Who opens the door and then says nothing leaves time for the others.
            let share = if dialer.has_more() { 2 } else { 1 };
            let limit = now + deadline.saturating_duration_since(now) / share;
            if let Some(opened) = self.enter(dialer, transport, &door, errand, limit).await {
                return Some(opened);
            }
        }
        None
    }

    /// Tries one door, on a fresh connection where that may help.
    pub(crate) async fn enter(
        &self,
        dialer: &mut Dialer<'_>,
        transport: Transport,
        door: &Door,
        errand: &Errand<'_>,
        limit: Instant,
    ) -> Option<Opened> {
        let Pair { local, remote } = errand.pair;
        let mut plan = Plan { certificate: ClientCertificate::Shown, ways: errand.ways, limit, session: None };
        let mut handshake = errand.handshake;
        let mut has_broken = false;
        let mut transport = Some(transport);
        while let Some(fresh) = transport.take() {
            let may_resume = handshake == Handshake::Resumed;
            plan.session = may_resume.then(|| self.resumable(errand.pair, door, plan.certificate));
            let (retry, mut failure) = match self.attempt(fresh, door, errand, &plan, &mut dialer.trace).await {
                Attempt::Opened(opened) => return Some(opened),
                Attempt::Retry(retry, failure) => (Some(retry), failure),
                Attempt::Failed(failure) => (None, failure),
            };
            if plan.session.as_ref().is_some_and(|session| session.give_up()) {
                // The certificate of that time may count no more, or the other server may have forgotten who we are.
                tracing::debug!(%local, %remote, %door, %failure, "no stream with a session of TLS that was resumed");
                dialer.reject(&failure);
                handshake = Handshake::Full;
                transport = dialer.again(door).await;
                continue;
            }
            // Who has closed over our certificate may have closed over something else, which goes by. Then it says nothing
            // that there is no other way.
            if has_broken && matches!(failure.fault, Fault::Unproven | Fault::KeyRefused) {
                failure.fault = Fault::Unreachable;
            }
            has_broken |= failure.fault == Fault::Unreachable;
            tracing::debug!(%local, %remote, %door, %failure, "stream not established");
            dialer.reject(&failure);
            if retry.is_some_and(|retry| plan.change(retry)) {
                transport = dialer.again(door).await;
            }
        }
        None
    }

    /// One connection, from its first byte.
    async fn attempt(
        &self,
        transport: Transport,
        door: &Door,
        errand: &Errand<'_>,
        plan: &Plan,
        trace: &mut Trace,
    ) -> Attempt {
        let Errand { pair, aim, traffic, .. } = *errand;
        let accepts_dialback = self.settings.load().policy.accepts(&pair.remote, Kind::Dialback);
        let proofs = if accepts_dialback { Proofs::CertificateOrDialback } else { Proofs::Certificate };
        let mut rules = Outgoing::new(pair.clone(), aim.clone(), plan.ways, proofs, traffic, self.secret.clone());
        let mut wire = Wire::new(transport, Limits::UNAUTHENTICATED);
        let mut proof: Option<Arc<Proof>> = None;
        let mut claim: Option<Claim> = None;
        let mut effect = rules.begin(door.start);
        loop {
            let (since, phase) = (Instant::now(), rules.phase());
            let event = match effect.next {
                Next::Ready => {
                    wire.trust_peer(self.settings.load().limits);
                    let until = proof.as_ref().and_then(|proof| proof.until());
                    let until = until.map(|end| Instant::now() + left(&self.ways.clock, end));
                    let how = proof.as_ref().map(|proof| proof.to_string());
                    tracing::info!(local = %pair.local, remote = %pair.remote, %door, proof = how, "stream established");
                    let (largest, offers) = (rules.largest(), rules.offers());
                    let theirs = proof.clone().filter(|_| rules.is_bidirectional());
                    let back = theirs.map(|proof| Back::new(pair.clone(), proof));
                    plan.keep_session(proof.as_deref());
                    let link = Link { wire, proof, until, largest, back, offers };
                    return Attempt::Opened(Opened::Ready(Box::new(link)));
                }
                Next::Answered(verdict) => {
                    trace.answered(&verdict);
                    plan.keep_session(proof.as_deref());
                    wire.close(CLOSE).await;
                    let proof = proof.map(|proof| Box::new(Proof::clone(&proof)));
                    let asked = Asked { server: door.address.to_string(), security: door.security, proof };
                    return Attempt::Opened(Opened::Answered(verdict, asked));
                }
                Next::Retry(retry, failure) => return Attempt::Retry(retry, failure),
                Next::Fail(failure) => return Attempt::Failed(failure),
                Next::Secure if !wire.is_clean() => {
                    // The data that follows was not protected, whoever sent it (RFC 6120 §5.4.3.1).
                    trace.blame(Trouble::BehindProceed);
                    return Attempt::Failed(Trouble::BehindProceed.into());
                }
                Next::Secure => match self.secure(&mut wire, door, pair, plan).await {
                    Ok(Err(reason)) if wire.transport().tls().is_some_and(|tls| tls.resumed) => {
                        // What is shown today may prove more, and goes before dialback.
                        return Attempt::Failed(Failure::unreachable(format!("a session that was resumed: {reason}")));
                    }
                    Ok(judged) => {
                        let certificate = certificate(&judged);
                        proof = judged.ok().map(Arc::new);
                        Event::Secured { certificate, ours: plan.certificate }
                    }
                    Err(event) => event,
                },
                Next::Restart => {
                    wire.restart();
                    converse(&mut wire, &effect.write, phase, plan.limit).await
                }
                Next::Read => converse(&mut wire, &effect.write, phase, plan.limit).await,
            };
            let seen = trace.seen(phase, &event, rules.is_verification(), wire.transport());
            effect = rules.handle(event);
            if let Some(id) = rules.claimed() {
                claim = claim.or_else(|| Some(self.claims.open(pair, id)));
            }
            if let Next::Fail(failure) = &mut effect.next
                && failure.trouble == Some(Trouble::KeyInvalid)
                && claim.as_ref().is_some_and(Claim::is_misread)
            {
                *failure = Trouble::OtherStreamId.into();
            }
            let trouble = match &effect.next {
                Next::Fail(failure) | Next::Retry(_, failure) => Some(failure.trouble()),
                _ => None,
            };
            match (rules.take_setback(), trouble) {
                (Some(setback), Some(trouble)) => {
                    trace.saw(since, Some(door), seen, Some(setback));
                    trace.saw(Instant::now(), Some(door), Seen::Dialback, Some(trouble));
                }
                (setback, trouble) => trace.saw(since, Some(door), seen, setback.or(trouble)),
            }
        }
    }

    /// Negotiates TLS: whether what the peer has shown proves the domain.
    async fn secure(
        &self,
        wire: &mut Wire,
        door: &Door,
        pair: &Pair,
        plan: &Plan,
    ) -> Result<Result<Proof, Reason>, Event> {
        let why = || "TLS cannot express this domain".to_owned();
        let name = server_name(&pair.remote).ok_or_else(|| Event::Lost(Trouble::TlsFailed { why: why() }))?;
        let config = match &plan.session {
            Some(session) => session.config(),
            None => self.ways.client_tls.config(&pair.local, encrypted(door), plan.certificate),
        };
        let handshake = timeout_at(plan.limit, wire.secure(|transport| transport.connect_tls(config, name)));
        handshake.await.map_err(|_| Event::Late { partly: false })?.map_err(|error| broken_handshake(&error))?;
        if let (Some(session), Some(tls)) = (&plan.session, wire.transport().tls()) {
            session.shaken(tls.resumed);
        }
        // Those of the session, if it was resumed: they have to prove the domain as they would now.
        let chain = wire.transport().peer_certificates();
        let shown = Shown { chain: &chain, role: Role::Server };
        Ok(self.prove(shown, &pair.remote, door.endpoint.as_deref().map_or(&[], std::slice::from_ref)))
    }

    fn resumable(&self, pair: &Pair, door: &Door, certificate: ClientCertificate) -> Arc<Resumable> {
        let place = (&*pair.remote, door.address);
        self.ways.client_tls.resumable(&pair.local, encrypted(door), certificate, place)
    }
}

/// How TLS begins there.
const fn encrypted(door: &Door) -> OutgoingTls {
    match door.start {
        Start::Starttls => OutgoingTls::StartTls,
        Start::DirectTls => OutgoingTls::Direct,
    }
}

/// The judgement on a server as the rules want it.
fn certificate(judged: &Result<Proof, Reason>) -> Certificate {
    match judged {
        Ok(_) => Certificate::Proves,
        Err(reason) if reason.is_contradiction(Role::Server) => Certificate::Contradicts(reason.into()),
        Err(reason) => Certificate::SaysNothing(reason.into()),
    }
}

impl Plan {
    /// The stream has led to what was wanted; whoever has proven nothing leaves nothing behind.
    fn keep_session(&self, proof: Option<&Proof>) {
        if let (Some(session), Some(_)) = (&self.session, proof) {
            session.keep();
        }
    }

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

/// Says something and listens.
async fn converse(wire: &mut Wire, words: &str, phase: Phase, limit: Instant) -> Event {
    if !words.is_empty()
        && let Err(broken) = wire.write(words).await
    {
        return lost(broken, phase);
    }
    match timeout_at(limit, wire.event()).await {
        Ok(heard) => hear(heard, phase),
        Err(_) => Event::Late { partly: wire.has_part() },
    }
}

fn hear(heard: Result<stream::Event<'_>, Broken>, phase: Phase) -> Event {
    match heard {
        Ok(stream::Event::Open(header)) => Event::Open(header),
        Ok(stream::Event::Nonza(element)) => Event::Element(element),
        Ok(stream::Event::Close) => Event::Lost(Trouble::Closed { phase }),
        Ok(stream::Event::Stanza(_) | stream::Event::Rejected(_)) => {
            let why = "the other server sent a stanza on a stream that carries only ours,".to_owned();
            Event::Lost(Trouble::Broke { phase, why })
        }
        Err(broken) => lost(broken, phase),
    }
}

fn lost(broken: Broken, phase: Phase) -> Event {
    match broken {
        Broken::Closed => Event::Lost(Trouble::Closed { phase }),
        Broken::Lost(why) => Event::Lost(Trouble::Broke { phase, why }),
        Broken::Refused(error) => Event::Lost(Trouble::Nonsense { phase, error: error.to_string() }),
        Broken::Told(error) => Event::Lost(Trouble::StreamError { error: error.to_string() }),
        Broken::Unwelcome(why) => Event::Unwelcome(why),
    }
}

fn broken_handshake(error: &io::Error) -> Event {
    if is_unwelcome(error) {
        return Event::Unwelcome(error.to_string());
    }
    Event::Lost(match error.kind() {
        _ if is_too_old(error) => Trouble::OldTls,
        _ if has_nothing_in_common(error) => Trouble::NoCommonCipher,
        io::ErrorKind::UnexpectedEof => Trouble::Closed { phase: Phase::Tls },
        _ => Trouble::TlsFailed { why: error.to_string() },
    })
}

/// The time now, as certificates have it.
pub(crate) fn now(clock: &Clock) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now().unix_ms()).unwrap_or(0))
}

/// How long it is until `end`; a year at most, which is as good as for ever and never overflows.
pub(crate) fn left(clock: &Clock, end: SystemTime) -> Duration {
    end.duration_since(now(clock)).unwrap_or_default().min(Duration::from_secs(365 * 24 * 3600))
}

/// A random number from 0 to `most`.
pub(crate) fn below(most: u32) -> u32 {
    let random = u64::from_le_bytes(random::nonce());
    u32::try_from(random % (u64::from(most) + 1)).unwrap_or(0)
}

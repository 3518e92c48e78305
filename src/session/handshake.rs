//! From the first byte of a connection to a bound resource (RFC 6120 §4 to §7): the machines of
//! `negotiation` decide, this module moves values.

use std::ops::Deref;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::hooks::{Acknowledgement, Peer, Said, StreamState};
use crate::jid::{BareJid, Jid};
use crate::negotiation::bind::{self, BindEffect};
use crate::negotiation::features::{Features, Offer, TLS_NS, proceed};
use crate::negotiation::login::{Entry, Login};
use crate::net::Transport;
use crate::net::tls::Incoming;
use crate::random;
use crate::routing::{Batch, Binding};
use crate::stanza::{CLIENT_NS, Condition, Stanza, StanzaError};
use crate::stream::{ContentNamespace, Event, Fault, Header, HeaderFields, StreamCondition, StreamError, write_header};
use crate::xml::Element;

use super::authentication::{carry_out, end_with_certificate, log_in};
use super::bound::Bound;
use super::context::Context;
use super::dialogue::Dialogue;
use super::entry::enter;
use super::inbound::Inbound;
use super::resumption::{Outcome, Previous, resume};
use super::wire::End;

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// After `<starttls/>` (RFC 6120 §5).
    StartTls,
    /// From the first byte (XEP-0368).
    Direct,
}

/// What is spoken here (RFC 6120 §4.7.5).
const VERSION: (u32, u32) = (1, 0);

/// A client stream inside TLS, of which it is not known yet whose it is.
pub struct Secured {
    dialogue: Dialogue,
    before: Before,
    deadline: Instant,
}

/// What came of the stream before TLS.
enum Before {
    /// There was none.
    Nothing,
    /// This was its domain.
    Domain(BareJid),
    /// Its client did not want TLS, need not, and has authenticated.
    Proved { domain: BareJid, proved: Proved },
}

/// Who a client has proved to be.
pub(super) enum Proved {
    /// It opens a new stream (RFC 6120 §6.4.6).
    User(BareJid),
    /// It goes on with this one (XEP-0388 §2.6.1).
    Entry(Box<Entry>),
}

/// Leads a connection to a bound session; `None` if it ended before.
pub async fn open(context: &Context, transport: Transport, security: Security) -> Option<Box<Bound>> {
    secure(context, transport, security).await?.log_in(context).await
}

/// Leads a connection into TLS; `None` if it ended before. From here on its time is running, until a
/// session is bound.
pub async fn secure(context: &Context, transport: Transport, security: Security) -> Option<Secured> {
    let deadline = Instant::now() + context.settings.load().deadline;
    // The state of each phase is large and short-lived: it is freed before the next begins.
    Box::pin(async move {
        let transport = match security {
            Security::StartTls => transport,
            Security::Direct => {
                let acceptor = context.tls.acceptor(Incoming::ClientDirect, None);
                timeout_at(deadline, acceptor.accept(transport)).await.ok()?.ok()?
            }
        };
        let mut dialogue = Dialogue::new(transport);
        let before = match security {
            Security::StartTls => in_time(timeout_at(deadline, start_tls(context, &mut dialogue)).await),
            Security::Direct => Ok(Before::Nothing),
        };
        match before {
            Ok(before) => Some(Secured { dialogue, before, deadline }),
            Err(end) => {
                refuse(context, dialogue, end).await;
                None
            }
        }
    })
    .await
}

impl Secured {
    /// Leads the stream to a bound session; `None` if it ended before.
    pub async fn log_in(mut self, context: &Context) -> Option<Box<Bound>> {
        Box::pin(async move {
            match in_time(timeout_at(self.deadline, negotiate(context, &mut self.dialogue, self.before)).await) {
                Ok(Opened { binding, inbound }) => {
                    if let Some(end) = self.dialogue.certificate_ends {
                        end_with_certificate(end, &binding.ring);
                    }
                    // The session has a buffer only while there is something in it.
                    self.dialogue.wire.input.shrink_to_fit();
                    Some(Bound::new(self.dialogue.wire, binding, inbound))
                }
                Err(end) => {
                    refuse(context, self.dialogue, end).await;
                    None
                }
            }
        })
        .await
    }
}

/// Somebody who does not get on is told so (RFC 6120 §4.9.3.4).
fn in_time<T>(ended: Result<Result<T, End>, Elapsed>) -> Result<T, End> {
    let late = || StreamError::new(StreamCondition::ConnectionTimeout, "no authentication in time").into();
    ended.unwrap_or_else(|_| Err(late()))
}

/// A bound resource, with the count of its stanzas if it had been bound before.
pub(super) struct Opened {
    pub(super) binding: Binding,
    pub(super) inbound: Option<Box<Inbound>>,
}

/// Tells the peer why it ends here.
async fn refuse(context: &Context, mut dialogue: Dialogue, end: End) {
    if let End::Error(error) = &end
        && !dialogue.wire.opened
    {
        // RFC 6120 §4.9.1.2: an error before our header follows a header of ours.
        tracing::debug!(%error, "a stream was refused at its header");
        say_header(context, &mut dialogue, None, &Header { version: Some(VERSION), ..Header::default() });
    }
    dialogue.finish(end).await;
}

async fn negotiate(context: &Context, dialogue: &mut Dialogue, before: Before) -> Result<Opened, End> {
    let (domain, proved) = match before {
        Before::Proved { domain, proved } => (domain, proved),
        Before::Nothing => log_in(context, dialogue, None).await?,
        Before::Domain(domain) => log_in(context, dialogue, Some(&domain)).await?,
    };
    dialogue.wire.transport.trust_peer();
    dialogue.wire.reader.set_limits(context.settings.load().limits);
    match proved {
        Proved::User(user) => {
            dialogue.wire.restart();
            start_stream_as(context, dialogue, &domain, &user).await?;
            bind(context, dialogue, user).await
        }
        Proved::Entry(entry) => {
            let agent = entry.wishes.agent.clone();
            let opened = match Box::pin(enter(context, dialogue, &entry)).await? {
                Some(opened) => opened,
                None => bind(context, dialogue, entry.user).await?,
            };
            if let Some(agent) = &agent {
                opened.binding.belongs_to(agent);
            }
            Ok(opened)
        }
    }
}

/// Reads the client's header and answers it; the domain must be the one of the stream before.
async fn start_stream(context: &Context, dialogue: &mut Dialogue, before: Option<&BareJid>) -> Result<BareJid, End> {
    Ok(read_header(context, dialogue, before).await?.1)
}

async fn start_stream_as(
    context: &Context,
    dialogue: &mut Dialogue,
    domain: &BareJid,
    user: &BareJid,
) -> Result<(), End> {
    let (header, _) = read_header(context, dialogue, Some(domain)).await?;
    // RFC 6120 §4.7.1: a client that says who it is must be who has authenticated.
    match header.from.map(|from| from.parse::<Jid>()) {
        Some(Ok(from)) if from.bare_str() == user.as_str() => Ok(()),
        Some(_) => Err(invalid_from()),
        None => Ok(()),
    }
}

pub(super) async fn read_header(
    context: &Context,
    dialogue: &mut Dialogue,
    before: Option<&BareJid>,
) -> Result<(Header, BareJid), End> {
    let Event::Open(header) = dialogue.event().await? else {
        return Err(StreamError::from(StreamCondition::BadFormat).into());
    };
    let domain = header.to.as_deref().and_then(|to| BareJid::of_domain(to).ok());
    let domain = domain.filter(|domain| context.router.has_accounts(domain.as_str()));
    say_header(context, dialogue, domain.as_ref(), &header);
    let Some(domain) = domain else {
        return Err(StreamError::from(StreamCondition::HostUnknown).into());
    };
    if header.version.is_none_or(|(major, _)| major < 1) {
        return Err(StreamError::from(StreamCondition::UnsupportedVersion).into());
    }
    if before.is_some_and(|before| *before != domain) {
        let text = "the domain of a stream does not change";
        return Err(StreamError::new(StreamCondition::PolicyViolation, text).into());
    }
    Ok((header, domain))
}

/// Answers the header of a client: with its own bare JID if it says who it is (RFC 6120 §4.7.2), and
/// with one of our names even where it has asked for none of them (§4.9.1.3).
fn say_header(context: &Context, dialogue: &mut Dialogue, domain: Option<&BareJid>, theirs: &Header) {
    let id = random::token();
    let client = theirs.from.as_deref().and_then(|from| from.parse::<Jid>().ok());
    let fields = HeaderFields {
        to: client.as_ref().map(Jid::bare_str),
        from: Some(domain.map_or_else(|| context.router.name(), BareJid::as_str)),
        id: Some(&id),
        version: theirs.version.map(|version| version.min(VERSION)),
        lang: Some("en"),
    };
    write_header(dialogue.said(), ContentNamespace::Client, &fields);
    dialogue.wire.opened = true;
}

/// How far a client has come.
#[derive(PartialEq, Eq)]
pub(super) enum Stage {
    Stranger,
    Authenticated,
    Bound,
}

/// Says what the negotiation and the extensions offer.
pub(super) fn say_features(context: &Context, dialogue: &mut Dialogue, features: Features, stage: Stage) {
    extended(context, dialogue, features, stage).write_to(dialogue.said());
}

/// What the negotiation offers, and the extensions besides.
pub(super) fn extended(context: &Context, dialogue: &Dialogue, features: Features, stage: Stage) -> Features {
    let stream = StreamState {
        peer: Peer::Client,
        authenticated: stage != Stage::Stranger,
        encrypted: dialogue.wire.transport.is_encrypted(),
        bound: stage == Stage::Bound,
    };
    features.with_extensions(&context.stream_features, stream)
}

/// Negotiates a stream and TLS.
async fn start_tls(context: &Context, dialogue: &mut Dialogue) -> Result<Before, End> {
    let domain = start_stream(context, dialogue, None).await?;
    if let Some(proved) = await_starttls(context, dialogue, &domain).await? {
        return Ok(Before::Proved { domain, proved });
    }
    nothing_may_follow(dialogue)?;
    proceed().write(dialogue.said(), CLIENT_NS);
    let acceptor = context.tls.acceptor(Incoming::ClientStartTls, Some(domain.as_str()));
    dialogue.secure(acceptor).await?;
    Ok(Before::Domain(domain))
}

/// RFC 6120 §5.4: nothing but TLS is on offer here, unless it is waived; then the client may have
/// authenticated instead.
async fn await_starttls(context: &Context, dialogue: &mut Dialogue, domain: &BareJid) -> Result<Option<Proved>, End> {
    let waived = Offer { hashes: context.hashes(domain), ..Offer::WITHOUT_TLS };
    let offer = if context.settings.load().without_tls { waived } else { Offer::STARTTLS };
    let mut login = Login::new(domain.clone(), offer, context.decoy.clone());
    say_features(context, dialogue, login.features(&context.inline_offers), Stage::Stranger);
    loop {
        let element = nonza(dialogue).await?;
        if element.is("starttls", TLS_NS) {
            return Ok(None);
        }
        if too_early(context, dialogue, &element) {
            continue;
        }
        // Whatever else it is, the login machine has the error for it.
        if let Some(proved) = carry_out(context, dialogue, &mut login, &element).await? {
            return Ok(Some(proved));
        }
    }
}

/// XEP-0198 §3: stream management is refused before the client has authenticated, and the login goes on.
pub(super) fn too_early(context: &Context, dialogue: &mut Dialogue, element: &Element) -> bool {
    let words = context.router.acknowledgement().filter(|words| words.read(element).is_some());
    if let Some(words) = words {
        dialogue.say(&words.failed(Condition::UnexpectedRequest, None));
    }
    words.is_some()
}

/// RFC 6120 §5.3.3, §6.4.6: what comes before the answer was seen was sent by somebody else, or by
/// somebody who does not wait. White space says nothing, and some clients end their lines.
pub(super) fn nothing_may_follow(dialogue: &mut Dialogue) -> Result<(), End> {
    if dialogue.wire.input.trim_ascii().is_empty() {
        dialogue.wire.input.clear();
        return Ok(());
    }
    Err(StreamError::new(StreamCondition::PolicyViolation, "wait for the answer before you go on").into())
}

/// What somebody says who has not authenticated: it may hold a password, and is overwritten whatever comes of it.
pub(super) struct Confided(Element);

impl Deref for Confided {
    type Target = Element;

    fn deref(&self) -> &Element {
        &self.0
    }
}

impl Drop for Confided {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

/// The next first-level element, which must be no stanza: nobody has authenticated yet.
async fn nonza(dialogue: &mut Dialogue) -> Result<Confided, End> {
    not_a_stanza(dialogue.event().await?)
}

pub(super) fn not_a_stanza(event: Event<'_>) -> Result<Confided, End> {
    match event {
        Event::Nonza(element) => Ok(Confided(element)),
        Event::Stanza(_) | Event::Rejected(_) => Err(StreamError::from(StreamCondition::NotAuthorized).into()),
        Event::Open(_) => Err(StreamError::from(StreamCondition::BadFormat).into()),
        Event::Close => Err(End::Closed),
    }
}

async fn bind(context: &Context, dialogue: &mut Dialogue, user: BareJid) -> Result<Opened, End> {
    let words = context.router.acknowledgement();
    say_features(context, dialogue, Features::authenticated(), Stage::Authenticated);
    let mut machine = bind::Binding::new(user);
    loop {
        let (stanza, rejection) = match dialogue.event().await? {
            Event::Stanza(stanza) => (stanza, None),
            Event::Rejected(rejected) => (rejected.stanza, Some((rejected.fault, rejected.error))),
            Event::Nonza(element) => {
                let said = words.and_then(|words| Some((words, words.read(&element)?)));
                match ask_for_session(context, dialogue, machine.user(), said).await? {
                    Some(opened) => return Ok(opened),
                    None => continue,
                }
            }
            Event::Open(_) => return Err(StreamError::from(StreamCondition::BadFormat).into()),
            Event::Close => return Err(End::Closed),
        };
        let mut effect = match rejection {
            // A request that the gate found fault with is answered, whatever is left of it.
            Some((fault, error)) if bind::is_request(&stanza) => {
                if fault == Fault::From {
                    return Err(invalid_from());
                }
                machine.refuse(&stanza, &error)
            }
            _ => machine.stanza(&stanza, random::nonce()),
        };
        // RFC 6120 §8.1.2.1: there is no full JID yet that `from` could be.
        let stranger = stanza.from.as_ref().is_some_and(|from| from.as_str() != machine.user().as_str());
        if stranger && matches!(effect, BindEffect::Bind(_)) {
            return Err(invalid_from());
        }
        if let BindEffect::Bind(resource) = &effect {
            let mut batch = context.router.batch();
            match context.router.bind(machine.user(), resource, &mut batch).await {
                Ok(binding) => {
                    let binding = answer(dialogue, &stanza, binding, batch).await;
                    return Ok(Opened { binding, inbound: None });
                }
                Err(_) if context.router.is_stopping() => return Err(shutdown()),
                Err(refused) => effect = machine.refuse(&stanza, &refused.0),
            }
        }
        match effect {
            BindEffect::Refuse(answer) => answer.write(dialogue.said()),
            BindEffect::Close(error) => return Err(error.into()),
            BindEffect::Bind(_) => {}
        }
    }
}

/// What is no stanza is for a session that a client had before, or comes too early.
async fn ask_for_session(
    context: &Context,
    dialogue: &mut Dialogue,
    user: &BareJid,
    said: Option<(&dyn Acknowledgement, Result<Said, StanzaError>)>,
) -> Result<Option<Opened>, End> {
    let Some((words, said)) = said else {
        return Err(StreamError::from(StreamCondition::UnsupportedStanzaType).into());
    };
    let condition = match said {
        Ok(Said::Resume { previous, handled }) => {
            let previous = Previous { name: previous, handled };
            match Box::pin(resume(context, (user, previous), words)).await? {
                Outcome::Resumed(resumed) => {
                    dialogue.say(&resumed.answer);
                    return resumed.begin(dialogue).await;
                }
                Outcome::Failed(answer) => dialogue.say(&answer),
            }
            return Ok(None);
        }
        // XEP-0198 §3: not before a resource is bound.
        Ok(_) => Condition::UnexpectedRequest,
        Err(error) => error.condition,
    };
    dialogue.say(&words.failed(condition, None));
    Ok(None)
}

async fn answer(dialogue: &mut Dialogue, request: &Stanza<'_>, binding: Binding, batch: Batch) -> Binding {
    batch.finish();
    let mut answer = request.result().payload(bind::result(&binding.jid));
    answer.from = None;
    answer.to = None;
    answer.write(dialogue.said());
    // If this fails, the session that begins finds its transport gone and gives the resource back.
    let _ = dialogue.flush().await;
    binding
}

pub(super) fn invalid_from() -> End {
    StreamError::from(StreamCondition::InvalidFrom).into()
}

pub(super) fn shutdown() -> End {
    StreamError::from(StreamCondition::SystemShutdown).into()
}

pub(super) fn internal() -> End {
    StreamError::from(StreamCondition::InternalServerError).into()
}

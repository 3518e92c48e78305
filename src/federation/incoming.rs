//! A stream that another server opened: the rules of the receiving entity.
//!
//! RFC 6120 §4 to §6 and §8.1, XEP-0178, XEP-0220 §2.2. Pure: what the peer says goes in, what is to be
//! written and done comes out. It must never know of sockets, of time, of how a key is verified.
//!
//! Nothing but STARTTLS is possible before TLS. After it, each pair of domains has to be proven before
//! its stanzas pass: by SASL EXTERNAL for the domains in the header, by `<db:result/>` for any pair,
//! where the certificate of the peer or, if the policy allows it, a call back to the authoritative
//! server decides. Where the certificate alone does not say enough, a signed DNS may (RFC 7712).
//! `<db:verify/>` is answered for anybody.

mod dialback;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use self::dialback::{Denial, PAIRS, Verification, untrusted};
use crate::accounts::sasl::{Mechanism, SASL_NS, SaslCondition, SaslError, external};
use crate::federation::claims::Claims;
use crate::federation::proof::{Endpoint, Kind, Proof, Reason};
use crate::federation::settings::Settings;
use crate::federation::xep_0220_dialback::{Dialback, FEATURE_NS, Signer};
use crate::federation::xep_0288_bidi as bidi;
use crate::hooks::{Peer, StreamFeatures, StreamState};
#[cfg(test)]
use crate::jid::Jid;
use crate::jid::{BareJid, domainpart};
use crate::live::Live;
use crate::negotiation::features::{Features, TLS_NS, proceed, starttls};
use crate::negotiation::sasl_profile::{self, Request};
use crate::routing::Pair;
use crate::stream::{
    CLOSE, ContentNamespace, Header, HeaderFields, STREAMS_NS, StreamCondition, StreamError, write_header,
};
use crate::xml::Element;

/// What is spoken here (RFC 6120 §4.7.5).
const VERSION: (u32, u32) = (1, 0);
/// So many attempts at SASL one stream has.
const ATTEMPTS: u8 = 3;

/// What all streams that others open have in common.
pub(crate) struct Rules {
    pub(crate) settings: Live<Settings>,
    pub(crate) secret: Signer,
    /// Our own keys that others judge at the moment.
    pub(crate) claims: Arc<Claims>,
    pub(crate) is_local: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether an answer of the DNS can be trusted at all.
    pub(crate) dns_is_signed: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) stream_features: StreamFeatures,
    /// The name that answers where the peer has not asked for one of ours (RFC 6120 §4.9.1.3).
    pub(crate) name: Arc<str>,
}

impl Rules {
    fn permits(&self, remote: &str) -> bool {
        self.settings.load().policy.permits(remote)
    }

    /// Whether no other server may speak for `remote`, whatever it proves.
    pub(crate) fn denies(&self, remote: &str) -> bool {
        (self.is_local)(remote) || !self.permits(remote)
    }

    fn accepts_dialback(&self, remote: &str) -> bool {
        self.settings.load().policy.accepts(remote, Kind::Dialback)
    }

    /// Whether stanzas of a pair still pass that was proven so.
    pub(crate) fn welcomes(&self, Proven { pair, proof }: &Proven) -> bool {
        let settings = self.settings.load();
        settings.policy.permits(&pair.remote) && settings.accepts(&pair.remote, Some(proof))
    }
}

/// Judges the certificate of the peer for a domain of which a signed DNS names these servers.
pub(crate) type Certificate = Box<dyn Fn(&str, &[Endpoint]) -> Result<Proof, Reason> + Send + Sync>;

/// A pair of domains that the peer has proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) pair: Pair,
    pub(crate) proof: Arc<Proof>,
}

/// What is to be done: first write, then the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) write: String,
    pub(crate) next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Read,
    /// Negotiate TLS, showing the certificate of the domain; bytes behind what was read are a reason to close.
    Secure(Arc<str>),
    /// Expect a new header; bytes behind what was read are a reason to close.
    Restart,
    /// Ask the DNS which servers the domain has, and their keys, and say so to [`Incoming::looked_up`]; read on meanwhile.
    LookUp(Arc<str>),
    /// Have somebody vouch for the pair, and say so to [`Incoming::verified`]; read on meanwhile.
    Verify(Verification),
    /// End the connection; the reason is for the log.
    Close(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Plain,
    Secured,
    Authenticated,
}

/// The receiving side of one stream.
pub(crate) struct Incoming {
    rules: Arc<Rules>,
    layer: Layer,
    certificate: Option<Certificate>,
    /// From the header: our domain, and theirs if they said it.
    local: Option<Arc<str>>,
    remote: Option<Arc<str>>,
    /// Of the header that we have answered with; `None` while one is expected.
    id: Option<String>,
    /// The features wait for what the DNS says about `remote`.
    is_looking: bool,
    /// What it says.
    published: Vec<Endpoint>,
    /// What the certificate says of a domain, until something is proven: nobody has the same path followed again and again.
    judged: Option<(Arc<str>, Result<Proof, Reason>)>,
    proven: Vec<Proven>,
    pending: Vec<Pair>,
    until: Option<SystemTime>,
    attempts: u8,
    /// Stanzas go both ways (XEP-0288).
    is_bidirectional: bool,
    /// `<auth/>` came without initial response and a challenge was sent.
    challenged: bool,
    /// For the one line that a failed authentication leaves.
    failure: Option<(Way, &'static str)>,
    /// The peer has ended the stream with an error, as it does when it stops.
    broken_off: bool,
}

/// How a peer has tried to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Sasl,
    Dialback,
}

impl Incoming {
    /// The rules for a fresh connection, in the clear.
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            layer: Layer::Plain,
            certificate: None,
            local: None,
            remote: None,
            id: None,
            is_looking: false,
            published: Vec::new(),
            judged: None,
            proven: Vec::new(),
            pending: Vec::new(),
            until: None,
            attempts: 0,
            is_bidirectional: false,
            challenged: false,
            failure: None,
            broken_off: false,
        }
    }

    /// TLS is in force and a header is expected.
    pub(crate) fn secured(&mut self, certificate: Certificate) {
        self.layer = Layer::Secured;
        self.certificate = Some(certificate);
        self.judged = None;
        self.id = None;
        self.is_looking = false;
    }

    /// What the peer has proven, the latest last.
    pub(crate) fn proven(&self) -> &[Proven] {
        &self.proven
    }

    /// Whether the header of the stream has been answered, so that more can be said.
    pub(crate) fn is_open(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the peer has proven anything.
    pub(crate) fn is_authenticated(&self) -> bool {
        !self.proven.is_empty()
    }

    /// Whether the peer takes our stanzas for what it has proven (XEP-0288 §2.2).
    pub(crate) fn is_bidirectional(&self) -> bool {
        self.is_bidirectional
    }

    /// Whether the peer has ended the stream with an error, so that it may have stopped.
    pub(crate) fn is_broken_off(&self) -> bool {
        self.broken_off
    }

    /// When the first certificate that counts here expires (RFC 6120 §13.7.2.3).
    pub(crate) fn valid_until(&self) -> Option<SystemTime> {
        self.until
    }

    /// The domain that the peer has claimed first, for the log.
    pub(crate) fn claimed(&self) -> Option<&str> {
        self.remote.as_deref()
    }

    /// The attempt to authenticate that has just failed, and why.
    pub(crate) fn take_failure(&mut self) -> Option<(Way, &'static str)> {
        self.failure.take()
    }

    /// The peer's header has come; `id` is fresh and unpredictable.
    pub(crate) fn opened(&mut self, header: &Header, id: String) -> Effect {
        let mut answer = self.header(header, &id);
        self.id = Some(id);
        match self.judge(header) {
            Ok((local, remote)) => {
                self.local = Some(local);
                self.remote = remote;
                (self.published, self.judged) = (Vec::new(), None);
                if let Some(remote) = self.unsure() {
                    self.is_looking = true;
                    return Effect { write: answer, next: Next::LookUp(remote) };
                }
                self.features().write_to(&mut answer);
                Effect { write: answer, next: Next::Read }
            }
            Err(error) => close(answer, &error),
        }
    }

    /// The domain of the header, if its certificate proves nothing by itself and a signed DNS may have more to say.
    fn unsure(&mut self) -> Option<Arc<str>> {
        let is_asked = self.layer == Layer::Secured && (self.rules.dns_is_signed)();
        let remote = self.remote.clone().filter(|_| is_asked)?;
        let reason = self.proves(&remote).err()?;
        let is_hopeless =
            matches!(reason, Reason::NoCertificate | Reason::UnusableDomain) || dialback::is_final(&reason);
        (!is_hopeless).then_some(remote)
    }

    /// The DNS has said which servers the domain of the header has; the features follow.
    pub(crate) fn looked_up(&mut self, domain: &str, published: Vec<Endpoint>) -> Effect {
        let is_meant = std::mem::take(&mut self.is_looking) && self.remote.as_deref() == Some(domain);
        if !is_meant || self.layer != Layer::Secured || self.id.is_none() {
            return write(String::new());
        }
        (self.published, self.judged) = (published, None);
        let mut features = String::new();
        self.features().write_to(&mut features);
        write(features)
    }

    /// The stream error for what the gate or the clock refuses, with a header of the fresh `id` where
    /// none was sent yet (RFC 6120 §4.9.1.2).
    pub(crate) fn refuse(&self, error: &StreamError, id: &str) -> Effect {
        let unread = Header { version: Some(VERSION), ..Header::default() };
        close(if self.id.is_none() { self.header(&unread, id) } else { String::new() }, error)
    }

    fn header(&self, header: &Header, id: &str) -> String {
        let asked = header.to.as_deref().and_then(|to| domainpart(to).ok()).filter(|to| (self.rules.is_local)(to));
        // What is no domain is not repeated (RFC 6120 §4.7.2).
        let theirs = header.from.as_deref().filter(|from| domainpart(from).is_ok());
        let fields = HeaderFields {
            from: Some(asked.as_deref().unwrap_or(&self.rules.name)),
            to: theirs,
            id: Some(id),
            version: header.version.map(|theirs| theirs.min(VERSION)),
            lang: Some("en"),
        };
        let mut out = String::new();
        write_header(&mut out, ContentNamespace::Server, &fields);
        out
    }

    /// Who talks to whom, if that may be.
    fn judge(&self, header: &Header) -> Result<(Arc<str>, Option<Arc<str>>), StreamError> {
        let refused = |condition, text: &str| Err(StreamError::new(condition, text));
        if header.version.is_none_or(|(major, _)| major < 1) {
            return refused(StreamCondition::UnsupportedVersion, "without XMPP 1.0 there is no TLS");
        }
        let domain = |text: &str| domainpart(text).ok().map(|domain| Arc::<str>::from(&*domain));
        let Some(to) = header.to.as_deref() else {
            return refused(StreamCondition::ImproperAddressing, "the stream header has no 'to'");
        };
        let local = domain(to).filter(|to| (self.rules.is_local)(to));
        let Some(local) = local else {
            return refused(StreamCondition::HostUnknown, "this domain is not served here");
        };
        // XEP-0220: a stream that only verifies keys may come without `from`.
        let Some(from) = header.from.as_deref() else {
            return match self.layer {
                Layer::Authenticated => Ok((local, self.remote.clone())),
                _ => Ok((local, None)),
            };
        };
        let Some(remote) = domain(from) else {
            return refused(StreamCondition::ImproperAddressing, "the 'from' of the stream header is no domain");
        };
        if (self.rules.is_local)(&remote) {
            return refused(StreamCondition::InvalidFrom, "that domain is served here");
        }
        if !self.rules.permits(&remote) {
            return refused(StreamCondition::PolicyViolation, "this server does not federate with that domain");
        }
        let pair = Pair { local: local.clone(), remote: remote.clone() };
        if self.layer == Layer::Authenticated && !self.has_proven(&pair) {
            return refused(StreamCondition::InvalidFrom, "not the domains that were authenticated");
        }
        Ok((local, Some(remote)))
    }

    fn features(&mut self) -> Features {
        let features = Features::default();
        let dialback = Element::new("dialback", FEATURE_NS).with_child(Element::new("errors", FEATURE_NS));
        let remote = self.remote.clone().filter(|_| self.layer == Layer::Secured);
        let is_proven = remote.is_some_and(|remote| self.proves(&remote).is_ok());
        let features = match self.layer {
            Layer::Plain => features.with(&starttls()),
            Layer::Secured if is_proven => {
                let external = Element::new("mechanism", SASL_NS).with_text(Mechanism::External.as_str());
                features.with(&Element::new("mechanisms", SASL_NS).with_child(external)).with(&dialback)
            }
            // A stream without `from` may be there to verify keys of anybody.
            Layer::Secured if !self.rules.accepts_dialback(self.remote.as_deref().unwrap_or_default()) => features,
            Layer::Secured | Layer::Authenticated => features.with(&dialback),
        };
        // XEP-0288 §2.1: before TLS as well, although nobody may ask for it there.
        let offers_bidi = self.layer != Layer::Authenticated && self.rules.settings.load().bidi;
        let features = if offers_bidi { features.with(&bidi::feature()) } else { features };
        let stream = StreamState {
            peer: Peer::Server,
            authenticated: self.layer == Layer::Authenticated,
            encrypted: self.layer != Layer::Plain,
            bound: false,
        };
        features.with_extensions(&self.rules.stream_features, stream)
    }

    fn proves(&mut self, domain: &str) -> Result<Proof, Reason> {
        if let Some((_, judged)) = self.judged.as_ref().filter(|(of, _)| **of == *domain) {
            return judged.clone();
        }
        let published = if self.remote.as_deref() == Some(domain) { self.published.as_slice() } else { &[] };
        let judged = match &self.certificate {
            Some(certificate) => certificate(domain, published),
            None => Err(Reason::NoCertificate),
        };
        if !self.is_authenticated() {
            self.judged = Some((domain.into(), judged.clone()));
        }
        judged
    }

    fn has_proven(&self, pair: &Pair) -> bool {
        self.proven.iter().any(|proven| proven.pair == *pair)
    }

    /// A first-level element that is no stanza.
    pub(crate) fn element(&mut self, element: &Element) -> Effect {
        if element.is("error", STREAMS_NS) {
            let error = StreamError::from_element(element);
            // What is idle may be closed in this way, too.
            self.broken_off = error.condition != StreamCondition::ConnectionTimeout;
            let reason = format!("the peer ended the stream: {error}");
            return Effect { write: CLOSE.to_owned(), next: Next::Close(reason) };
        }
        if element.is("starttls", TLS_NS) && self.layer == Layer::Plain {
            let name = self.local.clone().unwrap_or_else(|| self.rules.name.clone());
            return Effect { write: proceed().to_xml(""), next: Next::Secure(name) };
        }
        // XEP-0288 §2.2: behind TLS, and before the peer proves anything.
        if bidi::is_request(element) && self.layer == Layer::Secured && !self.is_authenticated() {
            self.is_bidirectional = self.rules.settings.load().bidi;
            return write(String::new());
        }
        if let Some(request) = Request::parse(element) {
            return self.sasl(request);
        }
        match Dialback::read(element) {
            Some(Ok(said)) => self.dialback(said),
            Some(Err(_)) => refuse(&StreamError::new(StreamCondition::BadFormat, "malformed dialback")),
            None if self.is_authenticated() => {
                refuse(&StreamError::new(StreamCondition::UnsupportedStanzaType, "an unknown element"))
            }
            None => refuse(&StreamError::new(StreamCondition::NotAuthorized, "an element before authentication")),
        }
    }

    fn sasl(&mut self, request: Result<Request, SaslError>) -> Effect {
        if self.layer != Layer::Secured || self.is_authenticated() {
            let why = if self.layer == Layer::Plain { "TLS comes first" } else { "the stream is authenticated" };
            return refuse(&StreamError::new(StreamCondition::NotAuthorized, why));
        }
        let challenged = std::mem::take(&mut self.challenged);
        let message = match request {
            Err(error) => return self.sasl_failed(error),
            Ok(Request::Abort) => return self.sasl_failed(SaslCondition::Aborted.into()),
            Ok(Request::Auth { mechanism, .. }) if mechanism != Mechanism::External.as_str() => {
                return self.sasl_failed(SaslCondition::InvalidMechanism.into());
            }
            Ok(Request::Auth { initial: None, .. }) => {
                self.challenged = true;
                return write(sasl_profile::challenge(b"").to_xml(""));
            }
            Ok(Request::Auth { initial: Some(message), .. }) => message,
            Ok(Request::Response(message)) if challenged => message,
            Ok(Request::Response(_)) => {
                return self.sasl_failed(SaslError::malformed("a response without a challenge"));
            }
        };
        // The header names a prepared domain, or none.
        let from = self.remote.as_deref().and_then(|remote| BareJid::of_domain(remote).ok());
        match external::authorize(&message, from.as_ref(), |domain| self.proves(domain).is_ok()) {
            Ok(domain) => self.sasl_succeeded(domain.domain()),
            Err(error) => self.sasl_failed(error),
        }
    }

    fn sasl_succeeded(&mut self, remote: &str) -> Effect {
        let Some(local) = self.local.clone() else {
            return self.sasl_failed(SaslCondition::NotAuthorized.into());
        };
        if self.rules.denies(remote) {
            return refuse(&StreamError::new(StreamCondition::PolicyViolation, "not a domain to federate with"));
        }
        let Ok(proof) = self.proves(remote) else {
            return self.sasl_failed(SaslCondition::NotAuthorized.into());
        };
        let remote = Arc::<str>::from(remote);
        self.remote = Some(remote.clone());
        self.prove(Pair { local, remote }, proof);
        self.layer = Layer::Authenticated;
        self.id = None;
        Effect { write: sasl_profile::success(None).to_xml(""), next: Next::Restart }
    }

    /// The stream stays: dialback may follow (XEP-0178 §3).
    fn sasl_failed(&mut self, error: SaslError) -> Effect {
        self.attempts += 1;
        self.failure = Some((Way::Sasl, error.condition.as_str()));
        let failure = error.to_element().to_xml("");
        if self.attempts < ATTEMPTS {
            return write(failure);
        }
        let refusal = refuse(&StreamError::new(StreamCondition::PolicyViolation, "too many attempts"));
        Effect { write: failure + &refusal.write, next: refusal.next }
    }

    fn prove(&mut self, pair: Pair, proof: Proof) {
        self.until = [self.until, proof.until()].into_iter().flatten().min();
        self.proven.push(Proven { pair, proof: Arc::new(proof) });
        self.judged = None;
    }

    /// The pair for which a stanza with these addresses passes.
    #[cfg(test)]
    fn admit(&self, from: Option<&Jid>, to: Option<&Jid>) -> Result<&Pair, StreamError> {
        crate::federation::admission::admit(&self.proven, &self.rules, from, to)
    }
}

fn write(write: String) -> Effect {
    Effect { write, next: Next::Read }
}

/// Ends a stream whose header has been answered.
fn refuse(error: &StreamError) -> Effect {
    close(String::new(), error)
}

fn close(mut write: String, error: &StreamError) -> Effect {
    write.push_str(&error.to_xml());
    write.push_str(CLOSE);
    Effect { write, next: Next::Close(error.to_string()) }
}

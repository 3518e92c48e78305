//! A stream that another server opened: the rules of the receiving entity.
//!
//! RFC 6120 §4 to §6 and §8.1, XEP-0178, XEP-0220 §2.2. Pure: what the peer says goes in, what is to be
//! written and done comes out. It must never know of sockets, of time, of how a key is verified.
//!
//! Nothing but STARTTLS is possible before TLS. After it, each pair of domains has to be proven before
//! its stanzas pass: by SASL EXTERNAL for the domains in the header, by `<db:result/>` for any pair,
//! where the certificate of the peer or, if the policy allows it, a call back to the authoritative
//! server decides. `<db:verify/>` is answered for anybody.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use crate::accounts::sasl::{Mechanism, SASL_NS, SaslCondition, SaslError, external};
use crate::federation::settings::Settings;
use crate::federation::xep_0220_dialback::{Dialback, FEATURE_NS, Secret, Verdict};
use crate::hooks::{Peer, StreamFeatures, StreamState};
use crate::jid::{BareJid, Jid, domainpart};
use crate::live::Live;
use crate::negotiation::features::{Features, TLS_NS, proceed, starttls};
use crate::negotiation::sasl_profile::{self, Request};
use crate::routing::Pair;
use crate::stanza::{Condition, StanzaError};
use crate::stream::{
    CLOSE, ContentNamespace, Header, HeaderFields, STREAMS_NS, StreamCondition, StreamError, write_header,
};
use crate::xml::Element;

/// What is spoken here (RFC 6120 §4.7.5).
const VERSION: (u32, u32) = (1, 0);
/// So many pairs one stream may prove.
const PAIRS: usize = 64;
/// So many keys may be under verification on one stream at a time.
const PENDING: usize = 4;
/// So many attempts at SASL one stream has.
const ATTEMPTS: u8 = 3;

/// What all streams that others open have in common.
pub(crate) struct Rules {
    pub(crate) settings: Live<Settings>,
    pub(crate) secret: Secret,
    pub(crate) is_local: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub(crate) stream_features: StreamFeatures,
    /// The name that answers where the peer has not asked for one of ours (RFC 6120 §4.9.1.3).
    pub(crate) name: Arc<str>,
}

impl Rules {
    fn permits(&self, remote: &str) -> bool {
        self.settings.load().policy.permits(remote)
    }

    fn accepts_dialback(&self) -> bool {
        self.settings.load().policy.accepts_dialback()
    }
}

/// Says until when the certificate of the peer proves a domain, or why it does not.
pub(crate) type Certificate = Box<dyn Fn(&str) -> Result<SystemTime, String> + Send + Sync>;

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
    /// Ask the authoritative server of `pair.remote` whether `key` is right for our stream `id`.
    Verify(Verification),
    /// End the connection; the reason is for the log.
    Close(String),
}

/// A key that somebody has to vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verification {
    pub(crate) pair: Pair,
    pub(crate) id: String,
    pub(crate) key: String,
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
    proven: Vec<Pair>,
    pending: Vec<Pair>,
    until: Option<SystemTime>,
    attempts: u8,
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
            proven: Vec::new(),
            pending: Vec::new(),
            until: None,
            attempts: 0,
            challenged: false,
            failure: None,
            broken_off: false,
        }
    }

    /// TLS is in force and a header is expected.
    pub(crate) fn secured(&mut self, certificate: Certificate) {
        self.layer = Layer::Secured;
        self.certificate = Some(certificate);
        self.id = None;
    }

    /// What the peer has proven, the latest last.
    pub(crate) fn proven(&self) -> &[Pair] {
        &self.proven
    }

    /// Whether the peer has proven anything.
    pub(crate) fn is_authenticated(&self) -> bool {
        !self.proven.is_empty()
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
                self.features().write_to(&mut answer);
                Effect { write: answer, next: Next::Read }
            }
            Err(error) => close(answer, &error),
        }
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
        if self.layer == Layer::Authenticated && !self.proven.contains(&pair) {
            return refused(StreamCondition::InvalidFrom, "not the domains that were authenticated");
        }
        Ok((local, Some(remote)))
    }

    fn features(&self) -> Features {
        let features = Features::default();
        let dialback = Element::new("dialback", FEATURE_NS).with_child(Element::new("errors", FEATURE_NS));
        let proven = self.remote.as_deref().is_some_and(|remote| self.proves(remote).is_ok());
        let features = match self.layer {
            Layer::Plain => features.with(&starttls()),
            Layer::Secured if proven => {
                let external = Element::new("mechanism", SASL_NS).with_text(Mechanism::External.as_str());
                features.with(&Element::new("mechanisms", SASL_NS).with_child(external)).with(&dialback)
            }
            Layer::Secured if !self.rules.accepts_dialback() => features,
            Layer::Secured | Layer::Authenticated => features.with(&dialback),
        };
        let stream = StreamState {
            peer: Peer::Server,
            authenticated: self.layer == Layer::Authenticated,
            encrypted: self.layer != Layer::Plain,
            bound: false,
        };
        features.with_extensions(&self.rules.stream_features, stream)
    }

    fn proves(&self, domain: &str) -> Result<SystemTime, String> {
        match &self.certificate {
            Some(certificate) => certificate(domain),
            None => Err("there is no TLS".to_owned()),
        }
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
        if !self.rules.permits(remote) || (self.rules.is_local)(remote) {
            return refuse(&StreamError::new(StreamCondition::PolicyViolation, "not a domain to federate with"));
        }
        let until = self.proves(remote).ok();
        let remote = Arc::<str>::from(remote);
        self.remote = Some(remote.clone());
        self.prove(Pair { local, remote }, until);
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

    fn dialback(&mut self, said: Dialback) -> Effect {
        match said {
            Dialback::Result { from, to, key } => self.asked(Pair { local: to, remote: from }, key),
            Dialback::Verify { from, to, id, key } => self.verify(from, to, id, &key),
            // T-S2S-1: nothing is ever asked on a stream that the peer opened.
            Dialback::ResultAnswer { .. } | Dialback::VerifyAnswer { .. } => {
                refuse(&StreamError::new(StreamCondition::PolicyViolation, "a dialback answer that nobody asked for"))
            }
        }
    }

    /// `<db:result/>`: the peer wants to send for `pair` (XEP-0220 §2.2.1).
    fn asked(&mut self, pair: Pair, key: String) -> Effect {
        let error = |condition, text: &str| Verdict::Error(StanzaError::new(condition, text));
        let verdict = if self.layer == Layer::Plain {
            error(Condition::PolicyViolation, "TLS comes first")
        } else if !(self.rules.is_local)(&pair.local) {
            error(Condition::ItemNotFound, "this domain is not served here")
        } else if (self.rules.is_local)(&pair.remote) || !self.rules.permits(&pair.remote) {
            error(Condition::PolicyViolation, "this server does not federate with that domain")
        } else if self.proven.contains(&pair) {
            Verdict::Valid
        } else if self.proven.len() >= PAIRS || self.pending.len() >= PENDING || self.pending.contains(&pair) {
            error(Condition::ResourceConstraint, "too many domains on one stream")
        } else {
            match (self.proves(&pair.remote), self.id.clone()) {
                // The certificate says more than a key could.
                (Ok(until), _) => {
                    self.prove(pair.clone(), Some(until));
                    Verdict::Valid
                }
                (Err(_), Some(id)) if self.rules.accepts_dialback() => {
                    self.pending.push(pair.clone());
                    return Effect { write: String::new(), next: Next::Verify(Verification { pair, id, key }) };
                }
                (Err(why), _) => error(Condition::NotAuthorized, &format!("a trusted certificate is needed: {why}")),
            }
        };
        write(answer(&pair, verdict))
    }

    /// The authoritative server has spoken, or could not be asked.
    pub(crate) fn verified(&mut self, pair: &Pair, verdict: Verdict) -> Effect {
        let Some(at) = self.pending.iter().position(|pending| pending == pair) else {
            return write(String::new());
        };
        self.pending.swap_remove(at);
        if verdict == Verdict::Invalid {
            self.failure = Some((Way::Dialback, "invalid key"));
        }
        match verdict {
            Verdict::Valid => self.prove(pair.clone(), None),
            Verdict::Error(_) => {}
            // XEP-0220 §2.2.1: others on this stream may be as they should.
            Verdict::Invalid if self.is_authenticated() => {
                let error = StanzaError::new(Condition::Forbidden, "the key is invalid");
                return write(answer(pair, Verdict::Error(error)));
            }
            Verdict::Invalid => {
                let write = answer(pair, Verdict::Invalid) + CLOSE;
                return Effect { write, next: Next::Close(format!("the dialback key of {} is invalid", pair.remote)) };
            }
        }
        write(answer(pair, verdict))
    }

    /// `<db:verify/>`: is this key ours? (XEP-0220 §2.2.2)
    fn verify(&self, from: Arc<str>, to: Arc<str>, id: String, key: &str) -> Effect {
        let error = |condition, text| Verdict::Error(StanzaError::new(condition, text));
        let verdict = if self.layer == Layer::Plain {
            error(Condition::PolicyViolation, "TLS comes first")
        } else if !(self.rules.is_local)(&to) {
            error(Condition::ItemNotFound, "this domain is not served here")
        } else if self.rules.secret.verify(&from, &to, &id, key) {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        write(Dialback::VerifyAnswer { from: to, to: from, id, verdict }.to_xml())
    }

    fn prove(&mut self, pair: Pair, until: Option<SystemTime>) {
        self.proven.push(pair);
        self.until = [self.until, until].into_iter().flatten().min();
    }

    /// The pair for which a stanza with these addresses passes (RFC 6120 §8.1.1.2, §8.1.2.2).
    pub(crate) fn admit(&self, from: Option<&Jid>, to: Option<&Jid>) -> Result<&Pair, StreamError> {
        if !self.is_authenticated() {
            return Err(StreamError::new(StreamCondition::NotAuthorized, "a stanza before authentication"));
        }
        let (Some(from), Some(to)) = (from, to) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        let proven = self.proven.iter().find(|pair| *pair.local == *to.domain() && *pair.remote == *from.domain());
        if proven.is_some_and(|pair| !self.rules.permits(&pair.remote)) {
            // It was welcome when it proved its domain.
            return Err(StreamCondition::PolicyViolation.into());
        }
        proven.ok_or_else(|| {
            let known = self.proven.iter().any(|pair| *pair.remote == *from.domain());
            if known && !(self.rules.is_local)(to.domain()) {
                StreamCondition::HostUnknown.into()
            } else {
                StreamError::new(StreamCondition::InvalidFrom, "these domains were not proven on this stream")
            }
        })
    }

    /// The pair to which an answer to a stanza belongs of which only `from` is known.
    pub(crate) fn admit_sender(&self, from: Option<&Jid>) -> Option<&Pair> {
        let from = from?;
        self.proven.iter().find(|pair| *pair.remote == *from.domain())
    }
}

fn answer(pair: &Pair, verdict: Verdict) -> String {
    Dialback::ResultAnswer { from: pair.local.clone(), to: pair.remote.clone(), verdict }.to_xml()
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

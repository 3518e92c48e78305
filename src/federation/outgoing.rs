//! A stream that we open, until it may carry stanzas: the rules of the initiating entity.
//!
//! RFC 6120 §4 to §6, XEP-0178, XEP-0220 §2.1. Pure: what the peer says goes in, what is to be written
//! and done comes out. It must never know of sockets, of time, of other streams.
//!
//! The way: header, STARTTLS (or TLS was there first), proof of the peer's certificate, header, then SASL
//! EXTERNAL where it is offered and our certificate was shown, dialback on the same stream where that
//! fails, and once more on a fresh stream where the peer closed this one over it.

#[cfg(test)]
mod tests;

use crate::accounts::sasl::{Mechanism, SASL_NS, SaslError};
use crate::federation::failure::{Failure, Fault};
use crate::federation::policy::Proofs;
use crate::federation::resolve::Start;
use crate::federation::trouble::{Phase, Trouble};
use crate::federation::xep_0220_dialback::{Dialback, FEATURE_NS, Question, Signer, Verdict};
use crate::federation::xep_0288_bidi as bidi;
use crate::negotiation::features::{STREAM_LIMITS_NS, TLS_NS};
use crate::negotiation::sasl_profile;
use crate::net::tls::ClientCertificate;
use crate::routing::Pair;
use crate::stanza::{Condition, StanzaError};
use crate::stream::{ContentNamespace, Header, HeaderFields, STREAMS_NS, StreamCondition, StreamError, write_header};
use crate::xml::Element;

/// What the stream is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To send stanzas.
    Deliver,
    /// To ask whether `key` is right for our stream `id` (XEP-0220 §2.1.2).
    Verify { id: String, key: String },
}

/// Which ways to authenticate are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    ExternalThenDialback,
    /// The peer closed a stream over EXTERNAL.
    Dialback,
    /// Nobody could vouch for a key of ours.
    External,
}

/// Whether stanzas of the peer are welcome on the stream (XEP-0288).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    OneWay,
    /// If it offers that and has proven its domain.
    BothWays,
}

/// What the certificate of the peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// That it speaks for the domain.
    Proves,
    /// Nothing, for this reason; something else may prove it.
    SaysNothing(Trouble),
    /// That it is somebody else than the domain or the operator has said, whatever else it has.
    Contradicts(Trouble),
}

/// Something that happened on the stream.
#[derive(Debug)]
pub(crate) enum Event {
    Open(Header),
    Element(Element),
    /// TLS is in force.
    Secured {
        certificate: Certificate,
        /// Whether we have shown ours.
        ours: ClientCertificate,
    },
    /// There is nothing more to hear, for this reason.
    Lost(Trouble),
    /// There is no more time; the peer has said nothing, or a part of something.
    Late {
        partly: bool,
    },
    /// The peer ended the connection over our certificate, in these words.
    Unwelcome(String),
}

/// What is to be done: first write, then the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) write: String,
    pub(crate) next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the peer.
    Read,
    /// Negotiate TLS; bytes behind what was read are a reason to close.
    Secure,
    /// Expect a new header.
    Restart,
    /// Stanzas may be sent.
    Ready,
    /// The authoritative server has answered.
    Answered(Verdict),
    /// On a fresh stream it may work in another way; if it was tried, this is why it did not.
    Retry(Retry, Failure),
    Fail(Failure),
}

/// What to do differently on a fresh stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    WithoutCertificate,
    WithDialback,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Header,
    Features,
    Proceed,
    Handshake,
    External,
    Dialback {
        question: Question,
        /// Whether EXTERNAL failed on this stream before.
        after_external: bool,
    },
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Plain,
    Secured,
    Authenticated,
}

/// The initiating side of one stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pair: Pair,
    aim: Aim,
    ways: Ways,
    proofs: Proofs,
    /// What goes on the stream; both ways is a wish until the peer has been asked.
    traffic: Traffic,
    is_bidirectional: bool,
    secret: Signer,
    state: State,
    layer: Layer,
    ours: ClientCertificate,
    /// Of the latest header of the peer.
    id: Option<String>,
    dialback: bool,
    /// The largest stanza that the peer takes, as far as it has said.
    largest: Option<usize>,
    /// What the peer has offered last, but for TLS.
    offers: Option<Element>,
    /// Whether TLS was offered before we asked for it.
    tls_offered: bool,
    /// Whether the peer has answered what was not asked.
    strayed: bool,
    /// What has just failed although the stream goes on.
    setback: Option<Trouble>,
}

/// Nobody may take less (RFC 6120 §13.12).
const SMALLEST_LIMIT: usize = 10_000;

impl Outgoing {
    pub(crate) fn new(pair: Pair, aim: Aim, ways: Ways, proofs: Proofs, traffic: Traffic, secret: Signer) -> Self {
        Self {
            pair,
            aim,
            ways,
            proofs,
            traffic,
            is_bidirectional: false,
            secret,
            state: State::Header,
            layer: Layer::Plain,
            ours: ClientCertificate::Withheld,
            id: None,
            dialback: false,
            largest: None,
            offers: None,
            tls_offered: false,
            strayed: false,
            setback: None,
        }
    }

    /// What to do on a fresh connection.
    pub(crate) fn begin(&mut self, start: Start) -> Effect {
        match start {
            Start::Starttls => Effect { write: self.header(), next: Next::Read },
            Start::DirectTls => {
                self.state = State::Handshake;
                Effect { write: String::new(), next: Next::Secure }
            }
        }
    }

    pub(crate) fn handle(&mut self, event: Event) -> Effect {
        match event {
            Event::Open(header) => self.opened(header),
            Event::Element(element) if element.is("error", STREAMS_NS) => {
                self.lost(refused(&StreamError::from_element(&element)))
            }
            Event::Element(element) => self.element(&element),
            Event::Secured { certificate, ours } => self.secured(certificate, ours),
            Event::Lost(why) => self.lost(why.into()),
            Event::Late { partly } => fail(self.late(partly).into()),
            Event::Unwelcome(why) => self.lost(Trouble::CertificateUnwelcome { why }.into()),
        }
    }

    /// What it waits for.
    pub(crate) fn phase(&self) -> Phase {
        match &self.state {
            State::Header => Phase::Header,
            State::Features | State::Done => Phase::Features,
            State::Proceed => Phase::Starttls,
            State::Handshake => Phase::Tls,
            State::External => Phase::External,
            State::Dialback { .. } => Phase::Dialback,
        }
    }

    /// Whether a key of somebody else is asked about.
    pub(crate) fn is_verification(&self) -> bool {
        matches!(self.aim, Aim::Verify { .. })
    }

    /// The id of the stream, while the other server is to judge our key for it.
    pub(crate) fn claimed(&self) -> Option<&str> {
        let is_judged = matches!(self.state, State::Dialback { question: Question::Result(_), .. });
        self.id.as_deref().filter(|_| is_judged)
    }

    /// What has just failed although the stream goes on.
    pub(crate) fn take_setback(&mut self) -> Option<Trouble> {
        self.setback.take()
    }

    fn late(&self, partly: bool) -> Trouble {
        let phase = self.phase();
        match partly {
            _ if self.is_without_tls() => Trouble::NoStarttls,
            _ if self.strayed => Trouble::OtherAnswer,
            true => Trouble::Slow { phase },
            false => Trouble::Silent { phase },
        }
    }

    /// The largest stanza that the peer takes, if it has said so (XEP-0478 §3).
    pub(crate) fn largest(&self) -> Option<usize> {
        self.largest
    }

    /// Whether the peer has been told that its stanzas are welcome.
    pub(crate) fn is_bidirectional(&self) -> bool {
        self.is_bidirectional
    }

    /// The features of the authenticated stream; after dialback, where none follow, those that came before it.
    pub(crate) fn offers(&mut self) -> Option<Element> {
        self.offers.take()
    }

    fn header(&self) -> String {
        let mut out = String::new();
        // RFC 6120 §4.7.1, §4.7.2: both, always. No language (§4.7.4): it would be claimed of whatever people
        // write who have not said theirs.
        let fields =
            HeaderFields { from: Some(&self.pair.local), to: Some(&self.pair.remote), ..HeaderFields::default() };
        write_header(&mut out, ContentNamespace::Server, &fields);
        out
    }

    fn opened(&mut self, header: Header) -> Effect {
        if self.state != State::Header {
            let element = "stream".to_owned();
            return fail(Trouble::Unexpected { phase: self.phase(), element }.into());
        }
        if header.version.is_none_or(|(major, _)| major < 1) {
            // Before XMPP 1.0 there were no features, and no TLS.
            return fail(Trouble::OldXmpp.into());
        }
        self.id = header.id.filter(|id| !id.is_empty());
        self.dialback = header.dialback;
        self.state = State::Features;
        read()
    }

    fn element(&mut self, element: &Element) -> Effect {
        match &self.state {
            State::Features if element.is("features", STREAMS_NS) => self.features(element),
            State::Proceed if element.is("proceed", TLS_NS) => {
                if !self.tls_offered {
                    self.setback = Some(Trouble::StarttlsStripped);
                }
                self.state = State::Handshake;
                Effect { write: String::new(), next: Next::Secure }
            }
            State::Proceed if self.is_without_tls() => fail(Trouble::NoStarttls.into()),
            State::Proceed if element.is("failure", TLS_NS) => fail(Trouble::StarttlsRefused.into()),
            State::External if element.is("success", SASL_NS) => {
                self.layer = Layer::Authenticated;
                self.state = State::Header;
                Effect { write: self.header(), next: Next::Restart }
            }
            State::External if element.is("failure", SASL_NS) => self.external_failed(element),
            State::Dialback { question, .. } => match Dialback::read(element) {
                Some(Ok(said)) => match question.answered_by(said) {
                    Some(verdict) => self.verdict(verdict),
                    // T-S2S-1: an answer to what nobody asked has no effect.
                    None => {
                        self.strayed = true;
                        read()
                    }
                },
                Some(Err(_)) => fail(Trouble::DialbackMalformed.into()),
                None => self.unexpected(element),
            },
            _ => self.unexpected(element),
        }
    }

    fn unexpected(&self, element: &Element) -> Effect {
        fail(Trouble::Unexpected { phase: self.phase(), element: element.name().to_owned() }.into())
    }

    fn features(&mut self, features: &Element) -> Effect {
        let limits = features.child("limits", STREAM_LIMITS_NS);
        let bytes = limits.and_then(|limits| limits.child("max-bytes", STREAM_LIMITS_NS)?.text().trim().parse().ok());
        self.largest = bytes.map(|bytes: usize| bytes.max(SMALLEST_LIMIT));
        match self.layer {
            // RFC 7590 §3.1: whether it is offered or not, for the offer may have been taken out on the way.
            Layer::Plain => {
                self.tls_offered = features.child("starttls", TLS_NS).is_some();
                self.state = State::Proceed;
                Effect { write: Element::new("starttls", TLS_NS).to_xml(""), next: Next::Read }
            }
            Layer::Secured => {
                self.dialback |= features.child("dialback", FEATURE_NS).is_some();
                self.offers = Some(features.clone());
                let is_wanted = self.traffic == Traffic::BothWays && self.aim == Aim::Deliver;
                self.is_bidirectional = is_wanted && bidi::is_offered(features);
                let mut effect = self.authenticate(features);
                if self.is_bidirectional {
                    // XEP-0288 §2.2: before anything is proven.
                    effect.write.insert_str(0, &bidi::request().to_xml(""));
                }
                effect
            }
            Layer::Authenticated => {
                self.offers = Some(features.clone());
                self.done(Next::Ready)
            }
        }
    }

    fn authenticate(&mut self, features: &Element) -> Effect {
        if let Aim::Verify { id, key } = &self.aim {
            let Pair { local: from, remote: to } = self.pair.clone();
            let question = Question::Verify(self.pair.clone(), id.clone());
            let said = Dialback::Verify { from, to, id: id.clone(), key: key.clone() };
            self.state = State::Dialback { question, after_external: false };
            return Effect { write: said.to_xml(), next: Next::Read };
        }
        let external = Mechanism::External.as_str();
        let offered = features
            .child("mechanisms", SASL_NS)
            .is_some_and(|list| list.elements().any(|mechanism| mechanism.text().trim() == external));
        if offered && self.ours == ClientCertificate::Shown && self.ways != Ways::Dialback {
            self.state = State::External;
            // XEP-0178 §3 (interoperability note): older servers rely on the authorization identity.
            let auth = sasl_profile::auth(external, Some(self.pair.local.as_bytes()));
            return Effect { write: auth.to_xml(""), next: Next::Read };
        }
        self.ask(false, Trouble::NoWayToAuthenticate { external: offered })
    }

    /// Asks by dialback for the right to send (XEP-0220 §2.1.1); `otherwise` is why that was the last way.
    fn ask(&mut self, after_external: bool, otherwise: Trouble) -> Effect {
        match self.id.clone() {
            None if self.dialback => fail(Trouble::NoStreamId.into()),
            Some(_) if self.dialback && self.ways == Ways::External => {
                self.setback = after_external.then_some(otherwise);
                fail(Trouble::DialbackNotTried.into())
            }
            Some(id) if self.dialback => {
                self.setback = after_external.then_some(otherwise);
                let Pair { local: from, remote: to } = self.pair.clone();
                let key = self.secret.key(&to, &from, &id);
                self.state = State::Dialback { question: Question::Result(self.pair.clone()), after_external };
                Effect { write: Dialback::Result { from, to, key }.to_xml(), next: Next::Read }
            }
            _ => fail(otherwise.into()),
        }
    }

    fn external_failed(&mut self, failure: &Element) -> Effect {
        let condition = SaslError::condition_of(failure).as_str();
        let text = failure.child("text", SASL_NS).map(|text| format!(" ({})", text.text().trim()));
        let condition = format!("{condition}{}", text.unwrap_or_default());
        self.ask(true, Trouble::ExternalRefused { condition })
    }

    fn secured(&mut self, certificate: Certificate, ours: ClientCertificate) -> Effect {
        if certificate != Certificate::Proves {
            // Nobody speaks for a domain that is not proven.
            self.traffic = Traffic::OneWay;
        }
        match (certificate, self.proofs) {
            (Certificate::Proves, _) => {}
            (Certificate::SaysNothing(why), Proofs::CertificateOrDialback) => self.setback = Some(why),
            (Certificate::SaysNothing(why), Proofs::Certificate) | (Certificate::Contradicts(why), _) => {
                return fail(why.into());
            }
        }
        self.layer = Layer::Secured;
        self.ours = ours;
        self.state = State::Header;
        Effect { write: self.header(), next: Next::Restart }
    }

    fn verdict(&mut self, verdict: Verdict) -> Effect {
        if matches!(self.aim, Aim::Verify { .. }) {
            return self.done(Next::Answered(verdict));
        }
        match verdict {
            Verdict::Valid => self.done(Next::Ready),
            Verdict::Invalid => fail(Trouble::KeyInvalid.into()),
            Verdict::Error(error) => fail(dialback_error(&error)),
        }
    }

    fn done(&mut self, next: Next) -> Effect {
        self.state = State::Done;
        Effect { write: String::new(), next }
    }

    /// Whether TLS was asked for that was not offered.
    fn is_without_tls(&self) -> bool {
        self.state == State::Proceed && !self.tls_offered
    }

    fn lost(&mut self, failure: Failure) -> Effect {
        if self.is_without_tls() {
            return fail(Trouble::NoStarttls.into());
        }
        let retry = match (&self.state, self.layer) {
            // TLS 1.3 tells us only now that our certificate is not welcome, and some peers say it by closing.
            (State::Handshake, _) if matches!(failure.trouble, Some(Trouble::OldTls)) => None,
            (State::Handshake, _) | (State::Header, Layer::Secured) if self.shown_or_about_to() => {
                Some(Retry::WithoutCertificate)
            }
            (State::External, _) | (State::Dialback { after_external: true, .. }, _)
                if self.dialback && self.ways != Ways::External =>
            {
                Some(Retry::WithDialback)
            }
            _ => None,
        };
        let next = match retry {
            Some(retry) => Next::Retry(retry, failure),
            None => Next::Fail(failure),
        };
        Effect { write: String::new(), next }
    }

    fn shown_or_about_to(&self) -> bool {
        self.state == State::Handshake || self.ours == ClientCertificate::Shown
    }
}

/// The failure that a stream error of the peer stands for.
pub(crate) fn refused(error: &StreamError) -> Failure {
    let fault = match error.condition {
        StreamCondition::HostUnknown | StreamCondition::HostGone => Fault::NotFound,
        StreamCondition::NotAuthorized | StreamCondition::PolicyViolation | StreamCondition::InvalidFrom => {
            Fault::Unproven
        }
        _ => Fault::Unreachable,
    };
    Trouble::StreamError { error: error.to_string() }.into_failure(fault)
}

/// XEP-0220 §2.5: whatever the error, the sender is told `remote-server-timeout`.
fn dialback_error(error: &StanzaError) -> Failure {
    let fault = match error.condition {
        Condition::ItemNotFound
        | Condition::PolicyViolation
        | Condition::NotAuthorized
        | Condition::Forbidden
        | Condition::NotAcceptable => Fault::Unproven,
        _ => Fault::Unreachable,
    };
    Trouble::DialbackRefused { condition: error.condition.as_str().to_owned() }.into_failure(fault)
}

fn read() -> Effect {
    Effect { write: String::new(), next: Next::Read }
}

fn fail(failure: Failure) -> Effect {
    Effect { write: String::new(), next: Next::Fail(failure) }
}

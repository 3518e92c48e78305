//! Resource binding (RFC 6120 section 7): from the first stanza after authentication to a full JID.
//!
//! Whether a resource is taken, and how many an account may have, is the caller's knowledge.

use crate::hexadecimal;
use crate::jid::{BareJid, Jid, resourcepart};
use crate::stanza::{Condition, IqType, Kind, Stanza, StanzaError};
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

/// Namespace of resource binding (RFC 6120 §7.1).
pub const BIND_NS: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// How many requests may fail before the stream is closed (RFC 6120 §7.7.3).
const RETRIES: u8 = 5;

/// The resource of a request: what the client asks for, or what `random` makes.
///
/// An empty `<resource/>` asks for a generated one (RFC 6120 §7.7.2.1 lets the server make it conform).
///
/// # Errors
/// `bad-request` if this is no bind request or the resource cannot be prepared.
pub fn resource(iq: &Stanza<'_>, random: [u8; 16]) -> Result<String, StanzaError> {
    let bad = |text| StanzaError::new(Condition::BadRequest, text);
    if iq.kind != Kind::Iq(IqType::Set) {
        return Err(bad("a resource is bound with an IQ of type set"));
    }
    let payload = iq.payload.elements();
    let [bind] = payload.as_slice() else {
        return Err(bad("the request holds one bind element"));
    };
    if !bind.is("bind", BIND_NS) {
        return Err(bad("the request holds a bind element"));
    }
    let mut children = bind.elements();
    let text = match (children.next(), children.next()) {
        (None, _) => String::new(),
        (Some(resource), None) if resource.is("resource", BIND_NS) => resource.text(),
        _ => return Err(bad("a bind element holds at most one resource")),
    };
    if text.is_empty() {
        return Ok(generated(random));
    }
    resourcepart(&text).map(std::borrow::Cow::into_owned).map_err(|_| bad("this is no resourcepart"))
}

/// A resource that nobody can guess (RFC 6120 §7.5, §7.6); also what replaces one that is taken.
#[must_use]
pub fn generated(random: [u8; 16]) -> String {
    hexadecimal::text(&random)
}

/// Whether a stanza is a request to bind, well-formed or not.
#[must_use]
pub fn is_request(stanza: &Stanza<'_>) -> bool {
    matches!(stanza.kind, Kind::Iq(IqType::Get | IqType::Set))
        && stanza.payload.children().next().is_some_and(|child| child.name == "bind" && child.ns == BIND_NS)
}

/// The `<bind/>` of the answer.
#[must_use]
pub fn result(jid: &Jid) -> Element {
    Element::new("bind", BIND_NS).with_child(Element::new("jid", BIND_NS).with_text(jid.as_str()))
}

/// A stream whose client has authenticated and has no resource yet.
#[derive(Debug, Clone)]
pub struct Binding {
    user: BareJid,
    failures: u8,
}

/// What a stanza before the end of binding causes.
#[derive(Debug, Clone, PartialEq)]
pub enum BindEffect {
    /// Bind this resource if it is free, otherwise [`generated`]; then answer with [`result`]. If the account may
    /// have no more, send what [`Binding::refuse`] makes of the reason.
    Bind(String),
    /// Answer, and wait for the next request.
    Refuse(Stanza<'static>),
    Close(StreamError),
}

impl Binding {
    /// For the user who has authenticated.
    #[must_use]
    pub const fn new(user: BareJid) -> Self {
        Self { user, failures: 0 }
    }

    /// The user who has authenticated.
    #[must_use]
    pub const fn user(&self) -> &BareJid {
        &self.user
    }

    /// The client sends a stanza; `random` makes a resource if it asks for none.
    pub fn stanza(&mut self, stanza: &Stanza<'_>, random: [u8; 16]) -> BindEffect {
        if !is_request(stanza) || !self.is_for_us(stanza.to.as_ref()) {
            // RFC 6120 §7.1: nothing else may be sent before a resource is bound.
            return BindEffect::Close(StreamError::new(StreamCondition::NotAuthorized, "bind a resource first"));
        }
        match resource(stanza, random) {
            Ok(resource) => BindEffect::Bind(resource),
            Err(error) => self.refuse(stanza, &error),
        }
    }

    /// Answers a request that cannot be fulfilled, or closes the stream after too many of them.
    pub fn refuse(&mut self, stanza: &Stanza<'_>, error: &StanzaError) -> BindEffect {
        self.failures = self.failures.saturating_add(1);
        match stanza.error(error) {
            Some(answer) if self.failures <= RETRIES => BindEffect::Refuse(answer),
            _ => BindEffect::Close(StreamError::new(StreamCondition::PolicyViolation, "too many failures to bind")),
        }
    }

    /// Requests go to the server or to the account itself; many clients leave `to` out.
    fn is_for_us(&self, to: Option<&Jid>) -> bool {
        to.is_none_or(|to| to.is_bare() && (to.as_str() == self.user.as_str() || to.as_str() == self.user.domain()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;

    fn iq(kind: IqType, payload: &'static str) -> Stanza<'static> {
        Stanza::new(Kind::Iq(kind)).id("b1").payload(Payload::canonical(payload))
    }

    fn binding() -> Binding {
        Binding::new(BareJid::parse("juliet@example.com").unwrap())
    }

    const EMPTY: &str = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    const BALCONY: &str = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind>";

    // Proves: RFC 6120 §4.3.6, §7.2, §7.6, §7.6.1, §7.7
    #[test]
    fn a_resource_is_the_clients_or_ours() {
        let random = [0xab; 16];
        let ours = "ab".repeat(16);
        assert_eq!(generated(random), ours);
        for (payload, expected) in [
            (EMPTY, ours.as_str()),
            ("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource/></bind>", ours.as_str()),
            (BALCONY, "balcony"),
        ] {
            assert_eq!(
                binding().stanza(&iq(IqType::Set, payload), random),
                BindEffect::Bind(expected.to_owned()),
                "{payload}"
            );
        }
        let jid = Jid::parse("juliet@example.com/balcony").unwrap();
        assert_eq!(
            iq(IqType::Set, BALCONY).result().payload(result(&jid)).to_xml(),
            "<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>juliet@example.com/balcony</jid></bind></iq>"
        );
    }

    // Proves: RFC 6120 §7.7.2.1, §7.7.3
    #[test]
    fn malformed_requests_are_answered_and_may_be_repeated() {
        for (kind, payload) in [
            (IqType::Get, EMPTY),
            (IqType::Set, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><x xmlns='x'/>"),
            (IqType::Set, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><x/></bind>"),
            (IqType::Set, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource xmlns='y'>a</resource></bind>"),
            (
                IqType::Set,
                "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>a</resource><resource>b</resource></bind>",
            ),
        ] {
            let mut binding = binding();
            for _ in 0..RETRIES {
                let BindEffect::Refuse(answer) = binding.stanza(&iq(kind, payload), [0; 16]) else {
                    panic!("{payload}");
                };
                let error = answer.payload.first().unwrap();
                assert_eq!(StanzaError::condition_of(&error), Some(Condition::BadRequest));
                assert_eq!(answer.id.as_deref(), Some("b1"));
            }
            let BindEffect::Close(error) = binding.stanza(&iq(kind, payload), [0; 16]) else { panic!("{payload}") };
            assert_eq!(error.condition, StreamCondition::PolicyViolation);
        }
        let full = binding().refuse(&iq(IqType::Set, EMPTY), &Condition::ResourceConstraint.into());
        assert!(matches!(full, BindEffect::Refuse(_)));
    }

    // Proves: RFC 6120 §4.3.5, §7.1, §7.3.1
    #[test]
    fn anything_else_closes_the_stream() {
        let to = |text: &str| Some(Jid::parse(text).unwrap());
        let message = Stanza::new(Kind::Message(crate::stanza::MessageType::Chat));
        for stanza in [
            message.clone().to(to("romeo@example.net")),
            message,
            Stanza::new(Kind::Presence(crate::stanza::PresenceType::Available)),
            iq(IqType::Get, "<query xmlns='jabber:iq:roster'/>"),
            iq(IqType::Result, EMPTY),
            iq(IqType::Set, ""),
            iq(IqType::Set, "<bind xmlns='urn:other'/>"),
            iq(IqType::Set, EMPTY).to(to("example.net")),
            iq(IqType::Set, EMPTY).to(to("romeo@example.com")),
            iq(IqType::Set, EMPTY).to(to("example.com/x")),
        ] {
            let BindEffect::Close(error) = binding().stanza(&stanza, [0; 16]) else { panic!("{}", stanza.to_xml()) };
            assert_eq!(error.condition, StreamCondition::NotAuthorized);
        }
        for address in ["example.com", "juliet@example.com"] {
            let effect = binding().stanza(&iq(IqType::Set, BALCONY).to(to(address)), [0; 16]);
            assert_eq!(effect, BindEffect::Bind("balcony".to_owned()));
        }
        assert_eq!(binding().user().as_str(), "juliet@example.com");
    }
}

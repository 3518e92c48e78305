//! Stanza errors (RFC 6120 §8.3).

use crate::xml::{Element, spelled};

use super::CLIENT_NS;

/// Namespace of the defined conditions (RFC 6120 §8.3.2).
const NS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

spelled! {
    /// A defined condition (RFC 6120 §8.3.3).
    pub Condition {
        BadRequest = "bad-request", Conflict = "conflict", FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden", Gone = "gone", InternalServerError = "internal-server-error", ItemNotFound =
        "item-not-found", JidMalformed = "jid-malformed", NotAcceptable = "not-acceptable", NotAllowed =
        "not-allowed", NotAuthorized = "not-authorized", PolicyViolation = "policy-violation",
        RecipientUnavailable = "recipient-unavailable", Redirect = "redirect", RegistrationRequired =
        "registration-required", RemoteServerNotFound = "remote-server-not-found", RemoteServerTimeout =
        "remote-server-timeout", ResourceConstraint = "resource-constraint", ServiceUnavailable =
        "service-unavailable", SubscriptionRequired = "subscription-required", UndefinedCondition =
        "undefined-condition", UnexpectedRequest = "unexpected-request",
    }
}

impl Condition {
    /// The element that names the condition (RFC 6120 §8.3.2).
    #[must_use]
    pub fn to_element(self) -> Element {
        Element::new(self.as_str(), NS)
    }

    /// The error type that the RFC recommends for the condition.
    #[must_use]
    pub const fn error_type(self) -> ErrorType {
        match self {
            Self::BadRequest | Self::JidMalformed | Self::NotAcceptable | Self::PolicyViolation | Self::Redirect => {
                ErrorType::Modify
            }
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorType::Cancel,
            Self::Forbidden | Self::NotAuthorized | Self::RegistrationRequired | Self::SubscriptionRequired => {
                ErrorType::Auth
            }
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
        }
    }
}

spelled! {
    /// What the sender may do about an error (RFC 6120 §8.3.2).
    pub ErrorType { Auth = "auth", Cancel = "cancel", Continue = "continue", Modify = "modify", Wait = "wait" }
}

/// An error to be sent: condition, type, and a text for the person who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError {
    pub condition: Condition,
    pub error_type: ErrorType,
    /// In English, without trailing stop.
    pub text: Option<String>,
    /// What an extension adds for programs (RFC 6120 §8.3.4).
    pub detail: Option<Box<Element>>,
}

impl StanzaError {
    #[must_use]
    pub fn new(condition: Condition, text: impl Into<String>) -> Self {
        Self { condition, error_type: condition.error_type(), text: Some(text.into()), detail: None }
    }

    #[must_use]
    pub const fn with_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = error_type;
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: Element) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// The `<error/>` element, in the content namespace.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut error = Element::new("error", CLIENT_NS).with("type", self.error_type.as_str());
        error.push(self.condition.to_element());
        if let Some(text) = &self.text {
            error.push(Element::new("text", NS).with("xml:lang", "en").with_text(text));
        }
        if let Some(detail) = &self.detail {
            error.push((**detail).clone());
        }
        error
    }

    /// The condition inside an `<error/>` element that somebody sent.
    #[must_use]
    pub fn condition_of(error: &Element) -> Option<Condition> {
        error.elements().find(|child| child.ns() == NS).and_then(|child| Condition::parse(child.name()))
    }
}

impl From<Condition> for StanzaError {
    fn from(condition: Condition) -> Self {
        Self { condition, error_type: condition.error_type(), text: None, detail: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

    // Proves: RFC 6120 §8.3.1, §8.3.2
    #[test]
    fn an_error_has_a_condition_and_perhaps_more() {
        for condition in Condition::ALL {
            let error = StanzaError::from(*condition);
            let expected = format!(
                "<error type='{}'><{} xmlns='{NS}'/></error>",
                condition.error_type().as_str(),
                condition.as_str()
            );
            assert_eq!(error.to_element().to_xml(CLIENT_NS), expected);
            assert_eq!(StanzaError::condition_of(&error.to_element()), Some(*condition));
        }
        let error = StanzaError::new(Condition::NotAllowed, "why")
            .with_type(ErrorType::Auth)
            .with_detail(Element::new("x", "urn:example"));
        assert_eq!(
            error.to_element().to_xml(CLIENT_NS),
            format!(
                "<error type='auth'><not-allowed xmlns='{NS}'/><text xmlns='{NS}' xml:lang='en'>why</text>\
                 <x xmlns='urn:example'/></error>"
            )
        );
    }

    // Proves: RFC 6120 §8.3.1
    #[test]
    fn an_error_goes_back_under_the_same_id_and_is_never_answered() {
        let error = StanzaError::from(Condition::BadRequest);
        for kind in [
            Kind::Message(MessageType::Chat),
            Kind::Presence(PresenceType::Subscribe),
            Kind::Iq(IqType::Get),
            Kind::Iq(IqType::Set),
        ] {
            let answer = Stanza::new(kind).id("7").error(&error).unwrap();
            assert_eq!(answer.id.as_deref(), Some("7"), "{kind:?}");
            assert!(answer.payload.as_str().starts_with("<error type='modify'>"), "{kind:?}");
            assert!(answer.error(&error).is_none(), "{kind:?}");
        }
        assert!(Stanza::new(Kind::Iq(IqType::Result)).id("7").error(&error).is_none());
        // RFC 6120 §8.2.3: there is no IQ without one.
        let answered = |kind| Stanza::new(kind).error(&error).unwrap().id;
        assert_eq!(answered(Kind::Iq(IqType::Get)).as_deref(), Some(""));
        assert_eq!(answered(Kind::Message(MessageType::Chat)), None);
    }
}

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

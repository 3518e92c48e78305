//! Stanza errors (RFC 6120 §8.3).

use crate::xml::Element;

use super::CLIENT_NS;

/// Namespace of the defined conditions (RFC 6120 §8.3.2).
const NS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

macro_rules! conditions {
    ($($variant:ident = $text:literal $kind:ident),+ $(,)?) => {
        /// A defined condition (RFC 6120 §8.3.3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Condition { $($variant),+ }

        impl Condition {
            /// Every condition, in the order of the RFC.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The element name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The condition whose element is called `name`.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The error type that the RFC recommends for the condition.
            #[must_use]
            pub const fn error_type(self) -> ErrorType {
                match self { $(Self::$variant => ErrorType::$kind),+ }
            }
        }
    };
}

conditions! {
    BadRequest = "bad-request" Modify,
    Conflict = "conflict" Cancel,
    FeatureNotImplemented = "feature-not-implemented" Cancel,
    Forbidden = "forbidden" Auth,
    Gone = "gone" Cancel,
    InternalServerError = "internal-server-error" Cancel,
    ItemNotFound = "item-not-found" Cancel,
    JidMalformed = "jid-malformed" Modify,
    NotAcceptable = "not-acceptable" Modify,
    NotAllowed = "not-allowed" Cancel,
    NotAuthorized = "not-authorized" Auth,
    PolicyViolation = "policy-violation" Modify,
    RecipientUnavailable = "recipient-unavailable" Wait,
    Redirect = "redirect" Modify,
    RegistrationRequired = "registration-required" Auth,
    RemoteServerNotFound = "remote-server-not-found" Cancel,
    RemoteServerTimeout = "remote-server-timeout" Wait,
    ResourceConstraint = "resource-constraint" Wait,
    ServiceUnavailable = "service-unavailable" Cancel,
    SubscriptionRequired = "subscription-required" Auth,
    UndefinedCondition = "undefined-condition" Cancel,
    UnexpectedRequest = "unexpected-request" Wait,
}

/// What the sender may do about an error (RFC 6120 §8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
}

impl ErrorType {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

/// An error to be sent: condition, type, and a text for the person who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError {
    pub condition: Condition,
    pub error_type: ErrorType,
    /// In English, without trailing stop.
    pub text: Option<String>,
}

impl StanzaError {
    #[must_use]
    pub fn new(condition: Condition, text: impl Into<String>) -> Self {
        Self { condition, error_type: condition.error_type(), text: Some(text.into()) }
    }

    #[must_use]
    pub const fn with_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = error_type;
        self
    }

    /// The `<error/>` element, in the content namespace.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut error = Element::new("error", CLIENT_NS).with("type", self.error_type.as_str());
        error.push(Element::new(self.condition.as_str(), NS));
        if let Some(text) = &self.text {
            error.push(Element::new("text", NS).with("xml:lang", "en").with_text(text));
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
        Self { condition, error_type: condition.error_type(), text: None }
    }
}

//! SASL failures (RFC 6120 §6.5).

use crate::xml::{Element, spelled};

/// Namespace of SASL negotiation (RFC 6120 §6.2).
pub const SASL_NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

spelled! {
    /// A defined condition (RFC 6120 §6.5).
    pub SaslCondition {
        Aborted = "aborted", AccountDisabled = "account-disabled", CredentialsExpired = "credentials-expired",
        EncryptionRequired = "encryption-required", IncorrectEncoding = "incorrect-encoding", InvalidAuthzid =
        "invalid-authzid", InvalidMechanism = "invalid-mechanism", MalformedRequest = "malformed-request",
        MechanismTooWeak = "mechanism-too-weak", NotAuthorized = "not-authorized", TemporaryAuthFailure =
        "temporary-auth-failure",
    }
}

/// Why a handshake failed: the condition, and a hint for whoever debugs a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslError {
    pub condition: SaslCondition,
    /// In English, without trailing stop; depends on what the peer sent only, never on an account.
    pub text: Option<&'static str>,
    /// Whether the peer was refused before it could show that it knows a secret, for what its software can do.
    pub is_misfit: bool,
}

impl SaslError {
    #[must_use]
    pub const fn new(condition: SaslCondition, text: &'static str) -> Self {
        Self { condition, text: Some(text), is_misfit: false }
    }

    /// The channel binding that the peer wants, or believes to be missing, does not fit (RFC 5802 §6).
    #[must_use]
    pub const fn misfit(text: &'static str) -> Self {
        Self { is_misfit: true, ..Self::new(SaslCondition::NotAuthorized, text) }
    }

    /// The message does not follow the syntax of its mechanism.
    #[must_use]
    pub const fn malformed(text: &'static str) -> Self {
        Self::new(SaslCondition::MalformedRequest, text)
    }

    /// The `<failure/>` element.
    #[must_use]
    pub fn to_element(self) -> Element {
        let mut failure = Element::new("failure", SASL_NS);
        failure.push(Element::new(self.condition.as_str(), SASL_NS));
        if let Some(text) = self.text {
            failure.push(Element::new("text", SASL_NS).with("xml:lang", "en").with_text(text));
        }
        failure
    }

    /// The condition in a `<failure/>` that a server sent; an unknown one is `not-authorized` (RFC 6120 §6.5).
    #[must_use]
    pub fn condition_of(failure: &Element) -> SaslCondition {
        failure.elements().find_map(|child| SaslCondition::parse(child.name())).unwrap_or(SaslCondition::NotAuthorized)
    }
}

impl From<SaslCondition> for SaslError {
    fn from(condition: SaslCondition) -> Self {
        Self { condition, text: None, is_misfit: false }
    }
}

impl std::fmt::Display for SaslError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.condition.as_str())?;
        self.text.map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

impl std::error::Error for SaslError {}

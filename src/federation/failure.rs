//! Why nothing can be sent to another server, in words, and the error that says so to the sender.

use crate::federation::trouble::Trouble;
use crate::stanza::{Condition, ErrorType, StanzaError};

/// What went wrong, and the sentence for the person who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// In English, without trailing stop.
    pub(crate) reason: String,
    /// What of it is known by kind; where there were several, the last.
    pub(crate) trouble: Option<Trouble>,
}

/// The kinds of failure that the sender is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such domain, or it has no XMPP service (RFC 6120 §8.3.3.16).
    NotFound,
    /// It exists but cannot be talked to now (RFC 6120 §8.3.3.17).
    Unreachable,
    /// It can be talked to but does not prove who it is, or does not accept that we prove who we are.
    Unproven,
    /// Its dialback says that our key is wrong (XEP-0220 §2.1.1).
    KeyRefused,
    /// We may not talk to it.
    Forbidden,
    /// Too much is waiting for it already.
    Overloaded,
    /// It has said that it takes nothing that large (XEP-0478 §3).
    TooLarge,
}

impl Failure {
    pub(crate) fn new(fault: Fault, reason: impl Into<String>) -> Self {
        Self { fault, reason: reason.into(), trouble: None }
    }

    pub(crate) fn unreachable(reason: impl Into<String>) -> Self {
        Self::new(Fault::Unreachable, reason)
    }

    /// What was in the way.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.clone().unwrap_or_else(|| Trouble::Other { text: self.reason.clone() })
    }

    /// The error for each stanza that cannot be sent.
    #[must_use]
    pub(crate) fn stanza_error(&self) -> StanzaError {
        let (condition, kind) = match self.fault {
            Fault::NotFound => (Condition::RemoteServerNotFound, ErrorType::Cancel),
            Fault::Unreachable => (Condition::RemoteServerTimeout, ErrorType::Wait),
            // RFC 6120 §8.3.3.17: of a more permanent nature.
            Fault::Unproven => (Condition::RemoteServerTimeout, ErrorType::Cancel),
            Fault::KeyRefused => (Condition::InternalServerError, ErrorType::Cancel),
            Fault::Forbidden => (Condition::NotAllowed, ErrorType::Cancel),
            Fault::Overloaded => (Condition::ResourceConstraint, ErrorType::Wait),
            Fault::TooLarge => (Condition::PolicyViolation, ErrorType::Modify),
        };
        StanzaError::new(condition, self.reason.clone()).with_type(kind)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

//! Why the gate refuses, before it is a [`StreamError`].

use super::{StreamCondition, StreamError};

/// A stream error that is cheap to hand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) condition: StreamCondition,
    pub(super) text: &'static str,
}

impl Refusal {
    #[cold]
    pub(super) const fn malformed(text: &'static str) -> Self {
        Self { condition: StreamCondition::NotWellFormed, text }
    }

    #[cold]
    pub(super) const fn restricted(text: &'static str) -> Self {
        Self { condition: StreamCondition::RestrictedXml, text }
    }

    #[cold]
    pub(super) const fn limit(text: &'static str) -> Self {
        Self { condition: StreamCondition::PolicyViolation, text }
    }

    #[cold]
    pub(super) const fn namespace(text: &'static str) -> Self {
        Self { condition: StreamCondition::InvalidNamespace, text }
    }

    #[cold]
    pub(super) const fn format(text: &'static str) -> Self {
        Self { condition: StreamCondition::BadFormat, text }
    }

    #[cold]
    pub(super) const fn encoding(text: &'static str) -> Self {
        Self { condition: StreamCondition::UnsupportedEncoding, text }
    }

    #[cold]
    pub(super) const fn stanza(text: &'static str) -> Self {
        Self { condition: StreamCondition::UnsupportedStanzaType, text }
    }
}

impl From<Refusal> for StreamError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.condition, refusal.text)
    }
}

//! The names of the mechanisms.

use crate::accounts::credentials::ScramHash;

/// Whether a SCRAM mechanism is tied to the TLS connection (RFC 5802 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The name ends with `-PLUS`.
    Plus,
    Bare,
}

/// A mechanism that this server implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    External,
    Scram(ScramHash, Variant),
    Plain,
}

impl Mechanism {
    /// Every mechanism, strongest first, which is the order in which they are offered (RFC 6120 §6.3.3).
    pub const ALL: &'static [Self] = &[
        Self::External,
        Self::Scram(ScramHash::Sha256, Variant::Plus),
        Self::Scram(ScramHash::Sha1, Variant::Plus),
        Self::Scram(ScramHash::Sha256, Variant::Bare),
        Self::Scram(ScramHash::Sha1, Variant::Bare),
        Self::Plain,
    ];

    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::Scram(ScramHash::Sha256, Variant::Plus) => "SCRAM-SHA-256-PLUS",
            Self::Scram(ScramHash::Sha1, Variant::Plus) => "SCRAM-SHA-1-PLUS",
            Self::Scram(ScramHash::Sha256, Variant::Bare) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha1, Variant::Bare) => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }

    /// The mechanism called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

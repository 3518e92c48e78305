//! The names of the mechanisms.

use crate::accounts::credentials::ScramHash;

use super::channel_binding::BindingType;

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
    /// HT-SHA-256 with this channel binding, or without any.
    HashedToken(Option<BindingType>),
}

impl Mechanism {
    /// Every mechanism, strongest first, which is the order in which they are offered (RFC 6120 §6.3.3).
    pub const ALL: &'static [Self] = &[
        Self::External,
        Self::Scram(ScramHash::Sha512, Variant::Plus),
        Self::Scram(ScramHash::Sha256, Variant::Plus),
        Self::Scram(ScramHash::Sha1, Variant::Plus),
        Self::Scram(ScramHash::Sha512, Variant::Bare),
        Self::Scram(ScramHash::Sha256, Variant::Bare),
        Self::Scram(ScramHash::Sha1, Variant::Bare),
        Self::Plain,
        Self::HashedToken(Some(BindingType::TlsExporter)),
        Self::HashedToken(Some(BindingType::TlsServerEndPoint)),
        Self::HashedToken(None),
    ];

    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::Scram(ScramHash::Sha512, Variant::Plus) => "SCRAM-SHA-512-PLUS",
            Self::Scram(ScramHash::Sha256, Variant::Plus) => "SCRAM-SHA-256-PLUS",
            Self::Scram(ScramHash::Sha1, Variant::Plus) => "SCRAM-SHA-1-PLUS",
            Self::Scram(ScramHash::Sha512, Variant::Bare) => "SCRAM-SHA-512",
            Self::Scram(ScramHash::Sha256, Variant::Bare) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha1, Variant::Bare) => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
            Self::HashedToken(Some(BindingType::TlsExporter)) => "HT-SHA-256-EXPR",
            Self::HashedToken(Some(BindingType::TlsServerEndPoint)) => "HT-SHA-256-ENDP",
            Self::HashedToken(None) => "HT-SHA-256-NONE",
        }
    }

    /// The mechanism called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

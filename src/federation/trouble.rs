//! Every way in which a server turns out not to be reachable, as a value: what the sender of a stanza is told, and what an
//! operator finds out by its kind.
//!
//! Pure. It must never know how it came to light.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::federation::failure::{Failure, Fault};
use crate::federation::proof::Reason;
use crate::net::dns::DnsError;
use crate::telemetry::harmless;

/// What a stream of ours waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Header,
    Features,
    /// The answer to `<starttls/>`.
    Starttls,
    Tls,
    External,
    Dialback,
}

/// What is in the way. The other server is meant where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trouble {
    /// The domain cannot stand in the DNS.
    NoName {
        domain: String,
    },
    /// The only target is the root (RFC 2782).
    NoService {
        domain: String,
    },
    NoSuchName,
    /// The name is there, without an address.
    NoAddress,
    /// Aliases lead in a circle.
    AliasLoop,
    /// Nobody knows: the DNS failed or did not answer.
    DnsFailed {
        why: String,
    },
    /// The answer should be signed, and its signatures do not fit (RFC 4035 §4.3).
    DnssecBogus {
        what: String,
    },
    /// Nobody listens.
    Refused,
    /// Whoever is there does not even refuse.
    NoAnswer,
    NotConnected {
        why: String,
    },
    /// It has said nothing until there was no more time.
    Silent {
        phase: Phase,
    },
    /// It has said a part of something until there was no more time.
    Slow {
        phase: Phase,
    },
    Closed {
        phase: Phase,
    },
    Broke {
        phase: Phase,
        why: String,
    },
    /// It has ended the stream with an error.
    StreamError {
        error: String,
    },
    Unexpected {
        phase: Phase,
        element: String,
    },
    /// What it says is nothing that a server may say.
    Nonsense {
        phase: Phase,
        error: String,
    },
    /// It is of a time before XMPP 1.0.
    OldXmpp,
    /// Neither offered nor begun when we asked for it (RFC 7590 §3.1).
    NoStarttls,
    /// It was not offered, and is there: somebody in between takes the offer away.
    StarttlsStripped,
    StarttlsRefused,
    BehindProceed,
    /// Nothing newer than TLS 1.1.
    OldTls,
    NoCommonCipher,
    TlsFailed {
        why: String,
    },
    Certificate {
        fault: CertificateFault,
        text: String,
    },
    /// It does not want ours, and says so in TLS.
    CertificateUnwelcome {
        why: String,
    },
    ExternalRefused {
        condition: String,
    },
    NoWayToAuthenticate {
        external: bool,
    },
    /// Without an id no dialback key can be made (RFC 6120 §4.7.3).
    NoStreamId,
    /// No server of ours runs that could vouch for our key.
    DialbackNotTried,
    KeyInvalid,
    /// It has asked about our key with the id of another stream.
    OtherStreamId,
    DialbackRefused {
        condition: String,
    },
    DialbackMalformed,
    /// It has answered what nobody had asked: another id, or other domains.
    OtherAnswer,
    /// It vouches for a key that nobody has made.
    VouchesForAnything,
    Other {
        text: String,
    },
}

/// Why a chain of certificates does not prove the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateFault {
    NotShown,
    Malformed,
    Expired,
    NotYetValid,
    WrongName,
    SelfSigned,
    /// Self-signed, and that of an authority (CA:TRUE).
    SelfSignedAuthority,
    /// That of an authority, though not its own.
    Authority,
    UnknownAuthority,
    /// Whoever has issued the last one that was shown is no authority that is trusted here, nor was he shown.
    MissingIntermediate,
    WrongUsage,
    Constrained,
    BadSignature,
    /// The operator of this server has pinned other keys.
    PinMismatch,
    /// A signed DNS names other keys.
    TlsaMismatch,
    /// It proves the domain in a way that is not accepted of it.
    NotAccepted,
    Other,
}

impl From<&Reason> for CertificateFault {
    fn from(reason: &Reason) -> Self {
        match reason {
            Reason::NoCertificate => Self::NotShown,
            Reason::Malformed(_) => Self::Malformed,
            Reason::Expired(_) => Self::Expired,
            Reason::NotYetValid(_) => Self::NotYetValid,
            Reason::NameMismatch { .. } | Reason::UnusableDomain => Self::WrongName,
            Reason::SelfSigned => Self::SelfSigned,
            Reason::SelfSignedAuthority => Self::SelfSignedAuthority,
            Reason::AuthorityAsPeer => Self::Authority,
            Reason::UnknownAuthority(_) => Self::UnknownAuthority,
            Reason::UnknownIssuer(_) => Self::MissingIntermediate,
            Reason::WrongUsage => Self::WrongUsage,
            Reason::Constrained => Self::Constrained,
            Reason::BadSignature | Reason::UnacceptableSignature => Self::BadSignature,
            Reason::PinMismatch { .. } => Self::PinMismatch,
            Reason::TlsaMismatch { .. } => Self::TlsaMismatch,
            Reason::NotAccepted(_) => Self::NotAccepted,
            Reason::Other(_) => Self::Other,
        }
    }
}

impl From<&Reason> for Trouble {
    fn from(reason: &Reason) -> Self {
        Self::Certificate { fault: reason.into(), text: reason.to_string() }
    }
}

impl Trouble {
    /// What kind of error the sender gets for it.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoName { .. } | Self::NoService { .. } | Self::NoSuchName | Self::NoAddress => Fault::NotFound,
            Self::OldXmpp
            | Self::NoStarttls
            | Self::StarttlsStripped
            | Self::StarttlsRefused
            | Self::BehindProceed
            | Self::Certificate { .. }
            | Self::CertificateUnwelcome { .. }
            | Self::ExternalRefused { .. }
            | Self::NoWayToAuthenticate { .. }
            | Self::NoStreamId
            | Self::DialbackNotTried
            | Self::VouchesForAnything => Fault::Unproven,
            Self::KeyInvalid | Self::OtherStreamId => Fault::KeyRefused,
            _ => Fault::Unreachable,
        }
    }

    /// The failure in which it shows, where it depends on more than its kind.
    pub(crate) fn into_failure(self, fault: Fault) -> Failure {
        Failure { fault, reason: self.to_string(), trouble: Some(self) }
    }

    /// Its kind, as scripts know it.
    #[must_use]
    pub fn kind(&self) -> String {
        let kind = match self {
            // What is wrong with a certificate says more than that something is.
            Self::Certificate { fault, .. } => serde_json::to_value(fault).ok(),
            _ => serde_json::to_value(self).ok().and_then(|value| value.get("kind").cloned()),
        };
        kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let fault = trouble.fault();
        trouble.into_failure(fault)
    }
}

impl From<&DnsError> for Trouble {
    fn from(error: &DnsError) -> Self {
        match error {
            DnsError::NotFound => Self::NoAddress,
            DnsError::NoSuchName => Self::NoSuchName,
            DnsError::Loop => Self::AliasLoop,
            DnsError::Failed(why) => Self::DnsFailed { why: why.clone() },
            DnsError::Bogus(what) => Self::DnssecBogus { what: what.clone() },
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "before its stream header",
            Self::Features => "before its stream features",
            Self::Starttls => "behind its stream features, when TLS was to start",
            Self::Tls => "during the TLS handshake",
            Self::External => "during SASL EXTERNAL",
            Self::Dialback => "during dialback",
        })
    }
}

/// In one line: a part of the words may be those of a stranger.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName { domain } => write!(f, "{domain} cannot be a name in DNS"),
            Self::NoService { domain } => write!(f, "{domain} says in DNS that it has no XMPP service"),
            Self::NoSuchName => f.write_str("not found in DNS, there is no such name"),
            Self::NoAddress => f.write_str("not found in DNS, there is no address"),
            Self::AliasLoop => f.write_str("in DNS its aliases (CNAME) lead in a circle"),
            Self::DnsFailed { why } => write!(f, "DNS failed: {}", harmless(why)),
            Self::DnssecBogus { what } => write!(f, "the signatures in DNS (DNSSEC) are wrong: {}", harmless(what)),
            Self::Refused => f.write_str("connection refused"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::NotConnected { why } | Self::Other { text: why } => f.write_str(&harmless(why)),
            Self::Silent { phase } => write!(f, "the other server says nothing {phase}"),
            Self::Slow { phase } => write!(f, "what the other server says {phase} comes too slowly"),
            Self::Closed { phase } => write!(f, "the other server closed the stream {phase}"),
            Self::Broke { phase, why } => write!(f, "{} {phase}", harmless(why)),
            Self::StreamError { error } => write!(f, "the other server closed the stream: {}", harmless(error)),
            Self::Unexpected { phase, element } => write!(f, "the other server sent <{element}/> {phase}"),
            Self::Nonsense { error, .. } => write!(f, "what the other server sent was refused: {error}"),
            Self::OldXmpp => f.write_str("the other server does not speak XMPP 1.0, so it has no TLS"),
            Self::NoStarttls => f.write_str("the other server does not offer TLS"),
            Self::StarttlsStripped => f.write_str("the offer of TLS is taken out on the way from the other server"),
            Self::StarttlsRefused => f.write_str("the other server refused to start TLS"),
            Self::BehindProceed => f.write_str("the other server sent data behind <proceed/>"),
            Self::OldTls => f.write_str("the other server has nothing newer than TLS 1.1"),
            Self::NoCommonCipher => f.write_str("the other server has no TLS cipher in common with this one"),
            Self::TlsFailed { why } => write!(f, "TLS failed: {}", harmless(why)),
            Self::Certificate { text, .. } => {
                write!(f, "the certificate of the other server does not prove its domain: {text}")
            }
            Self::CertificateUnwelcome { why } | Self::ExternalRefused { condition: why } => {
                write!(f, "the other server does not accept our certificate: {}", harmless(why))
            }
            Self::NoWayToAuthenticate { external: true } => {
                f.write_str("the other server offers only SASL EXTERNAL, for which we have shown no certificate")
            }
            Self::NoWayToAuthenticate { external: false } => {
                f.write_str("the other server offers no way to authenticate")
            }
            Self::NoStreamId => f.write_str("the other server gives its stream no id, which dialback needs"),
            Self::DialbackNotTried => {
                f.write_str("dialback was not tried: no server of ours runs that could vouch for it")
            }
            Self::KeyInvalid => f.write_str("the other server says that our dialback key is invalid"),
            Self::OtherStreamId => {
                f.write_str("the other server has asked about our dialback key with the id of another stream")
            }
            Self::DialbackRefused { condition } => {
                write!(f, "the other server could not verify our domain by dialback: {condition}")
            }
            Self::DialbackMalformed => f.write_str("the other server's dialback is malformed"),
            Self::OtherAnswer => f.write_str("the other server answers dialback with another id or other domains"),
            Self::VouchesForAnything => f.write_str("the other server vouches for a dialback key that nobody has made"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamCondition, StreamError};

    #[test]
    fn words_of_strangers_forge_no_lines() {
        let error = StreamError::new(StreamCondition::PolicyViolation, "no\n\nAll is well.\u{9b}2J");
        let told = Trouble::StreamError { error: error.to_string() }.to_string();
        assert!(told.contains("no\\u{a}\\u{a}All is well.\\u{9b}2J"), "{told}");
    }
}

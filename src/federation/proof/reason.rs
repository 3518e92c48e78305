//! Why what a peer has shown proves nothing, in words.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::{Key, Kind, Role};
use crate::net::tls::names::Presented;
use crate::telemetry::harmless;

/// How many of the names found are shown when none fits.
const SHOWN: usize = 8;

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The peer showed no certificate.
    NoCertificate,
    /// No certificate can name this domain.
    UnusableDomain,
    Malformed(String),
    Expired(SystemTime),
    NotYetValid(SystemTime),
    /// The certificates lead to an authority of this name, which was sent and is not trusted here.
    UnknownAuthority(String),
    /// They end at a certificate that an authority of this name has issued, which was not sent and is not trusted here.
    UnknownIssuer(String),
    SelfSigned,
    /// The peer's own certificate is self-signed, and that of an authority.
    SelfSignedAuthority,
    /// The peer's own certificate is that of an authority.
    AuthorityAsPeer,
    /// The certificate is for another purpose than TLS between servers.
    WrongUsage,
    /// An authority in the path was not allowed to issue for these names, or this far down.
    Constrained,
    BadSignature,
    /// Signed in a way that is not accepted, for instance with SHA-1.
    UnacceptableSignature,
    /// Valid, but for others: the names that were found.
    NameMismatch {
        domain: String,
        found: Vec<Presented>,
    },
    /// The operator has pinned other keys than this one.
    PinMismatch {
        found: Key,
    },
    /// The domain has signed DNS records for other keys: where they are, how many there are, and what the one that is
    /// nearest lacks, if one fits but for that.
    TlsaMismatch {
        names: Vec<String>,
        records: usize,
        found: Key,
        but: Option<Box<Self>>,
    },
    /// There is a proof, but of a kind that the operator does not accept of this domain.
    NotAccepted(Kind),
    Other(String),
}

impl Reason {
    /// Whether somebody who has the say has said that a peer in this role is another one, so that no other proof counts
    /// either. Whoever connects may be another machine than those that the records name.
    #[must_use]
    pub const fn is_contradiction(&self, role: Role) -> bool {
        match self {
            Self::PinMismatch { .. } => true,
            Self::TlsaMismatch { .. } => matches!(role, Role::Server),
            _ => false,
        }
    }

    /// What webpki has found wrong with a path from the first certificate of `chain`.
    pub(super) fn of_path(error: &webpki::Error, chain: &[CertificateDer<'_>], leaf: &X509Certificate<'_>) -> Self {
        use webpki::Error;
        let time = |time: &UnixTime| UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(UNIX_EPOCH);
        let is_self_signed = leaf.subject().as_raw() == leaf.issuer().as_raw();
        match error {
            Error::CertExpired { not_after, .. } => Self::Expired(time(not_after)),
            Error::CertNotValidYet { not_before, .. } => Self::NotYetValid(time(not_before)),
            Error::UnknownIssuer if is_self_signed => Self::SelfSigned,
            Error::UnknownIssuer => Self::beyond(chain, leaf),
            Error::CaUsedAsEndEntity if is_self_signed => Self::SelfSignedAuthority,
            Error::CaUsedAsEndEntity => Self::AuthorityAsPeer,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::WrongUsage,
            Error::NameConstraintViolation
            | Error::PathLenConstraintViolated
            | Error::EndEntityUsedAsCa
            | Error::MalformedNameConstraint
            | Error::InvalidNetworkMaskConstraint => Self::Constrained,
            Error::InvalidSignatureForPublicKey => Self::BadSignature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::SignatureAlgorithmMismatch => Self::UnacceptableSignature,
            Error::BadDer
            | Error::BadDerTime
            | Error::ExtensionValueInvalid
            | Error::InvalidCertValidity
            | Error::InvalidSerialNumber
            | Error::MalformedDnsIdentifier
            | Error::MalformedExtensions
            | Error::TrailingData(_)
            | Error::UnsupportedCertVersion => Self::Malformed(format!("{error:?}")),
            other => Self::Other(format!("{other:?}")),
        }
    }

    /// Where the certificates lead that lead to nobody who is trusted.
    fn beyond(chain: &[CertificateDer<'_>], leaf: &X509Certificate<'_>) -> Self {
        let mut issuer = leaf.issuer().as_raw().to_vec();
        let mut name = leaf.issuer().to_string();
        // Each certificate takes one step at most.
        for _ in chain {
            let next = chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).find_map(|(_, found)| {
                (found.subject().as_raw() == issuer).then(|| {
                    let is_root = found.issuer().as_raw() == found.subject().as_raw();
                    (is_root, found.issuer().as_raw().to_vec(), found.issuer().to_string())
                })
            });
            match next {
                None => return Self::UnknownIssuer(name),
                Some((true, ..)) => return Self::UnknownAuthority(name),
                Some((false, raw, text)) => (issuer, name) = (raw, text),
            }
        }
        Self::UnknownIssuer(name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate was shown"),
            Self::UnusableDomain => f.write_str("no certificate can name this domain"),
            Self::Malformed(what) => write!(f, "the certificate is malformed ({what})"),
            Self::Expired(end) => write!(f, "a certificate expired on {}", Date(*end)),
            Self::NotYetValid(start) => write!(f, "a certificate is not valid before {}", Date(*start)),
            Self::UnknownAuthority(name) => {
                write!(f, "the certificate comes from an authority that is not trusted here ({})", harmless(name))
            }
            Self::UnknownIssuer(name) => write!(
                f,
                "the certificate was issued by {}, which is not trusted here and whose own certificate was not sent: \
                 either an intermediate certificate is missing or the authority is unknown",
                harmless(name)
            ),
            Self::SelfSigned => f.write_str("the certificate is self-signed"),
            Self::SelfSignedAuthority => {
                f.write_str("the certificate is self-signed and that of an authority (CA:TRUE), not of a server")
            }
            Self::AuthorityAsPeer => f.write_str("the certificate is that of an authority, not of a server"),
            Self::WrongUsage => f.write_str("the certificate is not meant for TLS servers (extended key usage)"),
            Self::Constrained => f.write_str("the authority is not allowed to issue this certificate"),
            Self::BadSignature => f.write_str("the signature of the certificate is wrong"),
            Self::UnacceptableSignature => f.write_str("the certificate is signed in a way that is not accepted"),
            Self::NameMismatch { domain, found } if found.is_empty() => {
                write!(f, "the certificate names no domain, {domain} was expected (a Common Name does not count)")
            }
            Self::NameMismatch { domain, found } => {
                write!(f, "the certificate is not for {domain}, but for ")?;
                for (at, name) in found.iter().take(SHOWN).enumerate() {
                    write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
                }
                match found.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::PinMismatch { found } => {
                write!(f, "the key {found} is not one of those that are pinned for the domain")
            }
            Self::TlsaMismatch { names, records, found, but } => {
                write!(f, "the key {found} fits none of the {records} signed TLSA records at {}", names.join(", "))?;
                match but {
                    Some(but) => write!(f, "; the nearest lacks something else: {but}"),
                    None => Ok(()),
                }
            }
            Self::NotAccepted(kind) => write!(f, "proof by {kind} is not accepted of this domain"),
            Self::Other(what) => write!(f, "the certificate cannot be accepted ({what})"),
        }
    }
}

/// A time as a person writes it.
pub(super) struct Date(pub(super) SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok()) {
            Some(time) => write!(f, "{time}"),
            None => f.write_str("a date far away"),
        }
    }
}

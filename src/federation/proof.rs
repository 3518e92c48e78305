//! Whether a chain of certificates proves that the peer speaks for a domain (RFC 6120 §13.7, RFC 9525).
//!
//! A pure rule: chain, domain, time and trust in, judgement out. `domain` is always the one of the
//! stream (`to` for the side that connected, `from` for the other), never a name learnt from DNS.
//! The usage asked of a certificate is that of a server in both directions, because authorities no
//! longer issue certificates for clients to servers. Revocation is not looked at.
//! It must never know how the chain arrived or what is done with the judgement.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::net::tls::Trust;
use crate::net::tls::names::{Presented, Service, a_labels, presented};
use crate::net::tls::path::{end_of, is_name_constrained};

/// How many of the names found are shown when none fits.
const SHOWN: usize = 8;

/// The judgement on a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A trusted authority vouches for the domain.
    Pkix {
        /// The name in the certificate that stands for the domain.
        name: Presented,
        /// When the first certificate of the path ends; the stream has to be proven anew then
        /// (RFC 6120 §13.7.2.3).
        until: SystemTime,
    },
    Unproven(Reason),
}

/// Why a chain proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The peer showed no certificate.
    NoCertificate,
    /// No certificate can name this domain.
    UnusableDomain,
    Malformed(String),
    Expired(SystemTime),
    NotYetValid(SystemTime),
    UnknownAuthority,
    SelfSigned,
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
    Other(String),
}

/// Which purposes a certificate may be limited to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purposes {
    Server,
    ServerOrOnlyClient,
}

/// Judges the chain of a peer, its own certificate first.
#[must_use]
pub fn prove(chain: &[CertificateDer<'_>], domain: &str, now: SystemTime, trust: &Trust) -> Proof {
    judge(chain, domain, now, trust, Purposes::Server)
}

/// The same for the chain that a peer showed as TLS client, where a certificate that is limited to
/// the purpose of clients, as private authorities issue them, is in its place too.
#[must_use]
pub fn prove_client(chain: &[CertificateDer<'_>], domain: &str, now: SystemTime, trust: &Trust) -> Proof {
    judge(chain, domain, now, trust, Purposes::ServerOrOnlyClient)
}

fn judge(chain: &[CertificateDer<'_>], domain: &str, now: SystemTime, trust: &Trust, purposes: Purposes) -> Proof {
    match path_and_name(chain, domain, now, trust, purposes) {
        Ok(proof) => proof,
        Err(reason) => Proof::Unproven(reason),
    }
}

fn path_and_name(
    chain: &[CertificateDer<'_>],
    domain: &str,
    now: SystemTime,
    trust: &Trust,
    purposes: Purposes,
) -> Result<Proof, Reason> {
    let (leaf, intermediates) = chain.split_first().ok_or(Reason::NoCertificate)?;
    let reference = a_labels(domain).ok_or(Reason::UnusableDomain)?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| Reason::Malformed(error.to_string()))?;
    let end_entity = EndEntityCert::try_from(leaf).map_err(|error| reason(&error, &parsed))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let verify = |usage: KeyUsage| {
        end_entity.verify_for_usage(ALL_VERIFICATION_ALGS, trust.anchors(), intermediates, now, usage, None, None)
    };
    let usage = match purposes {
        Purposes::ServerOrOnlyClient if is_only_for_clients(&parsed) => KeyUsage::client_auth(),
        _ => KeyUsage::server_auth(),
    };
    let path = verify(usage).map_err(|error| reason(&error, &parsed))?;
    let found = presented(&parsed);
    let constrained = is_name_constrained(&path);
    let counts = |name: &&Presented| !constrained || matches!(name, Presented::Dns(_));
    let name = found.iter().filter(counts).find(|name| name.stands_for(&reference, Service::Server)).cloned();
    match name {
        Some(name) => Ok(Proof::Pkix { name, until: end_of(&path, &parsed) }),
        None => Err(Reason::NameMismatch { domain: reference, found }),
    }
}

/// Whether the extended key usage names the purpose of TLS clients and not that of servers.
fn is_only_for_clients(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth && !usage.value.server_auth)
}

fn reason(error: &webpki::Error, leaf: &X509Certificate<'_>) -> Reason {
    use webpki::Error;
    let time = |time: &UnixTime| UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(UNIX_EPOCH);
    let is_self_signed = leaf.subject().as_raw() == leaf.issuer().as_raw();
    match error {
        Error::CertExpired { not_after, .. } => Reason::Expired(time(not_after)),
        Error::CertNotValidYet { not_before, .. } => Reason::NotYetValid(time(not_before)),
        Error::UnknownIssuer | Error::CaUsedAsEndEntity if is_self_signed => Reason::SelfSigned,
        Error::UnknownIssuer => Reason::UnknownAuthority,
        Error::CaUsedAsEndEntity => Reason::AuthorityAsPeer,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Reason::WrongUsage,
        Error::NameConstraintViolation
        | Error::PathLenConstraintViolated
        | Error::EndEntityUsedAsCa
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint => Reason::Constrained,
        Error::InvalidSignatureForPublicKey => Reason::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => Reason::UnacceptableSignature,
        Error::BadDer
        | Error::BadDerTime
        | Error::ExtensionValueInvalid
        | Error::InvalidCertValidity
        | Error::InvalidSerialNumber
        | Error::MalformedDnsIdentifier
        | Error::MalformedExtensions
        | Error::TrailingData(_)
        | Error::UnsupportedCertVersion => Reason::Malformed(format!("{error:?}")),
        other => Reason::Other(format!("{other:?}")),
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pkix { name, until } => write!(f, "proven by the certificate for {name}, until {}", Date(*until)),
            Self::Unproven(reason) => write!(f, "not proven: {reason}"),
        }
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
            Self::UnknownAuthority => f.write_str("the certificate comes from an authority that is not trusted here"),
            Self::SelfSigned => f.write_str("the certificate is self-signed"),
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
            Self::Other(what) => write!(f, "the certificate cannot be accepted ({what})"),
        }
    }
}

/// A time as a person writes it.
struct Date(SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok()) {
            Some(time) => write!(f, "{time}"),
            None => f.write_str("a date far away"),
        }
    }
}

//! Certificates and keys that the domain itself names in a signed DNS (RFC 6698, RFC 7671, RFC 7673).
//!
//! All four usages are followed. A bare key of an authority whose certificate is not sent (`2 1 0`) is not looked for in
//! signatures; whoever publishes it has to send the certificate (RFC 7671 §5.2.3).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::pkix::{Found, References, follow};
use super::{Endpoint, Evidence, Grounds, Key, Reason, Shown};
use crate::net::dns::Tlsa;

// RFC 6698 §2.1.1, RFC 7218 §2.1
const PKIX_TA: u8 = 0;
const PKIX_EE: u8 = 1;
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
// RFC 6698 §2.1.2
const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
// RFC 6698 §2.1.3
const FULL: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

/// Whether there is a record that can be followed: then nothing else proves a server (RFC 7673 §4).
pub(super) fn is_usable(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.keys.iter().any(is_known))
}

/// RFC 6698 §4.1: what is unknown or malformed is not usable.
fn is_known(record: &Tlsa) -> bool {
    let length = record.data.len();
    let fits = match record.matching {
        FULL => length > 0,
        SHA2_256 => length == 32,
        SHA2_512 => length == 64,
        _ => false,
    };
    fits && record.usage <= DANE_EE && record.selector <= PUBLIC_KEY
}

/// The first record that fits what was shown.
pub(super) fn fitting(shown: Shown<'_>, domain: &str, grounds: &Grounds<'_>) -> Result<Evidence, Reason> {
    let leaf = shown.chain.first().ok_or(Reason::NoCertificate)?;
    let found = Key::of(leaf)?;
    let references = References::of(domain, grounds)?;
    let mut but = None;
    for endpoint in grounds.endpoints {
        for record in counting(&endpoint.keys) {
            let until = match follow_record(record, shown, &references, grounds) {
                Ok(None) => continue,
                Ok(Some(Fit::Key)) => None,
                Ok(Some(Fit::Path(found))) => Some(found.until),
                Err(reason) => {
                    but = but.or(Some(Box::new(reason)));
                    continue;
                }
            };
            let (host, port) = (endpoint.host.clone(), endpoint.port);
            return Ok(Evidence::Dane { record: record.clone(), host, port, until });
        }
    }
    let names = grounds.endpoints.iter().map(|Endpoint { host, port, .. }| format!("_{port}._tcp.{host}")).collect();
    let records = grounds.endpoints.iter().map(|endpoint| endpoint.keys.len()).sum();
    Err(Reason::TlsaMismatch { names, records, found, but })
}

/// RFC 7671 §9: of the hashes of one usage and selector only the strongest counts.
fn counting(records: &[Tlsa]) -> impl Iterator<Item = &Tlsa> {
    let strongest = |like: &Tlsa| {
        let same = records.iter().filter(|it| is_known(it) && (it.usage, it.selector) == (like.usage, like.selector));
        same.map(|record| record.matching).max()
    };
    records.iter().filter(move |record| {
        is_known(record) && (record.matching == FULL || Some(record.matching) == strongest(record))
    })
}

/// What a record that fits says.
enum Fit {
    /// The key, and nothing else matters (RFC 7671 §5.1).
    Key,
    /// The certificate counts as well.
    Path(Found),
}

/// Whether a record fits. An error is what is wrong with certificates that fit it.
fn follow_record(
    record: &Tlsa,
    shown: Shown<'_>,
    references: &References<'_>,
    grounds: &Grounds<'_>,
) -> Result<Option<Fit>, Reason> {
    let Some(leaf) = shown.chain.first() else { return Ok(None) };
    let (now, anchors) = (grounds.now, grounds.trust.anchors());
    match record.usage {
        DANE_EE => Ok(is_of(record, leaf).then_some(Fit::Key)),
        PKIX_EE if is_of(record, leaf) => {
            let (found, ()) = follow(shown, references, now, anchors, |_| ())?;
            Ok(Some(Fit::Path(found)))
        }
        PKIX_TA => {
            let leads_through = |path: &VerifiedPath<'_>| is_in(record, path, shown.chain);
            // Without a path there is nothing that the record could limit.
            let (found, fits) = follow(shown, references, now, anchors, leads_through)?;
            Ok(fits.then_some(Fit::Path(found)))
        }
        DANE_TA => {
            // RFC 7671 §5.2.2: it is sent, or it is the record itself.
            let published = CertificateDer::from(record.data.as_slice());
            let is_published = (record.selector, record.matching) == (CERTIFICATE, FULL);
            let sent = shown.chain.iter().find(|certificate| is_of(record, certificate));
            let Some(authority) = sent.or(is_published.then_some(&published)) else { return Ok(None) };
            let anchor = anchor_from_trusted_cert(authority).map_err(|error| Reason::Malformed(error.to_string()))?;
            let (found, ()) = follow(shown, references, now, &[anchor], |_| ())?;
            Ok(Some(Fit::Path(found)))
        }
        _ => Ok(None),
    }
}

/// Whether a record is about this certificate.
fn is_of(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    match record.selector {
        CERTIFICATE => matches(record, certificate),
        _ => X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| matches(record, parsed.public_key().raw)),
    }
}

fn matches(record: &Tlsa, selected: &[u8]) -> bool {
    match record.matching {
        FULL => record.data == selected,
        SHA2_256 => record.data == digest(&SHA256, selected).as_ref(),
        SHA2_512 => record.data == digest(&SHA512, selected).as_ref(),
        _ => false,
    }
}

/// Whether a record is about one of the authorities in a path.
fn is_in(record: &Tlsa, path: &VerifiedPath<'_>, chain: &[CertificateDer<'_>]) -> bool {
    if path.intermediate_certificates().any(|certificate| is_of(record, &certificate.der())) {
        return true;
    }
    // Of the root only name and key are known, unless the peer has sent it.
    let anchor = path.anchor();
    if record.selector == PUBLIC_KEY {
        return matches(record, &sequence(&anchor.subject_public_key_info));
    }
    chain.iter().any(|certificate| is_anchor(anchor, certificate) && is_of(record, certificate))
}

fn is_anchor(anchor: &TrustAnchor<'_>, certificate: &CertificateDer<'_>) -> bool {
    anchor_from_trusted_cert(certificate).is_ok_and(|found| {
        found.subject == anchor.subject && found.subject_public_key_info == anchor.subject_public_key_info
    })
}

/// A DER SEQUENCE of what is inside one: webpki keeps keys without their frame.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|octet| *octet != 0).unwrap_or(length.len());
    let octets = length.get(significant..).unwrap_or_default();
    let mut out = vec![0x30];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(octets.len()).unwrap_or_default());
    }
    out.extend_from_slice(octets);
    out.extend_from_slice(content);
    out
}

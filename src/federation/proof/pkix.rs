//! Certificates that a trusted authority has issued (RFC 6120 §13.7.1, RFC 9525, RFC 5280).

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Evidence, Grounds, Reason, Role, Shown};
use crate::jid::a_labels;
use crate::net::tls::names::{Presented, Service, presented};
use crate::net::tls::path::{end_of, is_name_constrained};

/// The names of which a certificate has to have one (RFC 9525 §6.1).
pub(super) struct References<'a> {
    /// That of the stream, in A-labels.
    pub(super) domain: String,
    /// Hosts to which signed records lead (RFC 7673 §4.1).
    pub(super) hosts: Vec<&'a str>,
}

impl<'a> References<'a> {
    pub(super) fn of(domain: &str, grounds: &Grounds<'a>) -> Result<Self, Reason> {
        let domain = a_labels(domain).ok_or(Reason::UnusableDomain)?;
        Ok(Self { domain, hosts: grounds.endpoints.iter().map(|endpoint| &*endpoint.host).collect() })
    }
}

/// The name that was found in a certificate, and how far it leads.
pub(super) struct Found {
    pub(super) name: Presented,
    pub(super) host: Option<String>,
    pub(super) until: SystemTime,
}

/// A path to a trusted authority, from a certificate that has one of the names.
pub(super) fn path_and_name(shown: Shown<'_>, domain: &str, grounds: &Grounds<'_>) -> Result<Evidence, Reason> {
    let references = References::of(domain, grounds)?;
    let (found, ()) = follow(shown, &references, grounds.now, grounds.trust.anchors(), |_| ())?;
    Ok(Evidence::Pkix { name: found.name, host: found.host, until: found.until })
}

/// The same with other anchors; what `look` finds in the path is given back.
pub(super) fn follow<T>(
    Shown { chain, role }: Shown<'_>,
    references: &References<'_>,
    now: SystemTime,
    anchors: &[TrustAnchor<'_>],
    look: impl FnOnce(&VerifiedPath<'_>) -> T,
) -> Result<(Found, T), Reason> {
    let (leaf, intermediates) = chain.split_first().ok_or(Reason::NoCertificate)?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| Reason::Malformed(error.to_string()))?;
    let wrong = |error| Reason::of_path(&error, chain, &parsed);
    let end_entity = EndEntityCert::try_from(leaf).map_err(wrong)?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let usage = match role {
        Role::Client if is_only_for_clients(&parsed) => KeyUsage::client_auth(),
        _ => KeyUsage::server_auth(),
    };
    let path = end_entity
        .verify_for_usage(ALL_VERIFICATION_ALGS, anchors, intermediates, now, usage, None, None)
        .map_err(wrong)?;
    let names = presented(&parsed);
    let constrained = is_name_constrained(&path);
    let counting = || names.iter().filter(|name| !constrained || matches!(name, Presented::Dns(_)));
    let until = end_of(&path, &parsed);
    if let Some(name) = counting().find(|name| name.stands_for(&references.domain, Service::Server)) {
        return Ok((Found { name: name.clone(), host: None, until }, look(&path)));
    }
    for host in &references.hosts {
        // A host is no domain of XMPP: only its DNS-ID names it.
        let names_it = |name: &&Presented| matches!(name, Presented::Dns(_)) && name.stands_for(host, Service::Server);
        if let Some(name) = counting().find(names_it) {
            return Ok((Found { name: name.clone(), host: Some((*host).to_owned()), until }, look(&path)));
        }
    }
    Err(Reason::NameMismatch { domain: references.domain.clone(), found: names })
}

/// Whether the extended key usage names the purpose of TLS clients and not that of servers.
fn is_only_for_clients(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth && !usage.value.server_auth)
}

//! What a path from a certificate to a trusted authority says beside that it is there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webpki::VerifiedPath;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Whether an authority in it is limited to some names. webpki applies limits on domains to DNS-IDs only: below such an
/// authority nothing else counts.
#[must_use]
pub fn is_name_constrained(path: &VerifiedPath<'_>) -> bool {
    path.anchor().name_constraints.is_some()
        || path.intermediate_certificates().any(|certificate| {
            let der = certificate.der();
            match X509Certificate::from_der(&der) {
                Ok((_, parsed)) => !matches!(parsed.name_constraints(), Ok(None)),
                Err(_) => true,
            }
        })
}

/// When the first of its certificates ends, that of the peer, `leaf`, among them.
#[must_use]
pub fn end_of(path: &VerifiedPath<'_>, leaf: &X509Certificate<'_>) -> SystemTime {
    let mut until = leaf.validity().not_after.timestamp();
    for certificate in path.intermediate_certificates() {
        if let Ok((_, parsed)) = X509Certificate::from_der(&certificate.der()) {
            until = until.min(parsed.validity().not_after.timestamp());
        }
    }
    // The path is valid now, so no end lies before 1970.
    UNIX_EPOCH.checked_add(Duration::from_secs(until.unsigned_abs())).unwrap_or(UNIX_EPOCH)
}

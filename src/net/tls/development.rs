//! An authority of our own making, for the demo, for tests and for `serve` on loopback.
//!
//! Its certificates prove nothing to anybody who was not told to trust it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use crate::jid::a_labels;

/// An authority that lives as long as this value.
pub struct DevelopmentCa {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate chain, without the authority, and its key.
pub struct Issued {
    pub chain_pem: String,
    pub key_pem: String,
}

/// Why no certificate could be made.
#[derive(Debug)]
pub struct IssueError(String);

impl std::fmt::Display for IssueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a development certificate could not be made: {}", self.0)
    }
}

impl std::error::Error for IssueError {}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl DevelopmentCa {
    /// Makes a new authority with a new key.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn generate() -> Result<Self, IssueError> {
        let mut params = params("Comity development authority, not to be trusted")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Makes a certificate for all of `names`, which are domains, also with `*.` in front, or IP addresses.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn issue(&self, names: &[&str]) -> Result<Issued, IssueError> {
        let mut params = params("Comity development certificate")?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority's own certificate in PEM, for those who shall trust it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }
}

fn params(common_name: &str) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Fixed and long: a development certificate needs no clock and never expires by surprise.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    Ok(params)
}

fn alternative_name(name: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || IssueError(format!("{name:?} is not a domain"));
    let text = match name.strip_prefix("*.") {
        Some(parent) => format!("*.{}", a_labels(parent).ok_or_else(wrong)?),
        None => a_labels(name).ok_or_else(wrong)?,
    };
    Ok(SanType::DnsName(text.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::Identity;
    use crate::net::tls::names::Service;

    #[test]
    fn issues_for_all_names() {
        let ca = DevelopmentCa::generate().unwrap();
        let issued = ca.issue(&["example.localhost", "*.example.localhost", "bücher.example", "127.0.0.1"]).unwrap();
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        for domain in ["example.localhost", "rooms.example.localhost", "bücher.example"] {
            assert!(identity.covers(domain, Service::Server), "{domain}");
        }
        assert!(!identity.covers("other.localhost", Service::Server));
        assert!(ca.issue(&["not a domain"]).is_err());
    }
}

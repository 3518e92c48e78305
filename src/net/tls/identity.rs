//! Our own certificates with their keys, read from PEM files and checked before use.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::names::{Presented, Service, presented};
use super::provider;
use crate::jid::a_labels;

/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A certificate chain with its private key.
pub struct Identity {
    key: Arc<CertifiedKey>,
    end_point: Option<Arc<[u8]>>,
    names: Vec<Presented>,
    is_for_servers_only: bool,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// A file that cannot be used, and why.
#[derive(Debug)]
pub struct LoadError {
    pub path: PathBuf,
    pub problem: Problem,
}

/// What is wrong with a certificate or a key.
#[derive(Debug)]
pub enum Problem {
    Unreadable(io::Error),
    /// The text is not PEM.
    MalformedPem,
    NoCertificate,
    NoKey,
    EncryptedKey,
    UnusableKey(String),
    MalformedCertificate(String),
    /// The key belongs to another certificate.
    KeyMismatch,
}

/// What an operator should be told about the dates of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateWarning {
    NotYetValid,
    /// It ends within this many days.
    EndsInDays(u64),
    Expired,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::MalformedPem => f.write_str("it is not a well-formed PEM file"),
            Self::NoCertificate => f.write_str("there is no certificate in it (BEGIN CERTIFICATE)"),
            Self::NoKey => f.write_str("there is no private key in it (BEGIN PRIVATE KEY)"),
            Self::EncryptedKey => f.write_str("the private key is encrypted; store it without a passphrase"),
            Self::UnusableKey(reason) => write!(f, "the private key cannot be used: {reason}"),
            Self::MalformedCertificate(reason) => write!(f, "a certificate in it cannot be used: {reason}"),
            Self::KeyMismatch => f.write_str(
                "the private key does not belong to the first certificate of the chain \
                 (the server's own certificate comes first, then those that issued it)",
            ),
        }
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.problem)
    }
}

impl fmt::Display for DateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid => f.write_str("the certificate is not valid yet"),
            Self::EndsInDays(0) => f.write_str("the certificate expires within a day"),
            Self::EndsInDays(days) => write!(f, "the certificate expires in {days} days"),
            Self::Expired => f.write_str("the certificate has expired"),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a certificate chain and its key; both may be in one file.
    ///
    /// # Errors
    /// The file at fault and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, LoadError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| LoadError { path: path.to_owned(), problem: Problem::Unreadable(error) })
        };
        let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
        Self::from_pem(&chain_pem, &key_pem).map_err(|problem| {
            let about_key = matches!(
                problem,
                Problem::NoKey | Problem::EncryptedKey | Problem::UnusableKey(_) | Problem::KeyMismatch
            );
            LoadError { path: if about_key { key } else { certificate }.to_owned(), problem }
        })
    }

    /// The same from the contents of the files.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Problem> {
        Self::from_der(read_certificates(chain)?, read_key(key)?)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Problem> {
        let leaf = chain.first().cloned().ok_or(Problem::NoCertificate)?;
        let (_, parsed) =
            X509Certificate::from_der(&leaf).map_err(|error| Problem::MalformedCertificate(error.to_string()))?;
        let key =
            provider().key_provider.load_private_key(key).map_err(|error| Problem::UnusableKey(error.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => return Err(Problem::KeyMismatch),
            Err(error) => return Err(Problem::MalformedCertificate(error.to_string())),
        }
        Ok(Self {
            key: Arc::new(key),
            end_point: end_point_hash(&leaf).map(Arc::from),
            names: presented(&parsed),
            is_for_servers_only: is_for_servers_only(&parsed),
            not_before: moment(parsed.validity().not_before.timestamp()),
            not_after: moment(parsed.validity().not_after.timestamp()),
        })
    }

    /// What rustls signs with.
    #[must_use]
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The channel binding `tls-server-end-point` of this certificate, where one is defined.
    #[must_use]
    pub const fn end_point(&self) -> Option<&Arc<[u8]>> {
        self.end_point.as_ref()
    }

    /// The names in the certificate.
    #[must_use]
    pub fn names(&self) -> &[Presented] {
        &self.names
    }

    /// Whether the certificate names `domain` for `service`.
    #[must_use]
    pub fn covers(&self, domain: &str, service: Service) -> bool {
        a_labels(domain).is_some_and(|reference| self.names.iter().any(|name| name.stands_for(&reference, service)))
    }

    /// Whether its purpose is that of TLS servers and not that of clients, as public authorities issue them (extended key
    /// usage).
    #[must_use]
    pub const fn is_for_servers_only(&self) -> bool {
        self.is_for_servers_only
    }

    /// When the certificate ends.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What is to be said about the dates of the certificate at `now`.
    #[must_use]
    pub fn date_warning(&self, now: SystemTime) -> Option<DateWarning> {
        if now < self.not_before {
            return Some(DateWarning::NotYetValid);
        }
        match self.not_after.duration_since(now) {
            Err(_) => Some(DateWarning::Expired),
            Ok(left) if left < SOON => Some(DateWarning::EndsInDays(left.as_secs() / (24 * 60 * 60))),
            Ok(_) => None,
        }
    }
}

fn is_for_servers_only(certificate: &X509Certificate<'_>) -> bool {
    matches!(
        certificate.extended_key_usage(),
        Ok(Some(usage)) if usage.value.server_auth && !usage.value.client_auth && !usage.value.any
    )
}

/// Seconds since 1970, possibly before it, as a time; one that cannot be expressed is 1970.
fn moment(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// All certificates of a PEM file, at least one.
pub(super) fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| Problem::MalformedPem)?;
    if certificates.is_empty() { Err(Problem::NoCertificate) } else { Ok(certificates) }
}

/// The first private key of a PEM file; the reason of a failure never quotes the file.
fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if memchr::memmem::find(pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
            Problem::EncryptedKey
        }
        pem::Error::NoItemsFound => Problem::NoKey,
        _ => Problem::UnusableKey("the file is not well-formed PEM".to_owned()),
    })
}

/// The channel binding `tls-server-end-point` (RFC 5929 §4.1): the hash of the certificate by the
/// function of its own signature, SHA-256 in place of MD5 and SHA-1.
///
/// `None` where the RFC defines none, as for Ed25519.
#[must_use]
pub fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let hash = match SignatureAlgorithm::try_from(&parsed.signature_algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_id_string(),
        _ => parsed.signature_algorithm.algorithm.to_id_string(),
    };
    let algorithm = match hash.as_str() {
        // md5WithRSA, sha1WithRSA, sha256WithRSA; ECDSA and DSA with SHA-1 and SHA-256; id-md5, id-sha1, id-sha256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => &digest::SHA256,
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => &digest::SHA256,
        "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.2.4" => &digest::SHA224,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The certificates of one server: one by default, others for single domains.
#[derive(Debug)]
pub struct Identities {
    all: Vec<Arc<Identity>>,
    domains: HashMap<String, usize>,
}

impl Identities {
    /// `default` serves all domains.
    #[must_use]
    pub fn new(default: impl Into<Arc<Identity>>) -> Self {
        Self { all: vec![default.into()], domains: HashMap::new() }
    }

    /// `domain` gets a certificate of its own.
    #[must_use]
    pub fn with(mut self, domain: &str, identity: impl Into<Arc<Identity>>) -> Self {
        if let Some(domain) = a_labels(domain) {
            self.domains.insert(domain, self.all.len());
            self.all.push(identity.into());
        }
        self
    }

    /// All of them, the default first.
    #[must_use]
    pub fn all(&self) -> &[Arc<Identity>] {
        &self.all
    }

    /// The place in [`Identities::all`] of the one that was configured for `domain`.
    pub(super) fn configured(&self, domain: &str) -> Option<usize> {
        self.domains.get(&a_labels(domain)?).copied()
    }

    /// The place of the best one for `domain`: configured for it, or with its name in the certificate.
    pub(super) fn position(&self, domain: &str) -> Option<usize> {
        self.configured(domain).or_else(|| {
            let covers = |identity: &Arc<Identity>| {
                identity.covers(domain, Service::Client) || identity.covers(domain, Service::Server)
            };
            self.all.iter().position(covers)
        })
    }

    /// The one that is used for `domain`.
    #[must_use]
    pub fn for_domain(&self, domain: &str) -> Option<&Arc<Identity>> {
        self.position(domain).and_then(|at| self.all.get(at)).or_else(|| self.all.first())
    }
}

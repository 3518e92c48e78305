//! Certificates and trust from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::net::tls::development::{DevelopmentCa, IssueError};
use crate::net::tls::{Identities, Identity, LoadError, Problem, Trust};

/// Why there is no certificate to show.
#[derive(Debug)]
pub enum CertificateError {
    Load(LoadError),
    /// None is configured, and somebody outside this machine can connect.
    Missing {
        domain: String,
    },
    Development(IssueError),
    Made(Problem),
    Trust {
        path: PathBuf,
        error: LoadError,
    },
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Missing { domain } => write!(
                f,
                "there is no certificate for {domain}, and this server listens on more than loopback addresses.\n\
                 Get one, for instance with: certbot certonly --standalone -d {domain}\n\
                 and name its files in comity.toml:\n\n\
                 [tls]\n\
                 certificate = \"/etc/letsencrypt/live/{domain}/fullchain.pem\"\n\
                 key = \"/etc/letsencrypt/live/{domain}/privkey.pem\""
            ),
            Self::Development(error) => write!(f, "a development certificate could not be made: {error}"),
            Self::Made(problem) => write!(f, "the development certificate cannot be used: {problem}"),
            Self::Trust { path, error } => write!(f, "tls.trust_anchors: {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CertificateError {}

/// The certificates to show: those of the configuration; a self-made one for development where none
/// is given and only this machine can connect.
///
/// # Errors
/// What is missing or broken.
pub fn identities(config: &Config) -> Result<Identities, CertificateError> {
    let default = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => Some(load(certificate, key)?),
        _ => None,
    };
    let mut own = Vec::new();
    for domain in &config.domains {
        match (&domain.certificate, &domain.key) {
            (Some(certificate), Some(key)) => own.push((domain.name.as_str(), load(certificate, key)?)),
            _ if default.is_none() && !is_private(config) => {
                return Err(CertificateError::Missing { domain: domain.name.to_string() });
            }
            _ => {}
        }
    }
    let default = match default {
        Some(default) => default,
        None => development(config)?,
    };
    Ok(own.into_iter().fold(Identities::new(default), |all, (domain, identity)| all.with(domain, identity)))
}

/// Who is trusted to say which domain another server has: this machine's authorities and those of
/// the configuration.
///
/// # Errors
/// A file that cannot be read.
pub fn trust(config: &Config) -> Result<Arc<Trust>, CertificateError> {
    let mut trust = Trust::system();
    for path in &config.tls.trust_anchors {
        trust.add_pem_file(path).map_err(|error| CertificateError::Trust { path: path.clone(), error })?;
    }
    Ok(Arc::new(trust))
}

fn load(certificate: &Path, key: &Path) -> Result<Identity, CertificateError> {
    let identity = Identity::load(certificate, key).map_err(CertificateError::Load)?;
    if let Some(warning) = identity.date_warning(std::time::SystemTime::now()) {
        tracing::warn!(file = %certificate.display(), "{warning}");
    }
    Ok(identity)
}

fn development(config: &Config) -> Result<Identity, CertificateError> {
    tracing::warn!("no certificate is configured: a development certificate is made, which nobody trusts");
    let names: Vec<&str> = config.domains.iter().map(|domain| domain.name.as_str()).collect();
    let ca = DevelopmentCa::generate().map_err(CertificateError::Development)?;
    let issued = ca.issue(&names).map_err(CertificateError::Development)?;
    Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(CertificateError::Made)
}

fn is_private(config: &Config) -> bool {
    let listen = &config.listen;
    [&listen.c2s, &listen.c2s_tls, &listen.s2s, &listen.s2s_tls].into_iter().all(|addresses| addresses.is_loopback())
}

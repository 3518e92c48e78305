//! Certificates and trust from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, DomainName};
use crate::net::tls::development::{DevelopmentCa, IssueError};
use crate::net::tls::names::Service;
use crate::net::tls::{Identities, Identity, LoadError, Problem, Trust};

/// Why there is no certificate to show.
#[derive(Debug)]
pub(super) enum CertificateError {
    Load(LoadError),
    /// None is configured, and somebody outside this machine can connect.
    Missing {
        domain: String,
    },
    Development(IssueError),
    Made(Problem),
    Trust {
        key: &'static str,
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
            Self::Trust { key, path, error } => write!(f, "tls.{key}: {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CertificateError {}

/// The certificates to show: those of the configuration. Without a default one that of the first domain
/// stands for it; where a domain has none at all and only this machine can connect, one is made for
/// development, or `development` is shown on.
///
/// # Errors
/// What is missing or broken.
pub(super) fn identities(config: &Config, development: Option<Arc<Identity>>) -> Result<Identities, CertificateError> {
    let mut default = match (&config.tls.certificate, &config.tls.key) {
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
    if default.is_none() && own.len() == config.domains.len() {
        default = own.first().map(|(_, identity)| Arc::clone(identity));
    }
    let default = match default.or(development) {
        Some(default) => default,
        None => make(config)?,
    };
    Ok(own.into_iter().fold(Identities::new(default), |all, (domain, identity)| all.with(domain, identity)))
}

/// Who is trusted to say which domain another server has: this machine's authorities and those of
/// the configuration.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn trust(config: &Config) -> Result<Trust, CertificateError> {
    add_all(Trust::system(), "trust_anchors", &config.tls.trust_anchors)
}

/// Who is trusted to say which client somebody is: only who is named for that.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn client_trust(config: &Config) -> Result<Trust, CertificateError> {
    add_all(Trust::nobody(), "client_trust_anchors", &config.tls.client_trust_anchors)
}

fn add_all(mut trust: Trust, key: &'static str, files: &[PathBuf]) -> Result<Trust, CertificateError> {
    for path in files {
        trust.add_pem_file(path).map_err(|error| CertificateError::Trust { key, path: path.clone(), error })?;
    }
    Ok(trust)
}

/// What an operator should know of the certificates that are shown for `domains`.
#[must_use]
pub fn warnings(domains: &[String], identities: &Identities, now: SystemTime) -> Vec<String> {
    let mut warnings = Vec::new();
    for domain in domains {
        let Some(identity) = identities.for_domain(domain) else { continue };
        let whom = match (identity.covers(domain, Service::Client), identity.covers(domain, Service::Server)) {
            (true, true) => None,
            (true, false) => Some("for clients only"),
            (false, true) => Some("for servers only"),
            (false, false) => Some("not at all"),
        };
        if let Some(whom) = whom {
            let names: Vec<_> = identity.names().iter().map(ToString::to_string).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            warnings.push(format!("the certificate that is shown for {domain} names it {whom}; it has {names}"));
        }
        if let Some(warning) = identity.date_warning(now) {
            warnings.push(format!("{domain}: {warning}"));
        }
    }
    warnings
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<Identity>, CertificateError> {
    Identity::load(certificate, key).map(Arc::new).map_err(CertificateError::Load)
}

fn make(config: &Config) -> Result<Arc<Identity>, CertificateError> {
    tracing::warn!("no certificate is configured: a development certificate is made, which nobody trusts");
    let components = config.components.iter().map(|component| &component.name);
    let services = components.chain(&config.services.rooms);
    let names: Vec<&str> =
        config.domains.iter().map(|domain| &domain.name).chain(services).map(DomainName::as_str).collect();
    let ca = DevelopmentCa::generate().map_err(CertificateError::Development)?;
    let issued = ca.issue(&names).map_err(CertificateError::Development)?;
    let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes());
    identity.map(Arc::new).map_err(CertificateError::Made)
}

fn is_private(config: &Config) -> bool {
    let listen = &config.listen;
    [&listen.c2s, &listen.c2s_tls, &listen.s2s, &listen.s2s_tls].into_iter().all(|addresses| addresses.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::warnings;
    use crate::net::tls::development::DevelopmentCa;
    use crate::net::tls::{Identities, Identity};

    #[test]
    fn names_and_dates_are_warned_about() {
        let issued = DevelopmentCa::generate().unwrap().issue(&["a.example"]).unwrap();
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        let week = identity.not_after() - Duration::from_secs(7 * 24 * 60 * 60 + 60);
        let identities = Identities::new(identity);
        let told = |domain: &str, now| warnings(&[domain.to_owned()], &identities, now);
        assert!(told("a.example", SystemTime::now()).is_empty());
        assert_eq!(told("a.example", week), ["a.example: the certificate expires in 7 days"]);
        assert_eq!(told("a.example", UNIX_EPOCH), ["a.example: the certificate is not valid yet"]);
        assert_eq!(
            told("b.example", SystemTime::now()),
            ["the certificate that is shown for b.example names it not at all; it has DNS a.example"]
        );
    }
}

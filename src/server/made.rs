//! What is made from the configuration and may turn out to be impossible.

use std::sync::Arc;

use crate::config::{Config, Dns, Dnssec};
use crate::hooks::operation::OperationError;
use crate::net::Hickory;
use crate::net::dns::{Anchors, Remembering, Resolver, Validation};
use crate::net::tls::{Identities, Identity, Trust};

use super::tls;

/// Made before anything changes, so that what is impossible changes nothing.
pub struct Made {
    /// The certificates to show.
    pub identities: Arc<Identities>,
    pub trust: Trust,
    /// Who vouches for clients.
    pub client_trust: Trust,
    pub resolver: Arc<dyn Resolver>,
}

impl Made {
    /// Makes it for `config`; `development` is a certificate that was made before, where none is configured.
    ///
    /// # Errors
    /// `Usage` where the configuration is to blame: a file that cannot be read, a certificate without its
    /// key, none at all.
    pub fn of(config: &Config, development: Option<Arc<Identity>>) -> Result<Self, OperationError> {
        let usage = |error: tls::CertificateError| OperationError::Usage(error.to_string());
        let identities = Arc::new(tls::identities(config, development).map_err(usage)?);
        let trust = tls::trust(config).map_err(usage)?;
        let client_trust = Self::client_trust(config)?;
        let resolver = Arc::new(Remembering::new(resolver(&config.dns)?));
        Ok(Self { identities, trust, client_trust, resolver })
    }

    /// Who vouches for clients according to `config`.
    ///
    /// # Errors
    /// `Usage` for a file that cannot be read.
    pub fn client_trust(config: &Config) -> Result<Trust, OperationError> {
        tls::client_trust(config).map_err(|error| OperationError::Usage(error.to_string()))
    }
}

/// What asks the DNS.
///
/// # Errors
/// `Usage` for a file of keys that cannot be read.
pub fn resolver(dns: &Dns) -> Result<Hickory, OperationError> {
    let failed = |error: &dyn std::fmt::Display| OperationError::Failed(format!("dns: {error}"));
    let servers: Vec<_> = dns.servers.iter().map(|server| server.address()).collect();
    let resolver = if servers.is_empty() { Hickory::system() } else { Hickory::with_servers(&servers) };
    let resolver = resolver.map_err(|error| failed(&error))?;
    let validation = match dns.dnssec {
        Dnssec::Off => return Ok(resolver),
        Dnssec::Auto => Validation::WherePossible,
        Dnssec::Required => Validation::Always,
    };
    let usage = |error| OperationError::Usage(format!("dns.trust_anchors: {error}"));
    let anchors = dns.trust_anchors.as_deref().map_or_else(|| Ok(Anchors::default()), Anchors::load).map_err(usage)?;
    resolver.validating(validation, anchors).map_err(|error| failed(&error))
}

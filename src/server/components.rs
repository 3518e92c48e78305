//! Components from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::components::Settings;
use crate::config::{Config, FederationMode, Secret};
use crate::net::tls::Identities;
use crate::net::tls::names::Service;
use crate::stream::Limits;

/// A file without the secret of a component.
#[derive(Debug)]
pub struct SecretError {
    pub file: PathBuf,
    pub reason: String,
}

impl std::fmt::Display for SecretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the secret of a component, {}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for SecretError {}

/// What the configuration says about components.
///
/// # Errors
/// A secret cannot be read.
pub(super) fn settings(config: &Config) -> Result<Vec<Settings>, SecretError> {
    let mut all = Vec::new();
    for component in &config.components {
        let secret = match (&component.secret, &component.secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => secret(file)?,
            // The configuration is refused where there is neither.
            (None, None) => continue,
        };
        all.push(Settings {
            name: Arc::from(component.name.as_str()),
            parent: Arc::from(parent(config, component.name.as_str())),
            title: component.title.clone(),
            secret,
            limits: Limits { element: component.stanza.bytes(), ..Limits::SERVER },
            queue_bytes: component.queue_bytes.bytes(),
        });
    }
    Ok(all)
}

fn secret(file: &Path) -> Result<Secret, SecretError> {
    let failed = |reason: String| SecretError { file: file.to_owned(), reason };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    text.trim().parse().map_err(failed)
}

/// The domain among whose services a component is: the nearest above it, or the first.
fn parent<'a>(config: &'a Config, name: &str) -> &'a str {
    let above = |domain: &&str| name.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
    let domains = || config.domains.iter().map(|domain| domain.name.as_str());
    domains().filter(above).max_by_key(|domain| domain.len()).or_else(|| domains().next()).unwrap_or_default()
}

/// Says what will not work as it stands.
pub(super) fn warn(config: &Config, identities: &Identities) {
    if !config.components.is_empty() && !config.listen.component.is_loopback() {
        tracing::warn!("listen.component can be reached from other machines, and components do not encrypt");
    }
    if config.federation.mode == FederationMode::Closed {
        return;
    }
    for component in &config.components {
        let name = component.name.as_str();
        if !identities.for_domain(name).is_some_and(|identity| identity.covers(name, Service::Server)) {
            tracing::warn!(component = name, "no certificate names this component: other servers will not talk to it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{parent, settings};
    use crate::config::Config;

    #[test]
    fn a_component_belongs_to_the_nearest_domain() {
        let text = "[[domains]]\nname = \"b.example\"\n[[domains]]\nname = \"a.b.example\"\n";
        let config = Config::parse(text, Path::new("comity.toml")).unwrap();
        for (name, domain) in [
            ("irc.b.example", "b.example"),
            ("irc.a.b.example", "a.b.example"),
            ("xa.b.example", "b.example"),
            ("irc.example", "b.example"),
        ] {
            assert_eq!(parent(&config, name), domain, "{name}");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let directory = std::env::temp_dir().join(format!("comity-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let text = "domain = \"a.example\"\n[[components]]\nname = \"irc.a.example\"\nsecret_file = \"irc.secret\"\n";
        let config = Config::parse(text, &directory.join("comity.toml")).unwrap();
        let missing = settings(&config).unwrap_err().to_string();
        assert!(missing.contains("irc.secret"), "{missing}");
        std::fs::write(directory.join("irc.secret"), " sesame\n").unwrap();
        assert_eq!(settings(&config).unwrap()[0].secret.reveal(), "sesame");
        std::fs::write(directory.join("irc.secret"), "\n").unwrap();
        assert!(settings(&config).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

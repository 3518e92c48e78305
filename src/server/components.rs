//! Components from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::components::{Components, Settings};
use crate::config::{Config, FederationMode};
use crate::net::tls::Identities;
use crate::net::tls::names::Service;
use crate::secret::Secret;
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

/// The components of the configuration; they are served once the router knows them.
///
/// # Errors
/// A secret cannot be read.
pub(super) fn of_config(config: &Config, clock: &Clock) -> Result<Arc<Components>, SecretError> {
    Ok(Components::new(settings(config)?, clock.clone()))
}

fn settings(config: &Config) -> Result<Vec<Settings>, SecretError> {
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
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| failed(error.to_string()))?;
    text.trim().parse().map_err(failed)
}

/// The domain among whose services something is: the nearest above it, or the first.
pub(super) fn parent<'a>(config: &'a Config, name: &str) -> &'a str {
    let above = |domain: &&str| name.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
    let domains = || config.domains.iter().map(|domain| domain.name.as_str());
    domains().filter(above).max_by_key(|domain| domain.len()).or_else(|| domains().next()).unwrap_or_default()
}

/// What an operator should know of the components and of the rooms.
#[must_use]
pub fn service_warnings(config: &Config, identities: &Identities) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.components.is_empty() && !config.listen.component.is_loopback() {
        warnings.push("listen.component can be reached from other machines, and components do not encrypt".to_owned());
    }
    let components = config.components.iter().map(|component| ("component", &component.name));
    let rooms = config.services.rooms.iter().map(|name| ("domain of rooms", name));
    for (what, name) in components.chain(rooms).filter(|_| config.federation.mode != FederationMode::Closed) {
        let name = name.as_str();
        if !identities.for_domain(name).is_some_and(|identity| identity.covers(name, Service::Server)) {
            warnings.push(format!("no certificate names the {what} {name}: other servers will not talk to it"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{parent, service_warnings, settings};
    use crate::config::Config;
    use crate::net::tls::development::DevelopmentCa;
    use crate::net::tls::{Identities, Identity};

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
    fn what_will_not_work_is_said() {
        let issued = DevelopmentCa::generate().unwrap().issue(&["a.example", "irc.a.example"]).unwrap();
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        let identities = Identities::new(identity);
        let warnings = |name: &str, more: &str| {
            let text = format!("domain = \"a.example\"\n[[components]]\nname = \"{name}\"\nsecret = \"s\"\n{more}");
            service_warnings(&Config::parse(&text, Path::new("comity.toml")).unwrap(), &identities).len()
        };
        assert_eq!(warnings("irc.a.example", ""), 0);
        assert_eq!(warnings("bots.a.example", ""), 1);
        assert_eq!(warnings("bots.a.example", "[federation]\nmode = \"closed\"\n"), 0);
        assert_eq!(warnings("irc.a.example", "[services]\nrooms = [\"rooms.a.example\"]\n"), 1);
        assert_eq!(warnings("irc.a.example", "[listen]\ncomponent = \"[::]:5347\"\n"), 1);
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

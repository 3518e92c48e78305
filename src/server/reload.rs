//! The configuration is read again while the server runs: all of it, or nothing changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::net::tls::{Identities, Identity};
use crate::telemetry::Log;

use super::Node;
use super::made::Made;
use super::tls;

/// Reads the configuration, the certificates and the trusted authorities again.
pub const RELOAD: Operation<Nothing, Reloaded> = Operation::new("server.reload", Role::Operator);

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// The keys whose new values are in force.
    pub changed: Vec<String>,
    /// The domains that show another certificate than before.
    pub certificates: Vec<String>,
    /// The keys whose new values are not: they need a restart.
    pub restart: Vec<String>,
    /// What is odd about the certificates.
    pub warnings: Vec<String>,
}

/// Reads a file again for the server that began with it.
pub struct Reload {
    file: PathBuf,
    log: Log,
    node: OnceLock<Weak<Node>>,
    /// What is in force. One reload at a time.
    running: Mutex<Config>,
}

/// A configuration that was found good, with what was made for it.
struct Checked {
    config: Config,
    made: Made,
    reloaded: Reloaded,
}

impl Reload {
    /// For a server that begins with `config`, which was read from `file`.
    #[must_use]
    pub fn new(file: PathBuf, config: Config, log: Log) -> Arc<Self> {
        Arc::new(Self { file, log, node: OnceLock::new(), running: Mutex::new(config) })
    }

    pub(super) fn register(self: &Arc<Self>, operations: &mut Operations) -> Result<(), NameTaken> {
        let reload = Arc::clone(self);
        operations.register(&RELOAD, move |Nothing {}| {
            let reload = Arc::clone(&reload);
            async move { reload.run().await }
        })
    }

    /// Says which server it is for. Only the first call counts.
    pub(super) fn attach(&self, node: &Arc<Node>) {
        self.node.get_or_init(|| Arc::downgrade(node));
    }

    /// Reads everything, and if all of it is good works with it. What came of it is logged, too.
    ///
    /// # Errors
    /// What is wrong; nothing has changed.
    pub async fn run(&self) -> Result<Reloaded, OperationError> {
        let reloaded = self.read_again().await;
        match &reloaded {
            Ok(Reloaded { changed, certificates, restart, warnings }) => {
                tracing::info!(?changed, ?certificates, "the configuration was read again");
                if !restart.is_empty() {
                    tracing::warn!(keys = ?restart, "these new values need a restart");
                }
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Err(error) => {
                let error = error.to_string().replace('\n', "; ");
                tracing::error!("the configuration was read again and nothing has changed: {error}");
            }
        }
        reloaded
    }

    async fn read_again(&self) -> Result<Reloaded, OperationError> {
        let node = self.node.get().and_then(Weak::upgrade);
        let node = node.ok_or_else(|| OperationError::Failed("the server does not run".to_owned()))?;
        let mut running = self.running.lock().await;
        let (file, before) = (self.file.clone(), running.clone());
        let shown = node.tls.identities();
        // Files are read and authorities are parsed where nobody else waits for it.
        let checked = tokio::task::spawn_blocking(move || check(&file, &before, &shown)).await;
        let checked = checked.map_err(|error| OperationError::Failed(error.to_string()))?;
        let Checked { config, made, reloaded } = checked?;
        node.adopt(&config, made).map_err(|error| OperationError::Failed(error.to_string()))?;
        self.log.replace(&config.log.level);
        *running = config;
        Ok(reloaded)
    }
}

/// Finds out whether everything is good.
fn check(file: &Path, running: &Config, shown: &Identities) -> Result<Checked, OperationError> {
    let wanted = Config::load(file).map_err(|error| OperationError::Usage(error.to_string()))?;
    let config = wanted.for_running(running);
    let made_up = running.domains.iter().any(|domain| running.certificate_of(domain).is_none());
    let development = shown.all().first().filter(|_| made_up).cloned();
    let made = Made::of(&config, development.clone())?;
    let restart = config.changes(&wanted);
    if !restart.is_empty() {
        // What waits for a restart should not prevent it.
        Made::of(&wanted, development)?;
    }
    let domains: Vec<_> = config.domains.iter().map(|domain| domain.name.to_string()).collect();
    let other = |domain: &&String| leaf(shown.for_domain(domain)) != leaf(made.identities.for_domain(domain));
    let reloaded = Reloaded {
        changed: running.changes(&config),
        certificates: domains.iter().filter(other).cloned().collect(),
        restart,
        warnings: tls::warnings(&domains, &made.identities, SystemTime::now()),
    };
    Ok(Checked { config, made, reloaded })
}

/// The certificate itself, without those that issued it.
fn leaf(identity: Option<&Arc<Identity>>) -> Option<&[u8]> {
    identity?.certified_key().cert.first().map(AsRef::as_ref)
}

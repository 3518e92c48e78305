//! Servers, one for each domain, on a network in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;

use super::client::{Client, Raw};
use super::network::Net;
use crate::accounts::credentials::{Credentials, Iterations, Password, Salts};
use crate::accounts::directory::{self, DirectoryError};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::jid::Jid;
use crate::net::Transport;
use crate::net::dns::Srv;
use crate::net::tls::development::DevelopmentCa;
use crate::net::tls::{Identities, Identity, Trust};
use crate::server::{Node, Parts};
use crate::session::Security;
use crate::storage::Storage;

/// The password of every account.
pub const PASSWORD: &str = "r0m30 & juliet";

/// Ports of the simulated servers.
const S2S: u16 = 5269;

/// How a server differs from one with the default configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further lines of `comity.toml`.
    pub config: String,
}

/// A simulated federation. Time stands still unless everybody waits.
pub struct World {
    pub net: Arc<Net>,
    /// Every server trusts it.
    pub ca: DevelopmentCa,
    pub clock: Clock,
    /// What a client of this world trusts.
    pub client_tls: Arc<rustls::ClientConfig>,
    nodes: BTreeMap<String, Arc<Node>>,
}

impl World {
    /// A world without servers.
    ///
    /// # Panics
    /// If the cryptographic library fails.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test cannot go on without certificates")]
    pub fn new() -> Self {
        let ca = DevelopmentCa::generate().expect("a certificate authority");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.certificate().clone()).expect("a root certificate");
        let client_tls = rustls::ClientConfig::builder_with_provider(crate::net::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            net: Net::new(),
            ca,
            clock: Clock::manual(Timestamp::from_unix_ms(1_000_000_000_000)),
            client_tls: Arc::new(client_tls),
            nodes: BTreeMap::new(),
        }
    }

    /// The server of `domain`, made if it is not there yet.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub fn server(&mut self, domain: &str) -> Result<Arc<Node>, String> {
        if let Some(node) = self.nodes.get(domain) {
            return Ok(Arc::clone(node));
        }
        self.server_with(domain, &Options::default())
    }

    /// A server that differs from the default.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub fn server_with(&mut self, domain: &str, options: &Options) -> Result<Arc<Node>, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let issued = self.ca.issue(&[domain]).map_err(|error| words(&error))?;
        let identity =
            Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(|it| words(&it))?;
        let text = format!("domain = \"{domain}\"\n{}", options.config);
        let config = Config::parse(&text, std::path::Path::new("test.toml")).map_err(|error| words(&error))?;
        let mut trust = Trust::nobody();
        trust.add(self.ca.certificate()).map_err(|error| words(&error))?;
        let parts = Parts {
            storage: Storage::open_in_memory().map_err(|error| words(&error))?,
            clock: self.clock.clone(),
            identities: Arc::new(Identities::new(identity)),
            trust: Arc::new(trust),
            resolver: Arc::clone(&self.net) as _,
            network: Arc::clone(&self.net) as _,
            connections: 1000,
        };
        let node = Node::new(&config, parts).map_err(|error| words(&error))?;
        self.attach(domain, &node);
        self.nodes.insert(domain.to_owned(), Arc::clone(&node));
        Ok(node)
    }

    /// Publishes the server of `domain` and has it accept other servers.
    fn attach(&self, domain: &str, node: &Arc<Node>) {
        let last = u8::try_from(self.nodes.len() + 1).unwrap_or(u8::MAX);
        let address = SocketAddr::from(([192, 0, 2, last], S2S));
        let target = format!("host.{domain}");
        let record = Srv { priority: 0, weight: 0, port: S2S, target: target.clone() };
        self.net.publish(&format!("_xmpp-server._tcp.{domain}"), record);
        self.net.publish_host(&target, address.ip());
        let mut incoming = self.net.listen(address);
        let node = Arc::clone(node);
        tokio::spawn(async move {
            while let Some(io) = incoming.recv().await {
                let node = Arc::clone(&node);
                tokio::spawn(async move { node.serve_peer(Transport::plain(io, None), Security::StartTls).await });
            }
        });
    }

    /// Makes an account whose password is [`PASSWORD`], unless it is there.
    ///
    /// # Errors
    /// What its server says.
    pub async fn account(&mut self, jid: &Jid) -> Result<(), String> {
        let node = self.server(jid.domain())?;
        let password = Password::prepare(PASSWORD).map_err(|error| error.to_string())?;
        // As few iterations as are allowed: nobody guesses here.
        let iterations = Iterations::new(Iterations::MIN).ok_or("iterations")?;
        let keys = Credentials::derive(&password, &Salts { sha1: [1; 16], sha256: [2; 16] }, iterations);
        match directory::create(&node.storage, &jid.to_bare(), &keys, self.clock.now()).await {
            Ok(()) | Err(DirectoryError::Exists) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Opens a client connection to the server of `domain`, without a word.
    ///
    /// # Errors
    /// What its server says instead of starting.
    pub fn connect(&mut self, domain: &str) -> Result<DuplexStream, String> {
        let node = self.server(domain)?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move { node.serve_client(Transport::plain(theirs, None), Security::StartTls).await });
        Ok(ours)
    }

    /// Makes the account of `jid` if need be, logs in and binds.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn login(&mut self, jid: &Jid) -> Result<Client, String> {
        self.account(jid).await?;
        let io = self.connect(jid.domain())?;
        Raw::new(io).log_in(Arc::clone(&self.client_tls), jid, PASSWORD).await
    }

    /// Waits until nobody has anything left to do but to wait: simulated time moves on only then.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

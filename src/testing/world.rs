//! Servers, one for each domain, on a network in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::client::{Client, Raw};
use super::network::Net;
use super::panics::panics;
use super::written::served;
use crate::accounts::credentials::{Credentials, Iterations, Password, Salts};
use crate::accounts::directory::{self, DirectoryError};
use crate::accounts::subscription::{Half, State};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Size};
use crate::jid::{BareJid, Jid};
use crate::net::dns::Srv;
use crate::net::tls::development::DevelopmentCa;
use crate::net::tls::{Identities, Identity, Trust};
use crate::routing::CONTACTS;
use crate::server::{Made, Node, Parts};
use crate::session::Security;
use crate::storage::{Storage, Writes};

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
    sites: BTreeMap<String, Site>,
    /// Panics of this thread that are none of its tasks', or that the test has asked for.
    excused: usize,
}

/// A server with what outlives it.
struct Site {
    node: Arc<Node>,
    config: Config,
    identities: Arc<Identities>,
    storage: Storage,
    address: SocketAddr,
    /// Its connections.
    serving: JoinSet<()>,
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
            sites: BTreeMap::new(),
            excused: panics(),
        }
    }

    /// The server of `domain`, made if it is not there yet.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub fn server(&mut self, domain: &str) -> Result<Arc<Node>, String> {
        if let Some(site) = self.sites.get(domain) {
            return Ok(Arc::clone(&site.node));
        }
        self.server_with(domain, &Options::default())
    }

    /// A server that differs from the default.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub fn server_with(&mut self, domain: &str, options: &Options) -> Result<Arc<Node>, String> {
        let storage = Storage::open_in_memory().map_err(|error| error.to_string())?;
        self.server_on(domain, options, storage)
    }

    /// A server with a storage that the test has at hand.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub fn server_on(&mut self, domain: &str, options: &Options, storage: Storage) -> Result<Arc<Node>, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let config = configuration(domain, options)?;
        let last = u8::try_from(self.sites.len() + 1).unwrap_or(u8::MAX);
        let address = SocketAddr::from(([192, 0, 2, last], S2S));
        let target = format!("host.{domain}");
        let record = Srv { priority: 0, weight: 0, port: S2S, target: target.clone() };
        let components = config.components.iter().map(|component| component.name.as_str());
        let rooms = config.services.rooms.iter().map(|name| name.as_str());
        let names: Vec<&str> = [domain].into_iter().chain(components).chain(rooms).collect();
        for name in &names {
            self.net.publish(&format!("_xmpp-server._tcp.{name}"), record.clone());
        }
        self.net.publish_host(&target, address.ip());
        let issued = self.ca.issue(&names).map_err(|error| words(&error))?;
        let identity =
            Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(|it| words(&it))?;
        let identities = Arc::new(Identities::new(identity));
        let node = self.node(&config, &storage, &identities)?;
        let mut serving = accept(&self.net, address, &node);
        serving.spawn(Arc::clone(&node).watch_peers());
        let site = Site { node: Arc::clone(&node), config, identities, storage, address, serving };
        self.sites.insert(domain.to_owned(), site);
        Ok(node)
    }

    fn node(&self, config: &Config, storage: &Storage, identities: &Arc<Identities>) -> Result<Arc<Node>, String> {
        let parts = Parts {
            storage: storage.clone(),
            token_secret: [7; 32],
            clock: self.clock.clone(),
            made: self.made(config, identities)?,
            reload: None,
            network: Arc::clone(&self.net) as _,
            connections: 1000,
        };
        Node::new(config, parts).map_err(|error| error.to_string())
    }

    fn made(&self, config: &Config, identities: &Arc<Identities>) -> Result<Made, String> {
        let mut trust = Trust::nobody();
        trust.add(self.ca.certificate()).map_err(|error| error.to_string())?;
        let (identities, resolver) = (Arc::clone(identities), Arc::clone(&self.net) as _);
        let client_trust = Made::client_trust(config).map_err(|error| error.to_string())?;
        Ok(Made { identities, trust, client_trust, resolver })
    }

    /// Has the server of `domain` work with other further lines of `comity.toml` from now on.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn reconfigure(&mut self, domain: &str, options: &Options) -> Result<(), String> {
        let config = configuration(domain, options)?;
        let site = self.sites.get(domain).ok_or("there is no such server")?;
        site.node.adopt(&config, self.made(&config, &site.identities)?).map_err(|error| error.to_string())?;
        if let Some(site) = self.sites.get_mut(domain) {
            site.config = config;
        }
        Ok(())
    }

    /// Stops the server of `domain` in order and starts another one on the same storage.
    ///
    /// # Errors
    /// What it says instead of starting.
    pub async fn restart(&mut self, domain: &str) -> Result<(), String> {
        let mut site = self.sites.remove(domain).ok_or("there is no such server")?;
        site.node.end().await;
        self.settle().await;
        site.serving.shutdown().await;
        site.node.router.settle(site.node.router.settled());
        site.node = self.node(&site.config, &site.storage, &site.identities)?;
        site.node.restore().await;
        site.serving = accept(&self.net, site.address, &site.node);
        site.serving.spawn(Arc::clone(&site.node).expire_sessions());
        site.serving.spawn(Arc::clone(&site.node).watch_peers());
        self.sites.insert(domain.to_owned(), site);
        Ok(())
    }

    /// Aborts every task that serves a connection of `domain`, as nothing in a server ever does.
    pub async fn abort_connections(&mut self, domain: &str) {
        if let Some(site) = self.sites.get_mut(domain) {
            site.serving.shutdown().await;
        }
    }

    /// The test has something panic, so often.
    pub const fn excuse_panics(&mut self, count: usize) {
        self.excused += count;
    }

    /// Makes `subscriber` receive the presence of `contact`, as if both had agreed long ago. Only for
    /// accounts that nobody has used yet.
    ///
    /// # Errors
    /// What a server says.
    pub async fn subscribe(&mut self, subscriber: &BareJid, contact: &BareJid) -> Result<(), String> {
        let to = |state: State| State { to: Half::Subscribed, ..state };
        let from = |state: State| State { from: Half::Subscribed, ..state };
        self.relate(subscriber, contact, to).await?;
        self.relate(contact, subscriber, from).await
    }

    async fn relate(
        &mut self,
        owner: &BareJid,
        other: &BareJid,
        change: impl Fn(State) -> State,
    ) -> Result<(), String> {
        self.account(&Jid::from(owner.clone())).await?;
        let storage = self.server(owner.domain())?.storage.clone();
        let entry = CONTACTS.get(&storage, owner, other.as_str()).await.map_err(|error| error.to_string())?;
        let mut entry = entry.unwrap_or_default();
        entry.set_state(other, change(entry.state()), None);
        let mut writes = Writes::new();
        CONTACTS.put(&mut writes, owner, other.as_str(), &entry).map_err(|error| error.to_string())?;
        storage.submit(writes);
        Ok(())
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
        let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
        let keys = Credentials::derive(&password, &salts, iterations);
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
        let site = self.sites.get_mut(domain).ok_or("there is no such server")?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let serve = async move { node.serve_client(served(theirs), Security::StartTls).await };
        site.serving.spawn(serve);
        Ok(ours)
    }

    /// Connects as the component `name`, which some server is configured for.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn component(&mut self, name: &str) -> Result<Client, String> {
        let configured = |site: &Site| site.config.components.iter().find(|it| it.name.as_str() == name).cloned();
        let mut sites = self.sites.values_mut();
        let found = sites.find_map(|site| Some((configured(site)?, site)));
        let (component, site) = found.ok_or("no server has such a component")?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let node = Arc::clone(&site.node);
        site.serving.spawn(async move { node.serve_component(served(theirs)).await });
        let secret = component.secret.ok_or("the component has no secret")?;
        Raw::of_component(ours).shake_hands(name, secret.reveal()).await
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

    /// Makes the account of `jid` if need be and authenticates by SASL2, with a token or the password; `wishes` is what else
    /// is asked for.
    ///
    /// # Errors
    /// Where the server refuses what comes before.
    pub async fn enter(&mut self, jid: &Jid, token: Option<&str>, wishes: &str) -> Result<Client, String> {
        self.account(jid).await?;
        let io = self.connect(jid.domain())?;
        Raw::new(io).enter(Arc::clone(&self.client_tls), jid, (token, PASSWORD), wishes).await
    }

    /// Makes the account of `jid` if need be and authenticates; nothing is bound.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn authenticated(&mut self, jid: &Jid) -> Result<Raw, String> {
        self.account(jid).await?;
        let mut raw = Raw::new(self.connect(jid.domain())?);
        raw.authenticate(Arc::clone(&self.client_tls), jid, PASSWORD).await?;
        Ok(raw)
    }

    /// Waits until nobody has anything left to do but to wait: simulated time moves on only then.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn configuration(domain: &str, options: &Options) -> Result<Config, String> {
    // Who does not ask for the archive need not read its ids in every message.
    let archive = if options.config.contains("[archive]") { "" } else { "[archive]\nenabled = false\n" };
    // One domain, unless the test names several.
    let name = if options.config.contains("[[domains]]") { "" } else { &format!("domain = \"{domain}\"\n") };
    let text = format!("{name}{}\n{archive}", options.config);
    let mut config = Config::parse(&text, std::path::Path::new("test.toml")).map_err(|error| error.to_string())?;
    if !options.config.contains("_per_second") {
        // Whoever does not ask for a pace may send as much as he likes.
        config.limits.client_stanzas_per_second = 0;
        config.limits.client_bytes_per_second = Size::new(0);
        config.rooms.messages_per_second = 0;
        config.rooms.domain_entries_per_second = 0;
        config.rooms.domain_messages_per_second = 0;
        config.limits.server_stanzas_per_second = 0;
        config.limits.server_bytes_per_second = Size::new(0);
    }
    Ok(config)
}

/// Has a server accept other servers.
fn accept(net: &Net, address: SocketAddr, node: &Arc<Node>) -> JoinSet<()> {
    let mut incoming = net.listen(address);
    let node = Arc::clone(node);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut peers = JoinSet::new();
        while let Some(io) = incoming.recv().await {
            let node = Arc::clone(&node);
            peers.spawn(async move { node.serve_peer(served(io), Security::StartTls).await });
        }
    });
    serving
}

/// A task of a server that panics ends its connection, which a test may not look at.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(panics(), self.excused, "tasks have panicked");
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

//! TLS on streams that others open to us.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::identity::{Identities, Identity};
use super::peer_tickets::Tickets;
use super::provider;
use super::tickets::tickets;
use super::trust::Trust;
use super::verifier::AnyCertificate;
use crate::net::Transport;

/// Who opens a stream, and how TLS begins on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// A client, after `<starttls/>`.
    ClientStartTls,
    /// A client, from the first byte (XEP-0368).
    ClientDirect,
    /// A server, after `<starttls/>`.
    ServerStartTls,
    /// A server, from the first byte (XEP-0368).
    ServerDirect,
}

/// The TLS configurations of all listeners; they can be replaced while streams are open.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    identities: Arc<Identities>,
    /// Who vouches for clients.
    clients: Arc<Trust>,
    /// Where the name in the stream header is not known yet.
    unnamed: Configs,
    /// Where it is: in the order of the identities.
    named: Vec<Configs>,
}

#[derive(Debug)]
struct Configs {
    client_start_tls: Arc<ServerConfig>,
    client_direct: Arc<ServerConfig>,
    server_start_tls: Arc<ServerConfig>,
    server_direct: Arc<ServerConfig>,
    /// For servers. One key per certificate, and others than those for clients.
    tickets: Arc<Tickets>,
}

/// What one stream needs to negotiate TLS; it keeps to the certificates of its own time.
#[derive(Debug, Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    incoming: Incoming,
    choice: Choice,
    tickets: Arc<Tickets>,
}

/// Picks the certificate to show.
#[derive(Clone)]
struct Choice {
    identities: Arc<Identities>,
    /// The place of the one for the domain in the stream header.
    named: Option<usize>,
}

impl ServerTls {
    /// Configurations that show `identities`.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(identities: Arc<Identities>) -> Result<Self, rustls::Error> {
        Self::asking_clients(identities, Trust::nobody())
    }

    /// The same, where clients may show a certificate for which one of the authorities in `clients` vouches. If there
    /// are none, no client is asked for one.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn asking_clients(identities: Arc<Identities>, clients: Trust) -> Result<Self, rustls::Error> {
        Ok(Self { current: ArcSwap::from_pointee(Current::new(identities, clients)?) })
    }

    /// The authorities that vouch for clients.
    #[must_use]
    pub fn clients(&self) -> Arc<Trust> {
        Arc::clone(&self.current.load().clients)
    }

    /// Shows what `other` shows from now on. Open streams stay as they are; tickets lose their value.
    pub fn replace(&self, other: Self) {
        self.current.store(other.current.into_inner());
    }

    /// The certificates in use.
    #[must_use]
    pub fn identities(&self) -> Arc<Identities> {
        Arc::clone(&self.current.load().identities)
    }

    /// What a stream needs to negotiate TLS. `to` is the domain in the peer's stream header, when
    /// there was one: SNI is optional after STARTTLS (RFC 7590 §3.5).
    #[must_use]
    pub fn acceptor(&self, incoming: Incoming, to: Option<&str>) -> Acceptor {
        let current = self.current.load();
        let named = to.and_then(|domain| current.identities.position(domain));
        let configs = named.and_then(|at| current.named.get(at)).unwrap_or(&current.unnamed);
        let config = match incoming {
            Incoming::ClientStartTls => &configs.client_start_tls,
            Incoming::ClientDirect => &configs.client_direct,
            Incoming::ServerStartTls => &configs.server_start_tls,
            Incoming::ServerDirect => &configs.server_direct,
        };
        let choice = Choice { identities: Arc::clone(&current.identities), named };
        Acceptor { config: Arc::clone(config), incoming, choice, tickets: Arc::clone(&configs.tickets) }
    }
}

impl Acceptor {
    /// The configuration alone.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Negotiates TLS, and remembers for channel binding which certificate was shown.
    ///
    /// # Errors
    /// Those of [`Transport::accept_tls`].
    pub async fn accept(self, transport: Transport) -> io::Result<Transport> {
        let mut transport = match self.incoming {
            Incoming::ClientStartTls | Incoming::ClientDirect => transport.accept_client_tls(self.config).await?,
            Incoming::ServerStartTls | Incoming::ServerDirect => {
                transport.accept_tls(self.tickets.on(&self.config)).await?
            }
        };
        // The same choice from the same facts as in the handshake.
        let server_name = transport.tls().and_then(|facts| facts.server_name);
        let shown = self.choice.choose(server_name.as_deref());
        transport.set_end_point(shown.and_then(|identity| identity.end_point().cloned()));
        Ok(transport)
    }
}

impl Choice {
    /// A name by SNI that is configured, else the domain of the stream header, else a certificate
    /// that happens to have the name of SNI in it, else the default.
    fn choose(&self, server_name: Option<&str>) -> Option<&Arc<Identity>> {
        let at = server_name
            .and_then(|name| self.identities.configured(name))
            .or(self.named)
            .or_else(|| server_name.and_then(|name| self.identities.position(name)))
            .unwrap_or(0);
        self.identities.all().get(at)
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice").field("named", &self.named).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).map(|identity| Arc::clone(identity.certified_key()))
    }
}

impl Current {
    fn new(identities: Arc<Identities>, clients: Trust) -> Result<Self, rustls::Error> {
        let configs = |named| Configs::new(&Choice { identities: Arc::clone(&identities), named }, &clients);
        let named = (0..identities.all().len()).map(|at| configs(Some(at))).collect::<Result<_, _>>()?;
        Ok(Self { unnamed: configs(None)?, named, identities, clients: Arc::new(clients) })
    }
}

impl Configs {
    fn new(choice: &Choice, clients: &Trust) -> Result<Self, rustls::Error> {
        let client = client_config(choice, clients)?;
        let server = server_config(choice)?;
        // A peer that offers protocols, and not this one, is refused; one that offers none is welcome.
        let direct = |config: &ServerConfig, protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self {
            client_direct: direct(&client, b"xmpp-client"),
            server_direct: direct(&server, b"xmpp-server"),
            client_start_tls: Arc::new(client),
            server_start_tls: Arc::new(server),
            tickets: Tickets::new()?,
        })
    }
}

/// What holds for everybody.
const fn strict(config: &mut ServerConfig) {
    config.require_ems = true;
    // The strongest suite that both have, whatever a careless client would rather use (RFC 9325 §4.2).
    config.ignore_client_order = true;
}

/// For clients: no certificate is asked for unless somebody vouches for them; sessions are resumed by tickets that we
/// need not store.
fn client_config(choice: &Choice, clients: &Trust) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if clients.anchors().is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate::new(algorithms).naming(clients)))
    };
    let mut config = builder.with_cert_resolver(Arc::new(choice.clone()));
    strict(&mut config);
    // One key per certificate: a resumed session must never stand for another certificate than
    // the one that `tls-server-end-point` is computed from.
    config.ticketer = tickets()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Each connection gets a fresh one, and a client has one connection.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// For servers: any certificate is welcome and none is demanded. Tickets are those of each connection.
fn server_config(choice: &Choice) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let verifier = AnyCertificate::new(provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(choice.clone()));
    strict(&mut config);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

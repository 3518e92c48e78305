//! A server without its sockets: everything between the bytes of a connection and the storage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::accounts::credentials::{Decoy, Iterations};
use crate::accounts::random;
use crate::clock::Clock;
use crate::config::Config;
use crate::extensions;
use crate::federation::{self, Federation};
use crate::hooks::operation::{NameTaken, Operations};
use crate::hooks::{ArchiveSettings, Hooks, House, InstallError, Outbound, Reply, Settings};
use crate::listeners::admission::{Admission, Bounds};
use crate::net::Network;
use crate::net::dns::Resolver;
use crate::net::tls::{ClientTls, Identities, ServerTls, Trust};
use crate::routing::operations::Accounts;
use crate::routing::{self, Router};
use crate::session::{self, Pace};
use crate::stanza::{IqType, Kind, Stanza};
use crate::storage::Storage;
use crate::stream::Limits;
use crate::xml::Element;

use super::status;

/// What one connection that has not authenticated may cost; the bound on their number follows.
const STRANGER_BYTES: usize = 32 * 1024;

/// Accounts that stay loaded without a session.
const CACHED_ACCOUNTS: usize = 10_000;

/// A client that has been silent for this long is asked whether it is there (XEP-0199).
const SILENCE: Duration = Duration::from_secs(300);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most messages of one page of an archive.
const ARCHIVE_PAGE: usize = 250;

/// What a server is made of.
pub struct Parts {
    pub storage: Storage,
    pub clock: Clock,
    pub identities: Arc<Identities>,
    pub trust: Arc<Trust>,
    pub resolver: Arc<dyn Resolver>,
    pub network: Arc<dyn Network>,
    /// Descriptors that connections may use.
    pub connections: usize,
}

/// A server that listens on nothing.
pub struct Node {
    pub router: Arc<Router>,
    pub sessions: Arc<session::Context>,
    pub federation: Arc<Federation>,
    pub admission: Arc<Admission>,
    pub operations: Arc<Operations>,
    pub storage: Storage,
    pub clock: Clock,
    pub tls: Arc<ServerTls>,
    pub client_tls: Arc<ClientTls>,
    pub domains: Arc<[String]>,
    /// How long archived messages are kept, if not for ever.
    pub retention: Option<Duration>,
    /// How long a connection has to authenticate.
    pub deadline: Duration,
}

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    Tls(rustls::Error),
    Install(InstallError),
    Operation(NameTaken),
    Random(random::Exhausted),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Install(error) => error.fmt(f),
            Self::Operation(error) => error.fmt(f),
            Self::Random(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl Node {
    /// Serves one client connection.
    pub async fn serve_client(&self, transport: crate::net::Transport, security: session::Security) {
        if let Some(bound) = session::open(&self.sessions, transport, security, Instant::now() + self.deadline).await {
            bound.run(&self.sessions).await;
        }
    }

    /// Serves one connection from another server.
    pub async fn serve_peer(&self, transport: crate::net::Transport, security: session::Security) {
        let start = match security {
            session::Security::StartTls => federation::Start::Starttls,
            session::Security::Direct => federation::Start::DirectTls,
        };
        Arc::clone(&self.federation).serve(transport, start).await;
    }

    /// Shows other certificates from now on; open streams stay as they are.
    ///
    /// # Errors
    /// The cryptographic library does not accept them; the old ones stay in use.
    pub fn show(&self, identities: Arc<Identities>) -> Result<(), StartError> {
        self.tls.replace(Arc::clone(&identities)).map_err(StartError::Tls)?;
        self.client_tls.replace(identities).map_err(StartError::Tls)
    }

    /// Puts a server together.
    ///
    /// # Errors
    /// What is wrong with its parts.
    pub fn new(config: &Config, parts: Parts) -> Result<Arc<Self>, StartError> {
        let domains: Arc<[String]> = config.domains.iter().map(|domain| domain.name.to_string()).collect();
        let tls = Arc::new(ServerTls::new(Arc::clone(&parts.identities)).map_err(StartError::Tls)?);
        let client_tls = Arc::new(ClientTls::new(parts.identities).map_err(StartError::Tls)?);
        let federation = Federation::new(
            federation_settings(config),
            federation::Ways {
                network: parts.network,
                resolver: parts.resolver,
                server_tls: Arc::clone(&tls),
                client_tls: Arc::clone(&client_tls),
                trust: parts.trust,
                // Certificates are valid in real time, whatever time is simulated.
                clock: Clock::system(),
                secret: random::octets().map_err(StartError::Random)?,
            },
        );
        let local = domains.iter().map(|domain| Arc::from(domain.as_str()));
        let router = Router::new(
            local,
            parts.storage.clone(),
            parts.clock.clone(),
            routing_limits(config),
            Arc::clone(&federation) as _,
        );
        let outbound: Arc<dyn Outbound> = Arc::clone(&router) as _;
        let admission = Admission::new(bounds(config, parts.connections));
        let mut operations = Operations::default();
        let accounts = Accounts {
            storage: parts.storage.clone(),
            clock: parts.clock.clone(),
            domains: Arc::clone(&domains),
            router: Some(Arc::clone(&router)),
        };
        accounts.register(&mut operations).map_err(StartError::Operation)?;
        let facts = status::Facts::new(&parts.clock, &domains, &router, &admission);
        facts.register(&mut operations).map_err(StartError::Operation)?;
        let operations = Arc::new(operations);
        let settings = Settings {
            domains: Arc::clone(&domains),
            admins: config.admins.iter().map(|admin| admin.jid().clone()).collect(),
            archive: config.archive.enabled.then_some(ArchiveSettings { page: ARCHIVE_PAGE }),
            offline_messages: config.limits.offline_messages,
        };
        let house = House {
            outbound: &outbound,
            operations: &operations,
            storage: &parts.storage,
            clock: &parts.clock,
            settings: &settings,
        };
        let hooks = Hooks::install(extensions::ALL, &house).map_err(StartError::Install)?;
        router.connect(hooks);
        federation.attach(&router);
        let sessions = Arc::new(session::Context {
            router: Arc::clone(&router),
            storage: parts.storage.clone(),
            tls: Arc::clone(&tls),
            without_tls: without_tls(config),
            decoy: Decoy::new(parts.storage.secret(), Iterations::default()),
            limits: Limits { element: config.limits.client_stanza.bytes(), ..Limits::CLIENT },
            pace: Pace::new(
                config.limits.client_stanzas_per_second,
                config.limits.client_bytes_per_second,
                config.limits.client_burst,
            ),
            comparisons: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        });
        Ok(Arc::new(Self {
            router,
            sessions,
            federation,
            admission,
            operations,
            storage: parts.storage,
            clock: parts.clock,
            tls,
            client_tls,
            domains,
            retention: Some(config.archive.retention.duration()).filter(|retention| !retention.is_zero()),
            deadline: config.limits.authentication_deadline.duration(),
        }))
    }

    /// Asks clients that have been silent for long whether they are there, for ever (XEP-0199); who
    /// does not answer is disconnected, so that nobody stays online who is gone.
    pub async fn watch_silence(self: Arc<Self>) {
        let mut asking = tokio::task::JoinSet::new();
        loop {
            tokio::time::sleep(PATIENCE).await;
            while asking.try_join_next().is_some() {}
            let before = crate::clock::Timestamp::from_unix_ms(
                self.clock.now().unix_ms() - i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX),
            );
            for session in self.router.silent_since(before) {
                let router = Arc::clone(&self.router);
                asking.spawn(async move {
                    let domain = crate::jid::BareJid::of_domain(session.domain()).ok();
                    let ping = Stanza::new(Kind::Iq(IqType::Get))
                        .from(domain.map(crate::jid::Jid::from))
                        .to(session.clone())
                        .payload(Element::new("ping", extensions::PING_NS));
                    if router.request(ping, PATIENCE).await == Reply::Silent {
                        router.end_silent(&session, before);
                    }
                });
            }
        }
    }
}

fn routing_limits(config: &Config) -> routing::Limits {
    routing::Limits {
        ring_bytes: config.limits.ring_bytes.bytes(),
        sessions: config.limits.sessions_per_account,
        resume_timeout: config.limits.resume_timeout.duration(),
        contacts: config.limits.roster_items,
        cached_accounts: CACHED_ACCOUNTS,
    }
}

/// The operator may have waived encryption, and is told each time.
fn without_tls(config: &Config) -> bool {
    if config.listen.c2s_without_tls {
        tracing::warn!(
            "listen.c2s_without_tls is set: CLIENTS MAY LOG IN WITHOUT ENCRYPTION. It is for tests on this machine only"
        );
    }
    config.listen.c2s_without_tls
}

fn bounds(config: &Config, connections: usize) -> Bounds {
    let per = |bytes: usize| (bytes / STRANGER_BYTES).max(1);
    Bounds {
        strangers: per(config.limits.unauthenticated_bytes.bytes()),
        per_network: per(config.limits.unauthenticated_bytes_per_address.bytes()),
        connections,
    }
}

fn federation_settings(config: &Config) -> federation::Settings {
    let federation = &config.federation;
    federation::Settings {
        domains: config.domains.iter().map(|domain| domain.name.to_string()).collect(),
        policy: federation::Policy::of(federation),
        connect_timeout: federation.connect_timeout.duration(),
        idle_timeout: federation.idle_timeout.duration(),
        queue_bytes: federation.queue_bytes.bytes(),
        queue_bytes_total: federation.queue_bytes_total.bytes(),
        limits: Limits { element: config.limits.server_stanza.bytes(), ..Limits::SERVER },
        deadline: config.limits.authentication_deadline.duration(),
    }
}

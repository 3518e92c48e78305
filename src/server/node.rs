//! A server without its sockets: everything between the bytes of a connection and the storage.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::accounts::admins;
use crate::accounts::attempts::Attempts;
use crate::accounts::credentials::{Decoy, Iterations};
use crate::accounts::directory;
use crate::accounts::tokens::{SECRET, TokenKey};
use crate::clock::Clock;
use crate::components::Components;
use crate::config::Config;
use crate::extensions::{self, Rooms};
use crate::federation::{self, Federation};
use crate::hooks::operation::{NameTaken, Operations};
use crate::hooks::{Hooks, House, InstallError, Outbound, Reply};
use crate::listeners::admission::Admission;
use crate::live::Live;
use crate::net::Network;
use crate::net::dns::Resolver;
use crate::net::tls::{ClientTls, ServerTls, Trust};
use crate::random;
use crate::routing::operations::{Accounts, Ending};
use crate::routing::{Router, Service};
use crate::session;
use crate::stanza::{IqType, Kind, Stanza};
use crate::storage::Storage;
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

use super::components::{self, SecretError};
use super::doctor;
use super::interop;
use super::made::Made;
use super::memory;
use super::peers;
use super::reload::Reload;
use super::rooms;
use super::settings::{self, Settings};
use super::status;

/// A client that has been silent for this long is asked whether it is there (XEP-0199).
pub(super) const SILENCE: Duration = Duration::from_secs(300);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often messages that have not arrived are looked for.
const SETTLE: Duration = Duration::from_secs(1);

/// How long sessions have to end when the server stops.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether they have.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// What a server is made of.
pub struct Parts {
    pub storage: Storage,
    /// From which the tokens of clients are derived.
    pub token_secret: [u8; SECRET],
    pub clock: Clock,
    pub made: Made,
    /// For a server that can be told to read its configuration again.
    pub reload: Option<Arc<Reload>>,
    pub network: Arc<dyn Network>,
    /// Descriptors that connections may use.
    pub connections: usize,
}

/// A server that listens on nothing.
pub struct Node {
    pub router: Arc<Router>,
    pub sessions: Arc<session::Context>,
    pub federation: Arc<Federation>,
    pub components: Arc<Components>,
    pub rooms: Vec<Arc<Rooms>>,
    pub admission: Arc<Admission>,
    pub operations: Arc<Operations>,
    pub storage: Storage,
    pub clock: Clock,
    pub tls: Arc<ServerTls>,
    pub client_tls: Arc<ClientTls>,
    pub domains: Arc<[String]>,
    /// Tells when an administrator ends the server.
    pub ending: Arc<Ending>,
    pub(super) settings: Settings,
    trust: Live<Trust>,
    resolver: Live<Arc<dyn Resolver>>,
}

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    Tls(rustls::Error),
    Install(InstallError),
    Operation(NameTaken),
    Component(SecretError),
    Storage(crate::storage::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Install(error) => error.fmt(f),
            Self::Operation(error) => error.fmt(f),
            Self::Component(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl Node {
    /// Serves one client connection.
    pub async fn serve_client(&self, transport: crate::net::Transport, security: session::Security) {
        if let Some(bound) = session::open(&self.sessions, transport, security).await {
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

    /// Serves one connection of a component.
    pub async fn serve_component(&self, transport: crate::net::Transport) {
        if let Some(connection) = self.components.accept(transport).await {
            connection.run().await;
        }
    }

    /// Works with `config` from now on, and with what was made for it; open streams stay as they are.
    /// The domains and the listeners remain those that the server began with.
    ///
    /// # Errors
    /// The cryptographic library does not accept the certificates; nothing has changed.
    pub fn adopt(&self, config: &Config, made: Made) -> Result<(), StartError> {
        let tls =
            ServerTls::asking_clients(Arc::clone(&made.identities), made.client_trust).map_err(StartError::Tls)?;
        let client_tls = ClientTls::new(made.identities).map_err(StartError::Tls)?;
        // From here on nothing can fail.
        self.tls.replace(tls);
        self.client_tls.replace(client_tls);
        self.trust.replace(made.trust);
        self.resolver.replace(made.resolver);
        self.settings.replace(config);
        self.admission.rebound(|bounds| *bounds = settings::bounds(config, bounds.connections));
        Ok(())
    }

    /// Puts a server together.
    ///
    /// # Errors
    /// What is wrong with its parts.
    pub fn new(config: &Config, parts: Parts) -> Result<Arc<Self>, StartError> {
        let settings = Settings::of(config);
        let domains = Arc::clone(&settings.domains);
        let Made { identities, trust, client_trust, resolver } = parts.made;
        let tls = ServerTls::asking_clients(Arc::clone(&identities), client_trust).map_err(StartError::Tls)?;
        let tls = Arc::new(tls);
        let client_tls = Arc::new(ClientTls::new(identities).map_err(StartError::Tls)?);
        let (trust, resolver) = (Live::new(trust), Live::new(resolver));
        let federation = Federation::new(
            settings.federation.clone(),
            federation::Ways {
                network: parts.network,
                resolver: resolver.clone(),
                server_tls: Arc::clone(&tls),
                client_tls: Arc::clone(&client_tls),
                trust: trust.clone(),
                stream_features: settings.catalogue.stream_features().clone(),
                // Certificates are valid in real time, whatever time is simulated.
                clock: Clock::system(),
                storage: parts.storage.clone(),
                probe: Element::new("ping", extensions::PING_NS),
                delay: extensions::delay,
                secret: random::octets(),
            },
        );
        let local = domains.iter().map(|domain| Arc::from(domain.as_str()));
        let router = Router::new(
            local,
            parts.storage.clone(),
            parts.clock.clone(),
            settings.routing.clone(),
            Arc::clone(&federation) as _,
        );
        let components = components::of_config(config, &parts.clock).map_err(StartError::Component)?;
        let outbound: Arc<dyn Outbound> = Arc::clone(&router) as _;
        let rooms = rooms::of_config(config, (&parts.storage, &parts.clock), &settings.catalogue, &outbound);
        let rooms = rooms.map_err(StartError::Storage)?;
        serve(&router, &components, &rooms);
        router.prepare().map_err(StartError::Storage)?;
        let admission = Admission::new(settings::bounds(config, parts.connections));
        let added = parts.storage.read_blocking(|view| admins::added(view, &domains)).map_err(StartError::Storage)?;
        settings.admins.replace_added(added);
        let ending = Arc::new(Ending::default());
        let accounts = accounts(&settings, (&parts.storage, &parts.clock), &router);
        let facts = status::Facts::new(&parts.clock, &domains, &router, &admission, &components);
        let owners = memory::Owners::new(&admission, &router, &federation, &components, &rooms);
        let operations = operations(&accounts, (&ending, &router), (facts, owners, &federation), parts.reload.as_ref());
        let operations = operations.map_err(StartError::Operation)?;
        let house = House {
            outbound: &outbound,
            operations: &operations,
            storage: &parts.storage,
            clock: &parts.clock,
            catalogue: &settings.catalogue,
        };
        router.connect(Hooks::install(&house).map_err(StartError::Install)?);
        federation.attach(&router);
        let sessions =
            Arc::new(sessions(&settings, (&router, &tls), (&parts.storage, &parts.clock, &parts.token_secret))?);
        let node = Arc::new(Self {
            router,
            sessions,
            federation,
            components,
            rooms,
            admission,
            operations,
            storage: parts.storage,
            clock: parts.clock,
            tls,
            client_tls,
            domains,
            ending,
            settings,
            trust,
            resolver,
        });
        if let Some(reload) = parts.reload {
            reload.attach(&node);
        }
        Ok(node)
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

/// Has components and rooms serve their domains.
fn serve(router: &Arc<Router>, components: &Arc<Components>, rooms: &[Arc<Rooms>]) {
    let service = |rooms: &Arc<Rooms>| (Arc::from(rooms.name()), Arc::clone(rooms) as Arc<dyn Service>);
    router.serve(components.services().chain(rooms.iter().map(service)));
    components.attach(router);
    rooms.iter().for_each(|rooms| rooms.attach(router));
}

/// What every client session needs.
fn sessions(
    settings: &Settings,
    (router, tls): (&Arc<Router>, &Arc<ServerTls>),
    (storage, clock, token_secret): (&Storage, &Clock, &[u8; SECRET]),
) -> Result<session::Context, StartError> {
    let hashes = settings.domains.iter().map(|domain| {
        let hashes = directory::hashes(storage, domain, clock.now());
        hashes.map(|hashes| (domain.clone(), hashes))
    });
    Ok(session::Context {
        router: Arc::clone(router),
        storage: storage.clone(),
        clock: clock.clone(),
        tls: Arc::clone(tls),
        decoy: Decoy::new(storage.secret(), Iterations::default()),
        tokens: TokenKey::new(token_secret),
        hashes: hashes.collect::<Result<_, _>>().map_err(StartError::Storage)?,
        settings: settings.sessions.clone(),
        stream_features: settings.catalogue.stream_features().clone(),
        inline_offers: settings.catalogue.inline_offers().clone(),
        comparisons: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        attempts: Attempts::new(RandomState::new()),
    })
}

fn accounts(settings: &Settings, (storage, clock): (&Storage, &Clock), router: &Arc<Router>) -> Accounts {
    Accounts {
        storage: storage.clone(),
        clock: clock.clone(),
        domains: Arc::clone(&settings.domains),
        admins: Arc::clone(&settings.admins),
        name_reuse: settings.name_reuse.clone(),
        router: Some(Arc::clone(router)),
        changes: Arc::default(),
    }
}

/// Everything that an operator can have this server do.
fn operations(
    accounts: &Accounts,
    (ending, router): (&Arc<Ending>, &Arc<Router>),
    (facts, owners, federation): (status::Facts, memory::Owners, &Arc<Federation>),
    reload: Option<&Arc<Reload>>,
) -> Result<Arc<Operations>, NameTaken> {
    let mut operations = Operations::default();
    accounts.register(&mut operations)?;
    ending.register(router, &mut operations)?;
    facts.register(&mut operations)?;
    owners.register(&mut operations)?;
    peers::register(federation, &mut operations)?;
    doctor::register(federation, &mut operations)?;
    let outbound: Arc<dyn Outbound> = Arc::clone(router) as _;
    interop::register(federation, &outbound, &mut operations)?;
    if let Some(reload) = reload {
        reload.register(&mut operations)?;
    }
    Ok(Arc::new(operations))
}

impl Node {
    /// Sees to it, for ever, that a message which does not arrive is known to wait.
    pub async fn settle(self: Arc<Self>) {
        loop {
            let upto = self.router.settled();
            tokio::time::sleep(SETTLE).await;
            self.router.settle(upto);
        }
    }

    /// Ends whatever routes, in order: sessions with `system-shutdown`, then the streams of other servers and components.
    /// All sessions leave behind that, so that they are kept with everything that came meanwhile.
    pub async fn end(&self) {
        // While everybody can hear it.
        for rooms in &self.rooms {
            rooms.stop().await;
        }
        self.router.end_all(&StreamError::from(StreamCondition::SystemShutdown));
        let ended = async {
            while self.router.bound() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        // While those elsewhere can hear it.
        self.router.take_leave();
        self.federation.stop().await;
        self.components.stop().await;
        self.router.depart_all();
    }

    /// Looks after the rooms, for ever.
    pub async fn watch_rooms(self: Arc<Self>) {
        let mut watching = tokio::task::JoinSet::new();
        for rooms in &self.rooms {
            watching.spawn(Arc::clone(rooms).watch());
        }
        watching.join_all().await;
    }

    /// Has the sessions of the last run wait for their clients, and sends what it has left for other servers; to be called
    /// once, before anybody connects.
    pub async fn restore(&self) {
        if let Err(error) = self.router.restore().await {
            tracing::error!(%error, "the sessions of the last run could not be read: nobody can come back to them");
        }
        if let Err(error) = self.federation.restore().await {
            tracing::error!(%error, "the streams of other servers could not be read: none of them can be resumed");
        }
        if let Err(error) = self.router.send_left_behind().await {
            tracing::error!(%error, "messages to other servers could not be read: they wait for the next start");
        }
    }

    /// Sees to it, for ever, that nobody of a domain that was lost stays available who is gone.
    pub async fn watch_peers(self: Arc<Self>) {
        self.router.watch_peers().await;
    }

    /// Ends those of them whose clients do not come back in time.
    pub async fn expire_sessions(self: Arc<Self>) {
        while let Some(next) = self.router.expire().await {
            tokio::time::sleep_until(next).await;
        }
    }
}

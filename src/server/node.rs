//! A server without its sockets: everything between the bytes of a connection and the storage.

use std::sync::Arc;
use std::time::Duration;

use crate::accounts::credentials::{Decoy, Iterations};
use crate::accounts::random;
use crate::clock::Clock;
use crate::config::Config;
use crate::extensions;
use crate::federation::{self, Federation};
use crate::hooks::{Hooks, InstallError, Outbound, Reply, Settings};
use crate::listeners::admission::{Admission, Bounds};
use crate::net::dns::Resolver;
use crate::net::tls::{ClientTls, Identities, ServerTls, Trust};
use crate::net::Network;
use crate::routing::{self, Router};
use crate::session;
use crate::stanza::{IqType, Kind, Stanza};
use crate::storage::Storage;
use crate::stream::Limits;
use crate::xml::Element;

/// What one connection that has not authenticated may cost; the bound on their number follows.
const STRANGER_BYTES: usize = 32 * 1024;

/// Accounts that stay loaded without a session.
const CACHED_ACCOUNTS: usize = 10_000;

/// A client that has been silent for this long is asked whether it is there (XEP-0199).
const SILENCE: Duration = Duration::from_secs(300);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server is made of.
pub struct Parts {
    pub storage: Storage,
    pub clock: Clock,
    pub identities: Arc<Identities>,
    pub trust: Trust,
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
    pub storage: Storage,
    pub clock: Clock,
    pub tls: Arc<ServerTls>,
    pub client_tls: Arc<ClientTls>,
    pub domains: Arc<[String]>,
    /// How long a connection has to authenticate.
    pub deadline: Duration,
}

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    Tls(rustls::Error),
    Install(InstallError),
    Random(random::Exhausted),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Install(error) => error.fmt(f),
            Self::Random(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

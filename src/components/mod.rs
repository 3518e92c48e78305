//! External services: programs of others that serve a domain through this server (XEP-0114).
//!
//! - `xep_0114_component`: how a connection becomes that of a component. Pure.
//! - `component`: one of them, and what waits for it; the `routing::Service` of its domain.
//! - `seat`: its place at the server, held by the one connection that has proven to be it; whoever
//!   drops it gives back what has not arrived.
//! - `connection`: from the first byte to the last.
//!
//! A component that is not connected is answered for with `remote-server-timeout`: its domain is
//! known and nobody is there to talk to (RFC 6120 §8.3.3.17), which is nothing permanent. A connection
//! for a component that is connected already is refused with `conflict`, so that a second one that
//! was started by mistake does not push the first one out, and that one it, and so on.
//!
//! Knows nothing of clients and of other servers.

mod component;
mod connection;
mod seat;
mod xep_0114_component;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::watch;

pub use connection::Connection;

use crate::clock::{Clock, Timestamp};
use crate::routing::{Router, Service};
use crate::secret::Secret;
use crate::stream::Limits;

use component::Component;

/// How long connections may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(3);

/// What the operator decides about one component.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its domain, prepared.
    pub name: Arc<str>,
    /// The local domain that lists it and speaks to it where no other address does.
    pub parent: Arc<str>,
    /// For people.
    pub title: Option<String>,
    pub secret: Secret,
    /// What it may send at once.
    pub limits: Limits,
    /// How much may wait for it.
    pub queue_bytes: usize,
}

/// What an operator sees of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub name: Arc<str>,
    /// Since when it is connected, if it is.
    pub since: Option<Timestamp>,
    /// From where.
    pub address: Option<SocketAddr>,
    /// Bytes that wait for it.
    pub waiting: usize,
}

/// All components, connected or not.
pub struct Components {
    secrets: BTreeMap<Arc<str>, Secret>,
    all: BTreeMap<Arc<str>, Arc<Component>>,
    clock: Clock,
    router: OnceLock<Weak<Router>>,
    closing: watch::Sender<bool>,
}

impl Components {
    /// The components of `settings`; connections are accepted once [`Components::attach`] was called.
    #[must_use]
    pub fn new(settings: Vec<Settings>, clock: Clock) -> Arc<Self> {
        let secrets = settings.iter().map(|it| (Arc::clone(&it.name), it.secret.clone())).collect();
        let all = settings.into_iter().map(|it| (Arc::clone(&it.name), Component::new(it))).collect();
        Arc::new(Self { secrets, all, clock, router: OnceLock::new(), closing: watch::Sender::new(false) })
    }

    /// What serves each domain.
    pub fn services(&self) -> impl Iterator<Item = (Arc<str>, Arc<dyn Service>)> {
        self.all.iter().map(|(name, component)| (Arc::clone(name), Arc::clone(component) as _))
    }

    /// Says where stanzas go that arrive. Only the first call counts; the router is not kept alive.
    pub fn attach(&self, router: &Arc<Router>) {
        self.router.get_or_init(|| Arc::downgrade(router));
    }

    /// How every component is, by name.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.all.values().map(|component| component.standing()).collect()
    }

    /// Ends all connections: what waits still goes out, if it is taken in time.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        // Connections count as long as they hold a receiver.
        let _ = tokio::time::timeout(DRAIN, self.closing.closed()).await;
    }

    fn router(&self) -> Option<Arc<Router>> {
        self.router.get().and_then(Weak::upgrade)
    }

    /// The component that has proven to be `name`.
    fn get(&self, name: &str) -> Option<&Arc<Component>> {
        self.all.get(name)
    }

    fn until_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

//! What an operator sees of a running server.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::components::Components;
use crate::hooks::operation::{NameTaken, Nothing, Operation, Operations, Role};
use crate::listeners::admission::Admission;
use crate::panics;
use crate::routing::Router;

/// Counts what the server holds at this moment.
pub const STATUS: Operation<Nothing, Status> = Operation::new("status", Role::Operator);

/// What the server holds at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub started: Timestamp,
    pub domains: Vec<String>,
    /// Accounts in memory.
    pub loaded_accounts: usize,
    /// Bound client sessions.
    pub sessions: usize,
    /// Connections that have not authenticated.
    pub unauthenticated: usize,
    /// All connections.
    pub connections: usize,
    /// Panics since the server has started. Each is a defect; where it was is in the log.
    pub panics: u64,
    /// By name.
    pub components: Vec<Component>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub name: String,
    /// Since when it is connected, if it is.
    pub connected: Option<Timestamp>,
    /// From where, if it is.
    pub address: Option<std::net::SocketAddr>,
    /// Bytes that wait for it.
    pub waiting: usize,
}

/// Where the counts come from.
pub(super) struct Facts {
    started: Timestamp,
    domains: Arc<[String]>,
    router: Arc<Router>,
    admission: Arc<Admission>,
    components: Arc<Components>,
}

impl Facts {
    /// Of a server that starts now.
    pub(super) fn new(
        clock: &Clock,
        domains: &Arc<[String]>,
        router: &Arc<Router>,
        admission: &Arc<Admission>,
        components: &Arc<Components>,
    ) -> Self {
        let (router, admission, components) = (Arc::clone(router), Arc::clone(admission), Arc::clone(components));
        Self { started: clock.now(), domains: Arc::clone(domains), router, admission, components }
    }

    fn components(&self) -> Vec<Component> {
        let standings = self.components.standings().into_iter().map(|it| Component {
            name: it.name.to_string(),
            connected: it.since,
            address: it.address,
            waiting: it.waiting,
        });
        standings.collect()
    }

    /// Registers the operation.
    ///
    /// # Errors
    /// The name is taken.
    pub(super) fn register(self, operations: &mut Operations) -> Result<(), NameTaken> {
        operations.register(&STATUS, move |_| {
            let counts = self.router.counts();
            let (unauthenticated, connections) = self.admission.counts();
            std::future::ready(Ok(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.started,
                domains: self.domains.to_vec(),
                loaded_accounts: counts.accounts,
                sessions: counts.sessions,
                unauthenticated,
                connections,
                panics: panics::count(),
                components: self.components(),
            }))
        })
    }
}

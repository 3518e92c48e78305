//! Where stanzas go: hosts, delivery rules, presence, subscriptions, rosters (RFC 6121).
//!
//! Knows nothing of how a client or another server is connected: a client is a [`Ring`], another
//! domain is behind [`RemoteDelivery`].

mod absence;
mod account;
mod accounts;
mod attendance;
mod backlog;
mod barring;
mod batch;
mod binding;
mod blocking;
mod contacts;
mod copies;
mod delivery;
mod departure;
mod elsewhere;
mod guard;
mod guardian;
mod handing;
mod held;
mod hosts;
mod logins;
mod marks;
mod memory;
mod neighbours;
mod notices;
pub mod operations;
mod outbound;
mod outbox;
mod owed;
mod passage;
mod pieces;
mod presence;
mod probes;
mod push;
mod remote;
mod removal;
mod requests;
mod resumption;
mod retained;
mod retraction;
mod ring;
mod roster;
mod router;
mod service;
mod stop;
mod subscriptions;
mod suspended;
mod unanswered;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use accounts::{CONTACTS, ROSTER_VERSION};
pub use barring::List;
pub use batch::{Batch, Progress};
pub use binding::{BindError, Binding};
pub use handing::Way;
pub use memory::{Class, Memory};
pub use remote::{Kept, Leaving, Pair, RemoteDelivery};
pub use retained::{Handled, Resumption, Retention, modulo};
pub use ring::{Now, Outlet, Pushed, Ring, Taken, Talks};
pub use router::Origin;
pub use service::Service;

use crate::clock::Clock;
use crate::hooks::{Acknowledgement, ClientState, Hooks, InlineFeatures, Strangers};
use crate::live::Live;
use crate::storage::{Durable, Receipt, Storage};

/// Bounds of what one account and one session may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that may wait for a slow reader.
    pub ring_bytes: usize,
    /// Connected resources of one account.
    pub sessions: usize,
    /// How long a session may wait for its client to come back.
    pub resume_timeout: Duration,
    /// Items and pending requests of one roster.
    pub contacts: usize,
    /// Requests of one other domain that wait for the answer of one account; 0 is any number.
    pub requests: usize,
    /// Accounts that stay loaded without a session; fixed when the router is made.
    pub cached_accounts: usize,
}

/// Routes every stanza of every domain served here.
pub struct Router {
    hosts: hosts::Hosts,
    accounts: accounts::Accounts,
    requests: requests::Requests,
    barring: barring::Barring,
    notices: notices::Board,
    storage: Storage,
    clock: Clock,
    limits: Live<Limits>,
    remote: Arc<dyn RemoteDelivery>,
    hooks: OnceLock<Hooks>,
    bindings: std::sync::atomic::AtomicU64,
    watched: watch::Watched,
    logins: logins::Logins,
    suspended: Arc<suspended::Suspended>,
    /// The server stops: sessions that may be resumed are kept for the next one.
    stopping: std::sync::atomic::AtomicBool,
    bound: stop::Held,
    guard: guard::Guard,
    /// For sends of the server's own accord, which happen outside any input task.
    own: std::sync::Weak<Self>,
}

impl Router {
    /// A router for the local `domains`; requests are answered once [`Router::connect`] was called.
    #[must_use]
    pub fn new(
        domains: impl IntoIterator<Item = Arc<str>>,
        storage: Storage,
        clock: Clock,
        limits: Live<Limits>,
        remote: Arc<dyn RemoteDelivery>,
    ) -> Arc<Self> {
        let suspended = Arc::<suspended::Suspended>::default();
        Arc::new_cyclic(|own| Self {
            hosts: hosts::Hosts::new(domains),
            accounts: accounts::Accounts::new(storage.clone(), Arc::clone(&suspended), limits.load().cached_accounts),
            requests: requests::Requests::default(),
            barring: barring::Barring::default(),
            notices: notices::Board::default(),
            storage,
            clock,
            limits,
            remote,
            hooks: OnceLock::new(),
            bindings: std::sync::atomic::AtomicU64::new(1),
            watched: watch::Watched::default(),
            logins: logins::Logins::default(),
            suspended,
            stopping: std::sync::atomic::AtomicBool::new(false),
            bound: stop::Held::default(),
            guard: guard::Guard::default(),
            own: own.clone(),
        })
    }

    /// Reads what the domains keep for themselves. Blocks for as long as that takes.
    ///
    /// # Errors
    /// What storage says.
    pub fn prepare(&self) -> Result<(), crate::storage::Error> {
        self.storage.read_blocking(|view| {
            self.hosts.accounts().try_for_each(|domain| {
                self.barring.load(view, domain)?;
                self.notices.load(view, domain)
            })
        })
    }

    /// Gives the router the extensions, which are built after it because they send through it. Only
    /// the first call counts.
    pub fn connect(&self, hooks: Hooks) {
        self.hooks.get_or_init(|| hooks);
    }

    /// Gives the router the services of further domains, which send through it. Only the first call
    /// counts.
    pub fn serve(&self, services: impl IntoIterator<Item = (Arc<str>, Arc<dyn Service>)>) {
        self.hosts.serve(services.into_iter().collect());
    }

    /// Whether `domain` (prepared) is served here.
    #[must_use]
    pub fn is_local(&self, domain: &str) -> bool {
        !matches!(self.hosts.of(domain), hosts::Host::Remote)
    }

    /// Whether `domain` (prepared) is one to which accounts of this server belong.
    #[must_use]
    pub fn has_accounts(&self, domain: &str) -> bool {
        self.hosts.has_accounts(domain)
    }

    /// The name of this server where none was asked for (RFC 6120 §4.9.1.3).
    #[must_use]
    pub fn name(&self) -> &str {
        self.hosts.name()
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(self.storage.clone(), Arc::clone(&self.remote))
    }

    /// The words in which clients and the server acknowledge stanzas, if they are installed.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<&dyn Acknowledgement> {
        self.hooks().and_then(Hooks::acknowledgement)
    }

    /// How clients say that nobody looks at them, and what may wait then.
    #[must_use]
    pub fn client_state(&self) -> Option<ClientState> {
        self.hooks().and_then(Hooks::client_state)
    }

    /// What clients may ask for that have not authenticated.
    #[must_use]
    pub fn strangers(&self) -> Option<&Strangers> {
        self.hooks().map(Hooks::strangers)
    }

    /// What sessions may begin with.
    #[must_use]
    pub fn inline(&self) -> Option<&InlineFeatures> {
        self.hooks().map(Hooks::inline)
    }

    /// How long a session may wait for its client to come back.
    #[must_use]
    pub fn resume_timeout(&self) -> Duration {
        self.limits.load().resume_timeout
    }

    /// Whether what was written under `receipt` is safe already.
    #[must_use]
    pub fn is_durable(&self, receipt: Receipt) -> bool {
        self.storage.is_durable(receipt)
    }

    /// Waits while storage has more to write than it may: whoever routes much asks before it reads more.
    pub async fn pressure(&self) {
        if !self.storage.has_room() {
            Box::pin(self.storage.pressure()).await;
        }
    }

    /// Waits until it is.
    pub fn durable(&self, receipt: Receipt) -> Durable {
        self.storage.durable(receipt)
    }

    fn hooks(&self) -> Option<&Hooks> {
        self.hooks.get()
    }
}

#[cfg(test)]
mod tests;

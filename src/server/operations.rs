//! The operations that the command line and the local socket offer: accounts, status.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::accounts::credentials::Password;
use crate::accounts::directory;
use crate::clock::{Clock, Timestamp};
use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::jid::{self, BareJid};
use crate::routing::Router;
use crate::storage::Storage;

use super::Node;

/// Makes an account.
pub const ACCOUNT_ADD: Operation<AccountPassword, Nothing> = Operation::new("account.add", Role::Operator);
/// Deletes an account with everything it has, and ends its sessions.
pub const ACCOUNT_REMOVE: Operation<AccountName, Nothing> = Operation::new("account.remove", Role::Operator);
/// Gives an account another password.
pub const ACCOUNT_PASSWORD: Operation<AccountPassword, Nothing> = Operation::new("account.password", Role::Operator);
/// Lists the accounts of a domain.
pub const ACCOUNT_LIST: Operation<DomainOf, Vec<String>> = Operation::new("account.list", Role::Operator);
/// Counts what the server holds at this moment.
pub const STATUS: Operation<Nothing, Status> = Operation::new("status", Role::Operator);

/// An account and its new password.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountPassword {
    pub jid: String,
    pub password: Secret,
}

/// A password on its way; it prints as nothing.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// An account.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountName {
    pub jid: String,
}

/// A domain.
#[derive(Debug, Serialize, Deserialize)]
pub struct DomainOf {
    pub domain: String,
}

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
}

/// What the account operations work on.
#[derive(Clone)]
pub struct Accounts {
    pub storage: Storage,
    pub clock: Clock,
    /// The domains that may have accounts.
    pub domains: Arc<[String]>,
    /// The running server's router; the command line works without one on a server that is down.
    pub router: Option<Arc<Router>>,
}

impl Accounts {
    /// Registers the operations on accounts.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(&self, operations: &mut Operations) -> Result<(), NameTaken> {
        let it = self.clone();
        operations.register(&ACCOUNT_ADD, move |asked| it.clone().add(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_REMOVE, move |asked| it.clone().remove(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_PASSWORD, move |asked| it.clone().password(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_LIST, move |asked| it.clone().list(asked))
    }

    async fn add(self, asked: AccountPassword) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let credentials = credentials(asked.password).await?;
        directory::create(&self.storage, &jid, &credentials, self.clock.now()).await.map_err(failed)?;
        Ok(Nothing {})
    }

    async fn remove(self, asked: AccountName) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        if let Some(router) = &self.router {
            router.remove_account(&jid).await;
        }
        directory::remove(&self.storage, &jid).await.map_err(failed)?;
        // What arrived in between may have loaded it once more.
        if let Some(router) = &self.router {
            router.remove_account(&jid).await;
        }
        Ok(Nothing {})
    }

    async fn password(self, asked: AccountPassword) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let credentials = credentials(asked.password).await?;
        directory::set_credentials(&self.storage, &jid, &credentials).await.map_err(failed)?;
        Ok(Nothing {})
    }

    async fn list(self, asked: DomainOf) -> Result<Vec<String>, OperationError> {
        let domain = jid::domainpart(&asked.domain).map_err(|error| usage(&asked.domain, &error))?;
        let accounts = directory::list(&self.storage, &domain).await;
        let accounts = accounts.map_err(failed)?;
        Ok(accounts.iter().map(ToString::to_string).collect())
    }

    /// The address of an account that this server may have.
    fn own(&self, text: &str) -> Result<BareJid, OperationError> {
        let Some((local, domain)) = text.split_once('@') else {
            return Err(OperationError::Usage(format!("{text} is no address of an account: write name@domain")));
        };
        let jid = BareJid::account(local, domain).map_err(|error| usage(text, &error))?;
        if self.domains.iter().any(|known| known == jid.domain()) {
            return Ok(jid);
        }
        let known = self.domains.join(", ");
        Err(OperationError::Usage(format!("{} is no domain of this server, which serves {known}", jid.domain())))
    }
}

/// Registers what counts.
///
/// # Errors
/// The name is taken.
pub fn register_status(node: &Arc<Node>, operations: &mut Operations) -> Result<(), NameTaken> {
    let node = Arc::clone(node);
    let started = node.clock.now();
    operations.register(&STATUS, move |_| {
        let counts = node.router.counts();
        let (unauthenticated, connections) = node.admission.counts();
        std::future::ready(Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            domains: node.domains.to_vec(),
            loaded_accounts: counts.accounts,
            sessions: counts.sessions,
            unauthenticated,
            connections,
        }))
    })
}

async fn credentials(password: Secret) -> Result<crate::accounts::credentials::Credentials, OperationError> {
    let password = Password::prepare(&password.0).map_err(|error| OperationError::Usage(error.to_string()))?;
    let derived = tokio::task::spawn_blocking(move || directory::derive(&password)).await;
    let derived = derived.map_err(failed)?;
    derived.map_err(failed)
}

fn usage(text: &str, error: &dyn std::error::Error) -> OperationError {
    OperationError::Usage(format!("{text}: {error}"))
}

fn failed(error: impl std::fmt::Display) -> OperationError {
    OperationError::Failed(error.to_string())
}

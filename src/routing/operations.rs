//! The operations on accounts: made here once, offered on the command line, on the local socket and
//! as ad-hoc commands.

mod sessions;

use std::sync::Arc;
use std::time::Duration;

pub use sessions::{ANNOUNCE, Announcement, SESSION_END, SESSION_LIST, SessionName};

use serde::{Deserialize, Serialize};

use crate::accounts::credentials::Password;
use crate::accounts::{directory, roster};
use crate::clock::Clock;
use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::jid::{self, BareJid};
use crate::storage::Storage;
use crate::stream::{StreamCondition, StreamError};

use super::{CONTACTS, Router};

/// Makes an account.
pub const ACCOUNT_ADD: Operation<AccountPassword, Nothing> = Operation::new("account.add", Role::Operator);
/// Deletes an account with everything it has, and ends its sessions.
pub const ACCOUNT_REMOVE: Operation<AccountName, Nothing> = Operation::new("account.remove", Role::Operator);
/// Gives an account another password.
pub const ACCOUNT_PASSWORD: Operation<AccountPassword, Nothing> = Operation::new("account.password", Role::Operator);
/// Lists the accounts of a domain.
pub const ACCOUNT_LIST: Operation<DomainOf, Vec<String>> = Operation::new("account.list", Role::Operator);

/// Shows the contacts of an account.
pub const ACCOUNT_ROSTER: Operation<AccountName, Vec<roster::Item>> = Operation::new("account.roster", Role::Operator);

/// How long whoever changes a password in one of the sessions that end by that has to read that it was done.
const FAREWELL: Duration = Duration::from_secs(1);

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
    /// Registers the operations on accounts, and on sessions if the server runs.
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
        operations.register(&ACCOUNT_LIST, move |asked| it.clone().list(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_ROSTER, move |asked| it.clone().roster(asked))?;
        self.router.as_ref().map_or(Ok(()), |router| sessions::register(router, operations))
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
        if let Some(router) = self.router {
            tokio::spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                // RFC 6120 §4.9.3.16: whoever is there proves anew who he is. A password is often changed because
                // somebody else knows it.
                let error = StreamError::new(StreamCondition::Reset, "the password was changed");
                router.end_sessions(&jid.into(), &error);
            });
        }
        Ok(Nothing {})
    }

    async fn list(self, asked: DomainOf) -> Result<Vec<String>, OperationError> {
        let domain = jid::domainpart(&asked.domain).map_err(|error| usage(&asked.domain, &error))?;
        let accounts = directory::list(&self.storage, &domain).await;
        let accounts = accounts.map_err(failed)?;
        Ok(accounts.iter().map(ToString::to_string).collect())
    }

    async fn roster(self, asked: AccountName) -> Result<Vec<roster::Item>, OperationError> {
        let jid = self.own(&asked.jid)?;
        if !directory::exists(&self.storage, &jid).await.map_err(failed)? {
            return Err(failed(directory::DirectoryError::Unknown));
        }
        let contacts = CONTACTS.all(&self.storage, &jid).await.map_err(failed)?;
        Ok(contacts.into_iter().filter_map(|(_, contact)| contact.item).collect())
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

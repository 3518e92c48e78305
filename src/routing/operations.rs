//! The operations on accounts: made here once, offered on the command line, on the local socket and
//! as ad-hoc commands.

mod admins;
mod barring;
mod facts;
mod notices;
mod service;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

pub use admins::{ADMIN_EDIT, ADMIN_LIST, AdminList};
pub use barring::{LIST_EDIT, LIST_SHOW, ListOf, NewList};
pub use facts::{ACCOUNT_FACTS, ACCOUNT_LIST, ACCOUNT_ROSTER, Facts, Listed};
pub use notices::{MOTD_DELETE, MOTD_EDIT, MOTD_SET, MOTD_SHOW, WELCOME_DELETE, WELCOME_SET, WELCOME_SHOW};
pub use service::{Ending, SERVICE_STOP, Stop, Then};
pub use sessions::{ANNOUNCE, Announcement, ONLINE, Online, SESSION_END, SESSION_LIST, SessionName};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::accounts::admins::Admins;
use crate::accounts::credentials::{Credentials, Password};
use crate::accounts::directory::{self, DirectoryError, Standing};
use crate::accounts::removal;
use crate::clock::Clock;
use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::jid::{self, BareJid};
use crate::live::Live;
use crate::secret::{Secret, spelled_out};
use crate::storage::Storage;
use crate::stream::{StreamCondition, StreamError};

use super::Router;

/// Makes an account.
pub const ACCOUNT_ADD: Operation<NewAccount, Nothing> = Operation::new("account.add", Role::Operator);
/// Deletes an account with everything it has, and ends its sessions.
pub const ACCOUNT_REMOVE: Operation<AccountName, Nothing> = Operation::new("account.remove", Role::Operator);
/// Closes an account for good: it is gone, and what is left of it is deleted by [`ACCOUNT_TIDY`].
pub const ACCOUNT_CLOSE: Operation<AccountName, Nothing> = Operation::new("account.close", Role::Operator);
/// Gives an account another password.
pub const ACCOUNT_PASSWORD: Operation<AccountPassword, Nothing> = Operation::new("account.password", Role::Operator);
/// Ends an account's sessions and lets nobody log in to it any more; what it has stays.
pub const ACCOUNT_DISABLE: Operation<AccountName, Nothing> = Operation::new("account.disable", Role::Operator);
/// Lets the owner of a disabled account log in again.
pub const ACCOUNT_ENABLE: Operation<AccountName, Nothing> = Operation::new("account.enable", Role::Operator);
/// Completes removals that were interrupted, and forgets names that have been closed for long enough.
pub const ACCOUNT_TIDY: Operation<Nothing, Nothing> = Operation::new("account.tidy", Role::Operator);

/// An account to be made.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewAccount {
    pub jid: String,
    #[serde(with = "spelled_out")]
    pub password: Secret,
    /// Whether it is an administrator's.
    #[serde(default)]
    pub admin: bool,
    /// Whether it may have the name of one that was removed a short time ago.
    #[serde(default)]
    pub reuse: bool,
}

/// How long whoever changes a password in one of the sessions that end by that has to read that it was done.
const FAREWELL: Duration = Duration::from_secs(1);

/// An account and its new password.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountPassword {
    pub jid: String,
    #[serde(with = "spelled_out")]
    pub password: Secret,
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
    pub admins: Arc<Admins>,
    /// For how long nobody gets the name of an account that was removed.
    pub name_reuse: Live<std::time::Duration>,
    /// The running server's router; the command line works without one on a server that is down.
    pub router: Option<Arc<Router>>,
    /// Held while accounts come, go or change their powers: what was looked at stays so until it is acted on.
    pub changes: Arc<Mutex<()>>,
}

impl Accounts {
    /// Registers the operations on accounts, and those of a running server if it runs.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(&self, operations: &mut Operations) -> Result<(), NameTaken> {
        let it = self.clone();
        operations.register(&ACCOUNT_ADD, move |asked| it.clone().add(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_REMOVE, move |asked| it.clone().remove(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_CLOSE, move |asked| it.clone().close(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_PASSWORD, move |asked| it.clone().password(asked))?;
        let it = self.clone();
        operations.register(&ACCOUNT_DISABLE, move |asked| it.clone().stand(asked, Standing::Disabled))?;
        let it = self.clone();
        operations.register(&ACCOUNT_ENABLE, move |asked| it.clone().stand(asked, Standing::Active))?;
        let it = self.clone();
        operations.register(&ACCOUNT_TIDY, move |_| it.clone().tidy())?;
        admins::register(self, operations)?;
        facts::register(self, operations)?;
        let Some(router) = &self.router else { return Ok(()) };
        sessions::register(router, operations)?;
        notices::register(router, operations)?;
        barring::register(router, operations)
    }

    async fn add(self, asked: NewAccount) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let credentials = credentials(asked.password).await?;
        let _alone = self.changes.lock().await;
        let now = self.clock.now();
        let owner = jid.clone();
        if self.storage.read(move |view| removal::is_pending(view, &owner)).await.map_err(failed)? {
            let text = "the account of this name is being removed, which ends when the server runs";
            return Err(OperationError::Conflict(text.to_owned()));
        }
        let free_from = removal::free_from(&self.storage, &jid, **self.name_reuse.load()).await.map_err(failed)?;
        if let Some(free_from) = free_from.filter(|free_from| *free_from > now && !asked.reuse) {
            let text = format!(
                "the name was that of another account and is closed until {free_from}: others may still take the new \
                 owner for the old one"
            );
            return Err(OperationError::Conflict(text));
        }
        directory::create(&self.storage, &jid, &credentials, now).await.map_err(refused)?;
        if asked.admin {
            self.appoint(&jid).await?;
        }
        Ok(Nothing {})
    }

    async fn close(self, asked: AccountName) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let _alone = self.changes.lock().await;
        self.begin_removal(&jid).await.map(|()| Nothing {})
    }

    async fn begin_removal(&self, jid: &BareJid) -> Result<(), OperationError> {
        removal::begin(&self.storage, jid, self.clock.now()).await.map_err(refused)?;
        self.read_admins().await
    }

    async fn remove(self, asked: AccountName) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let _alone = self.changes.lock().await;
        self.begin_removal(&jid).await?;
        // Its contacts are told by the server: when that does not run, as soon as it does.
        if self.router.is_some() { self.complete(&jid).await } else { Ok(Nothing {}) }
    }

    /// Deletes what is left of an account whose removal has begun.
    async fn complete(&self, jid: &BareJid) -> Result<Nothing, OperationError> {
        let Some(router) = &self.router else { return Ok(Nothing {}) };
        router.remove_account(jid).await;
        let finished = removal::finish(&self.storage, jid).await;
        router.removed(jid);
        finished.map_err(refused)?;
        Ok(Nothing {})
    }

    async fn tidy(self) -> Result<Nothing, OperationError> {
        let _alone = self.changes.lock().await;
        let closed = i64::try_from(self.name_reuse.load().as_millis()).unwrap_or(i64::MAX);
        let before = crate::clock::Timestamp::from_unix_ms(self.clock.now().unix_ms().saturating_sub(closed));
        for domain in &*self.domains {
            let owner = BareJid::from_kept(domain);
            let pending = self.storage.read(move |view| removal::pending(view, &owner)).await.map_err(failed)?;
            for jid in pending {
                self.complete(&jid).await?;
            }
            removal::forget_old(&self.storage, domain, before).await.map_err(failed)?;
        }
        Ok(Nothing {})
    }

    async fn password(self, asked: AccountPassword) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let credentials = credentials(asked.password).await?;
        directory::set_credentials(&self.storage, &jid, &credentials).await.map_err(refused)?;
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

    async fn stand(self, asked: AccountName, standing: Standing) -> Result<Nothing, OperationError> {
        let jid = self.own(&asked.jid)?;
        let _alone = self.changes.lock().await;
        directory::set_standing(&self.storage, &jid, standing, self.clock.now()).await.map_err(refused)?;
        if let Some(router) = &self.router {
            router.stand(&jid, standing).await;
        }
        Ok(Nothing {})
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

async fn credentials(password: Secret) -> Result<Credentials, OperationError> {
    let password = Password::prepare(password.reveal()).map_err(|error| OperationError::Usage(error.to_string()))?;
    tokio::task::spawn_blocking(move || directory::derive(&password)).await.map_err(failed)
}

/// The prepared name of a domain.
fn domain(text: &str) -> Result<String, OperationError> {
    jid::domainpart(text).map(std::borrow::Cow::into_owned).map_err(|error| usage(text, &error))
}

fn usage(text: &str, error: &dyn std::error::Error) -> OperationError {
    OperationError::Usage(format!("{text}: {error}"))
}

fn refused(error: DirectoryError) -> OperationError {
    let text = error.to_string();
    match error {
        DirectoryError::Exists => OperationError::Conflict(text),
        DirectoryError::Unknown => OperationError::Unknown(text),
        DirectoryError::Storage(_) => OperationError::Failed(text),
    }
}

fn failed(error: impl std::fmt::Display) -> OperationError {
    OperationError::Failed(error.to_string())
}

//! The way to the operations: over the socket of the running server, or on the storage when none runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::accounts::admins::{self, Admins};
use crate::admin::{CallError, Client};
use crate::cli::output::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::hooks::operation::{Operation, OperationError, Operations};
use crate::live::Live;
use crate::routing::operations::Accounts;
use crate::storage::{Options, Storage};

/// Where operations are done.
pub(super) enum Reach {
    Running(Client),
    Stopped { operations: Operations, storage: Storage },
}

impl Reach {
    /// The running server, else the storage itself.
    ///
    /// # Errors
    /// Neither can be used.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(client) = running(config).await? {
            return Ok(Self::Running(client));
        }
        same_user(&config.data_dir)?;
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", config.data_dir.display()));
        let storage = Storage::open(&config.data_dir, Options::default()).map_err(|error| failed(&error))?;
        let domains: Arc<[String]> = config.domains.iter().map(|domain| domain.name.to_string()).collect();
        let added = storage.read_blocking(|view| admins::added(view, &domains)).map_err(|error| failed(&error))?;
        let accounts = Accounts {
            storage: storage.clone(),
            clock: Clock::system(),
            domains,
            admins: Arc::new(Admins::new(config.admins.iter().map(|admin| admin.jid().clone()), added)),
            name_reuse: Live::new(config.limits.name_reuse.duration()),
            router: None,
            changes: Arc::default(),
        };
        let mut operations = Operations::default();
        accounts.register(&mut operations).map_err(|error| failed(&error))?;
        Ok(Self::Stopped { operations, storage })
    }

    /// Has `operation` done.
    ///
    /// # Errors
    /// It was refused or failed.
    pub(super) async fn call<A, O>(&mut self, operation: &Operation<A, O>, arguments: A) -> Result<O, Failure>
    where
        A: Serialize,
        O: DeserializeOwned,
    {
        match self {
            Self::Running(client) => client.call(operation, arguments).await.map_err(failure),
            Self::Stopped { operations, .. } => operations.call(operation, arguments).await.map_err(refused),
        }
    }

    /// Lets go.
    ///
    /// # Errors
    /// What was done could not be written.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Stopped { storage, .. } => storage.close().await.map_err(|error| Failure::Failed(error.to_string())),
        }
    }
}

/// The running server, if one runs.
///
/// # Errors
/// There is a socket, and it cannot be used.
pub(super) async fn running(config: &Config) -> Result<Option<Client>, Failure> {
    let data_dir = &config.data_dir;
    Client::connect(data_dir).await.map_err(|error| {
        let reason = format!("the server in {} cannot be reached: {error}", data_dir.display());
        let hint =
            if error.kind() == std::io::ErrorKind::PermissionDenied { "; run this as the server's user" } else { "" };
        Failure::Failed(reason + hint)
    })
}

/// The running server.
///
/// # Errors
/// None runs, or it cannot be reached.
pub(super) async fn server(config: &Config) -> Result<Client, Failure> {
    let none = || {
        let data_dir = config.data_dir.display();
        Failure::Failed(format!("no server runs with {data_dir}; start one with: comity serve"))
    };
    running(config).await?.ok_or_else(none)
}

/// What a call over the socket gave.
pub(super) fn failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(error) => refused(error),
        CallError::Connection(_) => Failure::Failed(error.to_string()),
    }
}

pub(super) fn refused(error: OperationError) -> Failure {
    match error {
        OperationError::Usage(reason) => Failure::Usage(reason),
        OperationError::Unknown(reason) | OperationError::Conflict(reason) | OperationError::Failed(reason) => {
            Failure::Failed(reason)
        }
    }
}

/// Files that root makes in the server's directory are files that the server cannot open.
fn same_user(data_dir: &Path) -> Result<(), Failure> {
    let Ok(metadata) = std::fs::metadata(data_dir) else { return Ok(()) };
    let (us, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    if us == owner {
        return Ok(());
    }
    let directory = data_dir.display();
    Err(Failure::Failed(format!(
        "{directory} belongs to another user (number {owner}); run this as that user, for example with sudo -u \"#{owner}\""
    )))
}

#[cfg(test)]
mod tests {
    use super::Reach;
    use crate::cli::output::Failure;
    use crate::config::Config;
    use crate::hooks::operation::Nothing;
    use crate::routing::operations::{
        ACCOUNT_ADD, ACCOUNT_DISABLE, ACCOUNT_LIST, ACCOUNT_PASSWORD, ACCOUNT_REMOVE, AccountName, AccountPassword,
        DomainOf, Listed, NewAccount,
    };
    use crate::secret::Secret;
    use crate::server::status::STATUS;

    async fn add(reach: &mut Reach, jid: &str, admin: bool) -> Result<Nothing, Failure> {
        let password = Secret::new("secret".to_owned());
        reach.call(&ACCOUNT_ADD, NewAccount { jid: jid.to_owned(), password, admin, reuse: false }).await
    }

    async fn change(reach: &mut Reach, jid: &str) -> Result<Nothing, Failure> {
        let password = Secret::new("other".to_owned());
        reach.call(&ACCOUNT_PASSWORD, AccountPassword { jid: jid.to_owned(), password }).await
    }

    async fn all(reach: &mut Reach) -> Vec<Listed> {
        reach.call(&ACCOUNT_LIST, DomainOf { domain: "a.example".to_owned() }).await.unwrap()
    }

    #[tokio::test]
    async fn accounts_without_a_server() {
        let data_dir = std::env::temp_dir().join(format!("comity-reach-{}", std::process::id()));
        let mut config = Config::of_domain("a.example".parse().unwrap());
        config.data_dir.clone_from(&data_dir);

        let mut reach = Reach::open(&config).await.unwrap();
        add(&mut reach, "Romeo@A.example", true).await.unwrap();
        assert!(add(&mut reach, "romeo@a.example", false).await.is_err());
        assert!(add(&mut reach, "romeo@elsewhere.example", false).await.is_err());
        assert!(change(&mut reach, "juliet@a.example").await.is_err());
        assert!(matches!(reach.call(&STATUS, Nothing {}).await, Err(Failure::Usage(_))));
        reach.close().await.unwrap();

        let mut reach = Reach::open(&config).await.unwrap();
        let romeo = |disabled| Listed { jid: "romeo@a.example".to_owned(), disabled, admin: true };
        assert_eq!(all(&mut reach).await, [romeo(false)]);
        change(&mut reach, "romeo@a.example").await.unwrap();
        reach.call(&ACCOUNT_DISABLE, AccountName { jid: "romeo@a.example".to_owned() }).await.unwrap();
        assert_eq!(all(&mut reach).await, [romeo(true)]);
        reach.call(&ACCOUNT_REMOVE, AccountName { jid: "romeo@a.example".to_owned() }).await.unwrap();
        assert!(all(&mut reach).await.is_empty());
        // Its contacts have not been told yet.
        assert!(add(&mut reach, "romeo@a.example", false).await.is_err());
        reach.close().await.unwrap();
        std::fs::remove_dir_all(&data_dir).unwrap();
    }
}

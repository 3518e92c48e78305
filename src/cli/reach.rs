//! The way to the operations: over the socket of the running server, or on the storage when none runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::accounts::{self, People};
use crate::admin::{CallError, Client};
use crate::cli::output::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::hooks::{Operation, OperationError, Operations};
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
        let people = People {
            storage: storage.clone(),
            clock: Clock::system(),
            domains: config.domains.iter().map(|domain| domain.name.to_string()).collect(),
            changed: Arc::new(|_, _| {}),
        };
        let mut operations = Operations::default();
        accounts::register(&mut operations, &Arc::new(people)).map_err(|error| failed(&error))?;
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

/// What a call over the socket gave.
pub(super) fn failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(error) => refused(error),
        CallError::Connection(_) => Failure::Failed(error.to_string()),
    }
}

fn refused(error: OperationError) -> Failure {
    match error {
        OperationError::Usage(reason) => Failure::Usage(reason),
        OperationError::Failed(reason) => Failure::Failed(reason),
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

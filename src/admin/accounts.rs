//! Operations on accounts: on a running server over its socket, otherwise on the storage directly.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::accounts::credentials::{Credentials, Password};
use crate::accounts::directory::{self, DirectoryError};
use crate::clock::Clock;
use crate::hooks::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::jid::BareJid;
use crate::storage::Storage;

/// Makes an account.
pub const ADD: Operation<Login, Nothing> = Operation::new("account.add", Role::Operator);
/// Deletes an account with everything it has.
pub const REMOVE: Operation<Named, Nothing> = Operation::new("account.remove", Role::Operator);
/// Replaces an account's password.
pub const PASSWORD: Operation<Login, Nothing> = Operation::new("account.password", Role::Operator);
/// The addresses of all accounts, sorted, by domain.
pub const LIST: Operation<Nothing, Vec<String>> = Operation::new("account.list", Role::Operator);

/// An account and its password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub account: String,
    pub password: String,
}

/// An account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub account: String,
}

/// What has happened to an account that may have clients connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Password,
    Removal,
}

/// What the operations work on.
#[derive(Clone)]
pub struct People {
    pub storage: Storage,
    pub clock: Clock,
    /// The domains of this server.
    pub domains: Vec<String>,
    /// Told after a change is durable, so that the clients concerned can be disconnected.
    pub changed: Arc<dyn Fn(&BareJid, Change) + Send + Sync>,
}

/// Registers the operations.
///
/// # Errors
/// One of their names is taken.
pub fn register(operations: &mut Operations, people: &Arc<People>) -> Result<(), NameTaken> {
    let it = Arc::clone(people);
    operations.register(&ADD, move |login| Arc::clone(&it).add(login))?;
    let it = Arc::clone(people);
    operations.register(&REMOVE, move |named| Arc::clone(&it).remove(named))?;
    let it = Arc::clone(people);
    operations.register(&PASSWORD, move |login| Arc::clone(&it).password(login))?;
    let it = Arc::clone(people);
    operations.register(&LIST, move |_| Arc::clone(&it).list())
}

impl People {
    async fn add(self: Arc<Self>, login: Login) -> Result<Nothing, OperationError> {
        let jid = self.account(&login.account)?;
        let credentials = derive(login.password).await?;
        directory::create(&self.storage, &jid, &credentials, self.clock.now()).await.map_err(failed(&jid))?;
        Ok(Nothing {})
    }

    async fn remove(self: Arc<Self>, named: Named) -> Result<Nothing, OperationError> {
        let jid = self.account(&named.account)?;
        directory::remove(&self.storage, &jid).await.map_err(failed(&jid))?;
        (self.changed)(&jid, Change::Removal);
        Ok(Nothing {})
    }

    async fn password(self: Arc<Self>, login: Login) -> Result<Nothing, OperationError> {
        let jid = self.account(&login.account)?;
        let credentials = derive(login.password).await?;
        directory::set_credentials(&self.storage, &jid, &credentials).await.map_err(failed(&jid))?;
        (self.changed)(&jid, Change::Password);
        Ok(Nothing {})
    }

    async fn list(self: Arc<Self>) -> Result<Vec<String>, OperationError> {
        let mut all = Vec::new();
        for domain in &self.domains {
            let accounts = directory::list(&self.storage, domain).await;
            let accounts = accounts.map_err(|error| OperationError::Failed(error.to_string()))?;
            all.extend(accounts.iter().map(ToString::to_string));
        }
        Ok(all)
    }

    /// An account at one of our domains.
    fn account(&self, text: &str) -> Result<BareJid, OperationError> {
        let usage = |reason: String| Err(OperationError::Usage(reason));
        let jid = match BareJid::parse(text) {
            Ok(jid) => jid,
            Err(error) => return usage(format!("{text:?} is no address: {error}")),
        };
        if jid.local().is_none() {
            return usage(format!("{jid} is a domain; an account looks like name@{jid}"));
        }
        if !self.domains.iter().any(|domain| domain == jid.domain()) {
            return usage(format!("{} is no domain of this server, which has {}", jid.domain(), self.domains.join(", ")));
        }
        Ok(jid)
    }
}

/// Deriving keys takes milliseconds of one processor, so it happens on a thread for such work.
async fn derive(password: String) -> Result<Credentials, OperationError> {
    let password = Password::prepare(&password).map_err(|error| OperationError::Usage(error.to_string()))?;
    let derived = tokio::task::spawn_blocking(move || directory::derive(&password)).await;
    let derived = derived.map_err(|error| OperationError::Failed(error.to_string()))?;
    derived.map_err(|error| OperationError::Failed(error.to_string()))
}

fn failed(jid: &BareJid) -> impl FnOnce(DirectoryError) -> OperationError {
    move |error| OperationError::Failed(format!("{jid}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{ADD, Change, LIST, Login, Named, PASSWORD, People, REMOVE, register};
    use crate::accounts::directory;
    use crate::clock::{Clock, Timestamp};
    use crate::hooks::{Nothing, OperationError, Operations};
    use crate::jid::BareJid;
    use crate::storage::Storage;

    struct Fixture {
        operations: Operations,
        storage: Storage,
        changes: Arc<Mutex<Vec<(String, Change)>>>,
    }

    fn fixture() -> Fixture {
        let storage = Storage::open_in_memory().unwrap();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&changes);
        let people = People {
            storage: storage.clone(),
            clock: Clock::manual(Timestamp::from_unix_ms(7)),
            domains: vec!["b.example".to_owned(), "a.example".to_owned()],
            changed: Arc::new(move |jid, change| seen.lock().unwrap().push((jid.to_string(), change))),
        };
        let mut operations = Operations::default();
        register(&mut operations, &Arc::new(people)).unwrap();
        Fixture { operations, storage, changes }
    }

    fn login(account: &str, password: &str) -> Login {
        Login { account: account.to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn an_account_comes_changes_and_goes() {
        let Fixture { operations, storage, changes } = fixture();
        operations.call(&ADD, login("Romeo@A.example", "secret")).await.unwrap();
        operations.call(&ADD, login("juliet@b.example", "secret")).await.unwrap();
        let again = operations.call(&ADD, login("romeo@a.example", "other")).await;
        assert_eq!(again, Err(OperationError::Failed("romeo@a.example: the account exists already".to_owned())));
        let all = operations.call(&LIST, Nothing {}).await.unwrap();
        assert_eq!(all, ["juliet@b.example", "romeo@a.example"]);

        let romeo = BareJid::parse("romeo@a.example").unwrap();
        let before = directory::credentials(&storage, &romeo).await.unwrap().unwrap();
        operations.call(&PASSWORD, login("romeo@a.example", "better")).await.unwrap();
        let after = directory::credentials(&storage, &romeo).await.unwrap().unwrap();
        assert_ne!(before.sha256.stored_key, after.sha256.stored_key);

        operations.call(&REMOVE, Named { account: "romeo@a.example".to_owned() }).await.unwrap();
        assert!(!directory::exists(&storage, &romeo).await.unwrap());
        let missing = operations.call(&REMOVE, Named { account: "romeo@a.example".to_owned() }).await;
        assert!(matches!(missing, Err(OperationError::Failed(_))), "{missing:?}");
        let told = |change| ("romeo@a.example".to_owned(), change);
        assert_eq!(*changes.lock().unwrap(), [told(Change::Password), told(Change::Removal)]);
    }

    #[tokio::test]
    async fn what_is_no_account_of_ours_is_usage() {
        let operations = fixture().operations;
        for (account, password) in [
            ("a.example", "secret"),
            ("romeo@a.example/balcony", "secret"),
            ("romeo@c.example", "secret"),
            ("ro meo@a.example", "secret"),
            ("romeo@a.example", ""),
            ("romeo@a.example", "se\u{7}cret"),
        ] {
            let refused = operations.call(&ADD, login(account, password)).await;
            assert!(matches!(refused, Err(OperationError::Usage(_))), "{account}: {refused:?}");
        }
    }
}

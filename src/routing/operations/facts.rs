//! The operations that only look at accounts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::accounts::activity::{LAST_LOGIN, LAST_SEEN};
use crate::accounts::{directory, roster};
use crate::clock::Timestamp;
use crate::hooks::operation::{NameTaken, Operation, OperationError, Operations, Role};
use crate::jid::{BareJid, Jid};
use crate::routing::CONTACTS;

use super::{AccountName, Accounts, DomainOf, domain, failed, refused};

/// Lists the accounts of a domain.
pub const ACCOUNT_LIST: Operation<DomainOf, Vec<Listed>> = Operation::new("account.list", Role::Operator);
/// Shows the contacts of an account.
pub const ACCOUNT_ROSTER: Operation<AccountName, Vec<roster::Item>> = Operation::new("account.roster", Role::Operator);
/// Shows how an account is used.
pub const ACCOUNT_FACTS: Operation<AccountName, Facts> = Operation::new("account.facts", Role::Operator);

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub jid: String,
    pub disabled: bool,
    pub admin: bool,
}

/// How an account is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub jid: String,
    pub disabled: bool,
    pub admin: bool,
    pub last_login: Option<Timestamp>,
    /// When it was available last, if it is not now.
    pub last_seen: Option<Timestamp>,
    pub contacts: usize,
    /// Messages that nobody has received.
    pub waiting: u64,
    /// Connected resources.
    pub resources: Vec<String>,
}

/// Registers the operations.
///
/// # Errors
/// One of the names is taken.
pub(super) fn register(accounts: &Accounts, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = accounts.clone();
    operations.register(&ACCOUNT_LIST, move |asked| it.clone().list(asked))?;
    let it = accounts.clone();
    operations.register(&ACCOUNT_ROSTER, move |asked| it.clone().roster(asked))?;
    let it = accounts.clone();
    operations.register(&ACCOUNT_FACTS, move |asked| it.clone().facts(asked))
}

impl Accounts {
    async fn list(self, asked: DomainOf) -> Result<Vec<Listed>, OperationError> {
        let domain = domain(&asked.domain)?;
        let accounts = directory::list(&self.storage, &domain).await.map_err(failed)?;
        let disabled = directory::disabled(&self.storage, &domain).await.map_err(failed)?;
        let disabled: BTreeSet<BareJid> = disabled.into_iter().collect();
        let listed = |jid: &BareJid| Listed {
            jid: jid.to_string(),
            disabled: disabled.contains(jid),
            admin: self.admins.contains(jid),
        };
        Ok(accounts.iter().map(listed).collect())
    }

    async fn roster(self, asked: AccountName) -> Result<Vec<roster::Item>, OperationError> {
        let jid = self.existing(&asked.jid).await?;
        // What its owner has been told already may still be on its way.
        self.storage.durable(self.storage.latest()).await.map_err(failed)?;
        let contacts = CONTACTS.all(&self.storage, &jid).await.map_err(failed)?;
        Ok(contacts.into_iter().filter_map(|(_, contact)| contact.item).collect())
    }

    async fn facts(self, asked: AccountName) -> Result<Facts, OperationError> {
        let jid = self.existing(&asked.jid).await?;
        if let Some(router) = &self.router {
            router.write_logins();
            self.storage.durable(self.storage.latest()).await.map_err(failed)?;
        }
        let owner = jid.clone();
        let reading = self.storage.read(move |view| {
            let contacts = view.items(&CONTACTS, &owner)?.into_iter().filter(|(_, contact)| contact.item.is_some());
            let times = (view.cell(&LAST_LOGIN, &owner)?, view.cell(&LAST_SEEN, &owner)?);
            Ok((contacts.count(), times, view.undelivered_count(&owner)?, directory::standing(view, &owner)?))
        });
        let (contacts, (last_login, last_seen), waiting, standing) = reading.await.map_err(failed)?;
        let sessions = self.router.as_ref().map(|router| router.sessions_of(&jid)).unwrap_or_default();
        Ok(Facts {
            disabled: standing == directory::Standing::Disabled,
            admin: self.admins.contains(&jid),
            jid: jid.to_string(),
            last_login,
            last_seen: last_seen.map(|seen| seen.at),
            contacts,
            waiting,
            resources: sessions.iter().filter_map(Jid::resource).map(str::to_owned).collect(),
        })
    }

    async fn existing(&self, text: &str) -> Result<BareJid, OperationError> {
        let jid = self.own(text)?;
        if directory::exists(&self.storage, &jid).await.map_err(failed)? {
            return Ok(jid);
        }
        Err(refused(directory::DirectoryError::Unknown))
    }
}

//! The operations on the list of administrators.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::accounts::{admins, directory};
use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::jid::BareJid;

use super::{Accounts, failed, refused};

/// Lists the administrators.
pub const ADMIN_LIST: Operation<Nothing, Vec<String>> = Operation::new("admin.list", Role::Operator);
/// Replaces the administrators that are not those of the configuration, which stay in any case.
pub const ADMIN_EDIT: Operation<AdminList, Nothing> = Operation::new("admin.edit", Role::Operator);

/// Accounts that are to be administrators'.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdminList {
    pub jids: Vec<String>,
}

/// Registers the operations.
///
/// # Errors
/// One of the names is taken.
pub(super) fn register(accounts: &Accounts, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = accounts.clone();
    operations.register(&ADMIN_LIST, move |_| {
        std::future::ready(Ok(it.admins.all().iter().map(ToString::to_string).collect()))
    })?;
    let it = accounts.clone();
    operations.register(&ADMIN_EDIT, move |asked| it.clone().edit(asked))
}

impl Accounts {
    async fn edit(self, asked: AdminList) -> Result<Nothing, OperationError> {
        let _alone = self.changes.lock().await;
        let mut wanted = BTreeSet::new();
        for jid in &asked.jids {
            let jid = self.own(jid)?;
            if self.admins.is_configured(&jid) {
                continue;
            }
            // Whoever registers the name later must not find himself an administrator.
            if !directory::exists(&self.storage, &jid).await.map_err(failed)? {
                return Err(OperationError::Unknown(format!("{jid}: there is no such account")));
            }
            wanted.insert(jid);
        }
        self.replace_admins(&wanted).await
    }

    /// Makes an account an administrator's.
    pub(super) async fn appoint(&self, jid: &BareJid) -> Result<(), OperationError> {
        let mut wanted = self.added().await?;
        wanted.insert(jid.clone());
        self.replace_admins(&wanted).await.map(drop)
    }

    async fn replace_admins(&self, wanted: &BTreeSet<BareJid>) -> Result<Nothing, OperationError> {
        let before = self.added().await?;
        admins::replace(&self.storage, &before, wanted, self.clock.now()).await.map_err(refused)?;
        self.read_admins().await?;
        Ok(Nothing {})
    }

    /// Takes over the list as storage has it.
    pub(super) async fn read_admins(&self) -> Result<(), OperationError> {
        self.admins.replace_added(self.added().await?);
        Ok(())
    }

    async fn added(&self) -> Result<BTreeSet<BareJid>, OperationError> {
        let domains = std::sync::Arc::clone(&self.domains);
        self.storage.read(move |view| admins::added(view, &domains)).await.map_err(failed)
    }
}

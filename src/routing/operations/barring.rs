//! The operations on the blacklist and the whitelist of a domain.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::routing::barring::entries;
use crate::routing::{List, Router};

use super::{domain, failed};

/// Shows one of the lists.
pub const LIST_SHOW: Operation<ListOf, Vec<String>> = Operation::new("list.show", Role::Operator);
/// Replaces one of the lists.
pub const LIST_EDIT: Operation<NewList, Nothing> = Operation::new("list.edit", Role::Operator);

/// One of the lists.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListOf {
    pub domain: String,
    pub list: List,
}

/// One of the lists, and what it is to be.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewList {
    pub domain: String,
    pub list: List,
    pub jids: Vec<String>,
}

/// Registers the operations of a running server.
///
/// # Errors
/// One of the names is taken.
pub(super) fn register(router: &Arc<Router>, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = Arc::clone(router);
    operations.register(&LIST_SHOW, move |asked: ListOf| {
        std::future::ready(domain(&asked.domain).map(|domain| it.barring.show(asked.list, &domain)))
    })?;
    let it = Arc::clone(router);
    operations.register(&LIST_EDIT, move |asked| edit(Arc::clone(&it), asked))
}

async fn edit(router: Arc<Router>, asked: NewList) -> Result<Nothing, OperationError> {
    let domain = domain(&asked.domain)?;
    let wanted = entries(&router, &asked.jids)?;
    let list = (asked.list, domain.as_str());
    router.barring.replace(&router.storage, list, wanted, router.clock.now()).await.map_err(failed)?;
    Ok(Nothing {})
}

//! What an operator sees of the other servers.

use std::sync::Arc;

use crate::federation::{Federation, Peer};
use crate::hooks::operation::{NameTaken, Nothing, Operation, Operations, Role};

/// Tells how things are between the domains of this server and others.
pub const PEERS: Operation<Nothing, Vec<Peer>> = Operation::new("peers", Role::Operator);

/// Registers the operation.
///
/// # Errors
/// The name is taken.
pub(super) fn register(federation: &Arc<Federation>, operations: &mut Operations) -> Result<(), NameTaken> {
    let federation = Arc::clone(federation);
    operations.register(&PEERS, move |_| std::future::ready(Ok(federation.peers())))
}

//! What an operator sees of the other servers.

use std::sync::Arc;

use crate::federation::{Federation, Peer, Stream};
use crate::hooks::operation::{NameTaken, Nothing, Operation, Operations, Role};

/// Tells how things are between the domains of this server and others.
pub const PEERS: Operation<Nothing, Vec<Peer>> = Operation::new("peers", Role::Operator);
/// Lists the streams with other servers: pairs of domains, how they were proven, encryption, bytes.
pub const STREAMS: Operation<Nothing, Vec<Stream>> = Operation::new("peers.streams", Role::Operator);

/// Registers the operations.
///
/// # Errors
/// A name is taken.
pub(super) fn register(federation: &Arc<Federation>, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = Arc::clone(federation);
    operations.register(&PEERS, move |_| std::future::ready(Ok(it.peers())))?;
    let it = Arc::clone(federation);
    operations.register(&STREAMS, move |_| std::future::ready(Ok(it.streams())))
}

//! Connections from components (XEP-0114), which do not encrypt.

use std::sync::Arc;
use std::time::Duration;

use crate::components::Components;
use crate::net::Transport;

use super::admission::{Leave, Place};

/// Serves one connection: as long as the peer is a stranger, it has a deadline and may be asked to make
/// room.
pub async fn serve(
    components: Arc<Components>,
    transport: Transport,
    (place, leave): (Place, Leave),
    deadline: Duration,
) {
    let connection = tokio::select! {
        connection = components.accept(transport) => connection,
        _ = leave => None,
        () = tokio::time::sleep(deadline) => None,
    };
    if let Some(connection) = connection {
        place.known();
        // Boxed: strangers need not bring the room for it along.
        Box::pin(connection.run()).await;
    }
}

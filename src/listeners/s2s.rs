//! Connections from other servers: STARTTLS (RFC 6120 §5) and direct TLS (XEP-0368).

use std::sync::Arc;

use crate::federation::{Federation, Start};
use crate::net::Transport;
use crate::session::Security;

use super::admission::{Leave, Place};

/// Serves one connection: as long as the peer is a stranger, it may be asked to make room.
pub async fn serve(
    federation: Arc<Federation>,
    transport: Transport,
    security: Security,
    (place, leave): (Place, Leave),
) {
    let start = match security {
        Security::StartTls => Start::Starttls,
        Security::Direct => Start::DirectTls,
    };
    let reception = tokio::select! {
        reception = federation.accept(transport, start) => reception,
        _ = leave => None,
    };
    if let Some(reception) = reception {
        place.known();
        // Boxed: strangers need not bring the room for it along.
        Box::pin(reception.run()).await;
    }
}

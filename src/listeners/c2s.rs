//! Client connections: STARTTLS (RFC 6120 §5) and direct TLS (XEP-0368).

use std::sync::Arc;
use std::time::Duration;

use crate::net::Transport;
use crate::session::{self, Security};

use super::admission::{Leave, Place};

/// Serves one connection: as long as the peer is a stranger, it has a deadline and may be asked to
/// make room.
pub async fn serve(
    context: Arc<session::Context>,
    transport: Transport,
    security: Security,
    (place, leave): (Place, Leave),
    deadline: Duration,
) {
    let open = async {
        let secured = session::secure(&context, transport, security).await?;
        place.secured();
        secured.log_in(&context).await
    };
    let bound = tokio::select! {
        bound = open => bound,
        _ = leave => None,
        () = tokio::time::sleep(deadline) => None,
    };
    if let Some(bound) = bound {
        place.known();
        // Boxed: strangers need not bring the room for it along.
        Box::pin(bound.run(&context.router)).await;
    }
}

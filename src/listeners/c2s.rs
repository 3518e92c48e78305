//! Client connections: STARTTLS (RFC 6120 §5) and direct TLS (XEP-0368).

use std::sync::Arc;

use crate::net::Transport;
use crate::session::{self, Bound, Security};

use super::admission::{Leave, Place};

/// Serves one connection.
pub fn serve(
    context: Arc<session::Context>,
    transport: Transport,
    security: Security,
    admitted: (Place, Leave),
) -> impl Future<Output = ()> + Send {
    // Boxed, and made out here, so that the session which comes of it carries nothing of it along.
    let opening = Box::pin(open(Arc::clone(&context), transport, security, admitted));
    async move {
        if let Some((bound, _place)) = opening.await {
            bound.run(&context).await;
        }
    }
}

/// Leads a connection to a session: as long as the peer is a stranger, it has a deadline and may be
/// asked to make room.
async fn open(
    context: Arc<session::Context>,
    transport: Transport,
    security: Security,
    (place, leave): (Place, Leave),
) -> Option<(Box<Bound>, Place)> {
    let open = async {
        let secured = session::secure(&context, transport, security).await?;
        place.secured();
        secured.log_in(&context).await
    };
    let bound = tokio::select! {
        bound = open => bound,
        _ = leave => None,
    }?;
    place.known();
    Some((bound, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::admission::{Admission, Bounds};
    use crate::testing::World;

    // What every session carries as its task, idle or not.
    #[tokio::test(start_paused = true)]
    async fn the_task_of_a_connection_is_small() {
        let mut world = World::new();
        let node = world.server("verona.example").unwrap();
        let (_client, server) = tokio::io::duplex(64);
        let admission = Admission::new(Bounds { strangers: 1, per_network: 1, connections: 1 });
        let admitted = admission.admit([127, 0, 0, 1].into()).await.unwrap();
        let (transport, context) = (Transport::plain(server, None), Arc::clone(&node.sessions));
        let serving = serve(context, transport, Security::Direct, admitted);
        assert!(size_of_val(&serving) <= 400, "{}", size_of_val(&serving));
    }
}

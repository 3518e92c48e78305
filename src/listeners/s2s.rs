//! Connections from other servers: STARTTLS (RFC 6120 §5) and direct TLS (XEP-0368).

use std::sync::Arc;

use crate::federation::Federation;
use crate::net::Transport;
use crate::session::Security;

use super::admission::{Leave, Place};

/// Serves one connection.
pub async fn serve(
    federation: Arc<Federation>,
    transport: Transport,
    _security: Security,
    (place, _leave): (Place, Leave),
) {
    federation.serve(transport).await;
    drop(place);
}

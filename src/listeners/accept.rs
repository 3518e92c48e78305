//! The accept loop that all listeners share.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::net::Transport;

use super::admission::{Admission, Leave, Place};

/// How long a listener waits, for a stranger to leave, when the machine has no descriptor left for it.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections until the task is aborted and serves each in a task of its own; with this
/// task end those that it started. What holds for small pieces on the listener holds for its connections.
pub async fn accept<F, S>(listener: TcpListener, admission: Arc<Admission>, serve: S)
where
    S: Fn(Transport, Place, Leave) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    if let Some((place, leave)) = admission.admit(peer.ip()).await {
                        serving.spawn(serve(Transport::accepted(socket, peer), place, leave));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    admission.relieve();
                    tokio::time::sleep(EXHAUSTED).await;
                }
            },
            Some(ended) = serving.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a connection ended by a defect of this server");
                }
            }
        }
    }
}

//! The accept loop that all listeners share.

use std::net::IpAddr;
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
///
/// Whoever comes from an address that is not welcome is closed here: nothing is read, written, or set up for him, and nobody
/// makes room.
pub async fn accept<W, F, S>(listener: TcpListener, admission: Arc<Admission>, welcomes: W, serve: S)
where
    W: Fn(IpAddr) -> bool,
    S: Fn(Transport, Place, Leave) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if !welcomes(peer.ip()) => {}
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

/// For listeners on which every address is welcome.
#[must_use]
pub const fn anybody(_: IpAddr) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::listeners::admission::Bounds;

    /// A listener that lets `most` connections in and says a word to each, and how many it has served.
    async fn listening(
        most: usize,
        admission: &Arc<Admission>,
    ) -> (JoinSet<()>, std::net::SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, asked) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let welcomes = move |from: IpAddr| from.is_loopback() && asked.fetch_add(1, Ordering::Relaxed) < most;
        let count = Arc::clone(&served);
        let serve = move |mut transport: Transport, place: Place, _leave: Leave| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                transport.finish(b"welcome").await.unwrap();
                drop(place);
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(admission), welcomes, serve));
        (tasks, address, served)
    }

    #[tokio::test]
    async fn whoever_is_not_welcome_is_closed_at_once_and_costs_nobody_his_place() {
        // Nobody would be let in beside the stranger who is there.
        let admission = Admission::new(Bounds { strangers: 1, per_network: 1, connections: 10 });
        let (_tasks, address, served) = listening(2, &admission).await;
        let mut heard = Vec::new();
        for number in 0..5 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let stranger = if number == 2 { admission.admit([192, 0, 2, 1].into()).await } else { None };
            let is_welcome = number < 2;
            if !is_welcome {
                // Nobody reads it: then there may be a reset in place of an end.
                let _ = socket.write_all(b"<stream:stream").await;
            }
            heard.clear();
            let ended = socket.read_to_end(&mut heard).await;
            assert_eq!(heard, if is_welcome { &b"welcome"[..] } else { b"" }, "{number}: {ended:?}");
            if let Some((_place, mut leave)) = stranger {
                assert!(leave.try_recv().is_err_and(|why| why == tokio::sync::oneshot::error::TryRecvError::Empty));
            }
        }
        assert_eq!(served.load(Ordering::Relaxed), 2);
        assert_eq!(admission.counts(), (0, 0));
    }
}

//! How a connection to an address is opened.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::net::{BoxFuture, Transport};

/// How long a connection that we opened may carry nothing before the system asks whether the other
/// side is there (RFC 6120 §4.6.4).
const SILENCE: Duration = Duration::from_secs(300);

/// How often it asks then.
const INTERVAL: Duration = Duration::from_secs(15);

/// How long the other side may owe an answer to that, or to what was sent, before the connection is
/// dead (RFC 6120 §4.6.1). By itself, the system waits for a quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens connections; in tests a network in memory stands in for the system's.
pub trait Network: Send + Sync {
    /// Connects to `address`. There is no time limit inside: whoever waits sets one.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Transport>>;
}

/// The TCP of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Network for System {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Transport>> {
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            if let Err(error) = watch(&socket) {
                tracing::debug!(%error, "a connection is not watched");
            }
            Ok(Transport::tcp(socket))
        })
    }
}

/// Has the system notice that the other side is gone: a stream to another server only ever carries
/// our stanzas, so that nothing else tells of it.
fn watch(socket: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, SILENCE)?;
    sockopt::set_tcp_keepintvl(socket, INTERVAL)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, u32::try_from(PATIENCE.as_millis()).unwrap_or_default())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn system_connects_and_bytes_pass_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network: &dyn Network = &System;
        let (ours, theirs) = tokio::join!(network.connect(address), listener.accept());
        let mut ours = ours.unwrap();
        let (socket, from) = theirs.unwrap();
        let mut theirs = Transport::tcp(socket);
        assert_eq!(ours.peer(), Some(address));
        assert_eq!(theirs.peer(), Some(from));

        ours.write_all(b"to you").await.unwrap();
        theirs.write_all(b"to me").await.unwrap();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        theirs.drain(&mut there).await.unwrap();
        ours.drain(&mut here).await.unwrap();
        assert_eq!(there, b"to you");
        assert_eq!(here, b"to me");
        ours.finish(&[]).await.unwrap();
        assert_eq!(theirs.drain(&mut there).await.unwrap(), 0);
    }

    // Proves: RFC 6120 §4.6.1
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_watches_a_connection() {
        use rustix::net::sockopt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        watch(&socket).unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), SILENCE);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 60_000);
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(System.connect(address).await.is_err());
    }
}

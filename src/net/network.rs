//! How a connection to an address is opened.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::net::{BoxFuture, Transport};

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
        Box::pin(async move { Ok(Transport::tcp(TcpStream::connect(address).await?)) })
    }
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

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(System.connect(address).await.is_err());
    }
}

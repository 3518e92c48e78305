//! The sockets of a server: bound first, then served, closed in order.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::config::{Addresses, Config};
use crate::listeners::{accept, anybody, c2s, component, s2s};
use crate::session::Security;

use super::Node;
use super::node::{DRAIN, LOOK};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Every listener of a server, bound and not yet served.
#[derive(Debug, Default)]
pub struct Bound {
    pub c2s: Vec<TcpListener>,
    pub c2s_tls: Vec<TcpListener>,
    pub s2s: Vec<TcpListener>,
    pub s2s_tls: Vec<TcpListener>,
    pub component: Vec<TcpListener>,
}

/// A running server.
pub struct Server {
    pub node: Arc<Node>,
    tasks: JoinSet<()>,
}

impl Bound {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// The first address that cannot be had, in the error's text.
    pub fn new(config: &Config) -> io::Result<Self> {
        let listen = &config.listen;
        let component = if config.components.is_empty() { Vec::new() } else { bind_all(&listen.component)? };
        Ok(Self {
            c2s: bind_all(&listen.c2s)?,
            c2s_tls: bind_all(&listen.c2s_tls)?,
            s2s: bind_all(&listen.s2s)?,
            s2s_tls: bind_all(&listen.s2s_tls)?,
            component,
        })
    }
}

fn bind_all(addresses: &Addresses) -> io::Result<Vec<TcpListener>> {
    addresses
        .into_iter()
        .map(|address| {
            bind(address).map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
        })
        .collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let open = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit it.
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    match open(address) {
        // A machine without IPv6 still has the other half of what `[::]` stands for.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
            open(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        opened => opened,
    }
}

impl Server {
    /// Serves `bound`; every listener accepts when this returns.
    pub async fn start(node: Arc<Node>, bound: Bound) -> Self {
        node.restore().await;
        let mut tasks = JoinSet::new();
        for (listeners, security) in [(bound.c2s, Security::StartTls), (bound.c2s_tls, Security::Direct)] {
            for listener in listeners {
                let context = Arc::clone(&node.sessions);
                tasks.spawn(accept(listener, Arc::clone(&node.admission), anybody, move |transport, place, leave| {
                    c2s::serve(Arc::clone(&context), transport, security, (place, leave))
                }));
            }
        }
        for (listeners, security) in [(bound.s2s, Security::StartTls), (bound.s2s_tls, Security::Direct)] {
            for listener in listeners {
                let (gate, federation) = (Arc::clone(&node.federation), Arc::clone(&node.federation));
                let welcomes = move |address| gate.welcomes(address);
                tasks.spawn(accept(listener, Arc::clone(&node.admission), welcomes, move |transport, place, leave| {
                    s2s::serve(Arc::clone(&federation), transport, security, (place, leave))
                }));
            }
        }
        for listener in bound.component {
            let (components, settings) = (Arc::clone(&node.components), node.sessions.settings.clone());
            tasks.spawn(accept(listener, Arc::clone(&node.admission), anybody, move |transport, place, leave| {
                component::serve(Arc::clone(&components), transport, (place, leave), settings.load().deadline)
            }));
        }
        tasks.spawn(Arc::clone(&node).watch_silence());
        tasks.spawn(Arc::clone(&node).tidy_archive());
        tasks.spawn(Arc::clone(&node).tidy_accounts());
        tasks.spawn(Arc::clone(&node).settle());
        tasks.spawn(Arc::clone(&node).expire_sessions());
        tasks.spawn(Arc::clone(&node).watch_rooms());
        tasks.spawn(Arc::clone(&node).watch_peers());
        Self { node, tasks }
    }

    /// Ends all streams with `system-shutdown`, then closes the storage.
    ///
    /// # Errors
    /// Something that was acknowledged could not be written.
    pub async fn stop(mut self) -> Result<(), crate::storage::Lost> {
        self.node.end().await;
        let gone = async {
            // A session has ended before its client has ended its side of the stream.
            let known = || {
                let (strangers, open) = self.node.admission.counts();
                open > strangers
            };
            while known() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(DRAIN, gone).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.tasks.shutdown().await;
        self.node.router.settle(self.node.router.settled());
        self.node.storage.close().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn accepted_connections_send_small_pieces_at_once() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert!(server.nodelay().unwrap());
    }
}

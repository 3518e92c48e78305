//! A connection on which everything that comes is taken down as it is behind TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What somebody has heard on all connections.
#[derive(Clone)]
pub(crate) struct Ear(Arc<watch::Sender<String>>);

impl Ear {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(String::new())))
    }

    pub(crate) fn heard(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits for these words on any connection.
    pub(crate) async fn hears(&self, words: &str) {
        self.0.subscribe().wait_for(|heard| heard.contains(words)).await.unwrap();
    }
}

pub(crate) struct Line {
    io: Box<dyn Io>,
    ear: Ear,
    /// What has come and was not waited for.
    unread: String,
}

impl Line {
    pub(crate) fn new(socket: TcpStream, ear: &Ear) -> Self {
        Self { io: Box::new(socket), ear: ear.clone(), unread: String::new() }
    }

    /// Connects from this address.
    pub(crate) async fn dial(from: IpAddr, to: SocketAddr, ear: &Ear) -> Self {
        let socket = if from.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
        let socket = socket.unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::new(socket.connect(to).await.unwrap(), ear)
    }

    pub(crate) async fn connect_tls(self, tls: &Arc<ClientConfig>, domain: &str) -> Self {
        let name = ServerName::try_from(domain.to_owned()).unwrap();
        let io = TlsConnector::from(Arc::clone(tls)).connect(name, self.io).await.unwrap();
        Self { io: Box::new(io), ..self }
    }

    pub(crate) async fn accept_tls(self, tls: Arc<ServerConfig>) -> Option<Self> {
        let io = TlsAcceptor::from(tls).accept(self.io).await.ok()?;
        Some(Self { io: Box::new(io), ..self })
    }

    /// Whoever has been cut off notices when he listens.
    pub(crate) async fn say(&mut self, words: &str) {
        let _ = self.io.write_all(words.as_bytes()).await;
        let _ = self.io.flush().await;
    }

    /// Listens until one of these words has come; which, and everything up to its end. `None` at the end of the connection.
    pub(crate) async fn hear_one<'w>(&mut self, words: &[&'w str]) -> Option<(&'w str, String)> {
        loop {
            let found = words.iter().filter_map(|word| Some((self.unread.find(word)? + word.len(), *word))).min();
            if let Some((end, word)) = found {
                return Some((word, self.unread.drain(..end).collect()));
            }
            let mut octets = [0; 4096];
            let length = self.io.read(&mut octets).await.ok().filter(|length| *length > 0)?;
            let came = String::from_utf8_lossy(&octets[..length]);
            self.unread.push_str(&came);
            self.ear.0.send_modify(|heard| heard.push_str(&came));
        }
    }

    /// The same where it has to come.
    pub(crate) async fn hear(&mut self, word: &str) -> String {
        let heard = self.hear_one(&[word]).await;
        heard.unwrap_or_else(|| panic!("no {word}, but {}", self.unread)).1
    }

    /// From here on everything that comes is heard at once.
    pub(crate) fn listen(self) -> Voice {
        let (mut coming, going) = tokio::io::split(self.io);
        let ear = self.ear.clone();
        tokio::spawn(async move {
            let mut octets = [0; 4096];
            while let Ok(length @ 1..) = coming.read(&mut octets).await {
                let came = String::from_utf8_lossy(&octets[..length]);
                self.ear.0.send_modify(|heard| heard.push_str(&came));
            }
        });
        Voice { going, ear }
    }
}

/// Somebody who says something, and hears everything.
pub(crate) struct Voice {
    going: WriteHalf<Box<dyn Io>>,
    pub(crate) ear: Ear,
}

impl Voice {
    pub(crate) async fn say(&mut self, words: &str) {
        let _ = self.going.write_all(words.as_bytes()).await;
        let _ = self.going.flush().await;
    }
}

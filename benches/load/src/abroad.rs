//! Other domains, as many as are wanted, all in this process: they open streams to a server, and take the streams that it
//! opens to them.
//!
//! All of them have one certificate, with a wildcard. They authenticate by EXTERNAL, and believe whoever comes.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::{ask, read_more};
use crate::tls::{self, Certificate};

/// The domain below which all of them are.
pub const ZONE: &str = "abroad.bench";

/// No stream may take longer to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// What they are called.
pub fn name(number: usize) -> String {
    format!("d{number}.{ZONE}")
}

/// Everything that they have in common.
#[derive(Clone)]
pub struct Abroad {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// How many streams have been opened to them, and how many stanzas have come on those.
    pub opened: Rc<Cell<usize>>,
    pub stanzas: Rc<Cell<usize>>,
}

/// A stream that one of them has opened.
pub struct Stream {
    io: Box<TlsStream<TcpStream>>,
}

impl Abroad {
    pub fn new(certificate: &Certificate) -> io::Result<Self> {
        let (client, server) = (tls::client_with(certificate)?, tls::server(certificate)?);
        Ok(Self { client, server, opened: Rc::default(), stanzas: Rc::default() })
    }

    /// Where a DNS server says that they are.
    pub fn records(count: usize, port: u16) -> HashMap<String, u16> {
        (0..count).map(|number| (name(number), port)).collect()
    }

    /// Opens a stream from the domain `ours`, at the address `from`, to the domain `theirs` at `server`.
    pub async fn open(&self, server: SocketAddr, from: IpAddr, ours: &str, theirs: &str) -> io::Result<Stream> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{ours} has got no stream to {theirs}"));
        timeout(PATIENCE, self.open_proven(server, from, ours, theirs)).await.map_err(|_| late())?
    }

    async fn open_proven(&self, server: SocketAddr, from: IpAddr, ours: &str, theirs: &str) -> io::Result<Stream> {
        let mut stream = self.open_unproven(server, from, ours, theirs).await?;
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{}</auth>",
            STANDARD.encode(ours)
        );
        let mut rest = Vec::new();
        ask(&mut stream.io, &mut rest, &auth, "<success").await?;
        // Features, with or without content.
        ask(&mut stream.io, &mut rest, &header(ours, theirs), "features").await?;
        Ok(stream)
    }

    /// The same up to the features inside TLS.
    pub async fn open_unproven(
        &self,
        server: SocketAddr,
        from: IpAddr,
        ours: &str,
        theirs: &str,
    ) -> io::Result<Stream> {
        let header = header(ours, theirs);
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
        let mut socket = socket.connect(server).await?;
        let mut rest = Vec::new();
        ask(&mut socket, &mut rest, &header, "</stream:features>").await?;
        ask(&mut socket, &mut rest, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed").await?;
        let name = ServerName::try_from(theirs.to_owned()).map_err(io::Error::other)?;
        let mut io = Box::new(TlsConnector::from(Arc::clone(&self.client)).connect(name, socket).await?);
        rest.clear();
        ask(&mut io, &mut rest, &header, "</stream:features>").await?;
        Ok(Stream { io })
    }

    /// Takes the streams that servers open, for ever.
    pub async fn listen(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (socket, _) = listener.accept().await?;
            let it = self.clone();
            spawn_local(async move {
                // A server that goes away takes its streams with it.
                let _ = it.receive(socket).await;
            });
        }
    }

    /// The same, but nobody reads what comes on them.
    pub async fn listen_deaf(self, listener: TcpListener) -> io::Result<()> {
        let mut open = Vec::new();
        loop {
            let (socket, _) = listener.accept().await?;
            // One after the other: whoever is slow harms only whoever is deaf.
            open.extend(self.negotiate(socket).await.ok());
        }
    }

    async fn receive(&self, socket: TcpStream) -> io::Result<()> {
        let mut io = self.negotiate(socket).await?;
        let mut counter = crate::count::Counter::new(" id=");
        let mut buffer = vec![0; 4096];
        loop {
            let read = io.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.stanzas.set(self.stanzas.get() + counter.count(&buffer[..read]));
        }
    }

    async fn negotiate(&self, mut socket: TcpStream) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        socket.set_nodelay(true)?;
        let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
        greet(&mut socket, starttls).await?;
        await_word(&mut socket, "<starttls").await?;
        socket.write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        let mut io = TlsAcceptor::from(Arc::clone(&self.server)).accept(socket).await?;
        let external =
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
        greet(&mut io, external).await?;
        await_word(&mut io, "<auth").await?;
        io.write_all(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await?;
        greet(&mut io, "").await?;
        self.opened.set(self.opened.get() + 1);
        Ok(io)
    }
}

impl Stream {
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        self.io.write_all(text.as_bytes()).await?;
        self.io.flush().await
    }

    /// Whatever comes next.
    pub async fn hear(&mut self) -> io::Result<()> {
        read_more(&mut self.io, &mut Vec::new()).await
    }

    pub async fn shut(mut self) {
        let _ = self.io.shutdown().await;
    }
}

fn header(ours: &str, theirs: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{ours}' to='{theirs}' version='1.0'>"
    )
}

/// Answers a header with one of ours and these features.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, features: &str) -> io::Result<()> {
    let header = await_word(io, "<stream:stream").await?;
    let attribute = |name: &str| {
        let (_, rest) = header.split_once(&format!(" {name}="))?;
        let quote = rest.chars().next()?;
        rest[1..].split(quote).next().map(str::to_owned)
    };
    let (from, to) = (attribute("to").unwrap_or_default(), attribute("from").unwrap_or_default());
    let answer = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' id='s' from='{from}' to='{to}' version='1.0'>\
         <stream:features>{features}</stream:features>"
    );
    io.write_all(answer.as_bytes()).await?;
    io.flush().await
}

/// Reads to the end of the tag that begins so.
async fn await_word<S: AsyncRead + Unpin>(io: &mut S, word: &str) -> io::Result<String> {
    let mut all = Vec::new();
    loop {
        let begin = memchr::memmem::find(&all, word.as_bytes());
        if begin.is_some_and(|begin| all[begin..].contains(&b'>')) {
            return Ok(String::from_utf8_lossy(&all).into_owned());
        }
        read_more(io, &mut all).await?;
    }
}

//! A client: connects, authenticates, binds; afterwards it is a stream of bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scram;

/// A server that has nothing more to say says nothing for so long.
const QUIET: Duration = Duration::from_secs(1);

/// No single login may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server listens and how it is addressed.
#[derive(Debug, Clone)]
pub struct Site {
    pub domain: String,
    pub start_tls: SocketAddr,
    pub direct_tls: SocketAddr,
    /// The address from which its clients come, if it matters.
    pub from: Option<IpAddr>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    StartTls,
    Direct,
}

/// What the clients of a scenario share.
#[derive(Clone)]
pub struct Kit {
    pub tls: Arc<ClientConfig>,
    pub cache: Rc<scram::Cache>,
}

/// A connection after its handshake.
pub struct Session {
    stream: Box<TlsStream<TcpStream>>,
    /// What came behind the last answer.
    rest: Vec<u8>,
    peer: Peer,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Xmpp,
    Floor,
}

impl Session {
    /// Logs in and binds the resource `r`.
    pub async fn login(site: &Site, begin: Begin, user: &str, kit: &Kit) -> io::Result<Self> {
        let done = in_time(Box::pin(Self::negotiate(site, begin, user, kit))).await;
        done.map_err(|error| io::Error::new(error.kind(), format!("{user}@{}: {error}", site.domain)))
    }

    /// Says everything in one breath, over direct TLS; also gives what was answered up to `<success/>`.
    pub async fn authenticate(site: &Site, request: &str, kit: &Kit) -> io::Result<(Self, String)> {
        in_time(Box::pin(async {
            let stream = encrypt(connect(site.from, site.direct_tls).await?, &site.domain, kit).await?;
            let mut session = Self { stream, rest: Vec::new(), peer: Peer::Xmpp };
            let answer = session.ask(&(header(site) + request), "</success>").await?;
            Ok((session, answer))
        }))
        .await
    }

    /// What is offered next.
    pub async fn features(&mut self) -> io::Result<String> {
        self.ask("", "</stream:features>").await
    }

    async fn negotiate(site: &Site, begin: Begin, user: &str, kit: &Kit) -> io::Result<Self> {
        let header = header(site);
        let socket = match begin {
            Begin::Direct => connect(site.from, site.direct_tls).await?,
            Begin::StartTls => {
                let mut socket = connect(site.from, site.start_tls).await?;
                let mut rest = Vec::new();
                ask(&mut socket, &mut rest, &header, "</stream:features>").await?;
                let request = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
                ask(&mut socket, &mut rest, request, "<proceed").await?;
                socket
            }
        };
        let mut session =
            Self { stream: encrypt(socket, &site.domain, kit).await?, rest: Vec::new(), peer: Peer::Xmpp };
        session.ask(&header, "</stream:features>").await?;
        let first = scram::first(user);
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{}</auth>",
            STANDARD.encode(format!("n,,{first}"))
        );
        let challenge = session.ask(&auth, "</challenge>").await?;
        let challenge = text(&challenge).and_then(|text| STANDARD.decode(text).ok());
        let challenge = challenge.and_then(|bytes| String::from_utf8(bytes).ok());
        let challenge = challenge.ok_or_else(|| io::Error::other("the challenge is not text in Base64"))?;
        let answer = STANDARD.encode(scram::answer(&kit.cache, &first, &challenge)?);
        let response = format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{answer}</response>");
        session.ask(&response, "</success>").await?;
        session.ask(&header, "</stream:features>").await?;
        let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource>\
                    </bind></iq>";
        let bound = session.ask(bind, "</iq>").await?;
        if !bound.contains(&format!("{user}@{}/r", site.domain)) {
            return Err(io::Error::other(format!("not bound: {bound}")));
        }
        Ok(session)
    }

    /// Connects to a floor, in this role and with this number.
    pub async fn floor(site: &Site, role: u8, number: u64, kit: &Kit) -> io::Result<Self> {
        let greet = async {
            let socket = connect(site.from, site.direct_tls).await?;
            let mut stream = encrypt(socket, &site.domain, kit).await?;
            let mut hello = vec![role];
            hello.extend_from_slice(&number.to_be_bytes());
            stream.write_all(&hello).await?;
            stream.flush().await?;
            stream.read_u8().await?;
            Ok(Self { stream, rest: Vec::new(), peer: Peer::Floor })
        };
        in_time(Box::pin(greet)).await
    }

    /// Asks for the roster and becomes available.
    pub async fn appear(&mut self) -> io::Result<()> {
        let roster = "<iq type='get' id='roster-of-mine'><query xmlns='jabber:iq:roster'/></iq><presence/>";
        self.ask(roster, "roster-of-mine").await.map(drop)
    }

    /// Turns on stream management (XEP-0198); from here on the session counts.
    pub async fn enable_acks(&mut self) -> io::Result<()> {
        if self.peer == Peer::Floor {
            return Ok(());
        }
        // The own presence must not come behind the answer on one server and before it on another.
        self.synchronise().await?;
        self.ask("<enable xmlns='urn:xmpp:sm:3'/>", "<enabled").await.map(drop)
    }

    /// Turns on stream management for a session that may be resumed.
    pub async fn enable_resumption(&mut self) -> io::Result<()> {
        self.ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled").await.map(drop)
    }

    /// Asks until the server has acknowledged so many stanzas.
    pub async fn acknowledged(&mut self, count: usize) -> io::Result<()> {
        let wanted = [format!("h='{count}'"), format!("h=\"{count}\"")];
        loop {
            let answer = self.ask("<r xmlns='urn:xmpp:sm:3'/>", "/>").await?;
            let answer = answer.rsplit_once("<a ").map_or("", |(_, answer)| answer);
            if wanted.iter().any(|wanted| answer.contains(wanted.as_str())) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Becomes available and takes what comes, until nothing has come for a second.
    pub async fn gather(&mut self) -> io::Result<String> {
        self.send(b"<presence/>").await?;
        let mut all = std::mem::take(&mut self.rest);
        while let Ok(read) = timeout(QUIET, self.stream.read_buf(&mut all)).await {
            if read? == 0 {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// What comes until the stream ends, however it ends.
    pub async fn rest(&mut self) -> String {
        let mut all = std::mem::take(&mut self.rest);
        while self.stream.read_buf(&mut all).await.is_ok_and(|read| read > 0) {}
        String::from_utf8_lossy(&all).into_owned()
    }

    /// How many messages the account's archive holds (XEP-0313 with an empty page, XEP-0059).
    pub async fn archived(&mut self) -> io::Result<u64> {
        let query = "<iq type='set' id='archived'><query xmlns='urn:xmpp:mam:2'>\
                     <set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set></query></iq>";
        let answer = self.ask(query, "</iq>").await?;
        let count = answer.split_once("<count>").and_then(|(_, rest)| rest.split_once('<')?.0.parse().ok());
        count.ok_or_else(|| io::Error::other(format!("the archive does not tell how much it holds: {answer}")))
    }

    /// The answer to a query of the archive, with all results.
    pub async fn query(&mut self, query: &str) -> io::Result<String> {
        self.ask(&format!("<iq type='set' id='query'>{query}</iq>"), "</iq>").await
    }

    /// Waits until the server has handled everything sent so far; what comes in between is dropped.
    pub async fn synchronise(&mut self) -> io::Result<()> {
        if self.peer == Peer::Floor {
            return Ok(());
        }
        self.hear().await.map(drop)
    }

    /// The same, and gives what has come in between.
    pub async fn hear(&mut self) -> io::Result<String> {
        let roster = "<iq type='get' id='is-all-done'><query xmlns='jabber:iq:roster'/></iq>";
        self.ask(roster, "is-all-done").await
    }

    /// Ends the stream and waits for the server to do so as well.
    pub async fn close(mut self) -> io::Result<()> {
        if self.peer == Peer::Floor {
            return self.stream.shutdown().await;
        }
        if self.send(b"</stream:stream>").await.is_err() {
            // It has gone already.
            return Ok(());
        }
        let mut scratch = [0; 4096];
        while timeout(PATIENCE, self.stream.read(&mut scratch)).await.is_ok_and(|read| read.is_ok_and(|it| it > 0)) {}
        Ok(())
    }

    /// Whether the TLS session was resumed.
    pub fn resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Writes bytes and flushes them.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn ask(&mut self, request: &str, until: &str) -> io::Result<String> {
        ask(&mut self.stream, &mut self.rest, request, until).await
    }

    /// Gives what has come to `take`, until nothing more is there; an error at the end of the stream.
    pub fn poll_input(&mut self, context: &mut Context<'_>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.rest.is_empty() {
            take(&std::mem::take(&mut self.rest));
        }
        let mut scratch = [const { std::mem::MaybeUninit::uninit() }; 16 * 1024];
        loop {
            let mut space = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut space) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if space.filled().is_empty() => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the stream"));
                }
                Poll::Ready(Ok(())) if space.filled().ends_with(b"</stream:stream>") => {
                    let words = space.filled();
                    let last = String::from_utf8_lossy(&words[words.len().saturating_sub(400)..]);
                    return Err(io::Error::other(format!("the server ended the stream: {last}")));
                }
                Poll::Ready(Ok(())) => take(space.filled()),
            }
        }
    }

    /// Writes what the transport takes of `bytes` and flushes.
    pub fn poll_output(&mut self, context: &mut Context<'_>, bytes: &[u8], sent: &mut usize) -> Poll<io::Result<()>> {
        while *sent < bytes.len() {
            *sent += std::task::ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[*sent..]))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

fn header(site: &Site) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
        site.domain
    )
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects, from an address if that matters.
pub async fn connect(from: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(address).await
}

/// Begins TLS.
pub async fn encrypt(socket: TcpStream, domain: &str, kit: &Kit) -> io::Result<Box<TlsStream<TcpStream>>> {
    let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(&kit.tls)).connect(name, socket).await?))
}

/// Sends `request` and reads up to and including `until`, which is returned.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    rest: &mut Vec<u8>,
    request: &str,
    until: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    loop {
        if let Some(at) = memchr::memmem::find(rest, until.as_bytes()) {
            let answer = rest.drain(..at + until.len()).collect();
            // An element that was recognised by its beginning is taken to its end.
            if !until.ends_with('>') {
                while !rest.contains(&b'>') {
                    read_more(stream, rest).await?;
                }
                let end = memchr::memchr(b'>', rest).map_or(0, |at| at + 1);
                rest.drain(..end);
            }
            return String::from_utf8(answer).map_err(io::Error::other);
        }
        let so_far = String::from_utf8_lossy(rest);
        if ["<failure", "<stream:error", "</stream:stream>"].iter().any(|bad| so_far.contains(bad)) {
            return Err(io::Error::other(so_far.into_owned()));
        }
        read_more(stream, rest).await?;
    }
}

pub async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, into: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(into).await? == 0 {
        let end = format!("the server closed the stream after {:?}", String::from_utf8_lossy(into));
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, end));
    }
    Ok(())
}

/// The text between the last start tag and the end tag behind it.
fn text(element: &str) -> Option<&str> {
    element.rsplit_once("</")?.0.rsplit_once('>').map(|(_, text)| text)
}

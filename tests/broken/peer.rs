//! A server that misbehaves in one way, and in no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::VERONA;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Everything is as it should be.
    Honest,
    /// It accepts connections.
    Silent,
    /// It begins a header and sends one octet after the other.
    SlowLoris,
    ClosesAfterFeatures,
    NoStarttls,
    /// Whoever is in between takes the offer out of the features.
    Stripped,
    OldTls,
    NoCommonCipher,
    /// It offers no way to authenticate to whoever shows no certificate that it likes.
    OnlyExternal,
    DialbackRefused,
    /// It says that our key is wrong, and that any other key is right.
    DialbackLies,
    /// It gives its streams no id.
    NoStreamId,
    /// Its answers about keys are for another stream.
    OtherAnswer,
    /// It asks about our key with the id of another stream.
    OtherStreamId,
}

/// One that has no certificate problems of its own: those are in `tls`.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) domain: String,
    pub(crate) manner: Manner,
    pub(crate) tls: Arc<ServerConfig>,
    /// Whoever wants to know what arrives.
    pub(crate) arrived: UnboundedSender<String>,
    /// The way to the server under test, for whoever has a question to it.
    pub(crate) back: Option<Back>,
}

/// The way to the server under test.
#[derive(Clone)]
pub(crate) struct Back {
    pub(crate) s2s: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
}

const STREAMS: &str = "http://etherx.jabber.org/streams";
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

impl Peer {
    /// Serves connections until the test ends.
    pub(crate) fn serve(self, listener: TcpListener) {
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let peer = self.clone();
                // Whatever the other side minds, the test hears from there.
                tokio::spawn(async move { drop(Box::pin(peer.converse(socket)).await) });
            }
        });
    }

    async fn converse(self, mut socket: TcpStream) -> io::Result<()> {
        match self.manner {
            Manner::Silent => return rest(&mut socket).await,
            Manner::SlowLoris => return drip(&mut socket).await,
            _ => {}
        }
        until(&mut socket, ">", "<stream:stream").await?;
        socket.write_all(self.header("plain").as_bytes()).await?;
        let offer = match self.manner {
            Manner::NoStarttls | Manner::Stripped => String::new(),
            _ => format!("<starttls xmlns='{TLS}'><required/></starttls>"),
        };
        socket.write_all(format!("<stream:features>{offer}</stream:features>").as_bytes()).await?;
        match self.manner {
            Manner::ClosesAfterFeatures => return socket.shutdown().await,
            Manner::NoStarttls => {
                until(&mut socket, "/>", "<starttls").await?;
                let error = "<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                             </stream:error></stream:stream>";
                return socket.write_all(error.as_bytes()).await;
            }
            _ => {}
        }
        until(&mut socket, "/>", "<starttls").await?;
        socket.write_all(format!("<proceed xmlns='{TLS}'/>").as_bytes()).await?;
        match self.manner {
            Manner::OldTls => return Box::pin(answer_hello(&mut socket, &server_hello_of_tls_1_1())).await,
            // A fatal alert: handshake_failure (RFC 5246 §7.2).
            Manner::NoCommonCipher => return Box::pin(answer_hello(&mut socket, &[21, 3, 3, 0, 2, 2, 40])).await,
            _ => {}
        }
        let stream = TlsAcceptor::from(Arc::clone(&self.tls)).accept(socket).await?;
        self.inside(stream).await
    }

    async fn inside(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        until(&mut stream, ">", "<stream:stream").await?;
        stream.write_all(self.header("secured").as_bytes()).await?;
        let external = format!("<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>");
        let dialback = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
        let offered = match self.manner {
            Manner::OnlyExternal => String::new(),
            Manner::DialbackRefused | Manner::DialbackLies | Manner::NoStreamId | Manner::OtherStreamId => {
                dialback.to_owned()
            }
            _ => external + dialback,
        };
        stream.write_all(format!("<stream:features>{offered}</stream:features>").as_bytes()).await?;
        let mut heard = String::new();
        loop {
            let mut octets = [0; 4096];
            let length = stream.read(&mut octets).await?;
            if length == 0 {
                return Ok(());
            }
            heard.push_str(&String::from_utf8_lossy(&octets[..length]));
            let said = std::mem::take(&mut heard);
            if said.contains("<message") {
                let _ = self.arrived.send(self.domain.clone());
            } else if said.ends_with("</stream:stream>") {
                stream.write_all(b"</stream:stream>").await?;
                return stream.shutdown().await;
            } else if self.manner == Manner::OtherStreamId && said.contains("</db:result>") {
                let verdict = self.ask(&said).await?;
                let answer = format!("<db:result from='{}' to='{VERONA}' type='{verdict}'/>", self.domain);
                stream.write_all(answer.as_bytes()).await?;
            } else if let Some(answer) = self.answer(&said) {
                stream.write_all(answer.as_bytes()).await?;
            } else {
                heard = said;
            }
        }
    }

    /// Asks the server under test about the key that it has sent, with another id than that of the stream; what it says.
    async fn ask(&self, said: &str) -> io::Result<String> {
        let (_, key) = said.trim_end_matches("</db:result>").rsplit_once('>').unwrap();
        let Back { s2s, tls } = self.back.clone().unwrap();
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' \
             xmlns:db='jabber:server:dialback' from='{}' to='{VERONA}' version='1.0'>",
            self.domain
        );
        let mut socket = TcpStream::connect(s2s).await?;
        socket.write_all(header.as_bytes()).await?;
        until(&mut socket, ">", "<stream:features").await?;
        socket.write_all(format!("<starttls xmlns='{TLS}'/>").as_bytes()).await?;
        until(&mut socket, ">", "<proceed").await?;
        let name = ServerName::try_from(VERONA).map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(tls).connect(name, socket).await?;
        let question = format!("<db:verify from='{}' to='{VERONA}' id='another'>{key}</db:verify>", self.domain);
        stream.write_all(header.as_bytes()).await?;
        until(&mut stream, ">", "<stream:features").await?;
        stream.write_all(question.as_bytes()).await?;
        let answer = until(&mut stream, ">", "<db:verify").await?;
        let (_, verdict) = answer.rsplit_once("type='").unwrap();
        Ok(verdict.split('\'').next().unwrap_or_default().to_owned())
    }

    /// What it says to this, if it is complete.
    fn answer(&self, said: &str) -> Option<String> {
        let between = |before: &str, after: &str| Some(said.split_once(before)?.1.split_once(after)?.0.to_owned());
        if said.contains("</auth>") {
            return Some(format!("<success xmlns='{SASL}'/>"));
        }
        if said.contains("<stream:stream") && said.ends_with('>') {
            return Some(self.header("proven") + "<stream:features/>");
        }
        let addresses = || {
            let (to, from) = (between("from='", "'")?, between("to='", "'")?);
            Some(format!("from='{from}' to='{to}'"))
        };
        if said.contains("</db:result>") {
            let refusal = "type='error'><error type='cancel'>\
                 <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>";
            let answer = if self.manner == Manner::DialbackRefused { refusal } else { "type='invalid'/>" };
            return Some(format!("<db:result {} {answer}", addresses()?));
        }
        if said.contains("</db:verify>") {
            let id = if self.manner == Manner::OtherAnswer { "other".to_owned() } else { between("id='", "'")? };
            let verdict = if self.manner == Manner::DialbackLies { "valid" } else { "invalid" };
            return Some(format!("<db:verify {} id='{id}' type='{verdict}'/>", addresses()?));
        }
        None
    }

    fn header(&self, layer: &str) -> String {
        // Who declares it offers it (XEP-0220 §2.4.1).
        let dialback = if self.manner == Manner::OnlyExternal { "" } else { "xmlns:db='jabber:server:dialback'" };
        let id =
            if self.manner == Manner::NoStreamId { String::new() } else { format!("id='{layer}-{}'", self.domain) };
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' {dialback} from='{}' \
             {id} version='1.0'>",
            self.domain
        )
    }
}

/// Reads until something has come that contains `begin` and ends with `end`; what that was.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str, begin: &str) -> io::Result<String> {
    let mut heard = String::new();
    while !(heard.ends_with(end) && heard.contains(begin)) {
        heard.push(char::from(stream.read_u8().await?));
    }
    Ok(heard)
}

/// Reads until the other side ends.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut octets = [0; 1024];
    while stream.read(&mut octets).await? > 0 {}
    Ok(())
}

async fn drip(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let header = format!("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' to='");
    for octet in header.bytes().chain(std::iter::repeat(b'a')) {
        stream.write_u8(octet).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits for the first words of TLS and says this to them.
async fn answer_hello(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut octets = [0; 16 * 1024];
    if stream.read(&mut octets).await? == 0 {
        return Ok(());
    }
    stream.write_all(answer).await?;
    rest(stream).await
}

/// What a server says that knows TLS 1.1 and nothing newer (RFC 4346 §7.4.1.3).
fn server_hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend_from_slice(&[7; 32]);
    // No session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    body.extend_from_slice(&[0, 0, 0x2f, 0]);
    let mut message = vec![2, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(body);
    let mut record = vec![22, 3, 2, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

/// An address at which nothing ever answers: whoever listens there has as many in his queue as it holds, and takes none.
pub(crate) async fn black_hole(address: SocketAddr) -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = if address.is_ipv6() { tokio::net::TcpSocket::new_v6() } else { tokio::net::TcpSocket::new_v4() };
    let socket = socket.unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // Those who come when the queue is full are not even refused.
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (address, waiting, listener)
}

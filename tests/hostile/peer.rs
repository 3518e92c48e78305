//! One connection whose bytes the test chooses.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use comity::net::Transport;
use comity::stanza::Stanza;
use comity::stream::{ContentNamespace, Event, Framing, Header, Limits, Reader, STREAMS_NS, StreamError};
use comity::xml::Element;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

/// How long a silence lasts, in simulated time, until it counts as one; longer than the server waits for
/// a peer to end its side of a stream.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is sent in one TLS record; a server may be wary of larger ones from strangers.
const RECORD: usize = 4000;

/// A connection to the server under test.
pub(crate) struct Peer {
    transport: Transport,
    serving: JoinHandle<()>,
    reader: Reader,
    input: Vec<u8>,
    /// Everything that the server has written since the stream began.
    pub(crate) heard: Vec<u8>,
}

/// What the server said.
#[derive(Debug)]
pub(crate) enum Said {
    Header(Header),
    Features(Element),
    Nonza(Element),
    Stanza(Stanza<'static>),
    Error(StreamError),
    /// The end tag of the stream.
    Closing,
    /// The end of the connection.
    End,
    /// Nothing for a while.
    Nothing,
}

impl Peer {
    /// Connects `io`, whose other end `serving` serves.
    pub(crate) fn new(
        io: DuplexStream,
        content: ContentNamespace,
        serving: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            transport: Transport::plain(io, None),
            serving: tokio::spawn(serving),
            reader: Reader::new(Framing::Stream, content, Limits::OWN),
            input: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Sends bytes, without waiting in between. A server that has closed is noticed at the next read.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        for record in bytes.as_ref().chunks(RECORD) {
            let _ = self.transport.write_all(record).await;
        }
    }

    /// Sends bytes in records as large as TLS allows.
    pub(crate) async fn send_at_once(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.transport.write_all(bytes.as_ref()).await;
    }

    /// Sends every byte singly and lets the server read it before the next.
    pub(crate) async fn trickle(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// A new stream begins.
    pub(crate) fn restart(&mut self) {
        self.reader.restart();
        self.heard.clear();
        self.input.clear();
    }

    /// Negotiates TLS.
    pub(crate) async fn secure(&mut self, tls: &Arc<rustls::ClientConfig>, domain: &str) -> Result<(), String> {
        let name = comity::net::tls::server_name(domain).ok_or("no name for TLS")?;
        let plain = std::mem::replace(&mut self.transport, Transport::plain(tokio::io::empty(), None));
        self.transport = plain.connect_tls(Arc::clone(tls), name).await.map_err(|error| error.to_string())?;
        self.restart();
        Ok(())
    }

    /// Negotiates TLS as the side that was connected to.
    pub(crate) async fn secure_as_server(&mut self, tls: Arc<rustls::ServerConfig>) -> Result<(), String> {
        let plain = std::mem::replace(&mut self.transport, Transport::plain(tokio::io::empty(), None));
        self.transport = plain.accept_tls(tls).await.map_err(|error| error.to_string())?;
        self.restart();
        Ok(())
    }

    /// What channel binding takes from TLS (RFC 9266).
    pub(crate) fn exporter(&self) -> Option<[u8; 32]> {
        self.transport.exporter()
    }

    /// What the server says next.
    pub(crate) async fn next(&mut self) -> Result<Said, String> {
        loop {
            let step = self.reader.next(&self.input).map_err(|error| format!("the server wrote bad XML: {error}"))?;
            let (consumed, event) = (step.consumed, step.event.map(Event::into_owned));
            self.input.drain(..consumed);
            match event {
                None => {}
                Some(Event::Open(header)) => return Ok(Said::Header(header)),
                Some(Event::Stanza(stanza)) => return Ok(Said::Stanza(stanza)),
                Some(Event::Close) => return Ok(Said::Closing),
                Some(Event::Nonza(element)) if element.is("error", STREAMS_NS) => {
                    return Ok(Said::Error(StreamError::from_element(&element)));
                }
                Some(Event::Nonza(element)) if element.is("features", STREAMS_NS) => {
                    return Ok(Said::Features(element));
                }
                Some(Event::Nonza(element)) => return Ok(Said::Nonza(element)),
                Some(Event::Rejected(rejected)) => return Err(format!("the server wrote {rejected:?}")),
            }
            match tokio::time::timeout(PATIENCE, self.read()).await {
                Err(_) => return Ok(Said::Nothing),
                Ok(0) => return Ok(Said::End),
                Ok(_) => {}
            }
        }
    }

    async fn read(&mut self) -> usize {
        let before = self.input.len();
        let read = self.transport.drain(&mut self.input).await.unwrap_or(0);
        self.heard.extend_from_slice(self.input.get(before..).unwrap_or_default());
        read
    }

    /// Everything up to the end of the connection, whatever it is; `None` if it does not end.
    pub(crate) async fn rest(&mut self) -> Option<Vec<u8>> {
        while tokio::time::timeout(PATIENCE, self.read()).await.ok()? > 0 {}
        Some(std::mem::take(&mut self.input))
    }

    /// Waits for the next element that is no stanza and checks its name.
    pub(crate) async fn hear(&mut self, name: &str) -> Result<Element, String> {
        match self.next().await? {
            Said::Nonza(element) if element.name() == name => Ok(element),
            Said::Features(element) if name == "features" => Ok(element),
            other => Err(format!("instead of <{name}/>: {other:?}")),
        }
    }

    /// Waits for the next stanza.
    pub(crate) async fn stanza(&mut self) -> Result<Stanza<'static>, String> {
        match self.next().await? {
            Said::Stanza(stanza) => Ok(stanza),
            other => Err(format!("instead of a stanza: {other:?}")),
        }
    }

    /// Sends a stream header and waits for the answer and the features.
    pub(crate) async fn open(&mut self, header: &str) -> Result<Header, String> {
        self.restart();
        self.send(header).await;
        let Said::Header(answer) = self.next().await? else { return Err("no header came back".into()) };
        self.hear("features").await?;
        Ok(answer)
    }

    /// Cuts the connection and waits until the server has let go of it.
    pub(crate) async fn cut(self) -> Result<(), String> {
        let Self { transport, serving, .. } = self;
        drop(transport);
        gone(serving).await
    }

    /// Waits until the server has let go of the connection by itself.
    pub(crate) async fn gone(self) -> Result<(), String> {
        gone(self.serving).await
    }
}

async fn gone(serving: JoinHandle<()>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, serving).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("the server's task failed: {error}")),
        Err(_) => Err("the server holds on to the connection".into()),
    }
}

/// Whether an independent parser can read what the server wrote on one stream, of which the end may be missing.
pub(crate) fn well_formed(bytes: &[u8]) -> Result<(), String> {
    use rxml::Parse;
    let mut parser = rxml::Parser::new();
    let mut rest = bytes;
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return Ok(()),
            Err(rxml::error::EndOrError::Error(error)) => {
                return Err(format!("rxml: {error} in what the server wrote: {}", String::from_utf8_lossy(bytes)));
            }
        }
    }
}

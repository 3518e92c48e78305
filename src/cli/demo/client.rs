//! A small client: STARTTLS, SCRAM-SHA-256, a resource, then stanzas.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::accounts::credentials::{Password, ScramHash};
use crate::accounts::sasl::channel_binding::BindingType;
use crate::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use crate::jid::Jid;
use crate::negotiation::bind::BIND_NS;
use crate::negotiation::features::TLS_NS;
use crate::negotiation::sasl_profile::{auth, data, response};
use crate::net::Transport;
use crate::net::tls::server_name;
use crate::random;
use crate::stanza::{CLIENT_NS, IqType, Kind, Stanza};
use crate::stream::{CLOSE, ContentNamespace, Event, Framing, HeaderFields, Limits, Reader, write_header};
use crate::xml::Element;

/// How long the demonstration waits for any one thing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream to a server of the demonstration.
pub(super) struct Client {
    transport: Transport,
    reader: Reader,
    input: Vec<u8>,
    /// Stanzas that came while something else was waited for.
    passed: Vec<Stanza<'static>>,
}

impl Client {
    /// Connects, authenticates, binds.
    pub(super) async fn log_in(
        server: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
        jid: &Jid,
        password: &str,
    ) -> Result<Self, String> {
        let socket = TcpStream::connect(server).await.map_err(words)?;
        let reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::OWN);
        let mut client = Self { transport: Transport::tcp(socket), reader, input: Vec::new(), passed: Vec::new() };
        client.open(jid.domain()).await?;
        client.send_element(&Element::new("starttls", TLS_NS)).await?;
        client.element("proceed").await?;
        let name = server_name(jid.domain()).ok_or("no name for TLS")?;
        let plain = std::mem::replace(&mut client.transport, Transport::plain(tokio::io::empty(), None));
        client.transport = plain.connect_tls(tls, name).await.map_err(words)?;
        client.open(jid.domain()).await?;
        client.authenticate(jid, password).await?;
        client.open(jid.domain()).await?;
        client.bind(jid).await?;
        Ok(client)
    }

    async fn authenticate(&mut self, jid: &Jid, password: &str) -> Result<(), String> {
        let password = Password::prepare(password).map_err(words)?;
        let exporter = self.transport.exporter().ok_or("this connection has no channel binding")?;
        let binding = ClientBinding::Bound(BindingType::TlsExporter, exporter.to_vec());
        let user = jid.local().unwrap_or_default();
        let scram = ScramClient::new(ScramHash::Sha256, user, password, binding, &random::token());
        self.send_element(&auth("SCRAM-SHA-256-PLUS", Some(scram.first().as_bytes()))).await?;
        let challenge = message(&self.element("challenge").await?)?;
        let (last, expected) = scram.respond(&challenge).map_err(words)?;
        self.send_element(&response(last.as_bytes())).await?;
        let success = message(&self.element("success").await?)?;
        expected.verify(&success).map_err(words)
    }

    async fn bind(&mut self, jid: &Jid) -> Result<(), String> {
        let resource = Element::new("resource", BIND_NS).with_text(jid.resource().unwrap_or_default());
        let bind = Element::new("bind", BIND_NS).with_child(resource);
        self.send(&Stanza::new(Kind::Iq(IqType::Set)).id("bind").payload(bind)).await?;
        self.until("the resource was bound", |stanza| stanza.kind == Kind::Iq(IqType::Result)).await.map(drop)
    }

    async fn open(&mut self, domain: &str) -> Result<(), String> {
        self.reader.restart();
        let mut header = String::new();
        let fields = HeaderFields { to: Some(domain), from: None, id: None, version: Some((1, 0)), lang: Some("en") };
        write_header(&mut header, ContentNamespace::Client, &fields);
        self.transport.write_all(header.as_bytes()).await.map_err(words)?;
        match self.event().await? {
            Event::Open(_) => self.element("features").await.map(drop),
            other => Err(format!("instead of a stream the server began with {other:?}")),
        }
    }

    /// Sends a stanza.
    pub(super) async fn send(&mut self, stanza: &Stanza<'_>) -> Result<(), String> {
        self.transport.write_all(stanza.to_xml().as_bytes()).await.map_err(words)
    }

    /// Waits for a stanza that `wanted` picks; `what` says in words what it stands for.
    pub(super) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Stanza<'_>) -> bool,
    ) -> Result<Stanza<'static>, String> {
        let search = async {
            loop {
                match self.event().await? {
                    Event::Stanza(stanza) if wanted(&stanza) => return Ok(stanza),
                    Event::Stanza(stanza) => self.passed.push(stanza),
                    Event::Close => return Err("the server closed the stream".to_owned()),
                    _ => {}
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.map_err(|_| format!("within {} s it was not seen that {what}", PATIENCE.as_secs()))?
    }

    /// A stanza that came while something else was waited for.
    pub(super) fn earlier(&self, wanted: impl Fn(&Stanza<'_>) -> bool) -> Option<&Stanza<'static>> {
        self.passed.iter().find(|stanza| wanted(stanza))
    }

    /// Closes the stream and waits until the server has closed it too.
    pub(super) async fn close(mut self) -> Result<(), String> {
        self.transport.write_all(CLOSE.as_bytes()).await.map_err(words)?;
        let closing = async { while !matches!(self.event().await, Ok(Event::Close) | Err(_)) {} };
        tokio::time::timeout(PATIENCE, closing).await.map_err(words)
    }

    async fn send_element(&mut self, element: &Element) -> Result<(), String> {
        self.transport.write_all(element.to_xml(CLIENT_NS).as_bytes()).await.map_err(words)
    }

    async fn element(&mut self, name: &str) -> Result<Element, String> {
        match self.event().await? {
            Event::Nonza(element) if element.name() == name => Ok(element),
            other => Err(format!("instead of <{name}/> the server sent {other:?}")),
        }
    }

    async fn event(&mut self) -> Result<Event<'static>, String> {
        loop {
            let step = self.reader.next(&self.input).map_err(words)?;
            let (consumed, event) = (step.consumed, step.event.map(Event::into_owned));
            self.input.drain(..consumed);
            if let Some(event) = event {
                return Ok(event);
            }
            if self.transport.drain(&mut self.input).await.map_err(words)? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
    }
}

fn message(element: &Element) -> Result<Vec<u8>, String> {
    let message = data(element).map_err(|error| format!("{error:?}"))?;
    message.ok_or_else(|| format!("<{}/> without a message", element.name()))
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

//! A client that does no more than it is told.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::written::{Recorder, Side};
use crate::accounts::sasl::SASL_NS;
use crate::jid::Jid;
use crate::negotiation::bind::BIND_NS;
use crate::negotiation::features::TLS_NS;
use crate::negotiation::xep_0388_sasl2::SASL2_NS;
use crate::net::Transport;
use crate::stanza::CLIENT_NS;
use crate::stream::{CLOSE, ContentNamespace, Event, Framing, HeaderFields, Limits, Reader, write_header};
use crate::xml::Element;

/// A stream to a server.
pub struct Client {
    out: mpsc::UnboundedSender<Out>,
    incoming: mpsc::UnboundedReceiver<Element>,
    /// What has come and was not yet looked at.
    waiting: VecDeque<Element>,
    task: JoinHandle<()>,
    /// What the client needs to come back after a lost connection (XEP-0198).
    managed: Arc<Mutex<Managed>>,
    /// The full JID that the server bound.
    pub jid: Option<Jid>,
}

/// What a client knows of its session.
#[derive(Debug, Clone, Default)]
struct Managed {
    /// What the server calls it.
    name: Option<String>,
    /// Stanzas that have come since they are counted.
    handled: u32,
}

impl Managed {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Stanza(_) => self.handled = self.handled.wrapping_add(1),
            Event::Nonza(element) => {
                if let Some(enabled) = enabled(element) {
                    *self = Self { name: enabled.attribute("id").map(str::to_owned), handled: 0 };
                }
            }
            _ => {}
        }
    }
}

/// What says that stanzas are counted from here on; it may be in the answer to a login.
fn enabled(element: &Element) -> Option<&Element> {
    match element.name() {
        "enabled" => Some(element),
        "success" | "bound" => element.elements().find_map(enabled),
        _ => None,
    }
}

enum Out {
    Text(String),
    /// Stop reading, or go on.
    Reading(bool),
}

/// A connection during the handshake.
pub struct Raw {
    /// The language of the streams that it opens.
    pub lang: Option<&'static str>,
    /// The ids of the streams that the server has opened.
    pub ids: BTreeSet<String>,
    /// How often something was sent.
    pub sent: usize,
    transport: Transport,
    reader: Reader,
    input: Vec<u8>,
    recorder: Option<Recorder>,
}

impl Raw {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::OWN);
        let transport = Transport::plain(io, None);
        Self { lang: None, ids: BTreeSet::new(), sent: 0, transport, reader, input: Vec::new(), recorder: None }
    }

    /// The same for somebody who wants to be a component.
    #[must_use]
    pub fn of_component(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let reader = Reader::new(Framing::Stream, ContentNamespace::Component, Limits::OWN);
        Self { reader, ..Self::new(io) }
    }

    /// Proves to be the component `name` (XEP-0114 §3).
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn shake_hands(mut self, name: &str, secret: &str) -> Result<Client, String> {
        let mut out = String::new();
        let fields = HeaderFields { to: Some(name), from: None, id: None, version: None, lang: None };
        write_header(&mut out, ContentNamespace::Component, &fields);
        self.send(&out).await;
        let id = match self.event().await? {
            Some(Event::Open(header)) => header.id.unwrap_or_default(),
            other => return Err(format!("instead of a header: {other:?}")),
        };
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, [&id, secret].concat().as_bytes());
        let key: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("<handshake>{key}</handshake>")).await;
        match self.element().await? {
            element if element.name() == "handshake" => Ok(self.start(name.parse().ok())),
            other => Err(format!("instead of a handshake: {}", other.to_xml(CLIENT_NS))),
        }
    }

    /// Records what comes: for a server in another process, where nobody else can.
    #[must_use]
    pub fn recorded(mut self) -> Self {
        self.recorder = Recorder::new(Side::Receiving);
        self
    }

    /// Sends text.
    pub async fn send(&mut self, text: &str) {
        self.sent += 1;
        // A server that has closed is noticed at the next read.
        let _ = self.transport.write_all(text.as_bytes()).await;
    }

    /// What ties an authentication to this connection (RFC 9266).
    #[must_use]
    pub fn exporter(&self) -> Option<[u8; 32]> {
        self.transport.exporter()
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// What is wrong with what the server sent.
    pub async fn event(&mut self) -> Result<Option<Event<'static>>, String> {
        loop {
            let step = self.reader.next(&self.input).map_err(|error| format!("the server wrote bad XML: {error}"))?;
            let (consumed, event) = (step.consumed, step.event.map(Event::into_owned));
            self.input.drain(..consumed);
            if event.is_some() {
                return Ok(event);
            }
            let before = self.input.len();
            match self.transport.drain(&mut self.input).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.heard(self.input.get(before..).unwrap_or_default());
            }
        }
    }

    /// A new stream begins.
    pub fn restart(&mut self) {
        self.reader.restart();
    }

    /// Opens a stream and returns the features.
    ///
    /// # Errors
    /// If something else comes.
    pub async fn open(&mut self, to: &str) -> Result<Element, String> {
        self.open_with(to, "").await
    }

    /// The same, and says `more` in the same breath.
    ///
    /// # Errors
    /// Those of [`Raw::open`].
    pub async fn open_with(&mut self, to: &str, more: &str) -> Result<Element, String> {
        self.restart();
        let mut out = String::new();
        let fields = HeaderFields { to: Some(to), from: None, id: None, version: Some((1, 0)), lang: self.lang };
        write_header(&mut out, ContentNamespace::Client, &fields);
        out.push_str(more);
        self.send(&out).await;
        match self.event().await? {
            Some(Event::Open(header)) => self.ids.extend(header.id),
            other => return Err(format!("instead of a header: {other:?}")),
        }
        self.element().await
    }

    /// The next element that is no stanza.
    ///
    /// # Errors
    /// If something else comes.
    pub async fn element(&mut self) -> Result<Element, String> {
        match self.event().await? {
            Some(Event::Nonza(element)) => Ok(element),
            other => Err(format!("instead of an element: {other:?}")),
        }
    }

    /// Negotiates STARTTLS and opens the stream inside it.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn secure(&mut self, tls: Arc<rustls::ClientConfig>, domain: &str) -> Result<(), String> {
        self.ask_for_tls(tls, domain).await?;
        self.open(domain).await.map(drop)
    }

    /// Negotiates STARTTLS; the stream inside it is not open.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn ask_for_tls(&mut self, tls: Arc<rustls::ClientConfig>, domain: &str) -> Result<(), String> {
        self.open(domain).await?;
        self.send(&format!("<starttls xmlns='{TLS_NS}'/>")).await;
        let proceed = self.element().await?;
        if proceed.name() != "proceed" {
            return Err(format!("instead of proceed: {proceed:?}"));
        }
        self.start_tls(tls, domain).await
    }

    /// Authenticates by SASL2 (XEP-0388), with a token or the password, and asks for what `wishes` says: XML. What comes of
    /// it is the client's to read.
    ///
    /// # Errors
    /// Where the server refuses what comes before.
    pub async fn enter(
        mut self,
        tls: Arc<rustls::ClientConfig>,
        jid: &Jid,
        (token, password): (Option<&str>, &str),
        wishes: &str,
    ) -> Result<Client, String> {
        self.secure(tls, jid.domain()).await?;
        let user = jid.local().unwrap_or_default();
        let (mechanism, message) = match token {
            None => ("PLAIN", format!("\0{user}\0{password}").into_bytes()),
            Some(token) => {
                let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()), b"Initiator");
                ("HT-SHA-256-NONE", [user.as_bytes(), b"\0", hash.as_ref()].concat())
            }
        };
        let message = BASE64_STANDARD.encode(message);
        let initial = format!("<initial-response>{message}</initial-response>");
        self.send(&format!(
            "<authenticate xmlns='{SASL2_NS}' mechanism='{mechanism}'>{initial}{wishes}</authenticate>"
        ))
        .await;
        Ok(self.start(Some(jid.clone())))
    }

    /// Negotiates STARTTLS and SASL PLAIN and opens the stream on which a resource is to be bound; returns its
    /// features.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn authenticate(
        &mut self,
        tls: Arc<rustls::ClientConfig>,
        jid: &Jid,
        password: &str,
    ) -> Result<Element, String> {
        self.secure(tls, jid.domain()).await?;
        let message = BASE64_STANDARD.encode(format!("\0{}\0{password}", jid.local().unwrap_or_default()));
        self.send(&format!("<auth xmlns='{SASL_NS}' mechanism='PLAIN'>{message}</auth>")).await;
        let success = self.element().await?;
        if success.name() != "success" {
            return Err(format!("instead of success: {success:?}"));
        }
        self.open(jid.domain()).await
    }

    /// Authenticates and binds the resource of `jid`, or one of the server's choice.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn log_in(mut self, tls: Arc<rustls::ClientConfig>, jid: &Jid, password: &str) -> Result<Client, String> {
        self.authenticate(tls, jid, password).await?;
        let resource = jid.resource().map(|it| Element::new("resource", BIND_NS).with_text(it));
        let mut bind = Element::new("bind", BIND_NS);
        resource.into_iter().for_each(|it| bind.push(it));
        self.send(&format!("<iq type='set' id='bind'>{}</iq>", bind.to_xml(CLIENT_NS))).await;
        match self.event().await? {
            Some(Event::Stanza(stanza)) => {
                let bound = stanza.payload.first().and_then(|it| it.child("jid", BIND_NS).map(Element::text));
                let bound = bound.ok_or_else(|| format!("instead of a JID: {}", stanza.to_xml()))?;
                Ok(self.start(bound.parse().ok()))
            }
            other => Err(format!("instead of a bound resource: {other:?}")),
        }
    }

    /// Goes on with TLS.
    ///
    /// # Errors
    /// If the handshake fails.
    pub async fn start_tls(&mut self, tls: Arc<rustls::ClientConfig>, name: &str) -> Result<(), String> {
        let name = crate::net::tls::server_name(name).ok_or("no name for TLS")?;
        let plain = std::mem::replace(&mut self.transport, Transport::plain(tokio::io::empty(), None));
        self.transport = plain.connect_tls(tls, name).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn start(self, jid: Option<Jid>) -> Client {
        let (out, to_send) = mpsc::unbounded_channel();
        let (deliver, incoming) = mpsc::unbounded_channel();
        let managed = Arc::default();
        let task = tokio::spawn(shuttle(self, to_send, deliver, Arc::clone(&managed)));
        Client { out, incoming, waiting: VecDeque::new(), task, managed, jid }
    }
}

async fn shuttle(
    mut raw: Raw,
    mut to_send: mpsc::UnboundedReceiver<Out>,
    deliver: mpsc::UnboundedSender<Element>,
    managed: Arc<Mutex<Managed>>,
) {
    let (mut reading, mut ended) = (true, false);
    loop {
        tokio::select! {
            // In simulated time nothing may depend on chance.
            biased;
            Some(out) = to_send.recv() => match out {
                Out::Text(text) => {
                    ended |= text.contains(CLOSE);
                    raw.send(&text).await;
                }
                Out::Reading(on) => reading = on,
            },
            event = raw.event(), if reading => match event.inspect(|event| {
                let mut managed = managed.lock().unwrap_or_else(PoisonError::into_inner);
                event.iter().for_each(|event| managed.note(event));
            }) {
                Ok(Some(Event::Stanza(stanza))) => {
                    let element = Element::parse(&stanza.to_xml(), CLIENT_NS);
                    if element.is_ok_and(|element| deliver.send(element).is_err()) {
                        return;
                    }
                }
                Ok(Some(Event::Nonza(element))) => drop(deliver.send(element)),
                Ok(Some(Event::Close)) => {
                    // RFC 6120 §4.4
                    if !std::mem::replace(&mut ended, true) {
                        raw.send(CLOSE).await;
                    }
                    drop(deliver.send(Element::new("closed", CLIENT_NS)));
                }
                Ok(Some(other)) => drop(deliver.send(Element::new("odd", CLIENT_NS).with_text(&format!("{other:?}")))),
                Ok(None) => return,
                Err(problem) => {
                    drop(deliver.send(Element::new("odd", CLIENT_NS).with_text(&problem)));
                    return;
                }
            },
        }
    }
}

impl Client {
    /// Sends text.
    pub async fn send(&mut self, text: &str) {
        drop(self.out.send(Out::Text(text.to_owned())));
        tokio::task::yield_now().await;
    }

    /// What has come first and was not yet looked at; an element `closed` is the end of the stream.
    pub fn received(&mut self) -> Option<Element> {
        self.look();
        self.waiting.pop_front()
    }

    /// The first of what has come and was not yet looked at that is as `wanted` says.
    pub fn pick(&mut self, wanted: impl Fn(&Element) -> bool) -> Option<Element> {
        self.look();
        let at = self.waiting.iter().position(wanted)?;
        self.waiting.remove(at)
    }

    fn look(&mut self) {
        while let Ok(element) = self.incoming.try_recv() {
            self.waiting.push_back(element);
        }
    }

    /// Waits for the next stanza; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Element> {
        match self.waiting.pop_front() {
            Some(element) => Some(element),
            None => self.incoming.recv().await,
        }
    }

    /// How many stanzas have come since they are counted (XEP-0198).
    #[must_use]
    pub fn handled(&self) -> u32 {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner).handled
    }

    /// A client that asks for the session of this one on an authenticated connection; `handled` is
    /// what it says that it has handled, in place of what has come here. What this one has not looked
    /// at stays here.
    pub async fn resume(&self, connection: Raw, handled: Option<u32>) -> Self {
        let mut managed = self.managed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        managed.handled = handled.unwrap_or(managed.handled);
        let name = managed.name.clone().unwrap_or_default();
        let ask = format!("<resume xmlns='urn:xmpp:sm:3' previd='{name}' h='{}'/>", managed.handled);
        let mut client = connection.start(self.jid.clone());
        *client.managed.lock().unwrap_or_else(PoisonError::into_inner) = managed;
        client.send(&ask).await;
        client
    }

    /// Has the other one's unseen elements in front of its own.
    pub fn inherit(&mut self, mut other: Self) {
        other.look();
        std::mem::swap(&mut self.waiting, &mut other.waiting);
        self.waiting.append(&mut other.waiting);
    }

    /// Stops reading what the server writes.
    pub fn stall(&mut self) {
        drop(self.out.send(Out::Reading(false)));
    }

    /// Reads again.
    pub fn read_on(&mut self) {
        drop(self.out.send(Out::Reading(true)));
    }

    /// Closes the stream.
    pub async fn close(&mut self) {
        self.send(CLOSE).await;
    }

    /// Whether the connection has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Cuts the connection.
    pub fn vanish(&mut self) {
        self.task.abort();
    }
}

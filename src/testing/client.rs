//! A client that does no more than it is told.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::jid::Jid;
use crate::net::Transport;
use crate::stream::{CLOSE, ContentNamespace, Event, Framing, HeaderFields, Limits, Reader, write_header};
use crate::xml::Element;

/// A stream to a server.
pub struct Client {
    out: mpsc::UnboundedSender<Out>,
    incoming: mpsc::UnboundedReceiver<Element>,
    task: JoinHandle<()>,
    /// The full JID that the server bound.
    pub jid: Option<Jid>,
}

enum Out {
    Text(String),
}

/// A connection during the handshake.
pub struct Raw {
    transport: Transport,
    reader: Reader,
    input: Vec<u8>,
}

impl Raw {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::OWN);
        Self { transport: Transport::plain(io, None), reader, input: Vec::new() }
    }

    /// Sends text.
    pub async fn send(&mut self, text: &str) {
        // A server that has closed is noticed at the next read.
        let _ = self.transport.write_all(text.as_bytes()).await;
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
            match self.transport.drain(&mut self.input).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// Opens a stream and returns the features.
    ///
    /// # Errors
    /// If something else comes.
    pub async fn open(&mut self, to: &str) -> Result<Element, String> {
        self.reader.restart();
        let mut out = String::new();
        let fields = HeaderFields { to: Some(to), from: None, id: None, version: Some((1, 0)), lang: None };
        write_header(&mut out, ContentNamespace::Client, &fields);
        self.send(&out).await;
        match self.event().await? {
            Some(Event::Open(_)) => {}
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

    /// Negotiates STARTTLS, SASL PLAIN and a resource.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn log_in(mut self, tls: Arc<rustls::ClientConfig>, jid: &Jid, password: &str) -> Result<Client, String> {
        self.open(jid.domain()).await?;
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        let proceed = self.element().await?;
        if proceed.name() != "proceed" {
            return Err(format!("instead of proceed: {proceed:?}"));
        }
        self.start_tls(tls, jid.domain()).await?;
        self.open(jid.domain()).await?;
        let message = BASE64_STANDARD.encode(format!("\0{}\0{password}", jid.local().unwrap_or_default()));
        self.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>")).await;
        let success = self.element().await?;
        if success.name() != "success" {
            return Err(format!("instead of success: {success:?}"));
        }
        self.open(jid.domain()).await?;
        let resource = jid.resource().map(|it| Element::new("resource", BIND_NS).with_text(it));
        let mut bind = Element::new("bind", BIND_NS);
        resource.into_iter().for_each(|it| bind.push(it));
        self.send(&format!("<iq type='set' id='bind'>{}</iq>", bind.to_xml("jabber:client"))).await;
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
        let task = tokio::spawn(shuttle(self, to_send, deliver));
        Client { out, incoming, task, jid }
    }
}

const BIND_NS: &str = crate::negotiation::bind::BIND_NS;

async fn shuttle(mut raw: Raw, mut to_send: mpsc::UnboundedReceiver<Out>, deliver: mpsc::UnboundedSender<Element>) {
    loop {
        tokio::select! {
            Some(Out::Text(text)) = to_send.recv() => raw.send(&text).await,
            event = raw.event() => match event {
                Ok(Some(Event::Stanza(stanza))) => {
                    let element = Element::parse(&stanza.to_xml(), "jabber:client");
                    if element.is_ok_and(|element| deliver.send(element).is_err()) {
                        return;
                    }
                }
                Ok(Some(Event::Nonza(element))) => drop(deliver.send(element)),
                Ok(Some(Event::Close)) => drop(deliver.send(Element::new("closed", "jabber:client"))),
                Ok(Some(other)) => drop(deliver.send(Element::new("odd", "jabber:client").with_text(&format!("{other:?}")))),
                Ok(None) => return,
                Err(problem) => {
                    drop(deliver.send(Element::new("odd", "jabber:client").with_text(&problem)));
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

    /// What has come and was not yet looked at; an element `closed` is the end of the stream.
    pub fn received(&mut self) -> Option<Element> {
        self.incoming.try_recv().ok()
    }

    /// Waits for the next stanza; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Element> {
        self.incoming.recv().await
    }

    /// Closes the stream.
    pub async fn close(&mut self) {
        self.send(CLOSE).await;
    }

    /// Cuts the connection.
    pub fn vanish(&mut self) {
        self.task.abort();
    }
}

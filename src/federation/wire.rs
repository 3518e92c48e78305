//! A connection with the gate in front of it: bytes in, events out, and TLS in between.
//!
//! It must never know which side of a stream it is, or what the events mean.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::net::Transport;
use crate::net::tls::is_unwelcome;
use crate::stream::{ContentNamespace, Event, Framing, Limits, Reader, Step, StreamCondition, StreamError};

/// Memory that an empty buffer may keep.
const KEPT: usize = 4096;

/// One connection to another server.
pub(crate) struct Wire {
    transport: Transport,
    reader: Reader,
    /// What the gate takes from the peer.
    limits: Limits,
    /// What has arrived and was not yet read.
    buffer: Vec<u8>,
    /// So many bytes of a portion went to the transport and wait to be flushed.
    accepted: usize,
}

/// Why there is nothing more to read.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer has ended the connection.
    Closed,
    /// The connection is gone; this is what is known about it.
    Lost(String),
    /// The peer sent what no peer may send.
    Refused(StreamError),
    /// The peer has ended the stream, and said why.
    Told(StreamError),
    /// The peer has ended the connection over our certificate, in these words.
    Unwelcome(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::QuotaExceeded {
            let text = "too much at once from somebody who has not authenticated";
            return Self::Refused(StreamError::new(StreamCondition::PolicyViolation, text));
        }
        if is_unwelcome(&error) {
            return Self::Unwelcome(error.to_string());
        }
        Self::Lost(format!("the connection broke: {error}"))
    }
}

impl From<StreamError> for Broken {
    fn from(error: StreamError) -> Self {
        Self::Refused(error)
    }
}

/// What one turn of reading and writing brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is something new to read.
    Arrived,
    /// So many bytes are with the operating system.
    HandedOver(usize),
}

impl Wire {
    /// A connection to a peer of which, until it has proven who it is, no more is taken than `limits`.
    pub(crate) fn new(transport: Transport, limits: Limits) -> Self {
        Self { transport, reader: reader(limits), limits, buffer: Vec::new(), accepted: 0 }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The next event, waiting for it.
    pub(crate) async fn event(&mut self) -> Result<Event<'static>, Broken> {
        loop {
            if let Some(event) = self.read()? {
                return Ok(event);
            }
            self.fill().await?;
        }
    }

    /// The next event in what has arrived already.
    pub(crate) fn read(&mut self) -> Result<Option<Event<'static>>, StreamError> {
        let Step { consumed, event } = self.reader.next(&self.buffer)?;
        let event = event.map(Event::into_owned);
        self.consume(consumed);
        Ok(event)
    }

    /// The gate and all that has arrived, to read events that borrow from it; say with
    /// [`Wire::consume`] how far that went.
    pub(crate) fn gate(&mut self) -> (&mut Reader, &[u8]) {
        (&mut self.reader, &self.buffer)
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.buffer.drain(..count.min(self.buffer.len()));
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
    }

    /// Waits until something arrives.
    pub(crate) async fn fill(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // A stranger who sent much and now says nothing holds no more than it has to.
        if self.buffer.capacity() > self.limits.element {
            self.buffer.shrink_to(self.buffer.len().next_power_of_two());
        }
        match ready!(self.transport.poll_drain(cx, &mut self.buffer))? {
            0 => Poll::Ready(Err(Broken::Closed)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Hands over a portion and, if it `reads`, reads at the same time. Until [`Turn::HandedOver`] says otherwise, the
    /// next call has to bring the same portion.
    pub(crate) async fn turn(&mut self, portion: &[u8], reads: bool) -> Result<Turn, Broken> {
        poll_fn(|cx| {
            if let Poll::Ready(count) = self.poll_hand_over(cx, portion)? {
                return Poll::Ready(Ok(Turn::HandedOver(count)));
            }
            if reads { self.poll_fill(cx).map_ok(|()| Turn::Arrived) } else { Poll::Pending }
        })
        .await
    }

    /// One record at a time, and flushed: then it is known what can have reached the peer.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>, portion: &[u8]) -> Poll<io::Result<usize>> {
        if self.accepted == 0 {
            if portion.is_empty() {
                return Poll::Pending;
            }
            self.accepted = ready!(self.transport.poll_write(cx, portion))?;
        }
        ready!(self.transport.poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.accepted)))
    }

    /// Writes all of `text`.
    pub(crate) async fn write(&mut self, text: &str) -> Result<(), Broken> {
        Ok(self.transport.write_all(text.as_bytes()).await?)
    }

    /// Whether a part of something has come.
    pub(crate) fn has_part(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether nothing lies behind what was read: the condition for TLS and for a restart. White
    /// space says nothing, and some peers end their lines; it is dropped.
    pub(crate) fn is_clean(&mut self) -> bool {
        if self.buffer.trim_ascii().is_empty() {
            self.buffer.clear();
        }
        self.buffer.is_empty()
    }

    /// A new stream begins on the same transport (RFC 6120 §4.3.3).
    pub(crate) fn restart(&mut self) {
        self.reader.restart();
    }

    /// Puts TLS around the connection; nothing of what came before counts any more.
    pub(crate) async fn secure<F>(&mut self, negotiate: impl FnOnce(Transport) -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<Transport>>,
    {
        // If the handshake fails there is nobody to talk to any more: an empty transport says so.
        let plain = std::mem::replace(&mut self.transport, Transport::plain(tokio::io::empty(), None));
        self.transport = negotiate(plain).await?;
        self.reader = reader(self.limits);
        self.buffer = Vec::new();
        Ok(())
    }

    /// The peer has proven who it is.
    pub(crate) fn trust_peer(&mut self, limits: Limits) {
        self.transport.trust_peer();
        self.limits = limits;
        self.reader.set_limits(limits);
    }

    /// Says the last words, if the peer still listens, and ends the connection.
    pub(crate) async fn close(mut self, last: &str) {
        let _ = self.transport.finish(last.as_bytes()).await;
    }
}

const fn reader(limits: Limits) -> Reader {
    Reader::new(Framing::Stream, ContentNamespace::Server, limits)
}

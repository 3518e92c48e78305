//! A transport with the gate in front of it: bytes in, events out.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use zeroize::Zeroize;

use crate::erasure;
use crate::net::Transport;
use crate::net::tls::Acceptor;
use crate::routing::Taken;
use crate::stream::{CLOSE, Event, Reader, StreamCondition, StreamError};

/// How long a peer has to take the end of a stream and to end its own side (RFC 6120 §4.4).
const FAREWELL: Duration = Duration::from_secs(2);

/// So many bytes are enough to see how the end tag of a stream ends, white space behind it included.
const END: usize = 64;

/// Room for what is said at once in a handshake.
const USUAL: usize = 2048;

/// How often unread input is thrown away at the end, 16 KiB each time.
const ROUNDS: usize = 16;

/// One side of a stream: what has come in and is not yet read, and the gate.
pub(super) struct Wire {
    pub(super) transport: Transport,
    pub(super) reader: Reader,
    pub(super) input: Vec<u8>,
    /// Whether our own stream header has been sent, so that an error may follow it.
    pub(super) opened: bool,
}

/// Why a stream is over.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed the stream.
    Closed,
    /// The connection is gone.
    Lost,
    /// The connection is to end with this error, the session need not.
    Cut(StreamError),
    /// The peer is to be told this.
    Error(StreamError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::QuotaExceeded {
            let text = "too much at once from somebody who has not authenticated";
            return Self::Error(StreamError::new(StreamCondition::PolicyViolation, text));
        }
        Self::Lost
    }
}

/// What a ring gives instead of bytes.
impl From<Taken> for End {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::Close(error) => Self::Error(error),
            Taken::Cut(error) => Self::Cut(error),
            Taken::Inherited => Self::Cut(StreamCondition::Conflict.into()),
            Taken::Bytes => Self::Lost,
        }
    }
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self::Error(error)
    }
}

impl Wire {
    /// Waits for the next event.
    pub(super) async fn event(&mut self) -> Result<Event<'static>, End> {
        loop {
            if let Some(event) = self.next()? {
                return Ok(event);
            }
            // A stranger who sent much and now says nothing holds no more than he has to. What a login is made of fits.
            let room = self.input.len().next_power_of_two().max(USUAL);
            if self.input.capacity() > room || self.input.capacity() < USUAL {
                erasure::resize(&mut self.input, room);
            }
            if self.transport.drain(&mut self.input).await? == 0 {
                return Err(End::Lost);
            }
        }
    }

    /// The next event if it is here already, owned: in the handshake nothing is worth borrowing for.
    pub(super) fn next(&mut self) -> Result<Option<Event<'static>>, End> {
        let step = self.reader.next(&self.input)?;
        let (consumed, event) = (step.consumed, step.event.map(Event::into_owned));
        // There may have been a password in it, or there is one in the rest, which moves.
        let rest = self.input.len().saturating_sub(consumed);
        self.input.copy_within(consumed.., 0);
        self.input.get_mut(rest..).unwrap_or_default().zeroize();
        self.input.truncate(rest);
        Ok(event)
    }

    /// Negotiates TLS; nothing that came before it is used after it.
    pub(super) async fn secure(&mut self, acceptor: Acceptor) -> Result<(), End> {
        // If the handshake fails there is nobody to talk to any more: an empty transport says so.
        let plain = std::mem::replace(&mut self.transport, Transport::plain(tokio::io::empty(), None));
        self.transport = acceptor.accept(plain).await?;
        self.restart();
        Ok(())
    }

    /// A new stream begins on the same transport (RFC 6120 §4.3.3).
    pub(super) fn restart(&mut self) {
        self.reader.restart();
        self.opened = false;
    }

    /// Ends the stream from our side, with an error if there is one (RFC 6120 §4.4, §4.9.1). `rest`
    /// completes what was written last. A peer that does not take it in time is cut off. Says whether the peer has closed
    /// the stream in its turn, so that it has got everything.
    pub(super) async fn finish(mut self, end: End, rest: Vec<u8>) -> bool {
        // What nobody has read may be a password; its end alone is still looked at.
        let unread = self.input.len().saturating_sub(END);
        self.input.get_mut(..unread).unwrap_or_default().zeroize();
        let mut last = rest;
        if let End::Error(error) | End::Cut(error) = &end {
            last.extend_from_slice(error.to_xml().as_bytes());
        }
        last.extend_from_slice(CLOSE.as_bytes());
        let last = if self.opened { last.as_slice() } else { &[] };
        let mut is_answered = false;
        let farewell = async {
            if matches!(end, End::Error(_) | End::Cut(_)) {
                self.transport.write_all(last).await?;
                is_answered = self.hear_out().await;
                return self.transport.finish(&[]).await;
            }
            self.transport.finish(last).await
        };
        // Whatever comes of it, the stream is over.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.clear_input().await;
        is_answered
    }

    /// Waits for the peer to end its side of a stream that we have ended, and says whether it does. What it says until then
    /// means nothing any more, and after an error the gate cannot be asked.
    async fn hear_out(&mut self) -> bool {
        loop {
            let said = self.input.trim_ascii_end();
            if said.ends_with(b":stream>") || said.ends_with(b"</stream>") {
                return true;
            }
            self.input.drain(..self.input.len().saturating_sub(END));
            if !matches!(self.transport.drain(&mut self.input).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// A connection that is closed with unread input is reset, and the peer may lose what was written
    /// last: what lies there is read and thrown away, up to a limit.
    async fn clear_input(&mut self) {
        for _ in 0..ROUNDS {
            self.input.clear();
            let read = poll_fn(|context| Poll::Ready(self.transport.poll_drain(context, &mut self.input))).await;
            if !matches!(read, Poll::Ready(Ok(1..))) {
                return;
            }
        }
    }
}

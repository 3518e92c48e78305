//! The way from a session's ring to its transport.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use crate::net::Transport;
use crate::routing::{Now, Ring, Taken};
use crate::stream::{ContentNamespace, Framing, Limits, Reader};

use super::wire::End;

/// What is written between two flushes: one TLS record. Only what was flushed counts as written.
const PIECE: usize = 16 * 1024;

/// So many pieces of a ring are written by somebody who has other things to do.
const AT_ONCE: usize = 4;

/// Bytes that were taken out of a ring and are being written. When it goes, however that comes
/// about, what was not written is back in the ring.
pub(super) struct Outgoing {
    ring: Arc<Ring>,
    /// Whole stanzas.
    bytes: Vec<u8>,
    /// How many of the bytes the transport has taken, and how many it has flushed.
    sent: usize,
    flushed: usize,
}

impl Outgoing {
    pub(super) const fn new(ring: Arc<Ring>) -> Self {
        Self { ring, bytes: Vec::new(), sent: 0, flushed: 0 }
    }

    /// Moves what the ring holds into the transport; pending when the one has nothing to give or the
    /// other takes nothing. Ready is the end of the session.
    pub(super) fn poll_flush(&mut self, transport: &mut Transport, context: &mut Context<'_>) -> Poll<End> {
        let outcome = self.poll_write(transport, context, |ring, out, context| {
            ring.poll_take(context, out).map(|taken| match taken {
                Taken::Bytes => None,
                end => Some(End::from(end)),
            })
        });
        match outcome {
            // A peer that reads nothing cannot keep its session from ending.
            Poll::Pending if !self.bytes.is_empty() => self.ring.poll_closing(context).map(End::from),
            outcome => outcome.map(|end| end.unwrap_or(End::Lost)),
        }
    }

    /// The same for somebody who does not wait: whether nothing is left to do.
    pub(super) fn write_now(&mut self, transport: &mut Transport) -> bool {
        let mut pieces = 0;
        let writing = poll_fn(|context| {
            self.poll_write(transport, context, |ring, out, _| {
                if pieces == AT_ONCE {
                    return Poll::Ready(Some(false));
                }
                pieces += 1;
                Poll::Ready(match ring.take_now(out) {
                    Now::Bytes => None,
                    Now::Nothing => Some(true),
                    Now::End => Some(false),
                })
            })
        });
        // Whoever has something for many may write to all of them.
        let writing = pin!(tokio::task::unconstrained(writing));
        writing.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(Some(true))
    }

    /// Moves into the transport what `take` gets out of the ring, until that says how it has ended; `None` if the connection is
    /// lost.
    fn poll_write<T>(
        &mut self,
        transport: &mut Transport,
        context: &mut Context<'_>,
        mut take: impl FnMut(&Ring, &mut Vec<u8>, &mut Context<'_>) -> Poll<Option<T>>,
    ) -> Poll<Option<T>> {
        loop {
            if self.flushed < self.sent {
                if ready!(transport.poll_flush(context)).is_err() {
                    return Poll::Ready(None);
                }
                self.ring.written(self.sent - self.flushed);
                self.flushed = self.sent;
            } else if let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match ready!(transport.poll_write(context, rest.get(..PIECE).unwrap_or(rest))) {
                    Ok(0) | Err(_) => return Poll::Ready(None),
                    Ok(taken) => self.sent += taken,
                }
            } else {
                // An idle session owns no buffer.
                (self.bytes, self.sent, self.flushed) = (Vec::new(), 0, 0);
                let end = ready!(take(&self.ring, &mut self.bytes, context));
                if end.is_some() {
                    return Poll::Ready(end);
                }
            }
        }
    }

    /// The rest of the stanza of which the transport has taken a part: nothing else may follow on
    /// the stream before it.
    pub(super) fn rest_of_stanza(&self) -> Vec<u8> {
        let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::OWN);
        let mut edge = 0;
        while edge < self.sent {
            match self.bytes.get(edge..).map(|rest| reader.next(rest)) {
                Some(Ok(step)) if step.consumed > 0 => edge += step.consumed,
                // These are our own bytes, so this does not happen; the stream is cut then.
                _ => break,
            }
        }
        self.bytes.get(self.sent..edge).unwrap_or_default().to_vec()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.flushed < self.bytes.len() {
            self.ring.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

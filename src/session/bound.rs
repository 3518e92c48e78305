//! A bound session: moves values between transport, router and ring.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use crate::routing::{Batch, Binding, Origin, Router};
use crate::stream::{Event, Fault, Reader, Rejected, StreamCondition, StreamError};

use super::outgoing::Outgoing;
use super::wire::{End, Wire};

/// A session after resource binding.
pub struct Bound {
    // The order matters: what was not written goes back into the ring before the resource is given
    // back, also when the session panics or is cancelled.
    outgoing: Outgoing,
    binding: Binding,
    wire: Wire,
}

/// What woke the session.
enum Wake {
    /// The input has grown.
    Input,
    /// The session is to end.
    End(End),
}

impl Bound {
    pub(super) fn new(wire: Wire, binding: Binding) -> Self {
        Self { outgoing: Outgoing::new(binding.ring.clone()), binding, wire }
    }

    /// Runs until the stream ends, then gives the resource back.
    pub async fn run(mut self, router: &Router) {
        // Boxed is what an idle session has no use for: there are many of them.
        // What came together with the bind request is here already; no readiness tells of it.
        let mut end = Box::pin(self.take_in(router)).await;
        while end.is_none() {
            end = match poll_fn(|context| self.poll_wake(context)).await {
                Wake::Input => Box::pin(self.take_in(router)).await,
                Wake::End(end) => Some(end),
            };
        }
        Box::pin(self.finish(end.unwrap_or(End::Closed))).await;
    }

    async fn finish(self, end: End) {
        let rest = self.outgoing.rest_of_stanza();
        drop(self.outgoing);
        drop(self.binding);
        self.wire.finish(end, rest).await;
    }

    /// Writes what the ring holds and reads what has come, whichever is possible.
    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(end) = self.outgoing.poll_flush(&mut self.wire.transport, context) {
            return Poll::Ready(Wake::End(end));
        }
        match ready!(self.wire.transport.poll_drain(context, &mut self.wire.input)) {
            Ok(0) | Err(_) => Poll::Ready(Wake::End(End::Closed)),
            Ok(_) => Poll::Ready(Wake::Input),
        }
    }

    /// Routes every complete stanza of the input as one batch.
    async fn take_in(&mut self, router: &Router) -> Option<End> {
        let Wire { transport, reader, input, .. } = &mut self.wire;
        let mut batch = router.batch();
        let mut ended = None;
        let read = {
            let mut reading = pin!(read_all(&self.binding, router, (reader, input), &mut batch));
            poll_fn(|context| {
                let read = reading.as_mut().poll(context);
                // A stanza may wait for storage, for its handler, or for this client to read: what is
                // there goes out meanwhile. A stanza that was begun is finished in any case.
                if read.is_pending()
                    && ended.is_none()
                    && let Poll::Ready(end) = self.outgoing.poll_flush(transport, context)
                {
                    ended = Some(end);
                }
                read
            })
            .await
        };
        batch.finish();
        read.err().or(ended)
    }
}

async fn read_all(
    binding: &Binding,
    router: &Router,
    (reader, input): (&mut Reader, &mut Vec<u8>),
    batch: &mut Batch,
) -> Result<(), End> {
    let mut done = 0;
    let result = loop {
        let Some(rest) = input.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
        let step = match reader.next(rest) {
            Ok(step) => step,
            Err(error) => break Err(error.into()),
        };
        let Some(event) = step.event else {
            done += step.consumed;
            break Ok(());
        };
        if done == 0 {
            binding.heard(batch);
        }
        if let Err(end) = take(binding, router, event, batch).await {
            break Err(end);
        }
        done += step.consumed;
    };
    if done == input.len() {
        // An idle session owns no buffer.
        *input = Vec::new();
    } else {
        input.drain(..done);
    }
    result
}

/// Handles one event of a bound stream.
async fn take(binding: &Binding, router: &Router, event: Event<'_>, batch: &mut Batch) -> Result<(), End> {
    match event {
        Event::Stanza(stanza) => Ok(router.route(Origin::Client(binding), stanza, batch).await?),
        Event::Rejected(rejected) => reject(binding, &rejected, batch),
        Event::Close => Err(End::Closed),
        Event::Open(_) => Err(StreamError::from(StreamCondition::BadFormat).into()),
        // RFC 6120 §4.9.3.24: a first-level child that is no stanza and nothing that was offered.
        Event::Nonza(_) => Err(StreamError::from(StreamCondition::UnsupportedStanzaType).into()),
    }
}

/// Answers a stanza that the gate could not accept; the stream goes on (RFC 6120 §8.3).
fn reject(binding: &Binding, rejected: &Rejected<'_>, batch: &mut Batch) -> Result<(), End> {
    if rejected.fault == Fault::From {
        return Err(StreamError::from(StreamCondition::InvalidFrom).into());
    }
    binding.refuse(&rejected.stanza, &rejected.error, batch);
    Ok(())
}

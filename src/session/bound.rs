//! A bound session: moves values between transport, router and ring.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::routing::{Batch, Binding, Origin, Router, Taken};
use crate::stream::{Event, Fault, Rejected, StreamCondition, StreamError};

use super::wire::{End, Wire};

/// A session after resource binding.
pub struct Bound {
    wire: Wire,
    binding: Binding,
    /// What was taken out of the ring and is being written.
    out: Vec<u8>,
    /// How much of `out` the transport has taken.
    sent: usize,
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
        Self { wire, binding, out: Vec::new(), sent: 0 }
    }

    /// Runs until the stream ends, then gives the resource back.
    pub async fn run(mut self, router: &Router) {
        // What came together with the bind request is here already; no readiness tells of it.
        let mut end = self.take_in(router).await;
        while end.is_none() {
            end = match poll_fn(|context| self.poll_wake(context)).await {
                Wake::Input => self.take_in(router).await,
                Wake::End(end) => Some(end),
            };
        }
        let end = end.unwrap_or(End::Closed);
        let mut batch = router.batch();
        Box::pin(router.unbind(&self.binding, &self.out, &mut batch)).await;
        batch.finish();
        self.wire.finish(end).await;
    }

    /// Writes what the ring holds and reads what has come, whichever is possible.
    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        match self.poll_flush(context) {
            Poll::Ready(Err(_)) => return Poll::Ready(Wake::End(End::Closed)),
            Poll::Ready(Ok(Some(end))) => return Poll::Ready(Wake::End(end)),
            Poll::Ready(Ok(None)) | Poll::Pending => {}
        }
        match ready!(self.wire.transport.poll_drain(context, &mut self.wire.input)) {
            Ok(0) | Err(_) => Poll::Ready(Wake::End(End::Closed)),
            Ok(_) => Poll::Ready(Wake::Input),
        }
    }

    /// Empties the ring into the transport; pending when either has nothing to give or to take.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<End>>> {
        loop {
            while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
                let taken = ready!(self.wire.transport.poll_write(context, rest))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sent += taken;
                self.binding.ring.written(taken);
            }
            if !self.out.is_empty() {
                ready!(self.wire.transport.poll_flush(context))?;
                self.out = Vec::new();
                self.sent = 0;
            }
            match ready!(self.binding.ring.poll_take(context, &mut self.out)) {
                Taken::Bytes => {}
                Taken::Close(error) => {
                    return Poll::Ready(Ok(Some(error.map_or(End::Closed, End::Error))));
                }
            }
        }
    }

    /// Routes every complete stanza of the input as one batch.
    async fn take_in(&mut self, router: &Router) -> Option<End> {
        let mut batch = router.batch();
        let end = self.read_all(router, &mut batch).await.err();
        batch.finish();
        end
    }

    async fn read_all(&mut self, router: &Router, batch: &mut Batch) -> Result<(), End> {
        let mut done = 0;
        let result = loop {
            let Some(rest) = self.wire.input.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            let step = match self.wire.reader.next(rest) {
                Ok(step) => step,
                Err(error) => break Err(error.into()),
            };
            let Some(event) = step.event else {
                done += step.consumed;
                break Ok(());
            };
            if let Err(end) = take(&self.binding, router, event, batch).await {
                break Err(end);
            }
            done += step.consumed;
        };
        if done == self.wire.input.len() {
            // An idle session owns no buffer.
            self.wire.input = Vec::new();
        } else {
            self.wire.input.drain(..done);
        }
        result
    }
}

/// Handles one event of a bound stream.
async fn take(binding: &Binding, router: &Router, event: Event<'_>, batch: &mut Batch) -> Result<(), End> {
    match event {
        Event::Stanza(stanza) => {
            Router::check_from(binding, &stanza)?;
            Ok(router.route(Origin::Client(binding), stanza, batch).await?)
        }
        Event::Rejected(rejected) => reject(binding, router, rejected, batch),
        Event::Close => Err(End::Closed),
        Event::Open(_) => Err(StreamError::from(StreamCondition::BadFormat).into()),
        // RFC 6120 §4.9.3.24: a first-level child that is no stanza and nothing that was offered.
        Event::Nonza(_) => Err(StreamError::from(StreamCondition::UnsupportedStanzaType).into()),
    }
}

/// Answers a stanza that the gate could not accept; the stream goes on (RFC 6120 §8.3).
fn reject(binding: &Binding, router: &Router, rejected: Rejected<'_>, batch: &mut Batch) -> Result<(), End> {
    if rejected.fault == Fault::From {
        return Err(StreamError::from(StreamCondition::InvalidFrom).into());
    }
    router.refuse(binding, &rejected.stanza, &rejected.error, batch);
    Ok(())
}

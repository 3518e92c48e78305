//! A bound session: moves values between transport, router and ring.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context as Waking, Poll, ready};
use std::time::Duration;

use crate::hooks::{Acknowledgement, Said, Wish};
use crate::routing::{Batch, Binding, Origin, Router, Talks, modulo};
use crate::stanza::{Condition, Kind};
use crate::stream::{Ahead, Event, Fault, Intake, Limits, Reader, Rejected, StreamCondition, StreamError};
use crate::xml::Element;

use super::context::{Context, Settings};
use super::detached::detach;
use super::inbound::{Inbound, agreed};
use super::line::{Ends, Line};
use super::wire::{End, Wire};

/// How long a client that is too fast is not looked at, at most.
const REST: Duration = Duration::from_secs(60);

/// A session after resource binding.
pub struct Bound {
    // The order matters: what was not written goes back into the ring before the resource is given
    // back, also when the session panics or is cancelled.
    line: Line,
    binding: Binding,
    reader: Reader,
    /// What has come in and is not yet read.
    input: Vec<u8>,
    /// For a client that wants to know what has arrived.
    inbound: Option<Box<Inbound>>,
    ahead: Ahead,
}

/// What woke the session.
enum Wake {
    /// The input has grown.
    Input,
    /// The session is to end.
    End(End),
}

/// What follows when everything that has come is routed.
enum Next {
    /// Wait for more.
    Wait,
    /// The client is too fast: read nothing for so long.
    Rest(Duration),
    End(End),
}

impl Bound {
    pub(super) fn new(wire: Wire, binding: Binding, inbound: Option<Box<Inbound>>) -> Box<Self> {
        let Wire { transport, reader, input, .. } = wire;
        let line = Line::new(transport, &binding.ring);
        Box::new(Self { line, binding, reader, input, inbound, ahead: Ahead::default() })
    }

    /// Runs until the stream ends, then gives the resource back, unless the client may come back.
    ///
    /// The future is small, because the session lies in its box and because what an idle one has no
    /// use for is boxed, too: there are many of them.
    pub async fn run(mut self: Box<Self>, context: &Context) {
        let router = &*context.router;
        // What came together with the bind request is here already; no readiness tells of it.
        let mut next = Box::pin(self.take_in(context)).await;
        let end = loop {
            next = match next {
                Next::End(end) => break end,
                Next::Rest(pause) => Box::pin(self.rest(pause, context)).await,
                Next::Wait => match poll_fn(|waking| self.poll_wake(waking, router)).await {
                    Wake::Input => Box::pin(self.take_in(context)).await,
                    Wake::End(end) => Next::End(end),
                },
            };
        };
        Box::pin(self.finish(end, router)).await;
    }

    /// Goes on writing, and reads nothing.
    async fn rest(&mut self, pause: Duration, context: &Context) -> Next {
        let mut over = pin!(tokio::time::sleep(pause.min(REST)));
        let end = poll_fn(|waking| match self.poll_write(waking, &context.router) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending => over.as_mut().poll(waking).map(|()| None),
        })
        .await;
        if let Some(end) = end {
            return Next::End(end);
        }
        // Whoever is not read is not silent.
        let rest = Intake { elapsed: self.binding.heard_nothing(), ..Intake::default() };
        self.ahead.charge(&context.settings.load().pace, rest).map_or(Next::Wait, Next::Rest)
    }

    async fn finish(mut self: Box<Self>, end: End, router: &Router) {
        if matches!(end, End::Closed | End::Error(_)) {
            // RFC 6120 §4.4: what is said already goes first, as far as it is taken at once.
            let _ = poll_fn(|waking| Poll::Ready(self.poll_write(waking, router))).await;
        }
        let Self { line, binding, reader, input, inbound, .. } = *self;
        let Some(Ends { transport, outgoing }) = line.close() else { return };
        let wire = Wire { transport, reader, input, opened: true };
        let mut rest = outgoing.rest_of_stanza();
        drop(outgoing);
        match (inbound, &end) {
            (Some(inbound), End::Lost) => {
                // A stream that may go on is not closed, even if the client can hear it still (XEP-0198 §5).
                if detach(binding, inbound.handled()) {
                    return;
                }
            }
            (Some(inbound), End::Cut(_)) => {
                // The client gets the whole stanza on another connection.
                let torn = !rest.is_empty();
                detach(binding, inbound.handled());
                if torn {
                    return;
                }
            }
            (Some(mut inbound), End::Closed) if inbound.is_unanswered() => {
                drop(binding);
                let answer = inbound.answer(router).await.zip(router.acknowledgement());
                rest.extend(answer.into_iter().flat_map(|(count, words)| words.handled(modulo(count)).into_bytes()));
            }
            // The server stops: nobody hurries, and a client that closes the stream in its turn has got everything.
            (None, End::Error(error)) if error.condition == StreamCondition::SystemShutdown => {
                if wire.finish(end, rest).await {
                    let mut batch = router.batch();
                    binding.heard(Talks::No, &mut batch);
                    batch.finish();
                }
                return;
            }
            _ => drop(binding),
        }
        wire.finish(end, rest).await;
    }

    /// Writes what the ring holds and reads what has come, whichever is possible.
    fn poll_wake(&mut self, waking: &mut Waking<'_>, router: &Router) -> Poll<Wake> {
        self.answer_in_time(waking, router);
        let polled = self.line.with(|Ends { transport, outgoing }| {
            if let Poll::Ready(end) = outgoing.poll_flush(transport, waking) {
                return Poll::Ready(Wake::End(end));
            }
            match ready!(transport.poll_drain(waking, &mut self.input)) {
                Ok(0) | Err(_) => Poll::Ready(Wake::End(End::Lost)),
                Ok(_) => Poll::Ready(Wake::Input),
            }
        });
        polled.unwrap_or(Poll::Ready(Wake::End(End::Lost)))
    }

    /// Writes what the ring holds; ready is the end of the session.
    fn poll_write(&mut self, waking: &mut Waking<'_>, router: &Router) -> Poll<End> {
        self.answer_in_time(waking, router);
        flush(&mut self.line, waking)
    }

    /// Tells the client what has become durable meanwhile.
    fn answer_in_time(&mut self, waking: &mut Waking<'_>, router: &Router) {
        if let Some(inbound) = &mut self.inbound {
            while let Some(count) = inbound.poll_due(waking, router) {
                answer(&self.binding, router, count);
            }
        }
    }

    /// Routes every complete stanza of the input as one batch.
    async fn take_in(&mut self, context: &Context) -> Next {
        let router = &*context.router;
        let (reader, input) = (&mut self.reader, &mut self.input);
        let Settings { limits, pace, .. } = **context.settings.load();
        let mut batch = router.batch();
        let mut ended = None;
        let mut intake = Intake::default();
        let read = {
            let (binding, inbound) = (&self.binding, &mut self.inbound);
            if let Some(inbound) = inbound {
                inbound.follow(binding, &mut batch);
            }
            let mut taking = Taking { binding, router, limits, inbound, batch: &mut batch, intake: &mut intake };
            let mut reading = pin!(taking.read_all(reader, input));
            poll_fn(|waking| {
                binding.ring.tend();
                let read = reading.as_mut().poll(waking);
                // A stanza may wait for storage, for its handler, or for this client to read: what is
                // there goes out meanwhile. A stanza that was begun is finished in any case.
                if read.is_pending()
                    && ended.is_none()
                    && let Poll::Ready(end) = flush(&mut self.line, waking)
                {
                    ended = Some(end);
                }
                read
            })
            .await
        };
        match &mut self.inbound {
            Some(inbound) => inbound.covered(&self.binding, &mut batch, router),
            None => {
                batch.finish();
            }
        }
        match read.err().or(ended) {
            Some(end) => Next::End(end),
            None => self.ahead.charge(&pace, intake).map_or(Next::Wait, Next::Rest),
        }
    }
}

/// Moves what waits into the connection; ready is the end of the session.
fn flush(line: &mut Line, waking: &mut Waking<'_>) -> Poll<End> {
    let flushed = line.with(|Ends { transport, outgoing }| outgoing.poll_flush(transport, waking));
    flushed.unwrap_or(Poll::Ready(End::Lost))
}

/// What one wake-up works with.
struct Taking<'a> {
    binding: &'a Binding,
    router: &'a Router,
    limits: Limits,
    inbound: &'a mut Option<Box<Inbound>>,
    batch: &'a mut Batch,
    intake: &'a mut Intake,
}

impl Taking<'_> {
    async fn read_all(&mut self, reader: &mut Reader, input: &mut Vec<u8>) -> Result<(), End> {
        self.router.pressure().await;
        let (mut done, mut heard) = (0, false);
        let language = reader.language();
        let result = loop {
            let Some(rest) = input.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            reader.set_limits(self.limits);
            let step = match reader.next(rest) {
                Ok(step) => step,
                Err(error) => break Err(error.into()),
            };
            let Some(mut event) = step.event else {
                done += step.consumed;
                break Ok(());
            };
            if let Event::Stanza(stanza) = &mut event {
                language.complete(stanza);
            }
            if !heard {
                let talks = if matches!(event, Event::Stanza(_)) { Talks::Yes } else { Talks::No };
                self.intake.elapsed = self.binding.heard(talks, self.batch);
                heard = true;
            }
            if let Err(end) = self.take(event).await {
                break Err(end);
            }
            done += step.consumed;
        };
        if done > 0 && !heard {
            // Only white space has come: it says that the client is there (RFC 6120 §4.6.1).
            self.intake.elapsed = self.binding.heard(Talks::No, self.batch);
        }
        self.intake.bytes = done;
        if done == input.len() {
            // An idle session owns no buffer.
            *input = Vec::new();
        } else {
            input.drain(..done);
        }
        result
    }

    /// Handles one event of a bound stream.
    async fn take(&mut self, event: Event<'_>) -> Result<(), End> {
        match event {
            Event::Stanza(stanza) => {
                if self.inbound.as_ref().is_some_and(|inbound| inbound.is_unanswered())
                    && !matches!(stanza.kind, Kind::Message(_))
                {
                    Box::pin(self.answer_first()).await;
                }
                if let Some(inbound) = self.inbound {
                    self.binding.sends(inbound.next(), &stanza);
                }
                self.router.route(Origin::Client(self.binding), stanza, self.batch).await?;
            }
            Event::Rejected(rejected) => self.reject(&rejected)?,
            Event::Close => return Err(End::Closed),
            Event::Open(_) => return Err(StreamError::from(StreamCondition::BadFormat).into()),
            Event::Nonza(element) => return Box::pin(self.hear(&element)).await,
        }
        self.intake.stanzas += 1;
        if let Some(inbound) = self.inbound {
            inbound.counted(self.batch);
        }
        Ok(())
    }

    /// Answers a stanza that the gate could not accept; the stream goes on (RFC 6120 §8.3).
    fn reject(&mut self, rejected: &Rejected<'_>) -> Result<(), End> {
        if rejected.fault == Fault::From {
            return Err(StreamError::from(StreamCondition::InvalidFrom).into());
        }
        if let Some(inbound) = self.inbound {
            self.binding.sends(inbound.next(), &rejected.stanza);
        }
        self.binding.refuse(&rejected.stanza, &rejected.error, self.batch);
        Ok(())
    }

    /// What follows may take long, and an answer must not wait for it.
    async fn answer_first(&mut self) {
        let Some(inbound) = self.inbound else { return };
        inbound.covered(self.binding, self.batch, self.router);
        inbound.follow(self.binding, self.batch);
        if let Some(count) = inbound.answer(self.router).await {
            answer(self.binding, self.router, count);
        }
    }

    /// Something that is no stanza.
    async fn hear(&mut self, element: &Element) -> Result<(), End> {
        let words = self.router.acknowledgement();
        let Some((words, said)) = words.and_then(|words| Some((words, words.read(element)?))) else {
            if let Some(state) = self.router.client_state()
                && let Some(attention) = (state.read)(element)
            {
                self.binding.attend(attention, &state);
                return Ok(());
            }
            // RFC 6120 §4.9.3.24: a first-level child that is no stanza and nothing that was offered.
            return Err(StreamError::from(StreamCondition::UnsupportedStanzaType).into());
        };
        match (said, &mut *self.inbound) {
            (Ok(Said::Enable(wish)), None) => self.enable(words, wish),
            (Ok(Said::Request), Some(inbound)) => inbound.asked(),
            (Ok(Said::Handled(count)), Some(_)) => {
                let confirmed = self.binding.confirm(count, self.batch).await;
                confirmed.map_err(|fault| words.too_high(fault))?;
            }
            (Ok(Said::Enable(_)), Some(_)) => {
                // XEP-0198 §3: one attempt is all that a client may make.
                let text = "acknowledgement is enabled already";
                return Err(StreamError::new(StreamCondition::PolicyViolation, text).into());
            }
            (Ok(_), _) => self.binding.ring.push_aside(&words.failed(Condition::UnexpectedRequest, None)),
            (Err(error), _) => self.binding.ring.push_aside(&words.failed(error.condition, None)),
        }
        Ok(())
    }

    fn enable(&mut self, words: &dyn Acknowledgement, wish: Wish) {
        let retention = agreed(self.router, words, wish);
        let inbound = Inbound::new(0, retention.resumption.is_some());
        self.binding.ring.retain(retention);
        self.binding.remember(self.batch);
        inbound.follow(self.binding, self.batch);
        *self.inbound = Some(Box::new(inbound));
    }
}

/// Tells the client how many of its stanzas are in safe hands.
fn answer(binding: &Binding, router: &Router, count: u64) {
    if let Some(words) = router.acknowledgement() {
        binding.ring.push_aside(&words.handled(modulo(count)));
    }
}

//! The connection of a component, from its first byte to its last: moves values between transport,
//! rules, router and seat.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::jid::{BareJid, Jid};
use crate::net::Transport;
use crate::random;
use crate::routing::{Batch, Origin, Router, Service};
use crate::stream::{
    CLOSE, ContentNamespace, Event, Fault, Framing, Limits, Reader, Rejected, STREAMS_NS, StreamCondition, StreamError,
};
use crate::telemetry::authentication_failure;

use super::Components;
use super::component::Component;
use super::seat::Seat;
use super::xep_0114_component::{ACCEPTED, Handshake, Next, Refused};

/// How often the connection is looked at: whether it takes what waits for it, and whether it is there
/// at all if nothing does (RFC 6120 §4.6.1).
const LOOK: Duration = Duration::from_secs(60);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A component that has proven who it is.
pub struct Connection {
    // The order matters: the seat is given back before the connection goes.
    seat: Seat,
    wire: Wire,
    /// [`Components::stop`] waits for its end.
    closing: watch::Receiver<bool>,
}

/// A transport with the gate in front of it.
struct Wire {
    transport: Transport,
    reader: Reader,
    /// What has come and is not yet read.
    input: Vec<u8>,
}

/// Why a connection is over.
enum End {
    /// The component has closed the stream.
    Closed,
    Lost(io::Error),
    /// The component takes nothing of what waits for it.
    Stalled,
    /// The component has ended the stream with this.
    Told(StreamError),
    /// The component is to be told this.
    Error(StreamError),
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self::Error(error)
    }
}

impl Components {
    /// Leads a connection to a component; `None` if it is none. Dropping the future ends the connection.
    pub async fn accept(&self, transport: Transport) -> Option<Connection> {
        let (router, address) = (self.router()?, transport.peer());
        let mut rules = Handshake::new(&self.secrets);
        let mut wire = Wire {
            transport,
            reader: Reader::new(Framing::Stream, ContentNamespace::Component, Limits::UNAUTHENTICATED),
            input: Vec::new(),
        };
        loop {
            let mut effect = match wire.event().await {
                Ok(Event::Open(header)) => rules.opened(&header, random::token()),
                Ok(Event::Nonza(element)) => rules.element(&element),
                Ok(Event::Stanza(_) | Event::Rejected(_)) => {
                    rules.refuse(&StreamError::new(StreamCondition::NotAuthorized, "a handshake comes first"))
                }
                Ok(Event::Close) => {
                    wire.finish(CLOSE).await;
                    return None;
                }
                Err(End::Error(error)) => rules.refuse(&error),
                Err(_) => return None,
            };
            if let Next::Proven(name) = &effect.next {
                let component = self.get(name)?;
                let arrival = (self.clock.now(), address);
                match Seat::take(component, Arc::clone(&router), arrival, ACCEPTED).await {
                    Ok(seat) => return Some(Connection::begin(seat, wire, self.until_closing(), address)),
                    Err(_) => {
                        tracing::warn!(component = %name, ?address, "a component is connected twice");
                        let text = "the component is connected already";
                        effect = rules.refuse(&StreamError::new(StreamCondition::Conflict, text));
                    }
                }
            }
            if let Next::Close(refused) = effect.next {
                match refused {
                    Refused::Secret => authentication_failure(address, "component", "not-authorized"),
                    Refused::Other(reason) => tracing::info!(?address, reason, "a component was refused"),
                }
                wire.finish(&effect.write).await;
                return None;
            }
            // If this fails, the next look for something to read says so.
            let _ = wire.transport.write_all(effect.write.as_bytes()).await;
        }
    }
}

impl Wire {
    /// Waits for the next event, owned: before it is known who it is nothing is worth borrowing for.
    async fn event(&mut self) -> Result<Event<'static>, End> {
        loop {
            let step = self.reader.next(&self.input)?;
            let (consumed, event) = (step.consumed, step.event.map(Event::into_owned));
            self.input.drain(..consumed);
            if let Some(event) = event {
                return Ok(event);
            }
            // A stranger who sent much and now says nothing holds no more than he has to.
            self.input.shrink_to(self.input.len().next_power_of_two());
            poll_fn(|context| self.poll_fill(context)).await?;
        }
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        match ready!(self.transport.poll_drain(context, &mut self.input)) {
            Ok(0) => {
                Poll::Ready(Err(End::Lost(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word"))))
            }
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(End::Lost(error))),
        }
    }

    /// Says the last words. A peer that does not take them in time is cut off.
    async fn finish(mut self, last: &str) {
        let _ = timeout(FAREWELL, self.transport.finish(last.as_bytes())).await;
        self.clear_input().await;
    }

    /// A connection that is closed with unread input is reset, and the peer may lose what was written
    /// last: what lies there is read and thrown away, once.
    async fn clear_input(&mut self) {
        self.input.clear();
        let _ = poll_fn(|context| Poll::Ready(self.transport.poll_drain(context, &mut self.input).is_ready())).await;
    }
}

impl Connection {
    fn begin(seat: Seat, mut wire: Wire, closing: watch::Receiver<bool>, address: Option<SocketAddr>) -> Self {
        wire.transport.trust_peer();
        wire.reader.set_limits(seat.component.settings.limits);
        tracing::info!(component = seat.component.name(), ?address, "component connected");
        Self { seat, wire, closing }
    }

    /// Takes and gives stanzas until the stream ends.
    pub async fn run(mut self) {
        let mut closing = self.closing.clone();
        let mut closing = pin!(async move {
            // The sender lives as long as there are components.
            let _ = closing.wait_for(|closing| *closing).await;
        });
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What came together with the handshake is here already; no readiness tells of it.
        let mut end = self.take_in().await;
        while end.is_none() {
            end = tokio::select! {
                woken = poll_fn(|context| self.poll_wake(context)) => match woken {
                    Ok(()) => self.take_in().await,
                    Err(end) => Some(end),
                },
                _ = look.tick() => self.look(),
                () = &mut closing => Some(End::Error(StreamCondition::SystemShutdown.into())),
            };
        }
        self.finish(end.unwrap_or(End::Closed)).await;
    }

    /// Writes what waits and reads what has come, whichever is possible.
    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Poll::Ready(error) = self.seat.poll_flush(&mut self.wire.transport, context) {
            return Poll::Ready(Err(End::Lost(error)));
        }
        self.wire.poll_fill(context)
    }

    /// A component that takes nothing while something waits is given up, so that those who wait for its
    /// answers learn it. To one for which nothing waits white space is sent: if the connection is dead,
    /// the operating system finds out.
    fn look(&mut self) -> Option<End> {
        let moved = self.seat.has_moved();
        if self.seat.is_idle() {
            self.seat.component.say(" ");
            return None;
        }
        (!moved).then_some(End::Stalled)
    }

    /// Routes every complete stanza of the input as one batch.
    async fn take_in(&mut self) -> Option<End> {
        let Self { seat, wire: Wire { transport, reader, input }, .. } = self;
        let (router, component) = (Arc::clone(&seat.router), Arc::clone(&seat.component));
        let mut batch = router.batch();
        let mut ended = None;
        let read = {
            let taking = Taking { router: &router, component: &component, batch: &mut batch };
            let mut reading = pin!(taking.read_all(reader, input));
            poll_fn(|context| {
                let read = reading.as_mut().poll(context);
                // A stanza may wait for storage or for its handler: what is there goes out meanwhile. A
                // stanza that was begun is finished in any case.
                if read.is_pending()
                    && ended.is_none()
                    && let Poll::Ready(error) = seat.poll_flush(transport, context)
                {
                    ended = Some(End::Lost(error));
                }
                read
            })
            .await
        };
        batch.finish();
        read.err().or(ended)
    }

    async fn finish(self, end: End) {
        let Self { mut seat, mut wire, closing } = self;
        let (last, reason) = match end {
            End::Closed => (Some(CLOSE.to_owned()), "closed by the component".to_owned()),
            End::Told(error) => (Some(CLOSE.to_owned()), format!("ended by the component: {error}")),
            End::Error(error) => (Some(error.to_xml() + CLOSE), error.to_string()),
            End::Lost(error) => (None, format!("the connection broke: {error}")),
            End::Stalled => (None, "it takes nothing".to_owned()),
        };
        tracing::info!(component = seat.component.name(), reason, "component disconnected");
        if let Some(last) = last {
            // What waits still goes out, in front of the last words: they do not fit into a stanza.
            let farewell = async {
                poll_fn(|context| seat.poll_drained(&mut wire.transport, context)).await?;
                wire.transport.finish(last.as_bytes()).await
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
        drop(seat);
        wire.clear_input().await;
        drop(closing);
    }
}

/// What one wake-up works with.
struct Taking<'a> {
    router: &'a Router,
    component: &'a Component,
    batch: &'a mut Batch,
}

impl Taking<'_> {
    async fn read_all(mut self, reader: &mut Reader, input: &mut Vec<u8>) -> Result<(), End> {
        self.router.pressure().await;
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
            if let Err(end) = self.take(event).await {
                break Err(end);
            }
            done += step.consumed;
        };
        input.drain(..done);
        result
    }

    /// Handles one event of the stream of a component.
    async fn take(&mut self, event: Event<'_>) -> Result<(), End> {
        match event {
            Event::Stanza(stanza) => {
                self.router.route(Origin::Component(self.component.name()), stanza, self.batch).await?;
                Ok(())
            }
            Event::Rejected(rejected) => self.reject(rejected),
            Event::Close => Err(End::Closed),
            Event::Open(_) => Err(StreamError::from(StreamCondition::BadFormat).into()),
            Event::Nonza(element) if element.is("error", STREAMS_NS) => {
                Err(End::Told(StreamError::from_element(&element)))
            }
            Event::Nonza(_) => Err(StreamError::from(StreamCondition::UnsupportedStanzaType).into()),
        }
    }

    /// Answers a stanza that the gate could not accept; the stream goes on, because the odd address of
    /// one user of a gateway must not cost all others the connection.
    fn reject(&mut self, Rejected { mut stanza, error, fault }: Rejected<'_>) -> Result<(), End> {
        let domain = |name: &str| BareJid::of_domain(name).ok().map(Jid::from);
        match &stanza.from {
            None if fault == Fault::From => stanza.from = domain(self.component.name()),
            None => return Err(StreamError::from(StreamCondition::ImproperAddressing).into()),
            Some(from) if from.domain() != self.component.name() => {
                return Err(StreamError::from(StreamCondition::InvalidFrom).into());
            }
            Some(_) => {}
        }
        if let Some(mut answer) = stanza.error(&error) {
            answer.from = answer.from.or_else(|| domain(&self.component.settings.parent));
            // An error is not answered.
            drop(self.component.take(&answer, self.batch));
        }
        Ok(())
    }
}

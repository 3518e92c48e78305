//! 1:1 chat: pairs of clients, one writes and the other reads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::acks::{Acks, EVERY, REQUEST};
use crate::client::Session;
use crate::count::Counter;
use crate::meter::{Length, Measured, measure};
use crate::process::Clock;

/// Messages in flight for one pair when nothing else limits them.
pub const WINDOW: usize = 64;

/// The size of every message.
pub const SIZE: usize = 300;

/// Messages that were sent must arrive within this time after the last was sent.
const PATIENCE: Duration = Duration::from_secs(300);

/// How fast the clients write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Every pair has [`WINDOW`] messages in flight.
    Saturated,
    /// The same, and what is measured begins with the first message and ends when the last has arrived: for servers
    /// that take in much before anything comes out.
    Drained,
    /// All pairs together write this many messages a second.
    PerSecond(u32),
}

/// Two clients, the second reads what the first writes.
pub struct Pair {
    pub from: Session,
    pub to: Session,
    pub message: Rc<[u8]>,
    /// With stream management: what both ends have to answer.
    pub acks: Option<Box<Managed>>,
}

/// Stream management at both ends of a pair.
#[derive(Default)]
pub struct Managed {
    from: Acks,
    to: Acks,
    /// Messages since the writer asked the last time.
    since: usize,
}

/// A message of the common size to this address.
pub fn message(to: &str) -> Rc<[u8]> {
    let (head, tail) = (format!("<message to='{to}' type='chat' id='m1'><body>"), "</body></message>");
    let body = "It is a truth universally acknowledged, that a single man must be in want of a server. ".repeat(4);
    let text = format!("{head}{}{tail}", &body[..SIZE - head.len() - tail.len()]);
    text.into_bytes().into()
}

/// What the tasks of all pairs share.
#[derive(Default)]
struct Shared {
    received: Cell<u64>,
    stopping: Cell<bool>,
    latencies: RefCell<Vec<u32>>,
    pairs: RefCell<Vec<Slot>>,
}

/// How the pacer and one pair's task talk.
#[derive(Default)]
struct Slot {
    due: usize,
    waker: Option<Waker>,
}

/// Runs the load and measures it. The pairs come back for the next measurement.
pub async fn run(pairs: Vec<Pair>, pace: Pace, roots: &[u32], length: Length) -> io::Result<(Vec<Pair>, Measured)> {
    let shared = Rc::new(Shared::default());
    shared.pairs.borrow_mut().resize_with(pairs.len(), Slot::default);
    let tasks: Vec<JoinHandle<io::Result<Pair>>> = pairs
        .into_iter()
        .enumerate()
        .map(|(number, pair)| spawn_local(Task::new(pair, pace, number, Rc::clone(&shared)).run()))
        .collect();
    let pacer = match pace {
        Pace::Saturated | Pace::Drained => None,
        Pace::PerSecond(rate) => Some(spawn_local(keep_pace(Rc::clone(&shared), rate))),
    };
    let (mut clock, started) = (Clock::of(roots)?, Instant::now());
    let before = clock.read()?;
    let begin = || shared.latencies.borrow_mut().clear();
    let measured = measure(roots, length, || shared.received.get(), begin).await;
    shared.stopping.set(true);
    if let Some(pacer) = pacer {
        pacer.abort();
    }
    for slot in shared.pairs.borrow_mut().iter_mut() {
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }
    let mut back = Vec::with_capacity(tasks.len());
    for task in tasks {
        let ended = timeout(PATIENCE, task).await.map_err(|_| io::Error::other("messages were lost"))?;
        back.push(ended.map_err(io::Error::other)??);
    }
    let mut measured = match pace {
        Pace::Drained => Measured::new(shared.received.get(), clock.read()?.saturating_sub(before), started.elapsed())?,
        _ => measured?,
    };
    if matches!(pace, Pace::PerSecond(_)) {
        measured = measured.with_latencies(shared.latencies.take());
    }
    Ok((back, measured))
}

/// Tells the pairs in turn to write one message, `rate` times a second.
async fn keep_pace(shared: Rc<Shared>, rate: u32) {
    let (started, mut told) = (Instant::now(), 0_u64);
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let due = u64::try_from(started.elapsed().as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX);
        let mut pairs = shared.pairs.borrow_mut();
        while told < due {
            let turn = usize::try_from(told).unwrap_or(0) % pairs.len();
            let slot = &mut pairs[turn];
            slot.due += 1;
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
            told += 1;
        }
    }
}

struct Task {
    pair: Pair,
    pace: Pace,
    number: usize,
    shared: Rc<Shared>,
    /// The message with a request for an acknowledgement behind it.
    asking: Vec<u8>,
    /// Messages that wait to be written, and how much of the first the transport has taken.
    to_write: usize,
    sent: usize,
    in_flight: usize,
    written_at: VecDeque<Instant>,
    arrived: Counter,
    /// Whatever the writer gets can only be an error.
    errors: Counter,
}

impl Task {
    fn new(pair: Pair, pace: Pace, number: usize, shared: Rc<Shared>) -> Self {
        let asking = [&pair.message, REQUEST.as_bytes()].concat();
        Self {
            pair,
            pace,
            number,
            shared,
            asking,
            to_write: 0,
            sent: 0,
            in_flight: 0,
            written_at: VecDeque::new(),
            arrived: Counter::new("</message>"),
            errors: Counter::new("<message"),
        }
    }

    async fn run(mut self) -> io::Result<Pair> {
        poll_fn(|context| self.poll(context)).await?;
        Ok(self.pair)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.read(context)?;
        if let Some(acks) = &mut self.pair.acks {
            answer(&mut self.pair.to, &mut acks.to, context)?;
        }
        loop {
            // Between two messages, never within one.
            if let Some(acks) = self.pair.acks.as_mut().filter(|_| self.sent == 0)
                && !answer(&mut self.pair.from, &mut acks.from, context)?
            {
                return Poll::Pending;
            }
            if self.to_write == 0 {
                self.take_due(context);
            }
            if self.to_write == 0 {
                let done = self.shared.stopping.get() && self.in_flight == 0;
                return if done { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            // One write and one flush for each message, as clients do it.
            let asks = self.pair.acks.as_ref().is_some_and(|acks| acks.since + 1 == EVERY);
            let bytes: &[u8] = if asks { &self.asking } else { &self.pair.message };
            ready!(self.pair.from.poll_output(context, bytes, &mut self.sent))?;
            self.sent = 0;
            self.to_write -= 1;
            if let Some(acks) = &mut self.pair.acks {
                acks.since = if asks { 0 } else { acks.since + 1 };
            }
        }
    }

    fn read(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut count = 0;
        let (mut to, mut from) = match self.pair.acks.as_deref_mut() {
            Some(acks) => (Some(&mut acks.to), Some(&mut acks.from)),
            None => (None, None),
        };
        self.pair.to.poll_input(context, |bytes| {
            count += self.arrived.count(bytes);
            if let Some(to) = &mut to {
                to.take(bytes);
            }
        })?;
        if count > self.in_flight {
            return Err(io::Error::other("more messages arrived than were sent"));
        }
        self.in_flight -= count;
        self.shared.received.set(self.shared.received.get() + count as u64);
        if matches!(self.pace, Pace::PerSecond(_)) {
            let mut latencies = self.shared.latencies.borrow_mut();
            for written_at in self.written_at.drain(..count) {
                latencies.push(u32::try_from(written_at.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
        }
        let mut errors = 0;
        self.pair.from.poll_input(context, |bytes| {
            errors += self.errors.count(bytes);
            if let Some(from) = &mut from {
                from.take(bytes);
            }
        })?;
        if errors > 0 { Err(io::Error::other("a message came back")) } else { Ok(()) }
    }

    /// Takes note of the messages that may be written now.
    fn take_due(&mut self, context: &mut Context<'_>) {
        let mut pairs = self.shared.pairs.borrow_mut();
        let slot = &mut pairs[self.number];
        slot.waker = Some(context.waker().clone());
        let count = match self.pace {
            _ if self.shared.stopping.get() => 0,
            Pace::Saturated | Pace::Drained => WINDOW - self.in_flight,
            Pace::PerSecond(_) => std::mem::take(&mut slot.due),
        };
        if matches!(self.pace, Pace::PerSecond(_)) {
            self.written_at.extend(std::iter::repeat_n(Instant::now(), count));
        }
        self.to_write = count;
        self.in_flight += count;
    }
}

/// Writes what the transport takes of the answers; whether none is left.
fn answer(session: &mut Session, acks: &mut Acks, context: &mut Context<'_>) -> io::Result<bool> {
    if acks.answers.is_empty() {
        return Ok(true);
    }
    if session.poll_output(context, &acks.answers, &mut acks.written)?.is_pending() {
        return Ok(false);
    }
    acks.answers.clear();
    acks.written = 0;
    Ok(true)
}

//! The network between clients and servers: slow, cut, silent, split, as the seed wants it.
//!
//! What is written on a connection travels in parcels. One parcel arrives at a time, in a millisecond of its own: the
//! clock moves on only when everybody has done what there was to do, so everything that follows from an arrival has
//! happened before the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use comity::testing::Chance;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, sleep_until};

use crate::trace::Trace;

/// Bytes that may be on their way, or wait to be read, in one direction.
const WINDOW: usize = 64 * 1024;

/// How long a server waits for what it has sent to be confirmed, in milliseconds.
const PATIENCE: u64 = 60_000;

/// Who has a place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Server(usize),
    Client(usize),
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    Clients,
    Servers,
}

/// What happens to a connection once some more parcels have passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is reset in the middle of a parcel.
    Cut,
    /// The reader sees the end, and what follows is lost; the other direction goes on.
    HalfClosed,
    /// Nothing passes any more, and nobody is told.
    Silent,
}

/// One connection, and which end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: u64,
    side: usize,
}

pub(crate) struct Net {
    seed: u64,
    trace: Trace,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<(usize, Port), mpsc::UnboundedSender<Pipe>>,
    lines: BTreeMap<u64, Line>,
    opened: u64,
    dials: BTreeMap<(Party, usize, Port), u64>,
    /// When a parcel arrives, and which end has written it. Of those that arrive together, those of the older connection go
    /// first: the order in which they were written may depend on a thread.
    due: BTreeSet<(u64, Place, u64)>,
    sequence: u64,
    /// The moment that belongs to no parcel yet.
    free: u64,
    /// Parcels that cannot pass now, and since when.
    held: Vec<(Place, u64)>,
    split: BTreeSet<(Party, Party)>,
}

struct Line {
    ends: [Party; 2],
    /// What each end writes.
    flows: [Flow; 2],
    /// An end that is not used any more.
    gone: [bool; 2],
    silent: bool,
}

struct Flow {
    chance: Chance,
    /// Milliseconds that a parcel takes.
    pace: (u64, u64),
    parcels: VecDeque<Parcel>,
    /// When the last of them arrives.
    last: u64,
    travelling: usize,
    arrived: VecDeque<u8>,
    /// Nothing more is written.
    closed: bool,
    /// Nothing more is read.
    ended: bool,
    /// Both ends know that the connection is lost.
    broken: bool,
    /// Bytes vanish.
    leaking: bool,
    fate: Option<(u64, Fate)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Parcel {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Net {
    pub(crate) fn new(seed: u64, trace: Trace) -> Arc<Self> {
        Arc::new(Self { seed, trace, state: Mutex::default(), news: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings parcels to where they are to go, for ever.
    pub(crate) async fn carry(self: Arc<Self>) {
        loop {
            let next = self.lock().next();
            match next {
                None => self.news.notified().await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = sleep_until(self.trace.at(at)) => self.deliver(at),
                        () = self.news.notified() => {}
                    }
                }
            }
        }
    }

    fn deliver(&self, at: u64) {
        let mut state = self.lock();
        state.free = at + 1;
        let Some((_, place, _)) = state.due.pop_first() else { return };
        let event = state.arrive(place, at);
        self.trace.note(format_args!("line {}, side {}: {event}", place.line, place.side));
    }

    /// A server is there for others.
    pub(crate) fn listen(&self, server: usize, port: Port) -> mpsc::UnboundedReceiver<Pipe> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert((server, port), sender);
        receiver
    }

    /// Opens a connection; waits as long as nothing passes.
    pub(crate) async fn dial(self: &Arc<Self>, from: Party, server: usize, port: Port) -> io::Result<Pipe> {
        let number = {
            let mut state = self.lock();
            let number = state.dials.entry((from, server, port)).or_default();
            *number += 1;
            *number
        };
        let (kind, who) = match from {
            Party::Server(who) => (1, who),
            Party::Client(who) => (2, who),
        };
        let key = [kind, who as u64, server as u64, port as u64, number];
        let mut chance = Chance::of(self.seed, &key);
        let fastest = chance.between(1, 25);
        let pace = (fastest, fastest + chance.between(0, 40));
        sleep(Duration::from_millis(2 * fastest)).await;
        while self.is_split(from, Party::Server(server)) {
            sleep(Duration::from_millis(500)).await;
        }
        let mut state = self.lock();
        let listener = state.listeners.get(&(server, port)).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        state.opened += 1;
        let line = state.opened;
        let flow = |side: u64| Flow::new(Chance::of(chance.clone().draw(), &[side]), pace);
        let (ends, flows) = ([from, Party::Server(server)], [flow(0), flow(1)]);
        state.lines.insert(line, Line { ends, flows, gone: [false; 2], silent: false });
        drop(state);
        let pipe = |side| Pipe { net: Arc::clone(self), place: Place { line, side } };
        let theirs = listener.send(pipe(1));
        let ours = pipe(0);
        theirs.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        self.trace.note(format_args!("line {line} opened by {from:?} to {server} {port:?}"));
        Ok(ours)
    }

    fn is_split(&self, one: Party, other: Party) -> bool {
        self.lock().split.contains(&pair(one, other))
    }

    /// Nothing passes between these two.
    pub(crate) fn split(&self, one: Party, other: Party) {
        self.lock().split.insert(pair(one, other));
    }

    /// Everything passes again; what was under way arrives.
    pub(crate) fn heal(&self) {
        let now = self.trace.now();
        let mut state = self.lock();
        state.split.clear();
        for (place, _) in std::mem::take(&mut state.held) {
            state.schedule(place, now);
        }
        drop(state);
        self.news.notify_one();
    }

    /// The connections that are open, in the order of their beginning.
    pub(crate) fn open(&self) -> Vec<u64> {
        let state = self.lock();
        state.lines.iter().filter(|(_, line)| line.gone == [false; 2]).map(|(number, _)| *number).collect()
    }

    /// Decides what happens when `parcels` more have passed in one direction.
    pub(crate) fn doom(&self, line: u64, side: usize, parcels: u64, fate: Fate) {
        if let Some(line) = self.lock().lines.get_mut(&line) {
            line.flows[side].fate.get_or_insert((parcels, fate));
        }
    }

    /// Nothing passes on this connection any more, and nobody is told.
    pub(crate) fn silence(&self, line: u64) {
        if let Some(line) = self.lock().lines.get_mut(&line) {
            line.silent = true;
        }
    }

    /// What a server has sent on a connection that it has opened, and what nobody has confirmed for a minute, ends that
    /// connection for it, as it has the system do (`net::network`).
    pub(crate) fn despair(&self) {
        let now = self.trace.now();
        let mut state = self.lock();
        let state = &mut *state;
        for (place, since) in &state.held {
            let Some(line) = state.lines.get_mut(&place.line) else { continue };
            let opened = place.side == 0 && matches!(line.ends[0], Party::Server(_));
            if opened && now.saturating_sub(*since) >= PATIENCE && !line.gone[0] {
                line.abandon(0);
                self.trace.note(format_args!("line {} is given up", place.line));
            }
        }
    }

    /// No connection has a fate any more.
    pub(crate) fn forgive(&self) {
        let mut state = self.lock();
        for line in state.lines.values_mut() {
            line.flows.iter_mut().for_each(|flow| flow.fate = None);
        }
    }

    /// A server is gone, and with it its ends of all connections.
    pub(crate) fn kill(&self, server: usize) {
        let now = self.trace.now();
        let mut state = self.lock();
        state.listeners.retain(|(of, _), _| *of != server);
        let mut ends = Vec::new();
        for (number, line) in &mut state.lines {
            for side in 0..2 {
                if line.ends[side] == Party::Server(server) && !line.gone[side] {
                    line.leave(side, Parcel::Reset);
                    ends.push(Place { line: *number, side });
                }
            }
        }
        for place in ends {
            state.schedule(place, now);
        }
        drop(state);
        self.news.notify_one();
    }

    fn post(&self, state: &mut State, place: Place, parcel: Parcel) {
        if let Some(line) = state.lines.get_mut(&place.line) {
            line.flows[place.side].parcels.push_back(parcel);
            state.schedule(place, self.trace.now());
            self.news.notify_one();
        }
    }
}

fn pair(one: Party, other: Party) -> (Party, Party) {
    (one.min(other), one.max(other))
}

impl State {
    fn next(&self) -> Option<u64> {
        self.due.first().map(|(at, ..)| (*at).max(self.free))
    }

    /// One more parcel of this end is on its way.
    fn schedule(&mut self, place: Place, now: u64) {
        let Some(line) = self.lines.get_mut(&place.line) else { return };
        let flow = &mut line.flows[place.side];
        let at = flow.last.max(now + flow.chance.between(flow.pace.0, flow.pace.1));
        flow.last = at;
        self.sequence += 1;
        self.due.insert((at, place, self.sequence));
    }

    /// The next parcel of this end arrives; says what that was.
    fn arrive(&mut self, place: Place, now: u64) -> &'static str {
        let Some(line) = self.lines.get_mut(&place.line) else { return "nobody is there" };
        if line.silent || self.split.contains(&pair(line.ends[0], line.ends[1])) {
            self.held.push((place, now));
            return "a parcel is held up";
        }
        let Some(parcel) = line.flows[place.side].parcels.pop_front() else { return "nothing" };
        let event = line.arrive(place.side, parcel);
        if line.gone == [true; 2] && line.flows.iter().all(|flow| flow.parcels.is_empty()) {
            self.lines.remove(&place.line);
        }
        event
    }
}

impl Line {
    fn arrive(&mut self, side: usize, parcel: Parcel) -> &'static str {
        let to = 1 - side;
        match parcel {
            Parcel::Reset => {
                self.reset();
                "is reset"
            }
            Parcel::End => {
                self.flows[side].end();
                "is closed"
            }
            Parcel::Bytes(bytes) => {
                self.flows[side].travelling -= bytes.len();
                if self.flows[side].broken {
                    return "a parcel is lost";
                }
                if self.gone[to] {
                    // Nobody is there to read it, and that is told.
                    self.reset();
                    return "is read by nobody";
                }
                let fate = self.flows[side].fated();
                match fate {
                    Some(Fate::Cut) => {
                        // Half a parcel is of no use to TLS, however long it is.
                        self.flows[side].take_in(bytes.get(..bytes.len() / 2).unwrap_or_default());
                        self.reset();
                        "is cut"
                    }
                    Some(Fate::HalfClosed) => {
                        self.flows[side].leaking = true;
                        self.flows[side].end();
                        "is half closed"
                    }
                    Some(Fate::Silent) => {
                        self.silent = true;
                        "is silent"
                    }
                    None if self.flows[side].leaking => "a parcel is lost",
                    None => {
                        self.flows[side].take_in(&bytes);
                        "a parcel"
                    }
                }
            }
        }
    }

    fn reset(&mut self) {
        for flow in &mut self.flows {
            flow.broken = true;
            flow.wake();
        }
    }

    /// One end is not used any more; `last` is what it still says.
    fn leave(&mut self, side: usize, last: Parcel) {
        self.flows[side].parcels.push_back(last);
        self.abandon(side);
    }

    /// One end is not used any more, and says nothing.
    fn abandon(&mut self, side: usize) {
        self.gone[side] = true;
        self.flows[side].closed = true;
        let to_it = &mut self.flows[1 - side];
        to_it.arrived = VecDeque::new();
        self.flows.iter_mut().for_each(Flow::wake);
    }
}

impl Flow {
    fn new(chance: Chance, pace: (u64, u64)) -> Self {
        Self {
            chance,
            pace,
            parcels: VecDeque::new(),
            last: 0,
            travelling: 0,
            arrived: VecDeque::new(),
            closed: false,
            ended: false,
            broken: false,
            leaking: false,
            fate: None,
            reader: None,
            writer: None,
        }
    }

    fn fated(&mut self) -> Option<Fate> {
        let (left, fate) = self.fate.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let fate = *fate;
        self.fate = None;
        Some(fate)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.arrived.extend(bytes);
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn end(&mut self) {
        self.ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.travelling + self.arrived.len())
    }
}

/// One end of a connection.
pub(crate) struct Pipe {
    net: Arc<Net>,
    place: Place,
}

impl Pipe {
    /// Which connection it is.
    pub(crate) const fn line(&self) -> u64 {
        self.place.line
    }
}

fn lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.lock();
        let side = self.place.side;
        let Some(line) = state.lines.get_mut(&self.place.line) else { return Poll::Ready(Err(lost())) };
        if line.gone[side] {
            return Poll::Ready(Err(lost()));
        }
        let flow = &mut line.flows[1 - side];
        if flow.arrived.is_empty() {
            if flow.broken {
                return Poll::Ready(Err(lost()));
            }
            if flow.ended {
                return Poll::Ready(Ok(()));
            }
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = flow.arrived.len().min(buf.remaining());
        let (front, _) = flow.arrived.as_slices();
        let count = count.min(front.len());
        buf.put_slice(front.get(..count).unwrap_or_default());
        flow.arrived.drain(..count);
        flow.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.net.lock();
        let Some(line) = state.lines.get_mut(&self.place.line) else { return Poll::Ready(Err(lost())) };
        let gone = line.gone[self.place.side];
        let flow = &mut line.flows[self.place.side];
        if gone || flow.broken || flow.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = flow.room().min(bytes.len());
        if count == 0 && !bytes.is_empty() {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        flow.travelling += count;
        let parcel = Parcel::Bytes(bytes.get(..count).unwrap_or_default().to_vec());
        self.net.post(&mut state, self.place, parcel);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.lock();
        let Some(line) = state.lines.get_mut(&self.place.line) else { return Poll::Ready(Ok(())) };
        if !line.gone[self.place.side] && !std::mem::replace(&mut line.flows[self.place.side].closed, true) {
            self.net.post(&mut state, self.place, Parcel::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.net.lock();
        let Some(line) = state.lines.get_mut(&self.place.line) else { return };
        let side = self.place.side;
        if !line.gone[side] {
            line.leave(side, Parcel::End);
            state.schedule(self.place, self.net.trace.now());
            self.net.news.notify_one();
        }
    }
}

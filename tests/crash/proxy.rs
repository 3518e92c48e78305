//! A connection that goes wrong: it is cut, says nothing any more, or is closed on one side, after so many bytes.
//!
//! What goes wrong is decided by the [`Line`], whether the bytes go over TCP or through memory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Who sends the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Whoever has opened the connection.
    Up,
    /// The other one.
    Down,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Both sides find the connection closed.
    Cut,
    /// No byte goes through any more, in either direction.
    Stall,
    /// Whoever reads finds the end, and can go on sending.
    HalfClose,
}

/// What goes wrong, and after how many bytes of this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) fault: Fault,
    pub(crate) after: u64,
    pub(crate) way: Way,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fate: Option<Fate>,
    /// Bytes that have passed, up and down, since the fate was decided.
    passed: [u64; 2],
    struck: bool,
}

impl Line {
    /// Counts from here, and has this happen.
    pub(crate) fn decide(&self, fate: Option<Fate>) {
        *self.lock() = State { fate, ..State::default() };
    }

    /// How many bytes have passed, up and down.
    pub(crate) fn passed(&self) -> [u64; 2] {
        self.lock().passed
    }

    /// Whether it has happened.
    pub(crate) fn struck(&self) -> bool {
        self.lock().struck
    }

    /// How many of `bytes` pass, and what happens behind them.
    fn pass(&self, way: Way, bytes: usize) -> (usize, Option<Fault>) {
        let mut state = self.lock();
        let passed = state.passed[way as usize];
        let fate = state.fate.filter(|fate| fate.way == way && passed + bytes as u64 >= fate.after);
        let through = fate.map_or(bytes, |fate| usize::try_from(fate.after.saturating_sub(passed)).unwrap());
        state.passed[way as usize] += through as u64;
        state.struck |= fate.is_some();
        (through, fate.map(|fate| fate.fault))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries bytes between `near`, which has opened the connection, and `far`, until it ends, in order or not.
pub(crate) async fn carry(
    near: impl AsyncRead + AsyncWrite + Unpin,
    far: impl AsyncRead + AsyncWrite + Unpin,
    line: &Line,
) {
    let ((near_in, near_out), (far_in, far_out)) = (tokio::io::split(near), tokio::io::split(far));
    let (stalled, stalls) = watch::channel(false);
    let (cut, mut cuts) = mpsc::channel::<()>(1);
    let one = |way| Direction { line, way, stalled: &stalled, stalls: stalls.clone(), cut: cut.clone() };
    tokio::select! {
        _ = async { tokio::join!(one(Way::Up).carry(near_in, far_out), one(Way::Down).carry(far_in, near_out)) } => {}
        _ = cuts.recv() => {}
    }
}

struct Direction<'a> {
    line: &'a Line,
    way: Way,
    stalled: &'a watch::Sender<bool>,
    stalls: watch::Receiver<bool>,
    cut: mpsc::Sender<()>,
}

impl Direction<'_> {
    async fn carry(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                biased;
                () = stalls(&mut self.stalls) => return std::future::pending().await,
                read = from.read(&mut piece) => read.unwrap_or(0),
            };
            let (through, fault) = if read == 0 { (0, None) } else { self.line.pass(self.way, read) };
            if to.write_all(&piece[..through]).await.is_err() || to.flush().await.is_err() || read == 0 {
                break;
            }
            match fault {
                None => {}
                Some(Fault::Cut) => {
                    let _ = self.cut.send(()).await;
                }
                Some(Fault::Stall) => {
                    self.stalled.send_replace(true);
                }
                Some(Fault::HalfClose) => break,
            }
        }
        let _ = to.shutdown().await;
        // What comes still is thrown away, so that nobody waits for room.
        while from.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    }
}

/// Waits until nothing goes through any more.
async fn stalls(stalls: &mut watch::Receiver<bool>) {
    // The sender lives as long as the connection.
    let _ = stalls.wait_for(|stalled| *stalled).await;
}

/// Decides what becomes of each connection.
type Fates = Box<dyn FnMut() -> Option<Fate> + Send>;

/// A listener whose connections go to another address, each with a fate of its own.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fates: Arc<Mutex<Fates>>,
    /// Connections that are open end when this changes.
    generation: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn new(to: SocketAddr, fates: impl FnMut() -> Option<Fate> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fates: Arc<Mutex<Fates>> = Arc::new(Mutex::new(Box::new(fates)));
        let (generation, generations) = watch::channel(0);
        let decides = Arc::clone(&fates);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let line = Line::default();
                line.decide((*decides.lock().unwrap_or_else(PoisonError::into_inner))());
                let mut end = generations.clone();
                end.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    tokio::select! {
                        () = carry(near, far, &line) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        Self { address, fates, generation }
    }

    /// What becomes of the connections that are opened from now on; those that are open are cut.
    pub(crate) fn set(&self, fate: Option<Fate>) {
        *self.fates.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(move || fate);
        self.generation.send_modify(|generation| *generation += 1);
    }
}

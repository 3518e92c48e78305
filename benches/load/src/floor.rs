//! The floors: what moving the same bytes between the same sockets costs without any XMPP.
//!
//! One process on one thread. A client says in nine bytes what its connection is for: a letter and a number.
//! `R` two connections with the same number are relayed to each other; `A` the same, and what the first sends is
//! archived; `F` a member of a fan-out group; `S` a source,
//! whose bytes go to members of the group with one flush each; `L` a connection that only logs in. The group is in
//! the upper half of the number; the lower half says to how many members a source writes.
//! Each is answered with `+`. This file is frozen: figures of different days are compared with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::group_commit::Archive;
use crate::tls::{self, Certificate};

type Stream = Box<TlsStream<TcpStream>>;

/// What the floor drains at most before it writes.
const BUFFER: usize = 64 * 1024;

#[derive(Default)]
struct Waiting {
    pairs: HashMap<u64, Stream>,
    groups: HashMap<u64, Vec<Stream>>,
    archive: Option<Archive>,
}

/// Serves on this port of the loopback address until the process is ended.
pub fn run(port: u16, certificate: &Certificate, archive: PathBuf) -> io::Result<()> {
    let config = tls::server(certificate)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = listen(port)?;
        let acceptor = TlsAcceptor::from(config);
        let (waiting, archive) = (Rc::new(RefCell::new(Waiting::default())), Rc::new(archive));
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let (acceptor, waiting, archive) = (acceptor.clone(), Rc::clone(&waiting), Rc::clone(&archive));
            spawn_local(async move {
                // The handshake is boxed: an idle connection must not carry its size.
                if let Ok((role, number, stream)) = Box::pin(greet(acceptor, socket)).await {
                    serve(role, number, stream, &waiting, &archive).await;
                }
            });
        }
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    socket.listen(4096)
}

async fn greet(acceptor: TlsAcceptor, socket: TcpStream) -> io::Result<(u8, u64, Stream)> {
    let mut stream = Box::new(acceptor.accept(socket).await?);
    let role = stream.read_u8().await?;
    let number = stream.read_u64().await?;
    Ok((role, number, stream))
}

async fn serve(role: u8, number: u64, mut stream: Stream, waiting: &RefCell<Waiting>, archive: &Path) {
    if stream.write_all(b"+").await.is_err() || stream.flush().await.is_err() {
        return;
    }
    match role {
        b'R' | b'A' => {
            let mut waiting = waiting.borrow_mut();
            if role == b'A' && waiting.archive.is_none() {
                waiting.archive = Archive::open(archive).ok();
            }
            let archive = waiting.archive.clone().filter(|_| role == b'A');
            match waiting.pairs.remove(&number) {
                Some(other) => spawn_relay(stream, other, archive),
                None => drop(waiting.pairs.insert(number, stream)),
            }
        }
        b'F' => waiting.borrow_mut().groups.entry(number >> 32).or_default().push(stream),
        b'S' => {
            let mut members = waiting.borrow_mut().groups.remove(&(number >> 32)).unwrap_or_default();
            let count = usize::try_from(number & 0xffff_ffff).map_or(0, |count| count.min(members.len()));
            drop(fan_out(stream, &mut members[..count]).await);
            waiting.borrow_mut().groups.insert(number >> 32, members);
        }
        _ => until_end(stream).await,
    }
}

/// Holds a connection without a buffer of its own until the client closes it.
async fn until_end(mut stream: Stream) {
    std::future::poll_fn(|context| {
        let mut byte = [0; 1];
        loop {
            let mut space = ReadBuf::new(&mut byte);
            match ready!(Pin::new(&mut stream).poll_read(context, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
    drop(stream.shutdown().await);
}

fn spawn_relay(one: Stream, other: Stream, archive: Option<Archive>) {
    spawn_local(async move {
        let (mut one, mut other) = (one, other);
        let (mut there, mut back) = (Leg::default(), Leg { archive, ..Leg::default() });
        std::future::poll_fn(|context| {
            let there = there.pump(context, &mut one, &mut other);
            let back = back.pump(context, &mut other, &mut one);
            if there.is_ready() || back.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
}

/// One direction of a relay.
#[derive(Default)]
struct Leg {
    buffer: Vec<u8>,
    sent: usize,
    archive: Option<Archive>,
}

impl Leg {
    /// Forwards what has come, in one write where possible; ready at the end of the stream.
    fn pump(&mut self, context: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<io::Result<()>> {
        loop {
            if self.buffer.is_empty() {
                if !drain(context, from, &mut self.buffer)? {
                    return Poll::Ready(Ok(()));
                }
                if self.buffer.is_empty() {
                    return Poll::Pending;
                }
                if let Some(archive) = &self.archive {
                    archive.append(&self.buffer);
                }
            }
            while self.sent < self.buffer.len() {
                self.sent += ready!(Pin::new(&mut *to).poll_write(context, &self.buffer[self.sent..]))?;
            }
            ready!(Pin::new(&mut *to).poll_flush(context))?;
            self.buffer.clear();
            self.sent = 0;
        }
    }
}

/// Appends what is there, up to [`BUFFER`]; false at the end of the stream.
fn drain(context: &mut Context<'_>, from: &mut Stream, into: &mut Vec<u8>) -> io::Result<bool> {
    while into.len() < BUFFER {
        let start = into.len();
        into.resize(start + 16 * 1024, 0);
        let mut space = ReadBuf::new(&mut into[start..]);
        let polled = Pin::new(&mut *from).poll_read(context, &mut space);
        let filled = space.filled().len();
        into.truncate(start + filled);
        match polled {
            Poll::Pending => break,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(())) if filled == 0 => return Ok(false),
            Poll::Ready(Ok(())) => {}
        }
    }
    Ok(true)
}

async fn fan_out(mut source: Stream, members: &mut [Stream]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        if source.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        for member in &mut *members {
            member.write_all(&buffer).await?;
            member.flush().await?;
        }
    }
}

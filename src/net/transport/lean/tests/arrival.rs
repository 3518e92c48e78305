//! The end of a handshake and what the client says right behind it, in all the pieces in which they can arrive. The server
//! is polled only where it was woken, and the client says nothing more.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

use super::super::super::DRAIN;
use super::super::Lean;
use super::VERSIONS;
use super::ends::{self, Forger, Wire, client_for, server_config};

/// What the client says before the server has said anything inside TLS: each a record.
const SAID: [&[u8]; 3] = [b"<?xml version='1.0'?>", b"<stream:stream to='example.org'", b" version='1.0'>"];

/// What the server has heard.
type Heard = Arc<Mutex<Vec<u8>>>;

/// Shakes hands, hears out the client and answers.
async fn serve(wire: Wire, heard: Heard) -> HandshakeKind {
    let mut lean = Lean::accept(Box::new(wire), server_config()).await.unwrap();
    while heard.lock().unwrap().len() < SAID.concat().len() {
        let mut some = Vec::new();
        let got = poll_fn(|cx| lean.poll_drain(cx, &mut some, DRAIN)).await.unwrap();
        assert!(got > 0 && got == some.len());
        heard.lock().unwrap().extend(some);
    }
    poll_fn(|cx| lean.poll_write(cx, b"an answer")).await.unwrap();
    poll_fn(|cx| lean.poll_flush(cx)).await.unwrap();
    lean.state().handshake_kind().unwrap()
}

/// A task that is only polled when it has been woken.
struct Task<'t, T> {
    future: Pin<Box<dyn Future<Output = T> + 't>>,
    woken: Arc<Woken>,
    result: Option<T>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'t, T> Task<'t, T> {
    fn new(future: impl Future<Output = T> + 't) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))), result: None }
    }

    /// Goes on as far as it can.
    fn run(&mut self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        while self.result.is_none() && self.woken.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(result) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.result = Some(result);
            }
        }
    }
}

fn records(mut flight: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let [_, _, _, high, low, ..] = flight {
        let (record, rest) = flight.split_at(5 + usize::from(u16::from_be_bytes([*high, *low])));
        all.push(record);
        flight = rest;
    }
    assert!(flight.is_empty());
    all
}

/// How what the client sends behind its hello arrives.
struct Arrival<'c> {
    /// Whether a piece ends behind so many bytes, which are so many records if they are whole ones.
    ends: &'c dyn Fn(usize, Option<usize>) -> bool,
    /// Whether all pieces of a flight are there before the server looks.
    together: bool,
    /// Whether nobody takes what the server sends while they arrive.
    stuffed: bool,
}

/// How many bytes and how many records the client has sent behind its hello.
#[derive(Default, Clone, Copy)]
struct Sent {
    bytes: usize,
    records: usize,
}

impl Sent {
    /// Cuts a flight.
    fn cut(&mut self, flight: &[u8], ends: &dyn Fn(usize, Option<usize>) -> bool) -> Vec<Vec<u8>> {
        let mut pieces = vec![Vec::new()];
        for record in records(flight) {
            self.records += 1;
            for (at, byte) in record.iter().enumerate() {
                pieces.last_mut().unwrap().push(*byte);
                self.bytes += 1;
                if ends(self.bytes, (at + 1 == record.len()).then_some(self.records)) {
                    pieces.push(Vec::new());
                }
            }
        }
        pieces
    }
}

/// Plays a whole connection; it is over when the server has answered.
fn play(config: &Arc<ClientConfig>, kind: HandshakeKind, arrival: &Arrival<'_>) -> Sent {
    let (wire, heard) = (Wire::default(), Heard::default());
    let mut client = ends::connection(Arc::clone(config));
    for record in SAID {
        client.writer().write_all(record).unwrap();
    }
    let mut server = Task::new(serve(wire.clone(), Arc::clone(&heard)));
    ends::carry(&mut client, &wire, &mut |hello| vec![hello]);
    server.run();
    let mut sent = Sent::default();
    loop {
        ends::deliver(&wire, &mut client).unwrap();
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        if flight.is_empty() {
            break;
        }
        if arrival.stuffed {
            wire.set_room(0);
        }
        for piece in sent.cut(&flight, arrival.ends) {
            wire.arrive(piece);
            if !arrival.together {
                server.run();
            }
        }
        server.run();
        // It sends the content with its last flight.
        if !client.is_handshaking() {
            assert_eq!(*heard.lock().unwrap(), SAID.concat(), "{} bytes were sent", sent.bytes);
        }
        wire.set_room(usize::MAX);
        server.run();
    }
    assert_eq!(ends::read(&mut client), b"an answer");
    assert_eq!(server.result, Some(kind));
    sent
}

/// Plays with both versions, in full and resumed.
fn everywhere(mut all: impl FnMut(&mut dyn FnMut(&Arrival<'_>) -> Sent)) {
    let once = Arrival { ends: &|_, _| false, together: true, stuffed: false };
    // Small, so that every place can be tried.
    let config = |version: &'static SupportedProtocolVersion| client_for(&[version], &[], Some(vec![kx_group::X25519]));
    for version in VERSIONS {
        let client = config(version);
        all(&mut |arrival| play(&client, HandshakeKind::Full, arrival));
        let mut client = (*client).clone();
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        play(&client, HandshakeKind::Full, &once);
        all(&mut |arrival| play(&client, HandshakeKind::Resumed, arrival));
    }
}

#[test]
fn content_is_heard_wherever_the_bytes_in_front_of_it_are_cut() {
    everywhere(|play| {
        let mut at = 1;
        while at < play(&Arrival { ends: &|bytes, _| bytes == at, together: false, stuffed: false }).bytes {
            at += 1;
        }
        assert!(at > 150, "{at}");
        play(&Arrival { ends: &|_, _| true, together: false, stuffed: false });
    });
}

#[test]
fn content_is_heard_whichever_records_come_together() {
    everywhere(|play| {
        for (together, stuffed) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut cuts = 0_usize;
            loop {
                let ends = |_, record: Option<usize>| record.is_some_and(|record| (cuts >> (record - 1)) & 1 == 1);
                let sent = play(&Arrival { ends: &ends, together, stuffed });
                assert!(sent.records >= 5, "{} records", sent.records);
                cuts += 1;
                if cuts >> (sent.records - 1) > 0 {
                    break;
                }
            }
        }
    });
}

#[test]
fn content_is_heard_behind_records_in_which_there_is_nothing() {
    for joined in [false, true] {
        let mut ends = Forger::established();
        for _ in 0..3 {
            ends.forge(23, b"");
        }
        ends.forge(23, b"content");
        ends.forge(23, b"");
        if joined {
            ends.wire.join();
        }
        assert_eq!(ends.poll_drained().as_deref(), Some(&b"content"[..]), "{joined}");
        assert_eq!(ends.poll_drained(), None);
        ends.forge(23, b"more");
        assert_eq!(ends.poll_drained().as_deref(), Some(&b"more"[..]));
    }
}

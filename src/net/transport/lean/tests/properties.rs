//! Random traffic in random pieces, against the implementation of tokio-rustls.

use std::task::Poll;

use proptest::prelude::*;
use rustls::ClientConnection;
use rustls::version::{TLS12, TLS13};

use super::ends::{self, Wire, client_config, now, server_config};
use crate::net::Transport;

#[derive(Debug, Clone)]
enum Act {
    /// The client writes so much.
    Client(usize),
    /// The server writes so much.
    Server(usize),
    /// The client changes its keys and asks for new ones of the server.
    Update,
    /// The server reads until nothing is there.
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_usize..400).prop_map(Act::Client),
        2 => (400_usize..40_000).prop_map(Act::Client),
        2 => (1_usize..400).prop_map(Act::Server),
        1 => (400_usize..80_000).prop_map(Act::Server),
        1 => Just(Act::Update),
        3 => Just(Act::Drain),
    ]
}

fn cut_by(pieces: &[usize]) -> impl FnMut(Vec<u8>) -> Vec<Vec<u8>> {
    let mut pieces = pieces.iter().copied().cycle();
    move |flight| {
        let mut rest = flight.as_slice();
        let mut cut = Vec::new();
        while !rest.is_empty() {
            let (front, back) = rest.split_at(pieces.next().unwrap_or(1).min(rest.len()));
            cut.push(front.to_vec());
            rest = back;
        }
        cut
    }
}

/// What the server read and the client read, and whether the server saw the end.
fn play(lean: bool, version: usize, acts: &[Act], pieces: &[usize]) -> (Vec<u8>, Vec<u8>, bool) {
    let version = [&TLS13, &TLS12][version];
    let (wire, config) = (Wire::default(), server_config());
    let plain = Transport::plain(wire.clone(), None);
    let mut client = ends::connection(client_config(&[version]));
    let mut cut = cut_by(pieces);
    let mut accept: std::pin::Pin<Box<dyn Future<Output = _>>> =
        if lean { Box::pin(plain.accept_client_tls(config)) } else { Box::pin(plain.accept_tls(config)) };
    let mut server = loop {
        ends::carry(&mut client, &wire, &mut cut);
        let accepted = now(|cx| accept.as_mut().poll(cx));
        ends::deliver(&wire, &mut client).unwrap();
        if let Poll::Ready(server) = accepted {
            break server.unwrap();
        }
    };
    server.trust_peer();
    let (mut to_server, mut to_client, mut counter) = (Vec::new(), Vec::new(), 0_u8);
    let mut content = |length: usize| {
        let next = |_| {
            counter = counter.wrapping_mul(5).wrapping_add(7);
            counter
        };
        (0..length).map(next).collect::<Vec<u8>>()
    };
    for act in acts {
        match act {
            Act::Client(length) => {
                for part in content(*length).chunks(8192) {
                    std::io::Write::write_all(&mut client.writer(), part).unwrap();
                    ends::carry(&mut client, &wire, &mut cut);
                }
            }
            Act::Server(length) => {
                let content = content(*length);
                let mut rest = content.as_slice();
                while !rest.is_empty() {
                    let Poll::Ready(taken) = now(|cx| server.poll_write(cx, rest)) else { panic!() };
                    rest = &rest[taken.unwrap()..];
                }
                assert!(matches!(now(|cx| server.poll_flush(cx)), Poll::Ready(Ok(()))));
                receive(&wire, &mut client, &mut to_client);
            }
            Act::Update => {
                if version.version == rustls::ProtocolVersion::TLSv1_3 {
                    client.refresh_traffic_keys().unwrap();
                    ends::carry(&mut client, &wire, &mut cut);
                }
            }
            Act::Drain => assert!(!drain(&mut server, &mut to_server)),
        }
    }
    client.send_close_notify();
    ends::carry(&mut client, &wire, &mut cut);
    let ended = drain(&mut server, &mut to_server);
    receive(&wire, &mut client, &mut to_client);
    (to_server, to_client, ended)
}

/// Until nothing is there, or the end.
fn drain(server: &mut Transport, all: &mut Vec<u8>) -> bool {
    loop {
        let before = all.len();
        match now(|cx| server.poll_drain(cx, all)) {
            Poll::Pending => return false,
            Poll::Ready(drained) => match drained.unwrap() {
                0 => return true,
                some => assert!(some <= 16 * 1024 && all.len() == before + some),
            },
        }
    }
}

fn receive(wire: &Wire, client: &mut ClientConnection, all: &mut Vec<u8>) {
    loop {
        ends::deliver(wire, client).unwrap();
        match ends::read(client) {
            some if some.is_empty() => return,
            some => all.extend(some),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_implementations_read_and_write_the_same(
        acts in prop::collection::vec(act(), 0..24),
        pieces in prop::collection::vec(prop_oneof![1_usize..40, 1_usize..700, 1_usize..40_000], 1..12),
        version in 0_usize..2,
    ) {
        let lean = play(true, version, &acts, &pieces);
        let buffered = play(false, version, &acts, &pieces);
        prop_assert!(lean.2);
        prop_assert_eq!(lean, buffered);
    }
}

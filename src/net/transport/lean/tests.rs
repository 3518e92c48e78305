mod arrival;
mod ends;
mod properties;

use std::io;
use std::sync::Arc;
use std::task::Poll;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::server::ResolvesServerCert;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind, KeyLog, SupportedCipherSuite, SupportedProtocolVersion};

use super::super::allowance::STRANGER;
use super::super::caught::Caught;
use super::super::{DRAIN, EXPORTER_LABEL};
use super::*;
use ends::{Ends, Wire, client_config, client_for, now, server_config, shake, tls13_suites};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn established(version: &'static SupportedProtocolVersion) -> Ends {
    shake(client_config(&[version]), server_config(), |flight| vec![flight]).unwrap()
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// The reason inside an error of TLS.
fn reason(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn assert_idle(lean: &Lean) {
    assert_eq!((lean.partial.capacity(), lean.content.capacity(), lean.machine.out.capacity()), (0, 0, 0));
}

// -- the handshake

#[test]
fn the_exporter_is_that_of_a_client_with_every_suite() {
    for suite in tls13_suites() {
        let mut ends = shake(client_for(&[&TLS13], &[suite], None), server_config(), |flight| vec![flight]).unwrap();
        assert_eq!(ends.server.state().negotiated_cipher_suite(), Some(suite));
        let expected = ends.client.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).unwrap();
        assert_eq!(ends.server.exporter(), Some(expected), "{suite:?}");
        assert_eq!(ends.server.take_secret().unwrap().export(), Some(expected));
        assert_eq!(ends.server.exporter(), None);
        // RFC 9266 asks for an empty context, which in TLS 1.3 is the same as none.
        assert_eq!(ends.client.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap(), expected);
    }
}

#[test]
fn the_exporter_survives_a_retried_hello() {
    let mut server = (*server_config()).clone();
    let mut provider = crate::net::tls::provider().as_ref().clone();
    provider.kx_groups = vec![kx_group::X25519];
    let caught = Arc::clone(&server.cert_resolver);
    server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(caught);
    let client = client_for(&[&TLS13], &[], Some(vec![kx_group::SECP384R1, kx_group::X25519]));
    let ends = shake(client, Arc::new(server), |flight| vec![flight]).unwrap();
    assert_eq!(ends.server.state().handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(ends.server.server_name(), Some("example.org"));
    let expected = ends.client.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).unwrap();
    assert_eq!(ends.server.exporter(), Some(expected));
}

#[test]
fn sessions_are_resumed_and_have_an_exporter_and_a_name_of_their_own() {
    for version in VERSIONS {
        let server = server_config();
        let mut client = (*client_config(&[version])).clone();
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let mut seen = Vec::new();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut ends = shake(Arc::clone(&client), Arc::clone(&server), |flight| vec![flight]).unwrap();
            assert_eq!(ends.server.state().handshake_kind(), Some(kind), "{version:?}");
            assert_eq!(ends.server.server_name(), Some("example.org"));
            if version.version == rustls::ProtocolVersion::TLSv1_3 {
                let expected = ends.client.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).unwrap();
                assert_eq!(ends.server.exporter(), Some(expected));
                assert!(!seen.contains(&expected));
                seen.push(expected);
            } else {
                assert_eq!(ends.server.exporter(), None);
            }
            ends.both_ways();
        }
    }
}

#[test]
fn nothing_of_the_handshake_outlives_it() {
    for (version, exporters) in [(&TLS13, 1), (&TLS12, 0)] {
        let wire = Wire::default();
        let (caught, mut lean) = Lean::new(Box::new(wire.clone()), &server_config()).unwrap();
        assert!(Arc::strong_count(&caught) > 1);
        let mut client = ends::connection(client_config(&[version]));
        while client.is_handshaking() || lean.state().is_handshaking() {
            ends::carry(&mut client, &wire, &mut |flight| vec![flight]);
            let _ = now(|cx| lean.poll_handshake(cx));
            ends::deliver(&wire, &mut client).unwrap();
        }
        // The configuration, and with it the interest in secrets, is gone.
        assert_eq!(Arc::strong_count(&caught), 1);
        let suite = cipher_suite::TLS13_AES_256_GCM_SHA384;
        let SupportedCipherSuite::Tls13(suite) = suite else { unreachable!() };
        assert_eq!(caught.take_secret(suite).into_iter().count(), exporters);
        assert!(caught.take_secret(suite).is_none());
    }
}

#[test]
fn only_one_secret_is_let_in() {
    let (caught, _) = Caught::from(&server_config());
    let SupportedCipherSuite::Tls13(suite) = cipher_suite::TLS13_AES_128_GCM_SHA256 else { unreachable!() };
    for label in ["CLIENT_RANDOM", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "EARLY_EXPORTER_SECRET", ""] {
        assert!(!caught.will_log(label));
        caught.log(label, &[1; 32], &[2; 32]);
        assert!(caught.take_secret(suite).is_none());
    }
    assert!(caught.will_log("EXPORTER_SECRET"));
    caught.log("EXPORTER_SECRET", &[1; 32], &[2; 65]);
    assert!(caught.take_secret(suite).is_none());
    caught.log("EXPORTER_SECRET", &[1; 32], &[2; 32]);
    assert!(!format!("{caught:?}").contains('2'));
    assert!(caught.take_secret(suite).is_some());
    assert!(!caught.only_raw_public_keys());
}

#[test]
fn a_handshake_may_be_cut_anywhere() {
    // Small, so that every place can be tried.
    let client = |version| client_for(&[version], &[], Some(vec![kx_group::X25519]));
    for version in VERSIONS {
        for at in 0..400 {
            let mut ends =
                shake(client(version), server_config(), |flight| ends::cut(&flight, at).collect::<Vec<_>>()).unwrap();
            if at % 50 == 0 {
                ends.both_ways();
            }
        }
        let mut ends = shake(client(version), server_config(), |flight| ends::bytes(&flight)).unwrap();
        ends.both_ways();
    }
}

#[test]
fn content_behind_the_handshake_is_there_at_once() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (_, mut lean) = Lean::new(Box::new(wire.clone()), &server_config()).unwrap();
        let mut client = ends::connection(client_config(&[version]));
        // rustls sends it right behind its own last message.
        io::Write::write_all(&mut client.writer(), &text(5000)).unwrap();
        while client.is_handshaking() || lean.state().is_handshaking() {
            ends::carry(&mut client, &wire, &mut |flight| vec![flight]);
            let _ = now(|cx| lean.poll_handshake(cx));
            ends::deliver(&wire, &mut client).unwrap();
        }
        let mut ends = Ends { client, server: lean, wire };
        if version.version == rustls::ProtocolVersion::TLSv1_3 {
            assert!(ends.server.content == text(5000));
        } else {
            // In TLS 1.2 the server has the last word, so content follows later.
            ends.client_sends(&[], |flight| vec![flight]);
        }
        assert!(ends.drained(DRAIN) == text(5000));
        assert_eq!(ends.server_sends(b"an answer"), b"an answer");
        assert_idle(&ends.server);
    }
}

#[test]
fn a_ticket_goes_with_the_first_content() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (_, mut lean) = Lean::new(Box::new(wire.clone()), &server_config()).unwrap();
        let mut config = (*client_config(&[version])).clone();
        config.resumption = Resumption::in_memory_sessions(8);
        let mut client = ends::connection(Arc::new(config));
        while client.is_handshaking() || lean.state().is_handshaking() {
            ends::carry(&mut client, &wire, &mut |flight| vec![flight]);
            let _ = now(|cx| lean.poll_handshake(cx));
            ends::deliver(&wire, &mut client).unwrap();
        }
        let mut ends = Ends { client, server: lean, wire };
        let tickets = usize::from(version.version == rustls::ProtocolVersion::TLSv1_3);
        assert_eq!(ends.client.tls13_tickets_received(), 0);
        // Not when something comes in, which would be a write of its own.
        let before = ends.wire.writes();
        ends.client_sends(b"a question", |flight| vec![flight]);
        assert_eq!(ends.drained(DRAIN), b"a question");
        assert_eq!(ends.wire.writes(), before);
        assert_eq!(ends.server_sends(b"an answer"), b"an answer");
        assert_eq!(ends.wire.writes(), before + 1);
        assert_eq!(ends.client.tls13_tickets_received() as usize, tickets);
        assert_idle(&ends.server);
    }
}

#[test]
fn a_failed_handshake_tells_the_client_why() {
    let mut server = (*server_config()).clone();
    server.alpn_protocols = vec![b"xmpp-client".to_vec()];
    let mut client = (*client_config(&[&TLS13])).clone();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let (wire, error, mut client) = ends::failing(Arc::new(client), Arc::new(server));
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(reason(&error), Some(&rustls::Error::NoApplicationProtocol));
    assert_eq!(
        ends::deliver(&wire, &mut client),
        Err(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol))
    );
}

#[test]
fn the_alert_of_a_client_that_does_not_trust_us_is_reported() {
    let (_, error, _) = ends::failing(ends::distrustful(), server_config());
    assert_eq!(reason(&error), Some(&rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
}

#[test]
fn a_handshake_that_is_cut_off_fails() {
    let wire = Wire::default();
    let (_, mut lean) = Lean::new(Box::new(wire.clone()), &server_config()).unwrap();
    let mut client = ends::connection(client_config(&[&TLS13]));
    ends::carry(&mut client, &wire, &mut |flight| vec![flight[..100].to_vec()]);
    wire.end();
    let Poll::Ready(Err(error)) = now(|cx| lean.poll_handshake(cx)) else { panic!() };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_idle_stream_fits_its_size_class() {
    // The next ones of the allocator are 1,536 and 1,024, and rustls alone takes 1,088.
    assert!(size_of::<Lean>() <= 1280, "{}", size_of::<Lean>());
}

// -- content from the client

#[test]
fn a_record_may_be_cut_anywhere() {
    for version in VERSIONS {
        let mut ends = established(version);
        for at in 0..=340 {
            ends.client_sends(&text(300), |flight| ends::cut(&flight, at).collect());
            // Each part is a wake-up of its own.
            let mut all = Vec::new();
            while all.len() < 300 {
                all.extend(ends.drained(DRAIN));
            }
            assert_eq!(all, text(300), "{version:?} {at}");
            assert_idle(&ends.server);
        }
        ends.client_sends(&text(300), |flight| ends::bytes(&flight));
        let mut all = Vec::new();
        while all.len() < 300 {
            all.extend(ends.drained(DRAIN));
        }
        assert_eq!(all, text(300));
    }
}

#[test]
fn what_is_kept_of_a_record_is_what_has_come() {
    let mut ends = established(&TLS13);
    ends.client_sends(&text(300), |flight| vec![flight[..100].to_vec()]);
    assert_eq!(ends.poll_drained(DRAIN), None);
    assert_eq!((ends.server.partial.len(), ends.server.partial.capacity()), (100, 100));
}

#[test]
fn records_that_come_together_are_given_out_together() {
    for version in VERSIONS {
        let mut ends = established(version);
        let mut flight = Vec::new();
        for _ in 0..10 {
            ends.write_client(&text(300));
            flight.extend(ends.flight());
        }
        ends.wire.arrive(flight);
        assert_eq!(ends.drained(DRAIN), text(300).repeat(10));
        assert_idle(&ends.server);
    }
}

#[test]
fn what_the_caller_has_no_room_for_waits() {
    let mut ends = established(&TLS13);
    ends.client_sends(&text(3000), |flight| vec![flight]);
    ends.client_sends(&text(20), |flight| vec![flight]);
    let mut all = Vec::new();
    while all.len() < 3020 {
        let some = ends.drained(7);
        assert!((1..=7).contains(&some.len()));
        all.extend(some);
        // Writing does not disturb it.
        ends.server_sends(b"x");
    }
    assert_eq!(all, [text(3000), text(20)].concat());
    assert_eq!(ends.poll_drained(7), None);
    assert_idle(&ends.server);
}

#[test]
fn keys_are_updated_in_both_directions() {
    let mut ends = established(&TLS13);
    for _ in 0..40 {
        // The request, and content under the new keys.
        ends.client.refresh_traffic_keys().unwrap();
        ends.client_sends(&text(50), |flight| vec![flight]);
        assert_eq!(ends.drained(DRAIN), text(50));
        // The answer goes in front of what we send next.
        assert_eq!(ends.server_sends(&text(60)), text(60));
    }
    assert_idle(&ends.server);
}

#[test]
fn a_message_of_tls_itself_may_be_cut_into_records() {
    let mut ends = ends::Forger::established();
    // KeyUpdate, not requested: the first part lies decrypted in what is kept.
    ends.forge(22, &[24, 0]);
    assert_eq!(ends.poll_drained(), None);
    assert!(!ends.server.partial.is_empty());
    for _ in 0..3 {
        assert!(now(|cx| ends.server.poll_write(cx, b"meanwhile")).is_ready());
        assert!(now(|cx| ends.server.poll_flush(cx)).is_ready());
    }
    ends.forge(22, &[0, 1, 0]);
    assert_eq!(ends.poll_drained(), None);
    assert_idle(&ends.server);
    ends.next_keys();
    ends.forge(23, b"under the new keys");
    assert_eq!(ends.poll_drained().as_deref(), Some(&b"under the new keys"[..]));
    // Content between two parts is an offence.
    ends.forge(22, &[24, 0]);
    ends.forge(23, b"content");
    assert_eq!(ends.drain_error().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn an_endless_message_of_tls_itself_ends_at_the_allowance() {
    let mut ends = ends::Forger::established();
    // The beginning of a message of 60,000 bytes.
    ends.forge(22, &[24, 0, 0xea, 0x60]);
    assert_eq!(ends.poll_drained(), None);
    let mut most = 0;
    let error = loop {
        ends.forge(22, &[0; 1000]);
        match now(|cx| ends.server.poll_drain(cx, &mut Vec::new(), DRAIN)) {
            Poll::Pending => most = most.max(ends.server.partial.capacity()),
            Poll::Ready(result) => break result.unwrap_err(),
        }
    };
    assert!(error.to_string().contains("without content"), "{error}");
    assert!(most <= 2 * STRANGER, "{most}");
}

/// What renegotiation was in TLS 1.2 (CVE-2021-32920), key updates are in TLS 1.3: each costs the server a derivation, and
/// an answer if one is asked for.
#[test]
fn key_updates_do_not_go_on_for_ever() {
    for request in [0, 1] {
        let mut ends = ends::Forger::established();
        let mut updates = 0;
        let error = loop {
            ends.forge(22, &[24, 0, 0, 1, request]);
            ends.next_keys();
            updates += 1;
            match now(|cx| ends.server.poll_drain(cx, &mut Vec::new(), DRAIN)) {
                Poll::Pending => assert!(updates < STRANGER / 20, "{updates} updates without content"),
                Poll::Ready(result) => break result.unwrap_err(),
            }
        };
        // Its allowance ends, or the patience of the library.
        let reasons = ["without content", "TooManyKeyUpdateRequests"];
        assert!(reasons.iter().any(|it| error.to_string().contains(it)), "{error}");
        // Nobody has to be answered more than once for all of them (RFC 8446 §4.6.3).
        let sent = ends.sent();
        assert!(sent <= 2 * 64, "{sent} bytes in answer to {updates} updates");
    }
}

#[test]
fn empty_records_do_not_go_on_for_ever() {
    let mut ends = ends::Forger::established();
    for _ in 0..100 {
        ends.forge(23, b"");
    }
    assert_eq!(ends.drain_error().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_record_with_much_padding_is_read() {
    let mut ends = ends::Forger::established();
    ends.server.trust_peer();
    // As long as a record may be (RFC 8446 §5.4), once with and once without padding.
    for content in [text(10_000), text(1 << 14)] {
        ends.forge_padded(23, &content, (1 << 14) - content.len());
        let mut all = Vec::new();
        while all.len() < content.len() {
            all.extend(ends.poll_drained().unwrap());
        }
        assert!(all == content);
        assert_idle(&ends.server);
    }
}

// -- the ends of a stream

#[test]
fn close_notify_ends_one_direction() {
    for version in VERSIONS {
        let mut ends = established(version);
        ends.write_client(b"last words");
        ends.client.send_close_notify();
        let flight = ends.flight();
        ends.wire.arrive([flight, b"what comes now is not looked at".to_vec()].concat());
        assert_eq!(ends.drained(DRAIN), b"last words");
        assert_eq!(ends.drained(DRAIN), b"");
        assert_eq!(ends.drained(DRAIN), b"");
        assert_idle(&ends.server);
        assert_eq!(ends.server_sends(&text(100)), text(100));
        assert!(matches!(now(|cx| ends.server.poll_shutdown(cx)), Poll::Ready(Ok(()))));
        assert!(ends.wire.is_shut_down());
        ends::deliver(&ends.wire, &mut ends.client).unwrap();
        assert!(ends.client.process_new_packets().unwrap().peer_has_closed());
        // Once more does no harm, and nothing is sent behind it.
        assert!(matches!(now(|cx| ends.server.poll_shutdown(cx)), Poll::Ready(Ok(()))));
        assert!(matches!(now(|cx| ends.server.poll_write(cx, b"x")), Poll::Ready(Err(_))));
        assert!(ends.wire.take_sent().is_empty());
    }
}

// Proves: RFC 6120 §4.4
#[test]
fn our_close_notify_leaves_the_other_direction_open() {
    for version in VERSIONS {
        let mut ends = established(version);
        assert!(now(|cx| ends.server.poll_write(cx, b"bye")).is_ready());
        assert!(now(|cx| ends.server.poll_shutdown(cx)).is_ready());
        ends::deliver(&ends.wire, &mut ends.client).unwrap();
        assert_eq!(ends.received(), b"bye");
        ends.client_sends(&text(10), |flight| vec![flight]);
        assert_eq!(ends.drained(DRAIN), text(10));
    }
}

#[test]
fn a_cut_stream_ends_with_what_is_complete() {
    for version in VERSIONS {
        let mut ends = established(version);
        ends.client_sends(&text(300), |flight| vec![flight]);
        ends.client_sends(&text(300), |flight| vec![flight[..200].to_vec()]);
        ends.wire.end();
        assert_eq!(ends.drained(DRAIN), text(300));
        assert_eq!(ends.drained(DRAIN), b"");
        assert_eq!(ends.drained(DRAIN), b"");
    }
}

#[test]
fn a_forged_record_ends_the_stream_with_an_alert() {
    for version in VERSIONS {
        let mut ends = established(version);
        ends.client_sends(&text(300), |flight| vec![flight]);
        ends.client_sends(&text(300), |mut flight| {
            flight[100] ^= 1;
            vec![flight]
        });
        ends.client_sends(&text(300), |flight| vec![flight]);
        ends.wire.join();
        // What came before it counts.
        assert_eq!(ends.drained(DRAIN), text(300));
        let error = ends.drain_error();
        assert_eq!((error.kind(), reason(&error)), (io::ErrorKind::InvalidData, Some(&rustls::Error::DecryptError)));
        assert_eq!(
            ends::deliver(&ends.wire, &mut ends.client),
            Err(rustls::Error::AlertReceived(AlertDescription::BadRecordMac))
        );
        // Nothing is given out or sent any more.
        ends.wire.arrive(text(300));
        assert_eq!(ends.drain_error().kind(), io::ErrorKind::InvalidData);
        assert!(matches!(now(|cx| ends.server.poll_write(cx, b"x")), Poll::Ready(Err(_))));
        assert!(matches!(now(|cx| ends.server.poll_shutdown(cx)), Poll::Ready(Ok(()))));
        assert!(ends.wire.take_sent().is_empty());
        assert_idle(&ends.server);
    }
}

// -- content to the client

#[test]
fn much_is_written_in_few_calls() {
    for version in VERSIONS {
        let mut ends = established(version);
        let before = ends.wire.writes();
        assert!(ends.server_sends(&text(100_000)) == text(100_000));
        assert_eq!(ends.wire.writes() - before, 4, "{version:?}");
        assert_idle(&ends.server);
        // Small pieces wait for the flush and go together.
        let before = ends.wire.writes();
        for _ in 0..10 {
            assert!(matches!(now(|cx| ends.server.poll_write(cx, &text(300))), Poll::Ready(Ok(300))));
        }
        assert_eq!(ends.wire.writes(), before);
        assert!(now(|cx| ends.server.poll_flush(cx)).is_ready());
        assert_eq!(ends.wire.writes(), before + 1);
        ends::deliver(&ends.wire, &mut ends.client).unwrap();
        assert_eq!(ends.received(), text(300).repeat(10));
        assert_idle(&ends.server);
    }
}

#[test]
fn a_slow_reader_costs_a_bounded_amount() {
    let mut ends = established(&TLS13);
    ends.wire.set_room(0);
    let all = text(100_000);
    let mut sent = 0;
    while let Poll::Ready(taken) = now(|cx| ends.server.poll_write(cx, &all[sent..])) {
        sent += taken.unwrap();
    }
    assert_eq!(sent, BATCH);
    assert!(ends.server.machine.out.capacity() <= BATCH + 100);
    assert!(now(|cx| ends.server.poll_flush(cx)).is_pending());
    let mut received = Vec::new();
    while received.len() < all.len() {
        ends.wire.set_room(999);
        if let Poll::Ready(taken) = now(|cx| ends.server.poll_write(cx, &all[sent..])) {
            sent += taken.unwrap();
        }
        let _ = now(|cx| ends.server.poll_flush(cx));
        ends::deliver(&ends.wire, &mut ends.client).unwrap();
        received.extend(ends.received());
    }
    assert!(received == all);
    assert_idle(&ends.server);
}

#[test]
fn nothing_is_sent_for_nothing() {
    let mut ends = established(&TLS13);
    assert!(matches!(now(|cx| ends.server.poll_write(cx, b"")), Poll::Ready(Ok(0))));
    assert!(now(|cx| ends.server.poll_flush(cx)).is_ready());
    assert!(ends.wire.take_sent().is_empty());
}

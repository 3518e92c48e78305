//! Two servers and more, on a network in memory, with real TLS.

mod back;
mod bidi;
mod counting;
mod dane;
mod doctor;
mod limits;
mod outbox;
mod questions;
mod resumption;
mod senders;
mod spoofing;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream, copy, duplex, split};
use tokio::time::{Instant, sleep, timeout};

use crate::federation::{Federation, Proofs, Start};
use crate::net::Transport;
use crate::net::dns::Srv;
use crate::routing::RemoteDelivery;
use crate::stanza::{Condition, Payload, Stanza};
use crate::testing::served;

use world::{PORT, Plan, World, header, message, pair};

const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";

fn here() -> Plan<'static> {
    Plan::new("here.example", HERE)
}

fn there() -> Plan<'static> {
    Plan::new("there.example", THERE)
}

fn hello(id: usize) -> Stanza<'static> {
    message("a@here.example", "b@there.example/x", id)
}

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), PORT)
}

// Proves: RFC 6120 §10.1
#[tokio::test(start_paused = true)]
async fn a_thousand_stanzas_each_way_arrive_in_order() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    for id in 0..1000 {
        one.federation.send(&pair("here.example", "there.example"), vec![hello(id).into()]);
        let back = message("b@there.example/x", "a@here.example", id);
        other.federation.send(&pair("there.example", "here.example"), vec![back.into()]);
        if id % 100 == 7 {
            tokio::task::yield_now().await;
        }
    }
    for id in 0..1000 {
        let stanza = other.arrival().await;
        assert_eq!(stanza.id.as_deref(), Some(&*id.to_string()));
        assert_eq!(stanza.payload.as_str(), format!("<body>{id}</body>"));
        assert_eq!(one.arrival().await.id.as_deref(), Some(&*id.to_string()));
    }
    assert_eq!(one.federation.queued(), 0);
}

// Proves: RFC 6120 §4.7.4, §8.1.5
#[tokio::test(start_paused = true)]
async fn a_stanza_of_a_peer_has_the_language_of_its_stream() {
    let world = World::new();
    let one = world.server(&here());
    let (mut raw, _) = world.secured(&there(), "here.example", HERE).await;
    raw.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").await;
    assert!(raw.element().await.contains("success"));
    raw.wire.restart();
    raw.say(&header("there.example", "here.example").replace(" from=", " xml:lang='de-CH' from=")).await;
    raw.header().await;
    raw.element().await;
    for (own, expected) in [("", "de-CH"), (" xml:lang='it'", "it")] {
        raw.say(&format!("<message from='b@there.example' to='a@here.example'{own}><body>x</body></message>")).await;
        assert_eq!(one.arrival().await.lang.as_deref(), Some(expected));
    }
}

// Proves: XEP-0368 §3
#[tokio::test(start_paused = true)]
async fn xep_0368_direct_tls_is_found_and_used() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { start: Start::DirectTls, ..there() });
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn xep_0220_dialback_proves_who_has_no_trusted_certificate() {
    let world = World::new();
    let one = world.server(&Plan { names: None, ..here() });
    let other = world.server(&Plan { proofs: Proofs::CertificateOrDialback, ..there() });
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into(), hello(2).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
    assert_eq!(other.arrival().await.id.as_deref(), Some("2"));
    // And the other way round: the certificate of the peer proves nothing, dialback was agreed to.
    other
        .federation
        .send(&pair("there.example", "here.example"), vec![message("b@there.example", "a@here.example", 3).into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("3"));
}

// Proves: XEP-0220 §2.1.1
#[tokio::test(start_paused = true)]
async fn without_agreement_dialback_proves_nothing() {
    let world = World::new();
    let one = world.server(&Plan { names: None, ..here() });
    let other = world.server(&there());
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    let (condition, text, id) = one.bounce().await;
    assert_eq!((condition, id.as_str()), (Condition::RemoteServerTimeout, "1"));
    assert!(text.contains("not-authorized"), "{text}");
    other
        .federation
        .send(&pair("there.example", "here.example"), vec![message("b@there.example", "a@here.example", 2).into()]);
    let (condition, text, _) = other.bounce().await;
    assert_eq!(condition, Condition::RemoteServerTimeout);
    assert!(text.contains("does not prove its domain"), "{text}");
    assert!(!one.got_more().await && !other.got_more().await);
}

// Proves: RFC 6120 §5.4.3.1, §13.7.2, §13.9.5
#[tokio::test(start_paused = true)]
async fn a_certificate_for_others_is_refused() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { names: Some(&["elsewhere.example"]), ..there() });
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    let (condition, text, _) = one.bounce().await;
    assert_eq!(condition, Condition::RemoteServerTimeout);
    assert!(text.contains("elsewhere.example"), "{text}");
    assert!(!other.got_more().await);
}

// Proves: RFC 6120 §8.1.2.2
#[tokio::test(start_paused = true)]
async fn t_s2s_2_a_spoofed_from_ends_the_stream_and_reaches_nobody() {
    let world = World::new();
    let other = world.server(&there());
    let evil = Plan::new("evil.example", "192.0.2.66");
    let (mut raw, features) = world.secured(&evil, "there.example", THERE).await;
    assert!(features.contains("EXTERNAL"), "{features}");
    raw.external("evil.example", "there.example").await;
    raw.say("<message from='e@evil.example' to='b@there.example' id='0'/>").await;
    raw.say("<message from='a@here.example' to='b@there.example' id='1'/>").await;
    raw.say("<message from='e@evil.example' to='b@there.example' id='2'/>").await;
    let rest = raw.rest().await;
    assert!(rest.contains("<invalid-from"), "{rest}");
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    assert!(!other.got_more().await);
}

// Proves: RFC 6120 §4.9.3.12
#[tokio::test(start_paused = true)]
async fn stanzas_before_authentication_end_the_stream() {
    let world = World::new();
    let other = world.server(&there());
    let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
    raw.say("<message from='a@here.example' to='b@there.example'/>").await;
    assert!(raw.rest().await.contains("<not-authorized"));
    let mut raw = world.raw(THERE);
    raw.say(&header("here.example", "there.example")).await;
    raw.header().await;
    raw.element().await;
    raw.say("<message from='a@here.example' to='b@there.example'/>").await;
    assert!(raw.rest().await.contains("<not-authorized"));
    assert!(!other.got_more().await);
}

// Proves: RFC 6120 §8.1.1.2
#[tokio::test(start_paused = true)]
async fn improper_addresses_end_the_stream() {
    let world = World::new();
    let other = world.server(&there());
    for stanza in ["<message from='a@here.example'/>", "<message to='b@there.example'/>", "<presence/>"] {
        let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
        raw.external("here.example", "there.example").await;
        raw.say(stanza).await;
        let rest = raw.rest().await;
        assert!(rest.contains("<improper-addressing"), "{stanza}: {rest}");
    }
    assert!(!other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn rfc_6120_5_4_3_1_data_behind_starttls_ends_the_stream() {
    let world = World::new();
    let other = world.server(&there());
    for injected in ["<x/>", " ", "<?xml version='1.0'?>", "<message from='a@here.example' to='b@there.example'/>"] {
        let mut raw = world.raw(THERE);
        raw.say(&header("here.example", "there.example")).await;
        raw.header().await;
        raw.element().await;
        raw.say(&format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{injected}")).await;
        let rest = raw.rest().await;
        assert!(rest.is_empty() || rest.starts_with("<proceed"), "{rest}");
    }
    let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    raw.say(&format!("{auth}{}", header("here.example", "there.example"))).await;
    assert!(!raw.rest().await.contains("features"));
    assert!(!other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn rfc_6120_5_4_3_1_data_behind_proceed_ends_the_stream() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    let mut incoming = world.net.listen(address(THERE));
    tokio::spawn(async move {
        while let Some(io) = incoming.recv().await {
            let mut raw = world::Raw {
                wire: crate::federation::wire::Wire::new(
                    Transport::plain(io, None),
                    crate::stream::Limits::UNAUTHENTICATED,
                ),
            };
            raw.header().await;
            raw.say(&header("there.example", "here.example")).await;
            let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
            raw.say(&format!("<stream:features>{starttls}</stream:features>")).await;
            raw.element().await;
            raw.say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features/>").await;
            raw.rest().await;
        }
    });
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    let (_, text, _) = one.bounce().await;
    assert!(text.contains("data behind <proceed/>"), "{text}");
}

// Proves: XEP-0220 §2.2.1
#[tokio::test(start_paused = true)]
async fn t_s2s_1_a_key_that_the_authoritative_server_does_not_know_is_invalid() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { proofs: Proofs::CertificateOrDialback, ..there() });
    let claims = Plan { names: None, ..here() };
    let (mut raw, features) = world.secured(&claims, "there.example", THERE).await;
    assert!(!features.contains("EXTERNAL") && features.contains("dialback"), "{features}");
    raw.say("<db:result from='here.example' to='there.example'>0123</db:result>").await;
    raw.say("<db:result from='there.example' to='here.example' type='valid'/>").await;
    let rest = raw.rest().await;
    assert!(rest.contains("<policy-violation"), "{rest}");
    let (mut raw, _) = world.secured(&claims, "there.example", THERE).await;
    raw.say("<db:result from='here.example' to='there.example'>0123</db:result>").await;
    let rest = raw.rest().await;
    assert!(rest.contains("type=\"invalid\"") || rest.contains("type='invalid'"), "{rest}");
    assert!(!one.got_more().await && !other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_thirty_seconds() {
    let world = World::new();
    let _other = world.server(&there());
    let started = Instant::now();
    let mut raw = world.raw(THERE);
    raw.say(&header("here.example", "there.example")).await;
    raw.header().await;
    raw.element().await;
    assert!(raw.rest().await.contains("<connection-timeout"));
    assert_eq!(started.elapsed().as_secs(), 30);
}

// Proves: RFC 6120 §10.4.3, §13.9.2
#[tokio::test(start_paused = true)]
async fn bounces_say_why() {
    let world = World::new();
    let one = world.server(&here());
    let root = Srv { priority: 0, weight: 0, port: 0, target: ".".to_owned() };
    world.net.publish("_xmpp-server._tcp.closed.example", root);
    world.publish("down.example", 0, "192.0.2.9", Start::Starttls);
    for (domain, expected, word) in [
        ("nowhere.example", Condition::RemoteServerNotFound, "not found in DNS"),
        ("closed.example", Condition::RemoteServerNotFound, "no XMPP service"),
        ("down.example", Condition::RemoteServerTimeout, "host-192-0-2-9.example:5269: connection refused"),
    ] {
        let stanza = message("a@here.example", &format!("b@{domain}"), 1);
        one.federation.send(&pair("here.example", domain), vec![stanza.into()]);
        let (condition, text, _) = one.bounce().await;
        assert_eq!(condition, expected, "{text}");
        assert!(text.contains(word), "{text}");
    }
}

// Proves: RFC 6120 §10.4.3
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    // Connections are taken and kept.
    let _kept = world.net.listen(address(THERE));
    let started = Instant::now();
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into(), hello(2).into()]);
    sleep(Duration::from_secs(10)).await;
    one.federation.send(&pair("here.example", "there.example"), vec![hello(3).into()]);
    for id in ["1", "2", "3"] {
        let (condition, text, bounced) = one.bounce().await;
        assert_eq!((condition, bounced.as_str()), (Condition::RemoteServerTimeout, id), "{text}");
    }
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_seconds_and_then_forgotten() {
    let world = World::new();
    let one = world.server(&here());
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(one.bounce().await.0, Condition::RemoteServerNotFound);
    let other = world.server(&there());
    one.federation.send(&pair("here.example", "there.example"), vec![hello(2).into()]);
    assert_eq!(one.bounce().await.2, "2");
    sleep(Duration::from_secs(6)).await;
    one.federation.send(&pair("here.example", "there.example"), vec![hello(3).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn rfc_6120_3_2_1_the_next_target_is_tried() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, "192.0.2.9", Start::Starttls);
    let other = world.hidden(&there());
    world.publish("there.example", 10, THERE, Start::Starttls);
    world.listen(address(THERE), &other.federation, Start::Starttls);
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_says_nothing_leaves_time_for_the_next() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, "192.0.2.9", Start::Starttls);
    // Connections are taken and kept.
    let _kept = world.net.listen(address("192.0.2.9"));
    let other = world.hidden(&there());
    world.publish("there.example", 10, THERE, Start::Starttls);
    world.listen(address(THERE), &other.federation, Start::Starttls);
    let started = Instant::now();
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_and_the_next_stanza_opens_another() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    for id in 0..3 {
        one.federation.send(&pair("here.example", "there.example"), vec![hello(id).into()]);
        assert_eq!(other.arrival().await.id.as_deref(), Some(&*id.to_string()));
        sleep(Duration::from_secs(3600)).await;
        assert!(one.federation.queues().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_is_answered_at_once_and_the_rest_still_arrives() {
    let world = World::new();
    let one = world.server(&Plan { queue_bytes: 4096, ..here() });
    let other = world.server(&there());
    for id in 0..100 {
        one.federation.send(&pair("here.example", "there.example"), vec![hello(id).into()]);
    }
    let mut next = 0;
    let (condition, _, id) = one.bounce().await;
    assert_eq!(condition, Condition::ResourceConstraint);
    let room: usize = id.parse().unwrap();
    assert!(room > 5, "{room}");
    while next < room {
        assert_eq!(other.arrival().await.id.as_deref(), Some(&*next.to_string()));
        next += 1;
    }
    for id in room + 1..100 {
        assert_eq!(one.bounce().await.2, id.to_string());
    }
}

/// Lets `bytes` through towards `federation`, then cuts the line.
async fn cut_after(bytes: u64, io: DuplexStream, federation: Arc<Federation>) {
    let (near, far) = duplex(64 * 1024);
    tokio::spawn(federation.serve(served(far), Start::Starttls));
    let (from, mut back) = split(io);
    let (mut answers, mut to) = split(near);
    let mut from = from.take(bytes);
    tokio::select! {
        _ = copy(&mut from, &mut to) => {}
        _ = copy(&mut answers, &mut back) => {}
    }
}

fn big(id: usize) -> Stanza<'static> {
    hello(id).payload(Payload::canonical(format!("<body>{}</body>", "x".repeat(200_000))))
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_goes_out_again_whole_and_once() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.hidden(&there());
    world.publish("there.example", 0, THERE, Start::Starttls);
    let mut incoming = world.net.listen(address(THERE));
    let federation = Arc::clone(&other.federation);
    tokio::spawn(async move {
        // In the middle of the second stanza, in the middle of the third, not at all.
        for bytes in [300_000, 150_000, u64::MAX] {
            cut_after(bytes, incoming.recv().await.unwrap(), Arc::clone(&federation)).await;
        }
    });
    one.federation.send(&pair("here.example", "there.example"), vec![big(1).into(), big(2).into(), big(3).into()]);
    for id in 1..4 {
        let stanza = other.arrival().await;
        assert_eq!(stanza.id.as_deref(), Some(&*id.to_string()));
        assert_eq!(stanza.payload, big(id).payload);
    }
    assert!(!other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_stanza_that_no_stream_carries_is_answered() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.hidden(&there());
    world.publish("there.example", 0, THERE, Start::Starttls);
    let mut incoming = world.net.listen(address(THERE));
    let federation = Arc::clone(&other.federation);
    let connections = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Some(io)) = timeout(Duration::from_secs(60), incoming.recv()).await {
            count += 1;
            cut_after(50_000, io, Arc::clone(&federation)).await;
        }
        count
    });
    one.federation.send(&pair("here.example", "there.example"), vec![big(1).into()]);
    assert_eq!(one.bounce().await.0, Condition::RemoteServerTimeout);
    assert!(!other.got_more().await);
    assert_eq!(connections.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_cannot_leave() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    let _kept = world.net.listen(address(THERE));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    sleep(Duration::from_secs(1)).await;
    one.federation.stop().await;
    let (condition, text, _) = one.bounce().await;
    assert_eq!(condition, Condition::RemoteServerTimeout);
    assert!(text.contains("stops"), "{text}");
}

// Proves: RFC 6120 §4.4
#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_we_close_a_stream_is_still_taken() {
    let world = World::new();
    let other = world.server(&there());
    let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
    raw.external("here.example", "there.example").await;
    raw.say("<message from='a@here.example' to='b@there.example' id='0'/>").await;
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    let peer = async {
        let last = raw.element().await;
        assert!(last.contains("<system-shutdown"), "{last}");
        raw.say("<message from='a@here.example' to='b@there.example' id='1'/>").await;
        sleep(Duration::from_secs(1)).await;
        raw.say("</stream:stream>").await;
        // The end tag, and nothing behind it.
        assert_eq!(raw.rest().await, "</stream>");
    };
    tokio::join!(other.federation.stop(), peer);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
}

//! DANE from end to end: keys that a signed DNS names, in both directions (RFC 7673, RFC 7712).

use std::sync::Arc;

use super::world::{PORT, Plan, World, message, pair};
use super::*;
use crate::federation::proof::Key;
use crate::net::dns::Tlsa;
use crate::net::tls::Identities;

const HOST: &str = "host-192-0-2-2.example";

/// A record about the key that `identities` show.
fn record(identities: &Identities) -> Tlsa {
    let Key(hash) = Key::of(&identities.all()[0].certified_key().cert[0]).unwrap();
    Tlsa { usage: 3, selector: 1, matching: 1, data: hash.to_vec() }
}

/// A certificate that no authority vouches for.
fn untrusted() -> Plan<'static> {
    Plan { names: None, ..there() }
}

/// A world in which everything about `there.example` is signed that others look up.
fn signed() -> World {
    let world = World::new();
    world.net.sign("there.example");
    world.net.sign(HOST);
    world
}

// Proves: RFC 7673 §3.3, §3.4
#[tokio::test(start_paused = true)]
async fn rfc_7673_4_2_a_key_that_the_dns_names_is_enough_in_both_directions() {
    let world = signed();
    let one = world.server(&here());
    let identities = world.identities(&untrusted());
    world.net.publish_key(&format!("_{PORT}._tcp.{HOST}"), record(&identities));
    let other = world.server_showing(&untrusted(), identities);
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
    let history = one.federation.peers()[0].history.clone();
    assert!(history[0].what.starts_with("connected, proven by the signed record _5269._tcp."), "{history:?}");
    // The other way round the same key shows who has connected.
    let back = message("b@there.example", "a@here.example", 2);
    other.federation.send(&pair("there.example", "here.example"), vec![back.into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("2"));
}

// Proves: RFC 7673 §4.2
#[tokio::test(start_paused = true)]
async fn rfc_7673_4_2_another_key_than_the_dns_names_is_refused_whoever_vouches_for_it() {
    let world = signed();
    let one = world.server(&Plan { proofs: Proofs::CertificateOrDialback, ..here() });
    world.net.publish_key(&format!("_{PORT}._tcp.{HOST}"), record(&world.identities(&untrusted())));
    let other = world.server(&there());
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    let (condition, text, _) = one.bounce().await;
    assert_eq!(condition, Condition::RemoteServerTimeout);
    assert!(text.contains("fits none of the 1 signed TLSA records at _5269._tcp.host-192-0-2-2.example"), "{text}");
    assert!(!other.got_more().await);
    // Whoever connects may be another machine than the one that the record is about (RFC 7712).
    let back = message("b@there.example", "a@here.example", 2);
    other.federation.send(&pair("there.example", "here.example"), vec![back.into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn records_count_only_where_all_that_leads_to_them_is_signed() {
    for (srv, host) in [(false, true), (true, false), (false, false)] {
        let world = World::new();
        world.net.sign("elsewhere.example");
        [(srv, "there.example"), (host, HOST)].iter().filter(|(is, _)| *is).for_each(|(_, name)| world.net.sign(name));
        let one = world.server(&here());
        let identities = world.identities(&untrusted());
        world.net.publish_key(&format!("_{PORT}._tcp.{HOST}"), record(&identities));
        let _other = world.server_showing(&untrusted(), identities);
        one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
        let (_, text, _) = one.bounce().await;
        assert!(text.contains("does not prove its domain"), "{text}");
    }
}

// Proves: RFC 7673 §3.4
#[tokio::test(start_paused = true)]
async fn rfc_7673_3_4_where_somebody_tampers_nobody_connects_and_another_target_will_do() {
    let world = signed();
    let one = world.server(&here());
    let other = world.server(&there());
    world.net.tamper(&format!("_{PORT}._tcp.{HOST}"));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    let (_, text, _) = one.bounce().await;
    assert!(text.contains("DNSSEC"), "{text}");
    assert!(!other.got_more().await);
    world.publish("there.example", 10, "192.0.2.3", Start::Starttls);
    world.net.sign("host-192-0-2-3.example");
    world.listen(address("192.0.2.3"), &other.federation, Start::Starttls);
    sleep(Duration::from_secs(6)).await;
    one.federation.send(&pair("here.example", "there.example"), vec![hello(2).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("2"));
}

// Proves: RFC 7673 §4.1
#[tokio::test(start_paused = true)]
async fn rfc_7673_4_1_a_certificate_for_the_host_is_enough_where_signed_records_lead_to_it() {
    for is_signed in [true, false] {
        let world = if is_signed { signed() } else { World::new() };
        let one = world.server(&here());
        let other = world.server(&Plan { names: Some(&[HOST]), ..there() });
        one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
        if is_signed {
            assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
        } else {
            assert!(one.bounce().await.1.contains("is not for there.example"));
        }
    }
}

/// The operator's word goes before everybody else's.
#[tokio::test(start_paused = true)]
async fn a_pinned_key_is_enough_and_another_is_not() {
    let world = World::new();
    let identities = world.identities(&untrusted());
    let key = Key::of(&identities.all()[0].certified_key().cert[0]).unwrap();
    let of = |domain: &str, key| [(domain.to_owned(), key)];
    let pins = of("there.example", key);
    let one = world.server(&Plan { pins: &pins, ..here() });
    let other = world.server_showing(&untrusted(), Arc::clone(&identities));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("1"));
    let back = message("b@there.example", "a@here.example", 2);
    other.federation.send(&pair("there.example", "here.example"), vec![back.into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("2"));

    let world = World::new();
    let pins = of("there.example", key);
    let one = world.server(&Plan { pins: &pins, proofs: Proofs::CertificateOrDialback, ..here() });
    let other = world.server(&there());
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert!(one.bounce().await.1.contains("is not one of those that are pinned"));
    other
        .federation
        .send(&pair("there.example", "here.example"), vec![message("b@there.example", "a@here.example", 2).into()]);
    let (_, text, _) = other.bounce().await;
    assert!(text.contains("not-authorized") || text.contains("no way to authenticate"), "{text}");
}

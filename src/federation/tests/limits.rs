//! What another domain may cost, who is on the list of streams, and what is said about streams that break.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use super::world::{Plan, Raw, World, pair};
use super::{THERE, hello, here, there};
use crate::federation::proof::{Key, Kind as ProofKind};
use crate::federation::{Allowance, Direction, Settings};
use crate::routing::RemoteDelivery;
use crate::stanza::{Kind, MessageType, PresenceType, Stanza};
use crate::stream::Pace;

fn allowing(allowance: Allowance) -> Plan<'static> {
    Plan { allowance, ..there() }
}

/// A stream of `here.example`.
async fn stream(world: &World) -> Raw {
    let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
    raw.external("here.example", "there.example").await;
    raw
}

fn said(id: usize) -> String {
    hello(id).to_xml()
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_too_fast_is_read_more_slowly() {
    let world = World::new();
    let pace = Pace::new(10, 0, Duration::from_secs(1));
    let other = world.server(&allowing(Allowance { pace, ..Allowance::default() }));
    let (mut one, mut more) = (stream(&world).await, stream(&world).await);
    let started = Instant::now();
    one.say(&(0..40).map(said).collect::<String>()).await;
    for id in 0..40 {
        assert_eq!(other.arrival().await.id.as_deref(), Some(id.to_string().as_str()));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "what has come at once is taken at once");
    one.say(&said(40)).await;
    assert_eq!(other.arrival().await.id.as_deref(), Some("40"));
    let waited = started.elapsed();
    assert!((2900..3100).contains(&waited.as_millis()), "{waited:?}");
    // All its streams have one budget.
    more.say(&said(41)).await;
    other.arrival().await;
    more.say(&said(42)).await;
    other.arrival().await;
    let waited = started.elapsed();
    assert!((3000..3300).contains(&waited.as_millis()), "{waited:?}");
    let streams = other.federation.streams();
    assert!(streams.iter().any(|stream| stream.held_back >= 2900), "{streams:?}");
}

#[tokio::test(start_paused = true)]
async fn a_domain_reaches_as_many_people_as_it_may() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&allowing(Allowance { recipients: 2, requests: 1, ..Allowance::default() }));
    let send = |kind: Kind, to: &str, id: usize| {
        let stanza = Stanza::new(kind).from("a@here.example".parse().ok()).to(to.parse().ok()).id(id.to_string());
        one.federation.send(&pair("here.example", "there.example"), vec![stanza.into()]);
    };
    let (chat, request) = (Kind::Message(MessageType::Chat), Kind::Presence(PresenceType::Subscribe));
    for (id, (kind, to, passes)) in [
        (chat, "b@there.example", true),
        (chat, "c@there.example/x", true),
        (chat, "d@there.example", false),
        (chat, "c@there.example/y", true),
        (request, "b@there.example", true),
        (request, "c@there.example", false),
        (Kind::Presence(PresenceType::Available), "d@there.example", true),
    ]
    .into_iter()
    .enumerate()
    {
        send(kind, to, id);
        let (at, marks) = if passes { (&other, "") } else { (&one, "policy-violation") };
        let stanza = at.arrival().await;
        assert_eq!(stanza.id.as_deref(), Some(id.to_string().as_str()), "{to}");
        assert!(stanza.to_xml().contains(marks), "{}", stanza.to_xml());
    }
}

#[tokio::test(start_paused = true)]
async fn each_domain_of_a_stream_pays_for_itself() {
    let world = World::new();
    let pace = Pace::new(10, 0, Duration::from_secs(1));
    let other = world.server(&allowing(Allowance { recipients: 1, pace, ..Allowance::default() }));
    let both = Plan { names: Some(&["here.example", "also.example"]), ..here() };
    let (mut raw, _) = world.secured(&both, "there.example", THERE).await;
    raw.external("here.example", "there.example").await;
    raw.say("<db:result from='also.example' to='there.example'>key</db:result>").await;
    assert!(raw.element().await.contains("type='valid'"));
    let say = |from: &str, to: &str, id: usize| {
        let chat = Stanza::new(Kind::Message(MessageType::Chat)).id(id.to_string());
        chat.from(format!("a@{from}").parse().ok()).to(format!("{to}@there.example").parse().ok()).to_xml()
    };
    // The one has reached whom it may, the other has not, and once it has it is over as well.
    for (from, to, passes) in [
        ("here.example", "b", true),
        ("here.example", "c", false),
        ("also.example", "c", true),
        ("also.example", "b", false),
        ("here.example", "b", true),
    ] {
        raw.say(&say(from, to, 1)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(other.got_more().await, passes, "{from} {to}");
    }
    // Nor does what the one sends make the other wait, as long as it is within its own budget.
    sleep(Duration::from_secs(5)).await;
    let started = Instant::now();
    let all = (0..10).flat_map(|id| [say("here.example", "b", id), say("also.example", "c", id)]);
    raw.say(&all.collect::<String>()).await;
    for _ in 0..20 {
        other.arrival().await;
    }
    raw.say(&said(20)).await;
    other.arrival().await;
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_address_connects_as_often_as_it_may_and_a_change_holds_at_once() {
    let world = World::new();
    let other = world.server(&there());
    let address = |last| IpAddr::from([192, 0, 2, last]);
    let connects = |last, count| (0..count).filter(|_| other.federation.welcomes(address(last))).count();
    assert_eq!(connects(1, 1000), 1000, "nobody has said anything");
    set(&other, |settings| settings.policy.address.connects = Pace::each_minute(20));
    assert_eq!([connects(2, 1000), connects(3, 1000)], [20, 20]);
    advance(Duration::from_secs(3)).await;
    assert_eq!([connects(2, 1000), connects(3, 1)], [1, 1]);
    // Two of the three seconds that one takes, a hundred times: trying helps nobody.
    for _ in 0..100 {
        advance(Duration::from_millis(20)).await;
        assert_eq!(connects(2, 10), 0);
    }
    set(&other, |settings| settings.policy.address.connects = Pace::each_minute(0));
    assert_eq!(connects(2, 1000), 1000);
}

/// Replaces what the operator of a server has set.
pub(super) fn set(server: &super::world::Server, change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::clone(&server.federation.settings());
    change(&mut settings);
    server.federation.links().settings.replace(settings);
}

#[tokio::test(start_paused = true)]
async fn what_proved_a_stream_has_to_go_on_counting() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    let way = pair("here.example", "there.example");
    let dane = |settings: &mut Settings| settings.policy.terms.proofs = vec![ProofKind::Dane];
    let pinned = |settings: &mut Settings| {
        settings.pins = [("there.example".to_owned(), Key([1; 32]))].into_iter().collect();
    };
    one.federation.send(&way, vec![hello(1).into()]);
    other.arrival().await;
    // On the side that has opened it ...
    for (id, change) in [(2, &dane as &dyn Fn(&mut Settings)), (4, &pinned)] {
        let before = Settings::clone(&one.federation.settings());
        set(&one, change);
        one.federation.send(&way, vec![hello(id).into()]);
        assert_eq!(one.bounce().await.2, id.to_string());
        assert!(one.federation.streams().is_empty());
        set(&one, |settings| *settings = before);
        sleep(Duration::from_secs(60)).await;
        one.federation.send(&way, vec![hello(id + 1).into()]);
        assert_eq!(other.arrival().await.id.as_deref(), Some((id + 1).to_string().as_str()));
    }
    // ... and on the other.
    let mut raw = stream(&world).await;
    set(&other, dane);
    raw.say(&said(6)).await;
    let rest = raw.rest().await;
    assert!(rest.contains("<policy-violation"), "{rest}");
    assert!(!other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_domain_has_as_many_streams_as_it_may() {
    let world = World::new();
    let other = world.server(&allowing(Allowance { streams: 1, ..Allowance::default() }));
    let mut first = stream(&world).await;
    let (mut second, _) = world.secured(&here(), "there.example", THERE).await;
    second.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").await;
    assert!(second.element().await.contains("success"));
    second.wire.restart();
    second.header().await;
    let rest = second.rest().await;
    assert!(rest.contains("<resource-constraint"), "{rest}");
    first.say(&said(1)).await;
    other.arrival().await;
    first.say("</stream:stream>").await;
    first.rest().await;
    sleep(Duration::from_secs(1)).await;
    stream(&world).await.say(&said(2)).await;
    assert_eq!(other.arrival().await.id.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn every_stream_is_on_the_list_while_it_lasts() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    other.arrival().await;
    for (server, direction) in [(&one, Direction::Out), (&other, Direction::In)] {
        let streams = server.federation.streams();
        assert_eq!(streams.len(), 1, "{streams:?}");
        assert_eq!(streams[0].direction, direction);
        assert!(streams[0].bytes > 50 && streams[0].tls.as_ref().unwrap().starts_with("TLS 1.3"), "{streams:?}");
        assert_eq!(streams[0].certificate.as_ref().map(String::len), Some(64));
        assert!(streams[0].pairs[0].proof.contains("certificate"), "{streams:?}");
    }
    one.federation.stop().await;
    sleep(Duration::from_secs(5)).await;
    assert!(one.federation.streams().is_empty() && other.federation.streams().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_is_a_loss_and_one_that_is_closed_is_none() {
    let world = World::new();
    let other = world.server(&there());
    let raw = stream(&world).await;
    assert_eq!(other.inbound.changes(), ["reached here.example"]);
    drop(raw);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(other.inbound.changes(), ["lost here.example"]);
    let mut raw = stream(&world).await;
    raw.say("</stream:stream>").await;
    raw.rest().await;
    assert_eq!(other.inbound.changes(), ["reached here.example"]);
    let mut raw = stream(&world).await;
    raw.say("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>").await;
    raw.rest().await;
    assert_eq!(other.inbound.changes(), ["reached here.example", "lost here.example"]);
}

#[tokio::test(start_paused = true)]
async fn whom_nobody_reaches_is_lost() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, crate::federation::Start::Starttls);
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    one.bounce().await;
    assert_eq!(one.inbound.changes(), ["out of reach there.example"]);
    let other = world.server(&there());
    one.federation.knock(&pair("here.example", "there.example"));
    sleep(Duration::from_secs(10)).await;
    one.federation.knock(&pair("here.example", "there.example"));
    sleep(Duration::from_secs(10)).await;
    let changes = one.inbound.changes();
    assert!(changes.contains(&"reached there.example".to_owned()), "{changes:?}");
    assert!(other.inbound.changes().contains(&"reached here.example".to_owned()));
}

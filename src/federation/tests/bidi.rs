//! Streams that go both ways (XEP-0288), between two of our own servers; what hostile peers do to them is in `back`.

use super::back::stanza;
use super::world::{Plan, Raw, World, header, message, pair};
use super::*;
use crate::federation::Direction;
use crate::federation::lanes::{Lanes, What};
use crate::federation::xep_0220_dialback::{Dialback, Verdict};

pub(super) fn both(plan: Plan<'_>) -> Plan<'_> {
    Plan { bidi: true, queue_bytes: 64 << 20, ..plan }
}

pub(super) fn back(id: usize) -> Stanza<'static> {
    message("b@there.example/x", "a@here.example", id)
}

/// A server that nobody can connect to, and one that it has connected to.
async fn behind_a_wall(world: &World) -> (world::Server, world::Server) {
    let one = world.hidden(&both(here()));
    let other = world.server(&both(there()));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(0).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    (one, other)
}

/// The same, and a stanza has gone back on the stream.
async fn talking(world: &World) -> (world::Server, world::Server) {
    let (one, other) = behind_a_wall(world).await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("1"));
    (one, other)
}

// Proves: XEP-0288 §2.1, §2.2
#[tokio::test(start_paused = true)]
async fn xep_0288_2_2_stanzas_go_back_on_the_stream_on_which_others_have_come() {
    let world = World::new();
    let (one, other) = behind_a_wall(&world).await;
    for id in 0..1000 {
        one.federation.send(&pair("here.example", "there.example"), vec![hello(id).into()]);
        other.federation.send(&pair("there.example", "here.example"), vec![back(id).into()]);
        if id % 100 == 7 {
            tokio::task::yield_now().await;
        }
    }
    for id in 0..1000 {
        assert_eq!(other.arrival().await.id.as_deref(), Some(&*id.to_string()));
        let stanza = one.arrival().await;
        assert_eq!(stanza.id.as_deref(), Some(&*id.to_string()));
        assert_eq!(stanza.payload.as_str(), format!("<body>{id}</body>"));
    }
    assert_eq!((one.federation.queued(), other.federation.queued()), (0, 0));
    let history = other.federation.peers()[0].history.clone();
    assert_eq!(history[0].what, "connected, by a stream of the other server");
}

#[tokio::test(start_paused = true)]
async fn without_agreement_of_both_stanzas_go_one_way() {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
        let world = World::new();
        let one = world.hidden(&Plan { bidi: ours, ..here() });
        let other = world.server(&Plan { bidi: theirs, ..there() });
        one.federation.send(&pair("here.example", "there.example"), vec![hello(0).into()]);
        assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
        other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
        assert_eq!(other.bounce().await.0, Condition::RemoteServerNotFound);
    }
}

/// Large stanzas in both directions at the same time: each side reads while it writes.
#[tokio::test(start_paused = true)]
async fn neither_side_waits_for_the_other() {
    let world = World::new();
    let (one, other) = behind_a_wall(&world).await;
    for id in 0..20 {
        one.federation.send(&pair("here.example", "there.example"), vec![big(id).into()]);
        let large = back(id).payload(big(id).payload.clone());
        other.federation.send(&pair("there.example", "here.example"), vec![large.into()]);
    }
    for id in 0..20 {
        assert_eq!(other.arrival().await.id.as_deref(), Some(&*id.to_string()));
        assert_eq!(one.arrival().await.id.as_deref(), Some(&*id.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_confirmed_on_the_way_back() {
    let world = World::new();
    let (one, other) = behind_a_wall(&world).await;
    for id in 0..10 {
        other.send_kept(back(id));
    }
    for id in 0..10 {
        assert_eq!(one.arrival().await.id.as_deref(), Some(&*id.to_string()));
    }
    sleep(Duration::from_secs(5)).await;
    assert!(one.inbound.asked.load(std::sync::atomic::Ordering::Relaxed) > 0, "nobody has asked");
    assert_eq!(other.federation.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_both_ways_is_on_both_lists() {
    let world = World::new();
    let (one, other) = talking(&world).await;
    for (server, direction) in [(&one, Direction::Out), (&other, Direction::In)] {
        let streams = server.federation.streams();
        assert_eq!((streams.len(), streams[0].direction, streams[0].both_ways), (1, direction, true));
        let least = hello(0).to_xml().len() + back(1).to_xml().len();
        assert!(streams[0].bytes >= least as u64, "{streams:?}");
        assert!(streams[0].pairs[0].proof.contains("certificate"), "{streams:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_hear_who_is_reached_and_an_end_in_order_is_no_loss() {
    let world = World::new();
    let (one, other) = talking(&world).await;
    assert_eq!(one.inbound.changes(), ["reached there.example"]);
    assert_eq!(other.inbound.changes(), ["reached here.example"]);
    // Nobody has anything to say any more.
    sleep(Duration::from_secs(3600)).await;
    assert!(one.federation.streams().is_empty() && other.federation.streams().is_empty());
    assert_eq!([one.inbound.changes(), other.inbound.changes()].concat(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_gives_its_queues_back() {
    let world = World::new();
    let (one, other) = talking(&world).await;
    one.federation.stop().await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(2).into()]);
    let (condition, _, id) = other.bounce().await;
    assert_eq!((condition, id.as_str()), (Condition::RemoteServerNotFound, "2"));
    assert!(other.federation.ways_back().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_leaves_the_stream_and_comes_back() {
    let world = World::new();
    let (one, other) = behind_a_wall(&world).await;
    for id in 1..4 {
        other.federation.send(&pair("there.example", "here.example"), vec![back(id).into()]);
        assert_eq!(one.arrival().await.id.as_deref(), Some(&*id.to_string()));
        // The stream itself is kept alive by what its owner sends.
        for more in 0..10 {
            sleep(Duration::from_secs(100)).await;
            one.federation.send(&pair("here.example", "there.example"), vec![hello(more).into()]);
            assert_eq!(other.arrival().await.id.as_deref(), Some(&*more.to_string()));
        }
        assert!(other.federation.queues().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_what_goes_both_ways() {
    let world = World::new();
    let (one, other) = talking(&world).await;
    other.federation.stop().await;
    one.federation.stop().await;
    assert!(other.federation.queues().is_empty() && one.federation.queues().is_empty());
}

/// An operating system takes as many bytes at a time as it likes.
#[tokio::test(start_paused = true)]
async fn what_is_said_of_international_domains_may_be_cut_anywhere() {
    let server = World::new().hidden(&both(there()));
    let said: String = ["bücher.example", "почта.example", "例え.example", "𠮷野家.example"]
        .map(|domain| {
            let (from, to) = ("there.example".into(), domain.into());
            Dialback::ResultAnswer { from, to, verdict: Verdict::Valid }.to_xml()
        })
        .concat();
    for most in [1, 2, 3, 5, 7, usize::MAX] {
        let mut lanes = Lanes::new();
        lanes.say(&said).unwrap();
        let mut gone = Vec::new();
        loop {
            lanes.fill(&server.federation, What::Everything);
            let (_, portion) = lanes.parts();
            if portion.is_empty() {
                break;
            }
            let count = most.min(portion.len());
            gone.extend_from_slice(&portion[..count]);
            assert!(said.as_bytes().starts_with(&gone), "{}", String::from_utf8_lossy(&gone));
            lanes.handed_over(count, &server.federation);
        }
        assert_eq!(gone, said.as_bytes());
    }
}

/// A peer whose certificate is for `names` and who wants both ways, up to the features.
pub(super) async fn peer(world: &World, names: Option<&[&str]>) -> Raw {
    let (mut raw, features) = world.secured(&Plan { names, ..here() }, "there.example", THERE).await;
    assert!(features.contains("urn:xmpp:features:bidi"), "{features}");
    raw.say("<bidi xmlns='urn:xmpp:bidi'/>").await;
    raw
}

// Proves: XEP-0288 §2.2
#[tokio::test(start_paused = true)]
async fn xep_0288_2_2_nothing_goes_back_before_the_pair_is_proven() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = peer(&world, Some(&[])).await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(other.bounce().await.0, Condition::RemoteServerNotFound);
    sleep(Duration::from_secs(6)).await;
    raw.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").await;
    assert!(raw.element().await.contains("success"));
    // The stream has not begun anew yet.
    other.federation.send(&pair("there.example", "here.example"), vec![back(2).into()]);
    assert_eq!(other.bounce().await.2, "2");
    sleep(Duration::from_secs(6)).await;
    raw.wire.restart();
    raw.say(&header("here.example", "there.example")).await;
    raw.header().await;
    raw.element().await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(3).into()]);
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("3"));
    // Another pair has to find its own way.
    let rooms = message("rooms.there.example", "a@here.example", 4);
    other.federation.send(&pair("rooms.there.example", "here.example"), vec![rooms.into()]);
    assert_eq!(other.bounce().await.2, "4");
}

// Proves: XEP-0288 §2.2
#[tokio::test(start_paused = true)]
async fn xep_0288_2_2_a_key_is_verified_on_another_stream() {
    let world = World::new();
    let _other = world.server(&Plan { proofs: Proofs::CertificateOrDialback, ..both(there()) });
    world.publish("here.example", 0, HERE, Start::Starttls);
    let mut incoming = world.net.listen(address(HERE));
    let mut raw = peer(&world, None).await;
    raw.say("<db:result from='here.example' to='there.example'>0123</db:result>").await;
    let io = incoming.recv().await.unwrap();
    let dialback = "<dialback xmlns='urn:xmpp:features:dialback'/>";
    let mut authoritative = world.answered(io, &here(), "there.example", dialback).await;
    let question = authoritative.element().await;
    assert!(question.contains("verify") && question.contains("0123"), "{question}");
    let (_, id) = question.split_once(" id=").unwrap();
    let id: String = id.chars().skip(1).take_while(|letter| !"'\"".contains(*letter)).collect();
    authoritative.say(&format!("<db:verify from='here.example' to='there.example' id='{id}' type='valid'/>")).await;
    // The first that the stream itself hears of it is the answer.
    let answer = raw.element().await;
    assert!(answer.contains("<result") && answer.contains("valid"), "{answer}");
}

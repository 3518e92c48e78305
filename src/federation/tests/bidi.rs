//! Streams that go both ways (XEP-0288), between two of our own servers.

use super::world::{Plan, World, message, pair};
use super::*;

fn both<'a>(plan: Plan<'a>) -> Plan<'a> {
    Plan { bidi: true, ..plan }
}

fn back(id: usize) -> Stanza<'static> {
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
async fn a_stream_that_ends_gives_its_queues_back() {
    let world = World::new();
    let (one, other) = behind_a_wall(&world).await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("1"));
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
    let (one, other) = behind_a_wall(&world).await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(one.arrival().await.id.as_deref(), Some("1"));
    other.federation.stop().await;
    one.federation.stop().await;
    assert!(other.federation.queues().is_empty() && one.federation.queues().is_empty());
}

//! What a peer sends once more on the streams of one pair of domains.

use std::sync::Arc;

use tokio::time::{Duration, sleep, timeout};

use crate::federation::Federation;
use crate::federation::counting::{Counted, PAIRS};
use crate::hooks::Wish;
use crate::jid::BareJid;
use crate::routing::{Pair, Progress, RemoteDelivery};
use crate::stanza::Payload;
use crate::storage::{Map, Position, Receipt, Writes};

use super::here;
use super::world::{Server, World, message, pair};

const RESUMABLE: Wish = Wish::CountAndResume(None);

fn from_there() -> Pair {
    pair("here.example", "there.example")
}

/// Takes these messages from there as one batch; gives those that are to be routed.
fn take(counted: &mut Counted, of: &Pair, ids: std::ops::Range<usize>) -> Vec<usize> {
    let (from, to) = (format!("a@{}/x", of.remote), format!("b@{}", of.local));
    let mut stanza = message(&from, &to, 0);
    // However late it is, it says so.
    stanza.payload = Payload::canonical("<body>hi</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>");
    let (count, mut new) = (ids.len() as u64, Vec::new());
    for (id, more) in ids.zip(1..) {
        stanza.id = Some(id.to_string().into());
        if !counted.is_repeated(of, &stanza, more) {
            new.push(id);
        }
    }
    counted.note().reached(new.len(), &mut Writes::new());
    counted.handled(count, Receipt::NONE);
    new
}

/// Takes these messages from there, each with its sender, and writes what they cause; gives those that are to be routed.
fn take_from<'m>(server: &Server, counted: &mut Counted, all: &[(&'m str, usize)]) -> Vec<(&'m str, usize)> {
    const CAUSED: Map<usize> = Map::new("caused");
    let (of, mut writes, mut new) = (from_there(), Writes::new(), Vec::new());
    for ((sender, id), more) in all.iter().zip(1..) {
        if !counted.is_repeated(&of, &message(&format!("{sender}@{}/x", of.remote), "b@here.example", *id), more) {
            CAUSED.put(&mut writes, &BareJid::parse("b@here.example").unwrap(), "last", id).unwrap();
            new.push((*sender, *id));
        }
    }
    counted.note().reached(new.len(), &mut writes);
    counted.handled(all.len() as u64, server.storage.submit(writes));
    new
}

async fn begin(federation: &Arc<Federation>) -> Counted {
    federation.count(&from_there(), RESUMABLE).await.0
}

#[tokio::test(start_paused = true)]
async fn what_comes_again_and_again_is_known_from_the_first_time() {
    let world = World::new();
    let (server, of) = (world.hidden(&here()), from_there());
    let all = |ids: std::ops::Range<usize>| ids.collect::<Vec<_>>();
    let mut first = begin(&server.federation).await;
    assert_eq!(take(&mut first, &of, 0..5), all(0..5));
    assert_eq!(take(&mut first, &of, 5..50), all(5..50));
    drop(first);
    // Streams that break before they have brought all of it.
    for upto in [2, 30, 10] {
        sleep(Duration::from_secs(10_000)).await;
        let mut next = begin(&server.federation).await;
        assert_eq!(take(&mut next, &of, 0..upto), all(0..0));
    }
    let mut last = begin(&server.federation).await;
    assert_eq!(take(&mut last, &of, 0..60), all(50..60));
    assert_eq!(take(&mut last, &of, 0..1), [0], "only what comes first was not confirmed");
    // So often may it come once more.
    let mut again = begin(&server.federation).await;
    assert_eq!((take(&mut again, &of, 0..1), take(&mut again, &of, 0..60)), (all(0..0), all(0..0)));
    assert_eq!(take(&mut again, &of, 0..1), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_come_again_may_do_so_when_the_stream_is_resumed() {
    let world = World::new();
    let (server, of) = (world.hidden(&here()), from_there());
    let mut first = begin(&server.federation).await;
    assert_eq!(take(&mut first, &of, 0..4), [0, 1, 2, 3]);
    drop(first);
    let (mut next, name) = server.federation.count(&of, RESUMABLE).await;
    let (name, _) = name.unwrap();
    assert!(take(&mut next, &of, 0..1).is_empty());
    drop(next);
    let mut resumed = server.federation.take_over(std::slice::from_ref(&of), &name).await.unwrap();
    assert_eq!(resumed.counting.count(), 1);
    assert_eq!(take(&mut resumed, &of, 1..5), [4]);
    drop(resumed);
    // Now something new has come, so nothing comes again.
    let mut resumed = server.federation.take_over(std::slice::from_ref(&of), &name).await.unwrap();
    assert_eq!(take(&mut resumed, &of, 3..4), [3]);
}

#[tokio::test(start_paused = true)]
async fn what_one_sender_says_anew_ends_nothing_for_another_on_a_stream_that_is_resumed() {
    let world = World::new();
    let (server, of) = (world.hidden(&here()), from_there());
    let old = [("romeo", 0), ("mercutio", 1)];
    assert_eq!(take_from(&server, &mut begin(&server.federation).await, &old), old);
    let (mut counted, name) = server.federation.count(&of, RESUMABLE).await;
    let (name, _) = name.unwrap();
    assert_eq!(take_from(&server, &mut counted, &[("romeo", 2)]), [("romeo", 2)]);
    drop(counted);
    let restarted = world.restarted(&here(), &server.storage).await;
    for server in [&server, &restarted] {
        let mut resumed = server.federation.take_over(std::slice::from_ref(&of), &name).await.unwrap();
        assert_eq!(resumed.counting.count(), 1);
        assert_eq!(take_from(server, &mut resumed, &old), [("romeo", 0)], "his order is kept, and no other");
    }
}

// Proves: XEP-0198 §5
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_closed_or_is_old_is_not_resumed() {
    let world = World::new();
    let (server, of) = (world.hidden(&here()), from_there());
    let other = pair("here.example", "elsewhere.example");
    for close in [true, false] {
        let (mut counted, name) = server.federation.count(&of, RESUMABLE).await;
        let (name, time) = name.unwrap();
        take(&mut counted, &of, 0..7);
        if close {
            counted.close();
        } else {
            drop(counted);
            assert!(
                server.federation.take_over(std::slice::from_ref(&other), &name).await.is_none(),
                "not with another proof"
            );
            let resumed = server.federation.take_over(&[other.clone(), of.clone()], &name).await.unwrap();
            assert_eq!(resumed.counting.count(), 7);
            // Its connection, too, has an end.
            sleep(time).await;
            drop(resumed);
            sleep(time - Duration::from_secs(1)).await;
            drop(server.federation.take_over(std::slice::from_ref(&of), &name).await.unwrap());
            sleep(time).await;
        }
        assert!(server.federation.take_over(std::slice::from_ref(&of), &name).await.is_none());
    }
    assert!(server.federation.count(&of, Wish::Count).await.1.is_none());
}

#[tokio::test(start_paused = true)]
async fn pairs_without_a_stream_are_forgotten_when_they_are_too_many() {
    let world = World::new();
    let federation = world.hidden(&here()).federation;
    let known = |of: &Pair| federation.arrivals().contains_key(of);
    let all: Vec<Pair> = (0..PAIRS + 2).map(|number| pair("here.example", &format!("{number}.example"))).collect();
    let open = federation.count(&all[0], RESUMABLE).await;
    for of in &all[1..] {
        drop(federation.count(of, RESUMABLE).await);
        sleep(Duration::from_millis(1)).await;
    }
    federation.settle(Position::new(0));
    assert!(!known(&all[1]) && known(&all[2]), "the one that ended first goes, and no other");
    assert!(known(&all[0]), "it has a stream");
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn one_stream_of_a_pair_counts() {
    let world = World::new();
    let (server, of) = (world.hidden(&here()), from_there());
    let mut old = begin(&server.federation).await;
    let turn = old.turn().await.unwrap();
    // It finishes what it is at.
    assert!(timeout(Duration::from_secs(100), begin(&server.federation)).await.is_err());
    assert!(timeout(Duration::from_secs(100), old.superseded()).await.is_err());
    take(&mut old, &of, 0..3);
    drop(turn);
    let mut new = begin(&server.federation).await;
    old.superseded().await;
    assert_eq!(old.turn().await.err().unwrap().to_string(), "conflict");
    assert!(take(&mut new, &of, 0..3).is_empty());
    // When it ends nothing changes.
    drop(old);
    new.turn().await.unwrap();
    let (_, name) = server.federation.count(&of, RESUMABLE).await;
    assert!(server.federation.take_over(&[of], &name.unwrap().0).await.is_some());
    assert!(new.turn().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn of_very_many_messages_the_oldest_pairs_are_forgotten() {
    let world = World::new();
    let server = world.hidden(&here());
    let pairs: Vec<Pair> = (0..18).map(|number| pair("here.example", &format!("{number}.example"))).collect();
    for of in &pairs {
        let mut counted = server.federation.count(of, RESUMABLE).await.0;
        for batch in 0..64 {
            take(&mut counted, of, batch * 1024..(batch + 1) * 1024);
        }
        drop(counted);
        sleep(Duration::from_secs(1)).await;
    }
    server.federation.settle(Position::new(0));
    let mut known = server.federation.arrivals().keys().map(|pair| pair.remote.to_string()).collect::<Vec<_>>();
    known.sort();
    // So many as sixteen have.
    let mut expected: Vec<String> = pairs[2..].iter().map(|pair| pair.remote.to_string()).collect();
    expected.sort();
    assert_eq!(known, expected);
}

//! What somebody was promised: kept until the other server has it, across lost links, silent peers and restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, duplex, split};
use tokio::time::{Instant, sleep};

use crate::federation::Start;
use crate::routing::RemoteDelivery;
use crate::stanza::Condition;
use crate::storage::Position;
use crate::testing::served;

use super::world::{Plan, Server, World, pair};
use super::{HERE, THERE, address, hello, here, there};

/// Everything that is in the log as queued becomes undelivered or is done with, as routing has it every second.
fn settle(server: &Server) {
    let upto = server.storage.settled();
    server.federation.settle(upto);
    let mut writes = crate::storage::Writes::new();
    writes.hand_over(upto);
    server.storage.submit(writes);
}

async fn kept(server: &Server) -> usize {
    server.undelivered("here.example").await.len()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_confirmed_by_one_ping_behind_it() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    for id in 0..100 {
        one.send_kept(hello(id));
    }
    for id in 0..100 {
        assert_eq!(other.arrival().await.id.as_deref(), Some(&*id.to_string()));
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!((one.federation.queued(), other.inbound.asked.load(Ordering::Relaxed)), (0, 1));
    settle(&one);
    assert_eq!(kept(&one).await, 0);
    // A link on which nothing is sent is not asked anything.
    sleep(Duration::from_secs(300)).await;
    assert_eq!(other.inbound.asked.load(Ordering::Relaxed), 1);
    one.federation.send(&pair("here.example", "there.example"), vec![hello(100).into()]);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(other.inbound.asked.load(Ordering::Relaxed), 1, "nor for what nobody was promised");
    assert!(!one.got_more().await, "the answer is nobody else's");
}

/// Passes on what comes until `is_cut`; then takes everything, lets nothing through, and ends after a while.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, is_cut: &AtomicBool) {
    let mut buffer = vec![0; 4096];
    let mut is_over = false;
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if is_cut.load(Ordering::Relaxed) => is_over = true,
                Ok(count) => to.write_all(&buffer[..count]).await.unwrap(),
            },
            () = sleep(Duration::from_secs(20)), if is_over => return,
        }
    }
}

/// Has `other` be found behind a line that can be cut for its first connection.
fn behind_a_line(world: &World, other: &Server) -> Arc<AtomicBool> {
    world.publish("there.example", 0, THERE, Start::Starttls);
    let mut incoming = world.net.listen(address(THERE));
    let federation = Arc::clone(&other.federation);
    let cut = Arc::<AtomicBool>::default();
    let is_cut = Arc::clone(&cut);
    tokio::spawn(async move {
        let io = incoming.recv().await.unwrap();
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(Arc::clone(&federation).serve(served(far), Start::Starttls));
        let ((from, mut back), (mut answers, to)) = (split(io), split(near));
        tokio::select! {
            () = pass(from, to, &is_cut) => {}
            _ = copy(&mut answers, &mut back) => {}
        }
        drop((back, answers));
        while let Some(io) = incoming.recv().await {
            tokio::spawn(Arc::clone(&federation).serve(served(io), Start::Starttls));
        }
    });
    cut
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_took_and_did_not_confirm_goes_out_again() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.hidden(&there()));
    let cut = behind_a_line(&world, &other);
    one.send_kept(hello(0));
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    sleep(Duration::from_secs(2)).await;
    cut.store(true, Ordering::Relaxed);
    for id in 1..4 {
        one.send_kept(hello(id));
    }
    one.federation.send(&pair("here.example", "there.example"), vec![hello(4).into()]);
    sleep(Duration::from_secs(1)).await;
    settle(&one);
    assert_eq!(kept(&one).await, 3);
    assert!(!other.got_more().await);
    for id in 1..4 {
        let stanza = other.arrival().await;
        assert_eq!(stanza.id.as_deref(), Some(&*id.to_string()));
        assert!(stanza.payload.as_str().contains("<delay xmlns='urn:xmpp:delay' from='here.example'"));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(kept(&one).await, 0);
    assert!(!other.got_more().await, "what nobody was promised counts as delivered");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_confirms_by_closing() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { answers: false, ..there() });
    one.send_kept(hello(0));
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    sleep(Duration::from_secs(30)).await;
    assert!(one.federation.queued() > 0);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(one.federation.queued(), 0);
    sleep(Duration::from_secs(600)).await;
    assert!(!other.got_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_down_is_tried_again_and_nothing_is_lost() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    one.send_kept(hello(0));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    one.send_kept(hello(2));
    let (condition, _, id) = one.bounce().await;
    assert_eq!((condition, id.as_str()), (Condition::RemoteServerTimeout, "1"), "only what nobody was promised");
    sleep(Duration::from_secs(600)).await;
    settle(&one);
    assert_eq!(kept(&one).await, 2);
    let other = world.hidden(&there());
    world.listen(address(THERE), &other.federation, Start::Starttls);
    let started = Instant::now();
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    assert_eq!(other.arrival().await.id.as_deref(), Some("2"));
    assert!(started.elapsed() < Duration::from_secs(400));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(kept(&one).await, 0);
}

/// Something is kept for a server that is down, and is found again after twenty minutes.
async fn down_for_long(world: &World) -> (Server, Server) {
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    one.send_kept(hello(0));
    sleep(Duration::from_secs(1200)).await;
    let other = world.hidden(&there());
    world.listen(address(THERE), &other.federation, Start::Starttls);
    (one, other)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_connects_is_tried_at_once() {
    let world = World::new();
    let (_one, other) = down_for_long(&world).await;
    let (mut raw, _) = world.secured(&there(), "here.example", HERE).await;
    raw.external("there.example", "here.example").await;
    let started = Instant::now();
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_new_is_a_reason_to_try_again() {
    let world = World::new();
    let (one, other) = down_for_long(&world).await;
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    for id in ["0", "1"] {
        assert_eq!(other.arrival().await.id.as_deref(), Some(id));
    }
}

// Proves: RFC 6120 §10.4.3
#[tokio::test(start_paused = true)]
async fn what_waits_too_long_comes_back_with_one_error() {
    let world = World::new();
    let one = world.server(&Plan { expiry: Duration::from_secs(1000), ..here() });
    world.publish("there.example", 0, THERE, Start::Starttls);
    let started = Instant::now();
    one.send_kept(hello(0));
    sleep(Duration::from_secs(500)).await;
    one.send_kept(hello(1));
    settle(&one);
    for (id, after) in [("0", 1000), ("1", 1500)] {
        let (condition, text, bounced) = one.bounce().await;
        assert_eq!((condition, bounced.as_str()), (Condition::RemoteServerTimeout, id));
        assert!(
            text.starts_with("not delivered within 1000 seconds: ") && text.contains("connection refused"),
            "{text}"
        );
        assert_eq!(started.elapsed().as_secs(), after);
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!((kept(&one).await, one.federation.queued()), (0, 0));
    assert!(one.federation.queues().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_chance_comes_back_at_once() {
    let world = World::new();
    let one = world.server(&here());
    one.send_kept(hello(0));
    let (condition, _, id) = one.bounce().await;
    assert_eq!((condition, id.as_str()), (Condition::RemoteServerNotFound, "0"));
    settle(&one);
    assert_eq!(kept(&one).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_leave_before_the_server_stops_is_in_the_log() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, THERE, Start::Starttls);
    let _kept = world.net.listen(address(THERE));
    one.send_kept(hello(0));
    one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    sleep(Duration::from_secs(1)).await;
    settle(&one);
    one.send_kept(hello(2));
    one.federation.stop().await;
    // Sessions end behind it.
    one.send_kept(hello(3));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(one.bounce().await.2, "1", "what nobody was promised is answered");
    settle(&one);
    assert_eq!(one.undelivered("here.example").await, [1, 2, 3].map(Position::new));
}

#[tokio::test(start_paused = true)]
async fn what_was_confirmed_by_the_last_word_is_not_in_the_log() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { answers: false, ..there() });
    one.send_kept(hello(0));
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    one.federation.stop().await;
    settle(&one);
    assert_eq!(kept(&one).await, 0);
}

/// A peer that has the id of a probe of another pair, or guesses, confirms nothing.
#[tokio::test(start_paused = true)]
async fn only_the_domain_that_was_asked_confirms() {
    let world = World::new();
    let one = world.server(&here());
    let other = world.server(&Plan { answers: false, ..there() });
    one.send_kept(hello(0));
    assert_eq!(other.arrival().await.id.as_deref(), Some("0"));
    let (mut raw, _) = world.secured(&there(), "here.example", HERE).await;
    raw.external("there.example", "here.example").await;
    raw.say("<iq type='result' id='0' from='there.example' to='here.example'/>").await;
    raw.say("<iq type='result' id='' from='there.example' to='here.example'/>").await;
    sleep(Duration::from_secs(10)).await;
    assert!(one.federation.queued() > 0);
}

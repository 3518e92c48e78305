//! What a peer is told of its stanzas where they go both ways (XEP-0288): that they are in safe hands, once they are.

use std::sync::atomic::Ordering;

use tokio::task::yield_now;

use super::back::{Stage, stanza, taking};
use super::bidi::both;
use super::world::{Raw, Server, World, message};
use super::*;
use crate::federation::Allowance;
use crate::stream::{CLOSE, Event, Limits};

/// A request of one domain to the other, as a server sends it that wants to know what has arrived.
fn ping(from: &str, to: &str) -> String {
    format!("<iq type='get' id='ping' from='{from}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

fn said(from: &str, to: &str) -> String {
    message(&format!("a@{from}/x"), &format!("b@{to}"), 1).to_xml()
}

fn counts(server: &Server) -> (usize, usize) {
    (server.inbound.promised.load(Ordering::Relaxed), server.inbound.asked.load(Ordering::Relaxed))
}

/// Of what has come nothing but the first message was taken, until that is in safe hands: then it is as much as expected.
async fn only_then(server: &Server, expected: (usize, usize)) {
    assert_eq!(counts(server), (1, 0));
    server.pay();
    while counts(server) != expected {
        yield_now().await;
    }
}

/// Sends a message and a question behind it, and has the answer come when it is true.
async fn ask(raw: &mut Raw, server: &Server, (from, to): (&str, &str)) {
    server.owe();
    // This is answered in any case, and behind the others.
    let verify = format!("<db:verify from='{from}' to='{to}' id='1'>0123</db:verify>");
    raw.say(&(said(from, to) + &ping(from, to) + &verify)).await;
    let answer = raw.element().await;
    assert!(answer.contains("verify"), "{answer}");
    assert_eq!(server.arrival().await.id.as_deref(), Some("1"));
    assert_eq!(counts(server), (1, 0));
    server.pay();
    assert_eq!(stanza(raw).await.id.as_deref(), Some("ping"));
    assert_eq!(counts(server), (1, 1));
}

#[tokio::test]
async fn an_answer_says_that_everything_before_the_question_is_in_safe_hands_whoever_has_opened_the_stream() {
    let mut stage = Stage::new(Allowance::default());
    let mut raw = stage.opened().await;
    ask(&mut raw, &stage.one, ("there.example", "here.example")).await;
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    ask(&mut raw, &other, ("here.example", "there.example")).await;
}

#[tokio::test(start_paused = true)]
async fn so_does_the_end_of_a_stream() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    other.owe();
    raw.say(&(said("here.example", "there.example") + CLOSE)).await;
    assert!(timeout(Duration::from_secs(1), raw.wire.event()).await.is_err(), "nothing is said yet");
    other.pay();
    assert!(matches!(raw.wire.event().await, Ok(Event::Close)));
    assert_eq!(counts(&other), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_waits_when_the_stream_ends_is_answered() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    other.owe();
    raw.say(&(said("here.example", "there.example") + &ping("here.example", "there.example"))).await;
    sleep(Duration::from_secs(1)).await;
    drop(raw);
    sleep(Duration::from_secs(1)).await;
    only_then(&other, (1, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_too_much_is_not_read_until_he_is_answered() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    other.owe();
    raw.say(&(said("here.example", "there.example") + &ping("here.example", "there.example").repeat(20))).await;
    sleep(Duration::from_secs(1)).await;
    raw.say(&said("here.example", "there.example")).await;
    sleep(Duration::from_secs(1)).await;
    only_then(&other, (2, 20)).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_stream_that_goes_one_way_nothing_is_promised() {
    let world = World::new();
    let other = world.server(&there());
    let (mut raw, _) = world.secured(&here(), "there.example", THERE).await;
    raw.external("here.example", "there.example").await;
    raw.wire.trust_peer(Limits::SERVER);
    other.owe();
    raw.say(&(said("here.example", "there.example") + &ping("here.example", "there.example"))).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(counts(&other), (0, 1));
}

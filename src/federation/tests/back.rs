//! What becomes of the way back on a stream that goes both ways (XEP-0288) when the peer breaks off, asks for too much, or
//! takes nothing.

use tokio::sync::mpsc::UnboundedReceiver;

use super::bidi::{back, both, peer};
use super::world::{EXTERNAL, OFFER, Plan, Raw, World, message, pair};
use super::*;
use crate::federation::doctor::Vouching;
use crate::federation::proof::Kind;
use crate::federation::{Allowance, Settings};
use crate::stream::{Event, Limits, Pace};

/// A server that has opened a stream to somebody who is `there.example` and whatever is below it.
pub(super) struct Stage {
    world: World,
    pub(super) one: world::Server,
    incoming: UnboundedReceiver<DuplexStream>,
}

impl Stage {
    pub(super) fn new(allowance: Allowance) -> Self {
        let world = World::new();
        world.publish("there.example", 0, THERE, Start::Starttls);
        let incoming = world.net.listen(address(THERE));
        let one = world.hidden(&Plan { allowance, ..both(here()) });
        Self { world, one, incoming }
    }

    /// The other end of that stream, on which stanzas go both ways; what it was opened for has come.
    pub(super) async fn opened(&mut self) -> Raw {
        self.one.federation.send(&pair("here.example", "there.example"), vec![hello(0).into()]);
        let plan = Plan { names: Some(&["there.example", "*.there.example"]), ..there() };
        let io = self.incoming.recv().await.unwrap();
        let mut raw = self.world.answered(io, &plan, "here.example", &format!("{OFFER}{EXTERNAL}")).await;
        assert!(raw.element().await.contains("urn:xmpp:bidi"));
        assert!(raw.element().await.contains("EXTERNAL"));
        raw.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await;
        raw.wire.restart();
        raw.answer_header("there.example", "here.example", "").await;
        raw.wire.trust_peer(Limits::SERVER);
        assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("0"));
        raw
    }
}

pub(super) async fn stanza(raw: &mut Raw) -> Stanza<'static> {
    match raw.wire.event().await.unwrap() {
        Event::Stanza(stanza) => stanza,
        event => panic!("{event:?}"),
    }
}

/// A stream that `here.example` has opened and on which it takes what `there.example` has for it.
pub(super) async fn taking(world: &World) -> Raw {
    let mut raw = peer(world, Some(&["here.example", "*.here.example"])).await;
    raw.external("here.example", "there.example").await;
    raw.wire.trust_peer(Limits::SERVER);
    raw
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_off_a_stream_of_its_own_is_lost_once() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    assert_eq!(other.inbound.changes(), ["reached here.example"]);
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("1"));
    drop(raw);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(other.inbound.changes(), ["lost here.example"]);
    assert!(other.federation.ways_back().is_empty() && other.federation.queues().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_off_a_stream_of_ours_is_lost_with_all_its_domains() {
    let mut stage = Stage::new(Allowance::default());
    let mut raw = stage.opened().await;
    raw.say("<db:result from='rooms.there.example' to='here.example'>0123</db:result>").await;
    assert!(raw.element().await.contains("valid"));
    assert_eq!(stage.one.inbound.changes(), ["reached there.example", "reached rooms.there.example"]);
    let pairs = stage.one.federation.streams()[0].pairs.len();
    assert_eq!(pairs, 2);
    drop(raw);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.one.inbound.changes(), ["lost rooms.there.example", "lost there.example"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_confirmed_goes_out_again_on_a_stream_of_our_own() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    other.send_kept(back(1));
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("1"));
    let one = world.server(&both(here()));
    drop(raw);
    assert_eq!(one.arrival().await.id.as_deref(), Some("1"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(other.federation.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_too_fast_on_a_stream_of_ours_is_read_more_slowly_and_still_hears_us() {
    let pace = Pace::new(10, 0, Duration::from_secs(1));
    let mut stage = Stage::new(Allowance { pace, ..Allowance::default() });
    let mut raw = stage.opened().await;
    let started = Instant::now();
    raw.say(&(0..40).map(|id| back(id).to_xml()).collect::<String>()).await;
    for id in 0..40 {
        assert_eq!(stage.one.arrival().await.id.as_deref(), Some(id.to_string().as_str()));
    }
    raw.say(&back(40).to_xml()).await;
    stage.one.federation.send(&pair("here.example", "there.example"), vec![hello(1).into()]);
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("1"));
    assert!(started.elapsed() < Duration::from_secs(1), "it is not read, and hears us all the same");
    assert_eq!(stage.one.arrival().await.id.as_deref(), Some("40"));
    let waited = started.elapsed();
    assert!((2900..3100).contains(&waited.as_millis()), "{waited:?}");
    assert!(stage.one.federation.streams()[0].held_back >= 2900);
}

#[tokio::test(start_paused = true)]
async fn a_domain_reaches_no_more_people_on_a_stream_of_ours() {
    let mut stage = Stage::new(Allowance { recipients: 1, ..Allowance::default() });
    let mut raw = stage.opened().await;
    for (id, to) in [(1, "a@here.example"), (2, "c@here.example"), (3, "a@here.example/x")] {
        raw.say(&message("b@there.example", to, id).to_xml()).await;
    }
    assert_eq!(stage.one.arrival().await.id.as_deref(), Some("1"));
    assert_eq!(stage.one.arrival().await.id.as_deref(), Some("3"));
    let error = stanza(&mut raw).await;
    assert!(error.id.as_deref() == Some("2") && error.to_xml().contains("policy-violation"), "{}", error.to_xml());
}

// Proves: XEP-0288 §2.2
#[tokio::test(start_paused = true)]
async fn a_stream_of_ours_proves_so_many_domains() {
    let mut stage = Stage::new(Allowance::default());
    let mut raw = stage.opened().await;
    for number in 0..80 {
        raw.say(&format!("<db:result from='{number}.there.example' to='here.example'>0123</db:result>")).await;
        let answer = raw.element().await;
        let expected = if number < 63 { "valid" } else { "resource-constraint" };
        assert!(answer.contains(expected), "{number}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_and_takes_no_answer_is_left_whichever_side_has_opened_the_stream() {
    let question = "<db:verify from='here.example' to='there.example' id='1'>0123</db:verify>";
    let mut stage = Stage::new(Allowance::default());
    let raw = stage.opened().await;
    let world = World::new();
    let other = world.server(&both(there()));
    for (mut raw, server) in [(raw, &stage.one), (taking(&world).await, &other)] {
        assert_eq!(server.federation.streams().len(), 1);
        for _ in 0..5000 {
            if raw.wire.write(question).await.is_err() {
                break;
            }
        }
        sleep(Duration::from_secs(5)).await;
        assert!(server.federation.streams().is_empty());
        assert_eq!(server.federation.queued(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_is_given_up_and_what_waits_is_answered() {
    let world = World::new();
    let other = world.server(&both(there()));
    let raw = taking(&world).await;
    for id in 0..5 {
        let large = back(id).payload(big(id).payload.clone());
        other.federation.send(&pair("there.example", "here.example"), vec![large.into()]);
    }
    // Nobody finds the peer, so there is no other way.
    assert_eq!(other.bounce().await.0, Condition::RemoteServerNotFound);
    assert!(other.inbound.changes().contains(&"lost here.example".to_owned()));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(other.federation.queued(), 0);
    assert!(other.federation.ways_back().is_empty() && other.federation.streams().is_empty());
    drop(raw);
}

#[tokio::test(start_paused = true)]
async fn queues_take_turns_at_the_end_of_a_stanza() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    raw.say("<db:result from='rooms.here.example' to='there.example'>0123</db:result>").await;
    assert!(raw.element().await.contains("valid"));
    for id in 0..20 {
        let large = back(id).payload(big(id).payload.clone());
        other.federation.send(&pair("there.example", "here.example"), vec![large.into()]);
    }
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("0"));
    let small = message("b@there.example", "rooms.here.example", 99);
    other.federation.send(&pair("there.example", "rooms.here.example"), vec![small.into()]);
    let mut order = Vec::new();
    for _ in 0..20 {
        order.push(stanza(&mut raw).await.id.unwrap().into_owned());
    }
    let place = order.iter().position(|id| id == "99").unwrap();
    assert!(place < 4, "{order:?}");
    order.remove(place);
    assert_eq!(order, (1..20).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_doctor_asks_for_nothing_that_it_would_not_take() {
    let mut stage = Stage::new(Allowance::default());
    let federation = Arc::clone(&stage.one.federation);
    let examination = tokio::spawn(async move {
        federation.examine(&pair("here.example", "there.example"), Vouching::Possible).await;
    });
    let io = stage.incoming.recv().await.unwrap();
    let mut raw = stage.world.answered(io, &there(), "here.example", &format!("{OFFER}{EXTERNAL}")).await;
    assert!(raw.element().await.contains("EXTERNAL"));
    examination.abort();
}

#[tokio::test(start_paused = true)]
async fn what_has_proven_a_peer_has_to_go_on_counting_on_the_way_back() {
    let world = World::new();
    let other = world.server(&both(there()));
    let mut raw = taking(&world).await;
    other.federation.send(&pair("there.example", "here.example"), vec![back(1).into()]);
    assert_eq!(stanza(&mut raw).await.id.as_deref(), Some("1"));
    let mut settings = Settings::clone(&other.federation.settings());
    settings.policy.terms.proofs = vec![Kind::Dane];
    other.federation.links().settings.replace(settings);
    other.federation.send(&pair("there.example", "here.example"), vec![back(2).into()]);
    let (condition, _, id) = other.bounce().await;
    assert_eq!((condition, id.as_str()), (Condition::RemoteServerNotFound, "2"));
}

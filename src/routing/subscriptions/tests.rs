//! What only another server can send: whatever a client writes goes to the bare JID.

use crate::jid::Jid;
use crate::routing::Origin;
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::testing::{Client, World};

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// What has come about tybalt: presence by its type, the roster by his subscription.
fn news(juliet: &mut Client) -> Vec<String> {
    let all = std::iter::from_fn(|| juliet.received());
    let told = |element: crate::xml::Element| match element.elements().next().and_then(|query| query.elements().next()) {
        Some(item) if item.name() == "item" => item.attribute("subscription").map(str::to_owned),
        _ => element.attribute("type").map(str::to_owned),
    };
    all.filter_map(told).collect()
}

// Proves: RFC 6121 §8.5.3.2.2
#[tokio::test(start_paused = true)]
async fn only_a_request_may_name_a_resource_that_is_gone() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    world.server("mantua.example").unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    juliet.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>").await;
    juliet.send("<presence type='subscribe' to='tybalt@mantua.example'/>").await;
    world.settle().await;
    news(&mut juliet);
    let there = "juliet@verona.example/balcony";
    for (kind, to, expected) in [
        (PresenceType::Subscribed, "juliet@verona.example/gone", vec![]),
        (PresenceType::Unsubscribed, "juliet@verona.example/gone", vec![]),
        (PresenceType::Unsubscribe, "juliet@verona.example/gone", vec![]),
        (PresenceType::Subscribe, "juliet@verona.example/gone", vec!["subscribe"]),
        (PresenceType::Subscribed, there, vec!["subscribed", "to"]),
    ] {
        let stanza = Stanza::new(Kind::Presence(kind)).from(jid("tybalt@mantua.example")).to(jid(to));
        let origin = Origin::Remote { local: "verona.example", remote: "mantua.example" };
        let mut batch = node.router.batch();
        node.router.route(origin, stanza, &mut batch).await.unwrap();
        batch.finish();
        world.settle().await;
        assert_eq!(news(&mut juliet), expected, "{kind:?} to {to}");
    }
}

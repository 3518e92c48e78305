//! What two devices of one account get of the same message, and who comes while the server stops.

use std::sync::Arc;
use std::time::Duration;

use crate::stream::StreamCondition;
use crate::testing::{Client, World};

/// The ids of the messages that have come.
fn messages(client: &mut Client) -> Vec<String> {
    let heard = std::iter::from_fn(|| client.received()).filter(|element| element.name() == "message");
    heard.filter_map(|element| element.attribute("id").map(str::to_owned)).collect()
}

/// Two devices that count; the second one has lost its connection. Neither has confirmed the message `1`, which is old.
async fn two_devices(world: &mut World) -> [Client; 2] {
    let node = world.server("verona.example").unwrap();
    let settling = tokio::spawn(Arc::clone(&node).settle());
    let mut devices = Vec::new();
    for resource in ["one", "two"] {
        let mut device = world.login(&format!("romeo@verona.example/{resource}").parse().unwrap()).await.unwrap();
        device.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>").await;
        devices.push(device);
    }
    world.settle().await;
    let mut devices: [Client; 2] = devices.try_into().ok().unwrap();
    devices[1].vanish();
    let mut juliet = world.login(&"juliet@verona.example/balcony".parse().unwrap()).await.unwrap();
    juliet
        .send("<enable xmlns='urn:xmpp:sm:3'/><message to='romeo@verona.example' id='1'><body>1</body></message>")
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    settling.abort();
    assert_eq!(messages(&mut devices[0]), ["1"]);
    devices
}

async fn confirm(world: &World, client: &mut Client) {
    client.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", client.handled())).await;
    world.settle().await;
}

// Proves: XEP-0198 §5
#[tokio::test(start_paused = true)]
async fn what_one_device_has_confirmed_is_kept_for_another() {
    let mut world = World::new();
    let [mut one, two] = two_devices(&mut world).await;
    confirm(&world, &mut one).await;
    world.restart("verona.example").await.unwrap();
    let raw = world.authenticated(two.jid.as_ref().unwrap()).await.unwrap();
    let mut two = two.resume(raw, None).await;
    world.settle().await;
    assert_eq!(messages(&mut two), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn what_one_device_has_confirmed_does_not_come_again_when_another_is_given_up() {
    let mut world = World::new();
    let [mut one, _two] = two_devices(&mut world).await;
    confirm(&world, &mut one).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(messages(&mut one), [""; 0]);
    // Nor to anybody else.
    one.close().await;
    world.settle().await;
    let mut other = world.login(&"romeo@verona.example/three".parse().unwrap()).await.unwrap();
    other.send("<presence/>").await;
    world.settle().await;
    assert_eq!(messages(&mut other), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_one_device_still_has_to_confirm_does_not_come_again_when_another_is_given_up() {
    let mut world = World::new();
    let [mut one, _two] = two_devices(&mut world).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(messages(&mut one), [""; 0]);
}

// Proves: RFC 6120 §4.9.3.20
#[tokio::test(start_paused = true)]
async fn who_comes_while_the_server_stops_is_sent_away_and_has_his_session_after_it() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let jid = "romeo@verona.example/orchard".parse().unwrap();
    let mut romeo = world.login(&jid).await.unwrap();
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    world.settle().await;
    romeo.vanish();
    node.router.end_all(&StreamCondition::SystemShutdown.into());
    world.settle().await;
    let raw = world.authenticated(&jid).await.unwrap();
    let answer = romeo.resume(raw, None).await.next().await.unwrap();
    assert!(answer.child("system-shutdown", "urn:ietf:params:xml:ns:xmpp-streams").is_some(), "{answer:?}");
    assert!(world.login(&jid).await.is_err());
    world.restart("verona.example").await.unwrap();
    let raw = world.authenticated(&jid).await.unwrap();
    assert_eq!(romeo.resume(raw, None).await.next().await.unwrap().name(), "resumed");
}

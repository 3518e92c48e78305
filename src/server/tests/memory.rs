//! What is counted for whom goes up with what is held, and down again.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::{DOMAIN, jid, received};
use crate::hooks::operation::Nothing;
use crate::server::Node;
use crate::server::memory::{MEMORY, Memory};
use crate::testing::{Options, World};

const ROOM: &str = "orchard@rooms.verona.example";

async fn count(node: &Node) -> Memory {
    node.operations.call(&MEMORY, Nothing {}).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn strangers_have_their_allowance_until_they_leave() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let address = IpAddr::from([192, 0, 2, 99]);
    let places = [node.admission.admit(address).await.unwrap(), node.admission.admit(address).await.unwrap()];
    let memory = count(&node).await.strangers;
    assert_eq!((memory.connections, memory.allowed, memory.bound), (2, 64 << 10, 256 << 20));
    places[0].0.known();
    assert_eq!(count(&node).await.strangers.allowed, 32 << 10);
    drop(places);
    assert_eq!(count(&node).await.strangers.allowed, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_does_not_read_is_counted_until_it_reads() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    world.account(&jid("paris@verona.example")).await.unwrap();
    world.settle().await;
    let before = count(&node).await.clients;
    assert_eq!((before.online, before.active.sessions, before.active.bytes, before.active.largest), (2, 2, 0, 0));

    romeo.stall();
    let body = "x".repeat(10_000);
    for _ in 0..30 {
        juliet.send(&format!("<message to='romeo@verona.example/orchard'><body>{body}</body></message>")).await;
    }
    juliet.send("<message to='paris@verona.example'><body>Good morrow.</body></message>").await;
    world.settle().await;
    let full = count(&node).await.clients;
    // What is between the two ends of the connection is not the server's any more.
    assert!((100_000..300_000 + 30_000).contains(&full.active.bytes), "{full:?}");
    assert_eq!((full.active.largest, full.online, full.offline), (full.active.bytes, 2, 1));
    assert!(full.active.largest <= full.bound);

    romeo.read_on();
    world.settle().await;
    // Who says something has got what came before.
    romeo.send("<presence/>").await;
    let _ = received(&world, &mut romeo).await;
    assert_eq!(count(&node).await.clients.active, before.active);
    romeo.close().await;
    world.settle().await;
    let after = count(&node).await.clients;
    assert_eq!((after.online, after.offline, after.active.sessions), (1, 2, 1));
}

// Proves: XEP-0352 §4
#[tokio::test(start_paused = true)]
async fn sessions_that_nobody_looks_at_are_a_class_of_their_own() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    romeo.send("<presence/><inactive xmlns='urn:xmpp:csi:0'/>").await;
    let _ = received(&world, &mut romeo).await;
    juliet.send("<presence to='romeo@verona.example/orchard'/>").await;
    world.settle().await;
    let waiting = count(&node).await.clients;
    assert_eq!((waiting.inactive.sessions, waiting.active.sessions), (1, 1));
    assert!(waiting.inactive.bytes > 0, "{waiting:?}");
    romeo.send("<active xmlns='urn:xmpp:csi:0'/>").await;
    assert!(received(&world, &mut romeo).await.contains("presence"));
    let after = count(&node).await.clients;
    assert_eq!((after.inactive.sessions, after.inactive.bytes, after.active.sessions), (0, 0, 2));
}

// Proves: XEP-0198 §5
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_client_that_may_come_back_is_counted_until_it_is_too_late() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    world.settle().await;
    romeo.vanish();
    world.settle().await;
    juliet.send("<message to='romeo@verona.example/orchard'><body>Romeo?</body></message>").await;
    world.settle().await;
    let away = count(&node).await.clients;
    assert_eq!((away.detached.sessions, away.active.sessions), (1, 1));
    assert!(away.detached.bytes > "<body>Romeo?</body>".len(), "{away:?}");
    sleep(Duration::from_secs(3600)).await;
    let after = count(&node).await.clients;
    assert_eq!((after.detached.sessions, after.detached.bytes, after.online), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_domain_does_not_take_is_counted_until_it_is_given_up() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mantua = world.server("mantua.example").unwrap();
    // Somebody accepts connections there, and says nothing.
    let address = std::net::SocketAddr::from(([192, 0, 2, 2], 5269));
    let deaf = world.net.listen(address);
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    for id in 0..20 {
        let query = format!("<query xmlns='urn:x'>{}</query>", "x".repeat(1000));
        juliet.send(&format!("<iq type='get' id='{id}' to='mantua.example'>{query}</iq>")).await;
    }
    world.settle().await;
    let waiting = count(&node).await.servers;
    let [largest] = &*waiting.largest else { panic!("{waiting:?}") };
    assert_eq!((largest.domain.as_str(), largest.stanzas, largest.queued), ("mantua.example", 20, waiting.queued));
    assert!((20_000..waiting.bound).contains(&waiting.queued), "{waiting:?}");
    sleep(Duration::from_secs(600)).await;
    assert!(received(&world, &mut juliet).await.contains("error"));
    let after = count(&node).await.servers;
    assert_eq!((after.queued, after.queues), (0, 0));
    drop((deaf, mantua));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_has_spoken_has_a_budget() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@mantua.example/street")).await.unwrap();
    world.account(&jid("juliet@verona.example")).await.unwrap();
    assert_eq!(count(&node).await.servers.budgets, 0);
    romeo.send("<message to='juliet@verona.example'><body>Juliet!</body></message>").await;
    world.settle().await;
    let known = count(&node).await.servers;
    let [domain] = &*known.largest else { panic!("{known:?}") };
    assert_eq!((known.budgets, domain.domain.as_str(), domain.streams), (1, "mantua.example", 1));
    assert!(domain.budget > 0 && known.budget_bytes >= domain.budget, "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_is_counted_with_those_in_it_while_it_is_in_memory() {
    let mut world = World::new();
    let options = Options { config: "[services]\nrooms = [\"rooms.verona.example\"]\n".to_owned() };
    let node = world.server_with(DOMAIN, &options).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let empty = count(&node).await.rooms;
    let [service] = &*empty else { panic!("{empty:?}") };
    assert_eq!((service.domain.as_str(), service.rooms), ("rooms.verona.example", 0));

    romeo.send(&format!("<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")).await;
    world.settle().await;
    let owner = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>";
    romeo.send(&format!("<iq type='set' id='1' to='{ROOM}'>{owner}</iq>")).await;
    romeo.send(&format!("<message type='groupchat' to='{ROOM}'><body>Is anybody here?</body></message>")).await;
    world.settle().await;
    let held = count(&node).await.rooms;
    assert_eq!((held[0].rooms, held[0].occupants, held[0].affiliations), (1, 1, 1));
    assert!(held[0].history >= "<body>Is anybody here?</body>".len(), "{held:?}");

    romeo.send(&format!("<presence type='unavailable' to='{ROOM}/Romeo'/>")).await;
    world.settle().await;
    assert_eq!(count(&node).await.rooms, empty, "a room that nobody is in is gone");
}

//! Components of whole servers in memory: who gets the place, what waits, what becomes of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Standing;
use crate::net::Transport;
use crate::testing::{Client, Options, Raw, World};
use crate::xml::Element;

const DOMAIN: &str = "verona.example";
const NAME: &str = "irc.verona.example";

/// A server with a component that has these further settings.
fn world(more: &str) -> World {
    let mut world = World::new();
    let config = format!("[[components]]\nname = \"{NAME}\"\nsecret = \"sesame\"\n{more}");
    world.server_with(DOMAIN, &Options { config }).unwrap();
    world
}

/// A connection to the port of components.
fn dial(world: &mut World) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let node = world.server(DOMAIN).unwrap();
    tokio::spawn(async move { node.serve_component(Transport::plain(theirs, None)).await });
    ours
}

fn standing(world: &mut World) -> Standing {
    world.server(DOMAIN).unwrap().components.standings().pop().unwrap()
}

async fn romeo(world: &mut World) -> Client {
    world.login(&"romeo@verona.example/orchard".parse().unwrap()).await.unwrap()
}

/// So much that a few of them fill everything between the server and a component that does not read.
async fn send_long_ones(client: &mut Client, count: usize) {
    for id in 0..count {
        let body = "x".repeat(9000);
        client.send(&format!("<message id='{id}' to='a@{NAME}'><body>{body}</body></message>")).await;
    }
}

/// The ids of what has come, and the condition of each error.
fn received(client: &mut Client) -> Vec<(usize, Option<String>)> {
    let condition = |error: &Element| error.elements().next().map(|condition| condition.name().to_owned());
    std::iter::from_fn(|| client.received())
        .map(|it| {
            (it.attribute("id").unwrap().parse().unwrap(), it.child("error", "jabber:client").and_then(condition))
        })
        .collect()
}

// Proves: XEP-0114 §3
#[tokio::test(start_paused = true)]
async fn only_one_connection_is_the_component() {
    let mut world = world("");
    let mut first = world.component(NAME).await.unwrap();
    let refused = world.component(NAME).await.err().unwrap();
    assert!(refused.contains("<conflict "), "{refused}");
    first.send(&format!("<iq type='get' id='1' from='{NAME}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")).await;
    assert_eq!(first.next().await.unwrap().attribute("type"), Some("result"));
    first.close().await;
    world.settle().await;
    world.component(NAME).await.unwrap();
}

// Proves: XEP-0114 §3
#[tokio::test(start_paused = true)]
async fn who_does_not_know_the_secret_is_nobody() {
    let mut world = world("");
    for (name, secret, condition) in
        [(NAME, "barley", "<not-authorized "), (NAME, "", "<not-authorized "), (DOMAIN, "sesame", "<host-unknown ")]
    {
        let refused = Raw::of_component(dial(&mut world)).shake_hands(name, secret).await.err().unwrap();
        assert!(refused.contains(condition), "{refused}");
        assert!(!refused.contains("sesame"));
    }
    assert_eq!(standing(&mut world).since, None);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_is_answered() {
    let mut world = world("queue_bytes = \"40kB\"\n");
    let mut component = world.component(NAME).await.unwrap();
    let mut romeo = romeo(&mut world).await;
    component.stall();
    send_long_ones(&mut romeo, 20).await;
    world.settle().await;
    let refused = received(&mut romeo);
    let first = refused[0].0;
    assert!((5..18).contains(&first), "{refused:?}");
    let wanted: Vec<_> = (first..20).map(|id| (id, Some("resource-constraint".to_owned()))).collect();
    assert_eq!(refused, wanted);
    assert!(standing(&mut world).waiting >= 40_000);
    // The rest is there when it reads on, and there is room again.
    component.read_on();
    world.settle().await;
    send_long_ones(&mut romeo, 1).await;
    world.settle().await;
    let wanted: Vec<_> = (0..first).chain([0]).map(|id| (id, None)).collect();
    assert_eq!(received(&mut component), wanted);
    assert_eq!(standing(&mut world).waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_when_it_dies_is_answered() {
    let mut world = world("");
    let mut component = world.component(NAME).await.unwrap();
    let mut romeo = romeo(&mut world).await;
    component.stall();
    send_long_ones(&mut romeo, 20).await;
    world.settle().await;
    assert_eq!(received(&mut romeo), []);
    component.vanish();
    world.settle().await;
    let bounced = received(&mut romeo);
    let first = bounced[0].0;
    assert!((5..12).contains(&first), "{bounced:?}");
    let wanted: Vec<_> = (first..20).map(|id| (id, Some("remote-server-timeout".to_owned()))).collect();
    assert_eq!(bounced, wanted);
    let gone = standing(&mut world);
    assert_eq!((gone.since, gone.waiting), (None, 0));
}

// Nothing in a server ever does that, and even then nobody waits for ever.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_aborted_leaves_like_one_that_ends() {
    let mut world = world("");
    let mut component = world.component(NAME).await.unwrap();
    world.login(&"juliet@verona.example/balcony".parse().unwrap()).await.unwrap();
    component.stall();
    world.abort_connections(DOMAIN).await;
    world.settle().await;
    assert_eq!(standing(&mut world).since, None);
    // Another one gets the place.
    Raw::of_component(dial(&mut world)).shake_hands(NAME, "sesame").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_component_that_takes_nothing_is_given_up() {
    let mut world = world("");
    let mut component = world.component(NAME).await.unwrap();
    let mut romeo = romeo(&mut world).await;
    component.stall();
    send_long_ones(&mut romeo, 20).await;
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(standing(&mut world).since, None);
    assert!(received(&mut romeo).len() > 8);
}

// Proves: RFC 6120 §4.6.1
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_alive_with_white_space() {
    let mut world = world("");
    let mut io = dial(&mut world);
    let header = "<stream:stream xmlns='jabber:component:accept' to='irc.verona.example' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    io.write_all(header.as_bytes()).await.unwrap();
    let mut answer = [0; 1000];
    let length = io.read(&mut answer).await.unwrap();
    let answer = std::str::from_utf8(&answer[..length]).unwrap();
    let id = answer.split_once(" id='").unwrap().1.split('\'').next().unwrap();
    let hash =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{id}sesame").as_bytes());
    let key: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    io.write_all(format!("<handshake>{key}</handshake>").as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(150), io.read_to_end(&mut said)).await;
    assert_eq!(said, b"<handshake/>  ");
}

#[tokio::test(start_paused = true)]
async fn its_own_limit_on_stanzas_holds() {
    let mut world = world("stanza = 10000\n");
    let mut component = world.component(NAME).await.unwrap();
    let mut romeo = romeo(&mut world).await;
    let message = |size| {
        let body = "x".repeat(size);
        format!("<message from='a@{NAME}' to='romeo@verona.example/orchard' id='1'><body>{body}</body></message>")
    };
    component.send(&message(9000)).await;
    assert_eq!(romeo.next().await.unwrap().name(), "message");
    component.send(&message(10_000)).await;
    let error = component.next().await.unwrap();
    assert_eq!(error.elements().next().map(Element::name), Some("policy-violation"));
    world.settle().await;
    assert_eq!(received(&mut romeo), []);
}

//! Somebody watches people of a domain that is lost and comes back, or does not.

use std::sync::Arc;
use std::time::Duration;

use super::super::remote::Pair;
use crate::jid::{BareJid, Jid};
use crate::routing::{Origin, Router};
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::testing::{Client, World};

const JULIET: &str = "juliet@verona.example/balcony";
const ROMEO: &str = "romeo@mantua.example/orchard";

fn bare(text: &str) -> BareJid {
    text.parse::<Jid>().unwrap().to_bare()
}

fn pair() -> Pair {
    Pair { local: "verona.example".into(), remote: "mantua.example".into() }
}

/// The two see each other.
async fn world() -> World {
    let mut world = World::new();
    for (subscriber, contact) in [(JULIET, ROMEO), (ROMEO, JULIET)] {
        world.subscribe(&bare(subscriber), &bare(contact)).await.unwrap();
    }
    world
}

async fn available(world: &mut World, jid: &str) -> Client {
    let mut client = world.login(&jid.parse().unwrap()).await.unwrap();
    client.send("<presence/>").await;
    world.settle().await;
    client
}

/// What the server of `pair().remote` could have said before it was killed.
async fn said(router: &Router, from: &str) {
    let presence = Stanza::new(Kind::Presence(PresenceType::Available))
        .from(from.parse::<Jid>().unwrap())
        .to(Jid::from(bare(JULIET)));
    let mut batch = router.batch();
    let origin = Origin::Remote { local: "verona.example", remote: "mantua.example" };
    router.route(origin, presence, &mut batch).await.unwrap();
    batch.finish();
}

/// Who has come and gone, as the client was told.
fn told(client: &mut Client) -> Vec<String> {
    let heard = std::iter::from_fn(|| client.received()).filter(|it| it.name() == "presence");
    heard
        .map(|it| {
            format!("{} {}", it.attribute("from").unwrap_or_default(), it.attribute("type").unwrap_or("available"))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn who_was_killed_with_the_server_does_not_stay() {
    let mut world = world().await;
    let mut juliet = available(&mut world, JULIET).await;
    let _romeo = available(&mut world, ROMEO).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    said(&router, "romeo@mantua.example/ghost").await;
    world.settle().await;
    told(&mut juliet);
    router.lost(&pair());
    tokio::time::sleep(Duration::from_secs(15)).await;
    // The sign of life, the probe and its answer.
    assert_eq!(told(&mut juliet), [format!("{ROMEO} available")]);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(told(&mut juliet), ["romeo@mantua.example/ghost unavailable"]);
}

#[tokio::test(start_paused = true)]
async fn nor_does_who_came_between_two_losses() {
    let mut world = world().await;
    let mut juliet = available(&mut world, JULIET).await;
    let _romeo = available(&mut world, ROMEO).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    router.lost(&pair());
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Everybody has just been asked for, so that has to wait.
    router.lost(&pair());
    router.reached(&pair());
    said(&router, "romeo@mantua.example/ghost").await;
    router.lost(&pair());
    world.settle().await;
    told(&mut juliet);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(told(&mut juliet), [format!("{ROMEO} available"), "romeo@mantua.example/ghost unavailable".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn nobody_stays_at_a_domain_that_does_not_come_back() {
    let mut world = world().await;
    let mut juliet = available(&mut world, JULIET).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    said(&router, ROMEO).await;
    world.settle().await;
    told(&mut juliet);
    // Nobody accepts connections there any more.
    world.abort_connections("mantua.example").await;
    router.lost(&pair());
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert_eq!(told(&mut juliet), [""; 0]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(told(&mut juliet), [format!("{ROMEO} unavailable")]);
}

#[tokio::test(start_paused = true)]
async fn what_others_could_not_be_told_they_are_told_when_they_are_back() {
    let mut world = world().await;
    let _juliet = available(&mut world, JULIET).await;
    let mut romeo = available(&mut world, ROMEO).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    for resource in ["balcony", "tomb"] {
        let error = Stanza::new(Kind::Presence(PresenceType::Error)).from(Jid::from(bare(ROMEO))).to(format!(
            "juliet@verona.example/{resource}"
        )
        .parse::<Jid>()
        .unwrap());
        router.note_untold(&error);
    }
    told(&mut romeo);
    router.lost(&pair());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let all = told(&mut romeo);
    assert!(all.contains(&"juliet@verona.example/tomb unavailable".to_owned()), "{all:?}");
    assert!(all.contains(&format!("{JULIET} available")), "{all:?}");
    assert!(!all.contains(&format!("{JULIET} unavailable")), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_there_for_a_moment_only_is_not_there_afterwards() {
    let mut world = world().await;
    let mut juliet = available(&mut world, JULIET).await;
    let mut romeo = available(&mut world, ROMEO).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    juliet.close().await;
    world.settle().await;
    told(&mut romeo);
    router.lost(&pair());
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(told(&mut romeo), ["juliet@verona.example unavailable"]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_while_others_are_said_to_be_gone_stays() {
    let mut world = world().await;
    let mut juliet = available(&mut world, JULIET).await;
    let router = Arc::clone(&world.server("verona.example").unwrap().router);
    for there in [ROMEO, "romeo@mantua.example/ghost"] {
        said(&router, there).await;
    }
    world.settle().await;
    told(&mut juliet);
    router.guard.attendance().doubt(&pair());
    let gone = router.guard.attendance().take_doubtful(&pair());
    assert_eq!(gone.len(), 2);
    said(&router, ROMEO).await;
    router.say_gone(&pair(), &gone);
    world.settle().await;
    assert_eq!(told(&mut juliet), [format!("{ROMEO} available"), "romeo@mantua.example/ghost unavailable".to_owned()]);
}

//! What names tell those who want to make themselves an account (XEP-0077), and those who may not.

use std::collections::BTreeSet;

use super::*;

/// A server on which there is an account `paris`, and was one of `tybalt`.
async fn world_of_names(config: &str) -> World {
    let mut world = World::new();
    let node = world.server_with(DOMAIN, &Options { config: config.into() }).unwrap();
    for name in ["paris", "tybalt"] {
        add(&node, &format!("{name}@{DOMAIN}"), false).await.unwrap();
    }
    node.operations.call(&ACCOUNT_REMOVE, named(&format!("tybalt@{DOMAIN}"))).await.unwrap();
    world
}

/// Names of every kind, the last one free.
const NAMES: [&str; 5] = ["paris", "tybalt", "postmaster", "escalus", "mercutio"];

#[tokio::test(start_paused = true)]
async fn where_nobody_makes_himself_an_account_no_name_looks_like_another() {
    let mut world = world_of_names("admins = [\"escalus@verona.example\"]\n").await;
    let requests: [fn(&str) -> String; 3] =
        [login, |name| format!("<username>{name}</username><password/>"), |_| "<remove/>".to_owned()];
    for inner in requests {
        for kind in ["get", "set"] {
            let mut answers = BTreeSet::new();
            for name in NAMES {
                let (mut raw, features) = visit(&mut world).await;
                assert!(features.child("register", "http://jabber.org/features/iq-register").is_none());
                answers.insert(ask(&mut raw, kind, &inner(name)).await);
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
        }
    }
    // Nor does whoever has an account learn of the others.
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut answers = BTreeSet::new();
    for name in NAMES {
        romeo
            .send(&format!("<iq type='set' id='r'><query xmlns='jabber:iq:register'>{}</query></iq>", login(name)))
            .await;
        answers.insert(received(&world, &mut romeo).await);
    }
    assert!(answers.len() == 1 && answers.iter().all(|answer| answer.contains("<not-allowed")), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_to_be_had_does_not_tell_why() {
    let config = "admins = [\"escalus@verona.example\"]\n[registration]\nenabled = true\n";
    let mut world = world_of_names(config).await;
    // The second password is none: that is said first, whatever the name is.
    let worthless = |name: &str| format!("<username>{name}</username><password>\u{7f}</password>");
    for (inner, condition) in [(login as fn(&str) -> String, "<conflict"), (worthless, "<not-acceptable")] {
        let mut answers = BTreeSet::new();
        for name in NAMES.iter().filter(|name| **name != "mercutio") {
            let (mut raw, _) = visit(&mut world).await;
            answers.insert(ask(&mut raw, "set", &inner(name)).await);
            answers.insert(ask(&mut raw, "set", &inner(&name.to_uppercase())).await);
        }
        assert!(answers.len() == 1 && answers.iter().all(|answer| answer.contains(condition)), "{answers:?}");
    }
    let (mut raw, _) = visit(&mut world).await;
    assert!(ask(&mut raw, "set", &login("mercutio")).await.contains("type='result'"));
}

//! What changes for those who are there when the configuration does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::jid::Jid;
use crate::net::dns::Resolver;
use crate::net::tls::Trust;
use crate::server::Made;
use crate::testing::{Client, Net, Options, PASSWORD, Raw, World};
use crate::xml::Element;

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn options(config: &str) -> Options {
    Options { config: config.to_owned() }
}

async fn ask(client: &mut Client, iq: &str) -> String {
    client.send(iq).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.name(), "iq", "{}", answer.to_xml("jabber:client"));
    answer.to_xml("jabber:client")
}

const COMMANDS: &str = "<iq type='get' id='1' to='verona.example'><query xmlns='http://jabber.org/protocol/disco#items' \
                        node='http://jabber.org/protocol/commands'/></iq>";
const COUNT: &str = "<iq type='set' id='2' to='verona.example'><command xmlns='http://jabber.org/protocol/commands' \
                     node='http://jabber.org/protocol/admin#get-registered-users-num'/></iq>";

#[tokio::test(start_paused = true)]
async fn an_administrator_is_one_at_once_and_none_at_once() {
    let mut world = World::new();
    let mut prince = world.login(&jid("prince@verona.example/palace")).await.unwrap();
    for config in ["", "admins = [\"prince@verona.example\"]", "admins = [\"juliet@verona.example\"]"] {
        world.reconfigure("verona.example", &options(config)).unwrap();
        let is_admin = config.contains("prince");
        assert_eq!(ask(&mut prince, COMMANDS).await.contains("admin#add-user"), is_admin);
        assert_eq!(ask(&mut prince, COUNT).await.contains("forbidden"), !is_admin);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_neither_advertised_nor_done() {
    let mut world = World::new();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let features = "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
    let query = "<iq type='set' id='2'><query xmlns='urn:xmpp:mam:2'/></iq>";
    let mut kept = 0;
    for archive in ["on", "off", "on"] {
        let config = options(&format!("[archive]\nenabled = {}", archive == "on"));
        world.reconfigure("verona.example", &config).unwrap();
        let advertised = ask(&mut juliet, features).await;
        for feature in ["urn:xmpp:mam:2", "urn:xmpp:sid:0"] {
            assert_eq!(advertised.contains(feature), archive == "on", "{advertised}");
        }
        romeo.send("<message to='juliet@verona.example/balcony' type='chat'><body>love</body></message>").await;
        let message = juliet.next().await.unwrap();
        let has_id = message.elements().any(|element: &Element| element.is("stanza-id", "urn:xmpp:sid:0"));
        assert_eq!(has_id, archive == "on");
        juliet.send(query).await;
        if archive == "off" {
            let refused = juliet.next().await.unwrap();
            assert_eq!(refused.attribute("type"), Some("error"));
            continue;
        }
        // What was kept before is there still.
        kept += 1;
        for _ in 0..kept {
            assert_eq!(juliet.next().await.unwrap().name(), "message");
        }
        assert_eq!(juliet.next().await.unwrap().attribute("type"), Some("result"));
    }
}

#[tokio::test(start_paused = true)]
async fn limits_count_for_what_comes_next() {
    let mut world = World::new();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let roster = |name: &str| {
        format!(
            "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='{name}@verona.example'/></query></iq>"
        )
    };
    assert!(ask(&mut juliet, &roster("romeo")).await.contains("result"));
    let narrow = "[limits]\nroster_items = 1\nsessions_per_account = 1\nclient_stanza = \"10000B\"\n";
    world.reconfigure("verona.example", &options(narrow)).unwrap();
    assert!(ask(&mut juliet, &roster("paris")).await.contains("resource-constraint"));
    assert!(world.login(&jid("juliet@verona.example/tomb")).await.err().unwrap().contains("resource-constraint"));
    world.reconfigure("verona.example", &options("")).unwrap();
    assert!(ask(&mut juliet, &roster("paris")).await.contains("result"));
    let mut tomb = world.login(&jid("juliet@verona.example/tomb")).await.unwrap();

    let long = "x".repeat(20_000);
    let message = format!("<message to='juliet@verona.example/tomb' type='chat'><body>{long}</body></message>");
    juliet.send(&message).await;
    assert_eq!(tomb.next().await.unwrap().name(), "message");
    // What was begun under the old limit is finished under it.
    let (begin, end) = message.split_at(15_000);
    juliet.send(begin).await;
    world.settle().await;
    world.reconfigure("verona.example", &options(narrow)).unwrap();
    juliet.send(end).await;
    assert_eq!(tomb.next().await.unwrap().name(), "message");
    juliet.send(&message).await;
    let refused = juliet.next().await.unwrap();
    assert!(refused.to_xml("jabber:client").contains("policy-violation"));
    assert!(tomb.received().is_none());
}

// Proves: XEP-0115 §6.2, XEP-0478 §3
#[tokio::test(start_paused = true)]
async fn the_server_says_of_itself_what_is_true_now() {
    let mut world = World::new();
    let balcony = jid("juliet@verona.example/balcony");
    let mut juliet = world.login(&balcony).await.unwrap();
    let contact = "[contact]\nabuse = [\"mailto:abuse@verona.example\"]\n[limits]\nclient_stanza = \"10000B\"\n";
    let mut seen = Vec::new();
    for config in ["", contact, ""] {
        world.reconfigure("verona.example", &options(config)).unwrap();
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        let features = raw.authenticate(Arc::clone(&world.client_tls), &balcony, PASSWORD).await.unwrap();
        let bytes = if config.is_empty() { 256 * 1024 } else { 10_000 };
        assert!(features.to_xml("").contains(&format!("<max-bytes>{bytes}</max-bytes>")), "{}", features.to_xml(""));
        let caps = features.child("c", "http://jabber.org/protocol/caps").unwrap();
        let node = format!("{}#{}", caps.attribute("node").unwrap(), caps.attribute("ver").unwrap());
        let info = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
        let info = ask(&mut juliet, &format!("<iq type='get' id='1' to='verona.example'>{info}</iq>")).await;
        assert!(info.contains("type='result'"), "{info}");
        assert_eq!(info.contains("<value>mailto:abuse@verona.example</value>"), !config.is_empty(), "{info}");
        seen.push(node);
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2], "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn other_servers_are_turned_away_at_once_and_welcome_again() {
    let mut world = World::new();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let mut romeo = world.login(&jid("romeo@mantua.example/orchard")).await.unwrap();
    let to_romeo = "<message to='romeo@mantua.example/orchard' type='chat'><body>love</body></message>";
    let to_juliet = "<message to='juliet@verona.example/balcony' type='chat'><body>love</body></message>";
    for mode in ["open", "closed", "open"] {
        let config = options(&format!("[federation]\nmode = \"{mode}\""));
        world.reconfigure("verona.example", &config).unwrap();
        juliet.send(to_romeo).await;
        if mode == "closed" {
            assert_eq!(juliet.next().await.unwrap().attribute("type"), Some("error"));
            romeo.send(to_juliet).await;
            world.settle().await;
            assert!(juliet.received().is_none() && romeo.received().is_none());
            // The stream that is there has ended, and another one is not had.
            romeo.send(to_juliet).await;
            assert_eq!(romeo.next().await.unwrap().attribute("type"), Some("error"));
            tokio::time::sleep(Duration::from_secs(60)).await;
            continue;
        }
        assert_eq!(romeo.next().await.unwrap().attribute("type"), Some("chat"));
        romeo.send(to_juliet).await;
        assert_eq!(juliet.next().await.unwrap().attribute("type"), Some("chat"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_stream_asks_other_dns_servers_and_trusts_other_authorities() {
    let mut world = World::new();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let mut romeo = world.login(&jid("romeo@mantua.example/orchard")).await.unwrap();
    let verona = world.server("verona.example").unwrap();
    let config = Config::parse("domain = \"verona.example\"\n", Path::new("test.toml")).unwrap();
    let mut trust = Trust::nobody();
    trust.add(world.ca.certificate()).unwrap();
    let dns: Arc<dyn Resolver> = Arc::clone(&world.net) as _;
    let nothing: Arc<dyn Resolver> = Net::new();
    for (trust, resolver, arrives) in
        [(trust.clone(), &nothing, false), (Trust::nobody(), &dns, false), (trust, &dns, true)]
    {
        let identities = verona.tls.identities();
        let (client_trust, resolver) = (Trust::nobody(), Arc::clone(resolver));
        verona.adopt(&config, Made { identities, trust, client_trust, resolver }).unwrap();
        juliet.send("<message to='romeo@mantua.example/orchard' type='chat'><body>love</body></message>").await;
        if arrives {
            assert_eq!(romeo.next().await.unwrap().attribute("type"), Some("chat"));
        } else {
            assert_eq!(juliet.next().await.unwrap().attribute("type"), Some("error"));
            // The failure is remembered for a while.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
    assert!(romeo.received().is_none());
}

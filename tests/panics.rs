//! A panic ends one connection and nothing else, and what it says is nowhere.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;
#[path = "site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;

use comity::crash::{PANIC, VARIABLE};
use comity::testing::Client;
use comity::xml::Element;
use site::{Site, free};

const NEAR: &str = "verona.example";
const FAR: &str = "mantua.example";
const ROOMS: &str = "rooms.verona.example";
const ROOM: &str = "square@rooms.verona.example";
const MUC: &str = "http://jabber.org/protocol/muc";

/// At this word of a client its server panics, and says all that the client has said.
const WORD: &str = "queen-mab";

/// What else is said with it.
const CANARY: &str = "kanarie-9e3779b97f4a7c15";

fn configure(site: &Site, domain: &str, (s2s, dns, trusted): (SocketAddr, SocketAddr, &str), users: &[&str]) {
    let config = format!(
        "domain = \"{domain}\"\ndata_dir = \"data\"\n\
         [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{s2s}\"\ns2s_tls = []\n\
         [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
         [dns]\nservers = [\"{dns}\"]\n[services]\nrooms = [\"rooms.{domain}\"]\n",
        site.c2s
    );
    let issued = site.ca.issue(&[domain, &format!("rooms.{domain}")]).unwrap();
    for (name, text) in [
        ("comity.toml", config.as_str()),
        ("ca.pem", trusted),
        ("chain.pem", &issued.chain_pem),
        ("key.pem", &issued.key_pem),
    ] {
        std::fs::write(site.directory.join(name), text).unwrap();
    }
    for user in users {
        let account = format!("{user}@{domain}");
        assert!(site.run(&["account", "add", &account, "--password-stdin"], "secret\n").status.success());
    }
}

/// The next that somebody hears with these words in it.
async fn hears(client: &mut Client, words: &str) -> Element {
    loop {
        let found = client.next().await.unwrap();
        if found.to_xml("jabber:client").contains(words) {
            return found;
        }
    }
}

async fn enters(client: &mut Client, nick: &str) {
    client.send(&format!("<presence to='{ROOM}/{nick}'><x xmlns='{MUC}'/></presence>")).await;
    hears(client, "code='110'").await;
}

/// Sees that somebody has left the room.
async fn leaves(client: &mut Client, nick: &str) {
    let from = format!("{ROOM}/{nick}");
    loop {
        let it = client.next().await.unwrap();
        if it.attribute("from") == Some(from.as_str()) && it.attribute("type") == Some("unavailable") {
            return;
        }
    }
}

/// Says something to one other and hears it there.
async fn writes(from: &mut Client, to: (&str, &mut Client), kind: &str, words: &str) {
    from.send(&format!("<message to='{}' type='{kind}'><body>{words}</body></message>", to.0)).await;
    assert_eq!(hears(to.1, words).await.attribute("type"), Some(kind));
}

fn status(site: &Site) -> serde_json::Value {
    serde_json::from_slice(&site.run(&["status", "--json"], "").stdout).unwrap()
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_nothing_else() {
    let (mut near, mut far) = (Site::new("panics-near"), Site::new("panics-far"));
    far.ca = Arc::clone(&near.ca);
    let (near_s2s, far_s2s) = (free(), free());
    let dns = zone::serve(&[(NEAR, near_s2s), (ROOMS, near_s2s), (FAR, far_s2s)]).await;
    let trusted = near.ca.pem();
    configure(&near, NEAR, (near_s2s, dns, &trusted), &["romeo", "mercutio"]);
    configure(&far, FAR, (far_s2s, dns, &trusted), &["juliet"]);
    assert!(near.start_with(&[(VARIABLE, &format!("{PANIC}{WORD}"))]));
    far.start();
    let mut romeo = near.log_in("romeo@verona.example/orchard", "secret").await.unwrap();
    let mut mercutio = near.log_in("mercutio@verona.example/street", "secret").await.unwrap();
    let mut juliet = far.log_in("juliet@mantua.example/balcony", "secret").await.unwrap();
    let make = format!(
        "<iq type='set' id='make' to='{ROOM}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
    );
    enters(&mut romeo, "Romeo").await;
    romeo.send(&make).await;
    assert_eq!(hears(&mut romeo, "id='make'").await.attribute("type"), Some("result"));
    enters(&mut mercutio, "Mercutio").await;
    enters(&mut juliet, "Juliet").await;
    assert_eq!(status(&near)["panics"], 0);

    mercutio.send(&format!("<iq type='get' id='mab'><ping xmlns='urn:xmpp:ping'>{WORD} {CANARY}</ping></iq>")).await;
    while let Some(element) = mercutio.next().await {
        assert_ne!(element.attribute("id"), Some("mab"), "it is answered");
    }

    // Who is left sees that he is gone, and goes on: alone, in the room, with the other server, and in the storage.
    for who in [&mut romeo, &mut juliet] {
        leaves(who, "Mercutio").await;
    }
    writes(&mut romeo, ("juliet@mantua.example/balcony", &mut juliet), "chat", "to-mantua").await;
    writes(&mut juliet, ("romeo@verona.example/orchard", &mut romeo), "chat", "to-verona").await;
    writes(&mut romeo, (ROOM, &mut juliet), "groupchat", "to-the-room").await;
    writes(&mut juliet, (ROOM, &mut romeo), "groupchat", "from-abroad").await;
    for (kind, content) in
        [("set", "<note xmlns='urn:example:note'>kept</note>"), ("get", "<note xmlns='urn:example:note'/>")]
    {
        romeo
            .send(&format!("<iq type='{kind}' id='{kind}'><query xmlns='jabber:iq:private'>{content}</query></iq>"))
            .await;
        let answer = hears(&mut romeo, &format!("id='{kind}'")).await.to_xml("jabber:client");
        assert!(answer.contains("type='result'") && answer.contains("kept") == (kind == "get"), "{answer}");
    }
    // He comes back.
    let mut mercutio = near.log_in("mercutio@verona.example/street", "secret").await.unwrap();
    writes(&mut mercutio, ("romeo@verona.example/orchard", &mut romeo), "chat", "here-again").await;

    let seen = status(&near);
    assert_eq!((&seen["panics"], &seen["sessions"]), (&1.into(), &2.into()));
    assert!(String::from_utf8(near.run(&["status"], "").stdout).unwrap().contains("\npanics                     1"));
    assert_eq!(status(&far)["panics"], 0);
    assert!(near.stop().success() && far.stop().success());
    let log = std::fs::read_to_string(near.directory.join("log")).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(site::PANIC)).collect();
    assert!(matches!(told[..], [one] if one.contains("src/crash.rs:")), "{told:?}");
    assert!(!log.contains(CANARY) && !log.contains(WORD), "{log}");
    std::fs::remove_file(near.directory.join("log")).unwrap();
}

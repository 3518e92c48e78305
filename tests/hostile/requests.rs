//! What the server writes by itself: each request has one answer, and words of others stay words in whatever it makes of
//! them.

use std::collections::{BTreeMap, BTreeSet};

use comity::jid::Jid;
use comity::stanza::CLIENT_NS;
use comity::testing::{Client, Options, World};
use comity::xml::Element;

use crate::literals::{Literals, is_test, namespaces_in};
use crate::tree;

const DOMAIN: &str = "verona.example";
const ROOM: &str = "square@rooms.verona.example";

fn jid(text: &str) -> Jid {
    text.parse().expect("an address")
}

/// A server with everything that it can do.
async fn verona() -> World {
    let mut world = World::new();
    let config = "admins = [\"escalus@verona.example\"]\n[services]\nrooms = [\"rooms.verona.example\"]\n\
                  [archive]\nenabled = true\n[contact]\nabuse = [\"mailto:abuse@verona.example\"]\n"
        .to_owned();
    world.server_with(DOMAIN, &Options { config }).expect("a server");
    world.account(&jid("juliet@verona.example")).await.expect("an account");
    world
}

/// Everything that has come, which is XML and no end.
fn all(client: &mut Client) -> Vec<Element> {
    let all: Vec<Element> = std::iter::from_fn(|| client.received()).collect();
    for found in &all {
        assert!(!matches!(found.name(), "odd" | "closed"), "{}", found.to_xml(CLIENT_NS));
    }
    all
}

/// Makes the room, as its owner.
async fn make_room(world: &World, owner: &mut Client) {
    let enter = format!("<presence to='{ROOM}/Owner'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    let open = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>";
    owner.send(&format!("{enter}<iq type='set' id='open' to='{ROOM}'>{open}</iq>")).await;
    world.settle().await;
    assert!(all(owner).len() >= 2, "there is no room");
}

/// Every namespace that the sources know.
fn namespaces() -> BTreeSet<String> {
    let files = tree::files(&tree::root().join("src"), ".rs");
    let files = files.iter().filter(|file| !is_test(&file.path));
    let found: BTreeSet<String> =
        files.flat_map(Literals::of).flat_map(|text| namespaces_in(&text)).filter(|ns| !ns.contains('&')).collect();
    assert!(found.len() > 80, "{found:?}");
    found
}

/// What requests are called.
const NAMES: [&str; 12] =
    ["query", "vCard", "ping", "prefs", "enable", "block", "command", "pubsub", "list", "revoke", "search", "moderate"];

/// What is in them: nothing, or something of everything.
const INSIDE: [&str; 2] = [
    "/>",
    " node='NS' jid='@' id='' action='complete' sessionid='x' version='1'><item jid='@' affiliation='x' role='y'/>\
     <item/><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>NS</value></field><field/></x>\
     <set xmlns='http://jabber.org/protocol/rsm'><max>-1</max><before>'; DROP TABLE log; --</before>\
     <after>%00\u{ff}</after><index>99999999999999999999</index></set><reason/><password/><username/></NAME>",
];

// Proves: RFC 6120 §8.2.3, §8.4
/// T-FUZZ-2 (CVE-2011-4320): whatever is asked for, of whomever, there is one answer, and nobody else hears of it.
#[tokio::test(start_paused = true)]
async fn every_request_gets_one_answer() {
    let mut world = verona().await;
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.expect("a login");
    juliet.send("<presence/>").await;
    make_room(&world, &mut juliet).await;
    let mut mallory = world.login(&jid("mallory@verona.example/den")).await.expect("a login");
    mallory.send("<presence/>").await;
    world.settle().await;
    drop((all(&mut juliet), all(&mut mallory)));
    let targets = ["", DOMAIN, "mallory@verona.example", "juliet@verona.example", "rooms.verona.example", ROOM];
    let mut asked = 0;
    for ns in namespaces() {
        for name in NAMES {
            let mut open = BTreeMap::new();
            for to in targets {
                for kind in ["get", "set"] {
                    for inside in INSIDE {
                        asked += 1;
                        let address = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
                        let inside = inside.replace("NS", &ns).replace("NAME", name);
                        let request =
                            format!("<iq type='{kind}' id='q{asked}'{address}><{name} xmlns='{ns}'{inside}</iq>");
                        mallory.send(&request).await;
                        open.insert(format!("q{asked}"), (to, request));
                    }
                }
            }
            world.settle().await;
            for found in all(&mut mallory) {
                // Something of another kind may be a part of an answer, such as a push to all devices.
                if !matches!(found.attribute("type"), Some("result" | "error")) {
                    continue;
                }
                let id = found.attribute("id").unwrap_or_default();
                let (to, request) = open.remove(id).unwrap_or_else(|| panic!("twice: {}", found.to_xml(CLIENT_NS)));
                let from = found.attribute("from").unwrap_or("mallory@verona.example");
                let expected = if to.is_empty() { "mallory@verona.example" } else { to };
                assert_eq!(from, expected, "{request}");
            }
            assert!(open.is_empty(), "no answer: {open:?}");
        }
    }
    assert!(asked > 20_000, "{asked} requests");
    let overheard = all(&mut juliet);
    assert!(overheard.is_empty(), "of {asked} requests juliet has heard {overheard:?}");
}

/// Words that are hard to write.
const WORDS: [&str; 6] = [
    "a'\"<>&]]>b",
    "<message to='juliet@verona.example'><body>x</body></message>",
    "]]></reason></item></x></presence><presence/>",
    "&lt;&#x41;&amp;amp;",
    "a\tb\nc\rd",
    "a\u{85}b\u{2028}c\u{1f600}",
];

fn quoted(words: &str) -> String {
    let mut out = String::new();
    comity::xml::escape_into(&mut out, words);
    out.replace('\r', "&#13;").replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Whether an attribute or a text somewhere in it is just this.
fn says(element: &Element, words: &str) -> bool {
    element.text() == words
        || element.attributes().any(|(_, value)| value == words || is_called(value, words))
        || element.elements().any(|child| says(child, words))
}

/// Whether an address is that of an occupant with this name.
fn is_called(address: &str, name: &str) -> bool {
    address.strip_prefix(ROOM).and_then(|rest| rest.strip_prefix('/')) == Some(name)
}

/// Sends something; `hearer` must hear the words in what comes of it.
async fn heard(world: &World, (act, speaker, hearer): (&str, &mut Client, Option<&mut Client>), words: &str) {
    speaker.send(act).await;
    world.settle().await;
    let own = all(speaker);
    let found = hearer.map_or(own, all);
    assert!(found.iter().any(|it| says(it, words)), "{act}\n{found:?}");
}

// Proves: RFC 6120 §11.3
/// T-SMUG-3 (CVE-2026-113867): words that somebody sends come out as the same words, and as nothing else.
#[tokio::test(start_paused = true)]
async fn words_stay_words() {
    let mut world = verona().await;
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.expect("a login");
    make_room(&world, &mut juliet).await;
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.expect("a login");
    romeo.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>").await;
    world.settle().await;
    drop(all(&mut romeo));
    let (muc, admin) = ("http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#admin");
    for words in WORDS {
        let it = quoted(words);
        for act in [
            // An id, in an answer and in errors; a language.
            format!("<iq type='get' id='{it}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            format!("<iq type='get' id='{it}' to='nobody@{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            format!("<iq type='get' id='{it}' to='@'><ping xmlns='urn:xmpp:ping'/></iq>"),
            format!("<message id='{it}' to='nobody@{DOMAIN}' xml:lang='{it}'><body>{it}</body></message>"),
            format!(
                "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='x@x.example' name='{it}'>\
                 <group>g{it}</group></item></query></iq>"
            ),
            format!(
                "<iq type='set' id='1'><query xmlns='jabber:iq:private'><x xmlns='urn:x' y='{it}'>{it}</x></query></iq>\
                     <iq type='get' id='2'><query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query></iq>"
            ),
        ] {
            heard(&world, (&act, &mut romeo, None), words).await;
        }
        let status = format!("<presence to='juliet@{DOMAIN}/balcony' id='{it}'><status>{it}</status></presence>");
        heard(&world, (&status, &mut romeo, Some(&mut juliet)), words).await;
        // What a room says: a name that is a part of an address, a reason, a subject, an invitation.
        let is_name = !words.chars().any(|c| c.is_control() || c == '\u{2028}');
        let nick = if is_name { words } else { "Romeo" };
        let enter = format!("<presence to='{ROOM}/{}'><x xmlns='{muc}'/></presence>", quoted(nick));
        heard(&world, (&enter, &mut romeo, Some(&mut juliet)), nick).await;
        let subject = format!("<message type='groupchat' to='{ROOM}'><subject>{it}</subject></message>");
        heard(&world, (&subject, &mut juliet, Some(&mut romeo)), words).await;
        let invite = format!(
            "<message to='{ROOM}'><x xmlns='{muc}#user'><invite to='romeo@{DOMAIN}/orchard'><reason>{it}</reason></invite>\
             </x></message>"
        );
        heard(&world, (&invite, &mut juliet, Some(&mut romeo)), words).await;
        let kick = format!(
            "<iq type='set' id='1' to='{ROOM}'><query xmlns='{admin}'><item nick='{}' role='none'><reason>{it}</reason></item>\
             </query></iq>",
            quoted(nick)
        );
        heard(&world, (&kick, &mut juliet, Some(&mut romeo)), words).await;
        world.settle().await;
        drop((all(&mut juliet), all(&mut romeo)));
    }
}

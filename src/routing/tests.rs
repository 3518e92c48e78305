//! What somebody whom nobody has let in can learn by asking: nothing. And what is written when.

use std::sync::{Arc, Mutex};

use super::{Origin, Progress, Way};
use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Kind, MessageType, Payload, Stanza};
use crate::storage::Writes;
use crate::testing::{Client, World};

/// An account whose client is available, one with nobody there, and a name that is nobody's.
const NAMES: [&str; 3] = ["juliet", "nurse", "rosaline"];

/// Payloads of requests that somebody may answer somewhere.
const PAYLOADS: [&str; 10] = [
    "<ping xmlns='urn:xmpp:ping'/>",
    "<query xmlns='jabber:iq:roster'/>",
    "<query xmlns='jabber:iq:version'/>",
    "<query xmlns='jabber:iq:last'/>",
    "<query xmlns='jabber:iq:private'/>",
    "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "<time xmlns='urn:xmpp:time'/>",
    "<vCard xmlns='vcard-temp'/>",
    "<x xmlns='urn:example:unknown'/>",
];

/// Everything but messages, which RFC 6121 §8.5 has delivered to whoever they reach.
fn stanzas() -> Vec<String> {
    let mut stanzas = Vec::new();
    for to in ["NAME@verona.example", "NAME@verona.example/balcony", "NAME@verona.example/gone"] {
        let types = ["", "error", "probe", "subscribe", "subscribed", "unavailable", "unsubscribe", "unsubscribed"];
        stanzas.extend(types.map(|kind| {
            let kind = if kind.is_empty() { String::new() } else { format!(" type='{kind}'") };
            format!("<presence id='p' to='{to}'{kind}/>")
        }));
        for kind in ["get", "set", "result"] {
            stanzas.extend(PAYLOADS.map(|payload| format!("<iq type='{kind}' id='i' to='{to}'>{payload}</iq>")));
        }
        stanzas.push(format!("<message type='error' to='{to}'/>"));
        stanzas.push(format!(
            "<message type='chat' to='{to}'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        ));
    }
    // A message to a resource that is there is delivered (§8.5.3.1), and in this one case says so by silence.
    stanzas.retain(|stanza| !(stanza.contains("<active") && stanza.contains("/balcony")));
    stanzas
}

/// What comes back, with the name taken out; pushes of one's own roster count their versions.
fn answers(client: &mut Client, name: &str) -> Vec<String> {
    let heard = std::iter::from_fn(|| client.received()).map(|element| element.to_xml(CLIENT_NS));
    heard.map(|xml| xml.replace(name, "NAME")).collect()
}

async fn nothing_is_learnt(tybalt: &str) {
    let mut world = World::new();
    let full = |name: &str| format!("{name}@verona.example/balcony").parse::<Jid>().unwrap();
    let mut juliet = world.login(&full("juliet")).await.unwrap();
    juliet.send("<presence/>").await;
    world.account(&full("nurse")).await.unwrap();
    world.settle().await;
    let tybalt: Jid = tybalt.parse().unwrap();
    for stanza in stanzas() {
        let mut learnt = Vec::new();
        for name in NAMES {
            let mut client = world.login(&tybalt).await.unwrap();
            client.send(&stanza.replace("NAME", name)).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            learnt.push(answers(&mut client, name));
            client.close().await;
            world.settle().await;
        }
        assert!(learnt.iter().all(|heard| *heard == learnt[0]), "{stanza}: {learnt:#?}");
        let requests = ["<iq type='get'", "<iq type='set'"];
        assert!(!requests.iter().any(|request| stanza.starts_with(request)) || learnt[0].len() == 1, "{stanza}");
    }
}

// Proves: RFC 6120 §13.11; RFC 6121 §4.3.2, §8.1, §8.5.1, §8.5.3.1, §11
#[tokio::test(start_paused = true)]
async fn a_stranger_on_the_same_server_learns_nothing() {
    nothing_is_learnt("tybalt@verona.example/hall").await;
}

// Proves: RFC 6120 §13.11; RFC 6121 §4.3.2, §8.1, §8.5.1, §8.5.3.1, §11
#[tokio::test(start_paused = true)]
async fn a_stranger_on_another_server_learns_nothing() {
    nothing_is_learnt("tybalt@mantua.example/hall").await;
}

/// Remembers how far a batch had come whenever something was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<usize>>>);

impl Progress for Written {
    fn reached(&mut self, routed: usize, writes: &mut Writes) {
        if !writes.is_empty() {
            self.0.lock().unwrap().push(routed);
        }
    }
}

/// Whoever sends counts: were the count not written with the very message, a crash in between would bring it twice.
#[tokio::test(start_paused = true)]
async fn what_is_written_in_the_middle_of_a_batch_is_counted_there() {
    let mut world = World::new();
    let full = |name: &str| format!("{name}@verona.example/balcony").parse::<Jid>().unwrap();
    let mut juliet = world.login(&full("juliet")).await.unwrap();
    juliet.send("<presence/>").await;
    for name in ["nurse", "paris"] {
        world.account(&full(name)).await.unwrap();
    }
    world.settle().await;
    let node = world.server("verona.example").unwrap();
    let (written, mut batch) = (Written::default(), node.router.batch());
    batch.follow(Box::new(written.clone()));
    let body = "<body>hi</body>";
    let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='0'/>";
    let all = ["juliet", "juliet", "nurse", "nurse", "juliet", "paris", "juliet"].into_iter().zip(0..);
    for (name, number) in all {
        let said = if number == 4 { retract } else { body };
        let message = Stanza::new(Kind::Message(MessageType::Chat))
            .from("romeo@mantua.example/orchard".parse::<Jid>().ok())
            .to(Jid::from(full(name).to_bare()))
            .id(number.to_string())
            .payload(Payload::canonical(said));
        let origin = Origin::Remote { local: "verona.example", remote: "mantua.example" };
        node.router.route(origin, message, &mut batch).await.unwrap();
        batch.routed();
    }
    batch.finish();
    // Those for juliet are written before the nurse's account is read, and those that wait for somebody each by itself. What
    // is taken back is looked for when the message that says so is written.
    assert_eq!(*written.0.lock().unwrap(), [2, 3, 4, 5, 6, 7]);
}

/// What is remembered of where somebody is does not outlast his being there.
#[tokio::test(start_paused = true)]
async fn who_is_told_much_is_found_again_when_he_comes_back() {
    let mut world = World::new();
    let phone: Jid = "juliet@verona.example/phone".parse().unwrap();
    let room: Jid = "square@rooms.verona.example/romeo".parse().unwrap();
    let mut stanza = Stanza::new(Kind::Message(MessageType::Groupchat)).payload(Payload::canonical("<body>hi</body>"));
    stanza.from = Some(room);
    let way = Way::default();
    let mut came_back = Vec::new();
    for is_there in [true, false, true] {
        let mut juliet = if is_there { Some(world.login(&phone).await.unwrap()) } else { None };
        world.settle().await;
        let node = world.server("verona.example").unwrap();
        let mut batch = node.router.batch();
        for _ in 0..2 {
            let back = node.router.hand_letter(&stanza, &stanza.letter(), (&phone, &way), &mut batch);
            came_back.push(back.is_some());
        }
        batch.finish();
        world.settle().await;
        if let Some(juliet) = &mut juliet {
            let heard: Vec<_> = std::iter::from_fn(|| juliet.received()).collect();
            assert_eq!(heard.len(), 2);
            assert!(heard.iter().all(|it| it.attribute("to") == Some(phone.as_str())), "{heard:?}");
            juliet.close().await;
        }
        world.settle().await;
    }
    assert_eq!(came_back, [false, false, true, true, false, false]);
}

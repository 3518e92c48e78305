//! What somebody writes so that it looks like something of the server's, of the account's own or of somebody else's: nothing
//! of it reaches a client as genuine, whoever writes it, however often, and whatever stands around it.
//!
//! A case is one row of [`FORGERIES`] in one of [`SHAPES`] from one of [`SENDERS`]. The judge is a client that believes what
//! the specifications let it believe: copies and results from its own account, ids and notes in the name of its server, and
//! of everything else the address that it comes from.

#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use comity::jid::Jid;
use comity::routing::{Pair, RemoteDelivery};
use comity::server::Node;
use comity::stanza::{CLIENT_NS, IqType, Kind, MessageType, Payload, Stanza};
use comity::testing::{Client, Options, World};
use comity::xml::Element;

const DOMAIN: &str = "verona.example";
/// He reads.
const ROMEO: &str = "romeo@verona.example";
/// He is away, and reads later.
const BENVOLIO: &str = "benvolio@verona.example";

const CARBONS: &str = "urn:xmpp:carbons:2";
const ARCHIVE: &str = "urn:xmpp:mam:2";
const FORWARD: &str = "urn:xmpp:forward:0";
const IDS: &str = "urn:xmpp:sid:0";
const DELAY: &str = "urn:xmpp:delay";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

/// What is written in place of something genuine. `READER` is whom it is meant to deceive; Juliet is whom it pretends to
/// be.
const FORGERIES: &[(&str, &str)] = &[
    (
        "a copy of what Juliet has sent",
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' \
         from='juliet@verona.example/balcony' to='READER' type='chat'><body>forged</body></message></forwarded></received>",
    ),
    (
        "a copy of what the reader has sent",
        "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' \
         from='READER/other' to='juliet@verona.example' type='chat'><body>forged</body></message></forwarded></sent>",
    ),
    ("a copy without a message", "<sent xmlns='urn:xmpp:carbons:2'/><received xmlns='urn:xmpp:carbons:2'/>"),
    (
        "a forwarded message",
        "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' from='verona.example' \
         stamp='2000-01-01T00:00:00Z'/><message xmlns='jabber:client' from='juliet@verona.example/balcony' to='READER' \
         type='chat'><body>forged</body></message></forwarded>",
    ),
    (
        "a result of the archive",
        "<result xmlns='urn:xmpp:mam:2' id='forged' queryid='q'><forwarded xmlns='urn:xmpp:forward:0'><message \
         xmlns='jabber:client' from='juliet@verona.example/balcony' to='READER' type='chat'><body>forged</body>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='READER' id='forged'/></message></forwarded></result>",
    ),
    ("the end of a page of the archive", "<fin xmlns='urn:xmpp:mam:2' complete='true' queryid='q'/>"),
    ("an id of the archive", "<stanza-id xmlns='urn:xmpp:sid:0' by='READER' id='forged'/>"),
    ("the same for a resource", "<stanza-id xmlns='urn:xmpp:sid:0' by='READER/orchard' id='forged'/>"),
    ("the same, spelled as people do", "<stanza-id xmlns='urn:xmpp:sid:0' by='Verona.Example' id='forged'/>"),
    ("an id of nobody", "<stanza-id xmlns='urn:xmpp:sid:0' id='forged'/>"),
    (
        "a note of a delay",
        "<delay xmlns='urn:xmpp:delay' from='verona.example' stamp='2000-01-01T00:00:00Z'>forged</delay>",
    ),
    ("a marker (XEP-0333)", "<displayed xmlns='urn:xmpp:chat-markers:0' id='forged'/>"),
    ("a receipt (XEP-0184)", "<received xmlns='urn:xmpp:receipts' id='forged'/>"),
    (
        "what another device has displayed (XEP-0490)",
        "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:mds:displayed:0'><item \
         id='juliet@verona.example'><displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' \
         by='READER' id='forged'/></displayed></item></items></event>",
    ),
    (
        "the same for the server to publish",
        "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='READER' id='forged'/></displayed>",
    ),
    (
        "a notification (XEP-0357)",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='forged'><item><notification \
         xmlns='urn:xmpp:push:0'/></item></publish></pubsub>",
    ),
    (
        "the end of notifications (XEP-0357)",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub' node='forged'><affiliation jid='READER' affiliation='none'/>\
         </pubsub>",
    ),
];

type Shape = fn(&str) -> String;

/// What stands around it.
const SHAPES: &[(&str, Shape)] = &[
    ("alone", str::to_owned),
    ("with text", |it| format!("<body>hi</body>{it}")),
    ("three times", |it| format!("{it}<body>hi</body>{it}{it}<x xmlns='urn:example'/>")),
    ("spelled otherwise", |it| format!("{}<body>hi</body>", it.replace("='urn:", "='&#117;rn:"))),
    ("with a prefix", |it| format!("<body>hi</body>{}", prefixed(it))),
    ("inside what is forwarded", |it| format!("{}<body>hi</body>", forwarded(it))),
    ("inside a copy", |it| format!("<received xmlns='{CARBONS}'>{}</received><body>hi</body>", forwarded(it))),
    ("inside a result", |it| {
        format!("<body>hi</body><result xmlns='{ARCHIVE}' queryid='q' id='forged'>{}</result>", forwarded(it))
    }),
    ("behind a copy inside a copy", |it| {
        let inner = format!("<sent xmlns='{CARBONS}'>{}</sent>", forwarded(it));
        format!("<sent xmlns='{CARBONS}'>{}</sent><body>hi</body>{it}", forwarded(&inner))
    }),
];

/// The same with a prefix in place of the default namespace, as far as the first element goes.
fn prefixed(it: &str) -> String {
    let name = it.trim_start_matches('<').split(' ').next().unwrap_or_default();
    let opened = it.replacen(&format!("<{name} xmlns="), &format!("<p:{name} xmlns:p="), 1);
    let end = format!("</{name}>");
    match opened.rsplit_once(&end) {
        Some((front, back)) => format!("{front}</p:{name}>{back}"),
        None => opened,
    }
}

/// A message of the reader's own account that holds something.
fn forwarded(inside: &str) -> String {
    format!(
        "<forwarded xmlns='{FORWARD}'><message xmlns='{CLIENT_NS}' from='READER' to='READER' type='chat'>{inside}\
         </message></forwarded>"
    )
}

/// Who writes: the address, and what he gives as his own.
const SENDERS: &[(&str, &str)] = &[
    ("tybalt@verona.example/hall", ""),
    // He may say so; the server knows better.
    ("tybalt@verona.example/yard", " from='tybalt@verona.example'"),
    ("paris@mantua.example/hall", ""),
    ("romeo@verona.example/garden", ""),
    ("romeo@verona.example/window", " from='romeo@verona.example'"),
    ("anybody@ghost.verona.example/x", " from='anybody@ghost.verona.example/x'"),
    ("ghost.verona.example", " from='ghost.verona.example'"),
    // A server that obeys no law: what its users say, and what it says itself, has passed no rule of its own.
    ("anybody@outlaw.example/x", ""),
    ("outlaw.example", ""),
];

/// A case has a row in each of the tables.
const CASES: usize = FORGERIES.len() * SHAPES.len() * SENDERS.len();

/// How somebody writes.
enum Writer {
    /// Through a server, as a client or a component.
    Through(Client),
    /// As a server.
    As(Arc<Node>),
}

impl Writer {
    async fn of(world: &mut World, sender: &str) -> Self {
        match jid(sender).domain() {
            "ghost.verona.example" => {
                Self::Through(world.component("ghost.verona.example").await.expect("a component"))
            }
            "outlaw.example" => Self::As(world.server("outlaw.example").expect("a server")),
            _ => Self::Through(world.login(&jid(sender)).await.expect("a login")),
        }
    }

    async fn chat(&mut self, (sender, from): (&str, &str), to: &str, id: &str, payload: &str) {
        match self {
            Self::Through(client) => {
                client.send(&format!("<message to='{to}'{from} type='chat' id='{id}'>{payload}</message>")).await;
            }
            Self::As(node) => {
                let chat =
                    Stanza::new(Kind::Message(MessageType::Chat)).id(id.to_owned()).from(jid(sender)).to(jid(to));
                say(node, jid(sender).domain(), vec![chat.payload(Payload::canonical(payload.to_owned()))]);
            }
        }
    }
}

/// Has a server send this to verona.example, whatever it is.
fn say(node: &Node, domain: &str, stanzas: Vec<Stanza<'static>>) {
    let pair = Pair { local: Arc::from(domain), remote: Arc::from(DOMAIN) };
    node.federation.send(&pair, stanzas.into_iter().map(Into::into).collect());
}

fn jid(text: &str) -> Jid {
    text.parse().expect("an address")
}

/// A server with an archive and a component.
fn verona(world: &mut World) {
    let component = "[[components]]\nname = \"ghost.verona.example\"\nsecret = \"sesame\"\n";
    // All of them may wait.
    let config = format!("{component}[archive]\nenabled = true\n[limits]\noffline_messages = 10000\n");
    world.server_with(DOMAIN, &Options { config }).expect("a server");
}

/// Romeo on two devices: one gets what is sent to him, the other copies.
async fn devices(world: &mut World) -> [Client; 2] {
    let mut orchard = world.login(&jid("romeo@verona.example/orchard")).await.expect("a login");
    let mut phone = world.login(&jid("romeo@verona.example/phone")).await.expect("a login");
    orchard.send("<presence><priority>1</priority></presence>").await;
    phone.send(&format!("<presence/><iq type='set' id='1'><enable xmlns='{CARBONS}'/></iq>")).await;
    world.settle().await;
    drop((all(&mut orchard), all(&mut phone)));
    [orchard, phone]
}

fn all(client: &mut Client) -> Vec<Element> {
    std::iter::from_fn(|| client.received()).collect()
}

/// A client of `account`, and what it has seen.
struct Judge {
    account: &'static str,
    /// Who wrote the message with this id.
    senders: BTreeMap<String, String>,
    /// The cases that it has seen directly, in copies and in results.
    direct: BTreeSet<String>,
    copied: BTreeSet<String>,
    archived: BTreeSet<String>,
}

impl Judge {
    fn new(account: &'static str) -> Self {
        let empty = BTreeSet::new;
        Self { account, senders: BTreeMap::new(), direct: empty(), copied: empty(), archived: empty() }
    }

    /// What is wrong with a stanza, if anything is.
    fn fault(&mut self, found: &Element) -> Option<&'static str> {
        if found.name() != "message" {
            // Answers to what this client has asked for; presence that was shared.
            return None;
        }
        let wrappers = found.elements().filter(|it| is_wrapper(it)).count();
        if found.attribute("from").is_some_and(|from| from != self.account) {
            let id = self.written(found);
            return self.content_fault(found).or_else(|| match id {
                Some(id) => {
                    self.direct.insert(id);
                    None
                }
                None => Some("it is not from who has sent it"),
            });
        }
        // From the account itself: a client believes that the server has made it.
        if wrappers != 1 || found.elements().count() != 1 {
            return Some("this is from the account and neither a copy nor a result");
        }
        let wrapper = found.elements().find(|it| is_wrapper(it))?;
        let message = wrapper.child("forwarded", FORWARD).and_then(|it| it.child("message", CLIENT_NS));
        let Some(message) = message else { return Some("a copy or a result of nothing") };
        if wrapper.attribute("id") == Some("forged") {
            return Some("a result with an id that the archive has not given");
        }
        let Some(id) = self.written(message) else { return Some("what was forwarded is not from who has sent it") };
        let seen = if wrapper.ns() == ARCHIVE { &mut self.archived } else { &mut self.copied };
        seen.insert(id);
        self.content_fault(message)
    }

    /// The case that a message is, if it has the sender of that case.
    fn written(&self, message: &Element) -> Option<String> {
        let id = message.attribute("id")?;
        (self.senders.get(id).map(String::as_str) == message.attribute("from")).then(|| id.to_owned())
    }

    /// What a client would believe of the elements of a message.
    fn content_fault(&self, message: &Element) -> Option<&'static str> {
        message.elements().find_map(|child| {
            let ours = |name| {
                let by = child.attribute(name).map(str::parse::<Jid>);
                by.is_none_or(|by| by.is_ok_and(|by| by.domain() == DOMAIN))
            };
            let forged = child.attribute("id") == Some("forged") || child.text() == "forged";
            match (child.name(), child.ns()) {
                ("sent" | "received", CARBONS) => Some("somebody else's copy"),
                ("stanza-id", IDS) if forged && ours("by") => Some("an id of the archive that it has not given"),
                ("delay", DELAY) if forged && ours("from") => Some("a note of a delay that is not the server's"),
                _ => None,
            }
        })
    }
}

/// What only the server makes.
fn is_wrapper(element: &Element) -> bool {
    match element.ns() {
        CARBONS => matches!(element.name(), "sent" | "received"),
        ARCHIVE => element.name() == "result",
        EVENT => element.name() == "event",
        PUBSUB => element.name() == "pubsub",
        _ => false,
    }
}

fn judge(judge: &mut Judge, found: Vec<Element>) {
    for stanza in found {
        let fault = judge.fault(&stanza);
        assert!(fault.is_none(), "{}: {}", fault.unwrap_or_default(), stanza.to_xml(CLIENT_NS));
    }
}

/// Reads the archive of a client's account to its end.
async fn read_archive(world: &World, client: &mut Client, reader: &mut Judge) {
    let mut after = String::new();
    loop {
        let set = format!("<set xmlns='http://jabber.org/protocol/rsm'><max>100</max>{after}</set>");
        client.send(&format!("<iq type='set' id='page'><query xmlns='{ARCHIVE}'>{set}</query></iq>")).await;
        world.settle().await;
        let (ends, results): (Vec<_>, Vec<_>) = all(client).into_iter().partition(|it| it.name() == "iq");
        judge(reader, results);
        let fin = ends.iter().find_map(|end| end.child("fin", ARCHIVE)).expect("the end of a page");
        if fin.attribute("complete") == Some("true") {
            return;
        }
        let rsm = "http://jabber.org/protocol/rsm";
        let last = fin.child("set", rsm).and_then(|set| set.child("last", rsm)).expect("the last of a page");
        after = format!("<after>{}</after>", last.text());
    }
}

// Proves: XEP-0280 §11, XEP-0297 §7, XEP-0313 §8.2, XEP-0359 §3, XEP-0203 §5, RFC 6120 §8.1.2.1
#[tokio::test(start_paused = true)]
async fn nothing_forged_reaches_a_client_as_genuine() {
    let mut world = World::new();
    verona(&mut world);
    world.account(&jid(BENVOLIO)).await.expect("an account");
    let [mut orchard, mut phone] = devices(&mut world).await;
    let (mut romeo, mut benvolio) = (Judge::new(ROMEO), Judge::new(BENVOLIO));
    for (sender, from) in SENDERS {
        let mut writer = Writer::of(&mut world, sender).await;
        for (what, forgery) in FORGERIES {
            for (shape, write) in SHAPES {
                for (reader, name) in [(&mut romeo, ROMEO), (&mut benvolio, BENVOLIO)] {
                    let id = format!("{what}, {shape}, from {sender}{}", from.replace('\'', ""));
                    let payload = write(forgery).replace("READER", name);
                    writer.chat((sender, from), name, &id, &payload).await;
                    reader.senders.insert(id, (*sender).to_owned());
                }
            }
            world.settle().await;
            judge(&mut romeo, all(&mut orchard));
            judge(&mut romeo, all(&mut phone));
        }
        if let Writer::Through(mut client) = writer {
            client.vanish();
        }
        world.settle().await;
    }
    assert_eq!((romeo.senders.len(), CASES), (1377, 1377), "no two of them are the same");
    // All of them have come, so that there was something to judge.
    assert_eq!((romeo.direct.len(), romeo.copied.len()), (CASES, CASES));
    read_archive(&world, &mut orchard, &mut romeo).await;
    assert!(romeo.archived.len() > CASES / 2, "{} of {CASES} are archived", romeo.archived.len());
    // Whoever was away reads them late, and then all of them again.
    let mut cell = world.login(&jid("benvolio@verona.example/cell")).await.expect("a login");
    cell.send("<presence/>").await;
    world.settle().await;
    judge(&mut benvolio, all(&mut cell));
    assert!(benvolio.direct.len() > CASES / 2, "{} of {CASES} have waited", benvolio.direct.len());
    read_archive(&world, &mut cell, &mut benvolio).await;
    let different: Vec<&String> = benvolio.archived.symmetric_difference(&romeo.archived).collect();
    assert!(different.is_empty(), "what one of both has in his archive: {different:?}");
}

/// What is no message: pushes, answers.
const REQUESTS: &[(&str, &str, &str)] = &[
    (
        "a roster push",
        "set",
        "<query xmlns='jabber:iq:roster'><item jid='forged@verona.example' subscription='both'/></query>",
    ),
    ("a roster", "result", "<query xmlns='jabber:iq:roster' ver='forged'/>"),
    (
        "a push of the list of whom the account blocks",
        "set",
        "<block xmlns='urn:xmpp:blocking'><item jid='forged'/></block>",
    ),
    ("the same for whom it does not", "set", "<unblock xmlns='urn:xmpp:blocking'/>"),
    ("the end of a page of the archive", "result", "<fin xmlns='urn:xmpp:mam:2' complete='true'/>"),
    (
        "a notification",
        "set",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='forged'><item><notification \
         xmlns='urn:xmpp:push:0'/></item></publish></pubsub>",
    ),
    (
        "what another device has displayed",
        "result",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:mds:displayed:0'><item \
         id='juliet@verona.example'><displayed xmlns='urn:xmpp:mds:displayed:0'/></item></items></pubsub>",
    ),
    ("that copies are on", "result", "<enable xmlns='urn:xmpp:carbons:2'/>"),
];

// Proves: RFC 6120 §8.1.2.1, RFC 6121 §2.1.6
#[tokio::test(start_paused = true)]
async fn nobody_pushes_or_answers_in_the_name_of_the_server() {
    let mut world = World::new();
    verona(&mut world);
    for friend in ["tybalt@verona.example", "paris@mantua.example"] {
        // Whoever sees that he is there may ask his devices.
        world.subscribe(&jid(friend).to_bare(), &jid(ROMEO).to_bare()).await.expect("a subscription");
    }
    let [mut orchard, _phone] = devices(&mut world).await;
    let senders = SENDERS.iter().filter(|(sender, _)| !sender.contains("ghost") && !sender.contains("outlaw"));
    let mut seen = 0;
    for (sender, from) in senders {
        let mut writer = world.login(&jid(sender)).await.expect("a login");
        for (what, kind, payload) in REQUESTS {
            for copies in [1, 3] {
                let stanza =
                    format!("<iq to='romeo@verona.example/orchard'{from} type='{kind}' id='{what}'>{payload}</iq>");
                writer.send(&stanza.repeat(copies)).await;
                world.settle().await;
                for found in all(&mut orchard) {
                    let xml = found.to_xml(CLIENT_NS);
                    assert_eq!(found.attribute("from"), Some(*sender), "{what}: {xml}");
                    seen += 1;
                }
            }
            // To the account itself it does nothing that its devices hear of.
            writer.send(&format!("<iq to='{ROMEO}'{from} type='{kind}' id='{what}'>{payload}</iq>")).await;
            world.settle().await;
            let own = sender.starts_with(ROMEO);
            let heard: Vec<String> = all(&mut orchard).iter().map(|found| found.to_xml(CLIENT_NS)).collect();
            assert!(own || heard.is_empty(), "{what} from {sender}: {heard:?}");
        }
        writer.vanish();
        world.settle().await;
        drop(all(&mut orchard));
    }
    assert_eq!(seen, 5 * REQUESTS.len() * 4);
}

// Proves: RFC 6120 §8.1.1.2, §8.1.2.1, §8.1.2.2
#[tokio::test(start_paused = true)]
async fn nobody_sends_from_an_address_that_is_not_his() {
    let mut world = World::new();
    verona(&mut world);
    let [mut orchard, mut phone] = devices(&mut world).await;
    let claimed = [
        ROMEO,
        "romeo@verona.example/orchard",
        "romeo@verona.example/garden",
        DOMAIN,
        "verona.example/x",
        "juliet@verona.example",
        "juliet@verona.example/balcony",
        "juliet@capulet.example/balcony",
        "ghost.verona.example",
    ];
    let mut tried = 0;
    for (number, from) in claimed.iter().enumerate() {
        // What he writes makes no difference; each of it is tried somewhere.
        for (at, (_, forgery)) in FORGERIES.iter().cycle().skip(number * 3).take(3).enumerate() {
            let payload = forgery.replace("READER", ROMEO);
            let message = format!("<message from='{from}' to='{ROMEO}' type='chat'>{payload}</message>");
            let mut tybalt = world.login(&jid("tybalt@verona.example/hall")).await.expect("a login");
            tybalt.send(&message).await;
            world.settle().await;
            tybalt.vanish();
            if *from != "ghost.verona.example" {
                let mut ghost = world.component("ghost.verona.example").await.expect("a component");
                ghost.send(&message).await;
                world.settle().await;
                ghost.vanish();
                world.settle().await;
                tried += 1;
            }
            // Another server says whatever it likes.
            let peer = format!("peer{number}x{at}.example");
            let node = world.server(&peer).expect("a server");
            let chat = Stanza::new(Kind::Message(MessageType::Chat)).from(jid(from)).to(jid(ROMEO));
            let (_, kind, request) = REQUESTS[(number * 3 + at) % REQUESTS.len()];
            let kind = if kind == "set" { IqType::Set } else { IqType::Result };
            let push = Stanza::new(Kind::Iq(kind)).id("1").from(jid(from)).to(jid("romeo@verona.example/orchard"));
            let mut both = vec![chat.payload(Payload::canonical(payload)), push.payload(Payload::canonical(request))];
            // The first of them may be the last that is listened to.
            both.rotate_left(at % 2);
            say(&node, &peer, both);
            world.settle().await;
            tried += 3;
        }
        let heard: Vec<String> =
            all(&mut orchard).iter().chain(&all(&mut phone)).map(|it| it.to_xml(CLIENT_NS)).collect();
        assert!(heard.is_empty(), "{from}: {heard:?}");
    }
    assert_eq!(tried, 9 * 9 + 8 * 3);
    // The same way an honest server reaches him.
    let mut paris = world.login(&jid("paris@mantua.example/hall")).await.expect("a login");
    paris.send(&format!("<message to='{ROMEO}' type='chat'><body>hi</body></message>")).await;
    world.settle().await;
    assert_eq!(all(&mut orchard).len(), 1);
}

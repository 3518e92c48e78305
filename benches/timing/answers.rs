//! A stranger learns nothing from how long an answer takes: half of what he asks concerns somebody who has an account, the other
//! half somebody who has none. The server is the real one, in memory, so that no network blurs what it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::{Password, ScramHash};
use comity::accounts::directory;
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::jid::{BareJid, Jid};
use comity::testing::{Options, Raw, World};
use comity::xml::Element;

use crate::{Chance, Compared, Promise};

const DOMAIN: &str = "verona.example";
/// Who has an account and is away, and who has none.
const KINDS: [&str; 2] = ["of somebody", "of nobody"];
const NAMES: [&str; 2] = ["juliet", "violet"];
const ROOM: &str = "square@rooms.verona.example";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// What a network hides.
const HIDDEN: Promise = Promise::Median(Duration::from_millis(1));

/// Asks everything, a share of the full number of times.
pub(crate) async fn compare(share: usize) -> Vec<Compared> {
    let mut world = World::new();
    let config = "[limits]\nfailed_logins_per_account = 0\nfailed_logins_per_address = 0\n\
                  [services]\nrooms = [\"rooms.verona.example\"]\n"
        .to_owned();
    let node = world.server_with(DOMAIN, &Options { config }).expect("a server");
    // With as many iterations as everybody has.
    let keys = directory::derive(&Password::prepare("a password").expect("a password"));
    let juliet = BareJid::account(NAMES[0], DOMAIN).expect("an address");
    directory::create(&node.storage, &juliet, &keys, world.clock.now()).await.expect("an account");
    let mut all = vec![plain(&mut world, 2_000 / share).await];
    all.extend(scram(&mut world, 2_000 / share).await);
    all.extend(requests(&mut world, 20_000 / share).await);
    all
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A stream inside TLS.
async fn secured(world: &mut World) -> Raw {
    let mut raw = Raw::new(world.connect(DOMAIN).expect("a server"));
    raw.secure(Arc::clone(&world.client_tls), DOMAIN).await.expect("features inside TLS");
    raw
}

/// Sends a message of SASL; the answer, and how long it took.
async fn ask(raw: &mut Raw, text: &str, wanted: &str) -> (Element, u64) {
    let begin = Instant::now();
    raw.send(text).await;
    let answer = raw.element().await.expect("an answer");
    let took = nanoseconds(begin);
    assert_eq!(answer.name(), wanted);
    (answer, took)
}

async fn plain(world: &mut World, count: usize) -> Compared {
    let mut compared = Compared::new("a wrong password by PLAIN", KINDS, HIDDEN);
    let mut chance = Chance::new();
    for _ in 0..count {
        let kind = chance.coin();
        let message = BASE64_STANDARD.encode(format!("\0{}\0wrong", NAMES[kind]));
        let mut raw = secured(world).await;
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{message}</auth>");
        let (_, took) = ask(&mut raw, &auth, "failure").await;
        compared.times[kind].push(took);
    }
    compared
}

async fn scram(world: &mut World, count: usize) -> [Compared; 2] {
    let mut compared =
        ["the challenge of SCRAM", "a wrong proof by SCRAM"].map(|what| Compared::new(what, KINDS, HIDDEN));
    let mut chance = Chance::new();
    for _ in 0..count {
        let kind = chance.coin();
        let wrong = Password::prepare("wrong").expect("a password");
        let binding = ClientBinding::Unsupported;
        let client = ScramClient::new(ScramHash::Sha256, NAMES[kind], wrong, binding, "fyko+d2lbbFgONRv9qkxdawL");
        let mut raw = secured(world).await;
        let first = BASE64_STANDARD.encode(client.first());
        let auth = format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>");
        let (challenge, took) = ask(&mut raw, &auth, "challenge").await;
        compared[0].times[kind].push(took);
        let challenge = BASE64_STANDARD.decode(challenge.text()).expect("Base64");
        let (last, _) = client.respond(&challenge).expect("a response");
        let response = format!("<response xmlns='{SASL}'>{}</response>", BASE64_STANDARD.encode(last));
        let (_, took) = ask(&mut raw, &response, "failure").await;
        compared[1].times[kind].push(took);
    }
    compared
}

/// What is asked, its words for a name, and the type of the answer.
type Question = (&'static str, fn(&str) -> String, &'static str);

/// What somebody asks who has an account himself, and nothing to do with either. Where nothing is answered there is a ping behind it.
const QUESTIONS: [Question; 10] = [
    (
        "what somebody can do (XEP-0030)",
        |name| iq("get", &at(name), "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        "error",
    ),
    ("the card of somebody (XEP-0054)", |name| iq("get", &at(name), "<vCard xmlns='vcard-temp'/>"), "error"),
    ("when somebody was here (XEP-0012)", |name| iq("get", &at(name), "<query xmlns='jabber:iq:last'/>"), "error"),
    (
        "a device of somebody",
        |name| iq("get", &format!("{}/phone", at(name)), "<query xmlns='jabber:iq:version'/>"),
        "error",
    ),
    ("presence for somebody", |name| followed(&format!("<presence to='{}'/>", at(name))), "result"),
    ("a probe", |name| followed(&format!("<presence type='probe' to='{}'/>", at(name))), "result"),
    (
        "a request of subscription",
        |name| followed(&format!("<presence type='subscribe' to='{}'/>", at(name))),
        "result",
    ),
    (
        "a headline",
        |name| followed(&format!("<message type='headline' to='{}'><body>x</body></message>", at(name))),
        "result",
    ),
    (
        "a name for an account (XEP-0077), where nobody makes himself one",
        |name| {
            let account = format!("<username>{name}</username><password>secret</password>");
            iq("set", DOMAIN, &format!("<query xmlns='jabber:iq:register'>{account}</query>"))
        },
        "error",
    ),
    (
        "a message from outside into a room",
        |name| format!("<message type='chat' to='{ROOM}/{name}'><body>x</body></message>"),
        "error",
    ),
];

fn at(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

fn iq(kind: &str, to: &str, payload: &str) -> String {
    format!("<iq type='{kind}' id='q' to='{to}'>{payload}</iq>")
}

fn followed(stanza: &str) -> String {
    stanza.to_owned() + &iq("get", DOMAIN, "<ping xmlns='urn:xmpp:ping'/>")
}

async fn requests(world: &mut World, count: usize) -> Vec<Compared> {
    let [hall, orchard] = ["tybalt@verona.example/hall", "romeo@verona.example/orchard"]
        .map(|jid| jid.parse::<Jid>().expect("an address"));
    let mut tybalt = world.login(&hall).await.expect("a login");
    let mut romeo = world.login(&orchard).await.expect("a login");
    // He is there under the name of the one who has an account.
    let inside = NAMES[0];
    romeo.send(&format!("<presence to='{ROOM}/{inside}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")).await;
    romeo.next().await.expect("he is in the room");
    let mut all = Vec::new();
    for (what, question, wanted) in QUESTIONS {
        let mut compared = Compared::new(what, KINDS, HIDDEN);
        let mut chance = Chance::new();
        for turn in 0..count + 100 {
            let kind = chance.coin();
            let asked = question(NAMES[kind]);
            let begin = Instant::now();
            tybalt.send(&asked).await;
            let answer = tybalt.next().await.expect("an answer");
            let took = nanoseconds(begin);
            assert_eq!(answer.attribute("type"), Some(wanted), "{asked}");
            if turn >= 100 {
                compared.times[kind].push(took);
            }
        }
        all.push(compared);
    }
    all
}

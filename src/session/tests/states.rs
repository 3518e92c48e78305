//! Whatever a client sends in every state of a login: `states.txt` says by hand what must come of it.

use super::sasl2::{DOMAIN, PHONE, SASL2, authenticate, bind, element, old_world, open, password, secured};
use super::upgrade::UPGRADE;
use super::*;
use crate::stream::{CLOSE, STREAMS_NS};
use crate::testing::cells;

const TABLE: &str = include_str!("states.txt");

const STATES: [&str; 13] = [
    "plain",
    "idle",
    "again",
    "old-first",
    "old-proof",
    "first",
    "proof",
    "task",
    "salt",
    "given-up",
    "old-in",
    "unbound",
    "bound",
];

/// Where nothing has come of something, this is what the server hears and answers next: an element that nobody knows, or the
/// header that it waits for.
fn sentinel(state: &str) -> (String, &'static str) {
    if state != "old-in" {
        return ("<x xmlns='urn:example'/>".to_owned(), "error unsupported-stanza-type");
    }
    let mut header = String::new();
    let fields = HeaderFields { to: Some(DOMAIN), version: Some((1, 0)), ..HeaderFields::default() };
    write_header(&mut header, ContentNamespace::Client, &fields);
    (header, "header")
}

/// A connection in this state, and the proof that the server waits for there, or none that is good.
async fn arrive(world: &mut World, state: &str) -> (Raw, String) {
    let mut raw = if state == "plain" {
        let mut raw = Raw::new(world.connect(DOMAIN).unwrap());
        raw.open(DOMAIN).await.unwrap();
        raw
    } else {
        let mut raw = secured(world).await;
        open(&mut raw, None, "").await;
        raw
    };
    let hash = ScramHash::Sha1;
    let client =
        ScramClient::new(hash, "romeo", Password::prepare(PASSWORD).unwrap(), ClientBinding::Unsupported, "abc");
    let auth = |mechanism: &str, message: &[u8]| {
        format!("<auth xmlns='{SASL_NS}' mechanism='{mechanism}'>{}</auth>", BASE64_STANDARD.encode(message))
    };
    let task = (password(PHONE, UPGRADE), "continue");
    let steps = match state {
        "again" => vec![(authenticate("X", b"", PHONE, ""), "failure")],
        "old-first" => vec![(auth("PLAIN", b""), "challenge")],
        "old-proof" => vec![(auth("SCRAM-SHA-1", client.first().as_bytes()), "challenge")],
        "first" => vec![(format!("<authenticate xmlns='{SASL2}' mechanism='PLAIN'/>"), "challenge")],
        "proof" => vec![(authenticate("SCRAM-SHA-1", client.first().as_bytes(), PHONE, ""), "challenge")],
        "task" => vec![task],
        "salt" => vec![task, (format!("<next xmlns='{SASL2}' task='UPGR-SCRAM-SHA-512'/>"), "task-data")],
        "given-up" => vec![task, (format!("<abort xmlns='{SASL2}'/>"), "failure")],
        "old-in" => vec![(auth("PLAIN", format!("\0romeo\0{PASSWORD}").as_bytes()), "success")],
        "unbound" => vec![(password(PHONE, ""), "success")],
        "bound" => vec![(password(PHONE, &bind("")), "success")],
        _ => Vec::new(),
    };
    let mut proof = BASE64_STANDARD.encode("c=biws,r=abc,p=AAAA");
    for (said, heard) in steps {
        raw.send(&said).await;
        let answer = element(&mut raw).await;
        assert_eq!(answer.name(), heard, "{state}");
        if state.ends_with("proof") {
            let challenge = BASE64_STANDARD.decode(answer.text()).unwrap();
            proof = BASE64_STANDARD.encode(client.respond(&challenge).unwrap().0);
        }
    }
    if state.ends_with("bound") {
        assert_eq!(element(&mut raw).await.name(), "features");
    } else if state == "old-in" {
        raw.restart();
    }
    (raw, proof)
}

async fn event(raw: &mut Raw) -> Option<Event<'static>> {
    tokio::time::timeout(Duration::from_secs(60), raw.event()).await.expect("something comes").unwrap()
}

/// What comes next, in the words of the table.
async fn outcome(raw: &mut Raw) -> String {
    loop {
        return match event(raw).await {
            // Behind it comes what it is about.
            Some(Event::Open(_)) => continue,
            Some(Event::Nonza(element)) if element.is("error", STREAMS_NS) => {
                format!("error {}", StreamError::from_element(&element).condition.as_str())
            }
            Some(Event::Nonza(element)) if element.is("features", STREAMS_NS) => "header".to_owned(),
            Some(Event::Nonza(element)) if element.name().starts_with("fail") => {
                format!("{} {}", element.name(), element.elements().next().map_or("", Element::name))
            }
            Some(Event::Nonza(element)) => element.name().to_owned(),
            Some(Event::Stanza(stanza)) => match stanza.payload.first().as_ref().and_then(StanzaError::condition_of) {
                Some(condition) => condition.as_str().to_owned(),
                None if matches!(stanza.kind, Kind::Presence(_)) => "presence".to_owned(),
                None => "result".to_owned(),
            },
            Some(Event::Close) => "closes".to_owned(),
            other => format!("{other:?}"),
        };
    }
}

/// A stream that has an error ends, and nothing else is said on it.
async fn ends(raw: &mut Raw, found: &str) -> bool {
    let closes = !found.starts_with("error ") || matches!(event(raw).await, Some(Event::Close));
    raw.send(CLOSE).await;
    closes && event(raw).await.is_none()
}

// Proves: XEP-0388 §2.3, §2.4, §2.5, §2.6.1, §2.6.2, §2.6.3, §3, §4.5, §4.8, XEP-0198 §3, §5, XEP-0386 §3.2
// Proves: RFC 6120 §4.9.3.12, §6.4.2, §6.4.4, §6.4.6, §7.1
#[tokio::test(start_paused = true)]
async fn whatever_comes_in_every_state_of_a_login() {
    let rows = cells(TABLE, &STATES).unwrap();
    let mut world = old_world().await;
    let plain = BASE64_STANDARD.encode(format!("\0romeo\0{PASSWORD}"));
    let mut wrong = Vec::new();
    for state in STATES {
        let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
        juliet.send("<presence/>").await;
        world.settle().await;
        while juliet.received().is_some() {}
        for row in &rows {
            let (mut raw, proof) = arrive(&mut world, state).await;
            let said = row.said.replace("{password}", &plain).replace("{proof}", &proof);
            raw.send(&said.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")).await;
            let expected = row.cells[state];
            let (next, answer) = sentinel(state);
            if matches!(expected, "nothing" | "reaches") {
                raw.send(&next).await;
            }
            let mut found = outcome(&mut raw).await;
            if (found.starts_with("error ") || found == "closes") && !ends(&mut raw, &found).await {
                found.push_str(", and goes on");
            }
            world.settle().await;
            let reaches = juliet.received().is_some();
            found = match (expected, reaches) {
                ("nothing", false) | ("reaches", true) if found == answer => expected.to_owned(),
                (_, true) => format!("{found}, reaches"),
                (_, false) => found,
            };
            if found != expected {
                wrong.push(format!("{state}, {}: {found} instead of {expected}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), rows.len() * STATES.len());
}

//! What a whole server does with sessions that begin or end in unusual ways.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::accounts::credentials::{Credentials, Iterations, Password, Salts, ScramHash};
use crate::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use crate::accounts::sasl::{Mechanism, SASL_NS, Variant};
use crate::jid::Jid;
use crate::routing::BindError;
use crate::stanza::{Condition, Kind, PresenceType, Stanza, StanzaError};
use crate::stream::{ContentNamespace, Event, HeaderFields, StreamCondition, StreamError, write_header};
use crate::testing::{Client, Options, PASSWORD, Raw, World};
use crate::xml::Element;

mod access;
mod at_once;
mod attempts;
mod certificates;
mod durable;
mod one_breath;
mod sasl2;
mod senders;
mod states;
mod upgrade;

/// What may not be too slow a reader's excuse: little may wait for a client.
const SMALL: &str = "[limits]\nclient_stanza = \"10000B\"\nserver_stanza = \"10000B\"\nring_bytes = \"10000B\"\n";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// A stream on which a resource is to be bound.
async fn authenticated(world: &mut World, jid: &Jid) -> Raw {
    world.account(jid).await.unwrap();
    let mut raw = Raw::new(world.connect(jid.domain()).unwrap());
    raw.authenticate(Arc::clone(&world.client_tls), jid, PASSWORD).await.unwrap();
    raw
}

/// The condition of the error that comes next.
async fn refusal(raw: &mut Raw) -> Option<Condition> {
    let Some(Event::Stanza(stanza)) = raw.event().await.unwrap() else { return None };
    assert!(matches!(stanza.kind, Kind::Iq(crate::stanza::IqType::Error)), "{}", stanza.to_xml());
    StanzaError::condition_of(&stanza.payload.first()?)
}

// Proves: XEP-0115 §6.2, §6.3, XEP-0352 §4.1, XEP-0390 §5.2, §6.1, XEP-0478 §3
#[tokio::test(start_paused = true)]
async fn the_features_of_a_stream_tell_its_limits_and_what_the_server_is() {
    let mut world = World::new();
    let options = Options { config: "[limits]\nclient_stanza = \"12345B\"\n".into() };
    world.server_with("verona.example", &options).unwrap();
    let romeo = jid("romeo@verona.example/orchard");
    world.account(&romeo).await.unwrap();
    let named = |features: &Element| features.elements().map(|it| it.name().to_owned()).collect::<Vec<_>>();
    let limits = |features: &Element| {
        let limits = features.elements().find(|it| it.name() == "limits").unwrap();
        limits.elements().map(|it| format!("{} {}", it.name(), it.text())).collect::<Vec<_>>()
    };

    let mut raw = Raw::new(world.connect("verona.example").unwrap());
    let features = raw.open("verona.example").await.unwrap();
    assert_eq!(
        (named(&features), limits(&features)),
        (vec!["starttls".to_owned(), "limits".to_owned()], vec!["max-bytes 8192".to_owned()])
    );
    let mut raw = Raw::new(world.connect("verona.example").unwrap());
    let features = raw.authenticate(Arc::clone(&world.client_tls), &romeo, PASSWORD).await.unwrap();
    assert_eq!(named(&features), ["bind", "ver", "sub", "session", "c", "sm", "csi", "c", "limits"]);
    assert_eq!(limits(&features), ["max-bytes 12345", "idle-seconds 300"]);

    // Whoever asks about the hash gets what was hashed.
    let mut asked = vec!["<query xmlns='http://jabber.org/protocol/disco#info'/>".to_owned()];
    for caps in features.elements().filter(|it| it.name() == "c") {
        let node = match (caps.attribute("node"), caps.elements().next()) {
            (Some(node), _) => format!("{node}#{}", caps.attribute("ver").unwrap()),
            (None, hash) => format!("urn:xmpp:caps#sha-256.{}", hash.unwrap().text()),
        };
        asked.push(format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"));
    }
    assert_eq!(asked.len(), 3);
    raw.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
    raw.event().await.unwrap().unwrap();
    let mut answers = Vec::new();
    for query in &asked {
        raw.send(&format!("<iq type='get' id='i' to='verona.example'>{query}</iq>")).await;
        let Some(Event::Stanza(answer)) = raw.event().await.unwrap() else { panic!("no answer") };
        let info = answer.payload.first().unwrap();
        let node = Element::parse(query, "").unwrap().attribute("node").map(str::to_owned);
        assert_eq!(info.attribute("node"), node.as_deref());
        answers.push(info.elements().cloned().collect::<Vec<_>>());
    }
    assert!(!answers[0].is_empty() && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

// Proves: XEP-0478 §3
#[tokio::test(start_paused = true)]
async fn what_another_server_does_not_take_comes_back() {
    let mut world = World::new();
    let options = Options { config: "[limits]\nserver_stanza = \"10000B\"\n".into() };
    world.server_with("capulet.example", &options).unwrap();
    let mut juliet = world.login(&jid("juliet@capulet.example/balcony")).await.unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let message = |id: &str, size: usize| {
        format!("<message to='juliet@capulet.example/balcony' id='{id}'><body>{}</body></message>", "x".repeat(size))
    };
    // One before there is a stream, one on it.
    for id in ["1", "2"] {
        romeo.send(&message(id, 12_000)).await;
        romeo.send(&message("small", 9_000)).await;
        world.settle().await;
        let error = romeo.received().unwrap();
        assert_eq!((error.attribute("id"), error.attribute("type")), (Some(id), Some("error")));
        assert!(error.to_xml("").contains("<policy-violation "), "{}", error.to_xml(""));
        assert_eq!(juliet.received().unwrap().attribute("id"), Some("small"));
        assert_eq!((romeo.received(), juliet.received()), (None, None));
    }
}

// Proves: RFC 6120 §4.7.2
#[tokio::test(start_paused = true)]
async fn a_client_that_says_who_it_is_finds_itself_in_the_answer() {
    let mut world = World::new();
    for (from, to) in [(None, None), (Some("romeo@verona.example"), Some("romeo@verona.example"))] {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        let mut header = String::new();
        let fields = HeaderFields { to: Some("verona.example"), from, ..HeaderFields::default() };
        write_header(&mut header, ContentNamespace::Client, &fields);
        raw.send(&header).await;
        let Some(Event::Open(answer)) = raw.event().await.unwrap() else { panic!("no header") };
        assert_eq!(answer.to.as_deref(), to);
        assert_eq!(answer.from.as_deref(), Some("verona.example"));
    }
}

// Proves: RFC 6120 §4.9.1.3, §4.7.1, §4.7.2, §4.7.4
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_nobody_here_is_told_who_is_here() {
    let mut world = World::new();
    for to in [None, Some("mantua.example"), Some("romeo@verona.example"), Some("")] {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        let mut header = String::new();
        let from = Some("romeo@verona.example/orchard");
        let fields = HeaderFields { to, from, lang: Some("xx"), ..HeaderFields::default() };
        write_header(&mut header, ContentNamespace::Client, &fields);
        raw.send(&header).await;
        let Some(Event::Open(answer)) = raw.event().await.unwrap() else { panic!("no header") };
        assert_eq!(answer.from.as_deref(), Some("verona.example"));
        assert_eq!(answer.to.as_deref(), Some("romeo@verona.example"));
        assert_eq!(answer.lang.as_deref(), Some("en"));
        assert!(answer.id.is_some());
        let error = raw.element().await.unwrap();
        assert_eq!(StreamError::from_element(&error).condition, StreamCondition::HostUnknown);
        assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
    }
}

// Proves: RFC 6120 §4.7.5
#[tokio::test(start_paused = true)]
async fn the_lower_version_counts() {
    let mut world = World::new();
    for (theirs, ours, refused) in [
        (Some((1, 0)), Some((1, 0)), false),
        (Some((1, 10)), Some((1, 0)), false),
        (Some((2, 0)), Some((1, 0)), false),
        (Some((0, 9)), Some((0, 9)), true),
        (None, None, true),
    ] {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        let mut header = String::new();
        let fields = HeaderFields { to: Some("verona.example"), version: theirs, ..HeaderFields::default() };
        write_header(&mut header, ContentNamespace::Client, &fields);
        raw.send(&header).await;
        let Some(Event::Open(answer)) = raw.event().await.unwrap() else { panic!("no header") };
        assert_eq!(answer.version, ours);
        let next = raw.element().await.unwrap();
        assert_eq!(next.name() == "error", refused, "{theirs:?}");
        if refused {
            assert_eq!(StreamError::from_element(&next).condition, StreamCondition::UnsupportedVersion);
        }
    }
}

// Proves: RFC 6120 §4.3.3, §4.7.3
#[tokio::test(start_paused = true)]
async fn every_stream_has_an_id_of_its_own() {
    let mut world = World::new();
    world.account(&jid("romeo@verona.example")).await.unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        raw.authenticate(Arc::clone(&world.client_tls), &jid("romeo@verona.example"), PASSWORD).await.unwrap();
        ids.append(&mut raw.ids);
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() >= 16), "{ids:?}");
}

// Proves: RFC 6120 §4.7.4, §8.1.5
#[tokio::test(start_paused = true)]
async fn a_stanza_has_the_language_of_its_stream() {
    let mut world = World::new();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    for domain in ["verona.example", "mantua.example"] {
        let romeo = jid(&format!("romeo@{domain}/orchard"));
        world.account(&romeo).await.unwrap();
        let mut raw = Raw::new(world.connect(domain).unwrap());
        raw.lang = Some("it");
        let mut romeo = raw.log_in(Arc::clone(&world.client_tls), &romeo, PASSWORD).await.unwrap();
        for (own, expected) in [("", Some("it")), ("xml:lang='de-CH'", Some("de-CH")), ("xml:lang=''", Some(""))] {
            romeo.send(&format!("<message to='juliet@verona.example/balcony' {own}><body>x</body></message>")).await;
            world.settle().await;
            let received = juliet.received().unwrap();
            assert_eq!(received.attribute("xml:lang"), expected, "{domain}");
        }
    }
    // Who has said nothing says nothing.
    let mut romeo = world.login(&jid("romeo@mantua.example/garden")).await.unwrap();
    romeo.send("<message to='juliet@verona.example/balcony'><body>x</body></message>").await;
    world.settle().await;
    assert_eq!(juliet.received().unwrap().attribute("xml:lang"), None);
}

// Proves: RFC 6120 §4.4
#[tokio::test(start_paused = true)]
async fn what_was_asked_before_the_end_is_answered_before_it() {
    let mut world = World::new();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let ping = "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>";
    for (end, last) in [("</stream:stream>", vec!["iq", "closed"]), ("<x/>", vec!["iq", "error", "closed"])] {
        romeo.send(&format!("{ping}{end}")).await;
        world.settle().await;
        let came: Vec<_> = std::iter::from_fn(|| romeo.received()).map(|it| it.name().to_owned()).collect();
        assert_eq!(came, last);
        romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    }
}

// Proves: RFC 6120 §4.4
#[tokio::test(start_paused = true)]
async fn a_stream_that_we_end_is_over_when_the_client_has_ended_it_too() {
    let mut world = World::new();
    for (answer, seconds) in [(None, 2), (Some("</stream:stream>"), 0), (Some("<message/>\n</stream:stream> \n"), 0)] {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        raw.open("verona.example").await.unwrap();
        raw.send("<message/>").await;
        let error = StreamError::from_element(&raw.element().await.unwrap());
        assert_eq!(error.condition, StreamCondition::NotAuthorized);
        assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
        let since = tokio::time::Instant::now();
        if let Some(answer) = answer {
            raw.send(answer).await;
        }
        assert!(matches!(raw.event().await, Ok(None)));
        assert_eq!(since.elapsed().as_secs(), seconds, "{answer:?}");
    }
}

// Proves: RFC 6120 §4.6.1
#[tokio::test(start_paused = true)]
async fn white_space_says_that_a_client_is_there() {
    use crate::clock::Timestamp;
    use crate::hooks::Outbound;
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let orchard = jid("romeo@verona.example/orchard");
    let mut romeo = world.login(&orchard).await.unwrap();
    world.clock.advance(Duration::from_secs(400));
    let before = Timestamp::from_unix_ms(world.clock.now().unix_ms() - 300_000);
    assert_eq!(node.router.silent_since(before), [orchard]);
    romeo.send(" ").await;
    world.settle().await;
    assert_eq!(node.router.silent_since(before), []);
    assert!(romeo.received().is_none());
}

// Proves: RFC 6120 §4.6.1
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_hide_who_is_silent() {
    use crate::clock::Timestamp;
    use crate::hooks::Outbound;
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let orchard = jid("romeo@verona.example/orchard");
    let mut romeo = world.login(&orchard).await.unwrap();
    world.clock.set(Timestamp::from_unix_ms(world.clock.now().unix_ms() - 3_600_000));
    let before = Timestamp::from_unix_ms(world.clock.now().unix_ms() - 300_000);
    assert_eq!(node.router.silent_since(before), [orchard]);
    romeo.send(" ").await;
    world.settle().await;
    assert_eq!(node.router.silent_since(before), []);
}

// Proves: RFC 6120 §4.9.3.4
#[tokio::test(start_paused = true)]
async fn who_does_not_get_on_is_told_so() {
    let mut world = World::new();
    let romeo = jid("romeo@verona.example");
    for authenticate in [false, true] {
        let mut raw = Raw::new(world.connect("verona.example").unwrap());
        if authenticate {
            world.account(&romeo).await.unwrap();
            raw.authenticate(Arc::clone(&world.client_tls), &romeo, PASSWORD).await.unwrap();
        } else {
            raw.open("verona.example").await.unwrap();
        }
        let since = tokio::time::Instant::now();
        let error = StreamError::from_element(&raw.element().await.unwrap());
        assert_eq!(error.condition, StreamCondition::ConnectionTimeout);
        assert_eq!(since.elapsed().as_secs(), 30);
        assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
    }
}

// Proves: RFC 6120 §4.9.3.16
#[tokio::test(start_paused = true)]
async fn another_password_ends_the_sessions_of_the_old_one() {
    use crate::hooks::operation::Role;
    let mut world = World::new();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    world.settle().await;
    assert_eq!(romeo.received().unwrap().name(), "enabled");
    let node = world.server("verona.example").unwrap();
    let change = serde_json::json!({ "jid": "romeo@verona.example", "password": PASSWORD });
    node.operations.run("account.password", Role::Operator, change).await.unwrap();
    world.settle().await;
    assert!(romeo.received().is_none(), "there is time for the answer");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = romeo.received().unwrap();
    assert_eq!(StreamError::from_element(&error).condition, StreamCondition::Reset);
    assert_eq!(romeo.received().unwrap().name(), "closed");
    assert!(juliet.received().is_none());
    // It does not wait for anybody to come back either.
    assert_eq!(node.router.counts().sessions, 1);
}

/// What a server is told that is for tests on its machine only.
const WITHOUT_TLS: &str = "[listen]\nc2s = \"127.0.0.1:5222\"\nc2s_without_tls = true\n";

/// A stream without TLS to a server with this configuration, and the names of the features on it that are there
/// to be negotiated.
async fn plain_stream(config: &str) -> (World, Raw, Vec<String>) {
    let mut world = World::new();
    world.server_with("verona.example", &Options { config: config.into() }).unwrap();
    world.account(&jid("romeo@verona.example")).await.unwrap();
    let mut raw = Raw::new(world.connect("verona.example").unwrap());
    let features = raw.open("verona.example").await.unwrap();
    let names = features.elements().map(|feature| feature.name().to_owned()).filter(|name| name != "limits").collect();
    (world, raw, names)
}

/// Authenticates romeo by SCRAM without channel binding; the name of the condition if he is refused.
async fn scram(raw: &mut Raw, hash: ScramHash) -> Result<(), String> {
    let (password, name) = (Password::prepare(PASSWORD).unwrap(), Mechanism::Scram(hash, Variant::Bare).as_str());
    let client = ScramClient::new(hash, "romeo", password, ClientBinding::Unsupported, "abc");
    let first = BASE64_STANDARD.encode(client.first());
    raw.send(&format!("<auth xmlns='{SASL_NS}' mechanism='{name}'>{first}</auth>")).await;
    let answer = raw.element().await?;
    if answer.name() == "failure" {
        return Err(answer.elements().map(crate::xml::Element::name).collect());
    }
    let (last, expected) = client.respond(&BASE64_STANDARD.decode(answer.text()).unwrap()).unwrap();
    let last = BASE64_STANDARD.encode(last);
    raw.send(&format!("<response xmlns='{SASL_NS}'>{last}</response>")).await;
    let success = raw.element().await?;
    assert_eq!(success.name(), "success");
    expected.verify(&BASE64_STANDARD.decode(success.text()).unwrap()).unwrap();
    Ok(())
}

// Proves: RFC 6120 §5.3.1, §6.5.4
#[tokio::test(start_paused = true)]
async fn without_tls_there_is_no_login() {
    let (_world, mut raw, features) = plain_stream("").await;
    assert_eq!(features, ["starttls"]);
    assert_eq!(scram(&mut raw, ScramHash::Sha256).await, Err("encryption-required".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn for_tests_a_client_may_log_in_without_tls() {
    let (mut world, mut raw, features) = plain_stream(WITHOUT_TLS).await;
    assert_eq!(features, ["starttls", "mechanisms"]);
    let password = BASE64_STANDARD.encode(format!("\0romeo\0{PASSWORD}"));
    raw.send(&format!("<auth xmlns='{SASL_NS}' mechanism='PLAIN'>{password}</auth>")).await;
    let refusal = raw.element().await.unwrap();
    assert_eq!(refusal.to_xml(""), format!("<failure xmlns='{SASL_NS}'><encryption-required/></failure>"));
    assert_eq!(scram(&mut raw, ScramHash::Sha256).await, Ok(()));
    let features = raw.open("verona.example").await.unwrap();
    assert_eq!(features.elements().next().map(crate::xml::Element::name), Some("bind"));
    raw.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
    let Some(Event::Stanza(bound)) = raw.event().await.unwrap() else { panic!("not bound") };
    assert_eq!(bound.kind, Kind::Iq(crate::stanza::IqType::Result));
    // Who wants TLS still has it.
    world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
}

/// Asks for stream management too early, in both ways, and is refused without losing the stream.
async fn is_too_early(raw: &mut Raw) {
    for early in ["<enable xmlns='urn:xmpp:sm:3'/>", "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"] {
        raw.send(early).await;
        let failed = raw.element().await.unwrap();
        assert!(failed.is("failed", "urn:xmpp:sm:3"), "{}", failed.to_xml(""));
        assert_eq!(failed.elements().next().map(crate::xml::Element::name), Some("unexpected-request"));
    }
}

// Proves: XEP-0198 §3, §10
#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_authentication() {
    let mut world = World::new();
    let juliet = jid("juliet@verona.example");
    world.account(&juliet).await.unwrap();
    let mut raw = Raw::new(world.connect("verona.example").unwrap());
    raw.open("verona.example").await.unwrap();
    is_too_early(&mut raw).await;
    raw.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    assert_eq!(raw.element().await.unwrap().name(), "proceed");
    raw.start_tls(Arc::clone(&world.client_tls), "verona.example").await.unwrap();
    raw.open("verona.example").await.unwrap();
    is_too_early(&mut raw).await;
    let (_world, mut raw, _) = plain_stream(WITHOUT_TLS).await;
    is_too_early(&mut raw).await;
    assert_eq!(scram(&mut raw, ScramHash::Sha256).await, Ok(()));
}

// Proves: RFC 6120 §7.7.2, §8.3.3.8
#[tokio::test(start_paused = true)]
async fn a_bind_request_with_a_malformed_address_is_refused() {
    let mut world = World::new();
    let mut raw = authenticated(&mut world, &jid("romeo@verona.example")).await;
    raw.send("<iq type='set' id='1' to='@@'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
    assert_eq!(refusal(&mut raw).await, Some(Condition::JidMalformed));
    assert_eq!(world.server("verona.example").unwrap().router.counts().sessions, 0);
}

// Proves: RFC 6120 §7.6.2.1, §13.12
#[tokio::test(start_paused = true)]
async fn an_account_has_so_many_sessions_and_no_more() {
    let mut world = World::new();
    let options = Options { config: "[limits]\nsessions_per_account = 1\n".into() };
    world.server_with("verona.example", &options).unwrap();
    let _one = world.login(&jid("romeo@verona.example/one")).await.unwrap();
    let mut raw = authenticated(&mut world, &jid("romeo@verona.example")).await;
    raw.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
    assert_eq!(refusal(&mut raw).await, Some(Condition::ResourceConstraint));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_session_leaves_no_ghost() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    romeo.send("<presence/>").await;
    world.settle().await;
    assert_eq!(node.router.counts().sessions, 1);
    world.abort_connections("verona.example").await;
    assert_eq!(node.router.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_between_binding_and_the_session_leaves_no_ghost() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let romeo = jid("romeo@verona.example/orchard");
    world.account(&romeo).await.unwrap();
    let router = Arc::clone(&node.router);
    let user = romeo.to_bare();
    let session = tokio::spawn(async move {
        let _binding = router.bind(&user, "orchard", &mut router.batch()).await?;
        assert_eq!(router.counts().sessions, 1);
        panic!("as if by a defect");
        #[expect(unreachable_code, reason = "it names the type")]
        Ok::<(), BindError>(())
    });
    assert!(session.await.unwrap_err().is_panic());
    world.excuse_panics(1);
    assert_eq!(node.router.counts().sessions, 0);
}

/// The numbers in the ids of the messages that a client has received.
fn numbers(client: &mut Client) -> Vec<usize> {
    let messages = std::iter::from_fn(|| client.received()).filter(|element| element.name() == "message");
    messages.map(|message| message.attribute("id").unwrap().parse().unwrap()).collect()
}

// Proves: RFC 6120 §10.1
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything_in_the_end_and_in_order() {
    const COUNT: usize = 800;
    let mut world = World::new();
    world.server_with("verona.example", &Options { config: SMALL.into() }).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let balcony = jid("juliet@verona.example/balcony");
    let mut juliet = world.login(&balcony).await.unwrap();
    juliet.send("<presence/>").await;
    world.settle().await;
    juliet.stall();
    world.settle().await;
    for number in 0..COUNT {
        let body = "x".repeat(200);
        romeo.send(&format!("<message to='{balcony}' type='chat' id='{number}'><body>{body}</body></message>")).await;
        // Not all at once: otherwise they are in the ring before the session has looked at it.
        if number % 10 == 0 {
            world.settle().await;
        }
    }
    world.settle().await;
    assert_eq!(world.server("verona.example").unwrap().router.counts().sessions, 1, "hers is closed");
    juliet.read_on();
    world.settle().await;
    let before = numbers(&mut juliet);
    let mut juliet = world.login(&balcony).await.unwrap();
    juliet.send("<presence/>").await;
    world.settle().await;
    let after = numbers(&mut juliet);
    assert!(before.len() > 100 && after.len() > 100, "{} and {}", before.len(), after.len());
    let follow = |numbers: &[usize]| numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    assert!(before[0] == 0 && follow(&before), "{before:?}");
    assert!(after.last() == Some(&(COUNT - 1)) && follow(&after), "{after:?}");
    // What lay in the pipes when she was given up may come twice; nothing is missing.
    assert!(before.len() >= after[0], "{} came, then {}", before.len(), after[0]);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_makes_nobody_too_slow_a_reader() {
    const COUNT: usize = 3000;
    let mut world = World::new();
    let config = SMALL.replace("ring_bytes = \"10000B\"", "ring_bytes = \"100000B\"");
    let node = world.server_with("verona.example", &Options { config }).unwrap();
    let orchard = jid("romeo@verona.example/orchard");
    let mut romeo = world.login(&orchard).await.unwrap();
    let there = |number: usize| jid(&format!("square@rooms.verona.example/{number}"));
    let presence = |number| Arc::new(Stanza::new(Kind::Presence(PresenceType::Available)).from(there(number)));
    let crowd: Vec<_> = (0..COUNT).map(presence).collect();
    let mut batch = node.router.batch();
    assert_eq!(node.router.hand_all(&crowd, &orchard, &mut batch), None);
    batch.finish();
    romeo.send(&format!("<message to='{orchard}' id='last'/>")).await;
    world.settle().await;
    let shown: Vec<Element> = std::iter::from_fn(|| romeo.received()).collect();
    let from = shown.iter().map(|element| element.attribute("from").unwrap().to_owned());
    let all = (0..COUNT).map(there).chain([orchard.clone()]).map(|jid| jid.to_string());
    assert!(from.eq(all), "{} stanzas", shown.len());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_gone_for_good_does_not_hold_its_task() {
    let mut world = World::new();
    world.server_with("verona.example", &Options { config: SMALL.into() }).unwrap();
    let node = world.server("verona.example").unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut dead = world.login(&jid("romeo@verona.example/dead")).await.unwrap();
    dead.stall();
    for _ in 0..100 {
        let body = "x".repeat(2000);
        romeo.send(&format!("<message to='romeo@verona.example/dead'><body>{body}</body></message>")).await;
        world.settle().await;
    }
    assert_eq!(node.router.counts().sessions, 1);
}

// Every session costs this, idle or not, beside its TLS state.
#[tokio::test(start_paused = true)]
async fn an_idle_session_is_small() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let (_client, server) = tokio::io::duplex(64);
    let serving = node.serve_client(crate::net::Transport::plain(server, None), super::Security::StartTls);
    let (session, bound) = (size_of_val(&serving), size_of::<super::Bound>());
    assert!(session <= 1500, "{session} bytes, {bound} of them for the session itself");
}

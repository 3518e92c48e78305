//! Logins by SASL2 (XEP-0388) with Bind 2 (XEP-0386) and tokens (XEP-0484), on whole servers.

use std::sync::Mutex;

use super::*;
use crate::accounts::directory;
use crate::accounts::sasl::hashed_token::tests::message;
use crate::hooks::operation::Role;
use crate::net::Transport;
use crate::session::Security;
use crate::stanza::CLIENT_NS;
use crate::storage::Storage;
use crate::testing::served;

pub(super) const DOMAIN: &str = "verona.example";
pub(super) const PHONE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
pub(super) const SASL2: &str = "urn:xmpp:sasl:2";
pub(super) const FAST: &str = "<fast xmlns='urn:xmpp:fast:0'/>";
pub(super) const WANTS_TOKEN: &str = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
pub(super) const COUNTED: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

/// A server with the archive or without, and romeo's account.
pub(super) async fn world(config: &str) -> World {
    let mut world = World::new();
    world.server_with(DOMAIN, &Options { config: config.into() }).unwrap();
    world.account(&jid("romeo@verona.example")).await.unwrap();
    world
}

/// A server on which romeo's account is older than keys for SHA-512.
pub(super) async fn old_world() -> World {
    let storage = Storage::open_in_memory().unwrap();
    let (password, iterations) = (Password::prepare(PASSWORD).unwrap(), Iterations::new(Iterations::MIN).unwrap());
    let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
    let old = Credentials { sha512: None, ..Credentials::derive(&password, &salts, iterations) };
    let now = crate::clock::Timestamp::default();
    directory::create(&storage, &jid("romeo@verona.example").to_bare(), &old, now).await.unwrap();
    let mut world = World::new();
    world.server_on(DOMAIN, &Options::default(), storage).unwrap();
    world
}

/// A connection with TLS from its first byte, on which nothing has been said.
pub(super) async fn secured(world: &mut World) -> Raw {
    let node = world.server(DOMAIN).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { node.serve_client(served(theirs), Security::Direct).await });
    let mut raw = Raw::new(ours);
    raw.start_tls(Arc::clone(&world.client_tls), DOMAIN).await.unwrap();
    raw
}

/// Opens a stream and says `more` in the same breath; gives the features.
pub(super) async fn open(raw: &mut Raw, from: Option<&str>, more: &str) -> Element {
    let mut header = String::new();
    let fields = HeaderFields { to: Some(DOMAIN), from, version: Some((1, 0)), ..HeaderFields::default() };
    write_header(&mut header, ContentNamespace::Client, &fields);
    raw.send(&format!("{header}{more}")).await;
    assert!(matches!(raw.event().await.unwrap(), Some(Event::Open(_))));
    raw.element().await.unwrap()
}

pub(super) fn authenticate(mechanism: &str, initial: &[u8], agent: &str, more: &str) -> String {
    let initial = BASE64_STANDARD.encode(initial);
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>\
         <user-agent id='{agent}'><software>Test</software></user-agent>{more}</authenticate>"
    )
}

pub(super) fn password(agent: &str, more: &str) -> String {
    authenticate("PLAIN", format!("\0romeo\0{PASSWORD}").as_bytes(), agent, more)
}

pub(super) fn bind(more: &str) -> String {
    format!("<bind xmlns='urn:xmpp:bind:0'><tag>Test</tag>{more}</bind>")
}

/// Logs in with what `said` says and returns the answer.
async fn log_in(world: &mut World, said: &str) -> (Raw, Element) {
    let mut raw = secured(world).await;
    open(&mut raw, Some("romeo@verona.example"), said).await;
    let answer = element(&mut raw).await;
    (raw, answer)
}

/// The same where it is to work.
pub(super) async fn enter(world: &mut World, said: &str) -> (Raw, Element) {
    let (raw, answer) = log_in(world, said).await;
    assert!(answer.is("success", SASL2), "{}", answer.to_xml(""));
    (raw, answer)
}

/// The condition of a failure.
pub(super) async fn failure(world: &mut World, said: &str) -> String {
    let (_raw, answer) = log_in(world, said).await;
    assert!(answer.is("failure", SASL2), "{}", answer.to_xml(""));
    answer.elements().next().unwrap().name().to_owned()
}

pub(super) fn part<'a>(success: &'a Element, name: &str) -> Option<&'a Element> {
    success.elements().find(|child| child.name() == name)
}

pub(super) fn identifier(success: &Element) -> String {
    part(success, "authorization-identifier").unwrap().text()
}

pub(super) fn token_of(success: &Element) -> Option<String> {
    part(success, "token").map(|token| token.attribute("token").unwrap().to_owned())
}

pub(super) fn with_token(token: &str, agent: &str, more: &str) -> String {
    authenticate("HT-SHA-256-NONE", &message("romeo", token, b""), agent, more)
}

pub(super) fn names(element: &Element) -> Vec<&str> {
    element.elements().map(Element::name).collect()
}

/// The next element that is no stanza. Who waits for what never comes is told so: here time passes only while everybody waits.
pub(super) async fn element(raw: &mut Raw) -> Element {
    tokio::time::timeout(Duration::from_secs(60), raw.element()).await.expect("something comes").unwrap()
}

pub(super) async fn stanza(raw: &mut Raw) -> Element {
    let event = tokio::time::timeout(Duration::from_secs(60), raw.event()).await.expect("something comes");
    match event.unwrap() {
        Some(Event::Stanza(stanza)) => Element::parse(&stanza.to_xml(), CLIENT_NS).unwrap(),
        other => panic!("instead of a stanza: {other:?}"),
    }
}

// Proves: XEP-0388 §2.1, §3, XEP-0386 §3.1, XEP-0484 §3.1, XEP-0198 §9.1, §9.2
#[tokio::test(start_paused = true)]
async fn what_may_be_asked_for_is_told_inside_tls_and_only_there() {
    let mut world = world("").await;
    let mut raw = Raw::new(world.connect(DOMAIN).unwrap());
    let features = raw.open(DOMAIN).await.unwrap();
    assert!(!names(&features).contains(&"authentication"));
    let mut raw = secured(&mut world).await;
    let features = open(&mut raw, None, "").await;
    let authentication = part(&features, "authentication").unwrap();
    let mechanisms = |of: &Element| {
        of.elements().filter(|it| it.name() == "mechanism").map(Element::text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        mechanisms(authentication),
        "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"
    );
    assert_eq!(mechanisms(authentication), mechanisms(part(&features, "mechanisms").unwrap()));
    let inline = part(authentication, "inline").unwrap();
    assert_eq!(names(inline), ["bind", "sm", "fast"]);
    assert_eq!(
        part(inline, "bind").unwrap().to_xml(""),
        "<bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/><feature var='urn:xmpp:carbons:2'/>\
         <feature var='urn:xmpp:csi:0'/></inline></bind>"
    );
    assert_eq!(mechanisms(part(inline, "fast").unwrap()), "HT-SHA-256-EXPR HT-SHA-256-ENDP HT-SHA-256-NONE");
    world.reconfigure(DOMAIN, &Options { config: "[limits]\ntoken_lifetime = \"0s\"\n".into() }).unwrap();
    let mut raw = secured(&mut world).await;
    let features = open(&mut raw, None, "").await;
    let inline = part(part(&features, "authentication").unwrap(), "inline").unwrap();
    assert_eq!(names(inline), ["bind", "sm"]);
}

// Proves: XEP-0388 §2.6.1
#[tokio::test(start_paused = true)]
async fn the_stream_goes_on_and_the_older_way_to_bind_works_on_it() {
    let mut world = world("").await;
    let (mut raw, success) = enter(&mut world, &password(PHONE, "")).await;
    assert_eq!(names(&success), ["authorization-identifier"]);
    assert_eq!(identifier(&success), "romeo@verona.example");
    let features = element(&mut raw).await;
    assert_eq!(names(&features), ["bind", "ver", "sub", "session", "c", "sm", "csi", "c", "limits"]);
    raw.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>")
        .await;
    assert!(stanza(&mut raw).await.to_xml("").contains("romeo@verona.example/x"));
    raw.send("<presence/>").await;
    assert_eq!(stanza(&mut raw).await.name(), "presence");
}

// Proves: XEP-0388 §2.4, §4.8
#[tokio::test(start_paused = true)]
async fn whoever_does_not_wait_or_begins_again_is_cut_off() {
    let mut world = world("").await;
    let mut raw = secured(&mut world).await;
    open(&mut raw, None, &(password(PHONE, "") + "<presence/>")).await;
    let error = StreamError::from_element(&element(&mut raw).await);
    assert_eq!(error.condition, StreamCondition::PolicyViolation);
    for intruder in ["<r xmlns='urn:xmpp:sm:3'/>", "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"] {
        let mut raw = secured(&mut world).await;
        open(&mut raw, None, &format!("<authenticate xmlns='{SASL2}' mechanism='PLAIN'/>")).await;
        assert_eq!(element(&mut raw).await.name(), "challenge");
        raw.send(intruder).await;
        assert_eq!(element(&mut raw).await.name(), "error", "{intruder}");
        assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
    }
    let (mut raw, _) = enter(&mut world, &password(PHONE, "")).await;
    element(&mut raw).await;
    raw.send(&password(PHONE, "")).await;
    let error = StreamError::from_element(&element(&mut raw).await);
    assert_eq!(error.condition, StreamCondition::UnsupportedStanzaType);
}

// Proves: XEP-0388 §2.1, §2.3
#[tokio::test(start_paused = true)]
async fn nobody_is_another_than_the_stream_is_from() {
    let mut world = world("").await;
    let mut raw = secured(&mut world).await;
    open(&mut raw, Some("juliet@verona.example"), &password(PHONE, "")).await;
    let failure = element(&mut raw).await;
    assert_eq!(names(&failure), ["invalid-authzid", "text"]);
    let mut raw = secured(&mut world).await;
    let error = open(&mut raw, Some("romeo@mantua.example"), "").await;
    assert_eq!(StreamError::from_element(&error).condition, StreamCondition::InvalidFrom);
}

// Proves: XEP-0386 §3.2, §3.2.1, XEP-0198 §9.1, XEP-0388 §2.3
#[tokio::test(start_paused = true)]
async fn a_resource_is_bound_and_its_session_counts_from_the_first_stanza_on() {
    let mut world = world("[archive]\nenabled = true\n").await;
    let (mut raw, success) = enter(&mut world, &password(PHONE, &bind(COUNTED))).await;
    assert_eq!(names(&success), ["authorization-identifier", "bound"]);
    let full = identifier(&success);
    let resource = full.strip_prefix("romeo@verona.example/Test/").unwrap();
    assert!(resource.len() == 12 && !PHONE.contains(resource), "{resource}");
    let bound = part(&success, "bound").unwrap();
    assert_eq!(names(bound), ["metadata", "enabled"]);
    assert_eq!(bound.elements().last().unwrap().attribute("resume"), Some("true"));
    let features = element(&mut raw).await;
    assert_eq!(names(&features), ["ver", "sub", "c", "csi", "c", "limits"]);
    raw.send("<presence/><r xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(stanza(&mut raw).await.name(), "presence");
    let answers = [element(&mut raw).await, element(&mut raw).await];
    let mut answers: Vec<_> = answers.iter().map(|it| it.to_xml("")).collect();
    answers.sort();
    assert_eq!(answers, ["<a xmlns='urn:xmpp:sm:3' h='1'/>", "<r xmlns='urn:xmpp:sm:3'/>"]);
    raw.send("<a xmlns='urn:xmpp:sm:3' h='1'/><enable xmlns='urn:xmpp:sm:3'/>").await;
    let error = StreamError::from_element(&element(&mut raw).await);
    assert_eq!(error.condition, StreamCondition::PolicyViolation, "it is enabled already");
    // The same client gets the same resource; without an id nobody is the same.
    let (_raw, success) = enter(&mut world, &password(PHONE, &bind(""))).await;
    assert_eq!(identifier(&success), full);
    let anonymous = password(PHONE, &bind("")).replace(&format!(" id='{PHONE}'"), "");
    let (_one, first) = enter(&mut world, &anonymous).await;
    let (_two, second) = enter(&mut world, &anonymous).await;
    assert_ne!(identifier(&first), identifier(&second));
    assert_eq!(world.server(DOMAIN).unwrap().router.counts().sessions, 3);
    let (_raw, success) =
        enter(&mut world, &password(PHONE, &bind("<enable xmlns='urn:xmpp:sm:3' resume='x'/>"))).await;
    assert!(part(&success, "bound").unwrap().to_xml("").contains("<failed xmlns='urn:xmpp:sm:3'><bad-request "));
}

// Proves: XEP-0386 §3.2
#[tokio::test(start_paused = true)]
async fn a_new_session_of_a_client_ends_its_old_ones() {
    let mut world = world("").await;
    let node = world.server(DOMAIN).unwrap();
    let (mut first, _) = enter(&mut world, &password(PHONE, &bind(COUNTED))).await;
    element(&mut first).await;
    let other = "11111111-4d72-4749-b3d3-740edbf87770";
    let (_tablet, _) = enter(&mut world, &password(other, &bind(""))).await;
    // Another name, the same client.
    let renamed = bind("").replace("Test", "Renamed");
    let (mut second, _) = enter(&mut world, &password(PHONE, &renamed)).await;
    element(&mut second).await;
    let error = StreamError::from_element(&element(&mut first).await);
    assert_eq!(error.condition, StreamCondition::Conflict);
    world.settle().await;
    assert_eq!(node.router.counts().sessions, 2);
    // Those that wait for their client since the server has started again, too.
    drop(second);
    let (third, _) = enter(&mut world, &password(PHONE, &bind(COUNTED))).await;
    world.restart(DOMAIN).await.unwrap();
    drop(third);
    let (_raw, _) = enter(&mut world, &password(PHONE, &renamed)).await;
    world.settle().await;
    assert_eq!(world.server(DOMAIN).unwrap().router.counts().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_with_all_the_sessions_that_it_may_have_gets_no_other() {
    let mut world = world("[limits]\nsessions_per_account = 1\n").await;
    let (_one, _) = enter(&mut world, &password(PHONE, &bind(""))).await;
    let (_raw, error) = log_in(&mut world, &password("11111111-4d72-4749-b3d3-740edbf87770", &bind(""))).await;
    assert_eq!(StreamError::from_element(&error).condition, StreamCondition::ResourceConstraint);
}

// Proves: XEP-0386 §3.2
#[tokio::test(start_paused = true)]
async fn what_waits_is_left_to_the_archive_where_there_is_one() {
    for (config, expected) in [("[archive]\nenabled = true\n", 0), ("", 1)] {
        let mut world = world(config).await;
        let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
        juliet.send("<message to='romeo@verona.example' type='chat' id='1'><body>hi</body></message>").await;
        world.settle().await;
        let (mut raw, success) = enter(&mut world, &password(PHONE, &bind(""))).await;
        let metadata = part(part(&success, "bound").unwrap(), "metadata").map(names);
        assert_eq!(metadata, (expected == 0).then(|| vec!["start", "end"]));
        element(&mut raw).await;
        raw.send("<presence/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        let mut messages = 0;
        loop {
            let stanza = stanza(&mut raw).await;
            messages += usize::from(stanza.name() == "message");
            if stanza.name() == "iq" {
                break;
            }
        }
        assert_eq!(messages, expected, "{config}");
    }
}

// Proves: XEP-0198 §9.2, §9.2.1, XEP-0386 §3.2
#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_is_replaced_at_once() {
    let mut world = world("").await;
    let more = format!("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>{}", bind(""));
    let (mut raw, success) = enter(&mut world, &password(PHONE, &more)).await;
    assert_eq!(names(&success), ["authorization-identifier", "failed", "bound"]);
    assert_eq!(part(&success, "failed").unwrap().elements().next().unwrap().name(), "item-not-found");
    assert_eq!(element(&mut raw).await.name(), "features");
    // Who wants no other one has none.
    let (mut raw, success) = enter(&mut world, &password(PHONE, "<resume xmlns='urn:xmpp:sm:3' h='0'/>")).await;
    assert_eq!(names(&success), ["authorization-identifier", "failed"]);
    assert!(names(&element(&mut raw).await).contains(&"bind"));
}

/// Everything that a client says until it has its session back goes out at once, and everything that it has to know comes
/// back at once: SASL2, Bind 2, FAST and a resumed session in one round trip.
// Proves: XEP-0388 §2.6.1, XEP-0484 §3.4, XEP-0198 §9.2, XEP-0386 §3.2
#[tokio::test(start_paused = true)]
async fn a_client_is_back_in_one_round_trip() {
    let mut world = world("").await;
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let wants_token = WANTS_TOKEN.replace("NONE", "EXPR");
    let (mut raw, success) = enter(&mut world, &password(PHONE, &(bind(COUNTED) + &wants_token))).await;
    let (full, token) = (identifier(&success), token_of(&success).unwrap());
    let previd = part(part(&success, "bound").unwrap(), "enabled").unwrap().attribute("id").unwrap().to_owned();
    element(&mut raw).await;
    raw.send("<presence/>").await;
    assert_eq!(stanza(&mut raw).await.name(), "presence");
    drop(raw);
    world.settle().await;
    juliet.send(&format!("<message to='{full}' id='1'><body>while he is away</body></message>")).await;
    world.settle().await;

    let mut raw = secured(&mut world).await;
    let proof = message("romeo", &token, &raw.exporter().unwrap());
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='1'/>");
    let said = authenticate("HT-SHA-256-EXPR", &proof, PHONE, &[FAST, &resume, &bind(COUNTED)].concat());
    let before = raw.sent;
    open(&mut raw, Some("romeo@verona.example"), &said).await;
    let success = element(&mut raw).await;
    assert_eq!(names(&success), ["additional-data", "authorization-identifier", "resumed"], "{}", success.to_xml(""));
    assert_eq!(identifier(&success), full);
    assert_eq!(
        part(&success, "resumed").unwrap().to_xml(""),
        format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='1'/>")
    );
    // No features in between: the session is there.
    assert_eq!(stanza(&mut raw).await.attribute("id"), Some("1"));
    assert_eq!(raw.sent - before, 1, "the client has spoken once");
    raw.send("<message to='juliet@verona.example/balcony' id='2'/>").await;
    world.settle().await;
    assert_eq!(juliet.received().unwrap().attribute("id"), Some("2"));
}

/// A connection inside TLS, and what the server writes on it, once for each write.
pub(super) async fn overheard(world: &mut World) -> (Raw, Arc<Mutex<Vec<String>>>) {
    let node = world.server(DOMAIN).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&written);
    let transport = Transport::plain(theirs, None).heard_by(Box::new(move |bytes| {
        heard.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
    }));
    tokio::spawn(async move { node.serve_client(transport, Security::Direct).await });
    let mut raw = Raw::new(ours);
    raw.start_tls(Arc::clone(&world.client_tls), DOMAIN).await.unwrap();
    (raw, written)
}

/// What a client asks in one breath is answered in one: every packet more costs both sides, the server most of all.
#[tokio::test(start_paused = true)]
async fn what_is_asked_in_one_breath_is_answered_in_one() {
    let mut world = world("").await;
    let (mut raw, written) = overheard(&mut world).await;
    open(&mut raw, None, &password(PHONE, &bind(""))).await;
    assert_eq!(names(&element(&mut raw).await), ["authorization-identifier", "bound"]);
    element(&mut raw).await;
    raw.send("</stream:stream>").await;
    assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
    let written = written.lock().unwrap();
    assert_eq!(written.len(), 2, "{written:#?}");
    assert!(written[0].starts_with("<?xml") && written[0].ends_with("</stream:features>"), "{}", written[0]);
    assert_eq!(written[1], "</stream:stream>");
}

// Proves: XEP-0484 §3.3, §3.4, §3.5
#[tokio::test(start_paused = true)]
async fn a_token_logs_in_until_the_next_one_does() {
    let mut world = world("").await;
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    let first = token_of(&success).unwrap();
    assert_eq!(part(&success, "token").unwrap().attribute("expiry"), Some("2001-09-30T01:46:40.000Z"));
    for more in [FAST, &[FAST, &bind("")].concat()] {
        let (_raw, success) = enter(&mut world, &with_token(&first, PHONE, more)).await;
        assert_eq!(token_of(&success), None, "it is young");
    }
    assert_eq!(failure(&mut world, &with_token("another", PHONE, FAST)).await, "not-authorized");
    let other = "11111111-4d72-4749-b3d3-740edbf87770";
    assert_eq!(failure(&mut world, &with_token(&first, other, FAST)).await, "not-authorized");
    assert_eq!(failure(&mut world, &with_token(&first, PHONE, "")).await, "malformed-request");
    let nobody = with_token(&first, PHONE, FAST).replace(
        &BASE64_STANDARD.encode(message("romeo", &first, b"")),
        &BASE64_STANDARD.encode(message("nobody", &first, b"")),
    );
    let mut raw = secured(&mut world).await;
    open(&mut raw, None, &nobody).await;
    let unknown = element(&mut raw).await.to_xml("");
    let mut raw = secured(&mut world).await;
    open(&mut raw, None, &with_token("another", PHONE, FAST)).await;
    assert_eq!(element(&mut raw).await.to_xml(""), unknown);

    world.clock.advance(Duration::from_secs(86_400));
    let (_raw, success) = enter(&mut world, &with_token(&first, PHONE, FAST)).await;
    let second = token_of(&success).unwrap();
    let (_raw, success) = enter(&mut world, &with_token(&first, PHONE, FAST)).await;
    assert!(token_of(&success).is_some(), "that answer may have been lost");
    assert_eq!(failure(&mut world, &with_token(&second, PHONE, FAST)).await, "not-authorized", "there is a newer one");
    let third = token_of(&success).unwrap();
    enter(&mut world, &with_token(&third, PHONE, FAST)).await;
    assert_eq!(failure(&mut world, &with_token(&first, PHONE, FAST)).await, "not-authorized");
    world.clock.advance(Duration::from_secs(22 * 86_400));
    assert_eq!(failure(&mut world, &with_token(&third, PHONE, FAST)).await, "credentials-expired");
    // They outlive the server.
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    world.restart(DOMAIN).await.unwrap();
    enter(&mut world, &with_token(&token_of(&success).unwrap(), PHONE, FAST)).await;
}

// Proves: XEP-0484 §3.6
#[tokio::test(start_paused = true)]
async fn a_token_is_given_up_by_its_client_or_with_the_password() {
    let mut world = world("").await;
    let last = "<fast xmlns='urn:xmpp:fast:0' invalidate='true'/>";
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    let token = token_of(&success).unwrap();
    world.clock.advance(Duration::from_secs(2 * 86_400));
    let (_raw, success) = enter(&mut world, &with_token(&token, PHONE, last)).await;
    assert_eq!(token_of(&success), None);
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    let token = token_of(&success).unwrap();
    let (_raw, success) = enter(&mut world, &with_token(&token, PHONE, &[last, WANTS_TOKEN].concat())).await;
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
    let token = token_of(&success).unwrap();
    enter(&mut world, &with_token(&token, PHONE, FAST)).await;
    let node = world.server(DOMAIN).unwrap();
    let change = serde_json::json!({ "jid": "romeo@verona.example", "password": PASSWORD });
    node.operations.run("account.password", Role::Operator, change).await.unwrap();
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    let token = token_of(&success).unwrap();
    let name = serde_json::json!({ "jid": "romeo@verona.example" });
    node.operations.run("account.disable", Role::Operator, name.clone()).await.unwrap();
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "account-disabled");
    node.operations.run("account.enable", Role::Operator, name.clone()).await.unwrap();
    enter(&mut world, &with_token(&token, PHONE, FAST)).await;
    // A new owner of the name has nothing of the old one.
    node.operations.run("account.remove", Role::Operator, name).await.unwrap();
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
    world.account(&jid("romeo@verona.example")).await.unwrap();
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
}

// Proves: XEP-0388 §2.1
#[tokio::test(start_paused = true)]
async fn a_hash_that_an_old_account_has_no_keys_for_is_offered_to_nobody() {
    let mut world = old_world().await;
    for from in [None, Some("romeo@verona.example"), Some("nobody@verona.example")] {
        let mut raw = secured(&mut world).await;
        let features = open(&mut raw, from, "").await.to_xml("");
        assert!(!features.contains(">SCRAM-SHA-512") && features.contains("SCRAM-SHA-256-PLUS"), "{features}");
    }
}

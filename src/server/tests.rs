//! Accounts that come, are closed and go, on whole servers.

mod memory;
mod registration;
mod resumption;

use std::sync::Arc;
use std::time::Duration;

use crate::accounts::directory;
use crate::hooks::operation::{Nothing, OperationError};
use crate::jid::{BareJid, Jid};
use crate::routing::Origin;
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_CLOSE, ACCOUNT_DISABLE, ACCOUNT_ENABLE, ACCOUNT_FACTS, ACCOUNT_LIST, ACCOUNT_REMOVE,
    ACCOUNT_TIDY, ADMIN_EDIT, ADMIN_LIST, AccountName, AdminList, DomainOf, NewAccount, SERVICE_STOP, Stop, Then,
};
use crate::secret::Secret;
use crate::stanza::{CLIENT_NS, Kind, MessageType, Stanza};
use crate::storage::{Direction, End, Entry, Marks, Position, Range, Writes};
use crate::stream::Event;
use crate::testing::{Client, Options, PASSWORD, Raw, World};
use crate::xml::Element;

use super::Node;

const DOMAIN: &str = "verona.example";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn named(jid: &str) -> AccountName {
    AccountName { jid: jid.to_owned() }
}

async fn add(node: &Node, jid: &str, reuse: bool) -> Result<Nothing, OperationError> {
    let account = NewAccount { jid: jid.to_owned(), password: Secret::new(PASSWORD.to_owned()), admin: false, reuse };
    node.operations.call(&ACCOUNT_ADD, account).await
}

async fn list(node: &Node) -> Vec<String> {
    let listed = node.operations.call(&ACCOUNT_LIST, DomainOf { domain: DOMAIN.to_owned() }).await.unwrap();
    listed.into_iter().map(|account| account.jid).collect()
}

/// Logs in to an account that exists.
async fn log_in(world: &mut World, who: &str) -> Result<Client, String> {
    let connection = world.connect(DOMAIN)?;
    Raw::new(connection).log_in(Arc::clone(&world.client_tls), &jid(who), PASSWORD).await
}

/// Everything that has come, as text.
async fn received(world: &World, client: &mut Client) -> String {
    world.settle().await;
    let mut all = String::new();
    while let Some(element) = client.received() {
        all.push_str(&element.to_xml(CLIENT_NS));
    }
    all
}

// Proves: XEP-0133 §4.3, §4.4, RFC 6120 §6.5.2
#[tokio::test(start_paused = true)]
async fn a_disabled_account_is_offline_for_everybody_but_its_owner() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    romeo.send("<presence/>").await;
    world.settle().await;
    node.operations.call(&ACCOUNT_DISABLE, named("romeo@verona.example")).await.unwrap();
    assert!(received(&world, &mut romeo).await.contains("<not-authorized"));

    let refused = log_in(&mut world, "romeo@verona.example/orchard").await.err().unwrap();
    assert!(refused.contains("account-disabled"), "{refused}");
    let mut wrong = Raw::new(world.connect(DOMAIN).unwrap());
    let refused = wrong.authenticate(Arc::clone(&world.client_tls), &jid("romeo@verona.example"), "wrong").await;
    assert!(refused.unwrap_err().contains("not-authorized"), "who does not know the password learns nothing");

    juliet.send("<message to='romeo@verona.example' type='chat'><body>Art thou there?</body></message>").await;
    assert_eq!(received(&world, &mut juliet).await, "", "it is kept, as for anybody who is offline");
    node.operations.call(&ACCOUNT_ENABLE, named("romeo@verona.example")).await.unwrap();
    let mut romeo = log_in(&mut world, "romeo@verona.example/orchard").await.unwrap();
    romeo.send("<presence/>").await;
    assert!(received(&world, &mut romeo).await.contains("Art thou there?"));
}

#[tokio::test(start_paused = true)]
async fn what_is_disabled_stays_so_over_a_restart() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    world.account(&jid("romeo@verona.example")).await.unwrap();
    node.operations.call(&ACCOUNT_DISABLE, named("romeo@verona.example")).await.unwrap();
    drop(node);
    world.restart(DOMAIN).await.unwrap();
    let refused = log_in(&mut world, "romeo@verona.example/orchard").await.err().unwrap();
    assert!(refused.contains("account-disabled"), "{refused}");
    let node = world.server(DOMAIN).unwrap();
    let facts = node.operations.call(&ACCOUNT_FACTS, named("romeo@verona.example")).await.unwrap();
    assert!(facts.disabled && facts.last_login.is_none());
}

#[tokio::test(start_paused = true)]
async fn somebody_who_authenticates_while_his_account_is_closed_does_not_get_in() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let romeo = jid("romeo@verona.example");
    for close in [true, false] {
        let mut raw = world.authenticated(&romeo).await.unwrap();
        if close {
            node.operations.call(&ACCOUNT_DISABLE, named("romeo@verona.example")).await.unwrap();
        } else {
            node.operations.call(&ACCOUNT_ENABLE, named("romeo@verona.example")).await.unwrap();
            node.operations.call(&ACCOUNT_REMOVE, named("romeo@verona.example")).await.unwrap();
        }
        raw.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
        let Some(Event::Stanza(answer)) = raw.event().await.unwrap() else { panic!("no answer") };
        assert!(answer.to_xml().contains("<not-authorized"), "{}", answer.to_xml());
        assert_eq!(node.router.counts().sessions, 0);
        // For the second round he authenticates before the account goes.
        node.operations.call(&ACCOUNT_ENABLE, named("romeo@verona.example")).await.ok();
    }
}

// A session that ends late had unread messages when its account went: they are not for who has the name next.
#[tokio::test(start_paused = true)]
async fn unread_messages_are_not_for_the_next_owner_of_a_name() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let romeo = jid("romeo@verona.example");
    world.account(&romeo).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let late = node.router.bind(&romeo.to_bare(), "orchard", &mut node.router.batch()).await.unwrap();
    juliet.send("<message to='romeo@verona.example/orchard' type='chat'><body>for him alone</body></message>").await;
    world.settle().await;
    node.operations.call(&ACCOUNT_REMOVE, named("romeo@verona.example")).await.unwrap();
    add(&node, "romeo@verona.example", true).await.unwrap();
    drop(late);
    world.settle().await;
    let mut next = log_in(&mut world, "romeo@verona.example/orchard").await.unwrap();
    next.send("<presence/>").await;
    let got = received(&world, &mut next).await;
    assert!(!got.contains("<message"), "{got}");
    let facts = node.operations.call(&ACCOUNT_FACTS, named("romeo@verona.example")).await.unwrap();
    assert_eq!(facts.waiting, 0);
    assert!(received(&world, &mut juliet).await.contains("<service-unavailable"), "she learns that it did not arrive");
}

// A message that is on its way past the log of an account is waited for before the name is free.
#[tokio::test(start_paused = true)]
async fn what_is_underway_to_a_log_is_not_for_the_next_owner_of_a_name() {
    let mut world = World::new();
    let node = world.server_with(DOMAIN, &Options { config: "[archive]\nenabled = true\n".into() }).unwrap();
    let romeo = jid("romeo@verona.example");
    world.account(&romeo).await.unwrap();
    let mut other = node.router.batch();
    let body = Element::new("body", CLIENT_NS).with_text("for him alone");
    let message = Stanza::new(Kind::Message(MessageType::Chat)).from(jid("juliet@mantua.example/x"));
    let session = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let message = message.to(session.jid.clone().unwrap()).payload(body);
    node.router.route(Origin::Server, message, &mut other).await.unwrap();
    let removing = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.operations.call(&ACCOUNT_REMOVE, named("romeo@verona.example")).await }
    });
    world.settle().await;
    assert!(!removing.is_finished());
    other.finish();
    removing.await.unwrap().unwrap();
    add(&node, "romeo@verona.example", true).await.unwrap();
    let entries = node.storage.page(&romeo.to_bare(), None, 9).await.unwrap().entries;
    assert!(entries.is_empty(), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_closed_for_a_while_unless_the_operator_insists() {
    let mut world = World::new();
    let options = Options { config: "[limits]\nname_reuse = \"2h\"\n".into() };
    let node = world.server_with(DOMAIN, &options).unwrap();
    add(&node, "romeo@verona.example", false).await.unwrap();
    node.operations.call(&ACCOUNT_REMOVE, named("romeo@verona.example")).await.unwrap();
    assert!(matches!(add(&node, "romeo@verona.example", false).await, Err(OperationError::Conflict(_))));
    add(&node, "romeo@verona.example", true).await.unwrap();
    node.operations.call(&ACCOUNT_REMOVE, named("romeo@verona.example")).await.unwrap();
    world.clock.advance(Duration::from_secs(2 * 3600));
    add(&node, "romeo@verona.example", false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_interrupted_is_completed() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    world.subscribe(&jid("romeo@verona.example").to_bare(), &jid("juliet@verona.example").to_bare()).await.unwrap();
    world.subscribe(&jid("juliet@verona.example").to_bare(), &jid("romeo@verona.example").to_bare()).await.unwrap();
    node.operations.call(&ACCOUNT_CLOSE, named("romeo@verona.example")).await.unwrap();
    assert_eq!(list(&node).await, ["juliet@verona.example"]);
    drop(node);
    world.restart(DOMAIN).await.unwrap();
    let node = world.server(DOMAIN).unwrap();
    assert!(log_in(&mut world, "romeo@verona.example/x").await.is_err());
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    juliet.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>").await;
    assert!(received(&world, &mut juliet).await.contains("subscription='both'"));
    node.operations.call(&ACCOUNT_TIDY, Nothing {}).await.unwrap();
    let told = received(&world, &mut juliet).await;
    assert!(told.contains("subscription='none'"), "{told}");
    assert!(!directory::exists(&node.storage, &jid("romeo@verona.example").to_bare()).await.unwrap());
    add(&node, "romeo@verona.example", true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_power_of_an_administrator_goes_with_the_account() {
    let mut world = World::new();
    let options = Options { config: String::new() };
    let node = world.server_with(DOMAIN, &options).unwrap();
    let admins = async |node: &Node| node.operations.call(&ADMIN_LIST, Nothing {}).await.unwrap();
    let edit = async |node: &Node, jid: &str| {
        node.operations.call(&ADMIN_EDIT, AdminList { jids: vec![jid.to_owned()] }).await
    };
    assert!(matches!(edit(&node, "paris@verona.example").await, Err(OperationError::Unknown(_))));
    add(&node, "paris@verona.example", false).await.unwrap();
    edit(&node, "paris@verona.example").await.unwrap();
    assert_eq!(admins(&node).await, ["paris@verona.example"]);
    drop(node);
    world.restart(DOMAIN).await.unwrap();
    let node = world.server(DOMAIN).unwrap();
    assert_eq!(admins(&node).await, ["paris@verona.example"]);
    node.operations.call(&ACCOUNT_REMOVE, named("paris@verona.example")).await.unwrap();
    add(&node, "paris@verona.example", true).await.unwrap();
    assert!(admins(&node).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_service_ends_when_it_was_said() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let announcement = Some("The play is over.".to_owned());
    node.operations.call(&SERVICE_STOP, Stop { after: 60, then: Then::Start, announcement }).await.unwrap();
    assert!(received(&world, &mut romeo).await.contains("The play is over."));
    let begin = tokio::time::Instant::now();
    assert_eq!(node.ending.wait().await, Then::Start);
    assert!(begin.elapsed() >= Duration::from_secs(59));
}

/// A stream inside TLS whose client has not authenticated, with its features.
async fn visit(world: &mut World) -> (Raw, Element) {
    let mut raw = Raw::new(world.connect(DOMAIN).unwrap());
    let plain = raw.open(DOMAIN).await.unwrap();
    assert!(plain.child("register", "http://jabber.org/features/iq-register").is_none(), "not without TLS");
    raw.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    assert_eq!(raw.element().await.unwrap().name(), "proceed");
    raw.start_tls(Arc::clone(&world.client_tls), DOMAIN).await.unwrap();
    let features = raw.open(DOMAIN).await.unwrap();
    (raw, features)
}

async fn ask(raw: &mut Raw, kind: &str, inner: &str) -> String {
    raw.send(&format!("<iq type='{kind}' id='r'><query xmlns='jabber:iq:register'>{inner}</query></iq>")).await;
    match raw.event().await.unwrap() {
        Some(Event::Stanza(stanza)) => stanza.to_xml(),
        other => format!("{other:?}"),
    }
}

fn login(name: &str) -> String {
    format!("<username>{name}</username><password>{PASSWORD}</password>").replace('&', "&amp;")
}

// Proves: XEP-0077 §3.1
#[tokio::test(start_paused = true)]
async fn somebody_makes_himself_an_account() {
    let mut world = World::new();
    let config = "admins = [\"escalus@verona.example\"]\n[registration]\nenabled = true\n";
    let node = world.server_with(DOMAIN, &Options { config: config.into() }).unwrap();
    let (mut raw, features) = visit(&mut world).await;
    assert!(features.child("register", "http://jabber.org/features/iq-register").is_some());
    let form = ask(&mut raw, "get", "").await;
    assert!(form.contains("<username/>") && form.contains("<password/>"), "{form}");
    let refusals = [
        ("<username>paris</username>".to_owned(), "<not-acceptable"),
        ("<username>paris</username><password/>".to_owned(), "<not-acceptable"),
        (login("postmaster"), "<conflict"),
        (login("Abuse"), "<conflict"),
        (login("escalus"), "<conflict"),
        (login("two words"), "<not-acceptable"),
    ];
    for (inner, condition) in refusals {
        let refused = ask(&mut raw, "set", &inner).await;
        assert!(refused.contains(condition), "{inner}: {refused}");
        assert!(!refused.contains("<query"), "the password does not come back");
    }
    let made = ask(&mut raw, "set", &login("Paris")).await;
    assert!(made.starts_with("<iq type='result'"), "{made}");
    assert!(ask(&mut raw, "set", &login("paris")).await.contains("<conflict"));
    assert_eq!(list(&node).await, ["paris@verona.example"]);
    // The name of an account that was removed is not to be had in this way.
    node.operations.call(&ACCOUNT_REMOVE, named("paris@verona.example")).await.unwrap();
    assert!(ask(&mut raw, "set", &login("paris")).await.contains("<conflict"));
    let (mut other, _) = visit(&mut world).await;
    assert!(ask(&mut other, "set", &login("mercutio")).await.contains("type='result'"));
    log_in(&mut world, "mercutio@verona.example/x").await.unwrap();
}

// Proves: XEP-0077 §3.1
#[tokio::test(start_paused = true)]
async fn nobody_makes_himself_an_account_unless_that_is_wanted() {
    let mut world = World::new();
    let node = world.server(DOMAIN).unwrap();
    let (mut raw, features) = visit(&mut world).await;
    assert!(features.child("register", "http://jabber.org/features/iq-register").is_none());
    assert!(ask(&mut raw, "set", &login("paris")).await.contains("not-authorized"));
    assert!(list(&node).await.is_empty());
    // The operator may change his mind.
    let config =
        "admins = [\"escalus@verona.example\"]\n[registration]\nenabled = true\nreserved_names = [\"paris\"]\n";
    world.reconfigure(DOMAIN, &Options { config: config.into() }).unwrap();
    let (mut raw, features) = visit(&mut world).await;
    assert!(features.child("register", "http://jabber.org/features/iq-register").is_some());
    for name in ["paris", "escalus"] {
        assert!(ask(&mut raw, "set", &login(name)).await.contains("<conflict"));
    }
    assert!(ask(&mut raw, "set", &login("postmaster")).await.contains("type='result'"));
}

#[tokio::test(start_paused = true)]
async fn a_visitor_asks_so_much_and_no_more() {
    let mut world = World::new();
    world.server_with(DOMAIN, &Options { config: "[registration]\nenabled = true\n".into() }).unwrap();
    let (mut raw, _) = visit(&mut world).await;
    for _ in 0..10 {
        assert!(ask(&mut raw, "get", "").await.contains("<instructions"));
    }
    assert!(ask(&mut raw, "get", "").await.contains("policy-violation"));
    for stanza in ["<message><body>hi</body></message>", "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"] {
        let (mut raw, _) = visit(&mut world).await;
        raw.send(stanza).await;
        let end = raw.element().await.unwrap();
        assert!(end.to_xml("").contains("not-authorized"), "{}", end.to_xml(""));
    }
}

#[tokio::test(start_paused = true)]
async fn an_archive_is_thinned_from_its_beginning() {
    let mut world = World::new();
    let config = "[archive]\nmessages_per_account = 100\n";
    let node = world.server_with(DOMAIN, &Options { config: config.into() }).unwrap();
    let romeo = jid("romeo@verona.example").to_bare();
    world.account(&romeo.clone().into()).await.unwrap();
    let positions = archive(&node, &romeo, 0..1200).await;
    node.tidy_archives().await.unwrap();
    assert_eq!(archived(&node, &romeo).await, positions[1100..]);
}

/// Puts a message for each time into an archive, and has all of them indexed.
async fn archive(node: &Node, owner: &BareJid, times: std::ops::Range<u64>) -> Vec<Position> {
    let mut writes = Writes::new();
    let mut positions = Vec::new();
    for time in times {
        let entry = Entry {
            direction: Direction::Received,
            peer: "juliet@verona.example".into(),
            time,
            marks: Marks::ARCHIVED,
            payload: "<message/>".into(),
        };
        positions.push(writes.append(owner, node.storage.slot(), entry));
    }
    node.storage.submit(writes);
    // The index follows in steps of some thousand positions.
    for _ in 0..5000 {
        drop(node.storage.slot());
    }
    for _ in 0..3 {
        directory::set_standing(&node.storage, owner, directory::Standing::Active, node.clock.now()).await.unwrap();
    }
    positions
}

async fn archived(node: &Node, owner: &BareJid) -> Vec<Position> {
    let owner = owner.clone();
    let all = node.storage.read(move |view| view.archived(&owner, &Range::default(), End::Oldest, 10_000));
    all.await.unwrap().entries.iter().map(|stored| stored.position).collect()
}

/// Two domains of one server.
fn two_domains(of_verona: &str, of_archives: &str) -> Options {
    let config = format!(
        "[[domains]]\nname = \"verona.example\"\n{of_verona}\n[[domains]]\nname = \"mantua.example\"\n\
         [archive]\n{of_archives}\n"
    );
    Options { config }
}

#[tokio::test(start_paused = true)]
async fn each_domain_keeps_its_archives_as_long_as_it_likes() {
    let mut world = World::new();
    let node = world.server_with(DOMAIN, &two_domains("", "")).unwrap();
    let (romeo, tybalt) = (jid("romeo@verona.example").to_bare(), jid("tybalt@mantua.example").to_bare());
    for owner in [&romeo, &tybalt] {
        node.storage.create(owner, Writes::new()).await.unwrap();
    }
    let day = 24 * 3600 * 1000;
    let now = u64::try_from(node.clock.now().unix_ms()).unwrap();
    let old = now - 2 * day..now - 2 * day + 600;
    let (of_romeo, of_tybalt) = (archive(&node, &romeo, old.clone()).await, archive(&node, &tybalt, old).await);
    let young = archive(&node, &romeo, now - 10..now).await;
    let all = || of_romeo.iter().chain(&young).copied().collect::<Vec<_>>();
    node.tidy_archives().await.unwrap();
    assert_eq!((archived(&node, &romeo).await, archived(&node, &tybalt).await), (all(), of_tybalt.clone()));

    // What was set for all does not hold for a domain that has its own.
    world.reconfigure(DOMAIN, &two_domains("archive_retention = \"0s\"", "retention = \"3d\"")).unwrap();
    node.tidy_archives().await.unwrap();
    assert_eq!((archived(&node, &romeo).await, archived(&node, &tybalt).await), (all(), of_tybalt.clone()));
    world.reconfigure(DOMAIN, &two_domains("archive_retention = \"1d\"", "")).unwrap();
    node.tidy_archives().await.unwrap();
    assert_eq!((archived(&node, &romeo).await, archived(&node, &tybalt).await), (young.clone(), of_tybalt.clone()));

    let few = two_domains("archive_messages_per_account = 4", "messages_per_account = 200");
    world.reconfigure(DOMAIN, &few).unwrap();
    node.tidy_archives().await.unwrap();
    assert_eq!(archived(&node, &romeo).await, young[6..]);
    assert_eq!(archived(&node, &tybalt).await, of_tybalt[400..]);
}

#[tokio::test(start_paused = true)]
async fn rooms_keep_their_archives_as_long_as_the_operator_says() {
    let mut world = World::new();
    let rooms = |of_rooms: &str| Options {
        config: format!(
            "[services]\nrooms = [\"rooms.verona.example\"]\n[rooms]\n{of_rooms}[archive]\nretention = \"1s\"\n"
        ),
    };
    let node = world.server_with(DOMAIN, &rooms("")).unwrap();
    let hall = jid("hall@rooms.verona.example").to_bare();
    node.storage.create(&hall, Writes::new()).await.unwrap();
    let now = u64::try_from(node.clock.now().unix_ms()).unwrap();
    let old = now - 2 * 24 * 3600 * 1000;
    let all = [archive(&node, &hall, old..old + 9).await, archive(&node, &hall, now - 10..now).await].concat();
    node.tidy_archives().await.unwrap();
    assert_eq!(archived(&node, &hall).await, all, "what holds for accounts does not hold for rooms");
    world.reconfigure(DOMAIN, &rooms("archive_retention = \"1d\"\n")).unwrap();
    node.tidy_archives().await.unwrap();
    assert_eq!(archived(&node, &hall).await, all[9..]);
    world.reconfigure(DOMAIN, &rooms("archive_messages_per_room = 4\n")).unwrap();
    node.tidy_archives().await.unwrap();
    assert_eq!(archived(&node, &hall).await, all[15..]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_looked_at_as_soon_as_it_is_changed() {
    let mut world = World::new();
    let node = world.server_with(DOMAIN, &two_domains("", "")).unwrap();
    let romeo = jid("romeo@verona.example").to_bare();
    node.storage.create(&romeo, Writes::new()).await.unwrap();
    archive(&node, &romeo, 1..20).await;
    let tidying = tokio::spawn(Arc::clone(&node).tidy_archive());
    world.settle().await;
    assert_eq!(archived(&node, &romeo).await.len(), 19);
    world.reconfigure(DOMAIN, &two_domains("archive_retention = \"1d\"", "")).unwrap();
    world.settle().await;
    assert_eq!(archived(&node, &romeo).await, []);
    tidying.abort();
}

#[tokio::test(start_paused = true)]
async fn a_domain_may_have_no_archive_where_another_has() {
    let mut world = World::new();
    let balcony = jid("juliet@verona.example/balcony");
    world.server_with(DOMAIN, &two_domains("archive_enabled = false", "")).unwrap();
    let mut juliet = world.login(&balcony).await.unwrap();
    let ask = async |world: &World, juliet: &mut Client, expected: bool| {
        let feature = "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
        let prefs = "<iq type='get' id='2'><prefs xmlns='urn:xmpp:mam:2'/></iq>";
        let message = "<message to='juliet@verona.example/balcony' type='chat'><body>hi</body></message>";
        for request in [feature, prefs, message, "<iq type='set' id='3'><query xmlns='urn:xmpp:mam:2'/></iq>"] {
            juliet.send(request).await;
        }
        let all = received(world, juliet).await;
        assert_eq!(all.contains("var='urn:xmpp:mam:2'"), expected, "{all}");
        assert_eq!(all.contains("<always/>"), expected, "{all}");
        assert_eq!(all.contains("stanza-id"), expected, "{all}");
        assert_eq!(all.contains("<fin "), expected, "{all}");
    };
    ask(&world, &mut juliet, false).await;
    world.reconfigure(DOMAIN, &two_domains("archive_enabled = true", "enabled = false")).unwrap();
    ask(&world, &mut juliet, true).await;
    world.reconfigure(DOMAIN, &two_domains("", "enabled = false")).unwrap();
    ask(&world, &mut juliet, false).await;
}

// Proves: XEP-0059 §2.4, XEP-0313 §3.2, §4.1.3, §4.3.2
#[tokio::test(start_paused = true)]
async fn the_id_of_a_message_that_is_gone_is_unknown() {
    let mut world = World::new();
    let node = world.server_with(DOMAIN, &Options { config: "[archive]\nretention = \"1d\"\n".into() }).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        romeo.send("<message to='juliet@verona.example/balcony' type='chat'><body>hi</body></message>").await;
        let message = juliet.next().await.unwrap();
        let id = message.child("stanza-id", "urn:xmpp:sid:0").and_then(|it| it.attribute("id")).unwrap();
        ids.push(id.to_owned());
        world.clock.advance(Duration::from_secs(20 * 3600));
    }
    let page = |end: &str, id: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'><{end}>{id}</{end}></set>");
    let field = |var: &str, id: &str| {
        format!("<x xmlns='jabber:x:data' type='submit'><field var='{var}'><value>{id}</value></field></x>")
    };
    let questions = |id: &str| {
        let fields = ["before-id", "after-id", "ids"].map(|var| field(var, id));
        ["before", "after"].map(|end| page(end, id)).into_iter().chain(fields).collect::<Vec<_>>()
    };
    for gone in [false, true] {
        if gone {
            node.tidy_archives().await.unwrap();
        }
        for (id, expected) in [(&ids[0], !gone), (&ids[1], true)] {
            for question in questions(id) {
                juliet
                    .send(&format!("<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2'>{question}</query></iq>"))
                    .await;
                let answer = received(&world, &mut juliet).await;
                assert_eq!(answer.contains("<fin "), expected, "{question}: {answer}");
                assert_eq!(answer.contains("item-not-found"), !expected, "{question}: {answer}");
            }
        }
    }
}

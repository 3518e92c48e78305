//! The service with its rooms, on whole servers: what is on disk before it is told, what leaves memory, who is gone.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::xep_0313_archive::api::{Asked, Reader};
use super::super::Rooms;
use super::super::kept::Listed;
use crate::hooks::Verb;
use crate::jid::{BareJid, Jid};
use crate::stanza::CLIENT_NS;
use crate::storage::{Map, Stepper, Storage, Writes};
use crate::testing::{Client, Options, World, writing};
use crate::xml::Element;

const ROOM: &str = "square@rooms.verona.example";

fn options(more: &str) -> Options {
    Options { config: format!("[services]\nrooms = [\"rooms.verona.example\"]\n[rooms]\npersistent = true\n{more}") }
}

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

async fn enter(client: &mut Client, nick: &str) {
    client.send(&format!("<presence to='{ROOM}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")).await;
}

/// Accepts what holds by default.
async fn accept(client: &mut Client) {
    let form = "<x xmlns='jabber:x:data' type='submit'/>";
    let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
    client.send(&format!("<iq type='set' id='accept' to='{ROOM}'>{query}</iq>")).await;
}

async fn say(client: &mut Client, text: &str) {
    client.send(&format!("<message type='groupchat' to='{ROOM}'><body>{text}</body></message>")).await;
}

/// What has come, by name and text.
fn heard(client: &mut Client) -> Vec<String> {
    let all = std::iter::from_fn(|| client.received());
    all.map(|it| {
        let body = it.child("body", CLIENT_NS).map(Element::text).unwrap_or_default();
        let kind = it.attribute("type").unwrap_or_default();
        format!("{} {kind} {body}", it.name())
    })
    .collect()
}

fn rooms(world: &mut World) -> Arc<Rooms> {
    Arc::clone(&world.server("verona.example").unwrap().rooms[0])
}

// Proves: XEP-0045 §7.1
#[tokio::test(start_paused = true)]
async fn nobody_is_told_what_is_not_durable() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &options(""), storage).unwrap();
    let (mut romeo, mut juliet) = writing(&mut stepper, async {
        let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
        let juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
        enter(&mut romeo, "Romeo").await;
        accept(&mut romeo).await;
        world.settle().await;
        (romeo, juliet)
    })
    .await;
    assert_eq!(heard(&mut romeo), ["presence  ", "message groupchat ", "iq result "]);
    say(&mut romeo, "one").await;
    world.settle().await;
    assert_eq!(heard(&mut romeo), [""; 0], "it is not on disk yet");
    // Whoever enters now has it once, in its place.
    enter(&mut juliet, "Juliet").await;
    world.settle().await;
    assert_eq!((heard(&mut romeo), heard(&mut juliet)), (Vec::new(), Vec::new()), "what is behind it waits as well");
    stepper.step();
    world.settle().await;
    assert_eq!(heard(&mut romeo), ["message groupchat one", "presence  "]);
    let entered = ["presence  ", "presence  ", "message groupchat one", "message groupchat "];
    assert_eq!(heard(&mut juliet), entered);
    // What need not be stored need not wait.
    juliet.send(&format!("<presence to='{ROOM}/Juliet'><show>away</show></presence>")).await;
    world.settle().await;
    assert_eq!((heard(&mut romeo).len(), heard(&mut juliet).len()), (1, 1));
    // What a crash forgets nobody has seen.
    say(&mut romeo, "two").await;
    world.settle().await;
    assert_eq!((heard(&mut romeo).len(), heard(&mut juliet).len()), (0, 0));
    let (storage, mut stepper) = Storage::reopen_stepped(stepper.crash()).unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &options(""), storage).unwrap();
    let mut juliet = writing(&mut stepper, async {
        let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
        enter(&mut juliet, "Juliet").await;
        world.settle().await;
        juliet
    })
    .await;
    assert_eq!(heard(&mut juliet), ["presence  ", "message groupchat one", "message groupchat "]);
}

const INVITATION: &str = "<message to='square@rooms.verona.example'><x xmlns='http://jabber.org/protocol/muc#user'>\
                          <invite to='nurse@verona.example'/></x></message>";

/// What the client has been told of its stanzas: so many of them are in safe hands.
fn told(client: &mut Client) -> Option<String> {
    let answers = std::iter::from_fn(|| client.received()).filter(|it| it.name() == "a");
    answers.last().and_then(|it| it.attribute("h").map(str::to_owned))
}

/// Storage writes until the client is told this, and no more; then the server ends. Gives what is left.
async fn crash_once_told(mut stepper: Stepper, world: World, client: &mut Client, count: &str) -> Storage {
    let mut is_told = false;
    for _ in 0..10 {
        stepper.step();
        world.settle().await;
        is_told = told(client).as_deref() == Some(count);
        if is_told {
            break;
        }
    }
    assert!(is_told, "{count}");
    Storage::reopen_stepped(stepper.crash()).unwrap().0
}

async fn has_log(storage: &Storage, owner: &str, text: &str) -> bool {
    let page = storage.page(&BareJid::parse(owner).unwrap(), None, 10).await.unwrap();
    page.entries.iter().any(|stored| stored.entry.payload.contains(text))
}

// Proves: XEP-0198 §4
#[tokio::test(start_paused = true)]
async fn what_is_said_to_one_person_is_in_safe_hands_once_that_is_said() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &options(""), storage).unwrap();
    let (mut romeo, mut juliet) = writing(&mut stepper, async {
        world.account(&jid("nurse@verona.example")).await.unwrap();
        let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
        let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
        enter(&mut romeo, "Romeo").await;
        accept(&mut romeo).await;
        enter(&mut juliet, "Juliet").await;
        world.settle().await;
        (romeo, juliet)
    })
    .await;
    heard(&mut juliet);
    romeo.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
    say(&mut romeo, "one").await;
    let letter = format!("<message type='chat' to='{ROOM}/Juliet'><body>two</body></message>");
    romeo.send(&format!("{letter}{INVITATION}<r xmlns='urn:xmpp:sm:3'/>")).await;
    world.settle().await;
    assert_eq!(heard(&mut juliet), ["message chat two"], "it does not wait behind what is for everybody");
    let storage = crash_once_told(stepper, world, &mut romeo, "3").await;
    assert!(has_log(&storage, "juliet@verona.example", "two").await);
    assert!(has_log(&storage, "nurse@verona.example", "invite").await);
}

// Proves: XEP-0198 §4
#[tokio::test(start_paused = true)]
async fn an_invitation_to_a_room_that_is_not_in_memory_waits_with_its_sender() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &options(""), storage.clone()).unwrap();
    let mut romeo = writing(&mut stepper, async {
        world.account(&jid("nurse@verona.example")).await.unwrap();
        let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
        enter(&mut romeo, "Romeo").await;
        accept(&mut romeo).await;
        romeo.send(&format!("<presence type='unavailable' to='{ROOM}/Romeo'/>")).await;
        world.settle().await;
        romeo
    })
    .await;
    let rooms = rooms(&mut world);
    world.clock.advance(Duration::from_secs(300));
    rooms.look();
    assert_eq!(rooms.places().len(), 0);
    // Something is on its way to the disk, and the room is read behind it.
    let mut writes = Writes::new();
    Map::<u8>::new("other").put(&mut writes, &BareJid::parse("nurse@verona.example").unwrap(), "x", &1).unwrap();
    storage.submit(writes);
    romeo.send(&format!("<enable xmlns='urn:xmpp:sm:3'/>{INVITATION}<r xmlns='urn:xmpp:sm:3'/>")).await;
    world.settle().await;
    assert_eq!(told(&mut romeo), None, "only its room knows of it");
    let storage = crash_once_told(stepper, world, &mut romeo, "1").await;
    assert!(has_log(&storage, "nurse@verona.example", "invite").await);
}

#[tokio::test(start_paused = true)]
async fn how_much_a_reader_can_take_is_asked_once_it_is_known_what_he_gets() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &options(""), storage.clone()).unwrap();
    let (rooms, room) = (rooms(&mut world), jid(ROOM).to_bare());
    drop(storage.create(&room, Writes::new()));
    let asked = Asked::read(Verb::Set, &Element::new("query", "urn:xmpp:mam:2")).unwrap().unwrap();
    let is_asked = Cell::new(false);
    let space = || {
        is_asked.set(true);
        1000
    };
    let reader = Reader { sees: true, space };
    let mut reading = pin!(rooms.archive.of_room(&room, &asked, reader, |_| Element::new("x", "urn:example")));
    tokio::select! {
        biased;
        _ = &mut reading => panic!("what is not durable is not shown"),
        () = world.settle() => {}
    }
    assert!(!is_asked.get());
    assert!(writing(&mut stepper, reading).await.is_ok() && is_asked.get());
}

#[tokio::test(start_paused = true)]
async fn a_room_in_which_nobody_is_leaves_memory_and_comes_back() {
    let mut world = World::new();
    world.server_with("verona.example", &options("")).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    enter(&mut romeo, "Romeo").await;
    accept(&mut romeo).await;
    say(&mut romeo, "one").await;
    world.settle().await;
    let rooms = rooms(&mut world);
    world.clock.advance(Duration::from_secs(600));
    rooms.look();
    assert_eq!(rooms.places().len(), 1, "somebody is there");
    romeo.send(&format!("<presence type='unavailable' to='{ROOM}/Romeo'/>")).await;
    world.settle().await;
    rooms.look();
    assert_eq!(rooms.places().len(), 1, "it was needed a moment ago");
    world.clock.advance(Duration::from_secs(300));
    rooms.look();
    assert_eq!(rooms.places().len(), 0);
    heard(&mut romeo);
    // What comes meanwhile waits for it, in its order.
    enter(&mut romeo, "Romeo").await;
    say(&mut romeo, "two").await;
    world.settle().await;
    let all = ["presence  ", "message groupchat one", "message groupchat ", "message groupchat two"];
    assert_eq!(heard(&mut romeo), all);
}

// Proves: XEP-0486#retrieve-vcard
#[tokio::test(start_paused = true)]
async fn whoever_asks_for_the_picture_of_a_room_that_has_just_gone_is_answered() {
    let mut world = World::new();
    world.server_with("verona.example", &options("")).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let listed = Listed {
        title: String::new(),
        public: true,
        description: String::new(),
        language: String::new(),
        open: true,
        semi_anonymous: true,
        stored: false,
    };
    rooms(&mut world).list(&jid(ROOM).to_bare(), Some(listed));
    romeo.send(&format!("<iq type='get' id='1' to='{ROOM}'><vCard xmlns='vcard-temp'/></iq>")).await;
    world.settle().await;
    assert_eq!(heard(&mut romeo), ["iq error "]);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_sets_holds_for_rooms_that_are_there() {
    let mut world = World::new();
    world.server_with("verona.example", &options("messages_per_second = 0")).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    enter(&mut romeo, "Romeo").await;
    accept(&mut romeo).await;
    world.settle().await;
    heard(&mut romeo);
    for (more, answers) in [("0", ["message groupchat x"; 2]), ("1", ["message groupchat x", "message error "])] {
        world
            .reconfigure("verona.example", &options(&format!("messages_per_second = {more}\nburst = \"1s\"")))
            .unwrap();
        rooms(&mut world).look();
        for _ in 0..2 {
            say(&mut romeo, "x").await;
        }
        world.settle().await;
        assert_eq!(heard(&mut romeo), answers, "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_long_ago_is_not_shown_to_who_enters() {
    let mut world = World::new();
    world.server_with("verona.example", &options("archive_retention = \"1d\"")).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    enter(&mut romeo, "Romeo").await;
    accept(&mut romeo).await;
    say(&mut romeo, "one").await;
    world.settle().await;
    world.clock.advance(Duration::from_secs(20 * 3600));
    say(&mut romeo, "two").await;
    world.settle().await;
    world.clock.advance(Duration::from_secs(5 * 3600));
    rooms(&mut world).look();
    enter(&mut juliet, "Juliet").await;
    world.settle().await;
    let entered = ["presence  ", "presence  ", "message groupchat two", "message groupchat "];
    assert_eq!(heard(&mut juliet), entered);
}

// Proves: XEP-0045 §18.1.2
#[tokio::test(start_paused = true)]
async fn who_is_gone_without_a_word_is_found_out() {
    let mut world = World::new();
    let component = "[[components]]\nname = \"irc.verona.example\"\nsecret = \"sesame\"";
    world.server_with("verona.example", &options(component)).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    enter(&mut romeo, "Romeo").await;
    accept(&mut romeo).await;
    let mut irc = world.component("irc.verona.example").await.unwrap();
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    irc.send(&format!("<presence from='tybalt@irc.verona.example/x' to='{ROOM}/Tybalt'>{x}</presence>")).await;
    world.settle().await;
    irc.vanish();
    world.settle().await;
    heard(&mut romeo);
    let rooms = rooms(&mut world);
    world.clock.advance(Duration::from_secs(899));
    rooms.look();
    world.settle().await;
    assert_eq!(heard(&mut romeo), [""; 0]);
    world.clock.advance(Duration::from_secs(1));
    rooms.look();
    world.settle().await;
    assert_eq!(heard(&mut romeo), ["presence unavailable "], "and he is not asked himself");
    world.clock.advance(Duration::from_secs(900));
    rooms.look();
    world.settle().await;
    assert_eq!(heard(&mut romeo), [""; 0]);
}

// Proves: XEP-0045 §14.6
#[tokio::test(start_paused = true)]
async fn there_are_as_many_rooms_as_the_operator_wants() {
    let mut world = World::new();
    world.server_with("verona.example", &options("rooms = 1\n")).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    enter(&mut romeo, "Romeo").await;
    accept(&mut romeo).await;
    world.settle().await;
    heard(&mut romeo);
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    romeo.send(&format!("<presence to='hall@rooms.verona.example/Romeo'>{x}</presence>")).await;
    world.settle().await;
    assert_eq!(heard(&mut romeo), ["presence error "]);
}

//! What somebody of another server, who may not make rooms, learns of a room that is hidden and for its members.

use crate::jid::Jid;
use crate::stanza::CLIENT_NS;
use crate::testing::{Client, Options, World};

const ROOM: &str = "garden@rooms.verona.example";
const CONFIG: &str = "[services]\nrooms = [\"rooms.verona.example\"]\n[rooms]\ncreate = \"local\"\npersistent = true\n";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// A server with a room that everybody may find and, if it `has` one, one that nobody may; and somebody elsewhere.
async fn stage(has: bool) -> (World, Client, Client) {
    let mut world = World::new();
    world.server_with("verona.example", &Options { config: CONFIG.into() }).unwrap();
    let mut romeo = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let rooms = [("square@rooms.verona.example", "1", "0"), (ROOM, "0", "1")];
    for (room, public, members_only) in rooms.into_iter().take(1 + usize::from(has)) {
        romeo
            .send(&format!("<presence to='{room}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))
            .await;
        let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
        let fields = [
            field("FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig"),
            field("muc#roomconfig_publicroom", public),
            field("muc#roomconfig_membersonly", members_only),
        ];
        let form = format!("<x xmlns='jabber:x:data' type='submit'>{}</x>", fields.concat());
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
        romeo.send(&format!("<iq type='set' id='made' to='{room}'>{query}</iq>")).await;
        world.settle().await;
        assert_eq!(romeo.pick(|it| it.name() == "iq").unwrap().attribute("type"), Some("result"));
    }
    let tybalt = world.login(&jid("tybalt@mantua.example/hall")).await.unwrap();
    world.settle().await;
    (world, romeo, tybalt)
}

async fn answer(world: &World, client: &mut Client, stanza: &str) -> String {
    client.send(stanza).await;
    world.settle().await;
    std::iter::from_fn(|| client.received()).map(|it| it.to_xml(CLIENT_NS)).collect()
}

/// XEP-0045 §6.2, §6.3, XEP-0433.
#[tokio::test(start_paused = true)]
async fn what_looks_for_rooms_does_not_find_the_hidden_ones() {
    const ITEMS: &str = "http://jabber.org/protocol/disco#items";
    const RSM: &str = "http://jabber.org/protocol/rsm";
    let search = |text: &str| {
        format!(
            "<search xmlns='urn:xmpp:channel-search:0:search'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE'><value>urn:xmpp:channel-search:0:search-params</value></field>{text}</x></search>"
        )
    };
    let page = |inner: &str| format!("<query xmlns='{ITEMS}'><set xmlns='{RSM}'>{inner}</set></query>");
    let questions = [
        "<query xmlns='http://jabber.org/protocol/disco#info'/>".to_owned(),
        format!("<query xmlns='{ITEMS}'/>"),
        page("<max>0</max>"),
        page("<max>1</max>"),
        page("<max>10</max><before/>"),
        page(&format!("<max>10</max><after>{ROOM}</after>")),
        page(&format!("<max>10</max><before>{ROOM}</before>")),
        page("<max>10</max><index>1</index>"),
        search("<field var='all'><value>true</value></field>"),
        search("<field var='q'><value>garden</value></field>"),
    ];
    let ((one, _romeo, mut tybalt), (other, _other_romeo, mut stranger)) = (stage(true).await, stage(false).await);
    let mut found = 0;
    for to in ["rooms.verona.example", "verona.example"] {
        for question in &questions {
            let stanza = format!("<iq type='get' id='q' to='{to}'>{question}</iq>");
            let told = answer(&one, &mut tybalt, &stanza).await;
            assert!(!told.is_empty());
            found += usize::from(told.contains("square@rooms.verona.example"));
            // What was not found is named where the question has named it.
            assert_eq!(told, answer(&other, &mut stranger, &stanza).await, "{stanza}");
        }
    }
    assert!(found >= 4, "the room that may be found is, {found} times");
}

/// Whoever knows its address is told that he may not come in (§7.2.6), and of no room that he may not make it (§10.1.1): the two
/// cannot look the same. Of what goes on inside he hears nothing.
#[tokio::test(start_paused = true)]
async fn who_asks_for_a_hidden_room_by_its_address_is_told_what_the_specification_wants_and_no_more() {
    let ((one, mut romeo, mut tybalt), (other, _other, mut stranger)) = (stage(true).await, stage(false).await);
    romeo.send(&format!("<message type='groupchat' to='{ROOM}'><subject>a secret</subject></message>")).await;
    one.settle().await;
    while romeo.received().is_some() {}
    let entry = format!("<presence id='e' to='{ROOM}/Tybalt'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    assert!(answer(&one, &mut tybalt, &entry).await.contains("<registration-required "));
    assert!(answer(&other, &mut stranger, &entry).await.contains("<not-allowed "));
    let stanzas = [
        format!("<iq type='get' id='1' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"),
        format!("<iq type='get' id='2' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"),
        format!("<iq type='get' id='3' to='{ROOM}/Romeo'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<iq type='set' id='4' to='{ROOM}'><query xmlns='urn:xmpp:mam:2'/></iq>"),
        format!("<message type='groupchat' id='5' to='{ROOM}'><body>x</body></message>"),
        format!("<message type='chat' id='6' to='{ROOM}/Romeo'><body>x</body></message>"),
        format!("<message type='chat' id='7' to='{ROOM}/Nobody'><body>x</body></message>"),
        format!("<presence type='unavailable' to='{ROOM}/Tybalt'/>"),
    ];
    for stanza in &stanzas {
        let told = answer(&one, &mut tybalt, stanza).await;
        for secret in ["a secret", "romeo@", "muc#roominfo_occupants", "/Romeo</"] {
            assert!(!told.contains(secret), "{stanza}: {told}");
        }
    }
    // Who is inside is not told either: both nicks are answered alike.
    let [there, not_there] =
        ["Romeo", "Nobody"].map(|nick| format!("<message type='chat' id='8' to='{ROOM}/{nick}'/>"));
    let told = answer(&one, &mut tybalt, &there).await;
    assert!(told.contains("<not-acceptable "), "{told}");
    assert_eq!(told.replace("/Romeo", "/Nobody"), answer(&one, &mut tybalt, &not_there).await);
    assert_eq!(romeo.received(), None, "and nobody inside hears of him");
}

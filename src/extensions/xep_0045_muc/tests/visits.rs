//! People come, change, and go.

use super::super::association::{Affiliation, Role};
use super::super::rate::Rate;
use super::super::room_config::{Anonymity, Roles, RoomConfig};
use super::stage::{BARD, ROOM, Stage, Told, condition, heard, session};

/// What stanzas somebody is told, by their beginning and what is left of their addresses.
fn names(told: &[Told], whom: &str) -> Vec<String> {
    let own = told.iter().filter(|told| told.to == whom);
    own.map(|told| {
        let (name, rest) = told.xml[1..].split_once(' ').unwrap();
        let from = rest.split_once("from='").unwrap().1.split('\'').next().unwrap();
        format!("{name} {}", from.rsplit('/').next().unwrap())
    })
    .collect()
}

// Proves: XEP-0045 §7.1
#[test]
fn events_have_their_order() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    stage.play(
        "hag",
        &format!("<message type='groupchat' to='{ROOM}'><body>When shall we three meet again?</body></message>"),
    );
    let told = stage.enter("crone");
    let room = format!("message {ROOM}");
    assert_eq!(
        names(&told, &session("crone")),
        ["presence bard", "presence hag", "presence crone", "message hag", &room]
    );
    assert_eq!(names(&told, &session("hag")), ["presence crone"]);
}

// Proves: XEP-0045 §7.2.4, §7.2.3
#[test]
fn addresses_are_for_those_who_may_see_them() {
    for (anonymity, is_seen) in [(Anonymity::SemiAnonymous, false), (Anonymity::NonAnonymous, true)] {
        let mut stage = Stage::new(RoomConfig { anonymity, ..RoomConfig::default() });
        stage.enter("hag");
        let told = stage.enter("crone");
        let jid = "jid='crone@shakespeare.lit/pda'";
        assert!(heard(&told, BARD, &[jid]).is_some(), "moderators always do");
        assert_eq!(heard(&told, "hag", &[jid]).is_some(), is_seen);
        assert_eq!(heard(&told, "crone", &["jid='hag@shakespeare.lit/pda'"]).is_some(), is_seen);
        assert_eq!(heard(&told, "crone", &["code='110'", "code='100'"]).is_some(), is_seen);
        // Whoever becomes a moderator sees those who come from then on.
        stage.affiliate("hag", Affiliation::Admin);
        stage.play("hag", &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
        stage.enter("hag");
        assert!(heard(&stage.enter("third"), "hag", &["jid='third@shakespeare.lit/pda'"]).is_some());
    }
}

// Proves: XEP-0045 §7.2.8
#[test]
fn sessions_of_one_user_may_have_one_nick_or_several() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    let (phone, x) = ("hag@shakespeare.lit/phone", "<x xmlns='http://jabber.org/protocol/muc'/>");
    stage.play_from(phone, &format!("<presence to='{ROOM}/hag'>{x}</presence>"));
    assert_eq!(stage.room.occupants.len(), 2);
    // One of the two is called something else from now on, and the other stays who he is.
    let told = stage.play_from(phone, &format!("<presence to='{ROOM}/witch'/>"));
    assert_eq!(names(&told, phone), ["presence hag", "presence witch"]);
    assert!(told[0].xml.contains("nick='witch'") && told[0].xml.contains("code='303'"), "{}", told[0].xml);
    assert_eq!(names(&told, &session(BARD)), ["presence hag", "presence witch"]);
    assert!(heard(&told, BARD, &["type='unavailable'"]).is_none(), "hag is still here");
    assert_eq!(stage.room.occupants.len(), 3);
    // They meet again.
    let told = stage.play_from(phone, &format!("<presence to='{ROOM}/hag'/>"));
    assert!(heard(&told, BARD, &["/witch'", "type='unavailable'", "nick='hag'"]).is_some(), "{told:?}");
    assert_eq!(stage.room.occupants.len(), 2);
    // Nobody else is called so.
    let refused = stage.play("crone", &format!("<presence to='{ROOM}/hag'>{x}</presence>"));
    assert_eq!(condition(&refused[0].xml), "conflict");
    let told = stage.play_from(phone, &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
    assert!(heard(&told, BARD, &["type='unavailable'"]).is_none());
    let told = stage.play("hag", &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
    assert!(heard(&told, BARD, &["type='unavailable'"]).is_some());
}

// Proves: XEP-0045 §7.2.2, §5.1.3
#[test]
fn presence_is_told_of_those_of_whom_the_room_wants_it() {
    let shown = Roles { visitor: false, ..Roles::ALL };
    let config = RoomConfig { moderated: true, presence_broadcast: shown, ..RoomConfig::default() };
    let mut stage = Stage::new(config);
    let told = stage.enter("hag");
    assert!(heard(&told, "hag", &["code='110'"]).is_some(), "he knows that he is here");
    assert_eq!(names(&told, &session(BARD)), [""; 0]);
    assert!(heard(&stage.enter("crone"), "crone", &["/hag'"]).is_none());
    stage.change(BARD, "<item nick='hag' role='participant'/>").0.unwrap();
    assert_eq!(stage.role("hag"), Role::Participant);
    let told = stage.change(BARD, "<item nick='hag' role='visitor'/>").1;
    assert!(heard(&told, "crone", &["/hag'", "type='unavailable'", "role='visitor'"]).is_some(), "{told:?}");
    assert!(heard(&told, "hag", &["code='110'", "role='visitor'"]).is_some());
    let told = stage.play("hag", &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
    assert_eq!(names(&told, &session("crone")), [""; 0], "nobody saw him");
}

#[test]
fn nobody_is_faster_by_showing_something_or_coming_again() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.room.bounds.messages = Rate { per_second: 1, burst: 4 };
    stage.enter("hag");
    let say = format!("<message type='groupchat' to='{ROOM}'><body>x</body></message>");
    let show = |nick: &str| format!("<presence to='{ROOM}/{nick}'><show>away</show></presence>");
    assert!(heard(&stage.play("hag", &show("hag")), BARD, &["<show>away</show>"]).is_some());
    assert!(heard(&stage.play("hag", &show("witch")), BARD, &["code='303'"]).is_some());
    assert!(heard(&stage.play("hag", &say), BARD, &["<body>x</body>"]).is_some());
    for much in [&say, &show("witch"), &show("hag")] {
        let told = stage.play("hag", much);
        assert_eq!((told.len(), condition(&told[0].xml)), (1, "policy-violation".to_owned()), "{much}");
        assert!(told[0].xml.contains("<error type='wait'>"));
    }
    assert!(heard(&stage.play("hag", &leave("witch")), BARD, &["type='unavailable'"]).is_some(), "he may go");
    assert_eq!(condition(&stage.enter("hag")[0].xml), "policy-violation");
    stage.seconds += 1;
    assert!(heard(&stage.enter("hag"), BARD, &["/hag'"]).is_some());
    assert_eq!(condition(&stage.play("hag", &say)[0].xml), "policy-violation");
}

// Proves: XEP-0045 §7.14
#[test]
fn the_last_one_ends_a_room_that_is_temporary() {
    for persistent in [false, true] {
        let mut stage = Stage::new(RoomConfig { persistent, ..RoomConfig::default() });
        stage.enter("hag");
        stage.play(BARD, &format!("<presence type='unavailable' to='{ROOM}/{BARD}'/>"));
        assert!(!stage.is_closed);
        stage.play("hag", &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
        assert_eq!(stage.is_closed, !persistent);
    }
}

// Proves: XEP-0045 §11.1, §18.1.2
#[test]
fn whoever_an_error_says_to_be_gone_is_put_out_and_told() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    let error = |condition: &str| {
        format!(
            "<message type='error' to='{ROOM}/bard'><error type='cancel'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    let told = stage.play("hag", &error("undefined-condition"));
    assert_eq!(names(&told, &session(BARD)), ["message hag"], "whoever has written to him learns it");
    let told = stage.play("hag", &error("recipient-unavailable"));
    assert!(heard(&told, "hag", &["code='110'", "code='333'"]).is_some(), "{told:?}");
    assert!(heard(&told, BARD, &["type='unavailable'", "code='333'"]).is_some());
    assert_eq!(stage.play("hag", &error("gone")), [], "he is not here any more");
}

// Proves: XEP-0045 §17.4
#[test]
fn whoever_asks_somebody_who_goes_under_another_name_is_told() {
    for meets_himself in [false, true] {
        let mut stage = Stage::new(RoomConfig::default());
        stage.enter("hag");
        if meets_himself {
            let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
            stage.play_from("hag@shakespeare.lit/phone", &format!("<presence to='{ROOM}/witch'>{x}</presence>"));
        }
        let query = "<query xmlns='jabber:iq:version'/>";
        stage.play(BARD, &format!("<iq type='get' id='v' to='{ROOM}/hag'>{query}</iq>"));
        stage.play("hag", &format!("<presence to='{ROOM}/witch'/>"));
        // Somebody else by the name of the one who was asked has not been asked.
        stage.play(
            "crone",
            &format!("<presence to='{ROOM}/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
        );
        assert!(heard(&stage.play("crone", &leave("hag")), BARD, &["<iq"]).is_none());
        stage.play_from("hag@shakespeare.lit/phone", &leave("witch"));
        let told = stage.play("hag", &leave("witch"));
        assert!(heard(&told, BARD, &["type='error' id='v'", "/hag'", "recipient-unavailable"]).is_some(), "{told:?}");
    }
}

fn leave(nick: &str) -> String {
    format!("<presence type='unavailable' to='{ROOM}/{nick}'/>")
}

// Proves: XEP-0045 §17.4
#[test]
fn no_more_than_so_many_questions_are_open() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    let ask = |number: usize| {
        format!("<iq type='get' id='{number}' to='{ROOM}/bard'><query xmlns='jabber:iq:version'/></iq>")
    };
    for number in 0..256 {
        assert_eq!(stage.play("hag", &ask(number)).len(), 1);
    }
    let told = stage.play("hag", &ask(256));
    assert!(heard(&told, "hag", &["type='error' id='0'", "remote-server-timeout"]).is_some(), "{told:?}");
    // Only whoever was asked answers.
    stage.enter("crone");
    let answer = format!("<iq type='result' id='5' to='{ROOM}/hag'/>");
    assert_eq!(stage.play("crone", &answer), []);
    let told = stage.play(BARD, &answer);
    assert!(heard(&told, "hag", &["type='result' id='5'", "from='coven@chat.shakespeare.lit/bard'"]).is_some());
    assert_eq!(stage.play(BARD, &answer), [], "once");
}

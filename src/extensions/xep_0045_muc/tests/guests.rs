//! People ask for something: to come, to speak, to belong (XEP-0045 §7.8, §7.10, §7.12, §7.13, §8.6, §9.9).

use crate::secret::Secret;

use super::super::association::{Affiliation, Role};
use super::super::room_config::{Anonymity, RoomConfig, RoomPassword};
use super::stage::{BARD, ROOM, Stage, Told, condition, form, heard, session, user};

const USER_NS: &str = "http://jabber.org/protocol/muc#user";

fn letter(inside: &str) -> String {
    format!("<message id='m' to='{ROOM}'>{inside}</message>")
}

fn invite(names: &[&str]) -> String {
    let invites: String = names
        .iter()
        .map(|name| {
            format!("<invite to='{}'><reason>Hey</reason><continue thread='t' colour='red'/></invite>", user(name))
        })
        .collect();
    letter(&format!("<x xmlns='{USER_NS}'>{invites}</x>"))
}

fn decline(to: &str) -> String {
    letter(&format!("<x xmlns='{USER_NS}'><decline{to}><reason>Busy</reason></decline></x>"))
}

fn post<'a>(told: &'a [Told], name: &str) -> Option<&'a str> {
    told.iter().find(|told| told.to == user(name).as_str()).map(|told| told.xml.as_str())
}

// Proves: XEP-0045 §7.8.2, §7.9, XEP-0045 §9.5
#[test]
fn an_invitation_goes_through_the_room_and_back() {
    let password = Some(RoomPassword(Secret::new("cauldronburn".to_owned())));
    let mut stage = Stage::new(RoomConfig { password, ..RoomConfig::default() });
    let told = stage.play(BARD, &invite(&["hecate"]));
    assert_eq!(
        post(&told, "hecate").unwrap(),
        format!(
            "<message id='m' from='{ROOM}' to='hecate@shakespeare.lit'><x xmlns='{USER_NS}'>\
             <invite from='bard@shakespeare.lit'><reason>Hey</reason><continue thread='t'/></invite>\
             <password>cauldronburn</password></x></message>"
        )
    );
    // Nobody becomes a member of an open room by it (§9.5).
    assert_eq!(stage.affiliation("hecate"), Affiliation::None);
    let told = stage.play("hecate", &decline(" to='bard@shakespeare.lit'"));
    assert_eq!(
        post(&told, BARD).unwrap(),
        format!(
            "<message id='m' from='{ROOM}' to='bard@shakespeare.lit'><x xmlns='{USER_NS}'>\
             <decline from='hecate@shakespeare.lit'><reason>Busy</reason></decline></x></message>"
        )
    );
    // Once is enough, and whoever was not invited has nothing to decline.
    for name in ["hecate", "paddock"] {
        let told = stage.play(name, &decline(" to='bard@shakespeare.lit'"));
        assert_eq!((told.len(), condition(&told[0].xml)), (1, "item-not-found".to_owned()), "{told:?}");
    }
    // Some do not say whom they mean, or name somebody in the room.
    for to in ["", " to='coven@chat.shakespeare.lit/bard'"] {
        stage.play(BARD, &invite(&["hecate"]));
        assert!(post(&stage.play("hecate", &decline(to)), BARD).is_some(), "{to}");
    }
}

// Proves: XEP-0045 §7.8.2, §9.5
#[test]
fn who_may_invite_to_a_room_for_members() {
    for (invites, affiliation, may) in [
        (true, Affiliation::Member, true),
        (false, Affiliation::Member, false),
        (false, Affiliation::Admin, true),
        (false, Affiliation::Owner, true),
    ] {
        let mut stage = Stage::new(RoomConfig { members_only: true, invites, ..RoomConfig::default() });
        stage.affiliate("hag", affiliation);
        stage.enter("hag");
        let told = stage.play("hag", &invite(&["hecate"]));
        let about = format!("{invites} {affiliation:?}");
        assert_eq!(post(&told, "hecate").is_some(), may, "{about}");
        let expected = if may { Affiliation::Member } else { Affiliation::None };
        assert_eq!(stage.affiliation("hecate"), expected, "{about}");
        if !may {
            assert_eq!(condition(&told[0].xml), "forbidden", "{about}");
        }
    }
}

// Proves: XEP-0045 §7.8.2, §17.2
#[test]
fn invitations_that_make_no_sense() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("cambridge", Affiliation::Outcast);
    let wrong = |stage: &mut Stage, name: &str, xml: &str| {
        let told = stage.play(name, xml);
        assert_eq!(told.len(), 1, "{told:?}");
        condition(&told[0].xml)
    };
    assert_eq!(wrong(&mut stage, "hag", &invite(&["hecate"])), "forbidden");
    assert_eq!(wrong(&mut stage, BARD, &invite(&["hecate", "cambridge"])), "not-allowed");
    assert_eq!(wrong(&mut stage, BARD, &invite(&["hecate"; 21])), "not-acceptable");
    for (x, expected) in [
        ("<invite/>".to_owned(), "bad-request"),
        ("<invite to='@'/>".to_owned(), "jid-malformed"),
        ("<decline to='@'/>".to_owned(), "jid-malformed"),
        (String::new(), "bad-request"),
        (format!("<invite to='a@b.example'><reason>{}</reason></invite>", "x".repeat(1025)), "not-acceptable"),
    ] {
        assert_eq!(wrong(&mut stage, BARD, &letter(&format!("<x xmlns='{USER_NS}'>{x}</x>"))), expected, "{x}");
    }
    assert_eq!(wrong(&mut stage, BARD, &letter("<body>Hi</body>")), "bad-request");
}

fn voice(fields: &[(&str, &[&str])]) -> String {
    let about: &[&str] = &["http://jabber.org/protocol/muc#request"];
    let fields = [&[("FORM_TYPE", about)], fields].concat();
    letter(&form(&fields))
}

// Proves: XEP-0045 §7.13, §8.6
#[test]
fn voice_is_asked_for_and_granted() {
    let mut stage = Stage::new(RoomConfig { moderated: true, ..RoomConfig::default() });
    for name in ["hag", "crone"] {
        stage.enter(name);
    }
    let ask = voice(&[("muc#role", &["participant"])]);
    let told = stage.play("hag", &ask);
    let asked = heard(&told, BARD, &["type='form'"]).unwrap();
    for part in [
        "<message from='coven@chat.shakespeare.lit'>",
        "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field>",
        "<field var='muc#role' type='list-single' label='Role'><value>participant</value>",
        "<field var='muc#jid' type='jid-single' label='Address'><value>hag@shakespeare.lit/pda</value></field>",
        "<field var='muc#roomnick' type='text-single' label='Nick'><value>hag</value></field>",
        "<field var='muc#request_allow' type='boolean' label='Grant voice'><value>0</value></field>",
    ] {
        assert!(asked.contains(part), "{part}\n{asked}");
    }
    assert_eq!(told.len(), 1, "moderators hear it: {told:?}");
    // They are not asked again and again.
    assert_eq!(condition(&stage.play("hag", &ask)[0].xml), "unexpected-request");
    let grant = |allow: &'static str| {
        let allow: &[&str] = match allow {
            "1" => &["1"],
            _ => &["0"],
        };
        voice(&[
            ("muc#role", &["participant"]),
            ("muc#jid", &["hag@shakespeare.lit/pda"]),
            ("muc#roomnick", &["hag"]),
            ("muc#request_allow", allow),
        ])
    };
    assert_eq!(condition(&stage.play("crone", &grant("1"))[0].xml), "forbidden");
    assert!(stage.play(BARD, &grant("0")).is_empty());
    assert_eq!(stage.role("hag"), Role::Visitor);
    let told = stage.play(BARD, &grant("1"));
    assert_eq!(stage.role("hag"), Role::Participant);
    for name in [BARD, "hag", "crone"] {
        assert!(heard(&told, name, &[&format!("from='{ROOM}/hag'"), "role='participant'"]).is_some());
    }
    // Another moderator is late; he who has voice has it.
    assert!(stage.play(BARD, &grant("1")).is_empty());
    assert_eq!(condition(&stage.play("hag", &ask)[0].xml), "unexpected-request");
}

// Proves: XEP-0045 §7.13
#[test]
fn requests_for_voice_that_make_no_sense() {
    let mut stage = Stage::new(RoomConfig { moderated: true, ..RoomConfig::default() });
    stage.enter("hag");
    let ask = voice(&[("muc#role", &["participant"])]);
    for (name, xml, expected) in [
        ("crone", ask.clone(), "not-acceptable"),
        ("hag", voice(&[("muc#role", &["moderator"])]), "bad-request"),
        ("hag", letter(&form(&[("muc#role", &["participant"])])), "bad-request"),
        ("hag", letter("<x xmlns='jabber:x:data' type='form'/>"), "bad-request"),
        (BARD, voice(&[("muc#request_allow", &["1"]), ("muc#roomnick", &["nobody"])]), "item-not-found"),
        (BARD, voice(&[("muc#request_allow", &["1"])]), "bad-request"),
        (BARD, voice(&[("muc#request_allow", &["perhaps"])]), "bad-request"),
    ] {
        let told = stage.play(name, &xml);
        assert_eq!((told.len(), condition(&told[0].xml)), (1, expected.to_owned()), "{xml}");
    }
    assert!(stage.play("hag", &letter("<x xmlns='jabber:x:data' type='cancel'/>")).is_empty());
    stage.play(BARD, &format!("<presence type='unavailable' to='{ROOM}/{BARD}'/>"));
    assert_eq!(condition(&stage.play("hag", &ask)[0].xml), "recipient-unavailable", "nobody could grant it");
}

fn registration(inside: &str) -> String {
    format!("<query xmlns='jabber:iq:register'>{inside}</query>")
}

fn nick(nick: &str) -> String {
    let about: &[&str] = &["http://jabber.org/protocol/muc#register"];
    registration(&form(&[("FORM_TYPE", about), ("muc#register_roomnick", &[nick])]))
}

// Proves: XEP-0045 §7.10, §7.12
#[test]
fn whoever_registers_with_an_open_room_is_a_member() {
    let mut stage = Stage::new(RoomConfig { anonymity: Anonymity::NonAnonymous, ..RoomConfig::default() });
    stage.enter("hag");
    let shown = stage.ask("hag", "get", &registration("")).0.unwrap();
    assert!(shown.contains("<field var='muc#register_roomnick' type='text-single' label='Nick'><required/></field>"));
    let item = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>";
    assert!(stage.ask("hag", "get", item).0.unwrap().contains(item));
    let (done, told) = stage.ask("hag", "set", &nick("thirdwitch"));
    assert!(done.is_ok());
    assert_eq!(stage.affiliation("hag"), Affiliation::Member);
    for name in [BARD, "hag"] {
        assert!(
            heard(&told, name, &["affiliation='member'", "jid='hag@shakespeare.lit/pda'", "role='participant'"])
                .is_some()
        );
    }
    let shown = stage.ask("hag", "get", &registration("")).0.unwrap();
    assert!(shown.contains("<registered/><username>thirdwitch</username>"), "{shown}");
    let identity = "<identity category='conference' type='text' name='thirdwitch'/>";
    assert!(stage.ask("hag", "get", item).0.unwrap().contains(identity));
    // Nobody else has it, and he may have another.
    assert_eq!(stage.ask("crone", "set", &nick("thirdwitch")).0, Err("conflict".to_owned()));
    assert_eq!(stage.ask("crone", "set", &nick(BARD)).0, Err("conflict".to_owned()));
    assert!(stage.ask("hag", "set", &nick("oldhag")).0.is_ok());
    assert!(stage.ask("crone", "set", &nick("thirdwitch")).0.is_ok());
    // And may go again.
    assert!(stage.ask("hag", "set", &registration("<remove/>")).0.is_ok());
    assert_eq!(stage.affiliation("hag"), Affiliation::None);
    assert_eq!(stage.ask("hag", "set", &registration("<remove/>")).0, Err("registration-required".to_owned()));
    // An owner keeps a nick, and stays an owner.
    assert!(stage.ask(BARD, "set", &nick("will")).0.is_ok());
    assert!(stage.ask(BARD, "set", &registration("<remove/>")).0.is_ok());
    assert_eq!((stage.affiliation(BARD), stage.room.reserved_for("will")), (Affiliation::Owner, None));
}

// Proves: XEP-0045 §7.10
#[test]
fn registrations_that_make_no_sense() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("cambridge", Affiliation::Outcast);
    assert_eq!(stage.ask("cambridge", "get", &registration("")).0, Err("not-allowed".to_owned()));
    assert_eq!(stage.ask("cambridge", "set", &nick("x")).0, Err("not-allowed".to_owned()));
    for (inside, expected) in [
        (registration(""), "bad-request"),
        (registration("<username>x</username>"), "bad-request"),
        (registration(&form(&[])), "bad-request"),
        (registration(&form(&[("FORM_TYPE", &["urn:x"]), ("muc#register_roomnick", &["x"])])), "bad-request"),
        (nick("  "), "jid-malformed"),
    ] {
        assert_eq!(stage.ask("hag", "set", &inside).0, Err(expected.to_owned()), "{inside}");
    }
    assert!(stage.ask("hag", "set", &registration("<x xmlns='jabber:x:data' type='cancel'/>")).0.is_ok());
    stage.room.config.registration = false;
    assert_eq!(stage.ask("hag", "get", &registration("")).0, Err("not-allowed".to_owned()));
    assert_eq!(stage.ask("hag", "set", &nick("x")).0, Err("not-allowed".to_owned()));
    // A member has it from somebody else, and may have a nick.
    stage.affiliate("crone", Affiliation::Member);
    assert!(stage.ask("crone", "set", &nick("x")).0.is_ok());
}

// Proves: XEP-0045 §7.10, §9.9
#[test]
fn where_membership_gives_something_admins_decide() {
    for config in [
        RoomConfig { members_only: true, ..RoomConfig::default() },
        RoomConfig { moderated: true, ..RoomConfig::default() },
    ] {
        let mut stage = Stage::new(config);
        stage.affiliate("crone", Affiliation::Admin);
        let (done, told) = stage.ask("hag", "set", &nick("thirdwitch"));
        assert!(done.is_ok() && stage.affiliation("hag") == Affiliation::None);
        // Where they are: the owner is in the room, the admin is not.
        let asked = heard(&told, BARD, &["type='form'"]).unwrap();
        assert!(asked.contains("<value>hag@shakespeare.lit</value>") && asked.contains("<value>thirdwitch</value>"));
        assert!(post(&told, "crone").is_some() && told.len() == 2, "{told:?}");
        assert!(stage.ask("hag", "set", &nick("thirdwitch")).1.is_empty(), "they have been asked");
        let allow = |allow: &str| {
            letter(&form(&[
                ("FORM_TYPE", &["http://jabber.org/protocol/muc#register"]),
                ("muc#jid", &["hag@shakespeare.lit"]),
                ("muc#register_roomnick", &["thirdwitch"]),
                ("muc#register_allow", &[allow]),
            ]))
        };
        assert_eq!(condition(&stage.play("hag", &allow("1"))[0].xml), "forbidden");
        assert!(stage.play("crone", &allow("0")).is_empty());
        assert_eq!(stage.affiliation("hag"), Affiliation::None);
        let told = stage.play("crone", &allow("1"));
        assert_eq!(stage.affiliation("hag"), Affiliation::Member);
        assert_eq!(stage.room.reserved_for("thirdwitch"), Some(&user("hag")));
        assert!(post(&told, "hag").unwrap().contains("<invite from='crone@shakespeare.lit'/>"), "{told:?}");
        // Another admin is late.
        assert!(stage.play(BARD, &allow("1")).is_empty());
        assert!(session("hag").starts_with("hag@"));
    }
}

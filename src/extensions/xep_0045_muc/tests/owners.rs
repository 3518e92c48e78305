//! Owners configure a room, and end it (XEP-0045 §10).

use super::super::association::{Affiliation, Role};
use super::super::effect::Change;
use super::super::room_config::{Anonymity, RoomConfig};
use super::stage::{BARD, ROOM, Stage, condition, form, heard, session, user};

// Proves: XEP-0045 §10.1.1, §10.1.2
#[test]
fn an_instant_room_is_open_as_soon_as_its_owner_says_so() {
    let mut stage = Stage::locked();
    assert!(heard(&stage.enter(BARD), BARD, &["affiliation='owner'", "role='moderator'", "code='201'"]).is_some());
    assert_eq!(condition(&stage.enter("hag")[0].xml), "item-not-found");
    assert!(stage.own(BARD, "set", "<x xmlns='jabber:x:data' type='submit'/>").0.is_ok());
    stage.enter("hag");
    assert_eq!(stage.role("hag"), Role::Participant);
    // Once more it means nothing.
    let (done, told) = stage.own(BARD, "set", "<x xmlns='jabber:x:data' type='submit'/>");
    assert!(done.is_ok() && told.is_empty());
}

// Proves: XEP-0045 §10.1.1, §10.1.3
#[test]
fn a_reserved_room_is_as_its_owner_wants_it() {
    let mut stage = Stage::locked();
    stage.enter(BARD);
    let shown = stage.own(BARD, "get", "").0.unwrap();
    assert!(
        shown.contains("<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value>")
    );
    assert!(shown.contains(
        "<field var='muc#roomconfig_roomowners' type='jid-multi' label='Owners'><value>bard@shakespeare.lit</value>"
    ));
    let fields: &[(&str, &[&str])] = &[
        ("FORM_TYPE", &["http://jabber.org/protocol/muc#roomconfig"]),
        ("muc#roomconfig_roomname", &["A Dark Cave"]),
        ("muc#roomconfig_persistentroom", &["1"]),
        ("muc#roomconfig_membersonly", &["1"]),
        ("muc#roomconfig_roomadmins", &["crone@shakespeare.lit/desktop"]),
        ("muc#roomconfig_colour", &["black"]),
    ];
    let (done, told) = stage.configure(BARD, fields);
    assert_eq!(done, Ok(()));
    assert!(told.is_empty(), "nobody but the owner is here, and he knows: {told:?}");
    assert!(stage.room.config.name == "A Dark Cave" && stage.room.config.members_only);
    assert_eq!(stage.affiliation("crone"), Affiliation::Admin);
    // All of it is stored, and at once.
    let [Change::Begin(config, None, known)] = &stage.kept[..] else { panic!("{:?}", stage.kept) };
    assert!(config.persistent && known.len() == 2, "{known:?}");
}

// Proves: XEP-0045 §10.1.3
#[test]
fn a_room_that_is_not_to_be_goes() {
    let mut stage = Stage::locked();
    stage.enter(BARD);
    let (done, told) = stage.own(BARD, "set", "<x xmlns='jabber:x:data' type='cancel'/>");
    assert!(done.is_ok() && stage.is_closed);
    assert!(heard(&told, BARD, &["type='unavailable'", "<destroy"]).is_some(), "{told:?}");
}

// Proves: XEP-0045 §10.2
#[test]
fn whoever_cancels_changes_nothing() {
    let mut stage = Stage::new(RoomConfig::default());
    let before = stage.own(BARD, "get", "").0;
    let (done, told) = stage.own(BARD, "set", "<x xmlns='jabber:x:data' type='cancel'/>");
    assert!(done.is_ok() && told.is_empty() && !stage.is_closed);
    assert_eq!(stage.own(BARD, "get", "").0, before);
    for wrong in ["", "<x xmlns='jabber:x:data' type='form'/>", "<x xmlns='jabber:x:data'/>", "<other xmlns='x'/>"] {
        assert_eq!(stage.own(BARD, "set", wrong).0, Err("bad-request".to_owned()), "{wrong}");
    }
}

// Proves: XEP-0045 §10.1.3
#[test]
fn what_cannot_be_had_changes_nothing() {
    let mut stage = Stage::new(RoomConfig::default());
    let fields: &[(&str, &[&str])] =
        &[("muc#roomconfig_roomname", &["x"]), ("muc#roomconfig_passwordprotectedroom", &["1"])];
    let (done, told) = stage.configure(BARD, fields);
    assert_eq!(done, Err("not-acceptable".to_owned()));
    assert!(told.is_empty() && stage.room.config.name.is_empty());
}

// Proves: XEP-0045 §10.2.1
#[test]
fn everybody_hears_of_changes() {
    let yes: &[&str] = &["1"];
    let no: &[&str] = &["0"];
    for (before, field, codes) in [
        (RoomConfig { archive: false, ..RoomConfig::default() }, ("muc#roomconfig_enablelogging", yes), "170"),
        (RoomConfig::default(), ("muc#roomconfig_enablelogging", no), "171"),
        (RoomConfig::default(), ("muc#roomconfig_whois", &["anyone"][..]), "172"),
        (
            RoomConfig { anonymity: Anonymity::NonAnonymous, ..RoomConfig::default() },
            ("muc#roomconfig_whois", &["moderators"][..]),
            "173",
        ),
        (RoomConfig::default(), ("muc#roomconfig_roomname", &["x"][..]), "104"),
        (RoomConfig::default(), ("muc#roomconfig_moderatedroom", yes), "104"),
    ] {
        let mut stage = Stage::new(before);
        stage.enter("hag");
        let (done, told) = stage.configure(BARD, &[field]);
        assert_eq!(done, Ok(()));
        for name in [BARD, "hag"] {
            let said = format!(
                "<message type='groupchat' from='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'>\
                 <status code='{codes}'/></x></message>"
            );
            assert!(heard(&told, name, &[&said]).is_some(), "{field:?} {told:?}");
        }
        // What is so already changes nothing.
        assert!(stage.configure(BARD, &[field]).1.is_empty(), "{field:?}");
    }
}

// Proves: XEP-0045 §10.2
#[test]
fn nobody_but_members_stays_when_a_room_becomes_one_for_members() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("crone", Affiliation::Member);
    stage.enter("crone");
    stage.enter("hag");
    let (done, told) = stage.configure(BARD, &[("muc#roomconfig_membersonly", &["true"])]);
    assert_eq!(done, Ok(()));
    for name in [BARD, "crone", "hag"] {
        assert!(heard(&told, name, &["type='unavailable'", &format!("from='{ROOM}/hag'"), "code='322'"]).is_some());
    }
    assert_eq!((stage.role("hag"), stage.role("crone")), (Role::None, Role::Participant));
}

// Proves: XEP-0045 §10.2
#[test]
fn lists_in_the_form_name_everybody() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("crone", Affiliation::Admin);
    stage.affiliate("wicca", Affiliation::Owner);
    for name in ["crone", "wicca", "hag"] {
        stage.enter(name);
    }
    // Whoever is named no more among the admins is a member; whoever is named gains.
    let (done, told) = stage.configure(BARD, &[("muc#roomconfig_roomadmins", &["hag@shakespeare.lit"])]);
    assert_eq!(done, Ok(()));
    let affiliations = |stage: &Stage| ["crone", "wicca", "hag"].map(|name| stage.affiliation(name));
    assert_eq!(affiliations(&stage), [Affiliation::Member, Affiliation::Owner, Affiliation::Admin]);
    let gains = [&format!("from='{ROOM}/hag'"), "affiliation='admin'", "role='moderator'"];
    let loses = [&format!("from='{ROOM}/crone'"), "affiliation='member'", "role='participant'"];
    for name in [BARD, "wicca", "hag", "crone"] {
        assert!(heard(&told, name, &gains).is_some() && heard(&told, name, &loses).is_some(), "{name} {told:?}");
    }
    // An owner who is named no more is an admin, if nothing is said of those.
    let (done, told) = stage.configure(BARD, &[("muc#roomconfig_roomowners", &["bard@shakespeare.lit"])]);
    assert_eq!(done, Ok(()));
    assert_eq!(affiliations(&stage), [Affiliation::Member, Affiliation::Admin, Affiliation::Admin]);
    assert!(heard(&told, "hag", &[&format!("from='{ROOM}/wicca'"), "affiliation='admin'"]).is_some());
    // §10.2: somebody has to own it.
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_roomowners", &[])]).0, Err("conflict".to_owned()));
    let both: &[(&str, &[&str])] =
        &[("muc#roomconfig_roomowners", &["hag@shakespeare.lit"]), ("muc#roomconfig_roomadmins", &[])];
    assert_eq!(stage.configure(BARD, both).0, Ok(()));
    assert_eq!((stage.affiliation(BARD), stage.affiliation("hag")), (Affiliation::Member, Affiliation::Owner));
    assert_eq!(stage.configure(BARD, both).0, Err("forbidden".to_owned()));
}

// Proves: XEP-0045 §10.9
#[test]
fn a_room_goes_with_a_word_to_everybody() {
    let mut stage = Stage::new(RoomConfig { persistent: true, ..RoomConfig::default() });
    stage.enter("hag");
    assert_eq!(stage.own("hag", "set", "<destroy/>").0, Err("forbidden".to_owned()));
    let wrong = "<destroy jid='@'/>";
    assert_eq!(stage.own(BARD, "set", wrong).0, Err("jid-malformed".to_owned()));
    let long = format!("<destroy><reason>{}</reason></destroy>", "x".repeat(1025));
    assert_eq!(stage.own(BARD, "set", &long).0, Err("not-acceptable".to_owned()));
    let destroy =
        "<destroy jid='heath@chat.shakespeare.lit'><password>p</password><reason>Macbeth doth come.</reason></destroy>";
    let (done, told) = stage.own(BARD, "set", destroy);
    assert!(done.is_ok() && stage.is_closed);
    for name in [BARD, "hag"] {
        let own: Vec<_> = told.iter().filter(|told| told.to == session(name)).collect();
        assert_eq!(own.len(), 1, "one for each: {told:?}");
        for part in ["type='unavailable'", "<item affiliation='none' role='none'/>", destroy] {
            assert!(own[0].xml.contains(part), "{part} {own:?}");
        }
    }
    assert!(matches!(stage.kept.last(), Some(Change::End)));
}

// Proves: XEP-0045 §10.2, §10.9
#[test]
fn persistence_comes_and_goes_with_the_configuration() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("crone", Affiliation::Admin);
    assert!(stage.kept.is_empty());
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_persistentroom", &["1"])]).0, Ok(()));
    let [Change::Begin(_, None, known)] = &stage.kept[..] else { panic!("{:?}", stage.kept) };
    assert!(known.iter().any(|(who, known)| *who == user("crone") && known.affiliation == Affiliation::Admin));
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_persistentroom", &["0"])]).0, Ok(()));
    assert!(matches!(stage.kept.last(), Some(Change::End)) && !stage.is_closed);
}

// Proves: XEP-0045 §7.14
#[test]
fn a_room_that_becomes_temporary_while_nobody_is_in_it_goes() {
    let mut stage = Stage::new(RoomConfig { persistent: true, ..RoomConfig::default() });
    stage.play(BARD, &format!("<presence type='unavailable' to='{ROOM}/{BARD}'/>"));
    assert!(!stage.is_closed);
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_persistentroom", &["0"])]).0, Ok(()));
    assert!(matches!(stage.kept.last(), Some(Change::End)) && stage.is_closed);
}

// Proves: XEP-0486 §3.2, §3.3
#[test]
fn owners_set_the_picture() {
    let card = |octets: &str| {
        format!("<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>{octets}</BINVAL></PHOTO></vCard>")
    };
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    for persistent in [false, true] {
        let mut stage = Stage::new(RoomConfig { persistent, ..RoomConfig::default() });
        stage.enter("hag");
        assert_eq!(stage.ask("hag", "set", &card("YWJj")).0, Err("forbidden".to_owned()));
        let (done, told) = stage.ask(BARD, "set", &card("YWJj"));
        assert!(done.is_ok() && heard(&told, "hag", &["code='104'"]).is_some());
        let hash = "<value>a9993e364706816aba3e25717850c26c9cd0d89d</value>";
        assert!(stage.ask("hag", "get", info).0.unwrap().contains(hash));
        // What is stored is not in memory.
        let is_kept = matches!(&stage.kept[..], [Change::Card(Some(_)), Change::Config(_)]);
        assert_eq!((is_kept, stage.room.card.is_some()), (persistent, !persistent), "{:?}", stage.kept);
        let (done, told) = stage.ask(BARD, "set", "<vCard xmlns='vcard-temp'/>");
        assert!(done.is_ok() && heard(&told, "hag", &["code='104'"]).is_some());
        assert!(!stage.ask("hag", "get", info).0.unwrap().contains("muc#roominfo_avatarhash"));
        assert_eq!(stage.room.card, None);
        let large = stage.ask(BARD, "set", &card(&"YWJj".repeat(5000))).0;
        assert_eq!(large.is_ok(), persistent, "{large:?}");
    }
    // A card that is in memory is stored with the room.
    let mut stage = Stage::new(RoomConfig::default());
    assert!(stage.ask(BARD, "set", &card("YWJj")).0.is_ok());
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_persistentroom", &["1"])]).0, Ok(()));
    assert!(matches!(&stage.kept[..], [Change::Begin(..), Change::Card(Some(_))]), "{:?}", stage.kept);
    assert_eq!(stage.room.card, None);
    // And goes with what is stored.
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_persistentroom", &["0"])]).0, Ok(()));
    assert!(stage.room.config.avatar.is_empty());
    assert!(form(&[]).contains("submit"));
}

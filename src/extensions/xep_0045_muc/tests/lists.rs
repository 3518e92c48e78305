//! Lists of people, and several changes at once (XEP-0045 §8, §9, §10).

use crate::secret::Secret;

use super::super::association::{Affiliation, Role};
use super::super::effect::Change;
use super::super::room_config::{Anonymity, RoomConfig, RoomPassword};
use super::super::standing::MOST_KNOWN;
use super::stage::{BARD, ROOM, Stage, condition, form, heard, session, user};

fn query(inside: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{inside}</query>")
}

fn list(stage: &mut Stage, name: &str, inside: &str) -> Result<String, String> {
    let answer = stage.ask(name, "get", &query(inside)).0?;
    let (_, rest) = answer.split_once("muc#admin'").unwrap();
    Ok(rest.trim_start_matches('>').trim_end_matches("</iq>").trim_end_matches("</query>").to_owned())
}

// Proves: XEP-0045 §8.5, §9.2, §9.5, §9.8, §10.5, §10.8, §17.4
#[test]
fn lists_say_who_and_what() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("crone", Affiliation::Admin);
    let reason = "<item affiliation='outcast' jid='cambridge@shakespeare.lit/stabber'><reason>Treason</reason></item>";
    assert_eq!(stage.change(BARD, reason).0, Ok(()));
    let member = format!("<item affiliation='member' jid='{}' nick='thirdwitch'/>", user("hag"));
    assert_eq!(stage.change(BARD, &member).0, Ok(()));
    stage.enter("hag");
    assert_eq!(
        list(&mut stage, BARD, "<item affiliation='outcast'/>").unwrap(),
        "<item affiliation='outcast' jid='cambridge@shakespeare.lit'><reason>Treason</reason></item>"
    );
    assert_eq!(
        list(&mut stage, "crone", "<item affiliation='member'/>").unwrap(),
        "<item affiliation='member' jid='hag@shakespeare.lit' nick='thirdwitch'/>"
    );
    assert_eq!(
        list(&mut stage, BARD, "<item affiliation='owner'/>").unwrap(),
        "<item affiliation='owner' jid='bard@shakespeare.lit' nick='bard'/>"
    );
    assert_eq!(
        list(&mut stage, BARD, "<item role='participant'/>").unwrap(),
        "<item affiliation='member' jid='hag@shakespeare.lit/pda' nick='hag' role='participant'/>"
    );
    assert_eq!(list(&mut stage, BARD, "<item role='visitor'/>").unwrap(), "/>");
    // Where addresses are hidden, only owners see who stands above members.
    for affiliation in ["admin", "owner"] {
        let asked = format!("<item affiliation='{affiliation}'/>");
        assert_eq!(list(&mut stage, "crone", &asked).unwrap_err(), "forbidden");
        stage.room.config.anonymity = Anonymity::NonAnonymous;
        assert!(list(&mut stage, "crone", &asked).is_ok() && list(&mut stage, "hag", &asked).is_ok());
        assert_eq!(list(&mut stage, "paddock", &asked).unwrap_err(), "forbidden");
        stage.room.config.anonymity = Anonymity::SemiAnonymous;
    }
    // Who speaks is known to moderators, who moderates to admins.
    assert_eq!(list(&mut stage, "hag", "<item role='participant'/>").unwrap_err(), "forbidden");
    stage.give_role(BARD, "hag", Role::Moderator).unwrap();
    assert!(list(&mut stage, "hag", "<item role='participant'/>").is_ok());
    assert_eq!(list(&mut stage, "hag", "<item role='moderator'/>").unwrap_err(), "forbidden");
    assert!(list(&mut stage, "crone", "<item role='moderator'/>").unwrap().contains("nick='hag'"));
}

// Proves: XEP-0059 §2
#[test]
fn long_lists_come_in_pages() {
    let mut stage = Stage::new(RoomConfig::default());
    for name in ["anne", "beth", "cora", "dora"] {
        stage.affiliate(name, Affiliation::Member);
    }
    let set = |inside: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>");
    let mut page =
        |inside: &str| list(&mut stage, BARD, &format!("<item affiliation='member'/>{}", set(inside))).unwrap();
    let item = |name: &str| format!("<item affiliation='member' jid='{}'/>", user(name));
    let (anne, beth) = (user("anne"), user("beth"));
    assert_eq!(
        page("<max>2</max>"),
        item("anne")
            + &item("beth")
            + &set(&format!("<first index='0'>{anne}</first><last>{beth}</last><count>4</count>"))
    );
    assert!(page(&format!("<max>1</max><after>{beth}</after>")).starts_with(&item("cora")));
    assert!(page("<max>1</max><before/>").starts_with(&item("dora")));
    assert_eq!(page("<max>0</max>"), set("<count>4</count>"));
    assert_eq!(list(&mut stage, BARD, &format!("<item affiliation='outcast'/>{}", set(""))).unwrap(), "/>");
    for number in 0..1000 {
        stage.affiliate(&format!("u{number:04}"), Affiliation::Member);
    }
    let whole = list(&mut stage, BARD, "<item affiliation='member'/>").unwrap();
    assert_eq!(whole.matches("<item").count(), 1000);
    assert!(whole.ends_with("<count>1004</count></set>"), "the rest has to be asked for");
}

// Proves: XEP-0045 §17.4
#[test]
fn what_makes_no_sense() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    for (items, condition) in [
        ("", "bad-request"),
        ("<item nick='hag'/>", "bad-request"),
        ("<item role='visitor'/>", "bad-request"),
        ("<item affiliation='member'/>", "bad-request"),
        ("<item nick='hag' role='king'/>", "bad-request"),
        ("<item jid='hag@shakespeare.lit' affiliation='king'/>", "bad-request"),
        ("<item nick='hag' jid='hag@shakespeare.lit' affiliation='member' role='visitor'/>", "bad-request"),
        ("<item jid='@' affiliation='member'/>", "jid-malformed"),
        ("<item nick='nobody' role='visitor'/>", "item-not-found"),
        ("<item nick='nobody' affiliation='member'/>", "item-not-found"),
        ("<item jid='hag@shakespeare.lit' affiliation='member' nick='  '/>", "jid-malformed"),
    ] {
        assert_eq!(stage.change(BARD, items).0, Err(condition.to_owned()), "{items}");
    }
    let many = "<item nick='hag' role='visitor'/>".repeat(251);
    assert_eq!(stage.change(BARD, &many).0, Err("not-acceptable".to_owned()));
    let long = format!("<item nick='hag' role='none'><reason>{}</reason></item>", "x".repeat(1025));
    assert_eq!(stage.change(BARD, &long).0, Err("not-acceptable".to_owned()));
    for items in [
        "",
        "<item/>",
        "<item affiliation='none'/>",
        "<item role='none'/>",
        "<item role='visitor'/><item role='visitor'/>",
    ] {
        assert_eq!(list(&mut stage, BARD, items).unwrap_err(), "bad-request", "{items}");
    }
    assert_eq!((stage.role("hag"), stage.affiliation("hag")), (Role::Participant, Affiliation::None));
}

// Proves: XEP-0045 §9.2, XEP-0045 §9.1
#[test]
fn all_of_a_request_happens_or_nothing() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.affiliate("crone", Affiliation::Admin);
    stage.affiliate("wicca", Affiliation::Member);
    let ban = |name: &str| format!("<item affiliation='outcast' jid='{}'/>", user(name));
    let kept = stage.kept.len();
    for (items, condition) in [
        (ban("wicca") + &ban("crone"), "conflict"),
        (ban("wicca") + &ban(BARD), "not-allowed"),
        (ban("wicca") + &format!("<item affiliation='admin' jid='{}'/>", user("hag")), "forbidden"),
        (ban("wicca") + "<item nick='nobody' role='none'/>", "item-not-found"),
    ] {
        let (done, told) = stage.change("crone", &items);
        assert_eq!(done, Err(condition.to_owned()), "{items}");
        assert!(told.is_empty() && stage.kept.len() == kept);
        assert_eq!(stage.affiliation("wicca"), Affiliation::Member);
    }
    assert_eq!(stage.change("crone", &(ban("wicca") + &ban("hag"))).0, Ok(()));
    assert_eq!((stage.affiliation("wicca"), stage.affiliation("hag")), (Affiliation::Outcast, Affiliation::Outcast));
}

// Proves: XEP-0045 §10.4, §10.5
#[test]
fn the_last_owner_stays() {
    let mut stage = Stage::new(RoomConfig::default());
    let owner = |name: &str, affiliation: &str| format!("<item affiliation='{affiliation}' jid='{}'/>", user(name));
    for affiliation in ["admin", "member", "none"] {
        assert_eq!(stage.change(BARD, &owner(BARD, affiliation)).0, Err("conflict".to_owned()), "{affiliation}");
    }
    // Not even with others who are none any more a moment later.
    let both = owner("crone", "owner") + &owner(BARD, "admin") + &owner("crone", "none");
    assert_eq!(stage.change(BARD, &both).0, Err("conflict".to_owned()));
    let handed_over = owner("crone", "owner") + &owner(BARD, "admin");
    assert_eq!(stage.change(BARD, &handed_over).0, Ok(()));
    assert_eq!((stage.affiliation("crone"), stage.affiliation(BARD)), (Affiliation::Owner, Affiliation::Admin));
    assert_eq!(stage.role(BARD), Role::Moderator);
}

// Proves: XEP-0045 §9.2, §9.3, §9.5, §7.10
#[test]
fn nicks_are_kept_for_members() {
    let mut stage = Stage::new(RoomConfig::default());
    let item = |name: &str, affiliation: &str, nick: &str| {
        format!("<item affiliation='{affiliation}' jid='{}' nick='{nick}'/>", user(name))
    };
    assert_eq!(stage.change(BARD, &item("hag", "member", "thirdwitch")).0, Ok(()));
    assert_eq!(stage.change(BARD, &item("crone", "member", "thirdwitch")).0, Err("conflict".to_owned()));
    let two = item("crone", "member", "firstwitch") + &item("wicca", "member", "firstwitch");
    assert_eq!(stage.change(BARD, &two).0, Err("conflict".to_owned()));
    // Somebody is called so.
    assert_eq!(stage.change(BARD, &item("crone", "member", BARD)).0, Err("conflict".to_owned()));
    let told = stage.play(
        "crone",
        &format!("<presence to='{ROOM}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    );
    assert!(told[0].xml.contains("<conflict"), "{told:?}");
    // Nobody can tell it from the one with a space.
    assert_eq!(stage.change(BARD, &item("crone", "member", " thirdwitch ")).0, Err("conflict".to_owned()));
    // An empty one takes it away, and so does a ban.
    assert_eq!(stage.change(BARD, &item("hag", "member", "")).0, Ok(()));
    assert_eq!(stage.change(BARD, &item("crone", "member", "thirdwitch")).0, Ok(()));
    assert_eq!(stage.change(BARD, &item("crone", "outcast", "thirdwitch")).0, Ok(()));
    assert_eq!(stage.room.reserved_for("thirdwitch"), None);
}

#[test]
fn a_nick_is_kept_together_with_the_affiliation() {
    let mut stage = Stage::new(RoomConfig { persistent: true, ..RoomConfig::default() });
    let item = format!("<item affiliation='member' jid='{}' nick='thirdwitch'/>", user("hag"));
    assert_eq!(stage.change(BARD, &item).0, Ok(()));
    let [Change::Affiliation(_, Some(known))] = &stage.kept[..] else { panic!("{:?}", stage.kept) };
    assert_eq!(known.nick.as_deref(), Some("thirdwitch"));
}

#[test]
fn nobody_makes_a_room_know_more_people_than_it_can() {
    let mut stage = Stage::new(RoomConfig { members_only: true, ..RoomConfig::default() });
    for number in stage.room.affiliations.len()..MOST_KNOWN - 1 {
        stage.affiliate(&format!("u{number}"), Affiliation::Member);
    }
    let item = |name: &str, affiliation: &str| format!("<item affiliation='{affiliation}' jid='{}'/>", user(name));
    let full = Err("resource-constraint".to_owned());
    let two = item("hag", "member") + &item("crone", "outcast");
    assert_eq!(stage.change(BARD, &two).0, full);
    assert_eq!(stage.affiliation("hag"), Affiliation::None);
    // Whoever goes makes room for somebody else.
    assert_eq!(stage.change(BARD, &(two + &item("u7", "none"))).0, Ok(()));
    assert_eq!(stage.room.affiliations.len(), MOST_KNOWN);
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_roomadmins", &["wicca@shakespeare.lit"])]).0, full);
    assert_eq!(stage.configure(BARD, &[("muc#roomconfig_roomadmins", &["hag@shakespeare.lit"])]).0, Ok(()));
    let invite = format!("<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{}'/></x>", user("wicca"));
    let told = stage.play(BARD, &format!("<message to='{ROOM}'>{invite}</message>"));
    assert_eq!(condition(&told[0].xml), "resource-constraint");
    stage.room.config.members_only = false;
    let nick: (&str, &[&str]) = ("muc#register_roomnick", &["wicca"]);
    let register = format!("<query xmlns='jabber:iq:register'>{}</query>", form(&[nick]));
    assert_eq!(stage.ask("wicca", "set", &register).0.map(|_| ()), full);
    // Those whom it knows change all the same.
    assert_eq!(stage.change(BARD, &item("hag", "outcast")).0, Ok(()));
}

// Proves: XEP-0045 §9.5
#[test]
fn whoever_may_enter_from_now_on_is_invited() {
    let password = Some(RoomPassword(Secret::new("cauldronburn".to_owned())));
    let mut stage = Stage::new(RoomConfig { members_only: true, password, ..RoomConfig::default() });
    let member = format!("<item affiliation='member' jid='{}'><reason>Worthy</reason></item>", user("hecate"));
    let (done, told) = stage.change(BARD, &member);
    assert_eq!(done, Ok(()));
    let invitation = told.iter().find(|told| told.to == user("hecate").as_str()).unwrap();
    assert_eq!(
        invitation.xml,
        format!(
            "<message from='{ROOM}' to='hecate@shakespeare.lit'><x xmlns='http://jabber.org/protocol/muc#user'>\
             <invite from='bard@shakespeare.lit'><reason>Worthy</reason></invite>\
             <password>cauldronburn</password></x></message>"
        )
    );
    // He knows already.
    assert!(stage.change(BARD, &member).1.is_empty());
    let mut open = Stage::new(RoomConfig::default());
    assert!(open.change(BARD, &member).1.is_empty());
}

// Proves: XEP-0045 §8.2
#[test]
fn whoever_is_kicked_knows_before_whoever_kicks_and_the_others_behind() {
    let mut stage = Stage::new(RoomConfig::default());
    for name in ["pistol", "gower"] {
        stage.enter(name);
    }
    let kick = "<item nick='pistol' role='none'><reason>Avaunt, you cullion!</reason></item>";
    let iq = format!("<iq type='set' id='kick1' to='{ROOM}'>{}</iq>", query(kick));
    let told = stage.play(BARD, &iq);
    let at = |name: &str, part: &str| {
        told.iter()
            .position(|told| told.to == session(name) && told.xml.contains(part))
            .unwrap_or_else(|| panic!("{told:?}"))
    };
    let own = at("pistol", "code='307'");
    assert!(own < at(BARD, "<iq type='result'") && at(BARD, "<iq type='result'") < at("gower", "code='307'"));
    assert!(heard(&told, "pistol", &["type='unavailable'", "code='110'", "<actor nick='bard'/>", "Avaunt"]).is_some());
    let others = heard(&told, "gower", &["type='unavailable'", "affiliation='none' role='none'"]).unwrap();
    assert!(!others.contains("code='110'") && !others.contains("pistol@"), "{others}");
}

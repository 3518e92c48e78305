//! What follows from an affiliation for those who are in the room (XEP-0045 §5.1.3, §9, §10).

use super::super::association::{Affiliation, Role};
use super::super::room_config::RoomConfig;
use super::stage::{BARD, ROOM, Stage, condition, heard, session, user};

fn moderated() -> RoomConfig {
    RoomConfig { moderated: true, ..RoomConfig::default() }
}

// Proves: XEP-0045 §5.1.3, §9.3, §9.4, §10.3, §10.4, §10.6, §10.7
#[test]
fn roles_follow_affiliations() {
    for (config, from, to, role) in [
        (moderated(), Affiliation::None, Affiliation::Member, Role::Participant),
        (moderated(), Affiliation::None, Affiliation::Admin, Role::Moderator),
        (moderated(), Affiliation::Member, Affiliation::Owner, Role::Moderator),
        (moderated(), Affiliation::Member, Affiliation::None, Role::Visitor),
        (moderated(), Affiliation::Admin, Affiliation::Member, Role::Participant),
        (moderated(), Affiliation::Owner, Affiliation::Admin, Role::Moderator),
        (RoomConfig::default(), Affiliation::Admin, Affiliation::None, Role::Participant),
    ] {
        let mut stage = Stage::new(config);
        stage.affiliate("hag", from);
        stage.enter("hag");
        stage.enter("crone");
        let item = format!("<item jid='{}' affiliation='{}'/>", user("hag"), to.as_str());
        let (done, told) = stage.change(BARD, &item);
        assert_eq!(done, Ok(()));
        assert_eq!(stage.role("hag"), role, "{from:?} {to:?}");
        let said = format!("<item affiliation='{}'", to.as_str());
        let role = format!("role='{}'", role.as_str());
        for name in [BARD, "hag", "crone"] {
            assert!(heard(&told, name, &[&format!("from='{ROOM}/hag'"), &said, &role]).is_some(), "{name} {told:?}");
        }
        assert!(heard(&told, "hag", &["code='110'"]).is_some());
    }
}

// Proves: XEP-0045 §9.4
#[test]
fn whoever_is_no_member_any_more_leaves_a_room_for_members() {
    let mut stage = Stage::new(RoomConfig { members_only: true, ..RoomConfig::default() });
    stage.affiliate("hag", Affiliation::Member);
    stage.enter("hag");
    let (done, told) = stage.change(BARD, &format!("<item jid='{}' affiliation='none'/>", user("hag")));
    assert_eq!((done, stage.role("hag")), (Ok(()), Role::None));
    assert!(heard(&told, "hag", &["type='unavailable'", "affiliation='none'", "code='321'", "code='110'"]).is_some());
    assert!(heard(&told, BARD, &["type='unavailable'", "code='321'"]).is_some());
    assert!(
        !told.iter().any(|told| told.xml.starts_with("<presence from")),
        "nobody is told that he is here: {told:?}"
    );
    assert_eq!(condition(&stage.enter("hag")[0].xml), "registration-required");
}

// Proves: XEP-0045 §9.1
#[test]
fn whoever_is_banned_goes_and_stays_away() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("cambridge");
    // Under two names.
    stage.play_from(
        "cambridge@shakespeare.lit/other",
        &format!("<presence to='{ROOM}/scroop'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    );
    let ban = format!("<item jid='{}' affiliation='outcast'><reason>Treason</reason></item>", session("cambridge"));
    let (done, told) = stage.change(BARD, &ban);
    assert_eq!(done, Ok(()));
    for nick in ["cambridge", "scroop"] {
        let part = format!("from='{ROOM}/{nick}'");
        assert!(heard(&told, BARD, &[&part, "affiliation='outcast'", "code='301'"]).is_some(), "{told:?}");
    }
    let own = heard(&told, "cambridge", &["code='301'", "code='110'", "<actor nick='bard'/>", "Treason"]);
    assert!(own.is_some() && stage.role("cambridge") == Role::None);
    assert_eq!(condition(&stage.enter("cambridge")[0].xml), "forbidden");
    assert_eq!(stage.change(BARD, &format!("<item jid='{}' affiliation='none'/>", user("cambridge"))).0, Ok(()));
    stage.enter("cambridge");
    assert_eq!(stage.role("cambridge"), Role::Participant);
}

// Proves: XEP-0045 §9.2
#[test]
fn a_domain_is_banned_with_everybody_who_has_no_affiliation_of_his_own() {
    let mut stage = Stage::new(RoomConfig::default());
    let enter = |stage: &mut Stage, name: &str| {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        stage.play_from(&format!("{name}@france.lit/x"), &format!("<presence to='{ROOM}/{name}'>{x}</presence>"))
    };
    let member = "<item jid='burgundy@france.lit' affiliation='member'/>";
    assert_eq!(stage.change(BARD, member).0, Ok(()));
    enter(&mut stage, "dauphin");
    enter(&mut stage, "burgundy");
    let (done, told) = stage.change(BARD, "<item jid='france.lit' affiliation='outcast'/>");
    assert_eq!(done, Ok(()));
    assert!(told.iter().any(|it| it.to == "dauphin@france.lit/x" && it.xml.contains("code='301'")));
    assert!(!told.iter().any(|it| it.to == "burgundy@france.lit/x" && it.xml.contains("code='110'")));
    assert_eq!(condition(&enter(&mut stage, "dauphin")[0].xml), "forbidden");
    assert_eq!(stage.room.occupants.len(), 2);
    // Nobody bans himself with his domain.
    let (done, _) = stage.change(BARD, "<item jid='shakespeare.lit' affiliation='outcast'/>");
    assert_eq!(done, Err("conflict".to_owned()));
    assert_eq!(stage.change(BARD, "<item jid='france.lit' affiliation='none'/>").0, Ok(()));
    enter(&mut stage, "dauphin");
    assert_eq!(stage.room.occupants.len(), 3);
}

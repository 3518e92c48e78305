//! What was said is taken back, by whoever has said it or by moderators (XEP-0424, XEP-0425).

use super::super::association::{Affiliation, Role};
use super::super::room_config::RoomConfig;
use super::stage::{BARD, ROOM, Stage, Told, heard, session};

fn said(stage: &mut Stage, name: &str, id: &str, inside: &str) -> String {
    let told = stage.play(name, &format!("<message type='groupchat' id='{id}' to='{ROOM}'>{inside}</message>"));
    id_in(heard(&told, BARD, &["<stanza-id"]).unwrap())
}

/// The id that the room has given.
fn id_in(message: &str) -> String {
    let (_, rest) = message.split_once("<stanza-id xmlns='urn:xmpp:sid:0' id='").unwrap();
    rest.split('\'').next().unwrap().to_owned()
}

fn moderate(id: &str) -> String {
    format!(
        "<moderate xmlns='urn:xmpp:message-moderate:1' id='{id}'><retract xmlns='urn:xmpp:message-retract:1'/>\
         <reason>Not here</reason></moderate>"
    )
}

fn moderate_of_old(id: &str) -> String {
    format!(
        "<apply-to xmlns='urn:xmpp:fasten:0' id='{id}'><moderate xmlns='urn:xmpp:message-moderate:0'>\
         <retract xmlns='urn:xmpp:message-retract:0'/></moderate></apply-to>"
    )
}

/// What somebody who enters is shown of what was said before.
fn shown(stage: &mut Stage) -> Vec<Told> {
    let told = stage.enter("late");
    stage.play("late", &format!("<presence type='unavailable' to='{ROOM}/late'/>"));
    told.into_iter().filter(|told| told.xml.contains("<delay")).collect()
}

// Proves: XEP-0425 §3, §4, XEP-0425 §3.1
#[test]
fn moderators_take_back_what_others_have_said() {
    for (request, is_old) in [(moderate as fn(&str) -> String, false), (moderate_of_old, true)] {
        let mut stage = Stage::new(RoomConfig { persistent: true, ..RoomConfig::default() });
        stage.enter("oldhag");
        let id = said(&mut stage, "oldhag", "inappropriate", "<body>Free magic potions!</body>");
        let (done, told) = stage.ask(BARD, "set", &request(&id));
        assert!(done.is_ok(), "{done:?}");
        for name in [BARD, "oldhag"] {
            let message = heard(&told, name, &["type='groupchat'", &format!("from='{ROOM}'")]).unwrap();
            // Clients of either version understand it, whatever the moderator's client is.
            let by = format!("<moderated xmlns='urn:xmpp:message-moderate:1' by='{ROOM}/{BARD}'><occupant-id");
            let old =
                format!("<apply-to xmlns='urn:xmpp:fasten:0' id='{id}'><moderated xmlns='urn:xmpp:message-moderate:0'");
            let retract = format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'>");
            for part in [&by, &old, &retract] {
                assert!(message.contains(part.as_str()), "{part}\n{message}");
            }
            assert_eq!(message.contains("<reason>Not here</reason>"), !is_old);
            let told = id_in(message);
            assert!(
                message.contains(&format!(" id='{told}' from=")),
                "it has the id that a tombstone names: {message}"
            );
        }
        let history = shown(&mut stage);
        let [tombstone] = &history[..] else { panic!("{history:?}") };
        assert!(!tombstone.xml.contains("magic") && tombstone.xml.contains(&id), "{tombstone:?}");
        assert!(
            tombstone.xml.contains("id='inappropriate'") && tombstone.xml.contains(&format!("from='{ROOM}/oldhag'"))
        );
        assert!(tombstone.xml.contains("<retracted xmlns='urn:xmpp:message-retract:1' id='"), "{tombstone:?}");
        assert!(tombstone.xml.contains("<moderated xmlns='urn:xmpp:message-moderate:1'"), "{tombstone:?}");
        assert_eq!(stage.buried.len(), 1);
    }
}

// Proves: XEP-0425 §3.2
#[test]
fn nobody_else_moderates() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("hag");
    let id = said(&mut stage, BARD, "m", "<body>Tomorrow</body>");
    for (affiliation, role, may) in [
        (Affiliation::None, Role::Participant, false),
        (Affiliation::Member, Role::Participant, false),
        (Affiliation::None, Role::Moderator, true),
        (Affiliation::Admin, Role::Moderator, true),
    ] {
        assert_eq!(stage.give_affiliation(BARD, "hag", affiliation), Ok(()));
        assert_eq!(stage.give_role(BARD, "hag", role), Ok(()));
        let done = stage.ask("hag", "set", &moderate(&id)).0;
        assert_eq!(done.is_ok(), may, "{affiliation:?} {role:?} {done:?}");
    }
    // Outside of the room it is the affiliation that counts.
    stage.play("hag", &format!("<presence type='unavailable' to='{ROOM}/hag'/>"));
    assert!(stage.ask("hag", "set", &moderate(&id)).0.is_ok());
    assert_eq!(stage.give_affiliation(BARD, "hag", Affiliation::None), Ok(()));
    assert_eq!(stage.ask("hag", "set", &moderate(&id)).0, Err("forbidden".to_owned()));
    let long = moderate(&id).replace("Not here", &"x".repeat(1025));
    assert_eq!(stage.ask(BARD, "set", &long).0, Err("not-acceptable".to_owned()));
    // Nobody can guess an id.
    for id in ["x", "AAAAAAAAAAAAAAAAAAAAAA", ""] {
        assert_eq!(stage.ask(BARD, "set", &moderate(id)).0, Err("item-not-found".to_owned()), "{id}");
    }
}

fn retract(id: &str) -> String {
    format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'/><body>/me took something back</body>")
}

// Proves: XEP-0424 §3, §4, §5
#[test]
fn whoever_has_said_something_takes_it_back() {
    let mut stage = Stage::new(RoomConfig { persistent: true, ..RoomConfig::default() });
    for name in ["hag", "crone"] {
        stage.enter(name);
    }
    let id = said(&mut stage, "hag", "wrong", "<body>Have not saints lips?</body>");
    // Somebody else says that it is taken back: everybody can see that he has not said it.
    said(&mut stage, "crone", "forged", &retract(&id));
    assert!(shown(&mut stage)[0].xml.contains("saints"));
    // Under another nick he is the same.
    stage.play("hag", &format!("<presence to='{ROOM}/thirdwitch'/>"));
    said(&mut stage, "hag", "retraction", &retract(&id));
    let history = shown(&mut stage);
    assert!(!history.iter().any(|told| told.xml.contains("saints")), "{history:?}");
    let tombstone = "<retracted xmlns='urn:xmpp:message-retract:1' id='retraction' stamp='";
    assert!(history[0].xml.contains(tombstone) && history[0].xml.contains("id='wrong'"), "{history:?}");
    // The retraction stays.
    assert!(history.iter().any(|told| told.xml.contains("id='retraction'") && told.xml.contains("<retract ")));
    assert_eq!(stage.buried.len(), 2, "storage decides by itself who has said it");
    assert!(session("hag").starts_with("hag"));
}

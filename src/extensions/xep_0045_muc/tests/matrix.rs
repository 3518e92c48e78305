//! The tables of XEP-0045 §5, cell by cell: what the data says and what a room does.

use super::super::association::{Affiliation, Role};
use super::super::privileges::{
    AFFILIATIONS, AffiliationPrivilege, ROLES, RolePrivilege, affiliation_may, default_role, role_may,
};
use super::super::room_config::{Anonymity, PrivateMessages, Roles, RoomConfig};
use super::stage::{BARD, ROOM, Stage, Told, condition, form, heard, session, user};

/// §5.1.1, with its asterisks: what they take away, the configuration may.
const ROLE_PRIVILEGES: &str = "
    Present in Room                     | No | Yes  | Yes  | Yes
    Receive Messages                    | No | Yes  | Yes  | Yes
    Receive Occupant Presence           | No | Yes  | Yes  | Yes
    Broadcast Presence to All Occupants | No | Yes* | Yes  | Yes
    Change Availability Status          | No | Yes* | Yes  | Yes
    Change Room Nickname                | No | Yes* | Yes  | Yes
    Send Private Messages               | No | Yes* | Yes  | Yes
    Invite Other Users                  | No | Yes* | Yes* | Yes
    Send Messages to All                | No | No   | Yes  | Yes
    Modify Subject                      | No | No*  | Yes* | Yes
    Kick Participants and Visitors      | No | No   | No   | Yes
    Grant Voice                         | No | No   | No   | Yes
    Revoke Voice                        | No | No   | No   | Yes";

/// §5.1.2.
const DEFAULT_ROLES: &str = "
    Moderated    | Visitor     | Participant | Moderator | Moderator
    Unmoderated  | Participant | Participant | Moderator | Moderator
    Members-Only | N/A         | Participant | Moderator | Moderator
    Open         | Participant | Participant | Moderator | Moderator";

/// §5.1.3: who brings it about.
const ROLE_CHANGES: &str = "
    None        | --        | Entry     | Entry     | Entry
    Visitor     | Moderator | --        | Moderator | Admin
    Participant | Moderator | Moderator | --        | Admin
    Moderator   | Admin     | Admin     | Admin     | --";

/// §5.2.1.
const AFFILIATION_PRIVILEGES: &str = "
    Enter Open Room                    | No | Yes | Yes | Yes | Yes
    Register with Open Room            | No | Yes | N/A | N/A | N/A
    Retrieve Member List               | No | No  | Yes | Yes | Yes
    Enter Members-Only Room            | No | No  | Yes | Yes | Yes
    Ban Members and Unaffiliated Users | No | No  | No  | Yes | Yes
    Edit Member List                   | No | No  | No  | Yes | Yes
    Assign and Remove Moderator Role   | No | No  | No  | Yes | Yes
    Edit Admin List                    | No | No  | No  | No  | Yes
    Edit Owner List                    | No | No  | No  | No  | Yes
    Change Room Configuration          | No | No  | No  | No  | Yes
    Destroy Room                       | No | No  | No  | No  | Yes";

/// §5.2.2: who brings it about.
const AFFILIATION_CHANGES: &str = "
    Outcast | --    | Admin | Admin | Owner | Owner
    None    | Admin | --    | Admin | Owner | Owner
    Member  | Admin | Admin | --    | Owner | Owner
    Admin   | Owner | Owner | Owner | --    | Owner
    Owner   | Owner | Owner | Owner | Owner | --";

/// The name of each row, and its cells.
fn rows(table: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let mut cells = line.split('|').map(str::trim);
            (cells.next().unwrap(), cells.collect())
        })
        .collect()
}

/// Somebody who is called HAG stands so to the room; `role` is none where he is not in it.
fn standing(config: RoomConfig, affiliation: Affiliation, role: Role) -> Stage {
    let mut stage = Stage::new(config);
    stage.affiliate(HAG, affiliation);
    if role != Role::None {
        stage.enter(HAG);
        stage.give_role(BARD, HAG, role).unwrap();
        assert_eq!(stage.role(HAG), role, "{affiliation:?}");
    }
    stage
}

const HAG: &str = "hag";
const CRONE: &str = "crone";

/// Everything that the configuration may allow.
fn generous() -> RoomConfig {
    RoomConfig { moderated: true, anonymity: Anonymity::NonAnonymous, change_subject: true, ..RoomConfig::default() }
}

/// Everything that it may take away.
fn strict() -> RoomConfig {
    RoomConfig {
        private_messages: PrivateMessages::Moderators,
        presence_broadcast: Roles { moderator: true, participant: true, visitor: false },
        invites: false,
        change_subject: false,
        ..generous()
    }
}

/// Whether somebody of that role can do it.
fn does(privilege: RolePrivilege, stage: &mut Stage) -> bool {
    let to_room = |inside: &str| format!("<message type='groupchat' id='m' to='{ROOM}'>{inside}</message>");
    let reaches_owner = |told: &[Told], part: &str| heard(told, BARD, &[part, &format!("{ROOM}/{HAG}")]).is_some();
    match privilege {
        RolePrivilege::PresentInRoom => stage.role(HAG) != Role::None,
        RolePrivilege::ReceiveMessages => {
            heard(&stage.play(BARD, &to_room("<body>Tomorrow</body>")), HAG, &["<body>Tomorrow</body>"]).is_some()
        }
        RolePrivilege::ReceiveOccupantPresence => {
            let told = stage.play(BARD, &format!("<presence to='{ROOM}/{BARD}'><show>away</show></presence>"));
            heard(&told, HAG, &["<show>away</show>"]).is_some()
        }
        RolePrivilege::BroadcastPresence => {
            let told = stage.play(HAG, &format!("<presence to='{ROOM}/{HAG}'><show>dnd</show></presence>"));
            reaches_owner(&told, "<show>dnd</show>")
        }
        RolePrivilege::ChangeAvailability => {
            let told = stage.play(HAG, &format!("<presence to='{ROOM}/{HAG}'><show>dnd</show></presence>"));
            heard(&told, HAG, &["<show>dnd</show>", "code='110'"]).is_some()
        }
        RolePrivilege::ChangeNick => {
            let told = stage.play(HAG, &format!("<presence to='{ROOM}/oldhag'/>"));
            heard(&told, HAG, &["code='303'", "code='110'"]).is_some()
        }
        RolePrivilege::SendPrivateMessages => {
            let message = format!("<message type='chat' to='{ROOM}/{BARD}'><body>A wind</body></message>");
            reaches_owner(&stage.play(HAG, &message), "<body>A wind</body>")
        }
        RolePrivilege::InviteOthers => {
            let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{}'/></x>", user(CRONE));
            let told = stage.play(HAG, &format!("<message to='{ROOM}'>{x}</message>"));
            told.iter().any(|told| told.to == user(CRONE).as_str() && told.xml.contains("<invite"))
        }
        RolePrivilege::SendMessagesToAll => {
            reaches_owner(&stage.play(HAG, &to_room("<body>Harpier cries</body>")), "<body>Harpier cries</body>")
        }
        RolePrivilege::ModifySubject => {
            reaches_owner(&stage.play(HAG, &to_room("<subject>Spells</subject>")), "<subject>Spells</subject>")
        }
        RolePrivilege::KickParticipantsAndVisitors => [Role::Visitor, Role::Participant].iter().all(|role| {
            stage.enter(CRONE);
            stage.give_role(BARD, CRONE, *role).unwrap();
            stage.give_role(HAG, CRONE, Role::None).is_ok() && stage.role(CRONE) == Role::None
        }),
        RolePrivilege::GrantVoice => {
            stage.enter(CRONE);
            stage.give_role(BARD, CRONE, Role::Visitor).unwrap();
            stage.give_role(HAG, CRONE, Role::Participant).is_ok() && stage.role(CRONE) == Role::Participant
        }
        RolePrivilege::RevokeVoice => {
            stage.enter(CRONE);
            stage.give_role(BARD, CRONE, Role::Participant).unwrap();
            stage.give_role(HAG, CRONE, Role::Visitor).is_ok() && stage.role(CRONE) == Role::Visitor
        }
    }
}

// Proves: XEP-0045 §5.1.1
#[test]
fn every_cell_of_the_privileges_of_roles() {
    let table = rows(ROLE_PRIVILEGES);
    assert_eq!(table.len(), ROLES.len());
    let mut cells = 0;
    for ((name, row), data) in table.into_iter().zip(ROLES) {
        for (role, cell) in Role::ALL.iter().zip(row) {
            let privilege = data.privilege;
            let about = format!("{name}: {}", role.as_str());
            let (may, starred) = (cell.starts_with("Yes"), cell.ends_with('*'));
            assert_eq!(does(privilege, &mut standing(generous(), Affiliation::None, *role)), may, "{about}");
            assert_eq!(role_may(*role, privilege, &generous()), may, "{about}");
            // Nobody but an asterisk lets the configuration take it away.
            let strictly = does(privilege, &mut standing(strict(), Affiliation::None, *role));
            assert_eq!(strictly, role_may(*role, privilege, &strict()), "{about}");
            let kept = match privilege {
                // The configuration could take these away, and does not.
                RolePrivilege::ChangeAvailability | RolePrivilege::ChangeNick => may,
                // Those who have voice may whisper by the table; a room that keeps it to moderators is stricter (§16.5.3).
                RolePrivilege::SendPrivateMessages => *role == Role::Moderator,
                _ => may && !starred,
            };
            assert_eq!(strictly, kept, "{about}");
            assert!(!starred || data.configurable, "{about}");
            cells += 1;
        }
    }
    assert_eq!(cells, 13 * 4);
}

// Proves: XEP-0045 §5.1.2
#[test]
fn every_cell_of_the_default_roles() {
    let columns = [Affiliation::None, Affiliation::Member, Affiliation::Admin, Affiliation::Owner];
    let mut cells = 0;
    for (name, row) in rows(DEFAULT_ROLES) {
        let config = match name {
            "Moderated" => RoomConfig { moderated: true, ..RoomConfig::default() },
            "Members-Only" => RoomConfig { members_only: true, ..RoomConfig::default() },
            _ => RoomConfig::default(),
        };
        for (affiliation, cell) in columns.into_iter().zip(row) {
            let mut stage = Stage::new(config.clone());
            stage.affiliate(HAG, affiliation);
            let told = stage.enter(HAG);
            let expected = Role::parse(&cell.to_lowercase());
            assert_eq!(default_role(affiliation, &config), expected, "{name}: {affiliation:?}");
            assert_eq!(stage.role(HAG), expected.unwrap_or(Role::None), "{name}: {affiliation:?}");
            match expected {
                Some(role) => {
                    let said = format!(
                        "affiliation='{}' jid='{}' role='{}'",
                        affiliation.as_str(),
                        session(HAG),
                        role.as_str()
                    );
                    assert!(heard(&told, HAG, &[&said, "code='110'"]).is_some(), "{name}: {told:?}");
                }
                None => assert_eq!(condition(&told[0].xml), "registration-required", "{name}"),
            }
            cells += 1;
        }
    }
    assert_eq!(cells, 4 * 4);
}

/// Everybody who might want something: in the room in any role that his affiliation allows, or outside.
fn actors() -> Vec<(Affiliation, Role)> {
    let mut all = Vec::new();
    for affiliation in [Affiliation::None, Affiliation::Member, Affiliation::Admin, Affiliation::Owner] {
        for role in Role::ALL {
            // Whoever is a moderator by his affiliation stays one.
            if affiliation < Affiliation::Admin || matches!(role, Role::None | Role::Moderator) {
                all.push((affiliation, *role));
            }
        }
    }
    all
}

/// What comes of the wish of an actor to change the role of a target, read from §5.1.3 and its notes, §8.2, §8.4, §9.6
/// and §9.7.
fn expected_role_change(
    (own, own_role): (Affiliation, Role),
    (affiliation, role): (Affiliation, Role),
    (to, cell): (Role, &str),
) -> Result<(), &'static str> {
    let is_admin = own >= Affiliation::Admin;
    if !is_admin && own_role != Role::Moderator {
        return Err("forbidden");
    }
    // Who has the role already is none who changes.
    if role == to {
        return Ok(());
    }
    // §9.6: to make moderators is for admins.
    if to == Role::Moderator && !is_admin {
        return Err("forbidden");
    }
    let is_above = affiliation > own;
    // §8.4, §9.7: neither voice nor the role of a moderator is taken from admins and owners, by anybody.
    let is_certain = affiliation >= Affiliation::Admin && matches!(to, Role::Visitor | Role::Participant);
    let lacks_power = cell == "Admin" && !is_admin;
    if is_above || is_certain || lacks_power { Err("not-allowed") } else { Ok(()) }
}

// Proves: XEP-0045 §5.1.3, §8.2, §8.3, §8.4, §8.5, §9.6, §9.7, §9.8
#[test]
fn every_change_of_roles_by_everybody_to_everybody() {
    let mut changes = 0;
    for (from, row) in rows(ROLE_CHANGES) {
        let from = Role::parse(&from.to_lowercase()).unwrap();
        for (to, cell) in Role::ALL.iter().zip(row) {
            for (own, own_role) in actors() {
                for affiliation in [Affiliation::None, Affiliation::Member, Affiliation::Admin, Affiliation::Owner] {
                    if affiliation >= Affiliation::Admin && !matches!(from, Role::None | Role::Moderator) {
                        continue;
                    }
                    let mut stage = standing(generous(), own, own_role);
                    stage.affiliate(CRONE, affiliation);
                    if from != Role::None {
                        stage.enter(CRONE);
                        stage.give_role(BARD, CRONE, from).unwrap();
                    }
                    let done = stage.give_role(HAG, CRONE, *to);
                    let about = format!("{own:?} {own_role:?} makes {affiliation:?} {from:?} {to:?}");
                    // Whoever is not here has no role that could be changed; he enters himself.
                    let may_look = own >= Affiliation::Admin || own_role == Role::Moderator;
                    let expected = match cell {
                        _ if from == Role::None && may_look => Err("item-not-found"),
                        _ if from == Role::None => Err("forbidden"),
                        cell => expected_role_change((own, own_role), (affiliation, from), (*to, cell)),
                    };
                    assert_eq!(done, expected.map_err(str::to_owned), "{about}");
                    assert_eq!(stage.role(CRONE), if expected.is_ok() { *to } else { from }, "{about}");
                    changes += 1;
                }
            }
        }
    }
    // 14 actors; who is not here has one of four affiliations, visitors and participants one of two.
    assert_eq!(actors().len(), 12);
    assert_eq!(changes, 12 * 4 * (4 + 2 + 2 + 4));
}

// Proves: XEP-0045 §5.1.3
#[test]
fn every_way_into_a_role() {
    for (config, affiliation, role) in [
        (RoomConfig { moderated: true, ..RoomConfig::default() }, Affiliation::None, Role::Visitor),
        (RoomConfig::default(), Affiliation::None, Role::Participant),
        (RoomConfig::default(), Affiliation::Admin, Role::Moderator),
        (RoomConfig::default(), Affiliation::Owner, Role::Moderator),
    ] {
        let mut stage = Stage::new(config);
        stage.affiliate(HAG, affiliation);
        assert_eq!(stage.role(HAG), Role::None);
        stage.enter(HAG);
        assert_eq!(stage.role(HAG), role);
        stage.play(HAG, &format!("<presence type='unavailable' to='{ROOM}/{HAG}'/>"));
        assert_eq!(stage.role(HAG), Role::None);
    }
}

/// Whether somebody of that affiliation, who is not in the room, can do it.
fn can(privilege: AffiliationPrivilege, affiliation: Affiliation) -> bool {
    let mut config = RoomConfig { anonymity: Anonymity::NonAnonymous, ..RoomConfig::default() };
    config.members_only = privilege == AffiliationPrivilege::EnterMembersOnlyRoom;
    let mut stage = standing(config, affiliation, Role::None);
    let list = |affiliation: &str| {
        format!("<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='{affiliation}'/></query>")
    };
    match privilege {
        AffiliationPrivilege::EnterOpenRoom | AffiliationPrivilege::EnterMembersOnlyRoom => {
            stage.enter(HAG);
            stage.role(HAG) != Role::None
        }
        AffiliationPrivilege::RegisterWithOpenRoom => {
            let form = form(&[("muc#register_roomnick", &["thirdwitch"])]);
            let done = stage.ask(HAG, "set", &format!("<query xmlns='jabber:iq:register'>{form}</query>")).0;
            // Whoever is a member already keeps a nick and is what he was.
            let expected = if affiliation == Affiliation::None { Affiliation::Member } else { affiliation };
            assert_eq!(stage.affiliation(HAG), expected, "{affiliation:?}");
            done.is_ok()
        }
        AffiliationPrivilege::RetrieveMemberList => stage.ask(HAG, "get", &list("member")).0.is_ok(),
        AffiliationPrivilege::BanMembersAndUnaffiliated => {
            [Affiliation::None, Affiliation::Member].iter().all(|from| {
                stage.affiliate(CRONE, *from);
                let done = stage.give_affiliation(HAG, CRONE, Affiliation::Outcast);
                assert_eq!(stage.affiliation(CRONE) == Affiliation::Outcast, done.is_ok());
                done.is_ok()
            })
        }
        AffiliationPrivilege::EditMemberList => {
            let grants = stage.give_affiliation(HAG, CRONE, Affiliation::Member).is_ok();
            stage.affiliate(CRONE, Affiliation::Member);
            grants && stage.give_affiliation(HAG, CRONE, Affiliation::None).is_ok()
        }
        AffiliationPrivilege::AssignModeratorRole => {
            stage.enter(CRONE);
            let assigns = stage.give_role(HAG, CRONE, Role::Moderator).is_ok();
            stage.give_role(BARD, CRONE, Role::Moderator).unwrap();
            assigns && stage.give_role(HAG, CRONE, Role::Participant).is_ok()
        }
        AffiliationPrivilege::EditAdminList => {
            let grants = stage.give_affiliation(HAG, CRONE, Affiliation::Admin).is_ok();
            stage.affiliate(CRONE, Affiliation::Admin);
            grants && stage.give_affiliation(HAG, CRONE, Affiliation::None).is_ok()
        }
        AffiliationPrivilege::EditOwnerList => {
            let grants = stage.give_affiliation(HAG, CRONE, Affiliation::Owner).is_ok();
            stage.affiliate(CRONE, Affiliation::Owner);
            grants && stage.give_affiliation(HAG, CRONE, Affiliation::Admin).is_ok()
        }
        AffiliationPrivilege::ChangeConfiguration => {
            let shows = stage.own(HAG, "get", "").0.is_ok();
            let changes = stage.configure(HAG, &[("muc#roomconfig_roomname", &["The Heath"])]).0.is_ok();
            assert_eq!(stage.room.config.name == "The Heath", changes);
            assert_eq!(shows, changes);
            changes
        }
        AffiliationPrivilege::DestroyRoom => {
            let done = stage.own(HAG, "set", "<destroy/>").0.is_ok();
            assert_eq!(stage.is_closed, done);
            done
        }
    }
}

// Proves: XEP-0045 §5.2.1
#[test]
fn every_cell_of_the_privileges_of_affiliations() {
    let table = rows(AFFILIATION_PRIVILEGES);
    assert_eq!(table.len(), AFFILIATIONS.len());
    let mut cells = 0;
    let open = RoomConfig { anonymity: Anonymity::NonAnonymous, ..RoomConfig::default() };
    for ((name, row), data) in table.into_iter().zip(AFFILIATIONS) {
        for (affiliation, cell) in Affiliation::ALL.iter().zip(row) {
            // What is not applicable is refused to nobody.
            let may = cell != "No";
            assert_eq!(can(data.privilege, *affiliation), may, "{name}: {affiliation:?}");
            assert_eq!(affiliation_may(*affiliation, data.privilege, &open), may, "{name}: {affiliation:?}");
            cells += 1;
        }
    }
    assert_eq!(cells, 11 * 5);
}

// Proves: XEP-0045 §5.2.1
#[test]
fn members_do_not_see_the_addresses_of_a_semi_anonymous_room() {
    for affiliation in Affiliation::ALL {
        let mut stage = standing(RoomConfig::default(), *affiliation, Role::None);
        let list = "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>";
        let expected = *affiliation >= Affiliation::Admin;
        assert_eq!(stage.ask(HAG, "get", list).0.is_ok(), expected, "{affiliation:?}");
    }
}

// Proves: XEP-0045 §5.2.2, §9.1, §9.3, §9.4, §10.3, §10.4, §10.6, §10.7
#[test]
fn every_change_of_affiliations_by_everybody() {
    let mut changes = 0;
    for (from, row) in rows(AFFILIATION_CHANGES) {
        let from = Affiliation::parse(&from.to_lowercase()).unwrap();
        for (to, cell) in Affiliation::ALL.iter().zip(row) {
            for own in Affiliation::ALL {
                let mut stage = standing(RoomConfig::default(), *own, Role::None);
                stage.affiliate(CRONE, from);
                let done = stage.give_affiliation(HAG, CRONE, *to);
                let about = format!("{own:?} makes {from:?} {to:?}");
                let expected = match (own, cell) {
                    (Affiliation::Owner, _) | (Affiliation::Admin, "Admin") => Ok(()),
                    // Nothing is changed, and no admin names those who stand above members.
                    (Affiliation::Admin, "--") if from < Affiliation::Admin => Ok(()),
                    // §9.1: whom one may not ban.
                    (Affiliation::Admin, _) if *to == Affiliation::Outcast => Err("not-allowed".to_owned()),
                    _ => Err("forbidden".to_owned()),
                };
                assert_eq!(done, expected, "{about}");
                assert_eq!(stage.affiliation(CRONE), if expected.is_ok() { *to } else { from }, "{about}");
                changes += 1;
            }
        }
    }
    assert_eq!(changes, 5 * 5 * 5);
}

//! The tables of XEP-0045 §5 as data, and the questions that are answered from them.
//!
//! A privilege belongs to a role or to an affiliation. What the configuration of a room may change about one is said in the
//! table, and whoever asks brings the configuration along ([`RoomConfig`]); nothing else in the room decides who may do
//! what.

use super::association::{Affiliation, Role};
use super::room_config::{Anonymity, PrivateMessages, RoomConfig};

/// What a role allows (§5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RolePrivilege {
    PresentInRoom,
    ReceiveMessages,
    ReceiveOccupantPresence,
    BroadcastPresence,
    ChangeAvailability,
    ChangeNick,
    SendPrivateMessages,
    InviteOthers,
    SendMessagesToAll,
    ModifySubject,
    KickParticipantsAndVisitors,
    GrantVoice,
    RevokeVoice,
}

/// What an affiliation allows (§5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AffiliationPrivilege {
    EnterOpenRoom,
    RegisterWithOpenRoom,
    RetrieveMemberList,
    EnterMembersOnlyRoom,
    BanMembersAndUnaffiliated,
    EditMemberList,
    AssignModeratorRole,
    EditAdminList,
    EditOwnerList,
    ChangeConfiguration,
    DestroyRoom,
}

/// A row of a table: the least that has the privilege, and whether the configuration may change that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<P, A> {
    pub(super) privilege: P,
    pub(super) least: A,
    pub(super) configurable: bool,
}

const fn role(privilege: RolePrivilege, least: Role, configurable: bool) -> Row<RolePrivilege, Role> {
    Row { privilege, least, configurable }
}

const fn affiliation(
    privilege: AffiliationPrivilege,
    least: Affiliation,
    configurable: bool,
) -> Row<AffiliationPrivilege, Affiliation> {
    Row { privilege, least, configurable }
}

/// §5.1.1, row by row.
pub(super) const ROLES: [Row<RolePrivilege, Role>; 13] = [
    role(RolePrivilege::PresentInRoom, Role::Visitor, false),
    role(RolePrivilege::ReceiveMessages, Role::Visitor, false),
    role(RolePrivilege::ReceiveOccupantPresence, Role::Visitor, false),
    role(RolePrivilege::BroadcastPresence, Role::Visitor, true),
    role(RolePrivilege::ChangeAvailability, Role::Visitor, true),
    role(RolePrivilege::ChangeNick, Role::Visitor, true),
    role(RolePrivilege::SendPrivateMessages, Role::Visitor, true),
    role(RolePrivilege::InviteOthers, Role::Visitor, true),
    role(RolePrivilege::SendMessagesToAll, Role::Participant, false),
    role(RolePrivilege::ModifySubject, Role::Moderator, true),
    role(RolePrivilege::KickParticipantsAndVisitors, Role::Moderator, false),
    role(RolePrivilege::GrantVoice, Role::Moderator, false),
    role(RolePrivilege::RevokeVoice, Role::Moderator, false),
];

/// §5.2.1, row by row. Whoever is a member already has no need to register.
pub(super) const AFFILIATIONS: [Row<AffiliationPrivilege, Affiliation>; 11] = [
    affiliation(AffiliationPrivilege::EnterOpenRoom, Affiliation::None, false),
    affiliation(AffiliationPrivilege::RegisterWithOpenRoom, Affiliation::None, false),
    affiliation(AffiliationPrivilege::RetrieveMemberList, Affiliation::Member, true),
    affiliation(AffiliationPrivilege::EnterMembersOnlyRoom, Affiliation::Member, false),
    affiliation(AffiliationPrivilege::BanMembersAndUnaffiliated, Affiliation::Admin, false),
    affiliation(AffiliationPrivilege::EditMemberList, Affiliation::Admin, false),
    affiliation(AffiliationPrivilege::AssignModeratorRole, Affiliation::Admin, false),
    affiliation(AffiliationPrivilege::EditAdminList, Affiliation::Owner, false),
    affiliation(AffiliationPrivilege::EditOwnerList, Affiliation::Owner, false),
    affiliation(AffiliationPrivilege::ChangeConfiguration, Affiliation::Owner, false),
    affiliation(AffiliationPrivilege::DestroyRoom, Affiliation::Owner, false),
];

/// Whether `role` has a privilege in a room of this configuration.
pub(super) fn role_may(role: Role, privilege: RolePrivilege, config: &RoomConfig) -> bool {
    let standard = ROLES.iter().any(|row| row.privilege == privilege && role >= row.least);
    match privilege {
        RolePrivilege::BroadcastPresence => standard && config.presence_broadcast.contains(role),
        RolePrivilege::SendPrivateMessages => {
            standard
                && match config.private_messages {
                    PrivateMessages::Anyone => true,
                    PrivateMessages::Participants => role >= Role::Participant,
                    PrivateMessages::Moderators => role == Role::Moderator,
                    PrivateMessages::Nobody => false,
                }
        }
        RolePrivilege::InviteOthers => standard && (config.invites || role == Role::Moderator),
        RolePrivilege::ModifySubject => standard || (config.change_subject && role >= Role::Participant),
        _ => standard,
    }
}

/// Whether `affiliation` has a privilege in a room of this configuration.
pub(super) fn affiliation_may(affiliation: Affiliation, privilege: AffiliationPrivilege, config: &RoomConfig) -> bool {
    let standard = AFFILIATIONS.iter().any(|row| row.privilege == privilege && affiliation >= row.least);
    match privilege {
        // §5.2.1: the list shows addresses, which a semi-anonymous room hides from its members.
        AffiliationPrivilege::RetrieveMemberList => {
            standard && (config.anonymity == Anonymity::NonAnonymous || affiliation >= Affiliation::Admin)
        }
        _ => standard,
    }
}

/// The role in which somebody enters (§5.1.2); `None` where he may not.
pub(super) fn default_role(affiliation: Affiliation, config: &RoomConfig) -> Option<Role> {
    let entry = if config.members_only {
        AffiliationPrivilege::EnterMembersOnlyRoom
    } else {
        AffiliationPrivilege::EnterOpenRoom
    };
    if !affiliation_may(affiliation, entry, config) {
        return None;
    }
    Some(match affiliation {
        Affiliation::Owner | Affiliation::Admin => Role::Moderator,
        Affiliation::Member => Role::Participant,
        Affiliation::None | Affiliation::Outcast if config.moderated => Role::Visitor,
        Affiliation::None | Affiliation::Outcast => Role::Participant,
    })
}

/// Whether somebody of the affiliation `actor` may change the affiliation of somebody else (§5.2.2).
///
/// Owners may change everything, admins only who is a member and who is banned, among those that are neither admins nor
/// owners. That the last owner stays is another rule, of the room.
pub(super) fn may_change_affiliation(actor: Affiliation, from: Affiliation, to: Affiliation) -> bool {
    match actor {
        Affiliation::Owner => true,
        Affiliation::Admin => from < Affiliation::Admin && to < Affiliation::Admin,
        Affiliation::Member | Affiliation::None | Affiliation::Outcast => false,
    }
}

/// Who changes the role of an occupant, or whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) affiliation: Affiliation,
    pub(super) role: Role,
}

/// Whether `actor` may give `target` the role `to` (§5.1.3, §8.2, §9.6): nobody touches those who are above him, and only
/// admins and owners make and unmake moderators.
pub(super) fn may_change_role(actor: Standing, target: Standing, to: Role) -> bool {
    if actor.role != Role::Moderator {
        // An admin or owner may do it from outside the room as well.
        if actor.affiliation < Affiliation::Admin {
            return false;
        }
    }
    if target.affiliation > actor.affiliation {
        return false;
    }
    // §8.4: whoever is a moderator by his affiliation keeps voice and the role as long as he is in the room.
    if target.affiliation >= Affiliation::Admin && !matches!(to, Role::None | Role::Moderator) {
        return false;
    }
    if target.role == Role::Moderator || to == Role::Moderator {
        return actor.affiliation >= Affiliation::Admin;
    }
    true
}

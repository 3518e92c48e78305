//! What the owners of a room decide, typed. The form in which they do so is `config_form`'s business.

use serde::{Deserialize, Serialize};

use crate::secret::{Secret, spelled_out};

use super::association::Role;

/// The configuration of a room. A field that a stored one does not have is that of the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RoomConfig {
    /// For people (`muc#roomconfig_roomname`).
    pub(super) name: String,
    /// `muc#roomconfig_roomdesc`.
    pub(super) description: String,
    /// `muc#roomconfig_lang`.
    pub(super) language: String,
    /// The room stays when nobody is in it (`muc#roomconfig_persistentroom`).
    pub(super) persistent: bool,
    /// It is in the list of rooms (`muc#roomconfig_publicroom`).
    pub(super) public: bool,
    /// `muc#roomconfig_membersonly`.
    pub(super) members_only: bool,
    /// Whoever has no affiliation enters without voice (`muc#roomconfig_moderatedroom`).
    pub(super) moderated: bool,
    /// `muc#roomconfig_roomsecret`; without one the room needs none.
    pub(super) password: Option<RoomPassword>,
    /// Who sees real addresses (`muc#roomconfig_whois`).
    pub(super) anonymity: Anonymity,
    /// `muc#roomconfig_maxusers`; without it, as many as the service allows.
    pub(super) max_occupants: Option<usize>,
    /// Whether participants may change the subject (`muc#roomconfig_changesubject`).
    pub(super) change_subject: bool,
    /// Whether occupants who are no moderators may invite (`muc#roomconfig_allowinvites`).
    pub(super) invites: bool,
    /// `muc#roomconfig_allowpm`.
    pub(super) private_messages: PrivateMessages,
    /// Whose presence is told to all (`muc#roomconfig_presencebroadcast`).
    pub(super) presence_broadcast: Roles,
    /// What is said is kept for its occupants to read (`muc#roomconfig_enablelogging`). Only a persistent room does keep it,
    /// but all of them say so: it may become one.
    pub(super) archive: bool,
    /// How many messages are shown to who enters (`muc#maxhistoryfetch`).
    pub(super) history: usize,
    /// Whether people who are no members yet may ask to be (`muc#roomconfig_allowregister`).
    pub(super) registration: bool,
    /// Whether whoever is outside may see who is in the room (`muc#roomconfig_listoccupants`).
    pub(super) occupants_listed: bool,
    /// `muc#roomconfig_pubsub`.
    pub(super) pubsub: String,
    /// Hashes of the pictures on the room's card (XEP-0486).
    pub(super) avatar: Vec<String>,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            language: String::new(),
            persistent: false,
            public: true,
            members_only: false,
            moderated: false,
            password: None,
            anonymity: Anonymity::SemiAnonymous,
            max_occupants: None,
            change_subject: false,
            invites: true,
            private_messages: PrivateMessages::Anyone,
            presence_broadcast: Roles::ALL,
            archive: true,
            history: Self::HISTORY,
            registration: true,
            occupants_listed: false,
            pubsub: String::new(),
            avatar: Vec::new(),
        }
    }
}

impl RoomConfig {
    /// Messages that are shown to who enters if nobody says otherwise.
    pub(super) const HISTORY: usize = 20;

    /// The most that an owner may set.
    pub(super) const MOST_HISTORY: usize = 100;

    /// Whether people have to know that what they say may stay, for others to read.
    pub(super) const fn is_logged(&self) -> bool {
        self.archive
    }
}

/// Who sees the real addresses of occupants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Anonymity {
    /// Everybody.
    NonAnonymous,
    /// Moderators.
    SemiAnonymous,
}

/// Who may write to single occupants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PrivateMessages {
    Anyone,
    Participants,
    Moderators,
    Nobody,
}

/// A set of roles other than `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roles {
    pub(super) moderator: bool,
    pub(super) participant: bool,
    pub(super) visitor: bool,
}

impl Roles {
    pub(super) const ALL: Self = Self { moderator: true, participant: true, visitor: true };

    pub(super) const fn contains(self, role: Role) -> bool {
        match role {
            Role::Moderator => self.moderator,
            Role::Participant => self.participant,
            Role::Visitor => self.visitor,
            Role::None => false,
        }
    }
}

/// What somebody has to know to enter, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RoomPassword(#[serde(with = "spelled_out")] pub(super) Secret);

//! One room: what it is, and what it makes of a command.
//!
//! Everything is decided here and in the files that go on with `impl Room`; nothing is brought about.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, Payload, PresenceType, Stanza, StanzaError};

use super::super::xep_0359_stanza_ids::api::Ids;
use super::super::xep_0421_occupant_ids::api::OccupantIds;
use super::association::{Affiliation, Role};
use super::command::{Call, Command, Moment};
use super::effect::{Change, Effect, Effects, Face};
use super::forwarding::Forwarded;
use super::history::History;
use super::item::{Item, Status, Why, x};
use super::occupant::{Affiliated, Number, Occupant, Occupants};
use super::request::Request;
use super::room_config::{Anonymity, RoomConfig};
use super::subject::Subject;
use crate::stanza::CLIENT_NS;

/// What all rooms of a server have in common.
pub(super) struct Keys {
    /// Of messages.
    pub(super) ids: Ids,
    pub(super) occupant_ids: OccupantIds,
}

/// What one room and one occupant may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) occupants: usize,
    /// Messages of one occupant in the long run, each second, and how many seconds' worth of them at once.
    pub(super) messages_per_second: usize,
    pub(super) burst: usize,
}

/// A room.
pub(super) struct Room {
    pub(super) jid: BareJid,
    pub(super) config: RoomConfig,
    pub(super) affiliations: BTreeMap<BareJid, Affiliated>,
    pub(super) occupants: Occupants,
    /// What was set last, if anything was.
    pub(super) subject: Option<Subject>,
    pub(super) history: History,
    pub(super) forwarded: Forwarded,
    pub(super) keys: Arc<Keys>,
    pub(super) bounds: Bounds,
    /// Nobody but its owners enters before one of them has configured it (XEP-0045§10.1.1).
    pub(super) locked: bool,
}

impl Room {
    /// A room that `owner` makes; it is locked.
    pub(super) fn new(jid: BareJid, owner: BareJid, config: RoomConfig, keys: Arc<Keys>, bounds: Bounds) -> Self {
        let known = Affiliated { affiliation: Affiliation::Owner, nick: None, reason: None };
        let mut room = Self::stored(jid, config, keys, bounds);
        room.affiliations.insert(owner, known);
        room.locked = true;
        room
    }

    /// A room of which storage has the configuration; whoever reads it adds the rest.
    pub(super) fn stored(jid: BareJid, config: RoomConfig, keys: Arc<Keys>, bounds: Bounds) -> Self {
        Self {
            jid,
            config,
            affiliations: BTreeMap::new(),
            occupants: Occupants::default(),
            subject: None,
            history: History::default(),
            forwarded: Forwarded::default(),
            keys,
            bounds,
            locked: false,
        }
    }

    pub(super) const fn is_locked(&self) -> bool {
        self.locked
    }

    /// The affiliation of whoever calls.
    pub(super) fn affiliation_of(&self, call: &Call<'_>) -> Affiliation {
        if call.is_admin { Affiliation::Owner } else { self.kept_affiliation(&call.from.to_bare()) }
    }

    /// The occupant whose session calls.
    pub(super) fn occupant_of(&self, call: &Call<'_>) -> Option<&Occupant> {
        self.occupants.at(call.from)
    }

    /// What follows from a command, the answer to whoever gave it among it.
    pub(super) fn apply(&mut self, at: Moment, call: &Call<'_>, command: Command) -> Effects {
        let mut effects = Effects::default();
        self.note_heard(call.from, at.now);
        let done = match command {
            Command::Enter(entry) => self.enter(&at, call, &entry, &mut effects),
            Command::Present => self.present(&at, call, &mut effects),
            Command::Leave => self.leave(call, &mut effects),
            Command::Gone => self.gone(call.from, &mut effects),
            Command::Say(speech) => self.say(at, call, speech, &mut effects),
            Command::Whisper => self.whisper(&at, call, &mut effects),
            Command::Write => self.write_to_room(&at, call, &mut effects),
            Command::Ask(request) => self.ask(&at, call, request, &mut effects),
            Command::Forward => self.forward(call, &mut effects),
            Command::Answer => self.answer_forwarded(call, &mut effects),
        };
        if let Err(error) = done {
            self.refuse(call, &error, &mut effects);
        }
        effects
    }

    /// Tells whoever calls that it is not to be.
    pub(super) fn refuse(&self, call: &Call<'_>, error: &StanzaError, effects: &mut Effects) {
        if let Some(mut answer) = call.stanza.error(error) {
            answer.to = None;
            effects.send(call.from, Arc::new(answer));
        }
    }

    fn ask(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        request: Request,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let payload = match request {
            Request::Owner(request) => self.asked_by_owner(at, call, request, effects)?,
        };
        let mut answer = call.stanza.result();
        answer.to = None;
        if let Some(payload) = payload {
            answer.payload = payload.into();
        }
        effects.send(call.from, Arc::new(answer));
        Ok(())
    }

    /// A message to the room that is for none of its occupants (XEP-0045§7.8.2, §7.13).
    fn write_to_room(&mut self, _at: &Moment, _call: &Call<'_>, _effects: &mut Effects) -> Result<(), StanzaError> {
        Err(StanzaError::new(Condition::BadRequest, "a message to everybody is of type groupchat"))
    }

    /// Whether the presence of an occupant is told to the others.
    pub(super) fn is_shown(&self, number: Number) -> bool {
        self.occupants.get(number).is_some_and(|occupant| self.config.presence_broadcast.contains(occupant.role))
    }

    /// Writes the presence of an occupant anew, as others see it.
    pub(super) fn refresh(&mut self, number: Number) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let face = self.face_with(occupant, None, &[]);
        if let Some(occupant) = self.occupants.get_mut(number) {
            occupant.face = face;
        }
    }

    /// The presence of an occupant who is here, with what is said of him at this moment.
    pub(super) fn face_with(&self, occupant: &Occupant, why: Option<&Why>, statuses: &[Status]) -> Face {
        let presence = occupant.first().map_or(Payload::EMPTY, |session| session.presence.clone());
        let item = Item {
            affiliation: occupant.affiliation,
            role: occupant.role,
            jid: occupant.first().map(|session| &session.jid),
            nick: None,
            why,
        };
        self.face(occupant, PresenceType::Available, presence.as_str(), (item, &[]), statuses)
    }

    /// That an occupant is not here any more for those who are told.
    pub(super) fn gone_face(&self, occupant: &Occupant, why: Option<&Why>, statuses: &[Status]) -> Face {
        let item = Item {
            affiliation: occupant.affiliation,
            role: Role::None,
            jid: occupant.first().map(|session| &session.jid),
            nick: None,
            why,
        };
        self.face(occupant, PresenceType::Unavailable, "", (item, &[]), statuses)
    }
}

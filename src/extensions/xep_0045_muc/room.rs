//! One room: what it is, and what it makes of a command.
//!
//! Everything is decided here and in the files that go on with `impl Room`; nothing is brought about.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::hooks::discovery::About;
use crate::hooks::form::{NS as FORM_NS, Submission};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, MessageType, Stanza, StanzaError};
use crate::xml::Element;

use super::super::MUC_USER_NS as USER_NS;
use super::super::xep_0359_stanza_ids::api::Ids;
use super::super::xep_0421_occupant_ids::api::OccupantIds;
use super::association::Affiliation;
use super::command::{Call, Command, Moment};
use super::effect::Effects;
use super::forwarding::Forwarded;
use super::history::History;
use super::invite::Invitations;
use super::occupant::{Affiliated, Occupant, Occupants};
use super::petition::Petitions;
use super::rate::Rate;
use super::request::Request;
use super::room_config::RoomConfig;
use super::subject::Subject;
use super::{register, voice};

/// What all rooms of a server have in common.
pub(super) struct Keys {
    /// Of messages.
    pub(super) ids: Arc<Ids>,
    pub(super) occupant_ids: OccupantIds,
    /// What every room can do.
    pub(super) features: About,
}

/// What one room and one occupant may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) occupants: usize,
    /// What one occupant says, and how often he comes and shows something else of himself.
    pub(super) messages: Rate,
}

impl Bounds {
    /// Nothing is bounded.
    pub(super) const fn none() -> Self {
        Self { occupants: usize::MAX, messages: Rate { per_second: 0, burst: 0 } }
    }
}

/// A room.
pub(super) struct Room {
    pub(super) jid: BareJid,
    pub(super) config: RoomConfig,
    pub(super) affiliations: BTreeMap<BareJid, Affiliated>,
    /// Whose nicks nobody else may have.
    pub(super) reserved: HashMap<String, BareJid>,
    pub(super) occupants: Occupants,
    /// What was set last, if anything was.
    pub(super) subject: Option<Subject>,
    pub(super) history: History,
    pub(super) forwarded: Forwarded,
    pub(super) keys: Arc<Keys>,
    pub(super) bounds: Bounds,
    /// Grows with each change of the configuration.
    pub(super) version: u32,
    /// Its card, while it is not stored (XEP-0486).
    pub(super) card: Option<String>,
    pub(super) invitations: Invitations,
    pub(super) petitions: Petitions,
    /// Nobody but its owners enters before one of them has configured it (XEP-0045 §10.1.1).
    pub(super) locked: bool,
}

impl Room {
    /// A room that `owner` makes; it is locked.
    pub(super) fn new(jid: BareJid, owner: &BareJid, config: RoomConfig, keys: Arc<Keys>, bounds: Bounds) -> Self {
        let known = Affiliated { affiliation: Affiliation::Owner, nick: None, reason: None };
        let mut room = Self::stored(jid, config, keys, bounds);
        room.know(owner, Some(known));
        room.locked = true;
        room
    }

    /// A room of which storage has the configuration; whoever reads it adds the rest.
    pub(super) fn stored(jid: BareJid, config: RoomConfig, keys: Arc<Keys>, bounds: Bounds) -> Self {
        Self {
            jid,
            config,
            affiliations: BTreeMap::new(),
            reserved: HashMap::new(),
            occupants: Occupants::default(),
            subject: None,
            history: History::default(),
            forwarded: Forwarded::default(),
            keys,
            bounds,
            version: 0,
            card: None,
            invitations: Invitations::default(),
            petitions: Petitions::default(),
            locked: false,
        }
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
        let done = match command {
            Command::Enter(entry) => self.enter(&at, call, &entry, &mut effects),
            Command::Present => self.present(&at, call, &mut effects),
            Command::Leave => self.leave(call, &mut effects),
            Command::Gone => self.gone(call.from, &mut effects),
            Command::Say(speech) => self.say(at, call, speech, &mut effects),
            Command::Whisper => self.whisper(&at, call, &mut effects),
            Command::Write => self.write_to_room(&at, call, &mut effects),
            Command::Read(asked) => self.read(call, asked, &mut effects),
            Command::Ask(request) => self.ask(at, call, request, &mut effects),
            Command::Forward => self.forward(call, &mut effects),
            Command::Answer => self.answer_forwarded(call, &mut effects),
        };
        if let Err(error) = done {
            effects.answer(call, Err(error));
        }
        effects
    }

    /// A message that the room sends of its own accord, to nobody yet.
    pub(super) fn letter(&self, content: Element) -> Stanza<'static> {
        let letter = Stanza::new(Kind::Message(MessageType::Normal)).from(Jid::from(self.jid.clone()));
        letter.payload(content)
    }

    fn ask(&mut self, at: Moment, call: &Call<'_>, request: Request, effects: &mut Effects) -> Result<(), StanzaError> {
        // §7.2.10: for everybody else it is not there yet.
        if self.locked && self.affiliation_of(call) != Affiliation::Owner {
            return Err(Condition::ItemNotFound.into());
        }
        let payload = match request {
            Request::About(request) => self.asked_about(call, &request)?,
            Request::Ping => None,
            Request::Admin(request) => self.asked_by_admin(call, request, effects)?,
            Request::Card(card) => self.asked_to_show_card(call, card, effects)?,
            Request::Moderate(moderation) => self.asked_to_moderate(at, call, &moderation, effects)?,
            Request::Owner(request) => self.asked_by_owner(call, request, effects)?,
            Request::Register(request) => self.asked_to_register(&at, call, request, effects)?,
        };
        effects.answer(call, Ok(payload));
        Ok(())
    }

    /// A message to the room that is for none of its occupants (XEP-0045 §7.8.2, §7.13).
    fn write_to_room(&mut self, at: &Moment, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        for element in call.stanza.payload.elements() {
            if element.is("x", USER_NS) {
                return self.mediate(at, call, &element, effects);
            }
            if element.is("x", FORM_NS) {
                return self.hear(at, call, &element, effects);
            }
        }
        Err(StanzaError::new(Condition::BadRequest, "a message to everybody is of type groupchat"))
    }

    /// A form that nobody was asked for by an IQ: requests, and what is decided about them.
    fn hear(&mut self, at: &Moment, call: &Call<'_>, form: &Element, effects: &mut Effects) -> Result<(), StanzaError> {
        if form.attribute("type") == Some("cancel") {
            return Ok(());
        }
        let form = Submission::read(form)?;
        match form.about() {
            Some(voice::ABOUT) => self.hear_of_voice(at, call, &form, effects),
            Some(register::ABOUT) => self.hear_of_membership(call, &form, effects),
            _ => Err(StanzaError::new(Condition::BadRequest, "what is the form about?")),
        }
    }
}

//! One room: what it is, and what it makes of a command.
//!
//! Everything is decided here and in the files that go on with `impl Room`; nothing is brought about.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::hooks::discovery::About;
use crate::hooks::form::{NS as FORM_NS, Submission};
use crate::jid::BareJid;
use crate::stanza::{CLIENT_NS, Condition, Kind, Payload, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::super::xep_0359_stanza_ids::api::Ids;
use super::super::xep_0421_occupant_ids::api::{self as occupant_ids, OccupantIds};
use super::api::USER_NS;
use super::association::{Affiliation, Role};
use super::command::{Call, Command, Moment};
use super::effect::{Effect, Effects, Face};
use super::forwarding::Forwarded;
use super::history::History;
use super::invite::Invitations;
use super::item::{Item, Status, Why, x};
use super::occupant::{Affiliated, Number, Occupant, Occupants};
use super::petition::Petitions;
use super::privileges::{RolePrivilege, role_may};
use super::rate::Rate;
use super::request::Request;
use super::room_config::{Anonymity, RoomConfig};
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
    /// What one occupant says.
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
            Command::Present => self.present(call, &mut effects),
            Command::Leave => self.leave(call, &mut effects),
            Command::Gone => self.gone(call.from, &mut effects),
            Command::Say(speech) => self.say(at, call, speech, &mut effects),
            Command::Whisper => self.whisper(&at, call, &mut effects),
            Command::Write => self.write_to_room(&at, call, &mut effects),
            // Whoever has the room has asked it whether it may be.
            Command::Read(_) => Ok(()),
            Command::Ask(request) => self.ask(at, call, request, &mut effects),
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
            Request::Owner(request) => self.asked_by_owner(&at, call, request, effects)?,
            Request::Register(request) => self.asked_to_register(&at, call, request, effects)?,
        };
        let mut answer = call.stanza.result();
        answer.to = None;
        if let Some(payload) = payload {
            answer.payload = payload.into();
        }
        effects.send(call.from, Arc::new(answer));
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

    /// Whether the presence of an occupant is told to the others.
    pub(super) fn is_shown(&self, number: Number) -> bool {
        self.occupants.get(number).is_some_and(|occupant| self.shows(occupant))
    }

    pub(super) fn shows(&self, occupant: &Occupant) -> bool {
        // Asked of everybody for each who enters: where thousands are silent, nothing else is looked up.
        self.config.presence_broadcast.contains(occupant.role)
            && role_may(occupant.role, RolePrivilege::BroadcastPresence, &self.config)
    }

    /// Writes the presence of an occupant anew, as others see it.
    pub(super) fn refresh(&mut self, number: Number) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let face = self.face_with(occupant, None, &[]);
        if let Some(occupant) = self.occupants.get_mut(number) {
            occupant.face = face;
        }
    }

    /// Tells everybody what an occupant says of himself, and his own sessions that this is he. The one that has said it
    /// gets the id with which it did.
    pub(super) fn tell_presence(&self, number: Number, asked: Option<&Call<'_>>, effects: &mut Effects) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let own = self.face_with(occupant, None, &[Status::SelfPresence]).open;
        for session in &occupant.sessions {
            match asked.filter(|call| *call.from == session.jid) {
                Some(call) => effects.send(&session.jid, with_id(&own, call)),
                None => effects.send(&session.jid, Arc::clone(&own)),
            }
        }
        if self.shows(occupant) {
            let (to, face) = (self.occupants.roll(), occupant.face.clone());
            effects.push(Effect::Tell { to, face, except: Some(number) });
        }
    }

    /// The presence of an occupant who is here, with what is said of him at this moment.
    pub(super) fn face_with(&self, occupant: &Occupant, why: Option<&Why>, statuses: &[Status]) -> Face {
        let first = occupant.first();
        let presence = first.map_or("", |session| session.presence.as_str());
        let item = item_of(occupant, occupant.role, why);
        let mut face = self.face(occupant, PresenceType::Available, presence, &Said { item, more: None, statuses });
        if let Some(language) = first.and_then(|session| session.language.as_ref()) {
            for stanza in [&mut face.open, &mut face.closed] {
                Arc::make_mut(stanza).lang = Some(language.clone().into());
            }
        }
        face
    }

    /// A presence from an occupant, and what the room says of him.
    pub(super) fn face(&self, occupant: &Occupant, kind: PresenceType, said: &str, about: &Said<'_>) -> Face {
        let write = |item: Item<'_>| {
            let mut payload = String::with_capacity(said.len() + 320);
            payload.push_str(said);
            occupant_ids::write_element(&mut payload, &occupant.id);
            let mut x = x(Some(item.to_element()), about.statuses);
            about.more.iter().for_each(|more| x.push((*more).clone()));
            x.write(&mut payload, CLIENT_NS);
            let stanza = Stanza::new(Kind::Presence(kind)).from(occupant.address.clone());
            Arc::new(stanza.payload(Payload::canonical(payload)))
        };
        let open = write(about.item);
        let closed = match self.config.anonymity {
            Anonymity::NonAnonymous => Arc::clone(&open),
            Anonymity::SemiAnonymous => write(Item { jid: None, ..about.item }),
        };
        Face { open, closed }
    }

    /// The form in which somebody sees others who has this role.
    pub(super) fn seen_by(role: Role, face: &Face) -> &Arc<Stanza<'static>> {
        if role == Role::Moderator { &face.open } else { &face.closed }
    }
}

/// What the room says of an occupant beside his presence.
pub(super) struct Said<'a> {
    pub(super) item: Item<'a>,
    /// Something else that belongs there.
    pub(super) more: Option<&'a Element>,
    pub(super) statuses: &'a [Status],
}

/// What an occupant is, or has become.
pub(super) fn item_of<'a>(occupant: &'a Occupant, role: Role, why: Option<&'a Why>) -> Item<'a> {
    let jid = occupant.first().map(|session| &session.jid);
    Item { affiliation: occupant.affiliation, role, jid, nick: None, why }
}

/// The same stanza with the id of the one that it answers, if that has one.
pub(super) fn with_id(stanza: &Arc<Stanza<'static>>, call: &Call<'_>) -> Arc<Stanza<'static>> {
    match &call.stanza.id {
        Some(id) => Arc::new(Stanza::clone(stanza).id(id.clone().into_owned())),
        None => Arc::clone(stanza),
    }
}

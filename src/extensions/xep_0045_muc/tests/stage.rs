//! Plays stanzas against one room.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::discovery::About;
use crate::jid::{BareJid, Jid};
use crate::stanza::Stanza;
use crate::storage::Storage;
use crate::stream::{ContentNamespace, read_back};

use super::super::super::xep_0359_stanza_ids::api::Ids;
use super::super::super::xep_0421_occupant_ids::api::OccupantIds;
use super::super::association::{Affiliation, Role};
use super::super::command::{Call, Moment};
use super::super::effect::{Change, Effect, Effects};
use super::super::moderation::Burial;
use super::super::occupant::Affiliated;
use super::super::rate::Rate;
use super::super::room::{Bounds, Keys, Room};
use super::super::room_config::RoomConfig;
use super::super::wire;

pub(super) const ROOM: &str = "coven@chat.shakespeare.lit";

/// The owner.
pub(super) const BARD: &str = "bard";

/// Somebody is told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) to: String,
    pub(super) xml: String,
}

pub(super) struct Stage {
    pub(super) room: Room,
    pub(super) seconds: i64,
    /// What was to be stored, in the order in which it was.
    pub(super) kept: Vec<Change>,
    /// What is to become a tombstone in the archive.
    pub(super) buried: Vec<Burial>,
    /// The room is no more.
    pub(super) is_closed: bool,
    storage: Storage,
}

/// The session of somebody who is called so.
pub(super) fn session(name: &str) -> String {
    format!("{name}@shakespeare.lit/pda")
}

pub(super) fn user(name: &str) -> BareJid {
    format!("{name}@shakespeare.lit").parse().unwrap()
}

impl Stage {
    /// A room that is configured so, and whose owner is in it.
    pub(super) fn new(config: RoomConfig) -> Self {
        let mut stage = Self::locked();
        stage.room.config = config;
        stage.room.locked = false;
        stage.enter(BARD);
        stage
    }

    /// A room that its owner is still to enter.
    pub(super) fn locked() -> Self {
        let storage = Storage::open_in_memory().unwrap();
        let (ids, occupant_ids) = (Arc::new(Ids::new(&[7; 32]).unwrap()), OccupantIds::new(&[7; 32]));
        let keys = Keys { ids, occupant_ids, features: About::default() };
        let bounds = Bounds { occupants: 100, messages: Rate { per_second: 0, burst: 0 } };
        let room = Room::new(ROOM.parse().unwrap(), &user(BARD), RoomConfig::default(), Arc::new(keys), bounds);
        Self { room, seconds: 1_000_000, kept: Vec::new(), buried: Vec::new(), is_closed: false, storage }
    }

    /// Makes somebody something, without a word to anybody.
    pub(super) fn affiliate(&mut self, name: &str, affiliation: Affiliation) {
        let known = Affiliated { affiliation, nick: None, reason: None };
        self.room.know(&user(name), Some(known).filter(|_| affiliation != Affiliation::None));
    }

    pub(super) fn affiliation(&self, name: &str) -> Affiliation {
        self.room.kept_affiliation(&user(name))
    }

    /// The role of somebody, who is here or not.
    pub(super) fn role(&self, name: &str) -> Role {
        let session: Jid = session(name).parse().unwrap();
        self.room.occupants.at(&session).map_or(Role::None, |occupant| occupant.role)
    }

    /// Somebody enters under his name.
    pub(super) fn enter(&mut self, name: &str) -> Vec<Told> {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        self.play(name, &format!("<presence to='{ROOM}/{name}'>{x}</presence>"))
    }

    /// Somebody sends a stanza.
    pub(super) fn play(&mut self, name: &str, xml: &str) -> Vec<Told> {
        self.play_from(&session(name), xml)
    }

    pub(super) fn play_from(&mut self, from: &str, xml: &str) -> Vec<Told> {
        let (_, stanza) = read_back(xml, ContentNamespace::Client).next().unwrap_or_else(|| panic!("no stanza: {xml}"));
        let from: Jid = from.parse().unwrap();
        let stanza = Stanza { from: Some(from.clone()), ..stanza };
        let to = stanza.to.clone().unwrap();
        let call = Call { from: &from, to: &to, stanza: &stanza, is_admin: false };
        let at = Moment { now: Timestamp::from_unix_ms(self.seconds * 1000), slot: Some(self.storage.slot()) };
        let effects = match wire::read(&stanza) {
            Ok(Some(command)) => self.room.apply(at, &call, command),
            Ok(None) => Effects::default(),
            Err(error) => {
                let mut effects = Effects::default();
                effects.answer(&call, Err(error));
                effects
            }
        };
        effects.into_all().into_iter().flat_map(|effect| self.follow(effect)).collect()
    }

    fn follow(&mut self, effect: Effect) -> Vec<Told> {
        match effect {
            Effect::Send { to, stanza } => vec![Told { to: to.to_string(), xml: stanza.to_xml() }],
            Effect::Show { to, stanzas } => {
                stanzas.iter().map(|stanza| Told { to: to.to_string(), xml: stanza.to_xml() }).collect()
            }
            Effect::Tell { to, face, except } => {
                let told = to.iter().filter(|receiver| Some(receiver.occupant) != except);
                told.map(|receiver| {
                    let stanza = if receiver.sees { &face.open } else { &face.closed };
                    Told { to: receiver.jid.to_string(), xml: stanza.to_xml() }
                })
                .collect()
            }
            Effect::Post(stanza) => vec![Told { to: stanza.to.as_ref().unwrap().to_string(), xml: stanza.to_xml() }],
            Effect::Keep(change) => {
                self.kept.push(change);
                Vec::new()
            }
            Effect::Bury(burial) => {
                self.buried.push(*burial);
                Vec::new()
            }
            Effect::Closed => {
                self.is_closed = true;
                Vec::new()
            }
            // What is in the archive is the business of others.
            Effect::Read(_) => Vec::new(),
        }
    }

    /// An IQ request to the room: what it is answered with, and what everybody is told beside that.
    pub(super) fn ask(&mut self, name: &str, kind: &str, payload: &str) -> (Result<String, String>, Vec<Told>) {
        let iq = format!("<iq type='{kind}' id='q' to='{ROOM}'>{payload}</iq>");
        let mut told = self.play(name, &iq);
        let at = told.iter().position(|told| told.to == session(name) && told.xml.starts_with("<iq"));
        let answer = told.remove(at.unwrap_or_else(|| panic!("no answer to {payload}"))).xml;
        let is_result = answer.starts_with("<iq type='result' id='q'");
        (if is_result { Ok(answer) } else { Err(condition(&answer)) }, told)
    }

    /// A change of roles or affiliations: whether it was made, or why not.
    pub(super) fn change(&mut self, name: &str, items: &str) -> (Result<(), String>, Vec<Told>) {
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{items}</query>");
        let (answer, told) = self.ask(name, "set", &query);
        (answer.map(|_| ()), told)
    }

    pub(super) fn give_role(&mut self, name: &str, nick: &str, role: Role) -> Result<(), String> {
        self.change(name, &format!("<item nick='{nick}' role='{}'/>", role.as_str())).0
    }

    pub(super) fn give_affiliation(&mut self, name: &str, whom: &str, affiliation: Affiliation) -> Result<(), String> {
        self.change(name, &format!("<item jid='{}' affiliation='{}'/>", user(whom), affiliation.as_str())).0
    }

    /// A request of owners.
    pub(super) fn own(&mut self, name: &str, kind: &str, inside: &str) -> (Result<String, String>, Vec<Told>) {
        self.ask(name, kind, &format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{inside}</query>"))
    }

    /// A configuration by form.
    pub(super) fn configure(&mut self, name: &str, fields: &[(&str, &[&str])]) -> (Result<(), String>, Vec<Told>) {
        let (answer, told) = self.own(name, "set", &form(fields));
        (answer.map(|_| ()), told)
    }
}

/// A form that is filled in.
pub(super) fn form(fields: &[(&str, &[&str])]) -> String {
    let field = |(var, values): &(&str, &[&str])| {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        format!("<field var='{var}'>{values}</field>")
    };
    let fields: String = fields.iter().map(field).collect();
    format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>")
}

/// The condition in an error.
pub(super) fn condition(answer: &str) -> String {
    let (_, rest) = answer.split_once("<error type='").unwrap_or_else(|| panic!("no error: {answer}"));
    let (_, rest) = rest.split_once("'><").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

/// What one of them is told that contains all of this.
pub(super) fn heard<'a>(told: &'a [Told], name: &str, parts: &[&str]) -> Option<&'a str> {
    let mut own = told.iter().filter(|told| told.to == session(name));
    own.find(|told| parts.iter().all(|part| told.xml.contains(part))).map(|told| told.xml.as_str())
}

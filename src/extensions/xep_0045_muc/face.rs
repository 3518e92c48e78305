//! The presence of an occupant as the room tells it (XEP-0045 §7.2.2): what he says of himself, and what the room says of him.

use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Kind, Payload, PresenceType, Stanza};
use crate::xml::Element;

use super::super::xep_0421_occupant_ids::api::write_element;
use super::association::Role;
use super::command::Call;
use super::effect::{Effects, Face};
use super::item::{Item, Status, Why, x};
use super::occupant::{Number, Occupant};
use super::privileges::{RolePrivilege, role_may};
use super::room::Room;
use super::room_config::Anonymity;

/// A presence from an occupant that is still to be written.
pub(super) struct Said<'a> {
    occupant: &'a Occupant,
    kind: PresenceType,
    /// What he says himself.
    words: &'a str,
    item: Item<'a>,
    /// Something else that belongs there.
    more: Option<&'a Element>,
    statuses: &'a [Status],
}

impl<'a> Said<'a> {
    /// He is here.
    pub(super) fn present(occupant: &'a Occupant, why: Option<&'a Why>, statuses: &'a [Status]) -> Self {
        let words = occupant.first().map_or("", |session| session.presence.as_str());
        let item = item(occupant, occupant.role, why);
        Self { occupant, kind: PresenceType::Available, words, item, more: None, statuses }
    }

    /// He is not here any more, and has said so with these words if it was his will.
    pub(super) fn gone(occupant: &'a Occupant, words: &'a str, why: Option<&'a Why>, statuses: &'a [Status]) -> Self {
        let item = item(occupant, Role::None, why);
        Self { occupant, kind: PresenceType::Unavailable, words, item, more: None, statuses }
    }

    /// He is here, and others do not see it any more.
    pub(super) fn hidden(occupant: &'a Occupant, why: Option<&'a Why>) -> Self {
        Self { item: item(occupant, occupant.role, why), ..Self::gone(occupant, "", why, &[]) }
    }

    /// He is called `nick` from now on (§7.6).
    pub(super) fn renamed(occupant: &'a Occupant, nick: Option<&'a str>, statuses: &'a [Status]) -> Self {
        let item = Item { nick, ..item(occupant, occupant.role, None) };
        Self { item, ..Self::gone(occupant, "", None, statuses) }
    }

    /// The room is no more, and what `destroyed` says (§10.9).
    pub(super) fn destroyed(occupant: &'a Occupant, destroyed: &'a Element) -> Self {
        Self { item: Item::NOBODY, more: Some(destroyed), ..Self::gone(occupant, "", None, &[]) }
    }

    /// For himself, and for whoever else sees his real address.
    pub(super) fn open(&self) -> Arc<Stanza<'static>> {
        self.write(self.item)
    }

    /// For everybody else.
    fn closed(&self) -> Arc<Stanza<'static>> {
        self.write(Item { jid: None, ..self.item })
    }

    fn write(&self, item: Item<'_>) -> Arc<Stanza<'static>> {
        let mut payload = String::with_capacity(self.words.len() + 320);
        payload.push_str(self.words);
        write_element(&mut payload, &self.occupant.id);
        let mut x = x(Some(item), self.statuses);
        self.more.iter().for_each(|more| x.push((*more).clone()));
        x.write(&mut payload, CLIENT_NS);
        let mut stanza = Stanza::new(Kind::Presence(self.kind)).from(self.occupant.address.clone());
        if self.kind == PresenceType::Available {
            let language = self.occupant.first().and_then(|session| session.language.clone());
            stanza.lang = language.map(Into::into);
        }
        Arc::new(stanza.payload(Payload::canonical(payload)))
    }
}

/// What an occupant is, or has become.
fn item<'a>(occupant: &'a Occupant, role: Role, why: Option<&'a Why>) -> Item<'a> {
    let jid = occupant.first().map(|session| &session.jid);
    Item { affiliation: occupant.affiliation, role, jid, nick: None, why }
}

impl Room {
    /// Both forms of a presence, for all in the room.
    pub(super) fn face(&self, said: &Said<'_>) -> Face {
        let open = said.open();
        let closed = match self.config.anonymity {
            Anonymity::NonAnonymous => Arc::clone(&open),
            Anonymity::SemiAnonymous => said.closed(),
        };
        Face { open, closed }
    }

    /// The form in which somebody sees others who has this role.
    pub(super) fn seen_by(role: Role, face: &Face) -> &Arc<Stanza<'static>> {
        if role == Role::Moderator { &face.open } else { &face.closed }
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
        let face = self.face(&Said::present(occupant, None, &[]));
        if let Some(occupant) = self.occupants.get_mut(number) {
            occupant.face = face;
        }
    }

    /// Tells everybody what an occupant says of himself, and his own sessions that this is he. The one that has said it
    /// gets the id with which it did.
    pub(super) fn tell_presence(&self, number: Number, asked: Option<&Call<'_>>, effects: &mut Effects) {
        self.tell_presence_with(number, &[Status::SelfPresence], asked, effects);
    }

    /// The same with more for his own sessions to know.
    pub(super) fn tell_presence_with(
        &self,
        number: Number,
        statuses: &[Status],
        asked: Option<&Call<'_>>,
        effects: &mut Effects,
    ) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let own = Said::present(occupant, None, statuses).open();
        for session in &occupant.sessions {
            effects.send(&session.jid, told(asked, &session.jid, &own));
        }
        self.tell_others(occupant, effects);
    }

    /// Tells everybody else of an occupant, if he is shown.
    pub(super) fn tell_others(&self, occupant: &Occupant, effects: &mut Effects) {
        if self.shows(occupant) {
            effects.tell(self.occupants.roll(), occupant.face.clone(), Some(occupant.number));
        }
    }
}

/// What is said to a session, with the id of what it has said itself, if that is why.
pub(super) fn told(call: Option<&Call<'_>>, session: &Jid, stanza: &Arc<Stanza<'static>>) -> Arc<Stanza<'static>> {
    match call.filter(|call| call.from == session).and_then(|call| call.stanza.id.as_deref()) {
        Some(id) => Arc::new(Stanza::clone(stanza).id(id.to_owned())),
        None => Arc::clone(stanza),
    }
}

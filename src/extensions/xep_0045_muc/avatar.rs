//! The card of a room with its picture (XEP-0486): owners write it, everybody may see it. That of a stored room is in
//! storage and not in memory: the room knows the hashes only.

use std::sync::PoisonError;

use crate::hooks::{Answer, Outbound, answering};
use crate::jid::BareJid;
use crate::stanza::{Condition, IqType, Kind, Stanza, StanzaError};
use crate::storage::Cell;
use crate::xml::Element;

use super::super::xep_0054_vcard::api::{NAME, NS};
use super::super::xep_0486_avatars::api::Card;
use super::command::Call;
use super::effect::{Change, Effects};
use super::privileges::{AffiliationPrivilege, affiliation_may};
use super::room::Room;
use super::room_config::RoomConfig;
use super::service::{Rooms, State};

/// The card, as XML.
pub(super) const CARD: Cell<String> = Cell::new("room-card");

/// Octets of the card of a room that is not stored, and is in memory with it.
const MOST_IN_MEMORY: usize = 16 * 1024;

/// Whether somebody asks for the card of a room.
pub(super) fn is_asked_for(stanza: &Stanza<'_>) -> bool {
    stanza.kind == Kind::Iq(IqType::Get)
        && stanza.to.as_ref().is_some_and(|to| to.is_bare())
        && stanza.payload.children().next().is_some_and(|child| child.name == NAME && child.ns == NS)
}

impl Room {
    /// XEP-0486#owner-publish.
    pub(super) fn asked_to_show_card(&mut self, call: &Call<'_>, card: Card, effects: &mut Effects) -> Answer {
        if !affiliation_may(self.affiliation_of(call), AffiliationPrivilege::ChangeConfiguration, &self.config) {
            return Err(StanzaError::new(Condition::Forbidden, "only owners set the picture of a room"));
        }
        if self.is_stored() {
            effects.keep(Change::Card(card.text));
        } else if card.text.as_ref().is_some_and(|text| text.len() > MOST_IN_MEMORY) {
            let text = format!("a room that is not persistent has a card of at most {MOST_IN_MEMORY} bytes");
            return Err(StanzaError::new(Condition::PolicyViolation, text));
        } else {
            self.card = card.text;
        }
        self.reconfigure(RoomConfig { avatar: card.hashes, ..self.config.clone() }, effects);
        Ok(None)
    }
}

impl Rooms {
    /// Somebody asks for the card of a room (XEP-0486#retrieve-vcard); the answer may come later.
    pub(super) fn show_card(&self, stanza: &Stanza<'_>) -> Option<Stanza<'static>> {
        let room = stanza.to.as_ref()?.to_bare();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&room).map(|listed| listed.stored);
        if known != Some(true) {
            return answering(stanza, self.card_in_memory(&room));
        }
        let stanza = stanza.borrow().into_owned();
        let (router, storage) = (self.router()?, self.storage.clone());
        // Without a runtime the server has ended.
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        runtime.spawn(async move {
            let card = CARD.get(&storage, &room).await.map_err(|error| {
                tracing::error!(%room, %error, "the card of a room could not be read");
                StanzaError::from(Condition::InternalServerError)
            });
            if let Some(answer) = answering(&stanza, card.map(|card| Some(written(card.as_deref())))) {
                Outbound::send(&*router, answer).await;
            }
        });
        None
    }

    /// The card of a room that is not stored. It is not there before its owner has unlocked it, and may have gone a moment
    /// ago.
    fn card_in_memory(&self, room: &BareJid) -> Answer {
        let place = self.place(room.as_str()).ok_or(Condition::ItemNotFound)?;
        match &*place.lock() {
            State::Here(hosted) if !hosted.room.locked => Ok(Some(written(hosted.room.card.as_deref()))),
            _ => Err(Condition::ItemNotFound.into()),
        }
    }
}

/// A card as it was written; an empty one where there is none.
fn written(card: Option<&str>) -> Element {
    card.and_then(|card| Element::parse(card, "").ok()).unwrap_or_else(|| Element::new(NAME, NS))
}

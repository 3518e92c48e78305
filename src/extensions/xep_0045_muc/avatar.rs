//! The card of a room with its picture (XEP-0486): owners write it, everybody may see it. It is in storage and not in the
//! memory of the room, which knows the hashes only.

use crate::hooks::Answer;
use crate::jid::BareJid;
use crate::stanza::{Condition, StanzaError};
use crate::storage::{Cell, Error, Storage};
use crate::xml::Element;

use super::super::xep_0054_vcard::api::{NAME, NS};
use super::super::xep_0486_avatars::api::Card;
use super::command::Call;
use super::effect::{Change, Effects};
use super::privileges::{AffiliationPrivilege, affiliation_may};
use super::room::Room;
use super::room_config::RoomConfig;

/// The card, as XML.
pub(super) const CARD: Cell<String> = Cell::new("room-card");

/// The card of a room, which is there; an empty one if it has none.
pub(super) async fn show(storage: &Storage, room: &BareJid) -> Answer {
    let card = CARD.get(storage, room).await.map_err(|error| failed(&error))?;
    let card = card.and_then(|card| Element::parse(&card, "").ok());
    Ok(Some(card.unwrap_or_else(|| Element::new(NAME, NS))))
}

fn failed(error: &Error) -> StanzaError {
    tracing::error!(%error, "the card of a room could not be read");
    Condition::InternalServerError.into()
}

impl Room {
    /// XEP-0486#owner-publish.
    pub(super) fn asked_to_show_card(&mut self, call: &Call<'_>, card: Card, effects: &mut Effects) -> Answer {
        if !affiliation_may(self.affiliation_of(call), AffiliationPrivilege::ChangeConfiguration, &self.config) {
            return Err(StanzaError::new(Condition::Forbidden, "only owners set the picture of a room"));
        }
        effects.keep(Change::Card(card.text));
        if card.hashes != self.config.avatar {
            self.reconfigure(RoomConfig { avatar: card.hashes, ..self.config.clone() }, effects);
        }
        Ok(None)
    }
}

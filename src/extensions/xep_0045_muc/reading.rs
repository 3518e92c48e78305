//! The archive of a room, which is not in memory (XEP-0313 §3.3.2).

use std::sync::Arc;

use crate::hooks::{Answer, Outbound, answering};
use crate::jid::{BareJid, Jid};
use crate::routing::Router;
use crate::stanza::{Condition, Kind, MessageType, Payload, Stanza, StanzaError};
use crate::xml::Element;

use super::super::xep_0313_archive::api::{Asked, Reader};
use super::association::{Affiliation, Role};
use super::command::Call;
use super::effect::{Effect, Effects};
use super::item::{Item, x};
use super::room::Room;
use super::room_config::Anonymity;
use super::service::Rooms;

/// How much somebody of another server gets at once.
const ABROAD: usize = 256 * 1024;

/// Somebody may read in the archive.
#[derive(Debug)]
pub(super) struct Reading {
    /// His real address.
    to: Jid,
    room: BareJid,
    request: Stanza<'static>,
    asked: Asked,
    /// He sees who has said something.
    sees: bool,
}

impl Room {
    /// A request to the archive.
    pub(super) fn read(&self, call: &Call<'_>, asked: Asked, effects: &mut Effects) -> Result<(), StanzaError> {
        let sees = self.may_read(call)?;
        let request = call.stanza.borrow().into_owned();
        let reading = Reading { to: call.from.clone(), room: self.jid.clone(), request, asked, sees };
        effects.push(Effect::Read(Box::new(reading)));
        Ok(())
    }

    /// Whether somebody may read the archive; says whether he sees who has said something.
    fn may_read(&self, call: &Call<'_>) -> Result<bool, StanzaError> {
        let affiliation = self.affiliation_of(call);
        if self.locked && affiliation != Affiliation::Owner {
            return Err(Condition::ItemNotFound.into());
        }
        if !self.has_archive() {
            return Err(Condition::ServiceUnavailable.into());
        }
        let occupant = self.occupant_of(call);
        // XEP-0313 §6.1.2: nobody reads without being seen who is not at home here.
        if affiliation == Affiliation::Outcast || (occupant.is_none() && affiliation < Affiliation::Member) {
            return Err(StanzaError::new(Condition::Forbidden, "the archive is for those who are in the room"));
        }
        let is_moderator = occupant.is_some_and(|occupant| occupant.role == Role::Moderator);
        let is_above = affiliation >= Affiliation::Admin;
        Ok(self.config.anonymity == Anonymity::NonAnonymous || is_moderator || is_above)
    }
}

impl Rooms {
    /// Has a task show somebody what he wants to read.
    pub(super) fn show_later(&self, reading: Reading) {
        let (Some(rooms), Some(router)) = (self.own(), self.router()) else { return };
        // Without a runtime the server has ended.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let answer = rooms.show(&router, &reading).await;
            if let Some(answer) = answering(&reading.request, answer) {
                Outbound::send(&*router, answer).await;
            }
        });
    }

    async fn show(&self, router: &Arc<Router>, reading: &Reading) -> Answer {
        let Reading { to, room, asked, sees, .. } = reading;
        let (sees, is_here) = (*sees, router.has_accounts(to.domain()));
        let space = || if is_here { Outbound::room(&**router, to) } else { ABROAD };
        let (results, answer) = self.archive.of_room(room, asked, Reader { sees, space }, author).await?;
        let messages = results.into_iter().map(|result| {
            let message = Stanza::new(Kind::Message(MessageType::Normal)).from(Jid::from(room.clone())).to(to.clone());
            message.payload(Payload::canonical(result))
        });
        if is_here {
            let texts: Vec<_> = messages.map(|message| message.to_xml()).collect();
            Outbound::write(&**router, to, &texts);
        } else {
            let mut batch = router.batch();
            // Whoever is gone reads nothing.
            messages.for_each(|message| drop(router.hand(&message, to, &mut batch)));
            batch.finish();
        }
        Ok(answer)
    }
}

/// Who has said something, in the words of the room (XEP-0313 §6.1.2).
fn author(jid: &Jid) -> Element {
    x(Some(Item { jid: Some(jid), ..Item::NOBODY }), &[])
}

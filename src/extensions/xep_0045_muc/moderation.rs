//! What somebody has said is taken back: by himself (XEP-0424) or by a moderator (XEP-0425). It goes out of the archive and
//! out of what is shown to who enters; a tombstone stays.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::Answer;
use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Condition, Kind, MessageType, Payload, Stanza, StanzaError};
use crate::storage::{Position, Slot};
use crate::xml::Element;

use super::super::xep_0160_offline::api::DELAY_NS;
use super::super::xep_0359_stanza_ids::api::NS as IDS_NS;
use super::super::xep_0421_occupant_ids::api::NS as OCCUPANT_NS;
use super::super::xep_0424_retraction::api::{is_final, taken_back, tombstone};
use super::super::xep_0425_moderation::api::{Moderation, Moderator};
use super::command::{Call, Moment};
use super::effect::{Effect, Effects, Face};
use super::privileges::{AffiliationPrivilege, RolePrivilege, affiliation_may, role_may};
use super::room::Room;

/// What is to be left of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Burial {
    pub(super) position: Position,
    /// Only if he has said it: the id of an occupant.
    pub(super) author: Option<Arc<str>>,
    pub(super) tombstone: Element,
}

impl Burial {
    /// What is left of `message`, if it is the one: whose it is and when it was stays, and that there was one.
    pub(super) fn of(&self, message: &Stanza<'_>) -> Option<Stanza<'static>> {
        let elements = message.payload.elements();
        let known = [("occupant-id", OCCUPANT_NS), ("stanza-id", IDS_NS), ("delay", DELAY_NS)];
        let is_known = |element: &&Element| known.contains(&(element.name(), element.ns()));
        let by = elements.iter().find(|element| element.is("occupant-id", OCCUPANT_NS));
        let by = by.and_then(|element| element.attribute("id"));
        let is_his = self.author.as_ref().is_none_or(|author| by == Some(&**author));
        if message.kind != Kind::Message(MessageType::Groupchat) || !is_his || is_final(message) {
            return None;
        }
        let mut payload = String::new();
        elements.iter().filter(is_known).chain([&self.tombstone]).for_each(|it| it.write(&mut payload, CLIENT_NS));
        Some(message.clone().into_owned().payload(Payload::canonical(payload)))
    }
}

impl Room {
    /// XEP-0425 §3.
    pub(super) fn asked_to_moderate(
        &mut self,
        at: Moment,
        call: &Call<'_>,
        moderation: &Moderation,
        effects: &mut Effects,
    ) -> Answer {
        let own = self.standing_of(call);
        // Whoever may ban may moderate, from outside as well.
        let may = role_may(own.role, RolePrivilege::KickParticipantsAndVisitors, &self.config)
            || affiliation_may(own.affiliation, AffiliationPrivilege::BanMembersAndUnaffiliated, &self.config);
        if !may {
            return Err(StanzaError::new(Condition::Forbidden, "moderators take messages of others back"));
        }
        let none = || StanzaError::new(Condition::ItemNotFound, "there is no such message");
        let position = self.keys.ids.position(&self.jid, &moderation.id).ok_or_else(none)?;
        let slot = at.slot.ok_or(Condition::InternalServerError)?;
        let occupant = self.occupant_of(call).map(|it| (it.address.clone(), Arc::clone(&it.id)));
        let (address, occupant) = occupant.unwrap_or_else(|| {
            (Jid::from(self.jid.clone()), self.keys.occupant_ids.id(&self.jid, &call.from.to_bare()).into())
        });
        let occupant = Element::new("occupant-id", OCCUPANT_NS).with("id", &occupant);
        let by = Moderator { address: address.as_str(), occupant: &occupant };
        let mut id = String::new();
        self.keys.ids.write(&mut id, &self.jid, slot.position());
        let tombstone = moderation.tombstone(by, &id, at.now);
        self.bury(Burial { position, author: None, tombstone }, effects);
        let mut payload = String::new();
        moderation.told(by).iter().for_each(|element| element.write(&mut payload, CLIENT_NS));
        let told = Stanza::new(Kind::Message(MessageType::Groupchat)).id(id).payload(Payload::canonical(payload));
        self.announce(slot, (told, at.now), call.from, effects);
        Ok(None)
    }

    /// XEP-0424 §3: somebody who is in the room takes back what he has said, by its id of the room.
    pub(super) fn note_retraction(&mut self, now: Timestamp, call: &Call<'_>, effects: &mut Effects) {
        let Some((of, id)) = taken_back(call.stanza) else { return };
        let Some(own) = self.occupant_of(call).map(|occupant| Arc::clone(&occupant.id)) else { return };
        let Some(position) = self.keys.ids.position(&self.jid, &of) else { return };
        self.bury(Burial { position, author: Some(own), tombstone: tombstone(&id, now) }, effects);
    }

    /// The room says something itself that the archive keeps.
    fn announce(&self, slot: Slot, (told, now): (Stanza<'static>, Timestamp), sender: &Jid, effects: &mut Effects) {
        let mut payload = String::from(told.payload.as_str());
        self.keys.ids.write_element(&mut payload, &self.jid, slot.position());
        let face = Face::alike(told.from(Jid::from(self.jid.clone())).payload(Payload::canonical(payload)));
        if self.has_archive() {
            self.archive(slot, &face, sender, now.unix_ms(), effects);
        }
        effects.tell(self.occupants.roll(), face, None);
    }

    fn bury(&mut self, burial: Burial, effects: &mut Effects) {
        self.history.bury(&burial);
        effects.push(Effect::Bury(Box::new(burial)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::xep_0424_retraction::api::NS as RETRACTION_NS;
    use super::*;

    fn message(payload: &str) -> Stanza<'_> {
        Stanza::new(Kind::Message(MessageType::Groupchat))
            .from("coven@chat.example/thirdwitch".parse::<Jid>().unwrap())
            .id("m")
            .payload(Payload::canonical(payload))
    }

    const FRAME: &str = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='o'/>\
                         <stanza-id xmlns='urn:xmpp:sid:0' id='s' by='coven@chat.example'/>";

    // Proves: XEP-0424 §4, §5, XEP-0425 §4
    #[test]
    fn what_is_left_says_whose_it_was_and_nothing_else() {
        let tombstone = Element::new("retracted", RETRACTION_NS).with("id", "r");
        let burial = |author: Option<&str>| Burial {
            position: Position::new(1),
            author: author.map(Arc::from),
            tombstone: tombstone.clone(),
        };
        let said = format!("<body>Harpier cries</body><x xmlns='jabber:x:oob'><url>x</url></x>{FRAME}");
        let left = burial(None).of(&message(&said)).unwrap();
        assert_eq!(
            left.to_xml(),
            format!(
                "<message type='groupchat' id='m' from='coven@chat.example/thirdwitch'>{FRAME}\
                 <retracted xmlns='{RETRACTION_NS}' id='r'/></message>"
            )
        );
        assert_eq!(burial(Some("o")).of(&message(&said)), Some(left.clone()));
        assert_eq!(burial(Some("p")).of(&message(&said)), None, "somebody else has said it");
        assert_eq!(burial(None).of(&left), None, "it is gone already");
        let retraction = format!("<retract xmlns='{RETRACTION_NS}' id='x'/><body>I retract</body>{FRAME}");
        assert_eq!(burial(None).of(&message(&retraction)), None, "it would not be known any more");
        let mut private = message(&said);
        private.kind = Kind::Message(MessageType::Chat);
        assert_eq!(burial(None).of(&private), None);
    }
}

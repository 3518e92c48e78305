//! What is said in a room, to everybody or to one (XEP-0045 §7.4, §7.5, §8.1).

use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Condition, ErrorType, Kind, MessageType, Payload, Stanza, StanzaError};
use crate::storage::Slot;
use crate::xml::Element;

use super::super::MUC_USER_NS as USER_NS;
use super::super::xep_0160_offline::api::write_delay;
use super::super::xep_0421_occupant_ids::api::write_element;
use super::association::Role;
use super::command::{Call, Moment, Speech};
use super::effect::{Change, Effects, Face};
use super::history::Past;
use super::occupant::{Number, Occupant};
use super::privileges::{RolePrivilege, role_may};
use super::room::Room;
use super::subject::Subject;
use super::traffic::passed_on;

impl Room {
    /// A message of type `groupchat` to the room.
    pub(super) fn say(
        &mut self,
        at: Moment,
        call: &Call<'_>,
        speech: Speech,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let (speaker, role) = self.speaker(&at, call)?;
        let (privilege, is_kept) = match &speech {
            Speech::Subject(_) => (RolePrivilege::ModifySubject, true),
            Speech::Message { kept } => (RolePrivilege::SendMessagesToAll, *kept),
        };
        if !role_may(role, privilege, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let occupant = self.occupants.get(speaker).ok_or(Condition::NotAcceptable)?;
        let Moment { now, slot } = at;
        let slot = slot.filter(|_| is_kept);
        let mut payload = String::from(passed_on(&call.stanza.payload, &self.jid).as_str());
        write_element(&mut payload, &occupant.id);
        if let Some(slot) = &slot {
            self.keys.ids.write_element(&mut payload, &self.jid, slot.position());
        }
        let subject = match speech {
            Speech::Subject(text) => Some(Subject {
                text,
                by: occupant.address.to_string(),
                occupant: occupant.id.to_string(),
                time: now.unix_ms(),
            }),
            Speech::Message { .. } => None,
        };
        let past = slot.as_ref().filter(|_| subject.is_none()).map(|slot| {
            let mut text = payload.clone();
            write_delay(&mut text, self.jid.as_str(), now);
            Past::new(reflection(occupant, call, text), now, slot.position())
        });
        let message = reflection(occupant, call, payload);
        let face = Face::alike(message);
        if let Some(slot) = slot.filter(|_| self.has_archive()) {
            self.archive(slot, &face, call.from, now.unix_ms(), effects);
        }
        let most = self.config.history;
        past.into_iter().for_each(|past| self.history.push(past, most));
        if let Some(subject) = subject {
            if self.is_stored() {
                effects.keep(Change::Subject(subject.clone()));
            }
            self.subject = Some(subject);
        }
        effects.tell(self.occupants.roll(), face, None);
        self.note_retraction(now, call, effects);
        Ok(())
    }

    pub(super) fn archive(&self, slot: Slot, face: &Face, sender: &Jid, time: i64, effects: &mut Effects) {
        let time = u64::try_from(time).unwrap_or_default();
        effects.keep(Change::Append { slot, message: Arc::clone(&face.open), sender: sender.clone(), time });
    }

    /// A message to one occupant (§7.5), or an error in answer to one.
    pub(super) fn whisper(&mut self, at: &Moment, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        if call.stanza.kind == Kind::Message(MessageType::Groupchat) {
            return Err(Condition::BadRequest.into());
        }
        let (speaker, role) = self.speaker(at, call)?;
        if !role_may(role, RolePrivilege::SendPrivateMessages, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let occupant = self.occupants.get(speaker).ok_or(Condition::NotAcceptable)?;
        let listener = self.occupants.called(call.to).ok_or(Condition::ItemNotFound)?;
        let mut payload = String::from(passed_on(&call.stanza.payload, &self.jid).as_str());
        Element::new("x", USER_NS).write(&mut payload, CLIENT_NS);
        write_element(&mut payload, &occupant.id);
        let message = Arc::new(reflection(occupant, call, payload));
        for session in &listener.sessions {
            effects.send(&session.jid, Arc::clone(&message));
        }
        Ok(())
    }

    /// Whoever speaks, if he is here and does not speak too fast.
    pub(super) fn speaker(&mut self, at: &Moment, call: &Call<'_>) -> Result<(Number, Role), StanzaError> {
        let Some(occupant) = self.occupant_of(call) else {
            return Err(if self.locked { Condition::ItemNotFound } else { Condition::NotAcceptable }.into());
        };
        let (number, role) = (occupant.number, occupant.role);
        self.keep_pace(at, number)?;
        Ok((number, role))
    }

    /// Whether an occupant does not say or show too much in a short time: everybody gets all of it.
    pub(super) fn keep_pace(&mut self, at: &Moment, number: Number) -> Result<(), StanzaError> {
        let rate = self.bounds.messages;
        let in_time = self.occupants.get_mut(number).is_none_or(|occupant| occupant.pace.take(at.now, rate));
        if in_time { Ok(()) } else { Err(too_fast()) }
    }
}

pub(super) fn too_fast() -> StanzaError {
    let error = StanzaError::new(Condition::PolicyViolation, "too much in a short time");
    error.with_type(ErrorType::Wait)
}

/// A message as it comes from an occupant, with the id and the language that it had.
fn reflection(occupant: &Occupant, call: &Call<'_>, payload: String) -> Stanza<'static> {
    Stanza {
        kind: call.stanza.kind,
        from: Some(occupant.address.clone()),
        to: None,
        id: call.stanza.id.as_deref().map(|id| id.to_owned().into()),
        lang: call.stanza.lang.as_deref().map(|lang| lang.to_owned().into()),
        payload: Payload::canonical(payload),
    }
}

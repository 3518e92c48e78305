//! Presence of somebody who is in the room: another nick, or another availability (XEP-0045 §7.6, §7.7); and of somebody
//! who thinks that he is (§7.2.18).

use std::sync::Arc;

use crate::stanza::{Condition, Kind, Payload, PresenceType, Stanza, StanzaError};

use super::command::{Call, Moment};
use super::effect::Effects;
use super::entry::Called;
use super::face::Said;
use super::item::{Item, Status, Why, x};
use super::occupant::Number;
use super::privileges::{RolePrivilege, role_may};
use super::room::Room;

/// What is said to whoever has another nick from now on.
const OWN_CHANGE: [Status; 2] = [Status::NickChanged, Status::SelfPresence];

impl Room {
    /// Available presence without the `<x/>` of those who enter.
    pub(super) fn present(&mut self, at: &Moment, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        let Some(occupant) = self.occupant_of(call) else {
            effects.send(call.from, Arc::new(not_here(call)));
            return Ok(());
        };
        let called = self.called(call)?;
        if occupant.address != called.address {
            return self.rename(at, call, &called, effects);
        }
        if !role_may(occupant.role, RolePrivilege::ChangeAvailability, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let number = occupant.number;
        self.keep_pace(at, number)?;
        if let Some(number) = self.note_presence(call) {
            self.tell_presence(number, Some(call), effects);
        }
        Ok(())
    }

    /// Notes what a session says of its availability; from now on it speaks for its occupant.
    pub(super) fn note_presence(&mut self, call: &Call<'_>) -> Option<Number> {
        let number = self.occupant_of(call)?.number;
        let session = self.session(call);
        let occupant = self.occupants.get_mut(number)?;
        occupant.sessions.retain(|known| known.jid != session.jid);
        occupant.sessions.push(session);
        self.refresh(number);
        Some(number)
    }

    /// Presence to another nick (§7.6).
    pub(super) fn rename(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        called: &Called,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let Some(occupant) = self.occupant_of(call) else { return Ok(()) };
        if !role_may(occupant.role, RolePrivilege::ChangeNick, &self.config) {
            return Err(StanzaError::new(Condition::NotAcceptable, "the nick cannot be changed"));
        }
        self.check_nick(call, &called.address)?;
        let (number, is_alone) = (occupant.number, occupant.sessions.len() == 1);
        self.keep_pace(at, number)?;
        match self.occupants.called(&called.address).map(|target| target.number) {
            None if is_alone => self.rename_whole((call, number), called, effects),
            target => self.move_session((call, number), (called, target), effects),
        }
        Ok(())
    }

    /// Somebody who has one session is called something else.
    fn rename_whole(&mut self, (call, number): (&Call<'_>, Number), called: &Called, effects: &mut Effects) {
        let Some(occupant) = self.occupants.get(number) else { return };
        effects.send(call.from, Said::renamed(occupant, called.nick(), &OWN_CHANGE).open());
        if self.shows(occupant) {
            let face = self.face(&Said::renamed(occupant, called.nick(), &[Status::NickChanged]));
            effects.tell(self.occupants.roll(), face, Some(number));
        }
        self.occupants.rename(number, called.address.clone());
        self.note_presence(call);
        self.tell_as_called(call, (number, called), effects);
    }

    /// A session leaves its occupant for another nick, which another session of the same user may have already. The old
    /// nick goes if it was the last session.
    fn move_session(
        &mut self,
        (call, number): (&Call<'_>, Number),
        (called, target): (&Called, Option<Number>),
        effects: &mut Effects,
    ) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let standing = (occupant.affiliation, occupant.role, occupant.pace);
        let is_shown = self.shows(occupant);
        effects.send(call.from, Said::renamed(occupant, called.nick(), &OWN_CHANGE).open());
        if occupant.sessions.len() == 1 {
            let face = self.face(&Said::renamed(occupant, called.nick(), &[Status::NickChanged]));
            self.occupants.leave(number);
            if is_shown {
                effects.tell(self.occupants.roll(), face, None);
            }
        } else {
            self.occupants.part(call.from);
            self.refresh(number);
            self.tell_presence(number, None, effects);
        }
        let is_gone = self.occupants.get(number).is_none();
        let session = self.session(call);
        let now = match target {
            Some(target) => {
                self.occupants.join(target, session);
                target
            }
            None => self.add(call, called.address.clone(), standing, session),
        };
        if is_gone {
            self.forwarded.follow(number, now);
        }
        self.refresh(now);
        self.tell_as_called(call, (now, called), effects);
    }

    /// Tells everybody of somebody under his new nick.
    fn tell_as_called(&self, call: &Call<'_>, (number, called): (Number, &Called), effects: &mut Effects) {
        let statuses: &[Status] =
            if called.is_changed { &[Status::SelfPresence, Status::NickAssigned] } else { &[Status::SelfPresence] };
        self.tell_presence_with(number, statuses, Some(call), effects);
    }
}

/// What somebody gets who thinks that he is in a room, and is not (§7.2.18).
pub(super) fn not_here(call: &Call<'_>) -> Stanza<'static> {
    let why = Why { actor: None, reason: Some("You are not in the room.".to_owned()) };
    let item = Item { why: Some(&why), ..Item::NOBODY };
    let x = x(Some(item), &[Status::SelfPresence, Status::Kicked, Status::TechnicalProblem]);
    Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(call.to.clone()).payload(Payload::from(x))
}

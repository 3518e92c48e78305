//! How somebody goes: by himself, because he has to, or because he is not there any more (XEP-0045 §7.14, §8.2, §9.1,
//! §11); and how a room goes.

use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::{Payload, StanzaError};
use crate::xml::Element;

use super::super::MUC_USER_NS as USER_NS;
use super::command::Call;
use super::effect::{Change, Effect, Effects};
use super::face::{Said, told};
use super::item::{Status, Why};
use super::occupant::Number;
use super::room::Room;
use super::traffic::passed_on;
use super::wire::MOST_PRESENCE;

/// Why somebody has to go, and what is said of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Removal<'a> {
    pub(super) statuses: &'a [Status],
    pub(super) why: Why,
}

/// What is said of a room that is no more (XEP-0045 §10.9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Destruction {
    /// Another room to go to.
    pub(super) alternate: Option<Jid>,
    pub(super) reason: Option<String>,
    pub(super) password: Option<String>,
}

impl Room {
    /// Unavailable presence (§7.14). From somebody who is not here it says nothing (§17.3). Whoever has very much to say to it
    /// goes without a word.
    pub(super) fn leave(&mut self, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        let payload = &call.stanza.payload;
        let is_long = payload.as_str().len() > MOST_PRESENCE;
        let said = if is_long { Payload::EMPTY } else { passed_on(payload, &self.jid) };
        self.part(call.from, (&said, Some(call)), &[], effects);
        Ok(())
    }

    /// A session is not there any more, as its server says, or whoever should reach it (§11.1).
    pub(super) fn gone(&mut self, session: &Jid, effects: &mut Effects) -> Result<(), StanzaError> {
        self.part(session, (&Payload::EMPTY, None), &[Status::TechnicalProblem], effects);
        Ok(())
    }

    /// A session goes, and the occupant with it if it was his last; if it says so itself, `call` is that.
    fn part(
        &mut self,
        session: &Jid,
        (said, call): (&Payload<'_>, Option<&Call<'_>>),
        statuses: &[Status],
        effects: &mut Effects,
    ) {
        let Some(occupant) = self.occupants.at(session) else { return };
        let number = occupant.number;
        if occupant.sessions.len() == 1 {
            return self.take_out(number, (said.as_str(), call), None, statuses, effects);
        }
        let own = [statuses, &[Status::SelfPresence]].concat();
        let own = Said::gone(occupant, said.as_str(), None, &own).open();
        effects.send(session, told(call, session, &own));
        self.occupants.part(session);
        self.refresh(number);
        self.tell_presence(number, None, effects);
    }

    /// Somebody has to go.
    pub(super) fn remove(&mut self, number: Number, removal: &Removal<'_>, effects: &mut Effects) {
        self.take_out(number, ("", None), Some(&removal.why), removal.statuses, effects);
    }

    fn take_out(
        &mut self,
        number: Number,
        (said, call): (&str, Option<&Call<'_>>),
        why: Option<&Why>,
        statuses: &[Status],
        effects: &mut Effects,
    ) {
        let is_shown = self.is_shown(number);
        let Some(occupant) = self.occupants.leave(number) else { return };
        let own = [statuses, &[Status::SelfPresence]].concat();
        let own = Said::gone(&occupant, said, why, &own).open();
        for session in &occupant.sessions {
            effects.send(&session.jid, told(call, &session.jid, &own));
        }
        self.forget_forwarded(&occupant, effects);
        if is_shown {
            let face = self.face(&Said::gone(&occupant, said, why, statuses));
            effects.tell_behind(self.occupants.roll(), face, None);
        }
        self.end_if_empty(effects);
    }

    /// §7.14: a temporary room goes with its last occupant; and one in which nobody is goes when it becomes temporary.
    pub(super) fn end_if_empty(&self, effects: &mut Effects) {
        if self.occupants.is_empty() && !self.is_stored() {
            effects.push_behind(Effect::Closed);
        }
    }

    /// The server stops (§11.2).
    pub(super) fn shut_down(&self) -> Effects {
        let mut effects = Effects::default();
        for occupant in self.occupants.iter() {
            let own = Said::gone(occupant, "", None, &[Status::SelfPresence, Status::Shutdown]).open();
            for session in &occupant.sessions {
                effects.send(&session.jid, Arc::clone(&own));
            }
        }
        effects
    }

    /// The room is no more, and all occupants with it (§10.9).
    pub(super) fn destroy(&mut self, destruction: &Destruction, effects: &mut Effects) {
        if self.is_stored() {
            effects.keep(Change::End);
        }
        let destroyed = destruction.to_element();
        let all: Vec<Number> = self.occupants.iter().map(|occupant| occupant.number).collect();
        for number in all {
            let Some(occupant) = self.occupants.leave(number) else { continue };
            let own = Said::destroyed(&occupant, &destroyed).open();
            for session in &occupant.sessions {
                effects.send(&session.jid, Arc::clone(&own));
            }
        }
        effects.push_behind(Effect::Closed);
    }
}

impl Destruction {
    fn to_element(&self) -> Element {
        let mut destroy = Element::new("destroy", USER_NS);
        if let Some(alternate) = &self.alternate {
            destroy.set("jid", alternate.as_str());
        }
        for (name, text) in [("password", &self.password), ("reason", &self.reason)] {
            if let Some(text) = text {
                destroy.push(Element::new(name, USER_NS).with_text(text));
            }
        }
        destroy
    }
}

//! IQs between occupants (XEP-0045 §17.4): the room asks in the name of the one and answers in the name of the other, and
//! neither learns who the other is.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::hooks::discovery::INFO_NS;
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, Stanza, StanzaError};

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0054_vcard::api::NS as VCARD_NS;
use super::super::xep_0410_self_ping::api::is_self_ping;
use super::command::Call;
use super::effect::{Effect, Effects};
use super::occupant::{Number, Occupant};
use super::room::Room;

/// So many requests may be without an answer in one room; then the oldest is answered with an error.
const MOST: usize = 256;

/// Requests that wait for their answers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    waiting: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// The session that has asked, and the id with which it did.
    asker: Jid,
    id: Option<String>,
    /// Who is asked, and how he was called then.
    asked: Number,
    user: BareJid,
    called: Jid,
}

impl Forwarded {
    /// Whoever was `before` is somebody else in the room from now on.
    pub(super) fn follow(&mut self, before: Number, now: Number) {
        self.waiting.iter_mut().filter(|waiting| waiting.asked == before).for_each(|waiting| waiting.asked = now);
    }
}

impl Waiting {
    /// The answer to whoever has asked.
    fn answer(&self, kind: IqType) -> Stanza<'static> {
        let stanza = Stanza::new(Kind::Iq(kind)).from(self.called.clone());
        match &self.id {
            Some(id) => stanza.id(id.clone()),
            None => stanza,
        }
    }

    /// The same if there will be none.
    fn refuse(&self, condition: Condition, effects: &mut Effects) {
        let mut answer = self.answer(IqType::Error);
        answer.payload = StanzaError::from(condition).to_element().into();
        effects.send(&self.asker, Arc::new(answer));
    }
}

impl Room {
    /// A request to an occupant.
    pub(super) fn forward(&mut self, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        let first = call.stanza.payload.children().next();
        let Some(occupant) = self.occupant_of(call) else {
            // §6.6
            let is_disco = first.is_some_and(|child| matches!(child.ns, INFO_NS | ITEMS_NS));
            return Err(if is_disco { Condition::BadRequest } else { Condition::NotAcceptable }.into());
        };
        if is_self_ping(call.stanza, &occupant.address) {
            effects.answer(call, Ok(None));
            return Ok(());
        }
        let target = self.occupants.called(call.to).ok_or(Condition::ItemNotFound)?;
        let to = match (first, target.first()) {
            // What people say of themselves is with their accounts.
            (Some(child), _) if child.ns == VCARD_NS => Jid::from(target.user.clone()),
            (_, Some(session)) => session.jid.clone(),
            (_, None) => return Err(Condition::ItemNotFound.into()),
        };
        let mut request = call.stanza.borrow().into_owned();
        request.from = Some(occupant.address.clone());
        request.to = Some(to);
        let waiting = Waiting {
            number: self.forwarded.next,
            asker: call.from.clone(),
            id: call.stanza.id.as_deref().map(str::to_owned),
            asked: target.number,
            user: target.user.clone(),
            called: target.address.clone(),
        };
        request.id = Some(waiting.number.to_string().into());
        self.forwarded.next += 1;
        self.forwarded.waiting.push_back(waiting);
        if self.forwarded.waiting.len() > MOST
            && let Some(oldest) = self.forwarded.waiting.pop_front()
        {
            oldest.refuse(Condition::RemoteServerTimeout, effects);
        }
        effects.push(Effect::Post(request));
        Ok(())
    }

    /// A result or an error. From somebody who was not asked it is nothing.
    pub(super) fn answer_forwarded(&mut self, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        let number = call.stanza.id.as_deref().and_then(|id| id.parse::<u64>().ok());
        let waiting = &mut self.forwarded.waiting;
        let is_it = |it: &Waiting| Some(it.number) == number && it.user.as_str() == call.from.bare_str();
        let Some(waiting) = waiting.iter().position(is_it).and_then(|place| waiting.remove(place)) else {
            return Ok(());
        };
        let kind = if call.stanza.kind == Kind::Iq(IqType::Result) { IqType::Result } else { IqType::Error };
        if self.occupants.at(&waiting.asker).is_some() {
            let mut answer = waiting.answer(kind);
            answer.payload = call.stanza.payload.borrow().into_owned();
            effects.send(&waiting.asker, Arc::new(answer));
        }
        Ok(())
    }

    /// Somebody has gone: whoever has asked him something gets no other answer.
    pub(super) fn forget_forwarded(&mut self, gone: &Occupant, effects: &mut Effects) {
        self.forwarded.waiting.retain(|waiting| {
            let is_asked = waiting.asked == gone.number;
            if is_asked {
                waiting.refuse(Condition::RecipientUnavailable, effects);
            }
            !is_asked && gone.sessions.iter().all(|session| session.jid != waiting.asker)
        });
    }
}

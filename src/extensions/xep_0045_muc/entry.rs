//! Somebody enters (XEP-0045 §7.2).

use std::sync::Arc;

use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, ErrorType, StanzaError};

use super::association::{Affiliation, Role};
use super::command::{Call, Entry, Moment};
use super::effect::{Effect, Effects, Face};
use super::face::{Said, told};
use super::history::Wish;
use super::item::Status;
use super::occupant::{Number, Occupant, Session};
use super::privileges::default_role;
use super::rate::Bucket;
use super::room::Room;
use super::room_config::{Anonymity, RoomPassword};
use super::speech::too_fast;
use super::traffic::passed_on;

/// So many admins and owners get in although the room is full (§7.2.9).
const SPARE: usize = 16;

/// With so many clients somebody may be in a room under one nick.
const MOST_SESSIONS: usize = 16;

/// How somebody is called who is here from now on.
pub(super) struct Called {
    /// `room/nick`.
    pub(super) address: Jid,
    /// It is not quite what he has asked for (§7.2.2).
    pub(super) is_changed: bool,
}

impl Called {
    pub(super) fn nick(&self) -> Option<&str> {
        self.address.resource()
    }
}

impl Room {
    /// Available presence with the `<x/>` of somebody who enters, or is here and has lost track (§17.3).
    pub(super) fn enter(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        entry: &Entry,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let called = self.called(call)?;
        if let Some(occupant) = self.occupant_of(call) {
            let number = occupant.number;
            if occupant.address == called.address {
                self.keep_pace(at, number)?;
            } else {
                self.rename(at, call, &called, effects)?;
            }
            self.resynchronise(at, call, &entry.history, effects);
            return Ok(());
        }
        let (affiliation, role) = self.admit(call, entry)?;
        self.check_nick(call, &called.address)?;
        let is_new = self.locked && self.occupants.is_empty();
        let session = self.session(call);
        let number = match self.occupants.called(&called.address).map(|occupant| occupant.number) {
            Some(number) => {
                self.keep_pace(at, number)?;
                self.occupants.join(number, session);
                number
            }
            None => {
                self.check_size(affiliation)?;
                let mut pace = self.occupants.pace_of(&call.from.to_bare(), at.now);
                if !pace.take(at.now, self.bounds.messages) {
                    return Err(too_fast());
                }
                self.add(call, called.address, (affiliation, role, pace), session)
            }
        };
        self.refresh(number);
        let mut statuses = self.statuses();
        statuses.extend(is_new.then_some(Status::Created));
        statuses.extend(called.is_changed.then_some(Status::NickAssigned));
        self.welcome(at, call, &entry.history, (number, &statuses), effects);
        Ok(())
    }

    /// What whoever enters is shown, in the order of §7.1, and what the others are.
    fn welcome(
        &self,
        at: &Moment,
        call: &Call<'_>,
        history: &Wish,
        (number, statuses): (Number, &[Status]),
        effects: &mut Effects,
    ) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let others = self.occupants.iter().filter(|other| other.number != number && self.shows(other));
        let stanzas = others.map(|other| Arc::clone(Self::seen_by(occupant.role, &other.face))).collect();
        effects.push(Effect::Show { to: call.from.clone(), stanzas });
        tell_siblings(occupant, call, effects);
        self.tell_others(occupant, effects);
        let own = Said::present(occupant, None, statuses).open();
        effects.send(call.from, told(Some(call), call.from, &own));
        for past in self.history.shown(history, at.now) {
            effects.send(call.from, Arc::clone(&past.stanza));
        }
        effects.send(call.from, self.subject_now());
    }

    /// §7.2.1: somebody who is here and does not know it is told everything anew.
    fn resynchronise(&mut self, at: &Moment, call: &Call<'_>, history: &Wish, effects: &mut Effects) {
        let Some(number) = self.note_presence(call) else { return };
        self.welcome(at, call, history, (number, &self.statuses()), effects);
    }

    /// What is said to whoever enters, as far as it depends on the room alone.
    fn statuses(&self) -> Vec<Status> {
        let is_open = self.config.anonymity == Anonymity::NonAnonymous;
        let statuses =
            [(true, Status::SelfPresence), (is_open, Status::NonAnonymous), (self.config.is_logged(), Status::Logged)];
        statuses.into_iter().filter(|(holds, _)| *holds).map(|(_, status)| status).collect()
    }

    /// As what somebody may enter, if he may.
    fn admit(&self, call: &Call<'_>, entry: &Entry) -> Result<(Affiliation, Role), StanzaError> {
        let affiliation = self.affiliation_of(call);
        if self.locked && affiliation != Affiliation::Owner {
            // §7.2.10: there is no such room yet.
            return Err(Condition::ItemNotFound.into());
        }
        if affiliation == Affiliation::Outcast {
            return Err(Condition::Forbidden.into());
        }
        let Some(role) = default_role(affiliation, &self.config) else {
            return Err(Condition::RegistrationRequired.into());
        };
        match &self.config.password {
            Some(RoomPassword(password)) if !entry.password.as_deref().is_some_and(|said| password.is(said)) => {
                Err(Condition::NotAuthorized.into())
            }
            _ => Ok((affiliation, role)),
        }
    }

    fn check_size(&self, affiliation: Affiliation) -> Result<(), StanzaError> {
        let most = self.config.max_occupants.unwrap_or(usize::MAX).min(self.bounds.occupants);
        let most = if affiliation >= Affiliation::Admin { most.saturating_add(SPARE) } else { most };
        if self.occupants.len() < most {
            return Ok(());
        }
        Err(StanzaError::from(Condition::ServiceUnavailable).with_type(ErrorType::Wait))
    }

    /// How whoever calls is to be called. Nobody has a name that begins or ends with a space, because others could not tell
    /// it from the one without (§17.1).
    pub(super) fn called(&self, call: &Call<'_>) -> Result<Called, StanzaError> {
        let Some(nick) = call.to.resource() else { return Err(Condition::JidMalformed.into()) };
        let trimmed = nick.trim();
        if trimmed.is_empty() {
            return Err(StanzaError::new(Condition::NotAcceptable, "a nick cannot consist of spaces"));
        }
        if trimmed == nick {
            return Ok(Called { address: call.to.clone(), is_changed: false });
        }
        let address = self.jid.with_resource(trimmed).map_err(|_| Condition::JidMalformed)?;
        Ok(Called { address, is_changed: true })
    }

    /// §7.2.8: whether somebody else has the nick, or may have it at any time.
    pub(super) fn check_nick(&self, call: &Call<'_>, address: &Jid) -> Result<(), StanzaError> {
        let is_his = |user: &BareJid| user.as_str() == call.from.bare_str();
        let is_taken = self.occupants.called(address).is_some_and(|occupant| !is_his(&occupant.user));
        let nick = address.resource().unwrap_or_default();
        if is_taken || self.reserved_for(nick).is_some_and(|user| !is_his(user)) {
            return Err(Condition::Conflict.into());
        }
        let is_own =
            |occupant: &Occupant| self.occupants.at(call.from).is_some_and(|own| own.number == occupant.number);
        let joins = self.occupants.called(address).filter(|occupant| !is_own(occupant));
        if joins.is_some_and(|occupant| occupant.sessions.len() >= MOST_SESSIONS) {
            return Err(StanzaError::new(Condition::ResourceConstraint, "very many clients are called so already"));
        }
        Ok(())
    }

    /// Who may be called so and nobody else.
    pub(super) fn reserved_for(&self, nick: &str) -> Option<&BareJid> {
        self.reserved.get(nick)
    }

    /// The session that calls, with what it says of its availability.
    pub(super) fn session(&self, call: &Call<'_>) -> Session {
        Session {
            jid: call.from.clone(),
            presence: passed_on(&call.stanza.payload, &self.jid),
            language: call.stanza.lang.as_deref().map(str::to_owned),
        }
    }

    /// One more occupant; his face is still to be written.
    pub(super) fn add(
        &mut self,
        call: &Call<'_>,
        address: Jid,
        (affiliation, role, pace): (Affiliation, Role, Bucket),
        session: Session,
    ) -> Number {
        let (number, user) = (self.occupants.next_number(), call.from.to_bare());
        self.occupants.enter(Occupant {
            number,
            address,
            is_admin: call.is_admin,
            affiliation,
            role,
            id: self.keys.occupant_ids.id(&self.jid, &user).into(),
            user,
            sessions: vec![session],
            face: Face::default(),
            pace,
        });
        number
    }
}

/// Tells the other sessions of an occupant that he is here with one more.
fn tell_siblings(occupant: &Occupant, call: &Call<'_>, effects: &mut Effects) {
    if occupant.sessions.len() > 1 {
        let own = Said::present(occupant, None, &[Status::SelfPresence]).open();
        for session in occupant.sessions.iter().filter(|session| session.jid != *call.from) {
            effects.send(&session.jid, Arc::clone(&own));
        }
    }
}

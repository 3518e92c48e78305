//! Whoever may not speak asks for it, and moderators decide (XEP-0045 §7.13, §8.6).

use std::sync::Arc;

use crate::hooks::form::{Field, FieldType, Form, FormType, Submission};
use crate::jid::Jid;
use crate::stanza::{Condition, StanzaError};

use super::association::Role;
use super::command::{Call, Moment};
use super::effect::Effects;
use super::occupant::Occupant;
use super::petition::{Heard, Petition};
use super::privileges::{AffiliationPrivilege, RolePrivilege, Standing, affiliation_may, may_change_role, role_may};
use super::room::Room;

/// What the forms are about.
pub(super) const ABOUT: &str = "http://jabber.org/protocol/muc#request";

const ROLE: &str = "muc#role";
const USER: &str = "muc#jid";
const NICK: &str = "muc#roomnick";
const ALLOW: &str = "muc#request_allow";

impl Room {
    /// A form about voice: a request, or what a moderator says to one.
    pub(super) fn hear_of_voice(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        form: &Submission,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        if form.text(ROLE).is_some_and(|role| role != Role::Participant.as_str()) {
            return Err(StanzaError::new(Condition::BadRequest, "voice is the role of a participant"));
        }
        if form.has(ALLOW) { self.decide_on_voice(call, form, effects) } else { self.ask_for_voice(at, call, effects) }
    }

    fn ask_for_voice(&mut self, at: &Moment, call: &Call<'_>, effects: &mut Effects) -> Result<(), StanzaError> {
        let occupant = self.occupant_of(call).ok_or(Condition::NotAcceptable)?;
        if occupant.role != Role::Visitor {
            return Err(StanzaError::new(Condition::UnexpectedRequest, "you have voice"));
        }
        let (user, asked) = (occupant.user.clone(), asked(occupant, call.from));
        let moderators: Vec<Jid> = self
            .occupants
            .iter()
            .filter(|it| role_may(it.role, RolePrivilege::GrantVoice, &self.config))
            .flat_map(|it| &it.sessions)
            .map(|session| session.jid.clone())
            .collect();
        if moderators.is_empty() {
            return Err(StanzaError::new(Condition::RecipientUnavailable, "no moderator is here"));
        }
        match self.petitions.note(&user, Petition::Voice, at.now) {
            Heard::New => {}
            Heard::Known => return Err(StanzaError::new(Condition::UnexpectedRequest, "the moderators know already")),
            Heard::TooMany => return Err(StanzaError::new(Condition::ResourceConstraint, "too many ask for voice")),
        }
        let letter = Arc::new(self.letter(asked.to_element()));
        moderators.iter().for_each(|moderator| effects.send(moderator, Arc::clone(&letter)));
        Ok(())
    }

    fn decide_on_voice(
        &mut self,
        call: &Call<'_>,
        form: &Submission,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let own = self.standing_of(call);
        let may = role_may(own.role, RolePrivilege::GrantVoice, &self.config)
            || affiliation_may(own.affiliation, AffiliationPrivilege::AssignModeratorRole, &self.config);
        if !may {
            return Err(Condition::Forbidden.into());
        }
        if form.boolean(ALLOW)? != Some(true) {
            return Ok(());
        }
        // Who has another nick by now is known by his address still.
        let user = form.jid(USER)?;
        let occupant = match user.as_ref().and_then(|user| self.occupants.at(user)) {
            Some(occupant) => occupant,
            None => self.occupant_called(form.text(NICK).ok_or(Condition::BadRequest)?)?,
        };
        let (number, user) = (occupant.number, occupant.user.clone());
        let target = Standing { affiliation: occupant.affiliation, role: occupant.role };
        self.petitions.forget(&user, Petition::Voice);
        // Another moderator may have been faster.
        if target.role != Role::Visitor {
            return Ok(());
        }
        if !may_change_role(own, target, Role::Participant) {
            return Err(Condition::NotAllowed.into());
        }
        self.become_role(number, Role::Participant, &self.why(call, None), effects);
        Ok(())
    }
}

/// §8.6: what moderators are asked.
fn asked(occupant: &Occupant, session: &Jid) -> Form {
    let participant = Role::Participant.as_str();
    Form::new(FormType::Form, ABOUT)
        .title("Request for voice")
        .instructions("Somebody asks for permission to speak. Grant it, or do nothing.")
        .field(
            Field::new(ROLE, FieldType::ListSingle)
                .label("Role")
                .value(participant)
                .choices(&[(participant, "Participant")]),
        )
        .field(Field::new(USER, FieldType::JidSingle).label("Address").value(session.as_str()))
        .field(Field::new(NICK, FieldType::TextSingle).label("Nick").value(occupant.nick()))
        .field(Field::new(ALLOW, FieldType::Boolean).label("Grant voice").value("0"))
}

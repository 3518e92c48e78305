//! People become members by themselves, and a nick is kept for them (XEP-0045 §7.10, §7.12, §9.9).
//!
//! Where membership gives something that not everybody has (to enter, or to speak), admins decide; elsewhere everybody who
//! asks is a member at once.

use std::sync::Arc;

use crate::hooks::discovery::{INFO_NS, Identity};
use crate::hooks::form::{Field, FieldType, Form, FormType, NS as FORM_NS, Submission};
use crate::hooks::{Answer, Verb};
use crate::jid::BareJid;
use crate::stanza::{Condition, Stanza, StanzaError};
use crate::xml::Element;

use super::super::xep_0077_registration::api::NS;
use super::association::Affiliation;
use super::command::{Call, Moment};
use super::effect::{Effect, Effects};
use super::item::Why;
use super::petition::{Heard, Petition};
use super::privileges::{AffiliationPrivilege, affiliation_may};
use super::room::Room;

/// What the forms are about.
pub(super) const ABOUT: &str = "http://jabber.org/protocol/muc#register";

/// Asks for the nick that is kept for whoever asks (§7.12).
pub(super) const NICK_NODE: &str = "x-roomuser-item";

const NICK: &str = "muc#register_roomnick";
const USER: &str = "muc#jid";
const ALLOW: &str = "muc#register_allow";

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// What there is to fill in.
    Show,
    Register(Submission),
    /// To be no member any more (XEP-0077 §3.2).
    Leave,
    /// Nothing after all.
    Cancel,
}

impl Request {
    pub(super) fn parse(verb: Verb, element: &Element) -> Result<Self, StanzaError> {
        if verb == Verb::Get {
            return Ok(Self::Show);
        }
        if element.child("remove", NS).is_some() {
            return Ok(Self::Leave);
        }
        let form =
            element.child("x", FORM_NS).ok_or_else(|| StanzaError::new(Condition::BadRequest, "a form is needed"))?;
        if form.attribute("type") == Some("cancel") {
            return Ok(Self::Cancel);
        }
        Submission::read(form).map(Self::Register)
    }
}

/// §7.10.
fn form(nick: Option<&str>) -> Form {
    let field = Field::new(NICK, FieldType::TextSingle).label("Nick").required();
    Form::new(FormType::Form, ABOUT)
        .title("Membership")
        .instructions("Nobody else can have your nick in this room.")
        .field(field.values(nick.map(str::to_owned)))
}

impl Room {
    pub(super) fn asked_to_register(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        request: Request,
        effects: &mut Effects,
    ) -> Answer {
        let user = call.from.to_bare();
        match request {
            Request::Show => self.shown_registration(&user).map(Some),
            Request::Register(submission) => self.register(at, &user, &submission, effects).map(|()| None),
            Request::Leave => self.deregister(&user, effects).map(|()| None),
            Request::Cancel => Ok(None),
        }
    }

    /// Whether somebody may register, or may have another nick.
    fn check_registration(&self, user: &BareJid) -> Result<(), StanzaError> {
        let affiliation = self.kept_affiliation(user);
        let is_member = affiliation >= Affiliation::Member;
        let may = affiliation_may(affiliation, AffiliationPrivilege::RegisterWithOpenRoom, &self.config);
        if !may || (!is_member && !self.config.registration) {
            return Err(StanzaError::new(Condition::NotAllowed, "people do not become members by themselves"));
        }
        Ok(())
    }

    fn shown_registration(&self, user: &BareJid) -> Result<Element, StanzaError> {
        self.check_registration(user)?;
        let mut query = Element::new("query", NS);
        let nick = self.kept_nick(user);
        if let Some(nick) = nick {
            query.push(Element::new("registered", NS));
            query.push(Element::new("username", NS).with_text(nick));
        }
        Ok(query.with_child(form(nick).to_element()))
    }

    fn kept_nick(&self, user: &BareJid) -> Option<&str> {
        self.affiliations.get(user).and_then(|known| known.nick.as_deref())
    }

    fn register(
        &mut self,
        at: &Moment,
        user: &BareJid,
        submission: &Submission,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        self.check_registration(user)?;
        form(None).check(submission)?;
        let nick = self.judge_nick(user, submission.text(NICK).unwrap_or_default())?;
        if self.kept_affiliation(user) >= Affiliation::Member {
            self.keep_nick(user, nick, effects);
            return Ok(());
        }
        if self.config.members_only || self.config.moderated {
            return self.ask_for_membership(at, user, &nick, effects);
        }
        self.check_known([(user, Affiliation::Member)])?;
        self.set_affiliation(user, (Affiliation::Member, Some(&nick)), &Why::default(), effects);
        Ok(())
    }

    /// §9.9: those who decide are asked, where they are: in the room, or at home.
    fn ask_for_membership(
        &mut self,
        at: &Moment,
        user: &BareJid,
        nick: &str,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        match self.petitions.note(user, Petition::Membership, at.now) {
            Heard::New => {}
            // Whoever asks once more has been heard.
            Heard::Known => return Ok(()),
            Heard::TooMany => return Err(StanzaError::new(Condition::ResourceConstraint, "too many ask for this")),
        }
        let letter = Arc::new(self.letter(asked(user, nick).to_element()));
        let mut deciders = &self.everybody(Affiliation::Admin) | &self.everybody(Affiliation::Owner);
        for occupant in self.occupants.iter().filter(|it| deciders.remove(&it.user)) {
            occupant.sessions.iter().for_each(|session| effects.send(&session.jid, Arc::clone(&letter)));
        }
        for decider in deciders {
            effects.push(Effect::Post(Stanza::clone(&letter).to(decider.as_jid().clone())));
        }
        Ok(())
    }

    /// What an admin says to somebody's wish to be a member.
    pub(super) fn hear_of_membership(
        &mut self,
        call: &Call<'_>,
        form: &Submission,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let own = self.affiliation_of(call);
        if !affiliation_may(own, AffiliationPrivilege::EditMemberList, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let user = form.jid(USER)?.ok_or(Condition::BadRequest)?.to_bare();
        if form.boolean(ALLOW)? != Some(true) {
            return Ok(());
        }
        self.petitions.forget(&user, Petition::Membership);
        // Another admin may have been faster, or have banned him.
        match self.kept_affiliation(&user) {
            Affiliation::None => {}
            Affiliation::Outcast => return Err(StanzaError::new(Condition::Conflict, "he is banned")),
            _ => return Ok(()),
        }
        let nick = self.judge_nick(&user, form.text(NICK).unwrap_or_default())?;
        self.check_known([(&user, Affiliation::Member)])?;
        self.set_affiliation(&user, (Affiliation::Member, Some(&nick)), &self.why(call, None), effects);
        self.invite_member(call, &user, None, effects);
        Ok(())
    }

    fn deregister(&mut self, user: &BareJid, effects: &mut Effects) -> Result<(), StanzaError> {
        match self.kept_affiliation(user) {
            Affiliation::Member => {
                self.set_affiliation(user, (Affiliation::None, None), &Why::default(), effects);
                Ok(())
            }
            // What somebody else has made him he does not give up by this.
            Affiliation::Admin | Affiliation::Owner => {
                self.keep_nick(user, String::new(), effects);
                Ok(())
            }
            Affiliation::None | Affiliation::Outcast => {
                Err(StanzaError::new(Condition::RegistrationRequired, "you are no member"))
            }
        }
    }

    /// §7.12: the nick that is kept for whoever asks, as the name of an identity.
    pub(super) fn nick_info(&self, call: &Call<'_>) -> Element {
        let query = Element::new("query", INFO_NS).with("node", NICK_NODE);
        match self.kept_nick(&call.from.to_bare()) {
            Some(nick) => {
                let identity = Identity { category: "conference", kind: "text", name: None };
                query.with_child(identity.to_element().with("name", nick))
            }
            None => query,
        }
    }
}

/// What admins are asked.
fn asked(user: &BareJid, nick: &str) -> Form {
    Form::new(FormType::Form, ABOUT)
        .title("Request for membership")
        .instructions("Somebody asks to become a member. Allow it, or do nothing.")
        .field(Field::new(USER, FieldType::JidSingle).label("Address").value(user.as_str()))
        .field(Field::new(NICK, FieldType::TextSingle).label("Nick").value(nick))
        .field(Field::new(ALLOW, FieldType::Boolean).label("Allow").value("0"))
}

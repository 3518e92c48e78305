//! Invitations that go through the room, and what becomes of those that are declined (XEP-0045 §7.8.2).

use std::collections::{BTreeSet, VecDeque};

use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Stanza, StanzaError};
use crate::xml::Element;

use super::super::MUC_USER_NS as USER_NS;
use super::association::Affiliation;
use super::command::{Call, Moment};
use super::effect::{Effect, Effects};
use super::privileges::{AffiliationPrivilege, RolePrivilege, affiliation_may, role_may};
use super::reason;
use super::room::Room;

/// People who are invited by one message.
const MOST_AT_ONCE: usize = 20;

/// Invitations that are remembered, so that they can be declined.
const MOST: usize = 500;

/// Who was invited by whom lately, the oldest first: nobody else can have the room tell an inviter something.
#[derive(Debug, Default)]
pub(super) struct Invitations(VecDeque<(BareJid, BareJid)>);

impl Invitations {
    fn note(&mut self, invitee: BareJid, inviter: BareJid) {
        self.0.retain(|(known, by)| (known, by) != (&invitee, &inviter));
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((invitee, inviter));
    }

    /// The inviter, who hears of it once. `to` is whom the invitee means, if he says so.
    fn take(&mut self, invitee: &BareJid, to: Option<&BareJid>) -> Option<BareJid> {
        let is_it = |(known, by): &(BareJid, BareJid)| known == invitee && to.is_none_or(|to| to == by);
        let at = self.0.iter().rposition(is_it)?;
        self.0.remove(at).map(|(_, by)| by)
    }
}

/// One `<invite/>`, as it was sent.
struct Invitation {
    to: Jid,
    reason: Option<String>,
    /// The room goes on with a chat of two (§7.9).
    goes_on: Option<Element>,
}

impl Room {
    /// A message with an `<x/>` of `muc#user`: invitations, or one that is declined.
    pub(super) fn mediate(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        x: &Element,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        if let Some(decline) = x.child("decline", USER_NS) {
            return self.decline(call, decline, effects);
        }
        let invitations: Vec<&Element> = x.elements().filter(|element| element.is("invite", USER_NS)).collect();
        if invitations.is_empty() {
            return Err(StanzaError::new(Condition::BadRequest, "a message to everybody is of type groupchat"));
        }
        if invitations.len() > MOST_AT_ONCE {
            return Err(StanzaError::new(Condition::NotAcceptable, format!("at most {MOST_AT_ONCE} at once")));
        }
        let invitations: Vec<Invitation> = invitations.into_iter().map(Invitation::read).collect::<Result<_, _>>()?;
        self.judge_invitations(call, &invitations)?;
        // Whoever invites speaks, and not faster than others.
        if self.occupant_of(call).is_some() {
            self.speaker(at, call)?;
        }
        let inviter = call.from.to_bare();
        for invitation in invitations {
            let invitee = invitation.to.to_bare();
            if self.becomes_member(&invitee) {
                let why = self.why(call, invitation.reason.clone());
                self.set_affiliation(&invitee, (Affiliation::Member, None), &why, effects);
            }
            effects.push(Effect::Post(self.invitation(call.stanza.id.as_deref(), &inviter, &invitation)));
            self.invitations.note(invitee, inviter.clone());
        }
        Ok(())
    }

    /// §9.5: whoever is invited to a room for members is one, and to an open room nobody becomes a member.
    fn becomes_member(&self, invitee: &BareJid) -> bool {
        self.config.members_only && self.kept_affiliation(invitee) == Affiliation::None
    }

    fn judge_invitations(&self, call: &Call<'_>, invitations: &[Invitation]) -> Result<(), StanzaError> {
        let own = self.standing_of(call);
        let is_admin = affiliation_may(own.affiliation, AffiliationPrivilege::EditMemberList, &self.config);
        if !is_admin && !role_may(own.role, RolePrivilege::InviteOthers, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        // §9.5: only a member brings somebody into a room for members, where its owners let him.
        let may_add = is_admin || (self.config.invites && own.affiliation >= Affiliation::Member);
        for invitation in invitations {
            match self.kept_affiliation(&invitation.to.to_bare()) {
                Affiliation::Outcast => {
                    return Err(StanzaError::new(Condition::NotAllowed, "whom you invite is banned"));
                }
                Affiliation::None if self.config.members_only && !may_add => return Err(Condition::Forbidden.into()),
                _ => {}
            }
        }
        let invitees: BTreeSet<BareJid> = invitations.iter().map(|invitation| invitation.to.to_bare()).collect();
        let members = invitees.iter().filter(|invitee| self.becomes_member(invitee));
        self.check_known(members.map(|invitee| (invitee, Affiliation::Member)))
    }

    /// §9.5: the room tells somebody that he is a member.
    pub(super) fn invite_member(
        &mut self,
        call: &Call<'_>,
        user: &BareJid,
        reason: Option<String>,
        effects: &mut Effects,
    ) {
        let inviter = call.from.to_bare();
        let invitation = Invitation { to: user.clone().into(), reason, goes_on: None };
        effects.push_behind(Effect::Post(self.invitation(None, &inviter, &invitation)));
        self.invitations.note(user.clone(), inviter);
    }

    fn invitation(&self, id: Option<&str>, inviter: &BareJid, invitation: &Invitation) -> Stanza<'static> {
        let mut invite = Element::new("invite", USER_NS).with("from", inviter.as_str());
        if let Some(reason) = &invitation.reason {
            invite.push(Element::new("reason", USER_NS).with_text(reason));
        }
        invitation.goes_on.iter().for_each(|goes_on| invite.push(goes_on.clone()));
        let mut x = Element::new("x", USER_NS).with_child(invite);
        if let Some(password) = &self.config.password {
            x.push(Element::new("password", USER_NS).with_text(password.0.reveal()));
        }
        self.letter_to(&invitation.to, id, x)
    }

    fn decline(&mut self, call: &Call<'_>, decline: &Element, effects: &mut Effects) -> Result<(), StanzaError> {
        let reason = reason::read(decline, USER_NS)?;
        let to = decline.attribute("to").map(Jid::parse).transpose();
        let to = to.map_err(|error| StanzaError::new(Condition::JidMalformed, error.to_string()))?;
        // Some name the inviter as he is called in the room.
        let to = to.map(|to| to.to_bare()).filter(|to| *to != self.jid);
        let invitee = call.from.to_bare();
        let inviter = self.invitations.take(&invitee, to.as_ref());
        let Some(inviter) = inviter else {
            return Err(StanzaError::new(Condition::ItemNotFound, "nobody has invited you lately"));
        };
        let mut declined = Element::new("decline", USER_NS).with("from", invitee.as_str());
        if let Some(reason) = reason {
            declined.push(Element::new("reason", USER_NS).with_text(&reason));
        }
        let x = Element::new("x", USER_NS).with_child(declined);
        effects.push(Effect::Post(self.letter_to(inviter.as_jid(), call.stanza.id.as_deref(), x)));
        Ok(())
    }

    /// A message of the room to somebody, with the id of the one that has caused it.
    fn letter_to(&self, to: &Jid, id: Option<&str>, content: Element) -> Stanza<'static> {
        let letter = self.letter(content).to(to.clone());
        match id {
            Some(id) => letter.id(id.to_owned()),
            None => letter,
        }
    }
}

impl Invitation {
    fn read(invite: &Element) -> Result<Self, StanzaError> {
        let to =
            invite.attribute("to").ok_or_else(|| StanzaError::new(Condition::BadRequest, "whom do you invite?"))?;
        let to = Jid::parse(to).map_err(|error| StanzaError::new(Condition::JidMalformed, error.to_string()))?;
        let goes_on = invite.child("continue", USER_NS).map(|goes_on| {
            let thread = goes_on.attribute("thread");
            thread.into_iter().fold(Element::new("continue", USER_NS), |it, thread| it.with("thread", thread))
        });
        Ok(Self { to, reason: reason::read(invite, USER_NS)?, goes_on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        text.parse().unwrap()
    }

    // Proves: XEP-0045 §7.8.2
    #[test]
    fn whoever_was_invited_declines_once() {
        let (hecate, crone, wicca) = (jid("hecate@x.example"), jid("crone1@x.example"), jid("wiccarocks@x.example"));
        let mut invitations = Invitations::default();
        assert_eq!(invitations.take(&hecate, None), None);
        invitations.note(hecate.clone(), crone.clone());
        invitations.note(hecate.clone(), wicca.clone());
        invitations.note(hecate.clone(), wicca.clone());
        assert_eq!(invitations.take(&crone, None), None);
        assert_eq!(invitations.take(&hecate, Some(&crone)), Some(crone.clone()));
        assert_eq!(invitations.take(&hecate, Some(&crone)), None);
        assert_eq!(invitations.take(&hecate, None), Some(wicca));
        assert_eq!(invitations.take(&hecate, None), None);
        for number in 0..=MOST {
            invitations.note(jid(&format!("u{number}@x.example")), crone.clone());
        }
        assert_eq!(invitations.take(&jid("u0@x.example"), None), None, "the oldest is forgotten");
        assert!(invitations.take(&jid("u1@x.example"), None).is_some());
    }
}

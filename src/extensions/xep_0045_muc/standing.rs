//! Affiliations and roles change, and the room follows (XEP-0045 §5.1.3, §5.2.2).
//!
//! Nothing here asks whether somebody may do that: `privileges` says, and who calls has asked.

use std::sync::Arc;

use crate::jid::BareJid;
use crate::stanza::{Condition, StanzaError};

use super::association::{Affiliation, Role};
use super::effect::{Change, Effect, Effects};
use super::face::Said;
use super::item::{Status, Why};
use super::leaving::Removal;
use super::occupant::{Affiliated, Number};
use super::privileges::default_role;
use super::room::Room;

/// People whom a room knows for good.
pub(super) const MOST_KNOWN: usize = 10_000;

impl Room {
    /// The affiliation that is known for good; administrators of the server are not told apart here.
    pub(super) fn kept_affiliation(&self, user: &BareJid) -> Affiliation {
        let known = |user: &str| self.affiliations.get(user).map(|known| known.affiliation);
        // §9.2: whoever has none of his own is banned together with his domain.
        let ban = || known(user.domain()).filter(|known| *known == Affiliation::Outcast);
        known(user.as_str()).or_else(ban).unwrap_or(Affiliation::None)
    }

    /// How many owners are known for good.
    pub(super) fn owners(&self) -> usize {
        self.affiliations.values().filter(|known| known.affiliation == Affiliation::Owner).count()
    }

    /// Whether the room may know so many people for good, once these have become what they are to be. Each of them is named
    /// once.
    pub(super) fn check_known<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a BareJid, Affiliation)>,
    ) -> Result<(), StanzaError> {
        let mut known = self.affiliations.len();
        for (user, to) in changes {
            match (self.affiliations.contains_key(user), to == Affiliation::None) {
                (false, false) => known += 1,
                (true, true) => known -= 1,
                _ => {}
            }
        }
        if known > MOST_KNOWN && known > self.affiliations.len() {
            return Err(StanzaError::new(Condition::ResourceConstraint, "the room knows very many people already"));
        }
        Ok(())
    }

    /// Gives `user` an affiliation, and keeps a nick for him if one is given; an empty one takes it away. Those of his
    /// occupants who may not be here any more go, the others learn what they are now, and so does everybody.
    pub(super) fn set_affiliation(
        &mut self,
        user: &BareJid,
        (to, nick): (Affiliation, Option<&str>),
        why: &Why,
        effects: &mut Effects,
    ) {
        let nick = match nick {
            Some(nick) => Some(nick.to_owned()).filter(|nick| !nick.is_empty()),
            None => self.affiliations.get(user).and_then(|known| known.nick.clone()),
        };
        // A nick is kept for members (§7.10); outcasts lose theirs (§9.2).
        let nick = nick.filter(|_| to >= Affiliation::Member);
        let kept = Affiliated { affiliation: to, nick, reason: why.reason.clone() };
        self.note_affiliated(user, Some(kept).filter(|_| to != Affiliation::None), effects);
        let is_domain = user.local().is_none();
        let own = self.occupants.iter().filter_map(|it| {
            let is_he = it.user == *user;
            if !is_he && (!is_domain || it.user.domain() != user.domain()) {
                return None;
            }
            // With a domain those go who have no affiliation of their own.
            let to = self.kept_affiliation(&it.user);
            (is_he || it.affiliation != to).then_some((it.number, to))
        });
        for (number, to) in own.collect::<Vec<_>>() {
            self.follow_affiliation(number, to, why, effects);
        }
    }

    /// Notes what is known of somebody for good.
    pub(super) fn note_affiliated(&mut self, user: &BareJid, known: Option<Affiliated>, effects: &mut Effects) {
        self.know(user, known.clone());
        if self.is_stored() {
            effects.keep(Change::Affiliation(user.clone(), known));
        }
    }

    /// Has it known, without a word to anybody.
    pub(super) fn know(&mut self, user: &BareJid, known: Option<Affiliated>) {
        if let Some(nick) = self.affiliations.remove(user).and_then(|before| before.nick) {
            self.reserved.remove(&nick);
        }
        let Some(known) = known else { return };
        if let Some(nick) = &known.nick {
            self.reserved.insert(nick.clone(), user.clone());
        }
        self.affiliations.insert(user.clone(), known);
    }

    fn follow_affiliation(&mut self, number: Number, to: Affiliation, why: &Why, effects: &mut Effects) {
        let Some(occupant) = self.occupants.get_mut(number) else { return };
        let before = occupant.affiliation;
        // Whoever owns every room goes on to do so.
        let to = if occupant.is_admin { Affiliation::Owner } else { to };
        occupant.affiliation = to;
        let role = occupant.role;
        let Some(standard) = default_role(to, &self.config) else {
            let status = if to == Affiliation::Outcast { Status::Banned } else { Status::AffiliationLost };
            return self.remove(number, &Removal { statuses: &[status], why: why.clone() }, effects);
        };
        // What is gained with an affiliation is certain, what is lost is not (§5.1.3).
        let role = if to >= before && role >= standard { role } else { standard };
        self.become_role(number, role, why, effects);
    }

    /// Gives an occupant a role other than none, and tells everybody what he is now.
    pub(super) fn become_role(&mut self, number: Number, role: Role, why: &Why, effects: &mut Effects) {
        let was_shown = self.is_shown(number);
        self.occupants.set_role(number, role);
        self.refresh(number);
        self.tell_standing(number, was_shown, why, effects);
    }

    /// Tells everybody of an occupant who has become something else. Others saw him before if `was_shown`.
    fn tell_standing(&mut self, number: Number, was_shown: bool, why: &Why, effects: &mut Effects) {
        let Some(occupant) = self.occupants.get(number) else { return };
        let own = Said::present(occupant, Some(why), &[Status::SelfPresence]).open();
        for session in &occupant.sessions {
            effects.push_behind(Effect::Send { to: session.jid.clone(), stanza: Arc::clone(&own) });
        }
        let face = match (was_shown, self.shows(occupant)) {
            (_, true) => self.face(&Said::present(occupant, Some(why), &[])),
            // He is here still, and nobody sees it.
            (true, false) => self.face(&Said::hidden(occupant, Some(why))),
            (false, false) => return,
        };
        effects.tell_behind(self.occupants.roll(), face, Some(number));
    }
}

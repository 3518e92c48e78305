//! Affiliations and roles change, and the room follows (XEP-0045§5.1.3, §5.2.2).
//!
//! Nothing here asks whether somebody may do that: `privileges` says, and who calls has asked.

use crate::jid::BareJid;

use super::association::{Affiliation, Role};
use super::effect::{Change, Effect, Effects};
use super::item::{Status, Why};
use super::leaving::Removal;
use super::occupant::{Affiliated, Number};
use super::privileges::default_role;
use super::room::Room;

impl Room {
    /// The affiliation that is known for good; administrators of the server are not told apart here.
    pub(super) fn kept_affiliation(&self, user: &BareJid) -> Affiliation {
        self.affiliations.get(user).map_or(Affiliation::None, |known| known.affiliation)
    }

    /// How many owners are known for good.
    pub(super) fn owners(&self) -> usize {
        self.affiliations.values().filter(|known| known.affiliation == Affiliation::Owner).count()
    }

    /// Gives `user` an affiliation. Those of his occupants who may not be here any more go, the others learn what they are
    /// now, and so does everybody.
    pub(super) fn set_affiliation(&mut self, user: &BareJid, to: Affiliation, why: &Why, effects: &mut Effects) {
        let nick = self.affiliations.get(user).and_then(|known| known.nick.clone());
        // Outcasts have no nick (XEP-0045§9.2).
        let nick = nick.filter(|_| to != Affiliation::Outcast);
        let kept = Affiliated { affiliation: to, nick, reason: why.reason.clone() };
        let kept = Some(kept).filter(|kept| to != Affiliation::None || kept.nick.is_some());
        self.note_affiliated(user, kept, effects);
        let own: Vec<Number> = self.occupants.iter().filter(|it| it.user == *user).map(|it| it.number).collect();
        for number in own {
            self.follow_affiliation(number, to, why, effects);
        }
    }

    /// Notes what is known of somebody for good.
    pub(super) fn note_affiliated(&mut self, user: &BareJid, known: Option<Affiliated>, effects: &mut Effects) {
        match &known {
            Some(known) => drop(self.affiliations.insert(user.clone(), known.clone())),
            None => drop(self.affiliations.remove(user)),
        }
        if self.config.persistent {
            effects.keep(Change::Affiliation(user.clone(), known));
        }
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
            return self.remove(number, &Removal { statuses: &[status], why: why.clone(), ..Removal::default() }, effects);
        };
        // What is gained with an affiliation is certain, what is lost is not (§5.1.3).
        let role = if to.is_at_least(before) && role.is_at_least(standard) { role } else { standard };
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
        let said = self.face_with(occupant, Some(why), &[]);
        let own = self.face_with(occupant, Some(why), &[Status::SelfPresence]);
        for session in &occupant.sessions {
            effects.push_behind(Effect::Send { to: session.jid.clone(), stanza: own.open.clone() });
        }
        let face = match (was_shown, self.is_shown(number)) {
            (_, true) => said,
            (true, false) => self.gone_face(occupant, Some(why), &[]),
            (false, false) => return,
        };
        effects.push_behind(Effect::Tell { to: self.occupants.roll(), face, except: Some(number) });
    }
}

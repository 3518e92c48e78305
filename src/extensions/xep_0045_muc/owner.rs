//! What owners ask: the configuration of the room and its end (XEP-0045 §10).

use std::collections::BTreeSet;

use crate::hooks::form::{NS as FORM_NS, Submission};
use crate::hooks::{Answer, Verb};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::association::Affiliation;
use super::command::Call;
use super::config_form;
use super::effect::Effects;
use super::leaving::Destruction;
use super::privileges::{AffiliationPrivilege, affiliation_may};
use super::reason;
use super::room::Room;

/// Requests of owners.
pub(super) const NS: &str = "http://jabber.org/protocol/muc#owner";

/// What an owner asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// How the room is configured (§10.2).
    Show,
    /// Everything as it is by default (§10.1.2); in a room that is configured already, no change.
    Accept,
    Configure(Submission),
    /// No room after all (§10.1.3), or no change.
    Cancel,
    /// §10.9.
    Destroy(Destruction),
}

impl Request {
    pub(super) fn parse(verb: Verb, element: &Element) -> Result<Self, StanzaError> {
        if verb == Verb::Get {
            return Ok(Self::Show);
        }
        if let Some(destroy) = element.child("destroy", NS) {
            let alternate = destroy.attribute("jid").map(Jid::parse).transpose();
            let alternate = alternate.map_err(|error| StanzaError::new(Condition::JidMalformed, error.to_string()))?;
            let password = destroy.child("password", NS).map(Element::text).filter(|password| !password.is_empty());
            return Ok(Self::Destroy(Destruction { alternate, reason: reason::read(destroy, NS)?, password }));
        }
        let form = element.child("x", FORM_NS).ok_or(Condition::BadRequest)?;
        match form.attribute("type") {
            Some("cancel") => Ok(Self::Cancel),
            Some("submit") if form.elements().next().is_none() => Ok(Self::Accept),
            _ => Submission::read(form).map(Self::Configure),
        }
    }
}

impl Room {
    pub(super) fn asked_by_owner(&mut self, call: &Call<'_>, request: Request, effects: &mut Effects) -> Answer {
        let needed = match request {
            Request::Destroy(_) => AffiliationPrivilege::DestroyRoom,
            _ => AffiliationPrivilege::ChangeConfiguration,
        };
        if !affiliation_may(self.affiliation_of(call), needed, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        match request {
            Request::Show => return Ok(Some(self.shown_config())),
            Request::Accept => self.unlock(effects),
            Request::Configure(submission) => self.configure(call, &submission, effects)?,
            Request::Cancel if self.locked => self.destroy(&Destruction::default(), effects),
            Request::Cancel => {}
            Request::Destroy(how) => self.destroy(&how, effects),
        }
        Ok(None)
    }

    fn shown_config(&self) -> Element {
        let (owners, admins) = (self.everybody(Affiliation::Owner), self.everybody(Affiliation::Admin));
        let form = config_form::form(&self.jid, &self.config, &Vec::from_iter(owners), &Vec::from_iter(admins));
        Element::new("query", NS).with_child(form.to_element())
    }

    /// Who has this affiliation.
    pub(super) fn everybody(&self, affiliation: Affiliation) -> BTreeSet<BareJid> {
        let known = self.affiliations.iter().filter(|(_, known)| known.affiliation == affiliation);
        known.map(|(user, _)| user.clone()).collect()
    }

    /// §10.2: all of it, or nothing.
    fn configure(
        &mut self,
        call: &Call<'_>,
        submission: &Submission,
        effects: &mut Effects,
    ) -> Result<(), StanzaError> {
        let mut decision = config_form::read(submission, &self.config, &self.jid)?;
        if self.is_stored() && !decision.config.persistent {
            // The card goes with everything else that storage has.
            decision.config.avatar.clear();
        }
        let people = self.judge_lists(decision.owners, decision.admins)?;
        self.check_known(people.iter().map(|(user, to)| (user, *to)))?;
        self.reconfigure(decision.config, effects);
        let why = self.why(call, None);
        for (user, to) in people {
            self.set_affiliation(&user, (to, None), &why, effects);
        }
        self.unlock(effects);
        Ok(())
    }

    /// What becomes of whom by lists that name all owners and all admins (§10.2). Owners that are not named any more are
    /// admins if nothing is said of those, and admins are members.
    fn judge_lists(
        &self,
        owners: Option<BTreeSet<BareJid>>,
        admins: Option<BTreeSet<BareJid>>,
    ) -> Result<Vec<(BareJid, Affiliation)>, StanzaError> {
        let (owners_before, admins_before) = (self.everybody(Affiliation::Owner), self.everybody(Affiliation::Admin));
        let owners = owners.unwrap_or_else(|| owners_before.clone());
        if owners.is_empty() {
            return Err(StanzaError::new(Condition::Conflict, "a room has at least one owner"));
        }
        let admins = admins.unwrap_or_else(|| &admins_before | &owners_before);
        let named = &owners | &admins;
        let all = &(&owners_before | &admins_before) | &named;
        let after = |user: &BareJid| match (owners.contains(user), admins.contains(user)) {
            (true, _) => Affiliation::Owner,
            (false, true) => Affiliation::Admin,
            (false, false) => Affiliation::Member,
        };
        let changed = all.into_iter().map(|user| (after(&user), user)).map(|(to, user)| (user, to));
        Ok(changed.filter(|(user, to)| self.kept_affiliation(user) != *to).collect())
    }
}

//! What owners ask: the configuration of the room and its end (XEP-0045§10).

use crate::hooks::form::NS as FORM_NS;
use crate::hooks::{Answer, Verb};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::command::{Call, Moment};
use super::effect::Effects;
use super::leaving::Destruction;
use super::privileges::{AffiliationPrivilege, affiliation_may};
use super::room::Room;

/// Requests of owners.
pub(super) const NS: &str = "http://jabber.org/protocol/muc#owner";

/// What an owner asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Everything as it is by default (§10.1.2); in a room that is configured already, no change.
    Accept,
    /// No room after all (§10.1.3), or no change.
    Cancel,
}

impl Request {
    pub(super) fn parse(verb: Verb, element: &Element) -> Result<Self, StanzaError> {
        let form = element.child("x", FORM_NS).filter(|_| verb == Verb::Set);
        match form.and_then(|form| form.attribute("type")) {
            Some("submit") => Ok(Self::Accept),
            Some("cancel") => Ok(Self::Cancel),
            _ => Err(Condition::BadRequest.into()),
        }
    }
}

impl Room {
    pub(super) fn asked_by_owner(
        &mut self,
        at: &Moment,
        call: &Call<'_>,
        request: Request,
        effects: &mut Effects,
    ) -> Answer {
        let affiliation = self.affiliation_of(call);
        if !affiliation_may(affiliation, AffiliationPrivilege::ChangeConfiguration, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        match request {
            Request::Accept => self.unlock(effects),
            Request::Cancel if self.is_locked() => self.destroy(at, Destruction::default(), effects),
            Request::Cancel => {}
        }
        Ok(None)
    }
}

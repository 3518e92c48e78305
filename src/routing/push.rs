//! Clients that are not there to see what comes are told by services of theirs (the mechanism behind XEP-0357): those that
//! have no session, those whose connection is lost, and those that nobody looks at.

use crate::accounts::push::{REGISTRATIONS, Registration, Registrations};
use crate::hooks::{Interest, Notice};
use crate::jid::BareJid;
use crate::stanza::{Condition, Stanza, StanzaError};
use crate::storage::{Receipt, Writes};
use crate::stream::{ContentNamespace, read_back};

use super::Router;
use super::account::{Account, Resource, State};
use super::binding::Binding;
use super::delivery::Reach;

/// Where a message is that has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Come {
    /// The resources that were sent it.
    pub(super) reach: Option<Reach>,
    /// Those that want copies were sent one.
    pub(super) is_copied: bool,
    /// It waits for clients that were not: offline, or in the archive.
    pub(super) is_kept: bool,
}

impl Come {
    /// Whether a client finds the message once it is back, if its session is this one at this place.
    fn finds(self, session: Option<(usize, &Resource)>) -> bool {
        let is_sent = |(place, it): (usize, &Resource)| {
            self.reach.is_some_and(|reach| reach.includes(place, it.priority()))
                || (self.is_copied && it.interests.has(Interest::Copies))
        };
        self.is_kept || session.is_some_and(is_sent)
    }
}

impl Router {
    /// A message has come; the lock of the account is held.
    pub(super) fn tell_absent(&self, account: &BareJid, state: &State, stanza: &Stanza<'_>, come: Come) {
        if stanza.from.as_ref().is_some_and(|from| from.bare_str() == account.as_str()) {
            // Whoever writes to himself knows.
            return;
        }
        let is_absent = |it: &Registration| {
            let mut sessions = state.resources.iter().enumerate();
            let session = sessions.find(|(_, session)| session.jid.resource() == Some(&it.resource));
            come.finds(session) && session.is_none_or(|(_, session)| session.ring.is_unattended())
        };
        let is_anybody = state.push.as_ref().is_some_and(|all| all.iter().any(&is_absent));
        if is_anybody && self.stages().is_some_and(|stages| stages.is_told(stanza)) {
            self.tell_of(account, state, stanza, is_absent);
        }
    }

    /// A message that is worth it has come, which these clients have not seen.
    fn tell_of(
        &self,
        account: &BareJid,
        state: &State,
        stanza: &Stanza<'_>,
        is_absent: impl Fn(&Registration) -> bool,
    ) {
        let (Some(registrations), Some(stages)) = (&state.push, self.stages()) else { return };
        let absent: Vec<_> = registrations.iter().filter(|it| is_absent(it)).cloned().collect();
        if !absent.is_empty() {
            stages.tell(&Notice { account, stanza, absent, waiting: state.shelf.undelivered.len() });
        }
    }

    /// Storage gets what is said in the order in which it holds.
    pub(super) fn note_push(
        &self,
        account: &Account,
        change: Box<dyn FnOnce(&mut Registrations) + Send>,
    ) -> Result<Receipt, StanzaError> {
        let mut state = account.lock();
        if state.gone {
            return Err(Condition::ItemNotFound.into());
        }
        let mut registrations = state.push.as_deref().cloned().unwrap_or_default();
        change(&mut registrations);
        if state.push.as_deref().map_or(registrations.is_empty(), |before| *before == registrations) {
            // Clients say it again whenever they come.
            return Ok(Receipt::NONE);
        }
        let mut writes = Writes::new();
        if registrations.is_empty() {
            REGISTRATIONS.delete(&mut writes, &account.jid);
        } else {
            REGISTRATIONS.put(&mut writes, &account.jid, &registrations).map_err(|error| {
                tracing::error!(%error, "who tells the clients of an account could not be written");
                Condition::InternalServerError
            })?;
        }
        state.push = (!registrations.is_empty()).then(|| Box::new(registrations));
        Ok(self.storage.submit(writes))
    }
}

impl Binding {
    /// The connection is lost: what the client has not confirmed it may not have seen.
    pub(super) fn tell_of_unconfirmed(&self) {
        let is_own = |it: &Registration| self.jid.resource() == Some(&it.resource);
        let is_wanted = self.account.lock().push.as_ref().is_some_and(|push| push.iter().any(is_own));
        let Some(stages) = self.router.stages().filter(|_| is_wanted) else { return };
        // It may be much, so nobody waits for the account meanwhile.
        let text = self.ring.unconfirmed();
        let stanzas = read_back(&text, ContentNamespace::Client).map(|(_, stanza)| stanza);
        let missed: Vec<_> = stanzas.filter(|stanza| stages.is_told(stanza)).collect();
        let state = self.account.lock();
        missed.iter().for_each(|stanza| self.router.tell_of(&self.account.jid, &state, stanza, is_own));
    }
}

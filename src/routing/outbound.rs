//! What the server does of its own accord: requests, looks at silent sessions.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::hooks::{Hosted, Outbound, Reply};
use crate::jid::{BareJid, Jid};
use crate::stanza::Stanza;
use crate::stream::{StreamCondition, StreamError};

use super::Router;
use super::ring::Ring;

/// Octets of randomness in the id of a request: an answer cannot be guessed.
const ID_OCTETS: usize = 16;

impl Outbound for Router {
    fn request(&self, mut iq: Stanza<'static>, timeout: Duration) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        let router = self.own.upgrade();
        Box::pin(async move {
            let Some(router) = router else { return Reply::Silent };
            let id = crate::accounts::random::token(ID_OCTETS);
            let answer = router.requests.expect(id.clone(), iq.to.clone());
            // The future may be dropped at any time; nobody waits for the answer then.
            let _forgotten = Forgotten { router: &router, id: &id };
            iq.id = Some(id.clone().into());
            let mut batch = router.batch();
            router.deliver(iq, &mut batch).await;
            batch.finish();
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(stanza)) => Reply::Answered(stanza),
                _ => Reply::Silent,
            }
        })
    }

    fn room(&self, to: &Jid) -> usize {
        self.ring_of(to).map_or(0, |ring| ring.room())
    }

    fn write(&self, to: &Jid, stanzas: &[String]) {
        let Some(ring) = self.ring_of(to) else { return };
        let mut batch = self.batch();
        for stanza in stanzas {
            batch.push(&ring, None, |out| out.push_str(stanza));
        }
        batch.finish();
    }

    fn resources(&self, account: &BareJid) -> Vec<Jid> {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Vec::new() };
        let state = account.lock();
        state.resources.iter().filter(|it| it.available.is_some()).map(|it| it.jid.clone()).collect()
    }

    fn services(&self, domain: &str) -> Vec<Hosted> {
        self.hosts.services().filter_map(|service| service.listed(domain)).collect()
    }

    fn silent_since(&self, before: Timestamp) -> Vec<Jid> {
        self.accounts
            .all()
            .iter()
            .flat_map(|account| {
                let state = account.lock();
                let silent =
                    state.resources.iter().filter(|it| it.ring.last_heard() < before && it.ring.away().is_none());
                silent.map(|it| it.jid.clone()).collect::<Vec<_>>()
            })
            .collect()
    }

    fn end_silent(&self, session: &Jid, before: Timestamp) {
        // Meanwhile the client may have spoken, or come back and taken the same resource.
        if let Some(ring) = self.ring_of(session).filter(|ring| ring.last_heard() < before) {
            ring.cut(StreamError::new(StreamCondition::ConnectionTimeout, "no answer to a ping"));
        }
    }
}

/// Forgets a request when it goes.
struct Forgotten<'a> {
    router: &'a Router,
    id: &'a str,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.router.requests.forget(self.id);
    }
}

impl Router {
    fn ring_of(&self, session: &Jid) -> Option<Arc<Ring>> {
        let account = self.accounts.cached(session.bare_str())?;
        let state = account.lock();
        state.resources.iter().find(|it| it.jid == *session).map(|it| Arc::clone(&it.ring))
    }

    /// Ends every session, as the server stops.
    pub fn end_all(&self, error: &StreamError) {
        for account in self.accounts.all() {
            for resource in &account.lock().resources {
                resource.ring.close(error.clone());
            }
        }
    }

    /// The sessions in a domain.
    #[must_use]
    pub fn sessions(&self, domain: &str) -> Vec<Jid> {
        let accounts = self.accounts.all().into_iter().filter(|account| account.jid.domain() == domain);
        accounts
            .flat_map(|account| account.lock().resources.iter().map(|it| it.jid.clone()).collect::<Vec<_>>())
            .collect()
    }

    /// Ends the session `jid`, or all of an account if it is a bare JID; gives their number.
    pub fn end_sessions(&self, jid: &Jid, error: &StreamError) -> usize {
        let Some(account) = self.accounts.cached(jid.bare_str()) else { return 0 };
        let state = account.lock();
        let meant = state.resources.iter().filter(|it| jid.is_bare() || it.jid == *jid);
        meant.map(|it| it.ring.close(error.clone())).count()
    }

    /// How many accounts are loaded and how many sessions are bound.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let accounts = self.accounts.all();
        let sessions = accounts.iter().map(|account| account.lock().resources.len()).sum();
        Counts { accounts: accounts.len(), sessions }
    }

    /// Ends every session of an account that was removed and forgets it; its contacts learn that
    /// both subscriptions are over.
    pub async fn remove_account(&self, jid: &BareJid) {
        let mut batch = self.batch();
        if let Ok(Some(account)) = self.load(jid, &mut batch).await {
            let contacts: Vec<_> = account.lock().contacts.drain();
            for (contact, entry) in contacts {
                self.part(&account, &contact, entry.state().remove(), &mut batch).await;
            }
            for resource in &account.lock().resources {
                resource.ring.close(StreamError::new(StreamCondition::NotAuthorized, "the account was removed"));
            }
        }
        batch.finish();
        self.accounts.forget(jid);
    }
}

/// What `comity status` shows of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub accounts: usize,
    pub sessions: usize,
}

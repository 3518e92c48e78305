//! What the server does of its own accord: requests, looks at silent sessions.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::preferences::{PREFERENCES, Preferences};
use crate::accounts::push::Registrations;
use crate::clock::Timestamp;
use crate::hooks::{Attention, Hosted, Interest, Outbound, Reply, Seated, Unblocked, Wanted};
use crate::jid::{BareJid, Jid};
use crate::random;
use crate::stanza::{CLIENT_NS, Condition, Stanza, StanzaError};
use crate::storage::{Receipt, Writes};
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

use super::Router;
use super::account::{Account, Available};
use super::held::judge;
use super::ring::Ring;

impl Outbound for Router {
    fn request(&self, mut iq: Stanza<'static>, timeout: Duration) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        let router = self.own.upgrade();
        Box::pin(async move {
            let Some(router) = router else { return Reply::Silent };
            // An answer cannot be guessed.
            let id = random::token();
            let session = iq.from.clone().filter(|from| !from.is_bare());
            let answer = router.requests.expect(id.clone(), iq.to.clone(), session);
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

    fn send(&self, stanza: Stanza<'static>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let router = self.own.upgrade();
        Box::pin(async move {
            let Some(router) = router else { return };
            let mut batch = router.batch();
            router.deliver(stanza, &mut batch).await;
            batch.finish();
        })
    }

    fn present(&self, presence: Stanza<'static>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let router = self.own.upgrade();
        Box::pin(async move {
            let Some(router) = router else { return };
            let mut batch = router.batch();
            router.tell_for(presence, &mut batch).await;
            batch.finish();
        })
    }

    fn room(&self, to: &Jid) -> usize {
        self.ring_of(to).map_or(0, |ring| ring.room())
    }

    fn write(&self, to: &Jid, stanzas: &[String]) {
        let Some(ring) = self.ring_of(to) else { return };
        let mut batch = self.batch();
        for stanza in stanzas {
            batch.push(&ring, |out| out.push_str(stanza));
        }
        batch.finish();
    }

    fn resources(&self, account: &BareJid) -> Vec<Jid> {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Vec::new() };
        let state = account.lock();
        state.resources.iter().filter(|it| it.available.is_some()).map(|it| it.jid.clone()).collect()
    }

    fn seats(&self, account: &BareJid) -> Vec<Seated> {
        self.seats_of(account)
    }

    fn unseat(&self, account: &BareJid, number: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (router, account) = (self.own.upgrade(), account.clone());
        Box::pin(async move {
            if let Some(router) = router {
                router.end_seats(&account, number).await;
            }
        })
    }

    fn interest(&self, session: &Jid, interest: Interest, wanted: Wanted) -> Receipt {
        let mut batch = self.batch();
        if let Some(account) = self.accounts.cached(session.bare_str()) {
            let mut state = account.lock();
            if let Some(resource) = state.resources.iter_mut().find(|it| it.jid == *session)
                && resource.interests.has(interest) != (wanted == Wanted::Yes)
            {
                resource.interests = resource.interests.with(interest, wanted);
                resource.remember(&mut batch);
            }
            if (interest, wanted) == (Interest::Copies, Wanted::Yes) {
                account.note_copies();
            }
        }
        batch.finish()
    }

    fn attend(&self, session: &Jid, attention: Attention) {
        if let Some((ring, words)) = self.ring_of(session).zip(self.client_state()) {
            ring.attend(judge(attention, &words));
        }
    }

    fn blocked(&self, account: &BareJid) -> Vec<String> {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Vec::new() };
        let state = account.lock();
        state.blocked.addresses().map(|address| address.to_string()).collect()
    }

    fn block(&self, account: &BareJid, whom: Vec<Jid>, push: &Element) -> Result<Receipt, StanzaError> {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Ok(Receipt::NONE) };
        self.block_all(&account, &self.all_spelled(whom), push)
    }

    fn unblock(&self, account: &BareJid, whom: Unblocked, push: &Element) -> Receipt {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Receipt::NONE };
        let whom = match whom {
            Unblocked::These(whom) => Unblocked::These(self.all_spelled(whom)),
            Unblocked::All => Unblocked::All,
        };
        self.unblock_some(&account, whom, push)
    }

    fn prefer(
        &self,
        account: &BareJid,
        preferences: Preferences,
    ) -> Pin<Box<dyn Future<Output = Result<(), StanzaError>> + Send>> {
        self.change(account, |router, account| router.note_preferences(account, preferences))
    }

    fn change_push(
        &self,
        account: &BareJid,
        change: Box<dyn FnOnce(&mut Registrations) + Send>,
    ) -> Pin<Box<dyn Future<Output = Result<(), StanzaError>> + Send>> {
        self.change(account, |router, account| router.note_push(account, change))
    }

    fn services(&self, domain: &str) -> Vec<Hosted> {
        self.hosts.services().filter_map(|service| service.listed(domain)).collect()
    }

    fn silent_since(&self, before: Timestamp) -> Vec<Jid> {
        let (mut silent, now) = (Vec::new(), self.clock.now());
        for account in self.accounts.all() {
            let state = account.lock();
            let quiet = state.resources.iter().filter(|it| it.ring.is_silent(before, now) && it.ring.away().is_none());
            silent.extend(quiet.map(|it| it.jid.clone()));
        }
        // The same each time, so that what a test finds is found again.
        silent.sort_unstable();
        silent
    }

    fn end_silent(&self, session: &Jid, before: Timestamp) {
        // Meanwhile the client may have spoken, or come back and taken the same resource.
        if let Some(ring) = self.ring_of(session).filter(|ring| ring.is_silent(before, self.clock.now())) {
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
    /// Addresses as our own accounts are called.
    fn all_spelled(&self, addresses: Vec<Jid>) -> Vec<Jid> {
        let spelled = addresses.into_iter().filter_map(|address| {
            let mut address = Some(address);
            self.hosts.respell(&mut address);
            address
        });
        spelled.collect()
    }

    /// Has `note` change what is kept of an account, whether it is loaded or not; it is so once this is over.
    fn change(
        &self,
        account: &BareJid,
        note: impl FnOnce(&Self, &Account) -> Result<Receipt, StanzaError> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<(), StanzaError>> + Send>> {
        let (router, account) = (self.own.upgrade(), account.clone());
        Box::pin(async move {
            let router = router.ok_or(Condition::InternalServerError)?;
            let found = router.load(&account, &mut router.batch()).await?;
            let receipt = note(&router, &*found.ok_or(Condition::ItemNotFound)?)?;
            router.storage.durable(receipt).await.map_err(|_| Condition::InternalServerError.into())
        })
    }

    /// Storage gets what is said in the order in which it holds.
    fn note_preferences(&self, account: &Account, preferences: Preferences) -> Result<Receipt, StanzaError> {
        let mut state = account.lock();
        if state.gone {
            return Err(Condition::ItemNotFound.into());
        }
        let mut writes = Writes::new();
        PREFERENCES.put(&mut writes, &account.jid, &preferences).map_err(|error| {
            tracing::error!(%error, "what an account wants archived could not be written");
            Condition::InternalServerError
        })?;
        state.preferences = (preferences != Preferences::default()).then(|| Box::new(preferences));
        Ok(self.storage.submit(writes))
    }

    fn ring_of(&self, session: &Jid) -> Option<Arc<Ring>> {
        let account = self.accounts.cached(session.bare_str())?;
        let state = account.lock();
        state.resources.iter().find(|it| it.jid == *session).map(|it| Arc::clone(&it.ring))
    }

    /// The sessions in a domain.
    #[must_use]
    pub fn sessions(&self, domain: &str) -> Vec<Jid> {
        let accounts = self.accounts.all().into_iter().filter(|account| account.jid.domain() == domain);
        accounts
            .flat_map(|account| account.lock().resources.iter().map(|it| it.jid.clone()).collect::<Vec<_>>())
            .collect()
    }

    /// The sessions of an account.
    #[must_use]
    pub fn sessions_of(&self, account: &BareJid) -> Vec<Jid> {
        let Some(account) = self.accounts.cached(account.as_str()) else { return Vec::new() };
        account.lock().resources.iter().map(|it| it.jid.clone()).collect()
    }

    /// The accounts in a domain that have a session, sorted, each with whether its owner is there: one of its
    /// resources is available and does not say that he is away (RFC 6121 §4.7.2.1).
    #[must_use]
    pub fn online(&self, domain: &str) -> Vec<(BareJid, bool)> {
        let here = |account: &Arc<Account>| {
            let state = account.lock();
            let present = |available: &Available| !is_away(&available.presence);
            let active = state.resources.iter().filter_map(|it| it.available.as_ref()).any(present);
            (!state.resources.is_empty()).then(|| (account.jid.clone(), active))
        };
        let accounts = self.accounts.all();
        let mut online: Vec<_> =
            accounts.iter().filter(|account| account.jid.domain() == domain).filter_map(here).collect();
        online.sort_unstable();
        online
    }

    /// The domains that are served here.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        self.hosts.accounts().map(|domain| domain.to_string()).collect()
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
}

fn is_away(presence: &Stanza<'_>) -> bool {
    let elements = presence.payload.elements();
    let show = elements.iter().find(|element| element.is("show", CLIENT_NS)).map(crate::xml::Element::text);
    show.is_some_and(|show| matches!(show.as_str(), "away" | "xa"))
}

/// What `comity status` shows of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub accounts: usize,
    pub sessions: usize,
}

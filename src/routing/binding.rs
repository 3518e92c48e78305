//! A client session's hold on its account: from resource binding (RFC 6120 §7) to its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::accounts::directory::Standing;
use crate::jid::{BareJid, Jid, JidError};
use crate::stanza::{Condition, IqType, Kind, PresenceType, Stanza, StanzaError};
use crate::stream::StreamCondition;

use super::account::{Account, Resource};
use super::batch::Batch;
use super::departure::Departing;
use super::presence::{Audience, leave};
use super::retained::Retention;
use super::ring::{Ring, Talks};
use super::suspended::Session;
use super::watch::arrived;
use super::{Limits, Router};

/// A bound resource. Whoever drops it ends the session, in whatever way that comes about: contacts
/// are told, and what the session did not get goes where it would have gone without it.
pub struct Binding {
    /// The full JID.
    pub jid: Jid,
    pub ring: Arc<Ring>,
    pub(super) account: Arc<Account>,
    pub(super) id: u64,
    pub(super) router: Arc<Router>,
    /// What the session was before the server started, until its client has said what it has.
    pub(super) restored: Option<Box<Session>>,
}

/// Why a resource is not bound (RFC 6120 §7.6.2, §7.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindError(pub StanzaError);

impl From<JidError> for BindError {
    fn from(_: JidError) -> Self {
        Self(Condition::BadRequest.into())
    }
}

impl Router {
    /// Binds `resource` to the account `user`, which has authenticated.
    ///
    /// A session that used the resource before is ended with `conflict` (RFC 6120 §7.7.2.2).
    ///
    /// # Errors
    /// The stanza error that answers the bind request.
    pub async fn bind(
        self: &Arc<Self>,
        user: &BareJid,
        resource: &str,
        batch: &mut Batch,
    ) -> Result<Binding, BindError> {
        self.bind_in_place(user, resource, (|_: &str| false, None), batch).await
    }

    /// The same for a client whose earlier sessions are those at the resources that are `its`: they end, too (XEP-0386 §3.2).
    /// If there is a `retention`, every stanza counts from the first on.
    ///
    /// # Errors
    /// Those of [`Router::bind`].
    pub async fn bind_in_place(
        self: &Arc<Self>,
        user: &BareJid,
        resource: &str,
        (its, retention): (impl Fn(&str) -> bool, Option<Retention>),
        batch: &mut Batch,
    ) -> Result<Binding, BindError> {
        let jid = user.with_resource(resource)?;
        let account = self.load(user, batch).await.map_err(BindError)?;
        let account = account.ok_or_else(|| BindError(Condition::NotAuthorized.into()))?;
        let meant = |other: &Jid| *other == jid || other.resource().is_some_and(&its);
        self.supersede(user, meant).await;
        while let Some(left) = leave_one(&account, |other| *other != jid && meant(other)) {
            self.replaced(&account, left, batch);
        }
        let id = self.bindings.fetch_add(1, Ordering::Relaxed);
        let Limits { ring_bytes, sessions, .. } = **self.limits.load();
        let ring = Arc::new(Ring::new(ring_bytes, self.clock.now()));
        // Before anybody can write to it.
        retention.into_iter().for_each(|retention| ring.retain(retention));
        let left = {
            let mut state = account.lock();
            if state.gone || state.standing == Standing::Disabled {
                // It has come to that since the client authenticated.
                return Err(BindError(Condition::NotAuthorized.into()));
            }
            if self.is_stopping() {
                return Err(BindError(StanzaError::new(Condition::ResourceConstraint, "the server stops")));
            }
            let leaving = match state.resources.iter().find(|it| it.jid == jid) {
                Some(previous) => Some(previous.binding),
                None if state.resources.len() < sessions => None,
                // Whoever is here goes before those who may come back.
                None => match state.resources.iter().find(|it| it.ring.away().is_some()) {
                    Some(away) => Some(away.binding),
                    None => {
                        return Err(BindError(StanzaError::new(Condition::ResourceConstraint, "too many sessions")));
                    }
                },
            };
            let left = leaving.and_then(|leaving| leave(&mut state, leaving));
            // Nearly every account has but one.
            state.resources.reserve_exact(1);
            state.resources.push(Resource::new(jid.clone(), id, Arc::clone(&ring)));
            left
        };
        if let Some(left) = left {
            self.replaced(&account, left, batch);
        }
        self.logins.note(&account.jid, None, self.clock.now());
        Ok(Binding::new(self, account, (jid, id, ring), None))
    }

    /// Another session has taken the place of this one.
    fn replaced(&self, account: &Account, (resource, audience): (Resource, Audience), batch: &mut Batch) {
        resource.ring.close(StreamCondition::Conflict.into());
        let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(resource.jid);
        self.note_last_seen(account, &audience, &gone, batch);
        self.tell(&audience, &gone, batch);
    }
}

/// Takes the first resource out that is meant.
fn leave_one(account: &Account, meant: impl Fn(&Jid) -> bool) -> Option<(Resource, Audience)> {
    let mut state = account.lock();
    let binding = state.resources.iter().find(|resource| meant(&resource.jid))?.binding;
    leave(&mut state, binding)
}

impl Binding {
    pub(super) fn new(
        router: &Arc<Router>,
        account: Arc<Account>,
        (jid, id, ring): (Jid, u64, Arc<Ring>),
        restored: Option<Box<Session>>,
    ) -> Self {
        router.bound.one_more();
        Self { jid, ring, account, id, router: Arc::clone(router), restored }
    }

    /// Notes that the client has sent something: without stream management that is the sign that it
    /// got what was written to it before; with it, the client says so itself. Called once for
    /// everything that has come at once; returns how many milliseconds after the last time that was.
    pub fn heard(&self, talks: Talks, batch: &mut Batch) -> u64 {
        let elapsed = self.heard_nothing();
        self.delivered(talks, batch);
        elapsed
    }

    /// The same for a client that is not read at the moment.
    #[must_use]
    pub fn heard_nothing(&self) -> u64 {
        self.ring.heard(self.router.clock.now())
    }

    /// Messages of the log that have arrived wait no longer.
    pub(super) fn delivered(&self, talks: Talks, batch: &mut Batch) {
        let delivered = self.ring.delivered(talks);
        if delivered.is_empty() {
            return;
        }
        batch.hold(&self.account);
        let mut delivered = self.router.suspended.take(&self.account.jid, delivered);
        let mut state = self.account.lock();
        let held = state.held_by_others(self.id);
        delivered.retain(|position| {
            let is_held = held.contains(position);
            if is_held {
                // Another session is to have it still, and nobody else.
                state.shelf.undelivered.remove(position);
            }
            !is_held
        });
        arrived(&mut state, &self.account.jid, delivered, &mut batch.writes);
    }

    /// Notes that the client has sent `stanza`, the one with the number `count`: if it is a request it will be answered
    /// when the client comes back, even if the server ends before.
    pub fn sends(&self, count: u64, stanza: &Stanza<'_>) {
        if let (Kind::Iq(IqType::Get | IqType::Set), Some(id)) = (stanza.kind, &stanza.id) {
            self.ring.asks(count, id, stanza.to.as_ref().map(Jid::as_str));
        }
    }

    /// Answers a stanza of the client with an error.
    pub fn refuse(&self, stanza: &Stanza<'_>, error: &StanzaError, batch: &mut Batch) {
        if let Some(mut answer) = stanza.error(error) {
            answer.to = Some(self.jid.clone());
            if matches!(answer.kind, Kind::Iq(_)) {
                batch.push_answer(&self.ring, &answer);
                return;
            }
            batch.push(&self.ring, |out| answer.write(out));
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        if !self.stays() {
            let Self { jid, ring, account, id, router, restored } = &*self;
            router.depart(&Departing { jid, ring, account, id: *id, restored: restored.as_deref(), is_kept: false });
        }
        self.router.bound.one_less();
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("jid", &self.jid).field("id", &self.id).finish_non_exhaustive()
    }
}

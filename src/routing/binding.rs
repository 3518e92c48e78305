//! A client session's hold on its account: bound, heard from, ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::jid::{BareJid, Jid, JidError};
use crate::stanza::{Condition, Kind, PresenceType, Stanza, StanzaError};
use crate::storage::{Marks, Position};
use crate::stream::{ContentNamespace, Event, Framing, Limits, Reader, StreamCondition};

use super::Router;
use super::account::{Account, Resource};
use super::batch::Batch;
use super::ring::{Remains, Ring};

/// A bound resource; the session gives it back with [`Router::unbind`].
#[derive(Debug)]
pub struct Binding {
    /// The full JID.
    pub jid: Jid,
    pub ring: Arc<Ring>,
    pub(super) account: Arc<Account>,
    pub(super) id: u64,
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
    pub async fn bind(&self, user: &BareJid, resource: &str, batch: &mut Batch) -> Result<Binding, BindError> {
        let jid = user.with_resource(resource)?;
        let account = self.load(user, batch).await.map_err(BindError)?;
        let account = account.ok_or_else(|| BindError(Condition::NotAuthorized.into()))?;
        let binding = Binding {
            jid,
            ring: Arc::new(Ring::new(self.limits.ring_bytes)),
            account,
            id: self.bindings.fetch_add(1, Ordering::Relaxed),
        };
        self.end_previous(&binding, batch);
        let mut state = binding.account.lock();
        if state.resources.len() >= self.limits.sessions {
            return Err(BindError(StanzaError::new(Condition::ResourceConstraint, "too many sessions")));
        }
        state.resources.push(Resource {
            jid: binding.jid.clone(),
            binding: binding.id,
            ring: Arc::clone(&binding.ring),
            available: None,
            interested: false,
            directed: std::collections::HashSet::new(),
        });
        drop(state);
        Ok(binding)
    }

    fn end_previous(&self, binding: &Binding, batch: &mut Batch) {
        let previous = {
            let state = binding.account.lock();
            state.resources.iter().find(|it| it.jid == binding.jid).map(|it| (it.binding, Arc::clone(&it.ring)))
        };
        if let Some((id, ring)) = previous {
            ring.close(Some(StreamCondition::Conflict.into()));
            let previous = Binding { jid: binding.jid.clone(), ring, account: Arc::clone(&binding.account), id };
            self.leave(&previous, batch);
        }
    }

    /// Ends a session: whoever saw the resource is told, and what it did not get goes to another
    /// resource or to offline storage. `taken` is what it had taken out of its ring last, from a
    /// stanza's edge on, whether the transport took it or not.
    pub async fn unbind(&self, binding: &Binding, taken: &[u8], batch: &mut Batch) {
        self.confirm(binding, batch);
        let remains = binding.ring.shut();
        self.leave(binding, batch);
        self.put_back(binding, &remains, batch).await;
        self.redeliver(taken, &remains, batch).await;
    }

    fn leave(&self, binding: &Binding, batch: &mut Batch) {
        let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable));
        self.broadcast_unavailable(binding, gone, batch);
        binding.account.lock().resources.retain(|resource| resource.binding != binding.id);
    }

    /// What came out of the log into this session's ring and was not confirmed stays undelivered;
    /// another resource that can receive gets it now.
    async fn put_back(&self, binding: &Binding, remains: &Remains, batch: &mut Batch) {
        let lost: Vec<u64> = remains.marks.iter().map(|(_, position)| *position).collect();
        if lost.is_empty() {
            return;
        }
        let next = {
            let mut state = binding.account.lock();
            state.in_flight.retain(|position| !lost.contains(position));
            let able = |it: &&Resource| it.available.as_ref().is_some_and(|it| it.priority >= 0);
            state.resources.iter().find(able).map(|it| Arc::clone(&it.ring))
        };
        let (Some(ring), Some(hooks)) = (next, self.hooks()) else { return };
        for it in hooks.backlog(&binding.account.jid, lost).await {
            if batch.push(&ring, Some(it.position), |out| it.stanza.write(out)) {
                binding.account.lock().in_flight.insert(it.position);
            }
        }
    }

    /// Routes again the messages that were written for a session that is gone and that its
    /// transport did not take. Those from the log are there still.
    async fn redeliver(&self, taken: &[u8], remains: &Remains, batch: &mut Batch) {
        let mut text = taken.to_vec();
        text.extend_from_slice(remains.waiting.as_bytes());
        let start = remains.end.saturating_sub(text.len() as u64);
        let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::SERVER);
        let mut done = 0;
        while let Some(rest) = text.get(done..).filter(|rest| !rest.is_empty()) {
            let Ok(step) = reader.next(rest) else { return };
            if step.consumed == 0 {
                return;
            }
            done += step.consumed;
            let place = start + done as u64;
            let Some(Event::Stanza(stanza)) = step.event else { continue };
            let kept = remains.marks.iter().any(|(marked, _)| *marked == place);
            if matches!(stanza.kind, Kind::Message(_)) && place > remains.written && !kept {
                Box::pin(self.deliver(stanza, batch)).await;
            }
        }
    }

    /// Notes that a session sent something: without stream management that is the sign that it got
    /// what was written to it before.
    pub(super) fn received(&self, binding: &Binding, batch: &mut Batch) {
        binding.ring.heard(self.clock.now());
        if binding.ring.has_marks() {
            self.confirm(binding, batch);
        }
    }

    fn confirm(&self, binding: &Binding, batch: &mut Batch) {
        let delivered = binding.ring.delivered();
        if delivered.is_empty() {
            return;
        }
        let mut state = binding.account.lock();
        for position in delivered {
            state.shelf.undelivered.remove(&position);
            state.in_flight.remove(&position);
            batch.writes.unmark(&binding.account.jid, Position::new(position), Marks::UNDELIVERED);
        }
    }
}

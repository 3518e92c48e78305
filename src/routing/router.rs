//! The one entry for every stanza: `from` is stamped or checked here and nowhere else, then the
//! stanza goes to the domain, to the account or to the other server that it is addressed to.

use std::sync::Arc;

use crate::accounts::credentials::Credentials;
use crate::accounts::directory::Standing;
use crate::accounts::subscription::SubscriptionType;
use crate::hooks::{Entity, Relation, Verb, answering};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, MessageType, PresenceType, Stanza, StanzaError};
use crate::storage;
use crate::stream::{StreamCondition, StreamError};

use super::account::{Account, State};
use super::barring::barred;
use super::batch::Batch;
use super::binding::Binding;
use super::blocking::unheard;
use super::delivery::{Delivery, Target, no_such_user};
use super::hosts::{Host, Place};
use super::probes::unsubscribed;
use super::remote::Leaving;
use super::{Router, roster};

/// Where a stanza comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A bound client session.
    Client(&'a Binding),
    /// A stream on which `remote` has proved itself towards the local domain `local`.
    Remote { local: &'a str, remote: &'a str },
    /// The service of this domain, which is connected from outside (XEP-0114).
    Component(&'a str),
    /// This server itself.
    Server,
}

/// An answer that has to be routed in its turn.
pub(super) type Back = Option<Stanza<'static>>;

impl Router {
    /// Routes one stanza: loads what it needs, runs handlers, answers errors by itself.
    ///
    /// # Errors
    /// When the stanza's addresses are a reason to end the stream it came on: `invalid-from`,
    /// `improper-addressing`, `host-unknown` (RFC 6120 §8.1).
    pub async fn route(
        &self,
        origin: Origin<'_>,
        mut stanza: Stanza<'_>,
        batch: &mut Batch,
    ) -> Result<(), StreamError> {
        batch.text = None;
        self.arriving(&mut stanza);
        match origin {
            Origin::Client(binding) => {
                check_from(binding, &stanza)?;
                self.route_from_client(binding, stanza, batch).await;
            }
            Origin::Remote { local, remote } => {
                check_addresses(local, remote, &stanza)?;
                if self.barring.bars(local, stanza.from.as_ref()) {
                    self.turn_away(&stanza, batch);
                } else {
                    self.deliver(stanza, batch).await;
                }
            }
            Origin::Component(domain) => {
                check_sender(domain, &stanza)?;
                self.deliver(stanza, batch).await;
            }
            Origin::Server => {
                if stanza.kind == Kind::Message(MessageType::Error) {
                    // It takes the place of what was promised to whoever gets it.
                    batch.promise();
                }
                self.deliver(stanza, batch).await;
            }
        }
        Ok(())
    }

    async fn route_from_client(&self, binding: &Binding, mut stanza: Stanza<'_>, batch: &mut Batch) {
        stanza.from = Some(binding.jid.clone());
        self.hosts.respell(&mut stanza.to);
        if stanza.to.as_ref().is_some_and(|to| binding.account.blocks(to)) {
            return self.refuse_blocked(binding, &stanza, batch);
        }
        if let Kind::Presence(kind) = stanza.kind {
            // Presence is the rare and large case; its future is kept out of the message path.
            return Box::pin(self.presence_from_client(binding, kind, stanza, batch)).await;
        }
        // RFC 6120 §10.3.1, §10.3.3: without `to` it is for the sender's own account.
        let to = stanza.to.get_or_insert_with(|| binding.account.jid.clone().into());
        if to.as_str() == binding.account.jid.as_str() && roster::is_request(&stanza) {
            return Box::pin(self.roster_request(binding, &stanza, batch)).await;
        }
        if let Some(recipient) = self.unread(&stanza) {
            let _held = Box::pin(self.hold(&recipient, batch)).await;
            self.sent(&binding.account, &stanza, batch);
            return self.deliver(stanza, batch).await;
        }
        self.sent(&binding.account, &stanza, batch);
        self.deliver(stanza, batch).await;
    }

    /// Delivers a stanza whose `from` is settled, and whatever answers it.
    ///
    /// Whatever waits on the way is boxed, because the way of a message seldom waits for anything.
    pub(super) async fn deliver(&self, mut stanza: Stanza<'_>, batch: &mut Batch) {
        self.hosts.respell(&mut stanza.to);
        let mut back = self.deliver_once(&stanza, batch).await;
        // Whatever a log has not kept takes nothing back.
        if batch.text.is_some()
            && let Some(retraction) = self.retraction(&stanza)
        {
            batch.kept();
            Box::pin(self.retract(&stanza, retraction, batch)).await;
        }
        // An answer is never answered, so this ends after one more step.
        while let Some(answer) = back {
            batch.text = None;
            back = self.deliver_once(&answer, batch).await;
        }
        if batch.has_posted() {
            Box::pin(self.deliver_posted(batch)).await;
        }
    }

    /// Delivers what services have to say to others because of what they were given with `batch`.
    pub async fn deliver_posted(&self, batch: &mut Batch) {
        while let Some(mut stanza) = batch.next_posted() {
            self.hosts.respell(&mut stanza.to);
            let mut back = Some(stanza);
            while let Some(stanza) = back {
                batch.text = None;
                back = self.deliver_once(&stanza, batch).await;
            }
        }
    }

    async fn deliver_once(&self, stanza: &Stanza<'_>, batch: &mut Batch) -> Back {
        let to = stanza.to.as_ref()?;
        match self.hosts.of(to.domain()) {
            Host::Remote if self.to_remote(stanza, to, batch) => None,
            Host::Remote => stanza.error(&barred()),
            Host::Service(service) => {
                if let Some(ready) = service.ready(stanza) {
                    // The wait may be long for those whose bytes are ready.
                    batch.flush();
                    ready.await;
                }
                service.take(stanza, batch)
            }
            Host::Accounts if to.local().is_none() => self.to_domain(stanza, to, batch).await,
            Host::Accounts => self.to_account(stanza, to, batch).await,
        }
    }

    /// Hands a stanza over to another server; `false` if the sender's domain has nothing to do with `to`.
    pub(super) fn to_remote(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> bool {
        // Only a local sender's stanza leaves: this server is no relay (RFC 6120 §10.4).
        let local = stanza.from.as_ref().and_then(|from| self.hosts.local(from.domain()));
        let Some(local) = local else { return true };
        if self.barring.bars(local, Some(to)) {
            return false;
        }
        let kept = self.outbox(local, stanza, batch);
        batch.send(local, to.domain(), Leaving { stanza: stanza.borrow().into_owned(), kept });
        true
    }

    async fn to_domain(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        match stanza.kind {
            Kind::Iq(IqType::Get | IqType::Set) if to.is_bare() => {
                let from = stanza.from.as_ref()?;
                let relation = if self.has_accounts(from.domain()) { Relation::Subscriber } else { Relation::Stranger };
                Box::pin(self.answer(Entity::Domain, stanza, relation, batch)).await
            }
            Kind::Iq(IqType::Result | IqType::Error) => {
                self.requests.answered(stanza);
                None
            }
            Kind::Iq(_) | Kind::Message(_) => stanza.error(&Condition::ServiceUnavailable.into()),
            Kind::Presence(_) => None,
        }
    }

    async fn to_account(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        let account = match self.accounts.cached(to.bare_str()) {
            Some(account) => account,
            // Nobody is connected to an account that is not loaded (RFC 6121 §8.5.2.2.2).
            None if is_notification(stanza.kind) => return None,
            None => match Box::pin(self.load(&to.to_bare(), batch)).await {
                Ok(Some(account)) => account,
                Ok(None) if is_request(stanza.kind) && to.is_bare() => {
                    return self.on_behalf(stanza, Relation::Stranger, batch).await;
                }
                Ok(None) => return self.to_nobody(stanza, to),
                Err(error) => return stanza.error(&error),
            },
        };
        if stanza.from.as_ref().is_some_and(|from| account.blocks(from)) {
            return unheard(stanza);
        }
        let Kind::Presence(presence) = stanza.kind else {
            return self.to_resources(&account, stanza, to, batch).await;
        };
        match SubscriptionType::of(presence) {
            Some(kind) => {
                Box::pin(self.subscription_to_account(&account, kind, stanza, to, batch)).await;
                None
            }
            None if presence == PresenceType::Probe => self.probed(&account, stanza, to, batch),
            None => {
                let mut state = account.lock();
                if self.is_withheld(&state, stanza, to) {
                    return None;
                }
                if presence == PresenceType::Unavailable
                    && !self.is_stopping()
                    && let Some(from) = &stanza.from
                {
                    state.forget_directed(from, to, batch);
                }
                state.offer(stanza, to, batch);
                if let Some(from) = &stanza.from {
                    self.note_attendance(&account, &state, from, presence);
                }
                None
            }
        }
    }

    /// Delivers a message or an IQ to a local account.
    async fn to_resources(&self, account: &Arc<Account>, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        if matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error)) && self.requests.answered_for_session(stanza)
        {
            return None;
        }
        let relation = {
            let mut state = account.lock();
            if state.gone {
                return self.to_nobody(stanza, to);
            }
            if matches!(stanza.kind, Kind::Message(_)) {
                if stanza.kind == Kind::Message(MessageType::Groupchat) && self.is_withheld(&state, stanza, to) {
                    return None;
                }
                return self.receive(&account.jid, &mut state, stanza, to, batch);
            }
            if is_request(stanza.kind)
                && let Target::Connected(place) = state.target(to)
                && !may_ask(account, &state, place, stanza.from.as_ref())
            {
                return stanza.error(&Condition::ServiceUnavailable.into());
            }
            match state.offer(stanza, to, batch) {
                Delivery::To(_) | Delivery::Undelivered | Delivery::Ignore => return None,
                Delivery::Refuse(condition) => return stanza.error(&condition.into()),
                Delivery::OnBehalf => relation(account, &state, stanza.from.as_ref()),
            }
        };
        self.on_behalf(stanza, relation, batch).await
    }

    async fn on_behalf(&self, stanza: &Stanza<'_>, relation: Relation, batch: &mut Batch) -> Back {
        if !is_request(stanza.kind) {
            self.requests.answered(stanza);
            return None;
        }
        if stanza.kind == Kind::Iq(IqType::Set) && roster::is_request(stanza) {
            // RFC 6121 §2.1.5, of every account and of those that do not exist.
            return stanza.error(&Condition::Forbidden.into());
        }
        Box::pin(self.answer(Entity::Account, stanza, relation, batch)).await
    }

    /// There is no such account (RFC 6121 §8.5.1).
    fn to_nobody(&self, stanza: &Stanza<'_>, to: &Jid) -> Back {
        if stanza.kind == Kind::Presence(PresenceType::Probe) {
            return unsubscribed(stanza);
        }
        let target = if to.is_bare() { Target::Bare } else { Target::Gone };
        let condition = no_such_user(stanza.kind, target).filter(|_| !self.is_dropped(to, stanza))?;
        stanza.error(&condition.into())
    }

    /// Runs the handler of an IQ request.
    async fn answer(&self, entity: Entity, stanza: &Stanza<'_>, relation: Relation, batch: &mut Batch) -> Back {
        let verb = if stanza.kind == Kind::Iq(IqType::Set) { Verb::Set } else { Verb::Get };
        let Some(request) = stanza.payload.first() else {
            return stanza.error(&Condition::BadRequest.into());
        };
        let addresses = (stanza.from.clone()?, stanza.to.clone()?, relation);
        let Some(answer) = self.hooks().and_then(|hooks| hooks.answer(entity, verb, &request, addresses)) else {
            return stanza.error(&Condition::ServiceUnavailable.into());
        };
        // Nobody waits for a handler: what is in the batch so far goes out first.
        batch.flush();
        answering(stanza, answer.await)
    }

    /// The keys of an account that somebody wants to log in to, if it exists, and whether he may.
    ///
    /// # Errors
    /// What storage says.
    pub async fn credentials(&self, account: &BareJid) -> Result<Option<(Credentials, Standing)>, storage::Error> {
        self.accounts.credentials(account).await
    }

    /// Has the account `other` in memory, if it is one of this server, so that what concerns both sides is written
    /// together: whoever reads an account writes what is in the batch so far. Nobody forgets it as long as it is held. If
    /// it cannot be read, that is said where it is needed.
    pub(super) async fn hold(&self, other: &BareJid, batch: &mut Batch) -> Option<Arc<Account>> {
        if other.local().is_none() || !self.has_accounts(other.domain()) {
            return None;
        }
        self.load(other, batch).await.ok().flatten()
    }

    /// The entry of a local account, from memory or from storage; `None` if there is no account.
    ///
    /// # Errors
    /// `internal-server-error` when storage fails.
    pub(super) async fn load(&self, jid: &BareJid, batch: &mut Batch) -> Result<Option<Arc<Account>>, StanzaError> {
        if let Some(account) = self.accounts.cached(jid.as_str()) {
            return Ok(Some(account));
        }
        let Place::Here = self.hosts.owner(jid);
        // The wait may be long for those whose bytes are ready, and the load must see our writes.
        batch.flush();
        self.accounts.load(jid).await.map_err(|error| {
            tracing::error!(%error, "an account could not be read");
            Condition::InternalServerError.into()
        })
    }
}

/// RFC 6120 §8.1.1.2, §8.1.2.2: a stanza from another server has both addresses, and they are
/// those of the pair that its stream has proved.
fn check_addresses(local: &str, remote: &str, stanza: &Stanza<'_>) -> Result<(), StreamError> {
    if check_sender(remote, stanza)?.domain() == local {
        return Ok(());
    }
    Err(StreamCondition::ImproperAddressing.into())
}

/// XEP-0114 §3, as between servers: a stanza has both addresses, and `from` is of the domain of who
/// sends it. Gives the other one.
fn check_sender<'s>(domain: &str, stanza: &'s Stanza<'_>) -> Result<&'s Jid, StreamError> {
    let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else {
        return Err(StreamCondition::ImproperAddressing.into());
    };
    if from.domain() == domain { Ok(to) } else { Err(StreamCondition::InvalidFrom.into()) }
}

/// The `from` that a client gave (RFC 6120 §8.1.2.1): none, or one of its own.
fn check_from(binding: &Binding, stanza: &Stanza<'_>) -> Result<(), StreamError> {
    match &stanza.from {
        Some(from) if *from != binding.jid && from.as_str() != binding.jid.bare_str() => {
            Err(StreamCondition::InvalidFrom.into())
        }
        _ => Ok(()),
    }
}

const fn is_notification(kind: Kind) -> bool {
    matches!(kind, Kind::Presence(PresenceType::Available | PresenceType::Unavailable | PresenceType::Error))
}

const fn is_request(kind: Kind) -> bool {
    matches!(kind, Kind::Iq(IqType::Get | IqType::Set))
}

fn relation(account: &Account, state: &State, from: Option<&Jid>) -> Relation {
    match from {
        Some(from) if from.bare_str() == account.jid.as_str() => Relation::Owner,
        Some(from) if state.is_subscriber(from) => Relation::Subscriber,
        _ => Relation::Stranger,
    }
}

/// RFC 6121 §8.5.3.1: a request reaches a resource only from whom the account or the resource
/// shares its presence with; the server itself may ask.
fn may_ask(account: &Account, state: &State, place: usize, from: Option<&Jid>) -> bool {
    let Some(from) = from else { return false };
    if from.as_str() == account.jid.domain() || relation(account, state, Some(from)) != Relation::Stranger {
        return true;
    }
    let directed = state.resources.get(place).map(|resource| &resource.directed);
    directed.is_some_and(|directed| directed.keys().any(|known| known.bare_str() == from.bare_str()))
}

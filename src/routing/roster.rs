//! The roster of a local account: `jabber:iq:roster` of its own clients, pushes (RFC 6121 §2).

use std::sync::Arc;

use crate::accounts::contact::Contact;
use crate::accounts::roster::{self, Answer, Item, ROSTER_NS, RosterSet};
use crate::accounts::subscription::{Removal, Share};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, Payload, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::Router;
use super::account::{Account, State};
use super::accounts::{CONTACTS, ROSTER_VERSION};
use super::batch::Batch;
use super::binding::Binding;
use super::contacts::Contacts;

/// Whether a stanza from a client to its own account is a roster request.
pub(super) fn is_request(stanza: &Stanza<'_>) -> bool {
    matches!(stanza.kind, Kind::Iq(IqType::Get | IqType::Set))
        && stanza.payload.as_str().contains(ROSTER_NS)
        && stanza.payload.first().is_some_and(|element| element.is("query", ROSTER_NS))
}

impl Router {
    pub(super) async fn roster_request(&self, binding: &Binding, stanza: &Stanza<'_>, batch: &mut Batch) {
        let query = stanza.payload.first();
        let answer = match (stanza.kind, query) {
            (Kind::Iq(IqType::Get), Some(query)) => Ok(get(binding, &query)),
            (Kind::Iq(IqType::Set), Some(query)) => self.set(binding, &query, batch).await.map(|()| Payload::EMPTY),
            _ => Err(Condition::BadRequest.into()),
        };
        let answer = match answer {
            Ok(payload) => Some(stanza.result().payload(payload)),
            Err(error) => stanza.error(&error),
        };
        let Some(mut answer) = answer else { return };
        answer.to = Some(binding.jid.clone());
        if stanza.kind == Kind::Iq(IqType::Set) {
            // What is answered is durable.
            let receipt = batch.flush();
            if self.storage.durable(receipt).await.is_err() {
                return;
            }
        }
        batch.push_answer(&binding.ring, &answer);
    }

    async fn set(&self, binding: &Binding, query: &Element, batch: &mut Batch) -> Result<(), StanzaError> {
        match RosterSet::parse(query, &binding.account.jid)? {
            RosterSet::Update { jid, name, groups } => {
                self.update(&binding.account, &self.spelled(jid), (name, groups), batch)
            }
            RosterSet::Remove(jid) => self.remove(&binding.account, &self.spelled(jid), batch).await,
        }
    }

    fn spelled(&self, contact: BareJid) -> BareJid {
        let mut spelled = Some(Jid::from(contact.clone()));
        self.hosts.respell(&mut spelled);
        spelled.map_or(contact, |jid| jid.to_bare())
    }

    fn update(
        &self,
        account: &Arc<Account>,
        jid: &BareJid,
        (name, groups): (Option<String>, Vec<String>),
        batch: &mut Batch,
    ) -> Result<(), StanzaError> {
        let mut state = account.lock();
        if !state.contacts.contains(jid) && state.contacts.len() >= self.limits.load().contacts {
            return Err(StanzaError::new(Condition::ResourceConstraint, "the roster is full"));
        }
        let added = name.iter().chain(&groups).map(|text| text.len() + 1).sum::<usize>() + jid.as_str().len();
        if state.contacts.bytes() + added > Contacts::MOST_BYTES {
            return Err(StanzaError::new(
                Condition::ResourceConstraint,
                "the names and groups of the roster are too long",
            ));
        }
        let mut contact = state.contacts.get(jid).unwrap_or_default();
        let item = contact.item.get_or_insert_with(|| Item::new(jid.clone()));
        item.name = name;
        item.groups = groups;
        save(account, jid, &contact, batch);
        state.contacts.set(jid, contact);
        self.accounts.neighbours.changed(&account.jid, &state, jid);
        push(account, &mut state, jid, batch);
        batch.write_locked(&state);
        Ok(())
    }

    /// RFC 6121 §2.5.2: the item goes, and so do the subscriptions.
    async fn remove(&self, account: &Arc<Account>, jid: &BareJid, batch: &mut Batch) -> Result<(), StanzaError> {
        let _held = self.hold(jid, batch).await;
        let removal = {
            let mut state = account.lock();
            let Some(contact) = state.contacts.get(jid).filter(|contact| contact.item.is_some()) else {
                return Err(roster::not_in_roster());
            };
            state.contacts.set(jid, Contact::default());
            self.accounts.neighbours.changed(&account.jid, &state, jid);
            CONTACTS.delete(&mut batch.writes, &account.jid, jid.as_str());
            push(account, &mut state, jid, batch);
            batch.write_locked(&state);
            contact.state().remove()
        };
        self.part(account, jid, removal, batch).await;
        Ok(())
    }

    /// Ends what is left between account and contact, whose entry is gone already.
    pub(super) async fn part(&self, account: &Account, contact: &BareJid, removal: Removal, batch: &mut Batch) {
        let presences = account.lock().presences();
        let tell = |kind| {
            Stanza::new(Kind::Presence(kind)).from(Jid::from(account.jid.clone())).to(Jid::from(contact.clone()))
        };
        if removal.unsubscribe {
            self.deliver(tell(PresenceType::Unsubscribe), batch).await;
        }
        // Who is blocked knows of none.
        if removal.share == Some(Share::Unavailable) && !account.blocks(contact.as_jid()) {
            self.share_unavailable(&presences, contact, batch);
        }
        if removal.unsubscribed {
            self.deliver(tell(PresenceType::Unsubscribed), batch).await;
        }
    }
}

/// RFC 6121 §2.1.4, §2.6: the whole roster, or nothing if the client has it already.
fn get(binding: &Binding, query: &Element) -> Payload<'static> {
    let mut state = binding.account.lock();
    if let Some(resource) = state.resource_mut(binding.id) {
        resource.interested = true;
    }
    if state.roster_version.answer(query.attribute("ver")) == Answer::Unchanged {
        return Payload::EMPTY;
    }
    roster::query(state.roster_version, state.contacts.items().map(|item| item.to_element())).into()
}

/// Writes a contact to storage, or deletes it if nothing is left of it; [`Batch::write_locked`] follows.
pub(super) fn save(account: &Account, jid: &BareJid, contact: &Contact, batch: &mut Batch) {
    if contact.is_blank() {
        CONTACTS.delete(&mut batch.writes, &account.jid, jid.as_str());
    } else if let Err(error) = CONTACTS.put(&mut batch.writes, &account.jid, jid.as_str(), contact) {
        tracing::error!(%error, "a contact could not be written");
    }
}

/// Pushes an item, or its removal, to every interested resource (RFC 6121 §2.1.6); [`Batch::write_locked`] follows.
pub(super) fn push(account: &Account, state: &mut State, jid: &BareJid, batch: &mut Batch) {
    state.roster_version = state.roster_version.next();
    if let Err(error) = ROSTER_VERSION.put(&mut batch.writes, &account.jid, &state.roster_version) {
        tracing::error!(%error, "a roster version could not be written");
    }
    let item = state.contacts.get(jid).and_then(|contact| contact.item);
    let item = item.map_or_else(|| roster::removed(jid), |item| item.to_element());
    let query = roster::query(state.roster_version, [item]);
    let mut stanza = Stanza::new(Kind::Iq(IqType::Set)).id(format!("push-{}", state.roster_version)).payload(query);
    for resource in state.resources.iter().filter(|resource| resource.interested) {
        stanza.to = Some(resource.jid.clone());
        batch.push(&resource.ring, |out| stanza.write(out));
    }
}

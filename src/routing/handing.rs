//! What a service of ours sends to sessions that it knows of: at once, without waiting for anything, to one or to very
//! many.

use std::sync::{Arc, OnceLock, Weak};

use crate::jid::Jid;
use crate::stanza::{Condition, IqType, Kind, Letter, MessageType, PresenceType, Stanza};

use super::Router;
use super::account::{Account, State};
use super::barring::barred;
use super::batch::Batch;
use super::delivery::Reach;
use super::hosts::Host;
use super::push::Come;
use super::remote::Leaving;
use super::router::Back;

/// So many may be too many for a session at once: they are written when it reads.
const CROWD: usize = 1000;

/// Where the account of a session is to which much is handed: it is looked for once. Whoever makes a copy looks anew.
#[derive(Debug, Default)]
pub struct Way(OnceLock<Weak<Account>>);

impl Clone for Way {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Router {
    /// Hands a stanza to the session `to`; gives the error if there is none. Whom the stanza itself names does not count.
    pub fn hand(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        self.hand_written(stanza, (to, None), |out, to| stanza.write_to(out, Some(to)), batch)
    }

    /// The same for one of very many, for whom the stanza is written already.
    pub fn hand_letter(
        &self,
        stanza: &Stanza<'_>,
        letter: &Letter,
        (to, way): (&Jid, &Way),
        batch: &mut Batch,
    ) -> Back {
        let write = |out: &mut String, to: &str| letter.write_to(out, to);
        if let Some(account) = way.0.get().and_then(Weak::upgrade) {
            let mut state = account.lock();
            if let Some(place) = place_of(&state, to) {
                return self.hand_to_resource((&account, &mut state, place), stanza, to, write, batch);
            }
        }
        self.hand_written(stanza, (to, Some(way)), write, batch)
    }

    fn hand_written(
        &self,
        stanza: &Stanza<'_>,
        (to, way): (&Jid, Option<&Way>),
        write: impl FnOnce(&mut String, &str),
        batch: &mut Batch,
    ) -> Back {
        match self.hosts.of(to.domain()) {
            Host::Accounts => match self.accounts.cached(to.bare_str()) {
                Some(account) => {
                    // Whoever has been faster has found the same one.
                    let _ = way.map(|way| way.0.set(Arc::downgrade(&account)));
                    self.hand_to_account(&account, stanza, to, write, batch)
                }
                // Nobody is connected to an account that is not loaded.
                None => nobody(stanza, to),
            },
            Host::Remote => self.hand_over_border(stanza, to, batch),
            Host::Service(service) => service.take(&stanza.borrow().to(to.clone()), batch),
        }
    }

    /// Hands presence of people who are there to the session `to`, in its order: it is looked for once. Gives the first
    /// error.
    pub fn hand_all(&self, stanzas: &[Arc<Stanza<'static>>], to: &Jid, batch: &mut Batch) -> Back {
        let Host::Accounts = self.hosts.of(to.domain()) else {
            return stanzas.iter().fold(None, |back, stanza| back.or(self.hand(stanza, to, batch)));
        };
        let Some(account) = self.accounts.cached(to.bare_str()) else { return nobody(stanzas.first()?, to) };
        let mut state = account.lock();
        let Some(place) = place_of(&state, to) else { return nobody(stanzas.first()?, to) };
        if stanzas.len() > CROWD
            && let Some(resource) = state.resources.get(place)
        {
            let is_heard = |from: &Jid| !state.blocked.blocks(from);
            let heard = stanzas.iter().filter(|stanza| stanza.from.as_ref().is_none_or(is_heard));
            batch.show(&resource.ring, heard.cloned().collect(), to);
            return None;
        }
        stanzas.iter().fold(None, |back, stanza| {
            let write = |out: &mut String, to: &str| stanza.write_to(out, Some(to));
            back.or(self.hand_to_resource((&*account, &mut *state, place), stanza, to, write, batch))
        })
    }

    fn hand_to_account(
        &self,
        account: &Account,
        stanza: &Stanza<'_>,
        to: &Jid,
        write: impl FnOnce(&mut String, &str),
        batch: &mut Batch,
    ) -> Back {
        let mut state = account.lock();
        match place_of(&state, to) {
            Some(place) => self.hand_to_resource((account, &mut *state, place), stanza, to, write, batch),
            None => nobody(stanza, to),
        }
    }

    fn hand_to_resource(
        &self,
        (account, state, place): (&Account, &mut State, usize),
        stanza: &Stanza<'_>,
        to: &Jid,
        write: impl FnOnce(&mut String, &str),
        batch: &mut Batch,
    ) -> Back {
        let resource = state.resources.get(place)?;
        let is_blocked = stanza.from.as_ref().is_some_and(|from| state.blocked.blocks(from));
        match stanza.kind {
            // Whoever blocks one occupant of a room is in the room all the same.
            Kind::Presence(_) | Kind::Message(MessageType::Groupchat) if is_blocked => None,
            // He is in the room, and everybody sees it.
            _ if is_blocked => stanza.borrow().to(to.clone()).error(&Condition::NotAcceptable.into()),
            Kind::Presence(kind) => {
                batch.push_stanza(&resource.ring, stanza, |out| write(out, to.as_str()));
                if let Some(from) =
                    stanza.from.as_ref().filter(|_| kind == PresenceType::Unavailable && !self.is_stopping())
                {
                    state.forget_directed(from, to, batch);
                }
                None
            }
            Kind::Message(MessageType::Groupchat) => {
                batch.push_stanza(&resource.ring, stanza, |out| write(out, to.as_str()));
                if state.push.is_some() {
                    let come = Come { reach: Some(Reach::Resource(place)), is_copied: false, is_kept: false };
                    self.tell_absent(&account.jid, state, stanza, come);
                }
                None
            }
            Kind::Message(_) => {
                let addressed = stanza.borrow().to(to.clone());
                batch.beside(|batch| self.receive(&account.jid, state, &addressed, to, batch))
            }
            Kind::Iq(IqType::Result | IqType::Error) => {
                batch.push_answer(&resource.ring, &stanza.borrow().to(to.clone()));
                None
            }
            Kind::Iq(_) => {
                batch.push_stanza(&resource.ring, stanza, |out| write(out, to.as_str()));
                None
            }
        }
    }

    /// Messages of rooms are in their logs, where those who miss some find them: the outbox has none of them.
    fn hand_over_border(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        let addressed = stanza.borrow().to(to.clone());
        if stanza.kind != Kind::Message(MessageType::Groupchat) {
            let has_left = batch.beside(|batch| self.to_remote(&addressed, to, batch));
            return if has_left { None } else { addressed.error(&barred()) };
        }
        let local = stanza.from.as_ref().and_then(|from| self.hosts.local(from.domain()))?;
        if self.barring.bars(local, Some(to)) {
            return addressed.error(&barred());
        }
        batch.send(local, to.domain(), Leaving::from(addressed.into_owned()));
        None
    }
}

/// Which of the resources of an account the session `to` is.
fn place_of(state: &State, to: &Jid) -> Option<usize> {
    state.resources.iter().position(|resource| resource.jid == *to)
}

/// There is no such session (RFC 6121 §8.5.3.2).
fn nobody(stanza: &Stanza<'_>, to: &Jid) -> Back {
    stanza.borrow().to(to.clone()).error(&Condition::ServiceUnavailable.into())
}

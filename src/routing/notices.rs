//! What a domain has to say to those who come: to everybody once, the message of the day; to those who have never been
//! here before, a welcome (XEP-0133 §4.24 to §4.28).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Kind, MessageType, Stanza};
use crate::storage::{Cell, Error, Storage, View, Writes};
use crate::xml::Element;

use super::Router;
use super::batch::Batch;
use super::binding::Binding;

/// Kept by the domain.
const MOTD: Cell<Motd> = Cell::new("motd");
const WELCOME: Cell<String> = Cell::new("welcome");

/// The number of the last message of the day that an account has got.
const MOTD_SEEN: Cell<i64> = Cell::new("motd-seen");

/// Sessions that are told before the storage writer gets what was noted.
const PORTION: usize = 256;

/// A message of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Motd {
    /// Tells it from those before; it stays when the message is edited.
    pub(super) number: i64,
    pub(super) text: String,
}

/// What one domain has to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Notices {
    pub(super) motd: Option<Motd>,
    pub(super) welcome: Option<String>,
}

/// What all domains have to say; most of them nothing.
#[derive(Debug, Default)]
pub(super) struct Board(RwLock<HashMap<String, Arc<Notices>>>);

impl Board {
    /// What `domain` has to say.
    pub(super) fn of(&self, domain: &str) -> Option<Arc<Notices>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(domain).cloned()
    }

    /// Reads what `domain` has to say.
    pub(super) fn load(&self, view: &View<'_>, domain: &str) -> Result<(), Error> {
        let owner = BareJid::from_kept(domain);
        self.put(domain, Notices { motd: view.cell(&MOTD, &owner)?, welcome: view.cell(&WELCOME, &owner)? });
        Ok(())
    }

    /// Makes `notices` what `domain` has to say; it is durable, and so, once this returns.
    pub(super) async fn replace(&self, storage: &Storage, domain: &str, notices: Notices) -> Result<(), Error> {
        let owner = BareJid::from_kept(domain);
        let mut writes = Writes::new();
        match &notices.motd {
            Some(motd) => MOTD.put(&mut writes, &owner, motd)?,
            None => MOTD.delete(&mut writes, &owner),
        }
        match &notices.welcome {
            Some(welcome) => WELCOME.put(&mut writes, &owner, welcome)?,
            None => WELCOME.delete(&mut writes, &owner),
        }
        storage.keep(writes).await?;
        self.put(domain, notices);
        Ok(())
    }

    fn put(&self, domain: &str, notices: Notices) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if notices.motd.is_none() && notices.welcome.is_none() {
            board.remove(domain);
        } else {
            board.insert(domain.to_owned(), Arc::new(notices));
        }
    }
}

impl Router {
    /// Tells a resource that has become available what its domain has to say to it.
    pub(super) async fn greet(&self, binding: &Binding, notices: &Notices, first: bool, batch: &mut Batch) {
        if first && let Some(welcome) = &notices.welcome {
            batch.push(&binding.ring, |out| message(&binding.jid, welcome).write(out));
        }
        let Some(motd) = &notices.motd else { return };
        let account = binding.jid.to_bare();
        // Storage shows what is durable; whoever comes with two clients at once is told twice.
        batch.flush();
        match MOTD_SEEN.get(&self.storage, &account).await {
            Ok(Some(seen)) if seen >= motd.number => return,
            Ok(_) => {}
            Err(error) => return tracing::error!(%error, "it could not be read what an account has seen"),
        }
        batch.push(&binding.ring, |out| message(&binding.jid, &motd.text).write(out));
        note_seen(&account, motd, batch);
    }

    /// Tells everybody who is available the message of the day.
    pub(super) fn tell_motd(&self, domain: &str, motd: &Motd) {
        let mut batch = self.batch();
        let accounts = self.accounts.all();
        for (count, account) in accounts.iter().filter(|account| account.jid.domain() == domain).enumerate() {
            let state = account.lock();
            let mut told = false;
            for resource in state.resources.iter().filter(|resource| resource.available.is_some()) {
                told |= batch.push(&resource.ring, |out| message(&resource.jid, &motd.text).write(out));
            }
            drop(state);
            if told {
                note_seen(&account.jid, motd, &mut batch);
            }
            if count % PORTION == PORTION - 1 {
                batch.flush();
            }
        }
        batch.finish();
    }
}

fn note_seen(account: &BareJid, motd: &Motd, batch: &mut Batch) {
    if let Err(error) = MOTD_SEEN.put(&mut batch.writes, account, &motd.number) {
        tracing::error!(%error, "it could not be written what an account has seen");
    }
}

/// A message of the domain to one of its sessions.
fn message(to: &Jid, text: &str) -> Stanza<'static> {
    let body = Element::new("body", CLIENT_NS).with_text(text);
    let from = Jid::from(BareJid::from_kept(to.domain()));
    Stanza::new(Kind::Message(MessageType::Headline)).from(from).to(to.clone()).payload(body)
}

//! A service has gone, and cannot say so itself: nobody goes on believing that somebody is there.
//!
//! RFC 6121 leaves it to the domain of a contact to say that the contact is unavailable, and for the
//! domain of a service that is not connected this server speaks. Sessions elsewhere learn it from the
//! errors that answer them, as they do of a server that is gone.

use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, PresenceType, Stanza};

use super::Router;
use super::account::State;
use super::batch::Batch;

/// Accounts that are looked at before others get a turn.
const PORTION: usize = 64;

impl Router {
    /// Tells the sessions of this server that nobody at `domain` is available any more: those to whom
    /// they have sent directed presence, for instance as occupants of a room, and those whose presence
    /// they receive.
    pub async fn absent(&self, domain: &str) {
        let accounts = self.accounts.all();
        for portion in accounts.chunks(PORTION) {
            let mut batch = self.batch();
            for account in portion {
                tell(account.jid.as_str(), &mut account.lock(), domain, &mut batch);
            }
            batch.finish();
            tokio::task::yield_now().await;
        }
    }
}

fn tell(account: &str, state: &mut State, domain: &str, batch: &mut Batch) {
    if state.resources.is_empty() {
        return;
    }
    let watched: Vec<BareJid> = state
        .contacts
        .states()
        .filter(|(jid, it)| jid.ends_with(domain) && it.subscription().has_to() && !state.blocks_contact(jid))
        .map(|(jid, _)| BareJid::from_kept(jid))
        .filter(|contact| contact.domain() == domain)
        .collect();
    let gone = |who: Jid| Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(who);
    for resource in &mut state.resources {
        let mut directed = Vec::new();
        resource.directed.retain(|jid, _| {
            let stays = jid.domain() != domain;
            if !stays {
                directed.push(jid.clone());
            }
            stays
        });
        // Only who is available gets the presence of contacts.
        let contacts = watched.iter().filter(|_| resource.available.is_some());
        let contacts = contacts.filter(|contact| !directed.iter().any(|jid| jid == contact.as_jid()));
        for contact in contacts {
            let gone = gone(contact.as_jid().clone());
            batch.push_stanza(&resource.ring, &gone, |out| gone.write_to(out, Some(account)));
        }
        let to = resource.jid.clone();
        for jid in directed {
            let gone = gone(jid);
            batch.push_stanza(&resource.ring, &gone, |out| gone.write_to(out, Some(to.as_str())));
        }
    }
}

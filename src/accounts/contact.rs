//! What an account keeps about one contact: its roster item, if it is listed, and a request that
//! waits for an answer.

use serde::{Deserialize, Serialize};

use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, Payload, PresenceType, Stanza};

use super::roster::Item;
use super::subscription::{Half, State, Subscription};

/// One row of the roster map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub item: Item,
    /// Whether the roster shows the item. A contact whose request alone is known is not listed
    /// (RFC 6121 §3.1.3).
    pub listed: bool,
    /// The payload of the subscription request that waits, to be shown at the next login.
    pub request: Option<String>,
}

impl Contact {
    /// A contact of whom nothing is known yet.
    #[must_use]
    pub const fn new(jid: BareJid) -> Self {
        Self { item: Item::new(jid), listed: false, request: None }
    }

    /// How account and contact stand (RFC 6121 appendix A.1).
    #[must_use]
    pub fn state(&self) -> State {
        let to = match (self.item.subscription.has_to(), self.item.ask) {
            (true, _) => Half::Subscribed,
            (false, true) => Half::Pending,
            (false, false) => Half::None,
        };
        let from = match (self.item.subscription.has_from(), &self.request) {
            (true, _) => Half::Subscribed,
            (false, Some(_)) => Half::Pending,
            (false, None) => Half::None,
        };
        State { to, from, approved: self.item.approved }
    }

    /// Takes over a new state; `shown` says that the roster shows the item from now on.
    pub fn set_state(&mut self, state: State, shown: bool) {
        self.item.subscription = state.subscription();
        self.item.ask = state.ask();
        self.item.approved = state.approved;
        self.listed |= shown;
        if state.pending_in() {
            self.request.get_or_insert_default();
        } else {
            self.request = None;
        }
    }

    /// Whether nothing is left to be kept.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        !self.listed && self.request.is_none() && self.item.subscription == Subscription::None
    }

    /// The request that waits, as a stanza to `account`.
    #[must_use]
    pub fn pending_request(&self, account: &Jid) -> Option<Stanza<'static>> {
        let payload = self.request.clone()?;
        Some(
            Stanza::new(Kind::Presence(PresenceType::Subscribe))
                .from(Jid::from(self.item.jid.clone()))
                .to(account.clone())
                .payload(Payload::canonical(payload)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_being_kept() {
        let halves = [Half::None, Half::Pending, Half::Subscribed];
        for to in halves {
            for from in halves {
                for approved in [false, true] {
                    let state = State { to, from, approved };
                    let mut contact = Contact::new("juliet@capulet.example".parse().unwrap());
                    contact.set_state(state, false);
                    assert_eq!(contact.state(), state);
                    let kept: Contact = serde_json::from_str(&serde_json::to_string(&contact).unwrap()).unwrap();
                    assert_eq!(kept, contact);
                }
            }
        }
    }
}

//! What an account keeps about one contact: its roster item, if the roster shows one, and a request that waits for
//! an answer.

use serde::{Deserialize, Serialize};

use crate::jid::BareJid;

use super::roster::{Item, PendingIn, Request};
use super::subscription::State;

/// One row of the roster map; the key is the contact's bare JID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// `None` if nothing but the contact's request is known: the roster does not show it (RFC 6121 §3.1.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

impl Contact {
    /// How account and contact stand (RFC 6121 appendix A.1).
    #[must_use]
    pub fn state(&self) -> State {
        let pending = if self.request.is_some() { PendingIn::Yes } else { PendingIn::No };
        Item::state(self.item.as_ref(), pending)
    }

    /// Takes over the state of a transition; `request` is what waits if the state says that something does.
    pub fn set_state(&mut self, contact: &BareJid, state: State, request: Option<Request>) {
        if self.item.is_some()
            || state != (State { from: state.from, ..State::default() })
            || state.subscription().has_from()
        {
            self.item.get_or_insert_with(|| Item::new(contact.clone())).set_state(state);
        }
        if state.pending_in() {
            self.request = self.request.take().or(request);
        } else {
            self.request = None;
        }
    }

    /// Whether nothing is left to be kept.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.item.is_none() && self.request.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::subscription::Half;
    use crate::stanza::{Kind, PresenceType, Stanza};

    #[test]
    fn every_state_survives_being_kept() {
        let juliet: BareJid = "juliet@capulet.example".parse().unwrap();
        let request = Request::of(juliet.clone(), &Stanza::new(Kind::Presence(PresenceType::Subscribe)));
        let halves = [Half::None, Half::Pending, Half::Subscribed];
        for to in halves {
            for from in halves {
                for approved in [false, true] {
                    let state = State { to, from, approved };
                    let mut contact = Contact::default();
                    contact.set_state(&juliet, state, Some(request.clone()));
                    assert_eq!(contact.state(), state);
                    let kept: Contact = serde_json::from_str(&serde_json::to_string(&contact).unwrap()).unwrap();
                    assert_eq!(kept, contact);
                }
            }
        }
    }

    #[test]
    fn a_request_alone_makes_no_item() {
        let juliet: BareJid = "juliet@capulet.example".parse().unwrap();
        let request = Request::of(juliet.clone(), &Stanza::new(Kind::Presence(PresenceType::Subscribe)));
        let mut contact = Contact::default();
        contact.set_state(&juliet, State { from: Half::Pending, ..State::default() }, Some(request));
        assert!(contact.item.is_none() && contact.request.is_some());
        contact.set_state(&juliet, State::default(), None);
        assert!(contact.is_blank());
    }
}

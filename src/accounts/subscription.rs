//! The subscription state machine of RFC 6121 section 3 and appendix A, seen from one account.
//!
//! The nine states of appendix A.1 are the product of two halves, so the tables A.2 and A.3 shrink to one rule
//! per half; the tests hold the tables as the RFC prints them. Knows nothing of rosters at rest, of resources or
//! of where a contact lives.

use serde::{Deserialize, Serialize};

use crate::stanza::PresenceType;

/// The `subscription` attribute of a roster item (RFC 6121 §2.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subscription {
    #[default]
    None,
    To,
    From,
    Both,
}

impl Subscription {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }

    /// The value that is spelt `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::To, Self::From, Self::Both].into_iter().find(|known| known.as_str() == text)
    }

    /// Whether the user receives the contact's presence.
    #[must_use]
    pub const fn has_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact receives the user's presence.
    #[must_use]
    pub const fn has_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }
}

/// The four presence types that manage subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionType {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl SubscriptionType {
    /// All four, in the order of the tables in appendix A.2.
    pub const ALL: &'static [Self] = &[Self::Subscribe, Self::Unsubscribe, Self::Subscribed, Self::Unsubscribed];

    /// The subscription type of a presence stanza, or `None` for presence that manages no subscription.
    #[must_use]
    pub const fn of(presence: PresenceType) -> Option<Self> {
        match presence {
            PresenceType::Subscribe => Some(Self::Subscribe),
            PresenceType::Subscribed => Some(Self::Subscribed),
            PresenceType::Unsubscribe => Some(Self::Unsubscribe),
            PresenceType::Unsubscribed => Some(Self::Unsubscribed),
            PresenceType::Available | PresenceType::Error | PresenceType::Probe | PresenceType::Unavailable => None,
        }
    }

    /// The presence type on the wire.
    #[must_use]
    pub const fn presence_type(self) -> PresenceType {
        match self {
            Self::Subscribe => PresenceType::Subscribe,
            Self::Subscribed => PresenceType::Subscribed,
            Self::Unsubscribe => PresenceType::Unsubscribe,
            Self::Unsubscribed => PresenceType::Unsubscribed,
        }
    }
}

/// One direction between user and contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Half {
    #[default]
    None,
    /// Requested, not answered.
    Pending,
    Subscribed,
}

/// How a user and a contact stand, from the user's side (RFC 6121 appendix A.1); the default is a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The user's subscription to the contact's presence; `Pending` is "Pending Out".
    pub to: Half,
    /// The contact's subscription to the user's presence; `Pending` is "Pending In".
    pub from: Half,
    /// Whether the next request of the contact is approved already (RFC 6121 §3.4).
    pub approved: bool,
}

/// The availability that the user's resources must tell the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// The current presence of every available resource, after everything else (RFC 6121 §3.1.5).
    Available,
    /// Unavailable presence from every available resource: before an outbound `unsubscribed` is routed
    /// (RFC 6121 §3.2.2), after an inbound `unsubscribe` was delivered (§3.3.3).
    Unavailable,
}

/// What one subscription stanza causes.
///
/// The order on the wire is: [`Share::Unavailable`] of an outbound stanza, `forward`, `push`, `reply`, other `share`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state from now on; it may be the old one.
    pub state: State,
    /// Whether the stanza goes on: an outbound one to the contact, an inbound one to the user's resources
    /// (`subscribe` to the available ones, the others to the interested ones).
    pub forward: bool,
    /// Whether what the roster shows has changed: the item is created if need be, and pushed.
    pub push: bool,
    /// What the server answers the contact in the user's name, from bare JID to bare JID.
    pub reply: Option<PresenceType>,
    /// Which availability the contact must be told.
    pub share: Option<Share>,
}

/// What the removal of a roster item tells the contact (RFC 6121 §2.5.2); afterwards the state is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// Whether `unsubscribe` is routed to the contact.
    pub unsubscribe: bool,
    /// Whether `unsubscribed` is routed to the contact.
    pub unsubscribed: bool,
    /// [`Share::Unavailable`] if the contact saw the user until now; it precedes `unsubscribed`.
    pub share: Option<Share>,
}

impl State {
    /// The value of the roster item's `subscription` attribute.
    #[must_use]
    pub const fn subscription(self) -> Subscription {
        match (self.to, self.from) {
            (Half::Subscribed, Half::Subscribed) => Subscription::Both,
            (Half::Subscribed, _) => Subscription::To,
            (_, Half::Subscribed) => Subscription::From,
            _ => Subscription::None,
        }
    }

    /// Whether the roster item says `ask='subscribe'`.
    #[must_use]
    pub const fn ask(self) -> bool {
        matches!(self.to, Half::Pending)
    }

    /// Whether a request of the contact waits for the user's answer.
    #[must_use]
    pub const fn pending_in(self) -> bool {
        matches!(self.from, Half::Pending)
    }

    /// What the removal of the contact's roster item causes: both subscriptions end, and requests that are
    /// pending in either direction are taken back or denied.
    #[must_use]
    pub fn remove(self) -> Removal {
        Removal {
            unsubscribe: self.to != Half::None,
            unsubscribed: self.from != Half::None,
            share: (self.from == Half::Subscribed).then_some(Share::Unavailable),
        }
    }

    const fn stays(self) -> Transition {
        Transition { state: self, forward: false, push: false, reply: None, share: None }
    }

    fn becomes(self, state: Self) -> Transition {
        let shown = |state: Self| (state.subscription(), state.ask(), state.approved);
        Transition { state, push: shown(self) != shown(state), ..self.stays() }
    }
}

/// The user sends the contact a subscription stanza (RFC 6121 appendix A.2).
#[must_use]
pub fn outbound(state: State, kind: SubscriptionType) -> Transition {
    match kind {
        SubscriptionType::Subscribe => {
            let to = if state.to == Half::None { Half::Pending } else { state.to };
            Transition { forward: true, ..state.becomes(State { to, ..state }) }
        }
        SubscriptionType::Unsubscribe => {
            Transition { forward: true, ..state.becomes(State { to: Half::None, ..state }) }
        }
        SubscriptionType::Subscribed => match state.from {
            // RFC 6121 §3.4.2: an approval that nobody asked for is kept, not routed.
            Half::None => state.becomes(State { approved: true, ..state }),
            Half::Pending => approve(state, Half::Pending),
            Half::Subscribed => state.stays(),
        },
        SubscriptionType::Unsubscribed => {
            let after = state.becomes(State { from: Half::None, approved: false, ..state });
            let share = (state.from == Half::Subscribed).then_some(Share::Unavailable);
            Transition { forward: state.from != Half::None, share, ..after }
        }
    }
}

/// The contact sends the user a subscription stanza (RFC 6121 appendix A.3).
#[must_use]
pub fn inbound(state: State, kind: SubscriptionType) -> Transition {
    match kind {
        SubscriptionType::Subscribe => match state.from {
            // The contact's server has forgotten; the presence repairs what it shows (RFC 6121 §3.1.3).
            Half::Subscribed => {
                Transition { reply: Some(PresenceType::Subscribed), share: Some(Share::Available), ..state.stays() }
            }
            _ if state.approved => approve(state, Half::None),
            Half::Pending => state.stays(),
            Half::None => Transition { forward: true, ..state.becomes(State { from: Half::Pending, ..state }) },
        },
        SubscriptionType::Unsubscribe => match state.from {
            Half::None => state.stays(),
            Half::Pending | Half::Subscribed => Transition {
                forward: true,
                reply: Some(PresenceType::Unsubscribed),
                share: (state.from == Half::Subscribed).then_some(Share::Unavailable),
                ..state.becomes(State { from: Half::None, ..state })
            },
        },
        SubscriptionType::Subscribed => match state.to {
            Half::Pending => Transition { forward: true, ..state.becomes(State { to: Half::Subscribed, ..state }) },
            Half::None | Half::Subscribed => state.stays(),
        },
        SubscriptionType::Unsubscribed => match state.to {
            Half::None => state.stays(),
            Half::Pending | Half::Subscribed => {
                Transition { forward: true, ..state.becomes(State { to: Half::None, ..state }) }
            }
        },
    }
}

/// The contact's subscription begins: `before` says whether the user answers a request now (`Pending`, the
/// stanza is routed) or had approved it earlier (the server answers).
fn approve(state: State, before: Half) -> Transition {
    // A pre-approval counts once: the record is not kept (RFC 6121 §3.4.2, implementation note).
    let after = state.becomes(State { from: Half::Subscribed, approved: false, ..state });
    let forward = before == Half::Pending;
    let reply = (!forward).then_some(PresenceType::Subscribed);
    Transition { forward, reply, share: Some(Share::Available), ..after }
}

#[cfg(test)]
mod tests;

//! Delivery rules for local accounts as one pure decision (RFC 6121 §8.5).
//!
//! Subscription stanzas and probes never come here: `subscriptions` and `presence` handle them.

use crate::stanza::{Condition, IqType, Kind, MessageType};

/// What the account that a stanza is addressed to looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient {
    /// The highest presence priority of its available resources; `None` if there is none.
    pub highest: Option<i8>,
    pub target: Target,
}

/// How the account is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `local@domain`
    Bare,
    /// `local@domain/resource`, and this resource is connected; its place in the order of binding.
    Connected(usize),
    /// `local@domain/resource`, and there is no such resource.
    Gone,
}

/// What becomes of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// To these resources; there is at least one.
    To(Reach),
    /// The account has nobody to read it now: stored if storage takes it, otherwise an error.
    Undelivered,
    /// The server answers on behalf of the account.
    OnBehalf,
    /// An error goes back.
    Refuse(Condition),
    /// Nothing happens.
    Ignore,
}

/// Which resources get a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The one at this place.
    Resource(usize),
    /// The most available ones: all that have this priority, the highest.
    Priority(i8),
    /// All available ones whose priority is not negative.
    NonNegative,
    /// All available ones.
    Available,
}

impl Reach {
    /// Whether the resource at `place` is meant; `priority` is `None` if it is not available.
    pub(super) fn includes(self, place: usize, priority: Option<i8>) -> bool {
        match self {
            Self::Resource(only) => place == only,
            Self::Priority(highest) => priority == Some(highest),
            Self::NonNegative => priority.is_some_and(|priority| priority >= 0),
            Self::Available => priority.is_some(),
        }
    }
}

/// Decides by kind and target.
pub(super) fn decide(kind: Kind, recipient: Recipient) -> Delivery {
    match (kind, recipient.target) {
        (Kind::Message(kind), target) => message(kind, target, recipient.highest),
        // RFC 6121 §8.5.2.1.2, §8.5.2.2.2. An error for a request of subscription comes here too: the
        // request has left from the bare JID (§3.1.2).
        (Kind::Presence(_), Target::Bare) => {
            recipient.highest.map_or(Delivery::Ignore, |_| Delivery::To(Reach::Available))
        }
        // RFC 6121 §8.5.3.1
        (Kind::Presence(_) | Kind::Iq(_), Target::Connected(place)) => Delivery::To(Reach::Resource(place)),
        // RFC 6121 §8.5.3.2.2
        (Kind::Presence(_), _) => Delivery::Ignore,
        // RFC 6121 §8.5.2.1.3
        (Kind::Iq(_), Target::Bare) => Delivery::OnBehalf,
        // RFC 6121 §8.5.3.2.3
        (Kind::Iq(IqType::Get | IqType::Set), Target::Gone) => Delivery::Refuse(Condition::ServiceUnavailable),
        (Kind::Iq(IqType::Result | IqType::Error), Target::Gone) => Delivery::Ignore,
    }
}

fn message(kind: MessageType, target: Target, highest: Option<i8>) -> Delivery {
    let highest = highest.filter(|priority| *priority >= 0);
    match (kind, target) {
        // RFC 6121 §8.5.3.1
        (_, Target::Connected(place)) => Delivery::To(Reach::Resource(place)),
        // RFC 6121 §8.5.2.1.1, §8.5.2.2.1; §8.5.3.2.1 treats a chat message to a resource that is
        // gone like one to the bare JID.
        (MessageType::Normal, Target::Bare) | (MessageType::Chat, Target::Bare | Target::Gone) => {
            highest.map_or(Delivery::Undelivered, |highest| Delivery::To(Reach::Priority(highest)))
        }
        (MessageType::Headline, Target::Bare) => highest.map_or(Delivery::Ignore, |_| Delivery::To(Reach::NonNegative)),
        (MessageType::Groupchat, Target::Bare)
        | (MessageType::Normal | MessageType::Groupchat | MessageType::Headline, Target::Gone) => {
            Delivery::Refuse(Condition::ServiceUnavailable)
        }
        (MessageType::Error, Target::Bare | Target::Gone) => Delivery::Ignore,
    }
}

/// The answer for an account that does not exist (RFC 6121 §8.5.1): what one that exists, has
/// nobody to read and answers no stranger would give, so that strangers learn nothing.
pub(super) fn no_such_user(kind: Kind, target: Target) -> Option<Condition> {
    match decide(kind, Recipient { highest: None, target }) {
        Delivery::Refuse(condition) => Some(condition),
        Delivery::Undelivered | Delivery::OnBehalf => Some(Condition::ServiceUnavailable),
        Delivery::To(_) | Delivery::Ignore => None,
    }
}

#[cfg(test)]
mod tests;

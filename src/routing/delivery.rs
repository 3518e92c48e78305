//! Delivery rules for local accounts as one pure decision (RFC 6121 §8.5).
//!
//! Subscription stanzas and probes never come here: `subscriptions` and `presence` handle them.

use crate::stanza::{Condition, IqType, Kind, MessageType, PresenceType};

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
        // RFC 6121 §8.5.2.1.2, §8.5.2.2.2
        (Kind::Presence(PresenceType::Available | PresenceType::Unavailable), Target::Bare) => {
            recipient.highest.map_or(Delivery::Ignore, |_| Delivery::To(Reach::Available))
        }
        (Kind::Presence(PresenceType::Error), Target::Bare) => Delivery::Ignore,
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
mod tests {
    use super::*;

    fn shorthand(kind: Kind, priorities: &[Option<i8>], target: Target) -> String {
        let highest = priorities.iter().copied().flatten().max();
        match decide(kind, Recipient { highest, target }) {
            Delivery::To(reach) => {
                let reached = priorities.iter().enumerate().filter(|(place, it)| reach.includes(*place, **it));
                reached.map(|(place, _)| place.to_string()).collect()
            }
            Delivery::Undelivered => "O".into(),
            Delivery::OnBehalf => "B".into(),
            Delivery::Refuse(_) => "E".into(),
            Delivery::Ignore => "S".into(),
        }
    }

    // Proves: RFC 6121 §5.2.2, §8.5.2.1.1, §8.5.2.2.1, §8.5.3.1, §8.5.3.2.1
    /// RFC 6121 §8.5.4, Table 1: rows are (priorities, target), columns normal, chat, groupchat,
    /// headline. S ignore, E error, O undelivered, digits the resources.
    #[test]
    fn table_1() {
        let none: &[Option<i8>] = &[];
        let rows = [
            (none, Target::Bare, ["O", "O", "E", "S"]),
            (none, Target::Gone, ["E", "O", "E", "E"]),
            (&[None][..], Target::Bare, ["O", "O", "E", "S"]),
            (&[None][..], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(-1)][..], Target::Bare, ["O", "O", "E", "S"]),
            (&[Some(-1)][..], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(-1)][..], Target::Gone, ["E", "O", "E", "E"]),
            (&[Some(0)][..], Target::Bare, ["0", "0", "E", "0"]),
            (&[Some(0)][..], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(0)][..], Target::Gone, ["E", "0", "E", "E"]),
            (&[Some(1), Some(-5), None, Some(1), Some(0)][..], Target::Bare, ["03", "03", "E", "034"]),
            (&[Some(1), Some(2)][..], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(1), Some(2)][..], Target::Gone, ["E", "1", "E", "E"]),
        ];
        let columns = [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline];
        for (priorities, target, expected) in rows {
            for (kind, expected) in columns.into_iter().zip(expected) {
                let decided = shorthand(Kind::Message(kind), priorities, target);
                assert_eq!(decided, expected, "{kind:?} {priorities:?} {target:?}");
            }
        }
    }

    // Proves: RFC 6121 §8.5.2.1.1, §8.5.3.2.1
    #[test]
    fn a_message_error_is_never_answered() {
        for target in [Target::Bare, Target::Gone] {
            assert_eq!(shorthand(Kind::Message(MessageType::Error), &[Some(0)], target), "S");
        }
    }

    // Proves: RFC 6121 §4.2.3, §4.4.3, §4.5.3, §8.5.2.1.2, §8.5.3.1, §8.5.3.2.2
    #[test]
    fn presence() {
        let decide = |target| shorthand(Kind::Presence(PresenceType::Available), &[Some(-1), None, Some(3)], target);
        assert_eq!(decide(Target::Bare), "02");
        assert_eq!(decide(Target::Connected(1)), "1");
        assert_eq!(decide(Target::Gone), "S");
    }

    // Proves: RFC 6121 §8.5.2.1.3, §8.5.3.1, §8.5.3.2.3
    #[test]
    fn iq() {
        let decide = |kind, target| shorthand(Kind::Iq(kind), &[Some(0)], target);
        assert_eq!(decide(IqType::Get, Target::Bare), "B");
        assert_eq!(decide(IqType::Set, Target::Gone), "E");
        assert_eq!(decide(IqType::Get, Target::Connected(0)), "0");
        assert_eq!(decide(IqType::Result, Target::Gone), "S");
    }

    // Proves: RFC 6121 §8.5.1
    #[test]
    fn no_such_user_looks_like_nobody_there() {
        let refused = Some(Condition::ServiceUnavailable);
        for target in [Target::Bare, Target::Gone] {
            for kind in [MessageType::Chat, MessageType::Normal, MessageType::Groupchat] {
                assert_eq!(no_such_user(Kind::Message(kind), target), refused);
            }
            assert_eq!(no_such_user(Kind::Message(MessageType::Error), target), None);
            assert_eq!(no_such_user(Kind::Iq(IqType::Get), target), refused);
            assert_eq!(no_such_user(Kind::Presence(PresenceType::Available), target), None);
        }
        assert_eq!(no_such_user(Kind::Message(MessageType::Headline), Target::Bare), None);
    }
}

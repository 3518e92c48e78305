//! Delivery rules for local accounts as one pure decision (RFC 6121 §8.5).
//!
//! Subscription stanzas and probes never come here: `subscriptions` and `presence` handle them.

use crate::stanza::{Condition, IqType, Kind, MessageType, PresenceType};

/// What the account that a stanza is addressed to looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient<'a> {
    /// Presence priority of every resource in order of binding; `None` for a connected resource
    /// that is not available.
    pub priorities: &'a [Option<i8>],
    pub target: Target,
}

/// How the account is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `local@domain`
    Bare,
    /// `local@domain/resource`, and this resource is connected.
    Connected(usize),
    /// `local@domain/resource`, and there is no such resource.
    Gone,
}

/// What becomes of a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    /// To these resources, by place in [`Recipient::priorities`]; never empty.
    To(Vec<usize>),
    /// The account has nobody to read it now: stored if storage takes it, otherwise an error.
    Undelivered,
    /// The server answers on behalf of the account.
    OnBehalf,
    /// An error goes back.
    Refuse(Condition),
    /// Nothing happens.
    Ignore,
}

/// Decides by kind and target.
pub(super) fn decide(kind: Kind, recipient: Recipient<'_>) -> Delivery {
    match (kind, recipient.target) {
        (Kind::Message(kind), target) => message(kind, target, recipient.priorities),
        // RFC 6121 §8.5.2.1.2, §8.5.2.2.2
        (Kind::Presence(PresenceType::Available | PresenceType::Unavailable), Target::Bare) => {
            to(available(recipient.priorities)).unwrap_or(Delivery::Ignore)
        }
        (Kind::Presence(PresenceType::Error), Target::Bare) => Delivery::Ignore,
        // RFC 6121 §8.5.3.1
        (Kind::Presence(_) | Kind::Iq(_), Target::Connected(resource)) => Delivery::To(vec![resource]),
        // RFC 6121 §8.5.3.2.2
        (Kind::Presence(_), _) => Delivery::Ignore,
        // RFC 6121 §8.5.2.1.3
        (Kind::Iq(IqType::Get | IqType::Set), Target::Bare) => Delivery::OnBehalf,
        // RFC 6121 §8.5.3.2.3
        (Kind::Iq(IqType::Get | IqType::Set), Target::Gone) => Delivery::Refuse(Condition::ServiceUnavailable),
        (Kind::Iq(IqType::Result | IqType::Error), Target::Bare) => Delivery::OnBehalf,
        (Kind::Iq(IqType::Result | IqType::Error), Target::Gone) => Delivery::Ignore,
    }
}

fn message(kind: MessageType, target: Target, priorities: &[Option<i8>]) -> Delivery {
    match (kind, target) {
        // RFC 6121 §8.5.3.1
        (_, Target::Connected(resource)) => Delivery::To(vec![resource]),
        // RFC 6121 §8.5.2.1.1, §8.5.2.2.1; §8.5.3.2.1 treats a chat message to a resource that is
        // gone like one to the bare JID.
        (MessageType::Normal, Target::Bare) | (MessageType::Chat, Target::Bare | Target::Gone) => {
            to(most_available(priorities)).unwrap_or(Delivery::Undelivered)
        }
        (MessageType::Headline, Target::Bare) => to(non_negative(priorities)).unwrap_or(Delivery::Ignore),
        (MessageType::Groupchat, Target::Bare) => Delivery::Refuse(Condition::ServiceUnavailable),
        (MessageType::Normal | MessageType::Groupchat | MessageType::Headline, Target::Gone) => {
            Delivery::Refuse(Condition::ServiceUnavailable)
        }
        (MessageType::Error, Target::Bare | Target::Gone) => Delivery::Ignore,
    }
}

/// The answer for an account that does not exist (RFC 6121 §8.5.1); the same as for one that
/// exists and has nobody to read, so that strangers learn nothing.
pub(super) const fn no_such_user(kind: Kind) -> Delivery {
    match kind {
        Kind::Message(MessageType::Error | MessageType::Headline)
        | Kind::Presence(_)
        | Kind::Iq(IqType::Result | IqType::Error) => Delivery::Ignore,
        Kind::Message(_) | Kind::Iq(_) => Delivery::Refuse(Condition::ServiceUnavailable),
    }
}

fn to(resources: Vec<usize>) -> Option<Delivery> {
    if resources.is_empty() { None } else { Some(Delivery::To(resources)) }
}

fn available(priorities: &[Option<i8>]) -> Vec<usize> {
    places(priorities, |_| true)
}

fn non_negative(priorities: &[Option<i8>]) -> Vec<usize> {
    places(priorities, |priority| priority >= 0)
}

/// All resources that share the highest non-negative priority.
fn most_available(priorities: &[Option<i8>]) -> Vec<usize> {
    let highest = priorities.iter().flatten().copied().filter(|priority| *priority >= 0).max();
    highest.map(|highest| places(priorities, |priority| priority == highest)).unwrap_or_default()
}

fn places(priorities: &[Option<i8>], wanted: impl Fn(i8) -> bool) -> Vec<usize> {
    priorities
        .iter()
        .enumerate()
        .filter(|(_, priority)| priority.is_some_and(&wanted))
        .map(|(place, _)| place)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6121 §8.5.4, Table 1: rows are (priorities, target), columns normal, chat, groupchat,
    /// headline. S ignore, E error, O undelivered, digits the resources.
    #[test]
    fn table_1() {
        let none: &[Option<i8>] = &[];
        let rows: &[(&[Option<i8>], Target, [&str; 4])] = &[
            (none, Target::Bare, ["O", "O", "E", "S"]),
            (none, Target::Gone, ["E", "O", "E", "E"]),
            (&[None], Target::Bare, ["O", "O", "E", "S"]),
            (&[None], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(-1)], Target::Bare, ["O", "O", "E", "S"]),
            (&[Some(-1)], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(-1)], Target::Gone, ["E", "O", "E", "E"]),
            (&[Some(0)], Target::Bare, ["0", "0", "E", "0"]),
            (&[Some(0)], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(0)], Target::Gone, ["E", "0", "E", "E"]),
            (&[Some(1), Some(-5), None, Some(1), Some(0)], Target::Bare, ["03", "03", "E", "034"]),
            (&[Some(1), Some(2)], Target::Connected(0), ["0", "0", "0", "0"]),
            (&[Some(1), Some(2)], Target::Gone, ["E", "1", "E", "E"]),
        ];
        let columns = [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline];
        for (priorities, target, expected) in rows {
            for (kind, expected) in columns.iter().zip(expected) {
                let decided = decide(Kind::Message(*kind), Recipient { priorities, target: *target });
                assert_eq!(shorthand(&decided), *expected, "{kind:?} {priorities:?} {target:?}");
            }
        }
    }

    #[test]
    fn a_message_error_is_never_answered() {
        for target in [Target::Bare, Target::Gone] {
            let decided = decide(Kind::Message(MessageType::Error), Recipient { priorities: &[Some(0)], target });
            assert_eq!(decided, Delivery::Ignore);
        }
    }

    #[test]
    fn presence() {
        let kind = Kind::Presence(PresenceType::Available);
        let priorities = &[Some(-1), None, Some(3)];
        let decide = |target| shorthand(&decide(kind, Recipient { priorities, target }));
        assert_eq!(decide(Target::Bare), "02");
        assert_eq!(decide(Target::Connected(1)), "1");
        assert_eq!(decide(Target::Gone), "S");
    }

    #[test]
    fn iq() {
        let decide = |kind, target| shorthand(&decide(Kind::Iq(kind), Recipient { priorities: &[Some(0)], target }));
        assert_eq!(decide(IqType::Get, Target::Bare), "B");
        assert_eq!(decide(IqType::Set, Target::Gone), "E");
        assert_eq!(decide(IqType::Get, Target::Connected(0)), "0");
        assert_eq!(decide(IqType::Result, Target::Gone), "S");
    }

    #[test]
    fn no_such_user_looks_like_nobody_there() {
        assert_eq!(shorthand(&no_such_user(Kind::Message(MessageType::Chat))), "E");
        assert_eq!(shorthand(&no_such_user(Kind::Message(MessageType::Groupchat))), "E");
        assert_eq!(shorthand(&no_such_user(Kind::Message(MessageType::Headline))), "S");
        assert_eq!(shorthand(&no_such_user(Kind::Iq(IqType::Get))), "E");
        assert_eq!(shorthand(&no_such_user(Kind::Presence(PresenceType::Subscribe))), "S");
    }

    fn shorthand(delivery: &Delivery) -> String {
        match delivery {
            Delivery::To(places) => places.iter().map(ToString::to_string).collect(),
            Delivery::Undelivered => "O".into(),
            Delivery::OnBehalf => "B".into(),
            Delivery::Refuse(_) => "E".into(),
            Delivery::Ignore => "S".into(),
        }
    }
}

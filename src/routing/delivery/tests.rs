//! RFC 6121 §8.5, subsection by subsection: every kind of stanza to every kind of address of an account
//! with every set of up to three resources is decided as the subsection says that it falls under.

use super::*;
use crate::stanza::PresenceType;

/// Presence priorities of resources in the order of binding; `None` is connected and not available.
const PRIORITIES: [Option<i8>; 5] = [None, Some(i8::MIN), Some(-1), Some(0), Some(5)];

/// One stanza to one account.
#[derive(Debug, Clone)]
struct Case {
    kind: Kind,
    target: Target,
    resources: Vec<Option<i8>>,
}

/// What becomes of it, in the letters of Table 1; `To` names the resources.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// O: stored for later, or else an error.
    Offline,
    /// E: `service-unavailable`.
    Error,
    /// S
    Silence,
    /// D, M or A.
    To(Vec<usize>),
    /// The server answers for the account.
    OnBehalf,
}

use Outcome::{Error, Offline, OnBehalf, Silence, To};

impl Case {
    fn outcome(&self) -> Outcome {
        let highest = self.resources.iter().copied().flatten().max();
        match decide(self.kind, Recipient { highest, target: self.target }) {
            Delivery::To(reach) => {
                let all = self.resources.iter().enumerate();
                To(all.filter(|(place, it)| reach.includes(*place, **it)).map(|(place, _)| place).collect())
            }
            Delivery::Undelivered => Offline,
            Delivery::OnBehalf => OnBehalf,
            Delivery::Refuse(Condition::ServiceUnavailable) => Error,
            Delivery::Refuse(other) => panic!("{other:?}"),
            Delivery::Ignore => Silence,
        }
    }

    /// The resources whose priority is as `wanted`; not available ones have none.
    fn places(&self, wanted: impl Fn(i8) -> bool) -> Vec<usize> {
        let available = self.resources.iter().enumerate();
        available.filter(|(_, it)| it.is_some_and(&wanted)).map(|(place, _)| place).collect()
    }

    fn non_negative(&self) -> Vec<usize> {
        self.places(|priority| priority >= 0)
    }

    /// Those of them that have the highest priority.
    fn most_available(&self) -> Vec<usize> {
        let highest = self.resources.iter().copied().flatten().max();
        self.places(|priority| priority >= 0 && Some(priority) == highest)
    }

    /// To the most available resources if there are any, otherwise this.
    fn most_available_or(&self, otherwise: Outcome) -> Outcome {
        let most = self.most_available();
        if most.is_empty() { otherwise } else { To(most) }
    }
}

fn sets() -> Vec<Vec<Option<i8>>> {
    let mut sets = vec![Vec::new()];
    for size in 0..3 {
        let longer = |set: &Vec<Option<i8>>| PRIORITIES.map(|more| [set.as_slice(), &[more]].concat());
        let grown: Vec<_> = sets.iter().filter(|set| set.len() == size).flat_map(longer).collect();
        sets.extend(grown);
    }
    sets
}

fn kinds() -> Vec<Kind> {
    let messages = MessageType::ALL.iter().map(|kind| Kind::Message(*kind));
    let presence = [PresenceType::Available, PresenceType::Unavailable, PresenceType::Error];
    messages.chain(presence.map(Kind::Presence)).chain(IqType::ALL.iter().map(|kind| Kind::Iq(*kind))).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for resources in sets() {
        let connected = (0..resources.len()).map(Target::Connected);
        for target in connected.chain([Target::Bare, Target::Gone]) {
            cases.extend(kinds().into_iter().map(|kind| Case { kind, target, resources: resources.clone() }));
        }
    }
    cases
}

/// The subsection whose rules a case falls under, by its number.
fn subsection(case: &Case) -> &'static str {
    let by_kind = |message, presence, iq| match case.kind {
        Kind::Message(_) => message,
        Kind::Presence(_) => presence,
        Kind::Iq(_) => iq,
    };
    match case.target {
        Target::Bare if !case.resources.is_empty() => by_kind("8.5.2.1.1", "8.5.2.1.2", "8.5.2.1.3"),
        Target::Bare => by_kind("8.5.2.2.1", "8.5.2.2.2", "8.5.2.2.3"),
        Target::Connected(_) => "8.5.3.1",
        Target::Gone => by_kind("8.5.3.2.1", "8.5.3.2.2", "8.5.3.2.3"),
    }
}

/// Checks every case of a subsection; `expected` knows nothing of others.
fn hold(number: &str, expected: impl Fn(&Case) -> Outcome) {
    let cases: Vec<_> = cases().into_iter().filter(|case| subsection(case) == number).collect();
    assert!(!cases.is_empty(), "{number}");
    for case in cases {
        assert_eq!(case.outcome(), expected(&case), "§{number}: {case:?}");
    }
}

fn message(case: &Case) -> MessageType {
    match case.kind {
        Kind::Message(kind) => kind,
        _ => panic!("{case:?}"),
    }
}

// Proves: RFC 6121 §5.2.2, §8.5.2.1.1
#[test]
fn a_message_to_the_bare_jid_of_who_is_there() {
    hold("8.5.2.1.1", |case| match message(case) {
        MessageType::Normal | MessageType::Chat => case.most_available_or(Offline),
        MessageType::Groupchat => Error,
        MessageType::Headline if case.non_negative().is_empty() => Silence,
        MessageType::Headline => To(case.non_negative()),
        MessageType::Error => Silence,
    });
}

// Proves: RFC 6121 §4.2.3, §4.4.3, §4.5.3, §8.5.2.1.2
#[test]
fn presence_to_the_bare_jid_of_who_is_there() {
    hold("8.5.2.1.2", |case| match case.places(|_| true) {
        nobody if nobody.is_empty() => Silence,
        all => To(all),
    });
}

// Proves: RFC 6121 §8.5.2.1.3, §8.5.2.2.3
#[test]
fn a_request_to_the_bare_jid_is_answered_for_the_account() {
    hold("8.5.2.1.3", |_| OnBehalf);
    hold("8.5.2.2.3", |_| OnBehalf);
}

// Proves: RFC 6121 §8.5.2.2.1
#[test]
fn a_message_to_the_bare_jid_of_nobody_there() {
    hold("8.5.2.2.1", |case| match message(case) {
        MessageType::Normal | MessageType::Chat => Offline,
        MessageType::Groupchat => Error,
        MessageType::Headline | MessageType::Error => Silence,
    });
}

// Proves: RFC 6121 §8.5.2.2.2
#[test]
fn presence_to_the_bare_jid_of_nobody_there() {
    hold("8.5.2.2.2", |_| Silence);
}

// Proves: RFC 6121 §8.5.3.1
#[test]
fn anything_to_a_resource_that_is_there() {
    hold("8.5.3.1", |case| match case.target {
        Target::Connected(place) => To(vec![place]),
        _ => panic!("{case:?}"),
    });
}

// Proves: RFC 6121 §8.5.3.2.1
#[test]
fn a_message_to_a_resource_that_is_gone() {
    hold("8.5.3.2.1", |case| match message(case) {
        MessageType::Normal | MessageType::Groupchat | MessageType::Headline => Error,
        MessageType::Chat => case.most_available_or(Offline),
        MessageType::Error => Silence,
    });
}

// Proves: RFC 6121 §8.5.3.2.2
#[test]
fn presence_to_a_resource_that_is_gone() {
    hold("8.5.3.2.2", |_| Silence);
}

// Proves: RFC 6121 §8.5.3.2.3; RFC 6120 §8.2.3
#[test]
fn a_request_to_a_resource_that_is_gone() {
    hold("8.5.3.2.3", |case| match case.kind {
        Kind::Iq(IqType::Get | IqType::Set) => Error,
        _ => Silence,
    });
}

/// Table 1 as it is printed, without the row of accounts that do not exist.
const TABLE_1: &str = "
    none         bare     | O/E | O/E | E   | S
    none         no match | S/E | O/E | S/E | S/E
    negative     bare     | O/E | O/E | E   | S
    negative     match    | D   | D   | D   | D
    negative     no match | S/E | O/E | S/E | S/E
    one          bare     | D   | D   | E   | D
    one          match    | D   | D   | D   | D
    one          no match | S/E | D   | S/E | S/E
    more         bare     | M/A | M/A | E   | A
    more         match    | D   | D/A | D   | D
    more         no match | S/E | M/A | S/E | S/E
";

/// The rows of the table with their cells: condition and address, then the four types of messages.
fn table() -> Vec<(&'static str, [&'static str; 4])> {
    let lines = TABLE_1.lines().map(str::trim).filter(|line| !line.is_empty());
    let row = |line: &'static str| {
        let mut cells = line.split('|').map(str::trim);
        let name = cells.next().unwrap();
        (name, [(); 4].map(|()| cells.next().unwrap()))
    };
    lines.map(row).collect()
}

// Proves: RFC 6121 §8.5.4
#[test]
fn every_cell_of_table_1() {
    let columns = [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline];
    let mut seen = std::collections::BTreeSet::new();
    for case in cases() {
        let Kind::Message(kind) = case.kind else { continue };
        let Some(column) = columns.iter().position(|known| *known == kind) else { continue };
        let non_negative = case.non_negative();
        let condition = match (non_negative.len(), case.places(|_| true).len()) {
            (0, 0) => "none",
            (0, _) => "negative",
            (1, _) => "one",
            _ => "more",
        };
        let address = match case.target {
            Target::Bare => "bare",
            // The table knows no resource that is connected and not available.
            Target::Connected(place) if case.resources[place].is_none() => continue,
            // And a resource of negative priority beside others is one more that matches.
            Target::Connected(_) => "match",
            Target::Gone => "no match",
        };
        let (name, cells) = table()
            .into_iter()
            .find(|(name, _)| name.split_once(' ').is_some_and(|(of, to)| of == condition && to.trim() == address))
            .unwrap_or_else(|| panic!("{condition} {address}"));
        let allowed = |letter: &str| match letter {
            "O" => Offline,
            "E" => Error,
            "S" => Silence,
            "D" => match case.target {
                Target::Connected(place) => To(vec![place]),
                _ => To(non_negative.clone()),
            },
            "M" => To(case.most_available()),
            "A" => To(non_negative.clone()),
            _ => panic!("{letter}"),
        };
        let outcome = case.outcome();
        assert!(cells[column].split('/').any(|letter| allowed(letter) == outcome), "{name}: {case:?} {outcome:?}");
        seen.insert((name, column));
    }
    assert_eq!(seen.len(), table().len() * columns.len(), "every cell is looked at");
}

// Proves: RFC 6121 §8.5.1
#[test]
fn an_account_that_does_not_exist_looks_like_one_with_nobody_there() {
    for target in [Target::Bare, Target::Gone] {
        for kind in kinds() {
            let answer = no_such_user(kind, target);
            let nobody = Case { kind, target, resources: Vec::new() }.outcome();
            let expected = match kind {
                Kind::Iq(IqType::Get | IqType::Set) => Some(Condition::ServiceUnavailable),
                // What an account that exists stores cannot be stored here.
                Kind::Message(_) if nobody != Silence => Some(Condition::ServiceUnavailable),
                _ => None,
            };
            // Whoever answers on behalf of an account swallows results and errors, as nobody asked for them.
            let swallowed = matches!(kind, Kind::Iq(IqType::Result | IqType::Error)) && target == Target::Bare;
            assert!(answer == expected || swallowed, "{kind:?} {target:?}: {answer:?}");
        }
    }
}

//! What was sent, what came, and what that means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comity::xml::Element;

/// A message: the cycle in which it was sent, who has sent it, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) cycle: u32,
    pub(crate) sender: usize,
    pub(crate) number: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.cycle, self.sender, self.number)
    }
}

impl Name {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next();
        Some(Self { cycle: next()?.parse().ok()?, sender: next()?.parse().ok()?, number: next()?.parse().ok()? })
    }
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) name: Name,
    /// Its id in the recipient's archive, if it is there (XEP-0359).
    pub(crate) stanza_id: Option<String>,
}

impl Letter {
    /// What an element is, if it is a message of ours and no error.
    pub(crate) fn read(element: &Element) -> Option<Self> {
        if element.name() != "message" || element.attribute("type") == Some("error") {
            return None;
        }
        let name = Name::read(element.attribute("id")?)?;
        let mark = element.elements().find(|it| it.is("stanza-id", "urn:xmpp:sid:0"));
        Some(Self { name, stanza_id: mark.and_then(|it| it.attribute("id")).map(str::to_owned) })
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Acknowledged, and neither arrived nor refused.
    Lost { whose: String, names: Vec<Name> },
    /// Arrived more than once.
    Twice { whose: String, name: Name },
    /// Arrived more than once, as if it were something else.
    OtherId { whose: String, name: Name },
    /// Something of one sender came behind something later of the same.
    OutOfOrder { whose: String, names: Vec<Name> },
    /// Had arrived and been confirmed in an earlier cycle.
    Old { whose: String, name: Name },
    /// The session of a client that may come back was not there.
    NoSession { whose: String },
    /// A request that was acknowledged has no answer.
    Unanswered { whose: String, id: String },
    /// A request has several answers.
    AnsweredTwice { whose: String, id: String },
}

/// Whether something may arrive twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// The server has ended a second time before the client could confirm.
    Allowed,
    Never,
}

/// Looks at what `whose` client has got, in this order, of what is `safe` and meant for it.
pub(crate) fn judge(whose: &str, cycle: u32, safe: &[Name], got: &[Letter], repeats: Repeats) -> Vec<Finding> {
    let whose = || whose.to_owned();
    let mut findings = Vec::new();
    let mut first: BTreeMap<Name, &Option<String>> = BTreeMap::new();
    let mut last: BTreeMap<usize, Name> = BTreeMap::new();
    let mut behind = Vec::new();
    for letter in got {
        let name = letter.name;
        if name.cycle != cycle {
            findings.push(Finding::Old { whose: whose(), name });
        } else if let Some(known) = first.get(&name) {
            // It may have become too old for the archive meanwhile.
            if (*known).as_ref().zip(letter.stanza_id.as_ref()).is_some_and(|(known, id)| known != id) {
                findings.push(Finding::OtherId { whose: whose(), name });
            } else if repeats == Repeats::Never {
                findings.push(Finding::Twice { whose: whose(), name });
            }
        } else {
            first.insert(name, &letter.stanza_id);
            if last.insert(name.sender, name).is_some_and(|before| before > name) {
                behind.push(name);
            }
        }
    }
    if !behind.is_empty() {
        findings.push(Finding::OutOfOrder { whose: whose(), names: behind });
    }
    let names: Vec<Name> = safe.iter().filter(|name| !first.contains_key(name)).copied().collect();
    if !names.is_empty() {
        findings.push(Finding::Lost { whose: whose(), names });
    }
    findings
}

/// Looks at the answers to requests, all of which were acknowledged.
pub(crate) fn judge_answers<'a>(
    whose: &str,
    asked: impl Iterator<Item = &'a String>,
    answers: &BTreeMap<String, usize>,
    repeats: Repeats,
) -> Vec<Finding> {
    let asked: BTreeSet<&String> = asked.collect();
    let of = |id: &String| match answers.get(id).copied().unwrap_or_default() {
        0 => Some(Finding::Unanswered { whose: whose.to_owned(), id: id.clone() }),
        1 => None,
        _ if repeats == Repeats::Allowed => None,
        _ => Some(Finding::AnsweredTwice { whose: whose.to_owned(), id: id.clone() }),
    };
    asked.into_iter().filter_map(of).collect()
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let name = |number| Name { cycle: 3, sender: usize::from(number >= 10), number };
    let letter = |number, id: &str| Letter { name: name(number), stanza_id: Some(id.to_owned()) };
    let judged = |safe: &[usize], got: &[Letter], repeats| {
        let safe: Vec<Name> = safe.iter().map(|number| name(*number)).collect();
        judge("x", 3, &safe, got, repeats)
    };
    let whose = || "x".to_owned();
    let all = [letter(1, "a"), letter(10, "b"), letter(2, "c"), letter(11, "d")];
    assert_eq!(judged(&[1, 2, 10], &all, Repeats::Never), []);
    let lost = [Finding::Lost { whose: whose(), names: vec![name(3)] }];
    assert_eq!(judged(&[1, 3], &all, Repeats::Never), lost);
    let twice = [letter(1, "a"), letter(2, "b"), letter(1, "a")];
    assert_eq!(judged(&[1], &twice, Repeats::Allowed), []);
    assert_eq!(judged(&[1], &twice, Repeats::Never), [Finding::Twice { whose: whose(), name: name(1) }]);
    let other = [letter(1, "a"), letter(1, "b")];
    assert_eq!(judged(&[1], &other, Repeats::Allowed), [Finding::OtherId { whose: whose(), name: name(1) }]);
    let back = [letter(2, "a"), letter(1, "b")];
    assert_eq!(judged(&[], &back, Repeats::Allowed), [Finding::OutOfOrder { whose: whose(), names: vec![name(1)] }]);
    let old = Name { cycle: 2, ..name(1) };
    let stale = [Letter { name: old, stanza_id: None }];
    assert_eq!(judged(&[], &stale, Repeats::Allowed), [Finding::Old { whose: whose(), name: old }]);

    let (asked, answers) = (["p".to_owned(), "q".to_owned(), "r".to_owned()], [("q", 1), ("r", 2)]);
    let answers = answers.map(|(id, count)| (id.to_owned(), count)).into();
    let found = judge_answers("x", asked.iter(), &answers, Repeats::Never);
    let unanswered = Finding::Unanswered { whose: whose(), id: "p".to_owned() };
    assert_eq!(found, [unanswered.clone(), Finding::AnsweredTwice { whose: whose(), id: "r".to_owned() }]);
    assert_eq!(judge_answers("x", asked.iter(), &answers, Repeats::Allowed), [unanswered]);
}

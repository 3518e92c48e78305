//! The requests of a client that may come back: each of them is owed an answer (RFC 6120 §8.2.3), also where the server
//! has ended before the client got one.
//!
//! Nothing is written for a request alone. What is written with the count of the client's stanzas that are in safe hands
//! says which requests among those are open, and which number the answer has in the session's queue if there is one. A
//! client that comes back says how far it has read that queue, so it is known which answers it has not got.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many open requests of one session are remembered; the oldest are forgotten first.
const MOST: usize = 100;

/// How many bytes of them.
const MOST_BYTES: usize = 16 << 10;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: String,
    /// Who was asked, if it is not the client's own account.
    pub(super) to: Option<String>,
    /// The number of the answer among the stanzas that were sent to the client.
    pub(super) answer: Option<u64>,
    /// The number of the request among the stanzas that came from it.
    #[serde(skip)]
    count: u64,
    /// Storage knows of it, and of no answer.
    #[serde(skip)]
    noted: bool,
}

impl Asked {
    fn bytes(&self) -> usize {
        self.id.len() + self.to.as_ref().map_or(0, String::len)
    }
}

/// The open requests of one session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: VecDeque<Asked>,
    bytes: usize,
    /// So many of the client's stanzas are in safe hands, as storage knows.
    covered: u64,
    /// Storage knows of some.
    noted: bool,
    /// It takes one for unanswered that the client has the answer to.
    stale: bool,
}

impl Requests {
    /// The client's stanza with the number `count` is a request.
    pub(super) fn ask(&mut self, count: u64, id: &str, to: Option<&str>) {
        let asked = Asked { id: id.to_owned(), to: to.map(str::to_owned), answer: None, count, noted: false };
        self.bytes += asked.bytes();
        self.open.push_back(asked);
        while self.open.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.open.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    /// The stanza with this number in the session's queue answers the request `id`, if it was one.
    pub(super) fn answered(&mut self, id: &str, number: u64) {
        if let Some(asked) = self.open.iter_mut().find(|asked| asked.answer.is_none() && asked.id == id) {
            asked.answer = Some(number);
        }
    }

    /// The client has everything up to this number.
    pub(super) fn confirmed(&mut self, number: u64) {
        let Self { open, bytes, stale, .. } = self;
        open.retain(|asked| {
            let done = asked.answer.is_some_and(|answer| answer <= number);
            if done {
                *bytes -= asked.bytes();
                *stale |= asked.noted;
            }
            !done
        });
    }

    /// Whether storage has to be told although no further stanza is in safe hands.
    pub(super) const fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether there is nothing to remember, here and in storage.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty() && !self.noted
    }

    /// What storage is to know from now on, if that changes: the open requests among the first `count` stanzas, or
    /// among as many as it knows already.
    pub(super) fn note(&mut self, count: Option<u64>) -> Option<Vec<Asked>> {
        self.covered = count.unwrap_or(self.covered);
        let covered = self.covered;
        let mut kept = Vec::new();
        for asked in self.open.iter_mut().filter(|asked| asked.count <= covered) {
            asked.noted = asked.answer.is_none();
            kept.push(asked.clone());
        }
        self.stale = false;
        let before = std::mem::replace(&mut self.noted, !kept.is_empty());
        (before || self.noted).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(kept: Option<Vec<Asked>>) -> Option<Vec<(String, Option<u64>)>> {
        kept.map(|kept| kept.into_iter().map(|asked| (asked.id, asked.answer)).collect())
    }

    fn open(kept: &[(&str, Option<u64>)]) -> Option<Vec<(String, Option<u64>)>> {
        Some(kept.iter().map(|(id, answer)| ((*id).to_owned(), *answer)).collect())
    }

    // Proves: RFC 6120 §8.2.3
    #[test]
    fn what_is_written_is_what_the_count_covers() {
        let mut requests = Requests::default();
        assert_eq!(requests.note(Some(3)), None, "nothing was asked and nothing is written");
        requests.ask(4, "a", None);
        requests.ask(6, "b", Some("verona.lit"));
        assert_eq!(ids(requests.note(Some(5))), open(&[("a", None)]), "the client will send b again");
        requests.answered("b", 9);
        assert_eq!(ids(requests.note(Some(6))), open(&[("a", None), ("b", Some(9))]));
        requests.confirmed(9);
        assert!(!requests.is_stale(), "storage knows the number of the answer");
        assert_eq!(ids(requests.note(Some(7))), open(&[("a", None)]));
        requests.answered("a", 12);
        requests.confirmed(11);
        assert!(!requests.is_stale() && !requests.is_over());
        requests.confirmed(12);
        assert!(requests.is_stale(), "storage takes it for unanswered");
        assert_eq!(ids(requests.note(None)), open(&[]));
        assert!(requests.is_over());
        assert_eq!(requests.note(Some(8)), None);
    }

    #[test]
    fn an_answer_belongs_to_one_request() {
        let mut requests = Requests::default();
        requests.ask(1, "a", None);
        requests.ask(2, "a", None);
        requests.answered("x", 1);
        requests.answered("a", 2);
        assert_eq!(ids(requests.note(Some(2))), open(&[("a", Some(2)), ("a", None)]));
    }

    #[test]
    fn there_are_not_too_many() {
        let mut requests = Requests::default();
        for count in 0..1000 {
            requests.ask(count, &count.to_string(), None);
        }
        let kept = requests.note(Some(1000)).unwrap();
        assert_eq!((kept.len(), kept[0].id.as_str()), (MOST, "900"));
        requests.ask(1001, &"x".repeat(MOST_BYTES + 1), None);
        assert_eq!(requests.note(Some(1001)), Some(Vec::new()));
        assert_eq!(requests.bytes, 0);
    }
}

//! What became of the attempts to reach other servers, for the operator.
//!
//! It must never decide anything.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::federation::Federation;
use crate::federation::failure::Failure;
use crate::federation::proof::Proof;
use crate::federation::trouble::Trouble;
use crate::routing::Pair;

/// So many events of one pair of domains are remembered ...
const EVENTS: usize = 8;
/// ... of so many pairs, those with the latest events.
const PAIRS: usize = 1000;

/// What is known of one pair of domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub local: String,
    pub remote: String,
    pub state: Standing,
    /// Since when that is its state.
    pub since: Timestamp,
    /// Stanzas that wait or are not confirmed, and their bytes, with what they cost beside.
    pub stanzas: usize,
    pub bytes: usize,
    /// Attempts that have failed since the domain was reached last.
    pub failures: u32,
    /// When the next attempt is made, if something waits for it.
    pub next_attempt: Option<Timestamp>,
    pub last_error: Option<Event>,
    /// The latest events, the youngest last.
    pub history: Vec<Event>,
}

/// How things are with a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing is to be sent.
    Idle,
    /// A stream is being opened.
    Connecting,
    Connected,
    /// The last attempt has failed.
    Unreachable,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    pub what: String,
    /// What was in the way, in one word, as `comity check` calls it.
    pub kind: Option<String>,
}

/// What is remembered of one pair.
#[derive(Debug)]
struct Entry {
    state: Standing,
    since: Timestamp,
    failures: u32,
    next_attempt: Option<Timestamp>,
    last_error: Option<Event>,
    events: VecDeque<Event>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Histories(HashMap<Pair, Entry>);

impl Histories {
    /// The entry of `pair`, which is in `state` from `now` on.
    fn enter(&mut self, pair: &Pair, state: Standing, now: Timestamp) -> &mut Entry {
        if self.0.len() >= PAIRS && !self.0.contains_key(pair) {
            let oldest = self.0.iter().min_by_key(|(_, entry)| entry.since).map(|(pair, _)| pair.clone());
            oldest.iter().for_each(|pair| drop(self.0.remove(pair)));
        }
        let entry = self.0.entry(pair.clone()).or_insert_with(|| Entry {
            state,
            since: now,
            failures: 0,
            next_attempt: None,
            last_error: None,
            events: VecDeque::new(),
        });
        if entry.state != state {
            (entry.state, entry.since) = (state, now);
        }
        entry.next_attempt = None;
        entry
    }
}

impl Entry {
    fn note(&mut self, time: Timestamp, what: String, why: Option<&Failure>) -> Event {
        while self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        let kind = why.and_then(|why| why.trouble.as_ref()).map(Trouble::kind);
        let event = Event { time, what, kind };
        self.events.push_back(event.clone());
        event
    }
}

impl Federation {
    /// A stream for `pair` is being opened.
    pub(crate) fn connecting(&self, pair: &Pair) {
        let mut histories = self.histories();
        let known = histories.0.get(pair).is_some_and(|entry| entry.state == Standing::Unreachable);
        // While attempts fail one after the other, that is the state.
        if !known {
            histories.enter(pair, Standing::Connecting, self.ways().clock.now());
        }
    }

    /// A stream is open, to a server that has proven itself so.
    pub(crate) fn connected(&self, pair: &Pair, proof: Option<&Proof>) {
        let how = proof.map_or_else(|| "not proven".to_owned(), ToString::to_string);
        let now = self.ways().clock.now();
        let mut histories = self.histories();
        let entry = histories.enter(pair, Standing::Connected, now);
        entry.failures = 0;
        entry.note(now, format!("connected, {how}"), None);
    }

    /// A stream that the other server has opened takes what is to be sent.
    pub(crate) fn connected_back(&self, pair: &Pair) {
        let now = self.ways().clock.now();
        let mut histories = self.histories();
        let entry = histories.enter(pair, Standing::Connected, now);
        entry.failures = 0;
        entry.note(now, "connected, by a stream of the other server".to_owned(), None);
    }

    /// A stream has ended.
    pub(crate) fn disconnected(&self, pair: &Pair, why: &Failure) {
        let now = self.ways().clock.now();
        let mut histories = self.histories();
        let entry = histories.enter(pair, Standing::Idle, now);
        let event = entry.note(now, format!("stream ended: {why}"), Some(why));
        if why.reason != super::driving::IDLE {
            entry.last_error = Some(event);
        }
    }

    /// No stream could be had; the next attempt is made at `next`, if something waits for it.
    pub(crate) fn unreachable(&self, pair: &Pair, why: &Failure, next: Option<Timestamp>) {
        let now = self.ways().clock.now();
        let mut histories = self.histories();
        let entry = histories.enter(pair, Standing::Unreachable, now);
        entry.failures = entry.failures.saturating_add(1);
        entry.last_error = Some(entry.note(now, format!("not reached: {why}"), Some(why)));
        entry.next_attempt = next;
    }

    /// Nothing waits for `pair` any more.
    pub(crate) fn idle(&self, pair: &Pair) {
        if let Some(entry) = self.histories().0.get_mut(pair) {
            entry.next_attempt = None;
            if entry.state == Standing::Connecting {
                (entry.state, entry.since) = (Standing::Idle, self.ways().clock.now());
            }
        }
    }

    /// What is known of all pairs, in the order of their names.
    pub fn peers(&self) -> Vec<Peer> {
        let queues: HashMap<_, _> = self.queues().iter().map(|(pair, it)| (pair.clone(), it.clone())).collect();
        let histories = self.histories();
        let mut peers: Vec<_> = histories
            .0
            .iter()
            .map(|(pair, entry)| {
                let queued = queues.get(pair).map(|waiting| {
                    let state = waiting.lock();
                    (state.queue.len(), state.queue.cost())
                });
                let (stanzas, bytes) = queued.unwrap_or_default();
                Peer {
                    local: pair.local.to_string(),
                    remote: pair.remote.to_string(),
                    state: entry.state,
                    since: entry.since,
                    stanzas,
                    bytes,
                    failures: entry.failures,
                    next_attempt: entry.next_attempt,
                    last_error: entry.last_error.clone(),
                    history: entry.events.iter().cloned().collect(),
                }
            })
            .collect();
        peers.sort_by(|one, other| (&one.remote, &one.local).cmp(&(&other.remote, &other.local)));
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let pair = |number: usize| Pair { local: "here.example".into(), remote: number.to_string().into() };
        let mut histories = Histories::default();
        for number in 0..PAIRS + 2 {
            let now = Timestamp::from_unix_ms(number.try_into().unwrap());
            histories.enter(&pair(number), Standing::Idle, now);
        }
        assert_eq!(histories.0.len(), PAIRS);
        assert!(!histories.0.contains_key(&pair(1)) && histories.0.contains_key(&pair(2)));
        let entry = histories.enter(&pair(2), Standing::Idle, Timestamp::default());
        for number in 0..=EVENTS {
            entry.note(Timestamp::default(), number.to_string(), None);
        }
        assert_eq!((entry.events.len(), entry.events[0].what.as_str()), (EVENTS, "1"));
        assert_eq!(entry.since, Timestamp::from_unix_ms(2), "it has been so before");
    }
}

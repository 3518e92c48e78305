//! What other domains hold in memory here, counted for whoever runs the server: a walk over what is there.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use crate::federation::Federation;

/// So many domains are named, those that hold the most.
const NAMED: usize = 10;
/// So many queues are looked at before others have their turn.
const TURN: usize = 256;

/// What all other domains hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes in the queues of all, and how many there may be.
    pub queued: usize,
    pub bound: usize,
    /// Pairs of domains that have a queue.
    pub queues: usize,
    /// Domains of which it is known what they have used of what they may, and the bytes that takes, addresses included.
    pub budgets: usize,
    pub budget_bytes: usize,
    pub largest: Vec<Domain>,
}

/// What one of them holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub domain: String,
    /// Streams on which it speaks.
    pub streams: usize,
    /// Stanzas that wait or are not confirmed, and their bytes, with what they cost beside.
    pub stanzas: usize,
    pub queued: usize,
    /// Bytes of what it has used of what it may.
    pub budget: usize,
}

impl Domain {
    const fn bytes(&self) -> usize {
        self.queued + self.budget
    }
}

impl Federation {
    /// Counts what other domains hold.
    pub async fn memory(&self) -> Memory {
        let waiting: Vec<_> = self.queues().values().cloned().collect();
        let (budgets, addresses) = self.budgets().memory();
        let mut memory = Memory {
            queued: self.queued(),
            bound: self.settings().queue_bytes_total,
            queues: waiting.len(),
            budgets: budgets.len(),
            budget_bytes: addresses,
            largest: Vec::new(),
        };
        yield_now().await;
        let mut domains: HashMap<Arc<str>, Domain> = HashMap::new();
        for (remote, bytes, streams) in budgets {
            memory.budget_bytes += bytes;
            domains.insert(remote, Domain { budget: bytes, streams, ..Domain::default() });
        }
        for some in waiting.chunks(TURN) {
            for waiting in some {
                let domain = domains.entry(Arc::clone(&waiting.pair.remote)).or_default();
                let state = waiting.lock();
                domain.stanzas += state.queue.len();
                domain.queued += state.queue.cost();
            }
            yield_now().await;
        }
        let named = domains.into_iter().map(|(name, it)| Domain { domain: name.to_string(), ..it });
        memory.largest = largest(named.collect());
        memory
    }
}

/// Those that hold the most, in that order.
fn largest(mut domains: Vec<Domain>) -> Vec<Domain> {
    domains.sort_unstable_by(|one, other| {
        let key = |it: &Domain| Reverse(it.bytes());
        key(one).cmp(&key(other)).then_with(|| one.domain.cmp(&other.domain))
    });
    domains.truncate(NAMED);
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_hold_the_most_are_named() {
        let domain = |number: usize| Domain {
            domain: format!("x{number}.example"),
            queued: number % 20,
            budget: 10 * (number % 2),
            ..Domain::default()
        };
        let named = largest((0..20).map(domain).collect());
        assert_eq!(named.iter().map(Domain::bytes).collect::<Vec<_>>(), [29, 27, 25, 23, 21, 19, 18, 17, 16, 15]);
        assert_eq!(named.first().map(|it| it.domain.as_str()), Some("x19.example"));
    }
}

//! What somebody elsewhere could not be told: that a resource of ours is there, or has gone. He is told when his domain is
//! back.
//!
//! Pure and bounded: of what is too much, and of what is too long ago, nobody keeps account.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::jid::{BareJid, Jid};

use super::remote::Pair;

/// So much is remembered, and for so long.
const MOST: usize = 10_000;
const AGE: Duration = Duration::from_secs(3600);

/// Which resource of ours, and who could not be told of it.
pub(super) type Untold = (Jid, BareJid);

/// All that is owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pairs: HashMap<Pair, BTreeMap<Untold, Instant>>,
    /// The same, the oldest first.
    ages: BTreeSet<(Instant, Untold)>,
}

impl Owed {
    /// Somebody could not be told.
    pub(super) fn note(&mut self, untold: Untold, now: Instant) {
        self.forget_old(now);
        let of = pair(&untold);
        if let Some(since) = self.pairs.get(&of).and_then(|all| all.get(&untold)) {
            self.ages.remove(&(*since, untold.clone()));
        } else if self.ages.len() >= MOST {
            return;
        }
        self.ages.insert((now, untold.clone()));
        self.pairs.entry(of).or_default().insert(untold, now);
    }

    /// Whether anybody of a pair of domains is owed something.
    pub(super) fn is_owed(&mut self, pair: &Pair, now: Instant) -> bool {
        self.forget_old(now);
        self.pairs.contains_key(pair)
    }

    /// Takes out what is owed between a pair of domains.
    pub(super) fn take(&mut self, pair: &Pair, now: Instant) -> Vec<Untold> {
        self.forget_old(now);
        let taken = self.pairs.remove(pair).unwrap_or_default();
        let taken = taken.into_iter().map(|(untold, since)| {
            self.ages.remove(&(since, untold.clone()));
            untold
        });
        taken.collect()
    }

    fn forget_old(&mut self, now: Instant) {
        while self.ages.first().is_some_and(|(since, _)| *since + AGE <= now) {
            let Some((_, untold)) = self.ages.pop_first() else { return };
            let of = pair(&untold);
            if let Some(all) = self.pairs.get_mut(&of) {
                all.remove(&untold);
                if all.is_empty() {
                    self.pairs.remove(&of);
                }
            }
        }
    }
}

/// Between which domains that is.
fn pair((ours, theirs): &Untold) -> Pair {
    Pair { local: ours.domain().into(), remote: theirs.domain().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untold(ours: &str, theirs: &str) -> Untold {
        (ours.parse().unwrap(), BareJid::parse(theirs).unwrap())
    }

    #[test]
    fn what_is_owed_is_taken_domain_by_domain() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let one = untold("a@here.example/x", "b@there.example");
        let other = untold("a@here.example/x", "b@elsewhere.example");
        for it in [&one, &other, &one] {
            owed.note(it.clone(), now);
        }
        let of = pair(&one);
        assert!(owed.is_owed(&of, now));
        assert_eq!(owed.take(&of, now), [one]);
        assert!(!owed.is_owed(&of, now) && owed.is_owed(&pair(&other), now));
        assert_eq!(owed.ages.len(), 1);
    }

    #[test]
    fn what_is_owed_is_bounded_in_number_and_time() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let all = |number| untold(&format!("a{number}@here.example/x"), &format!("b@{number}.example"));
        for number in 0..=MOST {
            owed.note(all(number), now);
        }
        assert_eq!((owed.ages.len(), owed.pairs.len()), (MOST, MOST));
        let later = now + AGE - Duration::from_secs(1);
        owed.note(all(0), later);
        owed.note(all(MOST), later);
        assert!(!owed.is_owed(&pair(&all(MOST)), later), "there is no room for it");
        owed.note(all(MOST), now + AGE);
        assert_eq!((owed.ages.len(), owed.pairs.len()), (2, 2), "this one, and the one that was said again");
        assert!(owed.take(&pair(&all(0)), later + AGE).is_empty());
    }
}

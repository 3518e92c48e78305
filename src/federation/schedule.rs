//! When a domain that could not be reached is tried again: soon at first, then less and less often.
//!
//! Pure, without chance: pauses differ from pair to pair of domains and from attempt to attempt, which keeps many servers
//! from coming back at the same moment.

use std::time::Duration;

use crate::fnv;
use crate::routing::Pair;

/// The first pause; most servers that restart are back by then.
const FIRST: Duration = Duration::from_secs(2);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(300);
/// A pause is up to this part of it longer or shorter.
const SPREAD: u32 = 4;

/// How many attempts have failed in a row.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Stands for the pair.
    number: u64,
    failures: u32,
}

impl Schedule {
    pub(crate) fn new(Pair { local, remote }: &Pair) -> Self {
        Self { number: fnv::hash(local.bytes().chain([0]).chain(remote.bytes())), failures: 0 }
    }

    /// One more attempt has failed; how long to wait for the next.
    pub(crate) fn failed(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let spread = pause / SPREAD;
        let place = fnv::hash(self.number.to_le_bytes().into_iter().chain(self.failures.to_le_bytes()));
        // 32 bits are fine enough for milliseconds.
        let place = u32::try_from(place >> 32).unwrap_or_default();
        pause - spread + (2 * spread).mul_f64(f64::from(place) / f64::from(u32::MAX))
    }

    /// The domain has been reached.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u32) -> Pair {
        Pair { local: "here.example".into(), remote: format!("{number}.example").into() }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
        let mut schedule = Schedule::new(&pair(0));
        let first = schedule.failed();
        for middle in [4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0].into_iter().chain([300.0; 100]) {
            let pause = schedule.failed().as_secs_f64();
            assert!((middle * 0.75..=middle * 1.25).contains(&pause), "{pause} instead of {middle}");
        }
        schedule.succeeded();
        assert_eq!(schedule.failed(), first);
    }

    #[test]
    fn pauses_are_spread_over_pairs() {
        let mut places = [0; 10];
        for number in 0..1000 {
            let pause = Schedule::new(&pair(number)).failed().as_millis();
            places[usize::try_from((pause - 1500) / 101).unwrap()] += 1;
        }
        assert!(places.iter().all(|count| (60..140).contains(count)), "{places:?}");
    }
}

//! When a domain that could not be reached is tried again: soon at first, then less and less often.
//!
//! Pure: whoever asks brings the randomness, which keeps many servers from coming back at the same moment.

use std::time::Duration;

/// The first pause; most servers that restart are back by then.
const FIRST: Duration = Duration::from_secs(2);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(300);
/// A pause is up to this part of it longer or shorter.
const SPREAD: u32 = 4;

/// How many attempts have failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    failures: u32,
}

impl Schedule {
    /// One more attempt has failed; how long to wait for the next. `below` gives a random number from 0 to its argument
    /// inclusive.
    pub(crate) fn failed(&mut self, below: impl FnOnce(u32) -> u32) -> Duration {
        let pause = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let spread = u32::try_from((pause / SPREAD).as_millis()).unwrap_or(u32::MAX);
        let later = below(spread.saturating_mul(2));
        pause + Duration::from_millis(later.into()) - Duration::from_millis(spread.into())
    }

    /// The domain has been reached.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
        let seconds = |schedule: &mut Schedule, below: fn(u32) -> u32| schedule.failed(below).as_secs_f64();
        let mut schedule = Schedule::default();
        let middle: Vec<f64> = (0..9).map(|_| seconds(&mut schedule, |most| most / 2)).collect();
        assert_eq!(middle, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]);
        for _ in 0..100 {
            assert_eq!(seconds(&mut schedule, |_| 0), 225.0);
            assert_eq!(seconds(&mut schedule, |most| most), 375.0);
        }
        schedule.succeeded();
        assert_eq!(seconds(&mut schedule, |_| 0), 1.5);
    }
}

//! How often somebody may do something: what he does takes its time, and he may be ahead of that by so much.

use crate::clock::Timestamp;

/// So often each second in the long run; after a pause as often as in `burst` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Zero is no limit.
    pub(super) per_second: usize,
    pub(super) burst: usize,
}

/// How far somebody is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    /// When he has caught up, in microseconds since 1970.
    full: i64,
}

impl Bucket {
    /// Whether it may be done once more; counts it if so.
    pub(super) fn take(&mut self, now: Timestamp, rate: Rate) -> bool {
        let Some(each) = 1_000_000_i64.checked_div(whole(rate.per_second)) else { return true };
        let now = now.unix_ms().saturating_mul(1000);
        let full = self.full.max(now).saturating_add(each);
        if full - now > whole(rate.burst).saturating_mul(1_000_000) {
            return false;
        }
        self.full = full;
        true
    }

    /// Whether nothing is known of him that matters any more.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.full <= now.unix_ms().saturating_mul(1000)
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { per_second: 10, burst: 2 };
        let mut bucket = Bucket::default();
        let at = |ms: i64| Timestamp::from_unix_ms(1_000_000 + ms);
        assert_eq!((0..100).filter(|_| bucket.take(at(0), rate)).count(), 20);
        assert!(!bucket.take(at(99), rate) && bucket.take(at(100), rate) && !bucket.take(at(100), rate));
        assert!(!bucket.is_idle(at(2099)) && bucket.is_idle(at(2100)));
        assert_eq!((0..100).filter(|_| bucket.take(at(60_000), rate)).count(), 20, "however long the pause was");
        assert!((0..100).all(|_| bucket.take(at(0), Rate { per_second: 0, burst: 0 })), "zero is no limit");
    }
}

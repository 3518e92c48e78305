//! How fast somebody may send: a token bucket for stanzas and one for bytes.
//!
//! Each stanza and each byte takes its time. What is kept of whoever sends is how far he is ahead of that; while he is
//! further ahead than he may be, his sockets are not read. Nothing is ever lost by that.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The pace of client sessions, or of other servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds that a stanza and a byte take; nothing without a limit.
    stanza: u64,
    byte: u64,
    /// How many microseconds somebody may be ahead.
    burst: u64,
}

/// How many microseconds somebody is ahead with his stanzas and with his bytes. It lies in every
/// session, so it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ahead {
    stanzas: u32,
    bytes: u32,
}

/// What one wake-up has taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intake {
    /// Milliseconds since the wake-up before.
    pub elapsed: u64,
    pub stanzas: usize,
    pub bytes: usize,
}

impl Pace {
    /// So much each second, after a pause as much as in `burst`; 0 is no limit.
    #[must_use]
    pub fn new(stanzas: usize, bytes: usize, burst: Duration) -> Self {
        let share = |count| 1_000_000_000_u64.checked_div(whole(count)).unwrap_or_default();
        let burst = u64::try_from(burst.as_micros()).unwrap_or(u64::MAX);
        Self { stanza: share(stanzas), byte: share(bytes), burst }
    }

    /// So many each minute, all at once if need be; 0 is no limit.
    #[must_use]
    pub fn each_minute(count: usize) -> Self {
        let each = MINUTE.as_nanos().checked_div(count as u128).unwrap_or_default();
        let burst = u64::try_from(MINUTE.as_micros()).unwrap_or(u64::MAX);
        Self { stanza: u64::try_from(each).unwrap_or(u64::MAX), byte: 0, burst }
    }
}

impl Ahead {
    /// Of whoever has sent nothing yet.
    pub const NONE: Self = Self { stanzas: 0, bytes: 0 };

    /// Counts what was taken in; returns how long to wait before more is.
    pub fn charge(&mut self, pace: &Pace, intake: Intake) -> Option<Duration> {
        let passed = intake.elapsed.saturating_mul(1000);
        let step = |ahead: u32, count: usize, each: u64| {
            let taken = whole(count).saturating_mul(each) / 1000;
            u32::try_from(u64::from(ahead).saturating_sub(passed).saturating_add(taken)).unwrap_or(u32::MAX)
        };
        self.stanzas = step(self.stanzas, intake.stanzas, pace.stanza);
        self.bytes = step(self.bytes, intake.bytes, pace.byte);
        let ahead = u64::from(self.stanzas.max(self.bytes));
        (ahead > pace.burst).then(|| Duration::from_micros(ahead - pace.burst))
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten stanzas or 1000 bytes each second, two seconds at once.
    fn pace() -> Pace {
        Pace::new(10, 1000, Duration::from_secs(2))
    }

    fn intake(elapsed: u64, stanzas: usize, bytes: usize) -> Intake {
        Intake { elapsed, stanzas, bytes }
    }

    #[test]
    fn after_a_pause_much_may_come_at_once() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.charge(&pace(), intake(0, 20, 2000)), None);
        assert_eq!(ahead.charge(&pace(), intake(0, 1, 1)), Some(Duration::from_millis(100)));
        assert_eq!(ahead.charge(&pace(), intake(100, 0, 0)), None);
        // However long the pause was.
        assert_eq!(ahead.charge(&pace(), intake(u64::MAX, 20, 0)), None);
        assert_eq!(ahead.charge(&pace(), intake(0, 1, 0)), Some(Duration::from_millis(100)));
    }

    #[test]
    fn in_the_long_run_the_slower_of_both_limits_holds() {
        for (stanzas, bytes, seconds) in [(10, 1, 100), (1, 1000, 100), (10, 1000, 100), (20, 500, 200)] {
            let (mut ahead, mut waited, mut last) = (Ahead::default(), Duration::ZERO, Duration::ZERO);
            for _ in 0..100 {
                let elapsed = u64::try_from(last.as_millis()).unwrap();
                last = ahead.charge(&pace(), intake(elapsed, stanzas, bytes)).unwrap_or_default();
                waited += last;
            }
            let expected = Duration::from_secs(seconds - 2);
            assert!(waited.abs_diff(expected) < Duration::from_secs(1), "{stanzas} {bytes}: {waited:?}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let pace = Pace::new(0, 0, Duration::ZERO);
        assert_eq!(Ahead::default().charge(&pace, intake(0, usize::MAX, usize::MAX)), None);
    }

    #[test]
    fn what_a_minute_allows_may_come_at_once() {
        let (pace, mut ahead) = (Pace::each_minute(3), Ahead::default());
        assert_eq!(ahead.charge(&pace, intake(0, 3, 0)), None);
        assert_eq!(ahead.charge(&pace, intake(0, 1, 0)), Some(Duration::from_secs(20)));
    }

    #[test]
    fn nothing_overflows() {
        let slow = Pace::new(1, 1, Duration::ZERO);
        let mut ahead = Ahead::default();
        for _ in 0..3 {
            let wait = ahead.charge(&slow, intake(0, usize::MAX, usize::MAX)).unwrap();
            assert_eq!(wait, Duration::from_micros(u32::MAX.into()));
        }
    }
}

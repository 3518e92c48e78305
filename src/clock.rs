//! Wall time, and how XMPP writes it (XEP-0082).
//!
//! The one place that reads the system's clock. Time that only measures how long something takes is
//! `tokio::time::Instant` elsewhere. Knows nothing of XMPP beyond the format.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Where the time comes from; clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is advanced.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => Timestamp(milliseconds(since)),
                Err(before) => Timestamp(-milliseconds(before.duration())),
            },
            Source::Manual(now) => Timestamp(now.load(Ordering::Relaxed)),
        }
    }

    /// Sets a manual clock (and its clones), also back, as an operator may; the system's clock does not listen.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(now) = &self.0 {
            now.store(to.0, Ordering::Relaxed);
        }
    }

    /// Moves a manual clock (and its clones) forward; the system's clock does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(milliseconds(by), Ordering::Relaxed);
        }
    }
}

impl Timestamp {
    /// The point `ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This point, `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(by)))
    }

    /// Reads a `DateTime` (XEP-0082 §3.2): `CCYY-MM-DDThh:mm:ss[.sss]TZD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let sign = |at: usize, sign: u8| (bytes.get(at) == Some(&sign)).then_some(());
        let number = |at: usize, digits: usize| {
            bytes
                .get(at..at + digits)?
                .iter()
                .try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
        };
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        for (at, expected) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            sign(at, expected)?;
        }
        // Second 60 is a leap second; it is shown as the first second of the next minute.
        if hour > 23 || minute > 59 || second > 60 || day < 1 || day > days_in_month(year, month)? {
            return None;
        }
        let rest = bytes.get(19..)?;
        let (fraction, zone_at) = match rest.split_first() {
            Some((b'.', digits)) => {
                let count = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
                (milliseconds_of(digits.get(..count).filter(|digits| !digits.is_empty())?), 20 + count)
            }
            _ => (0, 19),
        };
        let offset = match bytes.get(zone_at..)? {
            b"Z" => 0,
            [direction @ (b'+' | b'-'), _, _, b':', _, _] => {
                let (hours, minutes) = (number(zone_at + 1, 2)?, number(zone_at + 4, 2)?);
                if hours > 14 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes) * if *direction == b'+' { 1 } else { -1 }
            }
            _ => return None,
        };
        let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset;
        Some(Self((minutes * 60 + second) * 1000 + fraction))
    }
}

/// As XEP-0082 §3.2 writes a `DateTime`, in UTC, with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0.div_euclid(1000), self.0.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The first three decimal places, as milliseconds.
fn milliseconds_of(digits: &[u8]) -> i64 {
    digits.iter().chain(b"00").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; a year is taken to start in March, so
/// that the leap day is its last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::{Clock, Timestamp};
    use std::time::Duration;

    #[test]
    fn writes_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_unix_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_unix_ms(1_709_210_096_789).to_string(), "2024-02-29T12:34:56.789Z");
        assert_eq!(Timestamp::from_unix_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_the_examples_of_xep_0082() {
        let moon = Timestamp::parse("1969-07-21T02:56:15Z");
        assert!(moon.is_some());
        assert_eq!(Timestamp::parse("1969-07-20T21:56:15-05:00"), moon);
        assert_eq!(Timestamp::parse("1969-07-21T02:56:15.0Z"), moon);
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00.123456Z"), Some(Timestamp::from_unix_ms(123)));
    }

    #[test]
    fn refuses_what_is_no_date_time() {
        for text in [
            "",
            "1969-07-21",
            "1969-07-21T02:56:15",
            "1969-07-21T02:56:15.Z",
            "1969-02-29T00:00:00Z",
            "1969-13-01T00:00:00Z",
            "1969-07-21T24:00:00Z",
            "1969-07-21T02:56:15+0500",
            "1969-07-21 02:56:15Z",
            "1969-07-21T02:56:15Zé",
            "+969-07-21T02:56:15Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for days in (-200_000..200_000).step_by(97) {
            let time = Timestamp::from_unix_ms(days * 86_400_000 + 12_345_678);
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_unix_ms(5));
        let seen = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(seen.now(), Timestamp::from_unix_ms(1005));
        assert_eq!(seen.now().since(Timestamp::from_unix_ms(5)), Duration::from_secs(1));
        assert_eq!(Timestamp::from_unix_ms(5).since(seen.now()), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_runs_after_this_was_written() {
        assert!(Clock::system().now() > Timestamp::from_unix_ms(1_700_000_000_000));
    }
}

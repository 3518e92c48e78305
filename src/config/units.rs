//! Values with a unit: `"256KiB"`, `"30s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A number of bytes: `"256KiB"`, `"1MiB"`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

/// A time span: `"250ms"`, `"30s"`, `"10m"`, `"2h"`, `"1d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

const PERIOD_UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Size {
    /// `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// `number` times 1024 bytes.
    #[must_use]
    pub const fn kib(number: usize) -> Self {
        Self(number << 10)
    }

    /// `number` times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(number: usize) -> Self {
        Self(number << 20)
    }

    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl Period {
    #[must_use]
    pub const fn seconds(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }

    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reason = || format!("\"{text}\" is no size; write a number and a unit, such as \"256KiB\" or \"1MiB\"");
        let (number, unit) = split(text).ok_or_else(reason)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let factor = factor(SIZE_UNITS, unit).ok_or_else(reason)?;
        number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok()).map(Self).ok_or_else(reason)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reason =
            || format!("\"{text}\" is no time span; write a number and a unit, such as \"30s\", \"10m\" or \"2h\"");
        let (number, unit) = split(text).ok_or_else(reason)?;
        let factor = factor(PERIOD_UNITS, unit).ok_or_else(reason)?;
        number.checked_mul(factor).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(reason)
    }
}

/// The number in front and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Units are compared without case, except that nothing else is spelt like another unit.
fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

/// With the largest unit that divides the value.
fn write(f: &mut fmt::Formatter<'_>, units: &[(&str, u64)], value: u64) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    match units.iter().find(fits).or(units.last()) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, SIZE_UNITS, u64::try_from(self.0).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, PERIOD_UNITS, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256KiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                usize::try_from(number).map(Size).map_err(|_| E::custom("a size is not negative"))
            }
        }

        from.deserialize_any(Bytes)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Span;

        impl Visitor<'_> for Span {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time span such as \"30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }

        from.deserialize_any(Span)
    }
}

#[cfg(test)]
mod tests {
    use super::{Period, Size};

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [("256KiB", 262_144), ("1 MiB", 1_048_576), ("10000", 10_000), ("10kB", 10_000), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(Size::new(bytes)), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5MiB", "1 parsec", "99999999999999999999", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn periods_need_a_unit() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("2000ms", 2)] {
            assert_eq!(text.parse(), Ok(Period::seconds(seconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1w", "99999999999999999999s", "9999999999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn written_with_the_largest_unit_that_divides() {
        for text in ["256KiB", "1MiB", "1000kB", "12345B", "0B"] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size::kib(256).to_string(), "256KiB");
        assert_eq!(Period::seconds(90).to_string(), "90s");
        assert_eq!(Period::seconds(600).to_string(), "10m");
    }
}

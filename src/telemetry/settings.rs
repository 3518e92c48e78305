//! How much is logged, and how it is written.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use tracing_subscriber::filter::Targets;

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// What is logged: a level, or levels by module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Only what is wrong.
    #[must_use]
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }

    /// As the subscriber wants it.
    pub(super) fn directives(&self) -> Result<Targets, String> {
        self.0.parse().map_err(|error: tracing_subscriber::filter::ParseError| error.to_string())
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        for directive in text.split(',') {
            let level = directive.rsplit('=').next().unwrap_or(directive).trim();
            if !levels.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                return Err(format!("\"{level}\" is no level; levels are error, warn, info, debug, trace and off"));
            }
        }
        let filter = Self(text.split(',').map(str::trim).collect::<Vec<_>>().join(","));
        filter.directives().map(|_| filter)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("\"{text}\" is none of \"text\", \"json\"")),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn levels_alone_and_by_module() {
        for text in ["info", "off", "info,comity::federation=debug", "WARN", "warn, rustls=error"] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
        for text in ["", "inof", "comity=loud", "info,", "comity"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}

//! Results: every measurement as JSON, and a table of medians.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

use crate::meter::Measured;
use crate::options::Options;
use crate::servers::Make;

/// One figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    Work(Measured),
    Bytes(u64),
}

impl Value {
    /// What is compared: microseconds or bytes.
    fn figure(&self) -> f64 {
        match self {
            Self::Work(measured) => measured.us_per_unit,
            #[allow(clippy::cast_precision_loss)]
            Self::Bytes(bytes) => *bytes as f64,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct Entry {
    round: usize,
    scenario: String,
    server: &'static str,
    value: Value,
}

/// All results of a run.
#[derive(Default)]
pub struct Report {
    round: usize,
    entries: Vec<Entry>,
    resumed: BTreeMap<(String, &'static str), f64>,
}

impl Report {
    pub fn new(_: &Options) -> Self {
        Self::default()
    }

    pub fn begin(&mut self, round: usize) {
        eprintln!("round {round}");
        self.round = round;
    }

    pub fn add(&mut self, scenario: &str, make: Make, value: Value) {
        match &value {
            Value::Work(it) => {
                let latency = it.latency.map(|it| format!("  p50 {} p95 {} p99 {} us", it.p50, it.p95, it.p99));
                eprintln!(
                    "  {scenario:16} {:9} {:>9.2} us  {:>9.0}/s  {:.2} s of CPU in {:.1} s{}",
                    make.name(),
                    it.us_per_unit,
                    it.units_per_second,
                    it.cpu_seconds,
                    it.wall_seconds,
                    latency.unwrap_or_default()
                );
            }
            Value::Bytes(bytes) => eprintln!("  {scenario:16} {:9} {bytes:>9} bytes", make.name()),
        }
        self.entries.push(Entry { round: self.round, scenario: scenario.to_owned(), server: make.name(), value });
    }

    pub fn resumed(&mut self, scenario: &str, make: Make, part: f64) {
        self.resumed.insert((scenario.to_owned(), make.name()), part);
    }

    pub fn finish(&self, options: &Options) -> io::Result<()> {
        if let Some(path) = &options.json {
            fs::write(path, serde_json::to_string_pretty(&self.entries)?)?;
        }
        Ok(())
    }
}

//! Results: every measurement as JSON; medians, ratios and whether the targets hold as tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;

use crate::growth_tables;
use crate::ledger::Ledger;
use crate::meter::{Latency, Measured};
use crate::options::Options;
use crate::plot;
use crate::servers::Make;
use crate::targets::{Bound, TARGETS, Target};

/// What stands below the tables in the document.
const PICTURES: &str = "
![Server CPU time per unit](performance/cpu.svg)

![Memory](performance/memory.svg)

Every single measurement is in [measurements.json](performance/measurements.json).
";

/// One figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    Work(Measured),
    Bytes(u64),
    Count(u64),
}

impl Value {
    /// What is compared: microseconds or bytes.
    fn figure(&self) -> f64 {
        match self {
            Self::Work(measured) => measured.us_per_unit,
            Self::Bytes(number) | Self::Count(number) => *number as f64,
        }
    }

    fn latency(&self) -> Option<Latency> {
        match self {
            Self::Work(measured) => measured.latency,
            Self::Bytes(_) | Self::Count(_) => None,
        }
    }

    fn cpu_seconds(&self) -> Option<f64> {
        match self {
            Self::Work(measured) => Some(measured.cpu_seconds),
            Self::Bytes(_) | Self::Count(_) => None,
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
#[derive(Default, Serialize)]
pub struct Report {
    #[serde(skip)]
    round: usize,
    #[serde(skip)]
    ledger: Ledger,
    /// CPU seconds after which a measurement ends.
    enough: f64,
    machine: String,
    peers: String,
    measurements: Vec<Entry>,
    /// Which part of the TLS sessions was resumed, by scenario and server.
    resumed: BTreeMap<String, f64>,
    /// Measurements that do not count, and why.
    errors: Vec<String>,
}

impl Report {
    pub fn new(options: &Options) -> Self {
        Self { machine: machine(), peers: peers(), enough: options.length().cpu.as_secs_f64(), ..Self::default() }
    }

    /// What a scenario has taken of the run's time.
    pub fn book(&mut self, scenario: &str, make: Option<Make>, since: Instant) {
        self.ledger.book(scenario, make, since);
    }

    /// A round begins, or a turn of something that has turns of its own.
    pub fn begin(&mut self, what: &str, round: usize) {
        eprintln!("{what} {round}");
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
            Value::Count(count) => eprintln!("  {scenario:16} {:9} {count:>9}", make.name()),
            Value::Bytes(bytes) => eprintln!("  {scenario:16} {:9} {bytes:>9} bytes", make.name()),
        }
        let entry = Entry { round: self.round, scenario: scenario.to_owned(), server: make.name(), value };
        self.measurements.push(entry);
    }

    /// Takes back what this round has measured: the server has not done the work.
    pub fn reject(&mut self, scenario: &str, make: Make, why: &str) {
        self.fail(&format!("{scenario} on {}, round {}: {why}", make.name(), self.round));
        let round = self.round;
        let wrong = |it: &Entry| it.round == round && it.scenario == scenario && it.server == make.name();
        self.measurements.retain(|entry| !wrong(entry));
    }

    /// Takes note of an error, with its first line; the rest are logs.
    pub fn fail(&mut self, error: &str) {
        eprintln!("{error}");
        self.errors.extend(error.lines().next().map(str::to_owned));
    }

    pub fn resumed(&mut self, scenario: &str, make: Make, part: f64) {
        self.resumed.insert(format!("{scenario} {}", make.name()), part);
    }

    /// Writes what the options ask for, and the tables to standard output.
    pub fn finish(&self, options: &Options) -> io::Result<()> {
        if let Some(path) = &options.json {
            fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        }
        let tables = self.tables(options)?;
        println!("{tables}");
        eprintln!("{}", self.ledger.table());
        if let Some(document) = &options.document {
            let folder = document.with_extension("");
            fs::create_dir_all(&folder)?;
            for (name, picture) in plot::all(|scenario, make| self.shown(scenario, make)) {
                fs::write(folder.join(name), picture)?;
            }
            insert(document, "measured", &(tables + PICTURES))?;
        }
        if self.errors.is_empty() { Ok(()) } else { Err(io::Error::other(self.errors.join("\n"))) }
    }

    fn of(&self, scenario: &str, make: Make) -> impl Iterator<Item = &Entry> {
        let name = make.name();
        self.measurements.iter().filter(move |entry| entry.scenario == scenario && entry.server == name)
    }

    fn in_round(&self, scenario: &str, make: Make, round: usize) -> Option<&Value> {
        self.of(scenario, make).find(|entry| entry.round == round).map(|entry| &entry.value)
    }

    /// The median of the rounds.
    pub fn median(&self, scenario: &str, make: Make) -> Option<f64> {
        median(self.of(scenario, make).map(|entry| entry.value.figure()).collect())
    }

    /// The median; between servers the floor is two relays.
    fn shown(&self, scenario: &str, make: Make) -> Option<f64> {
        match (scenario, make) {
            ("s2s", Make::Floor) => self.median("chat-saturated", make).map(|relay| 2.0 * relay),
            _ => self.median(scenario, make),
        }
    }

    /// The last round there was; what grows is measured in turns behind them.
    fn rounds(&self) -> usize {
        TARGETS.iter().map(|target| self.turns(target.scenario)).max().unwrap_or(0)
    }

    /// How often a scenario was measured.
    pub fn turns(&self, scenario: &str) -> usize {
        let those = self.measurements.iter().filter(|entry| entry.scenario == scenario);
        those.map(|entry| entry.round).max().unwrap_or(0)
    }

    /// The figure of one turn.
    pub fn figure(&self, scenario: &str, make: Make, turn: usize) -> Option<f64> {
        self.in_round(scenario, make, turn).map(Value::figure)
    }

    /// What Comity may cost in a round at most, and what it does cost.
    fn bound(&self, target: &Target, bound: Bound, round: usize) -> Option<(f64, f64)> {
        let own = self.in_round(target.scenario, Make::Comity, round)?.figure();
        let most = match bound {
            Bound::Floor(times) => self.in_round(target.scenario, Make::Floor, round)?.figure() * times,
            Bound::Peer(part) => {
                let peers = [Make::Prosody, Make::Ejabberd].into_iter();
                let peers = peers.filter_map(|make| self.in_round(target.scenario, make, round));
                peers.map(Value::figure).reduce(f64::min)? / part
            }
            Bound::Own(times, scenario, _) => self.in_round(scenario, Make::Comity, round)?.figure() * times,
            Bound::Bytes(bytes) => bytes,
        };
        Some((own, most))
    }

    fn tables(&self, options: &Options) -> io::Result<String> {
        let mut text = format!("Machine: {}. Peers: {}. {} rounds.\n\n", self.machine, self.peers, self.rounds());
        if options.quick {
            text.push_str("A quick run: short measurements, small numbers; good for a look, not for a comparison.\n\n");
        }
        if !self.errors.is_empty() {
            text.push_str(&format!("Errors:\n\n- {}\n\n", self.errors.join("\n- ")));
        }
        self.work(&mut text)
            .and_then(|()| self.cut(&mut text))
            .and_then(|()| self.latencies(&mut text))
            .and_then(|()| growth_tables::write(self, &mut text))
            .map_err(io::Error::other)?;
        Ok(text)
    }

    fn work(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| unit (median of the rounds) | Comity | Prosody | ejabberd | floor | must | ratio to the bound | holds |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        for target in TARGETS {
            let cell = |make| match self.shown(target.scenario, make) {
                None => "-".to_owned(),
                Some(bytes) if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
                Some(bytes) if target.in_bytes() => format!("{:.1} kB", bytes / 1e3),
                Some(us) => format!("{us:.*} us", if us < 100.0 { 1 } else { 0 }),
            };
            if Make::ALL.iter().all(|make| self.median(target.scenario, *make).is_none()) {
                continue;
            }
            let (mut ratios, mut holds, mut most) = (Vec::new(), Vec::new(), Vec::new());
            for bound in target.bounds {
                let each: Vec<f64> = (1..=self.rounds())
                    .filter_map(|round| self.bound(target, *bound, round))
                    .map(|(own, most)| own / most)
                    .collect();
                holds.push(format!("{} of {}", each.iter().filter(|ratio| **ratio <= 1.0).count(), each.len()));
                ratios.push(median(each).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
                most.push(bound.to_string());
            }
            for cells in [&mut most, &mut ratios, &mut holds] {
                if cells.is_empty() {
                    cells.push("-".to_owned());
                }
            }
            let floor = if target.floor { cell(Make::Floor) } else { "-".to_owned() };
            writeln!(
                text,
                "| {} | {} | {} | {} | {floor} | {} | {} | {} |",
                target.title,
                cell(Make::Comity),
                cell(Make::Prosody),
                cell(Make::Ejabberd),
                most.join("; "),
                ratios.join("; "),
                holds.join("; "),
            )?;
        }
        writeln!(text)
    }

    /// Which figures come from measurements that ran out of wall time.
    fn cut(&self, text: &mut String) -> std::fmt::Result {
        let mut cut = Vec::new();
        for target in TARGETS {
            for make in Make::ALL {
                let cpu = self.of(target.scenario, make).filter_map(|entry| entry.value.cpu_seconds());
                // Everybody at once comes once, whatever that costs.
                let cpu = median(cpu.collect()).filter(|cpu| target.scenario != "storm" && *cpu < self.enough);
                cut.extend(cpu.map(|cpu| format!("{} on {} ({cpu:.1} s)", target.scenario, make.name())));
            }
        }
        if cut.is_empty() {
            return Ok(());
        }
        writeln!(
            text,
            "Ended by the wall clock before the server had spent {} s of CPU time (with the time it had spent): {}.\n",
            self.enough,
            cut.join(", ")
        )
    }

    fn latencies(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "| latency p50 / p95 / p99, ms (medians) | Comity | Prosody | ejabberd | floor | holds |")?;
        writeln!(text, "|---|---|---|---|---|---|")?;
        for target in TARGETS {
            let of = |make, pick: fn(Latency) -> u32| {
                let all = self.of(target.scenario, make).filter_map(|entry| entry.value.latency());
                median(all.map(|it| f64::from(pick(it))).collect()).map(|us| us / 1e3)
            };
            let cell = |make| match (of(make, |it| it.p50), of(make, |it| it.p95), of(make, |it| it.p99)) {
                (Some(p50), Some(p95), Some(p99)) => format!("{p50:.2} / {p95:.2} / {p99:.2}"),
                _ => "-".to_owned(),
            };
            if Make::ALL.iter().all(|make| of(*make, |it| it.p50).is_none()) {
                continue;
            }
            let title = target.title.split(';').next().unwrap_or(target.title).trim_start_matches("CPU per ");
            let rounds: Vec<bool> =
                (1..=self.rounds()).filter_map(|round| self.prompt(target.scenario, round)).collect();
            let holds = format!("{} of {}", rounds.iter().filter(|holds| **holds).count(), rounds.len());
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                title,
                cell(Make::Comity),
                cell(Make::Prosody),
                cell(Make::Ejabberd),
                cell(Make::Floor),
                if target.latency { &holds } else { "-" },
            )?;
        }
        Ok(())
    }

    fn prompt(&self, scenario: &str, round: usize) -> Option<bool> {
        self.latency(scenario, Make::Comity, round)?.within(self.latency(scenario, Make::Floor, round)?).into()
    }

    pub fn latency(&self, scenario: &str, make: Make, round: usize) -> Option<Latency> {
        self.in_round(scenario, make, round)?.latency()
    }
}

/// The one in the middle, or what lies between the two in the middle.
pub fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    let upper = *all.get(middle)?;
    let lower = if all.len().is_multiple_of(2) { *all.get(middle - 1)? } else { upper };
    Some(f64::midpoint(lower, upper))
}

/// Puts the tables between the marks of the document.
pub fn insert(document: &Path, part: &str, tables: &str) -> io::Result<()> {
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->"));
    let text = fs::read_to_string(document)?;
    let parts = text.split_once(&*begin).and_then(|(head, rest)| Some((head, rest.split_once(&*end)?.1)));
    let Some((head, tail)) = parts else {
        return Err(io::Error::other(format!("{} has no marks for the tables of {part}", document.display())));
    };
    fs::write(document, format!("{head}{begin}{tables}{end}{tail}"))
}

pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}

pub fn peers() -> String {
    let query =
        Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}, ", "prosody", "ejabberd"]).output();
    let text = query.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.trim_end_matches([',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}

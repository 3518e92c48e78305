//! The figures, and the promises that they have to keep.

use std::time::Duration;

use crate::source::{Counts, Kind};
use crate::{EACH, TOGETHER};

/// What connections of one kind cost while they were held alone.
#[derive(Debug)]
pub(crate) struct KindCost {
    pub(crate) kind: Kind,
    pub(crate) held: usize,
    pub(crate) memory: usize,
}

/// What the flood did; memory is above that of the idle server, times are of honest logins.
#[derive(Debug)]
pub(crate) struct Flood {
    pub(crate) counts: Counts,
    pub(crate) sending: Duration,
    pub(crate) lasted: Duration,
    pub(crate) idle: usize,
    pub(crate) peak: usize,
    pub(crate) after: usize,
    /// How long the memory took to become that.
    pub(crate) settled: Duration,
    pub(crate) idle_descriptors: usize,
    pub(crate) peak_descriptors: usize,
    pub(crate) descriptors_after: usize,
    pub(crate) descriptors_allowed: usize,
    /// From an address without flood.
    pub(crate) elsewhere: (Vec<Duration>, Vec<String>),
    /// From an address of the flood.
    pub(crate) beside: (Vec<Duration>, Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) kinds: Vec<KindCost>,
    pub(crate) flood: Flood,
}

impl KindCost {
    const fn each(&self) -> usize {
        self.memory / if self.held == 0 { 1 } else { self.held }
    }
}

impl Report {
    /// The promises that were not kept.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for cost in &self.kinds {
            if cost.each() > EACH {
                broken.push(format!("{}: {} bytes each", cost.kind.name(), cost.each()));
            }
        }
        let flood = &self.flood;
        if flood.peak > TOGETHER {
            broken.push(format!("the flood cost {} bytes", flood.peak));
        }
        for failure in flood.elsewhere.1.iter().chain(&flood.beside.1) {
            broken.push(failure.clone());
        }
        if flood.elsewhere.0.is_empty() || flood.beside.0.is_empty() {
            broken.push("nobody logged in".to_owned());
        }
        if flood.peak_descriptors + RESERVE > flood.descriptors_allowed {
            broken.push(format!("{} of {} descriptors", flood.peak_descriptors, flood.descriptors_allowed));
        }
        if flood.descriptors_after > flood.idle_descriptors + SLACK {
            broken.push(format!("{} descriptors stay open", flood.descriptors_after - flood.idle_descriptors));
        }
        if flood.after > flood.peak / 3 + SETTLED {
            broken.push(format!("{} bytes stay in use", flood.after));
        }
        broken
    }

    pub(crate) fn print(&self) {
        println!("\n{:<32} {:>6} {:>10}", "held alone", "count", "KiB each");
        for cost in &self.kinds {
            println!("{:<32} {:>6} {:>10.1}", cost.kind.name(), cost.held, kib(cost.each()));
        }
        let flood = &self.flood;
        println!("\nflood");
        println!("  connected, held, unheard   {:?}", flood.counts);
        println!("  sent in, over after        {:.1} s, {:.1} s", seconds(flood.sending), seconds(flood.lasted));
        println!(
            "  memory: idle, flood, after {:.1} MiB, +{:.1} MiB, +{:.1} MiB ({:.0} s later)",
            mib(flood.idle),
            mib(flood.peak),
            mib(flood.after),
            seconds(flood.settled)
        );
        println!(
            "  descriptors                {} idle, {} at most, {} after, {} allowed",
            flood.idle_descriptors, flood.peak_descriptors, flood.descriptors_after, flood.descriptors_allowed
        );
        for (name, (times, failures)) in [("elsewhere", &flood.elsewhere), ("beside", &flood.beside)] {
            let [median, most] = quantiles(times);
            println!(
                "  honest logins {name:<12} {} of {}, median {median:.0} ms, at most {most:.0} ms",
                times.len(),
                times.len() + failures.len()
            );
        }
        println!("\n{}", self.json());
    }

    fn json(&self) -> serde_json::Value {
        let flood = &self.flood;
        let logins = |(times, failures): &(Vec<Duration>, Vec<String>)| {
            let [median, most] = quantiles(times);
            serde_json::json!({"succeeded": times.len(), "failed": failures.len(), "median_ms": median, "most_ms": most})
        };
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|it| serde_json::json!({"kind": it.kind.name(), "held": it.held, "bytes_each": it.each()}))
            .collect();
        serde_json::json!({
            "kinds": kinds,
            "flood": {
                "connected": flood.counts.connected,
                "held": flood.counts.held,
                "unheard": flood.counts.unheard,
                "seconds_sending": seconds(flood.sending),
                "seconds": seconds(flood.lasted),
                "idle_bytes": flood.idle,
                "flood_bytes": flood.peak,
                "bytes_after": flood.after,
                "seconds_settling": seconds(flood.settled),
                "descriptors": [flood.idle_descriptors, flood.peak_descriptors, flood.descriptors_after],
                "descriptors_allowed": flood.descriptors_allowed,
                "logins_elsewhere": logins(&flood.elsewhere),
                "logins_beside": logins(&flood.beside),
            }
        })
    }
}

/// Descriptors that are never given to connections.
const RESERVE: usize = 128;
/// Descriptors by which an idle server varies (connections to its storage).
const SLACK: usize = 16;
/// Memory by which an idle server varies.
const SETTLED: usize = 8 * 1024 * 1024;

/// The median and the largest, in milliseconds.
fn quantiles(times: &[Duration]) -> [f64; 2] {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |place: usize| times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    [at(times.len() / 2), at(times.len().saturating_sub(1))]
}

const fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn kib(bytes: usize) -> f64 {
    precise(bytes) / 1024.0
}

fn mib(bytes: usize) -> f64 {
    precise(bytes) / 1024.0 / 1024.0
}

/// Exact: no machine has so much memory that it would not be.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
const fn precise(bytes: usize) -> f64 {
    bytes as f64
}

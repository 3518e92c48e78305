//! One measurement: units of work against the server's CPU time, after a warm-up.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::sleep;

use crate::process::Clock;

/// How long a measurement lasts.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Not measured, before.
    pub warm_up: Duration,
    /// Server CPU time that is enough.
    pub cpu: Duration,
    /// Wall time after which it ends all the same.
    pub longest: Duration,
}

impl Length {
    /// Each of `parts` measurements that together last as long, and of which each has a warm-up of its own.
    pub fn part(self, parts: u32) -> Self {
        Self { warm_up: self.warm_up / 2, cpu: self.cpu / parts, longest: self.longest / parts }
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub units: u64,
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
    /// Microseconds of server CPU for one unit.
    pub us_per_unit: f64,
    pub units_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// All latencies, for those who put parts together.
    #[serde(skip)]
    latencies: Vec<u32>,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub p50: u32,
    pub p95: u32,
    pub p99: u32,
}

impl Latency {
    /// The percentiles of these latencies, which are sorted on the way.
    pub fn of(all: &mut [u32]) -> Option<Self> {
        all.sort_unstable();
        let at = |percent: usize| all.get(all.len() * percent / 100).or(all.last()).copied();
        Some(Self { p50: at(50)?, p95: at(95)?, p99: at(99)? })
    }

    /// Whether p50 and p95 are at most twice those of the floor, or a millisecond more if that is larger.
    pub fn within(self, floor: Self) -> bool {
        let within = |own: u32, floor: u32| own <= (2 * floor).max(floor + 1_000);
        within(self.p50, floor.p50) && within(self.p95, floor.p95)
    }
}

/// Lets the load run for the warm-up and the measurement. `roots` are the servers' processes; `units` counts the
/// work done so far; `begin` is called when the warm-up is over.
pub async fn measure(
    roots: &[u32],
    length: Length,
    units: impl Fn() -> u64,
    begin: impl FnOnce(),
) -> io::Result<Measured> {
    sleep(length.warm_up).await;
    let mut clock = Clock::of(roots)?;
    begin();
    let (cpu, done, started) = (clock.read()?, units(), Instant::now());
    loop {
        sleep(Duration::from_millis(50)).await;
        let (spent, wall) = (clock.read()?.saturating_sub(cpu), started.elapsed());
        if (spent >= length.cpu && wall >= Duration::from_millis(500)) || wall >= length.longest {
            return Measured::new(units() - done, spent, wall);
        }
    }
}

impl Measured {
    pub fn new(units: u64, cpu: Duration, wall: Duration) -> io::Result<Self> {
        if units == 0 {
            return Err(io::Error::other("nothing arrived during the measurement"));
        }
        let count = units as f64;
        Ok(Self {
            units,
            cpu_seconds: cpu.as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            us_per_unit: cpu.as_secs_f64() * 1e6 / count,
            units_per_second: count / wall.as_secs_f64(),
            latency: None,
            latencies: Vec::new(),
        })
    }

    /// The same with how long each unit took.
    pub fn with_latencies(mut self, mut latencies: Vec<u32>) -> Self {
        self.latency = Latency::of(&mut latencies);
        Self { latencies, ..self }
    }

    /// Both as one.
    pub fn and(self, more: Self) -> io::Result<Self> {
        let time = |one: f64, other: f64| Duration::from_secs_f64(one + other);
        let (cpu, wall) = (time(self.cpu_seconds, more.cpu_seconds), time(self.wall_seconds, more.wall_seconds));
        let sum = Self::new(self.units + more.units, cpu, wall)?;
        Ok(sum.with_latencies([self.latencies, more.latencies].concat()))
    }
}

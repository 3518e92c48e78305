//! What time tells: whether a stranger sees by how long an answer takes who has an account, and whether somebody who guesses
//! sees how much of a secret is right.
//!
//! `cargo bench --bench timing`; with `QUICK=1` a tenth of it. Of two kinds of questions one is asked at a time, as chance
//! decides. The exit code is 1 if a promise of docs/security.md is broken.

#![expect(clippy::expect_used, reason = "a benchmark that cannot begin has nothing to measure")]

mod answers;
mod secrets;

use std::process::ExitCode;
use std::time::Duration;

/// Times of two kinds of questions, in nanoseconds.
struct Compared {
    what: &'static str,
    kinds: [&'static str; 2],
    times: [Vec<u64>; 2],
    promise: Promise,
}

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// The medians differ by less than a network hides.
    Median(Duration),
    /// There is no difference: Welch's t, of which more than 4.5 is hardly chance.
    NoDifference,
}

/// The most that t may be.
const MOST_T: f64 = 4.5;

/// How many times as little is done.
fn share() -> usize {
    if std::env::var_os("QUICK").is_some_and(|it| it != "0") { 10 } else { 1 }
}

fn main() -> ExitCode {
    let mut all = secrets::compare(1_000_000 / share());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    all.extend(runtime.block_on(answers::compare(share())));
    println!("| what is asked | of each kind | median | difference | t | promise |\n|---|---|---|---|---|---|");
    let broken = all.iter_mut().filter_map(|one| one.print().then_some(one.what)).collect::<Vec<_>>();
    broken.iter().for_each(|what| eprintln!("BROKEN: {what}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Compared {
    fn new(what: &'static str, kinds: [&'static str; 2], promise: Promise) -> Self {
        Self { what, kinds, times: [Vec::new(), Vec::new()], promise }
    }

    /// Prints a line, and says whether the promise is broken.
    fn print(&mut self) -> bool {
        self.times.iter_mut().for_each(|times| times.sort_unstable());
        let medians = self.times.each_ref().map(|times| times[times.len() / 2]);
        let difference = Duration::from_nanos(medians[0].abs_diff(medians[1]));
        let t = welch(&self.times);
        let (holds, promise) = match self.promise {
            Promise::Median(most) => (difference < most, format!("< {most:?}")),
            Promise::NoDifference => (t.abs() < MOST_T, format!("t < {MOST_T}")),
        };
        let [one, other] = medians.map(Duration::from_nanos);
        println!(
            "| {}: {}, {} | {}, {} | {one:.1?}, {other:.1?} | {difference:.1?} | {t:.2} | {promise}: {} |",
            self.what,
            self.kinds[0],
            self.kinds[1],
            self.times[0].len(),
            self.times[1].len(),
            if holds { "holds" } else { "BROKEN" },
        );
        !holds
    }
}

/// Welch's t of two sorted samples, without what the machine did in between: of all together the slowest tenth is left out.
fn welch(times: &[Vec<u64>; 2]) -> f64 {
    let mut all = times.concat();
    all.sort_unstable();
    let most = all[all.len() * 9 / 10];
    let [one, other] = times.each_ref().map(|times| {
        let kept: Vec<f64> = times.iter().take_while(|time| **time <= most).map(|time| *time as f64).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// Chance, the same in every run (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// 0 or 1.
    fn coin(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::from(self.0 & (1 << 20) != 0)
    }
}

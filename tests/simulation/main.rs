//! Three federated servers in simulated time: partitions, lost and silent connections, crashes, slow disks, wrong clocks,
//! and people who talk all the while. Everything is drawn from one seed, and what is acknowledged must not be lost.
//!
//! `SEEDS=1000` plays more stories than `make check`, `SEED=7` one of them. One that fails leaves its trace in
//! `target/simulation` and says how to play it again. `docs/reliability.md` has the figures of longer runs,
//! `docs/decisions/0014-everything-from-one-seed.md` says how a story comes to be the same each time.

#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod device;
mod finish;
mod hearing;
mod ledger;
mod network;
mod site;
mod story;
mod trace;
mod witness;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use comity::testing::panics;
use ledger::Figures;
use story::{Outcome, Props, play};
use trace::fingerprint;

/// Stories in `make check`; `SEEDS` asks for more.
const SEEDS: u64 = 24;

/// Plays one story in the thread that asks.
fn story(seed: u64, lying: bool, props: &Props) -> Outcome {
    let before = panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let mut outcome = runtime.block_on(play(seed, lying, props));
    drop(runtime);
    let here = panics() - before;
    if here > 0 {
        outcome.problems.push(format!("{here} tasks have panicked"));
    }
    outcome
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Leaves the trace of a story for whoever looks for the reason.
fn keep(seed: u64, outcome: &Outcome) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/simulation");
    std::fs::create_dir_all(&folder).expect("a folder for traces");
    let path = folder.join(format!("{seed}.txt"));
    std::fs::write(&path, format!("{}{}\n", outcome.trace, outcome.problems.join("\n"))).expect("a trace");
    path
}

/// Plays all seeds on as many threads as there are processors, and has `each` look at them.
fn all(seeds: std::ops::Range<u64>, each: impl Fn(u64, &Props) + Sync) {
    let props = Props::new();
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    each(seed, &props);
                }
            });
        }
    });
}

#[test]
fn nothing_that_was_acknowledged_is_lost_in_any_story() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let failed = Mutex::new(Vec::new());
    let figures = Mutex::new(Figures::default());
    let played = seeds.end - seeds.start;
    all(seeds, |seed, props| {
        let outcome = story(seed, false, props);
        figures.lock().unwrap_or_else(PoisonError::into_inner).add(outcome.figures);
        if number("SEED").is_some() || !outcome.problems.is_empty() {
            let path = keep(seed, &outcome);
            println!("seed {seed}: {}", path.display());
        }
        if !outcome.problems.is_empty() {
            let line = format!(
                "seed {seed}: SEED={seed} cargo test --test simulation nothing\n  {}",
                outcome.problems.join("\n  ")
            );
            println!("{line}");
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    println!("{played} stories: {:?}", figures.lock().unwrap_or_else(PoisonError::into_inner));
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{} stories failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_story_is_the_same_each_time() {
    all(1000..1000 + number("SEEDS").map_or(6, |seeds| seeds / 20), |seed, props| {
        let (one, other) = (story(seed, false, props), story(seed, false, props));
        if fingerprint(&one.trace) != fingerprint(&other.trace) {
            let pairs = one.trace.lines().zip(other.trace.lines());
            let (line, (here, there)) = pairs.enumerate().find(|(_, (here, there))| here != there).unwrap_or_default();
            let path = keep(seed + 1_000_000, &other);
            println!("{}", path.display());
            let path = keep(seed, &one);
            panic!("seed {seed}: two stories, from line {} of {}:\n{here}\n{there}", line + 1, path.display());
        }
    });
}

/// The check of the checks: servers that acknowledge what is not on disk are found out.
#[test]
fn a_server_that_acknowledges_too_early_is_found_out() {
    let found = Mutex::new(0);
    all(0..8, |seed, props| {
        let lost = |problem: &String| problem.contains("was acknowledged and is lost");
        if story(seed, true, props).problems.iter().any(lost) {
            *found.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    });
    let found = *found.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(found > 0, "disks that keep nothing are not noticed");
    println!("{found} of 8 stories");
}

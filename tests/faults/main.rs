//! Storage on a disk that fails: power loss at any moment, no space, errors of reading and writing, flipped bits.
//!
//! `docs/reliability.md` says what is tested, and has the figures of longer runs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod failing;
mod flips;
mod points;
mod random;
mod served;
#[path = "../site/mod.rs"]
mod site;
mod state;
mod trace;
mod workload;
mod writer;

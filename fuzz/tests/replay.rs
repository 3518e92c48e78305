//! Every seed of every target once, and what fuzzing has failed at before: the part of fuzzing that every check repeats.

use std::collections::BTreeSet;

use comity_fuzz::{TARGETS, Target};

/// A test for each target, so that a failure has a name.
macro_rules! replays {
    ($($name:ident),*) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*
    };
}

replays!(
    config,
    dialback,
    differential,
    dns,
    forms,
    gate,
    jid,
    login,
    muc,
    roster,
    sasl,
    stanza,
    storage,
    stream,
    tree
);

fn replay(name: &str) {
    let target = Target::called(name).unwrap_or_else(|| panic!("no target {name}"));
    let seeds = target.seeds();
    assert!(seeds.len() > 8, "{name} has {} seeds", seeds.len());
    for seed in &seeds {
        // A panic in it ends the test; the message tells of the input.
        (target.run)(seed);
    }
}

#[test]
fn every_target_is_replayed() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED.iter().copied().collect());
    assert_eq!(names.len(), TARGETS.len());
}

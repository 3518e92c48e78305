//! The driver: libFuzzer with the target that the environment variable `TARGET` names. With `UNPACK` it makes a corpus of the
//! seeds of all targets in that folder, one folder each, tells their names, and ends.

#![no_main]

use std::path::Path;
use std::process::exit;
use std::sync::LazyLock;

use comity_fuzz::{Target, seeds, tally};
use libfuzzer_sys::fuzzer_mutate;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    Target::called(&name).unwrap_or_else(|| panic!("there is no target {name:?}"))
});

fn prepare() {
    if let Some(folder) = std::env::var_os("UNPACK") {
        seeds::unpack(Path::new(&folder)).expect("a folder that can be written");
        exit(0);
    }
    LazyLock::force(&TARGET);
}

/// How often an input is made up anew in place of one that is not wanted; the last one is taken as it is.
const ATTEMPTS: usize = 16;

/// libFuzzer knows nothing of XML: most of what it makes of a document is none, and is not wanted where documents are compared.
fn mutate(data: &mut [u8], size: usize, most: usize) -> usize {
    let Some(wants) = TARGET.wants else { return fuzzer_mutate(data, size, most) };
    let before = data[..size].to_vec();
    for _ in 1..ATTEMPTS {
        let made = fuzzer_mutate(data, size, most);
        if wants(&data[..made]) {
            return made;
        }
        data[..size].copy_from_slice(&before);
    }
    fuzzer_mutate(data, size, most)
}

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    mutate(data, size, max_size)
});

libfuzzer_sys::fuzz_target!(init: prepare(), |bytes: &[u8]| {
    (TARGET.run)(bytes);
    if let Some(told) = tally::tried() {
        eprintln!("{told}");
    }
});

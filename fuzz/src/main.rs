//! The driver: libFuzzer with the target that the environment variable `TARGET` names. With `UNPACK` it makes a corpus of the
//! seeds of all targets in that folder, one folder each, tells their names, and ends.

#![no_main]

use std::path::Path;
use std::process::exit;
use std::sync::LazyLock;

use comity_fuzz::{Target, seeds};

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

libfuzzer_sys::fuzz_target!(init: prepare(), |bytes: &[u8]| (TARGET.run)(bytes));

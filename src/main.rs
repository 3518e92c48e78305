//! Arguments in, exit code out.

use std::process::ExitCode;

/// Gives back what a flood of connections took, which that of the system does not (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    comity::cli::run(std::env::args_os())
}

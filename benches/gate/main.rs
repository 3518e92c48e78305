//! What a message costs through the gate, and through a whole server's routing from one local
//! session to another: in nanoseconds, or in instructions.
//!
//! `cargo bench --bench gate` tells the time; each figure is the median of many rounds, which are
//! so short that hardly one of them is interrupted. `make budget` counts instructions and holds
//! them against budget.toml; for that, the program starts itself again under valgrind.

mod budget;
mod time;
mod workload;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments {
        [budget::ROLE, case] => budget::be_counted(&runtime, case)?,
        // Cargo adds an option of its own.
        ["budget", ..] => return budget::check(),
        _ => time::tell(&runtime)?,
    }
    Ok(ExitCode::SUCCESS)
}

//! Plays the wire transcripts of `tests/scenarios/` against whole servers in memory.
//!
//! A file is a topic; a line `== title` begins a scenario, which is a check of its own and has its
//! own servers. `src/testing/transcript.rs` says what the lines mean. As with every test, words on
//! the command line choose the scenarios whose name contains one of them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod tree;

use std::process::ExitCode;

/// A scenario: `topic: title`, and its lines.
struct Scenario {
    name: String,
    script: String,
}

fn main() -> ExitCode {
    let wanted = wanted(std::env::args().skip(1));
    let all: Vec<Scenario> =
        tree::files(&tree::root().join("tests/scenarios"), ".xmpp").iter().flat_map(read).collect();
    let chosen = |scenario: &&Scenario| wanted.is_empty() || wanted.iter().any(|word| scenario.name.contains(word));
    let chosen: Vec<&Scenario> = all.iter().filter(chosen).collect();
    println!("\nrunning {} scenarios", chosen.len());
    let failed: Vec<&str> = chosen.iter().filter(|it| !plays(it)).map(|it| it.name.as_str()).collect();
    println!("\nscenario result: {} passed; {} failed", chosen.len() - failed.len(), failed.len());
    for name in &failed {
        println!("    {name}");
    }
    if all.is_empty() || !failed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The words on the command line that are no options of the usual test runner.
fn wanted(arguments: impl Iterator<Item = String>) -> Vec<String> {
    const WITH_VALUE: [&str; 5] = ["--test-threads", "--format", "--color", "--logfile", "--skip"];
    let mut words = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            words.push(argument);
        }
    }
    words
}

fn read(file: &tree::File) -> Vec<Scenario> {
    let topic = file.path.trim_end_matches(".xmpp");
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            // What came before is left out line by line, so that a failure names the line of the file.
            let script = "\n".repeat(number + 1);
            scenarios.push(Scenario { name: format!("{topic}: {}", title.trim()), script });
        } else if let Some(scenario) = scenarios.last_mut() {
            scenario.script.push_str(line);
            scenario.script.push('\n');
        }
    }
    scenarios
}

/// Plays a scenario in a thread of its own, in simulated time.
fn plays(scenario: &Scenario) -> bool {
    let script = scenario.script.clone();
    let play = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.map(|runtime| runtime.block_on(comity::testing::run(&script))).is_ok()
    };
    let passed = std::thread::Builder::new().name(scenario.name.clone()).spawn(play).map(std::thread::JoinHandle::join);
    let passed = matches!(passed, Ok(Ok(true)));
    println!("scenario {} ... {}", scenario.name, if passed { "ok" } else { "FAILED" });
    passed
}

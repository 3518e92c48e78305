//! The only place that prints: results to standard output, problems to standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::telemetry::{harmless, is_harmful};

/// How facts are printed.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Rendering {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// It did not work.
    Failed(String),
    /// It did not work, and what was printed says so.
    Told,
}

/// Where a command prints.
pub struct Output<'a> {
    results: &'a mut dyn Write,
    problems: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Prints results and problems to two places.
    pub fn new(results: &'a mut dyn Write, problems: &'a mut dyn Write) -> Self {
        Self { results, problems }
    }

    /// A line of text.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.results, "{}", printable(&text.to_string())).map_err(|error| broken(&error))
    }

    /// Facts: as one JSON value, or as the text that `human` makes of them.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn facts<T: Serialize>(
        &mut self,
        rendering: Rendering,
        facts: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = if rendering.json {
            printable_json(&serde_json::to_string_pretty(facts).map_err(|error| Failure::Failed(error.to_string()))?)
        } else {
            human(facts)
        };
        let text = text.trim_end();
        if text.is_empty() { Ok(()) } else { self.line(text) }
    }

    /// Something to know that is no result: a question, a warning.
    pub fn remark(&mut self, text: impl Display) {
        // Remarks that nobody reads are no reason to stop.
        let _ = writeln!(self.problems, "{}", printable(&text.to_string()));
    }

    /// Prints why a command failed and says how the process ends.
    pub fn conclude(&mut self, done: Result<(), Failure>) -> ExitCode {
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Told) => ExitCode::from(1),
            Err(Failure::Failed(reason)) => {
                self.remark(format_args!("comity: {reason}"));
                ExitCode::from(1)
            }
            Err(Failure::Usage(reason)) => {
                self.remark(format_args!("comity: {reason}"));
                ExitCode::from(2)
            }
        }
    }
}

/// Lines as they are, and nothing that a terminal obeys: some of the words are those of strangers.
fn printable(text: &str) -> String {
    let mut lines = text.split('\n').map(harmless);
    let first = lines.next().unwrap_or_default().into_owned();
    lines.fold(first, |text, line| text + "\n" + &line)
}

/// The same in JSON, which says those characters in its own way (RFC 8259); all of them are in texts.
fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_harmful(character) {
            let mut units = [0; 2];
            out.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    out
}

/// A reader that left early (`comity ... | head`) is not told about it.
fn broken(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::Told } else { Failure::Failed(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(facts: &[&str], json: bool) -> String {
        let (mut results, mut problems) = (Vec::new(), Vec::new());
        let mut output = Output::new(&mut results, &mut problems);
        output.facts(Rendering { json }, &facts, |facts| facts.join("\n")).unwrap();
        output.remark(facts.join("\n"));
        assert!(!problems.contains(&0x1b));
        String::from_utf8(results).unwrap()
    }

    #[test]
    fn a_terminal_obeys_nobody() {
        let facts = ["\u{1b}[2J", "\u{9b}0m\u{202e}"];
        assert_eq!(printed(&facts, false), "\\u{1b}[2J\n\\u{9b}0m\\u{202e}\n");
        let json = printed(&facts, true);
        assert!(json.is_ascii(), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), facts);
    }
}

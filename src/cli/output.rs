//! The only place that prints: results to standard output, problems to standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

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
        writeln!(self.results, "{text}").map_err(|error| broken(&error))
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
            serde_json::to_string_pretty(facts).map_err(|error| Failure::Failed(error.to_string()))?
        } else {
            human(facts)
        };
        let text = text.trim_end();
        if text.is_empty() { Ok(()) } else { self.line(text) }
    }

    /// Something to know that is no result: a question, a warning.
    pub fn remark(&mut self, text: impl Display) {
        // Remarks that nobody reads are no reason to stop.
        let _ = writeln!(self.problems, "{text}");
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

/// A reader that left early (`comity ... | head`) is not told about it.
fn broken(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::Told } else { Failure::Failed(error.to_string()) }
}

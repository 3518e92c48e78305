//! `comity config explain`: what every setting is, and where it comes from.

use std::fmt::Write;

use clap::{Args, Subcommand};

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::config::{Config, Explained, explain};

/// Look at the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every setting with its meaning, its default, its value and where that comes from.
    #[command(after_help = "Examples: comity config explain; comity config explain listen; \
        comity config explain limits.roster_items")]
    Explain {
        /// Only this key, or the keys of this section.
        key: Option<String>,
        #[command(flatten)]
        rendering: Rendering,
    },
}

impl ConfigCommand {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let What::Explain { key, rendering } = self.what;
        let file = place.file()?;
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", file.display())))?;
        let config = Config::parse(&text, &file).map_err(|error| Failure::Usage(error.to_string()))?;
        let explained = explain(&config, &text, key.as_deref()).map_err(|near| {
            let key = key.unwrap_or_default();
            let hint = near
                .map_or_else(|| "comity config explain lists all".to_owned(), |near| format!("did you mean {near}?"));
            Failure::Usage(format!("there is no key {key}; {hint}"))
        })?;
        let file = file.display().to_string();
        output.facts(rendering, &explained, |explained| {
            explained.iter().fold(String::new(), |text, one| text + &human(one, &file))
        })
    }
}

fn human(explained: &Explained, file: &str) -> String {
    let mut text = String::new();
    let value = explained.value.as_deref().unwrap_or("not set");
    let source = explained.line.map_or_else(|| "default".to_owned(), |line| format!("{file}:{line}"));
    let _ = writeln!(text, "{} = {value}  ({source})", explained.key);
    if let (Some(_), Some(default)) = (explained.line, &explained.default) {
        let _ = writeln!(text, "    default: {default}");
    }
    let _ = writeln!(text, "    {}\n", explained.meaning);
    text
}

//! `comity demo`: two organisations on this machine, each with a server of its own.

mod client;
mod conversation;
mod stage;
mod zone;

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::{Failure, Output};
use crate::random;
use crate::telemetry::{self, Filter, Format};

use stage::Stage;

/// Show two federated domains on this machine.
///
/// Starts two servers under `.localhost`, each with its own listeners, storage and certificate from
/// a throw-away authority, and a DNS server on a loopback port through which they find each other.
/// Two people have a short conversation across the domains; then everything stays up for your own
/// clients until you press Ctrl-C. Nothing leaves this machine, and nothing is kept.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// End after the conversation: exit code 0 only if every step was seen on the receiving side.
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self, output: &mut Output<'_>) -> Result<(), Failure> {
        telemetry::init(&Filter::warnings(), Format::Text).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
        let directory = Directory::new()?;
        runtime.block_on(self.play(&directory, output))
    }

    async fn play(self, directory: &Directory, output: &mut Output<'_>) -> Result<(), Failure> {
        let stage = Stage::build(&directory.0).await?;
        stage.introduce(output)?;
        let told = conversation::play(&stage, output).await;
        if told.is_ok() && !self.once {
            stage.invite(output)?;
            tokio::signal::ctrl_c().await.map_err(failed)?;
            output.line("")?;
        }
        let stopped = stage.stop().await;
        told.and(stopped)
    }
}

/// A directory that goes with the demonstration.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let name = format!("comity-demo-{}", random::token());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Temporary files that stay behind harm nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

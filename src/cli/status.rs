//! `comity status`: how the running server is.

use clap::Args;

use crate::admin;
use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::clock::Clock;
use crate::hooks::Nothing;

/// Show how the running server is. The exit code is 1 when none runs.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    rendering: Rendering,
}

impl Status {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        let status = wait_for(async {
            let Some(mut client) = reach::running(&config).await? else {
                let data_dir = config.data_dir.display();
                return Err(Failure::Failed(format!("no server runs with {data_dir}; start one with: comity serve")));
            };
            client.call(&admin::STATUS, Nothing {}).await.map_err(reach::failure)
        })?;
        output.facts(self.rendering, &status, human)
    }
}

fn human(status: &admin::Status) -> String {
    let seconds = Clock::system().now().since(status.started).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!(
        "Comity {} has run for {days} d {hours} h {minutes} min, since {}.\n\
         domains            {}\n\
         clients            {}\n\
         links to servers   {}\n\
         stanzas in queues  {}",
        status.version,
        status.started,
        status.domains.join(", "),
        status.clients,
        status.links,
        status.queued
    )
}

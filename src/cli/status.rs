//! `comity status`: how the running server is.

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::hooks::operation::Nothing;
use crate::server::status::{self, STATUS};

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
            let mut client = reach::server(&config).await?;
            client.call(&STATUS, Nothing {}).await.map_err(reach::failure)
        })?;
        output.facts(self.rendering, &status, human)
    }
}

fn human(status: &status::Status) -> String {
    let mut text = format!(
        "Comity {} is running.\n\
         domains                    {}\n\
         client sessions            {}\n\
         accounts in memory         {}\n\
         connections                {}\n\
         of them not authenticated  {}\n\
         panics                     {}",
        status.version,
        status.domains.join(", "),
        status.sessions,
        status.loaded_accounts,
        status.connections,
        status.unauthenticated,
        status.panics
    );
    for component in &status.components {
        let standing = match (component.connected, component.address) {
            (Some(since), Some(address)) => format!("connected from {address} since {since}"),
            (Some(since), None) => format!("connected since {since}"),
            (None, _) => "not connected".to_owned(),
        };
        text.push_str(&format!("\ncomponent                  {} {standing}", component.name));
    }
    text
}

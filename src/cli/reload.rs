//! `comity reload`: the running server reads its configuration again.

use std::fmt::Write;

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::hooks::operation::Nothing;
use crate::server::{RELOAD, Reloaded};

/// Have the running server read its configuration and certificates again.
///
/// Everything is read and checked first; when something is wrong, nothing changes. No stream ends. What
/// only counts after a restart is named. The same happens on SIGHUP, with the outcome in the log. The
/// exit code is 2 when the configuration is to blame, 1 when no server runs.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    rendering: Rendering,
}

impl Reload {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        let reloaded = wait_for(async {
            let mut client = reach::server(&config).await?;
            client.call(&RELOAD, Nothing {}).await.map_err(reach::failure)
        })?;
        output.facts(self.rendering, &reloaded, human)
    }
}

fn human(reloaded: &Reloaded) -> String {
    let Reloaded { changed, certificates, restart, warnings } = reloaded;
    let mut text = String::from("The configuration was read again.\n");
    let lists = [("Changed", changed), ("New certificates", certificates), ("These need a restart", restart)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let _ = writeln!(text, "{name}: {}", list.join(", "));
    }
    for warning in warnings {
        let _ = writeln!(text, "Warning: {warning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::human;
    use crate::server::Reloaded;

    #[test]
    fn what_is_said() {
        assert_eq!(human(&Reloaded::default()), "The configuration was read again.\n");
        let all = Reloaded {
            changed: vec!["admins".to_owned(), "limits.roster_items".to_owned()],
            certificates: vec!["a.example".to_owned()],
            restart: vec!["listen.c2s".to_owned()],
            warnings: vec!["a.example: the certificate has expired".to_owned()],
        };
        assert_eq!(
            human(&all),
            "The configuration was read again.\nChanged: admins, limits.roster_items\nNew certificates: a.example\n\
             These need a restart: listen.c2s\nWarning: a.example: the certificate has expired\n"
        );
    }
}

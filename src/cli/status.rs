//! `comity status`: how the running server is.

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::hooks::operation::Nothing;
use crate::routing::Class;
use crate::server::memory::{MEMORY, Memory};
use crate::server::status::{self, STATUS};

/// Show how the running server is. The exit code is 1 when none runs.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Show instead what it holds in memory, and for whom: counted, not allocated.
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    rendering: Rendering,
}

impl Status {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        if self.memory {
            let memory = wait_for(async {
                let mut client = reach::server(&config).await?;
                client.call(&MEMORY, Nothing {}).await.map_err(reach::failure)
            })?;
            return output.facts(self.rendering, &memory, holdings);
        }
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

/// What is held for whom, in text.
fn holdings(memory: &Memory) -> String {
    let Memory { resident, strangers, clients, servers, components, rooms } = memory;
    let resident = resident.map_or_else(|| "not known".to_owned(), size);
    let mut text = format!(
        "the whole process          {resident}\n\
         not authenticated          {} connections, which may take {} of {}\n\
         accounts in memory         {} with a session, {} without\n",
        strangers.connections,
        size(strangers.allowed),
        size(strangers.bound),
        clients.online,
        clients.offline,
    );
    for (name, Class { sessions, bytes, largest }) in
        [("active", &clients.active), ("inactive", &clients.inactive), ("to be resumed", &clients.detached)]
    {
        text.push_str(&format!(
            "sessions, {name:<16} {sessions}, {} wait, {} of {} at most for one\n",
            size(*bytes),
            size(*largest),
            size(clients.bound)
        ));
    }
    text.push_str(&format!(
        "queues to other servers    {}, {} of {}\n\
         budgets of other domains   {}, {}\n",
        servers.queues,
        size(servers.queued),
        size(servers.bound),
        servers.budgets,
        size(servers.budget_bytes)
    ));
    for it in &servers.largest {
        text.push_str(&format!(
            "  {}: {} streams, {} stanzas of {} wait, budget {}\n",
            it.domain,
            it.streams,
            it.stanzas,
            size(it.queued),
            size(it.budget)
        ));
    }
    text.push_str(&format!("components                 {} wait\n", size(*components)));
    for it in rooms {
        text.push_str(&format!(
            "rooms at {}: {} in memory, {} occupants, {} affiliations, history {}, {} effects wait\n",
            it.domain,
            it.rooms,
            it.occupants,
            it.affiliations,
            size(it.history),
            it.waiting
        ));
    }
    text
}

/// Octets as people read them.
fn size(bytes: impl TryInto<u64>) -> String {
    let bytes = bytes.try_into().unwrap_or(u64::MAX);
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes.div_ceil(1024)) }
}

//! `comity peers`: how things are with other servers.

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::federation::{Peer, Standing};
use crate::hooks::operation::Nothing;
use crate::server::PEERS;

/// Show the other servers that this one has had to do with since it was started: what waits for them, and how the last
/// attempts to reach them ended.
#[derive(Debug, Args)]
pub(super) struct Peers {
    #[command(flatten)]
    rendering: Rendering,
}

impl Peers {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        let peers = wait_for(async {
            let mut client = reach::server(&config).await?;
            client.call(&PEERS, Nothing {}).await.map_err(reach::failure)
        })?;
        output.facts(self.rendering, &peers, |peers| human(peers))
    }
}

fn human(peers: &[Peer]) -> String {
    if peers.is_empty() {
        return "Nothing has been sent to another server since this one was started.".to_owned();
    }
    peers.iter().map(one).collect()
}

fn one(peer: &Peer) -> String {
    let state = match peer.state {
        Standing::Idle => "no stream",
        Standing::Connecting => "connecting",
        Standing::Connected => "connected",
        Standing::Unreachable => "not reached",
    };
    let mut text = format!("{} (from {}): {state} since {}\n", peer.remote, peer.local, peer.since);
    if peer.stanzas > 0 {
        text.push_str(&format!("  waiting       {} stanzas, {} bytes\n", peer.stanzas, peer.bytes));
    }
    if peer.failures > 0 {
        text.push_str(&format!("  failed        {} times\n", peer.failures));
    }
    if let Some(next) = peer.next_attempt {
        text.push_str(&format!("  next attempt  {next}\n"));
    }
    for event in &peer.history {
        text.push_str(&format!("  {}  {}\n", event.time, event.what));
    }
    text
}

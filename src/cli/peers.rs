//! `comity peers`: how things are with other servers.

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::federation::{Direction, Peer, Standing, Stream};
use crate::hooks::operation::Nothing;
use crate::server::{PEERS, STREAMS};

/// Show the other servers that this one has had to do with since it was started: what waits for them, and how the last
/// attempts to reach them ended.
#[derive(Debug, Args)]
pub(super) struct Peers {
    /// Show the streams that are open instead: for which domains, how they were proven, TLS, the certificate, bytes.
    #[arg(long)]
    streams: bool,
    #[command(flatten)]
    rendering: Rendering,
}

impl Peers {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        if self.streams {
            let streams = wait_for(async {
                let mut client = reach::server(&config).await?;
                client.call(&STREAMS, Nothing {}).await.map_err(reach::failure)
            })?;
            return output.facts(self.rendering, &streams, |streams| all_streams(streams));
        }
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

fn all_streams(streams: &[Stream]) -> String {
    if streams.is_empty() {
        return "There is no stream with another server.".to_owned();
    }
    streams.iter().map(stream).collect()
}

fn stream(stream: &Stream) -> String {
    let direction = match stream.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let address = stream.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let mut text = String::new();
    for pair in &stream.pairs {
        text.push_str(&format!("{direction} {} (here {}), {}\n", pair.remote, pair.local, pair.proof));
    }
    let both_ways = if stream.both_ways { ", both ways" } else { "" };
    text.push_str(&format!("  {address}, since {}, {} bytes{both_ways}\n", stream.since, stream.bytes));
    let tls = stream.tls.as_deref().unwrap_or("no TLS");
    text.push_str(&format!("  {tls}, certificate {}\n", stream.certificate.as_deref().unwrap_or("none")));
    if stream.held_back > 0 {
        text.push_str(&format!("  not read for {} ms, because it sends too much\n", stream.held_back));
    }
    text
}

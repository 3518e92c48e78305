//! The benchmark of Comity: starts servers, loads them all in the same way, and compares what they cost, or what they
//! lose when they are killed.

mod abroad;
mod acks;
mod archive;
mod archived;
mod arrive;
mod attack;
mod attacker;
mod bench;
mod chat;
mod client;
mod count;
mod counted;
mod crash;
mod crowd;
mod dns;
mod domains;
mod fast;
mod floor;
mod group_commit;
mod growth;
mod growth_tables;
mod hall;
mod hang;
mod hostile;
mod ledger;
mod login;
mod meter;
mod options;
mod plot;
mod population;
mod process;
mod raid;
mod report;
mod rooms;
mod scram;
mod servers;
mod targets;
mod tls;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::What;
use options::Options;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comity-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    raise_descriptors();
    if arguments.next_if(|it| it == "floor").is_some() {
        let mut next = || arguments.next().ok_or_else(|| io::Error::other("floor PORT CHAIN KEY ARCHIVE"));
        let port = next()?.parse().map_err(io::Error::other)?;
        let certificate = tls::Certificate { chain: PathBuf::from(next()?), key: PathBuf::from(next()?) };
        return floor::run(port, &certificate, PathBuf::from(next()?));
    }
    if arguments.next_if(|it| it == hostile::ROLE).is_some() {
        return hostile::attack(&arguments.collect::<Vec<_>>());
    }
    if arguments.next_if(|it| it == raid::ROLE).is_some() {
        return raid::run(&arguments.collect::<Vec<_>>());
    }
    let what = arguments.peek().and_then(|word| What::named(word));
    let what = what.inspect(|_| _ = arguments.next()).unwrap_or(What::Everything);
    let Some(options) = Options::parse(arguments)? else { return Ok(()) };
    bench::run(&options, what)
}

/// As many descriptors as the machine allows, for this process and the servers it starts.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is not allowed, the numbers stay what they are.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

//! The command line: one file, one command.
//!
//! Commands print through [`Output`] and end with 0 (fine), 1 (the operation failed) or 2 (wrong
//! usage or configuration).

mod account;
mod check;
mod config;
mod demo;
mod init;
mod interop;
mod output;
mod password;
mod peers;
mod place;
mod reach;
mod reload;
mod serve;
mod status;

pub use output::{Failure, Output, Rendering};
pub use place::Place;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Comity, a federated presence and instant-messaging server (XMPP).
#[derive(Debug, Parser)]
#[command(name = "comity", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "To start: comity init DOMAIN, then do what it prints. \
    Exit codes: 0 fine, 1 the operation failed, 2 wrong usage or configuration.")]
struct CommandLine {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Serve(serve::Serve),
    Account(account::Account),
    Check(check::Check),
    Config(config::ConfigCommand),
    Status(status::Status),
    Peers(peers::Peers),
    Interop(interop::Interop),
    Reload(reload::Reload),
}

impl Command {
    fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Demo(demo) => demo.run(output),
            Self::Init(init) => init.run(place, output),
            Self::Serve(serve) => serve.run(place, output),
            Self::Account(account) => account.run(place, output),
            Self::Check(check) => check.run(place, output),
            Self::Config(config) => config.run(place, output),
            Self::Status(status) => status.run(place, output),
            Self::Peers(peers) => peers.run(place, output),
            Self::Interop(interop) => interop.run(place, output),
            Self::Reload(reload) => reload.run(place, output),
        }
    }
}

/// Does what the arguments (the program's name first) say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (mut results, mut problems) = (io::stdout(), io::stderr());
    let mut output = Output::new(&mut results, &mut problems);
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => {
            let done = line.command.run(&line.place, &mut output);
            output.conclude(done)
        }
        Err(error) => {
            // Help and version are asked for, and go to standard output with 0; the rest is usage, 2.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

/// Runs a command that waits for the network or the storage.
fn wait_for<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?.block_on(future)
}

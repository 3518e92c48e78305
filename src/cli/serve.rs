//! `comity serve`: the server itself.

use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin;
use crate::cli::output::{Failure, Output};
use crate::cli::place::Place;
use crate::cli::reach;
use crate::clock::Clock;
use crate::config::Config;
use crate::net::System;
use crate::panics;
use crate::routing::operations::Then;
use crate::server::{self, Bound, Made, Node, Parts, Reload, Server};
use crate::storage::{Options, Storage};
use crate::telemetry;

/// Descriptors that are kept for the storage, the DNS and an operator who looks.
const RESERVED_DESCRIPTORS: usize = 256;

/// Run the server.
///
/// Prints one line, `ready`, once every listener accepts connections. SIGTERM and SIGINT stop it in
/// order; SIGHUP does what `comity reload` does: configuration and certificates are read again without
/// disturbing anybody.
#[derive(Debug, Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let file = place.file()?;
        let config = Config::load(&file).map_err(|error| Failure::Usage(error.to_string()))?;
        let log = telemetry::init(&config.log.level, config.log.format);
        let log = log.map_err(|error| Failure::Usage(error.to_string()))?;
        panics::watch();
        let reload = Reload::new(file, config.clone(), log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
        let then = runtime.block_on(serve(&config, &reload, output))?;
        drop(runtime);
        match then {
            Then::Nothing => Ok(()),
            Then::Start => start_again(),
        }
    }
}

/// Starts this program once more in place of this process, as an administrator asked: a new version of it, if there is
/// one by now.
fn start_again() -> Result<(), Failure> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().ok_or_else(|| Failure::Failed("this program has no name".to_owned()))?;
    // Whatever was open here is closed by it.
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(&program).args(arguments));
    Err(Failure::Failed(format!("{}: {error}", program.display())))
}

/// Runs until it is told to end, and says what is to come then.
async fn serve(config: &Config, reload: &Arc<Reload>, output: &mut Output<'_>) -> Result<Then, Failure> {
    let node = node(config, reload)?;
    let bound = Bound::new(config).map_err(failed)?;
    let admin = admin::Listener::bind(&config.data_dir).map_err(failed)?;
    let mut signals = Signals::new().map_err(failed)?;
    let server = Server::start(Arc::clone(&node), bound).await;
    let admin = tokio::spawn(admin::serve(admin, Arc::clone(&node.operations)));
    output.line("ready")?;
    notify(&[sd_notify::NotifyState::Ready]);
    let ended = loop {
        match signals.next(&node).await {
            Wake::Stop(then) => break Ok(then),
            Wake::Reload => {
                // What came of it is in the log.
                let _ = reload.run().await;
            }
            Wake::Lost(reason) => break Err(Failure::Failed(format!("storage failed: {reason}"))),
        }
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    admin.abort();
    let stopped = server.stop().await;
    let then = ended?;
    stopped.map_err(failed)?;
    Ok(then)
}

fn node(config: &Config, reload: &Arc<Reload>) -> Result<Arc<Node>, Failure> {
    let made = Made::of(config, None).map_err(reach::refused)?;
    let domains: Vec<_> = config.domains.iter().map(|domain| domain.name.to_string()).collect();
    let mut warnings = server::warnings(&domains, &made.identities, SystemTime::now());
    warnings.extend(server::service_warnings(config, &made.identities));
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let storage = Storage::open(&config.data_dir, Options::default());
    let storage = storage.map_err(|error| Failure::Failed(format!("{}: {error}", config.data_dir.display())))?;
    let parts = Parts {
        token_secret: server::token_secret(&config.data_dir).map_err(failed)?,
        storage,
        clock: Clock::system(),
        made,
        reload: Some(Arc::clone(reload)),
        network: Arc::new(System),
        connections: descriptors().saturating_sub(RESERVED_DESCRIPTORS),
    };
    Node::new(config, parts).map_err(failed)
}

/// Raises the limit of descriptors as far as it goes.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    allowed.and_then(|allowed| usize::try_from(allowed).ok()).unwrap_or(usize::MAX)
}

/// Tells systemd, if it is there.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Whatever may end the wait of a running server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Wake {
    Stop(Then),
    Reload,
    Lost(crate::storage::Lost),
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self, node: &Node) -> Wake {
        tokio::select! {
            _ = self.terminate.recv() => Wake::Stop(Then::Nothing),
            _ = self.interrupt.recv() => Wake::Stop(Then::Nothing),
            then = node.ending.wait() => Wake::Stop(then),
            _ = self.hangup.recv() => Wake::Reload,
            lost = node.storage.lost() => Wake::Lost(lost),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

//! What strangers cost: 50,000 half-open attempts from several processes and addresses against the
//! real server, honest logins meanwhile, memory and descriptors measured from outside.
//!
//! `cargo bench --bench flood`; with `QUICK=1` a tenth of it. The program starts itself again as
//! the source of the flood. The exit code is 1 if a promise of docs/performance.md is broken.

mod client;
mod report;
mod server;
mod source;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::Target;
use report::{Flood, KindCost, Report};
use server::Server;
use source::{Kind, Source};

/// What one connection may cost.
const EACH: usize = 32 * 1024;
/// What all together may cost.
const TOGETHER: usize = 256 * 1024 * 1024;
/// Connections of a kind that are there before those that are measured.
const FIRST: usize = 50;
/// From where honest clients come.
const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));

/// How much is done.
struct Scale {
    attempts: usize,
    sources: u8,
    held_per_kind: usize,
    /// Seconds that a connection has to authenticate; nothing is the server's default.
    deadline: Option<u64>,
}

impl Scale {
    fn chosen() -> Self {
        if std::env::var_os("QUICK").is_some_and(|it| it != "0") {
            Self { attempts: 12_000, sources: 3, held_per_kind: 480, deadline: Some(3) }
        } else {
            Self { attempts: 50_000, sources: 8, held_per_kind: 2000, deadline: None }
        }
    }
}

fn main() -> ExitCode {
    source::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|it| it == source::ROLE) {
        return match runtime.block_on(source::run(&arguments)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    match runtime.block_on(measure(&Scale::chosen())) {
        Ok(report) => {
            report.print();
            let broken = report.broken();
            broken.iter().for_each(|promise| eprintln!("BROKEN: {promise}"));
            if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("flood: {error}");
    ExitCode::FAILURE
}

async fn measure(scale: &Scale) -> Result<Report, String> {
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        eprintln!("holding {} connections: {}", scale.held_per_kind, kind.name());
        kinds.push(hold(kind, scale.held_per_kind).await?);
    }
    eprintln!("{} attempts from {} processes", scale.attempts, scale.sources);
    let flood = flood(scale).await?;
    Ok(Report { kinds, flood })
}

/// What a connection of one kind costs while it is held.
async fn hold(kind: Kind, count: usize) -> Result<KindCost, String> {
    let server = Server::start(None)?;
    let target = server.target.clone();
    for _ in 0..3 {
        client::log_in(&target, HONEST).await?;
    }
    // What the first of a kind costs once for all is not what each costs.
    let mut sources = vec![Source::start(Some(kind), FIRST, 5, &target)?];
    sources[0].line("ready")?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (idle, idle_descriptors) = (server.memory()?, server.descriptors()?);
    // Several addresses, so that the share of one does not end it early.
    for number in 1..=4 {
        sources.push(Source::start(Some(kind), count / 4, number, &target)?);
    }
    for source in sources.iter_mut().skip(1) {
        source.line("ready")?;
    }
    // What was sent last may not have been taken yet.
    let mut held = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held = server.descriptors()?.saturating_sub(idle_descriptors);
        if held >= count {
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let memory = server.memory()?.saturating_sub(idle);
    client::log_in(&target, HONEST).await?;
    Ok(KindCost { kind, held, memory })
}

/// Honest logins from one address, again and again until `over`.
async fn honest(target: Target, from: IpAddr, over: Arc<AtomicBool>) -> (Vec<Duration>, Vec<String>) {
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        match client::log_in(&target, from).await {
            Ok(()) => times.push(started.elapsed()),
            Err(error) => failures.push(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (times, failures)
}

async fn flood(scale: &Scale) -> Result<Flood, String> {
    let server = Server::start(scale.deadline)?;
    let target = server.target.clone();
    for _ in 0..5 {
        client::log_in(&target, HONEST).await?;
    }
    let (idle, idle_descriptors) = (server.memory()?, server.descriptors()?);
    let over = Arc::new(AtomicBool::new(false));
    let elsewhere = tokio::spawn(honest(target.clone(), HONEST, Arc::clone(&over)));
    let beside = tokio::spawn(honest(target.clone(), source::address(1), Arc::clone(&over)));
    let watch = tokio::task::spawn_blocking({
        let (server, over) = (server.watcher(), Arc::clone(&over));
        move || server.peaks(&over)
    });

    let started = Instant::now();
    let mut sources = Vec::new();
    for last in 1..=scale.sources {
        sources.push(Source::start(None, scale.attempts / usize::from(scale.sources), last, &target)?);
    }
    for source in &mut sources {
        source.line("ready")?;
    }
    let sending = started.elapsed();
    let mut counts = source::Counts::default();
    for source in &mut sources {
        counts.add(&source.line("over")?);
    }
    let lasted = started.elapsed();
    over.store(true, Ordering::Relaxed);
    drop(sources);
    let peaks = watch.await.map_err(|error| error.to_string())??;
    let elsewhere = elsewhere.await.map_err(|error| error.to_string())?;
    let beside = beside.await.map_err(|error| error.to_string())?;
    let settled = server.settle(idle + peaks.memory.saturating_sub(idle) / 4).await?;
    let flood = Flood {
        counts,
        sending,
        lasted,
        idle,
        peak: peaks.memory.saturating_sub(idle),
        after: server.memory()?.saturating_sub(idle),
        settled,
        idle_descriptors,
        peak_descriptors: peaks.descriptors,
        descriptors_after: server.descriptors()?,
        descriptors_allowed: server.descriptors_allowed()?,
        elsewhere,
        beside,
    };
    Ok(flood)
}

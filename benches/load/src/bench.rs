//! The rounds: every scenario against every server in turn, again and again.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{LocalSet, spawn_local};

use crate::chat::{self, Pace, Pair};
use crate::client::{Begin, Kit, Session, Site};
use crate::crowd::{Crowd, REST};
use crate::growth;
use crate::login;
use crate::meter::{Latency, Measured};
use crate::options::Options;
use crate::population::{Population, befriend};
use crate::process;
use crate::report::{Report, Value};
use crate::servers::{Make, Server};
use crate::tls::{self, Authority, Tickets};

/// Pairs that chat.
const PAIRS: usize = 100;

/// How many accounts the logins go round.
const LOGINS: usize = 2 * PAIRS;

struct Bench<'a> {
    options: &'a Options,
    report: Report,
    servers: Vec<Server>,
    /// A second server of each make, for traffic between servers.
    far: Vec<Server>,
    population: Population,
    kit: Kit,
    /// For floors: every group of connections has its own number.
    number: Rc<Cell<u64>>,
}

/// Runs the whole benchmark.
pub fn run(options: &Options) -> io::Result<()> {
    let directory = match &options.keep {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("comity-load-{}", std::process::id())),
    };
    fs::create_dir_all(&directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = everything(options, &directory) => done,
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        }
    });
    if options.keep.is_none() {
        fs::remove_dir_all(&directory)?;
    }
    done
}

async fn everything(options: &Options, directory: &Path) -> io::Result<()> {
    let authority = Authority::new(directory)?;
    let (ring, broadcasters) = if options.quick { (200, vec![200]) } else { (2_000, vec![200, 2_000]) };
    let dns = crate::servers::free_ports(1)?[0];
    let population = Population { chatting: 2 * PAIRS, ring, reach: 9, broadcasters, dns };
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let (mut servers, mut far) = (Vec::new(), Vec::new());
    for make in &options.servers {
        let started = Instant::now();
        let domain = format!("{}.bench", make.name());
        let mut server = Server::prepare(*make, directory, &domain, &authority, &population)?;
        if *make == Make::Comity && (options.wants("idle") || options.wants("presence") || options.wants("storm")) {
            server.start()?;
            befriend(&server, &population, &kit).await.map_err(|error| with_log(&server, &error))?;
            server.stop()?;
        }
        servers.push(server);
        if *make != Make::Floor && options.wants("s2s") {
            let few = Population { ring: 0, broadcasters: Vec::new(), ..population.clone() };
            far.push(Server::prepare(*make, directory, &format!("far-{domain}"), &authority, &few)?);
        }
        eprintln!("{}: prepared in {:.1} s", make.name(), started.elapsed().as_secs_f64());
    }
    let known = servers.iter().chain(&far).map(|server| (server.site.domain.clone(), server.s2s.port()));
    let dns = spawn_local(crate::dns::serve(dns, known.collect()));
    let report = Report::new();
    let mut bench = Bench { options, report, servers, far, population, kit, number: Rc::default() };
    for round in 1..=options.rounds {
        bench.report.begin(round);
        bench.round().await?;
    }
    if options.wants("growth") && (!options.quick || options.only.is_some()) {
        growth::run(options, directory, &authority, &bench.kit, &mut bench.report).await?;
    }
    dns.abort();
    bench.report.finish(options)
}

/// The error with the end of the server's log.
pub fn with_log(server: &Server, error: &io::Error) -> io::Error {
    let log = server.log().unwrap_or_default();
    io::Error::other(format!("{}: {error}\n--- its log ends with:\n{log}", server.make.name()))
}

impl Bench<'_> {
    async fn round(&mut self) -> io::Result<()> {
        if self.options.only.as_ref().is_some_and(|only| only.iter().all(|it| it == "growth")) {
            return Ok(());
        }
        for server in &mut self.servers {
            server.start()?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if self.options.wants("idle") || self.options.wants("presence") {
            self.crowd().await?;
        }
        if self.options.wants("chat") || self.options.wants("rates") {
            self.chat().await?;
        }
        if self.options.wants("login") {
            self.login().await?;
        }
        if self.options.wants("storm") {
            self.storm().await?;
        }
        if self.options.wants("s2s") {
            self.between_servers().await?;
        }
        for server in &mut self.servers {
            server.stop()?;
        }
        Ok(())
    }

    fn note(&mut self, scenario: &str, make: Make, done: io::Result<Measured>) -> io::Result<()> {
        match done {
            Ok(measured) => self.report.add(scenario, make, Value::Work(measured)),
            Err(error) => {
                let server = self.servers.iter().find(|server| server.make == make);
                return Err(server.map_or_else(|| io::Error::other(error.to_string()), |it| with_log(it, &error)));
            }
        }
        Ok(())
    }

    /// Idle sessions with a roster, then presence to them.
    async fn crowd(&mut self) -> io::Result<()> {
        let (mut crowds, mut before) = (Vec::new(), Vec::new());
        for at in 0..self.servers.len() {
            let (server, count) = (&self.servers[at], self.population.ring);
            let empty = process::memory(server.pid())?;
            let group = self.fresh();
            let enter = enter(server, &self.kit, b'F', group, 'u', Begin::Direct);
            let crowd = Crowd::gather(count, None, enter).await.map_err(|error| with_log(server, &error))?;
            crowd.settle().await.map_err(|error| with_log(server, &error))?;
            self.report.add("empty", server.make, Value::Bytes(empty));
            before.push(empty);
            crowds.push((crowd, group));
        }
        if self.options.wants("idle") {
            tokio::time::sleep(REST).await;
            for (server, empty) in self.servers.iter().zip(before) {
                let full = process::memory(server.pid())?.saturating_sub(empty);
                self.report.add("idle", server.make, Value::Bytes(full / self.population.ring as u64));
            }
        }
        if self.options.wants("presence") {
            for contacts in self.population.broadcasters.clone() {
                for (at, (crowd, group)) in crowds.iter().enumerate() {
                    self.broadcast(at, crowd, *group, contacts).await?;
                }
            }
        }
        for (crowd, _) in crowds {
            crowd.leave().await?;
        }
        Ok(())
    }

    async fn broadcast(&mut self, at: usize, crowd: &Crowd, group: u64, contacts: usize) -> io::Result<()> {
        let server = &self.servers[at];
        let (make, roots, length) = (server.make, [server.pid()], self.options.length());
        let entered = async {
            let source = if make == Make::Floor {
                Session::floor(&server.site, b'S', group | contacts as u64, &self.kit).await?
            } else {
                let mut source =
                    Session::login(&server.site, Begin::Direct, &format!("p{contacts}"), &self.kit).await?;
                source.appear().await?;
                source
            };
            crowd.settle().await?;
            let (source, measured) = crowd.broadcast(source, contacts, &roots, length).await?;
            source.close().await?;
            crowd.settle().await?;
            Ok(measured)
        };
        let done = entered.await;
        self.note(&format!("presence-{contacts}"), make, done)
    }

    /// 1:1 chat, saturated and at fixed rates.
    async fn chat(&mut self) -> io::Result<()> {
        let mut all = Vec::new();
        for server in &self.servers {
            let pairs = self.pairs(server).await.map_err(|error| with_log(server, &error))?;
            all.push(pairs);
        }
        let paces: Vec<(&str, Pace)> = [
            ("chat", "chat-saturated", Pace::Saturated),
            ("rates", "chat-2000", Pace::PerSecond(2_000)),
            ("rates", "chat-500", Pace::PerSecond(500)),
        ]
        .into_iter()
        .filter(|(group, ..)| self.options.wants(group))
        .map(|(_, scenario, pace)| (scenario, pace))
        .collect();
        for (scenario, pace) in paces {
            for (at, pairs) in all.iter_mut().enumerate() {
                let (make, roots) = (self.servers[at].make, [self.servers[at].pid()]);
                let done = chat::run(std::mem::take(pairs), pace, &roots, self.options.length()).await;
                let done = done.map(|(back, measured)| {
                    *pairs = back;
                    measured
                });
                self.note(scenario, make, done)?;
            }
        }
        close(all.into_iter().flatten().collect()).await
    }

    async fn pairs(&self, server: &Server) -> io::Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for number in 0..PAIRS {
            let group = self.fresh();
            let enter = enter(server, &self.kit, b'R', group, 'c', Begin::Direct);
            let (from, to) = (enter(2 * number).await?, enter(2 * number + 1).await?);
            let message = chat::message(&format!("c{}@{}/r", 2 * number + 1, server.site.domain));
            pairs.push(Pair { from, to, message });
        }
        Ok(pairs)
    }

    /// Logins by STARTTLS, by direct TLS, and with a TLS session that is resumed.
    async fn login(&mut self) -> io::Result<()> {
        for (scenario, begin, tickets) in [
            ("login-starttls", Begin::StartTls, Tickets::Unused),
            ("login-direct", Begin::Direct, Tickets::Unused),
            ("login-resumed", Begin::StartTls, Tickets::Used),
        ] {
            for at in 0..self.servers.len() {
                let server = &self.servers[at];
                let kit = Kit { tls: tls::client(tickets), cache: Rc::clone(&self.kit.cache) };
                let (site, floor) = (server.site.clone(), server.make == Make::Floor);
                let enter = move |number: usize| {
                    let (site, kit) = (site.clone(), kit.clone());
                    async move {
                        if floor {
                            Session::floor(&site, b'L', 0, &kit).await
                        } else {
                            Session::login(&site, begin, &format!("c{number}"), &kit).await
                        }
                    }
                };
                let (make, roots) = (server.make, [server.pid()]);
                let done = login::run(LOGINS, &roots, self.options.length(), enter).await;
                let done = done.map(|(measured, resumed)| {
                    self.report.resumed(scenario, make, resumed);
                    measured
                });
                self.note(scenario, make, done)?;
            }
        }
        Ok(())
    }

    /// Everybody comes at once: STARTTLS, login, roster, presence to neighbours.
    async fn storm(&mut self) -> io::Result<()> {
        let count = self.population.ring.min(1_000);
        for at in 0..self.servers.len() {
            let server = &self.servers[at];
            let make = server.make;
            let group = self.fresh();
            let enter = enter(server, &self.kit, b'F', group, 'u', Begin::StartTls);
            let pids = process::tree(server.pid())?;
            let done = async {
                let (before, started) = (process::cpu(&pids)?, Instant::now());
                let mut crowd = Crowd::gather(count, Some(count), enter).await?;
                let wall = started.elapsed();
                crowd.settle().await?;
                let spent = process::cpu(&pids)?.saturating_sub(before);
                let mut measured = Measured::new(count as u64, spent, wall)?;
                measured.latency = Latency::of(&mut crowd.logins);
                crowd.leave().await?;
                Ok(measured)
            };
            let done = done.await;
            self.note("storm", make, done)?;
        }
        Ok(())
    }

    /// 1:1 chat with the second server of the same make, saturated; the CPU time is that of both.
    async fn between_servers(&mut self) -> io::Result<()> {
        for far in &mut self.far {
            far.start()?;
        }
        for at in 0..self.far.len() {
            let far = &self.far[at];
            let Some(near) = self.servers.iter().find(|near| near.make == far.make) else { continue };
            let (make, roots) = (far.make, [near.pid(), far.pid()]);
            let mut length = self.options.length();
            // The first message makes the servers look for each other.
            length.warm_up += Duration::from_secs(2);
            let done = async {
                let (from, to) = (
                    enter(near, &self.kit, b'R', 0, 'c', Begin::Direct),
                    enter(far, &self.kit, b'R', 0, 'c', Begin::Direct),
                );
                let mut pairs = Vec::new();
                for number in 0..PAIRS {
                    let message = chat::message(&format!("c{number}@{}/r", far.site.domain));
                    pairs.push(Pair { from: from(number).await?, to: to(number).await?, message });
                }
                let (pairs, measured) = chat::run(pairs, Pace::Saturated, &roots, length).await?;
                close(pairs).await?;
                Ok(measured)
            };
            let done = done.await.map_err(|error| with_log(far, &error));
            self.note("s2s", make, done)?;
        }
        for far in &mut self.far {
            far.stop()?;
        }
        Ok(())
    }

    fn fresh(&self) -> u64 {
        self.number.set(self.number.get() + (1 << 32));
        self.number.get()
    }
}

/// Everybody in these pairs leaves.
pub async fn close(pairs: Vec<Pair>) -> io::Result<()> {
    for pair in pairs {
        pair.from.close().await?;
        pair.to.close().await?;
    }
    Ok(())
}

/// How the session with a number comes into being: an account of this kind, or a connection to a floor.
pub fn enter(
    server: &Server,
    kit: &Kit,
    role: u8,
    group: u64,
    kind: char,
    begin: Begin,
) -> impl Fn(usize) -> std::pin::Pin<Box<dyn Future<Output = io::Result<Session>>>> + 'static {
    let (site, floor, kit): (Site, bool, Kit) = (server.site.clone(), server.make == Make::Floor, kit.clone());
    move |number| {
        let (site, kit) = (site.clone(), kit.clone());
        Box::pin(async move {
            if floor {
                return Session::floor(&site, role, group, &kit).await;
            }
            let mut session = Session::login(&site, begin, &format!("{kind}{number}"), &kit).await?;
            session.appear().await?;
            Ok(session)
        })
    }
}

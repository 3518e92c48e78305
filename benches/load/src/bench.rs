//! The rounds: every scenario against every server in turn, again and again.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{LocalSet, spawn_local};

use crate::archive;
use crate::arrive::{PAIRS, close, enter, pair_up, some_together, source, together};
use crate::attack;
use crate::chat::{self, Pace, Pair};
use crate::client::{Begin, Kit, Session};
use crate::crash;
use crate::crowd::{Crowd, settle};
use crate::domains;
use crate::fast::Returning;
use crate::growth;
use crate::hostile;
use crate::login;
use crate::meter::{Length, Measured};
use crate::options::Options;
use crate::population::{Population, befriend};
use crate::process::{self, Clock};
use crate::report::{Report, Value};
use crate::rooms;
use crate::servers::{Make, Server};
use crate::targets::joins;
use crate::tls::{self, Authority, Tickets};

/// How many accounts the logins go round.
const LOGINS: usize = 2 * PAIRS;

/// In how many parts a fixed rate is measured.
const TURNS: u32 = 5;

/// Groups of scenarios that take part in rounds.
const GROUPS: [&str; 8] = ["idle", "presence", "chat", "rates", "login", "storm", "s2s", "archived"];

/// All servers, and what is known of them.
pub struct Bench<'a> {
    pub options: &'a Options,
    pub report: Report,
    pub round: usize,
    servers: Vec<Server>,
    /// A second server of each make, for traffic between servers.
    far: Vec<Server>,
    /// A third, with its archive on.
    pub archiving: Vec<Server>,
    population: Population,
    pub kit: Kit,
    /// For floors: every group of connections has its own number.
    number: Cell<u64>,
}

/// The pairs that chat by way of one server, or two.
pub struct Talk {
    pub make: Make,
    pub roots: Vec<u32>,
    pub pairs: Vec<Pair>,
    /// Messages that were measured.
    pub units: u64,
}

/// What is wanted of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The benchmark.
    Everything,
    /// What servers lose when they are killed.
    Crashes,
    /// What pages of long archives cost.
    Archives,
    /// What many other domains cost.
    Domains,
    /// What a hostile domain costs the others.
    Hostile,
    /// What rooms cost.
    Rooms,
    /// What clients notice of many attacks at once.
    Attack,
}

impl What {
    /// What the first argument says.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "crash" => Some(Self::Crashes),
            "archive" => Some(Self::Archives),
            "domains" => Some(Self::Domains),
            "hostile" => Some(Self::Hostile),
            "rooms" => Some(Self::Rooms),
            "attack" => Some(Self::Attack),
            _ => None,
        }
    }
}

/// Runs what is wanted.
pub fn run(options: &Options, what: What) -> io::Result<()> {
    let directory = match &options.keep {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("comity-load-{}", std::process::id())),
    };
    fs::create_dir_all(&directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = crash::run(options, &directory), if what == What::Crashes => done,
            done = archive::run(options, &directory), if what == What::Archives => done,
            done = domains::run(options, &directory), if what == What::Domains => done,
            done = hostile::run(options, &directory), if what == What::Hostile => done,
            done = rooms::run(options, &directory), if what == What::Rooms => done,
            done = attack::run(options, &directory), if what == What::Attack => done,
            done = everything(options, &directory), if what == What::Everything => done,
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        }
    });
    // What has failed before is what matters.
    if options.keep.is_none() { done.and(fs::remove_dir_all(&directory)) } else { done }
}

async fn everything(options: &Options, directory: &Path) -> io::Result<()> {
    options.knows(&[&GROUPS[..], &["growth"]].concat())?;
    let mut report = Report::new(options);
    let authority = Authority::new(directory)?;
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    if GROUPS.iter().any(|group| options.wants(group)) {
        let mut bench = Bench::prepare(options, directory, &authority, &kit, report).await?;
        let known = bench.servers.iter().chain(&bench.far);
        let known = known.map(|server| (server.site.domain.clone(), server.s2s.port())).collect();
        let dns = spawn_local(crate::dns::serve(bench.population.dns, known));
        for round in 1..=options.rounds {
            bench.round = round;
            bench.report.begin("round", round);
            if let Err(error) = bench.round().await {
                let servers = bench.servers.iter().chain(&bench.far).chain(&bench.archiving);
                bench.report.fail(&with_logs(servers, &error).to_string());
                break;
            }
        }
        dns.abort();
        report = bench.report;
    }
    if options.wants("growth") && (!options.quick || options.only.is_some()) {
        let grown = growth::run(options, directory, &authority, &kit, &mut report).await;
        if let Err(error) = grown {
            report.fail(&error.to_string());
        }
    }
    report.finish(options)
}

/// The error with the ends of the servers' logs.
pub fn with_logs<'a>(servers: impl Iterator<Item = &'a Server>, error: &io::Error) -> io::Error {
    let logs = servers.map(|server| (server, server.log())).filter(|(_, log)| !log.is_empty());
    let logs = logs.map(|(server, log)| format!("\n--- the log of {} ends with:\n{log}", server.site.domain));
    io::Error::other(format!("{error}{}", logs.collect::<String>()))
}

impl<'a> Bench<'a> {
    /// Lays out all servers at the same time.
    async fn prepare(
        options: &'a Options,
        directory: &Path,
        authority: &Authority,
        kit: &Kit,
        mut report: Report,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let (ring, broadcasters) = if options.quick { (200, vec![200]) } else { (2_000, vec![200, 2_000]) };
        let dns = crate::servers::free_ports(1)?[0];
        let population = Population { chatting: 2 * PAIRS, others: 0, ring, reach: 9, broadcasters, dns };
        let few = Population { ring: 0, broadcasters: Vec::new(), ..population.clone() };
        let fresh = Population { chatting: few.chatting * options.rounds, ..few.clone() };
        let far = options.servers.iter().filter(|make| **make != Make::Floor && options.wants("s2s"));
        let archiving = options.servers.iter().filter(|_| options.wants("archived"));
        let plan = options.servers.iter().map(|make| (make, "", &population));
        let plan = plan.chain(far.map(|make| (make, "far-", &few)));
        let plan = plan.chain(archiving.map(|make| (make, "archiving-", &fresh)));
        let servers: Vec<Server> = std::thread::scope(|scope| {
            let working: Vec<_> = plan
                .map(|(make, kind, population)| {
                    let (domain, archive) = (format!("{kind}{}.bench", make.name()), kind == "archiving-");
                    scope.spawn(move || Server::prepare(*make, directory, &domain, authority, population, archive))
                })
                .collect();
            let done = working.into_iter().map(|it| it.join().map_err(|_| io::Error::other("a thread failed"))?);
            done.collect::<io::Result<_>>()
        })?;
        let (archiving, servers): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| server.archive);
        let (far, mut servers): (Vec<_>, Vec<_>) =
            servers.into_iter().partition(|server| server.site.domain.starts_with("far-"));
        let crowded = ["idle", "presence", "storm"].iter().any(|group| options.wants(group));
        for server in servers.iter_mut().filter(|server| server.make == Make::Comity && crowded) {
            Server::start(std::slice::from_mut(server))?;
            befriend(server, &population, kit).await.map_err(|error| with_logs([&*server].into_iter(), &error))?;
            Server::stop(std::slice::from_mut(server))?;
        }
        report.book("preparation", None, started);
        let (kit, number) = (kit.clone(), Cell::default());
        Ok(Self { options, report, round: 0, servers, far, archiving, population, kit, number })
    }

    async fn round(&mut self) -> io::Result<()> {
        let started = Instant::now();
        Server::start(&mut self.servers)?;
        tokio::time::sleep(self.options.rest()).await;
        self.report.book("starting", None, started);
        if self.options.wants("idle") || self.options.wants("presence") {
            self.crowd().await?;
        }
        if self.options.wants("chat") || self.options.wants("rates") {
            self.chat().await?;
        }
        if self.options.wants("login") {
            self.login().await?;
            self.login_again().await;
        }
        if self.options.wants("storm") {
            self.storm().await?;
        }
        if self.options.wants("s2s") {
            self.between_servers().await?;
        }
        if self.options.wants("archived") {
            self.archived().await?;
        }
        let started = Instant::now();
        Server::stop(&mut self.servers)?;
        self.report.book("stopping", None, started);
        Ok(())
    }

    /// Takes down a measurement that ends now, or why there is none; the others go on.
    fn note(&mut self, scenario: &str, make: Make, since: Instant, done: io::Result<Measured>) {
        self.report.book(scenario, Some(make), since);
        self.take(scenario, make, done);
    }

    fn take(&mut self, scenario: &str, make: Make, done: io::Result<Measured>) {
        match done {
            Ok(measured) => self.report.add(scenario, make, Value::Work(measured)),
            Err(error) => {
                let servers = self.servers.iter().chain(&self.far).chain(&self.archiving);
                let error = with_logs(servers.filter(|server| server.make == make), &error);
                self.report.reject(scenario, make, &error.to_string());
            }
        }
    }

    /// The servers that take part in a scenario in this round.
    fn present(&self, scenario: &str) -> Vec<usize> {
        (0..self.servers.len()).filter(|at| joins(self.servers[*at].make, scenario, self.round)).collect()
    }

    /// Idle sessions with a roster, then presence to them.
    async fn crowd(&mut self) -> io::Result<()> {
        let started = Instant::now();
        let (count, mut empty) = (self.population.ring, Vec::new());
        for server in &self.servers {
            empty.push(process::memory(server.pid())?);
            self.report.add("empty", server.make, Value::Bytes(empty[empty.len() - 1]));
        }
        let groups: Vec<u64> = self.servers.iter().map(|_| self.fresh()).collect();
        let coming = self.servers.iter().zip(&groups);
        let coming = coming.map(|(server, group)| enter(server, &self.kit, b'F', *group, 'u', Begin::Direct));
        let crowds = together(coming.map(|enter| Crowd::gather(count, None, enter))).await?;
        settle(&crowds).await?;
        self.report.book("a crowd comes", None, started);
        if self.options.wants("idle") {
            let started = Instant::now();
            tokio::time::sleep(self.options.rest()).await;
            for (server, empty) in self.servers.iter().zip(empty) {
                let full = process::memory(server.pid())?.saturating_sub(empty);
                self.report.add("idle", server.make, Value::Bytes(full / count as u64));
            }
            self.report.book("idle", None, started);
        }
        if self.options.wants("presence") {
            for contacts in self.population.broadcasters.clone() {
                self.presence(&crowds, &groups, contacts).await?;
            }
        }
        let started = Instant::now();
        together(crowds.into_iter().map(Crowd::leave)).await?;
        self.report.book("a crowd goes", None, started);
        Ok(())
    }

    async fn presence(&mut self, crowds: &[Crowd], groups: &[u64], contacts: usize) -> io::Result<()> {
        let (scenario, started) = (format!("presence-{contacts}"), Instant::now());
        let present = self.present(&scenario);
        let coming = present.iter().map(|at| source(&self.servers[*at], &self.kit, groups[*at], contacts));
        let sources = together(coming).await?;
        settle(crowds).await?;
        self.report.book(&scenario, None, started);
        let mut back = Vec::new();
        for (at, source) in present.into_iter().zip(sources) {
            let (started, make, roots) = (Instant::now(), self.servers[at].make, [self.servers[at].pid()]);
            let done = crowds[at].broadcast(source, contacts, &roots, self.options.length()).await;
            let done = done.map(|(source, measured)| {
                back.push(source);
                measured
            });
            self.note(&scenario, make, started, done);
        }
        let started = Instant::now();
        together(back.into_iter().map(Session::close)).await?;
        settle(crowds).await?;
        self.report.book(&scenario, None, started);
        Ok(())
    }

    /// 1:1 chat, saturated and at fixed rates.
    async fn chat(&mut self) -> io::Result<()> {
        let started = Instant::now();
        let coming = self.servers.iter().map(|it| pair_up(it, it, &self.kit, self.fresh(), 'c', 0));
        let all = together(coming).await?.into_iter();
        let mut talks: Vec<Talk> = all
            .zip(&self.servers)
            .map(|(pairs, server)| Talk { make: server.make, roots: vec![server.pid()], pairs, units: 0 })
            .collect();
        self.report.book("pairs come", None, started);
        for (group, scenario, pace) in [
            ("chat", "chat-saturated", Pace::Saturated),
            ("rates", "chat-2000", Pace::PerSecond(2_000)),
            ("rates", "chat-500", Pace::PerSecond(500)),
        ] {
            if self.options.wants(group) {
                self.talk(&mut talks, scenario, pace, self.options.length()).await;
            }
        }
        close(talks.into_iter().flat_map(|talk| talk.pairs)).await
    }

    /// Measures one after the other; those of a fixed rate, which leave the machine to others most of the time, in short
    /// turns, so that all of them meet the same moods of it.
    pub async fn talk(&mut self, talks: &mut [Talk], scenario: &str, pace: Pace, length: Length) {
        let (turns, length) = match pace {
            Pace::PerSecond(_) => (TURNS, length.part(TURNS)),
            Pace::Saturated | Pace::Drained => (1, length),
        };
        let mut sums: Vec<Option<io::Result<Measured>>> = talks.iter().map(|_| None).collect();
        for _ in 0..turns {
            for (talk, sum) in talks.iter_mut().zip(&mut sums) {
                // Those of a server that lost messages are gone.
                if talk.pairs.is_empty() || !joins(talk.make, scenario, self.round) {
                    continue;
                }
                let started = Instant::now();
                let done = chat::run(std::mem::take(&mut talk.pairs), pace, &talk.roots, length).await;
                let done = done.map(|(back, measured)| {
                    talk.pairs = back;
                    talk.units += measured.units;
                    measured
                });
                self.report.book(scenario, Some(talk.make), started);
                *sum = Some(match (sum.take(), done) {
                    (Some(Ok(before)), Ok(more)) => before.and(more),
                    (Some(Err(error)), _) => Err(error),
                    (_, done) => done,
                });
            }
        }
        for (talk, sum) in talks.iter().zip(sums) {
            if let Some(sum) = sum {
                self.take(scenario, talk.make, sum);
            }
        }
    }

    /// Logins by STARTTLS, by direct TLS, and with a TLS session that is resumed.
    async fn login(&mut self) -> io::Result<()> {
        for (scenario, begin, tickets) in [
            ("login-starttls", Begin::StartTls, Tickets::Unused),
            ("login-direct", Begin::Direct, Tickets::Unused),
            ("login-resumed", Begin::StartTls, Tickets::Used),
        ] {
            for at in self.present(scenario) {
                let (started, server) = (Instant::now(), &self.servers[at]);
                let kit = Kit { tls: tls::client(tickets), cache: Rc::clone(&self.kit.cache) };
                let (make, roots, site) = (server.make, [server.pid()], server.site.clone());
                let enter = move |number: usize| {
                    let (site, kit) = (site.clone(), kit.clone());
                    async move {
                        if make == Make::Floor {
                            return Session::floor(&site, b'L', 0, &kit).await;
                        }
                        Session::login(&site, begin, &format!("c{number}"), &kit).await
                    }
                };
                let done = login::run(LOGINS, &roots, self.options.length(), enter).await;
                let done = done.map(|(measured, resumed)| {
                    self.report.resumed(scenario, make, resumed);
                    measured
                });
                self.note(scenario, make, started, done);
            }
        }
        Ok(())
    }

    /// Logins of clients that have a ticket of TLS and a token.
    async fn login_again(&mut self) {
        let scenario = "login-fast";
        for at in self.present(scenario) {
            let (started, server) = (Instant::now(), &self.servers[at]);
            let (make, roots, site) = (server.make, [server.pid()], server.site.clone());
            let length = self.options.length();
            let done = async {
                let coming = (0..LOGINS).map(|number| Returning::new(site.clone(), number));
                let clients: Rc<[Returning]> = some_together(coming).await?.into();
                let enter = move |number: usize| {
                    let (site, clients) = (site.clone(), Rc::clone(&clients));
                    async move { clients[number].login(&site).await }
                };
                login::run(LOGINS, &roots, length, enter).await
            };
            let done = done.await.map(|(measured, resumed)| {
                self.report.resumed(scenario, make, resumed);
                measured
            });
            self.note(scenario, make, started, done);
        }
    }

    /// Everybody comes at once: STARTTLS, login, roster, presence to neighbours.
    async fn storm(&mut self) -> io::Result<()> {
        let (count, mut crowds) = (self.population.ring.min(1_000), Vec::new());
        for at in self.present("storm") {
            let (server, group) = (&self.servers[at], self.fresh());
            let (make, enter) = (server.make, enter(server, &self.kit, b'F', group, 'u', Begin::StartTls));
            let (mut clock, started) = (Clock::of(&[server.pid()])?, Instant::now());
            let before = clock.read()?;
            let done = async {
                let mut crowd = Crowd::gather(count, Some(count), enter).await?;
                let wall = started.elapsed();
                settle(std::slice::from_ref(&crowd)).await?;
                let spent = clock.read()?.saturating_sub(before);
                let measured = Measured::new(count as u64, spent, wall)?;
                let measured = measured.with_latencies(std::mem::take(&mut crowd.logins));
                crowds.push(crowd);
                Ok(measured)
            };
            let done = done.await;
            self.note("storm", make, started, done);
        }
        let started = Instant::now();
        together(crowds.into_iter().map(Crowd::leave)).await?;
        self.report.book("storm", None, started);
        Ok(())
    }

    /// 1:1 chat with the second server of the same make, saturated; the CPU time is that of both.
    async fn between_servers(&mut self) -> io::Result<()> {
        let started = Instant::now();
        Server::start(&mut self.far)?;
        let coming = self.far.iter().filter_map(|far| {
            let near = self.servers.iter().find(|near| near.make == far.make)?;
            Some((far.make, vec![near.pid(), far.pid()], pair_up(near, far, &self.kit, 0, 'c', 0)))
        });
        let coming =
            coming.map(|(make, roots, pairs)| async move { Ok(Talk { make, roots, pairs: pairs.await?, units: 0 }) });
        let mut talks = together(coming).await?;
        self.report.book("s2s", None, started);
        let mut length = self.options.length();
        // The first message makes the servers look for each other.
        length.warm_up += Duration::from_secs(2);
        self.talk(&mut talks, "s2s", Pace::Saturated, length).await;
        let started = Instant::now();
        close(talks.into_iter().flat_map(|talk| talk.pairs)).await?;
        Server::stop(&mut self.far)?;
        self.report.book("s2s", None, started);
        Ok(())
    }

    /// The number of a new group.
    pub fn fresh(&self) -> u64 {
        self.number.set(self.number.get() + (1 << 32));
        self.number.get()
    }
}

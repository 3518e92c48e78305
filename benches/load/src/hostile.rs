//! One domain does to Comity what it can, at far more than a hundred times the share of each of the honest ones beside it:
//! what those notice of it, and what it costs.
//!
//! Honest domains send numbered messages at a steady rate to people who read them; how long each is under way is taken down,
//! from the moment when it was due. The hostile one is a process of its own. Comity runs as it does for whoever tells it
//! nothing about limits, with its archive. Each attack is held against the quiet time right before it.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{interval, sleep, timeout};

use crate::abroad::{Abroad, Stream, name};
use crate::arrive::some_together;
use crate::attacker::Attacker;
use crate::bench::with_logs;
use crate::client::{Begin, Kit, Session};
use crate::meter::Latency;
use crate::options::Options;
use crate::population::Population;
use crate::process::{self, Clock};
use crate::report::{insert, machine};
use crate::servers::{Make, Server, free_ports};
use crate::tls::{self, Authority, Certificate, Tickets};

/// The first argument of the process that is hostile.
pub const ROLE: &str = "foe";

/// Honest domains, and how many messages each sends in a second.
const HONEST: usize = 20;
const RATE: u64 = 50;
/// How many connections the hostile one makes in a second: an honest one makes one.
const CONNECTS: u64 = 100;
/// How many streams it has for everything else.
const STREAMS: usize = 8;
/// The number of the hostile domain.
const FOE: usize = 900;
/// How long honest messages may be under way before they count as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// So often clients that only read say that they are there, each at another time: what a server does when it hears that
/// somebody has what was sent to him is part of every second, not of one in a minute.
const ALIVE: Duration = Duration::from_secs(5);

/// A server that grows by less than so many bytes in this time is at rest, and is so at the latest after so many times.
const RESTING: u64 = 512 << 10;
const REST: Duration = Duration::from_secs(5);
const MOST_RESTS: usize = 60;

/// What is promised: latency and CPU time against the quiet values, memory in bytes.
const MOST_LATENCY: f64 = 2.0;
const MOST_CPU: f64 = 1.5;
const MOST_MEMORY: u64 = 16 << 20;

/// What a hostile domain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages to somebody who reads them, as fast as they are taken.
    Messages,
    /// Messages to everybody whom there may be.
    People,
    /// Requests for subscriptions to everybody, each from somebody else.
    Requests,
    /// Requests to the server, whose answers nobody reads.
    Questions,
    /// Connections that authenticate and go away.
    Connects,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Messages, Self::People, Self::Requests, Self::Questions, Self::Connects];

    /// What it is called on the command line.
    const fn word(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::People => "people",
            Self::Requests => "requests",
            Self::Questions => "questions",
            Self::Connects => "connects",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages to one person",
            Self::People => "messages to everybody",
            Self::Requests => "requests for subscriptions",
            Self::Questions => "questions, and does not read the answers",
            Self::Connects => "connections, authenticated and closed",
        }
    }

    /// How much of it there must be at least in so many seconds: an attack that did not take place is none that was endured.
    fn least(self, time: Duration) -> u64 {
        if self == Self::Connects { CONNECTS * time.as_secs() / 2 } else { 1 }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|it| *it == self).unwrap_or(0)
    }
}

/// What was seen while an attack went on, or none.
struct Seen {
    latency: Latency,
    /// Honest messages that arrived, and that did not.
    arrived: usize,
    lost: u64,
    /// Honest streams and clients that were cut off, since the measurement before.
    disconnected: usize,
    /// More bytes of memory than before, at most.
    memory: u64,
    /// Processors that the server kept busy.
    cpu: f64,
}

/// An attack, and the quiet time before it.
struct Attack {
    kind: Kind,
    quiet: Seen,
    seen: Seen,
    /// What the hostile one got rid of, or tried.
    sent: u64,
    /// The streams that it had.
    streams: u64,
    /// How much it had to be at least.
    least: u64,
}

/// Measures everything.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    // Shorter, and the connections that a minute allows, which may come at once, would be all that is seen.
    let time = Duration::from_secs(if options.quick { 10 } else { 30 });
    let words = Kind::ALL.map(Kind::word);
    options.knows(&words)?;
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| options.wants(kind.word())).collect();
    let authority = Authority::new(directory)?;
    let certificate = authority.issue(&format!("*.{}", crate::abroad::ZONE))?;
    let mut attacks = Vec::new();
    for kind in kinds {
        let attack = endure(kind, time, (&authority, &certificate), &directory.join(kind.word())).await?;
        println!("  {}", row(&attack));
        attacks.push(attack);
    }
    let tables = tables(&attacks);
    match &options.document {
        Some(document) => insert(document, "hostile", &tables)?,
        None => println!("{tables}"),
    }
    let said = |attack: &Attack| format!("{} ({})", attack.broken().join(", "), attack.kind.word());
    let broken: Vec<String> = attacks.iter().filter(|attack| !attack.broken().is_empty()).map(said).collect();
    match broken.as_slice() {
        [] => Ok(()),
        broken => Err(io::Error::other(format!("a bound does not hold: {}", broken.join("; ")))),
    }
}

/// One attack on a server of its own: what the one before has left in buffers of the kernel is read for minutes.
async fn endure(
    kind: Kind,
    time: Duration,
    (authority, certificate): (&Authority, &Certificate),
    directory: &Path,
) -> io::Result<Attack> {
    std::fs::create_dir_all(directory)?;
    let abroad = Abroad::new(certificate)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let [dns, hostile] = free_ports(2)?[..] else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let mut records = Abroad::records(HONEST, listener.local_addr()?.port());
    records.insert(name(FOE), hostile.port());
    let serving = [spawn_local(crate::dns::serve(dns, records)), spawn_local(abroad.clone().listen(listener))];
    let population = Population { chatting: HONEST, others: 1, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let mut server = Server::prepare(Make::Comity, directory, "comity.hostile", authority, &population, true)?;
    server.keep_default_limits()?;
    Server::start(std::slice::from_mut(&mut server))?;
    let attack = watch(&server, &abroad, (certificate, hostile), kind, time).await;
    let attack = attack.map_err(|error| with_logs([&server].into_iter(), &error))?;
    Server::stop(std::slice::from_mut(&mut server))?;
    serving.iter().for_each(JoinHandle::abort);
    Ok(attack)
}

async fn watch(
    server: &Server,
    abroad: &Abroad,
    foe: (&Certificate, SocketAddr),
    kind: Kind,
    time: Duration,
) -> io::Result<Attack> {
    let honest = Rc::new(Honest::new());
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let mut tasks = Vec::new();
    // The last one is whom an attack is aimed at.
    for (number, user) in (0..HONEST).map(|number| format!("c{number}")).chain(["d0".to_owned()]).enumerate() {
        let mut session = Session::login(&server.site, Begin::Direct, &user, &kit).await?;
        session.appear().await?;
        tasks.push(spawn_local(Rc::clone(&honest).read(session, number)));
    }
    let coming = (0..HONEST).map(|number| {
        let (abroad, s2s, theirs) = (abroad.clone(), server.s2s, server.site.domain.clone());
        async move { abroad.open(s2s, address(number), &name(number), &theirs).await }
    });
    for (number, stream) in some_together(coming).await?.into_iter().enumerate() {
        tasks.push(spawn_local(Rc::clone(&honest).write(stream, number, server.site.domain.clone())));
    }
    rested(server).await?;
    let quiet = measure(server, &honest, time).await?;
    let foe = start(kind, server, foe, time)?;
    let seen = measure(server, &honest, time).await?;
    let (sent, streams) = end(foe).await?;
    tasks.iter().for_each(JoinHandle::abort);
    Ok(Attack { kind, quiet, seen, sent, streams, least: kind.least(time) })
}

/// Waits until the server has grown by what honest messages take: storage keeps in memory what it has written, up to a bound.
async fn rested(server: &Server) -> io::Result<()> {
    let mut before = process::memory(server.pid())?;
    for _ in 0..MOST_RESTS {
        sleep(REST).await;
        let now = process::memory(server.pid())?;
        if now < before + RESTING {
            return Ok(());
        }
        before = now;
    }
    Err(io::Error::other("the server grows without an attack"))
}

async fn measure(server: &Server, honest: &Honest, time: Duration) -> io::Result<Seen> {
    let empty = process::memory(server.pid())?;
    honest.under_way.borrow_mut().clear();
    let gaps = honest.gaps.get();
    let (mut clock, mut most) = (Clock::of(&[server.pid()])?, empty);
    let (spent, started) = (clock.read()?, Instant::now());
    while started.elapsed() < time {
        sleep(Duration::from_millis(200)).await;
        most = most.max(process::memory(server.pid())?);
    }
    let cpu = clock.read()?.saturating_sub(spent).as_secs_f64() / started.elapsed().as_secs_f64();
    let missing = honest.settled().await;
    let mut under_way = std::mem::take(&mut *honest.under_way.borrow_mut());
    let latency = Latency::of(&mut under_way).ok_or_else(|| io::Error::other("nothing has arrived"))?;
    Ok(Seen {
        latency,
        arrived: under_way.len(),
        lost: honest.gaps.get() - gaps + missing,
        disconnected: honest.cut.take(),
        memory: most - empty,
        cpu,
    })
}

/// Those who are honest.
struct Honest {
    begin: Instant,
    /// How long messages were under way, in microseconds.
    under_way: RefCell<Vec<u32>>,
    /// How many each domain has sent, and the number behind the latest that has arrived.
    sent: [Cell<u64>; HONEST],
    arrived: [Cell<u64>; HONEST],
    /// How many of those before the latest have not arrived.
    gaps: Cell<u64>,
    /// How many were cut off.
    cut: Cell<usize>,
}

impl Honest {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            under_way: RefCell::default(),
            sent: [const { Cell::new(0) }; HONEST],
            arrived: [const { Cell::new(0) }; HONEST],
            gaps: Cell::new(0),
            cut: Cell::new(0),
        }
    }

    /// Waits until everything that was sent up to now has arrived; gives how much has not in time.
    async fn settled(&self) -> u64 {
        let (started, sent) = (Instant::now(), self.sent.each_ref().map(Cell::get));
        let missing = || sent.iter().zip(&self.arrived).map(|(sent, it)| sent.saturating_sub(it.get())).sum::<u64>();
        while missing() > 0 && started.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5)).await;
        }
        missing()
    }

    /// Somebody reads what comes from the domain of his number.
    async fn read(self: Rc<Self>, mut session: Session, number: usize) {
        let mut text = Vec::new();
        let mut wait = ALIVE * u32::try_from(number).unwrap_or_default() / u32::try_from(HONEST).unwrap_or(1);
        loop {
            let end = poll_fn(|context| {
                let read = session.poll_input(context, |bytes| text.extend_from_slice(bytes));
                let now = micros(self.begin);
                take_bodies(&mut text, |body| self.take(body, number, now));
                match read {
                    Ok(()) => std::task::Poll::Pending,
                    Err(error) => std::task::Poll::Ready(error),
                }
            });
            // A server that hears nothing from a client for minutes takes it for gone.
            if timeout(std::mem::replace(&mut wait, ALIVE), end).await.is_ok() || session.send(b" ").await.is_err() {
                break;
            }
        }
        self.cut.set(self.cut.get() + 1);
    }

    /// A message has come: when it was due, and its number.
    fn take(&self, body: &[u8], number: usize, now: u64) {
        let body = std::str::from_utf8(body).ok().and_then(|body| body.split_once('n'));
        let parsed = body.and_then(|(due, count)| Some((due.parse::<u64>().ok()?, count.parse::<u64>().ok()?)));
        let (Some((due, count)), Some(arrived)) = (parsed, self.arrived.get(number)) else { return };
        self.under_way.borrow_mut().extend(u32::try_from(now.saturating_sub(due)).ok());
        self.gaps.set(self.gaps.get() + count.saturating_sub(arrived.get()));
        arrived.set(arrived.get().max(count + 1));
    }

    /// A domain says something, again and again, and counts from when it should have said it: who is not read has to wait.
    async fn write(self: Rc<Self>, mut stream: Stream, number: usize, theirs: String) {
        let mut turn = interval(Duration::from_micros(1_000_000 / RATE));
        loop {
            let due = turn.tick().await.into_std().saturating_duration_since(self.begin).as_micros();
            let (ours, count) = (name(number), self.sent[number].get());
            let message = format!(
                "<message type='chat' id='h{count}' from='a@{ours}/r' to='c{number}@{theirs}'><body>t{due}n{count}</body>\
                 </message>"
            );
            self.sent[number].set(count + 1);
            if stream.send(&message).await.is_err() {
                return self.cut.set(self.cut.get() + 1);
            }
        }
    }
}

fn micros(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Takes messages out of what has come, and down how long they were under way: their bodies say when they were sent.
pub fn take_times(text: &mut Vec<u8>, begin: Instant, arrivals: &mut Vec<u32>) {
    let now = micros(begin);
    take_bodies(text, |body| {
        let sent = std::str::from_utf8(body).ok().and_then(|it| it.parse().ok());
        arrivals.extend(sent.and_then(|sent: u64| u32::try_from(now.saturating_sub(sent)).ok()));
    });
}

/// Takes messages out of what has come.
fn take_bodies(text: &mut Vec<u8>, mut take: impl FnMut(&[u8])) {
    let mut done = 0;
    for at in memchr::memmem::find_iter(text.as_slice(), b"<body>t") {
        let Some(length) = memchr::memchr(b'<', &text[at + 7..]) else { break };
        done = at + 7 + length;
        take(&text[at + 7..done]);
    }
    // The beginning of a body may come later.
    let keep = text.len().saturating_sub(4096).max(done);
    text.drain(..keep);
}

/// Starts the hostile process.
fn start(
    kind: Kind,
    server: &Server,
    (certificate, hostile): (&Certificate, SocketAddr),
    time: Duration,
) -> io::Result<Attacker> {
    let text = OsString::from;
    let whom =
        [ROLE.to_owned(), kind.place().to_string(), server.s2s.to_string(), server.site.domain.clone()].map(text);
    let files = [&certificate.chain, &certificate.key].map(|file| file.clone().into_os_string());
    let from = [hostile.to_string(), time.as_secs().to_string()].map(text);
    Attacker::start(whom.into_iter().chain(files).chain(from))
}

/// Waits for its end; gives how much it got rid of, and how many streams it had.
async fn end(attacker: Attacker) -> io::Result<(u64, u64)> {
    let line = attacker.end().await?;
    let numbers =
        line.trim().split_once(' ').and_then(|(sent, streams)| Some((sent.parse().ok()?, streams.parse().ok()?)));
    numbers.ok_or_else(|| io::Error::other(format!("the hostile process said {line:?}")))
}

/// What the hostile process has done.
#[derive(Default)]
struct Deeds {
    sent: Cell<u64>,
    streams: Cell<u64>,
}

/// The hostile process itself; prints how much it got rid of, and how many streams it had.
pub fn attack(arguments: &[String]) -> io::Result<()> {
    let [kind, server, theirs, chain, key, own, seconds] = arguments else {
        return Err(io::Error::other("foe KIND SERVER DOMAIN CHAIN KEY ADDRESS SECONDS"));
    };
    let kind = kind.parse::<usize>().ok().and_then(|number| Kind::ALL.get(number).copied());
    let kind = kind.ok_or_else(|| io::Error::other("no such kind"))?;
    let server: SocketAddr = server.parse().map_err(io::Error::other)?;
    let own: SocketAddr = own.parse().map_err(io::Error::other)?;
    let seconds = seconds.parse().map_err(io::Error::other)?;
    let certificate = Certificate { chain: PathBuf::from(chain), key: PathBuf::from(key) };
    let abroad = Abroad::new(&certificate)?;
    let deeds = Rc::new(Deeds::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(own).await?;
        let listening = abroad.clone();
        spawn_local(async move {
            match kind {
                Kind::Questions => listening.listen_deaf(listener).await,
                _ => listening.listen(listener).await,
            }
        });
        let streams = if kind == Kind::Connects { 1 } else { STREAMS };
        for _ in 0..streams {
            spawn_local(act(kind, abroad.clone(), (server, theirs.clone()), Rc::clone(&deeds)));
        }
        sleep(Duration::from_secs(seconds)).await;
        Ok::<_, io::Error>(())
    })?;
    println!("{} {}", deeds.sent.get(), deeds.streams.get());
    Ok(())
}

/// Does it for ever; whoever is cut off comes back at once.
async fn act(kind: Kind, abroad: Abroad, (server, theirs): (SocketAddr, String), deeds: Rc<Deeds>) {
    let ours = name(FOE);
    let mut turn = interval(Duration::from_micros(1_000_000 / CONNECTS));
    loop {
        turn.tick().await;
        if kind == Kind::Connects {
            let (abroad, ours, theirs, deeds) = (abroad.clone(), ours.clone(), theirs.clone(), Rc::clone(&deeds));
            deeds.sent.set(deeds.sent.get() + 1);
            spawn_local(async move {
                if let Ok(stream) = abroad.open(server, address(FOE), &ours, &theirs).await {
                    deeds.streams.set(deeds.streams.get() + 1);
                    stream.shut().await;
                }
            });
            continue;
        }
        let Ok(mut stream) = abroad.open(server, address(FOE), &ours, &theirs).await else { continue };
        deeds.streams.set(deeds.streams.get() + 1);
        loop {
            let first = deeds.sent.get();
            let stanzas: String = (first..first + 100).map(|number| kind.stanza(number, &ours, &theirs)).collect();
            // Before it has gone: the streams have no number twice.
            deeds.sent.set(first + 100);
            if stream.send(&stanzas).await.is_err() {
                break;
            }
        }
    }
}

impl Kind {
    /// What it says, as long as it says anything.
    fn stanza(self, number: u64, ours: &str, theirs: &str) -> String {
        let text = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun.";
        match self {
            Self::Messages => {
                format!("<message type='chat' from='x@{ours}' to='d0@{theirs}'><body>{text}</body></message>")
            }
            Self::People => {
                format!("<message type='chat' from='x@{ours}' to='c{number}@{theirs}'><body>{text}</body></message>")
            }
            Self::Requests => {
                let to = number % HONEST as u64;
                format!("<presence type='subscribe' from='x{number}@{ours}' to='c{to}@{theirs}'/>")
            }
            Self::Questions | Self::Connects => format!(
                "<iq type='get' id='{number}' from='x@{ours}/r' to='{theirs}'>\
                 <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            ),
        }
    }
}

/// Where a domain is.
fn address(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number + 1).unwrap_or(0).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 30, high, low))
}

impl Attack {
    /// The bounds that do not hold. In the quiet time before it nobody honest may lose anything either: that is when the attack
    /// before has its last effects.
    fn broken(&self) -> Vec<&'static str> {
        let (quiet, seen) = (&self.quiet, &self.seen);
        let bounds = [
            ("latency", f64::from(seen.latency.p95) <= MOST_LATENCY * f64::from(quiet.latency.p95)),
            ("honest messages", quiet.lost + seen.lost == 0),
            ("honest streams", quiet.disconnected + seen.disconnected == 0),
            ("memory", seen.memory <= MOST_MEMORY),
            ("CPU", quiet.cpu > 0.0 && seen.cpu <= MOST_CPU * quiet.cpu),
            ("the attack took place", self.sent >= self.least && self.streams > 0),
        ];
        bounds.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect()
    }

    /// What there was of it, in words.
    fn amount(&self) -> String {
        match self.kind {
            Kind::Connects => format!("{} tried, {} let in", self.sent, self.streams),
            _ => self.sent.to_string(),
        }
    }
}

fn tables(attacks: &[Attack]) -> String {
    let mut out = format!(
        "Machine: {}. {HONEST} honest domains, {RATE} messages a second each; the hostile one sends on {STREAMS} streams as \
         fast as it is read, or connects {CONNECTS} times a second.\n\n",
        machine()
    );
    out.push_str(
        "| the hostile domain sends | so many | honest messages: arrived, lost | p50 / p95 / p99 before it | with it | p95, \
         of 2.0 | cut off, of 0 | more memory, of 16 MiB | CPU, of 1.5 | holds |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for attack in attacks {
        let _ = writeln!(out, "{}", row(attack));
    }
    out
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn row(attack: &Attack) -> String {
    let Attack { kind, quiet, seen, .. } = attack;
    let latency = |Latency { p50, p95, p99 }: Latency| {
        let [p50, p95, p99] = [p50, p95, p99].map(|it| f64::from(it) / 1000.0);
        format!("{p50:.2} / {p95:.2} / {p99:.2} ms")
    };
    let (ratio, cpu) = (f64::from(seen.latency.p95) / f64::from(quiet.latency.p95), seen.cpu / quiet.cpu);
    format!(
        "| {} | {} | {}, {} | {} | {} | {ratio:.2} | {} | {:.1} MiB ({:.1} before) | {cpu:.2} ({:.3} of a processor, {:.3} before) | {} |",
        kind.name(),
        attack.amount(),
        seen.arrived,
        quiet.lost + seen.lost,
        latency(quiet.latency),
        latency(seen.latency),
        quiet.disconnected + seen.disconnected,
        mebibytes(seen.memory),
        mebibytes(quiet.memory),
        seen.cpu,
        quiet.cpu,
        if attack.broken().is_empty() { "yes" } else { "no" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(p95: u32, lost: u64, disconnected: usize, memory: u64, cpu: f64) -> Seen {
        Seen { latency: Latency { p50: 1, p95, p99: p95 }, arrived: 1, lost, disconnected, memory, cpu }
    }

    fn attack(seen: Seen) -> Attack {
        let quiet = self::seen(100, 0, 0, 0, 0.1);
        Attack { kind: Kind::Messages, quiet, seen, sent: 1, streams: 1, least: 1 }
    }

    #[test]
    fn every_bound_counts() {
        assert!(attack(seen(200, 0, 0, MOST_MEMORY, 0.15)).broken().is_empty());
        for (what, seen) in [
            ("latency", seen(201, 0, 0, 0, 0.1)),
            ("honest messages", seen(100, 1, 0, 0, 0.1)),
            ("honest streams", seen(100, 0, 1, 0, 0.1)),
            ("memory", seen(100, 0, 0, MOST_MEMORY + 1, 0.1)),
            ("CPU", seen(100, 0, 0, 0, 0.16)),
        ] {
            assert_eq!(attack(seen).broken(), [what]);
        }
    }

    #[test]
    fn what_happens_before_counts_as_well_and_an_attack_has_to_take_place() {
        let calm = || seen(100, 0, 0, 0, 0.1);
        for (what, quiet) in [
            ("honest messages", seen(100, 1, 0, 0, 0.1)),
            ("honest streams", seen(100, 0, 1, 0, 0.1)),
            ("CPU", seen(100, 0, 0, 0, 0.0)),
        ] {
            assert_eq!(Attack { quiet, ..attack(calm()) }.broken(), [what]);
        }
        for (sent, streams) in [(1499, 1), (1500, 0)] {
            let attack = Attack { kind: Kind::Connects, sent, streams, least: 1500, ..attack(calm()) };
            assert_eq!(attack.broken(), ["the attack took place"]);
        }
        assert_eq!(Kind::Connects.least(Duration::from_secs(30)), 1500);
    }

    #[test]
    fn what_does_not_arrive_is_lost() {
        let honest = Honest::new();
        honest.take(b"5n0", 1, 7);
        honest.take(b"5n3", 1, 9);
        honest.take(b"5n3", HONEST, 9);
        assert_eq!((honest.gaps.get(), honest.arrived[1].get()), (2, 4));
        assert_eq!(*honest.under_way.borrow(), [2, 4]);
    }
}

//! One domain does to Comity what it can, at a hundred times the share of each of the honest ones beside it: what those
//! notice of it, and what it costs.
//!
//! Honest domains send messages at a steady rate to people who read them; how long each is under way is taken down. The
//! hostile one is a process of its own. All limits are those that Comity has without being told any.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs;
use std::future::poll_fn;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{interval, sleep};

use crate::abroad::{Abroad, Stream, name};
use crate::arrive::some_together;
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
/// The number of the hostile domain, and how it looks to the others.
const FOE: usize = 999;

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

    const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages to one person",
            Self::People => "messages to everybody",
            Self::Requests => "requests for subscriptions",
            Self::Questions => "questions, and does not read the answers",
            Self::Connects => "connections, authenticated and closed",
        }
    }
}

/// What was seen while nothing else, or one kind of attack, went on.
struct Seen {
    kind: Option<Kind>,
    latency: Latency,
    /// Honest messages that arrived.
    arrived: usize,
    /// Honest streams and clients that were cut off.
    disconnected: usize,
    /// More bytes of memory than before, at most.
    memory: u64,
    /// Processors that the server kept busy.
    cpu: f64,
    /// What the hostile one got rid of.
    sent: u64,
}

/// Measures everything.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let time = Duration::from_secs(if options.quick { 5 } else { 20 });
    let authority = Authority::new(directory)?;
    let certificate = authority.issue(&format!("*.{}", crate::abroad::ZONE))?;
    let abroad = Abroad::new(&certificate)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let [dns, hostile] = free_ports(2)?[..] else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let mut records = Abroad::records(HONEST, listener.local_addr()?.port());
    records.insert(name(FOE), hostile.port());
    let serving = [spawn_local(crate::dns::serve(dns, records)), spawn_local(abroad.clone().listen(listener))];
    let population = Population { chatting: HONEST, others: 1, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let mut server = Server::prepare(Make::Comity, directory, "comity.hostile", &authority, &population, false)?;
    default_limits(&directory.join("comity.hostile").join("comity.toml"))?;
    Server::start(std::slice::from_mut(&mut server))?;
    let seen = watch(&server, &abroad, (&certificate, hostile), time).await;
    let seen = seen.map_err(|error| with_logs([&server].into_iter(), &error))?;
    Server::stop(std::slice::from_mut(&mut server))?;
    serving.iter().for_each(JoinHandle::abort);
    let tables = tables(&seen);
    match &options.document {
        Some(document) => insert(document, &tables)?,
        None => println!("{tables}"),
    }
    let broken: Vec<_> = seen.iter().filter(|one| !one.holds(&seen[0])).filter_map(|one| one.kind).collect();
    match broken.as_slice() {
        [] => Ok(()),
        broken => Err(io::Error::other(format!("a bound does not hold: {broken:?}"))),
    }
}

/// What other servers may cost is as it is for everybody.
fn default_limits(file: &Path) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let own = text.lines().filter(|line| !line.starts_with("server_"));
    fs::write(file, own.map(|line| format!("{line}\n")).collect::<String>())
}

async fn watch(
    server: &Server,
    abroad: &Abroad,
    (certificate, hostile): (&Certificate, SocketAddr),
    time: Duration,
) -> io::Result<Vec<Seen>> {
    let honest = Rc::new(Honest { begin: Instant::now(), arrivals: RefCell::default(), cut: Cell::default() });
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let mut tasks = Vec::new();
    for user in (0..HONEST).map(|number| format!("c{number}")).chain(["d0".to_owned()]) {
        let mut session = Session::login(&server.site, Begin::Direct, &user, &kit).await?;
        session.appear().await?;
        tasks.push(spawn_local(Rc::clone(&honest).read(session)));
    }
    let coming = (0..HONEST).map(|number| {
        let (abroad, s2s, theirs) = (abroad.clone(), server.s2s, server.site.domain.clone());
        async move { abroad.open(s2s, address(number), &name(number), &theirs).await }
    });
    for (number, stream) in some_together(coming).await?.into_iter().enumerate() {
        tasks.push(spawn_local(Rc::clone(&honest).write(stream, number, server.site.domain.clone())));
    }
    sleep(Duration::from_secs(3)).await;
    let mut seen = Vec::new();
    for kind in [None].into_iter().chain(Kind::ALL.map(Some)) {
        let empty = process::memory(server.pid())?;
        let foe = kind.map(|kind| Foe::start(kind, server, (certificate, hostile), time + Duration::from_secs(2)));
        let foe = foe.transpose()?;
        // It is in full swing then.
        sleep(Duration::from_secs(2)).await;
        let mut one = measure(server, &honest, empty, time).await?;
        (one.kind, one.sent) = (kind, foe.map_or(Ok(0), Foe::end)?);
        println!("  {}", row(&one, seen.first().unwrap_or(&one)));
        seen.push(one);
        // What is charged to budgets is forgotten.
        sleep(Duration::from_secs(if kind.is_some() { 12 } else { 0 })).await;
    }
    tasks.iter().for_each(JoinHandle::abort);
    Ok(seen)
}

async fn measure(server: &Server, honest: &Honest, empty: u64, time: Duration) -> io::Result<Seen> {
    honest.arrivals.borrow_mut().clear();
    let (cut, mut clock, mut most) = (honest.cut.get(), Clock::of(&[server.pid()])?, empty);
    let (spent, started) = (clock.read()?, Instant::now());
    while started.elapsed() < time {
        sleep(Duration::from_millis(200)).await;
        most = most.max(process::memory(server.pid())?);
    }
    let cpu = clock.read()?.saturating_sub(spent).as_secs_f64() / started.elapsed().as_secs_f64();
    let mut arrivals = std::mem::take(&mut *honest.arrivals.borrow_mut());
    let latency = Latency::of(&mut arrivals).ok_or_else(|| io::Error::other("nothing has arrived"))?;
    let (arrived, disconnected) = (arrivals.len(), honest.cut.get() - cut);
    Ok(Seen { kind: None, latency, arrived, disconnected, memory: most - empty, cpu, sent: 0 })
}

/// Those who are honest.
struct Honest {
    begin: Instant,
    /// How long messages were under way, in microseconds.
    arrivals: RefCell<Vec<u32>>,
    /// How many were cut off.
    cut: Cell<usize>,
}

impl Honest {
    /// Somebody reads what comes.
    async fn read(self: Rc<Self>, mut session: Session) {
        let mut text = Vec::new();
        let end: io::Result<()> = poll_fn(|context| {
            let read = session.poll_input(context, |bytes| text.extend_from_slice(bytes));
            let now = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            let mut done = 0;
            for at in memchr::memmem::find_iter(&text, b"<body>t") {
                let Some(length) = memchr::memchr(b'<', &text[at + 7..]) else { break };
                let sent = std::str::from_utf8(&text[at + 7..at + 7 + length]).ok().and_then(|it| it.parse().ok());
                done = at + 7 + length;
                let under_way = sent.and_then(|sent: u64| u32::try_from(now.saturating_sub(sent)).ok());
                self.arrivals.borrow_mut().extend(under_way);
            }
            // The beginning of a body may come later.
            let keep = text.len().saturating_sub(4096).max(done);
            text.drain(..keep);
            match read {
                Ok(()) => std::task::Poll::Pending,
                Err(error) => std::task::Poll::Ready(Err(error)),
            }
        })
        .await;
        if end.is_err() {
            self.cut.set(self.cut.get() + 1);
        }
    }

    /// A domain says something, again and again.
    async fn write(self: Rc<Self>, mut stream: Stream, number: usize, theirs: String) {
        let mut turn = interval(Duration::from_micros(1_000_000 / RATE));
        loop {
            turn.tick().await;
            let (ours, now) = (name(number), self.begin.elapsed().as_micros());
            let message = format!(
                "<message type='chat' id='h' from='a@{ours}/r' to='c{number}@{theirs}'><body>t{now}</body></message>"
            );
            if stream.send(&message).await.is_err() {
                return self.cut.set(self.cut.get() + 1);
            }
        }
    }
}

/// The hostile process, as this one sees it.
struct Foe {
    process: Child,
}

impl Foe {
    fn start(
        kind: Kind,
        server: &Server,
        (certificate, hostile): (&Certificate, SocketAddr),
        time: Duration,
    ) -> io::Result<Self> {
        let number = Kind::ALL.iter().position(|it| *it == kind).unwrap_or(0);
        let process = Command::new(std::env::current_exe()?)
            .args([ROLE, &number.to_string(), &server.s2s.to_string(), &server.site.domain])
            .args([&certificate.chain, &certificate.key])
            .args([hostile.to_string(), time.as_secs().to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process })
    }

    /// Waits for its end; gives how much it got rid of.
    fn end(mut self) -> io::Result<u64> {
        let out = self.process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        self.process.wait()?;
        line.trim().parse().map_err(|_| io::Error::other(format!("the hostile process said {line:?}")))
    }
}

impl Drop for Foe {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The hostile process itself; prints how much it got rid of.
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
    let sent = Rc::new(Cell::new(0));
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
        let attack = spawn_local(act(kind, abroad, (server, theirs.clone()), Rc::clone(&sent)));
        sleep(Duration::from_secs(seconds)).await;
        attack.abort();
        Ok::<_, io::Error>(())
    })?;
    println!("{}", sent.get());
    Ok(())
}

/// Does it for ever; whoever is cut off comes back at once.
async fn act(kind: Kind, abroad: Abroad, (server, theirs): (SocketAddr, String), sent: Rc<Cell<u64>>) {
    let ours = name(FOE);
    let mut number = 0_u64;
    let mut turn = interval(Duration::from_micros(1_000_000 / CONNECTS));
    loop {
        turn.tick().await;
        let open = abroad.open(server, address(FOE), &ours, &theirs);
        if kind == Kind::Connects {
            let (abroad, theirs, sent) = (abroad.clone(), theirs.clone(), Rc::clone(&sent));
            let ours = ours.clone();
            spawn_local(async move {
                if let Ok(stream) = abroad.open(server, address(FOE), &ours, &theirs).await {
                    sent.set(sent.get() + 1);
                    stream.shut().await;
                }
            });
            continue;
        }
        let Ok(mut stream) = open.await else { continue };
        loop {
            let mut stanzas = String::new();
            for _ in 0..100 {
                number += 1;
                let text = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun.";
                let _ = match kind {
                    Kind::Messages => write!(
                        stanzas,
                        "<message type='chat' from='x@{ours}' to='d0@{theirs}'><body>{text}</body></message>"
                    ),
                    Kind::People => write!(
                        stanzas,
                        "<message type='chat' from='x@{ours}' to='c{number}@{theirs}'><body>{text}</body></message>"
                    ),
                    Kind::Requests => {
                        let to = number % HONEST as u64;
                        write!(stanzas, "<presence type='subscribe' from='x{number}@{ours}' to='c{to}@{theirs}'/>")
                    }
                    Kind::Questions | Kind::Connects => write!(
                        stanzas,
                        "<iq type='get' id='{number}' from='x@{ours}/r' to='{theirs}'>\
                         <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                    ),
                };
            }
            if stream.send(&stanzas).await.is_err() {
                break;
            }
            sent.set(sent.get() + 100);
        }
    }
}

/// Where a domain is.
fn address(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number + 1).unwrap_or(0).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 30, high, low))
}

impl Seen {
    fn holds(&self, quiet: &Self) -> bool {
        f64::from(self.latency.p95) <= MOST_LATENCY * f64::from(quiet.latency.p95)
            && self.disconnected == 0
            && self.memory <= MOST_MEMORY
            && self.cpu <= MOST_CPU * quiet.cpu
    }
}

fn tables(seen: &[Seen]) -> String {
    let mut out = format!(
        "Machine: {}. {HONEST} honest domains, {RATE} messages a second each; the hostile one sends as fast as it can, or \
         connects {CONNECTS} times a second.\n\n",
        machine()
    );
    out.push_str(
        "| the hostile domain | gets rid of | honest messages: arrived, p50 / p95 / p99 | p95, of 2.0 | cut off, of 0 | \
         more memory, of 16.8 MB | CPU, of 1.5 | holds |\n|---|---|---|---|---|---|---|---|\n",
    );
    for one in seen {
        let _ = writeln!(out, "{}", row(one, &seen[0]));
    }
    out
}

fn row(seen: &Seen, quiet: &Seen) -> String {
    let Latency { p50, p95, p99 } = seen.latency;
    let [p50, p95, p99] = [p50, p95, p99].map(|it| f64::from(it) / 1000.0);
    let (ratio, cpu) = (f64::from(seen.latency.p95) / f64::from(quiet.latency.p95), seen.cpu / quiet.cpu);
    format!(
        "| {} | {} | {}, {p50:.2} / {p95:.2} / {p99:.2} ms | {ratio:.2} | {} | {:.1} MB | {cpu:.2} | {} |",
        seen.kind.map_or("(is not there)", Kind::name),
        seen.sent,
        seen.arrived,
        seen.disconnected,
        seen.memory as f64 / 1e6,
        if seen.holds(quiet) { "yes" } else { "no" },
    )
}

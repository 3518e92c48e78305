//! Eleven attacks at once beside people who talk to each other: what those notice of it, what it costs, and what is left of it
//! afterwards; and what a session costs at most whose client does not read.
//!
//! All limits are those that Comity has without being told any. The attacks are a process of their own, and come from other
//! addresses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{interval, sleep};

use crate::arrive::some_together;
use crate::bench::with_logs;
use crate::client::{Begin, Kit, Session};
use crate::hostile::take_times;
use crate::meter::Latency;
use crate::options::Options;
use crate::population::Population;
use crate::process;
use crate::raid::{ACCOUNTS, Raid};
use crate::report::{insert, machine};
use crate::servers::{Make, Server, free_ports};
use crate::tls::{self, Authority, Certificate, Tickets};

/// People who talk, two and two, and how many messages each sends in a second.
const PEOPLE: usize = 100;
const RATE: u64 = 2;

/// Sessions that are filled until they are closed, and how much each asks for: in pieces of so many octets.
const FULL: usize = 40;
const PIECE: usize = 120_000;
const PIECES: usize = 200;

/// How long afterwards memory is looked at.
const REST: Duration = Duration::from_secs(30);

/// What is promised: latency against the quiet one or in microseconds, memory afterwards against before, and of one session.
const MOST_LATENCY: u32 = 2;
const ENOUGH: u32 = 100_000;
const MOST_LEFT: f64 = 1.05;
const MOST_SESSION: u64 = 1 << 20;
/// Strangers, and what they may cost: these attacks have a hundredth of what the flood has.
const MOST_MEMORY: u64 = 256 << 20;

/// What was seen.
struct Seen {
    quiet: Latency,
    attacked: Latency,
    arrived: [usize; 2],
    disconnected: usize,
    /// Of the server, in bytes: before, at most, and afterwards.
    memory: [u64; 3],
    /// What one session took that was not read from.
    session: u64,
    attacks: Vec<(&'static str, u64)>,
}

/// Measures everything.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let time = Duration::from_secs(if options.quick { 5 } else { 30 });
    let authority = Authority::new(directory)?;
    let certificate = authority.issue(&format!("*.{}", crate::abroad::ZONE))?;
    let [dns] = free_ports(1)?[..] else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let serving = spawn_local(crate::dns::serve(dns, HashMap::new()));
    let others = ACCOUNTS + FULL;
    let population = Population { chatting: PEOPLE, others, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let domain = "rooms-comity.attack";
    let mut server = Server::prepare(Make::Comity, directory, domain, &authority, &population, true)?;
    default_limits(&directory.join(domain).join("comity.toml"))?;
    Server::start(std::slice::from_mut(&mut server))?;
    let seen = watch(&server, &certificate, time).await;
    let seen = seen.map_err(|error| with_logs([&server].into_iter(), &error))?;
    Server::stop(std::slice::from_mut(&mut server))?;
    serving.abort();
    let table = seen.table();
    match &options.document {
        Some(document) => insert(document, "measured", &table)?,
        None => println!("{table}"),
    }
    match seen.broken().as_slice() {
        [] => Ok(()),
        broken => Err(io::Error::other(format!("a bound does not hold: {}", broken.join(", ")))),
    }
}

/// What peers may cost is as it is for everybody.
fn default_limits(file: &Path) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let mut kept = String::new();
    let mut is_kept = true;
    for line in text.lines() {
        if line.starts_with('[') {
            is_kept = !matches!(line, "[limits]" | "[federation]" | "[rooms]");
        }
        if is_kept {
            let _ = writeln!(kept, "{line}");
        }
    }
    fs::write(file, kept)
}

async fn watch(server: &Server, certificate: &Certificate, time: Duration) -> io::Result<Seen> {
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let people = Rc::new(People { begin: Instant::now(), arrivals: RefCell::default(), cut: Cell::default() });
    let coming = (0..PEOPLE).map(|number| {
        let (site, kit) = (server.site.clone(), kit.clone());
        async move {
            let mut session = Session::login(&site, Begin::Direct, &format!("c{number}"), &kit).await?;
            session.appear().await?;
            Ok(session)
        }
    });
    let sessions = some_together(coming).await?;
    let talking: Vec<JoinHandle<()>> = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| {
            let to = format!("c{}@{}", number ^ 1, server.site.domain);
            spawn_local(Rc::clone(&people).talk(session, to))
        })
        .collect();
    // Everything that is made when it is first needed is there then, such as what the database keeps in memory.
    Raid::start(server, certificate, time)?.end()?;
    sleep(REST).await;
    let (quiet, first, _) = people.measure(server, time).await?;
    let before = process::memory(server.pid())?;
    let raid = Raid::start(server, certificate, time + Duration::from_secs(2))?;
    // It is in full swing then.
    sleep(Duration::from_secs(2)).await;
    let (attacked, second, most) = people.measure(server, time).await?;
    let attacks = raid.end()?;
    sleep(REST).await;
    let (after, disconnected) = (process::memory(server.pid())?, people.cut.get());
    let session = fill(server, &kit).await?;
    talking.iter().for_each(JoinHandle::abort);
    let memory = [before, most.max(before), after];
    Ok(Seen { quiet, attacked, arrived: [first, second], disconnected, memory, session, attacks })
}

/// Those who are honest.
struct People {
    begin: Instant,
    /// How long messages were under way, in microseconds.
    arrivals: RefCell<Vec<u32>>,
    /// How many were cut off.
    cut: Cell<usize>,
}

impl People {
    /// Somebody talks and listens.
    async fn talk(self: Rc<Self>, mut session: Session, to: String) {
        let mut turn = interval(Duration::from_micros(1_000_000 / RATE));
        let mut text = Vec::new();
        let end: io::Result<()> = async {
            loop {
                tokio::select! {
                    _ = turn.tick() => {
                        let now = self.begin.elapsed().as_micros();
                        let message = format!("<message type='chat' to='{to}'><body>t{now}</body></message>");
                        session.send(message.as_bytes()).await?;
                    }
                    error = poll_fn(|context| {
                        let read = session.poll_input(context, |bytes| text.extend_from_slice(bytes));
                        take_times(&mut text, self.begin, &mut self.arrivals.borrow_mut());
                        read.map_or_else(Poll::Ready, |()| Poll::Pending)
                    }) => return Err(error),
                }
            }
        }
        .await;
        if end.is_err() {
            self.cut.set(self.cut.get() + 1);
        }
    }

    /// Latency, messages, and the most memory of the server.
    async fn measure(&self, server: &Server, time: Duration) -> io::Result<(Latency, usize, u64)> {
        self.arrivals.borrow_mut().clear();
        let (started, mut most) = (Instant::now(), 0);
        while started.elapsed() < time {
            sleep(Duration::from_millis(200)).await;
            most = most.max(process::memory(server.pid())?);
        }
        let mut arrivals = std::mem::take(&mut *self.arrivals.borrow_mut());
        let latency = Latency::of(&mut arrivals).ok_or_else(|| io::Error::other("nothing has arrived"))?;
        Ok((latency, arrivals.len(), most))
    }
}

/// What a session takes at most whose client asks for much and reads nothing.
async fn fill(server: &Server, kit: &Kit) -> io::Result<u64> {
    let coming = (ACCOUNTS..ACCOUNTS + FULL).map(|number| {
        let (site, kit) = (server.site.clone(), kit.clone());
        async move {
            let mut session = Session::login(&site, Begin::Direct, &format!("d{number}"), &kit).await?;
            let kept = format!("<x xmlns='urn:x'>{}</x>", "x".repeat(PIECE));
            session
                .send(format!("<iq type='set' id='k'><query xmlns='jabber:iq:private'>{kept}</query></iq>").as_bytes())
                .await?;
            session.synchronise().await?;
            Ok(session)
        }
    });
    let mut sessions = some_together(coming).await?;
    sleep(Duration::from_secs(2)).await;
    let (empty, mut most) = (process::memory(server.pid())?, 0);
    let question = "<iq type='get' id='q'><query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query></iq>";
    for _ in 0..PIECES {
        for session in &mut sessions {
            // Whoever has been closed cannot ask any more.
            let _ = session.send(question.as_bytes()).await;
        }
        most = most.max(process::memory(server.pid())?);
        sleep(Duration::from_millis(50)).await;
    }
    Ok(most.saturating_sub(empty) / FULL as u64)
}

impl Seen {
    /// The bounds that do not hold.
    fn broken(&self) -> Vec<&'static str> {
        let [before, most, after] = self.memory;
        let bounds = [
            ("latency", self.attacked.p99 <= (MOST_LATENCY * self.quiet.p99).max(ENOUGH)),
            ("honest sessions", self.disconnected == 0),
            ("memory during the attacks", most - before <= MOST_MEMORY),
            ("memory afterwards", after as f64 <= MOST_LEFT * before as f64),
            ("memory of a session", self.session <= MOST_SESSION),
            ("attacks", self.attacks.iter().all(|(_, count)| *count > 0)),
        ];
        bounds.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect()
    }

    fn table(&self) -> String {
        let mut out = format!(
            "Machine: {}. {PEOPLE} people send {RATE} messages a second each; all limits are the defaults.\n\n\
             | | quiet | eleven attacks at once | bound |\n|---|---|---|---|\n",
            machine()
        );
        let line = |latency: Latency| {
            let [p50, p95, p99] = [latency.p50, latency.p95, latency.p99].map(|it| f64::from(it) / 1000.0);
            format!("{p50:.2} / {p95:.2} / {p99:.2} ms")
        };
        let [before, most, after] = self.memory.map(|bytes| bytes as f64 / 1e6);
        let (quiet, attacked, [first, second]) = (line(self.quiet), line(self.attacked), self.arrived);
        let _ = write!(
            out,
            "| an honest message, p50 / p95 / p99 | {quiet} | {attacked} | p99: twice the quiet one, or 100 ms |\n\
             | honest messages that arrived | {first} | {second} | |\n\
             | honest sessions that were cut off | | {} | 0 |\n\
             | memory of the server | {before:.1} MB | {most:.1} MB at most, {after:.1} MB 30 s after the end | within 5 % |\n\
             | memory of a session that is not read from, at most | | {:.0} KiB | 1,024 KiB |\n\n\
             | attack | how often |\n|---|---|\n",
            self.disconnected,
            self.session as f64 / 1024.0,
        );
        for (what, count) in &self.attacks {
            let _ = writeln!(out, "| {what} | {count} |");
        }
        out
    }
}

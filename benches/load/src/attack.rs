//! Thirteen attacks at once beside people who talk to each other: what those notice of it, what it costs, and what is left of it
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
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{interval, sleep};

use crate::arrive::some_together;
use crate::bench::with_logs;
use crate::client::{Begin, Kit, Session};
use crate::counted::Counted;
use crate::hostile::take_times;
use crate::meter::Latency;
use crate::options::Options;
use crate::population::Population;
use crate::process;
use crate::raid::{ACCOUNTS, ROOM, Raid, foe};
use crate::report::{insert, machine};
use crate::servers::{Make, Server, free_ports};
use crate::tls::{self, Authority, Certificate, Tickets};

/// People who talk, two and two, and how many messages each sends in a second.
const PEOPLE: usize = 100;
const RATE: u64 = 2;

/// So many of them are in the room that is attacked.
const OCCUPANTS: usize = 20;

/// How long honest messages may be under way before they count as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions that are filled until they are closed, and how much each asks for: in pieces of so many octets.
const FULL: usize = 40;
const PIECE: usize = 120_000;
const PIECES: usize = 200;

/// How long afterwards memory is looked at.
const REST: Duration = Duration::from_secs(30);

/// How often memory is looked at, and how seldom the server is asked itself.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: usize = 5;

/// What is promised: latency against the quiet one or in microseconds, memory afterwards against before, of one session, of
/// all strangers and of another domain.
const MOST_LATENCY: u32 = 2;
const ENOUGH: u32 = 100_000;
const MOST_LEFT: f64 = 1.05;
const MOST_SESSION: u64 = 1 << 20;
const MOST_STRANGERS: u64 = 256 << 20;
const MOST_DOMAIN: u64 = 16 << 20;

/// What was seen.
struct Seen {
    quiet: Heard,
    attacked: Heard,
    disconnected: usize,
    /// Of the server, in bytes: before, at most, and afterwards.
    memory: [u64; 3],
    full: Full,
    attacks: Vec<(&'static str, u64)>,
}

/// What was heard of messages while they were sent, and what the server held at most.
struct Heard {
    latency: Latency,
    arrived: usize,
    lost: usize,
    memory: u64,
    counted: Counted,
}

/// What sessions took that were not read from.
struct Full {
    /// What the process took more for each, on average.
    mean: u64,
    /// What waited for the one for which most waited.
    largest: u64,
}

/// Measures everything.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let time = Duration::from_secs(if options.quick { 5 } else { 30 });
    let authority = Authority::new(directory)?;
    let certificate = authority.issue(&format!("*.{}", crate::abroad::ZONE))?;
    let [dns, hostile] = free_ports(2)?[..] else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let serving = spawn_local(crate::dns::serve(dns, HashMap::from([(foe(), hostile.port())])));
    let others = ACCOUNTS + FULL;
    let population = Population { chatting: PEOPLE, others, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let domain = "rooms-comity.attack";
    let mut server = Server::prepare(Make::Comity, directory, domain, &authority, &population, true)?;
    default_limits(&directory.join(domain).join("comity.toml"))?;
    Server::start(std::slice::from_mut(&mut server))?;
    let seen = watch(&server, (&certificate, hostile), time).await;
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

async fn watch(server: &Server, raiders: (&Certificate, SocketAddr), time: Duration) -> io::Result<Seen> {
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let people = Rc::new(People::new());
    let coming = (0..PEOPLE).map(|number| {
        let (site, kit) = (server.site.clone(), kit.clone());
        async move {
            let mut session = Session::login(&site, Begin::Direct, &format!("c{number}"), &kit).await?;
            session.appear().await?;
            Ok(session)
        }
    });
    let mut sessions = some_together(coming).await?;
    for (number, session) in sessions.iter_mut().take(OCCUPANTS).enumerate() {
        enter(session, number, &server.site.domain).await?;
    }
    let talking: Vec<JoinHandle<()>> = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| {
            let to = format!("c{}@{}", number ^ 1, server.site.domain);
            spawn_local(Rc::clone(&people).talk(session, to))
        })
        .collect();
    // Everything that is made when it is first needed is there then, such as what the database keeps in memory.
    Raid::start(server, raiders, time)?.end().await?;
    sleep(REST).await;
    let quiet = people.measure(server, time).await?;
    let before = process::memory(server.pid())?;
    let raid = Raid::start(server, raiders, time + Duration::from_secs(2))?;
    // It is in full swing then.
    sleep(Duration::from_secs(2)).await;
    let attacked = people.measure(server, time).await?;
    let attacks = raid.end().await?;
    sleep(REST).await;
    let (after, disconnected) = (process::memory(server.pid())?, people.cut.get());
    let full = fill(server, &kit).await?;
    talking.iter().for_each(JoinHandle::abort);
    let memory = [before, attacked.memory.max(before), after];
    Ok(Seen { quiet, attacked, disconnected, memory, full, attacks })
}

/// Has somebody enter the room that will be attacked; the first one makes it.
async fn enter(session: &mut Session, number: usize, domain: &str) -> io::Result<()> {
    let room = format!("{ROOM}@rooms.{domain}");
    let mut words = format!("<presence to='{room}/c{number}'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    if number == 0 {
        let form = "<x xmlns='jabber:x:data' type='submit'/>";
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
        let _ = write!(words, "<iq type='set' id='made' to='{room}'>{query}</iq>");
    }
    session.send(words.as_bytes()).await?;
    // Whoever is in the room is shown himself last.
    let asked = Instant::now();
    while !session.hear().await?.contains("code='110'") {
        if asked.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("c{number} does not get into {room}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Those who are honest.
struct People {
    begin: Instant,
    /// Whether they say anything, and how much they have said since they were asked to.
    talks: Cell<bool>,
    said: Cell<usize>,
    /// How long messages were under way, in microseconds.
    arrivals: RefCell<Vec<u32>>,
    /// How many were cut off.
    cut: Cell<usize>,
}

impl People {
    fn new() -> Self {
        let (talks, said, arrivals, cut) = Default::default();
        Self { begin: Instant::now(), talks, said, arrivals, cut }
    }

    /// Somebody listens, and talks when it is time.
    async fn talk(self: Rc<Self>, mut session: Session, to: String) {
        let mut turn = interval(Duration::from_micros(1_000_000 / RATE));
        let mut text = Vec::new();
        let end: io::Result<()> = async {
            loop {
                tokio::select! {
                    _ = turn.tick() => {
                        if !self.talks.get() {
                            continue;
                        }
                        self.said.set(self.said.get() + 1);
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

    /// Has them talk for so long; every message is waited for.
    async fn measure(&self, server: &Server, time: Duration) -> io::Result<Heard> {
        self.arrivals.borrow_mut().clear();
        self.said.set(0);
        self.talks.set(true);
        let (started, foe) = (Instant::now(), foe());
        let (mut memory, mut counted) = (0, Counted::default());
        for look in 0.. {
            if started.elapsed() >= time {
                break;
            }
            if look % LOOKS == 0 {
                counted = counted.or(Counted::of(server, &foe).await?);
            }
            sleep(LOOK).await;
            memory = memory.max(process::memory(server.pid())?);
        }
        self.talks.set(false);
        let (silent, said) = (Instant::now(), self.said.get());
        while self.arrivals.borrow().len() < said && silent.elapsed() < PATIENCE {
            sleep(LOOK).await;
        }
        let mut arrivals = std::mem::take(&mut *self.arrivals.borrow_mut());
        let latency = Latency::of(&mut arrivals).ok_or_else(|| io::Error::other("nothing has arrived"))?;
        // One that comes twice is as wrong as one that does not come.
        let lost = said.abs_diff(arrivals.len());
        Ok(Heard { latency, arrived: arrivals.len(), lost, memory, counted })
    }
}

/// What a session takes at most whose client asks for much and reads nothing.
async fn fill(server: &Server, kit: &Kit) -> io::Result<Full> {
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
    let (empty, mut most, mut counted) = (process::memory(server.pid())?, 0, Counted::default());
    let question = "<iq type='get' id='q'><query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query></iq>";
    for piece in 0..PIECES {
        for session in &mut sessions {
            // Whoever has been closed cannot ask any more.
            let _ = session.send(question.as_bytes()).await;
        }
        most = most.max(process::memory(server.pid())?);
        if piece % LOOKS == 0 {
            counted = counted.or(Counted::of(server, "").await?);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Full { mean: most.saturating_sub(empty) / FULL as u64, largest: counted.session })
}

impl Seen {
    /// The bounds that do not hold.
    fn broken(&self) -> Vec<&'static str> {
        let [before, _, after] = self.memory;
        let counted = self.attacked.counted;
        let bounds = [
            ("latency", self.attacked.latency.p99 <= (MOST_LATENCY * self.quiet.latency.p99).max(ENOUGH)),
            ("honest messages", self.quiet.lost + self.attacked.lost == 0),
            ("honest sessions", self.disconnected == 0),
            ("memory afterwards", after as f64 <= MOST_LEFT * before as f64),
            ("memory of strangers", counted.strangers <= MOST_STRANGERS),
            ("memory of another domain", counted.domain <= MOST_DOMAIN),
            ("memory of a session", self.full.mean.max(self.full.largest) <= MOST_SESSION),
            // What is never there shows nothing by being small.
            ("what was counted", counted.strangers > 0 && counted.domain > 0 && self.full.largest > 0),
            ("attacks", self.attacks.iter().all(|(_, count)| *count > 0)),
        ];
        bounds.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect()
    }

    fn table(&self) -> String {
        let mut out = format!(
            "Machine: {}. {PEOPLE} people send {RATE} messages a second each; all limits are the defaults.\n\n\
             | | quiet | {} attacks at once | bound |\n|---|---|---|---|\n",
            machine(),
            self.attacks.len()
        );
        let line = |heard: &Heard| {
            let Latency { p50, p95, p99 } = heard.latency;
            let [p50, p95, p99] = [p50, p95, p99].map(|it| f64::from(it) / 1000.0);
            format!("{p50:.2} / {p95:.2} / {p99:.2} ms")
        };
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let [before, most, after] = self.memory.map(|bytes| bytes as f64 / 1e6);
        let (quiet, attacked, counted) = (&self.quiet, &self.attacked, self.attacked.counted);
        let _ = write!(
            out,
            "| an honest message, p50 / p95 / p99 | {} | {} | p99: twice the quiet one, or 100 ms |\n\
             | honest messages that arrived | {} | {} | |\n\
             | honest messages that were lost | {} | {} | 0 |\n\
             | honest sessions that were cut off | | {} | 0 |\n\
             | memory of the server | {before:.1} MB | {most:.1} MB at most, {after:.1} MB 30 s after the end | within 5 % |\n\
             | counted for strangers, at most | {} KiB | {} KiB | 262,144 KiB |\n\
             | counted for the hostile domain, at most | {} KiB | {} KiB | 16,384 KiB |\n\
             | memory of a session that is not read from, mean of {FULL} | | {} KiB | 1,024 KiB |\n\
             | counted for one that is not read from, the largest of {FULL} | | {} KiB | 1,024 KiB |\n\n\
             | attack | how often |\n|---|---|\n",
            line(quiet),
            line(attacked),
            quiet.arrived,
            attacked.arrived,
            quiet.lost,
            attacked.lost,
            self.disconnected,
            kib(quiet.counted.strangers),
            kib(counted.strangers),
            kib(quiet.counted.domain),
            kib(counted.domain),
            kib(self.full.mean),
            kib(self.full.largest),
        );
        for (what, count) in &self.attacks {
            let _ = writeln!(out, "| {what} | {count} |");
        }
        out
    }
}

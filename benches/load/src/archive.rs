//! What a page of a long archive costs a server: the first page, one in the middle, the last, and those of one contact.
//!
//! Comity's archives are filled by a tool of its own (`benches/load/fill_archive.rs`), those of the others by sending, with
//! as many messages as they can be filled with in reasonable time. Everything else is the same for all: one client asks,
//! one page after the other.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::{Begin, Kit, Session};
use crate::options::Options;
use crate::population::Population;
use crate::process::Clock;
use crate::report::{insert, machine, peers};
use crate::servers::{Make, Server};
use crate::tls::{self, Authority, Tickets};

/// Archives that are compared are asked in turns, so that what else the machine does falls on all of them.
const TURNS: usize = 10;

/// Pages of each kind in one turn: of the others they cost so much that a few are a second.
const PAGES: usize = 500;
const PAGES_OF_PEERS: usize = 20;

/// Pages that do not count, before the first turn.
const WARM_UP: usize = 20;

/// What a page of a long archive may cost, in pages of a short one, and what one of the better peer costs at least in ours.
const GROWTH: f64 = 1.5;
const BETTER: f64 = 20.0;

/// Accounts whose clients ask in turn.
const ASKING: usize = 20;

/// Messages between two acknowledgements while archives are filled by sending.
const LETTERS: usize = 500;

/// The beginning of what the tool fills in, in Unix time; one message a second follows.
const BEGIN: u64 = 1_577_836_800;

/// An archive, or many of them.
#[derive(Debug, Clone, Copy)]
struct Case {
    make: Make,
    accounts: usize,
    /// Of all accounts together.
    messages: usize,
}

/// CPU time per page, in the order of [`KINDS`].
type Costs = [Option<Duration>; KINDS.len()];

const KINDS: [&str; 6] = ["first", "middle, by time", "middle, by id", "last", "of a contact", "of a rare contact"];

/// A server with its archive, and who asks it.
struct Filled {
    case: Case,
    server: Server,
    sessions: Vec<Session>,
    /// What each session asks for, for each of the [`KINDS`] that there are.
    questions: [Option<Vec<String>>; KINDS.len()],
}

/// Measures every case, writes them down, and judges them.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let (short, long, sent) = if options.quick { (20_000, 100_000, 500) } else { (100_000, 10_000_000, 10_000) };
    let mut seen = Vec::new();
    for make in options.servers.iter().copied().filter(|make| *make != Make::Floor) {
        let groups: &[&[(usize, usize)]] = match make {
            Make::Comity => &[&[(1000, short), (1000, long)], &[(1, short), (1, long)]],
            _ => &[&[(1, sent)]],
        };
        for group in groups {
            let cases = group.iter().map(|&(accounts, messages)| Case { make, accounts, messages });
            for (case, costs) in compare(cases, directory).await? {
                println!("  {}", row(&case, &costs));
                seen.push((case, costs));
            }
        }
    }
    let (verdict, holds) = judge(&seen);
    let tables = format!("{}{verdict}", tables(&seen));
    match &options.document {
        Some(document) => insert(document, "measured", &tables)?,
        None => println!("{tables}"),
    }
    if holds { Ok(()) } else { Err(io::Error::other(verdict)) }
}

/// Measures archives side by side.
async fn compare(cases: impl Iterator<Item = Case>, directory: &Path) -> io::Result<Vec<(Case, Costs)>> {
    let mut filled = Vec::new();
    for case in cases {
        filled.push(case.prepare(directory).await?);
    }
    let mut costs: Vec<Costs> = vec![[None; KINDS.len()]; filled.len()];
    for kind in 0..KINDS.len() {
        for turn in 0..=TURNS {
            for (archive, costs) in filled.iter_mut().zip(&mut costs) {
                let Some(cost) = archive.turn(kind, turn == 0).await? else { continue };
                // The first turn is for getting warm.
                let sum = costs[kind].get_or_insert_default();
                *sum += if turn == 0 { Duration::ZERO } else { cost };
            }
        }
    }
    let mut seen = Vec::new();
    for (archive, mut costs) in filled.into_iter().zip(costs) {
        let pages = u32::try_from(TURNS * archive.case.pages()).unwrap_or(1);
        costs.iter_mut().flatten().for_each(|cost| *cost /= pages);
        seen.push((archive.case, costs));
        archive.close().await?;
    }
    Ok(seen)
}

impl Filled {
    /// CPU time of the server for the pages of one turn; each session asks its own query.
    async fn turn(&mut self, kind: usize, is_first: bool) -> io::Result<Option<Duration>> {
        let Some(questions) = &self.questions[kind] else { return Ok(None) };
        let mut clock = Clock::of(&[self.server.pid()])?;
        let begin = clock.read()?;
        let count = self.sessions.len();
        for page in 0..if is_first { WARM_UP } else { self.case.pages() } {
            let answer = self.sessions[page % count].query(&questions[page % count]).await?;
            if !answer.contains("<first") {
                return Err(io::Error::other(format!("nothing was found: {answer}")));
            }
        }
        Ok(Some(clock.read()?.saturating_sub(begin)))
    }

    async fn close(mut self) -> io::Result<()> {
        for session in self.sessions {
            session.close().await?;
        }
        Server::stop(std::slice::from_mut(&mut self.server))?;
        self.server.remove()
    }
}

impl Case {
    const fn pages(self) -> usize {
        if matches!(self.make, Make::Comity) { PAGES } else { PAGES_OF_PEERS }
    }

    /// Fills an archive, starts its server and says what is to be asked.
    async fn prepare(self, directory: &Path) -> io::Result<Filled> {
        let authority = Authority::new(directory)?;
        let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
        let dns = crate::servers::free_ports(1)?[0];
        // Who writes is the last.
        let chatting = self.accounts + usize::from(self.make.is_peer());
        let population = Population { chatting, others: 0, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
        let domain = format!("{}-{}-{}.archive", self.make.name(), self.accounts, self.messages);
        let mut server = Server::prepare(self.make, directory, &domain, &authority, &population, true)?;
        let mut middle = UNIX_EPOCH + Duration::from_secs(BEGIN + self.messages as u64 / 2);
        if self.make == Make::Comity {
            self.fill(&server)?;
        }
        Server::start(std::slice::from_mut(&mut server))?;
        if self.make != Make::Comity {
            middle = self.send(&server, &kit).await?;
        }
        let mut sessions = Vec::new();
        for number in 0..self.accounts.min(ASKING) {
            sessions.push(Session::login(&server.site, Begin::Direct, &format!("c{number}"), &kit).await?);
        }
        let held: u64 = sessions[0].archived().await?;
        if held != (self.messages / self.accounts) as u64 {
            return Err(io::Error::other(format!("{domain}: the archive holds {held} messages")));
        }
        let questions = self.questions(&server, &mut sessions, middle).await?;
        Ok(Filled { case: self, server, sessions, questions })
    }

    fn fill(self, server: &Server) -> io::Result<()> {
        let beside = || env::current_exe().ok().and_then(|own| Some(own.parent()?.join("examples/fill_archive")));
        let tool = env::var_os("COMITY_FILL").map(PathBuf::from).or_else(beside).unwrap_or_default();
        let mut fill = Command::new(tool);
        fill.arg(server.data()).arg(&server.site.domain);
        fill.arg(self.accounts.to_string()).arg(self.messages.to_string());
        let status = fill.status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("the archives could not be filled")) }
    }

    /// Sends everything to the first account; returns when half of it had been sent.
    async fn send(self, server: &Server, kit: &Kit) -> io::Result<SystemTime> {
        let mut reading = Session::login(&server.site, Begin::Direct, "c0", kit).await?;
        reading.appear().await?;
        let mut writing = Session::login(&server.site, Begin::Direct, &format!("c{}", self.accounts), kit).await?;
        let mut middle = SystemTime::now();
        let mut sent = 0;
        while sent < self.messages {
            if sent >= self.messages / 2 && sent < self.messages / 2 + LETTERS {
                middle = SystemTime::now();
            }
            let mut letters = String::new();
            let first = sent;
            sent = self.messages.min(first + LETTERS);
            for number in first..sent {
                let to = &server.site.domain;
                let body = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun. \
                            Arise, fair sun, and kill the envious moon, who is already sick and pale with grief.";
                let _ = write!(
                    letters,
                    "<message to='c0@{to}' type='chat' id='message-{number}'><body>{body}</body></message>"
                );
            }
            writing.send(letters.as_bytes()).await?;
            writing.synchronise().await?;
            reading.synchronise().await?;
        }
        writing.close().await?;
        reading.close().await?;
        Ok(middle)
    }

    async fn questions(
        self,
        server: &Server,
        sessions: &mut [Session],
        middle: SystemTime,
    ) -> io::Result<[Option<Vec<String>>; KINDS.len()]> {
        let contact = match self.make {
            Make::Comity => "contact3@elsewhere.example".to_owned(),
            // All of it is of the one who has sent it.
            _ => format!("c{}@{}", self.accounts, server.site.domain),
        };
        let by_time = query(&field("start", &stamp(middle)), "<max>50</max>");
        let mut ids = Vec::new();
        for session in &mut *sessions {
            let page = session.query(&by_time).await?;
            let first = page.rsplit_once("<first").and_then(|(_, rest)| rest.split_once('>'));
            let id = first.and_then(|(_, rest)| Some(rest.split_once('<')?.0.to_owned()));
            ids.push(id.ok_or_else(|| io::Error::other(format!("no page: {page}")))?);
        }
        let by_id = |id: &String| query("", &format!("<max>50</max><after>{id}</after>"));
        let with = |jid: &str| query(&field("with", jid), "<max>10</max><before/>");
        let same = |query: String| vec![query; sessions.len()];
        let (first, last) = (query("", "<max>50</max>"), query("", "<max>50</max><before/>"));
        let rare = (self.make == Make::Comity && self.accounts == 1).then(|| same(with("rare@elsewhere.example")));
        Ok([
            Some(same(first)),
            Some(same(by_time)),
            Some(ids.iter().map(by_id).collect()),
            Some(same(last)),
            Some(same(with(&contact))),
            rare,
        ])
    }
}

fn query(form: &str, page: &str) -> String {
    let form = if form.is_empty() {
        String::new()
    } else {
        let form_type = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>";
        format!("<x xmlns='jabber:x:data' type='submit'>{form_type}{form}</x>")
    };
    format!("<query xmlns='urn:xmpp:mam:2'>{form}<set xmlns='http://jabber.org/protocol/rsm'>{page}</set></query>")
}

fn field(var: &str, value: &str) -> String {
    format!("<field var='{var}'><value>{value}</value></field>")
}

/// As XEP-0082 writes it.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (i64::try_from(seconds / 86_400).unwrap_or(0), seconds % 86_400);
    // The civil date of a day number, in years that begin with March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + year;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn tables(seen: &[(Case, Costs)]) -> String {
    let mut out = format!(
        "Machine: {}. Peers: {}. CPU time of the server per page in microseconds, the mean of {} pages ({} of the \
         others), asked in {TURNS} turns, short and long archives side by side; 50 messages a page, 10 of one \
         contact.\n\n| server | accounts | messages |",
        machine(),
        peers(),
        TURNS * PAGES,
        TURNS * PAGES_OF_PEERS,
    );
    for kind in KINDS {
        let _ = write!(out, " {kind} |");
    }
    out.push_str("\n|---|---|---|---|---|---|---|---|---|\n");
    for (case, costs) in seen {
        let _ = writeln!(out, "{}", row(case, costs));
    }
    out
}

/// How our pages compare, and whether that is as it should be.
fn judge(seen: &[(Case, Costs)]) -> (String, bool) {
    let ours = || seen.iter().filter(|(case, _)| case.make == Make::Comity);
    let ratio = |above: Duration, below: Duration| above.as_secs_f64() / below.as_secs_f64().max(f64::MIN_POSITIVE);
    let (mut growth, mut better) = (None::<f64>, None::<f64>);
    for kind in 0..KINDS.len() {
        for (short, of_short) in ours() {
            for (long, of_long) in ours() {
                if short.accounts == long.accounts
                    && short.messages < long.messages
                    && let (Some(short), Some(long)) = (of_short[kind], of_long[kind])
                {
                    growth = Some(growth.unwrap_or(0.0).max(ratio(long, short)));
                }
            }
        }
        let peers = seen.iter().filter(|(case, _)| case.make.is_peer()).filter_map(|(_, costs)| costs[kind]).min();
        let own = ours().filter_map(|(_, costs)| costs[kind]).max();
        if let (Some(peers), Some(own)) = (peers, own) {
            better = Some(better.unwrap_or(f64::INFINITY).min(ratio(peers, own)));
        }
    }
    let mut verdict = String::new();
    if let Some(growth) = growth {
        let _ = write!(
            verdict,
            "\nA page of a long archive costs at most {growth:.2} pages of a short one (goal: {GROWTH})."
        );
    }
    if let Some(better) = better {
        let _ = write!(verdict, "\nA page of the better peer costs at least {better:.0} of ours (goal: {BETTER}).");
    }
    verdict.push('\n');
    (verdict, growth.is_none_or(|it| it <= GROWTH) && better.is_none_or(|it| it >= BETTER))
}

fn row(case: &Case, costs: &Costs) -> String {
    let mut row = format!("| {} | {} | {} |", case.make.name(), case.accounts, case.messages);
    for cost in costs {
        let cost = cost.map_or_else(String::new, |cost| cost.as_micros().to_string());
        let _ = write!(row, " {cost} |");
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(make: Make, messages: usize, cost: u64) -> (Case, Costs) {
        (Case { make, accounts: 1, messages }, [Some(Duration::from_micros(cost)); KINDS.len()])
    }

    #[test]
    fn a_long_archive_that_is_slow_is_no_success() {
        let peers = [page(Make::Prosody, 10, 9000), page(Make::Ejabberd, 10, 8000)];
        let judged = |short, long| {
            let ours = [page(Make::Comity, 10, short), page(Make::Comity, 1000, long)];
            judge(&[ours, peers].concat())
        };
        let (verdict, holds) = judged(300, 390);
        assert!(holds && verdict.contains("at most 1.30 ") && verdict.contains("at least 21 "), "{verdict}");
        assert!(!judged(250, 390).1);
        assert!(!judged(410, 410).1);
    }

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(BEGIN), "2020-01-01T00:00:00Z");
        assert_eq!(at(1_709_208_000), "2024-02-29T12:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
    }
}

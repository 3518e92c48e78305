//! Rooms: what a copy of a message costs, what entering costs, and what a room takes of memory. The floor writes the same
//! bytes to the same sockets.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::arrive::{enter, some_together};
use crate::bench::with_logs;
use crate::client::{Begin, Kit, Session};
use crate::hall::Hall;
use crate::meter::Measured;
use crate::options::Options;
use crate::population::Population;
use crate::process::{self, Clock};
use crate::report::{insert, machine, median, peers};
use crate::servers::{Make, Server};
use crate::targets::Bound;
use crate::tls::{self, Authority, Tickets};

/// Occupants of the rooms in which all servers are measured.
const SIZES: [usize; 2] = [100, 500];

/// Those of the room that only Comity and the floor are asked to fill.
const LARGE: usize = 5000;

/// The same where a look is enough.
const QUICK_LARGE: usize = 1000;

/// Rooms whose memory is looked at, and how many of them one session is in.
const ROOMS: usize = 10_000;
/// Peers get fewer: Prosody takes half an hour of CPU time to make and to leave ten thousand.
const PEER_ROOMS: usize = 2000;
const EACH: usize = 500;

/// Octets of a message, as in the 1:1 scenarios.
const SIZE: usize = 300;

/// Comity takes a room out of memory in which nobody has been for five minutes, and looks once a minute.
const ASLEEP: Duration = Duration::from_secs(370);

/// No room, and no look at the memory of rooms, takes longer: whatever hangs there ends the run.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// Some hundred rooms must have answered within this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// The status of one's own presence, and that of a room that did not exist before.
const OWN: &str = "110";
const CREATED: &str = "201";

/// One figure of one server in one round.
struct Figure {
    round: usize,
    make: Make,
    what: String,
    value: f64,
    note: String,
}

/// Measures everything, round by round, and writes it down.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let mut figures = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round}");
        for make in options.servers.iter().copied() {
            let directory = directory.join(format!("{}-{round}", make.name()));
            measure(make, round, options, &directory, &mut figures).await?;
        }
    }
    let tables = tables(options, &figures);
    match &options.document {
        Some(document) => insert(document, "measured", &tables)?,
        None => println!("{tables}"),
    }
    match broken(options, &figures).as_slice() {
        [] => Ok(()),
        broken => Err(io::Error::other(format!("a bound does not hold: {}", broken.join("; ")))),
    }
}

async fn measure(
    make: Make,
    round: usize,
    options: &Options,
    directory: &Path,
    figures: &mut Vec<Figure>,
) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let authority = Authority::new(directory)?;
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let dns = crate::servers::free_ports(1)?[0];
    let large = if options.quick { QUICK_LARGE } else { LARGE };
    let sizes: Vec<usize> = SIZES.into_iter().chain((!make.is_peer()).then_some(large)).collect();
    // The last one speaks, and makes the rooms.
    let chatting = sizes.iter().max().copied().unwrap_or(0) + 1;
    let population = Population { chatting, others: 0, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let domain = format!("rooms-{}.bench", make.name());
    let mut server = Server::prepare(make, directory, &domain, &authority, &population, false)?;
    Server::start(std::slice::from_mut(&mut server))?;
    let mut bench = Bench { make, round, options, kit: &kit, server: &server, figures: &mut *figures };
    let done = async {
        for (group, size) in (1_u64..).zip(sizes) {
            in_time(&format!("a room of {size}"), bench.room(group << 32, size)).await?;
        }
        Ok(())
    };
    let mut done: io::Result<()> = done.await;
    // A server that is given the same takes the same: it is looked at once.
    if done.is_ok() && make != Make::Floor && round == 1 {
        // What thousands of sessions have left is no matter of rooms.
        Server::stop(std::slice::from_mut(&mut server))?;
        Server::start(std::slice::from_mut(&mut server))?;
        let mut bench = Bench { make, round, options, kit: &kit, server: &server, figures };
        done = in_time("the memory of rooms", bench.memory()).await;
    }
    let done = done.map_err(|error| with_logs([&server].into_iter(), &error));
    Server::stop(std::slice::from_mut(&mut server))?;
    done?;
    server.remove()
}

async fn in_time(what: &str, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long")));
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| late())
}

struct Bench<'a> {
    make: Make,
    round: usize,
    options: &'a Options,
    kit: &'a Kit,
    server: &'a Server,
    figures: &'a mut Vec<Figure>,
}

impl Bench<'_> {
    fn note(&mut self, what: String, value: f64, note: String) -> io::Result<()> {
        eprintln!("  {what:40} {:9} {value:>10.2}  {note}", self.make.name());
        if value <= 0.0 {
            return Err(io::Error::other(format!("{what}: {value} is no figure")));
        }
        self.figures.push(Figure { round: self.round, make: self.make, what, value, note });
        Ok(())
    }

    /// One room: all enter, then somebody speaks.
    async fn room(&mut self, group: u64, size: usize) -> io::Result<()> {
        let roots = [self.server.pid()];
        let is_floor = self.make == Make::Floor;
        let member = enter(self.server, self.kit, b'F', group, 'c', Begin::Direct);
        let sessions = some_together((0..size).map(member)).await?;
        let room = format!("hall{size}@rooms.{}", self.server.site.domain);
        let mut speaker = match is_floor {
            true => Session::floor(&self.server.site, b'S', group | size as u64, self.kit).await?,
            false => self.log_in(size).await?,
        };
        if !is_floor {
            speaker.send(entrance(&room, "speaker").as_bytes()).await?;
            speaker.synchronise().await?;
            // In a room as large as that nobody wants to be told of everybody.
            let quiet = "<field var='muc#roomconfig_presencebroadcast'><value>moderator</value></field>";
            speaker.send(configured(&room, if size > SIZES[1] { quiet } else { "" }).as_bytes()).await?;
            speaker.synchronise().await?;
        }
        let mut clock = Clock::of(&roots)?;
        let before = clock.read()?;
        let hall = Hall::open(sessions, |number| (!is_floor).then(|| entrance(&room, &format!("n{number}"))));
        let expected = match size {
            _ if is_floor => 0,
            _ if size > SIZES[1] => size,
            _ => size * size,
        };
        let presences = hall.settle(expected as u64).await?;
        let spent = clock.read()?.saturating_sub(before);
        if !is_floor {
            let us = spent.as_secs_f64() * 1e6 / presences as f64;
            self.note(presence(size), us, format!("{presences} presences"))?;
        }
        let message = if is_floor { message("x@y", "") } else { message(&room, " type='groupchat'") };
        let (speaker, measured) = hall.speak(speaker, message, &roots, self.options.length()).await?;
        let Measured { us_per_unit, units, cpu_seconds, latency, .. } = measured;
        let latency = latency.map(|it| format!("p50 {} p95 {} us, ", it.p50, it.p95)).unwrap_or_default();
        self.note(copy(size), us_per_unit, format!("{latency}{units} copies, {cpu_seconds:.1} s"))?;
        speaker.close().await?;
        hall.close().await
    }

    async fn log_in(&self, number: usize) -> io::Result<Session> {
        Session::login(&self.server.site, Begin::Direct, &format!("c{number}"), self.kit).await
    }

    /// Rooms that stay and are empty, then the same with one occupant each.
    async fn memory(&mut self) -> io::Result<()> {
        let rooms = if self.make.is_peer() { PEER_ROOMS } else { ROOMS };
        let rooms = if self.options.quick { rooms / 10 } else { rooms };
        let rest = self.options.rest();
        tokio::time::sleep(rest).await;
        let before = process::memory(self.server.pid())?;
        let domain = self.server.site.domain.clone();
        let room = |number: usize| format!("room{number}@rooms.{domain}");
        let parts = || (0..rooms).step_by(EACH).map(|first| first..rooms.min(first + EACH));
        let mut maker = self.log_in(0).await?;
        let persistent = "<field var='muc#roomconfig_persistentroom'><value>1</value></field>";
        for part in parts() {
            let some = || part.clone().map(room);
            let leave = |room: String| format!("<presence type='unavailable' to='{room}/owner'/>");
            for (words, sign) in [
                (some().map(|room| entrance(&room, "owner")).collect::<String>(), OWN),
                (some().map(|room| configured(&room, persistent)).collect(), "configured"),
                (some().map(leave).collect(), OWN),
            ] {
                say(&mut maker, &words, part.len(), sign).await?;
            }
        }
        maker.close().await?;
        tokio::time::sleep(rest).await;
        let per = |full: u64| full.saturating_sub(before) as f64 / rooms as f64;
        let empty = process::memory(self.server.pid())?;
        self.note("memory of a room, empty".to_owned(), per(empty), format!("{rooms} rooms"))?;
        if self.make == Make::Comity && self.round == 1 && !self.options.quick {
            tokio::time::sleep(ASLEEP).await;
            let asleep = process::memory(self.server.pid())?;
            self.note("memory of a room, empty for six minutes".to_owned(), per(asleep), format!("{rooms} rooms"))?;
        }
        let mut occupants = Vec::new();
        for part in parts() {
            let mut session = self.log_in(occupants.len()).await?;
            let words: String = part.clone().map(|number| entrance(&room(number), "n")).collect();
            let heard = say(&mut session, &words, part.len(), OWN).await?;
            if count(&heard, CREATED) > 0 {
                return Err(io::Error::other("the rooms have not stayed"));
            }
            occupants.push(session);
        }
        tokio::time::sleep(rest).await;
        let active = process::memory(self.server.pid())?;
        self.note("memory of a room, one occupant".to_owned(), per(active), format!("{rooms} rooms"))?;
        for session in occupants {
            session.close().await?;
        }
        Ok(())
    }
}

/// Says something to so many rooms and waits until each has given this sign; what was heard meanwhile.
async fn say(session: &mut Session, words: &str, rooms: usize, sign: &str) -> io::Result<String> {
    session.send(words.as_bytes()).await?;
    let (started, mut given, mut all) = (Instant::now(), 0, String::new());
    while given < rooms {
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{given} of {rooms} rooms have answered: {sign}")));
        }
        let heard = session.hear().await?;
        given += count(&heard, sign);
        all += &heard;
    }
    match count(&all, "error") {
        0 => Ok(all),
        errors => Err(io::Error::other(format!("{errors} of {rooms} rooms have refused"))),
    }
}

/// How often an attribute has this value, in whatever quotes.
fn count(text: &str, value: &str) -> usize {
    text.matches(&format!("'{value}'")).count() + text.matches(&format!("\"{value}\"")).count()
}

fn entrance(room: &str, nick: &str) -> String {
    format!("<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}

/// The owner has the room be as it is by default, but for these fields.
fn configured(room: &str, fields: &str) -> String {
    let about = "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value></field>";
    format!(
        "<iq type='set' id='configured' to='{room}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
         <x xmlns='jabber:x:data' type='submit'>{about}{fields}</x></query></iq>"
    )
}

fn message(to: &str, kind: &str) -> Rc<[u8]> {
    let (head, tail) = (format!("<message to='{to}'{kind} id='m1'><body>"), "</body></message>");
    let body = "It is a truth universally acknowledged, that a single man must be in want of a server. ".repeat(4);
    format!("{head}{}{tail}", &body[..SIZE - head.len() - tail.len()]).into_bytes().into()
}

/// What Comity is held against in a row.
fn bounds(row: &str) -> &'static [Bound] {
    let is_for_all = |name: fn(usize) -> String| SIZES.iter().any(|size| *row == name(*size));
    match row {
        _ if is_for_all(copy) => &[Bound::Floor(1.5), Bound::Peer(8.0)],
        _ if row.starts_with("copy") => &[Bound::Floor(1.5)],
        _ if is_for_all(presence) => &[Bound::Peer(8.0)],
        _ => &[],
    }
}

fn copy(size: usize) -> String {
    format!("copy, {size} occupants")
}

fn presence(size: usize) -> String {
    format!("presence of those who enter, {size}")
}

fn tables(options: &Options, figures: &[Figure]) -> String {
    let mut out =
        format!("Machine: {}. Peers: {}. {} rounds, medians.\n\n| what |", machine(), peers(), options.rounds);
    if options.quick {
        out.insert_str(0, "A quick run: good for a look, not for a comparison.\n\n");
    }
    for make in &options.servers {
        let _ = write!(out, " {} |", make.name());
    }
    let _ = writeln!(
        out,
        " must | ratio to the bound | holds |\n|---|{}---|---|---|",
        "---|".repeat(options.servers.len())
    );
    let mut rows: Vec<&str> = Vec::new();
    for figure in figures {
        if !rows.contains(&figure.what.as_str()) {
            rows.push(&figure.what);
        }
    }
    for row in rows {
        let _ = write!(out, "| {row} |");
        for make in &options.servers {
            let of = figures.iter().filter(|figure| figure.what == row && figure.make == *make);
            let unit = if row.starts_with("memory") { "B" } else { "us" };
            let cell = median(of.map(|figure| figure.value).collect());
            let _ = write!(out, " {} |", cell.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} {unit}")));
        }
        let (mut must, mut ratio, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        for bound in bounds(row) {
            let each = in_rounds(options, figures, row, *bound);
            must.push(bound.to_string());
            holds.push(format!("{} of {}", each.iter().filter(|ratio| **ratio <= 1.0).count(), each.len()));
            ratio.push(median(each).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
        }
        for cells in [must, ratio, holds] {
            let _ = write!(out, " {} |", if cells.is_empty() { "-".to_owned() } else { cells.join("; ") });
        }
        out.push('\n');
    }
    out.push('\n');
    for Figure { round, make, what, value, note } in figures {
        let _ = writeln!(out, "- {what}, {}, round {round}: {value:.1}, {note}", make.name());
    }
    out
}

/// The bounds that do not hold, in the median of the rounds, and those that were to be judged and were not. Whoever leaves
/// servers out does not want to know what is held against them.
fn broken(options: &Options, figures: &[Figure]) -> Vec<String> {
    let has = |make| options.servers.contains(&make);
    if !has(Make::Comity) {
        return Vec::new();
    }
    let large = if options.quick { QUICK_LARGE } else { LARGE };
    let sizes = || SIZES.into_iter();
    let rows = sizes().chain([large]).map(copy).chain(sizes().map(presence));
    let bounds = rows.flat_map(|row| bounds(&row).iter().map(move |bound| (row.clone(), *bound)).collect::<Vec<_>>());
    let judged = bounds.filter(|(_, bound)| match bound {
        Bound::Floor(_) => has(Make::Floor),
        Bound::Peer(_) => has(Make::Prosody) || has(Make::Ejabberd),
        Bound::Own(..) | Bound::Bytes(_) => false,
    });
    let fails = judged.filter_map(|(row, bound)| match median(in_rounds(options, figures, &row, bound)) {
        Some(ratio) if ratio <= 1.0 => None,
        Some(ratio) => Some(format!("{row}: {ratio:.2} of {bound}")),
        None => Some(format!("{row}: nothing to hold against {bound}")),
    });
    fails.collect()
}

/// What Comity takes in each round, as a part of what it may take.
fn in_rounds(options: &Options, figures: &[Figure], row: &str, bound: Bound) -> Vec<f64> {
    (1..=options.rounds).filter_map(|round| held(figures, row, bound, round)).collect()
}

/// What Comity takes in a round, as a part of what it may take.
fn held(figures: &[Figure], row: &str, bound: Bound, round: usize) -> Option<f64> {
    let of = |make| {
        let mut of = figures.iter().filter(|it| it.what == row && it.round == round && it.make == make);
        of.next().map(|figure| figure.value)
    };
    let most = match bound {
        Bound::Floor(times) => of(Make::Floor)? * times,
        Bound::Peer(part) => {
            let peers = [Make::Prosody, Make::Ejabberd].into_iter().filter_map(of);
            peers.reduce(f64::min)? / part
        }
        Bound::Own(..) | Bound::Bytes(_) => return None,
    };
    Some(of(Make::Comity)? / most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_held_against_itself() {
        let figure = |round, make, value| Figure { round, make, what: copy(100), value, note: String::new() };
        let figures = [
            figure(1, Make::Comity, 6.0),
            figure(1, Make::Floor, 5.0),
            figure(1, Make::Prosody, 300.0),
            figure(1, Make::Ejabberd, 80.0),
            figure(2, Make::Comity, 9.0),
            figure(2, Make::Floor, 5.0),
        ];
        let [floor, peer] = bounds(&copy(100)) else { panic!("two bounds") };
        assert_eq!(held(&figures, &copy(100), *floor, 1), Some(0.8));
        assert_eq!(held(&figures, &copy(100), *floor, 2), Some(1.2));
        assert_eq!(held(&figures, &copy(100), *peer, 1), Some(0.6));
        assert_eq!(held(&figures, &copy(100), *peer, 2), None);
        assert_eq!((bounds(&copy(LARGE)).len(), bounds(&copy(1000)).len()), (1, 1));
        assert_eq!((bounds(&presence(500)).len(), bounds(&presence(LARGE)).len()), (1, 0));
        assert!(bounds("memory of a room, empty").is_empty());
    }

    #[test]
    fn what_is_missed_or_not_judged_is_named() {
        let mut options = Options::parse(["--quick".to_owned()].into_iter()).unwrap().unwrap();
        let mut figures = Vec::new();
        let mut note = |make, what: String, value| {
            figures.push(Figure { round: 1, make, what, value, note: String::new() });
        };
        for size in [100, 500, QUICK_LARGE] {
            note(Make::Floor, copy(size), 10.0);
            note(Make::Comity, copy(size), 15.0);
        }
        for row in SIZES.into_iter().flat_map(|size| [copy(size), presence(size)]) {
            note(Make::Prosody, row.clone(), 200.0);
            note(Make::Ejabberd, row, 160.0);
        }
        SIZES.into_iter().for_each(|size| note(Make::Comity, presence(size), 20.0));
        assert!(broken(&options, &figures).is_empty());
        let last = figures.last_mut().unwrap();
        last.value = 21.0;
        assert_eq!(broken(&options, &figures), ["presence of those who enter, 500: 1.05 of 1/8 of the better peer"]);
        figures.retain(|figure| figure.what != copy(QUICK_LARGE));
        assert_eq!(broken(&options, &figures)[0], "copy, 1000 occupants: nothing to hold against 1.5 x floor");
        options.servers = vec![Make::Comity];
        assert!(broken(&options, &figures).is_empty());
    }
}

//! Growth: the same figures with few sessions and with many, up to the limit of descriptors, and with short rosters and
//! long ones.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::arrive::{PAIRS, close, enter, pair_up, source, together};
use crate::bench::with_logs;
use crate::chat::{self, Pace, Pair};
use crate::client::{Begin, Kit, Session};
use crate::crowd::{Crowd, settle};
use crate::login;
use crate::meter::Measured;
use crate::options::Options;
use crate::population::{Population, befriend};
use crate::process;
use crate::report::{Report, Value};
use crate::servers::{Make, Server};
use crate::tls::Authority;

/// Sessions that a process with 20,000 descriptors can hold beside everything else, and those it is compared with.
const SESSIONS: (usize, usize) = (2_000, 18_000);

/// Contacts that a change of presence goes to.
const REACH: (usize, usize) = (20, 200);

/// Contacts in short and long rosters; they are never there, so that only what is meant to grow does.
const ROSTER: (usize, usize) = (20, 200);

/// How often everything is measured: single figures differ by more than what is looked for.
const TURNS: usize = 3;

/// The group of all who listen.
const GROUP: u64 = 1 << 60;

/// How messages are written.
const PACES: [(&str, Pace); 2] = [("chat-saturated", Pace::Saturated), ("chat-2000", Pace::PerSecond(2_000))];

/// A fixed rate is looked at for so long in each turn.
const RATED: Duration = Duration::from_secs(5);

/// Measures Comity and the floor, whichever are wanted, in turns.
pub async fn run(
    options: &Options,
    directory: &Path,
    authority: &Authority,
    kit: &Kit,
    report: &mut Report,
) -> io::Result<()> {
    let allowed = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let room = allowed.unwrap_or(usize::MAX).saturating_sub(2_000);
    let (few, many) = if options.quick { (200, 2_000) } else { SESSIONS };
    if room < many {
        return Err(io::Error::other(format!("{many} sessions take more descriptors than are allowed")));
    }
    let turns = if options.quick { 1 } else { TURNS };
    let dns = crate::servers::free_ports(1)?[0];
    let (chatting, broadcasters) = (2 * PAIRS, vec![REACH.0, REACH.1]);
    let population = Population { chatting, others: chatting, ring: many, reach: 0, broadcasters, dns };
    let mut all = Vec::new();
    for make in [Make::Comity, Make::Floor].into_iter().filter(|make| options.servers.contains(make)) {
        let domain = format!("grown-{}.bench", make.name());
        let server = Server::prepare(make, directory, &domain, authority, &population, false)?;
        let mut growth = Growth { options, kit, make, server };
        let prepared = async {
            growth.prepare(&population, report).await?;
            growth.rosters(turns, report).await
        };
        let prepared = prepared.await;
        prepared.map_err(|error| with_logs([&growth.server].into_iter(), &error))?;
        all.push(growth);
    }
    for turn in 1..=turns {
        report.begin("growth, turn", turn);
        for growth in &mut all {
            let done = growth.sessions(few, many, turn, report).await;
            done.map_err(|error| with_logs([&growth.server].into_iter(), &error))?;
        }
    }
    Ok(())
}

struct Growth<'a> {
    options: &'a Options,
    kit: &'a Kit,
    make: Make,
    server: Server,
}

impl Growth<'_> {
    async fn prepare(&mut self, population: &Population, report: &mut Report) -> io::Result<()> {
        let started = Instant::now();
        Server::start(std::slice::from_mut(&mut self.server))?;
        if self.make == Make::Comity {
            befriend(&self.server, population, self.kit).await?;
            self.fill_rosters('c', population.chatting, ROSTER.0).await?;
            self.fill_rosters('d', population.others, ROSTER.1).await?;
            self.fill_rosters('u', population.ring, ROSTER.0).await?;
            Server::stop(std::slice::from_mut(&mut self.server))?;
            Server::start(std::slice::from_mut(&mut self.server))?;
        }
        report.book("growth: preparation", Some(self.make), started);
        Ok(())
    }

    /// Everyone of a kind writes contacts into their own roster.
    async fn fill_rosters(&self, kind: char, count: usize, contacts: usize) -> io::Result<()> {
        let site = &self.server.site;
        let items = (0..contacts).map(|at| {
            format!(
                "<iq type='set' id='i{at}'><query xmlns='jabber:iq:roster'><item jid='w{at}@{}'/></query></iq>",
                site.domain
            )
        });
        let items: Rc<str> = items.collect::<String>().into();
        let tasks = (0..64).map(|first| {
            let (site, kit, items) = (site.clone(), self.kit.clone(), Rc::clone(&items));
            async move {
                for number in (first..count).step_by(64) {
                    let mut session = Session::login(&site, Begin::Direct, &format!("{kind}{number}"), &kit).await?;
                    session.send(items.as_bytes()).await?;
                    session.synchronise().await?;
                    session.close().await?;
                }
                Ok(())
            }
        });
        together(tasks).await.map(drop)
    }

    /// Messages and logins of those who have short and long rosters, which floors do not have.
    async fn rosters(&mut self, turns: usize, report: &mut Report) -> io::Result<()> {
        if self.make == Make::Floor {
            return Ok(());
        }
        let (started, kinds) = (Instant::now(), [("1x", 'c'), ("10x", 'd')]);
        let mut pairs = Vec::new();
        for (_, kind) in kinds {
            pairs.push(pair_up(&self.server, &self.server, self.kit, 0, kind, 0).await?);
        }
        for turn in 1..=turns {
            report.begin("rosters, turn", turn);
            for ((label, _), pairs) in kinds.iter().zip(&mut pairs) {
                for (name, pace) in PACES {
                    let measured = self.chat(pairs, pace).await?;
                    report.add(&format!("roster-{name}-{label}"), self.make, Value::Work(measured));
                }
            }
        }
        close(pairs.into_iter().flatten()).await?;
        for turn in 1..=turns {
            report.begin("logins with rosters, turn", turn);
            for (label, kind) in kinds {
                let (site, kit) = (self.server.site.clone(), self.kit.clone());
                let enter = move |number: usize| {
                    let (site, kit) = (site.clone(), kit.clone());
                    async move { Session::login(&site, Begin::Direct, &format!("{kind}{number}"), &kit).await }
                };
                let roots = [self.server.pid()];
                let (measured, _) = login::run(2 * PAIRS, &roots, self.options.length(), enter).await?;
                report.add(&format!("roster-login-{label}"), self.make, Value::Work(measured));
            }
        }
        report.book("growth: rosters", Some(self.make), started);
        Ok(())
    }

    async fn chat(&self, pairs: &mut Vec<Pair>, pace: Pace) -> io::Result<Measured> {
        let mut length = self.options.length();
        if pace != Pace::Saturated {
            length.longest = length.longest.min(RATED);
        }
        let (back, measured) = chat::run(std::mem::take(pairs), pace, &[self.server.pid()], length).await?;
        *pairs = back;
        Ok(measured)
    }

    /// Everything with few sessions, with many, and with few again, so that what changes with the time does not look like
    /// growth; in the first turn, before which others have come and gone, also their memory.
    async fn sessions(&mut self, few: usize, many: usize, turn: usize, report: &mut Report) -> io::Result<()> {
        if turn > 1 {
            Server::start(std::slice::from_mut(&mut self.server))?;
        }
        let mut pairs = pair_up(&self.server, &self.server, self.kit, 1 << 32, 'c', 0).await?;
        let empty = if turn == 1 { Some(self.memory().await?) } else { None };
        let mut crowds = vec![self.gather(0..few, report).await?];
        self.weigh("1x", few, empty, report).await?;
        let short = self.presence(&crowds, REACH.0).await?;
        report.add("roster-presence-1x", self.make, Value::Work(short));
        let before = self.figures(&crowds, &mut pairs, report).await?;
        crowds.push(self.gather(few..many, report).await?);
        self.weigh("10x", many, empty, report).await?;
        let grown = self.figures(&crowds, &mut pairs, report).await?;
        let mut alive = self.dismiss(crowds.pop(), report).await?;
        let after = self.figures(&crowds, &mut pairs, report).await?;
        for (((name, before), (_, after)), (_, grown)) in before.into_iter().zip(after).zip(grown) {
            report.add(&format!("growth-{name}-1x"), self.make, Value::Work(before.and(after)?));
            report.add(&format!("growth-{name}-10x"), self.make, Value::Work(grown));
        }
        alive += self.dismiss(crowds.pop(), report).await?;
        report.add("growth-sessions", self.make, Value::Count(many as u64));
        report.add("growth-alive", self.make, Value::Count(alive));
        if alive < many as u64 {
            report.fail(&format!("growth: of {many} sessions on {} only {alive} are alive", self.make.name()));
        }
        close(pairs.into_iter()).await?;
        Server::stop(std::slice::from_mut(&mut self.server))
    }

    async fn gather(&self, numbers: Range<usize>, report: &mut Report) -> io::Result<Crowd> {
        let (started, first) = (Instant::now(), numbers.start);
        let enter = enter(&self.server, self.kit, b'F', GROUP, 'u', Begin::Direct);
        let crowd = Crowd::gather(numbers.len(), None, move |number| enter(number + first)).await?;
        settle(std::slice::from_ref(&crowd)).await?;
        report.book("growth: a crowd comes", Some(self.make), started);
        Ok(crowd)
    }

    /// All answer and go; how many did.
    async fn dismiss(&self, crowd: Option<Crowd>, report: &mut Report) -> io::Result<u64> {
        let started = Instant::now();
        let alive = match crowd {
            Some(crowd) => crowd.roll_call().await?,
            None => 0,
        };
        report.book("growth: a crowd goes", Some(self.make), started);
        Ok(alive)
    }

    /// What each session takes, if it is known what there was without them.
    async fn weigh(&self, label: &str, count: usize, empty: Option<(u64, u64)>, report: &mut Report) -> io::Result<()> {
        let Some((empty, kernel)) = empty else { return Ok(()) };
        let started = Instant::now();
        let each = |bytes: u64, before: u64| Value::Bytes(bytes.saturating_sub(before) / count as u64);
        let (full, kernels) = self.memory().await?;
        report.add(&format!("growth-memory-{label}"), self.make, each(full, empty));
        // Both ends of every connection are on this machine.
        report.add(&format!("growth-kernel-{label}"), self.make, each(kernels / 2, kernel / 2));
        report.book("growth: memory", Some(self.make), started);
        Ok(())
    }

    /// What presence and messages cost now, by name.
    async fn figures(
        &self,
        crowds: &[Crowd],
        pairs: &mut Vec<Pair>,
        report: &mut Report,
    ) -> io::Result<Vec<(&'static str, Measured)>> {
        let started = Instant::now();
        let mut all = vec![("presence", self.presence(crowds, REACH.1).await?)];
        for (name, pace) in PACES {
            all.push((name, self.chat(pairs, pace).await?));
        }
        report.book("growth: measurements", Some(self.make), started);
        Ok(all)
    }

    /// What the server and the kernel hold when everybody has been idle for a while.
    async fn memory(&self) -> io::Result<(u64, u64)> {
        tokio::time::sleep(self.options.rest()).await;
        Ok((process::memory(self.server.pid())?, process::kernel_memory()?))
    }

    async fn presence(&self, crowds: &[Crowd], reach: usize) -> io::Result<Measured> {
        let source = source(&self.server, self.kit, GROUP, reach).await?;
        settle(crowds).await?;
        let roots = [self.server.pid()];
        let (source, measured) = crowds[0].broadcast(source, reach, &roots, self.options.length()).await?;
        source.close().await?;
        settle(crowds).await?;
        Ok(measured)
    }
}

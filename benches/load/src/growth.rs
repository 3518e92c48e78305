//! Growth: the same figures with few sessions and with many, up to the limit of descriptors, and with short rosters and
//! long ones.

use std::io;
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
                *pairs = self.chat("roster", label, std::mem::take(pairs), report).await?;
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

    async fn chat(&self, what: &str, label: &str, mut pairs: Vec<Pair>, report: &mut Report) -> io::Result<Vec<Pair>> {
        for (name, pace) in [("saturated", Pace::Saturated), ("2000", Pace::PerSecond(2_000))] {
            let mut length = self.options.length();
            if pace != Pace::Saturated {
                length.longest = length.longest.min(RATED);
            }
            let (back, measured) = chat::run(pairs, pace, &[self.server.pid()], length).await?;
            pairs = back;
            report.add(&format!("{what}-chat-{name}-{label}"), self.make, Value::Work(measured));
        }
        Ok(pairs)
    }

    /// Everything with few sessions and with many; in the first turn, before which others have come and gone, also their
    /// memory.
    async fn sessions(&mut self, few: usize, many: usize, turn: usize, report: &mut Report) -> io::Result<()> {
        let (group, make) = (1 << 60, self.make);
        if turn > 1 {
            Server::start(std::slice::from_mut(&mut self.server))?;
        }
        let mut pairs = pair_up(&self.server, &self.server, self.kit, 1 << 32, 'c', 0).await?;
        let before = if turn == 1 { Some(self.memory().await?) } else { None };
        let mut crowds: Vec<Crowd> = Vec::new();
        for (label, here, count) in [("1x", 0, few), ("10x", few, many)] {
            let started = Instant::now();
            let enter = enter(&self.server, self.kit, b'F', group, 'u', Begin::Direct);
            crowds.push(Crowd::gather(count - here, None, move |number| enter(number + here)).await?);
            settle(&crowds).await?;
            report.book("growth: a crowd comes", Some(make), started);
            let started = Instant::now();
            if let Some((empty, kernel)) = before {
                let each = |bytes: u64, before: u64| Value::Bytes(bytes.saturating_sub(before) / count as u64);
                let (full, kernels) = self.memory().await?;
                report.add(&format!("growth-memory-{label}"), make, each(full, empty));
                // Both ends of every connection are on this machine.
                report.add(&format!("growth-kernel-{label}"), make, each(kernels / 2, kernel / 2));
            }
            self.presence(&crowds, (group, REACH.1), &format!("growth-presence-{label}"), report).await?;
            if here == 0 {
                self.presence(&crowds, (group, REACH.0), "roster-presence-1x", report).await?;
            }
            pairs = self.chat("growth", label, pairs, report).await?;
            report.book("growth: measurements", Some(make), started);
        }
        let started = Instant::now();
        close(pairs.into_iter()).await?;
        let mut alive = 0;
        for crowd in crowds {
            alive += crowd.roll_call().await?;
        }
        report.add("growth-sessions", make, Value::Count(many as u64));
        report.add("growth-alive", make, Value::Count(alive));
        Server::stop(std::slice::from_mut(&mut self.server))?;
        report.book("growth: a crowd goes", Some(make), started);
        Ok(())
    }

    /// What the server and the kernel hold when everybody has been idle for a while.
    async fn memory(&self) -> io::Result<(u64, u64)> {
        tokio::time::sleep(self.options.rest()).await;
        Ok((process::memory(self.server.pid())?, process::kernel_memory()?))
    }

    async fn presence(
        &self,
        crowds: &[Crowd],
        (group, reach): (u64, usize),
        scenario: &str,
        report: &mut Report,
    ) -> io::Result<()> {
        let source = source(&self.server, self.kit, group, reach).await?;
        settle(crowds).await?;
        let roots = [self.server.pid()];
        let (source, measured) = crowds[0].broadcast(source, reach, &roots, self.options.length()).await?;
        source.close().await?;
        settle(crowds).await?;
        report.add(scenario, self.make, Value::Work(measured));
        Ok(())
    }
}

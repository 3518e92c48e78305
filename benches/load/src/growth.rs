//! Growth: the same figures with few sessions and with ten times as many, up to the limit of descriptors.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};

use crate::arrive::{PAIRS, close, enter, pair_up, source, together};
use crate::bench::with_logs;
use crate::chat::{self, Pace};
use crate::client::{Begin, Kit, Session};
use crate::crowd::{Crowd, settle};
use crate::options::Options;
use crate::population::{Population, befriend};
use crate::process;
use crate::report::{Report, Value};
use crate::servers::{Make, Server};
use crate::tls::Authority;

/// Sessions that a process with 20,000 descriptors can hold beside everything else.
const MOST: usize = 18_000;

/// Contacts that a change of presence goes to.
const REACH: usize = 200;

/// Contacts in every roster; they are never there, so that only the number of sessions grows.
const ROSTER: usize = 20;

/// Measures Comity and the floor, whichever are wanted.
pub async fn run(
    options: &Options,
    directory: &Path,
    authority: &Authority,
    kit: &Kit,
    report: &mut Report,
) -> io::Result<()> {
    let allowed = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let most =
        if options.quick { 2_000 } else { MOST }.min(allowed.unwrap_or(usize::MAX).saturating_sub(2_000)) / 10 * 10;
    let dns = crate::servers::free_ports(1)?[0];
    let population = Population { chatting: 2 * PAIRS, ring: most, reach: 0, broadcasters: vec![REACH], dns };
    for make in [Make::Comity, Make::Floor].into_iter().filter(|make| options.servers.contains(make)) {
        let domain = format!("grown-{}.bench", make.name());
        let mut server = Server::prepare(make, directory, &domain, authority, &population, false)?;
        let done = grow(&mut server, &population, options, kit, report).await;
        done.map_err(|error| with_logs([&server].into_iter(), &error))?;
    }
    Ok(())
}

/// Everyone writes contacts into their own roster.
async fn fill_rosters(server: &Server, count: usize, kit: &Kit) -> io::Result<()> {
    let (site, kit) = (Rc::new(server.site.clone()), kit.clone());
    let tasks = (0..16).map(|first| {
        let (site, kit) = (Rc::clone(&site), kit.clone());
        async move {
            for number in (first..count).step_by(16) {
                let mut session = Session::login(&site, Begin::Direct, &format!("u{number}"), &kit).await?;
                let items: String = (0..ROSTER)
                    .map(|at| {
                        format!(
                            "<iq type='set' id='i{at}'><query xmlns='jabber:iq:roster'><item jid='w{at}@{}'/></query></iq>",
                            site.domain
                        )
                    })
                    .collect();
                session.send(items.as_bytes()).await?;
                session.synchronise().await?;
                session.close().await?;
            }
            Ok(())
        }
    });
    together(tasks).await.map(drop)
}

async fn grow(
    server: &mut Server,
    population: &Population,
    options: &Options,
    kit: &Kit,
    report: &mut Report,
) -> io::Result<()> {
    let (make, most, started) = (server.make, population.ring, Instant::now());
    Server::start(std::slice::from_mut(server))?;
    if make == Make::Comity {
        befriend(server, population, kit).await?;
        fill_rosters(server, most, kit).await?;
        Server::stop(std::slice::from_mut(server))?;
        Server::start(std::slice::from_mut(server))?;
    }
    report.book("growth: preparation", Some(make), started);
    let (group, roots) = (1 << 60, [server.pid()]);
    let mut pairs = pair_up(server, server, kit, 0, 'c', 0).await?;
    let empty = process::memory(server.pid())?;
    let mut crowds: Vec<Crowd> = Vec::new();
    for (label, count, before) in [("1x", most / 10, 0), ("10x", most, most / 10)] {
        let started = Instant::now();
        let enter = enter(server, kit, b'F', group, 'u', Begin::Direct);
        crowds.push(Crowd::gather(count - before, None, move |number| enter(number + before)).await?);
        settle(&crowds).await?;
        report.book("growth: a crowd comes", Some(make), started);
        let started = Instant::now();
        tokio::time::sleep(options.rest()).await;
        let full = process::memory(server.pid())?;
        report.add(&format!("growth-memory-{label}"), make, Value::Bytes((full - empty) / count as u64));
        let source = source(server, kit, group, REACH).await?;
        settle(&crowds).await?;
        let (source, measured) = crowds[0].broadcast(source, REACH, &roots, options.length()).await?;
        source.close().await?;
        settle(&crowds).await?;
        report.add(&format!("growth-presence-{label}"), make, Value::Work(measured));
        for (name, pace) in [("saturated", Pace::Saturated), ("2000", Pace::PerSecond(2_000))] {
            let (back, measured) = chat::run(pairs, pace, &roots, options.length()).await?;
            pairs = back;
            report.add(&format!("growth-chat-{name}-{label}"), make, Value::Work(measured));
        }
        report.book("growth: measurements", Some(make), started);
    }
    let started = Instant::now();
    close(pairs.into_iter()).await?;
    together(crowds.into_iter().map(Crowd::leave)).await?;
    Server::stop(std::slice::from_mut(server))?;
    report.book("growth: a crowd goes", Some(make), started);
    Ok(())
}

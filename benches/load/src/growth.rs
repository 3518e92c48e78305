//! Growth: the same figures with few sessions and with ten times as many, up to the limit of descriptors.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};
use tokio::task::spawn_local;

use crate::bench::{close, enter, with_log};
use crate::chat::{self, Pace, Pair};
use crate::client::{Begin, Kit, Session};
use crate::crowd::{Crowd, REST};
use crate::options::Options;
use crate::population::{Population, befriend};
use crate::process;
use crate::report::{Report, Value};
use crate::servers::{Make, Server};
use crate::tls::Authority;

/// Sessions that a process with 20,000 descriptors can hold beside everything else.
const MOST: usize = 18_000;

/// Pairs that chat while the crowd is there.
const PAIRS: usize = 100;

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
        let started = Instant::now();
        let domain = format!("grown-{}.bench", make.name());
        let mut server = Server::prepare(make, directory, &domain, authority, &population)?;
        server.start()?;
        if make == Make::Comity {
            befriend(&server, &population, kit).await.map_err(|error| with_log(&server, &error))?;
            fill_rosters(&server, most, kit).await.map_err(|error| with_log(&server, &error))?;
            server.stop()?;
            server.start()?;
        }
        eprintln!("growth: {} prepared in {:.1} s", make.name(), started.elapsed().as_secs_f64());
        let grown = grow(&server, most, options, kit, report).await;
        grown.map_err(|error| with_log(&server, &error))?;
        server.stop()?;
    }
    Ok(())
}

/// Everyone writes contacts into their own roster.
async fn fill_rosters(server: &Server, count: usize, kit: &Kit) -> io::Result<()> {
    let mut tasks = Vec::new();
    let (site, kit) = (Rc::new(server.site.clone()), kit.clone());
    for first in 0..16 {
        let (site, kit) = (Rc::clone(&site), kit.clone());
        tasks.push(spawn_local(async move {
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
            Ok::<_, io::Error>(())
        }));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn grow(server: &Server, most: usize, options: &Options, kit: &Kit, report: &mut Report) -> io::Result<()> {
    let (make, group, roots) = (server.make, 1 << 60, [server.pid()]);
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let enter = enter(server, kit, b'R', number as u64, 'c', Begin::Direct);
        let (from, to) = (enter(2 * number).await?, enter(2 * number + 1).await?);
        let message = chat::message(&format!("c{}@{}/r", 2 * number + 1, server.site.domain));
        pairs.push(Pair { from, to, message });
    }
    let empty = process::memory(server.pid())?;
    let (mut crowds, mut there): (Vec<Crowd>, usize) = (Vec::new(), 0);
    for (label, count) in [("1x", most / 10), ("10x", most)] {
        let (offset, enter) = (there, enter(server, kit, b'F', group, 'u', Begin::Direct));
        crowds.push(Crowd::gather(count - offset, None, move |number| enter(number + offset)).await?);
        there = count;
        for crowd in &crowds {
            crowd.settle().await?;
        }
        tokio::time::sleep(REST).await;
        let full = process::memory(server.pid())?;
        report.add(&format!("growth-memory-{label}"), make, Value::Bytes((full - empty) / count as u64));
        let source = if make == Make::Floor {
            Session::floor(&server.site, b'S', group | REACH as u64, kit).await?
        } else {
            let mut source = Session::login(&server.site, Begin::Direct, &format!("p{REACH}"), kit).await?;
            source.appear().await?;
            source
        };
        crowds[0].settle().await?;
        let (source, measured) = crowds[0].broadcast(source, REACH, &roots, options.length()).await?;
        source.close().await?;
        crowds[0].settle().await?;
        report.add(&format!("growth-presence-{label}"), make, Value::Work(measured));
        for (name, pace) in [("saturated", Pace::Saturated), ("2000", Pace::PerSecond(2_000))] {
            let (back, measured) = chat::run(pairs, pace, &roots, options.length()).await?;
            pairs = back;
            report.add(&format!("growth-chat-{name}-{label}"), make, Value::Work(measured));
        }
    }
    close(pairs).await?;
    for crowd in crowds {
        crowd.leave().await?;
    }
    Ok(())
}

//! A thousand other domains at once: what a pair of domains costs while it lasts, and while it comes about.
//!
//! Each domain, at an address of its own, opens a stream to the server and asks for something, so that the server opens one
//! in return. Then nobody says anything. At the end every domain asks once more, on the streams that there are. What the
//! first of all domains costs does not count: it is what other servers cost at all.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::abroad::{Abroad, Stream, name};
use crate::arrive::some_together;
use crate::bench::with_logs;
use crate::options::Options;
use crate::population::Population;
use crate::process::{self, Clock};
use crate::report::{insert, machine, median, peers};
use crate::servers::{Make, Server};
use crate::tls::Authority;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured of one server in one round.
#[derive(Debug, Clone, Copy)]
struct Seen {
    make: Make,
    /// Bytes of memory for one pair.
    memory: f64,
    /// Seconds of CPU time for one new pair.
    cpu: f64,
    /// Streams that the server has opened, when all were there and at the end.
    opened: (usize, usize),
}

impl Seen {
    /// Nothing that was not measured gets into a table, and Comity has held one stream with each domain all the time.
    fn judge(self, count: usize) -> io::Result<Self> {
        let (first, last) = self.opened;
        if self.memory <= 0.0 || self.cpu <= 0.0 {
            return Err(io::Error::other(format!("no figure: {} bytes, {} seconds of CPU", self.memory, self.cpu)));
        }
        if self.make == Make::Comity && self.opened != (count, count) {
            return Err(io::Error::other(format!("{first} streams to {count} domains at first, {last} at the end")));
        }
        Ok(self)
    }
}

pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let count = if options.quick { 100 } else { 1_000 };
    let authority = Authority::new(directory)?;
    let abroad = Abroad::new(&authority.issue(&format!("*.{}", crate::abroad::ZONE))?)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let dns = crate::servers::free_ports(1)?[0];
    let records = Abroad::records(count + 1, listener.local_addr()?.port());
    let serving = [spawn_local(crate::dns::serve(dns, records)), spawn_local(abroad.clone().listen(listener))];
    let population = Population { chatting: 2, others: 0, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let mut seen: Vec<Seen> = Vec::new();
    let makes = || options.servers.iter().copied().filter(|make| *make != Make::Floor);
    if makes().next().is_none() {
        return Err(io::Error::other("none of these servers has anything to do with other domains"));
    }
    for round in 1..=options.rounds {
        for make in makes() {
            let domain = format!("{}-{round}.domains", make.name());
            let mut server = Server::prepare(make, directory, &domain, &authority, &population, false)?;
            let measured = measure(&mut server, &abroad, count, options.rest()).await;
            let measured = measured.and_then(|seen| seen.judge(count));
            let measured = measured.map_err(|error| with_logs([&server].into_iter(), &error))?;
            Server::stop(std::slice::from_mut(&mut server))?;
            println!("  {}", row(&measured));
            seen.push(measured);
        }
    }
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    let rounds = options.rounds;
    let mut tables = format!("Machine: {}. Peers: {}. {count} domains, medians of {rounds}.\n\n", machine(), peers());
    tables.push_str(
        "| server | memory per idle pair | CPU per new pair | streams to the domains, at first and at the end |\n\
         |---|---|---|---|\n",
    );
    for make in makes() {
        let of_make: Vec<Seen> = seen.iter().copied().filter(|one| one.make == make).collect();
        let middle = |value: fn(&Seen) -> f64| median(of_make.iter().map(value).collect());
        let last = of_make.last().copied();
        if let (Some(last), Some(memory), Some(cpu)) = (last, middle(|one| one.memory), middle(|one| one.cpu)) {
            let _ = writeln!(tables, "{}", row(&Seen { memory, cpu, ..last }));
        }
    }
    match &options.document {
        Some(document) => insert(document, "domains", &tables),
        None => {
            println!("{tables}");
            Ok(())
        }
    }
}

async fn measure(server: &mut Server, abroad: &Abroad, count: usize, rest: Duration) -> io::Result<Seen> {
    Server::start(std::slice::from_mut(server))?;
    let theirs = server.site.domain.clone();
    let stanzas = abroad.stanzas.get();
    let mut first = abroad.open(server.s2s, address(count), &name(count), &theirs).await?;
    ask(&mut first, &name(count), &theirs).await?;
    answered(abroad, stanzas + 1).await?;
    let before = (abroad.opened.get(), abroad.stanzas.get());
    sleep(rest).await;
    let (empty, mut clock) = (process::memory(server.pid())?, Clock::of(&[server.pid()])?);
    let spent = clock.read()?;
    let coming = (0..count).map(|number| {
        let (abroad, s2s, theirs) = (abroad.clone(), server.s2s, theirs.clone());
        async move {
            let ours = name(number);
            let mut stream = abroad.open(s2s, address(number), &ours, &theirs).await?;
            ask(&mut stream, &ours, &theirs).await?;
            Ok(stream)
        }
    });
    let mut streams = some_together(coming).await?;
    answered(abroad, before.1 + count).await?;
    let cpu = clock.read()?.saturating_sub(spent);
    let opened = abroad.opened.get() - before.0;
    sleep(rest).await;
    let full = process::memory(server.pid())?;
    for (number, stream) in streams.iter_mut().enumerate() {
        ask(stream, &name(number), &theirs).await?;
    }
    answered(abroad, before.1 + 2 * count).await?;
    let opened = (opened, abroad.opened.get() - before.0);
    for stream in streams.into_iter().chain([first]) {
        stream.shut().await;
    }
    let each = count as f64;
    let memory = full.saturating_sub(empty) as f64 / each;
    Ok(Seen { make: server.make, memory, cpu: cpu.as_secs_f64() / each, opened })
}

/// Where a domain is.
fn address(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number + 1).unwrap_or(0).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 20, high, low))
}

/// A request of one domain to another.
async fn ask(stream: &mut Stream, ours: &str, theirs: &str) -> io::Result<()> {
    stream.send(&format!("<iq type='get' id='p' from='{ours}' to='{theirs}'><ping xmlns='urn:xmpp:ping'/></iq>")).await
}

/// Waits until so many answers have come.
async fn answered(abroad: &Abroad, count: usize) -> io::Result<()> {
    let started = Instant::now();
    while abroad.stanzas.get() < count {
        if started.elapsed() > PATIENCE {
            let missing = count - abroad.stanzas.get();
            return Err(io::Error::other(format!("{missing} domains have got no answer")));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn row(seen: &Seen) -> String {
    let (kibibytes, milliseconds) = (seen.memory / 1024.0, seen.cpu * 1000.0);
    let (first, last) = seen.opened;
    format!("| {} | {kibibytes:.1} KiB | {milliseconds:.2} ms | {first}, {last} |", seen.make.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_streams_or_has_no_figure_is_not_in_the_table() {
        let seen = |make, memory, cpu, opened| Seen { make, memory, cpu, opened }.judge(100).is_ok();
        assert!(seen(Make::Comity, 1.0, 1.0, (100, 100)) && seen(Make::Prosody, 1.0, 1.0, (100, 130)));
        assert!(!seen(Make::Comity, 1.0, 1.0, (100, 101)) && !seen(Make::Comity, 1.0, 1.0, (99, 100)));
        assert!(!seen(Make::Ejabberd, 0.0, 1.0, (100, 100)) && !seen(Make::Ejabberd, 1.0, 0.0, (100, 100)));
    }
}

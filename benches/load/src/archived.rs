//! Archived chat: the archives of both accounts are on, and both clients use stream management.

use std::io;
use std::time::Instant;

use crate::arrive::{PAIRS, close, pair_up, some_together, together};
use crate::bench::{Bench, Talk};
use crate::chat::{Managed, Pace, Pair, SIZE};
use crate::client::{Begin, Session};
use crate::servers::{Make, Server};
use crate::targets::joins;

/// The scenarios; the second only for those who keep up with it.
const PACES: [(&str, Pace); 2] = [("archived-saturated", Pace::Drained), ("archived-2000", Pace::PerSecond(2_000))];

impl Bench<'_> {
    /// Measures, then looks whether the archives hold what was sent. Every round has accounts of its own, so that
    /// all of them begin with empty archives.
    pub async fn archived(&mut self) -> io::Result<()> {
        let started = Instant::now();
        Server::start(&mut self.archiving)?;
        let present = self.archiving.iter().filter(|it| joins(it.make, PACES[0].0, self.round));
        let coming = present.map(|server| {
            let pairs = pair_up(server, server, &self.kit, self.fresh(), 'c', (self.round - 1) * PAIRS);
            let (make, roots) = (server.make, vec![server.pid()]);
            async move { Ok(Talk { make, roots, pairs: manage(pairs.await?).await?, units: 0 }) }
        });
        let mut talks = together(coming.collect::<Vec<_>>().into_iter()).await?;
        self.report.book("archived", None, started);
        for (scenario, pace) in PACES {
            self.talk(&mut talks, scenario, pace, self.options.length()).await;
        }
        let started = Instant::now();
        for talk in talks.iter().filter(|talk| !talk.pairs.is_empty()) {
            let held = self.held(talk).await?;
            if held < talk.units {
                let why = format!("of {} messages the archives hold {held}", talk.units);
                PACES.iter().for_each(|(scenario, _)| self.report.reject(scenario, talk.make, &why));
            }
        }
        close(talks.into_iter().flat_map(|talk| talk.pairs)).await?;
        Server::stop(&mut self.archiving)?;
        self.report.book("archived", None, started);
        Ok(())
    }

    /// How many messages are in the archives of those who wrote and of those who read, whichever are fewer.
    async fn held(&self, talk: &Talk) -> io::Result<u64> {
        if talk.make == Make::Floor {
            let floor = self.archiving.iter().find(|server| server.make == Make::Floor);
            let length = floor.map(Server::archive_log).map(std::fs::metadata).transpose()?.map_or(0, |it| it.len());
            return Ok(length / 2 / SIZE as u64);
        }
        let Some(server) = self.archiving.iter().find(|server| server.make == talk.make) else { return Ok(0) };
        let (mut written, mut read, first) = (0, 0, (self.round - 1) * PAIRS);
        let asking = (2 * first..2 * (first + PAIRS)).map(|number| {
            let (site, kit) = (server.site.clone(), self.kit.clone());
            async move {
                // A session of its own: while the other servers were measured, nobody answered what this one asked, and
                // a server may give up such connections.
                let mut session = Session::login(&site, Begin::Direct, &format!("c{number}"), &kit).await?;
                let held = session.archived().await?;
                session.close().await?;
                Ok((number, held))
            }
        });
        for (number, held) in some_together(asking).await? {
            *(if number % 2 == 0 { &mut written } else { &mut read }) += held;
        }
        Ok(written.min(read))
    }
}

/// Turns stream management on at both ends.
async fn manage(pairs: Vec<Pair>) -> io::Result<Vec<Pair>> {
    let managed = pairs.into_iter().map(|mut pair| async move {
        pair.from.enable_acks().await?;
        pair.to.enable_acks().await?;
        pair.acks = Some(Box::new(Managed::default()));
        Ok(pair)
    });
    some_together(managed).await
}

//! How a story ends: all is well again, everybody comes and gets what waits, everybody goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::device::State;
use crate::ledger::FORGOTTEN;
use crate::story::Story;

/// A page of an archive.
const PAGE: usize = 50;

impl Story {
    /// Ends what goes on, and has everybody come once more.
    pub(crate) async fn finish(&mut self) {
        self.reconcile().await;
        self.everybody_goes().await;
        for site in &self.sites {
            site.calm(true);
        }
        self.wait(FORGOTTEN).await;
        self.nobody_is_there("after everybody has been gone for long");
        for site in &self.sites {
            site.calm(false);
        }
        self.everybody_comes().await;
        self.read_everything().await;
        self.compare_rosters();
        self.compare_views();
        self.everybody_goes().await;
        self.nobody_is_there("after everybody has gone");
    }

    async fn everybody_goes(&mut self) {
        for number in 0..self.devices.len() {
            if self.devices[number].is_ready() {
                self.close(number).await;
            }
        }
        self.wait(10_000).await;
        for number in 0..self.devices.len() {
            let device = &mut self.devices[number];
            let known = !device.is_away() || device.previous.is_some();
            device.give_up();
            if known {
                self.trace.note(format_args!("device {number} gives up"));
                self.end(number, false);
            }
        }
        self.wait(2_000).await;
    }

    fn nobody_is_there(&mut self, when: &str) {
        for site in &self.sites {
            let sessions = site.node().map_or(0, |node| node.router.counts().sessions);
            if sessions > 0 {
                let left: Vec<_> =
                    site.node().iter().flat_map(|node| node.router.sessions(crate::site::NAMES[site.number])).collect();
                self.ledger.problems.push(format!("server {} has sessions {when}: {left:?}", site.number));
            }
        }
    }

    async fn everybody_comes(&mut self) {
        for number in 0..self.devices.len() {
            self.devices[number].roster = None;
            self.come(number);
            for _ in 0..100 {
                self.wait(200).await;
                if self.devices[number].is_ready() {
                    break;
                }
                if self.devices[number].is_away() {
                    self.come(number);
                }
            }
            if !self.devices[number].is_ready() {
                self.ledger.problem(format!("device {number} cannot log in, although all is well"));
            }
        }
        // Connections between servers may have to be opened, and failures are remembered for some seconds.
        self.wait(20_000).await;
    }

    /// The first device of everybody reads the archive and the roster.
    async fn read_everything(&mut self) {
        let mut first = 0;
        for account in 0..self.accounts.len() {
            let number = first;
            first += self.ledger.devices[account];
            self.devices[number].roster = None;
            let roster = "<iq type='get' id='s1'><query xmlns='jabber:iq:roster'/></iq>";
            self.devices[number].say(roster.to_owned(), None).await;
            self.wait(1000).await;
            if self.archives {
                self.read_archive(account, number).await;
            }
        }
    }

    async fn read_archive(&mut self, account: usize, number: usize) {
        self.devices[number].found.clear();
        let mut after: Option<String> = None;
        loop {
            self.read(number, after.as_deref(), PAGE).await;
            for _ in 0..100 {
                self.wait(100).await;
                if self.devices[number].page.is_some() {
                    break;
                }
            }
            let device = &self.devices[number];
            let last = device.found.last().map(|(id, _)| id.clone());
            match device.page {
                Some(true) => break,
                Some(false) if last != after => after = last,
                page => {
                    self.ledger.problem(format!("the archive of account {account} cannot be read: {page:?}"));
                    return;
                }
            }
        }
        let found = std::mem::take(&mut self.devices[number].found);
        let ids: BTreeSet<&String> = found.iter().map(|(id, _)| id).collect();
        if ids.len() != found.len() {
            self.ledger.problem(format!("the archive of account {account} gives an id twice"));
        }
        self.ledger.archives.insert(account, found.iter().filter_map(|(_, message)| *message).collect());
    }

    /// The rosters of all, by account.
    fn rosters(&mut self) -> BTreeMap<usize, BTreeMap<String, (bool, bool)>> {
        let mut rosters = BTreeMap::new();
        let mut first = 0;
        for account in 0..self.accounts.len() {
            match self.devices[first].roster.clone() {
                Some(roster) => drop(rosters.insert(account, roster)),
                None => self.ledger.problem(format!("account {account} has got no roster")),
            }
            first += self.ledger.devices[account];
        }
        rosters
    }

    /// Whoever receives somebody's presence is somebody whom he sends it to. The other way round, nothing in RFC 6121
    /// mends what is lost on the way between servers.
    fn compare_rosters(&mut self) {
        let rosters = self.rosters();
        let half = |owner: usize, other: usize| {
            let address = self.accounts[other].to_string();
            rosters.get(&owner).and_then(|roster| roster.get(&address)).copied().unwrap_or_default()
        };
        let mut problems = Vec::new();
        for one in 0..self.accounts.len() {
            for other in (0..self.accounts.len()).filter(|other| *other != one) {
                let ((to, _), (_, from)) = (half(one, other), half(other, one));
                let local = self.ledger.homes[one] == self.ledger.homes[other];
                if (to && !from) || (local && to != from) {
                    problems.push(format!("account {one} receives from {other}: {to}, {other} sends: {from}"));
                }
            }
        }
        problems.into_iter().for_each(|problem| self.ledger.problem(problem));
    }

    /// Everybody sees those who are there, and nobody else.
    fn compare_views(&mut self) {
        let rosters = self.rosters();
        let mut problems = Vec::new();
        for device in &self.devices {
            let State::Here(_) = device.state else { continue };
            let half = |owner: usize, other: usize| {
                rosters.get(&owner).and_then(|it| it.get(self.accounts[other].as_str())).copied().unwrap_or_default()
            };
            let there = |sees: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
                let there = self.devices.iter().filter(|it| it.is_ready() && it.talk.available);
                let seen = there.filter(|it| it.account == device.account || sees(it.account));
                seen.map(|it| it.jid.to_string()).collect()
            };
            let must = there(&|other| half(device.account, other).0 && half(other, device.account).1);
            // Whoever believes to have a subscriber tells him, although that one may know nothing of it.
            let may = there(&|other| half(other, device.account).1);
            let ghosts: Vec<_> = device.view.difference(&may).collect();
            let unseen: Vec<_> = must.difference(&device.view).collect();
            if !ghosts.is_empty() || !unseen.is_empty() {
                problems.push(format!("device {} sees ghosts {ghosts:?} and does not see {unseen:?}", device.number));
            }
        }
        problems.into_iter().for_each(|problem| self.ledger.problem(problem));
    }

    /// Everything stops, and nothing is left.
    pub(crate) async fn leave(&mut self, carrying: JoinHandle<()>) -> Vec<String> {
        let mut problems = Vec::new();
        for site in &mut self.sites {
            site.stop().await;
        }
        for device in &mut self.devices {
            device.give_up();
        }
        carrying.abort();
        // What is left of servers that have crashed ends by itself.
        let metrics = tokio::runtime::Handle::current().metrics();
        for _ in 0..2000 {
            if metrics.num_alive_tasks() == 0 {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        if metrics.num_alive_tasks() > 0 {
            problems.push(format!("{} tasks are left", metrics.num_alive_tasks()));
        }
        let ghosts: usize = self.sites.iter().map(crate::site::Site::ghosts).sum();
        if ghosts > 0 {
            problems.push(format!("{ghosts} servers are left in memory"));
        }
        problems
    }
}

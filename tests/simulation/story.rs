//! What happens to three servers and their people, all of it drawn from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comity::accounts::credentials::{Credentials, Iterations, Password, Salts};
use comity::jid::{BareJid, Jid};
use comity::net::tls::development::DevelopmentCa;
use comity::testing::{Chance, PASSWORD};
use tokio::time::sleep;

use crate::device::{Device, Habits, SM, State};
use crate::ledger::{End, Figures, Ledger, Message, Session};
use crate::network::{Fate, Net, Party};
use crate::site::{NAMES, Site, Surroundings};
use crate::trace::Trace;
use crate::witness::Witness;

/// How many things happen.
const EVENTS: usize = 350;

/// How many devices the accounts of each server have.
const DEVICES: [usize; 2] = [2, 1];

/// What does not depend on the seed, and is the same for all stories: keys take long to make.
pub(crate) struct Props {
    ca: Arc<DevelopmentCa>,
    keys: Credentials,
}

impl Props {
    pub(crate) fn new() -> Self {
        let ca = DevelopmentCa::generate().expect("an authority");
        let password = Password::prepare(PASSWORD).expect("a password");
        let iterations = Iterations::new(Iterations::MIN).expect("iterations");
        let keys =
            Credentials::derive(&password, &Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] }, iterations);
        Self { ca: Arc::new(ca), keys }
    }

    /// What clients trust. It is made for each story: it remembers the tickets of servers.
    fn tls(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).expect("a root certificate");
        let tls = rustls::ClientConfig::builder_with_provider(comity::net::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(tls)
    }
}

/// How a story has ended.
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    pub(crate) figures: Figures,
    pub(crate) trace: String,
}

pub(crate) struct Story {
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    pub(crate) net: Arc<Net>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) sites: Vec<Site>,
    pub(crate) accounts: Vec<BareJid>,
    pub(crate) devices: Vec<Device>,
    pub(crate) ledger: Ledger,
    /// Whether the servers keep archives.
    pub(crate) archives: bool,
    pub(crate) sessions: u64,
    pub(crate) receptions: u64,
    questions: u64,
    /// When a server that is down starts again.
    down: BTreeMap<usize, u64>,
    /// When the network is whole again.
    split: Option<u64>,
    /// When a client reads again that does not.
    stalled: BTreeMap<usize, u64>,
}

/// Plays the story of a seed.
pub(crate) async fn play(seed: u64, lying: bool, props: &Props) -> Outcome {
    let trace = Trace::new();
    let witness = Witness::new(trace.clone());
    let _listening = tracing::subscriber::set_default(witness.clone());
    match Story::new(seed, lying, props, trace.clone()).await {
        Ok((mut story, carrying)) => {
            story.unfold().await;
            story.finish().await;
            let problems = story.leave(carrying).await;
            let Story { mut ledger, .. } = story;
            witness.returned().into_iter().for_each(|(number, at, why)| ledger.returned(number, at, &why));
            let figures = ledger.judge();
            ledger.problems.extend(problems);
            Outcome { problems: ledger.problems, figures, trace: trace.text() }
        }
        Err(problem) => Outcome { problems: vec![problem], figures: Figures::default(), trace: trace.text() },
    }
}

impl Story {
    async fn new(
        seed: u64,
        lying: bool,
        props: &Props,
        trace: Trace,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), String> {
        let mut chance = Chance::new(seed);
        let net = Net::new(seed, trace.clone());
        let carrying = tokio::spawn(Arc::clone(&net).carry());
        let archives = chance.percent(60);
        let patience = [20, 60, 300][chance.place(3)];
        let more = format!("[archive]\nenabled = {archives}\n[limits]\nresume_timeout = \"{patience}s\"\n");
        let mut story = Self {
            chance,
            trace: trace.clone(),
            net: Arc::clone(&net),
            tls: props.tls(),
            sites: Vec::new(),
            accounts: Vec::new(),
            devices: Vec::new(),
            ledger: Ledger::default(),
            archives,
            sessions: 0,
            receptions: 0,
            questions: 0,
            down: BTreeMap::new(),
            split: None,
            stalled: BTreeMap::new(),
        };
        story.people()?;
        let friends = story.friends();
        for (number, name) in NAMES.iter().enumerate() {
            let around =
                Surroundings { seed, trace: trace.clone(), net: Arc::clone(&net), ca: Arc::clone(&props.ca), lying };
            let mut site = Site::new(number, around, &more)?;
            let is_own = |account: &&BareJid| account.domain() == *name;
            let own: Vec<BareJid> = story.accounts.iter().filter(is_own).cloned().collect();
            let known: Vec<_> = friends.iter().filter(|(owner, _)| is_own(&owner)).cloned().collect();
            site.furnish(&own, &props.keys, &known).await?;
            site.start().await?;
            story.sites.push(site);
        }
        Ok((story, carrying))
    }

    /// Accounts and their devices.
    fn people(&mut self) -> Result<(), String> {
        for (server, domain) in NAMES.iter().enumerate() {
            for (who, devices) in DEVICES.iter().enumerate() {
                let account = BareJid::parse(&format!("u{who}@{domain}")).map_err(|error| error.to_string())?;
                for device in 0..*devices {
                    let jid = account.with_resource(&format!("d{device}")).map_err(|error| error.to_string())?;
                    let habits = Habits::new(&mut self.chance);
                    let number = self.devices.len();
                    self.trace.note(format_args!("device {number} is {jid}: {habits:?}"));
                    self.devices.push(Device::new(number, self.accounts.len(), server, jid, habits));
                }
                self.accounts.push(account);
                self.ledger.homes.push(server);
                self.ledger.devices.push(*devices);
            }
        }
        Ok(())
    }

    /// Some know each other from the beginning.
    fn friends(&mut self) -> Vec<(BareJid, BareJid)> {
        let mut friends = Vec::new();
        for (place, one) in self.accounts.iter().enumerate() {
            for other in self.accounts.iter().skip(place + 1) {
                if self.chance.percent(40) {
                    friends.push((one.clone(), other.clone()));
                    friends.push((other.clone(), one.clone()));
                }
            }
        }
        friends
    }

    /// Everything that happens.
    async fn unfold(&mut self) {
        for _ in 0..EVENTS {
            let pause = match self.chance.below(100) {
                0 => self.chance.between(20_000, 130_000),
                1..=4 => self.chance.between(1000, 15_000),
                5..=29 => self.chance.between(60, 800),
                _ => self.chance.between(1, 60),
            };
            self.wait(pause).await;
            self.happen().await;
        }
    }

    /// Lets time pass while everybody reads what comes.
    pub(crate) async fn wait(&mut self, ms: u64) {
        let until = self.trace.now() + ms;
        loop {
            let left = until.saturating_sub(self.trace.now());
            if left == 0 {
                break;
            }
            sleep(Duration::from_millis(left.min(250))).await;
            self.turn().await;
            for number in 0..self.devices.len() {
                self.look(number).await;
            }
        }
    }

    /// What was begun comes to its end.
    async fn turn(&mut self) {
        let now = self.trace.now();
        self.net.despair();
        if self.split.take_if(|until| *until <= now).is_some() {
            self.trace.note("the network is whole");
            self.net.heal();
        }
        for server in 0..self.sites.len() {
            if self.down.get(&server).is_some_and(|until| *until <= now) {
                self.down.remove(&server);
                self.start(server).await;
            }
        }
        for number in 0..self.devices.len() {
            if self.devices[number].is_tired(now) {
                self.vanish(number);
            }
        }
        let awake: Vec<usize> = self.stalled.iter().filter(|(_, until)| **until <= now).map(|(it, _)| *it).collect();
        for number in awake {
            self.stalled.remove(&number);
            if let State::Here(client) = &mut self.devices[number].state {
                client.read_on();
            }
        }
    }

    pub(crate) async fn start(&mut self, server: usize) {
        if let Err(problem) = self.sites[server].start().await {
            self.ledger.problem(format!("server {server} does not start: {problem}"));
        }
    }

    fn ready(&self) -> Vec<usize> {
        self.devices.iter().filter(|device| device.is_ready()).map(|device| device.number).collect()
    }

    fn away(&self) -> Vec<usize> {
        self.devices.iter().filter(|device| device.is_away()).map(|device| device.number).collect()
    }

    /// One thing happens.
    async fn happen(&mut self) {
        let (ready, away) = (self.ready(), self.away());
        let (one, absent) = (self.chance.one(&ready), self.chance.one(&away));
        match (self.chance.below(100), one, absent) {
            (0..=13, _, Some(device)) => self.come(device),
            (14..=54, Some(device), _) => self.write(device).await,
            (55..=62, Some(device), _) => self.ask(device).await,
            (63..=67, Some(device), _) => self.vanish(device),
            (68..=69, Some(device), _) => self.fall_silent(device),
            (70..=72, Some(device), _) => self.close(device).await,
            (73..=75, Some(device), _) => self.show(device).await,
            (76..=81, Some(device), _) => self.befriend(device).await,
            (82..=84, Some(device), _) => self.read(device, None, 20).await,
            (85..=86, Some(device), _) => self.stall(device),
            (87..=90, _, _) => self.doom(),
            (91..=93, _, _) => self.part(),
            (94..=95, _, _) => self.fell().await,
            (96..=97, _, _) => self.slow_down(),
            (98..=99, _, _) => self.turn_clock(),
            (_, _, Some(device)) => self.come(device),
            _ => {}
        }
    }

    pub(crate) fn come(&mut self, number: usize) {
        let device = &mut self.devices[number];
        let again = device.previous.is_some();
        self.trace.note(format_args!("device {number} {}", if again { "comes back" } else { "comes" }));
        device.come(&self.net, &self.tls);
    }

    /// A new session begins.
    pub(crate) async fn begin(&mut self, number: usize) {
        self.sessions += 1;
        let session = self.sessions;
        let device = &mut self.devices[number];
        let account = device.account;
        self.ledger.sessions.insert(session, Session { account, ..Session::default() });
        device.talk.number = session;
        device.say("<iq type='get' id='s1'><query xmlns='jabber:iq:roster'/></iq>".to_owned(), None).await;
        if device.habits.counts {
            let resume = if device.habits.resumes { " resume='true'" } else { "" };
            device.mention(&format!("<enable xmlns='{SM}'{resume}/>")).await;
            device.talk.counting = true;
        }
        device.say("<presence/>".to_owned(), None).await;
        device.talk.available = true;
        for sent in std::mem::take(&mut device.again) {
            self.repeat(number, sent.text, sent.message).await;
        }
    }

    pub(crate) async fn repeat(&mut self, number: usize, text: String, message: Option<usize>) {
        if let Some(message) = message {
            self.trace.note(format_args!("device {number} sends m{message} again"));
            self.ledger.messages[message].copies += 1;
        }
        self.devices[number].say(text, message).await;
    }

    async fn write(&mut self, number: usize) {
        let from = self.devices[number].account;
        let to = self.chance.place(self.accounts.len());
        if to == from {
            return;
        }
        let resource = if self.chance.percent(15) { self.chance.place(self.ledger.devices[to]) } else { usize::MAX };
        for _ in 0..self.chance.between(1, 5) {
            let message = self.ledger.messages.len();
            let length = if self.chance.percent(4) { 20_000 } else { self.chance.between(0, 60) };
            let body = format!("n{message} {}", "x".repeat(usize::try_from(length).unwrap_or_default()));
            let address = &self.accounts[to];
            let address = if resource == usize::MAX { address.to_string() } else { format!("{address}/d{resource}") };
            self.trace.note(format_args!("device {number} sends m{message} to {address}"));
            let text = format!("<message to='{address}' type='chat' id='m{message}'><body>{body}</body></message>");
            self.ledger.messages.push(Message {
                from: number,
                to,
                local: self.ledger.homes[from] == self.ledger.homes[to],
                address,
                body,
                at: self.trace.now(),
                copies: 1,
                acknowledged: false,
                bounced: None,
                returned: None,
                expired: false,
                got: Vec::new(),
            });
            self.devices[number].say(text, Some(message)).await;
        }
        if self.chance.percent(50) {
            self.ask(number).await;
        }
    }

    /// Wants to know what is in safe hands.
    async fn ask(&mut self, number: usize) {
        let device = &mut self.devices[number];
        if device.talk.counting {
            device.mention(&format!("<r xmlns='{SM}'/>")).await;
        }
    }

    /// The connection is lost.
    fn vanish(&mut self, number: usize) {
        self.trace.note(format_args!("device {number} vanishes"));
        if let State::Here(client) = &mut self.devices[number].state {
            client.vanish();
        }
    }

    /// The same, and the server is not told.
    fn fall_silent(&mut self, number: usize) {
        self.trace.note(format_args!("device {number} falls silent"));
        self.net.silence(self.devices[number].line);
        self.vanish(number);
    }

    pub(crate) async fn close(&mut self, number: usize) {
        self.trace.note(format_args!("device {number} closes"));
        let now = self.trace.now();
        let device = &mut self.devices[number];
        if device.talk.counting {
            device.confirm().await;
        }
        (device.talk.closing, device.talk.since) = (true, now);
        if let State::Here(client) = &mut device.state {
            client.close().await;
        }
        if let Some(session) = self.ledger.sessions.get_mut(&device.talk.number) {
            session.closed = Some(now);
        }
    }

    /// Says something of its presence.
    async fn show(&mut self, number: usize) {
        let (text, available) = match self.chance.below(4) {
            0 => ("<presence type='unavailable'/>".to_owned(), false),
            1 => ("<presence><priority>-1</priority></presence>".to_owned(), true),
            _ => (format!("<presence><priority>{}</priority></presence>", self.chance.between(0, 3)), true),
        };
        self.trace.note(format_args!("device {number} says {text}"));
        let device = &mut self.devices[number];
        device.talk.available = available;
        device.say(text, None).await;
    }

    async fn befriend(&mut self, number: usize) {
        let to = self.chance.place(self.accounts.len());
        if to == self.devices[number].account {
            return;
        }
        let contact = self.accounts[to].clone();
        let kind = match self.chance.below(10) {
            0..=3 => "subscribe",
            4 => "subscribed",
            5..=6 => "unsubscribe",
            7 => "unsubscribed",
            _ => "remove",
        };
        self.trace.note(format_args!("device {number}: {kind} {contact}"));
        let text = if kind == "remove" {
            format!(
                "<iq type='set' id='s2'><query xmlns='jabber:iq:roster'><item jid='{contact}' subscription='remove'/></query></iq>"
            )
        } else {
            format!("<presence type='{kind}' to='{contact}'/>")
        };
        self.devices[number].say(text, None).await;
    }

    /// Asks the archive for what lies behind an entry.
    pub(crate) async fn read(&mut self, number: usize, after: Option<&str>, most: usize) {
        self.questions += 1;
        let id = self.questions;
        let after = after.map(|after| format!("<after>{after}</after>")).unwrap_or_default();
        let set = format!("<set xmlns='http://jabber.org/protocol/rsm'><max>{most}</max>{after}</set>");
        let query = format!("<query xmlns='urn:xmpp:mam:2' queryid='q{id}'>{set}</query>");
        let device = &mut self.devices[number];
        device.page = None;
        device.say(format!("<iq type='set' id='q{id}'>{query}</iq>"), None).await;
    }

    fn stall(&mut self, number: usize) {
        let until = self.trace.now() + self.chance.between(100, 20_000);
        self.trace.note(format_args!("device {number} reads nothing until {until}"));
        if let State::Here(client) = &mut self.devices[number].state {
            client.stall();
            self.stalled.insert(number, until);
        }
    }

    /// Something will happen to a connection.
    fn doom(&mut self) {
        let Some(line) = self.chance.one(&self.net.open()) else { return };
        let fate = [Fate::Cut, Fate::Cut, Fate::HalfClosed, Fate::Silent][self.chance.place(4)];
        let (side, parcels) = (self.chance.place(2), self.chance.between(0, 12));
        self.trace.note(format_args!("line {line}, side {side}: {fate:?} after {parcels}"));
        self.net.doom(line, side, parcels, fate);
    }

    /// Somebody cannot reach somebody else.
    fn part(&mut self) {
        let now = self.trace.now();
        let server = self.chance.place(self.sites.len());
        let other = if self.chance.percent(60) {
            Party::Server((server + 1 + self.chance.place(self.sites.len() - 1)) % self.sites.len())
        } else {
            Party::Client(self.chance.place(self.devices.len()))
        };
        self.trace.note(format_args!("server {server} and {other:?} are apart"));
        self.net.split(Party::Server(server), other);
        let until = now + [500, 5000, 30_000, 100_000][self.chance.place(4)];
        self.split = Some(self.split.map_or(until, |before| before.max(until)));
    }

    /// A server ends.
    async fn fell(&mut self) {
        let server = self.chance.place(self.sites.len());
        if !self.sites[server].is_up() {
            return;
        }
        let at = self.trace.now();
        let since = if self.chance.percent(70) {
            Some(self.sites[server].crash().await)
        } else {
            self.sites[server].stop().await;
            None
        };
        self.ledger.ends.entry(server).or_default().push(End { at, since, over: self.trace.now() });
        self.down.insert(server, self.trace.now() + [50, 500, 4000, 20_000][self.chance.place(4)]);
    }

    /// A disk has something else to do.
    fn slow_down(&mut self) {
        let server = self.chance.place(self.sites.len());
        let ms = [100, 400, 3000][self.chance.place(3)];
        self.trace.note(format_args!("the disk of server {server} does nothing for {ms} ms"));
        self.sites[server].stall(ms);
    }

    fn turn_clock(&mut self) {
        let server = self.chance.place(self.sites.len());
        let far = [1000, 60_000, 3_600_000, 40_000_000][self.chance.place(4)];
        let offset = i64::try_from(self.chance.below(2 * far)).unwrap_or_default() - i64::try_from(far).unwrap_or(0);
        self.trace.note(format_args!("the clock of server {server} is {offset} ms off"));
        self.sites[server].offset.store(offset, Ordering::Relaxed);
    }

    /// Nothing is in anybody's way any more.
    pub(crate) async fn reconcile(&mut self) {
        self.trace.note("everything is well");
        self.net.forgive();
        self.net.heal();
        self.split = None;
        for server in 0..self.sites.len() {
            if !self.sites[server].is_up() {
                self.start(server).await;
            }
        }
        self.down.clear();
        // Whoever confirms nothing gets nothing more in the end.
        self.devices.iter_mut().for_each(|device| device.habits.confirms = 100);
        for number in std::mem::take(&mut self.stalled).into_keys() {
            if let State::Here(client) = &mut self.devices[number].state {
                client.read_on();
            }
        }
    }

    pub(crate) fn address(&self, device: usize) -> Jid {
        self.devices[device].jid.clone()
    }
}

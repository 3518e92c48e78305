//! A server, with what outlives it: its name, its clock, its disk.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use comity::accounts::credentials::Credentials;
use comity::accounts::directory;
use comity::accounts::subscription::{Half, State};
use comity::clock::{Clock, Timestamp};
use comity::config::Config;
use comity::jid::BareJid;
use comity::net::dns::Tlsa;
use comity::net::tls::development::DevelopmentCa;
use comity::net::tls::{Identities, Identity, Trust};
use comity::net::{Answer, BoxFuture, DnsError, Network, Resolver, Srv, Transport};
use comity::routing::CONTACTS;
use comity::server::{Made, Node, Parts};
use comity::session::Security;
use comity::storage::{Left, Stepper, Storage, Writes};
use comity::testing::Chance;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::network::{Net, Party, Pipe, Port};
use crate::trace::Trace;

/// The domains.
pub(crate) const NAMES: [&str; 3] = ["a.example", "b.example", "c.example"];

/// When the story begins, in milliseconds since 1970.
const BEGIN: i64 = 1_700_000_000_000;

const S2S: u16 = 5269;

/// What all servers have in common.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) seed: u64,
    pub(crate) trace: Trace,
    pub(crate) net: Arc<Net>,
    pub(crate) ca: Arc<DevelopmentCa>,
    /// The disks say that they have written what they have not.
    pub(crate) lying: bool,
}

pub(crate) struct Site {
    pub(crate) number: usize,
    around: Surroundings,
    config: Config,
    identities: Arc<Identities>,
    clock: Clock,
    /// By how much its clock is wrong, in milliseconds.
    pub(crate) offset: Arc<AtomicI64>,
    left: Option<Left>,
    life: Option<Life>,
    starts: u64,
    /// Servers that have ended.
    former: Vec<Weak<Node>>,
}

struct Life {
    node: Arc<Node>,
    disk: Arc<Disk>,
    /// The disk goes on when everything else has stopped.
    writing: JoinSet<()>,
    tasks: JoinSet<()>,
    gate: Arc<Gate>,
}

impl Site {
    pub(crate) fn new(number: usize, around: Surroundings, more: &str) -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let name = NAMES[number];
        let text = format!("domain = \"{name}\"\n{more}");
        let config = Config::parse(&text, std::path::Path::new("simulation.toml")).map_err(|it| words(&it))?;
        let issued = around.ca.issue(&[name]).map_err(|it| words(&it))?;
        let identity =
            Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(|it| words(&it))?;
        Ok(Self {
            number,
            around,
            config,
            identities: Arc::new(Identities::new(identity)),
            clock: Clock::manual(Timestamp::from_unix_ms(BEGIN)),
            offset: Arc::default(),
            left: None,
            life: None,
            starts: 0,
            former: Vec::new(),
        })
    }

    /// Makes the accounts, and who receives whose presence, before the first start.
    pub(crate) async fn furnish(
        &mut self,
        accounts: &[BareJid],
        keys: &Credentials,
        friends: &[(BareJid, BareJid)],
    ) -> Result<(), String> {
        let (storage, mut stepper) = Storage::open_stepped().map_err(|error| error.to_string())?;
        for account in accounts {
            let now = self.clock.now();
            let mut creating = std::pin::pin!(directory::create(&storage, account, keys, now));
            loop {
                tokio::select! {
                    biased;
                    created = &mut creating => break created.map_err(|error| error.to_string())?,
                    () = sleep(Duration::from_millis(1)) => stepper.step(),
                }
            }
        }
        for (owner, other) in friends {
            let mut entry = comity::accounts::contact::Contact::default();
            let both = State { to: Half::Subscribed, from: Half::Subscribed, ..State::default() };
            entry.set_state(other, both, None);
            let mut writes = Writes::new();
            CONTACTS.put(&mut writes, owner, other.as_str(), &entry).map_err(|error| error.to_string())?;
            storage.submit(writes);
        }
        self.left = Some(stepper.leave());
        Ok(())
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.life.as_ref().map(|life| &life.node)
    }

    /// Starts on what the last run has left.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        let left = self.left.take().ok_or("a disk that somebody else uses")?;
        let (storage, stepper) = Storage::reopen_stepped(left).map_err(|error| error.to_string())?;
        self.starts += 1;
        let around = self.around.clone();
        let gate = Arc::new(Gate { net: Arc::clone(&around.net), number: self.number, alive: AtomicBool::new(true) });
        let mut trust = Trust::nobody();
        trust.add(around.ca.certificate()).map_err(|error| error.to_string())?;
        let (identities, client_trust) = (Arc::clone(&self.identities), Trust::nobody());
        let made = Made { identities, trust, client_trust, resolver: Arc::clone(&gate) as _ };
        let parts = Parts {
            storage,
            clock: self.clock.clone(),
            made,
            token_secret: [7; 32],
            reload: None,
            network: Arc::clone(&gate) as _,
            connections: 1000,
        };
        let node = Node::new(&self.config, parts).map_err(|error| error.to_string())?;
        let disk = Arc::new(Disk { stepper: Mutex::new(Some(stepper)), ..Disk::default() });
        let chance = Chance::of(around.seed, &[3, self.number as u64, self.starts]);
        let mut writing = JoinSet::new();
        let hand = Hand { clock: self.clock.clone(), offset: Arc::clone(&self.offset) };
        writing.spawn(Arc::clone(&disk).write(around.clone(), hand, chance));
        node.restore().await;
        let mut tasks = JoinSet::new();
        for port in [Port::Clients, Port::Servers] {
            tasks.spawn(accept(around.net.listen(self.number, port), Arc::clone(&node), port));
        }
        tasks.spawn(Arc::clone(&node).watch_silence());
        tasks.spawn(Arc::clone(&node).tidy_archive());
        tasks.spawn(Arc::clone(&node).tidy_accounts());
        tasks.spawn(Arc::clone(&node).settle());
        tasks.spawn(Arc::clone(&node).expire_sessions());
        self.life = Some(Life { node, disk, writing, tasks, gate });
        around.trace.note(format_args!("server {} starts", self.number));
        Ok(())
    }

    /// Ends as a machine does that loses its power: what is not written is gone. Says since when that may be.
    pub(crate) async fn crash(&mut self) -> u64 {
        let now = self.around.trace.now();
        let Some(mut life) = self.life.take() else { return now };
        self.around.trace.note(format_args!("server {} crashes", self.number));
        let stepper = life.disk.lock().take();
        let busy = stepper.as_ref().is_some_and(Stepper::has_work);
        let since = if busy { life.disk.clean.load(Ordering::Relaxed) } else { now };
        self.left = stepper.map(Stepper::crash);
        self.bury(&mut life).await;
        since
    }

    /// Ends in order, as `server::Server::stop` does it.
    pub(crate) async fn stop(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        self.around.trace.note(format_args!("server {} stops", self.number));
        life.node.end().await;
        sleep(Duration::from_millis(100)).await;
        life.tasks.shutdown().await;
        life.node.router.settle(life.node.router.settled());
        self.left = life.disk.lock().take().map(Stepper::leave);
        self.bury(&mut life).await;
    }

    async fn bury(&mut self, life: &mut Life) {
        life.gate.alive.store(false, Ordering::Relaxed);
        self.around.net.kill(self.number);
        life.tasks.shutdown().await;
        life.writing.shutdown().await;
        // What waits for other servers would do so for long, and nothing of it can have an effect any more.
        life.node.federation.stop().await;
        self.former.push(Arc::downgrade(&life.node));
    }

    /// The disk does nothing for so many milliseconds.
    pub(crate) fn stall(&self, ms: u64) {
        if let Some(life) = &self.life {
            life.disk.stalled.store(self.around.trace.now() + ms, Ordering::Relaxed);
        }
    }

    /// Nothing much is going to happen, or it is over with that.
    pub(crate) fn calm(&self, calm: bool) {
        if let Some(life) = &self.life {
            life.disk.calm.store(calm, Ordering::Relaxed);
        }
    }

    /// How many of the servers that have ended still lie about in memory.
    pub(crate) fn ghosts(&self) -> usize {
        self.former.iter().filter(|node| node.strong_count() > 0).count()
    }
}

/// Has a server accept those who connect.
async fn accept(mut incoming: tokio::sync::mpsc::UnboundedReceiver<Pipe>, node: Arc<Node>, port: Port) {
    let mut open = JoinSet::new();
    while let Some(pipe) = incoming.recv().await {
        while open.try_join_next().is_some() {}
        let node = Arc::clone(&node);
        open.spawn(async move {
            let peer = SocketAddr::from(([198, 51, 100, 1], 50_000));
            let transport = Transport::plain(pipe, Some(peer));
            match port {
                Port::Clients => node.serve_client(transport, Security::StartTls).await,
                Port::Servers => node.serve_peer(transport, Security::StartTls).await,
            }
        });
    }
}

/// Moves a clock on, as wrong as it is.
struct Hand {
    clock: Clock,
    offset: Arc<AtomicI64>,
}

/// What writes, at its own speed.
#[derive(Default)]
struct Disk {
    stepper: Mutex<Option<Stepper>>,
    /// Until when it does nothing.
    stalled: AtomicU64,
    calm: AtomicBool,
    /// When it had everything the last time somebody looked.
    clean: AtomicU64,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Option<Stepper>> {
        self.stepper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(self: Arc<Self>, around: Surroundings, hand: Hand, mut chance: Chance) {
        loop {
            let busy = self.lock().as_ref().is_some_and(Stepper::has_work);
            if !busy {
                self.clean.store(around.trace.now(), Ordering::Relaxed);
            }
            let pause = match (busy, self.calm.load(Ordering::Relaxed)) {
                (true, _) => chance.between(2, 15),
                (false, false) => 20,
                (false, true) => 250,
            };
            sleep(Duration::from_millis(pause)).await;
            let now = around.trace.now();
            let shown = BEGIN + i64::try_from(now).unwrap_or_default() + hand.offset.load(Ordering::Relaxed);
            hand.clock.set(Timestamp::from_unix_ms(shown));
            let mut stepper = self.lock();
            let Some(stepper) = stepper.as_mut().filter(|_| busy) else { continue };
            if around.lying {
                stepper.pretend();
            }
            if now >= self.stalled.load(Ordering::Relaxed) && (!around.lying || chance.percent(1)) {
                stepper.step();
                self.clean.store(now, Ordering::Relaxed);
            }
        }
    }
}

/// The way of one server to the others, for as long as it lives.
struct Gate {
    net: Arc<Net>,
    number: usize,
    alive: AtomicBool,
}

impl Network for Gate {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Transport>> {
        Box::pin(async move {
            let server = match address.ip() {
                IpAddr::V4(ip) => usize::from(ip.octets()[3]),
                IpAddr::V6(_) => NAMES.len(),
            };
            if !self.alive.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            let pipe = self.net.dial(Party::Server(self.number), server, Port::Servers).await?;
            Ok(Transport::plain(pipe, Some(address)))
        })
    }
}

impl Resolver for Gate {
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
        let domain = name.trim_end_matches('.').strip_prefix("_xmpp-server._tcp.");
        let found = domain.filter(|domain| NAMES.contains(domain)).ok_or(DnsError::NotFound);
        let record = |target: &str| Srv { priority: 0, weight: 0, port: S2S, target: target.to_owned() };
        Box::pin(std::future::ready(found.map(|domain| Answer::insecure(vec![record(domain)]))))
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
        let found = NAMES.iter().position(|known| *known == name.trim_end_matches('.'));
        let address = |place| Ipv4Addr::new(192, 0, 2, u8::try_from(place).unwrap_or(u8::MAX)).into();
        Box::pin(std::future::ready(
            found.map(|place| Answer::insecure(vec![address(place)])).ok_or(DnsError::NotFound),
        ))
    }

    fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
        Box::pin(std::future::ready(Err(DnsError::NotFound)))
    }

    fn validates(&self) -> bool {
        false
    }
}

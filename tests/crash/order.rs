//! Numbered messages between pairs over connections that break all the time: each number comes once, and in its place.
//!
//! `ORDER` says how many; ten million take some minutes in a release build.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use comity::jid::Jid;
use comity::stanza::Kind;
use comity::stream::Event;
use comity::testing::Raw;
use comity::xml::Element;
use tokio::task::JoinSet;

use crate::cast::{DOMAIN, PASSWORD};
use crate::plan::Random;
use crate::proxy::{Fate, Fault, Proxy, Way};
use crate::site::Site;

const SM: &str = "urn:xmpp:sm:3";

/// Messages in the short run.
const SHORT: u64 = 40_000;

/// Pairs that talk at the same time.
const PAIRS: u64 = 4;

/// Messages that are written at once.
const CHUNK: u64 = 100;

/// Messages that may be on their way to a recipient; a server bounds what waits for one that is not there.
const WINDOW: u64 = 4000;

/// Where and how one client connects.
#[derive(Clone)]
struct Door {
    proxy: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    jid: Jid,
    connections: Arc<AtomicU64>,
}

/// The connection is gone.
struct Gone;

/// A session that comes back whenever its connection breaks.
struct Session {
    door: Door,
    raw: Raw,
    name: String,
    /// Stanzas that have come.
    handled: u64,
}

impl Session {
    async fn open(door: Door) -> Self {
        loop {
            if let Ok((raw, name)) = Self::begin(&door).await {
                return Self { door, raw, name, handled: 0 };
            }
        }
    }

    /// A connection on which the client has authenticated.
    async fn connect(door: &Door) -> Result<Raw, Gone> {
        door.connections.fetch_add(1, Ordering::Relaxed);
        let socket = tokio::net::TcpStream::connect(door.proxy).await.map_err(|_| Gone)?;
        let mut raw = Raw::new(socket);
        raw.authenticate(Arc::clone(&door.tls), &door.jid, PASSWORD).await.map_err(|_| Gone)?;
        Ok(raw)
    }

    async fn begin(door: &Door) -> Result<(Raw, String), Gone> {
        let mut raw = Self::connect(door).await?;
        let resource = door.jid.resource().unwrap();
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>");
        raw.send(&format!("<iq type='set' id='bind'>{bind}</iq><enable xmlns='{SM}' resume='true'/>")).await;
        loop {
            match raw.event().await.map_err(|_| Gone)?.ok_or(Gone)? {
                Event::Nonza(element) if element.name() == "enabled" => {
                    return Ok((raw, element.attribute("id").unwrap().to_owned()));
                }
                Event::Stanza(_) => {}
                _ => return Err(Gone),
            }
        }
    }

    /// Comes back; says how many of the client's stanzas are in safe hands.
    async fn come_back(&mut self) -> u64 {
        loop {
            let Ok(mut raw) = Self::connect(&self.door).await else { continue };
            raw.send(&format!("<resume xmlns='{SM}' previd='{}' h='{}'/>", self.name, self.handled)).await;
            let Ok(Some(Event::Nonza(answer))) = raw.event().await else { continue };
            assert_eq!(answer.name(), "resumed", "{}: {}", self.door.jid, answer.to_xml(""));
            self.raw = raw;
            return number(&answer);
        }
    }

    /// The next event; a stanza is counted, and a request for confirmation is answered.
    async fn next(&mut self) -> Result<Event<'static>, Gone> {
        let event = self.raw.event().await.map_err(|_| Gone)?.ok_or(Gone)?;
        match &event {
            Event::Stanza(_) => self.handled += 1,
            Event::Nonza(element) if element.name() == "r" => {
                self.raw.send(&format!("<a xmlns='{SM}' h='{}'/>", self.handled)).await;
            }
            Event::Nonza(element) if element.name() == "a" => {}
            _ => return Err(Gone),
        }
        Ok(event)
    }
}

fn number(element: &Element) -> u64 {
    element.attribute("h").unwrap().parse().unwrap()
}

/// Sends `count` messages with their numbers. `arrived` says how many have come to the recipient.
async fn send(door: Door, to: Jid, count: u64, arrived: Arc<AtomicU64>) {
    let mut session = Session::open(door).await;
    let (mut safe, mut next) = (0, 0);
    while safe < count {
        let room = (arrived.load(Ordering::Relaxed) + WINDOW).min(safe + WINDOW).min(count);
        if next < room {
            let upto = (next + CHUNK).min(room);
            let mut text = String::new();
            for number in next..upto {
                text.push_str(&format!("<message to='{to}' type='chat' id='{number}'><body>{number}</body></message>"));
            }
            text.push_str(&format!("<r xmlns='{SM}'/>"));
            session.raw.send(&text).await;
            next = upto;
        } else if safe == next {
            // The recipient has to catch up.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        // One answer for each request.
        match session.next().await {
            Ok(Event::Nonza(element)) if element.name() == "a" => safe = number(&element),
            Ok(_) => {}
            Err(Gone) => {
                safe = session.come_back().await;
                next = safe;
            }
        }
    }
}

/// Receives `count` messages: each number, once, in order.
async fn receive(door: Door, ready: tokio::sync::oneshot::Sender<()>, count: u64, arrived: Arc<AtomicU64>) {
    let mut session = Session::open(door).await;
    ready.send(()).unwrap();
    let mut wanted = 0;
    while wanted < count {
        match session.next().await {
            Ok(Event::Stanza(stanza)) => {
                assert!(matches!(stanza.kind, Kind::Message(_)), "{}", stanza.to_xml());
                assert_eq!(stanza.id.as_deref(), Some(wanted.to_string().as_str()), "{}", session.door.jid);
                wanted += 1;
                arrived.store(wanted, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(Gone) => {
                session.come_back().await;
            }
        }
    }
}

/// Each connection breaks, after some thousand messages in a run of a hundred thousand; most bytes go the way `most`.
fn fates(seed: u64, most: Way, count: u64) -> impl FnMut() -> Option<Fate> {
    let (mut random, bytes) = (Random::new(seed), 30_000 + count / PAIRS * 2);
    let other = if most == Way::Up { Way::Down } else { Way::Up };
    move || {
        let fault = if random.below(4) == 0 { Fault::HalfClose } else { Fault::Cut };
        let heavy = random.below(4) > 0;
        let (way, bytes) = if heavy { (most, bytes) } else { (other, 6000 + bytes / 100) };
        Some(Fate { fault, after: random.below(bytes), way })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_comes_once_and_in_its_place() {
    let count = std::env::var("ORDER").ok().and_then(|text| text.parse().ok()).unwrap_or(SHORT);
    let mut site = Site::new("crash-order");
    let config = format!(
        "domain = \"{DOMAIN}\"\ndata_dir = \"data\"\n[listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = []\ns2s_tls = []\n\
         [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n[archive]\nenabled = false\n\
         [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = 0\nring_bytes = \"16MiB\"\n",
        site.c2s
    );
    std::fs::write(site.directory.join("comity.toml"), config).unwrap();
    let accounts: Vec<Jid> = (0..2 * PAIRS).map(|it| format!("a{it}@{DOMAIN}/r").parse().unwrap()).collect();
    for account in &accounts {
        let added = site.run(&["account", "add", account.bare_str(), "--password-stdin"], &format!("{PASSWORD}\n"));
        assert!(added.status.success());
    }
    site.start();
    let senders = Proxy::new(site.c2s, fates(7, Way::Up, count)).await;
    let recipients = Proxy::new(site.c2s, fates(11, Way::Down, count)).await;
    let (tls, connections, began) = (site.client_tls(), Arc::<AtomicU64>::default(), Instant::now());
    let door = |proxy: &Proxy, jid: &Jid| Door {
        proxy: proxy.address,
        tls: Arc::clone(&tls),
        jid: jid.clone(),
        connections: Arc::clone(&connections),
    };
    let mut tasks = JoinSet::new();
    for pair in accounts.chunks(2) {
        let (arrived, (ready, is_ready)) = (Arc::<AtomicU64>::default(), tokio::sync::oneshot::channel());
        tasks.spawn(receive(door(&recipients, &pair[1]), ready, count / PAIRS, Arc::clone(&arrived)));
        let (from, to) = (door(&senders, &pair[0]), pair[1].clone());
        tasks.spawn(async move {
            is_ready.await.unwrap();
            send(from, to, count / PAIRS, arrived).await;
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections > 40 * PAIRS, "only {connections} connections");
    println!("{count} messages in {:?} over {connections} connections", began.elapsed());
    assert!(site.stop().success());
}

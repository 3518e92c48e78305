//! Another server is killed and started again, over and over, while messages and presence are on their way: in the end
//! everybody sees who is there and nobody who is gone, and what was acknowledged is delivered or comes back.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;
#[path = "site/waiting.rs"]
mod waiting;
#[path = "site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use comity::testing::Client;
use comity::xml::Element;
use site::{Site, free};
use waiting::nothing_waits;

/// Kills of the other server in `make check`; `KILLS` asks for more.
const KILLS: usize = 3;

/// How long before something is looked at once more.
const GLANCE: Duration = Duration::from_millis(20);

/// Messages of one cycle.
const BURST: usize = 40;

const SM: &str = "urn:xmpp:sm:3";
const NEAR: &str = "verona.example";
const FAR: &str = "mantua.example";

struct Server {
    domain: &'static str,
    site: Site,
    s2s: SocketAddr,
}

impl Server {
    fn new(domain: &'static str, bidi: bool) -> Self {
        Self { domain, site: Site::new(&format!("guardian-{domain}-{bidi}")), s2s: free() }
    }

    fn configure(&self, dns: SocketAddr, trusted: &str, bidi: bool) {
        let Self { domain, s2s, site } = self;
        let config = format!(
            "domain = \"{domain}\"\ndata_dir = \"data\"\n\
             [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{s2s}\"\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
             [dns]\nservers = [\"{dns}\"]\n[federation]\nbidi = {bidi}\n[archive]\nenabled = false\n[log]\nlevel = \"info,comity::routing=debug\"\n\
             [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = 0\noffline_messages = 100000\n",
            site.c2s
        );
        std::fs::write(site.directory.join("comity.toml"), config).unwrap();
        std::fs::write(site.directory.join("ca.pem"), trusted).unwrap();
        let issued = site.ca.issue(&[domain]).unwrap();
        std::fs::write(site.directory.join("chain.pem"), issued.chain_pem).unwrap();
        std::fs::write(site.directory.join("key.pem"), issued.key_pem).unwrap();
        for name in ["one", "two"] {
            let account = format!("{name}@{domain}");
            assert!(site.run(&["account", "add", &account, "--password-stdin"], "secret\n").status.success());
        }
    }

    /// How often it has looked who of a domain that was lost has not been heard of since.
    fn looks(&self) -> usize {
        let log = std::fs::read_to_string(self.site.directory.join("log")).unwrap();
        // There may be some, or nobody.
        log.lines().filter(|line| line.contains("as gone")).count()
    }

    async fn log_in(&self, name: &str, resource: &str) -> Person {
        let account = format!("{name}@{}", self.domain);
        let client = self.site.log_in(&format!("{account}/{resource}"), "secret").await.unwrap();
        let (sees, bounced, got) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut person = Person { account, client, sees, bounced, got, safe: 0 };
        person.client.send("<presence/>").await;
        person
    }
}

/// A client, and what it knows.
struct Person {
    account: String,
    client: Client,
    /// Whom of the other domain it sees.
    sees: BTreeSet<String>,
    /// Messages that came back, and that came.
    bounced: BTreeSet<usize>,
    got: BTreeSet<usize>,
    /// How many of its stanzas the server has acknowledged.
    safe: usize,
}

impl Person {
    /// Takes in the next element, whatever it is.
    async fn hear(&mut self) -> Element {
        let element = self.client.next().await.unwrap();
        self.take(&element);
        element
    }

    /// Takes in what comes until the server has ended.
    async fn read_out(&mut self) {
        while let Some(element) = self.client.next().await {
            self.take(&element);
        }
    }

    fn take(&mut self, element: &Element) {
        let number = || element.attribute("id").and_then(|id| id.parse::<usize>().ok());
        match (element.name(), element.attribute("type")) {
            ("presence", kind) => self.see(element.attribute("from").unwrap_or_default(), kind),
            ("message", Some("error")) => self.bounced.extend(number()),
            ("message", _) => self.got.extend(number()),
            ("a", _) => self.safe = element.attribute("h").unwrap().parse().unwrap(),
            _ => {}
        }
    }

    fn see(&mut self, from: &str, kind: Option<&str>) {
        match kind {
            None if !from.contains(self.own_domain()) => _ = self.sees.insert(from.to_owned()),
            // A bare JID stands for all resources (RFC 6121 §4.3.2).
            Some("unavailable") if !from.contains('/') => self.sees.retain(|it| !it.starts_with(&format!("{from}/"))),
            Some("unavailable") => _ = self.sees.remove(from),
            _ => {}
        }
    }

    fn own_domain(&self) -> &'static str {
        if self.account.ends_with(NEAR) { NEAR } else { FAR }
    }

    /// Says something to these: when they hear it, they have heard everything that was said there before.
    async fn mark(&mut self, others: &mut [&mut Self]) {
        for other in others {
            let to = &other.account;
            self.client.send(&format!("<message to='{to}' type='chat' id='mark'><body>mark</body></message>")).await;
            while other.hear().await.attribute("id") != Some("mark") {}
        }
    }

    fn sees_only(&self, wanted: &[&str]) {
        let sees: Vec<&str> = self.sees.iter().map(String::as_str).collect();
        assert_eq!(sees, wanted, "{}", self.account);
    }

    /// Listens until it sees this one as well.
    async fn sees_too(&mut self, jid: &str) {
        while !self.sees.contains(jid) {
            self.hear().await;
        }
    }

    /// Writes these numbers to the two of the other server.
    async fn write(&mut self, numbers: Range<usize>) {
        for number in numbers {
            let to = if number.is_multiple_of(2) { "one" } else { "two" };
            let message = format!("<message to='{to}@{FAR}' type='chat' id='{number}'><body>{number}</body></message>");
            self.client.send(&message).await;
        }
    }

    /// Asks until so much of what it has sent is in safe hands.
    async fn until_safe(&mut self, stanzas: usize) {
        while self.safe < stanzas {
            self.client.send(&format!("<r xmlns='{SM}'/>")).await;
            while self.hear().await.name() != "a" {}
        }
    }

    /// Everything that has come so far.
    async fn catch_up(&mut self) {
        self.client.send("<iq type='get' id='so-far'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        while self.hear().await.attribute("id") != Some("so-far") {}
    }
}

/// The two ask each other, and let each other.
async fn befriend(one: &mut Person, other: &mut Person) {
    let (ours, theirs) = (one.account.clone(), other.account.clone());
    one.client.send(&format!("<presence type='subscribe' to='{theirs}'/>")).await;
    while other.hear().await.attribute("type") != Some("subscribe") {}
    let both = format!("<presence type='subscribed' to='{ours}'/><presence type='subscribe' to='{ours}'/>");
    other.client.send(&both).await;
    while one.hear().await.attribute("type") != Some("subscribe") {}
    one.client.send(&format!("<presence type='subscribed' to='{theirs}'/>")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_who_is_there_after_the_other_server_was_killed_again_and_again() {
    kill_again_and_again(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_who_is_there_where_streams_go_both_ways() {
    kill_again_and_again(true).await;
}

/// Two servers that run and find each other.
async fn two_servers(bidi: bool) -> (Server, Server) {
    let (mut near, mut far) = (Server::new(NEAR, bidi), Server::new(FAR, bidi));
    far.site.ca = Arc::clone(&near.site.ca);
    let dns = zone::serve(&[(NEAR, near.s2s), (FAR, far.s2s)]).await;
    let trusted = near.site.ca.pem();
    near.configure(dns, &trusted, bidi);
    far.configure(dns, &trusted, bidi);
    near.site.start();
    far.site.start();
    (near, far)
}

/// Waits until the server has looked once more who of the other domain is gone.
async fn wait_for_nobody(server: &Server, looks: usize, listener: &mut Person) {
    while server.looks() == looks {
        tokio::select! {
            _ = listener.hear() => {}
            () = tokio::time::sleep(GLANCE) => {}
        }
    }
}

/// Somebody who stays, a friend of his who comes and goes, and what was sent to the other server.
struct Scene {
    near: Server,
    far: Server,
    watcher: Person,
    friend: Person,
    sent: usize,
    arrived: BTreeSet<usize>,
}

/// The subscriptions of the watcher are in the count of what is in safe hands, too.
const COUNTED: usize = 4;

impl Scene {
    async fn begin(bidi: bool) -> Self {
        let (near, far) = two_servers(bidi).await;
        let mut watcher = near.log_in("one", "watcher").await;
        watcher.client.send(&format!("<enable xmlns='{SM}'/>")).await;
        while watcher.hear().await.name() != "enabled" {}
        let mut friend = near.log_in("two", "0").await;
        for name in ["one", "two"] {
            let mut other = far.log_in(name, "first").await;
            befriend(&mut watcher, &mut other).await;
            befriend(&mut friend, &mut other).await;
            watcher.sees_too(&format!("{name}@{FAR}/first")).await;
        }
        Self { near, far, watcher, friend, sent: 0, arrived: BTreeSet::new() }
    }

    async fn burst(&mut self) {
        self.watcher.write(self.sent..self.sent + BURST).await;
        self.sent += BURST;
    }

    /// The other server is killed in the middle of a talk. Who is there in this cycle is gone in the next, without a word.
    async fn kill(&mut self, number: usize) {
        let (one, two) = (format!("cycle-{number}"), format!("also-{number}"));
        if number > 0 {
            self.far.site.start();
        }
        let mut others = vec![self.far.log_in("one", &one).await];
        if number.is_multiple_of(2) {
            others.push(self.far.log_in("two", &two).await);
        }
        self.watcher.sees_too(&format!("one@{FAR}/{one}")).await;
        self.burst().await;
        self.far.site.signal("-KILL");
        assert!(!self.far.site.ended().success());
        for other in &mut others {
            other.read_out().await;
            self.arrived.append(&mut other.got);
        }
        // Somebody goes and somebody comes while nobody there can be told.
        self.friend.client.vanish();
        self.friend = self.near.log_in("two", &(number + 1).to_string()).await;
        self.burst().await;
        self.watcher.until_safe(self.sent + COUNTED).await;
    }

    /// Everything that is on its way arrives or comes back.
    async fn settle(&mut self, last: &mut Person) {
        let mut one = self.far.log_in("one", "last").await;
        while !nothing_waits(&self.near.site).unwrap() || !nothing_waits(&self.far.site).unwrap() {
            tokio::time::sleep(GLANCE).await;
        }
        for person in [&mut one, last, &mut self.watcher] {
            person.catch_up().await;
            self.arrived.append(&mut person.got);
            self.arrived.append(&mut person.bounced);
        }
    }
}

async fn kill_again_and_again(bidi: bool) {
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut scene = Scene::begin(bidi).await;
    for number in 0..kills {
        scene.kill(number).await;
    }
    let looks = scene.near.looks();
    scene.far.site.start();
    let mut last = scene.far.log_in("two", "last").await;
    wait_for_nobody(&scene.near, looks, &mut scene.watcher).await;
    last.mark(&mut [&mut scene.watcher, &mut scene.friend]).await;
    scene.watcher.mark(&mut [&mut last]).await;
    scene.watcher.sees_only(&[&format!("two@{FAR}/last")]);
    scene.friend.sees_only(&[&format!("two@{FAR}/last")]);
    last.sees_only(&[&format!("one@{NEAR}/watcher"), &format!("two@{NEAR}/{kills}")]);

    scene.settle(&mut last).await;
    let lost: Vec<usize> = (0..scene.sent).filter(|number| !scene.arrived.contains(number)).collect();
    assert_eq!(lost, [0; 0], "neither delivered nor returned");
    for server in [&mut scene.far, &mut scene.near] {
        assert!(server.site.stop().success());
    }
}

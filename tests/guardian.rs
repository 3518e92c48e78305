//! Another server is killed and started again, over and over, while messages and presence are on their way: in the end
//! everybody sees who is there and nobody who is gone, and what was acknowledged is delivered or comes back.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;
#[path = "site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use comity::testing::Client;
use comity::xml::Element;
use site::{Site, free};

/// Kills of the other server in `make check`; `KILLS` asks for more.
const KILLS: usize = 3;

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
             [dns]\nservers = [\"{dns}\"]\n[federation]\nbidi = {bidi}\n[archive]\nenabled = false\n\
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

    /// Listens until it sees exactly these.
    async fn sees(&mut self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|jid| (*jid).to_owned()).collect();
        while self.sees != wanted {
            self.hear().await;
        }
    }

    /// Listens until it sees this one as well.
    async fn sees_too(&mut self, jid: &str) {
        while !self.sees.contains(jid) {
            self.hear().await;
        }
    }

    /// Says something to both people there in turn; how much was said by then.
    async fn burst(&mut self, said: usize) -> usize {
        for number in said..said + BURST {
            let to = if number % 2 == 0 { "one" } else { "two" };
            let message = format!("<message to='{to}@{FAR}' type='chat' id='{number}'><body>{number}</body></message>");
            self.client.send(&message).await;
        }
        said + BURST
    }

    /// Asks until so many of its stanzas are acknowledged.
    async fn until_safe(&mut self, count: usize) {
        while self.safe < count {
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

async fn kill_again_and_again(bidi: bool) {
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let (mut near, mut far) = both_servers(bidi).await;
    let (mut watcher, mut friend) = friends(&near, &far).await;
    // The subscriptions were counted, too.
    let (mut sent, counted) = (0, 4);
    let mut arrived = BTreeSet::new();
    for kill in 0..kills {
        // Who is there in this cycle is gone in the next, without a word.
        let (one, two) = (format!("cycle-{kill}"), format!("also-{kill}"));
        if kill > 0 {
            far.site.start();
        }
        let mut others = vec![far.log_in("one", &one).await];
        if kill % 2 == 0 {
            others.push(far.log_in("two", &two).await);
        }
        watcher.sees_too(&format!("one@{FAR}/{one}")).await;
        for part in 0..2 {
            sent = watcher.burst(sent).await;
            if part == 0 {
                far.site.signal("-KILL");
                assert!(!far.site.ended().success());
                for other in &mut others {
                    other.read_out().await;
                    arrived.append(&mut other.got);
                }
                // Somebody goes and somebody comes while nobody there can be told.
                friend.client.vanish();
                friend = near.log_in("two", &(kill + 1).to_string()).await;
            }
        }
        watcher.until_safe(sent + counted).await;
    }
    far.site.start();
    let mut last = far.log_in("two", "last").await;
    watcher.sees(&[&format!("two@{FAR}/last")]).await;
    last.sees(&[&format!("one@{NEAR}/watcher"), &format!("two@{NEAR}/{kills}")]).await;
    friend.sees(&[&format!("two@{FAR}/last")]).await;

    let mut one = far.log_in("one", "last").await;
    all_arrive(sent, arrived, [&mut one, &mut last, &mut watcher]).await;
    for server in [&mut far, &mut near] {
        assert!(server.site.stop().success());
    }
}

/// The two servers, and a zone in which they find each other.
async fn both_servers(bidi: bool) -> (Server, Server) {
    let (mut near, mut far) = (Server::new(NEAR, bidi), Server::new(FAR, bidi));
    far.site.ca = Arc::clone(&near.site.ca);
    let dns = zone::serve(&[(NEAR, near.s2s), (FAR, far.s2s)]).await;
    let trusted = near.site.ca.pem();
    for server in [&mut near, &mut far] {
        server.configure(dns, &trusted, bidi);
        server.site.start();
    }
    (near, far)
}

/// Two people here and two there, who see each other; the first of these counts.
async fn friends(near: &Server, far: &Server) -> (Person, Person) {
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
    (watcher, friend)
}

/// Listens until so many messages have arrived or come back.
async fn all_arrive(sent: usize, mut arrived: BTreeSet<usize>, mut people: [&mut Person; 3]) {
    while arrived != (0..sent).collect::<BTreeSet<_>>() {
        for person in &mut people {
            person.catch_up().await;
            arrived.append(&mut person.got);
            arrived.append(&mut person.bounced);
        }
    }
}

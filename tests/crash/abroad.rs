//! Recipients at other servers: one that answers, one that refuses, one that hangs, one that cannot be reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use comity::testing::Client;

use crate::cast::{DOMAIN, PASSWORD, Sender};
use crate::ledger::{Finding, Letter, Name};
use crate::proxy::{Fate, Fault, Proxy, Way};
use crate::site::{Site, free};
use crate::zone;

/// Whether messages to other servers are among what is acknowledged and must not get lost.
pub(crate) const ABROAD: bool = false;

/// Its server answers.
const ANSWERS: &str = "romeo@mantua.example";
/// Its server says that there is no such account.
const REFUSED: &str = "nobody@mantua.example";
/// Its server says nothing any more after a while.
const HANGS: &str = "romeo@padua.example";
/// Its server does not even take the connection.
const DOWN: &str = "romeo@vicenza.example";

pub(crate) const ADDRESSES: [&str; 4] = [ANSWERS, REFUSED, HANGS, DOWN];

/// Domains of the other server, each with the proxy that leads there.
const DOMAINS: [&str; 3] = ["mantua.example", "padua.example", "vicenza.example"];

/// Another server, which is never killed.
pub(crate) struct Abroad {
    site: Site,
    proxies: Vec<Proxy>,
    clients: BTreeMap<&'static str, Client>,
    got: BTreeMap<&'static str, Vec<Letter>>,
    pub(crate) dns: SocketAddr,
}

impl Abroad {
    /// The other server, which trusts the same authority as `near`, whose listener for servers is `s2s`.
    pub(crate) async fn new(name: &str, near: &Site, s2s: SocketAddr) -> Self {
        let mut site = Site::new(name);
        site.ca = std::sync::Arc::clone(&near.ca);
        let listener = free();
        let mut proxies = Vec::new();
        for _ in DOMAINS {
            proxies.push(Proxy::new(listener, || None).await);
        }
        let ways = DOMAINS.iter().zip(&proxies).map(|(domain, proxy)| (*domain, proxy.address));
        let ways: Vec<_> = ways.chain([(DOMAIN, s2s)]).collect();
        let dns = zone::serve(&ways).await;
        let issued = site.ca.issue(&DOMAINS).unwrap();
        let write = |file: &str, text: &str| std::fs::write(site.directory.join(file), text).unwrap();
        write("chain.pem", &issued.chain_pem);
        write("key.pem", &issued.key_pem);
        write("ca.pem", &site.ca.pem());
        let domains: String = DOMAINS.iter().map(|domain| format!("[[domains]]\nname = \"{domain}\"\n")).collect();
        let config = format!(
            "data_dir = \"data\"\n[listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{listener}\"\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
             [dns]\nservers = [\"{dns}\"]\n{domains}",
            site.c2s
        );
        write("comity.toml", &config);
        let mut clients = BTreeMap::new();
        site.start();
        for address in [ANSWERS, HANGS, DOWN] {
            let added = site.run(&["account", "add", address, "--password-stdin"], &format!("{PASSWORD}\n"));
            assert!(added.status.success());
            let mut client = site.log_in(&format!("{address}/r"), PASSWORD).await.unwrap();
            client.send("<presence/>").await;
            clients.insert(address, client);
        }
        Self { site, proxies, clients, got: BTreeMap::new(), dns }
    }

    /// The ways become bad: one is silent after so many bytes, the other closed.
    pub(crate) fn spoil(&self, after: u64) {
        self.proxies[1].set(Some(Fate { fault: Fault::Stall, after, way: Way::Up }));
        self.proxies[2].set(Some(Fate { fault: Fault::Cut, after: 0, way: Way::Up }));
    }

    /// All ways are open, and connections that hang are cut.
    pub(crate) fn open(&self) {
        self.proxies.iter().for_each(|proxy| proxy.set(None));
    }

    /// Waits until what the senders have sent has arrived or come back, as far as it does; then says what is missing.
    pub(crate) async fn audit(&mut self, cycle: u32, senders: &mut [Sender]) -> Vec<Finding> {
        // What comes last shows that nothing more comes before it.
        let mut last: Vec<(&str, usize, Name)> = Vec::new();
        for sender in &mut *senders {
            for address in ADDRESSES {
                last.push((address, sender.number, sender.say(address).await));
            }
        }
        loop {
            senders.iter_mut().for_each(Sender::read);
            self.read();
            let here = |address: &str, name: &Name| {
                self.got.get(address).is_some_and(|got| got.iter().any(|it| it.name == *name))
            };
            last.retain(|(address, sender, name)| !here(address, name) && !senders[*sender].bounced.contains(name));
            if last.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let mut findings = Vec::new();
        for address in ADDRESSES {
            let got = self.got.remove(address).unwrap_or_default();
            let arrived = |name: &Name| got.iter().any(|letter| letter.name == *name);
            for sender in &*senders {
                let mut names = sender.safe_letters(address);
                names.retain(|name| name.cycle == cycle && !arrived(name) && !sender.bounced.contains(name));
                if !names.is_empty() {
                    findings.push(Finding::Lost { whose: address.to_owned(), names });
                }
            }
        }
        findings
    }

    fn read(&mut self) {
        for (address, client) in &mut self.clients {
            while let Some(element) = client.received() {
                self.got.entry(*address).or_default().extend(Letter::read(&element));
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        self.site.stop();
    }
}

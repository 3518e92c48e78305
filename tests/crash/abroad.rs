//! Recipients at other servers: one that answers, one that refuses, one that hangs, one that cannot be reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use comity::testing::Client;

use crate::cast::{Cut, DOMAIN, PASSWORD, Sender};
use crate::ledger::{Finding, Letter, Name, Repeats, judge};
use crate::proxy::{Fate, Fault, Proxy, Way};
use crate::site::{Site, free};
use crate::waiting::nothing_waits;
use crate::zone;

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

/// So often something is looked at before it is asked whether anything is still on its way.
const LOOKS: usize = 100;

/// Another server, which is never killed.
pub(crate) struct Abroad {
    site: Site,
    proxies: Vec<Proxy>,
    clients: BTreeMap<&'static str, Client>,
    got: BTreeMap<&'static str, Vec<Letter>>,
    /// Everything of this cycle has arrived or come back.
    done: bool,
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
             [dns]\nservers = [\"{dns}\"]\n[log]\nlevel = \"info,comity::federation=debug\"\n{domains}",
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
        Self { site, proxies, clients, got: BTreeMap::new(), done: false, dns }
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

    /// Another cycle begins.
    pub(crate) fn begin(&mut self) {
        self.open();
        self.read();
        // A log has one cycle.
        let _ = std::fs::File::create(self.site.directory.join("log"));
        self.got.clear();
        self.done = false;
    }

    /// Waits until what the senders have sent has arrived or come back; then says what is wrong with it.
    pub(crate) async fn audit(&mut self, near: &Site, cycle: u32, senders: &mut [Sender]) -> Result<Vec<Finding>, Cut> {
        if self.done {
            return Ok(Vec::new());
        }
        // Who says nothing for minutes is not taken to be there.
        for client in self.clients.values_mut() {
            client.send("<iq type='get' id='there'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        }
        // What comes last shows that nothing more comes before it.
        let mut last: Vec<(&str, usize, Name)> = Vec::new();
        for sender in &mut *senders {
            for address in ADDRESSES {
                last.push((address, sender.number, sender.say(address).await));
            }
        }
        for sender in &mut *senders {
            sender.catch_up().await?;
        }
        let mut looks = 0;
        while !last.is_empty() {
            for sender in &mut *senders {
                sender.listen().await?;
            }
            self.read();
            last.retain(|it| self.is_missing(it, senders));
            looks += 1;
            // First what goes there, then what comes back: nothing is on its way any more.
            let is_over =
                looks % LOOKS == 0 && nothing_waits(near).map_err(Cut)? && nothing_waits(&self.site).map_err(Cut)?;
            if is_over {
                self.catch_up().await;
                for sender in &mut *senders {
                    sender.catch_up().await?;
                }
                last.retain(|it| self.is_missing(it, senders));
                break;
            }
        }
        self.done = true;
        let lost =
            last.into_iter().map(|(whose, _, name)| Finding::Lost { whose: whose.to_owned(), names: vec![name] });
        Ok(ADDRESSES.into_iter().flat_map(|address| self.judged(address, cycle, senders)).chain(lost).collect())
    }

    /// Has neither arrived nor come back.
    fn is_missing(&self, (address, sender, name): &(&str, usize, Name), senders: &[Sender]) -> bool {
        let is_here = self.got.get(*address).is_some_and(|got| got.iter().any(|it| it.name == *name));
        !is_here && !senders[*sender].bounced.contains(name)
    }

    /// What was acknowledged has arrived, once and in order, or has come back, and not both.
    fn judged(&self, address: &str, cycle: u32, senders: &[Sender]) -> Vec<Finding> {
        let got = self.got.get(address).map(Vec::as_slice).unwrap_or_default();
        let bounced = |name: &Name| senders.iter().any(|sender| sender.bounced.contains(name));
        let mut safe: Vec<Name> = senders.iter().flat_map(|sender| sender.safe_letters(address)).collect();
        safe.retain(|name| !bounced(name));
        let mut findings = judge(address, cycle, &safe, got, Repeats::Never);
        let both: Vec<Name> = got.iter().map(|letter| letter.name).filter(bounced).collect();
        if !both.is_empty() {
            findings.push(Finding::Both { whose: address.to_owned(), names: both });
        }
        findings
    }

    /// Takes in all that has come to this server.
    async fn catch_up(&mut self) {
        for (address, client) in &mut self.clients {
            client.send("<iq type='get' id='so-far'><ping xmlns='urn:xmpp:ping'/></iq>").await;
            loop {
                let element = client.next().await.unwrap();
                if element.attribute("id") == Some("so-far") {
                    break;
                }
                self.got.entry(*address).or_default().extend(Letter::read(&element));
            }
        }
    }

    fn read(&mut self) {
        for (address, client) in &mut self.clients {
            while let Some(element) = client.received() {
                self.got.entry(*address).or_default().extend(Letter::read(&element));
            }
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.site.directory
    }

    pub(crate) fn stop(&mut self) {
        self.site.stop();
    }
}

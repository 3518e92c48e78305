//! The server is killed in the middle of everything: what it has acknowledged is not lost, and clients come back to their
//! sessions. `docs/reliability.md` has the figures of longer runs.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::collections::{BTreeMap, BTreeSet};

use comity::jid::Jid;
use comity::testing::{Client, Raw};
use comity::xml::Element;
use site::Site;

/// Kills with the short run in `make check`; `CRASHES` asks for more.
const CRASHES: u32 = 6;

const SM: &str = "urn:xmpp:sm:3";

/// Which of the recipient's clients read, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    /// Connected, confirms what it gets (XEP-0198).
    Confirms,
    /// Connected, gets everything and confirms nothing.
    Silent,
    /// Its connection is lost, its session waits.
    Away,
    /// Nobody has logged in.
    Offline,
}

const READERS: [Reader; 4] = [Reader::Confirms, Reader::Silent, Reader::Away, Reader::Offline];

impl Reader {
    fn account(self) -> String {
        format!("{}@verona.example", format!("{self:?}").to_lowercase())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_with_the_archive() {
    cycles("crash-archive", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_without_the_archive() {
    cycles("crash-bare", "[archive]\nenabled = false\n").await;
}

async fn cycles(name: &str, more: &str) {
    let crashes = std::env::var("CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    let mut site = Site::new(name);
    let path = site.directory.join("comity.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{config}{more}")).unwrap();
    for account in READERS.iter().map(|reader| reader.account()).chain(["sender@verona.example".to_owned()]) {
        assert!(site.run(&["account", "add", &account, "--password-stdin"], "pass-word\n").status.success());
    }
    for number in 0..crashes {
        let mut crash = Crash { number, site: &mut site, sent: Vec::new(), acknowledged: 0, got: BTreeMap::new() };
        let readers = crash.load().await;
        crash.check(readers).await;
    }
}

/// One kill.
struct Crash<'a> {
    number: u32,
    site: &'a mut Site,
    sent: Vec<(Reader, String)>,
    /// How many of them, from the first.
    acknowledged: usize,
    /// In the order in which they came.
    got: BTreeMap<Reader, Vec<String>>,
}

impl Crash<'_> {
    fn jid(&self, reader: Reader) -> Jid {
        format!("{}/r{}", reader.account(), self.number).parse().unwrap()
    }

    /// Sends until enough is acknowledged, then kills the server.
    async fn load(&mut self) -> BTreeMap<Reader, Client> {
        self.site.start();
        let mut readers = BTreeMap::new();
        for reader in READERS.into_iter().filter(|reader| *reader != Reader::Offline) {
            let mut client = self.site.log_in(self.jid(reader).as_str(), "pass-word").await.unwrap();
            client.send(&format!("<enable xmlns='{SM}' resume='true'/><presence/>")).await;
            until(&mut client, |element| element.name() == "presence").await;
            if reader == Reader::Away {
                client.vanish();
            }
            readers.insert(reader, client);
        }
        let mut sender = self.site.log_in("sender@verona.example/s", "pass-word").await.unwrap();
        sender.send(&format!("<enable xmlns='{SM}'/>")).await;
        until(&mut sender, |element| element.name() == "enabled").await;
        // Different numbers of messages, so that the signal comes at different places of a group.
        while self.acknowledged < 40 + 37 * (self.number as usize % 16) {
            self.send(&mut sender).await;
            for reader in [Reader::Confirms, Reader::Silent] {
                let client = readers.get_mut(&reader).unwrap();
                take(client, self.got.entry(reader).or_default(), reader == Reader::Confirms).await;
            }
        }
        // Killed; what is left is to wait for it.
        self.site.signal("-KILL");
        assert!(!self.site.stop().success());
        for reader in [Reader::Confirms, Reader::Silent] {
            // What was on its way to them when the server ended is theirs.
            let client = readers.get_mut(&reader).unwrap();
            while let Some(element) = client.next().await {
                note(&element, self.got.entry(reader).or_default());
            }
        }
        readers
    }

    /// Sends one message to each, and asks how many have been handled.
    async fn send(&mut self, sender: &mut Client) {
        for reader in READERS {
            let (id, to) = (format!("{}-{}", self.number, self.sent.len()), reader.account());
            sender.send(&format!("<message to='{to}' type='chat' id='{id}'><body>{id}</body></message>")).await;
            self.sent.push((reader, id));
        }
        sender.send(&format!("<r xmlns='{SM}'/>")).await;
        let answer = until(sender, |element| element.name() == "a").await;
        self.acknowledged = answer.attribute("h").unwrap().parse().unwrap();
    }

    /// Starts the server again, has everybody come back, and looks who has got what.
    async fn check(&mut self, mut readers: BTreeMap<Reader, Client>) {
        self.site.start();
        for reader in READERS {
            let before = readers.remove(&reader);
            let mut client = self.come_back(reader, before).await;
            let (own, got) = (self.jid(reader), self.got.entry(reader).or_default());
            // The own presence comes behind everything that waited.
            let is_own = |it: &Element| it.name() == "presence" && it.attribute("from") == Some(own.as_str());
            loop {
                let element = client.next().await.unwrap();
                note(&element, got);
                if is_own(&element) {
                    break;
                }
            }
            self.judge(reader);
            // He has them now, so they are not there after the next kill.
            client.send("<iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>").await;
            until(&mut client, |element| element.attribute("id") == Some("last")).await;
            client.close().await;
            until(&mut client, |element| element.name() == "closed").await;
        }
        assert!(self.site.stop().success());
    }

    async fn come_back(&self, reader: Reader, before: Option<Client>) -> Client {
        let jid = self.jid(reader);
        let Some(before) = before else {
            let mut client = self.site.log_in(jid.as_str(), "pass-word").await.unwrap();
            client.send("<presence/>").await;
            return client;
        };
        let mut raw = Raw::new(tokio::net::TcpStream::connect(self.site.c2s).await.unwrap());
        raw.authenticate(self.site.client_tls(), &jid, "pass-word").await.unwrap();
        let mut client = before.resume(raw, None).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer.name(), "resumed", "{reader:?}: {}", answer.to_xml(""));
        client
    }

    fn judge(&self, reader: Reader) {
        let got = &self.got[&reader];
        let safe = self.sent.iter().take(self.acknowledged).filter(|(to, _)| *to == reader).map(|(_, id)| id);
        let seen: BTreeSet<&String> = got.iter().collect();
        let lost: Vec<_> = safe.filter(|id| !seen.contains(id)).collect();
        assert!(lost.is_empty(), "{reader:?}: acknowledged and lost: {lost:?}");
        assert_eq!(seen.len(), got.len(), "{reader:?}: something came twice: {got:?}");
        let order: Vec<usize> = got.iter().map(|id| id.split_once('-').unwrap().1.parse().unwrap()).collect();
        assert!(order.is_sorted(), "{reader:?}: out of order: {order:?}");
    }
}

/// Takes in what has come, and confirms it if the client does that.
async fn take(client: &mut Client, got: &mut Vec<String>, confirms: bool) {
    while let Some(element) = client.received() {
        note(&element, got);
        if confirms && element.is("r", SM) {
            client.send(&format!("<a xmlns='{SM}' h='{}'/>", client.handled())).await;
        }
    }
}

fn note(element: &Element, got: &mut Vec<String>) {
    if element.name() == "message" {
        got.push(element.attribute("id").unwrap().to_owned());
    }
}

/// The next element that is as `wanted` says; what comes before is of no interest.
async fn until(client: &mut Client, wanted: impl Fn(&Element) -> bool) -> Element {
    loop {
        let element = client.next().await.unwrap();
        if wanted(&element) {
            return element;
        }
    }
}

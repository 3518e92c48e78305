//! Messages to another server that is down, is killed in the middle, or is reached by a server that has been killed itself:
//! what was acknowledged is delivered once and in order, or comes back.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;
#[path = "site/waiting.rs"]
mod waiting;
#[path = "site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use comity::crash::{Point, VARIABLE};
use comity::testing::Client;
use comity::xml::Element;
use site::{Site, free};
use waiting::nothing_waits;

/// Messages that wait over a restart in `make check`; `OUTBOX` asks for more.
const WAITING: usize = 600;

/// Kills of the other server in `make check`; `CRASHES` asks for more.
const CRASHES: usize = 4;

const SM: &str = "urn:xmpp:sm:3";

/// What is sent at once before an acknowledgement is waited for.
const BURST: usize = 50;

fn asked_for(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A server and the account of its one user.
struct Server {
    domain: &'static str,
    site: Site,
    s2s: SocketAddr,
}

impl Server {
    fn new(name: &str, domain: &'static str) -> Self {
        Self { domain, site: Site::new(&format!("outbox-{name}-{domain}")), s2s: free() }
    }

    fn configure(&self, dns: SocketAddr, trusted: &str, more: &str) {
        let Self { domain, s2s, site } = self;
        let config = format!(
            "domain = \"{domain}\"\ndata_dir = \"data\"\n\
             [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{s2s}\"\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
             [dns]\nservers = [\"{dns}\"]\n[archive]\nenabled = false\n\
             [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = 0\noffline_messages = 100000\n\
             [federation]\nqueue_bytes = \"32MiB\"\n{more}",
            site.c2s
        );
        std::fs::write(site.directory.join("comity.toml"), config).unwrap();
        std::fs::write(site.directory.join("ca.pem"), trusted).unwrap();
        let issued = site.ca.issue(&[domain]).unwrap();
        std::fs::write(site.directory.join("chain.pem"), issued.chain_pem).unwrap();
        std::fs::write(site.directory.join("key.pem"), issued.key_pem).unwrap();
        assert!(site.run(&["account", "add", &self.account(), "--password-stdin"], "secret\n").status.success());
    }

    fn account(&self) -> String {
        format!("user@{}", self.domain)
    }

    async fn log_in(&self) -> Client {
        self.site.log_in(&format!("{}/r", self.account()), "secret").await.unwrap()
    }

    fn kill(&mut self) {
        self.site.signal("-KILL");
        assert!(!self.site.stop().success());
    }
}

/// Two servers that find each other, neither of them running, and what has been sent from the near one.
struct Stage {
    near: Server,
    far: Server,
    sent: usize,
    acknowledged: usize,
    /// What has come back.
    bounced: Vec<usize>,
}

impl Stage {
    async fn new(name: &str, more: &str) -> Self {
        let (near, mut far) = (Server::new(name, "verona.example"), Server::new(name, "mantua.example"));
        far.site.ca = Arc::clone(&near.site.ca);
        let dns = zone::serve(&[(near.domain, near.s2s), (far.domain, far.s2s)]).await;
        let trusted = near.site.ca.pem();
        near.configure(dns, &trusted, more);
        far.configure(dns, &trusted, more);
        Self { near, far, sent: 0, acknowledged: 0, bounced: Vec::new() }
    }

    async fn sender(&self) -> Client {
        let mut sender = self.near.log_in().await;
        sender.send(&format!("<enable xmlns='{SM}'/>")).await;
        until(&mut sender, |element| element.name() == "enabled").await;
        sender.send("<presence/>").await;
        sender
    }

    /// Starts the far server, which says something: so the near one knows that it is there.
    async fn start_far(&mut self, sender: &mut Client, environment: &[(&str, &str)]) {
        assert!(self.far.site.start_with(environment), "the other server has ended before it was ready");
        let mut user = self.far.log_in().await;
        let hello =
            format!("<message to='{}' type='chat' id='hello'><body>hello</body></message>", self.near.account());
        user.send(&hello).await;
        while let Some(element) = sender.next().await {
            if element.attribute("id") == Some("hello") {
                break;
            }
            self.note_bounce(&element);
        }
    }

    /// Sends `count` messages; all of them are acknowledged when this returns. `handled` were before, in this session.
    async fn send(&mut self, sender: &mut Client, count: usize, handled: usize) {
        for _ in 0..count {
            let (id, to) = (self.sent, self.far.account());
            sender.send(&format!("<message to='{to}' type='chat' id='{id}'><body>{id}</body></message>")).await;
            self.sent += 1;
        }
        loop {
            sender.send(&format!("<r xmlns='{SM}'/>")).await;
            let answer = loop {
                let element = sender.next().await.unwrap();
                if element.name() == "a" {
                    break element;
                }
                self.note_bounce(&element);
            };
            if answer.attribute("h").unwrap().parse::<usize>().unwrap() == handled + count {
                break;
            }
        }
        self.acknowledged = self.sent;
    }

    fn note_bounce(&mut self, element: &Element) {
        if element.name() == "message" && element.attribute("id") != Some("hello") {
            assert_eq!(element.attribute("type"), Some("error"));
            assert!(element.to_xml("").contains("remote-server-timeout"), "{}", element.to_xml(""));
            self.bounced.push(element.attribute("id").unwrap().parse().unwrap());
        }
    }

    /// Reads at the far end until everything that was acknowledged is there or has come back; what is there came once and
    /// in order.
    async fn check(&mut self) {
        let mut recipient = self.far.log_in().await;
        recipient.send("<presence/>").await;
        let bounced: BTreeSet<usize> = self.bounced.iter().copied().collect();
        assert_eq!(bounced.len(), self.bounced.len(), "something came back twice");
        // All that the near server had has gone out.
        while !nothing_waits(&self.near.site).unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What has come there has come to him: the answer is behind it.
        recipient.send("<iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        let mut got = Vec::new();
        until(&mut recipient, |element| {
            if element.name() == "message" {
                got.push(element.attribute("id").unwrap().parse::<usize>().unwrap());
            }
            element.attribute("id") == Some("last")
        })
        .await;
        assert!(got.is_sorted(), "out of order: {got:?}");
        let all: BTreeSet<usize> = got.iter().copied().chain(bounced).collect();
        let lost: Vec<usize> = (0..self.acknowledged).filter(|number| !all.contains(number)).collect();
        assert_eq!(lost, [0; 0], "neither delivered nor returned");
        assert_eq!(got.len() + self.bounced.len(), self.acknowledged, "something came twice: {got:?}");
    }
}

/// The next element that is as `wanted` says.
async fn until(client: &mut Client, mut wanted: impl FnMut(&Element) -> bool) -> Element {
    loop {
        let element = client.next().await.unwrap();
        if wanted(&element) {
            return element;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_server_that_stays_down_comes_back() {
    let mut stage = Stage::new("down", "expiry = \"3s\"\n").await;
    stage.near.site.start();
    let mut sender = stage.sender().await;
    stage.send(&mut sender, 2 * BURST, 1).await;
    // The operator sees it.
    let peer = loop {
        let shown = stage.near.site.run(&["peers", "--json"], "");
        let peers: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        if peers[0]["state"] == "unreachable" {
            break peers[0].clone();
        }
    };
    assert_eq!((&peer["remote"], &peer["stanzas"]), (&"mantua.example".into(), &stage.sent.into()));
    assert!(peer["last_error"]["what"].as_str().unwrap().contains("refused"), "{peer}");
    assert!(peer["next_attempt"].is_number() && peer["bytes"].as_u64().unwrap() > 0, "{peer}");
    while stage.bounced.len() < stage.sent {
        let element = sender.next().await.unwrap();
        stage.note_bounce(&element);
    }
    assert_eq!(stage.bounced, (0..stage.sent).collect::<Vec<_>>(), "once, and in order");
    // Nothing is left that a start would send.
    assert!(stage.near.site.stop().success());
    stage.far.site.start();
    stage.near.site.start();
    stage.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_reaches_a_server_that_is_killed_in_the_middle() {
    let mut stage = Stage::new("killed", "").await;
    stage.near.site.start();
    let mut sender = stage.sender().await;
    // The presence, too, was counted.
    let mut handled = 1;
    for crash in 0..asked_for("CRASHES", CRASHES) {
        stage.start_far(&mut sender, &[]).await;
        // The signal comes at different places of what is under way.
        for _ in 0..1 + crash % 3 {
            let count = BURST + 17 * (crash % 7);
            stage.send(&mut sender, count, handled).await;
            handled += count;
        }
        tokio::time::sleep(Duration::from_millis(7 * (crash as u64 % 5))).await;
        stage.far.kill();
        stage.send(&mut sender, BURST, handled).await;
        handled += BURST;
    }
    stage.far.site.start();
    stage.check().await;
    assert_eq!(stage.bounced, [0; 0]);
}

/// The other server has written what has come, or is about to, and has not said so; now and then this one is killed as well,
/// and has forgotten that there was a stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_had_when_it_was_killed_comes_once() {
    let mut stage = Stage::new("moments", "").await;
    stage.near.site.start();
    let mut sender = stage.sender().await;
    let mut handled = 1;
    let armed = stage.far.site.directory.join("armed");
    for crash in 0..asked_for("CRASHES", 2 * CRASHES) {
        let point = if crash % 3 == 0 { Point::Commit } else { Point::Committed };
        let variable = format!("{point:?}:{}:{}:{}", 1 + crash % 5, 400 * (crash % 4), armed.display());
        let _ = std::fs::remove_file(&armed);
        stage.start_far(&mut sender, &[(VARIABLE, &variable)]).await;
        std::fs::write(&armed, "").unwrap();
        for burst in 0..3 {
            stage.send(&mut sender, BURST, handled).await;
            handled += BURST;
            tokio::time::sleep(Duration::from_millis(10 * burst)).await;
        }
        // If it has not come that far, it ends now.
        stage.far.kill();
        if crash % 4 == 3 {
            stage.near.kill();
            stage.near.site.start();
            (sender, handled) = (stage.sender().await, 1);
        }
    }
    stage.far.site.start();
    stage.check().await;
    assert_eq!(stage.bounced, [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_another_server_survives_the_own_restart() {
    let mut stage = Stage::new("restart", "").await;
    let count = asked_for("OUTBOX", WAITING);
    for (number, restart) in ["-KILL", "-TERM", "-KILL"].into_iter().enumerate() {
        stage.near.site.start();
        let mut sender = stage.sender().await;
        let mut handled = 1;
        // So many wait when it is stopped, and half as many again when it is killed once more.
        while handled < count / 2 {
            if number == 2 && handled == 1 {
                // Some have left and some have not when the signal comes.
                stage.start_far(&mut sender, &[]).await;
            }
            stage.send(&mut sender, BURST, handled).await;
            handled += BURST;
        }
        if restart == "-KILL" {
            stage.near.kill();
        } else {
            assert!(stage.near.site.stop().success());
        }
    }
    stage.near.site.start();
    stage.check().await;
    assert_eq!(stage.bounced, [0; 0]);
}

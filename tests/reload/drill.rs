//! The drill: certificate and configuration change a hundred times under traffic; nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comity::testing::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::probe::{Way, shown};
use crate::site::{Site, free};
use crate::{text, zone};

const CHANGES: u64 = 100;

/// After so many changes, one that is not accepted.
const FAULTY: u64 = 5;

/// Messages of one conversation that are under way.
const WINDOW: u64 = 8;

/// A server with a listener for others.
struct Server {
    domain: &'static str,
    site: Site,
    s2s: SocketAddr,
    dns: SocketAddr,
}

/// What changes.
#[derive(Debug, Clone, Copy)]
struct Wish {
    has_admin: bool,
    sessions: u64,
    archive: bool,
}

impl Wish {
    fn of(change: u64) -> Self {
        Self { has_admin: change.is_multiple_of(2), sessions: 1 + change % 2, archive: change.is_multiple_of(3) }
    }
}

impl Server {
    fn configure(&self, wish: Wish, more: &str) {
        let Self { domain, s2s, dns, site } = self;
        let Wish { has_admin, sessions, archive } = wish;
        let admins = if has_admin { format!("\"prince@{domain}\"") } else { String::new() };
        let config = format!(
            "domain = \"{domain}\"\ndata_dir = \"data\"\nadmins = [{admins}]\n\
             [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{s2s}\"\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
             [dns]\nservers = [\"{dns}\"]\n[archive]\nenabled = {archive}\n\
             [limits]\nsessions_per_account = {sessions}\n{more}",
            site.c2s
        );
        std::fs::write(site.directory.join("comity.toml"), config).unwrap();
    }

    fn certify(&self, issued: &comity::net::tls::development::Issued) {
        std::fs::write(self.site.directory.join("chain.pem"), &issued.chain_pem).unwrap();
        std::fs::write(self.site.directory.join("key.pem"), &issued.key_pem).unwrap();
    }

    fn add(&self, name: &str) {
        let account = format!("{name}@{}", self.domain);
        let added = self.site.run(&["account", "add", &account, "--password-stdin"], "secret\n");
        assert!(added.status.success(), "{}", text(&added.stderr));
    }

    async fn log_in(&self, name: &str, resource: &str) -> Result<Client, String> {
        self.site.log_in(&format!("{name}@{}/{resource}", self.domain), "secret").await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.site.directory.join("log")).unwrap()
    }

    fn logged(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// Has the server read everything again, and waits until it has: `what` is in the log once more.
    async fn hang_up(&self, what: &str) {
        let before = self.logged(what);
        self.site.signal("-HUP");
        while self.logged(what) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The wishes are in force, and everybody who connects is shown `certificate`.
    async fn works_with(&self, wish: Wish, certificate: &[u8], prince: &mut Client) {
        for (address, namespace) in [(self.site.c2s, "jabber:client"), (self.s2s, "jabber:server")] {
            let seen = shown(address, Way::StartTls(namespace, self.domain), Some(self.domain)).await;
            assert!(seen == certificate, "another certificate is shown");
        }
        // A session that was there before the change has the new rights.
        let ask = format!(
            "<iq type='get' id='commands' to='{}'><query xmlns='http://jabber.org/protocol/disco#items' \
             node='http://jabber.org/protocol/commands'/></iq>",
            self.domain
        );
        prince.send(&ask).await;
        let answer = prince.next().await.unwrap().to_xml("jabber:client");
        assert_eq!(answer.contains("admin#add-user"), wish.has_admin, "{answer}");
        // One session of the guest is there.
        match self.log_in("guest", "second").await {
            Ok(mut second) => {
                assert!(wish.sessions > 1);
                second.vanish();
            }
            Err(reason) => assert!(wish.sessions == 1 && reason.contains("resource-constraint"), "{reason}"),
        }
    }
}

/// Numbered messages, one after the other, until it is said that it is enough; each arrives, in order.
async fn converse(mut from: Client, mut to: Client, said: Arc<AtomicU64>, enough: watch::Receiver<bool>) {
    let recipient = to.jid.clone().unwrap();
    let (mut sent, mut received) = (0, 0);
    loop {
        while sent - received < WINDOW && !*enough.borrow() {
            let message = format!("<message to='{recipient}' type='chat' id='{sent}'><body>{sent}</body></message>");
            from.send(&message).await;
            sent += 1;
        }
        if received == sent {
            break;
        }
        let stanza = to.next().await.unwrap();
        assert_eq!((stanza.name(), stanza.attribute("id")), ("message", Some(received.to_string().as_str())));
        received += 1;
        said.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for client in [&mut from, &mut to] {
        assert!(client.received().is_none(), "nothing came back, and no stream has ended");
    }
}

/// Two servers that find and trust each other.
async fn servers() -> [Server; 2] {
    let (verona, mut mantua) = (Site::new("drill-verona"), Site::new("drill-mantua"));
    mantua.ca = Arc::clone(&verona.ca);
    let (here, there) = (free(), free());
    let dns = zone::serve(&[("verona.example", here), ("mantua.example", there)]).await;
    let authority = verona.ca.pem();
    let issued = verona.ca.issue(&["mantua.example"]).unwrap();
    let verona = Server { domain: "verona.example", site: verona, s2s: here, dns };
    let mantua = Server { domain: "mantua.example", site: mantua, s2s: there, dns };
    mantua.certify(&issued);
    for server in [&verona, &mantua] {
        std::fs::write(server.site.directory.join("ca.pem"), &authority).unwrap();
        server.configure(Wish { sessions: 20, ..Wish::of(0) }, "");
    }
    [verona, mantua]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_under_traffic() {
    let [mut verona, mut mantua] = servers().await;
    verona.site.start();
    mantua.site.start();
    for name in ["romeo", "benvolio"] {
        mantua.add(name);
    }
    let mut there = Vec::new();
    for name in ["romeo", "benvolio"] {
        there.push(mantua.log_in(name, "x").await.unwrap());
    }
    for name in ["prince", "guest", "juliet", "nurse", "tybalt", "paris"] {
        verona.add(name);
    }
    let mut prince = verona.log_in("prince", "palace").await.unwrap();
    let guest = verona.log_in("guest", "first").await.unwrap();
    let mut here = Vec::new();
    for name in ["juliet", "nurse", "tybalt", "paris"] {
        here.push(verona.log_in(name, "x").await.unwrap());
    }
    let (enough, wait) = watch::channel(false);
    let mut talks = JoinSet::new();
    let mut said = Vec::new();
    let mut talk = |from: Client, to: Client| {
        let count = Arc::new(AtomicU64::new(0));
        said.push(Arc::clone(&count));
        talks.spawn(converse(from, to, count, wait.clone()));
    };
    // Two of Verona among themselves, and one to Mantua and one from there.
    let [juliet, nurse, tybalt, paris] = <[Client; 4]>::try_from(here).ok().unwrap();
    let [romeo, benvolio] = <[Client; 2]>::try_from(there).ok().unwrap();
    talk(juliet, nurse);
    talk(tybalt, romeo);
    talk(benvolio, paris);
    let heard = |said: &[Arc<AtomicU64>]| -> Vec<u64> { said.iter().map(|it| it.load(Ordering::Relaxed)).collect() };
    while heard(&said).contains(&0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let streams =
        |server: &Server| (server.logged("stream established"), server.logged("another server authenticated"));
    let federated = [streams(&verona), streams(&mantua)];

    let mut talked = heard(&said);
    for change in 0..CHANGES {
        let issued = verona.site.ca.issue(&["verona.example"]).unwrap();
        let certificate = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
        let wish = Wish::of(change);
        verona.certify(&issued);
        verona.configure(wish, "");
        verona.hang_up("was read again changed=").await;
        verona.works_with(wish, &certificate, &mut prince).await;
        if change.is_multiple_of(FAULTY) {
            faulty(&verona, change / FAULTY).await;
            verona.works_with(wish, &certificate, &mut prince).await;
        }
        // Everybody has gone on talking meanwhile.
        while heard(&said).iter().zip(&talked).any(|(now, before)| now <= before) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        talked = heard(&said);
    }

    enough.send_replace(true);
    while let Some(ended) = talks.join_next().await {
        ended.unwrap();
    }
    assert!(talked.iter().all(|count| *count >= CHANGES));
    assert_eq!([streams(&verona), streams(&mantua)], federated, "the servers have kept their streams");
    drop(guest);
    assert!(verona.site.stop().success() && mantua.site.stop().success());
}

/// Something that is not accepted, together with other wishes and another certificate.
async fn faulty(server: &Server, number: u64) {
    let other = Wish::of(number + 1);
    let wish = Wish { has_admin: !other.has_admin, ..other };
    let issued = server.site.ca.issue(&[server.domain]).unwrap();
    server.certify(&issued);
    let write = |file: &str, text: &str| std::fs::write(server.site.directory.join(file), text).unwrap();
    let more = match number % 6 {
        0 => "roster_itemz = 7\n",
        1 => "roster_items = \"many\"\n",
        2 => "[listen\n",
        _ => "",
    };
    server.configure(wish, more);
    match number % 6 {
        3 => write("key.pem", &server.site.ca.issue(&[server.domain]).unwrap().key_pem),
        4 => write("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        5 => write("comity.toml", ""),
        _ => {}
    }
    server.hang_up("nothing has changed").await;
    assert_eq!(server.site.run(&["reload"], "").status.code(), Some(2));
}

//! What the demonstration plays on: two servers, a DNS server, two accounts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::client::Client;
use super::failed;
use super::zone::Zone;
use crate::accounts::credentials::Password;
use crate::accounts::directory;
use crate::cli::output::{Failure, Output};
use crate::clock::Clock;
use crate::config::Config;
use crate::hexadecimal;
use crate::jid::{BareJid, Jid};
use crate::net::tls::development::DevelopmentCa;
use crate::net::tls::{Identities, Identity, Trust};
use crate::net::{Hickory, System};
use crate::random;
use crate::server::{Bound, Made, Node, Parts, Server};
use crate::storage::{Options, Storage};

/// Who plays, and where he or she is at home.
const PEOPLE: [&str; 2] = ["juliet@verona.localhost", "romeo@mantua.localhost"];

/// Descriptors for the connections of one server; there are two people.
const CONNECTIONS: usize = 1000;

/// The whole demonstration.
pub(super) struct Stage {
    houses: Vec<House>,
    zone: Arc<Zone>,
    dns: SocketAddr,
    answering: AbortHandle,
    client_tls: Arc<rustls::ClientConfig>,
    authority: std::path::PathBuf,
}

/// One domain with its server and its person.
struct House {
    account: BareJid,
    password: String,
    server: Server,
    c2s: SocketAddr,
    c2s_tls: SocketAddr,
    s2s: SocketAddr,
}

/// What every house is built with.
struct Ground<'a> {
    directory: &'a Path,
    ca: &'a DevelopmentCa,
    trust: Trust,
    dns: SocketAddr,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn build(directory: &Path) -> Result<Self, Failure> {
        let ca = DevelopmentCa::generate().map_err(failed)?;
        let authority = directory.join("authority.pem");
        std::fs::write(&authority, ca.pem()).map_err(failed)?;
        let mut trust = Trust::nobody();
        trust.add(ca.certificate()).map_err(failed)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let dns = socket.local_addr().map_err(failed)?;
        let ground = Ground { directory, ca: &ca, trust, dns };
        let mut zone = Zone::default();
        let mut houses = Vec::new();
        for person in PEOPLE {
            let house = House::build(person, &ground).await?;
            zone.publish(house.account.domain(), "_xmpp-server._tcp", house.s2s).map_err(failed)?;
            zone.publish(house.account.domain(), "_xmpp-client._tcp", house.c2s).map_err(failed)?;
            zone.publish(house.account.domain(), "_xmpps-client._tcp", house.c2s_tls).map_err(failed)?;
            houses.push(house);
        }
        let zone = Arc::new(zone);
        let answering = tokio::spawn(Arc::clone(&zone).serve(socket)).abort_handle();
        Ok(Self { houses, zone, dns, answering, client_tls: client_tls(&ca)?, authority })
    }

    /// The addresses of the two people.
    pub(super) fn people(&self) -> Option<(BareJid, BareJid)> {
        match self.houses.as_slice() {
            [one, other] => Some((one.account.clone(), other.account.clone())),
            _ => None,
        }
    }

    /// Logs a person in.
    pub(super) async fn log_in(&self, person: &BareJid) -> Result<Client, Failure> {
        let house = self.houses.iter().find(|house| house.account == *person);
        let house = house.ok_or_else(|| Failure::Failed(format!("{person} is not at home here")))?;
        let jid: Jid = person.with_resource("demo").map_err(failed)?;
        Client::log_in(house.c2s, Arc::clone(&self.client_tls), &jid, &house.password).await.map_err(Failure::Failed)
    }

    /// Says what there is.
    pub(super) fn introduce(&self, output: &mut Output<'_>) -> Result<(), Failure> {
        output.line("Two organisations on this machine, each with a server of its own:\n")?;
        for house in &self.houses {
            output.line(format_args!(
                "  {:<18} clients {} (STARTTLS) and {} (TLS), servers {}",
                house.account.domain(),
                house.c2s,
                house.c2s_tls,
                house.s2s
            ))?;
        }
        output.line(format_args!("\nThey find each other in the DNS, here the server {}:\n", self.dns))?;
        for record in self.zone.services().iter().filter(|record| record.contains("xmpp-server")) {
            output.line(format_args!("  {record}"))?;
        }
        output.line("")
    }

    /// Says how to take part.
    pub(super) fn invite(&self, output: &mut Output<'_>) -> Result<(), Failure> {
        output.line("\nNow it is your turn. Log in as either of them, in two terminals or with two clients:")?;
        for house in &self.houses {
            let other = self.houses.iter().find(|other| other.account != house.account).unwrap_or(house);
            let (jid, password, port) = (&house.account, &house.password, house.c2s.port());
            output.line(format_args!("\n{jid}, password {password}"))?;
            output.line(format_args!("  profanity     /connect {jid} server 127.0.0.1 port {port} tls trust"))?;
            output.line(format_args!(
                "  Gajim         Add Account, {jid}; Advanced Settings: host 127.0.0.1, port {port}, START TLS"
            ))?;
            output.line(format_args!(
                "  go-sendxmpp   echo Hello | go-sendxmpp -u {jid} -p {password} -j 127.0.0.1:{port} -n {}",
                other.account
            ))?;
        }
        output.line(format_args!(
            "\nThe certificates are from a throw-away authority: {}\nCtrl-C ends the demonstration and forgets everything.",
            self.authority.display()
        ))
    }

    /// Stops everything.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let mut result = Ok(());
        for house in self.houses {
            result = result.and(house.server.stop().await.map_err(failed));
        }
        self.answering.abort();
        result
    }
}

impl House {
    async fn build(person: &str, ground: &Ground<'_>) -> Result<Self, Failure> {
        let account: BareJid = person.parse().map_err(failed)?;
        let data_dir = ground.directory.join(account.domain());
        let config = format!(
            "domain = \"{}\"\ndata_dir = {:?}\n[listen]\n{}",
            account.domain(),
            data_dir,
            ["c2s", "c2s_tls", "s2s", "s2s_tls"].map(|key| format!("{key} = \"127.0.0.1:0\"\n")).concat()
        );
        let config = Config::parse(&config, &ground.directory.join("comity.toml")).map_err(failed)?;
        let issued = ground.ca.issue(&[account.domain()]).map_err(failed)?;
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(failed)?;
        let parts = Parts {
            storage: Storage::open(&data_dir, Options::default()).map_err(failed)?,
            token_secret: random::octets(),
            clock: Clock::system(),
            made: Made {
                identities: Arc::new(Identities::new(identity)),
                trust: ground.trust.clone(),
                client_trust: Trust::nobody(),
                resolver: Arc::new(Hickory::with_servers(&[ground.dns]).map_err(failed)?),
            },
            reload: None,
            network: Arc::new(System),
            connections: CONNECTIONS,
        };
        let password = hexadecimal::text(&random::octets::<6>());
        let prepared = Password::prepare(&password).map_err(failed)?;
        let credentials = directory::derive(&prepared);
        directory::create(&parts.storage, &account, &credentials, parts.clock.now()).await.map_err(failed)?;
        let bound = Bound::new(&config).map_err(failed)?;
        let (c2s, c2s_tls, s2s) = (first(&bound.c2s)?, first(&bound.c2s_tls)?, first(&bound.s2s)?);
        let node = Node::new(&config, parts).map_err(failed)?;
        Ok(Self { account, password, server: Server::start(node, bound).await, c2s, c2s_tls, s2s })
    }
}

fn first(listeners: &[tokio::net::TcpListener]) -> Result<SocketAddr, Failure> {
    let listener = listeners.first().ok_or_else(|| Failure::Failed("nothing listens".into()))?;
    listener.local_addr().map_err(failed)
}

/// A client that trusts the throw-away authority and nobody else.
fn client_tls(ca: &DevelopmentCa) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.certificate().clone()).map_err(failed)?;
    let config = rustls::ClientConfig::builder_with_provider(crate::net::tls::provider());
    let config = config.with_safe_default_protocol_versions().map_err(failed)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

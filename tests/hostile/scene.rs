//! A server of two domains, two honest users who watch it, and the way to any stage of a stream.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::Password;
use comity::accounts::directory;
use comity::config::Config;
use comity::jid::{BareJid, Jid};
use comity::listeners;
use comity::net::tls::development::DevelopmentCa;
use comity::net::tls::{ClientCertificate, ClientTls, Identities, Identity, Outgoing, Trust};
use comity::server::{Made, Node, Parts};
use comity::session::Security;
use comity::storage::Storage;
use comity::stream::ContentNamespace;
use comity::testing::{Client, PASSWORD, Raw, World, served};
use comity::xml::Element;
use tokio::io::DuplexStream;

use crate::peer::{Peer, Said};

/// The domain under attack; `b.example` is on the same server.
pub(crate) const DOMAIN: &str = "a.example";

/// The password of every account, as SASL PLAIN sends it for `mallory`.
pub(crate) fn plain(authzid: &str, user: &str, password: &str) -> String {
    let message = BASE64_STANDARD.encode(format!("{authzid}\0{user}\0{password}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>")
}

/// The honest login of the hostile user.
pub(crate) fn login() -> String {
    plain("", "mallory", PASSWORD)
}

/// A client's stream header with these attributes besides the namespaces.
pub(crate) fn header(attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' {attributes}>"
    )
}

/// The header of an honest client.
pub(crate) fn honest_header() -> String {
    header("to='a.example' version='1.0'")
}

/// A server's stream header with these attributes besides the namespaces.
pub(crate) fn server_header(attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams' {attributes}>"
    )
}

/// The header of the hostile server while it is honest.
pub(crate) fn honest_server() -> String {
    server_header("from='evil.example' to='a.example' version='1.0'")
}

/// The login of a server by its certificate.
pub(crate) fn external(domain: &str) -> String {
    let message = BASE64_STANDARD.encode(domain);
    let message = if message.is_empty() { "=" } else { &message };
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{message}</auth>")
}

/// `<starttls/>`.
pub(crate) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// The request that binds the resource of the hostile user.
pub(crate) const BIND: &str =
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>den</resource></bind></iq>";

/// How far an honest client has come before it turns hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing has been said.
    Connected,
    /// The plain stream is open.
    Opened,
    /// TLS is in force, the stream has not begun anew.
    Encrypted,
    /// The stream inside TLS is open.
    Secured,
    /// SASL has succeeded, the stream has not begun anew.
    Authenticated,
    /// The stream after SASL is open.
    Unbound,
    /// A resource is bound.
    Bound,
}

/// Which port is under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// By a client that has an account.
    Client,
    /// By the server of `evil.example`, whose certificate is trusted.
    Server,
}

impl Port {
    /// The full JID of the hostile user.
    pub(crate) const fn mallory(self) -> &'static str {
        match self {
            Self::Client => "mallory@a.example/den",
            Self::Server => "mallory@evil.example/den",
        }
    }
}

/// The server under attack and those who must not notice.
pub(crate) struct Scene {
    pub(crate) port: Port,
    pub(crate) world: World,
    node: Arc<Node>,
    /// The client of an honest user of `evil.example`, where errors for stanzas from there come back.
    abroad: Option<Client>,
    /// What the hostile peer uses to begin TLS.
    tls: Arc<rustls::ClientConfig>,
    juliet: Client,
    romeo: Client,
    exchanged: u32,
}

impl Scene {
    /// A server with its witnesses logged in.
    pub(crate) async fn new(port: Port) -> Self {
        Self::configured(port, "").await
    }

    /// The same with more lines of configuration.
    pub(crate) async fn configured(port: Port, config: &str) -> Self {
        let mut world = World::new();
        let node = server(&world, config);
        for user in ["juliet", "romeo", "mallory"] {
            let keys = directory::derive(&Password::prepare(PASSWORD).expect("a password"));
            let account = BareJid::account(user, DOMAIN).expect("a JID");
            directory::create(&node.storage, &account, &keys, world.clock.now()).await.expect("a new account");
        }
        let juliet = witness(&world, &node, "juliet@a.example/balcony").await;
        let romeo = witness(&world, &node, "romeo@a.example/orchard").await;
        let (tls, abroad) = match port {
            Port::Client => (Arc::clone(&world.client_tls), None),
            Port::Server => {
                let jid: Jid = port.mallory().parse().expect("a JID");
                let client = world.login(&jid).await.expect("an honest login elsewhere");
                (certified(&world.ca, "evil.example"), Some(client))
            }
        };
        let mut scene = Self { port, world, node, abroad, tls, juliet, romeo, exchanged: 0 };
        scene.world.settle().await;
        while scene.juliet.received().is_some() || scene.romeo.received().is_some() {}
        scene
    }

    /// A connection to the port under attack, STARTTLS or direct.
    pub(crate) async fn dial(&self, security: Security) -> Peer {
        let (ours, theirs) = pipe();
        let stranger = self.node.admission.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.expect("room for a stranger");
        let transport = served(theirs);
        match self.port {
            Port::Client => {
                let context = Arc::clone(&self.node.sessions);
                let serving = listeners::c2s::serve(context, transport, security, stranger);
                Peer::new(ours, ContentNamespace::Client, serving)
            }
            Port::Server => {
                let federation = Arc::clone(&self.node.federation);
                let serving = listeners::s2s::serve(federation, transport, security, stranger);
                Peer::new(ours, ContentNamespace::Server, serving)
            }
        }
    }

    /// A connection to the port of components.
    pub(crate) async fn dial_component(&self) -> Peer {
        let (ours, theirs) = pipe();
        let stranger = self.node.admission.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.expect("room for a stranger");
        let (components, transport) = (Arc::clone(&self.node.components), served(theirs));
        let serving = listeners::component::serve(components, transport, stranger, self.deadline());
        Peer::new(ours, ContentNamespace::Component, serving)
    }

    /// How long a stranger has to authenticate.
    pub(crate) fn deadline(&self) -> Duration {
        self.node.sessions.settings.load().deadline
    }

    /// A connection of `mallory` that has come to `stage`.
    pub(crate) async fn arrive(&self, stage: Stage) -> Result<Peer, String> {
        let mut peer = self.dial(Security::StartTls).await;
        self.advance(&mut peer, Stage::Connected, stage).await?;
        Ok(peer)
    }

    /// Leads a connection from one stage to a later one as an honest client does.
    pub(crate) async fn advance(&self, peer: &mut Peer, from: Stage, to: Stage) -> Result<(), String> {
        for stage in
            [Stage::Opened, Stage::Encrypted, Stage::Secured, Stage::Authenticated, Stage::Unbound, Stage::Bound]
        {
            if stage <= from || stage > to {
                continue;
            }
            match (stage, self.port) {
                (Stage::Encrypted, _) => {
                    peer.send(STARTTLS).await;
                    peer.hear("proceed").await?;
                    peer.secure(&self.tls, DOMAIN).await?;
                }
                (Stage::Authenticated, _) => {
                    peer.send(if self.port == Port::Client { login() } else { external("evil.example") }).await;
                    peer.hear("success").await?;
                    peer.restart();
                }
                (Stage::Bound, Port::Client) => {
                    peer.send(BIND).await;
                    let bound = peer.stanza().await?.to_xml();
                    if !bound.contains("<jid>mallory@a.example/den</jid>") {
                        return Err(format!("instead of a bound resource: {bound}"));
                    }
                }
                // Servers bind nothing.
                (Stage::Unbound, Port::Server) => {}
                (_, Port::Client) => drop(peer.open(&honest_header()).await?),
                (_, Port::Server) => drop(peer.open(&honest_server()).await?),
            }
        }
        Ok(())
    }

    /// Whether an authenticated connection still works. Then it is closed properly.
    pub(crate) async fn part(&mut self, mut peer: Peer) -> Result<(), String> {
        let alive = match self.port {
            Port::Client => {
                peer.send("<iq type='get' id='alive' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>").await;
                let answer = peer.stanza().await?.to_xml();
                if answer.contains("type='result'") && answer.contains("id='alive'") { Ok(()) } else { Err(answer) }
            }
            Port::Server => {
                let from = self.port.mallory();
                peer.send(format!("<message from='{from}' to='juliet@a.example'><body>alive</body></message>")).await;
                match self.reached().await.map(|got| got.to_xml("jabber:client")) {
                    Some(got) if got.contains("<body>alive</body>") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        };
        alive.map_err(|got| format!("the stream is not alive: {got}"))?;
        peer.send("</stream:stream>").await;
        ended(peer).await
    }

    /// The next stanza that comes back to the hostile user.
    pub(crate) async fn answer(&mut self, peer: &mut Peer) -> Result<Element, String> {
        match &mut self.abroad {
            None => {
                let stanza = peer.stanza().await?.to_xml();
                Element::parse(&stanza, "jabber:client").map_err(|error| error.to_string())
            }
            Some(client) => {
                self.world.settle().await;
                client.received().ok_or_else(|| "no answer".to_owned())
            }
        }
    }

    /// What the hostile peer uses to begin TLS.
    pub(crate) fn tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls
    }

    /// The next stanza for juliet that nobody has looked at.
    pub(crate) async fn reached(&mut self) -> Option<Element> {
        self.world.settle().await;
        self.juliet.received()
    }

    /// No trace is left of the connections that were: the server holds the witnesses and nobody
    /// else, neither has got anything, and they can talk to each other.
    pub(crate) async fn undisturbed(&mut self) -> Result<(), String> {
        self.world.settle().await;
        let sessions = self.node.router.counts().sessions;
        if (sessions, self.node.admission.counts()) != (2, (0, 0)) {
            return Err(format!("the server holds {sessions} sessions, {:?}", self.node.admission.counts()));
        }
        let mut witnesses = vec![("juliet", &mut self.juliet), ("romeo", &mut self.romeo)];
        witnesses.extend(self.abroad.as_mut().map(|client| ("mallory", client)));
        for (name, client) in witnesses {
            if let Some(odd) = client.received() {
                return Err(format!("{name} got {}", odd.to_xml("jabber:client")));
            }
        }
        self.exchanged += 1;
        let body = format!("message {}", self.exchanged);
        let message = |to: &str| format!("<message type='chat' to='{to}'><body>{body}</body></message>");
        self.romeo.send(&message("juliet@a.example/balcony")).await;
        self.juliet.send(&message("romeo@a.example/orchard")).await;
        self.world.settle().await;
        for (name, client) in [("juliet", &mut self.juliet), ("romeo", &mut self.romeo)] {
            let got = client.received().and_then(|it| it.child("body", "jabber:client").map(Element::text));
            if got.as_ref() != Some(&body) {
                return Err(format!("{name} got {got:?} instead of {body:?}"));
            }
        }
        Ok(())
    }
}

/// The server closes the stream, then the connection, and lets go of it.
pub(crate) async fn ended(mut peer: Peer) -> Result<(), String> {
    match peer.next().await? {
        Said::Closing => {}
        other => return Err(format!("instead of a closing tag: {other:?}")),
    }
    let_go(peer).await
}

/// The server closes the connection behind its closing tag, and lets go of it.
pub(crate) async fn let_go(mut peer: Peer) -> Result<(), String> {
    match peer.next().await? {
        Said::End => {}
        other => return Err(format!("instead of the end of the connection: {other:?}")),
    }
    crate::peer::well_formed(&peer.heard)?;
    peer.gone().await
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}

/// The TLS configuration of a server that shows a certificate of this authority.
pub(crate) fn certified(ca: &DevelopmentCa, domain: &str) -> Arc<rustls::ClientConfig> {
    let issued = ca.issue(&[domain]).expect("a certificate");
    showing(Some((&issued.chain_pem, &issued.key_pem)))
}

/// The TLS configuration of a server that shows this certificate, or none.
pub(crate) fn showing(chain_and_key: Option<(&str, &str)>) -> Arc<rustls::ClientConfig> {
    let (shown, identity) = match chain_and_key {
        Some((chain, key)) => {
            (ClientCertificate::Shown, Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("an identity"))
        }
        None => {
            let issued = DevelopmentCa::generate().and_then(|ca| ca.issue(&["x.example"])).expect("a certificate");
            let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes());
            (ClientCertificate::Withheld, identity.expect("an identity"))
        }
    };
    let tls = ClientTls::new(Arc::new(Identities::new(identity))).expect("a TLS configuration");
    tls.config("evil.example", Outgoing::StartTls, shown)
}

fn server(world: &World, more: &str) -> Arc<Node> {
    let issued = world.ca.issue(&[DOMAIN, "b.example"]).expect("a certificate");
    let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("an identity");
    let text = format!("[[domains]]\nname = \"a.example\"\n[[domains]]\nname = \"b.example\"\n{more}");
    let config = Config::parse(&text, Path::new("test.toml")).expect("a configuration");
    let mut trust = Trust::nobody();
    trust.add(world.ca.certificate()).expect("a root certificate");
    let parts = Parts {
        storage: Storage::open_in_memory().expect("storage"),
        token_secret: [7; 32],
        clock: world.clock.clone(),
        made: Made {
            identities: Arc::new(Identities::new(identity)),
            trust,
            client_trust: Trust::nobody(),
            resolver: Arc::clone(&world.net) as _,
        },
        reload: None,
        network: Arc::clone(&world.net) as _,
        connections: 1000,
    };
    Node::new(&config, parts).expect("a server")
}

async fn witness(world: &World, node: &Arc<Node>, jid: &str) -> Client {
    let (ours, theirs) = pipe();
    let node = Arc::clone(node);
    tokio::spawn(async move { node.serve_client(served(theirs), Security::StartTls).await });
    let jid: Jid = jid.parse().expect("a JID");
    let tls = Arc::clone(&world.client_tls);
    let mut client = Raw::new(ours).log_in(tls, &jid, PASSWORD).await.expect("an honest login");
    client.send("<presence/>").await;
    client
}

//! A server of two domains, two honest users who watch it, and the way to any stage of a stream.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::Password;
use comity::accounts::directory;
use comity::config::Config;
use comity::jid::{BareJid, Jid};
use comity::listeners;
use comity::net::Transport;
use comity::net::tls::{Identities, Identity, Trust};
use comity::server::{Node, Parts};
use comity::session::Security;
use comity::storage::Storage;
use comity::stream::ContentNamespace;
use comity::testing::{Client, PASSWORD, Raw, World};
use tokio::io::DuplexStream;

use super::peer::{Peer, Said};

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

/// The server under attack and those who must not notice.
pub(crate) struct Scene {
    world: World,
    node: Arc<Node>,
    juliet: Client,
    romeo: Client,
    exchanged: u32,
}

impl Scene {
    /// A server with its witnesses logged in.
    pub(crate) async fn new() -> Self {
        let world = World::new();
        let node = server(&world);
        for user in ["juliet", "romeo", "mallory"] {
            let keys = directory::derive(&Password::prepare(PASSWORD).expect("a password")).expect("keys");
            let account = BareJid::account(user, DOMAIN).expect("a JID");
            directory::create(&node.storage, &account, &keys, world.clock.now()).await.expect("a new account");
        }
        let juliet = witness(&world, &node, "juliet@a.example/balcony").await;
        let romeo = witness(&world, &node, "romeo@a.example/orchard").await;
        let mut scene = Self { world, node, juliet, romeo, exchanged: 0 };
        scene.world.settle().await;
        while scene.juliet.received().is_some() || scene.romeo.received().is_some() {}
        scene
    }

    /// What a client of this server trusts.
    pub(crate) fn client_tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.world.client_tls
    }

    /// A connection to the client port, STARTTLS or direct.
    pub(crate) fn dial(&self, security: Security) -> Peer {
        let (ours, theirs) = pipe();
        let stranger = self.node.admission.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("room for a stranger");
        let context = Arc::clone(&self.node.sessions);
        let transport = Transport::plain(theirs, None);
        let serving = listeners::c2s::serve(context, transport, security, stranger, self.node.deadline);
        Peer::new(ours, ContentNamespace::Client, serving)
    }

    /// A connection of `mallory` that has come to `stage`.
    pub(crate) async fn arrive(&self, stage: Stage) -> Result<Peer, String> {
        let mut peer = self.dial(Security::StartTls);
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
            match stage {
                Stage::Encrypted => {
                    peer.send(STARTTLS).await;
                    peer.hear("proceed").await?;
                    peer.secure(&self.world.client_tls, DOMAIN).await?;
                }
                Stage::Authenticated => {
                    peer.send(login()).await;
                    peer.hear("success").await?;
                    peer.restart();
                }
                Stage::Bound => {
                    peer.send(BIND).await;
                    let bound = peer.stanza().await?.to_xml();
                    if !bound.contains("<jid>mallory@a.example/den</jid>") {
                        return Err(format!("instead of a bound resource: {bound}"));
                    }
                }
                _ => drop(peer.open(&honest_header()).await?),
            }
        }
        Ok(())
    }

    /// Whether a bound connection still works: a ping is answered. Then it is closed properly.
    pub(crate) async fn part(&self, mut peer: Peer) -> Result<(), String> {
        peer.send("<iq type='get' id='alive' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        let answer = peer.stanza().await?.to_xml();
        if !(answer.contains("type='result'") && answer.contains("id='alive'")) {
            return Err(format!("instead of the answer to a ping: {answer}"));
        }
        peer.send("</stream:stream>").await;
        ended(peer).await
    }

    /// The next stanza for juliet that nobody has looked at.
    pub(crate) async fn reached(&mut self) -> Option<comity::xml::Element> {
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
        for (name, client) in [("juliet", &mut self.juliet), ("romeo", &mut self.romeo)] {
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
            let got =
                client.received().and_then(|it| it.child("body", "jabber:client").map(comity::xml::Element::text));
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
    super::peer::well_formed(&peer.heard)?;
    peer.gone().await
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}

fn server(world: &World) -> Arc<Node> {
    let issued = world.ca.issue(&[DOMAIN, "b.example"]).expect("a certificate");
    let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("an identity");
    let text = "[[domains]]\nname = \"a.example\"\n[[domains]]\nname = \"b.example\"\n";
    let config = Config::parse(text, Path::new("test.toml")).expect("a configuration");
    let mut trust = Trust::nobody();
    trust.add(world.ca.certificate()).expect("a root certificate");
    let parts = Parts {
        storage: Storage::open_in_memory().expect("storage"),
        clock: world.clock.clone(),
        identities: Arc::new(Identities::new(identity)),
        trust: Arc::new(trust),
        resolver: Arc::clone(&world.net) as _,
        network: Arc::clone(&world.net) as _,
        connections: 1000,
    };
    Node::new(&config, parts).expect("a server")
}

async fn witness(world: &World, node: &Arc<Node>, jid: &str) -> Client {
    let (ours, theirs) = pipe();
    let node = Arc::clone(node);
    tokio::spawn(async move { node.serve_client(Transport::plain(theirs, None), Security::StartTls).await });
    let jid: Jid = jid.parse().expect("a JID");
    let tls = Arc::clone(&world.client_tls);
    let mut client = Raw::new(ours).log_in(tls, &jid, PASSWORD).await.expect("an honest login");
    client.send("<presence/>").await;
    client
}

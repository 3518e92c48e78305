//! Servers that are nothing but federation, on a network in memory, and a peer that says what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};

use crate::clock::{Clock, Timestamp};
use crate::federation::proof::Key;
use crate::federation::wire::{Broken, Wire};
use crate::federation::{Allowance, Federation, Inbound, Policy, Proofs, Settings, Start, Terms, Told, Ways};
use crate::hooks::{Acknowledgement, StreamFeatures};
use crate::jid::BareJid;
use crate::live::Live;
use crate::net::dns::Srv;
use crate::net::tls::development::DevelopmentCa;
use crate::net::tls::{
    ClientCertificate, ClientTls, Identities, Identity, Incoming, Outgoing as OutgoingTls, ServerTls, Trust,
    server_name,
};
use crate::net::{BoxFuture, Transport};
use crate::routing::{Kept, Leaving, Pair, RemoteDelivery};
use crate::stanza::{Condition, IqType, Kind, MessageType, Payload, Stanza, StanzaError};
use crate::storage::{Direction, Entry, Map, Marks, Position, Receipt, Storage, Writes};
use crate::stream::{Event, Limits, StreamError};
use crate::testing::{Net, served};
use crate::xml::Element;

pub(super) const PORT: u16 = 5269;

/// Features: stanzas may go both ways (XEP-0288) ...
pub(super) const OFFER: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";
/// ... and whoever has shown a certificate may authenticate with it (XEP-0178).
pub(super) const EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";

/// A network, and the authority that everybody trusts.
pub(super) struct World {
    pub(super) net: Arc<Net>,
    pub(super) ca: DevelopmentCa,
    /// By which certificates are valid.
    pub(super) clock: Clock,
}

/// How a server differs.
pub(super) struct Plan<'a> {
    pub(super) domain: &'a str,
    pub(super) address: &'a str,
    pub(super) proofs: Proofs,
    /// `None` for a certificate of an authority that nobody knows.
    pub(super) names: Option<&'a [&'a str]>,
    pub(super) start: Start,
    pub(super) queue_bytes: usize,
    pub(super) expiry: Duration,
    /// Whether it answers requests.
    pub(super) answers: bool,
    pub(super) pins: &'a [(String, Key)],
    pub(super) bidi: bool,
    pub(super) allowance: Allowance,
}

impl<'a> Plan<'a> {
    pub(super) fn new(domain: &'a str, address: &'a str) -> Self {
        let (proofs, expiry) = (Proofs::Certificate, Duration::from_secs(3600));
        Self {
            domain,
            address,
            proofs,
            names: Some(&[]),
            start: Start::Starttls,
            queue_bytes: 1 << 20,
            expiry,
            answers: true,
            pins: &[],
            bidi: false,
            allowance: Allowance::default(),
        }
    }
}

pub(super) struct Server {
    pub(super) federation: Arc<Federation>,
    pub(super) inbound: Arc<Recorder>,
    pub(super) storage: Storage,
}

/// Remembers what arrived and what came back.
pub(super) struct Recorder {
    domain: String,
    arrived: mpsc::UnboundedSender<Stanza<'static>>,
    bounced: mpsc::UnboundedSender<Stanza<'static>>,
    /// Whoever answers requests.
    federation: OnceLock<Weak<Federation>>,
    pub(super) asked: AtomicUsize,
    /// So many stanzas have come whose sender is told that they are safe, and this has to be durable for that.
    pub(super) promised: AtomicUsize,
    owed: std::sync::Mutex<Receipt>,
    changes: std::sync::Mutex<Vec<String>>,
    seen: Mutex<(mpsc::UnboundedReceiver<Stanza<'static>>, mpsc::UnboundedReceiver<Stanza<'static>>)>,
}

impl Inbound for Recorder {
    fn is_local(&self, domain: &str) -> bool {
        domain.strip_suffix(self.domain.as_str()).is_some_and(|rest| ["", "rooms."].contains(&rest))
    }

    fn acknowledgement(&self) -> Option<&dyn Acknowledgement> {
        None
    }

    fn arrived<'a>(
        &'a self,
        pair: &'a Pair,
        stanzas: Vec<Stanza<'a>>,
        told: Told,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>> {
        for stanza in stanzas {
            if stanza.kind == Kind::Iq(IqType::Get) {
                self.asked.fetch_add(1, Ordering::Relaxed);
                // As any server that knows nothing of this request.
                let answer = stanza.error(&Condition::ServiceUnavailable.into()).unwrap();
                let federation = self.federation.get().and_then(Weak::upgrade);
                federation.iter().for_each(|federation| federation.send(pair, vec![answer.clone().into()]));
                continue;
            }
            assert_eq!(stanza.from.as_ref().map(|from| from.domain()), Some(&*pair.remote));
            assert_eq!(stanza.to.as_ref().map(|to| to.domain()), Some(&*pair.local));
            self.promised.fetch_add(usize::from(matches!(told, Told::Safe)), Ordering::Relaxed);
            let _ = self.arrived.send(stanza.into_owned());
        }
        let owed = *self.owed.lock().unwrap();
        Box::pin(std::future::ready(Ok(owed)))
    }

    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()> {
        for error in errors {
            let _ = self.bounced.send(error);
        }
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, pair: &Pair) {
        self.note(format!("lost {}", pair.remote));
    }

    fn out_of_reach(&self, pair: &Pair) {
        self.note(format!("out of reach {}", pair.remote));
    }

    fn reached(&self, pair: &Pair) {
        self.note(format!("reached {}", pair.remote));
    }
}

impl Recorder {
    fn note(&self, what: String) {
        self.changes.lock().unwrap().push(what);
    }

    /// What was heard of the streams with others, in order.
    pub(super) fn changes(&self) -> Vec<String> {
        std::mem::take(&mut *self.changes.lock().unwrap())
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self { net: Net::new(), ca: DevelopmentCa::generate().unwrap(), clock: Clock::system() }
    }

    /// One whose clock is the test's.
    pub(super) fn with_clock() -> Self {
        Self { clock: Clock::manual(Clock::system().now()), ..Self::new() }
    }

    pub(super) fn identities(&self, plan: &Plan<'_>) -> Arc<Identities> {
        let issued = match plan.names {
            None => DevelopmentCa::generate().unwrap().issue(&[plan.domain]),
            Some([]) => self.ca.issue(&[plan.domain]),
            Some(names) => self.ca.issue(names),
        };
        let issued = issued.unwrap();
        Arc::new(Identities::new(Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap()))
    }

    /// A server that others find and can connect to.
    pub(super) fn server(&self, plan: &Plan<'_>) -> Server {
        self.server_showing(plan, self.identities(plan))
    }

    /// The same with these certificates.
    pub(super) fn server_showing(&self, plan: &Plan<'_>, identities: Arc<Identities>) -> Server {
        let server = self.hidden_showing(plan, identities, Storage::open_in_memory().unwrap());
        let address = SocketAddr::new(plan.address.parse().unwrap(), PORT);
        self.publish(plan.domain, 0, plan.address, plan.start);
        self.listen(address, &server.federation, plan.start);
        server
    }

    /// A server that others do not find.
    pub(super) fn hidden(&self, plan: &Plan<'_>) -> Server {
        self.hidden_showing(plan, self.identities(plan), Storage::open_in_memory().unwrap())
    }

    /// The same after a restart.
    pub(super) async fn restarted(&self, plan: &Plan<'_>, storage: &Storage) -> Server {
        storage.durable(storage.latest()).await.unwrap();
        let server = self.hidden_showing(plan, self.identities(plan), storage.clone());
        server.federation.restore().await.unwrap();
        server
    }

    fn hidden_showing(&self, plan: &Plan<'_>, identities: Arc<Identities>, storage: Storage) -> Server {
        let mut trust = Trust::nobody();
        trust.add(self.ca.certificate()).unwrap();
        let settings = Settings {
            domains: vec![plan.domain.to_owned()],
            policy: Policy {
                terms: Terms { proofs: plan.proofs.kinds(), allowance: plan.allowance },
                ..Policy::default()
            },
            pins: plan.pins.iter().cloned().collect(),
            bidi: plan.bidi,
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            expiry: plan.expiry,
            queue_bytes: plan.queue_bytes,
            queue_bytes_total: 64 << 20,
            limits: Limits::SERVER,
            deadline: Duration::from_secs(30),
        };
        let secret = secret(plan.address);
        let ways = Ways {
            network: Arc::clone(&self.net) as _,
            resolver: Live::new(Arc::clone(&self.net) as _),
            server_tls: Arc::new(ServerTls::new(Arc::clone(&identities)).unwrap()),
            client_tls: Arc::new(ClientTls::new(identities).unwrap()),
            trust: Live::new(trust),
            stream_features: StreamFeatures::default(),
            clock: self.clock.clone(),
            storage: storage.clone(),
            probe: Element::new("ping", "urn:xmpp:ping"),
            delay: |from, time| format!("<delay xmlns='urn:xmpp:delay' from='{from}' stamp='{time}'/>"),
            secret,
        };
        let federation = Federation::new(Live::new(settings), ways);
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (bounced, bounces) = mpsc::unbounded_channel();
        let seen = Mutex::new((arrivals, bounces));
        let domain = plan.domain.to_owned();
        let answers = if plan.answers { OnceLock::from(Arc::downgrade(&federation)) } else { OnceLock::new() };
        let inbound = Arc::new(Recorder {
            domain,
            arrived,
            bounced,
            federation: answers,
            asked: AtomicUsize::new(0),
            promised: AtomicUsize::new(0),
            owed: std::sync::Mutex::default(),
            changes: std::sync::Mutex::default(),
            seen,
        });
        federation.attach(&inbound);
        Server { federation, inbound, storage }
    }

    pub(super) fn publish(&self, domain: &str, priority: u16, address: &str, start: Start) {
        let service = if start == Start::DirectTls { "xmpps" } else { "xmpp" };
        let target = format!("host-{}.example", address.replace('.', "-"));
        self.net.publish_host(&target, address.parse().unwrap());
        let record = Srv { priority, weight: 0, port: PORT, target };
        self.net.publish(&format!("_{service}-server._tcp.{domain}"), record);
    }

    pub(super) fn listen(&self, address: SocketAddr, federation: &Arc<Federation>, start: Start) {
        let (mut incoming, federation) = (self.net.listen(address), Arc::clone(federation));
        tokio::spawn(async move {
            while let Some(io) = incoming.recv().await {
                tokio::spawn(Arc::clone(&federation).serve(served(io), start));
            }
        });
    }

    /// A connection to `address` that says nothing by itself.
    pub(super) fn raw(&self, address: &str) -> Raw {
        let address = SocketAddr::new(address.parse().unwrap(), PORT);
        // What it says is the test's word, not a server's.
        let transport = Transport::plain(self.net.dial(address).unwrap(), None);
        Raw { wire: Wire::new(transport, crate::stream::Limits::UNAUTHENTICATED) }
    }

    /// The other end of a connection that a server has opened, up to the features inside TLS: `features` are those.
    pub(super) async fn answered(&self, io: DuplexStream, plan: &Plan<'_>, peer: &str, features: &str) -> Raw {
        let tls = ServerTls::new(self.identities(plan)).unwrap();
        Raw::answering(io, &tls, (plan.domain, peer), features).await
    }

    /// A stream to `to` inside TLS, with a certificate for what `plan` says, up to the features.
    pub(super) async fn secured(&self, plan: &Plan<'_>, to: &str, address: &str) -> (Raw, String) {
        let (raw, features, _) = self.secured_showing(self.identities(plan), plan.domain, to, address).await;
        (raw, features)
    }

    /// The same with these certificates, and the id of the stream.
    pub(super) async fn secured_showing(
        &self,
        identities: Arc<Identities>,
        from: &str,
        to: &str,
        address: &str,
    ) -> (Raw, String, String) {
        let tls = ClientTls::new(identities).unwrap();
        let config = tls.config(from, OutgoingTls::StartTls, ClientCertificate::Shown);
        self.secured_by(config, from, to, address).await
    }

    /// The same with this configuration of TLS.
    pub(super) async fn secured_by(
        &self,
        config: Arc<ClientConfig>,
        from: &str,
        to: &str,
        address: &str,
    ) -> (Raw, String, String) {
        let mut raw = self.raw(address);
        raw.say(&header(from, to)).await;
        raw.header().await;
        assert!(raw.element().await.contains("starttls"));
        raw.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        assert!(raw.element().await.contains("proceed"));
        let name = server_name(to).unwrap();
        raw.wire.secure(|transport| transport.connect_tls(config, name)).await.unwrap();
        raw.say(&header(from, to)).await;
        let id = raw.header().await.unwrap_or_default();
        let features = raw.element().await;
        (raw, features, id)
    }
}

/// What the server at this address makes its dialback keys from.
pub(super) fn secret(address: &str) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[0] = address.bytes().last().unwrap();
    secret
}

pub(super) fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'>"
    )
}

/// A peer that says what it is told.
pub(super) struct Raw {
    pub(super) wire: Wire,
}

impl Raw {
    /// The other end of a connection that a server has opened from one domain to another, up to the features inside TLS.
    pub(super) async fn answering(
        io: DuplexStream,
        tls: &ServerTls,
        (domain, peer): (&str, &str),
        features: &str,
    ) -> Self {
        let mut raw = Self { wire: Wire::new(Transport::plain(io, None), Limits::UNAUTHENTICATED_SERVER) };
        raw.answer_header(domain, peer, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        assert!(raw.element().await.contains("starttls"));
        raw.say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        let acceptor = tls.acceptor(Incoming::ServerStartTls, None);
        raw.wire.secure(|transport| acceptor.accept(transport)).await.unwrap();
        raw.answer_header(domain, peer, features).await;
        raw
    }

    /// Whether TLS goes on with a session of another connection.
    pub(super) fn resumed(&self) -> bool {
        self.wire.transport().tls().unwrap().resumed
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.wire.write(text).await.unwrap();
    }

    /// Takes a header, and answers it with one and with features. The id of the stream is `42`.
    pub(super) async fn answer_header(&mut self, from: &str, to: &str, features: &str) {
        self.header().await;
        let header = header(from, to).replace(" from=", " id='42' from=");
        self.say(&format!("{header}<stream:features>{features}</stream:features>")).await;
    }

    /// The id of the stream that the other side opens.
    pub(super) async fn header(&mut self) -> Option<String> {
        match self.wire.event().await.unwrap() {
            Event::Open(header) => header.id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn element(&mut self) -> String {
        match self.wire.event().await.unwrap() {
            Event::Nonza(element) => element.to_xml(""),
            other => panic!("{other:?}"),
        }
    }

    /// What the other side says until the end.
    pub(super) async fn rest(&mut self) -> String {
        let mut all = String::new();
        loop {
            match self.wire.event().await {
                Ok(Event::Nonza(element)) => all.push_str(&element.to_xml("")),
                Ok(Event::Close) => all.push_str("</stream>"),
                Ok(other) => panic!("{other:?}"),
                Err(Broken::Closed | Broken::Lost(_) | Broken::Unwelcome(_)) => return all,
                Err(Broken::Refused(error) | Broken::Told(error)) => panic!("{error}"),
            }
        }
    }

    /// Authenticates with the certificate that was shown.
    pub(super) async fn external(&mut self, from: &str, to: &str) {
        self.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").await;
        assert!(self.element().await.contains("success"));
        self.wire.restart();
        self.say(&header(from, to)).await;
        self.header().await;
        self.element().await;
    }
}

impl Server {
    /// Sends what storage keeps, as routing does.
    pub(super) fn send_kept(&self, stanza: Stanza<'static>) {
        let slot = self.storage.slot();
        let position = slot.position();
        let kept = Kept { position, time: Timestamp::from_unix_ms(0), left_behind: None };
        let (pair, text) = (pair_of(&stanza), stanza.to_xml());
        self.federation.send(&pair, vec![Leaving { stanza, kept: Some(kept) }]);
        let mut writes = Writes::new();
        let entry = Entry {
            direction: Direction::Sent,
            peer: pair.remote.clone(),
            time: 0,
            marks: Marks::QUEUED,
            payload: text.into(),
        };
        writes.append(&BareJid::parse(&pair.local).unwrap(), slot, entry);
        self.storage.submit(writes);
    }

    /// Whatever comes from now on is not in safe hands before [`Server::pay`].
    pub(super) fn owe(&self) {
        // Another storage that has written more, so much that what the server itself writes meanwhile does not matter.
        let (now, ahead) = (write(&self.storage), Storage::open_in_memory().unwrap());
        while write(&ahead) <= now {}
        *self.inbound.owed.lock().unwrap() = [(); 10].map(|()| write(&ahead))[9];
    }

    /// It is now.
    pub(super) fn pay(&self) {
        let owed = *self.inbound.owed.lock().unwrap();
        while write(&self.storage) < owed {}
        // The clock of the test stands still meanwhile.
        while !self.storage.is_durable(owed) {
            std::thread::yield_now();
        }
    }

    /// The positions in the log of `domain` that are undelivered.
    pub(super) async fn undelivered(&self, domain: &str) -> Vec<Position> {
        let page = self.storage.undelivered(&BareJid::parse(domain).unwrap(), None, 1000).await.unwrap();
        page.entries.into_iter().map(|stored| stored.position).collect()
    }

    pub(super) async fn arrival(&self) -> Stanza<'static> {
        self.inbound.seen.lock().await.0.recv().await.unwrap()
    }

    /// Whether anything has arrived that was not looked at.
    pub(super) async fn got_more(&self) -> bool {
        self.inbound.seen.lock().await.0.try_recv().is_ok()
    }

    /// The next error that came back: condition, text, id.
    pub(super) async fn bounce(&self) -> (Condition, String, String) {
        let stanza = self.inbound.seen.lock().await.1.recv().await.unwrap();
        let error: Element = stanza.payload.first().unwrap();
        let text = error.elements().find(|child| child.name() == "text").map(Element::text).unwrap_or_default();
        (StanzaError::condition_of(&error).unwrap(), text, stanza.id.unwrap().into_owned())
    }
}

/// Has something written.
fn write(storage: &Storage) -> Receipt {
    const ANYTHING: Map<usize> = Map::new("anything");
    let mut writes = Writes::new();
    ANYTHING.delete(&mut writes, &BareJid::parse("here.example").unwrap(), "x");
    storage.submit(writes)
}

fn pair_of(stanza: &Stanza<'_>) -> Pair {
    pair(stanza.from.as_ref().unwrap().domain(), stanza.to.as_ref().unwrap().domain())
}

pub(super) fn pair(local: &str, remote: &str) -> Pair {
    Pair { local: local.into(), remote: remote.into() }
}

pub(super) fn message(from: &str, to: &str, id: usize) -> Stanza<'static> {
    Stanza::new(Kind::Message(MessageType::Chat))
        .from(from.parse().ok())
        .to(to.parse().ok())
        .id(id.to_string())
        .payload(Payload::canonical(format!("<body>{id}</body>")))
}

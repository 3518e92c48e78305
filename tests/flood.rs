//! Strangers by the hundred: the crowd stays bounded, the oldest go, honest people come in all the
//! while, and nothing is left of it afterwards. `make bench` does the same with 50,000.

#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comity::jid::Jid;
use comity::server::{Bound, Node, Server};
use comity::stream::Event;
use comity::testing::{Client, Options, PASSWORD, Raw, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const DOMAIN: &str = "a.localhost";
/// Strangers that fit into `unauthenticated_bytes` below.
const CROWD: usize = 64;
const LIMITS: &str = "[limits]\nunauthenticated_bytes = \"2MiB\"\nunauthenticated_bytes_per_address = \"1MiB\"\n";

const HEADER: &str = "<stream:stream to='a.localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A server with small limits on a real socket.
struct Place {
    world: World,
    node: Arc<Node>,
    server: Server,
    port: SocketAddr,
    jid: Jid,
}

impl Place {
    async fn new() -> Self {
        let mut world = World::new();
        let node = world.server_with(DOMAIN, &Options { config: LIMITS.to_owned() }).expect("a server");
        let jid: Jid = "juliet@a.localhost/balcony".parse().expect("a JID");
        world.account(&jid).await.expect("an account");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its number");
        let bound = Bound { c2s: vec![listener], ..Bound::default() };
        let server = Server::start(Arc::clone(&node), bound).await;
        Self { world, node, server, port, jid }
    }

    /// How many strangers there are; never more than the limits say.
    fn strangers(&self) -> usize {
        let (strangers, open) = self.node.admission.counts();
        assert!(strangers <= CROWD, "{strangers} strangers of {open}");
        strangers
    }

    fn honest(&self) -> Honest {
        Honest { port: self.port, jid: self.jid.clone(), tls: Arc::clone(&self.world.client_tls) }
    }
}

/// What an honest client needs to know.
struct Honest {
    port: SocketAddr,
    jid: Jid,
    tls: Arc<rustls::ClientConfig>,
}

impl Honest {
    /// Logs in and out again.
    async fn log_in(&self, from: IpAddr) {
        let mut socket = connect(from, self.port).await;
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let bridge = tokio::spawn(async move {
            // The end of either side is what is waited for, however it comes.
            let _ = tokio::io::copy_bidirectional(&mut theirs, &mut socket).await;
        });
        // Each address is a device of its own.
        let jid = self.jid.to_bare().with_resource(&from.to_string()).expect("a JID");
        let tls = Arc::clone(&self.tls);
        let mut client = Raw::new(ours).recorded().log_in(tls, &jid, PASSWORD).await.expect("an honest login");
        client.close().await;
        while client.next().await.is_some_and(|it| it.name() != "closed") {}
        client.vanish();
        bridge.await.expect("no panic");
    }
}

async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("a loopback address");
    socket.connect(to).await.expect("the server accepts")
}

/// A half-open attempt: silence, part of a header, or a header.
async fn stranger(number: usize, to: SocketAddr) -> TcpStream {
    let from = [address(2), address(3), address(4)][number % 3];
    let mut socket = connect(from, to).await;
    let said = ["", &HEADER[..40], HEADER][number / 3 % 3];
    // Whoever has been thrown out again already cannot say it.
    let _ = socket.write_all(said.as_bytes()).await;
    socket
}

/// Waits for the end of a connection, whatever is said before.
async fn ends(socket: &mut TcpStream) {
    let mut said = [0; 1024];
    while socket.read(&mut said).await.is_ok_and(|n| n > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_and_locks_nobody_out() {
    let place = Place::new().await;
    let over = Arc::new(AtomicBool::new(false));
    let throughout = tokio::spawn({
        let (honest, over) = (place.honest(), Arc::clone(&over));
        async move {
            let mut logins = 0;
            while !over.load(Ordering::Relaxed) {
                honest.log_in(address(9)).await;
                logins += 1;
            }
            logins
        }
    });
    let mut flood = Vec::new();
    for number in 0..600 {
        flood.push(stranger(number, place.port).await);
        place.strangers();
        if number % 100 == 99 {
            // From an address of the flood, too.
            place.honest().log_in(address(2)).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    assert!(throughout.await.expect("every login succeeds") > 0);
    for oldest in flood.iter_mut().take(600 - CROWD) {
        ends(oldest).await;
    }
    assert!(place.strangers() >= CROWD / 2, "a flood does not empty the room");
    drop(flood);
    while place.node.admission.counts() != (0, 0) {
        tokio::task::yield_now().await;
    }
    place.server.stop().await.expect("what was written is kept");
}

#[tokio::test]
async fn a_stranger_may_not_say_much_at_once() {
    let mut world = World::new();
    let mut raw = Raw::new(world.connect(DOMAIN).expect("a server"));
    raw.secure(Arc::clone(&world.client_tls), DOMAIN).await.expect("features inside TLS");
    let auth = "A".repeat(6000);
    raw.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{auth}</auth>")).await;
    let error = raw.element().await.expect("a stream error");
    assert!(error.elements().any(|it| it.name() == "policy-violation"), "{error:?}");
    assert!(matches!(raw.event().await, Ok(Some(Event::Close))));
}

#[tokio::test]
async fn who_has_authenticated_may() {
    let mut world = World::new();
    let jid: Jid = "juliet@a.localhost/balcony".parse().expect("a JID");
    let mut client: Client = world.login(&jid).await.expect("a login");
    let long = "A".repeat(100_000);
    client.send(&format!("<message to='{jid}'><body>{long}</body></message>")).await;
    let received = client.next().await.expect("the message");
    assert_eq!(received.elements().next().map(comity::xml::Element::text), Some(long));
}

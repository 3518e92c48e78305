//! The ways in which a server is broken, what the doctor calls each of them, and the words that a sender reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::certificates::{Asks, Authority, Flaw};
use crate::peer::{Back, Manner, Peer, black_hole};
use crate::zone::Zone;

/// One way.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    way: Way,
    /// What the doctor finds, sorted.
    pub(crate) kinds: &'static [&'static str],
    /// What whoever writes there is told; nothing if it arrives.
    pub(crate) told: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Way {
    /// A server, found by one SRV record.
    Peer(Manner, Flaw),
    /// The same, and it insists that our certificate is for clients.
    Insists(Manner),
    NoSrv,
    NoAddress,
    Root,
    Loop,
    Unknown,
    Fails,
    SaysNothing,
    BlackHole,
    /// A black hole of IPv6, and a server at the address of IPv4.
    BlackHoleBeside,
    Dead,
    /// A target where nobody listens, and another one that is in order.
    DeadFirst,
}

const fn case(name: &'static str, way: Way, kinds: &'static [&'static str], told: Option<&'static str>) -> Case {
    Case { name, way, kinds, told }
}

use Flaw::None as Valid;
use Manner::Honest;
use Way::Peer as By;

pub(crate) const CASES: &[Case] = &[
    case("honest", By(Honest, Valid), &[], None),
    case("expired", By(Honest, Flaw::Expired), &["expired"], Some("expired on Jan")),
    case("not-yet-valid", By(Honest, Flaw::NotYetValid), &["not-yet-valid"], Some("is not valid before")),
    case("other-name", By(Honest, Flaw::OtherName), &["wrong-name"], Some("is not for other-name.example, but for")),
    case("self-signed", By(Honest, Flaw::SelfSigned), &["self-signed"], Some("is self-signed")),
    case("self-signed-ca", By(Honest, Flaw::SelfSignedAuthority), &["self-signed-authority"], Some("CA:TRUE")),
    case(
        "server-auth-only",
        Way::Insists(Manner::OnlyExternal),
        &["no-way-to-authenticate", "server-auth-only"],
        Some("does not accept our certificate"),
    ),
    case(
        "missing-intermediate",
        By(Honest, Flaw::WithoutIntermediate),
        &["missing-intermediate"],
        Some("either an intermediate certificate is missing"),
    ),
    case("no-srv", Way::NoSrv, &["no-srv", "refused"], Some("there is no SRV record")),
    case("no-address", Way::NoAddress, &["no-such-name"], Some("host.no-address.example: not found in DNS")),
    case("root", Way::Root, &["no-service"], Some("says in DNS that it has no XMPP service")),
    case("loop", Way::Loop, &["alias-loop"], Some("lead in a circle")),
    case("unknown", Way::Unknown, &["no-such-name"], Some("not found in DNS, there is no such name")),
    case("servfail", Way::Fails, &["dns-failed"], Some("DNS failed")),
    case("dns-silent", Way::SaysNothing, &["dns-failed"], Some("DNS failed: no answer")),
    case("black-hole", Way::BlackHole, &["no-answer"], Some("no answer")),
    case("black-hole-beside", Way::BlackHoleBeside, &["no-answer"], None),
    case("dead", Way::Dead, &["refused"], Some("connection refused")),
    case("dead-first", Way::DeadFirst, &["refused"], None),
    case("old-tls", By(Manner::OldTls, Valid), &["old-tls"], Some("nothing newer than TLS 1.1")),
    case("no-cipher", By(Manner::NoCommonCipher, Valid), &["no-common-cipher"], Some("no TLS cipher in common")),
    case("no-starttls", By(Manner::NoStarttls, Valid), &["no-starttls"], Some("does not offer TLS")),
    case("stripped", By(Manner::Stripped, Valid), &["starttls-stripped"], None),
    case(
        "stripped-and-replaced",
        By(Manner::Stripped, Flaw::SelfSigned),
        &["self-signed", "starttls-stripped"],
        Some("the offer of TLS is taken out on the way"),
    ),
    case(
        "dialback-refused",
        By(Manner::DialbackRefused, Valid),
        &["dialback-refused"],
        Some("could not verify our domain by dialback: policy-violation"),
    ),
    case(
        "dialback-lies",
        By(Manner::DialbackLies, Valid),
        &["key-invalid", "vouches-for-anything"],
        Some("says that our dialback key is invalid"),
    ),
    case("no-stream-id", By(Manner::NoStreamId, Valid), &["no-stream-id"], Some("gives its stream no id")),
    case("other-answer", By(Manner::OtherAnswer, Valid), &["other-answer"], None),
    case(
        "other-stream-id",
        By(Manner::OtherStreamId, Valid),
        &["other-stream-id"],
        Some("has asked about our dialback key with the id of another stream"),
    ),
    case("slow-loris", By(Manner::SlowLoris, Valid), &["slow"], Some("comes too slowly")),
    case(
        "closes-after-features",
        By(Manner::ClosesAfterFeatures, Valid),
        &["closed"],
        Some("closed the stream behind its stream features"),
    ),
    case("silent", By(Manner::Silent, Valid), &["silent"], Some("says nothing before its stream header")),
];

impl Case {
    pub(crate) fn domain(&self) -> String {
        format!("{}.example", self.name)
    }
}

/// All of them, and the DNS server that knows where they are.
pub(crate) struct Street {
    pub(crate) dns: SocketAddr,
    /// The domains at which messages arrive.
    pub(crate) arrived: UnboundedReceiver<String>,
    /// What black holes consist of.
    _kept: Vec<(Vec<TcpStream>, TcpListener)>,
}

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Nobody listens on this address, not even on the port that is tried without SRV records.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 1, 1));

impl Street {
    /// Whoever has to ask the server under test finds it at `s2s`.
    pub(crate) async fn build(authority: &Authority, s2s: SocketAddr) -> Self {
        let back = Some(Back { s2s, tls: authority.client() });
        let mut zone = Zone::default();
        let (sender, arrived) = unbounded_channel();
        let mut kept = Vec::new();
        for case in CASES {
            let (domain, host) = (case.domain(), format!("host.{}", case.domain()));
            let (manner, flaw, asks) = match case.way {
                Way::Peer(manner, flaw) => (manner, flaw, Asks::Nobody),
                Way::Insists(manner) => (manner, Valid, Asks::ForThePurposeOfClients),
                _ => (Honest, Valid, Asks::Nobody),
            };
            let tls = authority.tls(&authority.issue(&domain, flaw), asks);
            let peer = Peer { domain: domain.clone(), manner, tls, arrived: sender.clone(), back: back.clone() };
            match case.way {
                Way::Peer(..) | Way::Insists(_) => {
                    zone.srv(&domain, 0, &host, listen(peer, HERE).await);
                    zone.host(&host, HERE);
                }
                Way::NoSrv => zone.host(&domain, NOBODY),
                Way::NoAddress => zone.srv(&domain, 0, &host, 5269),
                Way::Root => zone.srv(&domain, 0, ".", 0),
                Way::Loop => {
                    zone.srv(&domain, 0, &host, 5269);
                    zone.alias(&host, &format!("other.{domain}"));
                    zone.alias(&format!("other.{domain}"), &host);
                }
                Way::Unknown => {}
                Way::Fails => zone.fails(&domain),
                Way::SaysNothing => zone.says_nothing_of(&domain),
                Way::BlackHole | Way::BlackHoleBeside => {
                    let port = if matches!(case.way, Way::BlackHole) { 0 } else { listen(peer, HERE).await };
                    let hole = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
                    let (address, waiting, listener) = black_hole(hole).await;
                    kept.push((waiting, listener));
                    zone.srv(&domain, 0, &host, address.port());
                    zone.host(&host, address.ip());
                    if matches!(case.way, Way::BlackHoleBeside) {
                        zone.host(&host, HERE);
                    }
                }
                Way::Dead | Way::DeadFirst => {
                    zone.srv(&domain, 0, &format!("dead.{domain}"), 5269);
                    zone.host(&format!("dead.{domain}"), NOBODY);
                    if matches!(case.way, Way::DeadFirst) {
                        zone.srv(&domain, 10, &host, listen(peer, HERE).await);
                        zone.host(&host, HERE);
                    }
                }
            }
        }
        Self { dns: zone.serve().await, arrived, _kept: kept }
    }
}

/// Has the peer listen; on which port it does.
pub(crate) async fn listen(peer: Peer, address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    peer.serve(listener);
    port
}

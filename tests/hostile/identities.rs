//! Nobody becomes another than he proves to be, whatever he asks for and whoever stands between him and the server.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::{Password, ScramHash};
use comity::accounts::sasl::channel_binding::BindingType;
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::net::Transport;
use comity::testing::PASSWORD;
use comity::xml::Element;

use crate::c2s::{auth, response, sasl2, scram};
use crate::case::{Case, Outcome, judge};
use crate::peer::{Peer, Said};
use crate::s2s::server_tls;
use crate::scene::{DOMAIN, Port, Scene, Stage, honest_header};

use Outcome::Sasl;
use Stage::{Encrypted, Secured};

// -- who one asks to be (T-AUTH-1)

/// What is offered inside TLS, by either profile of SASL.
async fn mechanisms(scene: &Scene) -> BTreeSet<String> {
    let mut peer = scene.arrive(Encrypted).await.expect("TLS");
    peer.send(honest_header()).await;
    let Said::Header(_) = peer.next().await.expect("a header") else { panic!("no header") };
    let features = peer.hear("features").await.expect("features");
    peer.cut().await.expect("no trace");
    let lists = features.elements().filter(|it| matches!(it.name(), "mechanisms" | "authentication"));
    let all = lists.flat_map(Element::elements).filter(|it| it.name() == "mechanism");
    all.map(Element::text).collect()
}

/// A first message of `mallory` with this identity; tokens are for their account and can ask for no other.
fn first_message(mechanism: &str, authzid: &str) -> Option<Vec<u8>> {
    let named = if authzid.is_empty() { String::new() } else { format!("a={authzid}") };
    match mechanism {
        "PLAIN" => Some(format!("{authzid}\0mallory\0{PASSWORD}").into_bytes()),
        _ if mechanism.starts_with("HT-") => None,
        _ if mechanism.ends_with("-PLUS") => Some(format!("p=tls-exporter,{named},n=mallory,r=abc").into_bytes()),
        _ if mechanism.starts_with("SCRAM-") => Some(format!("n,{named},n=mallory,r=abc").into_bytes()),
        _ => panic!("nobody has thought about {mechanism} here"),
    }
}

/// As either profile writes it.
fn requests(mechanism: &str, message: &[u8]) -> [String; 2] {
    let message = BASE64_STANDARD.encode(message);
    let other = sasl2(mechanism, &format!("<initial-response>{message}</initial-response>"));
    [auth(mechanism, &message), other]
}

// Proves: RFC 6120 §6.3.8, §6.5.6
#[tokio::test(start_paused = true)]
async fn nobody_asks_to_be_another() {
    let scene = Scene::new(Port::Client).await;
    let offered = mechanisms(&scene).await;
    assert!(offered.len() >= 7, "{offered:?}");
    let mut tried = 0;
    for mechanism in &offered {
        let mut cases = Vec::new();
        for other in [
            "juliet@a.example",
            "mallory@b.example",
            "mallory@evil.example",
            "a.example",
            "mallory@a.example/den",
            "mallory",
            "juliet",
            "mallory@a.example ",
            "m\u{430}llory@a.example",
            "@a.example",
            "a b@a.example",
        ] {
            let Some(message) = first_message(mechanism, other) else { continue };
            for request in requests(mechanism, &message) {
                cases.push(Case::sending(
                    format!("{mechanism} as {other}: {request}"),
                    Secured,
                    request,
                    Sasl("invalid-authzid"),
                ));
            }
        }
        for own in ["", "mallory@a.example", "Mallory@A.Example"] {
            let Some(message) = first_message(mechanism, own) else { continue };
            for request in requests(mechanism, &message) {
                let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
                peer.send(&request).await;
                let wanted = if mechanism == "PLAIN" { "success" } else { "challenge" };
                peer.hear(wanted).await.unwrap_or_else(|problem| panic!("{request}: {problem}"));
                peer.cut().await.expect("no trace");
            }
        }
        tried += cases.len();
        judge(Port::Client, &cases).await;
    }
    assert!(tried >= 11 * 7 * 2, "{tried} cases");
}

// -- who stands in between (T-CB-1)

/// A client's connection that leads to somebody else, to whom an authority has given a certificate for the server's name,
/// as it happened to jabber.ru in 2023. The client sees nothing odd.
async fn intercepted(scene: &Scene) -> Transport {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = comity::net::tls::server_name(DOMAIN).expect("a name for TLS");
    let connect = Transport::plain(near, None).connect_tls(Arc::clone(scene.tls()), name);
    let accept = Transport::plain(far, None).accept_tls(server_tls(&scene.world.ca, DOMAIN));
    let (client, between) = tokio::join!(connect, accept);
    between.expect("a handshake");
    client.expect("a certificate that the client trusts")
}

/// What somebody in between does with what he hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    /// He passes it on.
    Faithful,
    /// He makes it look as if the client could not bind.
    Unbinds,
}

/// Juliet's client logs in; everything passes somebody whose connection to the server is `peer`.
async fn log_in(
    peer: &mut Peer,
    (hash, mechanism): (ScramHash, &str),
    binding: ClientBinding,
    relay: Relay,
) -> Result<(), String> {
    let password = Password::prepare(PASSWORD).map_err(|error| error.to_string())?;
    let client = ScramClient::new(hash, "juliet", password, binding, "fyko+d2lbbFgONRv9qkxdawL");
    let mut first = client.first();
    if relay == Relay::Unbinds {
        first = format!("n,,{}", first.splitn(3, ',').nth(2).unwrap_or_default());
    }
    peer.send(scram(mechanism, &first)).await;
    let challenge = answer(peer, "challenge").await?;
    let (last, _) = client.respond(&challenge).map_err(|error| error.to_string())?;
    peer.send(response(&BASE64_STANDARD.encode(last))).await;
    answer(peer, "success").await.map(drop)
}

/// The message in the answer of this name, or the condition of a failure.
async fn answer(peer: &mut Peer, name: &str) -> Result<Vec<u8>, String> {
    match peer.next().await? {
        Said::Nonza(element) if element.name() == name => {
            BASE64_STANDARD.decode(element.text()).map_err(|error| error.to_string())
        }
        Said::Nonza(element) if element.name() == "failure" => {
            Err(element.elements().next().map_or("nothing", Element::name).to_owned())
        }
        other => Err(format!("{other:?}")),
    }
}

const HASHES: [(ScramHash, &str, &str); 3] = [
    (ScramHash::Sha512, "SCRAM-SHA-512-PLUS", "SCRAM-SHA-512"),
    (ScramHash::Sha256, "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"),
    (ScramHash::Sha1, "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"),
];

// Proves: RFC 5802 §6
#[tokio::test(start_paused = true)]
async fn nobody_in_between_logs_in_with_what_passes_him() {
    let mut scene = Scene::new(Port::Client).await;
    let client = intercepted(&scene).await;
    let exporter = client.exporter().expect("TLS 1.3").to_vec();
    let certificates = client.peer_certificates();
    let end_point = digest(&SHA256, certificates.first().expect("a certificate")).as_ref().to_vec();
    for (hash, bound, unbound) in HASHES {
        let exporter = ClientBinding::Bound(BindingType::TlsExporter, exporter.clone());
        let end_point = ClientBinding::Bound(BindingType::TlsServerEndPoint, end_point.clone());
        for (mechanism, binding, relay) in [
            // The client binds to the connection that it sees, or to the certificate.
            (bound, exporter.clone(), Relay::Faithful),
            (bound, end_point.clone(), Relay::Faithful),
            // He has taken the mechanisms that bind out of the offer: the client says that it could.
            (unbound, ClientBinding::NotOffered, Relay::Faithful),
            // He changes what the client says; what it signs is what it has said.
            (unbound, exporter, Relay::Unbinds),
            (unbound, end_point, Relay::Unbinds),
            (unbound, ClientBinding::NotOffered, Relay::Unbinds),
        ] {
            let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
            let done = log_in(&mut peer, (hash, mechanism), binding.clone(), relay).await;
            assert_eq!(done, Err("not-authorized".to_owned()), "{mechanism}, {binding:?}, {relay:?}");
            peer.cut().await.expect("no trace");
        }
        // Where nobody is in between, the same client gets in.
        let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
        let own = ClientBinding::Bound(BindingType::TlsExporter, peer.exporter().expect("TLS 1.3").to_vec());
        assert_eq!(log_in(&mut peer, (hash, bound), own, Relay::Faithful).await, Ok(()), "{bound}");
        peer.cut().await.expect("no trace");
    }
    scene.undisturbed().await.expect("witnesses");
}

//! What both ports say of themselves to peers who do nothing wrong.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::{Password, ScramHash};
use comity::accounts::sasl::channel_binding::BindingType;
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::session::Security;
use comity::stream::Header;
use comity::testing::PASSWORD;
use comity::xml::Element;

use crate::peer::{Peer, Said};
use crate::scene::{DOMAIN, Port, STARTTLS, Scene, Stage, header, server_header};

use Stage::{Authenticated, Bound, Connected, Encrypted, Opened, Secured, Unbound};

/// Begins a stream: what is answered, with its features.
async fn opened(peer: &mut Peer, header: &str) -> (Header, Element) {
    peer.restart();
    peer.send(header).await;
    let Said::Header(answer) = peer.next().await.expect("a header") else { panic!("no header") };
    (answer, peer.hear("features").await.expect("features"))
}

fn names(features: &Element) -> Vec<&str> {
    features.elements().map(Element::name).collect()
}

/// One connection with its three streams: the header of each and the names of its features.
async fn streams(scene: &Scene, header: &str) -> Vec<(Header, Vec<String>)> {
    let mut peer = scene.dial(Security::StartTls).await;
    let mut all = Vec::new();
    for (before, begun) in [(Connected, Opened), (Encrypted, Secured), (Authenticated, Unbound)] {
        if before != Connected {
            let from = if before == Encrypted { Opened } else { Secured };
            scene.advance(&mut peer, from, before).await.expect("the stage");
        }
        let (answer, features) = opened(&mut peer, header).await;
        let heard = String::from_utf8(peer.heard.clone()).expect("UTF-8");
        assert!(heard.starts_with("<?xml version='1.0'?><stream:stream xmlns='jabber:"), "{begun:?}: {heard}");
        assert!(heard.contains("><stream:features>") && !heard.contains("standalone"), "{begun:?}: {heard}");
        all.push((answer, names(&features).into_iter().map(str::to_owned).collect()));
    }
    peer.cut().await.expect("no trace");
    all
}

// Proves: RFC 6120 §4.2, §4.3.2, §4.3.3, §4.3.4, §4.5, §4.7.1, §4.7.2, §4.7.3, §4.7.4, §4.8.1, §5.2, §5.3.2, §5.4.3.3,
// §6.3.2, §6.4.1, §6.4.6, §7.4, §11.5, §11.6; RFC 7590 §3.1
#[tokio::test(start_paused = true)]
async fn every_header_is_answered_in_full() {
    let mut ids = BTreeSet::new();
    for (port, header, to, expected) in [
        (Port::Client, header("to='a.example' version='1.0' id='chosen'"), None, ["starttls", "mechanisms", "bind"]),
        (
            Port::Server,
            server_header("from='evil.example' to='a.example' version='1.0' id='chosen'"),
            Some("evil.example"),
            ["starttls", "mechanisms", "dialback"],
        ),
    ] {
        let scene = Scene::new(port).await;
        for _ in 0..3 {
            for ((answer, features), first) in streams(&scene, &header).await.into_iter().zip(expected) {
                assert_eq!(answer.from.as_deref(), Some(DOMAIN));
                assert_eq!(answer.to.as_deref(), to);
                assert_eq!(answer.lang.as_deref(), Some("en"));
                assert_eq!(answer.version, Some((1, 0)));
                let id = answer.id.expect("an id");
                assert!(id.len() >= 16 && id != "chosen", "{id} can be guessed");
                assert!(ids.insert(id), "an id comes twice");
                // What a stream is for is offered first, and nothing that belongs to another stage.
                assert_eq!(features.first().map(String::as_str), Some(first));
                let mut others = expected.into_iter().filter(|other| *other != first && *other != "dialback");
                assert!(others.all(|other| features.iter().all(|name| name != other)), "{features:?}");
            }
        }
    }
}

// Proves: RFC 6120 §4.7.5
#[tokio::test(start_paused = true)]
async fn the_lower_version_is_spoken() {
    for (port, before) in [(Port::Client, ""), (Port::Server, "from='evil.example' ")] {
        let scene = Scene::new(port).await;
        for (theirs, ours) in [
            ("version='1.0'", Some((1, 0))),
            ("version='01.00'", Some((1, 0))),
            ("version='1.7'", Some((1, 0))),
            ("version='2.13'", Some((1, 0))),
            ("version='10.0'", Some((1, 0))),
            ("version='0.9'", Some((0, 9))),
            ("", None),
        ] {
            let attributes = format!("{before}to='a.example' {theirs}");
            let header = if port == Port::Client { header(&attributes) } else { server_header(&attributes) };
            let mut peer = scene.dial(Security::StartTls).await;
            peer.send(header).await;
            let Said::Header(answer) = peer.next().await.expect("a header") else { panic!("no header") };
            assert_eq!(answer.version, ours, "{port:?} {theirs}");
            peer.cut().await.expect("no trace");
        }
    }
}

// Proves: RFC 6120 §4.7.1, §4.9.1.3
#[tokio::test(start_paused = true)]
async fn the_header_before_an_error_names_one_of_our_domains() {
    for (port, before) in [(Port::Client, ""), (Port::Server, "from='evil.example' ")] {
        let scene = Scene::new(port).await;
        for attributes in
            ["to='c.example' version='1.0'", "to='a b' version='1.0'", "version='1.0'", "to='' version='1.0'"]
        {
            let attributes = format!("{before}{attributes}");
            let header = if port == Port::Client { header(&attributes) } else { server_header(&attributes) };
            let mut peer = scene.dial(Security::StartTls).await;
            peer.send(header).await;
            let Said::Header(answer) = peer.next().await.expect("a header") else { panic!("no header") };
            assert_eq!(answer.from.as_deref(), Some(DOMAIN), "{attributes}");
            assert!(answer.id.is_some(), "{attributes}");
            assert!(matches!(peer.next().await, Ok(Said::Error(_))), "{attributes}");
            peer.cut().await.expect("no trace");
        }
    }
}

// Proves: RFC 6120 §4.3.5, §7.3.2
#[tokio::test(start_paused = true)]
async fn after_binding_nothing_more_is_negotiated() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Bound).await.expect("a session");
    let said = peer.next().await.expect("nothing bad");
    assert!(matches!(said, Said::Nothing), "{said:?} behind the resource");
    // The session works on the stream on which the resource was bound.
    scene.part(peer).await.expect("a session");
    scene.undisturbed().await.expect("witnesses");
}

// Proves: RFC 6120 §13.8.1, §13.8.3
#[tokio::test(start_paused = true)]
async fn every_mechanism_logs_in_inside_tls() {
    let mut scene = Scene::new(Port::Client).await;
    for (hash, name) in [(ScramHash::Sha1, "SCRAM-SHA-1"), (ScramHash::Sha256, "SCRAM-SHA-256")] {
        for bound in [false, true] {
            let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
            let exporter = peer.exporter().expect("a client that can bind");
            let (name, binding) = if bound {
                (format!("{name}-PLUS"), ClientBinding::Bound(BindingType::TlsExporter, exporter.to_vec()))
            } else {
                (name.to_owned(), ClientBinding::Unsupported)
            };
            let password = Password::prepare(PASSWORD).expect("a password");
            let client = ScramClient::new(hash, "mallory", password, binding, "fyko+d2lbbFgONRv9qkxdawL");
            let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
            let first = BASE64_STANDARD.encode(client.first());
            peer.send(format!("<auth {sasl} mechanism='{name}'>{first}</auth>")).await;
            let challenge = BASE64_STANDARD.decode(peer.hear("challenge").await.expect("a challenge").text());
            let (last, expected) =
                client.respond(&challenge.expect("base64")).expect("a challenge that can be answered");
            peer.send(format!("<response {sasl}>{}</response>", BASE64_STANDARD.encode(last))).await;
            let success = BASE64_STANDARD.decode(peer.hear("success").await.expect("success").text()).expect("base64");
            expected.verify(&success).expect("a server that knows the keys");
            peer.restart();
            scene.advance(&mut peer, Authenticated, Bound).await.expect("a session");
            scene.part(peer).await.expect("a session that works");
        }
    }
    scene.undisturbed().await.expect("witnesses");
}

/// SSL 2.0, and TLS 1.0 by a client that knows nothing newer.
const OLD_HELLOS: [&[u8]; 2] = [
    b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40\
      \x07\x00\xc0\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
    b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\
      \x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x00\x00\x02\x00\x2f\x01\x00",
];

// Proves: RFC 6120 §13.9.5
#[tokio::test(start_paused = true)]
async fn nobody_is_served_by_an_old_protocol() {
    for port in [Port::Client, Port::Server] {
        let mut scene = Scene::new(port).await;
        for hello in OLD_HELLOS {
            for security in [Security::Direct, Security::StartTls] {
                let mut peer = scene.dial(security).await;
                if security == Security::StartTls {
                    let header = if port == Port::Client {
                        header("to='a.example' version='1.0'")
                    } else {
                        server_header("from='evil.example' to='a.example' version='1.0'")
                    };
                    opened(&mut peer, &header).await;
                    peer.send(STARTTLS).await;
                    peer.hear("proceed").await.expect("TLS");
                }
                peer.send(hello).await;
                let rest = peer.rest().await.unwrap_or_else(|| panic!("{port:?} {security:?}: no end"));
                // Nothing but an alert of TLS: no ServerHello, and no XML.
                assert!(!rest.contains(&b'<') && rest.first().is_none_or(|first| *first == 0x15), "{rest:?}");
                peer.gone().await.expect("no trace");
            }
        }
        scene.undisturbed().await.expect("witnesses");
    }
}

// Proves: RFC 6120 §4.4
#[tokio::test(start_paused = true)]
async fn a_client_has_time_to_close_its_side() {
    let mut scene = Scene::new(Port::Client).await;
    for closes in [true, false] {
        let mut peer = scene.arrive(Bound).await.expect("a session");
        peer.send("<unknown xmlns='urn:example'/>").await;
        assert!(matches!(peer.next().await, Ok(Said::Error(_))));
        assert!(matches!(peer.next().await, Ok(Said::Closing)));
        let ended = tokio::time::Instant::now();
        if closes {
            peer.send("</stream:stream>").await;
        }
        // Nothing more is said; the connection ends when he has closed his side, or has had time for it.
        assert!(matches!(peer.next().await, Ok(Said::End)));
        assert_eq!(ended.elapsed().as_millis() < 1000, closes);
        peer.gone().await.expect("no trace");
    }
    scene.undisturbed().await.expect("witnesses");
}

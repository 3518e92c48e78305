//! Clients with certificates (XEP-0178).

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;

use super::sasl2::{DOMAIN, PHONE, SASL2, authenticate, bind, element, identifier, names, open, secured};
use super::*;
use crate::clock::Clock;
use crate::net::tls::mint::{Authority, Minted, Name, Wish};

/// A server that trusts an authority to vouch for clients, that authority, and romeo's account.
async fn world() -> (World, Authority) {
    let authority = Authority::root("clients");
    let file =
        std::env::temp_dir().join(format!("comity-clients-{}-{:p}.pem", std::process::id(), &raw const authority));
    let pem = BASE64_STANDARD.encode(&authority.certificate);
    std::fs::write(&file, format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n")).unwrap();
    let mut world = World::new();
    let config = format!("[tls]\nclient_trust_anchors = [{file:?}]\n");
    world.server_with(DOMAIN, &Options { config }).unwrap();
    std::fs::remove_file(file).unwrap();
    world.account(&jid("romeo@verona.example")).await.unwrap();
    (world, authority)
}

fn certificate(authority: &Authority, names: &[Name]) -> Minted {
    authority.mint(&Wish { usages: vec![ClientAuth], ..Wish::names(names) })
}

/// What is shown to a client with this certificate: the connection, and the mechanisms in both profiles.
async fn with(world: &mut World, minted: Minted) -> (Raw, String) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.ca.certificate().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(crate::net::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(minted.chain, minted.key)
        .unwrap();
    let anonymous = std::mem::replace(&mut world.client_tls, Arc::new(client));
    let mut raw = secured(world).await;
    world.client_tls = anonymous;
    let features = open(&mut raw, None, "").await;
    let lists = ["mechanisms", "authentication"].map(|name| {
        let list = features.elements().find(|it| it.name() == name).unwrap();
        list.elements().filter(|it| it.name() == "mechanism").map(Element::text).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(lists[0], lists[1]);
    let [list, _] = lists;
    (raw, list)
}

const ROMEO: Name = Name::Xmpp("romeo@verona.example");

// Proves: XEP-0178 §2
// Proves: RFC 6120 §6.3.4, §13.7.2.2, §13.7.2.2.1
#[tokio::test(start_paused = true)]
async fn a_client_logs_in_with_the_certificate_that_names_it() {
    let (mut world, authority) = world().await;
    let (mut raw, mechanisms) = with(&mut world, certificate(&authority, &[ROMEO])).await;
    assert!(mechanisms.starts_with("EXTERNAL SCRAM-SHA-512-PLUS "), "{mechanisms}");
    raw.send(&format!("<auth xmlns='{SASL_NS}' mechanism='EXTERNAL'>=</auth>")).await;
    assert_eq!(element(&mut raw).await.to_xml(""), format!("<success xmlns='{SASL_NS}'/>"));
    assert_eq!(names(&raw.open(DOMAIN).await.unwrap())[0], "bind");

    let (mut raw, _) = with(&mut world, certificate(&authority, &[ROMEO])).await;
    raw.send(&authenticate("EXTERNAL", b"romeo@verona.example", PHONE, &bind(""))).await;
    let success = element(&mut raw).await;
    assert!(identifier(&success).starts_with("romeo@verona.example/Test/"), "{}", success.to_xml(""));
}

// Proves: XEP-0178 §2
#[tokio::test(start_paused = true)]
async fn a_certificate_is_good_for_nobody_else() {
    let (mut world, authority) = world().await;
    for (minted, offered) in [
        (certificate(&authority, &[ROMEO]), true),
        (certificate(&authority, &[Name::Xmpp("Romeo@VERONA.example")]), true),
        (certificate(&authority, &[Name::Xmpp("romeo@mantua.example")]), false),
        (certificate(&authority, &[Name::Xmpp("verona.example")]), false),
        (certificate(&authority, &[Name::Xmpp("romeo@verona.example/orchard")]), false),
        (certificate(&authority, &[Name::Dns("verona.example")]), false),
        (certificate(&Authority::root("others"), &[ROMEO]), false),
        // Who does not exist finds out when he asks.
        (certificate(&authority, &[Name::Xmpp("nobody@verona.example")]), true),
    ] {
        let (mut raw, mechanisms) = with(&mut world, minted).await;
        assert_eq!(mechanisms.contains("EXTERNAL"), offered);
        if !offered {
            // The handshake did not fail for that, and a password is as good as ever.
            raw.send(&format!("<auth xmlns='{SASL_NS}' mechanism='EXTERNAL'>=</auth>")).await;
            assert_eq!(names(&element(&mut raw).await), ["invalid-mechanism"]);
            raw.send(&authenticate("PLAIN", format!("\0romeo\0{PASSWORD}").as_bytes(), PHONE, "")).await;
            assert!(element(&mut raw).await.is("success", SASL2));
        }
    }
    let names_of = |text: &str| text.to_owned();
    for (certified, message, condition) in [
        (vec![ROMEO], names_of("juliet@verona.example"), "invalid-authzid"),
        (vec![ROMEO, Name::Xmpp("juliet@verona.example")], String::new(), "invalid-authzid"),
        (vec![Name::Xmpp("nobody@verona.example")], String::new(), "not-authorized"),
    ] {
        let (mut raw, _) = with(&mut world, certificate(&authority, &certified)).await;
        raw.send(&authenticate("EXTERNAL", message.as_bytes(), PHONE, "")).await;
        assert_eq!(names(&element(&mut raw).await)[0], condition);
    }
}

// Proves: RFC 6120 §13.7.2.3
#[tokio::test(start_paused = true)]
async fn a_stream_does_not_last_longer_than_the_certificate() {
    let (mut world, authority) = world().await;
    let soon = Clock::system().now().after(Duration::from_secs(2 * 86_400)).to_string();
    let mut date = soon.split(['-', 'T']).map(|part| part.parse::<i32>().unwrap_or_default());
    let (year, month, day) = (date.next().unwrap(), date.next().unwrap(), date.next().unwrap());
    let end = Some((year, u8::try_from(month).unwrap(), u8::try_from(day).unwrap()));
    let minted = authority.mint(&Wish { usages: vec![ClientAuth], end, ..Wish::names(&[ROMEO]) });
    let (mut raw, _) = with(&mut world, minted).await;
    raw.send(&authenticate("EXTERNAL", b"", PHONE, &bind(""))).await;
    assert!(element(&mut raw).await.is("success", SASL2));
    assert_eq!(element(&mut raw).await.name(), "features");
    let last = tokio::time::timeout(Duration::from_secs(3 * 86_400), raw.element()).await.unwrap().unwrap();
    assert_eq!(StreamError::from_element(&last).condition, StreamCondition::Reset);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_a_certificate_unless_somebody_vouches_for_clients() {
    let (mut world, authority) = world().await;
    let asked = |world: &mut World| {
        let node = world.server(DOMAIN).unwrap();
        let acceptor = node.tls.acceptor(crate::net::tls::Incoming::ClientDirect, None);
        format!("{:?}", acceptor.config()).contains("AnyCertificate")
    };
    assert!(asked(&mut world));
    world.reconfigure(DOMAIN, &Options::default()).unwrap();
    assert!(!asked(&mut world));
    let (_raw, mechanisms) = with(&mut world, certificate(&authority, &[ROMEO])).await;
    assert!(!mechanisms.contains("EXTERNAL"));
}

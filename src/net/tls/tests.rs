//! Real handshakes in memory.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::mint::{Authority, Minted, Name, Wish, self_signed};
use super::names::Service;
use super::verifier::AnyCertificate;
use super::*;
use crate::net::{TlsVersion, Transport};

fn authority() -> Authority {
    Authority::root("authority")
}

fn one(ca: &Authority, name: &'static str) -> Minted {
    ca.mint(&Wish::names(&[Name::Dns(name)]))
}

/// A client that is not ours: any versions and protocols, no certificate.
fn client(versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> ClientConfig {
    let provider = provider();
    let verifier = AnyCertificate::new(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

async fn shake(
    acceptor: Acceptor,
    config: impl Into<Arc<ClientConfig>>,
    name: &str,
) -> (io::Result<Transport>, io::Result<Transport>) {
    let (near, far) = duplex(1 << 16);
    tokio::join!(
        Transport::plain(near, None).connect_tls(config.into(), server_name(name).unwrap()),
        acceptor.accept(Transport::plain(far, None)),
    )
}

async fn both(acceptor: Acceptor, config: impl Into<Arc<ClientConfig>>, name: &str) -> (Transport, Transport) {
    let (client, server) = shake(acceptor, config, name).await;
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn exporter_is_the_same_on_both_ends() {
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    let cases = [
        (Incoming::ClientStartTls, &TLS13, TlsVersion::Tls13),
        (Incoming::ServerStartTls, &TLS13, TlsVersion::Tls13),
        (Incoming::ServerStartTls, &TLS12, TlsVersion::Tls12),
    ];
    for (incoming, version, expected) in cases {
        let mut config = client(&[version], &[]);
        config.require_ems = true;
        let (ours, theirs) = both(tls.acceptor(incoming, None), config, "a.test").await;
        let facts = theirs.tls().unwrap();
        assert_eq!(facts.version, expected);
        assert!(facts.cipher.starts_with("TLS"), "{}", facts.cipher);
        assert_eq!(facts.server_name.as_deref(), Some("a.test"));
        assert_eq!(facts.alpn, None);
        let secret = theirs.exporter().unwrap();
        assert_eq!(ours.exporter(), Some(secret));

        let (_, other) = both(tls.acceptor(incoming, None), client(&[version], &[]), "a.test").await;
        assert_ne!(other.exporter(), Some(secret));
    }
}

#[tokio::test]
async fn no_exporter_in_tls_1_2_without_the_certainty_of_the_extended_master_secret() {
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    let (ours, theirs) = both(tls.acceptor(Incoming::ServerStartTls, None), client(&[&TLS12], &[]), "a.test").await;
    assert!(theirs.exporter().is_some());
    assert_eq!(ours.exporter(), None);
    assert!(tls.acceptor(Incoming::ServerDirect, None).config().require_ems);
}

#[tokio::test]
async fn clients_have_only_the_other_channel_binding_in_tls_1_2() {
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    let mut config = client(&[&TLS12], &[]);
    config.require_ems = true;
    let (_, theirs) = both(tls.acceptor(Incoming::ClientStartTls, None), config, "a.test").await;
    let facts = theirs.tls().unwrap();
    assert_eq!((facts.version, facts.server_name.as_deref()), (TlsVersion::Tls12, Some("a.test")));
    assert_eq!(theirs.exporter(), None);
    assert!(theirs.server_end_point().is_some());
}

// Proves: XEP-0368 §3
#[tokio::test]
async fn our_own_ends_agree_on_tls_1_3() {
    let identities = Arc::new(Identities::new(one(&authority(), "a.test").identity()));
    let (ours, _) = both(
        ServerTls::new(Arc::clone(&identities)).unwrap().acceptor(Incoming::ServerDirect, None),
        ClientTls::new(identities).unwrap().config("a.test", Outgoing::Direct, ClientCertificate::Shown),
        "a.test",
    )
    .await;
    let facts = ours.tls().unwrap();
    assert_eq!((facts.version, facts.alpn.as_deref()), (TlsVersion::Tls13, Some(&b"xmpp-server"[..])));
}

// Proves: RFC 6120 §5.4.3.1, RFC 7590 §3.5
#[tokio::test]
async fn certificate_follows_the_asked_name() {
    let ca = authority();
    let (a, b, c) = (one(&ca, "a.test"), one(&ca, "b.test"), one(&ca, "*.c.test"));
    let identities = Identities::new(a.identity()).with("b.test", b.identity()).with("bücher.test", c.identity());
    let tls = ServerTls::new(Arc::new(identities)).unwrap();
    let cases = [
        ("a.test", None, &a),
        ("b.test", None, &b),
        ("B.TEST", None, &b),
        ("b.test", Some("a.test"), &b),
        ("xn--bcher-kva.test", None, &c),
        ("bücher.test", None, &c),
        // Not configured, but there is a certificate with the name.
        ("im.c.test", None, &c),
        ("nobody.test", None, &a),
        // A host of the operator's: the stream header decides.
        ("im.c.test", Some("b.test"), &b),
        ("nobody.test", Some("b.test"), &b),
        ("nobody.test", Some("nobody.test"), &a),
        // An address is never sent by SNI.
        ("192.0.2.1", None, &a),
        ("192.0.2.1", Some("b.test"), &b),
    ];
    for (name, to, expected) in cases {
        for incoming in [Incoming::ClientStartTls, Incoming::ServerStartTls] {
            let (ours, theirs) = both(tls.acceptor(incoming, to), client(&[&TLS13], &[]), name).await;
            assert_eq!(ours.peer_certificates(), expected.chain, "{name} {to:?}");
            // The channel binding is that of the certificate that was shown.
            assert_eq!(theirs.server_end_point(), end_point_hash(&expected.chain[0]).as_deref(), "{name} {to:?}");
            assert!(theirs.server_end_point().is_some());
        }
    }
}

// Proves: RFC 7590 §3.3
#[tokio::test]
async fn certificates_are_replaced_under_open_streams() {
    let ca = authority();
    let (old, new) = (one(&ca, "a.test"), one(&ca, "a.test"));
    let tls = ServerTls::new(Arc::new(Identities::new(old.identity()))).unwrap();
    let config = Arc::new({
        let mut config = client(&[&TLS13, &TLS12], &[]);
        config.resumption = Resumption::in_memory_sessions(8);
        config
    });
    let waiting = tls.acceptor(Incoming::ClientStartTls, None);
    let (mut ours, mut theirs) = both(tls.acceptor(Incoming::ClientStartTls, None), config.clone(), "a.test").await;
    theirs.write_all(b"tickets come with this").await.unwrap();
    ours.drain(&mut Vec::new()).await.unwrap();

    tls.replace(ServerTls::new(Arc::new(Identities::new(new.identity()))).unwrap());
    let (fresh, fresh_there) = both(tls.acceptor(Incoming::ClientStartTls, None), config.clone(), "a.test").await;
    assert_eq!(fresh.peer_certificates(), new.chain);
    assert_eq!(fresh_there.server_end_point(), end_point_hash(&new.chain[0]).as_deref());
    // The open stream goes on, and so does one that was just beginning.
    ours.write_all(b"still here").await.unwrap();
    let mut all = Vec::new();
    theirs.drain(&mut all).await.unwrap();
    assert_eq!(all, b"still here");
    let (late, late_there) = both(waiting, client(&[&TLS13], &[]), "a.test").await;
    assert_eq!(late.peer_certificates(), old.chain);
    assert_eq!(late_there.server_end_point(), end_point_hash(&old.chain[0]).as_deref());
}

// Proves: XEP-0388 §3
#[test]
fn early_data_is_not_taken() {
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    for incoming in [Incoming::ClientStartTls, Incoming::ClientDirect, Incoming::ServerStartTls, Incoming::ServerDirect]
    {
        assert_eq!(tls.acceptor(incoming, None).config().max_early_data_size, 0, "{incoming:?}");
    }
}

#[tokio::test]
async fn a_resumed_session_has_its_own_exporter_and_the_right_end_point() {
    let minted = one(&authority(), "a.test");
    let tls = ServerTls::new(Arc::new(Identities::new(minted.identity()))).unwrap();
    let config = Arc::new({
        let mut config = client(&[&TLS13], &[]);
        config.resumption = Resumption::in_memory_sessions(8);
        config
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (mut ours, mut theirs) = both(tls.acceptor(Incoming::ClientDirect, None), config.clone(), "a.test").await;
        theirs.write_all(b"x").await.unwrap();
        ours.drain(&mut Vec::new()).await.unwrap();
        assert_eq!(ours.exporter(), theirs.exporter());
        assert_eq!(theirs.server_end_point(), end_point_hash(&minted.chain[0]).as_deref());
        assert!(!seen.contains(&theirs.exporter()));
        seen.push(theirs.exporter());
    }
}

// Proves: XEP-0368 §3
#[tokio::test]
async fn application_protocols() {
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    let refused = Some("refused");
    let cases: [(Incoming, &[&str], Option<&str>); 9] = [
        (Incoming::ClientDirect, &["xmpp-client"], Some("xmpp-client")),
        (Incoming::ClientDirect, &["h2", "xmpp-client"], Some("xmpp-client")),
        (Incoming::ClientDirect, &[], None),
        (Incoming::ClientDirect, &["xmpp-server"], refused),
        (Incoming::ClientDirect, &["http/1.1"], refused),
        (Incoming::ServerDirect, &["xmpp-server"], Some("xmpp-server")),
        (Incoming::ServerDirect, &["xmpp-client"], refused),
        (Incoming::ClientStartTls, &["xmpp-client"], None),
        (Incoming::ServerStartTls, &["h2"], None),
    ];
    for (incoming, offered, expected) in cases {
        let (_, server) = shake(tls.acceptor(incoming, None), client(&[&TLS13, &TLS12], offered), "a.test").await;
        let agreed = match &server {
            Ok(server) => server.tls().unwrap().alpn.map(|name| String::from_utf8(name).unwrap()),
            Err(_) => refused.map(str::to_owned),
        };
        assert_eq!(agreed.as_deref(), expected, "{incoming:?} {offered:?}");
    }
}

#[tokio::test]
async fn certificates_of_clients_are_not_asked_for_and_those_of_servers_are() {
    let ca = authority();
    let (a, b) = (one(&ca, "a.test"), one(&ca, "b.test"));
    let tls = ServerTls::new(Arc::new(Identities::new(a.identity()))).unwrap();
    let out = ClientTls::new(Arc::new(Identities::new(a.identity()).with("b.test", b.identity()))).unwrap();
    let show = |local, certificate| out.config(local, Outgoing::StartTls, certificate);
    let cases = [
        (Incoming::ClientStartTls, "b.test", ClientCertificate::Shown, None),
        (Incoming::ServerStartTls, "b.test", ClientCertificate::Shown, Some(&b)),
        (Incoming::ServerStartTls, "a.test", ClientCertificate::Shown, Some(&a)),
        (Incoming::ServerStartTls, "b.test", ClientCertificate::Withheld, None),
        (Incoming::ServerDirect, "b.test", ClientCertificate::Withheld, None),
    ];
    for (incoming, local, certificate, expected) in cases {
        let (ours, theirs) = both(tls.acceptor(incoming, None), show(local, certificate), "a.test").await;
        assert_eq!(ours.peer_certificates(), a.chain);
        let seen = theirs.peer_certificates();
        assert_eq!(
            seen,
            expected.map(|minted| minted.chain.clone()).unwrap_or_default(),
            "{incoming:?} {certificate:?}"
        );
    }
    let c = one(&ca, "b.test");
    out.replace(ClientTls::new(Arc::new(Identities::new(c.identity()))).unwrap());
    let config = out.config("b.test", Outgoing::StartTls, ClientCertificate::Shown);
    let (_, theirs) = both(tls.acceptor(Incoming::ServerStartTls, None), config, "a.test").await;
    assert_eq!(theirs.peer_certificates(), c.chain);
}

/// Shows what our own checks would not let through.
#[derive(Debug)]
struct Odd(Arc<CertifiedKey>);

impl ResolvesServerCert for Odd {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Odd {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn odd_server(key: &Arc<CertifiedKey>, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(Odd(Arc::clone(key)))))
}

fn odd_client(key: &Arc<CertifiedKey>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = provider();
    let verifier = AnyCertificate::new(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Arc::new(config.with_client_cert_resolver(Arc::new(Odd(Arc::clone(key)))))
}

/// Both directions of one handshake with an odd certificate: what we see as client and as server.
async fn odd(
    key: &Arc<CertifiedKey>,
    version: &'static SupportedProtocolVersion,
) -> (io::Result<Vec<CertificateDer<'static>>>, io::Result<Vec<CertificateDer<'static>>>) {
    let identities = Arc::new(Identities::new(one(&authority(), "a.test").identity()));
    let out = ClientTls::new(Arc::clone(&identities)).unwrap();
    let out = out.config("a.test", Outgoing::StartTls, ClientCertificate::Shown);
    let (near, far) = duplex(1 << 16);
    let (as_client, _) = tokio::join!(
        Transport::plain(near, None).connect_tls(out, server_name("b.test").unwrap()),
        Transport::plain(far, None).accept_tls(odd_server(key, version)),
    );
    let acceptor = ServerTls::new(identities).unwrap().acceptor(Incoming::ServerStartTls, None);
    let (_, as_server) = shake(acceptor, odd_client(key, version), "a.test").await;
    (as_client.map(|seen| seen.peer_certificates()), as_server.map(|seen| seen.peer_certificates()))
}

#[tokio::test]
async fn odd_certificates_pass_the_handshake() {
    let ca = authority();
    let dns = || Wish::names(&[Name::Dns("b.test")]);
    let curve = |algorithm| Wish { algorithm, ..dns() };
    let certificates = [
        self_signed(&dns()),
        self_signed(&Wish { authority: true, ..dns() }),
        ca.mint(&Wish { years: (2000, 2001), ..dns() }),
        ca.mint(&dns()).version_1(),
        ca.mint(&curve(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ca.mint(&curve(&rcgen::PKCS_ED25519)),
        ca.mint(&curve(&rcgen::PKCS_RSA_SHA256)),
    ];
    for (at, minted) in certificates.iter().enumerate() {
        for version in [&TLS13, &TLS12] {
            let (as_client, as_server) = odd(&minted.unchecked(), version).await;
            assert_eq!(as_client.unwrap(), minted.chain, "{at} {version:?}");
            assert_eq!(as_server.unwrap(), minted.chain, "{at} {version:?}");
        }
    }
}

#[tokio::test]
async fn the_key_must_be_that_of_the_certificate() {
    let ca = authority();
    let stolen = Minted { chain: one(&ca, "b.test").chain, key: one(&ca, "b.test").key };
    let rubbish = Minted { chain: vec![b"rubbish".to_vec().into()], key: one(&ca, "b.test").key };
    for version in [&TLS13, &TLS12] {
        for minted in [&stolen, &rubbish] {
            let (as_client, as_server) = odd(&minted.unchecked(), version).await;
            assert!(as_client.is_err());
            assert!(as_server.is_err());
        }
    }
}

#[tokio::test]
async fn a_refused_client_certificate_is_recognised() {
    let ca = authority();
    let provider = provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(Authority::root("nobody else").certificate).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    for version in [&TLS13, &TLS12] {
        let strict = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
        let strict = strict
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(Arc::new(Odd(one(&ca, "b.test").unchecked())));
        let strict = Arc::new(strict);
        let ours = ClientTls::new(Arc::new(Identities::new(one(&ca, "a.test").identity()))).unwrap();
        for certificate in [ClientCertificate::Shown, ClientCertificate::Withheld] {
            let (near, far) = duplex(1 << 16);
            let config = ours.config("a.test", Outgoing::StartTls, certificate);
            let (near, far) = tokio::join!(
                Transport::plain(near, None).connect_tls(config, server_name("b.test").unwrap()),
                Transport::plain(far, None).accept_tls(strict.clone()),
            );
            assert_eq!(far.is_ok(), certificate == ClientCertificate::Withheld);
            if certificate == ClientCertificate::Shown {
                let error = match near {
                    Ok(mut near) => near.drain(&mut Vec::new()).await.unwrap_err(),
                    Err(error) => error,
                };
                assert!(crate::net::transport::client_certificate_refused(&error), "{error}");
            }
        }
    }
    assert!(!crate::net::transport::client_certificate_refused(&io::ErrorKind::ConnectionReset.into()));
}

#[test]
fn files() {
    let folder = std::env::temp_dir().join(format!("comity-identity-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca = development::DevelopmentCa::generate().unwrap();
    let (one, two) = (ca.issue(&["a.test"]).unwrap(), ca.issue(&["a.test"]).unwrap());
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let chain = file("chain.pem", &(one.chain_pem.clone() + &ca.pem()));
    let key = file("key.pem", &one.key_pem);
    let identity = Identity::load(&chain, &key).unwrap();
    assert_eq!(identity.certified_key().cert.len(), 2);
    assert!(identity.covers("A.test", Service::Server) && !identity.covers("b.test", Service::Server));
    let together = file("together.pem", &(one.chain_pem.clone() + &one.key_pem));
    assert!(Identity::load(&together, &together).is_ok());

    let wrong_key = file("wrong-key.pem", &two.key_pem);
    let empty = file("empty.pem", "");
    let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let no_certificate = file("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let marker = "ENCRYPTED PRIVATE KEY";
    let encrypted = file("encrypted.pem", &format!("-----BEGIN {marker}-----\nAAAA\n-----END {marker}-----\n"));
    let no_key = file("rubbish-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let wrong_order = file("wrong-order.pem", &(ca.pem() + &one.chain_pem));
    let missing = folder.join("missing.pem");
    let cases = [
        (&chain, &wrong_key, "wrong-key.pem", "does not belong"),
        (&wrong_order, &key, "key.pem", "comes first"),
        (&empty, &key, "empty.pem", "no certificate"),
        (&chain, &empty, "empty.pem", "no private key"),
        (&chain, &chain, "chain.pem", "no private key"),
        (&broken, &key, "broken.pem", "PEM"),
        (&no_certificate, &key, "rubbish.pem", "certificate"),
        (&chain, &no_key, "rubbish-key.pem", "private key"),
        (&chain, &encrypted, "encrypted.pem", "passphrase"),
        (&missing, &key, "missing.pem", "cannot be read"),
        (&chain, &missing, "missing.pem", "cannot be read"),
    ];
    for (chain, key, name, reason) in cases {
        let text = Identity::load(chain, key).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains(reason), "{text}");
        assert!(!text.contains("AAAA"), "{text}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn dates() {
    // 2020-01-01 to 2040-01-01.
    let identity = one(&authority(), "a.test").identity();
    let at = |days: i64| identity.date_warning(UNIX_EPOCH + Duration::from_secs((18_262 + days) as u64 * 86_400));
    assert_eq!(at(-1), Some(DateWarning::NotYetValid));
    assert_eq!(at(0), None);
    assert_eq!(at(7305 - 15), None);
    assert_eq!(at(7305 - 13), Some(DateWarning::EndsInDays(13)));
    assert_eq!(at(7306), Some(DateWarning::Expired));
    assert_eq!(identity.not_after(), UNIX_EPOCH + Duration::from_secs((18_262 + 7305) * 86_400));
}

#[test]
fn end_point_hashes() {
    let ca = authority();
    let length = |algorithm| {
        let minted = self_signed(&Wish { algorithm, ..Wish::names(&[Name::Dns("a.test")]) });
        end_point_hash(&minted.chain[0]).map(|hash| hash.len())
    };
    assert_eq!(length(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
    assert_eq!(length(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
    assert_eq!(length(&rcgen::PKCS_RSA_SHA256), Some(32));
    assert_eq!(length(&rcgen::PKCS_RSA_SHA384), Some(48));
    assert_eq!(length(&rcgen::PKCS_RSA_SHA512), Some(64));
    assert_eq!(length(&rcgen::PKCS_ED25519), None);
    assert_eq!(end_point_hash(b"rubbish"), None);
    let der = one(&ca, "a.test").chain[0].clone();
    let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    assert_eq!(end_point_hash(&der).as_deref(), Some(expected.as_ref()));
}

// Proves: XEP-0368 §3
#[test]
fn names_for_sni() {
    let text = |domain| server_name(domain).map(|name| name.to_str().into_owned());
    assert_eq!(text("Example.org.").as_deref(), Some("example.org"));
    assert_eq!(text("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
    assert_eq!(text("192.0.2.1").as_deref(), Some("192.0.2.1"));
    assert_eq!(text("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
    assert_eq!(text("a b"), None);
    assert_eq!(text(""), None);
}

/// RFC 9325 §4.1, §4.2: an ephemeral key exchange and authenticated encryption.
#[test]
fn every_cipher_suite_has_forward_secrecy_and_authenticated_encryption() {
    for suite in &provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        let ephemeral = suite.version() == &TLS13 || name.starts_with("TLS_ECDHE_");
        assert!(ephemeral && (name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_")), "{name}");
    }
}

/// A client hello of an old or a careless client, byte by byte (RFC 5246 §7.4.1.2).
fn hello(version: u16, cipher: u16, compression: &[u8]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let extensions = [
        // supported_groups: x25519 and secp256r1; signature_algorithms: ecdsa_secp256r1_sha256.
        [&[0, 10][..], &with_length(&with_length(&[0, 29, 0, 23]))].concat(),
        [&[0, 13][..], &with_length(&with_length(&[4, 3]))].concat(),
        // ec_point_formats: uncompressed; extended_master_secret.
        vec![0, 11, 0, 2, 1, 0],
        vec![0, 23, 0, 0],
    ]
    .concat();
    let compressions = [&[u8::try_from(compression.len()).unwrap()], compression].concat();
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &with_length(&cipher.to_be_bytes()),
        &compressions,
        &with_length(&extensions),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

// Proves: RFC 7590 §3
#[tokio::test]
async fn old_versions_weak_ciphers_and_compression_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let (tls11, tls12) = (0x0302, 0x0303);
    let (ecdhe_gcm, ecdhe_cbc, rsa_gcm, ecdh_anonymous, null) = (0xC02B, 0xC009, 0x009C, 0xC018, 0x0002);
    let cases = [
        (hello(tls12, ecdhe_gcm, &[0]), HANDSHAKE),
        (hello(tls12, ecdhe_gcm, &[1, 0]), HANDSHAKE),
        (hello(tls12, ecdhe_gcm, &[1]), ALERT),
        (hello(tls11, ecdhe_gcm, &[0]), ALERT),
        (hello(tls12, ecdhe_cbc, &[0]), ALERT),
        (hello(tls12, rsa_gcm, &[0]), ALERT),
        (hello(tls12, ecdh_anonymous, &[0]), ALERT),
        (hello(tls12, null, &[0]), ALERT),
    ];
    let tls = ServerTls::new(Arc::new(Identities::new(one(&authority(), "a.test").identity()))).unwrap();
    for (hello, answer) in cases {
        for incoming in [Incoming::ClientStartTls, Incoming::ServerDirect] {
            let (mut near, far) = duplex(1 << 16);
            let serving = tokio::spawn(tls.acceptor(incoming, None).accept(Transport::plain(far, None)));
            near.write_all(&hello).await.unwrap();
            let mut record = [0; 5];
            near.read_exact(&mut record).await.unwrap();
            assert_eq!(record[0], answer, "{hello:02x?}");
            if answer == HANDSHAKE {
                let mut server_hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
                near.read_exact(&mut server_hello).await.unwrap();
                // Behind version, random, session id and cipher suite: no compression.
                let session = usize::from(server_hello[4 + 2 + 32]);
                assert_eq!(server_hello[4 + 2 + 32 + 1 + session + 2], 0);
                drop(near);
            }
            assert!(serving.await.unwrap().is_err());
        }
    }
}

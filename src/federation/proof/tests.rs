//! The table of certificates, each shown in a real handshake by the server and by the client.

mod dane;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::net::Transport;
use crate::net::tls::mint::{Authority, Minted, Name, Wish, self_signed};
use crate::net::tls::{ClientCertificate, ClientTls, Identities, Incoming, Outgoing, ServerTls, server_name};

const DOMAIN: &str = "im.example.org";

/// The middle of 2030.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_909_000_000)
}

fn trusting(authority: &Authority) -> Trust {
    let mut trust = Trust::nobody();
    trust.add(&authority.certificate).unwrap();
    trust
}

fn grounds<'a>(trust: &'a Trust, pins: &'a Pins, endpoints: &'a [Endpoint]) -> Grounds<'a> {
    Grounds { now: now(), trust, pins, endpoints, accepted: &[Kind::Pkix, Kind::Dane, Kind::Pin, Kind::Dialback] }
}

/// What a server proves with authorities alone.
fn by_authority(chain: &[CertificateDer<'_>], domain: &str, trust: &Trust) -> Result<Proof, Reason> {
    let pins = Pins::default();
    prove(Shown { chain, role: Role::Server }, domain, &grounds(trust, &pins, &[]))
}

/// The name by which an authority vouches, and until when.
fn pkix(proof: &Proof) -> (&Presented, SystemTime) {
    assert_eq!((proof.kind(), proof.strength()), (Kind::Pkix, Strength::Authority));
    match proof.evidence() {
        Evidence::Pkix { name, until, .. } => (name, *until),
        other => panic!("{other:?}"),
    }
}

/// Shows `ours` on both sides of a handshake and returns what the client and what the server saw.
async fn shown(ours: &Minted) -> (Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>) {
    let identities = Arc::new(Identities::new(ours.identity()));
    let server = ServerTls::new(Arc::clone(&identities)).unwrap();
    let client = ClientTls::new(identities).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = client.config(DOMAIN, Outgoing::StartTls, ClientCertificate::Shown);
    let (client, server) = tokio::join!(
        Transport::plain(near, None).connect_tls(config, server_name(DOMAIN).unwrap()),
        server.acceptor(Incoming::ServerStartTls, None).accept(Transport::plain(far, None)),
    );
    (client.unwrap().peer_certificates(), server.unwrap().peer_certificates())
}

struct Case {
    what: &'static str,
    domain: &'static str,
    minted: Minted,
    /// As server, as client.
    expected: [Expected; 2],
}

#[derive(Clone)]
enum Expected {
    By(Presented),
    Not(fn(&Reason) -> bool),
}

use Expected::{By, Not};

fn both(result: Expected) -> [Expected; 2] {
    [result.clone(), result]
}

fn mismatch(reason: &Reason) -> bool {
    matches!(reason, Reason::NameMismatch { .. })
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn cases(ca: &Authority) -> Vec<Case> {
    let case = |what, names: &[Name], expected| Case {
        what,
        domain: DOMAIN,
        minted: ca.mint(&Wish::names(names)),
        expected: both(expected),
    };
    let wish = |what, wish: Wish, expected| Case { what, domain: DOMAIN, minted: ca.mint(&wish), expected };
    let exact = || Wish::names(&[Name::Dns(DOMAIN)]);
    let dns = |name: &str| By(Presented::Dns(name.to_owned()));
    let stranger = Authority::root("stranger");
    let between = ca.below("between", 2035, None);
    let limited = ca.below("limited", 2035, Some("example.net"));
    let idn = "bücher.example";
    let mut strangers_own = stranger.mint(&exact());
    strangers_own.chain.push(stranger.certificate.clone());
    let mut unaccompanied = between.mint(&exact());
    unaccompanied.chain.truncate(1);
    vec![
        case("exact DNS", &[Name::Dns(DOMAIN)], dns(DOMAIN)),
        case("wildcard", &[Name::Dns("*.example.org")], dns("*.example.org")),
        case("wildcard two levels up", &[Name::Dns("*.org")], Not(mismatch)),
        case("two wildcards", &[Name::Dns("*.*.org")], Not(mismatch)),
        case(
            "SRV-ID server",
            &[Name::Srv("_xmpp-server.im.example.org")],
            By(Presented::Srv("_xmpp-server.im.example.org".into())),
        ),
        case("SRV-ID client only", &[Name::Srv("_xmpp-client.im.example.org")], Not(mismatch)),
        case("XmppAddr only", &[Name::Xmpp(DOMAIN)], By(Presented::XmppAddr(DOMAIN.into()))),
        case("XmppAddr of a user", &[Name::Xmpp("juliet@im.example.org")], Not(mismatch)),
        case("another DNS first", &[Name::Dns("www.example.org"), Name::Dns(DOMAIN)], dns(DOMAIN)),
        case("NUL in the name", &[Name::Dns("im.example.org\0.evil.test")], Not(mismatch)),
        case("somebody else's", &[Name::Dns("evil.test")], Not(mismatch)),
        wish("CN only", Wish { common_name: Some(DOMAIN), ..Wish::names(&[]) }, both(Not(mismatch))),
        wish(
            "CN beside another DNS",
            Wish { common_name: Some(DOMAIN), ..Wish::names(&[Name::Dns("evil.test")]) },
            both(Not(mismatch)),
        ),
        Case {
            domain: idn,
            ..case("IDN A-label", &[Name::Dns("xn--bcher-kva.example")], dns("xn--bcher-kva.example"))
        },
        Case {
            domain: idn,
            ..case("IDN U-label in XmppAddr", &[Name::Xmpp(idn)], By(Presented::XmppAddr(idn.into())))
        },
        Case { domain: idn, ..case("IDN U-label in DNS", &[Name::Dns(idn)], Not(mismatch)) },
        wish("expired", Wish { years: (2020, 2025), ..exact() }, both(Not(|why| matches!(why, Reason::Expired(_))))),
        wish(
            "not yet valid",
            Wish { years: (2035, 2040), ..exact() },
            both(Not(|why| matches!(why, Reason::NotYetValid(_)))),
        ),
        Case {
            minted: stranger.mint(&exact()),
            ..case("unknown authority", &[], Not(|why| *why == Reason::UnknownIssuer("CN=stranger".to_owned())))
        },
        Case {
            minted: strangers_own,
            ..case(
                "unknown authority, sent",
                &[],
                Not(|why| *why == Reason::UnknownAuthority("CN=stranger".to_owned())),
            )
        },
        Case {
            minted: unaccompanied,
            ..case("missing intermediate", &[], Not(|why| *why == Reason::UnknownIssuer("CN=between".to_owned())))
        },
        Case { minted: self_signed(&exact()), ..case("self-signed", &[], Not(|why| *why == Reason::SelfSigned)) },
        Case {
            minted: self_signed(&Wish { authority: true, ..exact() }),
            ..case("self-signed with cA=TRUE", &[], Not(|why| *why == Reason::SelfSignedAuthority))
        },
        wish("cA=TRUE", Wish { authority: true, ..exact() }, both(Not(|why| *why == Reason::AuthorityAsPeer))),
        wish("empty subject", Wish { common_name: None, ..exact() }, both(dns(DOMAIN))),
        wish(
            "serverAuth only",
            Wish { usages: vec![ExtendedKeyUsagePurpose::ServerAuth], ..exact() },
            both(dns(DOMAIN)),
        ),
        wish(
            "clientAuth only",
            Wish { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..exact() },
            [Not(|why| *why == Reason::WrongUsage), dns(DOMAIN)],
        ),
        wish(
            "for signing code",
            Wish { usages: vec![ExtendedKeyUsagePurpose::CodeSigning], ..exact() },
            both(Not(|why| *why == Reason::WrongUsage)),
        ),
        Case { minted: between.mint(&exact()), ..case("through an intermediate", &[], dns(DOMAIN)) },
        Case {
            minted: limited.mint(&exact()),
            ..case("outside the names of its authority", &[], Not(|why| *why == Reason::Constrained))
        },
        Case {
            minted: limited.mint(&Wish::names(&[Name::Dns("a.example.net"), Name::Srv("_xmpp-server.im.example.org")])),
            ..case("SRV-ID around the names of its authority", &[], Not(mismatch))
        },
    ]
}

// Proves: RFC 6120 §13.7.1.2.1, §13.7.1.4, §13.7.2
#[tokio::test]
async fn table() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    for Case { what, domain, minted, expected } in cases(&ca) {
        let (as_server, as_client) = shown(&minted).await;
        assert_eq!(as_server, minted.chain, "{what}");
        assert_eq!(as_client, minted.chain, "{what}");
        let pins = Pins::default();
        for ((chain, role), expected) in [(as_server, Role::Server), (as_client, Role::Client)].iter().zip(&expected) {
            let proof = prove(Shown { chain, role: *role }, domain, &grounds(&trust, &pins, &[]));
            match (&proof, expected) {
                (Ok(proof), By(expected)) => assert_eq!(pkix(proof).0, expected, "{what}"),
                (Err(reason), Not(expected)) => {
                    assert!(expected(reason), "{what}: {reason}");
                    assert!(!reason.is_contradiction(*role));
                }
                _ => panic!("{what}: {proof:?}"),
            }
        }
    }
}

#[test]
fn without_certificate_or_with_rubbish() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    assert_eq!(by_authority(&[], DOMAIN, &trust), Err(Reason::NoCertificate));
    let rubbish = [CertificateDer::from(b"rubbish".to_vec())];
    assert!(matches!(by_authority(&rubbish, DOMAIN, &trust), Err(Reason::Malformed(_))));
    let good = ca.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    for domain in ["", "*.example.org", "a b", "juliet@im.example.org"] {
        assert_eq!(by_authority(&good.chain, domain, &trust), Err(Reason::UnusableDomain), "{domain}");
    }
    let old = good.version_1();
    assert!(matches!(by_authority(&old.chain, DOMAIN, &trust), Err(Reason::Malformed(_))));
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_certificate_proves_nothing_new() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let good = ca.mint(&Wish::names(&[Name::Dns(DOMAIN), Name::Srv("_xmpp-server.im.example.org")]));
    let der = good.chain[0].to_vec();
    for at in 0..der.len() {
        let cut = [CertificateDer::from(der[..at].to_vec())];
        assert!(by_authority(&cut, DOMAIN, &trust).is_err());
        let mut flipped = der.clone();
        flipped[at] ^= 0x21;
        let flipped = [CertificateDer::from(flipped)];
        assert!(by_authority(&flipped, DOMAIN, &trust).is_err(), "byte {at}");
    }
}

#[test]
fn ends_with_the_first_certificate_of_the_path() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let wish = Wish::names(&[Name::Dns(DOMAIN)]);
    let year = |minted: &Minted| {
        let proof = by_authority(&minted.chain, DOMAIN, &trust).unwrap();
        assert_eq!(proof.until(), Some(pkix(&proof).1));
        1970 + pkix(&proof).1.duration_since(UNIX_EPOCH).unwrap().as_secs() / 31_556_952
    };
    assert_eq!(year(&ca.mint(&wish)), 2040);
    assert_eq!(year(&ca.below("between", 2035, None).mint(&wish)), 2035);
}

#[test]
fn says_it_in_plain_words() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let text = |wish: Wish| match by_authority(&ca.mint(&wish).chain, DOMAIN, &trust) {
        Ok(proof) => proof.to_string(),
        Err(reason) => reason.to_string(),
    };
    assert_eq!(
        text(Wish::names(&[Name::Dns("evil.test"), Name::Xmpp("böse.test")])),
        "the certificate is not for im.example.org, but for DNS evil.test, XMPP böse.test"
    );
    assert!(text(Wish { years: (2020, 2025), ..Wish::names(&[Name::Dns(DOMAIN)]) }).contains("Jan  1 00:00:00 2025"));
    assert!(text(Wish::names(&[Name::Dns(DOMAIN)])).starts_with("proven by the certificate for DNS im.example.org"));
    assert!(text(Wish::names(&[])).contains("names no domain"));
    let many = [Name::Dns("a.test"); 11];
    assert!(text(Wish::names(&many)).ends_with("and 3 more"));
}

/// A key is pinned by its hash, and then neither names nor dates nor authorities matter, nor do other proofs.
#[test]
fn a_pinned_key_is_the_only_one() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let theirs = self_signed(&Wish { years: (2020, 2025), ..Wish::names(&[]) });
    let key = Key::of(&theirs.chain[0]).unwrap();
    let pins: Pins = [(DOMAIN.to_owned(), Key([1; 32])), (DOMAIN.to_owned(), key)].into_iter().collect();
    let good = ca.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    let records = [Endpoint { host: "x.example".to_owned(), port: 1, keys: vec![dane::of_key(&good, 3, 1)] }];
    let grounds = grounds(&trust, &pins, &records);
    for role in [Role::Server, Role::Client] {
        let judged = |chain: &[CertificateDer<'_>], domain| prove(Shown { chain, role }, domain, &grounds);
        let proof = judged(&theirs.chain, DOMAIN).unwrap();
        assert_eq!((proof.kind(), proof.strength(), proof.until()), (Kind::Pin, Strength::Key, None));
        assert_eq!(proof.evidence(), &Evidence::Pin(key));
        let reason = judged(&good.chain, DOMAIN).unwrap_err();
        assert_eq!(reason, Reason::PinMismatch { found: Key::of(&good.chain[0]).unwrap() });
        assert!(reason.is_contradiction(role));
        assert_eq!(judged(&[], DOMAIN), Err(Reason::NoCertificate));
        assert!(judged(&theirs.chain, "other.example").is_err(), "the pin is for one domain");
    }
    assert_eq!(key.to_string().len(), "sha256:".len() + 64);
}

#[test]
fn dialback_is_as_strong_as_who_was_asked() {
    let asked = |security, proof: Option<Proof>| {
        Proof::dialback(Asked { server: "192.0.2.1:5269".to_owned(), security, proof: proof.map(Box::new) })
    };
    let until = SystemTime::UNIX_EPOCH;
    let pkix = Proof::from(Evidence::Pkix { name: Presented::Dns(DOMAIN.to_owned()), host: None, until });
    let pin = Proof::from(Evidence::Pin(Key([0; 32])));
    use Security::{Insecure, Secure};
    let strengths = [
        asked(Insecure, None),
        asked(Secure, None),
        asked(Insecure, Some(pkix.clone())),
        asked(Secure, Some(pin.clone())),
        pkix,
        Proof::from(Evidence::Dane { record: dane::record(3, 1, 0, &[1]), host: String::new(), port: 1, until: None }),
        pin,
    ]
    .map(|proof| proof.strength());
    use Strength::{Authority, Key as Own, Signed, Unsigned, Vouched, Zone};
    assert_eq!(strengths, [Unsigned, Signed, Vouched, Vouched, Authority, Zone, Own]);
    assert!(strengths.is_sorted());
    assert_eq!(
        asked(Insecure, None).to_string(),
        "proven by dialback: 192.0.2.1:5269, found by unsigned DNS records, says so, itself not proven"
    );
}

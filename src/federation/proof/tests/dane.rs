//! Records of a signed DNS, held against chains of certificates.

use super::*;

const HOST: &str = "xmpp.hosting.example";

pub(super) fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
    Tlsa { usage, selector, matching, data: data.to_vec() }
}

/// A record about a certificate, or about its key.
fn of(certificate: &CertificateDer<'_>, usage: u8, selector: u8, matching: u8) -> Tlsa {
    use aws_lc_rs::digest::{SHA256, SHA512, digest};
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let selected = if selector == 0 { certificate.as_ref() } else { parsed.public_key().raw };
    let data = match matching {
        0 => selected.to_vec(),
        1 => digest(&SHA256, selected).as_ref().to_vec(),
        _ => digest(&SHA512, selected).as_ref().to_vec(),
    };
    record(usage, selector, matching, &data)
}

pub(super) fn of_key(minted: &Minted, usage: u8, matching: u8) -> Tlsa {
    of(&minted.chain[0], usage, 1, matching)
}

/// What a peer proves of which the DNS says that.
fn judged(minted: &Minted, role: Role, trust: &Trust, keys: &[Tlsa]) -> Result<Proof, Reason> {
    let pins = Pins::default();
    let records = [Endpoint { host: HOST.to_owned(), port: 5269, keys: keys.to_vec() }];
    prove(Shown { chain: &minted.chain, role }, DOMAIN, &grounds(trust, &pins, &records))
}

fn is_dane(judged: &Result<Proof, Reason>, record: &Tlsa) -> bool {
    let Ok(proof) = judged else { return false };
    assert_eq!((proof.kind(), proof.strength()), (Kind::Dane, Strength::Zone));
    matches!(proof.evidence(), Evidence::Dane { record: found, host, port: 5269, .. } if found == record && host == HOST)
}

// Proves: RFC 6698 §2.1.1, §2.1.2, §2.1.3, RFC 7671 §5.1, RFC 7673 §4.2
#[test]
fn rfc_7671_5_1_a_key_of_the_domain_needs_neither_names_nor_dates_nor_authorities() {
    let theirs = self_signed(&Wish { years: (2020, 2025), ..Wish::names(&[Name::Dns("elsewhere.test")]) });
    let other = self_signed(&Wish::names(&[Name::Dns(DOMAIN)]));
    for role in [Role::Server, Role::Client] {
        for selector in 0..2 {
            for matching in 0..3 {
                let fits = of(&theirs.chain[0], 3, selector, matching);
                let proof = judged(&theirs, role, &Trust::nobody(), std::slice::from_ref(&fits));
                assert!(is_dane(&proof, &fits), "{fits}: {proof:?}");
                assert_eq!(proof.unwrap().until(), None);
                let reason = judged(&other, role, &Trust::nobody(), &[fits]).unwrap_err();
                assert!(matches!(reason, Reason::TlsaMismatch { records: 1, .. }), "{reason}");
                assert_eq!(reason.is_contradiction(role), role == Role::Server);
            }
        }
    }
}

// Proves: RFC 7671 §5.2, RFC 6698 §2.1.1
#[test]
fn rfc_7671_5_2_an_authority_of_the_domain_needs_names_and_dates() {
    let root = Authority::root("theirs");
    let between = root.below("between", 2035, None);
    let mint = |wish: &Wish| {
        let mut minted = between.mint(wish);
        minted.chain.push(root.certificate.clone());
        minted
    };
    let good = mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    let hosted = mint(&Wish::names(&[Name::Dns(HOST)]));
    let nobody = Trust::nobody();
    for place in [1, 2] {
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let fits = of(&good.chain[place], 2, selector, matching);
            let keys = std::slice::from_ref(&fits);
            let proof = judged(&good, Role::Server, &nobody, keys);
            assert!(is_dane(&proof, &fits), "{fits}: {proof:?}");
            assert!(proof.unwrap().until().is_some());
            assert!(is_dane(&judged(&hosted, Role::Server, &nobody, keys), &fits));
            for (wish, expected) in [
                (Wish::names(&[Name::Dns("elsewhere.test")]), "is not for"),
                (Wish { years: (2020, 2025), ..Wish::names(&[Name::Dns(DOMAIN)]) }, "expired"),
            ] {
                let reason = judged(&mint(&wish), Role::Server, &nobody, keys).unwrap_err();
                assert!(reason.to_string().contains(expected), "{reason}");
            }
        }
    }
    // The authority is not sent, but it is the record itself (RFC 7671 §5.2.2).
    let mut alone = root.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    alone.chain.truncate(1);
    let whole = of(&root.certificate, 2, 0, 0);
    assert!(is_dane(&judged(&alone, Role::Server, &nobody, std::slice::from_ref(&whole)), &whole));
    assert!(judged(&alone, Role::Server, &nobody, &[of(&root.certificate, 2, 0, 1)]).is_err());
    // Another authority of the same name.
    let impostor = Authority::root("theirs").mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    assert!(judged(&impostor, Role::Server, &nobody, &[whole]).is_err());
}

// Proves: RFC 7671 §5.3, §5.4, RFC 6698 §2.1.1
#[test]
fn rfc_7671_5_3_limits_on_trusted_authorities() {
    let root = Authority::root("trusted");
    let between = root.below("between", 2035, None);
    let trust = trusting(&root);
    let good = between.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    let leaf = of(&good.chain[0], 1, 1, 1);
    assert!(is_dane(&judged(&good, Role::Server, &trust, std::slice::from_ref(&leaf)), &leaf));
    assert!(judged(&good, Role::Server, &Trust::nobody(), std::slice::from_ref(&leaf)).is_err(), "nobody trusts it");
    let strange = between.mint(&Wish::names(&[Name::Dns("elsewhere.test")]));
    let reason = judged(&strange, Role::Server, &trust, &[of(&strange.chain[0], 1, 0, 1)]).unwrap_err();
    assert!(reason.to_string().contains("lacks something else: the certificate is not for"), "{reason}");
    for (selector, matching) in [(0, 1), (1, 2), (0, 0)] {
        let fits = of(&good.chain[1], 0, selector, matching);
        assert!(is_dane(&judged(&good, Role::Server, &trust, std::slice::from_ref(&fits)), &fits), "{fits}");
    }
    // The key of the root is known although it is not sent; the whole certificate only if it is.
    let of_root = of(&root.certificate, 0, 1, 1);
    assert!(is_dane(&judged(&good, Role::Server, &trust, std::slice::from_ref(&of_root)), &of_root));
    let whole = of(&root.certificate, 0, 0, 1);
    assert!(judged(&good, Role::Server, &trust, std::slice::from_ref(&whole)).is_err());
    let mut complete = good;
    complete.chain.push(root.certificate.clone());
    assert!(is_dane(&judged(&complete, Role::Server, &trust, std::slice::from_ref(&whole)), &whole));
    // Another trusted authority than the one that the domain wants.
    let other = Authority::root("other");
    let mut both = trusting(&root);
    both.add(&other.certificate).unwrap();
    assert!(judged(&other.mint(&Wish::names(&[Name::Dns(DOMAIN)])), Role::Server, &both, &[of_root]).is_err());
}

// Proves: RFC 6698 §4.1, RFC 7673 §4.1
#[test]
fn rfc_6698_4_1_records_that_cannot_be_used_are_as_none() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let good = ca.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    let hash = [7; 32];
    for unusable in [
        record(4, 1, 1, &hash),
        record(255, 1, 1, &hash),
        record(3, 2, 1, &hash),
        record(3, 1, 3, &hash),
        record(3, 1, 1, &hash[1..]),
        record(3, 1, 2, &hash),
        record(3, 1, 0, &[]),
    ] {
        let proof = judged(&good, Role::Server, &trust, std::slice::from_ref(&unusable)).unwrap();
        assert_eq!(proof.kind(), Kind::Pkix, "{unusable}");
        let fits = of_key(&good, 3, 1);
        assert!(is_dane(&judged(&good, Role::Server, &trust, &[unusable, fits.clone()]), &fits));
    }
}

// Proves: RFC 7671 §9
#[test]
fn rfc_7671_9_only_the_strongest_hash_counts() {
    let theirs = self_signed(&Wish::names(&[]));
    let (weak, strong) = (of_key(&theirs, 3, 1), of_key(&theirs, 3, 2));
    let wrong = record(3, 1, 2, &[9; 64]);
    let nobody = Trust::nobody();
    assert!(is_dane(&judged(&theirs, Role::Server, &nobody, &[weak.clone(), strong.clone()]), &strong));
    assert!(judged(&theirs, Role::Server, &nobody, &[weak, wrong.clone()]).is_err());
    // Not so for another selector, nor for what is no hash.
    let whole = of(&theirs.chain[0], 3, 0, 1);
    assert!(is_dane(&judged(&theirs, Role::Server, &nobody, &[wrong.clone(), whole.clone()]), &whole));
    let full = of_key(&theirs, 3, 0);
    assert!(is_dane(&judged(&theirs, Role::Server, &nobody, &[wrong, full.clone()]), &full));
}

// Proves: RFC 7673 §4.2
#[test]
fn a_server_with_records_has_no_other_proof_and_a_client_has() {
    let ca = Authority::root("trusted");
    let trust = trusting(&ca);
    let good = ca.mint(&Wish::names(&[Name::Dns(DOMAIN)]));
    let other = [of_key(&self_signed(&Wish::names(&[])), 3, 1)];
    assert!(judged(&good, Role::Server, &trust, &other).is_err());
    // RFC 7712: it may be another machine than those that others connect to.
    assert_eq!(judged(&good, Role::Client, &trust, &other).unwrap().kind(), Kind::Pkix);
    // One that has neither hears of both.
    let reason = judged(&good, Role::Client, &Trust::nobody(), &other).unwrap_err();
    assert!(matches!(&reason, Reason::TlsaMismatch { names, .. } if names == &["_5269._tcp.xmpp.hosting.example"]));
    let mut silent = good;
    silent.chain.clear();
    assert_eq!(judged(&silent, Role::Client, &trust, &other), Err(Reason::NoCertificate));
}

// Proves: RFC 7673 §4.1
#[test]
fn rfc_7673_4_1_the_host_counts_where_signed_records_lead_to_it() {
    let ca = Authority::root("trusted");
    let (trust, pins) = (trusting(&ca), Pins::default());
    let leads = [Endpoint { host: HOST.to_owned(), port: 5269, keys: Vec::new() }];
    for (names, expected) in [
        (Name::Dns(HOST), true),
        (Name::Dns("*.hosting.example"), true),
        (Name::Srv("_xmpp-server.xmpp.hosting.example"), false),
        (Name::Xmpp(HOST), false),
        (Name::Dns("hosting.example"), false),
    ] {
        let minted = ca.mint(&Wish::names(&[names]));
        let shown = Shown { chain: &minted.chain, role: Role::Server };
        let proof = prove(shown, DOMAIN, &grounds(&trust, &pins, &leads));
        assert_eq!(proof.is_ok(), expected, "{proof:?}");
        assert!(prove(shown, DOMAIN, &grounds(&trust, &pins, &[])).is_err(), "nothing signed leads there");
    }
}

//! The exchanges of the RFCs, and every way in which a message can be wrong.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::channel_binding::{BindingType, Bindings};
use super::downgrade::Shown;
use super::external::{authorize, authorize_client};
use super::plain::Plain;
use super::scram::{Challenged, ClientFirst, Nonce};
use super::scram_client::{ClientBinding, ScramClient, ServerMisbehaved};
use super::{Mechanism, SASL_NS, SaslCondition, SaslError, Variant};
use crate::accounts::credentials::{Credentials, Decoy, Iterations, Password, Salts, ScramHash, ScramKeys, Verdict};
use crate::jid::BareJid;
use crate::net::TlsVersion;
use crate::xml::Element;

const DOMAIN: &str = "example.org";

fn pencil() -> Password {
    Password::prepare("pencil").unwrap()
}

fn credentials() -> Credentials {
    let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
    Credentials::derive(&pencil(), &salts, Iterations::new(4096).unwrap())
}

fn both() -> Bindings {
    Bindings { exporter: Some([5; 32].into()), end_point: Some(vec![6; 48]) }
}

fn first(variant: Variant, bindings: &Bindings, message: &str) -> Result<ClientFirst, SaslError> {
    ClientFirst::parse((ScramHash::Sha256, variant), bindings, DOMAIN, message.as_bytes())
}

fn vector(hash: ScramHash, salt: &str, messages: [&str; 4], server_nonce: &str) {
    let salt = STANDARD.decode(salt).unwrap();
    let keys = ScramKeys::derive(hash, &pencil(), &salt, Iterations::new(4096).unwrap());
    let [client_first, server_first, client_final, server_final] = messages;
    let parsed = ClientFirst::parse((hash, Variant::Bare), &Bindings::NONE, DOMAIN, client_first.as_bytes()).unwrap();
    assert_eq!(parsed.account.as_str(), "user@example.org");
    assert_eq!(parsed.hash(), hash);
    let (challenge, challenged) = parsed.challenge(&keys, &Nonce::literal(server_nonce), "");
    assert_eq!(challenge, server_first);
    assert_eq!(challenged.finish(client_final.as_bytes()).as_deref(), Ok(server_final));

    let nonce = client_first.rsplit_once("r=").unwrap().1;
    let client = ScramClient::new(hash, "user", pencil(), ClientBinding::Unsupported, nonce);
    assert_eq!(client.first(), client_first);
    let (response, expected) = client.respond(server_first.as_bytes()).unwrap();
    assert_eq!(response, client_final);
    assert_eq!(expected.verify(server_final.as_bytes()), Ok(()));
    assert_eq!(expected.verify(b"v=AAAA"), Err(ServerMisbehaved::Signature));
}

// Proves: RFC 5802 §5, RFC 6120 §6.4.3
#[test]
fn the_exchange_of_rfc_5802() {
    vector(
        ScramHash::Sha1,
        "QSXCR+Q6sek8bf92",
        [
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ],
        "3rfcNHYJY1ZVvWVs7j",
    );
}

// Proves: RFC 7677 §3
#[test]
fn the_exchange_of_rfc_7677() {
    vector(
        ScramHash::Sha256,
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        [
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ],
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    );
}

// The RFC has no example for this function: the values come from another implementation (Python's).
#[test]
fn the_same_exchange_with_sha_512() {
    vector(
        ScramHash::Sha512,
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        [
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        ],
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    );
}

/// What the server of the examples has shown.
fn shown(tls: Option<TlsVersion>) -> Shown<'static> {
    // Nobody has to sort them.
    let mechanisms = vec!["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"];
    Shown { mechanisms, bindings: vec!["tls-server-end-point", "tls-exporter"], tls }
}

// Proves: XEP-0474 §6.1, §6.3, XEP-0515 §4.1, §4.3
#[test]
fn the_exchanges_of_xep_0474_and_xep_0515() {
    let salt = STANDARD.decode("QSXCR+Q6sek8bf92").unwrap();
    let keys = ScramKeys::derive(ScramHash::Sha1, &pencil(), &salt, Iterations::new(4096).unwrap());
    let nonce = "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6";
    for (tls, first, proof, last) in [
        (
            None,
            ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
            "x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4=",
            "v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c=",
        ),
        (
            Some(TlsVersion::Tls13),
            ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,t=0304",
            "p=KHUfN8dSy1K95crT4D5y1ItLJfs=",
            "v=3w34ZIMVRkx2f2Ozb3/ecRPVdv4=",
        ),
    ] {
        let message = "p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6";
        let parsed = ClientFirst::parse((ScramHash::Sha1, Variant::Plus), &both(), DOMAIN, message.as_bytes()).unwrap();
        let parsed = parsed.bound_to(b"THIS IS FAKE CB DATA");
        let optional = shown(tls).attributes(ScramHash::Sha1);
        assert_eq!(optional, first);
        let server_nonce = Nonce::literal("a09117a6-ac50-4f2f-93f1-93799c2bddf6");
        let (challenge, challenged) = parsed.challenge(&keys, &server_nonce, &optional);
        assert_eq!(challenge, format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096{first}"));
        let answer = format!("c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,r={nonce},{proof}");
        // A client that was shown something else has another challenge, and so another proof.
        let (_, other) = ClientFirst::parse((ScramHash::Sha1, Variant::Plus), &both(), DOMAIN, message.as_bytes())
            .unwrap()
            .bound_to(b"THIS IS FAKE CB DATA")
            .challenge(&keys, &server_nonce, "");
        assert_eq!(other.finish(answer.as_bytes()), Err(SaslError::from(SaslCondition::NotAuthorized)));
        assert_eq!(challenged.finish(answer.as_bytes()).as_deref(), Ok(last));
    }
    let without = Shown { mechanisms: vec!["PLAIN"], bindings: Vec::new(), tls: Some(TlsVersion::Tls12) };
    let hashed = STANDARD.encode(ScramHash::Sha256.digest(b"PLAIN"));
    assert_eq!(without.attributes(ScramHash::Sha256), format!(",h={hashed},t=0303"));
}

fn keys(hash: ScramHash) -> ScramKeys {
    credentials().into_keys(hash).unwrap()
}

fn login(hash: ScramHash, password: &str, client: ClientBinding, server: &Bindings) -> Result<(), SaslError> {
    let variant = if matches!(client, ClientBinding::Bound(..)) { Variant::Plus } else { Variant::Bare };
    let client = ScramClient::new(hash, "user", Password::prepare(password).unwrap(), client, "abc");
    let first = ClientFirst::parse((hash, variant), server, DOMAIN, client.first().as_bytes())?;
    let (challenge, challenged) = first.challenge(&keys(hash), &Nonce::new([9; 18]), ",h=AAAA,t=0304");
    let (response, expected) = client.respond(challenge.as_bytes()).unwrap();
    let last = challenged.finish(response.as_bytes())?;
    expected.verify(last.as_bytes()).unwrap();
    Ok(())
}

// Proves: RFC 5802 §6
#[test]
fn channel_binding_binds() {
    let wrong = Err(SaslCondition::NotAuthorized);
    for hash in ScramHash::ALL.iter().copied() {
        for kind in BindingType::ALL {
            let data = both().data(*kind).unwrap().to_vec();
            let bound = |data| ClientBinding::Bound(*kind, data);
            assert_eq!(login(hash, "pencil", bound(data.clone()), &both()), Ok(()));
            let condition = |result: Result<(), SaslError>| result.map_err(|error| error.condition);
            assert_eq!(condition(login(hash, "pencil", bound(vec![7; 32]), &both())), wrong, "another connection");
            assert_eq!(condition(login(hash, "pencil", bound(Vec::new()), &both())), wrong, "no data");
            assert_eq!(condition(login(hash, "pencil", bound(data.clone()), &Bindings::NONE)), wrong, "not offered");
            assert_eq!(condition(login(hash, "pencils", bound(data), &both())), wrong, "password");
        }
        assert_eq!(login(hash, "pencil", ClientBinding::Unsupported, &both()), Ok(()));
        assert_eq!(login(hash, "pencil", ClientBinding::NotOffered, &Bindings::NONE), Ok(()));
        assert!(login(hash, "pencil", ClientBinding::NotOffered, &both()).is_err(), "downgrade");
    }
    let only_end_point = Bindings { exporter: None, ..both() };
    assert!(first(Variant::Plus, &only_end_point, "p=tls-exporter,,n=user,r=abc").is_err());
    assert!(first(Variant::Plus, &only_end_point, "p=tls-server-end-point,,n=user,r=abc").is_ok());
}

#[test]
fn malformed_first_messages_are_refused() {
    use SaslCondition::{InvalidAuthzid, MalformedRequest, NotAuthorized};
    let long_nonce = format!("n,,n=user,r={}", "x".repeat(257));
    let long_message = format!("n,,n=user,r=abc,x={}", "x".repeat(4096));
    for (message, condition) in [
        ("", MalformedRequest),
        ("n", MalformedRequest),
        ("n,", MalformedRequest),
        ("n,,", MalformedRequest),
        (",,n=user,r=abc", MalformedRequest),
        ("x,,n=user,r=abc", MalformedRequest),
        ("N,,n=user,r=abc", MalformedRequest),
        ("n=,,n=user,r=abc", MalformedRequest),
        ("F,n,,n=user,r=abc", MalformedRequest),
        ("p,,n=user,r=abc", MalformedRequest),
        ("p=tls-exporter,,n=user,r=abc", MalformedRequest),
        ("y,,n=user,r=abc", NotAuthorized),
        ("n,a=,n=user,r=abc", MalformedRequest),
        ("n,b=user,n=user,r=abc", MalformedRequest),
        ("n,user,n=user,r=abc", MalformedRequest),
        ("n,a=other@example.org,n=user,r=abc", InvalidAuthzid),
        ("n,a=user@example.com,n=user,r=abc", InvalidAuthzid),
        ("n,a=user@example.org/x,n=user,r=abc", InvalidAuthzid),
        ("n,a=user,n=user,r=abc", InvalidAuthzid),
        ("n,a=@,n=user,r=abc", InvalidAuthzid),
        ("n,a=us=er,n=user,r=abc", MalformedRequest),
        ("n,,r=abc", MalformedRequest),
        ("n,,n=user", MalformedRequest),
        ("n,,r=abc,n=user", MalformedRequest),
        ("n,,n=user,n=user,r=abc", MalformedRequest),
        ("n,,n=,r=abc", MalformedRequest),
        ("n,,n=us=er,r=abc", MalformedRequest),
        ("n,,n=user=,r=abc", MalformedRequest),
        ("n,,n=user=2,r=abc", MalformedRequest),
        ("n,,n=user=2c,r=abc", MalformedRequest),
        ("n,,N=user,r=abc", MalformedRequest),
        ("n,,n=user,r=", MalformedRequest),
        ("n,,n=user,r=a b", MalformedRequest),
        ("n,,n=user,r=a\u{7f}b", MalformedRequest),
        ("n,,n=user,r=äöü", MalformedRequest),
        ("n,,n=us\0er,r=abc", MalformedRequest),
        ("n,,m=x,n=user,r=abc", MalformedRequest),
        ("n,,n=user,m=x,r=abc", MalformedRequest),
        ("n,,n=user,r=abc,m=x", MalformedRequest),
        ("n,,n=user,r=abc,r=def", MalformedRequest),
        ("n,,n=user,r=abc,n=other", MalformedRequest),
        ("n,,n=user,r=abc,", MalformedRequest),
        ("n,,n=user,r=abc,x", MalformedRequest),
        ("n,,n=user,r=abc,x=", MalformedRequest),
        ("n,,n=user,r=abc,1=x", MalformedRequest),
        ("n,,n=user,r=abc,xy=z", MalformedRequest),
        (long_nonce.as_str(), MalformedRequest),
        (long_message.as_str(), MalformedRequest),
    ] {
        let found = first(Variant::Bare, &both(), message).map(|first| first.account).map_err(|error| error.condition);
        assert_eq!(found, Err(condition), "{message:?}");
    }
    for (message, condition) in [
        ("n,,n=user,r=abc", MalformedRequest),
        ("y,,n=user,r=abc", MalformedRequest),
        ("p=,,n=user,r=abc", NotAuthorized),
        ("p=tls-unique,,n=user,r=abc", NotAuthorized),
        ("p=TLS-EXPORTER,,n=user,r=abc", NotAuthorized),
    ] {
        let found = first(Variant::Plus, &both(), message).map(|first| first.account).map_err(|error| error.condition);
        assert_eq!(found, Err(condition), "{message:?}");
    }
    let invalid = ClientFirst::parse((ScramHash::Sha1, Variant::Bare), &both(), DOMAIN, b"n,,n=us\xffer,r=abc");
    assert_eq!(invalid.map(|first| first.account).map_err(|error| error.condition), Err(MalformedRequest));
}

#[test]
fn good_first_messages_are_understood() {
    for (message, user) in [
        ("n,,n=user,r=abc", "user@example.org"),
        ("n,a=user@example.org,n=user,r=abc", "user@example.org"),
        ("n,,n=user,r=abc,x=y,Z==", "user@example.org"),
        ("n,,n=us=3Der,r=abc", "us=er@example.org"),
    ] {
        assert_eq!(first(Variant::Bare, &both(), message).unwrap().account.as_str(), user, "{message}");
    }
}

fn challenged() -> Challenged {
    let first = first(Variant::Bare, &Bindings::NONE, "n,,n=user,r=abc").unwrap();
    first.challenge(&keys(ScramHash::Sha256), &Nonce::literal("def"), "").1
}

#[test]
fn malformed_final_messages_are_refused() {
    use SaslCondition::{MalformedRequest, NotAuthorized};
    let proof = STANDARD.encode([0; 32]);
    let short = STANDARD.encode([0; 20]);
    for (message, condition) in [
        (String::new(), MalformedRequest),
        ("c=biws".to_owned(), MalformedRequest),
        ("c=biws,r=abcdef".to_owned(), MalformedRequest),
        ("c=biws,r=abcdef,p=".to_owned(), MalformedRequest),
        (format!("r=abcdef,c=biws,p={proof}"), MalformedRequest),
        (format!("c=biws,p={proof}"), MalformedRequest),
        (format!("p={proof}"), MalformedRequest),
        (format!("c=biws,p={proof},r=abcdef"), MalformedRequest),
        (format!("c=biws,r=abcdef,p={proof},x=y"), MalformedRequest),
        (format!("c=b!ws,r=abcdef,p={proof}"), MalformedRequest),
        (format!("c=biw,r=abcdef,p={proof}"), MalformedRequest),
        (format!("c=biws,r=abcdef,p={short}"), MalformedRequest),
        ("c=biws,r=abcdef,p=!".to_owned(), MalformedRequest),
        (format!("m=x,c=biws,r=abcdef,p={proof}"), MalformedRequest),
        (format!("c=biws,r=abcdef,m=x,p={proof}"), MalformedRequest),
        (format!("c=biws,r=abcdef,c=biws,p={proof}"), MalformedRequest),
        (format!("c=biws,r=abcdef,p={proof},p={proof}"), MalformedRequest),
        (format!("c=biws,r=abcdef,\0=x,p={proof}"), MalformedRequest),
        (format!("c=,r=abcdef,p={proof}"), NotAuthorized),
        (format!("c=eSws,r=abcdef,p={proof}"), NotAuthorized),
        (format!("c=biws,r=abc,p={proof}"), NotAuthorized),
        (format!("c=biws,r=def,p={proof}"), NotAuthorized),
        (format!("c=biws,r=abcdefg,p={proof}"), NotAuthorized),
        (format!("c=biws,r=ABCDEF,p={proof}"), NotAuthorized),
        (format!("c=biws,r=abcdef,p={proof}"), NotAuthorized),
        (format!("c=biws,r=abcdef,x=y,p={proof}"), NotAuthorized),
    ] {
        assert_eq!(
            challenged().finish(message.as_bytes()).map_err(|error| error.condition),
            Err(condition),
            "{message}"
        );
    }
    assert_eq!(challenged().finish(&[0xff; 9]).map_err(|error| error.condition), Err(MalformedRequest));
    assert!(!format!("{:?}", challenged()).contains("key"));
}

// Proves: RFC 6120 §6.5.10
#[test]
fn an_unknown_user_and_a_wrong_password_look_alike() {
    let decoy = Decoy::new(&[3; 32], Iterations::new(4096).unwrap());
    let outcome = |keys: &ScramKeys| {
        let client = ScramClient::new(
            ScramHash::Sha1,
            "user",
            Password::prepare("wrong").unwrap(),
            ClientBinding::Unsupported,
            "abc",
        );
        let first =
            ClientFirst::parse((ScramHash::Sha1, Variant::Bare), &Bindings::NONE, DOMAIN, client.first().as_bytes());
        let (challenge, challenged) = first.unwrap().challenge(keys, &Nonce::new([9; 18]), "");
        let (response, _) = client.respond(challenge.as_bytes()).unwrap();
        (challenge.len(), challenged.finish(response.as_bytes()))
    };
    let known = outcome(&keys(ScramHash::Sha1));
    let unknown = outcome(&decoy.keys(ScramHash::Sha1, "user@example.org"));
    assert_eq!(known, unknown);
    assert_eq!(known.1, Err(SaslError::from(SaslCondition::NotAuthorized)));
}

#[test]
fn a_client_notices_a_server_that_does_not_know_its_keys() {
    let client = ScramClient::new(ScramHash::Sha1, "us,er=", pencil(), ClientBinding::NotOffered, "abc");
    assert_eq!(client.first(), "y,,n=us=2Cer=3D,r=abc");
    for (challenge, error) in [
        ("", ServerMisbehaved::Malformed),
        ("e=other-error", ServerMisbehaved::Malformed),
        ("s=AAAA,r=abcdef,i=4096", ServerMisbehaved::Malformed),
        ("r=abcdef,s=!,i=4096", ServerMisbehaved::Malformed),
        ("r=abcdef,s=AAAA,i=x", ServerMisbehaved::Malformed),
        ("r=abc,s=AAAA,i=4096", ServerMisbehaved::Nonce),
        ("r=xyzabc,s=AAAA,i=4096", ServerMisbehaved::Nonce),
        ("r=abcdef,s=AAAA,i=1", ServerMisbehaved::Iterations),
        ("r=abcdef,s=AAAA,i=4294967295", ServerMisbehaved::Iterations),
    ] {
        assert_eq!(client.respond(challenge.as_bytes()).err(), Some(error), "{challenge}");
    }
}

// Proves: RFC 4616 §2, RFC 6120 §4.3.6, §6.3.8
#[test]
fn plain_messages() {
    use SaslCondition::{InvalidAuthzid, MalformedRequest, NotAuthorized};
    let long = format!("\0user\0{}", "x".repeat(4096));
    for (message, outcome) in [
        ("\0user\0pencil", Ok("user@example.org")),
        ("user@example.org\0user\0pencil", Ok("user@example.org")),
        ("other@example.org\0user\0pencil", Err(InvalidAuthzid)),
        ("user@example.com\0user\0pencil", Err(InvalidAuthzid)),
        ("user@example.org/x\0user\0pencil", Err(InvalidAuthzid)),
        ("user\0user\0pencil", Err(InvalidAuthzid)),
        ("@\0user\0pencil", Err(InvalidAuthzid)),
        ("", Err(MalformedRequest)),
        ("user", Err(MalformedRequest)),
        ("user\0pencil", Err(MalformedRequest)),
        ("\0user\0", Err(MalformedRequest)),
        ("\0\0pencil", Err(MalformedRequest)),
        ("\0user\0pencil\0", Err(MalformedRequest)),
        ("\0user\0pen\0cil", Err(MalformedRequest)),
        ("\0user\0pen\u{7}cil", Err(NotAuthorized)),
        (long.as_str(), Err(MalformedRequest)),
    ] {
        let found = Plain::parse(message.as_bytes(), DOMAIN);
        if let Ok(plain) = &found {
            assert_eq!(credentials().verify(&plain.password), Verdict::Right);
            assert!(!format!("{plain:?}").contains("pencil"));
        }
        let found = found.map(|plain| plain.account.to_string()).map_err(|error| error.condition);
        assert_eq!(found, outcome.map(str::to_owned), "{message:?}");
    }
    assert!(Plain::parse(b"\0us\xffer\0pencil", DOMAIN).is_err());
}

// Proves: XEP-0178
// Proves: RFC 6120 §6.3.8
#[test]
fn external_names_only_what_the_certificate_proves() {
    use SaslCondition::{InvalidAuthzid, MalformedRequest, NotAuthorized};
    let a = || Some(BareJid::of_domain("a.example").unwrap());
    for (message, from, outcome) in [
        ("", a(), Ok("a.example")),
        ("a.example", a(), Ok("a.example")),
        ("A.example", a(), Ok("a.example")),
        ("a.example", None, Ok("a.example")),
        ("", None, Err(InvalidAuthzid)),
        ("b.example", a(), Err(InvalidAuthzid)),
        ("", Some(BareJid::of_domain("b.example").unwrap()), Err(NotAuthorized)),
        ("b.example", None, Err(NotAuthorized)),
        ("", Some(BareJid::parse("x@a.example").unwrap()), Err(InvalidAuthzid)),
    ] {
        let found = authorize(message.as_bytes(), from.as_ref(), |domain| domain == "a.example");
        let found = found.map(|domain| domain.to_string()).map_err(|error| error.condition);
        assert_eq!(found, outcome.map(str::to_owned), "{message:?} {from:?}");
    }
    for message in [&b"\xff"[..], &[b'a'; 1024]] {
        let found = authorize(message, None, |_| true).map_err(|error| error.condition);
        assert_eq!(found, Err(MalformedRequest));
    }
}

// Proves: XEP-0178 §2, RFC 6120 §6.3.8, §13.7.2.2.1
#[test]
fn external_makes_a_client_nobody_whom_its_certificate_does_not_name() {
    use SaslCondition::{InvalidAuthzid, MalformedRequest};
    let jid = |text: &str| BareJid::parse(text).unwrap();
    let (one, two) = (vec![jid("juliet@a.example")], vec![jid("juliet@a.example"), jid("julia@a.example")]);
    for (message, certified, from, outcome) in [
        ("", &one, None, Ok("juliet@a.example")),
        ("juliet@a.example", &one, None, Ok("juliet@a.example")),
        ("Juliet@A.example", &one, None, Ok("juliet@a.example")),
        // Who the stream is from is no proof, and no obstacle either: the header of the next stream will tell.
        ("", &one, Some("romeo@a.example"), Ok("juliet@a.example")),
        ("romeo@a.example", &one, Some("romeo@a.example"), Err(InvalidAuthzid)),
        ("juliet@a.example/balcony", &one, None, Err(InvalidAuthzid)),
        ("juliet", &one, None, Err(InvalidAuthzid)),
        ("a.example", &one, None, Err(InvalidAuthzid)),
        ("@", &one, None, Err(InvalidAuthzid)),
        ("", &two, None, Err(InvalidAuthzid)),
        ("", &two, Some("romeo@a.example"), Err(InvalidAuthzid)),
        ("", &two, Some("julia@a.example"), Ok("julia@a.example")),
        ("julia@a.example", &two, None, Ok("julia@a.example")),
        ("romeo@a.example", &two, None, Err(InvalidAuthzid)),
        ("", &Vec::new(), None, Err(InvalidAuthzid)),
        ("juliet@a.example", &Vec::new(), None, Err(InvalidAuthzid)),
    ] {
        let from = from.map(jid);
        let found = authorize_client(message.as_bytes(), certified, from.as_ref());
        let found = found.map(|account| account.to_string()).map_err(|error| error.condition);
        assert_eq!(found, outcome.map(str::to_owned), "{message:?} {certified:?} {from:?}");
    }
    for message in [&b"\xff"[..], &[b'a'; 4097]] {
        let found = authorize_client(message, &one, None).map_err(|error| error.condition);
        assert_eq!(found, Err(MalformedRequest));
    }
}

#[test]
fn mechanisms_and_conditions_are_spelt_in_one_table() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::parse(mechanism.as_str()), Some(*mechanism));
    }
    assert_eq!(Mechanism::parse("scram-sha-1"), None);
    for condition in SaslCondition::ALL {
        let error = SaslError::new(*condition, "why");
        assert_eq!(SaslError::condition_of(&error.to_element()), *condition);
    }
    let unknown = Element::new("failure", SASL_NS).with_child(Element::new("who-knows", SASL_NS));
    assert_eq!(SaslError::condition_of(&unknown), SaslCondition::NotAuthorized);
}

/// Without the slow derivation of keys; no password fits.
fn cheaply_challenged() -> Challenged {
    let decoy = Decoy::new(&[3; 32], Iterations::default()).keys(ScramHash::Sha256, "user@example.org");
    let first = first(Variant::Bare, &Bindings::NONE, "n,,n=user,r=abc").unwrap();
    first.challenge(&decoy, &Nonce::literal("def"), "").1
}

proptest::proptest! {
    /// Strangers choose every octet of these: nothing may panic, and nothing but a proof may succeed.
    #[test]
    fn arbitrary_messages_do_no_harm(message in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        for variant in [Variant::Plus, Variant::Bare] {
            let _ = ClientFirst::parse((ScramHash::Sha256, variant), &both(), DOMAIN, &message);
        }
        let _ = Plain::parse(&message, DOMAIN);
        let _ = authorize(&message, None, |_| true);
        let _ = authorize_client(&message, &[BareJid::parse("a@b").unwrap()], None);
        proptest::prop_assert!(cheaply_challenged().finish(&message).is_err());
    }

    /// The same with messages that look right from afar.
    #[test]
    fn nearly_right_messages_do_no_harm(tail in "[acimnprsxy=,0-9A-F@.]{0,60}") {
        for head in ["", "n,,", "y,,n=", "p=tls-exporter,,n=a,", "n,a=", "n,,n=user,r="] {
            for variant in [Variant::Plus, Variant::Bare] {
                let message = format!("{head}{tail}");
                if let Ok(first) = first(variant, &both(), &message) {
                    proptest::prop_assert_eq!(first.account.domain(), DOMAIN);
                }
            }
        }
        for head in ["", "c=biws,", "c=biws,r=abcdef,", "c=biws,r=abcdef,p="] {
            let message = format!("{head}{tail}");
            proptest::prop_assert!(cheaply_challenged().finish(message.as_bytes()).is_err());
        }
    }
}

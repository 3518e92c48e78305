//! Whole logins, every message in every state, and every failure condition of RFC 6120 §6.5.

use super::*;
use crate::accounts::credentials::{Credentials, Iterations, Password, Salts, ScramHash};
use crate::accounts::sasl::channel_binding::{BindingType, Bindings};
use crate::accounts::sasl::scram_client::{ClientBinding, Expected, ScramClient};
use crate::accounts::sasl::{SASL_NS, Variant};
use crate::negotiation::features::{PlainPolicy, TokenPolicy};
use crate::negotiation::sasl_profile::{auth, data, response};
use crate::negotiation::xep_0388_sasl2::SASL2_NS;
use crate::net::TlsVersion;

const SHA1: Mechanism = Mechanism::Scram(ScramHash::Sha1, Variant::Bare);

fn credentials() -> Credentials {
    let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
    Credentials::derive(&Password::prepare("pencil").unwrap(), &salts, Iterations::new(4096).unwrap())
}

fn bindings() -> Bindings {
    Bindings { exporter: Some([5; 32].into()), end_point: Some(vec![6; 32]) }
}

fn offer() -> Offer {
    Offer {
        confidentiality: Confidentiality::Tls,
        bindings: bindings(),
        version: Some(TlsVersion::Tls13),
        plain: PlainPolicy::Offered,
        tokens: TokenPolicy::Issued,
        ..Offer::STARTTLS
    }
}

fn machine(offer: Offer) -> Login {
    let decoy = Decoy::new(&[9; 32], Iterations::new(4096).unwrap());
    Login::new(BareJid::of_domain("example.org").unwrap(), offer, decoy)
}

fn nonce() -> Nonce {
    Nonce::new([8; 18])
}

fn found() -> Found {
    Found::Account(Box::new(credentials()), Standing::Active)
}

fn abort() -> Element {
    Element::new("abort", SASL_NS)
}

/// What an effect amounts to, without the data.
fn told(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Send(element) => match element.elements().next() {
                Some(condition) => format!("{} {}", element.name(), condition.name()),
                None => element.name().to_owned(),
            },
            Effect::LookUp(account) => format!("look up {account}"),
            Effect::LookUpToken(account, agent) => format!("look up {account} {}", agent.as_str()),
            Effect::Verify(_) => "verify".to_owned(),
            Effect::Judge(attempt) => format!("judge {:?}", attempt.verdict),
            Effect::Salt => "salt".to_owned(),
            Effect::Keep(new) => format!("keep {:?}", new.hash),
            Effect::Success { user } => format!("user {user}"),
            Effect::Enter(entry) => format!("enter {}", entry.user),
            Effect::Failure { condition, left } => format!("{} {left}", condition.as_str()),
            Effect::Close(error) => format!("close {}", error.condition.as_str()),
        })
        .collect()
}

fn failed(condition: &str, left: u8) -> Vec<String> {
    let mut told = vec![format!("failure {condition}"), format!("{condition} {left}")];
    if left == 0 {
        told.push("close policy-violation".to_owned());
    }
    told
}

fn sent(effects: &[Effect]) -> Vec<u8> {
    match effects.first() {
        Some(Effect::Send(element)) => data(element).unwrap().unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

fn client(hash: ScramHash, password: &str, binding: ClientBinding) -> ScramClient {
    ScramClient::new(hash, "juliet", Password::prepare(password).unwrap(), binding, "abc")
}

/// What becomes of an attempt where nobody has failed before.
fn natural(attempt: &Attempt) -> Judgement {
    match attempt.verdict {
        Verdict::Right => Judgement::Admitted,
        Verdict::Wrong => Judgement::Wrong,
    }
}

/// The effects, of which the first may be a question.
fn settled(login: &mut Login, effects: Vec<Effect>) -> Vec<Effect> {
    match effects.as_slice() {
        [Effect::Judge(attempt)] => login.judged(natural(attempt)),
        _ => effects,
    }
}

/// Runs a SCRAM client as far as its last message.
fn exchange(login: &mut Login, mechanism: Mechanism, client: &ScramClient, found: Found) -> (Vec<Effect>, Expected) {
    let effects = login.nonza(&auth(mechanism.as_str(), Some(client.first().as_bytes())));
    assert_eq!(told(&effects), ["look up juliet@example.org"]);
    let challenge = login.looked_up(found, &nonce());
    assert_eq!(told(&challenge), ["challenge"]);
    let (message, expected) = client.respond(&sent(&challenge)).unwrap();
    let effects = login.nonza(&response(message.as_bytes()));
    (settled(login, effects), expected)
}

// Proves: RFC 6120 §6.2, §6.3.10, §6.4, §6.4.3, §13.8.1
#[test]
fn every_scram_mechanism_logs_in() {
    let bound = |kind| ClientBinding::Bound(kind, bindings().data(kind).unwrap().to_vec());
    for hash in ScramHash::ALL.iter().copied() {
        for (variant, binding) in [
            (Variant::Bare, ClientBinding::Unsupported),
            (Variant::Plus, bound(BindingType::TlsExporter)),
            (Variant::Plus, bound(BindingType::TlsServerEndPoint)),
        ] {
            let mut login = machine(Offer { hashes: ScramHash::ALL, ..offer() });
            let client = client(hash, "pencil", binding);
            let (effects, expected) = exchange(&mut login, Mechanism::Scram(hash, variant), &client, found());
            assert_eq!(told(&effects), ["success", "user juliet@example.org"]);
            expected.verify(&sent(&effects)).unwrap();
            assert_eq!(told(&login.nonza(&auth("PLAIN", None))), ["close policy-violation"]);
        }
    }
}

fn plain(login: &mut Login, message: &str, found: Found) -> Vec<Effect> {
    let effects = login.nonza(&auth("PLAIN", Some(message.as_bytes())));
    assert_eq!(told(&effects), ["look up juliet@example.org"]);
    let effects = login.looked_up(found, &nonce());
    let [Effect::Verify(verification)] = effects.as_slice() else { panic!("{effects:?}") };
    let attempt = verification.clone().run();
    assert_eq!(attempt.account.as_str(), "juliet@example.org");
    login.judged(natural(&attempt))
}

// Proves: RFC 6120 §6.3.5, §13.8.3
#[test]
fn plain_logs_in_inside_tls() {
    let effects = plain(&mut machine(offer()), "\0juliet\0pencil", found());
    assert_eq!(told(&effects), ["success", "user juliet@example.org"]);
    let Some(Effect::Send(element)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(element.to_xml(""), "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
}

// Proves: RFC 6120 §6.3.10, §6.4.2
#[test]
fn the_first_message_may_come_as_a_response() {
    let mut login = machine(offer());
    let effects = login.nonza(&auth("PLAIN", None));
    assert_eq!((told(&effects), sent(&effects)), (vec!["challenge".to_owned()], Vec::new()));
    assert_eq!(told(&login.nonza(&response(b"\0juliet\0pencil"))), ["look up juliet@example.org"]);
    assert_eq!(told(&login.looked_up(found(), &nonce())), ["verify"]);
    assert_eq!(told(&login.judged(Judgement::Admitted)), ["success", "user juliet@example.org"]);
    // Present, but empty: the handshake has begun with a message that is none.
    let effects = machine(offer()).nonza(&auth(SHA1.as_str(), Some(b"")));
    assert_eq!(told(&effects), failed("malformed-request", 2));
}

// Proves: RFC 6120 §6.5.10
#[test]
fn an_unknown_user_and_a_wrong_password_look_alike() {
    let scram = |found| {
        let mut login = machine(offer());
        let (effects, _) =
            exchange(&mut login, SHA1, &client(ScramHash::Sha1, "wrong", ClientBinding::Unsupported), found);
        told(&effects)
    };
    assert_eq!(scram(found()), failed("not-authorized", 2));
    assert_eq!(scram(Found::Unknown), scram(found()));
    let plain = |found| told(&plain(&mut machine(offer()), "\0juliet\0wrong", found));
    assert_eq!(plain(found()), failed("not-authorized", 2));
    assert_eq!(plain(Found::Unknown), plain(found()));
    let xml = |found| {
        let effects = self::plain(&mut machine(offer()), "\0juliet\0wrong", found);
        let Some(Effect::Send(element)) = effects.first() else { panic!("{effects:?}") };
        element.to_xml("")
    };
    assert_eq!(xml(Found::Unknown), xml(found()));
    assert_eq!(xml(found()), "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    // Only who knows the password learns that the account is disabled.
    let disabled = || Found::Account(Box::new(credentials()), Standing::Disabled);
    assert_eq!(plain(disabled()), failed("not-authorized", 2));
    assert_eq!(scram(disabled()), failed("not-authorized", 2));
}

#[test]
fn a_salt_does_not_change_between_attempts() {
    let challenge = |found| {
        let mut login = machine(offer());
        login.nonza(&auth("SCRAM-SHA-256", Some(b"n,,n=juliet,r=abc")));
        String::from_utf8(sent(&login.looked_up(found, &nonce()))).unwrap()
    };
    assert_eq!(challenge(Found::Unknown), challenge(Found::Unknown));
    assert_eq!(challenge(Found::Unknown).len(), challenge(found()).len());
}

/// The machine in the state called `name`.
fn in_state(name: &str) -> Login {
    let mut login = machine(offer());
    let effects = match name {
        "initial" => login.nonza(&auth("PLAIN", None)),
        "looking up for SCRAM" => login.nonza(&auth("SCRAM-SHA-1", Some(b"n,,n=juliet,r=abc"))),
        "looking up for PLAIN" => login.nonza(&auth("PLAIN", Some(b"\0juliet\0pencil"))),
        "challenged" => {
            login.nonza(&auth("SCRAM-SHA-1", Some(b"n,,n=juliet,r=abc")));
            login.looked_up(found(), &nonce())
        }
        "verifying" => {
            login.nonza(&auth("PLAIN", Some(b"\0juliet\0pencil")));
            login.looked_up(found(), &nonce())
        }
        "done" => {
            login.nonza(&auth("PLAIN", Some(b"\0juliet\0pencil")));
            login.looked_up(found(), &nonce());
            login.judged(Judgement::Admitted)
        }
        _ => return login,
    };
    assert!(!told(&effects).iter().any(|line| line.starts_with("failure")), "{name}");
    login
}

// Proves: RFC 6120 §6.4.4
#[test]
fn every_message_in_every_state() {
    let one = |text: &str| vec![text.to_owned()];
    let closed = || one("close policy-violation");
    for (state, on_auth, on_response, on_abort, on_found, on_verdict) in [
        ("idle", one("challenge"), failed("malformed-request", 2), failed("aborted", 2), vec![], vec![]),
        ("initial", one("challenge"), failed("malformed-request", 2), failed("aborted", 2), vec![], vec![]),
        ("looking up for SCRAM", closed(), closed(), closed(), one("challenge"), vec![]),
        ("looking up for PLAIN", closed(), closed(), closed(), one("verify"), vec![]),
        ("challenged", one("challenge"), failed("malformed-request", 2), failed("aborted", 2), vec![], vec![]),
        ("verifying", closed(), closed(), closed(), vec![], failed("not-authorized", 2)),
        ("done", closed(), closed(), closed(), vec![], vec![]),
    ] {
        assert_eq!(told(&in_state(state).nonza(&auth("PLAIN", None))), on_auth, "{state}");
        assert_eq!(told(&in_state(state).nonza(&response(b"x"))), on_response, "{state}");
        assert_eq!(told(&in_state(state).nonza(&abort())), on_abort, "{state}");
        assert_eq!(told(&in_state(state).looked_up(found(), &nonce())), on_found, "{state}");
        assert_eq!(told(&in_state(state).judged(Judgement::Wrong)), on_verdict, "{state}");
        for other in [
            Element::new("starttls", "urn:ietf:params:xml:ns:xmpp-tls"),
            Element::new("auth", "urn:xmpp:other"),
            Element::new("next", SASL2_NS).with("task", "X"),
            Element::new("success", SASL_NS),
            Element::new("challenge", SASL_NS),
            Element::new("failure", SASL_NS),
        ] {
            let effects = in_state(state).nonza(&other);
            assert_eq!(told(&effects), ["close unsupported-stanza-type"], "{state} {}", other.name());
        }
    }
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let mut login = in_state("looking up for PLAIN");
    assert_eq!(told(&login.nonza(&abort())), ["close policy-violation"]);
    assert!(login.looked_up(found(), &nonce()).is_empty());
    assert!(login.judged(Judgement::Admitted).is_empty());
}

// Proves: RFC 6120 §6.4.5, §6.5
#[test]
fn every_condition_has_its_place() {
    let mut seen: Vec<&str> = Vec::new();
    let mut expect = |effects: Vec<Effect>, condition: &'static str| {
        assert_eq!(told(&effects), failed(condition, 2));
        seen.push(condition);
    };
    let good = Some(&b"\0juliet\0pencil"[..]);
    expect(machine(offer()).nonza(&abort()), "aborted");
    let disabled = Found::Account(Box::new(credentials()), Standing::Disabled);
    expect(plain(&mut machine(offer()), "\0juliet\0pencil", disabled), "account-disabled");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "X"] {
        expect(machine(Offer::STARTTLS).nonza(&auth(mechanism, good)), "encryption-required");
    }
    expect(machine(offer()).nonza(&auth("PLAIN", None).with_text("?")), "incorrect-encoding");
    expect(machine(offer()).nonza(&auth("PLAIN", Some(b"a@example.org\0juliet\0pencil"))), "invalid-authzid");
    expect(machine(offer()).nonza(&auth("SCRAM-SHA-1", Some(b"n,a=x,n=juliet,r=abc"))), "invalid-authzid");
    for mechanism in ["", "plain", "EXTERNAL", "ANONYMOUS", "DIGEST-MD5", "SCRAM-SHA-512", "HT-SHA-256-NONE"] {
        expect(machine(offer()).nonza(&auth(mechanism, good)), "invalid-mechanism");
    }
    expect(machine(offer()).nonza(&Element::new("auth", SASL_NS)), "invalid-mechanism");
    let without = |bindings| Offer { bindings, plain: PlainPolicy::Refused, ..offer() };
    let message = Some(&b"p=tls-exporter,,n=juliet,r=abc"[..]);
    expect(machine(without(Bindings::NONE)).nonza(&auth("SCRAM-SHA-1-PLUS", message)), "invalid-mechanism");
    expect(machine(offer()).nonza(&auth("PLAIN", Some(b"juliet"))), "malformed-request");
    expect(machine(without(bindings())).nonza(&auth("PLAIN", good)), "mechanism-too-weak");
    expect(plain(&mut machine(offer()), "\0juliet\0wrong", found()), "not-authorized");
    for state in ["looking up for SCRAM", "looking up for PLAIN"] {
        expect(in_state(state).looked_up(Found::Unavailable, &nonce()), "temporary-auth-failure");
    }
    // Nothing but a token expires: `who_has_no_token_learns_nothing`.
    seen.push(SaslCondition::CredentialsExpired.as_str());
    for condition in SaslCondition::ALL {
        assert!(seen.contains(&condition.as_str()), "{condition:?}");
    }
}

// Proves: RFC 6120 §6.4.5, §13.9.4
#[test]
fn three_failures_end_the_stream() {
    let mut login = machine(offer());
    assert_eq!(told(&plain(&mut login, "\0juliet\0wrong", found())), failed("not-authorized", 2));
    assert_eq!(told(&login.nonza(&abort())), failed("aborted", 1));
    assert_eq!(told(&login.nonza(&auth("X", None))), failed("invalid-mechanism", 0));
    assert_eq!(told(&login.nonza(&auth("PLAIN", None))), ["close policy-violation"]);

    let mut login = machine(offer());
    plain(&mut login, "\0juliet\0wrong", found());
    plain(&mut login, "\0juliet\0wrong", found());
    assert_eq!(told(&plain(&mut login, "\0juliet\0pencil", found())), ["success", "user juliet@example.org"]);
}

// Proves: RFC 5802 §6, RFC 6120 §6.4.5
#[test]
fn an_old_channel_binding_is_no_attempt() {
    let plus = |login: &mut Login| told(&login.nonza(&auth("SCRAM-SHA-1-PLUS", Some(b"p=tls-unique,,n=juliet,r=abc"))));
    let bare = |login: &mut Login| told(&login.nonza(&auth("SCRAM-SHA-1", Some(b"y,,n=juliet,r=abc"))));
    let mut login = machine(offer());
    for round in 0..6 {
        let refused = if round < 3 { plus(&mut login) } else { bare(&mut login) };
        assert_eq!(refused, ["failure not-authorized"]);
    }
    assert_eq!(told(&plain(&mut login, "\0juliet\0wrong", found())), failed("not-authorized", 2));
    assert_eq!(told(&plain(&mut login, "\0juliet\0pencil", found())), ["success", "user juliet@example.org"]);

    let mut login = machine(offer());
    (0..6).for_each(|_| drop(plus(&mut login)));
    for left in [2, 1, 0] {
        assert_eq!(plus(&mut login), failed("not-authorized", left));
    }
}

// Proves: RFC 6120 §6.4.2
#[test]
fn a_new_handshake_replaces_the_old_one_but_not_for_ever() {
    let mut login = in_state("challenged");
    let client = client(ScramHash::Sha1, "pencil", ClientBinding::Unsupported);
    let (effects, _) = exchange(&mut login, SHA1, &client, found());
    assert_eq!(told(&effects), ["success", "user juliet@example.org"]);

    let mut login = machine(offer());
    for outcome in ["challenge", "challenge", "challenge", "close policy-violation"] {
        assert_eq!(told(&login.nonza(&auth("PLAIN", None))), [outcome]);
    }
}

#[test]
fn what_is_printed_holds_no_secret() {
    let mut login = machine(offer());
    let printed = format!("{:?}", login.nonza(&auth("PLAIN", Some(b"\0juliet\0pencil"))));
    assert!(!format!("{printed}{login:?}").contains("pencil"));
    let printed = format!("{:?}", login.looked_up(found(), &nonce()));
    assert!(printed.contains("Verify") && !printed.contains("pencil") && !printed.contains("key"));
}

// Proves: RFC 6120 §6.5.4
#[test]
fn where_tls_is_waived_only_scram_logs_in() {
    let mut login = machine(Offer::WITHOUT_TLS);
    let plain = login.nonza(&auth("PLAIN", Some(b"\0juliet\0pencil")));
    assert_eq!(told(&plain), failed("encryption-required", 2));
    let plus = login.nonza(&auth("SCRAM-SHA-256-PLUS", Some(b"p=tls-exporter,,n=juliet,r=abc")));
    assert_eq!(told(&plus), failed("invalid-mechanism", 1));
    let client = client(ScramHash::Sha1, "pencil", ClientBinding::Unsupported);
    let (effects, expected) = exchange(&mut login, SHA1, &client, found());
    assert_eq!(told(&effects), ["success", "user juliet@example.org"]);
    expected.verify(&sent(&effects)).unwrap();
}

#[test]
fn features_follow_the_offer() {
    let inline = InlineOffers::default();
    assert_eq!(machine(offer()).features(&inline), offer().features(&inline));
}

#[test]
fn who_has_lost_his_keys_for_a_hash_is_as_good_as_unknown() {
    let sha512 = Mechanism::Scram(ScramHash::Sha512, Variant::Bare);
    let outcome = |found| {
        let mut login = machine(Offer { hashes: ScramHash::ALL, ..offer() });
        let client = client(ScramHash::Sha512, "pencil", ClientBinding::Unsupported);
        let (effects, _) = exchange(&mut login, sha512, &client, found);
        told(&effects)
    };
    let old = Found::Account(Box::new(Credentials { sha512: None, ..credentials() }), Standing::Active);
    assert_eq!(outcome(old), failed("not-authorized", 2));
    assert_eq!(outcome(Found::Unknown), failed("not-authorized", 2));
    assert_eq!(outcome(found()), ["success", "user juliet@example.org"]);
}

// Proves: XEP-0178 §2
// Proves: RFC 6120 §6.3.4, §13.7.2.2.1
#[test]
fn a_certificate_logs_in() {
    let jid = |text: &str| BareJid::parse(text).unwrap();
    let offer = |names: &[&str]| Offer { certified: names.iter().map(|name| jid(name)).collect(), ..offer() };
    let (one, two) = (["juliet@example.org"], ["juliet@example.org", "julia@example.org"]);
    let mut login = machine(offer(&one));
    assert_eq!(told(&login.nonza(&auth("EXTERNAL", Some(b"")))), ["look up juliet@example.org"]);
    let effects = login.looked_up(found(), &nonce());
    assert_eq!(told(&effects), ["success", "user juliet@example.org"]);
    let Some(Effect::Send(success)) = effects.first() else { panic!() };
    assert_eq!(success.to_xml(""), "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    // Without an initial response it is asked for.
    let mut login = machine(offer(&one));
    assert_eq!(told(&login.nonza(&auth("EXTERNAL", None))), ["challenge"]);
    assert_eq!(told(&login.nonza(&response(b""))), ["look up juliet@example.org"]);
    assert_eq!(told(&login.looked_up(Found::Unknown, &nonce())), failed("not-authorized", 2));
    let ask = |names: &[&str], message: &[u8]| told(&machine(offer(names)).nonza(&auth("EXTERNAL", Some(message))));
    assert_eq!(ask(&two, b"julia@example.org"), ["look up julia@example.org"]);
    assert_eq!(ask(&two, b""), failed("invalid-authzid", 2));
    assert_eq!(ask(&one, b"romeo@example.org"), failed("invalid-authzid", 2));
    let mut login = machine(offer(&two)).from(Some(jid("julia@example.org")));
    assert_eq!(told(&login.nonza(&auth("EXTERNAL", Some(b"")))), ["look up julia@example.org"]);
    for (found, condition) in [
        (Found::Account(Box::new(credentials()), Standing::Disabled), "account-disabled"),
        (Found::Unavailable, "temporary-auth-failure"),
    ] {
        let mut login = machine(offer(&one));
        login.nonza(&auth("EXTERNAL", Some(b"")));
        assert_eq!(told(&login.nonza(&abort())), ["close policy-violation"], "one request at a time");
        let mut login = machine(offer(&one));
        login.nonza(&auth("EXTERNAL", Some(b"")));
        assert_eq!(told(&login.looked_up(found, &nonce())), failed(condition, 2));
    }
}

mod sasl2;
mod states;
mod transcripts;

//! The same machine in the syntax of XEP-0388, and with tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::accounts::sasl::hashed_token::tests::message;

const AGENT: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn authenticate(mechanism: &str, initial: Option<&[u8]>, more: &str) -> Element {
    let initial = initial.map_or_else(String::new, |message| {
        format!("<initial-response>{}</initial-response>", STANDARD.encode(message))
    });
    let xml = format!("<authenticate mechanism='{mechanism}'>{initial}<user-agent id='{AGENT}'/>{more}</authenticate>");
    Element::parse(&xml, SASL2_NS).unwrap()
}

fn answer(message: &[u8]) -> Element {
    Element::new("response", SASL2_NS).with_text(&STANDARD.encode(message))
}

fn abort() -> Element {
    Element::new("abort", SASL2_NS)
}

/// The data of a challenge.
fn asked(effects: &[Effect]) -> Vec<u8> {
    let Some(Effect::Send(element)) = effects.first() else { panic!("{effects:?}") };
    assert!(element.is("challenge", SASL2_NS), "{}", element.to_xml(""));
    STANDARD.decode(element.text()).unwrap()
}

fn entered(effects: Vec<Effect>) -> Box<Entry> {
    match effects.into_iter().next() {
        Some(Effect::Enter(entry)) => entry,
        other => panic!("{other:?}"),
    }
}

// Proves: XEP-0388 §2.5, §2.6.1
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
            let name = Mechanism::Scram(hash, variant).as_str();
            let effects = login.nonza(&authenticate(name, Some(client.first().as_bytes()), "<x xmlns='y'/>"));
            assert_eq!(told(&effects), ["look up juliet@example.org"]);
            let challenge = asked(&login.looked_up(found(), &nonce()));
            let (last, expected) = client.respond(&challenge).unwrap();
            let entry = entered(login.nonza(&answer(last.as_bytes())));
            assert_eq!((entry.user.as_str(), entry.wishes.others.len()), ("juliet@example.org", 1));
            let success = Element::parse(&entry.success("juliet@example.org/x", "<z xmlns='y'/>"), "").unwrap();
            let names: Vec<_> = success.elements().map(Element::name).collect();
            assert_eq!(names, ["additional-data", "authorization-identifier", "z"]);
            let data = success.child("additional-data", SASL2_NS).unwrap().text();
            expected.verify(&STANDARD.decode(data).unwrap()).unwrap();
            // XEP-0388 §4.8: it is over.
            assert_eq!(told(&login.nonza(&authenticate(name, None, ""))), ["close policy-violation"]);
        }
    }
}

// Proves: XEP-0388 §2.6.1
#[test]
fn plain_logs_in_and_says_nothing_at_the_end() {
    let mut login = machine(offer());
    let effects = login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), ""));
    assert_eq!(told(&effects), ["look up juliet@example.org"]);
    assert_eq!(told(&login.looked_up(found(), &nonce())), ["verify"]);
    let entry = entered(login.verified(Verdict::Right));
    assert_eq!(
        entry.success(entry.user.as_str(), ""),
        "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>juliet@example.org</authorization-identifier></success>"
    );
    // Without an initial response it is asked for.
    let mut login = machine(offer());
    assert_eq!(asked(&login.nonza(&authenticate("PLAIN", None, ""))), b"");
    assert_eq!(told(&login.nonza(&answer(b"\0juliet\0pencil"))), ["look up juliet@example.org"]);
}

// Proves: XEP-0388 §2.3, §2.6.2, §3, §4.5
#[test]
fn failures_are_told_in_the_same_syntax_and_the_stream_goes_on() {
    let xml = |effects: &[Effect]| match effects.first() {
        Some(Effect::Send(element)) => element.to_xml(""),
        other => panic!("{other:?}"),
    };
    let mut login = machine(offer());
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0wrong"), ""));
    login.looked_up(found(), &nonce());
    let effects = login.verified(Verdict::Wrong);
    assert_eq!(told(&effects), failed("not-authorized", 2));
    let expected = |condition: &str| {
        format!("<failure xmlns='urn:xmpp:sasl:2'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>")
    };
    assert_eq!(xml(&effects), expected("not-authorized"));
    login.nonza(&authenticate("PLAIN", None, ""));
    let effects = login.nonza(&abort());
    assert_eq!((told(&effects), xml(&effects)), (failed("aborted", 1), expected("aborted")));
    // The other syntax still works, and the attempts are the same ones.
    let effects = login.nonza(&auth("X", None));
    assert_eq!(told(&effects), failed("invalid-mechanism", 0));
    for offer in [Offer::STARTTLS, Offer::WITHOUT_TLS] {
        let effects = machine(offer).nonza(&authenticate("SCRAM-SHA-256", Some(b"n,,n=juliet,r=abc"), ""));
        assert_eq!(told(&effects), failed("encryption-required", 2));
    }
    let unknown = |found| {
        let mut login = machine(offer());
        login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0wrong"), ""));
        login.looked_up(found, &nonce());
        xml(&login.verified(Verdict::Wrong))
    };
    assert_eq!(unknown(Found::Unknown), unknown(found()));
    let effects = machine(offer()).nonza(&authenticate("SCRAM-SHA-512", Some(b"n,,n=juliet,r=abc"), ""));
    assert_eq!(told(&effects), failed("invalid-mechanism", 2), "that was not announced");
    let broken = "<user-agent id='x'/>";
    let effects = machine(offer()).nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), broken));
    assert_eq!(told(&effects), failed("malformed-request", 2));
}

// Proves: XEP-0388 §2.4
#[test]
fn between_the_first_message_and_the_last_there_is_nothing_else() {
    for intruder in
        [authenticate("PLAIN", None, ""), auth("PLAIN", None), response(b"x"), Element::new("abort", SASL_NS)]
    {
        let mut login = machine(offer());
        login.nonza(&authenticate("PLAIN", None, ""));
        assert_eq!(told(&login.nonza(&intruder)), ["close policy-violation"], "{}", intruder.to_xml(""));
    }
    let mut login = machine(offer());
    login.nonza(&authenticate("PLAIN", None, ""));
    assert_eq!(told(&login.nonza(&Element::new("r", "urn:xmpp:sm:3"))), ["close unsupported-stanza-type"]);
    // The older profile is as patient as it was; but an answer belongs to the question that was asked.
    let mut login = machine(offer());
    login.nonza(&auth("PLAIN", None));
    assert_eq!(told(&login.nonza(&answer(b"\0juliet\0pencil"))), failed("malformed-request", 2));
    let mut login = machine(offer());
    login.nonza(&auth("PLAIN", None));
    assert_eq!(told(&login.nonza(&authenticate("PLAIN", None, ""))), ["challenge"]);
}

// Proves: XEP-0388 §2.3, §4.4
#[test]
fn nobody_becomes_another_than_the_stream_is_from() {
    let from = |from: &str| machine(offer()).from(Some(from.parse().unwrap()));
    for message in [&b"\0juliet\0pencil"[..], b"juliet@example.org\0juliet\0pencil"] {
        let effects = from("romeo@example.org").nonza(&authenticate("PLAIN", Some(message), ""));
        assert_eq!(told(&effects), failed("invalid-authzid", 2));
        let effects = from("juliet@example.org").nonza(&authenticate("PLAIN", Some(message), ""));
        assert_eq!(told(&effects), ["look up juliet@example.org"]);
    }
    let effects = from("romeo@example.org").nonza(&auth("PLAIN", Some(b"\0juliet\0pencil")));
    assert_eq!(told(&effects), ["look up juliet@example.org"], "the header of the next stream will tell");
}

fn key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

fn at(days: u32) -> Timestamp {
    Timestamp::from_unix_ms(1_000_000_000_000).after(DAY * days)
}

/// A token of juliet's client for this mechanism.
fn issued(mechanism: Mechanism) -> (Slots, String) {
    let (account, agent) = ("juliet@example.org".parse().unwrap(), AgentId::parse(AGENT).unwrap());
    let mut slots = Slots::default();
    let holder = Holder { account: &account, agent: &agent };
    let issued = slots.issue(&key(), holder, mechanism, (at(0), DAY * 21), [1; 16]);
    (slots, issued.token)
}

fn with_token(login: &mut Login, mechanism: Mechanism, message: &[u8], found: FoundToken) -> Vec<Effect> {
    let asked = authenticate(mechanism.as_str(), Some(message), "<fast xmlns='urn:xmpp:fast:0'/>");
    let effects = login.nonza(&asked);
    assert_eq!(told(&effects), [format!("look up juliet@example.org {AGENT}")]);
    login.token_found(found, &key(), at(1))
}

// Proves: XEP-0484 §3.4
#[test]
fn a_token_logs_in_with_one_message() {
    for kind in [None, Some(BindingType::TlsExporter), Some(BindingType::TlsServerEndPoint)] {
        let mechanism = Mechanism::HashedToken(kind);
        let data = kind.and_then(|kind| bindings().data(kind).map(<[u8]>::to_vec)).unwrap_or_default();
        let (slots, token) = issued(mechanism);
        let message = message("juliet", &token, &data);
        let found = || FoundToken::Client(slots.clone(), Standing::Active);
        let entry = entered(with_token(&mut machine(offer()), mechanism, &message, found()));
        let used = entry.used.as_ref().unwrap();
        assert!(used.changed && used.due && used.mechanism == mechanism);
        assert!(entry.success("juliet@example.org", "").contains("<additional-data>"));
        // Bound to its mechanism.
        for other in [None, Some(BindingType::TlsExporter), Some(BindingType::TlsServerEndPoint)] {
            let effects = with_token(&mut machine(offer()), Mechanism::HashedToken(other), &message, found());
            assert_eq!(told(&effects).len() == 1, other == kind, "{kind:?} {other:?}");
        }
        let disabled = FoundToken::Client(slots.clone(), Standing::Disabled);
        let effects = with_token(&mut machine(offer()), mechanism, &message, disabled);
        assert_eq!(told(&effects), failed("account-disabled", 2));
    }
}

// Proves: XEP-0484 §4.2
#[test]
fn who_has_no_token_learns_nothing() {
    let mechanism = Mechanism::HashedToken(None);
    let (slots, token) = issued(mechanism);
    let (right, wrong) = (message("juliet", &token, b""), message("juliet", "another", b""));
    let refused = |message: &[u8], found| told(&with_token(&mut machine(offer()), mechanism, message, found));
    let disabled = || FoundToken::Client(slots.clone(), Standing::Disabled);
    assert_eq!(refused(&wrong, FoundToken::Client(slots.clone(), Standing::Active)), failed("not-authorized", 2));
    assert_eq!(refused(&wrong, FoundToken::Unknown), failed("not-authorized", 2));
    assert_eq!(refused(&wrong, disabled()), failed("not-authorized", 2));
    assert_eq!(refused(&right, FoundToken::Unavailable), failed("temporary-auth-failure", 2));
    let mut login = machine(offer());
    login.nonza(&authenticate(mechanism.as_str(), Some(&right), "<fast xmlns='urn:xmpp:fast:0'/>"));
    let effects = login.token_found(FoundToken::Client(slots.clone(), Standing::Active), &key(), at(30));
    assert_eq!(told(&effects), failed("credentials-expired", 2));
    // A password still does it.
    assert_eq!(
        told(&login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), ""))),
        ["look up juliet@example.org"]
    );
}

// Proves: XEP-0484 §3.4, §4.1
#[test]
fn tokens_are_used_by_clients_that_say_so() {
    let right = message("juliet", "x", b"");
    let name = Mechanism::HashedToken(None).as_str();
    let without = |more: &str, agent: &str| {
        let initial = STANDARD.encode(&right);
        let xml = format!(
            "<authenticate mechanism='{name}'><initial-response>{initial}</initial-response>{agent}{more}</authenticate>"
        );
        told(&machine(offer()).nonza(&Element::parse(&xml, SASL2_NS).unwrap()))
    };
    let (fast, agent) = ("<fast xmlns='urn:xmpp:fast:0' count='1'/>", format!("<user-agent id='{AGENT}'/>"));
    assert_eq!(without(fast, &agent), [format!("look up juliet@example.org {AGENT}")]);
    assert_eq!(without("", &agent), failed("malformed-request", 2));
    assert_eq!(without(fast, ""), failed("malformed-request", 2));
    assert_eq!(without(fast, "<user-agent/>"), failed("malformed-request", 2));
    let none = Offer { tokens: TokenPolicy::None, ..offer() };
    let effects = machine(none).nonza(&authenticate(name, Some(&right), fast));
    assert_eq!(told(&effects), failed("invalid-mechanism", 2));
    let mut login = machine(offer());
    login.nonza(&authenticate("PLAIN", None, ""));
    assert!(login.token_found(FoundToken::Unknown, &key(), at(0)).is_empty(), "nobody has asked");
}

// Proves: XEP-0484 §3.2
#[test]
fn a_token_is_given_for_a_mechanism_that_is_offered() {
    let wanted = |offer: Offer, mechanism: &str| {
        let mut login = machine(offer);
        let more = format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>");
        login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), &more));
        login.looked_up(found(), &nonce());
        entered(login.verified(Verdict::Right)).wishes.new_token
    };
    assert_eq!(wanted(offer(), "HT-SHA-256-EXPR"), Some(Mechanism::HashedToken(Some(BindingType::TlsExporter))));
    assert_eq!(wanted(offer(), "HT-SHA-512-NONE"), None);
    assert_eq!(wanted(Offer { bindings: Bindings::NONE, ..offer() }, "HT-SHA-256-EXPR"), None);
    assert_eq!(wanted(Offer { tokens: TokenPolicy::None, ..offer() }, "HT-SHA-256-NONE"), None);
}

// Proves: XEP-0474 §6.1, XEP-0515 §4.1
#[test]
fn a_challenge_tells_what_was_offered() {
    let shown = "PLAIN\u{1e}SCRAM-SHA-1\u{1e}SCRAM-SHA-1-PLUS\u{1e}SCRAM-SHA-256\u{1e}SCRAM-SHA-256-PLUS\u{1f}tls-exporter\
                 \u{1e}tls-server-end-point";
    let hashed = STANDARD.encode(ScramHash::Sha1.digest(shown.as_bytes()));
    let message = b"n,,n=juliet,r=abc";
    for request in [auth("SCRAM-SHA-1", Some(message)), authenticate("SCRAM-SHA-1", Some(message), "")] {
        let mut login = machine(offer());
        login.nonza(&request);
        let Some(Effect::Send(challenge)) = login.looked_up(found(), &nonce()).into_iter().next() else { panic!() };
        let challenge = String::from_utf8(STANDARD.decode(challenge.text()).unwrap()).unwrap();
        assert!(challenge.ends_with(&format!(",i=4096,h={hashed},t=0304")), "{challenge}");
    }
    let mut login = machine(Offer::WITHOUT_TLS);
    login.nonza(&auth("SCRAM-SHA-1", Some(message)));
    let Some(Effect::Send(challenge)) = login.looked_up(found(), &nonce()).into_iter().next() else { panic!() };
    let challenge = String::from_utf8(STANDARD.decode(challenge.text()).unwrap()).unwrap();
    let hashed = STANDARD.encode(ScramHash::Sha1.digest("SCRAM-SHA-1\u{1e}SCRAM-SHA-256".as_bytes()));
    assert!(challenge.ends_with(&format!(",i=4096,h={hashed}")), "{challenge}");
}

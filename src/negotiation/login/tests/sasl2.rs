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
            let effects = login.nonza(&answer(last.as_bytes()));
            let entry = entered(settled(&mut login, effects));
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
    let entry = entered(login.judged(Judgement::Admitted));
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
    let effects = login.judged(Judgement::Wrong);
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
        xml(&login.judged(Judgement::Wrong))
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

pub(super) fn key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

pub(super) fn at(days: u32) -> Timestamp {
    Timestamp::from_unix_ms(1_000_000_000_000).after(DAY * days)
}

/// A token of juliet's client for this mechanism.
pub(super) fn issued(mechanism: Mechanism) -> (Slots, String) {
    let (account, agent) = ("juliet@example.org".parse().unwrap(), AgentId::parse(AGENT).unwrap());
    let mut slots = Slots::default();
    let holder = Holder { account: &account, agent: &agent };
    let issued = slots.issue(&key(), holder, mechanism, (at(0), DAY * 21), [1; 16]);
    (slots, issued.token.to_string())
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
        entered(login.judged(Judgement::Admitted)).wishes.new_token
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

const UPGRADE: &str = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>";

fn element(xml: &str) -> Element {
    Element::parse(xml, SASL2_NS).unwrap()
}

pub(super) fn lacking() -> Found {
    Found::Account(Box::new(Credentials { sha512: None, ..credentials() }), Standing::Active)
}

/// The effects after a right password and a wish for keys.
fn with_upgrade(login: &mut Login, found: Found) -> Vec<Effect> {
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), UPGRADE));
    login.looked_up(found, &nonce());
    login.judged(Judgement::Admitted)
}

fn next() -> Element {
    element("<next task='UPGR-SCRAM-SHA-512'/>")
}

fn hash() -> Element {
    let hash = STANDARD.encode([1; 64]);
    element(&format!("<task-data><hash xmlns='urn:xmpp:scram-upgrade:0'>{hash}</hash></task-data>"))
}

// Proves: XEP-0388 §2.4, §2.6.3, §4.8, XEP-0480 §2.2, §3
#[test]
fn a_task_is_done_step_by_step_or_the_login_fails() {
    let mut login = machine(offer());
    assert_eq!(told(&with_upgrade(&mut login, lacking())), ["continue tasks"]);
    assert!(login.is_exclusive());
    assert_eq!(told(&login.nonza(&next())), ["salt"]);
    assert_eq!(told(&login.salted([1; 16])), ["task-data salt"]);
    assert_eq!(told(&login.nonza(&hash())), ["keep Sha512"]);
    assert_eq!(told(&login.kept::<()>(&Ok(()))), ["enter juliet@example.org"]);
    assert_eq!(told(&login.nonza(&next())), ["close unsupported-stanza-type"]);

    let at = |steps: usize| {
        let mut login = machine(offer());
        with_upgrade(&mut login, lacking());
        if steps > 0 {
            login.nonza(&next());
            login.salted([1; 16]);
        }
        login
    };
    for steps in [0, 1] {
        assert_eq!(told(&at(steps).nonza(&abort())), failed("aborted", 2));
        assert_eq!(told(&at(steps).nonza(&answer(b"x"))), ["close policy-violation"]);
        assert_eq!(told(&at(steps).nonza(&authenticate("PLAIN", None, ""))), ["close policy-violation"]);
        assert_eq!(told(&at(steps).nonza(&auth("PLAIN", None))), ["close policy-violation"]);
        assert!(at(steps).kept::<()>(&Ok(())).is_empty(), "nothing was asked");
    }
    assert_eq!(told(&at(0).nonza(&hash())), ["close unsupported-stanza-type"]);
    assert_eq!(told(&at(1).nonza(&next())), ["close unsupported-stanza-type"]);
    assert!(at(0).salted([1; 16]).is_empty() && at(1).salted([1; 16]).is_empty());
    assert_eq!(told(&at(0).nonza(&element("<next task='TOTP'/>"))), failed("malformed-request", 2));
    assert_eq!(told(&at(1).nonza(&element("<task-data/>"))), failed("malformed-request", 2));
    let mut login = at(1);
    login.nonza(&hash());
    assert_eq!(told(&login.kept(&Err(()))), failed("temporary-auth-failure", 2));
    // However a task has failed, nobody begins again behind `<continue/>`.
    let fails = |steps, said: &Element| {
        let mut login = at(steps);
        login.nonza(said);
        login
    };
    let all = [fails(0, &abort()), fails(0, &element("<next/>")), fails(1, &element("<task-data/>")), login];
    for mut login in all {
        assert!(!login.is_exclusive());
        assert_eq!(told(&login.nonza(&authenticate("PLAIN", None, ""))), ["close policy-violation"]);
    }
}

// Proves: XEP-0178 §2
#[test]
fn a_certificate_that_was_no_use_is_not_how_somebody_got_in() {
    let certified = vec!["juliet@example.org".parse().unwrap()];
    let mut login = machine(Offer { certified, ..offer() });
    login.nonza(&authenticate("EXTERNAL", Some(b""), ""));
    let disabled = Found::Account(Box::new(credentials()), Standing::Disabled);
    assert_eq!(told(&login.looked_up(disabled, &nonce())), failed("account-disabled", 2));
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), ""));
    login.looked_up(found(), &nonce());
    assert_eq!(entered(login.judged(Judgement::Admitted)).means, Means::Password);
}

// Proves: XEP-0480 §2.2
#[test]
fn only_what_is_missing_is_made_and_only_by_who_knows_the_password() {
    let entered = ["enter juliet@example.org"];
    assert_eq!(told(&with_upgrade(&mut machine(offer()), found())), entered, "it has all keys");
    let all = Offer { hashes: ScramHash::ALL, ..offer() };
    assert_eq!(told(&with_upgrade(&mut machine(all), lacking())), entered, "this was not offered");
    let mut login = machine(offer());
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0wrong"), UPGRADE));
    login.looked_up(lacking(), &nonce());
    assert_eq!(told(&login.judged(Judgement::Wrong)), failed("not-authorized", 2));
    // A token is not the password: whoever has stolen one must not make another password of it.
    let mechanism = Mechanism::HashedToken(None);
    let (slots, token) = issued(mechanism);
    let mut login = machine(offer());
    let right = message("juliet", &token, b"");
    login.nonza(&authenticate(
        mechanism.as_str(),
        Some(&right),
        &[UPGRADE, "<fast xmlns='urn:xmpp:fast:0'/>"].concat(),
    ));
    let effects = login.token_found(FoundToken::Client(slots, Standing::Active), &key(), at(1));
    assert_eq!(told(&effects), entered);
    let certified = vec!["juliet@example.org".parse().unwrap()];
    let mut login = machine(Offer { certified, ..offer() });
    login.nonza(&authenticate("EXTERNAL", Some(b""), UPGRADE));
    assert_eq!(told(&login.looked_up(lacking(), &nonce())), entered);
    // Nothing is left over from an attempt that has failed.
    let mut login = machine(offer());
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0wrong"), UPGRADE));
    login.looked_up(lacking(), &nonce());
    login.judged(Judgement::Wrong);
    login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), ""));
    login.looked_up(lacking(), &nonce());
    assert_eq!(told(&login.judged(Judgement::Admitted)), entered);
}

// Proves: XEP-0509 §2.2
#[test]
fn who_believes_in_another_offer_has_not_tried_and_may_not_do_so_for_ever() {
    let version = || ConfigVersion::of(&Features::default());
    let told_version = version().feature().to_xml("");
    let other = told_version.replace("value='", "value='x");
    let mut login = machine(offer()).called(version());
    for _ in 1..ATTEMPTS {
        let effects = login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), &other));
        assert_eq!(told(&effects), ["failure aborted"], "no attempt, and nothing in the log");
    }
    // All attempts are left.
    for left in [2, 1] {
        assert_eq!(told(&login.nonza(&auth("X", None))), failed("invalid-mechanism", left));
    }
    let effects = login.nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), &told_version));
    assert_eq!(told(&effects), ["look up juliet@example.org"]);
    let mut login = machine(offer()).called(version());
    for _ in 1..ATTEMPTS {
        login.nonza(&authenticate("PLAIN", None, &other));
    }
    assert_eq!(told(&login.nonza(&authenticate("PLAIN", None, &other))), ["close policy-violation"]);
    // Who says nothing about it is not asked.
    let effects = machine(offer()).called(version()).nonza(&authenticate("PLAIN", Some(b"\0juliet\0pencil"), ""));
    assert_eq!(told(&effects), ["look up juliet@example.org"]);
}

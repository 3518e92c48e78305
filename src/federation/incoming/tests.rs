use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::dialback::PENDING;
use super::*;
use crate::config::FederationMode;
use crate::federation::policy::{Policy, Proofs, Terms};
use crate::federation::proof::{Asked, Evidence, Key, Pins};
use crate::hooks::StreamFeatures;
use crate::net::dns::Security;
use crate::net::tls::names::Presented;
use crate::stream::Limits;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='here.example' \
    to='there.example' id='1' xml:lang='en' version='1.0'>";
const EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";

fn rules(proofs: Proofs) -> Arc<Rules> {
    rules_of(Policy { terms: terms(proofs), ..Policy::default() })
}

fn terms(proofs: Proofs) -> Terms {
    Terms { proofs: proofs.kinds(), ..Terms::default() }
}

fn rules_of(policy: Policy) -> Arc<Rules> {
    let settings = Settings {
        domains: vec!["here.example".to_owned()],
        policy,
        pins: Pins::default(),
        bidi: false,
        connect_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(600),
        expiry: Duration::ZERO,
        queue_bytes: 1 << 20,
        queue_bytes_total: 64 << 20,
        limits: Limits::SERVER,
        deadline: Duration::from_secs(30),
    };
    Arc::new(Rules {
        settings: Live::new(settings),
        secret: Signer::new(b"secret"),
        claims: Arc::default(),
        is_local: Box::new(|domain| ["here.example", "rooms.here.example"].contains(&domain)),
        dns_is_signed: Box::new(|| false),
        stream_features: StreamFeatures::default(),
        name: "here.example".into(),
    })
}

/// The same where stanzas may go both ways.
fn bidi_rules() -> Arc<Rules> {
    let rules = rules(Proofs::Certificate);
    let settings = Settings { bidi: true, ..Settings::clone(&rules.settings.load()) };
    rules.settings.replace(settings);
    rules
}

fn proof() -> Proof {
    Evidence::Pkix { name: Presented::Dns("there.example".to_owned()), host: None, until: UNIX_EPOCH }.into()
}

fn called_back() -> Proof {
    Proof::dialback(Asked { server: "192.0.2.1:5269".to_owned(), security: Security::Insecure, proof: None })
}

fn header(from: Option<&str>, to: Option<&str>) -> Header {
    Header {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        version: Some((1, 0)),
        dialback: true,
        ..Header::default()
    }
}

fn greeting() -> Header {
    header(Some("there.example"), Some("here.example"))
}

fn certificate(names: &'static [&'static str]) -> Certificate {
    Box::new(move |domain, _| if names.contains(&domain) { Ok(proof()) } else { Err(Reason::SelfSigned) })
}

/// A stream behind TLS whose peer has shown a certificate for `names`, and its features.
fn secured(proofs: Proofs, names: &'static [&'static str]) -> (Incoming, String) {
    let mut machine = Incoming::new(rules(proofs));
    machine.secured(certificate(names));
    let effect = machine.opened(&greeting(), "1".to_owned());
    assert_eq!(effect.next, Next::Read);
    let features = effect.write.strip_prefix(HEADER).unwrap().to_owned();
    (machine, features)
}

fn authenticated() -> Incoming {
    let (mut machine, _) = secured(Proofs::Certificate, &["there.example"]);
    let effect = machine.element(&element(AUTH));
    assert_eq!(effect.write, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(effect.next, Next::Restart);
    let effect = machine.opened(&greeting(), "1".to_owned());
    assert_eq!(effect.write, format!("{HEADER}<stream:features>{DIALBACK}</stream:features>"));
    machine
}

fn element(xml: &str) -> Element {
    Element::parse(xml, "jabber:server").unwrap()
}

fn result(from: &str, to: &str) -> Element {
    element(&format!("<result xmlns='jabber:server:dialback' from='{from}' to='{to}'>key</result>"))
}

fn pair(local: &str, remote: &str) -> Pair {
    Pair { local: local.into(), remote: remote.into() }
}

fn jid(text: &str) -> Option<Jid> {
    Jid::parse(text).ok()
}

fn condition(effect: &Effect) -> String {
    assert!(matches!(effect.next, Next::Close(_)), "{effect:?}");
    let (_, rest) = effect.write.split_once("<stream:error><").unwrap();
    assert!(effect.write.ends_with("</stream:error></stream:stream>"));
    rest.split_once(' ').unwrap().0.to_owned()
}

fn verdict_is(effect: &Effect, expected: &str) {
    assert_eq!(effect.next, Next::Read, "{effect:?}");
    assert!(effect.write.contains(expected), "{effect:?}");
}

// Proves: RFC 6120 §5.3.1, §5.3.3, §5.4.1, §5.4.2.1, §6.3.4
#[test]
fn rfc_6120_5_before_tls_there_is_only_starttls() {
    let mut machine = Incoming::new(rules(Proofs::CertificateOrDialback));
    let effect = machine.opened(&greeting(), "1".to_owned());
    let features = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
    assert_eq!(effect.write, format!("{HEADER}<stream:features>{features}</stream:features>"));
    verdict_is(&machine.element(&result("there.example", "here.example")), "<policy-violation");
    let effect = machine.element(&element("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    assert_eq!(effect.write, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(effect.next, Next::Secure("here.example".into()));
    let mut machine = Incoming::new(rules(Proofs::Certificate));
    machine.opened(&greeting(), "1".to_owned());
    assert_eq!(condition(&machine.element(&element(AUTH))), "not-authorized");
}

// Proves: RFC 6120 §13.7.2, XEP-0220 §2.4.2
#[test]
fn xep_0178_external_is_offered_iff_the_certificate_proves_from() {
    let with = format!("<stream:features>{EXTERNAL}{DIALBACK}</stream:features>");
    assert_eq!(secured(Proofs::Certificate, &["there.example"]).1, with);
    assert_eq!(secured(Proofs::Certificate, &["other.example"]).1, "<stream:features></stream:features>");
    let dialback = format!("<stream:features>{DIALBACK}</stream:features>");
    assert_eq!(secured(Proofs::CertificateOrDialback, &[]).1, dialback);
}

// Proves: RFC 6120 §4.3.6, §6.2, §13.8.4
#[test]
fn xep_0178_external_proves_the_pair_of_the_header() {
    let machine = authenticated();
    assert!(machine.is_authenticated());
    assert_eq!(machine.valid_until(), Some(UNIX_EPOCH));
    let admitted = machine.admit(jid("a@there.example/x").as_ref(), jid("b@here.example").as_ref());
    assert_eq!(admitted, Ok(&pair("here.example", "there.example")));
}

#[test]
fn the_path_of_a_certificate_is_followed_once() {
    let followed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&followed);
    let mut machine = Incoming::new(rules(Proofs::Certificate));
    machine.secured(Box::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(proof())
    }));
    machine.opened(&greeting(), "1".to_owned());
    machine.element(&element(AUTH));
    machine.opened(&greeting(), "2".to_owned());
    assert!(machine.is_authenticated());
    assert_eq!(followed.load(Ordering::Relaxed), 1);
    verdict_is(&machine.element(&result("other.example", "here.example")), "type='valid'");
    assert_eq!(followed.load(Ordering::Relaxed), 2, "what it says of another domain is not known yet");
}

#[test]
fn what_has_proven_a_pair_has_to_go_on_counting() {
    let machine = authenticated();
    let admitted = || machine.admit(jid("a@there.example/x").as_ref(), jid("b@here.example").as_ref()).is_ok();
    let before = machine.rules.settings.get();
    assert!(admitted());
    for (proofs, pins, passes) in [
        (vec![Kind::Dane, Kind::Pin], Pins::default(), false),
        (vec![Kind::Pkix], Pins::default(), true),
        (vec![Kind::Pkix, Kind::Pin], [("there.example".to_owned(), Key([1; 32]))].into_iter().collect(), false),
        (vec![Kind::Pkix, Kind::Pin], [("other.example".to_owned(), Key([1; 32]))].into_iter().collect(), true),
    ] {
        let policy = Policy { terms: Terms { proofs, ..Terms::default() }, ..Policy::default() };
        machine.rules.settings.replace(Settings { policy, pins, ..Settings::clone(&before) });
        assert_eq!(admitted(), passes);
    }
}

#[test]
fn rfc_6120_6_refused_attempts() {
    for (auth, expected) in [
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>", "invalid-mechanism"),
        (
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>b3RoZXIuZXhhbXBsZQ==</auth>",
            "invalid-authzid",
        ),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>?</auth>", "incorrect-encoding"),
        ("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "malformed-request"),
        ("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "aborted"),
    ] {
        let (mut machine, _) = secured(Proofs::Certificate, &["there.example", "other.example"]);
        let effect = machine.element(&element(auth));
        verdict_is(&effect, expected);
        assert!(!machine.is_authenticated());
    }
    let (mut machine, _) = secured(Proofs::Certificate, &["other.example"]);
    verdict_is(&machine.element(&element(AUTH)), "<not-authorized");
    verdict_is(&machine.element(&element(AUTH)), "<not-authorized");
    assert_eq!(condition(&machine.element(&element(AUTH))), "policy-violation");
}

// Proves: RFC 6120 §6.3.10
#[test]
fn rfc_6120_6_4_2_without_initial_response_there_is_a_challenge() {
    let (mut machine, _) = secured(Proofs::Certificate, &["there.example"]);
    let auth = element("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>");
    assert_eq!(machine.element(&auth).write, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    let response = element("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dGhlcmUuZXhhbXBsZQ==</response>");
    assert_eq!(machine.element(&response).next, Next::Restart);
}

#[test]
fn after_authentication_the_header_must_name_the_same_domains() {
    for other in
        [header(Some("other.example"), Some("here.example")), header(Some("there.example"), Some("rooms.here.example"))]
    {
        let (mut machine, _) = secured(Proofs::Certificate, &["there.example"]);
        machine.element(&element(AUTH));
        assert_eq!(condition(&machine.opened(&other, "2".to_owned())), "invalid-from");
    }
}

// Proves: RFC 6120 §4.9.1.3
#[test]
fn rfc_6120_4_9_header_errors() {
    let old = Header { version: None, ..greeting() };
    for (header, expected) in [
        (header(Some("there.example"), Some("unknown.example")), "host-unknown"),
        (header(Some("there.example"), None), "improper-addressing"),
        (header(Some("a@there.example"), Some("here.example")), "improper-addressing"),
        (header(Some(""), Some("here.example")), "improper-addressing"),
        (header(Some("here.example"), Some("here.example")), "invalid-from"),
        (old, "unsupported-version"),
    ] {
        let effect = Incoming::new(rules(Proofs::Certificate)).opened(&header, "1".to_owned());
        assert!(effect.write.contains(" from='here.example'"), "{effect:?}");
        // Only a domain is repeated (§4.7.2).
        let domain = header.from.as_deref().filter(|from| !from.is_empty() && !from.contains('@'));
        assert_eq!(effect.write.contains(" to='"), domain.is_some(), "{effect:?}");
        assert_eq!(condition(&effect), expected, "{header:?}");
    }
}

// Proves: RFC 6120 §4.7.5
#[test]
fn the_lower_version_counts() {
    for (theirs, ours) in
        [(Some((1, 12)), " version='1.0'>"), (Some((0, 9)), " version='0.9'>"), (None, " xml:lang='en'>")]
    {
        let mut machine = Incoming::new(rules(Proofs::Certificate));
        let effect = machine.opened(&Header { version: theirs, ..greeting() }, "1".to_owned());
        assert!(effect.write.contains(ours), "{}", effect.write);
        let refused = theirs.is_none_or(|version| version < VERSION);
        assert_eq!(effect.write.contains("<unsupported-version "), refused, "{}", effect.write);
    }
}

// Proves: RFC 6120 §4.9.1.2, §4.7.1, §4.7.3, §4.7.4
#[test]
fn a_stream_error_before_the_header_comes_with_one() {
    let machine = Incoming::new(rules(Proofs::Certificate));
    let effect = machine.refuse(&StreamCondition::NotWellFormed.into(), "7");
    assert!(effect.write.starts_with("<?xml version='1.0'?><stream:stream "));
    assert!(effect.write.contains(" from='here.example' id='7' xml:lang='en' version='1.0'>"), "{}", effect.write);
    assert_eq!(condition(&effect), "not-well-formed");
    let (machine, _) = secured(Proofs::Certificate, &[]);
    assert!(machine.refuse(&StreamCondition::NotWellFormed.into(), "7").write.starts_with("<stream:error>"));
}

#[test]
fn modes_refuse_strangers() {
    let with = |mode| {
        let listed = HashSet::from(["friend.example".to_owned()]);
        rules_of(Policy { mode, listed, terms: terms(Proofs::CertificateOrDialback), ..Policy::default() })
    };
    for mode in [FederationMode::Closed, FederationMode::Listed] {
        let effect = Incoming::new(with(mode)).opened(&greeting(), "1".to_owned());
        assert_eq!(condition(&effect), "policy-violation");
        let mut machine = Incoming::new(with(mode));
        machine.secured(certificate(&["there.example"]));
        machine.opened(&header(None, Some("here.example")), "1".to_owned());
        verdict_is(&machine.element(&result("there.example", "here.example")), "<policy-violation");
    }
    let mut machine = Incoming::new(with(FederationMode::Listed));
    machine.secured(certificate(&["friend.example"]));
    machine.opened(&header(None, Some("here.example")), "1".to_owned());
    verdict_is(&machine.element(&result("friend.example", "here.example")), "type='valid'");
}

// Proves: RFC 6120 §4.3.6
#[test]
fn xep_0220_2_2_1_a_key_is_verified_before_the_pair_counts() {
    let (mut machine, _) = secured(Proofs::CertificateOrDialback, &[]);
    let effect = machine.element(&result("there.example", "here.example"));
    let pair = pair("here.example", "there.example");
    let key = Some("key".to_owned());
    let verification = Verification { pair: pair.clone(), id: "1".to_owned(), key };
    assert_eq!(effect, Effect { write: String::new(), next: Next::Verify(verification) });
    assert!(!machine.is_authenticated());
    let effect = machine.verified(&pair, Ok(called_back()));
    assert_eq!(effect.write, "<db:result from='here.example' to='there.example' type='valid'/>");
    assert!(machine.is_authenticated());
    // T-S2S-1: the same verdict once more, or for another pair, has no effect.
    assert_eq!(machine.verified(&pair, Ok(called_back())).write, "");
    assert_eq!(machine.verified(&self::pair("here.example", "other.example"), Ok(called_back())).write, "");
    assert!(machine.admit(jid("a@other.example").as_ref(), jid("here.example").as_ref()).is_err());
}

#[test]
fn xep_0220_2_2_1_an_invalid_key_ends_the_stream_unless_it_is_used() {
    let (mut machine, _) = secured(Proofs::CertificateOrDialback, &[]);
    machine.element(&result("there.example", "here.example"));
    let effect = machine.verified(&pair("here.example", "there.example"), Err(Denial::Invalid));
    assert_eq!(effect.write, "<db:result from='here.example' to='there.example' type='invalid'/></stream:stream>");
    assert!(matches!(effect.next, Next::Close(_)));
    let (mut machine, _) = secured(Proofs::CertificateOrDialback, &["there.example"]);
    verdict_is(&machine.element(&result("there.example", "here.example")), "type='valid'");
    machine.element(&result("other.example", "here.example"));
    verdict_is(&machine.verified(&pair("here.example", "other.example"), Err(Denial::Invalid)), "<forbidden");
}

#[test]
fn a_certificate_makes_calling_back_needless_and_is_needed_otherwise() {
    let (mut machine, _) = secured(Proofs::Certificate, &["there.example", "rooms.there.example"]);
    verdict_is(&machine.element(&result("there.example", "here.example")), "type='valid'");
    verdict_is(&machine.element(&result("rooms.there.example", "here.example")), "type='valid'");
    verdict_is(&machine.element(&result("rooms.there.example", "rooms.here.example")), "type='valid'");
    verdict_is(&machine.element(&result("other.example", "here.example")), "<not-authorized");
    assert!(machine.admit(jid("rooms.there.example").as_ref(), jid("here.example").as_ref()).is_ok());
    assert!(machine.admit(jid("other.example").as_ref(), jid("here.example").as_ref()).is_err());
}

#[test]
fn xep_0220_2_2_1_an_unknown_target_is_no_stream_error() {
    let (mut machine, _) = secured(Proofs::CertificateOrDialback, &["there.example"]);
    verdict_is(&machine.element(&result("there.example", "unknown.example")), "<item-not-found");
    verdict_is(&machine.element(&result("here.example", "here.example")), "<policy-violation");
}

#[test]
fn one_stream_has_its_bounds() {
    let (mut machine, _) = secured(Proofs::CertificateOrDialback, &[]);
    for at in 0..PENDING {
        let effect = machine.element(&result(&format!("d{at}.example"), "here.example"));
        assert!(matches!(effect.next, Next::Verify(_)));
    }
    verdict_is(&machine.element(&result("more.example", "here.example")), "<resource-constraint");
}

#[test]
fn xep_0220_2_2_2_our_keys_are_vouched_for() {
    // A stream that only verifies comes without `from`.
    let mut machine = Incoming::new(rules(Proofs::Certificate));
    machine.secured(certificate(&[]));
    machine.opened(&header(None, Some("here.example")), "1".to_owned());
    let key = Signer::new(b"secret").key("there.example", "here.example", "77");
    let ask = |to: &str, id: &str, key: &str| {
        let head = "<verify xmlns='jabber:server:dialback' from='there.example'";
        element(&format!("{head} to='{to}' id='{id}'>{key}</verify>"))
    };
    let answer = |kind: &str| format!("<db:verify from='here.example' to='there.example' id='77' type='{kind}'/>");
    assert_eq!(machine.element(&ask("here.example", "77", &key)).write, answer("valid"));
    assert_eq!(machine.element(&ask("here.example", "77", "wrong")).write, answer("invalid"));
    assert_eq!(machine.element(&ask("here.example", "78", &key)).write, answer("invalid").replace("77", "78"));
    verdict_is(&machine.element(&ask("unknown.example", "77", &key)), "<item-not-found");
    assert!(!machine.is_authenticated());
}

// Proves: XEP-0220 §3.1
#[test]
fn t_s2s_1_answers_that_nobody_asked_for_end_the_stream() {
    for said in [
        "<result xmlns='jabber:server:dialback' from='there.example' to='here.example' type='valid'/>",
        "<verify xmlns='jabber:server:dialback' from='there.example' to='here.example' id='1' type='valid'/>",
    ] {
        let (mut machine, _) = secured(Proofs::CertificateOrDialback, &[]);
        machine.element(&result("there.example", "here.example"));
        assert_eq!(condition(&machine.element(&element(said))), "policy-violation");
        assert!(!machine.is_authenticated());
    }
}

// Proves: RFC 6120 §8.1.1.2
#[test]
fn t_s2s_2_only_proven_pairs_pass() {
    let machine = authenticated();
    let code = |from: &str, to: &str| {
        let (from, to) = (jid(from), jid(to));
        machine.admit(from.as_ref(), to.as_ref()).map_err(|error| error.condition).err()
    };
    use StreamCondition::{HostUnknown, ImproperAddressing, InvalidFrom};
    assert_eq!(code("a@there.example", "b@here.example/x"), None);
    assert_eq!(code("a@THERE.example", "b@here.example/x"), None);
    for from in ["a@other.example", "a@x.there.example", "there.example.evil", "a@here.example", "a@example"] {
        assert_eq!(code(from, "b@here.example"), Some(InvalidFrom), "{from}");
    }
    assert_eq!(code("a@there.example", "b@rooms.here.example"), Some(InvalidFrom));
    assert_eq!(code("a@there.example", "b@unknown.example"), Some(HostUnknown));
    assert_eq!(code("", "b@here.example"), Some(ImproperAddressing));
    assert_eq!(code("a@there.example", ""), Some(ImproperAddressing));
}

#[test]
fn nothing_passes_before_authentication() {
    let (machine, _) = secured(Proofs::Certificate, &["there.example"]);
    let error = machine.admit(jid("a@there.example").as_ref(), jid("here.example").as_ref()).unwrap_err();
    assert_eq!(error.condition, StreamCondition::NotAuthorized);
}

#[test]
fn other_elements() {
    let (mut machine, _) = secured(Proofs::Certificate, &["there.example"]);
    assert_eq!(condition(&machine.element(&element("<x xmlns='y'/>"))), "not-authorized");
    let mut machine = authenticated();
    assert_eq!(condition(&machine.element(&element("<x xmlns='y'/>"))), "unsupported-stanza-type");
    let starttls = element("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(condition(&authenticated().element(&starttls)), "unsupported-stanza-type");
    assert_eq!(condition(&authenticated().element(&element(AUTH))), "not-authorized");
    let malformed = element("<result xmlns='jabber:server:dialback' from='there.example'>k</result>");
    assert_eq!(condition(&authenticated().element(&malformed)), "bad-format");
}

// Proves: XEP-0288 §2.1, §2.2
#[test]
fn xep_0288_2_1_both_ways_are_offered_until_somebody_has_authenticated_and_agreed_on_behind_tls() {
    let (offer, request) = ("<bidi xmlns='urn:xmpp:features:bidi'/>", element("<bidi xmlns='urn:xmpp:bidi'/>"));
    let mut machine = Incoming::new(bidi_rules());
    assert!(machine.opened(&greeting(), "1".to_owned()).write.contains(offer));
    assert_eq!(condition(&machine.element(&request)), "not-authorized");
    let mut machine = Incoming::new(bidi_rules());
    machine.secured(certificate(&["there.example"]));
    assert!(machine.opened(&greeting(), "1".to_owned()).write.contains(offer));
    assert!(!machine.is_bidirectional());
    assert_eq!(machine.element(&request), write(String::new()));
    assert!(machine.is_bidirectional());
    machine.element(&element(AUTH));
    assert!(!machine.opened(&greeting(), "1".to_owned()).write.contains(offer));
    assert_eq!(condition(&machine.element(&request)), "unsupported-stanza-type");
}

use super::*;
use crate::federation::trouble::CertificateFault;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='here.example' \
    to='there.example' version='1.0'>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>aGVyZS5leGFtcGxl</auth>";
const SASL_FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";

fn pair() -> Pair {
    Pair { local: "here.example".into(), remote: "there.example".into() }
}

fn machine(aim: Aim, ways: Ways, proofs: Proofs) -> Outgoing {
    Outgoing::new(pair(), aim, ways, proofs, Traffic::OneWay, Signer::new(b"secret"))
}

fn deliver() -> Outgoing {
    machine(Aim::Deliver, Ways::ExternalThenDialback, Proofs::Certificate)
}

fn open(dialback: bool) -> Event {
    Event::Open(Header { id: Some("42".to_owned()), version: Some((1, 0)), dialback, ..Header::default() })
}

fn element(xml: &str) -> Event {
    Event::Element(Element::parse(xml, "jabber:server").unwrap())
}

fn features(content: &str) -> Event {
    element(&format!("<features xmlns='{STREAMS_NS}'>{content}</features>"))
}

fn starttls() -> Event {
    features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>")
}

fn external() -> Event {
    features("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>")
}

fn gone() -> Event {
    Event::Lost(Trouble::Closed { phase: Phase::Header })
}

fn proven() -> Event {
    Event::Secured { certificate: Certificate::Proves, ours: ClientCertificate::Shown }
}

fn key() -> String {
    let key = Signer::new(b"secret").key("there.example", "here.example", "42");
    format!("<db:result from='here.example' to='there.example'>{key}</db:result>")
}

fn answer(kind: &str) -> Event {
    element(&format!("<result xmlns='jabber:server:dialback' from='there.example' to='here.example' type='{kind}'/>"))
}

/// A stream behind TLS whose header has been answered.
fn secured(mut machine: Outgoing, dialback: bool) -> Outgoing {
    machine.begin(Start::DirectTls);
    assert_eq!(machine.handle(proven()), Effect { write: HEADER.to_owned(), next: Next::Restart });
    assert_eq!(machine.handle(open(dialback)), read());
    machine
}

fn fault(effect: &Effect) -> Fault {
    match &effect.next {
        Next::Fail(failure) => failure.fault,
        other => panic!("{other:?}"),
    }
}

// Proves: RFC 6120 §4.3.3, §4.3.5, §4.7.1, §4.7.2, §4.7.3, §5.2, §5.3.2, §6.3.2, §13.8.4
#[test]
fn rfc_6120_9_2_starttls_and_external() {
    let mut machine = deliver();
    let said = |write: &str, next| Effect { write: write.to_owned(), next };
    assert_eq!(machine.begin(Start::Starttls), said(HEADER, Next::Read));
    assert_eq!(machine.handle(open(true)), read());
    let want_tls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    assert_eq!(machine.handle(starttls()), said(want_tls, Next::Read));
    assert_eq!(machine.handle(element("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")), said("", Next::Secure));
    assert_eq!(machine.handle(proven()), said(HEADER, Next::Restart));
    assert_eq!(machine.handle(open(true)), read());
    assert_eq!(machine.handle(external()), said(AUTH, Next::Read));
    let success = element("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(machine.handle(success), said(HEADER, Next::Restart));
    assert_eq!(machine.handle(open(true)), read());
    assert_eq!(machine.handle(features("")), said("", Next::Ready));
}

// Proves: XEP-0478 §3
#[test]
fn what_the_peer_takes_is_what_it_has_said_last() {
    let limits =
        |bytes: &str| format!("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{bytes}</max-bytes></limits>");
    for (told, largest) in [
        (limits("262144"), Some(262_144)),
        (limits(" 10000\n"), Some(10_000)),
        (limits("4096"), Some(10_000)),
        (limits("much"), None),
        (limits("-1"), None),
        ("<limits xmlns='urn:xmpp:stream-limits:0'/>".to_owned(), None),
        (String::new(), None),
    ] {
        let mut machine = secured(deliver(), false);
        machine.handle(external());
        machine.handle(element("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"));
        machine.handle(open(false));
        assert_eq!(machine.handle(features(&told)).next, Next::Ready);
        assert_eq!(machine.largest(), largest, "{told}");
    }
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    machine.handle(open(true));
    machine.handle(features(&format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{}", limits("20000"))));
    machine.handle(element("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    machine.handle(proven());
    machine.handle(open(true));
    machine.handle(external());
    assert_eq!(machine.largest(), None);
}

// Proves: XEP-0368 §3
#[test]
fn xep_0368_direct_tls_begins_with_tls() {
    let mut machine = deliver();
    assert_eq!(machine.begin(Start::DirectTls), Effect { write: String::new(), next: Next::Secure });
}

// Proves: RFC 6120 §4.7.5, §5.3.1, §5.3.4
#[test]
fn tls_is_required() {
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    machine.handle(open(true));
    // It is asked for all the same (RFC 7590 §3.1).
    assert!(machine.handle(external()).write.starts_with("<starttls"));
    assert_eq!(fault(&machine.handle(element("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"))), Fault::Unproven);
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    let old = Event::Open(Header { id: Some("1".to_owned()), dialback: true, ..Header::default() });
    assert_eq!(fault(&machine.handle(old)), Fault::Unproven);
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    machine.handle(open(true));
    machine.handle(starttls());
    let failure = machine.handle(element("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    assert_eq!(fault(&failure), Fault::Unproven);
}

// Proves: RFC 7590 §3.1
#[test]
fn an_offer_of_tls_that_was_taken_out_deters_nobody() {
    let asked = || {
        let mut machine = deliver();
        machine.begin(Start::Starttls);
        machine.handle(open(true));
        assert!(machine.handle(features("")).write.starts_with("<starttls"));
        machine
    };
    let mut machine = asked();
    assert_eq!(machine.handle(element("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")).next, Next::Secure);
    assert_eq!(machine.take_setback(), Some(Trouble::StarttlsStripped));
    assert_eq!(machine.take_setback(), None);
    let failure = element("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    for event in [failure, gone(), Event::Late { partly: false }] {
        assert_eq!(asked().handle(event).next, Next::Fail(Trouble::NoStarttls.into()));
    }
}

#[test]
fn who_says_too_little_is_given_up_for_a_reason() {
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    let late = |machine: &mut Outgoing, partly| match machine.handle(Event::Late { partly }).next {
        Next::Fail(failure) => failure.trouble(),
        other => panic!("{other:?}"),
    };
    assert_eq!(late(&mut machine, false), Trouble::Silent { phase: Phase::Header });
    assert_eq!(late(&mut machine, true), Trouble::Slow { phase: Phase::Header });
    let mut machine = secured(deliver(), true);
    machine.handle(features(""));
    assert_eq!(late(&mut machine, false), Trouble::Silent { phase: Phase::Dialback });
    machine.handle(element("<result xmlns='jabber:server:dialback' from='a.b' to='here.example' type='valid'/>"));
    assert_eq!(late(&mut machine, false), Trouble::OtherAnswer);
}

#[test]
fn without_a_stream_id_there_is_no_dialback() {
    let mut machine = deliver();
    machine.begin(Start::DirectTls);
    machine.handle(proven());
    machine.handle(Event::Open(Header { version: Some((1, 0)), dialback: true, ..Header::default() }));
    assert_eq!(machine.handle(features("")).next, Next::Fail(Trouble::NoStreamId.into()));
}

#[test]
fn where_nobody_could_vouch_for_a_key_none_is_sent() {
    let mut machine = secured(machine(Aim::Deliver, Ways::External, Proofs::Certificate), true);
    assert_eq!(machine.handle(external()).write, AUTH);
    let effect = machine.handle(element(SASL_FAILURE));
    assert_eq!(effect, fail(Trouble::DialbackNotTried.into()));
    assert_eq!(machine.take_setback(), Some(Trouble::ExternalRefused { condition: "not-authorized".to_owned() }));
}

// Proves: XEP-0368 §3
#[test]
fn a_peer_without_proof_is_refused_unless_dialback_is_accepted() {
    let trouble = || Trouble::Certificate { fault: CertificateFault::SelfSigned, text: "self-signed".to_owned() };
    let secured = |certificate| Event::Secured { certificate, ours: ClientCertificate::Shown };
    let unproven = || secured(Certificate::SaysNothing(trouble()));
    let mut machine = deliver();
    machine.begin(Start::DirectTls);
    let effect = machine.handle(unproven());
    assert_eq!(effect.write, "");
    let Next::Fail(failure) = effect.next else { panic!() };
    assert!(failure.reason.contains("self-signed"), "{failure}");
    let mut machine = self::machine(Aim::Deliver, Ways::ExternalThenDialback, Proofs::CertificateOrDialback);
    machine.begin(Start::DirectTls);
    assert_eq!(machine.handle(unproven()).next, Next::Restart);
    // What the domain itself has said is not made good by anything.
    let mut machine = self::machine(Aim::Deliver, Ways::ExternalThenDialback, Proofs::CertificateOrDialback);
    machine.begin(Start::DirectTls);
    let effect = machine.handle(secured(Certificate::Contradicts(trouble())));
    assert_eq!(fault(&effect), Fault::Unproven);
}

// Proves: XEP-0220 §2
#[test]
fn xep_0178_after_external_dialback_on_the_same_stream() {
    let mut machine = secured(deliver(), true);
    assert_eq!(machine.handle(external()).write, AUTH);
    assert_eq!(machine.handle(element(SASL_FAILURE)), Effect { write: key(), next: Next::Read });
    assert_eq!(machine.handle(answer("valid")).next, Next::Ready);
}

#[test]
fn what_is_offered_before_dialback_holds_after_it() {
    let offers =
        |machine: &mut Outgoing| machine.offers().is_some_and(|offers| offers.child("sm", "urn:xmpp:sm:3").is_some());
    let mut machine = secured(machine(Aim::Deliver, Ways::Dialback, Proofs::Certificate), true);
    machine.handle(features("<sm xmlns='urn:xmpp:sm:3'/>"));
    assert_eq!(machine.handle(answer("valid")).next, Next::Ready);
    assert!(offers(&mut machine));
    // After EXTERNAL there are new ones.
    let mut machine = secured(deliver(), true);
    let Event::Element(mut both) = external() else { panic!() };
    both = both.with_child(Element::new("sm", "urn:xmpp:sm:3"));
    machine.handle(Event::Element(both));
    machine.handle(element("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"));
    machine.handle(open(true));
    assert_eq!(machine.handle(features("")).next, Next::Ready);
    assert!(!offers(&mut machine));
}

#[test]
fn after_a_stream_closed_over_external_dialback_on_a_fresh_one() {
    for closed_early in [true, false] {
        let mut machine = secured(deliver(), true);
        machine.handle(external());
        if !closed_early {
            machine.handle(element(SASL_FAILURE));
        }
        let lost = machine.handle(gone());
        assert!(matches!(lost.next, Next::Retry(Retry::WithDialback, _)), "{lost:?}");
    }
    let mut machine = secured(machine(Aim::Deliver, Ways::Dialback, Proofs::Certificate), true);
    assert_eq!(machine.handle(external()).write, key());
    assert_eq!(fault(&machine.handle(gone())), Fault::Unreachable);
}

#[test]
fn external_needs_a_certificate_that_was_shown() {
    let mut machine = deliver();
    machine.begin(Start::DirectTls);
    machine.handle(Event::Secured { certificate: Certificate::Proves, ours: ClientCertificate::Withheld });
    machine.handle(open(true));
    assert_eq!(machine.handle(external()).write, key());
}

#[test]
fn without_dialback_a_failed_external_is_the_end() {
    let mut machine = secured(deliver(), false);
    machine.handle(external());
    let effect = machine.handle(element(SASL_FAILURE));
    assert_eq!(fault(&effect), Fault::Unproven);
    let mut machine = secured(deliver(), false);
    assert_eq!(fault(&machine.handle(features(""))), Fault::Unproven);
}

// Proves: XEP-0220 §2.1.1
#[test]
fn the_stream_feature_alone_promises_dialback() {
    let mut machine = secured(deliver(), false);
    let effect = machine.handle(features("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"));
    assert_eq!(effect.write, key());
}

#[test]
fn a_certificate_that_is_not_welcome_is_withheld_next_time() {
    let mut machine = deliver();
    machine.begin(Start::DirectTls);
    let lost = machine.handle(gone());
    assert!(matches!(lost.next, Next::Retry(Retry::WithoutCertificate, _)));
    let mut machine = deliver();
    machine.begin(Start::DirectTls);
    machine.handle(proven());
    let lost = machine.handle(gone());
    assert!(matches!(lost.next, Next::Retry(Retry::WithoutCertificate, _)));
    for (event, known) in [(gone(), Fault::Unreachable), (Event::Unwelcome("unknown_ca".to_owned()), Fault::Unproven)] {
        let mut machine = deliver();
        machine.begin(Start::DirectTls);
        let Next::Retry(Retry::WithoutCertificate, failure) = machine.handle(event).next else { panic!("no retry") };
        assert_eq!(failure.fault, known);
    }
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    assert_eq!(fault(&machine.handle(gone())), Fault::Unreachable);
}

#[test]
fn xep_0220_2_1_1_outcomes() {
    let asked = || {
        let mut machine = secured(deliver(), true);
        assert_eq!(machine.handle(features("")).write, key());
        machine
    };
    assert_eq!(asked().handle(answer("valid")).next, Next::Ready);
    assert_eq!(fault(&asked().handle(answer("invalid"))), Fault::KeyRefused);
    let error = "<result xmlns='jabber:server:dialback' from='there.example' to='here.example' type='error'>\
        <error type='cancel'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></result>";
    assert_eq!(fault(&asked().handle(element(error))), Fault::Unproven);
    assert_eq!(fault(&asked().handle(gone())), Fault::Unreachable);
}

// Proves: XEP-0220 §2.1.1
#[test]
fn t_s2s_1_an_answer_to_another_question_has_no_effect() {
    let mut machine = secured(deliver(), true);
    machine.handle(features(""));
    for said in [
        "<result xmlns='jabber:server:dialback' from='other.example' to='here.example' type='valid'/>",
        "<result xmlns='jabber:server:dialback' from='there.example' to='other.example' type='valid'/>",
        "<result xmlns='jabber:server:dialback' from='here.example' to='there.example' type='valid'/>",
        "<verify xmlns='jabber:server:dialback' from='there.example' to='here.example' id='42' type='valid'/>",
    ] {
        assert_eq!(machine.handle(element(said)), read());
    }
    assert_eq!(machine.handle(answer("valid")).next, Next::Ready);
}

#[test]
fn t_s2s_1_an_answer_before_the_question_ends_the_stream() {
    let mut machine = secured(deliver(), true);
    assert_eq!(fault(&machine.handle(answer("valid"))), Fault::Unreachable);
}

#[test]
fn xep_0220_2_1_2_a_key_is_verified() {
    let aim = Aim::Verify { id: "their&id".to_owned(), key: "k".to_owned() };
    let mut machine = secured(machine(aim, Ways::ExternalThenDialback, Proofs::CertificateOrDialback), false);
    let effect = machine.handle(external());
    assert_eq!(effect.write, "<db:verify from='here.example' to='there.example' id='their&amp;id'>k</db:verify>");
    let verdict = |id: &str, kind: &str| {
        let head = "<verify xmlns='jabber:server:dialback' from='there.example' to='here.example'";
        element(&format!("{head} id='{id}' type='{kind}'/>"))
    };
    assert_eq!(machine.handle(verdict("other", "valid")), read());
    assert_eq!(machine.handle(verdict("their&amp;id", "invalid")).next, Next::Answered(Verdict::Invalid));
}

#[test]
fn rfc_6120_4_9_stream_errors_are_reasons() {
    for (condition, expected) in [
        ("host-unknown", Fault::NotFound),
        ("policy-violation", Fault::Unproven),
        ("system-shutdown", Fault::Unreachable),
    ] {
        let mut machine = deliver();
        machine.begin(Start::Starttls);
        let error =
            format!("<error xmlns='{STREAMS_NS}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>");
        let effect = machine.handle(element(&error));
        assert_eq!(fault(&effect), expected);
    }
}

#[test]
fn what_does_not_belong_ends_the_stream() {
    let mut machine = deliver();
    machine.begin(Start::Starttls);
    machine.handle(open(true));
    assert_eq!(fault(&machine.handle(element("<iq xmlns='x'/>"))), Fault::Unreachable);
}

/// What is written first behind TLS by a stream whose peer has shown `certificate` and offers `features`.
fn first_words(traffic: Traffic, aim: Aim, certificate: Certificate, content: &str) -> (String, bool) {
    let proofs = Proofs::CertificateOrDialback;
    let mut machine = Outgoing::new(pair(), aim, Ways::ExternalThenDialback, proofs, traffic, Signer::new(b"secret"));
    machine.begin(Start::DirectTls);
    machine.handle(Event::Secured { certificate, ours: ClientCertificate::Shown });
    machine.handle(open(true));
    let write = machine.handle(features(content)).write;
    (write, machine.is_bidirectional())
}

// Proves: XEP-0288 §2.2
#[test]
fn xep_0288_2_2_both_ways_where_it_is_wanted_and_offered_and_the_peer_has_proven_itself() {
    let external = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
    let offer = "<bidi xmlns='urn:xmpp:features:bidi'/>";
    let both = format!("{offer}{external}");
    let fault = CertificateFault::SelfSigned;
    let unproven = || Certificate::SaysNothing(Trouble::Certificate { fault, text: "self-signed".to_owned() });
    let verify = || Aim::Verify { id: "1".to_owned(), key: "k".to_owned() };
    for (traffic, aim, certificate, content, expected) in [
        (Traffic::BothWays, Aim::Deliver, Certificate::Proves, both.as_str(), true),
        (Traffic::BothWays, Aim::Deliver, Certificate::Proves, offer, true),
        (Traffic::BothWays, Aim::Deliver, Certificate::Proves, external, false),
        (Traffic::OneWay, Aim::Deliver, Certificate::Proves, &both, false),
        (Traffic::BothWays, verify(), Certificate::Proves, &both, false),
        (Traffic::BothWays, Aim::Deliver, unproven(), &both, false),
    ] {
        let (write, is_bidirectional) = first_words(traffic, aim, certificate, content);
        assert_eq!(write.starts_with("<bidi xmlns='urn:xmpp:bidi'/>"), expected, "{content}: {write}");
        assert_eq!(is_bidirectional, expected);
    }
}

use super::*;
use crate::federation::trace::{Greeting, Place};
use crate::federation::trouble::{CertificateFault, Phase};
use crate::federation::{Start, doctor};
use crate::net::Srv;
use crate::net::dns::Security;

fn step(seen: Seen) -> Step {
    let place = Place {
        host: "host.there.example".to_owned(),
        address: "192.0.2.1:5269".parse().unwrap(),
        start: Start::Starttls,
    };
    Step { at_ms: 0, took_ms: 0, place: Some(place), seen, trouble: None }
}

fn header(id: &str) -> Step {
    let greeting = Greeting {
        from: Some("there.example".to_owned()),
        to: Some("here.example".to_owned()),
        id: Some(id.to_owned()),
        version: Some("1.0".to_owned()),
    };
    step(Seen::Header { greeting: Some(greeting) })
}

fn features(offered: &[&str]) -> Step {
    step(Seen::Features { offered: offered.iter().map(ToString::to_string).collect() })
}

fn tls(version: &str) -> Step {
    step(Seen::Tls(Box::new(Encryption { version: Some(version.to_owned()), ..Encryption::default() })))
}

/// A server that does everything that is looked at.
fn good() -> Vec<Step> {
    let record = Srv { priority: 0, weight: 0, port: 5269, target: "host.there.example".to_owned() };
    let name = "_xmpp-server._tcp.there.example".to_owned();
    vec![
        step(Seen::Srv { name, records: vec![record], security: Security::Insecure }),
        step(Seen::Connection),
        header("1"),
        features(&["starttls", "required"]),
        step(Seen::Starttls),
        tls("TLS 1.3"),
        header("2"),
        features(&["mechanisms", "EXTERNAL", "dialback", "errors"]),
        step(Seen::External),
        header("3"),
        features(&["sm", "limits"]),
        step(Seen::Dialback),
        step(Seen::Verification { answer: Some("invalid".to_owned()) }),
    ]
}

fn judged(steps: Vec<Step>) -> Vec<(String, Mark)> {
    let diagnosis = doctor::Diagnosis {
        local: "here.example".to_owned(),
        remote: "there.example".to_owned(),
        reached: true,
        error: None,
        findings: Vec::new(),
        steps,
    };
    let odd = judge(&diagnosis).into_iter().filter(|outcome| outcome.result != Mark::Passed);
    odd.map(|outcome| (outcome.case, outcome.result)).collect()
}

#[test]
fn a_server_that_keeps_every_rule_has_no_remark() {
    assert_eq!(judged(good()), []);
}

#[test]
fn a_rule_that_is_broken_is_named() {
    let with = |at: usize, step: Step| {
        let mut steps = good();
        steps[at] = step;
        judged(steps)
    };
    let named = |case: &str, mark| vec![(case.to_owned(), mark)];
    assert_eq!(with(9, header("1")), named("stream-ids", Mark::Failed));
    assert_eq!(with(9, header("")), named("stream-ids", Mark::Failed));
    let foreign = Greeting { from: Some("other.example".to_owned()), id: Some("9".to_owned()), ..Greeting::default() };
    assert_eq!(with(2, step(Seen::Header { greeting: Some(foreign) })), named("stream-header", Mark::Failed));
    assert_eq!(with(3, features(&["starttls"])), named("starttls", Mark::Advised));
    assert_eq!(with(3, features(&[])), named("starttls", Mark::Failed));
    assert_eq!(with(5, tls("TLS 1.2")), named("tls-1.3", Mark::Advised));
    let fault = CertificateFault::Expired;
    let trouble = Some(Trouble::Certificate { fault, text: "a certificate expired".to_owned() });
    assert_eq!(with(5, Step { trouble, ..tls("TLS 1.3") }), named("certificate", Mark::Failed));
    let trouble = Some(Trouble::ExternalRefused { condition: "not-authorized".to_owned() });
    assert_eq!(with(8, Step { trouble, ..step(Seen::External) }), named("sasl-external", Mark::Failed));
    let valid = Seen::Verification { answer: Some("valid".to_owned()) };
    assert_eq!(with(12, step(valid)), named("dialback-question", Mark::Failed));
    assert_eq!(with(10, features(&["sm"])), named("limits", Mark::Advised));
    let trouble = Some(Trouble::Refused);
    assert_eq!(with(1, Step { trouble, ..step(Seen::Connection) }), named("every-target-answers", Mark::Failed));
}

#[test]
fn what_it_did_not_come_to_is_not_judged() {
    let silent =
        Step { trouble: Some(Trouble::Silent { phase: Phase::Header }), ..step(Seen::Header { greeting: None }) };
    let steps = [good()[..2].to_vec(), vec![silent]].concat();
    assert!(judged(steps).contains(&("stream-header".to_owned(), Mark::Untried)));
}

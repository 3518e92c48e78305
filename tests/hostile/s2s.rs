//! Hostile servers. `evil.example` has a certificate that is trusted, so that it may say what is its
//! own; where nothing is said about the port, it is the one with STARTTLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::net::dns::Srv;
use comity::net::tls::development::DevelopmentCa;
use comity::net::tls::{Identities, Identity, Incoming, ServerTls};
use comity::session::Security;
use comity::stream::{ContentNamespace, Limits};

use crate::case::{Case, Outcome, Step, judge};
use crate::markup::{ROWS, Row};
use crate::peer::{Peer, Said, well_formed};
use crate::scene::{Port, STARTTLS, Scene, Stage, certified, ended, external, honest_server, server_header, showing};

use Outcome::{Closes, Cut, HangsUp, Nothing, Reaches, Sasl, Says, Stanza, Stream};
use Stage::{Authenticated, Bound, Connected, Encrypted, Opened, Secured};

fn message(from: &str, to: &str) -> String {
    format!("<message from='{from}' to='{to}'><body>x</body></message>")
}

fn auth(mechanism: &str, data: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{data}</auth>")
}

fn result(from: &str, to: &str, rest: &str) -> String {
    format!("<db:result from='{from}' to='{to}'{rest}</db:result>")
}

fn verify(from: &str, to: &str, rest: &str) -> String {
    format!("<db:verify from='{from}' to='{to}'{rest}</db:verify>")
}

/// The rows that mean the same on every port.
fn markup() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| !row.class.starts_with("namespaces") && !row.class.starts_with("first-level"))
}

// Proves: RFC 6120 §4.8.3, §4.8.4, §4.9
#[tokio::test(start_paused = true)]
async fn markup_of_a_server() {
    let mut cases = Vec::new();
    for (at, row) in markup().enumerate() {
        let case =
            |name: &str, stage| Case::new(format!("{name}, class {}, {at}", row.class), stage, Stream(row.condition));
        cases.push(case("proven", Bound).send(row.bytes));
        match at % 3 {
            0 => cases.push(case("before TLS", Opened).send(row.bytes)),
            1 => cases.push(case("inside TLS", Secured).send(row.bytes)),
            _ => cases.push(case("singly", Bound).trickle([row.bytes, b"<"].concat())),
        }
    }
    for (bytes, condition) in [
        ("<message xmlns='jabber:client' from='mallory@evil.example' to='juliet@a.example'/>", "invalid-namespace"),
        ("<c:iq xmlns:c='jabber:client' from='mallory@evil.example' to='juliet@a.example'/>", "invalid-namespace"),
        ("<message xmlns='jabber:component:accept' to='juliet@a.example'/>", "invalid-namespace"),
        ("<msg from='mallory@evil.example' to='juliet@a.example'/>", "unsupported-stanza-type"),
        ("<handshake/>", "unsupported-stanza-type"),
        ("<x xmlns='urn:example:unknown'/>", "unsupported-stanza-type"),
        ("<message xmlns='' to='juliet@a.example'/>", "unsupported-stanza-type"),
        ("<stream:features/>", "unsupported-stanza-type"),
    ] {
        cases.push(Case::sending(format!("content: {bytes}"), Bound, bytes, Stream(condition)));
    }
    judge(Port::Server, &cases).await;
}

fn headers_at(stage: Stage) -> Vec<Case> {
    let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
    let rest = "from='evil.example' to='a.example' version='1.0'";
    let rows: Vec<(&str, Vec<u8>, &'static str)> = vec![
        (
            "the content of clients",
            format!("<stream:stream xmlns='jabber:client' {streams} {rest}>").into(),
            "invalid-namespace",
        ),
        (
            "a stream namespace that is wrong",
            format!("<stream:stream xmlns='jabber:server' xmlns:stream='x' {rest}>").into(),
            "invalid-namespace",
        ),
        (
            "a prefix that is not declared",
            format!("<stream:stream xmlns='jabber:server' {rest}>").into(),
            "not-well-formed",
        ),
        ("no version", server_header("from='evil.example' to='a.example'").into(), "unsupported-version"),
        (
            "version 0.9",
            server_header("from='evil.example' to='a.example' version='0.9'").into(),
            "unsupported-version",
        ),
        ("an unknown host", server_header("from='evil.example' to='c.example' version='1.0'").into(), "host-unknown"),
        ("itself as host", server_header("from='evil.example' to='evil.example' version='1.0'").into(), "host-unknown"),
        ("no host", server_header("from='evil.example' version='1.0'").into(), "improper-addressing"),
        (
            "a host that is no domain",
            server_header("from='evil.example' to='a b' version='1.0'").into(),
            "host-unknown",
        ),
        (
            "the domain of this server",
            server_header("from='a.example' to='a.example' version='1.0'").into(),
            "invalid-from",
        ),
        (
            "the other domain of this server",
            server_header("from='b.example' to='a.example' version='1.0'").into(),
            "invalid-from",
        ),
        (
            "this server in capitals",
            server_header("from='A.EXAMPLE.' to='a.example' version='1.0'").into(),
            "invalid-from",
        ),
        (
            "a sender that is no domain",
            server_header("from='a b' to='a.example' version='1.0'").into(),
            "improper-addressing",
        ),
        (
            "a user",
            server_header("from='mallory@evil.example' to='a.example' version='1.0'").into(),
            "improper-addressing",
        ),
        ("an empty sender", server_header("from='' to='a.example' version='1.0'").into(), "improper-addressing"),
        ("a document type", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>".to_vec(), "restricted-xml"),
        ("an entity", server_header("from='&evil;' to='a.example' version='1.0'").into(), "restricted-xml"),
        ("text", b"EHLO evil.example\r\n".to_vec(), "bad-format"),
        ("UTF-16", honest_server().encode_utf16().flat_map(u16::to_le_bytes).collect(), "unsupported-encoding"),
        ("Latin 1", b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>".to_vec(), "unsupported-encoding"),
        (
            "a header that is too long",
            server_header(&format!("{rest} x='{}'", "x".repeat(5000))).into(),
            "policy-violation",
        ),
    ];
    let case = |(name, bytes, condition)| Case::sending(format!("header: {name}"), stage, bytes, Stream(condition));
    rows.into_iter().map(case).collect()
}

// Proves: RFC 6120 §4.7.5, §4.8.3, RFC 7622 §3.2.3, §4
#[tokio::test(start_paused = true)]
async fn headers_of_a_server() {
    judge(Port::Server, &headers_at(Connected)).await;
}

// Proves: RFC 6120 §5.4.3.3
#[tokio::test(start_paused = true)]
async fn headers_of_a_server_inside_tls() {
    let mut cases = headers_at(Encrypted);
    // It is asked again who it is: after TLS that is what counts.
    let other = server_header("from='c.example' to='a.example' version='1.0'");
    cases.push(
        Case::sending("another name after TLS proves nothing", Encrypted, other, Stream("not-authorized"))
            .step(Step::Opened)
            .send(message("x@c.example", "juliet@a.example")),
    );
    judge(Port::Server, &cases).await;
}

// Proves: RFC 6120 §6.4.6
#[tokio::test(start_paused = true)]
async fn headers_of_a_server_after_authentication() {
    let mut cases = headers_at(Authenticated);
    for (name, attributes, condition) in [
        ("another name", "from='c.example' to='a.example' version='1.0'", "invalid-from"),
        ("a domain below its own", "from='x.evil.example' to='a.example' version='1.0'", "invalid-from"),
        ("the other domain", "from='evil.example' to='b.example' version='1.0'", "invalid-from"),
    ] {
        cases.push(Case::sending(
            format!("after SASL, {name}"),
            Authenticated,
            server_header(attributes),
            Stream(condition),
        ));
    }
    judge(Port::Server, &cases).await;
}

// Proves: RFC 6120 §4.3.5, §4.4, §4.9.1.1, §4.9.3.12, §6.3.1, §13.12, RFC 7622 §4, XEP-0220 §3.1
#[tokio::test(start_paused = true)]
async fn a_server_without_proof() {
    let mut cases = Vec::new();
    for stage in [Opened, Secured] {
        for stanza in [
            message("mallory@evil.example", "juliet@a.example"),
            message("romeo@a.example", "juliet@a.example"),
            message("a.example", "juliet@a.example"),
            message("@", "juliet@a.example"),
            message("mallory@evil.example", "@"),
            "<presence from='mallory@evil.example' type='subscribe' to='juliet@a.example'/>".to_owned(),
            "<iq from='mallory@evil.example' type='get' id='1' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>"
                .to_owned(),
            "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>".to_owned(),
        ] {
            cases.push(Case::sending(format!("before proof: {stanza}"), stage, stanza, Stream("not-authorized")));
        }
        for answer in [
            result("c.example", "a.example", " type='valid'>"),
            result("evil.example", "a.example", " type='valid'>"),
            result("a.example", "evil.example", " type='valid'>"),
            result("c.example", "a.example", " type='invalid'>"),
            verify("c.example", "a.example", " id='1' type='valid'>"),
            verify("c.example", "a.example", " id='1' type='error'>"),
        ] {
            // T-S2S-1: an answer to what nobody has asked.
            cases.push(Case::sending(format!("unasked: {answer}"), stage, answer, Stream("policy-violation")));
        }
        for malformed in [
            result("evil.example", "a.example", ">"),
            result("", "a.example", ">abc"),
            result("mallory@evil.example", "a.example", ">abc"),
            result("a b", "a.example", ">abc"),
            result("evil.example", "a.example", " type='maybe'>abc"),
            verify("evil.example", "a.example", ">abc"),
            verify("evil.example", "a.example", " id='1'>"),
            "<db:result>abc</db:result>".to_owned(),
            "<db:unknown from='evil.example' to='a.example'/>".to_owned(),
        ] {
            cases.push(Case::sending(format!("malformed: {malformed}"), stage, malformed, Stream("bad-format")));
        }
        cases.push(Case::sending("an unknown element", stage, "<x xmlns='urn:example'/>", Stream("not-authorized")));
        cases.push(Case::sending(
            "compression",
            stage,
            "<compress xmlns='http://jabber.org/protocol/compress'/>",
            Stream("not-authorized"),
        ));
    }
    for stage in [Opened, Secured, Bound] {
        cases.push(Case::sending("a good end", stage, "</stream:stream>", Closes));
        cases.push(Case::sending("a second header", stage, honest_server(), Stream("restricted-xml")));
        cases.push(Case::sending(
            "a peer that goes away in a stanza",
            stage,
            "<message to='juliet@a.example' from='mallory@evil.example'><body>half",
            HangsUp,
        ));
        cases.push(Case::sending("a peer that goes away in a tag", stage, "<message to='juliet@a.exa", HangsUp));
        cases.push(Case::sending(
            "a peer that goes away in dialback",
            stage,
            "<db:result from='evil.example' to='a.example'>abc",
            HangsUp,
        ));
        cases.push(Case::sending(
            "a peer that is told off",
            stage,
            "<stream:error><bad-format xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
            Closes,
        ));
    }
    cases.push(Case::sending(
        "a peer that goes away in its header",
        Connected,
        "<?xml version='1.0'?><stream:str",
        HangsUp,
    ));
    judge(Port::Server, &cases).await;
}

// Proves: RFC 6120 §5.4.3.2, §6.3.8, §6.4.5
#[tokio::test(start_paused = true)]
async fn tls_and_sasl_of_a_server() {
    let answer = ["<result", "type='error'", "policy-violation"];
    let mut cases = vec![
        Case::sending("dialback before TLS", Opened, result("evil.example", "a.example", ">abc"), Says(answer)),
        Case::sending(
            "a question before TLS",
            Opened,
            verify("c.example", "a.example", " id='1'>abc"),
            Says(["<verify", "type='error'", "policy-violation"]),
        ),
        Case::sending("EXTERNAL before TLS", Opened, external("evil.example"), Stream("not-authorized")),
        Case::sending("PLAIN before TLS", Opened, auth("PLAIN", "AGEAYg=="), Stream("not-authorized")),
        Case::sending(
            "<proceed/> from a peer",
            Opened,
            STARTTLS.replace("starttls", "proceed"),
            Stream("not-authorized"),
        ),
        Case::sending("<starttls/> inside of TLS", Secured, STARTTLS, Stream("not-authorized")),
        Case::sending("<starttls/> after proof", Bound, STARTTLS, Stream("unsupported-stanza-type")),
        Case::sending("EXTERNAL after proof", Bound, external("evil.example"), Stream("not-authorized")),
        Case::sending(
            "success from a peer",
            Secured,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            Stream("not-authorized"),
        ),
    ];
    for (name, bytes, condition) in [
        ("another domain", external("c.example"), "invalid-authzid"),
        ("this server", external("a.example"), "invalid-authzid"),
        ("a domain below its own", external("x.evil.example"), "invalid-authzid"),
        ("the domain above", external("example"), "invalid-authzid"),
        ("a user", external("mallory@evil.example"), "invalid-authzid"),
        ("a resource", external("evil.example/x"), "invalid-authzid"),
        ("what is no domain", external("a b"), "invalid-authzid"),
        ("a domain with a NUL", external("evil.example\0.a.example"), "invalid-authzid"),
        ("what is no text", auth("EXTERNAL", &BASE64_STANDARD.encode(b"\xff")), "malformed-request"),
        ("what is too long", external(&"x".repeat(1100)), "malformed-request"),
        ("base64 that is none", auth("EXTERNAL", "ZXZpbC5leGFtcGxl="), "incorrect-encoding"),
        ("an element", auth("EXTERNAL", "<x xmlns='y'/>"), "malformed-request"),
        ("PLAIN", auth("PLAIN", "AGp1bGlldAB4"), "invalid-mechanism"),
        ("SCRAM", auth("SCRAM-SHA-256", "biwsbj1qdWxpZXQscj1hYmM="), "invalid-mechanism"),
        ("ANONYMOUS", auth("ANONYMOUS", "="), "invalid-mechanism"),
        (
            "a response without request",
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            "malformed-request",
        ),
        ("an abort", "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(), "aborted"),
    ] {
        cases.push(Case::sending(format!("SASL: {name}"), Secured, bytes, Sasl(condition)));
    }
    let wrong = external("c.example");
    cases.push(
        Case::sending("too many failures", Secured, &wrong, Stream("policy-violation"))
            .hear("failure")
            .send(&wrong)
            .hear("failure")
            .send(&wrong)
            .hear("failure")
            .send(""),
    );
    for (name, bytes) in [
        ("a stanza", message("mallory@evil.example", "juliet@a.example")),
        ("a header", honest_server()),
        ("a login", external("evil.example")),
        ("dialback", result("evil.example", "a.example", ">abc")),
        ("stanzas", message("mallory@evil.example", "juliet@a.example").repeat(500)),
    ] {
        let whole = format!("{STARTTLS}{bytes}");
        cases.push(Case::new(format!("{name} behind <starttls/>"), Opened, Cut).send(whole).hear("proceed"));
        let late = Case::new(format!("{name} behind <proceed/>"), Opened, Cut).send(STARTTLS).hear("proceed");
        cases.push(late.send(&bytes).send("x".repeat(300)));
        let whole = external("evil.example") + &bytes;
        cases.push(Case::new(format!("{name} behind <auth/>"), Secured, Cut).send(whole).hear("success"));
    }
    judge(Port::Server, &cases).await;
}

// Proves: XEP-0220 §2.2.1, §2.5
#[tokio::test(start_paused = true)]
async fn dialback_of_a_server() {
    let refused = |what: &'static str| Says(["<result", "type='error'", what]);
    let unanswered = |what: &'static str| Says(["<verify", "type='error'", what]);
    let invalid = Says(["<verify", "type='invalid'", "id='1'"]);
    let mut cases = Vec::new();
    for stage in [Secured, Bound] {
        for (from, to, condition) in [
            ("c.example", "a.example", "not-authorized"),
            ("x.evil.example", "a.example", "not-authorized"),
            ("example", "a.example", "not-authorized"),
            ("evil.example.c.example", "a.example", "not-authorized"),
            ("a.example", "a.example", "policy-violation"),
            ("b.example", "a.example", "policy-violation"),
            ("A.EXAMPLE", "a.example", "policy-violation"),
            ("evil.example", "c.example", "item-not-found"),
            ("a.example", "evil.example", "item-not-found"),
        ] {
            let name = format!("dialback from {from} to {to}");
            cases.push(Case::sending(name, stage, result(from, to, ">abc"), refused(condition)));
        }
        for (from, to) in [("evil.example", "a.example"), ("c.example", "a.example"), ("b.example", "a.example")] {
            let name = format!("a key that {to} has not made for {from}");
            cases.push(Case::sending(name, stage, verify(from, to, " id='1'>abc"), invalid));
        }
        cases.push(Case::sending(
            "a key of others",
            stage,
            verify("evil.example", "c.example", " id='1'>abc"),
            unanswered("item-not-found"),
        ));
        cases.push(Case::sending(
            "a key for others who answer",
            stage,
            verify("evil.example", "c.example", " id='1' type='valid'>"),
            Stream("policy-violation"),
        ));
    }
    for stanza in [message("x@c.example", "juliet@a.example"), message("x@x.evil.example", "juliet@a.example")] {
        // What was refused by dialback stays refused.
        cases.push(
            Case::sending(
                format!("refused, and then: {stanza}"),
                Bound,
                result("c.example", "a.example", ">abc"),
                Stream("invalid-from"),
            )
            .hear("result")
            .send(stanza),
        );
    }
    judge(Port::Server, &cases).await;
}

// Proves: RFC 6120 §8.1.1.2, §8.1.2.2, §8.3.1, §10.4, §10.4.3, RFC 6121 §3.1.6, §3.2.3, §3.3.3, RFC 7622 §3.2
#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn stanzas_of_a_server() {
    let mut cases = Vec::new();
    for from in [
        "x@c.example",
        "c.example",
        "romeo@a.example",
        "romeo@a.example/orchard",
        "juliet@a.example",
        "a.example",
        "b.example",
        "mallory@x.evil.example",
        "mallory@evil.example.c.example",
        "mallory@evil.exampl",
        "mallory@example",
        "mallory@xn--evil-.example",
        "mallory@\u{435}vil.example",
    ] {
        for stanza in [
            message(from, "juliet@a.example"),
            format!("<presence from='{from}' to='juliet@a.example'/>"),
            format!("<presence from='{from}' type='subscribed' to='juliet@a.example'/>"),
            format!("<iq from='{from}' type='set' id='1' to='juliet@a.example/balcony'><x xmlns='y'/></iq>"),
            format!("<iq from='{from}' type='result' id='1' to='juliet@a.example/balcony'/>"),
        ] {
            let outcome = if from.contains("xn--evil-") { Nothing } else { Stream("invalid-from") };
            cases.push(Case::sending(format!("spoofed: {stanza}"), Bound, stanza, outcome));
        }
    }
    for (stanza, condition) in [
        ("<message to='juliet@a.example'><body>x</body></message>", "improper-addressing"),
        ("<message from='mallory@evil.example'><body>x</body></message>", "improper-addressing"),
        ("<presence/>", "improper-addressing"),
        ("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>", "improper-addressing"),
        ("<message from='mallory@evil.example' to='x@c.example'><body>x</body></message>", "host-unknown"),
        ("<message from='mallory@evil.example' to='x@evil.example'><body>x</body></message>", "host-unknown"),
        ("<message from='mallory@evil.example' to='juliet@b.example'><body>x</body></message>", "invalid-from"),
        ("<iq type='get' from='@' id='1'/>text", "bad-format"),
    ] {
        cases.push(Case::sending(format!("addresses: {stanza}"), Bound, stanza, Stream(condition)));
    }
    let from = "from='mallory@evil.example/den'";
    let roster = "<query xmlns='jabber:iq:roster'><item jid='mallory@evil.example'/></query>";
    for (stanza, condition) in [
        (format!("<message {from} id='1' to='@a.example'><body>x</body></message>"), "jid-malformed"),
        (format!("<message {from} id='1' to='juliet@a.example/\u{7f}'><body>x</body></message>"), "jid-malformed"),
        (format!("<iq {from} type='get' id='1' to='a b@a.example'><x xmlns='y'/></iq>"), "jid-malformed"),
        (format!("<iq {from} type='what' id='1' to='juliet@a.example'><x xmlns='y'/></iq>"), "bad-request"),
        (format!("<iq {from} type='get' id='1' to='juliet@a.example'/>"), "bad-request"),
        (
            format!("<iq {from} type='set' id='1' to='juliet@a.example'><x xmlns='y'/><x xmlns='y'/></iq>"),
            "bad-request",
        ),
        (format!("<presence {from} type='what' id='1' to='juliet@a.example'/>"), "bad-request"),
        (format!("<message {from} id='1' to='nobody@a.example'><body>x</body></message>"), "service-unavailable"),
        (
            format!("<iq {from} type='get' id='1' to='juliet@a.example/balcony'><x xmlns='y'/></iq>"),
            "service-unavailable",
        ),
        (
            format!("<iq {from} type='get' id='1' to='juliet@a.example'><query xmlns='jabber:iq:roster'/></iq>"),
            "service-unavailable",
        ),
        (format!("<iq {from} type='set' id='1' to='juliet@a.example'>{roster}</iq>"), "forbidden"),
        (format!("<iq {from} type='set' id='1' to='juliet@a.example/balcony'>{roster}</iq>"), "service-unavailable"),
        (
            format!("<message {from} type='groupchat' id='1' to='juliet@a.example'><body>x</body></message>"),
            "service-unavailable",
        ),
    ] {
        cases.push(Case::sending(format!("answered: {stanza}"), Bound, stanza, Stanza(condition)));
    }
    for stanza in [
        message("@evil.example", "juliet@a.example"),
        message("mallory@evil.example/\u{7f}", "juliet@a.example"),
        message("", "juliet@a.example"),
        format!("<message {from} type='error' id='1' to='@'/>"),
        format!("<iq {from} type='result' id='1' to='juliet@a.example'/>"),
        format!("<iq {from} type='result' id='1' to='a.example'/>"),
        format!("<iq {from} type='error' id='1' to='nobody@a.example/x'/>"),
        // A subscription that nobody asked for (RFC 6121 appendix A).
        format!("<presence {from} type='subscribed' to='juliet@a.example'/>"),
        format!("<presence {from} type='unsubscribed' to='juliet@a.example'/>"),
        format!("<presence {from} type='unsubscribe' to='juliet@a.example'/>"),
        format!("<presence {from} type='subscribe' to='nobody@a.example'/>"),
    ] {
        cases.push(Case::sending(format!("without effect: {stanza}"), Bound, stanza, Nothing));
    }
    let legal = |bytes: &str| bytes.replace("FROM", "mallory@evil.example/den");
    let own = legal("<message from='FROM' to='juliet@a.example'><body>own</body></message>");
    cases.extend([
        Case::new("byte after byte", Bound, Reaches("own")).trickle(&own),
        Case::sending("in capitals", Bound, own.replace("mallory@evil", "MALLORY@EVIL"), Reaches("own")),
        Case::sending("with a dot at the end", Bound, own.replace("evil.example", "evil.example."), Reaches("own")),
        Case::sending(
            "with a prefix",
            Bound,
            legal(
                "<s:message xmlns:s='jabber:server' from='FROM' to='juliet@a.example'><s:body>own</s:body></s:message>",
            ),
            Reaches("own"),
        ),
    ]);
    judge(Port::Server, &cases).await;
}

fn endless(size: usize) -> Vec<u8> {
    let mut bytes = b"<message from='mallory@evil.example' to='juliet@a.example'><body>".to_vec();
    bytes.resize(size, b'x');
    bytes
}

// Proves: RFC 6120 §13.12
#[tokio::test(start_paused = true)]
async fn too_much_from_a_server() {
    let mut scene = Scene::new(Port::Server).await;
    for (stage, limit) in [
        (Opened, Limits::UNAUTHENTICATED_SERVER.element),
        (Secured, Limits::UNAUTHENTICATED_SERVER.element),
        (Bound, Limits::SERVER.element),
    ] {
        let mut peer = scene.arrive(stage).await.expect("the stage");
        peer.send(endless(limit)).await;
        let said = peer.next().await.expect("nothing bad");
        assert!(matches!(said, Said::Nothing), "{said:?} before the limit");
        peer.send("x").await;
        let Said::Error(error) = peer.next().await.expect("an error") else { panic!("no error at the limit") };
        assert_eq!(error.condition.as_str(), "policy-violation");
        ended(peer).await.expect("no trace");
        scene.undisturbed().await.expect("witnesses");
    }
    let mut cases = Vec::new();
    for (stage, limits) in
        [(Opened, Limits::UNAUTHENTICATED_SERVER), (Secured, Limits::UNAUTHENTICATED_SERVER), (Bound, Limits::SERVER)]
    {
        let attributes: String = (0..=limits.attributes).map(|at| format!(" a{at}=''")).collect();
        let declarations: String = (0..=limits.declarations).map(|at| format!(" xmlns:a{at}='x'")).collect();
        for (name, bytes) in [
            ("levels", "<a xmlns='x'>".repeat(limits.depth + 1)),
            ("attributes", format!("<a xmlns='x'{attributes}/>")),
            ("declarations", format!("<a xmlns='x'{declarations}/>")),
            ("a name", format!("<{}", "a".repeat(1100))),
            ("a dialback key", format!("<db:result from='evil.example' to='a.example'>{}", "x".repeat(limits.element))),
        ] {
            cases.push(Case::sending(format!("too much: {name}"), stage, bytes, Stream("policy-violation")));
        }
    }
    judge(Port::Server, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_proves_nothing_has_to_leave() {
    let mut scene = Scene::new(Port::Server).await;
    for stage in [Connected, Opened, Encrypted, Secured] {
        let mut peer = scene.arrive(stage).await.expect("the stage");
        for _ in 0..31 {
            peer.send(" ").await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        let rest = peer.rest().await.unwrap_or_else(|| panic!("{stage:?}: the connection is still there"));
        assert!(String::from_utf8_lossy(&rest).contains("<connection-timeout"), "{stage:?}");
        peer.gone().await.expect("no trace");
        scene.undisturbed().await.expect("witnesses");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_but_tls_on_the_direct_port_of_servers() {
    let mut scene = Scene::new(Port::Server).await;
    for bytes in [honest_server(), external("evil.example"), "GET / HTTP/1.1\r\n\r\n".to_owned()] {
        let mut peer = scene.dial(Security::Direct).await;
        peer.send(bytes.repeat(10)).await;
        let rest = peer.rest().await.expect("the end");
        assert!(!rest.contains(&b'<'), "{bytes}");
        peer.gone().await.expect("no trace");
        scene.undisturbed().await.expect("witnesses");
    }
}

/// A connection inside TLS with this certificate, whose header is from `evil.example`, and its features.
async fn inside_tls(scene: &Scene, tls: &Arc<rustls::ClientConfig>) -> (Peer, String) {
    let mut peer = scene.arrive(Opened).await.expect("a stream");
    peer.send(STARTTLS).await;
    peer.hear("proceed").await.expect("TLS");
    peer.secure(tls, "a.example").await.expect("TLS");
    peer.send(honest_server()).await;
    let Said::Header(_) = peer.next().await.expect("a header") else { panic!("no header") };
    let Said::Features(features) = peer.next().await.expect("features") else { panic!("no features") };
    (peer, features.to_xml("jabber:server"))
}

fn self_signed(names: &[&str]) -> Arc<rustls::ClientConfig> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    showing(Some((&made.cert.pem(), &made.signing_key.serialize_pem())))
}

// Proves: RFC 6120 §5.4.3.1, §13.7.2, RFC 7590 §3.4, XEP-0178 §3
#[tokio::test(start_paused = true)]
async fn certificates_that_prove_nothing() {
    let mut scene = Scene::new(Port::Server).await;
    let strangers = DevelopmentCa::generate().expect("an authority");
    let wildcard = certified(&scene.world.ca, "*.example");
    for (name, tls) in [
        ("none", showing(None)),
        ("self-signed", self_signed(&["evil.example"])),
        ("of an unknown authority", certified(&strangers, "evil.example")),
        ("of another domain", certified(&scene.world.ca, "c.example")),
        ("of the domain under attack", certified(&scene.world.ca, "a.example.c.example")),
        ("of a domain below", certified(&scene.world.ca, "x.evil.example")),
    ] {
        for (bytes, outcome) in [
            (external(""), "not-authorized"),
            (external("evil.example"), "not-authorized"),
            (external("a.example"), "invalid-authzid"),
            (external("c.example"), "invalid-authzid"),
            (result("evil.example", "a.example", ">abc"), "not-authorized"),
            (result("evil.example", "a.example", " type='valid'>"), "policy-violation"),
            (message("mallory@evil.example", "juliet@a.example"), "not-authorized"),
            (message("x@c.example", "juliet@a.example"), "not-authorized"),
        ] {
            let (mut peer, features) = inside_tls(&scene, &tls).await;
            assert!(!features.contains("EXTERNAL") && !features.contains("dialback"), "{name}: {features}");
            peer.send(&bytes).await;
            let answer = match peer.next().await.expect("an answer") {
                Said::Nonza(answer) => answer.to_xml("jabber:server"),
                Said::Error(error) => error.to_xml(),
                other => panic!("{name}, {bytes}: {other:?}"),
            };
            assert!(answer.contains(&format!("<{outcome}")), "{name}, {bytes}: {answer}");
            peer.send(message("mallory@evil.example", "juliet@a.example")).await;
            well_formed(&peer.heard).expect("XML");
            assert!(peer.rest().await.is_some(), "{name}, {bytes}: a stanza was taken");
            peer.gone().await.expect("no trace");
            scene.undisturbed().await.expect("witnesses");
        }
    }
    // A wildcard stands for one label.
    let (peer, features) = inside_tls(&scene, &wildcard).await;
    assert!(features.contains("EXTERNAL"), "{features}");
    peer.cut().await.expect("no trace");
}

// Proves: XEP-0478 §3, XEP-0115 §6.3
#[tokio::test(start_paused = true)]
async fn a_server_is_told_the_limits_that_are_in_force() {
    let scene = Scene::new(Port::Server).await;
    // Inside TLS it may prove its domain by dialback, and nobody tells it anything after that.
    for (stage, bytes, silence, caps) in
        [(Opened, Some("4096"), None, 0), (Secured, None, None, 0), (Bound, Some("524288"), Some("1200"), 2)]
    {
        let peer = scene.arrive(stage).await.expect("a stream");
        let heard = String::from_utf8_lossy(&peer.heard).into_owned();
        let between = |start, end| Some(heard.split_once(start)?.1.split_once(end)?.0);
        let told = (between("<max-bytes>", "</max-bytes>"), between("<idle-seconds>", "</idle-seconds>"));
        assert_eq!((told, heard.matches("<c xmlns=").count()), ((bytes, silence), caps), "{heard}");
        peer.cut().await.expect("no trace");
    }
}

/// Where dialback is accepted, a key is what the authoritative server says it is.
#[tokio::test(start_paused = true)]
async fn keys_that_nobody_vouches_for() {
    let mut scene = Scene::configured(Port::Server, "[federation]\naccept_dialback = true\n").await;
    for (from, expected) in [
        ("evil.example", "type='invalid'"),
        ("c.example", "<remote-server-not-found"),
        ("a.example", "<policy-violation"),
        ("x.evil.example", "<remote-server-not-found"),
    ] {
        let (mut peer, features) = inside_tls(&scene, &showing(None)).await;
        // No features come after dialback, so stream management is offered with it.
        let offered = ["EXTERNAL", "dialback", "urn:xmpp:sm:3"].map(|what| features.contains(what));
        assert_eq!(offered, [false, true, true], "{features}");
        peer.send(result(from, "a.example", ">abc")).await;
        let answer = peer.hear("result").await.expect("an answer").to_xml("jabber:server");
        assert!(answer.contains(expected), "{from}: {answer}");
        peer.send(message(&format!("x@{from}"), "juliet@a.example")).await;
        assert!(peer.rest().await.is_some(), "{from}: a stanza was taken");
        peer.gone().await.expect("no trace");
        scene.undisturbed().await.expect("witnesses");
    }
}

// -- servers to which this server connects

/// One move of a server that was connected to.
enum Move {
    /// Waits for the header of the other side.
    Header,
    Send(String),
    Hear(&'static str),
    /// TLS with a certificate of the trusted authority for this domain, or with [`SELF_SIGNED`].
    Secure(&'static str),
    /// A new stream begins.
    Restart,
    /// Waits for a stanza.
    Message,
    /// Neither says anything nor closes.
    Hold,
}

/// A certificate for `trap.example` that nobody trusts.
const SELF_SIGNED: &str = "self-signed";

/// What a trap does, and the error that comes back to the sender.
struct Trap {
    name: &'static str,
    moves: Vec<Move>,
    condition: &'static str,
}

fn answer_header() -> String {
    server_header("from='trap.example' to='a.example' id='t1' version='1.0'")
}

fn features(inside: &str) -> String {
    format!("<stream:features>{inside}</stream:features>")
}

fn offer() -> String {
    answer_header() + &features(STARTTLS)
}

const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'/>";

/// The moves up to a stream inside TLS with a certificate that proves `trap.example`.
fn secured() -> Vec<Move> {
    vec![
        Move::Header,
        Move::Send(offer()),
        Move::Hear("starttls"),
        Move::Send(PROCEED.to_owned()),
        Move::Secure("trap.example"),
        Move::Header,
    ]
}

/// The moves of an honest server from TLS on: if the trap before them is overlooked, the stanza gets there.
fn onwards(certificate: &'static str) -> Vec<Move> {
    vec![
        Move::Secure(certificate),
        Move::Header,
        Move::Send(answer_header() + &features(EXTERNAL)),
        Move::Hear("auth"),
        Move::Send(SUCCESS.to_owned()),
        Move::Restart,
        Move::Header,
        Move::Send(answer_header() + &features("")),
        Move::Message,
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn traps() -> Vec<Trap> {
    use Move::{Header, Hear, Hold, Send};
    let injected = message("romeo@a.example", "juliet@a.example");
    let forged = message("x@trap.example", "juliet@a.example");
    let then = |mut moves: Vec<Move>, more: Vec<Move>| {
        moves.extend(more);
        moves
    };
    let early = |bytes: String| vec![Header, Send(bytes)];
    let proceed = |behind: &str| vec![Header, Send(offer()), Hear("starttls"), Send(format!("{PROCEED}{behind}"))];
    let behind_proceed = |bytes: &str| then(proceed(bytes), onwards("trap.example"));
    let certificate = |name: &'static str| then(proceed(""), onwards(name));
    let secured_then = |bytes: String| then(secured(), vec![Send(bytes)]);
    let external_then =
        |bytes: String| then(secured(), vec![Send(answer_header() + &features(EXTERNAL)), Hear("auth"), Send(bytes)]);
    let timeout = "remote-server-timeout";
    let trap = |name, moves| Trap { name, moves, condition: timeout };
    let error = |condition: &str| {
        format!(
            "{}<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
            answer_header()
        )
    };
    vec![
        trap("a stanza behind <proceed/>", behind_proceed(&forged)),
        trap("a stanza in our name behind <proceed/>", behind_proceed(&injected)),
        trap("a header behind <proceed/>", behind_proceed(&answer_header())),
        trap("features behind <proceed/>", behind_proceed(&(answer_header() + &features(EXTERNAL)))),
        trap("success behind <proceed/>", behind_proceed(SUCCESS)),
        trap(
            "a key that is valid behind <proceed/>",
            behind_proceed(&result("trap.example", "a.example", " type='valid'>")),
        ),
        trap("text behind <proceed/>", behind_proceed("x")),
        trap(
            "TLS that is refused",
            vec![Header, Send(offer()), Hear("starttls"), Send(PROCEED.replace("proceed", "failure"))],
        ),
        trap("no TLS", early(answer_header() + &features(""))),
        trap("no TLS but dialback", early(answer_header() + &features(DIALBACK))),
        trap("no TLS but EXTERNAL", early(answer_header() + &features(EXTERNAL))),
        trap("version 0.9", early(server_header("from='trap.example' id='t1'"))),
        trap("the content of clients", early(offer().replace("'jabber:server'", "'jabber:client'"))),
        trap("a stanza instead of features", early(answer_header() + &forged)),
        trap("a stanza before the header", early(forged.clone())),
        trap("success that nobody asked for", early(answer_header() + SUCCESS)),
        trap(
            "a valid key that nobody asked for",
            early(answer_header() + &result("trap.example", "a.example", " type='valid'>")),
        ),
        trap("a document type", early("<!DOCTYPE a [<!ENTITY b 'c'>]>".to_owned())),
        trap("a comment", early(answer_header() + "<!-- -->")),
        trap("an entity", early(server_header("from='trap.example' id='&lol;' version='1.0'"))),
        trap("bytes that are no text", vec![Header, Send(answer_header() + "\u{fffe}")]),
        trap("a header that is too long", early(format!("<stream:stream {}", "x".repeat(10_000)))),
        trap(
            "features that are too long",
            early(answer_header() + &format!("<stream:features>{}", "<a xmlns='x'/>".repeat(5000))),
        ),
        trap("features that are too deep", early(answer_header() + &"<a xmlns='x'>".repeat(100))),
        trap("the end", early(answer_header() + "</stream:stream>")),
        trap("the end of the connection", vec![Header]),
        trap("silence", vec![Hold]),
        trap("silence behind the header", vec![Header, Send(answer_header()), Hold]),
        trap("silence behind <proceed/>", then(proceed(""), vec![Hold])),
        trap("another host", early(error("see-other-host"))),
        trap("an error", early(error("internal-server-error"))),
        Trap {
            name: "a host that is not there",
            moves: early(error("host-unknown")),
            condition: "remote-server-not-found",
        },
        trap("a certificate of another domain", certificate("c.example")),
        trap("a certificate of this server", certificate("a.example")),
        trap("a certificate of its own", certificate(SELF_SIGNED)),
        trap("a stanza inside TLS", secured_then(answer_header() + &forged)),
        trap("nothing to prove with", secured_then(answer_header() + &features(""))),
        trap(
            "mechanisms for clients",
            secured_then(answer_header() + &features(&EXTERNAL.replace("EXTERNAL", "PLAIN"))),
        ),
        trap("STARTTLS inside TLS", secured_then(answer_header() + &features(STARTTLS))),
        trap("a challenge", external_then("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned())),
        trap(
            "a failure",
            external_then("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>".to_owned()),
        ),
        trap("a stanza instead of success", external_then(forged.clone())),
        trap("a valid key instead of success", external_then(result("trap.example", "a.example", " type='valid'>"))),
        trap(
            "a key of another stream",
            then(
                secured(),
                vec![
                    Send(answer_header() + &features(DIALBACK)),
                    Hear("result"),
                    Send(
                        result("c.example", "a.example", " type='valid'>")
                            + &result("trap.example", "b.example", " type='valid'>")
                            + &verify("trap.example", "a.example", " id='t1' type='valid'>"),
                    ),
                    Hold,
                ],
            ),
        ),
        Trap {
            name: "a key that is invalid",
            moves: then(
                secured(),
                vec![
                    Send(answer_header() + &features(DIALBACK)),
                    Hear("result"),
                    Send(result("trap.example", "a.example", " type='invalid'>")),
                ],
            ),
            condition: "internal-server-error",
        },
    ]
}

async fn spring(
    peer: &mut Peer,
    moves: &[Move],
    certificates: &HashMap<&str, Arc<rustls::ServerConfig>>,
) -> Result<(), String> {
    for step in moves {
        match step {
            Move::Header => match peer.next().await? {
                Said::Header(_) => {}
                other => return Err(format!("{other:?} instead of a header")),
            },
            Move::Send(text) => peer.send(text).await,
            Move::Hear(name) => drop(peer.hear(name).await?),
            Move::Secure(name) => {
                let tls = certificates.get(name).ok_or("no certificate")?;
                peer.secure_as_server(Arc::clone(tls)).await?;
            }
            Move::Restart => peer.restart(),
            Move::Message => drop(peer.stanza().await?),
            Move::Hold => tokio::time::sleep(std::time::Duration::from_secs(120)).await,
        }
    }
    Ok(())
}

/// The TLS configuration of a server that has this name by the authority that is trusted.
pub(crate) fn server_tls(ca: &DevelopmentCa, name: &str) -> Arc<rustls::ServerConfig> {
    let (chain, key) = if name == SELF_SIGNED {
        let made = rcgen::generate_simple_self_signed(vec!["trap.example".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    } else {
        let issued = ca.issue(&[name]).expect("a certificate");
        (issued.chain_pem, issued.key_pem)
    };
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("an identity");
    let tls = ServerTls::new(Arc::new(Identities::new(identity))).expect("a TLS configuration");
    Arc::clone(tls.acceptor(Incoming::ServerStartTls, None).config())
}

/// Sets the trap up as the server of `trap.example`; what connections to it have said.
fn set(scene: &Scene, moves: Vec<Move>) -> (Arc<Mutex<Vec<u8>>>, tokio::task::JoinHandle<()>) {
    let address = SocketAddr::from(([203, 0, 113, 1], 5269));
    let record = Srv { priority: 0, weight: 0, port: 5269, target: "host.trap.example".to_owned() };
    scene.world.net.publish("_xmpp-server._tcp.trap.example", record);
    scene.world.net.publish_host("host.trap.example", address.ip());
    let mut incoming = scene.world.net.listen(address);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let mut certificates = HashMap::new();
    for step in &moves {
        if let Move::Secure(name) = step {
            certificates.insert(*name, server_tls(&scene.world.ca, name));
        }
    }
    let task = tokio::spawn(async move {
        while let Some(io) = incoming.recv().await {
            let mut peer = Peer::new(io, ContentNamespace::Server, std::future::ready(()));
            let _ = spring(&mut peer, &moves, &certificates).await;
            let _ = peer.rest().await;
            ears.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&peer.heard);
        }
    });
    (heard, task)
}

// Proves: RFC 6120 §5.4.2.3, §10.4.3, §13.9.5, XEP-0220 §2.1.1
#[tokio::test(start_paused = true)]
async fn servers_that_are_traps() {
    let mut failures = Vec::new();
    let traps = traps();
    let count = traps.len();
    for trap in traps {
        let mut scene = Scene::new(Port::Client).await;
        if let Err(problem) = fall_into(&mut scene, trap.moves, trap.condition).await {
            failures.push(format!("{}: {problem}", trap.name));
        }
    }
    assert!(failures.is_empty(), "{} of {count} traps:\n{}", failures.len(), failures.join("\n"));
}

async fn fall_into(scene: &mut Scene, moves: Vec<Move>, condition: &str) -> Result<(), String> {
    let (heard, task) = set(scene, moves);
    let mut peer = scene.arrive(Bound).await?;
    peer.send("<message id='1' to='x@trap.example'><body>secret</body></message>").await;
    let mut patience = 90;
    let answer = loop {
        match peer.next().await? {
            Said::Nothing if patience > 0 => patience -= 1,
            Said::Stanza(answer) => break answer.to_xml(),
            other => return Err(format!("instead of an error: {other:?}")),
        }
    };
    task.abort();
    if !answer.contains(&format!("<{condition} ")) {
        return Err(format!("{answer} instead of {condition}"));
    }
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if heard.windows(6).any(|part| part == b"secret") {
        return Err("the stanza went to somebody who has proven nothing".to_owned());
    }
    scene.part(peer).await?;
    scene.undisturbed().await
}

// Proves: RFC 6120 §4.5, §13.6
/// A stream that carries our stanzas carries none of theirs (RFC 6120 §4.3: one direction only).
#[tokio::test(start_paused = true)]
async fn a_proven_server_cannot_send_on_our_stream() {
    for bytes in [
        message("x@trap.example", "juliet@a.example"),
        message("romeo@a.example", "juliet@a.example"),
        "<presence from='x@trap.example' to='juliet@a.example' type='subscribe'/>".to_owned(),
        result("c.example", "a.example", " type='valid'>"),
        result("c.example", "a.example", ">abc"),
        "<!DOCTYPE a>".to_owned(),
        "<x xmlns='urn:example'/>".to_owned(),
        format!("<x xmlns='urn:example'>{}", "x".repeat(600_000)),
    ] {
        let mut scene = Scene::new(Port::Client).await;
        let mut moves = vec![Move::Header, Move::Send(offer()), Move::Hear("starttls"), Move::Send(PROCEED.to_owned())];
        moves.extend(onwards("trap.example"));
        moves.push(Move::Send(bytes));
        let (heard, task) = set(&scene, moves);
        let mut peer = scene.arrive(Bound).await.expect("a session");
        peer.send("<message id='1' to='x@trap.example'><body>secret</body></message>").await;
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        task.abort();
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(heard.windows(6).any(|part| part == b"secret"), "{}", String::from_utf8_lossy(&heard));
        let said = peer.next().await.expect("XML");
        assert!(matches!(said, Said::Nothing), "{said:?}");
        scene.part(peer).await.expect("a session that goes on");
        scene.undisturbed().await.expect("witnesses");
    }
}

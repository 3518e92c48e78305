//! Hostile clients. Where nothing is said about the port, it is the one with STARTTLS.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::{Password, ScramHash};
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::session::Security;
use comity::stream::Limits;
use comity::testing::PASSWORD;

use crate::case::{Case, Outcome, Step, judge};
use crate::markup::{ROWS, Row};
use crate::peer::{Peer, Said};
use crate::scene::{BIND, Port, STARTTLS, Scene, Stage, ended, header, honest_header, login, plain};

use Outcome::{Closes, Cut, HangsUp, Nothing, Reaches, Sasl, Stanza, Stream};
use Stage::{Authenticated, Bound, Connected, Encrypted, Opened, Secured, Unbound};

pub(crate) fn auth(mechanism: &str, data: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{data}</auth>")
}

pub(crate) fn scram(mechanism: &str, first: &str) -> String {
    auth(mechanism, &BASE64_STANDARD.encode(first))
}

pub(crate) fn response(data: &str) -> String {
    format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</response>")
}

fn message(attributes: &str, body: &str) -> String {
    format!("<message type='chat' {attributes}><body>{body}</body></message>")
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

// -- the gate

fn markup_at(stage: Stage) -> Vec<Case> {
    let case = |row: &Row| {
        let name = format!("class {}: {}", row.class, String::from_utf8_lossy(row.bytes));
        Case::sending(name, stage, row.bytes, Stream(row.condition))
    };
    ROWS.iter().map(case).collect()
}

#[tokio::test(start_paused = true)]
async fn markup_before_tls() {
    judge(Port::Client, &markup_at(Opened)).await;
}

#[tokio::test(start_paused = true)]
async fn markup_before_authentication() {
    judge(Port::Client, &markup_at(Secured)).await;
}

#[tokio::test(start_paused = true)]
async fn markup_before_binding() {
    judge(Port::Client, &markup_at(Unbound)).await;
}

// Proves: RFC 6120 §4.8.4, §4.9, §4.9.1.1, §11.1, §11.3
#[tokio::test(start_paused = true)]
async fn markup_of_a_user() {
    judge(Port::Client, &markup_at(Bound)).await;
}

#[tokio::test(start_paused = true)]
async fn markup_that_comes_byte_after_byte() {
    let case = |row: &Row| {
        let name = format!("class {}, singly: {}", row.class, String::from_utf8_lossy(row.bytes));
        // What is only wrong because of what follows is followed by something.
        Case::new(name, Bound, Stream(row.condition)).trickle([row.bytes, b"<"].concat())
    };
    judge(Port::Client, &ROWS.iter().map(case).collect::<Vec<_>>()).await;
}

// Proves: RFC 6120 §4.8.5, §8, §11.6
#[tokio::test(start_paused = true)]
async fn odd_but_legal_stanzas() {
    let to = "to='juliet@a.example'";
    let emoji = message(to, "\u{1f600}\u{20ac}\u{e4}");
    let (front, back) = emoji.as_bytes().split_at(emoji.find('\u{1f600}').expect("an emoji") + 2);
    let attributes: String = (0..62).map(|at| format!(" a{at}=''")).collect();
    let deep = format!("{}{}", "<a>".repeat(63), "</a>".repeat(63));
    judge(
        Port::Client,
        &[
            Case::new("byte after byte", Bound, Reaches("slow")).trickle(message(to, "slow")),
            Case::new("UTF-8 cut in a character", Bound, Reaches("\u{1f600}\u{20ac}\u{e4}")).send(front).send(back),
            Case::sending("CDATA", Bound, message(to, "<![CDATA[<&]]>"), Reaches("<&")),
            Case::sending("references", Bound, message(to, "&lt;&#65;&#x42;&amp;"), Reaches("<AB&")),
            Case::sending("a mark inside of text", Bound, message(to, "\u{feff}x"), Reaches("\u{feff}x")),
            Case::sending("the end of a section that is none", Bound, message(to, "]]&gt; ]>"), Reaches("]]> ]>")),
            Case::sending(
                "a prefix for the content",
                Bound,
                "<c:message xmlns:c='jabber:client' to='juliet@a.example'><c:body>p</c:body></c:message>",
                Reaches("p"),
            ),
            Case::sending(
                "as many attributes as are allowed",
                Bound,
                message(&(to.to_owned() + &attributes), "a"),
                Reaches("a"),
            ),
            Case::sending(
                "white space between stanzas",
                Bound,
                format!(" \r\n\t{} \n", message(to, "w")),
                Reaches("w"),
            ),
            Case::sending(
                "no type that is known",
                Bound,
                "<message type='x' to='juliet@a.example'><body>t</body></message>",
                Reaches("t"),
            ),
            Case::sending(
                "as deep as is allowed",
                Bound,
                format!("<message to='juliet@a.example'><body>d</body>{deep}</message>"),
                Reaches("d"),
            ),
            Case::sending("white space keeps the stream alive", Bound, " \n ".repeat(500), Nothing),
        ],
    )
    .await;
}

// -- headers

#[expect(clippy::too_many_lines, reason = "a table")]
fn headers_at(stage: Stage) -> Vec<Case> {
    let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
    let rest = "to='a.example' version='1.0'";
    let long = "x".repeat(5000);
    let rows: Vec<(&str, Vec<u8>, &'static str)> = vec![
        (
            "a stream namespace that is wrong",
            format!("<stream:stream xmlns='jabber:client' xmlns:stream='wrong' {rest}>").into(),
            "invalid-namespace",
        ),
        ("a stream without namespace", format!("<stream xmlns='jabber:client' {rest}>").into(), "invalid-namespace"),
        (
            "a prefix that is not declared",
            format!("<stream:stream xmlns='jabber:client' {rest}>").into(),
            "not-well-formed",
        ),
        (
            "the content of servers",
            format!("<stream:stream xmlns='jabber:server' {streams} {rest}>").into(),
            "invalid-namespace",
        ),
        (
            "the content of components",
            format!("<stream:stream xmlns='jabber:component:accept' {streams} {rest}>").into(),
            "invalid-namespace",
        ),
        (
            "unknown content",
            format!("<stream:stream xmlns='urn:example' {streams} {rest}>").into(),
            "invalid-namespace",
        ),
        ("no version", header("to='a.example'").into(), "unsupported-version"),
        ("version 0.9", header("to='a.example' version='0.9'").into(), "unsupported-version"),
        ("a version that is no number", header("to='a.example' version='one'").into(), "unsupported-version"),
        ("an unknown host", header("to='c.example' version='1.0'").into(), "host-unknown"),
        ("a subdomain", header("to='x.a.example' version='1.0'").into(), "host-unknown"),
        ("a host that is no domain", header("to='a b' version='1.0'").into(), "host-unknown"),
        ("a user instead of a host", header("to='juliet@a.example' version='1.0'").into(), "host-unknown"),
        ("an empty host", header("to='' version='1.0'").into(), "host-unknown"),
        ("no host", header("version='1.0'").into(), "host-unknown"),
        ("not a stream", format!("<stream:features xmlns='jabber:client' {streams} {rest}>").into(), "bad-format"),
        ("a stanza instead", b"<message xmlns='jabber:client' to='juliet@a.example'/>".to_vec(), "bad-format"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(), "bad-format"),
        ("text", b"EHLO a.example\r\n".to_vec(), "bad-format"),
        ("a document type", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>".to_vec(), "restricted-xml"),
        ("a comment", b"<!-- a --><a/>".to_vec(), "restricted-xml"),
        ("an instruction", b"<?php ?>".to_vec(), "restricted-xml"),
        ("an entity in the host", header("to='&foo;' version='1.0'").into(), "restricted-xml"),
        ("the declaration twice", format!("<?xml version='1.0'?>{}", honest_header()).into(), "restricted-xml"),
        ("XML 1.1", b"<?xml version='1.1'?><a/>".to_vec(), "not-well-formed"),
        ("a declaration without version", b"<?xml encoding='UTF-8'?><a/>".to_vec(), "not-well-formed"),
        ("a declaration that is not sure", b"<?xml version='1.0' standalone='maybe'?><a/>".to_vec(), "not-well-formed"),
        ("Latin 1", b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>".to_vec(), "unsupported-encoding"),
        ("UTF-16 by its own word", b"<?xml version='1.0' encoding='UTF-16'?><a/>".to_vec(), "unsupported-encoding"),
        (
            "UTF-16LE with mark",
            utf16(&format!("\u{feff}{}", honest_header()), u16::to_le_bytes),
            "unsupported-encoding",
        ),
        (
            "UTF-16BE with mark",
            utf16(&format!("\u{feff}{}", honest_header()), u16::to_be_bytes),
            "unsupported-encoding",
        ),
        ("UTF-16LE without mark", utf16(&honest_header(), u16::to_le_bytes), "unsupported-encoding"),
        ("UTF-16BE without mark", utf16(&honest_header(), u16::to_be_bytes), "unsupported-encoding"),
        ("bytes that are no text", b"<stream:stream to='\xff'>".to_vec(), "unsupported-encoding"),
        ("UTF-8 that is too long", [b"<stream:stream to='\xc0\xae'".as_slice(), b">"].concat(), "unsupported-encoding"),
        ("an attribute twice", header("to='a.example' to='b.example' version='1.0'").into(), "not-well-formed"),
        ("a control character", header("to='a.example\u{1}' version='1.0'").into(), "not-well-formed"),
        (
            "a header that is too long",
            header(&format!("to='a.example' version='1.0' x='{long}'")).into(),
            "policy-violation",
        ),
        ("a name that is too long", format!("<{long}").into(), "policy-violation"),
        (
            "too many attributes",
            header(&(0..70).map(|at| format!("a{at}='' ")).collect::<String>()).into(),
            "policy-violation",
        ),
        (
            "too many declarations",
            header(&(0..70).map(|at| format!("xmlns:a{at}='x' ")).collect::<String>()).into(),
            "policy-violation",
        ),
    ];
    let case = |(name, bytes, condition)| Case::sending(format!("header: {name}"), stage, bytes, Stream(condition));
    rows.into_iter().map(case).collect()
}

// Proves: RFC 6120 §4.7.5, §4.8.3, §4.9.1.2
#[tokio::test(start_paused = true)]
async fn headers() {
    let mut cases = headers_at(Connected);
    cases.extend([Case::sending(
        "the header of a client that closes at once",
        Connected,
        format!("{}</stream:stream>", honest_header()),
        Closes,
    )]);
    judge(Port::Client, &cases).await;
}

// Proves: RFC 6120 §5.4.3.3
#[tokio::test(start_paused = true)]
async fn headers_inside_tls() {
    let mut cases = headers_at(Encrypted);
    cases.push(Case::sending(
        "another domain of this server after TLS",
        Encrypted,
        header("to='b.example' version='1.0'"),
        Stream("policy-violation"),
    ));
    judge(Port::Client, &cases).await;
}

// Proves: RFC 6120 §4.3.6, §6.4.6
#[tokio::test(start_paused = true)]
async fn headers_after_authentication() {
    let mut cases = headers_at(Authenticated);
    let others = [
        ("another domain of this server", "to='b.example' version='1.0'", "policy-violation"),
        ("another user", "from='juliet@a.example' to='a.example' version='1.0'", "invalid-from"),
        ("a user of another domain", "from='mallory@b.example' to='a.example' version='1.0'", "invalid-from"),
        ("the domain itself", "from='a.example' to='a.example' version='1.0'", "invalid-from"),
        ("nobody", "from='' to='a.example' version='1.0'", "invalid-from"),
        ("what is no JID", "from='a b@a.example' to='a.example' version='1.0'", "invalid-from"),
        ("the server as client", "from='a.example' to='mallory@a.example' version='1.0'", "host-unknown"),
    ];
    let case = |(name, attributes, condition)| {
        Case::sending(format!("after SASL, {name}"), Authenticated, header(attributes), Stream(condition))
    };
    cases.extend(others.into_iter().map(case));
    judge(Port::Client, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn odd_but_legal_headers() {
    let streams = "xmlns:s='http://etherx.jabber.org/streams'";
    let headers = [
        ("a version to come", header("to='a.example' version='2.7'")),
        ("capital letters", header("to='A.Example' version='1.0'")),
        ("another prefix", format!("<s:stream xmlns='jabber:client' {streams} to='a.example' version='1.0'>")),
        (
            "a declaration of UTF-8",
            honest_header().replace("'1.0'?>", "'1.0' encoding=\"utf-8\" standalone='no' ?>\r\n"),
        ),
        ("a name", header("from='juliet@a.example' to='a.example' version='1.0'")),
    ];
    let mut cases = Vec::new();
    for (name, header) in headers {
        let then = |case: Case| case.step(Step::Opened).send(auth("PLAIN", "=").as_bytes());
        cases.push(then(Case::new(format!("{name}, singly"), Connected, Sasl("encryption-required")).trickle(&header)));
        cases.push(then(Case::sending(name, Connected, &header, Sasl("encryption-required"))));
    }
    judge(Port::Client, &cases).await;
}

// -- TLS

// Proves: RFC 6120 §5.4.2.3, §5.4.3.2, XEP-0368 §3
#[tokio::test(start_paused = true)]
async fn starttls() {
    let after = [
        ("a stanza", message("to='juliet@a.example'", "injected")),
        ("a header", honest_header()),
        ("a login", login()),
        ("a header and a login", honest_header() + &login()),
        ("itself", STARTTLS.to_owned()),
        ("the end of the stream", "</stream:stream>".to_owned()),
        ("64 KiB of stanzas", message("to='juliet@a.example'", "injected").repeat(780)),
    ];
    let mut cases = Vec::new();
    for (name, bytes) in &after {
        let whole = format!("{STARTTLS}{bytes}");
        cases.push(Case::sending(format!("{name} behind <starttls/>"), Opened, whole, Stream("policy-violation")));
        // After <proceed/> only TLS is understood (RFC 6120 §5.4.3.1).
        let case = Case::new(format!("{name} behind <proceed/>"), Opened, Cut);
        cases.push(case.send(STARTTLS).hear("proceed").send(bytes).send("x".repeat(300)));
    }
    for stage in [Secured, Unbound, Bound] {
        // RFC 6120 §5.4.2.1 knows STARTTLS only where it is offered.
        cases.push(Case::sending("<starttls/> inside of TLS", stage, STARTTLS, Stream("unsupported-stanza-type")));
    }
    cases.push(Case::sending(
        "<proceed/> from a client",
        Opened,
        STARTTLS.replace("starttls", "proceed"),
        Stream("unsupported-stanza-type"),
    ));
    cases.push(
        Case::new("a client that goes away during the handshake", Opened, HangsUp)
            .send(STARTTLS)
            .hear("proceed")
            .send([0x16, 3, 1]),
    );
    judge(Port::Client, &cases).await;
}

// Proves: XEP-0368 §3
#[tokio::test(start_paused = true)]
async fn nothing_but_tls_on_the_direct_port() {
    let mut scene = Scene::new(Port::Client).await;
    for bytes in [honest_header(), login(), "GET / HTTP/1.1\r\n\r\n".to_owned(), "\u{16}\u{3}\u{1}".to_owned()] {
        let mut peer = scene.dial(Security::Direct).await;
        peer.send(bytes.repeat(10)).await;
        let rest = peer.rest().await;
        if bytes.starts_with('\u{16}') {
            assert_eq!(rest, None, "a handshake that has begun may go on");
            peer.cut().await.expect("no trace");
        } else {
            assert!(rest.is_some_and(|rest| !rest.contains(&b'<')), "{bytes}");
            peer.gone().await.expect("no trace");
        }
        scene.undisturbed().await.expect("witnesses");
    }
}

// -- SASL

// Proves: RFC 6120 §4.3.5, §4.4, §4.9.3.12, §5.3.4, §7.1, §8, §13.8.3, §13.12
#[tokio::test(start_paused = true)]
async fn before_tls() {
    let request = "<iq type='get' id='1' to='juliet@a.example'><query xmlns='jabber:iq:version'/></iq>";
    let mut cases = vec![
        Case::sending("PLAIN", Opened, login(), Sasl("encryption-required")),
        Case::sending("SCRAM", Opened, scram("SCRAM-SHA-256", "n,,n=mallory,r=abc"), Sasl("encryption-required")),
        Case::sending(
            "SCRAM-PLUS",
            Opened,
            scram("SCRAM-SHA-1-PLUS", "p=tls-exporter,,n=mallory,r=abc"),
            Sasl("encryption-required"),
        ),
        Case::sending("EXTERNAL", Opened, auth("EXTERNAL", "="), Sasl("encryption-required")),
        Case::sending("a mechanism that does not exist", Opened, auth("X", ""), Sasl("encryption-required")),
        Case::sending("an abort", Opened, "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", Sasl("aborted")),
        Case::sending("a response", Opened, response("="), Sasl("malformed-request")),
        Case::sending(
            "SASL2",
            Opened,
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
            Sasl("encryption-required"),
        ),
        Case::sending(
            "a login of 1999",
            Opened,
            "<iq type='set' id='1'><query xmlns='jabber:iq:auth'><username>mallory</username></query></iq>",
            Stream("not-authorized"),
        ),
        Case::sending(
            "compression",
            Opened,
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
            Stream("unsupported-stanza-type"),
        ),
    ];
    for stage in [Opened, Secured, Unbound] {
        for (name, stanza) in [
            ("a message", message("to='juliet@a.example'", "early")),
            ("a message in the name of the server", message("from='a.example' to='juliet@a.example'", "early")),
            ("presence", "<presence to='juliet@a.example'/>".to_owned()),
            ("a subscription", "<presence type='subscribe' to='juliet@a.example'/>".to_owned()),
            ("a request", request.to_owned()),
            ("a request for nobody", "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>".to_owned()),
            ("a stanza that is wrong", "<iq/>".to_owned()),
            ("a stanza with addresses that are wrong", "<message from='@' to='@'/>".to_owned()),
        ] {
            cases.push(Case::sending(format!("{name} before its time"), stage, stanza, Stream("not-authorized")));
        }
    }
    for stage in [Opened, Secured] {
        cases.push(Case::sending("a resource before its time", stage, BIND, Stream("not-authorized")));
    }
    for stage in [Opened, Secured, Unbound, Bound] {
        cases.push(Case::sending("a good end", stage, "</stream:stream>", Closes));
        cases.push(Case::sending(
            "a peer that goes away in a stanza",
            stage,
            "<message to='juliet@a.example'><body>half",
            HangsUp,
        ));
        cases.push(Case::sending("a peer that goes away in a tag", stage, "<message to='juliet@a.exa", HangsUp));
        cases.push(Case::sending("a peer that goes away in the end tag", stage, "</stream:str", HangsUp));
        cases.push(Case::sending(
            "a peer that goes away in a character",
            stage,
            b"<message to='juliet@a.example'><body>\xf0\x9f",
            HangsUp,
        ));
        cases.push(Case::sending("a second header", stage, honest_header(), Stream("restricted-xml")));
        let inner = honest_header().replace("<?xml version='1.0'?>", "") + "</stream:stream>";
        cases.push(Case::sending("a stream inside of the stream", stage, inner, Stream("unsupported-stanza-type")));
    }
    cases.push(
        Case::new("a peer that goes away in its header", Connected, HangsUp).send("<?xml version='1.0'?><stream:str"),
    );
    judge(Port::Client, &cases).await;
}

// Proves: RFC 6120 §6.3.8, §6.4.4, §6.5, §13.9.1, §13.9.4, RFC 7622 §4
#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn sasl() {
    let x = "n,,n=mallory,r=abc";
    let known = |name: &str, bytes: String, condition| Case::sending(name, Secured, bytes, Sasl(condition));
    let authzid = |name: &str| plain(name, "mallory", PASSWORD);
    judge(
        Port::Client,
        &[
            known("EXTERNAL without certificate", auth("EXTERNAL", "="), "invalid-mechanism"),
            known("ANONYMOUS", auth("ANONYMOUS", "="), "invalid-mechanism"),
            known("DIGEST-MD5", auth("DIGEST-MD5", ""), "invalid-mechanism"),
            known("a mechanism in small letters", auth("plain", "="), "invalid-mechanism"),
            known("an empty mechanism", auth("", "="), "invalid-mechanism"),
            known("no mechanism", login().replace(" mechanism='PLAIN'", ""), "invalid-mechanism"),
            known("base64 without padding", auth("PLAIN", "AGE"), "incorrect-encoding"),
            known("base64 with odd bits", auth("PLAIN", "AGF="), "incorrect-encoding"),
            known("base64 with a blank", auth("PLAIN", "AG E="), "incorrect-encoding"),
            known("base64 with a line end", auth("PLAIN", "AGE=\n"), "incorrect-encoding"),
            known("base64 of URLs", auth("PLAIN", "AG-_"), "incorrect-encoding"),
            known("padding alone", auth("PLAIN", "=="), "incorrect-encoding"),
            known("padding in front", auth("PLAIN", "=AAA"), "incorrect-encoding"),
            known("base64 that is no ASCII", auth("PLAIN", "\u{e4}"), "incorrect-encoding"),
            known("an empty message", auth("PLAIN", "="), "malformed-request"),
            known("an element instead of a message", auth("PLAIN", "<x/>"), "malformed-request"),
            known("PLAIN with one part", auth("PLAIN", &BASE64_STANDARD.encode("mallory")), "malformed-request"),
            known("PLAIN with four parts", plain("", "mallory\0x", PASSWORD), "malformed-request"),
            known("PLAIN without name", plain("", "", PASSWORD), "malformed-request"),
            known("PLAIN without password", plain("", "mallory", ""), "malformed-request"),
            known(
                "PLAIN that is no UTF-8",
                auth("PLAIN", &BASE64_STANDARD.encode(b"\0mallory\0\xff")),
                "malformed-request",
            ),
            known("a password of 100 KB", plain("", "mallory", &"x".repeat(5000)), "malformed-request"),
            known("the name of another domain", plain("", "mallory@b.example", PASSWORD), "not-authorized"),
            known("a name that is a JID", plain("", "mallory@a.example", PASSWORD), "not-authorized"),
            known("a name with a resource", plain("", "mallory/x", PASSWORD), "not-authorized"),
            known("a password with a control character", plain("", "mallory", "a\u{7}"), "not-authorized"),
            known("juliet by authzid", authzid("juliet@a.example"), "invalid-authzid"),
            known("a namesake elsewhere by authzid", authzid("mallory@b.example"), "invalid-authzid"),
            known("the server by authzid", authzid("a.example"), "invalid-authzid"),
            known("a resource by authzid", authzid("mallory@a.example/den"), "invalid-authzid"),
            known("a name alone by authzid", authzid("mallory"), "invalid-authzid"),
            known("what is no JID by authzid", authzid("a b@a.example"), "invalid-authzid"),
            known(
                "juliet by authzid of SCRAM",
                scram("SCRAM-SHA-256", "n,a=juliet@a.example,n=mallory,r=abc"),
                "invalid-authzid",
            ),
            known("SCRAM without header", scram("SCRAM-SHA-256", "n=mallory,r=abc"), "malformed-request"),
            known("SCRAM without nonce", scram("SCRAM-SHA-256", "n,,n=mallory"), "malformed-request"),
            known("SCRAM with an empty nonce", scram("SCRAM-SHA-1", "n,,n=mallory,r="), "malformed-request"),
            known(
                "SCRAM with an extension that must be understood",
                scram("SCRAM-SHA-1", "n,,m=1,n=mallory,r=abc"),
                "malformed-request",
            ),
            known(
                "SCRAM with a name that is not escaped",
                scram("SCRAM-SHA-1", "n,,n=mal=lory,r=abc"),
                "malformed-request",
            ),
            known(
                "a channel binding without PLUS",
                scram("SCRAM-SHA-256", "p=tls-exporter,,n=mallory,r=abc"),
                "malformed-request",
            ),
            known("PLUS without channel binding", scram("SCRAM-SHA-256-PLUS", x), "malformed-request"),
            known(
                "a binding that does not exist",
                scram("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=mallory,r=abc"),
                "not-authorized",
            ),
            known("a client that was told of no PLUS", scram("SCRAM-SHA-256", "y,,n=mallory,r=abc"), "not-authorized"),
            known("a response without request", response("="), "malformed-request"),
            known("an abort without request", "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into(), "aborted"),
            Case::sending("an abort of SCRAM", Secured, scram("SCRAM-SHA-256", x), Sasl("aborted"))
                .hear("challenge")
                .send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
            Case::sending(
                "SCRAM with a response that is none",
                Secured,
                scram("SCRAM-SHA-256", x),
                Sasl("malformed-request"),
            )
            .hear("challenge")
            .send(response("=")),
            Case::sending(
                "SCRAM with the challenge as response",
                Secured,
                scram("SCRAM-SHA-256", x),
                Sasl("malformed-request"),
            )
            .hear("challenge")
            .send(response(&BASE64_STANDARD.encode(x))),
            Case::sending("SCRAM with another nonce", Secured, scram("SCRAM-SHA-256", x), Sasl("not-authorized"))
                .hear("challenge")
                .send(response(
                    &BASE64_STANDARD.encode(format!("c=biws,r=abcdef,p={}", BASE64_STANDARD.encode([0; 32]))),
                )),
            Case::sending("a request during a request", Secured, scram("SCRAM-SHA-256", x), Sasl("invalid-mechanism"))
                .hear("challenge")
                .send(auth("X", "=")),
            Case::sending("an empty request", Secured, auth("PLAIN", ""), Sasl("malformed-request"))
                .hear("challenge")
                .send(response("")),
            Case::sending(
                "success from a client",
                Secured,
                "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Stream("unsupported-stanza-type"),
            ),
            Case::sending(
                "a challenge from a client",
                Secured,
                "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Stream("unsupported-stanza-type"),
            ),
            Case::sending(
                "compression that is not offered",
                Secured,
                "<compress xmlns='http://jabber.org/protocol/compress'/>",
                Stream("unsupported-stanza-type"),
            ),
            Case::sending("SASL when it is over", Unbound, login(), Stream("unsupported-stanza-type")),
            Case::sending("SASL of a bound session", Bound, login(), Stream("unsupported-stanza-type")),
            Case::new("too many failures", Secured, Stream("policy-violation"))
                .send(plain("", "mallory", "1"))
                .hear("failure")
                .send(plain("", "juliet", "2"))
                .hear("failure")
                .send(plain("", "romeo", "3"))
                .hear("failure")
                .step(Step::Send(Vec::new())),
            Case::new("too many aborts", Secured, Stream("policy-violation"))
                .send(response("="))
                .hear("failure")
                .send(response("="))
                .hear("failure")
                .send(response("="))
                .hear("failure")
                .step(Step::Send(Vec::new())),
        ],
    )
    .await;
}

pub(crate) fn sasl2(mechanism: &str, inside: &str) -> String {
    format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>{inside}</authenticate>")
}

/// As XEP-0388 has it: a first message, and what else there is.
fn plain2(password: &str, inside: &str) -> String {
    let message = BASE64_STANDARD.encode(format!("\0mallory\0{password}"));
    sasl2("PLAIN", &format!("<initial-response>{message}</initial-response>{inside}"))
}

// Proves: XEP-0388 §2.3, §2.4, §2.6.2, §4.8
#[tokio::test(start_paused = true)]
async fn no_way_around_the_other_profile() {
    let agent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>";
    let answer = |message: &str| format!("<response xmlns='urn:xmpp:sasl:2'>{message}</response>");
    let cases = vec![
        Case::sending("no mechanism", Secured, "<authenticate xmlns='urn:xmpp:sasl:2'/>", Sasl("invalid-mechanism")),
        Case::sending("a mechanism of servers", Secured, sasl2("EXTERNAL", ""), Sasl("invalid-mechanism")),
        Case::sending("a task as mechanism", Secured, sasl2("UPGR-SCRAM-SHA-256", ""), Sasl("invalid-mechanism")),
        Case::sending("a wrong password", Secured, plain2("wrong", ""), Sasl("not-authorized")),
        Case::sending(
            "a wrong password and wishes",
            Secured,
            plain2(
                "wrong",
                &format!("{agent}<bind xmlns='urn:xmpp:bind:0'/><resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"),
            ),
            Sasl("not-authorized"),
        ),
        Case::sending(
            "an id that is none",
            Secured,
            plain2(PASSWORD, "<user-agent id='../x'/>"),
            Sasl("malformed-request"),
        ),
        Case::sending(
            "two first messages",
            Secured,
            plain2(PASSWORD, "<initial-response/>"),
            Sasl("malformed-request"),
        ),
        Case::sending(
            "no base64",
            Secured,
            sasl2("PLAIN", "<initial-response>=</initial-response>"),
            Sasl("incorrect-encoding"),
        ),
        Case::sending("an answer to nothing", Secured, answer("AAAA"), Sasl("malformed-request")),
        Case::sending("an abort of nothing", Secured, "<abort xmlns='urn:xmpp:sasl:2'/>", Sasl("aborted")),
        Case::sending("an answer of the other profile", Secured, auth("PLAIN", ""), Sasl("malformed-request"))
            .hear("challenge")
            .send(answer("AG1hbGxvcnkAeA==")),
        Case::sending(
            "a task that was not given",
            Secured,
            "<next xmlns='urn:xmpp:sasl:2' task='X'/>",
            Stream("unsupported-stanza-type"),
        ),
        Case::sending(
            "success from a client",
            Secured,
            "<success xmlns='urn:xmpp:sasl:2'/>",
            Stream("unsupported-stanza-type"),
        ),
        Case::sending("SASL2 when it is over", Unbound, plain2(PASSWORD, ""), Stream("unsupported-stanza-type")),
        Case::sending("SASL2 of a bound session", Bound, plain2(PASSWORD, ""), Stream("unsupported-stanza-type")),
        Case::sending(
            "more wishes than a stranger may have",
            Secured,
            plain2("x", &"<x xmlns='y'/>".repeat(1000)),
            Stream("policy-violation"),
        ),
    ];
    judge(Port::Client, &cases).await;
}

// Proves: XEP-0484 §3.4, §4.1
#[tokio::test(start_paused = true)]
async fn no_way_in_with_tokens_that_nobody_gave() {
    let agent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>";
    let token = |mechanism: &str, hash: &[u8], inside: &str| {
        let message = BASE64_STANDARD.encode([b"mallory\0", hash].concat());
        sasl2(mechanism, &format!("<initial-response>{message}</initial-response>{inside}"))
    };
    let fast = format!("{agent}<fast xmlns='urn:xmpp:fast:0'/>");
    let cases = vec![
        Case::sending(
            "a token that nobody has",
            Secured,
            token("HT-SHA-256-NONE", &[1; 32], &fast),
            Sasl("not-authorized"),
        ),
        Case::sending(
            "a token that is too short",
            Secured,
            token("HT-SHA-256-NONE", &[1; 31], &fast),
            Sasl("malformed-request"),
        ),
        Case::sending("a token of nobody", Secured, token("HT-SHA-256-NONE", &[1; 32], ""), Sasl("malformed-request")),
        Case::sending(
            "a token for the older profile",
            Secured,
            auth("HT-SHA-256-NONE", &BASE64_STANDARD.encode([b"mallory\0", &[1; 32][..]].concat())),
            Sasl("invalid-mechanism"),
        ),
    ];
    judge(Port::Client, &cases).await;
}

// Proves: XEP-0388 §2.4
#[tokio::test(start_paused = true)]
async fn nothing_between_the_messages_of_the_other_profile() {
    let mut cases = Vec::new();
    for (name, intruder, condition) in [
        ("a request of the older profile", auth("PLAIN", ""), "policy-violation"),
        ("a second request", sasl2("PLAIN", ""), "policy-violation"),
        ("an answer of the older profile", response("="), "policy-violation"),
        ("a stanza", message("to='juliet@a.example'", "early"), "not-authorized"),
        ("a word of stream management", "<r xmlns='urn:xmpp:sm:3'/>".to_owned(), "unsupported-stanza-type"),
    ] {
        let case = Case::new(format!("{name} in between"), Secured, Stream(condition)).send(sasl2("PLAIN", ""));
        cases.push(case.hear("challenge").send(intruder));
    }
    judge(Port::Client, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_login() {
    let after = [
        ("a stanza", message("to='juliet@a.example'", "injected")),
        ("a header", honest_header()),
        ("a header and a resource", honest_header() + BIND),
        ("another login", plain("", "juliet", PASSWORD)),
    ];
    let mut cases = Vec::new();
    for (name, bytes) in &after {
        let whole = login() + bytes;
        let case = Case::new(format!("{name} behind a good <auth/>"), Secured, Stream("policy-violation"));
        cases.push(case.send(whole).hear("success").step(Step::Send(Vec::new())));
    }
    let wrong = plain("", "mallory", "wrong");
    for (name, bytes, condition) in [
        ("a stanza", message("to='juliet@a.example'", "injected"), "not-authorized"),
        ("a header", honest_header(), "restricted-xml"),
        ("a resource", BIND.to_owned(), "not-authorized"),
        ("text", "success".to_owned(), "bad-format"),
    ] {
        let case = Case::new(format!("{name} behind a bad <auth/>"), Secured, Stream(condition));
        cases.push(case.send(wrong.clone() + &bytes).hear("failure").step(Step::Send(Vec::new())));
    }
    judge(Port::Client, &cases).await;
}

/// Logs `user` in by PLAIN and returns every byte of the answer.
async fn plain_answer(scene: &Scene, user: &str) -> Vec<u8> {
    let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
    let before = peer.heard.len();
    peer.send(plain("", user, "wrong password")).await;
    peer.hear("failure").await.expect("a failure");
    let heard = peer.heard.get(before..).unwrap_or_default().to_vec();
    peer.cut().await.expect("no trace");
    heard
}

/// Logs `user` in by SCRAM; the challenge and every byte of what follows the wrong proof.
async fn scram_answer(scene: &Scene, hash: ScramHash, mechanism: &str, user: &str) -> (String, Vec<u8>) {
    let password = Password::prepare("wrong password").expect("a password");
    let client = ScramClient::new(hash, user, password, ClientBinding::Unsupported, "fyko+d2lbbFgONRv9qkxdawL");
    let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
    peer.send(scram(mechanism, &client.first())).await;
    let challenge = peer.hear("challenge").await.expect("a challenge").text();
    let challenge = BASE64_STANDARD.decode(challenge).expect("base64");
    let (last, _) = client.respond(&challenge).expect("a challenge that can be answered");
    let before = peer.heard.len();
    peer.send(response(&BASE64_STANDARD.encode(last))).await;
    peer.hear("failure").await.expect("a failure");
    let heard = peer.heard.get(before..).unwrap_or_default().to_vec();
    peer.cut().await.expect("no trace");
    (String::from_utf8(challenge).expect("text"), heard)
}

/// What an attribute of a challenge looks like: its name, its length, and its value if that is no secret.
fn shape(challenge: &str) -> Vec<(char, usize, Option<&str>)> {
    let parts = challenge.split(',').map(|part| {
        let name = part.chars().next().unwrap_or_default();
        (name, part.len(), (name == 'i').then_some(part))
    });
    parts.collect()
}

#[tokio::test(start_paused = true)]
async fn who_does_not_exist_looks_like_who_does() {
    let mut scene = Scene::new(Port::Client).await;
    let known = plain_answer(&scene, "juliet").await;
    for unknown in ["nobody", "Nobody", "a b", "\u{1f480}", "juliet@b.example"] {
        assert_eq!(plain_answer(&scene, unknown).await, known, "{unknown}");
    }
    for (hash, mechanism) in [(ScramHash::Sha256, "SCRAM-SHA-256"), (ScramHash::Sha1, "SCRAM-SHA-1")] {
        let (first, known) = scram_answer(&scene, hash, mechanism, "juliet").await;
        let (second, unknown) = scram_answer(&scene, hash, mechanism, "nobody").await;
        let (third, _) = scram_answer(&scene, hash, mechanism, "nobody").await;
        assert_eq!(shape(&first), shape(&second), "{mechanism}");
        assert_eq!(known, unknown, "{mechanism}");
        let salt = |challenge: &str| challenge.split(',').nth(1).map(str::to_owned);
        assert_eq!(salt(&second), salt(&third), "a salt that changes tells that there is no account");
        assert_ne!(salt(&first), salt(&second));
    }
    scene.undisturbed().await.expect("witnesses");
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_good_for_one_stream() {
    let mut scene = Scene::new(Port::Client).await;
    let password = Password::prepare(PASSWORD).expect("a password");
    let nonce = "fyko+d2lbbFgONRv9qkxdawL";
    let client = ScramClient::new(ScramHash::Sha256, "mallory", password, ClientBinding::Unsupported, nonce);
    let mut peer = scene.arrive(Secured).await.expect("a stream inside TLS");
    peer.send(scram("SCRAM-SHA-256", &client.first())).await;
    let challenge = peer.hear("challenge").await.expect("a challenge").text();
    let (last, expected) = client.respond(&BASE64_STANDARD.decode(challenge).expect("base64")).expect("a response");
    let last = response(&BASE64_STANDARD.encode(last));
    peer.send(&last).await;
    let success = peer.hear("success").await.expect("success").text();
    expected.verify(&BASE64_STANDARD.decode(success).expect("base64")).expect("the server knows the keys");
    peer.cut().await.expect("no trace");
    let mut replay = scene.arrive(Secured).await.expect("a stream inside TLS");
    replay.send(scram("SCRAM-SHA-256", &client.first())).await;
    replay.hear("challenge").await.expect("a challenge");
    replay.send(&last).await;
    let failure = replay.hear("failure").await.expect("a failure");
    assert!(failure.child("not-authorized", failure.ns()).is_some(), "{failure:?}");
    replay.cut().await.expect("no trace");
    scene.undisturbed().await.expect("witnesses");
}

// -- resources

// Proves: RFC 7622 §4
#[tokio::test(start_paused = true)]
async fn binding() {
    let bind = |inside: &str| {
        format!("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{inside}</bind></iq>")
    };
    let long = format!("<resource>{}</resource>", "x".repeat(1024));
    let refused = |name: &str, bytes: String| Case::sending(name, Unbound, bytes, Stanza("bad-request"));
    let bad = BIND.replace("'set'", "'get'");
    judge(
        Port::Client,
        &[
            refused("a resource to get", bad.clone()),
            refused("two resources", bind("<resource>a</resource><resource>b</resource>")),
            refused("something else", bind("<x/>")),
            refused("a resource of another namespace", bind("<resource xmlns='x'>a</resource>")),
            refused("a resource that is too long", bind(&long)),
            refused("a resource with a bidirectional override", bind("<resource>a\u{202e}b\u{7f}</resource>")),
            refused(
                "two requests in one",
                format!(
                    "<iq type='set' id='b'>{}<x xmlns='y'/></iq>",
                    bind("").replace("<iq type='set' id='b'>", "").replace("</iq>", "")
                ),
            ),
            Case::sending(
                "a resource of juliet",
                Unbound,
                BIND.replace("<iq ", "<iq to='juliet@a.example' "),
                Stream("not-authorized"),
            ),
            Case::sending(
                "a resource of another domain",
                Unbound,
                BIND.replace("<iq ", "<iq to='b.example' "),
                Stream("not-authorized"),
            ),
            Case::sending("a result", Unbound, "<iq type='result' id='b'/>", Stream("not-authorized")),
            Case::new("too many bad requests", Unbound, Stream("policy-violation"))
                .send(bad.repeat(5))
                .step(Step::Stanzas(5))
                .send(&bad),
            Case::sending("a resource twice", Bound, bind("<resource>lair</resource>"), Stanza("service-unavailable")),
            Case::sending("the same resource twice", Bound, BIND, Stanza("service-unavailable")),
            Case::sending(
                "a feature that is not offered",
                Bound,
                "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
                Stream("unsupported-stanza-type"),
            ),
        ],
    )
    .await;
}

// -- stanzas

// Proves: RFC 6120 §8.1.2.1
#[tokio::test(start_paused = true)]
async fn senders() {
    let mut cases = Vec::new();
    for (name, from) in [
        ("another user", "juliet@a.example"),
        ("a session of another user", "romeo@a.example/orchard"),
        ("the receiver", "juliet@a.example/balcony"),
        ("the server", "a.example"),
        ("the other domain", "b.example"),
        ("a namesake there", "mallory@b.example/den"),
        ("a user elsewhere", "mallory@c.example"),
        ("another resource of its own", "mallory@a.example/lair"),
        ("another spelling of the resource", "mallory@a.example/Den"),
        ("nobody", ""),
        ("what is no JID", "a b@a.example"),
        ("a resource alone", "/den"),
    ] {
        for stanza in [
            message(&format!("from='{from}' to='juliet@a.example'"), "spoofed"),
            format!("<presence from='{from}' to='juliet@a.example'/>"),
            format!("<presence from='{from}' type='subscribed' to='juliet@a.example'/>"),
            format!("<iq type='get' id='1' from='{from}' to='juliet@a.example/balcony'><x xmlns='y'/></iq>"),
            format!("<iq type='result' id='1' from='{from}' to='juliet@a.example/balcony'/>"),
        ] {
            cases.push(Case::sending(
                format!("in the name of {name}: {stanza}"),
                Bound,
                stanza,
                Stream("invalid-from"),
            ));
        }
    }
    let to = "to='juliet@a.example'";
    cases.extend([
        Case::sending(
            "in its own name",
            Bound,
            message(&format!("from='mallory@a.example' {to}"), "own"),
            Reaches("own"),
        ),
        Case::sending(
            "in its own full name",
            Bound,
            message(&format!("from='mallory@a.example/den' {to}"), "own"),
            Reaches("own"),
        ),
        Case::sending(
            "in its own name in capitals",
            Bound,
            message(&format!("from='Mallory@A.EXAMPLE' {to}"), "own"),
            Reaches("own"),
        ),
        Case::sending(
            "an attribute that only looks like one",
            Bound,
            message(&format!("xmlns:x='y' x:from='juliet@a.example' {to}"), "own"),
            Reaches("own"),
        ),
    ]);
    judge(Port::Client, &cases).await;
}

// Proves: RFC 6120 §8.2.3, RFC 7622 §4
#[tokio::test(start_paused = true)]
async fn receivers() {
    let long = format!("{}@a.example", "x".repeat(1024));
    let bad = [
        "",
        "@a.example",
        "juliet@",
        "/x",
        "juliet@a.example/",
        "a b@a.example",
        "a@b@a.example",
        "juliet@a..example",
        "jul&quot;iet@a.example",
        "jul&apos;iet@a.example",
        "&lt;@a.example",
        "juliet@a.example/\u{7f}",
        "juliet@a_b c",
        "jul\u{202e}iet@a.example",
        long.as_str(),
    ];
    let mut cases = Vec::new();
    for to in bad {
        for stanza in [
            message(&format!("id='1' to='{to}'"), "x"),
            format!("<presence id='1' to='{to}'/>"),
            format!("<iq type='get' id='1' to='{to}'><x xmlns='y'/></iq>"),
        ] {
            cases.push(Case::sending(format!("to what is no JID: {stanza}"), Bound, stanza, Stanza("jid-malformed")));
        }
        // RFC 6120 §8.3.1: an error is never answered, nor is a result.
        for stanza in [
            format!("<message type='error' id='1' to='{to}'/>"),
            format!("<presence type='error' id='1' to='{to}'/>"),
            format!("<iq type='result' id='1' to='{to}'/>"),
            format!("<iq type='error' id='1' to='{to}'/>"),
        ] {
            cases.push(Case::sending(format!("no answer: {stanza}"), Bound, stanza, Nothing));
        }
    }
    judge(Port::Client, &cases).await;
}

// Proves: RFC 6120 §8.2.3, §10.4.3, §10.5
#[tokio::test(start_paused = true)]
async fn stanzas_that_break_a_rule() {
    let to = "to='juliet@a.example/balcony'";
    let query = "<x xmlns='y'/>";
    let refused = [
        format!("<iq id='1' {to}>{query}</iq>"),
        format!("<iq id='1' type='' {to}>{query}</iq>"),
        format!("<iq id='1' type='GET' {to}>{query}</iq>"),
        format!("<iq id='1' type='subscribe' {to}>{query}</iq>"),
        format!("<iq id='1' type='get' {to}/>"),
        format!("<iq id='1' type='set' {to}>text</iq>"),
        format!("<iq id='1' type='set' {to}>{query}{query}</iq>"),
        format!("<presence type='available' {to}/>"),
        format!("<presence type='invisible' {to}/>"),
        format!("<presence type='' {to}/>"),
    ];
    let mut cases: Vec<Case> =
        refused.iter().map(|stanza| Case::sending(stanza.clone(), Bound, stanza, Stanza("bad-request"))).collect();
    let roster = "<query xmlns='jabber:iq:roster'><item jid='mallory@a.example' subscription='both'/></query>";
    let unavailable = Stanza("service-unavailable");
    for (name, stanza, outcome) in [
        ("a result with two children", format!("<iq type='result' id='1' {to}>{query}{query}</iq>"), Nothing),
        ("a result that nobody waits for", "<iq type='result' id='1' to='a.example'/>".to_owned(), Nothing),
        ("a result for an account", "<iq type='result' id='1' to='juliet@a.example'/>".to_owned(), Nothing),
        ("a request for a stranger's session", format!("<iq type='get' id='1' {to}>{query}</iq>"), unavailable),
        ("a request for a stranger", format!("<iq type='get' id='1' to='juliet@a.example'>{query}</iq>"), unavailable),
        ("a request for nobody", format!("<iq type='get' id='1' to='nobody@a.example'>{query}</iq>"), unavailable),
        ("the roster of juliet", format!("<iq type='get' id='1' to='juliet@a.example'>{roster}</iq>"), unavailable),
        (
            "the roster of juliet to set",
            format!("<iq type='set' id='1' to='juliet@a.example'>{roster}</iq>"),
            Stanza("forbidden"),
        ),
        ("a roster push", format!("<iq type='set' id='1' {to}>{roster}</iq>"), unavailable),
        ("a message to nobody", message("to='nobody@a.example'", "x"), unavailable),
        ("a message to the other domain", message("to='nobody@b.example'", "x"), unavailable),
        ("a message to no domain", message("to='juliet@c.invalid'", "x"), Stanza("remote-server-not-found")),
        // An address may name what is in no DNS (src/jid/domain.rs).
        (
            "a message to a domain that cannot exist",
            message(&format!("to='juliet@{}.example'", "x".repeat(64)), "x"),
            Stanza("remote-server-not-found"),
        ),
    ] {
        cases.push(Case::sending(name, Bound, stanza, outcome));
    }
    judge(Port::Client, &cases).await;
}

/// A stanza of exactly `size` bytes before its end tag is complete.
fn endless(size: usize) -> Vec<u8> {
    let mut bytes = b"<message to='juliet@a.example'><body>".to_vec();
    bytes.resize(size, b'x');
    bytes
}

async fn not_yet(scene: &Scene, stage: Stage, bytes: &[u8]) -> Peer {
    let mut peer = scene.arrive(stage).await.expect("the stage");
    peer.send(bytes).await;
    let said = peer.next().await.expect("nothing bad");
    assert!(matches!(said, Said::Nothing), "{said:?} before the limit");
    peer
}

async fn now_too_long(mut peer: Peer) {
    peer.send("x").await;
    loop {
        match peer.next().await.expect("an error") {
            Said::Header(_) => {}
            Said::Error(error) => break assert_eq!(error.condition.as_str(), "policy-violation"),
            other => panic!("{other:?} at the limit"),
        }
    }
    ended(peer).await.expect("no trace");
}

// Proves: RFC 6120 §4.9.3.14, §13.12; the byte behind the limit ends the stream, not the end of the stanza
#[tokio::test(start_paused = true)]
async fn the_byte_behind_the_limit() {
    let mut scene = Scene::new(Port::Client).await;
    let before = Limits::UNAUTHENTICATED;
    for stage in [Opened, Secured] {
        now_too_long(not_yet(&scene, stage, &endless(before.element)).await).await;
        scene.undisturbed().await.expect("witnesses");
    }
    for stage in [Unbound, Bound] {
        now_too_long(not_yet(&scene, stage, &endless(Limits::CLIENT.element)).await).await;
        scene.undisturbed().await.expect("witnesses");
    }
    for stage in [Connected, Encrypted, Authenticated] {
        let mut bytes = header("to='a.example' version='1.0' x='").into_bytes();
        bytes.pop();
        bytes.resize(before.header, b'x');
        now_too_long(not_yet(&scene, stage, &bytes).await).await;
        scene.undisturbed().await.expect("witnesses");
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_of_anything() {
    let to = "to='juliet@a.example'";
    let attributes = |count: usize| (0..count).map(|at| format!(" a{at}=''")).collect::<String>();
    let declarations = |count: usize| (0..count).map(|at| format!(" xmlns:a{at}='x'")).collect::<String>();
    let mut cases = Vec::new();
    let limits = [
        (Opened, Limits::UNAUTHENTICATED),
        (Secured, Limits::UNAUTHENTICATED),
        (Unbound, Limits::CLIENT),
        (Bound, Limits::CLIENT),
    ];
    for (stage, limits) in limits {
        let rows = [
            ("levels", format!("<message {to}>{}", "<a>".repeat(limits.depth))),
            ("a million levels", "<a xmlns='x'>".repeat(100_000)),
            ("attributes", format!("<message {to}{}/>", attributes(limits.attributes))),
            ("attributes of a child", format!("<message {to}><a{}/>", attributes(limits.attributes + 1))),
            ("declarations", format!("<message {to}{}/>", declarations(limits.declarations))),
            (
                "declarations level by level",
                format!(
                    "<message {to}>{}",
                    (0..limits.depth - 1).map(|at| format!("<a xmlns:a{at}='x' xmlns:b{at}='y'>")).collect::<String>()
                ),
            ),
            ("a name", format!("<message {to}><{}", "a".repeat(1100))),
            ("a name of an attribute", format!("<message {to} {}", "a".repeat(1100))),
            ("a value", format!("<message {to} id='{}", "x".repeat(limits.element))),
            ("white space in a tag", format!("<message {}", " ".repeat(limits.element))),
            ("text", format!("<message {to}><body>{}", "x".repeat(limits.element))),
            ("many small children", format!("<message {to}>{}", "<a/>".repeat(limits.element / 4))),
        ];
        let case = |(name, bytes)| Case::sending(format!("too much: {name}"), stage, bytes, Stream("policy-violation"));
        cases.extend(rows.map(case));
    }
    judge(Port::Client, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn the_largest_stanza_arrives() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Bound).await.expect("a session");
    let mut bytes = endless(Limits::CLIENT.element - "</body></message>".len());
    bytes.extend_from_slice(b"</body></message>");
    assert_eq!(bytes.len(), Limits::CLIENT.element);
    peer.send(bytes).await;
    let got = scene.reached().await.expect("a message");
    assert!(got.child("body", "jabber:client").is_some_and(|body| body.text().len() > 250_000));
    scene.part(peer).await.expect("a session that goes on");
    scene.undisturbed().await.expect("witnesses");
}

// Proves: RFC 6120 §8.1.3, §8.3.1, §11.3
/// T-SMUG-3: what the server makes of a client's words is text again.
#[tokio::test(start_paused = true)]
async fn an_answer_quotes_what_it_repeats() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Bound).await.expect("a session");
    let id = "'\"<>&]]>\r\n\t\u{85}\u{2028}<message to='juliet@a.example'/>";
    let mut quoted = String::new();
    comity::xml::escape_into(&mut quoted, id);
    let quoted = quoted.replace('\r', "&#13;").replace('\n', "&#10;").replace('\t', "&#9;");
    for stanza in [
        format!("<iq type='get' id='{quoted}' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<iq type='get' id='{quoted}' to='nobody@a.example'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<iq type='get' id='{quoted}' to='@'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<iq type='what' id='{quoted}' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<message id='{quoted}' to='nobody@a.example/{quoted}' xml:lang='{quoted}'><body/></message>"),
        format!("<message id='{quoted}' to='juliet@c.invalid'><body/></message>"),
    ] {
        peer.send(&stanza).await;
        let answer = peer.stanza().await.expect("an answer");
        assert_eq!(answer.id.as_deref(), Some(id), "{stanza}");
    }
    crate::peer::well_formed(&peer.heard).expect("XML");
    scene.part(peer).await.expect("a session that goes on");
    scene.undisturbed().await.expect("witnesses");
}

// -- patience

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_has_to_leave() {
    let mut scene = Scene::new(Port::Client).await;
    for stage in [Connected, Opened, Encrypted, Secured, Authenticated, Unbound] {
        let mut peer = scene.arrive(stage).await.expect("the stage");
        for byte in honest_header().into_bytes().iter().take(29).cycle().take(29) {
            // One byte of white space in a second is no progress either.
            let _ = byte;
            peer.send(" ").await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert!(peer.rest().await.is_some(), "{stage:?}: the connection is still there");
        peer.gone().await.expect("no trace");
        scene.undisturbed().await.expect("witnesses");
    }
}

// Proves: RFC 6120 §6.3.1, §13.3, §13.12, RFC 7590 §3.4, XEP-0198 §10
/// T-STATE-1: whatever comes in whatever order before authentication, it leads nowhere.
#[tokio::test(start_paused = true)]
async fn no_way_around_authentication() {
    let mut scene = Scene::new(Port::Client).await;
    let words = [
        auth("PLAIN", "AGE="),
        auth("SCRAM-SHA-256", &BASE64_STANDARD.encode("n,,n=juliet,r=abc")),
        response("="),
        "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>".to_owned(),
        "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>".to_owned(),
        BIND.to_owned(),
        message("to='juliet@a.example'", "x"),
        "<presence/>".to_owned(),
        honest_header(),
        "</stream:stream>".to_owned(),
    ];
    let mut tried = 0;
    for stage in [Opened, Secured] {
        for first in &words {
            for second in &words {
                for third in words.iter().filter(|_| stage == Opened) {
                    attempt(&scene, stage, &[first, second, third]).await;
                    tried += 1;
                }
                attempt(&scene, stage, &[first, second]).await;
                tried += 1;
            }
        }
    }
    scene.undisturbed().await.expect("witnesses");
    assert_eq!(tried, 12 * 12 * 12 + 2 * 12 * 12);
}

async fn attempt(scene: &Scene, stage: Stage, words: &[&String]) {
    let mut peer = scene.arrive(stage).await.expect("the stage");
    for word in words {
        peer.send(word).await;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    loop {
        match peer.next().await.expect("XML") {
            Said::Nothing | Said::End => break,
            Said::Nonza(element) => assert_ne!(element.name(), "success", "{words:?}"),
            Said::Stanza(stanza) => panic!("{words:?} led to {}", stanza.to_xml()),
            Said::Features(_) | Said::Header(_) => panic!("{words:?} led to a new stream"),
            Said::Error(_) | Said::Closing => {}
        }
    }
    peer.cut().await.expect("no trace");
}

/// White space says nothing, and some clients end their lines.
#[tokio::test(start_paused = true)]
async fn clients_that_end_their_lines() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Opened).await.expect("a stream");
    peer.send(format!("{STARTTLS}\r\n")).await;
    peer.hear("proceed").await.expect("TLS");
    peer.secure(scene.tls(), crate::scene::DOMAIN).await.expect("TLS");
    scene.advance(&mut peer, Encrypted, Secured).await.expect("a stream inside TLS");
    peer.send(login() + "\r\n").await;
    peer.hear("success").await.expect("success");
    scene.advance(&mut peer, Authenticated, Bound).await.expect("a session");
    scene.part(peer).await.expect("a session that works");
    scene.undisturbed().await.expect("witnesses");
}

/// The limit on TLS without content is meant for strangers, not for who has logged in.
#[tokio::test(start_paused = true)]
async fn a_large_record_of_a_user() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Bound).await.expect("a session");
    peer.send_at_once(message("to='juliet@a.example'", &"x".repeat(60_000))).await;
    assert!(scene.reached().await.is_some_and(|got| got.to_xml("jabber:client").len() > 60_000));
    scene.part(peer).await.expect("a session that goes on");
    scene.undisturbed().await.expect("witnesses");
}

// -- what the server did wrong once; a fault that is known and not mended would be a test `known_...`
// -- that asserts the present behaviour and says what would be right

// Proves: RFC 6120 §8.3.1
/// RFC 6120 §8.2.3: an IQ has an id, so the answer to one without has one too.
#[tokio::test(start_paused = true)]
async fn the_answer_to_an_iq_without_id_has_one() {
    let mut scene = Scene::new(Port::Client).await;
    let mut peer = scene.arrive(Bound).await.expect("a session");
    peer.send("<iq type='get' to='juliet@a.example/balcony'><x xmlns='y'/></iq>").await;
    let answer = peer.stanza().await.expect("an answer").to_xml();
    assert!(answer.contains("type='error'") && answer.contains("id=''"), "{answer}");
    scene.part(peer).await.expect("a session that goes on");
    scene.undisturbed().await.expect("witnesses");
}

/// RFC 6120 §4.7.2: who sends `from` in a header gets it back as `to`.
#[tokio::test(start_paused = true)]
async fn a_header_says_whom_it_answers() {
    let scene = Scene::new(Port::Client).await;
    let mut peer = scene.dial(Security::StartTls).await;
    let answer = peer.open(&header("from='juliet@a.example' to='a.example' version='1.0'")).await.expect("a header");
    assert_eq!(answer.to.as_deref(), Some("juliet@a.example"));
    peer.cut().await.expect("no trace");
}

/// RFC 6120 §8.1.2.1, §8.3.3.8: a request to bind comes from the user and goes to the server.
#[tokio::test(start_paused = true)]
async fn addresses_count_in_a_request_to_bind() {
    let mut scene = Scene::new(Port::Client).await;
    for wrong in ["from='juliet@a.example'", "from='@'"] {
        let mut peer = scene.arrive(Unbound).await.expect("a login");
        peer.send(BIND.replace("<iq ", &format!("<iq {wrong} "))).await;
        let said = peer.next().await.expect("an error");
        assert!(format!("{said:?}").contains("InvalidFrom"), "{wrong}: {said:?}");
        ended(peer).await.expect("an end");
    }
    let mut peer = scene.arrive(Unbound).await.expect("a login");
    peer.send(BIND.replace("<iq ", "<iq to='@' ")).await;
    let answer = peer.stanza().await.expect("an answer").to_xml();
    assert!(answer.contains("<jid-malformed "), "{answer}");
    peer.cut().await.expect("no trace");
    scene.undisturbed().await.expect("witnesses");
}

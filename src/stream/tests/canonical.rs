//! Payloads that pass untouched, and the canonical form of the others.

use super::*;
use crate::stanza::Namespaces;
use std::borrow::Cow;

/// The payload of `input`, and whether it is a part of the input.
fn payload(setting: Setting, input: &str) -> (String, bool) {
    let mut found = None;
    one_event(setting, input, |event| match event {
        Event::Stanza(stanza) => {
            let text = stanza.payload.as_str();
            let borrowed = input.as_bytes().as_ptr_range().contains(&text.as_ptr());
            found = Some((text.to_owned(), borrowed));
        }
        other => panic!("{other:?}"),
    });
    found.unwrap()
}

// Proves: XEP-0297 §7.1
#[test]
fn canonical_payloads_are_borrowed() {
    for body in [
        "<body>hi</body>",
        " <body>hi</body>\n<x xmlns='jabber:x:oob'><url a=\"b'\">c</url></x> text ",
        "<body>&lt;&gt;&amp;&apos;&quot; > ä日本語😀\u{FF0C}\n\t</body>",
        "<body>&#xd;&#13;</body><x xmlns='y' a='&#9;&#xa;&#xD;'/>",
        "<p:x xmlns:p='y' p:a='b' xml:lang='de'><p:y/></p:x>",
        "<x xmlns='y'><z xmlns=''/></x>",
        "<x  a = 'b'  xmlns = 'y' ></x >",
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded>",
        "<x xmlns='u&amp;v'/>",
        "<x xmlns:c='jabber:client' xmlns='y'/>",
    ] {
        for (setting, header) in [(CLIENT, ""), (SERVER, "from='a' to='b'")] {
            let (text, borrowed) = payload(setting, &format!("<message {header}>{body}</message>"));
            assert_eq!(text, body);
            assert!(borrowed, "{body}");
        }
    }
    // The head of the stanza does not matter.
    let (_, borrowed) = payload(CLIENT, "<message id='a\tb&#65;' xmlns:p='x' p:a='b'><body/></message>");
    assert!(borrowed);
}

// Proves: RFC 6120 §4.8.5, §8.4
#[test]
fn other_payloads_are_written_again() {
    for (input, expected) in [
        ("<message><body><![CDATA[<b> & ]] ]]></body></message>", "<body>&lt;b&gt; &amp; ]] </body>"),
        ("<message><![CDATA[]]></message>", ""),
        ("<message>&#65;&#x20AC;&#60;&#38;&#x9;&gt;</message>", "A€&lt;&amp;\t&gt;"),
        ("<message>a\r\nb\rc&#xD;\n</message>", "a\nb\nc&#xd;\n"),
        ("<message><![CDATA[a\r\nb\r]]></message>", "a\nb\n"),
        ("<message><x a='a\tb\r\nc\nd&#9;&#x41;\"'/></message>", "<x a='a b c d&#x9;A&quot;'/>"),
        ("<message><body xmlns='jabber:client'>x</body></message>", "<body>x</body>"),
        ("<message><c:body xmlns:c='jabber:client'>x</c:body></message>", "<body xmlns:c='jabber:client'>x</body>"),
        (
            "<message xmlns:p='y'><p:x p:a='b'><p:z/></p:x><p:x/></message>",
            "<p:x xmlns:p='y' p:a='b'><p:z/></p:x><p:x xmlns:p='y'/>",
        ),
        ("<message xmlns:p='y'><x p:a='b'/></message>", "<x xmlns:p='y' p:a='b'/>"),
        ("<message xmlns:p='y'><p:x xmlns:p='z'/><p:x/></message>", "<p:x xmlns:p='z'/><p:x xmlns:p='y'/>"),
        ("<message><stream:x/></message>", "<stream:x xmlns:stream='http://etherx.jabber.org/streams'/>"),
        (
            "<c:message xmlns:c='jabber:client' xmlns='y'><x><c:b><z/></c:b></x></c:message>",
            "<x xmlns='y'><b xmlns='jabber:client'><z xmlns='y'/></b></x>",
        ),
        ("<c:message xmlns:c='jabber:client' xmlns=''><x/></c:message>", "<x xmlns=''/>"),
        ("<message><body xmlns='jabber:server'>x</body></message>", "<body>x</body>"),
        (
            "<message><x xmlns='y'><body xmlns='jabber:server'/></x></message>",
            "<x xmlns='y'><body xmlns='jabber:client'/></x>",
        ),
        ("<message><x xmlns='y'><z xmlns='y'/><![CDATA[.]]></x></message>", "<x xmlns='y'><z/>.</x>"),
        ("<message><body><b xmlns='jabber:client'/></body></message>", "<body><b/></body>"),
        ("<message><p:x xmlns:p='y'><![CDATA[]]><p:z/></p:x></message>", "<p:x xmlns:p='y'><p:z/></p:x>"),
        ("<message xmlns:p='u&amp;v'><p:x/></message>", "<p:x xmlns:p='u&amp;v'/>"),
    ] {
        let (text, borrowed) = payload(CLIENT, input);
        assert_eq!(text, expected, "{input}");
        assert!(text.is_empty() || !borrowed, "{input}");
        // What has been written again is canonical.
        let (again, borrowed) = payload(CLIENT, &format!("<message>{expected}</message>"));
        assert_eq!(again, expected);
        assert!(again.is_empty() || borrowed, "{expected}");
    }
}

// Proves: RFC 6120 §4.8.5
#[test]
fn content_namespaces_are_one_inside_a_payload() {
    for (input, expected) in [
        (
            "<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'><body>x</body></message></forwarded></message>",
            "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded>",
        ),
        ("<message><body xmlns='jabber:client'>x</body></message>", "<body>x</body>"),
        (
            "<message><f xmlns='y' xmlns:s='jabber:server'><s:message><s:body/></s:message></f></message>",
            "<f xmlns='y' xmlns:s='jabber:server'><message xmlns='jabber:client'><body/></message></f>",
        ),
        ("<message><db:x/></message>", "<db:x xmlns:db='jabber:server:dialback'/>"),
    ] {
        assert_eq!(payload(SERVER, input).0, expected, "{input}");
    }
}

#[test]
fn a_namespace_is_noted_wherever_it_is_declared() {
    let long = "x".repeat(2000);
    for (payload, noted) in [
        ("", false),
        ("<body>urn:example:a:0</body>", false),
        ("<x xmlns='urn:example:a'/>", false),
        ("<x xmlns='urn:example:a:0'/>", true),
        ("<x/><y xmlns=\"urn:example:a:0\"/>", true),
        ("<x xmlns='y'><p:z xmlns:p='urn:example:a:0'/></x>", true),
        // Whatever has to be written again may have anything.
        ("<x xmlns='urn:ex&#97;mple:a:0'/>", true),
        ("<o:y/>", true),
    ] {
        for payload in [payload.to_owned(), format!("{long}{payload}"), format!("{payload}{long}")] {
            let input = format!("<message xmlns:o='urn:example:b:0'>{payload}</message>");
            one_event(CLIENT, &input, |event| match event {
                Event::Stanza(stanza) => {
                    let name = Namespaces::of(b"urn:example:a:0");
                    assert_eq!(stanza.payload.may_have(name), noted, "{payload}");
                }
                other => panic!("{other:?}"),
            });
        }
    }
}

/// T-SMUG-1: a name and its namespace are never one text with something between them, so nothing in a namespace can be
/// taken for that (CVE-2022-25236).
#[test]
fn a_namespace_keeps_apart_from_the_name_whatever_is_in_it() {
    for character in (' '..='~').chain(['\u{a0}', '\u{ff5c}', '\u{1f600}']) {
        let ns = format!("urn:x{character}y");
        let mut written = String::new();
        crate::xml::escape_into(&mut written, &ns);
        for input in [format!("<a xmlns='{written}' b='c'/>"), format!("<p:a xmlns:p='{written}' b='c'/>")] {
            one_event(CLIENT, &format!("<message>{input}<body/></message>"), |event| match event {
                Event::Stanza(stanza) => {
                    let elements = stanza.payload.elements();
                    let [a, body] = &elements[..] else { panic!("{stanza:?}") };
                    assert_eq!((a.name(), a.ns(), a.attribute("b")), ("a", ns.as_str(), Some("c")), "{input}");
                    assert_eq!((body.name(), body.ns()), ("body", "jabber:client"), "{input}");
                    assert_eq!(crate::xml::Element::parse(&a.to_xml(""), ""), Ok(a.clone()), "{input}");
                }
                other => panic!("{other:?}"),
            });
        }
    }
}

#[test]
fn what_grows_is_bounded() {
    let uri = "x".repeat(3000);
    let input = format!("{CLIENT_HEADER}<message xmlns:p='{uri}'>{}</message>", "<p:a/>".repeat(1000));
    let outcome = read_pieces(CLIENT, [input.as_bytes()]);
    assert_eq!(outcome.error, Some(StreamCondition::PolicyViolation));
}

#[test]
fn head_fields_are_borrowed_too() {
    one_event(CLIENT, "<message id='a' xml:lang='b'/>", |event| match event {
        Event::Stanza(stanza) => {
            assert!(matches!(stanza.id, Some(Cow::Borrowed("a"))));
            assert!(matches!(stanza.lang, Some(Cow::Borrowed("b"))));
        }
        other => panic!("{other:?}"),
    });
}

//! What the gate refuses, by class of check, and what looks odd but is allowed.

use super::*;
use StreamCondition::{
    BadFormat, InvalidNamespace, NotWellFormed, PolicyViolation, RestrictedXml, UnsupportedEncoding,
    UnsupportedStanzaType,
};

type Case = (&'static [u8], StreamCondition);

fn refused(cases: &[Case]) {
    for (input, condition) in cases {
        assert_eq!(refusal(CLIENT, input), Some(*condition), "{}", String::from_utf8_lossy(input));
    }
}

fn allowed(cases: &[&[u8]]) {
    for input in cases {
        assert_eq!(refusal(CLIENT, input), None, "{}", String::from_utf8_lossy(input));
    }
}

// Proves: RFC 6120 §11.6
#[test]
fn encoding() {
    refused(&[
        (b"<message><body>\xFF</body></message>", UnsupportedEncoding),
        (b"<message><body>\xC0\x80</body></message>", UnsupportedEncoding),
        (b"<message><body>\xE0\x80\xAF</body></message>", UnsupportedEncoding),
        (b"<message><body>\xED\xA0\x80</body></message>", UnsupportedEncoding),
        (b"<message><body>\xF4\x90\x80\x80</body></message>", UnsupportedEncoding),
        (b"<message><body>\xE2\x82</body></message>", UnsupportedEncoding),
        (b"<message><body>\x80", UnsupportedEncoding),
        (b"<message><b\xC3dy/></message>", UnsupportedEncoding),
        (b"<message a='\xC3'/>", UnsupportedEncoding),
        (b"\xFF", UnsupportedEncoding),
        (b"<message/>\xC3\x28", UnsupportedEncoding),
    ]);
    allowed(&["<message><body>ä€😀</body></message>".as_bytes(), b"<message><body>\xE2\x82"]);
}

#[test]
fn class_1_control_characters() {
    refused(&[
        (b"<message><body>\x00</body></message>", NotWellFormed),
        (b"<message><body>0123456789abcdef\x01</body></message>", NotWellFormed),
        (b"<message><body>\x1F</body></message>", NotWellFormed),
        (b"<message><body>\x0B</body></message>", NotWellFormed),
        (b"<message><body a='\x02'/></message>", NotWellFormed),
        (b"<message><body><![CDATA[\x03]]></body></message>", NotWellFormed),
        (b"<message><bo\x04dy/></message>", NotWellFormed),
        (b"<message \x05/>", NotWellFormed),
        (b"\x06", NotWellFormed),
        (b"<message/>\x00", NotWellFormed),
    ]);
    allowed(&[
        b"<message><body>\t\r\n</body></message>",
        b"<message><body a='\t\r\n'/></message>",
        b"<message>\x7F</message>",
    ]);
}

#[test]
fn class_2_non_characters() {
    refused(&[
        ("<message>\u{FFFE}</message>".as_bytes(), NotWellFormed),
        ("<message>0123456789abcdef\u{FFFF}</message>".as_bytes(), NotWellFormed),
        ("<message a='\u{FFFE}'/>".as_bytes(), NotWellFormed),
        ("<message><![CDATA[\u{FFFF}]]></message>".as_bytes(), NotWellFormed),
        ("<mess\u{FFFF}age/>".as_bytes(), NotWellFormed),
    ]);
    allowed(&[
        "<message>\u{FFFD}\u{FF0C}\u{F8FF}\u{FEFF}\u{1FFFE}</message>".as_bytes(),
        "<message a='\u{FFFD}\u{FF0C}'><![CDATA[\u{FF0C}]]></message>".as_bytes(),
    ]);
}

#[test]
fn class_3_references_to_what_is_no_character() {
    refused(&[
        (b"<message>&#1;</message>", NotWellFormed),
        (b"<message>&#0;</message>", NotWellFormed),
        (b"<message>&#xFFFE;</message>", NotWellFormed),
        (b"<message>&#xD800;</message>", NotWellFormed),
        (b"<message>&#x110000;</message>", NotWellFormed),
        (b"<message>&#99999999999999999999;</message>", NotWellFormed),
        (b"<message a='&#xB;'/>", NotWellFormed),
        (b"<message>&#x00000000000000000000000000000000041;</message>", PolicyViolation),
    ]);
    allowed(&[b"<message>&#9;&#10;&#xd;&#x10FFFF;&#0065;&#x41;</message>", b"<message a='&#x9;&#65;'/>"]);
}

// Proves: RFC 6120 §11.1
#[test]
fn class_4_entities() {
    refused(&[
        (b"<message>&foo;</message>", RestrictedXml),
        (b"<message>&nbsp;</message>", RestrictedXml),
        (b"<message a='&foo;'/>", RestrictedXml),
        (b"<message>&averyveryveryverylongnameofanentity;</message>", RestrictedXml),
        (b"<message>&;</message>", NotWellFormed),
        (b"<message>& amp;</message>", NotWellFormed),
        (b"<message>a & b</message>", NotWellFormed),
        (b"<message>&amp</message>", NotWellFormed),
        (b"<message a='b&c'/>", NotWellFormed),
        (b"<message a='&'/>", NotWellFormed),
        (b"<message>&#X41;</message>", NotWellFormed),
        (b"<message>&#;</message>", NotWellFormed),
        (b"<message>&#x;</message>", NotWellFormed),
        (b"<message>&#4a;</message>", NotWellFormed),
        (b"<message>&1;</message>", NotWellFormed),
    ]);
    allowed(&[b"<message>&lt;&gt;&amp;&apos;&quot;</message>", b"<message a='&lt;&gt;&amp;&apos;&quot;'/>"]);
}

#[test]
fn classes_5_and_6_markup_characters() {
    refused(&[
        (b"<message a='<'/>", NotWellFormed),
        (b"<message a='0123456789abcdef<b/>'/>", NotWellFormed),
        (b"<message>]]></message>", NotWellFormed),
        (b"<message>a]]]>b</message>", NotWellFormed),
        (b"<message><![CDATA[a]]>]]></message>", NotWellFormed),
    ]);
    allowed(&[
        b"<message a='>'>></message>",
        b"<message>]]&gt; ]> ]]</message>",
        b"<message a=']]>'>]>></message>",
        b"<message><![CDATA[]>]]]]></message>",
        b"<message><![CDATA[<&]]>></message>",
    ]);
}

#[test]
fn class_7_names() {
    refused(&[
        (b"<1message/>", NotWellFormed),
        (b"<-a/>", NotWellFormed),
        (b"<.a/>", NotWellFormed),
        (b"<a$/>", NotWellFormed),
        (b"<>", NotWellFormed),
        (b"< a/>", NotWellFormed),
        (b"<a<b>", NotWellFormed),
        (b"<message><$/></message>", NotWellFormed),
        (b"<message 1='2'/>", NotWellFormed),
        (b"<message $='2'/>", NotWellFormed),
        ("<message><\u{b7}a/></message>".as_bytes(), NotWellFormed),
        ("<message><a\u{d7}/></message>".as_bytes(), NotWellFormed),
        ("<message><a\u{2003}/></message>".as_bytes(), NotWellFormed),
        (b"</>", NotWellFormed),
        // What the fifth edition has added, and readers by the fourth refuse.
        ("<message><\u{10000}/></message>".as_bytes(), NotWellFormed),
        ("<message><a\u{13a0}/></message>".as_bytes(), NotWellFormed),
        ("<message \u{200d}='1'/>".as_bytes(), NotWellFormed),
        ("<message xmlns:\u{203f}='x'/>".as_bytes(), NotWellFormed),
    ]);
    allowed(&[
        "<message><é\u{b7}\u{301} ñ='1'/><_a-b.c1/><日本語/></message>".as_bytes(),
        "<message><x:日 xmlns:x='y'/></message>".as_bytes(),
    ]);
}

// Proves: RFC 6120 §11.3
#[test]
fn class_8_qualified_names() {
    refused(&[
        (b"<message><a:b:c xmlns:a='x'/></message>", NotWellFormed),
        (b"<message><a: xmlns:a='x'/></message>", NotWellFormed),
        (b"<message><:a/></message>", NotWellFormed),
        (b"<message><:/></message>", NotWellFormed),
        (b"<message><p:1 xmlns:p='x'/></message>", NotWellFormed),
        (b"<message><xmlns:a/></message>", NotWellFormed),
        (b"<message xmlns:a='x' a:b:c='1'/>", NotWellFormed),
        (b"<message xmlns:='x'/>", NotWellFormed),
        (b"<message xmlns:1='x'/>", NotWellFormed),
        (b"<message :a='x'/>", NotWellFormed),
    ]);
    allowed(&[b"<message><xml:a/></message>", b"<message><xmlnsa xmlnsb='c'/></message>"]);
}

#[test]
fn classes_9_and_10_attributes() {
    refused(&[
        (b"<message a/>", NotWellFormed),
        (b"<message a b='1'/>", NotWellFormed),
        (b"<message a=1/>", NotWellFormed),
        (b"<message a=/>", NotWellFormed),
        (b"<message ='1'/>", NotWellFormed),
        (b"<message '1'/>", NotWellFormed),
        (b"<message a='1''/>", NotWellFormed),
        (b"<message a=''1'/>", NotWellFormed),
        (b"<message / >", NotWellFormed),
        (b"<message a='1'b='2'/>", NotWellFormed),
        (b"<message /b='1'>", NotWellFormed),
        (b"<message a='1'/b='2'>", NotWellFormed),
        (b"<message></message a='1'>", NotWellFormed),
        (b"<message></ message>", NotWellFormed),
        (b"<message></message/>", NotWellFormed),
    ]);
    allowed(&[b"<message\r\n\ta = '1'\n b\t=\"2'\" ></message \n>", b"<message a='\"'/><message a=\"'\"/>"]);
}

#[test]
fn classes_11_and_12_duplicate_attributes() {
    refused(&[
        (b"<message a='1' a='1'/>", NotWellFormed),
        (b"<message><a b='1' c='2' b='3'/></message>", NotWellFormed),
        (b"<message xmlns:p='x' xmlns:p='x'/>", NotWellFormed),
        (b"<message><a xmlns='x' xmlns='y'/></message>", NotWellFormed),
        (b"<message xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>", NotWellFormed),
        (b"<message xmlns:p='x&amp;y'><a xmlns:q='x&#38;y' q:b='1' p:b='2'/></message>", NotWellFormed),
        (b"<message><a xmlns:q='http://etherx.jabber.org/streams' q:b='1' stream:b='2'/></message>", NotWellFormed),
        (b"<message><a xml:lang='a' xml:lang='b'/></message>", NotWellFormed),
    ]);
    allowed(&[
        b"<message xmlns:p='x' xmlns:q='y' b='0' p:b='1' q:b='2'/>",
        b"<message xmlns:p='x' xmlns:q='x' p:b='1' q:c='2'/>",
        b"<message a='1'><a a='1'><a a='1'/></a></message>",
    ]);
}

// Proves: RFC 6120 §11.3
#[test]
fn classes_13_and_14_namespaces() {
    refused(&[
        (b"<p:message/>", NotWellFormed),
        (b"<message><p:a/></message>", NotWellFormed),
        (b"<message p:a='1'/>", NotWellFormed),
        (b"<message><a xmlns:p='x'/><p:a/></message>", NotWellFormed),
        (b"<message xmlns:p='x'/><p:a/>", NotWellFormed),
        (b"<message><a><b xmlns:p='x'><p:c/></b><p:d/></a></message>", NotWellFormed),
        (b"<db:result/>", NotWellFormed),
        (b"<message xmlns:p=''/>", NotWellFormed),
        (b"<message xmlns='http://www.w3.org/XML/1998/namespace'/>", NotWellFormed),
        (b"<message xmlns='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
        (b"<message xmlns:p='http://www.w3.org/XML/1998/namespace'/>", NotWellFormed),
        (b"<message xmlns:p='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
        (b"<message xmlns:xml='x'/>", NotWellFormed),
        (b"<message xmlns:xmlns='x'/>", NotWellFormed),
        (b"<message xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
    ]);
    allowed(&[
        b"<message><a xmlns=''/></message>",
        b"<message xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:x='1'/>",
        b"<message><a xmlns:p='x'><p:a p:b='1'/></a></message>",
        b"<message><p:a xmlns:p='x'/></message>",
        b"<message><stream:a/></message>",
    ]);
}

// Proves: RFC 6120 §11.1
#[test]
fn class_15_restricted_xml() {
    refused(&[
        (b"<!--x-->", RestrictedXml),
        (b"<message><!-- x --></message>", RestrictedXml),
        (b"<message><body>a<!---->b</body></message>", RestrictedXml),
        (b"<message><?x y?></message>", RestrictedXml),
        (b"<?x y?>", RestrictedXml),
        (b"<!DOCTYPE a>", RestrictedXml),
        (b"<!doctype a>", RestrictedXml),
        (b"<message><!DOCTYPE a [<!ENTITY b 'c'>]></message>", RestrictedXml),
        (b"<message><!ENTITY b 'c'></message>", RestrictedXml),
        (b"<message><![INCLUDE[a]]></message>", NotWellFormed),
        (b"<message><![cdata[a]]></message>", NotWellFormed),
        (b"<message><!></message>", NotWellFormed),
        (b"<message><! a></message>", NotWellFormed),
    ]);
}

#[test]
fn class_16_a_late_declaration() {
    refused(&[(b"<?xml version='1.0'?>", RestrictedXml), (b"<message><?xml version='1.0'?></message>", RestrictedXml)]);
}

#[test]
fn class_17_structure() {
    refused(&[
        (b"text", BadFormat),
        (b"<message/>text", BadFormat),
        (b"&lt;", BadFormat),
        ("ä".as_bytes(), BadFormat),
        (b"<![CDATA[x]]>", BadFormat),
        (b"<message></iq>", NotWellFormed),
        (b"<message></messag>", NotWellFormed),
        (b"<message></messages>", NotWellFormed),
        (b"<message><a></message></a>", NotWellFormed),
        (b"<message><p:a xmlns:p='x'></a></message>", NotWellFormed),
        (b"</message>", NotWellFormed),
        (b"</stream>", NotWellFormed),
        (b"</stream:stream x>", NotWellFormed),
        (b"</stream:streams>", NotWellFormed),
        (b"</stream:stream></stream:stream>", NotWellFormed),
        (b"</stream:stream><stream:stream>", NotWellFormed),
        (b"</stream:stream>x", NotWellFormed),
    ]);
    allowed(&[b"</stream:stream>\n", b"</stream:stream \t\n>", b" <message> </message> \r\n\t", b"<message><a>"]);
}

#[test]
fn class_18_limits() {
    let setting =
        Setting { limits: Limits { header: 400, element: 100, depth: 3, attributes: 2, declarations: 4 }, ..CLIENT };
    let long = format!("<message><b>{}</b></message>", "x".repeat(74));
    assert_eq!(long.len(), 100);
    assert_eq!(refusal(setting, long.as_bytes()), None);
    let cases: &[(String, Option<StreamCondition>)] = &[
        (format!("<message><b>{}</b></message>", "x".repeat(75)), Some(PolicyViolation)),
        (format!("<message><b>{}", "x".repeat(88)), None),
        (format!("<message><b>{}", "x".repeat(89)), Some(PolicyViolation)),
        (format!("<message a='{}", "x".repeat(89)), Some(PolicyViolation)),
        (format!("<message{}", " ".repeat(93)), Some(PolicyViolation)),
        (format!("<message></message{}", " ".repeat(93)), Some(PolicyViolation)),
        (format!("<message><![CDATA[{}", "x".repeat(89)), Some(PolicyViolation)),
        (format!("<message><b>{}€", "x".repeat(87)), Some(PolicyViolation)),
        // What is wrong behind the limit is not looked at; what is wrong before it counts.
        (format!("<message><b>{}\x01", "x".repeat(95)), Some(PolicyViolation)),
        (format!("<message><b>\x01{}", "x".repeat(95)), Some(NotWellFormed)),
        ("<message><a><b/></a></message>".into(), None),
        ("<message><a><b><c/></b></a></message>".into(), Some(PolicyViolation)),
        ("<message a='' b='' xmlns:c='d'><a a='' b=''/></message>".into(), None),
        ("<message><a a='' b='' c=''/></message>".into(), Some(PolicyViolation)),
        ("<message xmlns:c='d'><a xmlns:e='f'/><a xmlns:g='h'/></message>".into(), None),
        ("<message xmlns:c='d'><a xmlns:e='f'><a xmlns:g='h'/></a></message>".into(), Some(PolicyViolation)),
        (" ".repeat(1000), None),
        ("<message/>".repeat(20), None),
        (format!("<a{}", "a".repeat(50)), None),
    ];
    for (input, expected) in cases {
        assert_eq!(refusal(setting, input.as_bytes()), *expected, "{input}");
    }
    let name = "a".repeat(1025);
    assert_eq!(read_pieces(CLIENT, [format!("{CLIENT_HEADER}<{name}").as_bytes()]).error, Some(PolicyViolation));
    assert_eq!(read(setting, " ".repeat(401).as_bytes()).error, Some(PolicyViolation));
    assert_eq!(read(setting, format!("<a:a xmlns:a='{}", "x".repeat(400)).as_bytes()).error, Some(PolicyViolation));
}

// Proves: RFC 6120 §4.8.3, §4.8.4
#[test]
fn stanzas_of_a_wrong_kind() {
    refused(&[
        (b"<msg/>", UnsupportedStanzaType),
        (b"<handshake/>", UnsupportedStanzaType),
        (b"<Message/>", UnsupportedStanzaType),
        (b"<c:foo xmlns:c='jabber:client'/>", UnsupportedStanzaType),
        (b"<message xmlns='jabber:server'/>", InvalidNamespace),
        (b"<s:iq xmlns:s='jabber:server'/>", InvalidNamespace),
        (b"<foo xmlns='jabber:component:accept'/>", InvalidNamespace),
    ]);
    assert_eq!(refusal(SERVER, b"<message xmlns='jabber:client'/>"), Some(InvalidNamespace));
}

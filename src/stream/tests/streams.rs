//! How streams begin, start again and end.

use super::*;
use crate::stream::{CLOSE, Header, HeaderFields, write_header};
use StreamCondition::{
    BadFormat, InvalidNamespace, NotWellFormed, PolicyViolation, RestrictedXml, UnsupportedEncoding,
};

const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";

fn opens(setting: Setting, header: &str) -> Header {
    let mut found = None;
    read(setting, header.as_bytes());
    let mut reader = Reader::new(setting.framing, setting.content, setting.limits);
    let mut buffer = header.as_bytes().to_vec();
    drain(&mut reader, &mut buffer, |event| {
        if let Event::Open(header) = event {
            found = Some(header.clone());
        }
    })
    .unwrap();
    found.unwrap_or_else(|| panic!("{header}"))
}

// Proves: RFC 6120 §4.7.5
#[test]
fn a_header_is_read() {
    let header = opens(
        CLIENT,
        &format!(
            "<?xml version=\"1.0\" encoding='utf-8' standalone='yes' ?>\n<stream:stream xml:lang='de' id='a&amp;b' \
             to='example.org' from='romeo@example.org' version='01.00' xmlns='jabber:client' {STREAM}>"
        ),
    );
    let expected = Header {
        to: Some("example.org".into()),
        from: Some("romeo@example.org".into()),
        id: Some("a&b".into()),
        version: Some((1, 0)),
        lang: Some("de".into()),
        dialback: false,
    };
    assert_eq!(header, expected);
    assert!(opens(SERVER, SERVER_HEADER).dialback);
    for (version, expected) in
        [("1.0", Some((1, 0))), ("2.13", Some((2, 13))), ("1", None), ("a.b", None), ("+1.0", None), ("", None)]
    {
        let header = format!("<stream:stream version='{version}' xmlns='jabber:client' {STREAM}>");
        assert_eq!(opens(CLIENT, &header).version, expected, "{version}");
    }
}

// Proves: RFC 6120 §11.5
#[test]
fn headers_that_are_accepted() {
    for header in [
        format!("\u{FEFF}<?xml version='1.0'?><stream:stream xmlns='jabber:client' {STREAM}>"),
        format!("\u{FEFF}<stream:stream xmlns='jabber:client' {STREAM}>"),
        format!(" \n<stream:stream xmlns='jabber:client' {STREAM}>"),
        format!("<?xml\tversion = '1.0' encoding=\"UTF-8\"?><stream:stream xmlns='jabber:client' {STREAM}>"),
        format!("<?xml version='1.0' standalone='no'?><stream:stream xmlns='jabber:client' {STREAM}>"),
        format!("<stream:stream {STREAM}>"),
        "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>".into(),
        "<stream xmlns='http://etherx.jabber.org/streams'>".into(),
        format!("<stream:stream xmlns='jabber:client' xmlns:x='y' x:to='no' {STREAM}>"),
    ] {
        assert_eq!(opens(CLIENT, &header).to, None, "{header}");
    }
}

// Proves: RFC 6120 §4.8.1, §11.5, §11.6
#[test]
fn headers_that_are_refused() {
    let cases: &[(&[u8], StreamCondition)] = &[
        (b"GET / HTTP/1.1\r\n", BadFormat),
        (b"\x16\x03\x01", NotWellFormed),
        (b"<foo/>", BadFormat),
        (b"<message xmlns='jabber:client'/>", BadFormat),
        (b"<stream:features xmlns:stream='http://etherx.jabber.org/streams'>", BadFormat),
        (b"<stream:stream xmlns='jabber:client'>", NotWellFormed),
        (b"<stream:stream xmlns='jabber:client' xmlns:stream='wrong'>", InvalidNamespace),
        (b"<stream xmlns='jabber:client'>", InvalidNamespace),
        (b"<stream>", InvalidNamespace),
        (b"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>", InvalidNamespace),
        (b"<stream:stream xmlns='x' xmlns:stream='http://etherx.jabber.org/streams'>", InvalidNamespace),
        (b"<stream:stream a='1' a='2' xmlns:stream='http://etherx.jabber.org/streams'>", NotWellFormed),
        (b"<stream:stream x:a='1' xmlns:stream='http://etherx.jabber.org/streams'>", NotWellFormed),
        (b"<!DOCTYPE a><a/>", RestrictedXml),
        (b"<!-- a --><a/>", RestrictedXml),
        (b"<?php ?>", RestrictedXml),
        (b"<?xmlx ?>", RestrictedXml),
        (b"</stream:stream>", NotWellFormed),
        (b"<![CDATA[a]]>", BadFormat),
        (b" <?xml version='1.0'?>", RestrictedXml),
        (b"<?xml version='1.0'?><?xml version='1.0'?>", RestrictedXml),
        (b"<?xml version='1.1'?>", NotWellFormed),
        (b"<?xml?>", RestrictedXml),
        (b"<?xml ?>", NotWellFormed),
        (b"<?xml encoding='UTF-8'?>", NotWellFormed),
        (b"<?xml version='1.0'encoding='UTF-8'?>", NotWellFormed),
        (b"<?xml version='1.0' encoding='UTF-8' version='1.0'?>", NotWellFormed),
        (b"<?xml version='1.0' standalone='maybe'?>", NotWellFormed),
        (b"<?xml version='1.0'>", NotWellFormed),
        (b"<?xml version=1.0?>", NotWellFormed),
        (b"<?xml version=\x0C'1.0'?>", NotWellFormed),
        (b"<?xml version\x0C='1.0'?>", NotWellFormed),
        (b"<?xml version='1.0' encoding='UTF-16'?>", UnsupportedEncoding),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>", UnsupportedEncoding),
        (b"\xFE\xFF\x00<", UnsupportedEncoding),
        (b"\xFF\xFE<\x00", UnsupportedEncoding),
        (b"\x00<\x00?", UnsupportedEncoding),
        (b"<\x00?\x00", UnsupportedEncoding),
    ];
    for (input, condition) in cases {
        assert_eq!(read(CLIENT, input).error, Some(*condition), "{}", String::from_utf8_lossy(input));
    }
    let endless = format!("<?xml version='1.0' {}", " ".repeat(300));
    assert_eq!(read(CLIENT, endless.as_bytes()).error, Some(NotWellFormed));
    let long = format!("<stream:stream to='{}", "x".repeat(5000));
    assert_eq!(read_pieces(CLIENT, [long.as_bytes()]).error, Some(PolicyViolation));
    assert_eq!(read_pieces(CLIENT, long.as_bytes().chunks(1)).error, Some(PolicyViolation));
}

#[test]
fn a_stream_ends_with_its_own_end_tag() {
    for (header, end) in [
        (CLIENT_HEADER, CLOSE),
        ("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>", "</s:stream >"),
        ("<stream xmlns='http://etherx.jabber.org/streams'>", "</stream>"),
    ] {
        let outcome = read(CLIENT, format!("{header} {end} \n").as_bytes());
        assert_eq!(outcome.events.get(1).map(String::as_str), Some("Close"), "{outcome:?}");
        assert_eq!((outcome.error, outcome.left), (None, 0));
    }
    let outcome = read(CLIENT, format!("<stream:stream xmlns='jabber:client' {STREAM}/>").as_bytes());
    assert_eq!(outcome.events.len(), 2);
}

// Proves: RFC 6120 §4.3.3
#[test]
fn a_stream_starts_again() {
    let mut reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::UNAUTHENTICATED);
    let mut buffer = format!("{CLIENT_HEADER}<auth xmlns='a'/>").into_bytes();
    drain(&mut reader, &mut buffer, |_| {}).unwrap();
    reader.restart();
    reader.set_limits(Limits::CLIENT);
    buffer.extend_from_slice(b" \n");
    drain(&mut reader, &mut buffer, |_| {}).unwrap();
    buffer.extend_from_slice(format!("{CLIENT_HEADER}<message/>").as_bytes());
    let mut events = Vec::new();
    drain(&mut reader, &mut buffer, |event| events.push(format!("{event:?}"))).unwrap();
    assert_eq!(events.len(), 2);
    assert!(events[0].starts_with("Open") && events[1].starts_with("Stanza"), "{events:?}");
}

// Proves: RFC 6120 §4.8.1, §4.8.2
#[test]
fn what_is_written_can_be_read() {
    for content in [ContentNamespace::Client, ContentNamespace::Server, ContentNamespace::Component] {
        let mut out = String::new();
        let fields = HeaderFields {
            to: Some("a'b"),
            from: Some("example.org"),
            id: Some("<1>"),
            lang: Some("en"),
            ..HeaderFields::default()
        };
        write_header(&mut out, content, &fields);
        let header = opens(Setting { content, ..CLIENT }, &out);
        assert_eq!(header.to.as_deref(), fields.to);
        assert_eq!(header.from.as_deref(), fields.from);
        assert_eq!(header.id.as_deref(), fields.id);
        assert_eq!(header.lang.as_deref(), fields.lang);
        assert_eq!(header.version, Some((1, 0)));
        assert_eq!(header.dialback, content == ContentNamespace::Server);
    }
    let mut out = String::new();
    write_header(&mut out, ContentNamespace::Client, &HeaderFields { version: None, ..HeaderFields::default() });
    assert_eq!(opens(CLIENT, &out), Header::default());
}

#[test]
fn an_idle_reader_is_small() {
    assert!(size_of::<Reader>() <= 200, "{}", size_of::<Reader>());
    let deep = format!("{CLIENT_HEADER}<message>{}{}</message>", "<a b='1'>".repeat(40), "</a>".repeat(40));
    let mut reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::CLIENT);
    let mut buffer = deep.into_bytes();
    drain(&mut reader, &mut buffer, |_| {}).unwrap();
    assert_eq!(reader.heap_bytes(), 0);
}

/// T-XML-3: one large token in many small pieces costs what it costs in one (CVE-2023-52425). Each byte of it is
/// replaced by one that no document may have once it has been looked at, and nobody notices.
#[test]
fn no_byte_is_looked_at_twice() {
    const ILLEGAL: u8 = 1;
    let long = "0123456789 abcdef \u{e9}\u{20ac}\u{1f600}".repeat(2_000);
    for (front, back) in [
        ("<message><body>", "</body></message>"),
        ("<message><body><![CDATA[", "]]></body></message>"),
        ("<message><x a='", "'/></message>"),
        ("<message id='", "'/>"),
        ("<message><x xmlns='y'/>", "</message>"),
        ("<r xmlns='urn:xmpp:sm:3' x='", "'/>"),
    ] {
        let mut reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::CLIENT);
        let mut header = CLIENT_HEADER.as_bytes().to_vec();
        drain(&mut reader, &mut header, |_| {}).unwrap();
        let whole = format!("{front}{long}{back}").into_bytes();
        let mut seen = whole.clone();
        let token = front.len()..front.len() + long.len();
        for end in 1..whole.len() {
            let step = reader.next(&seen[..end]).map(|step| (step.consumed, step.event.is_some()));
            assert_eq!(step, Ok((0, false)), "{end} of {front}");
            // The last one may belong to a character, a reference or an end that is not complete.
            if let Some(done) = end.checked_sub(8).filter(|done| token.contains(done)) {
                seen[done] = ILLEGAL;
            }
        }
        let step = reader.next(&whole).unwrap_or_else(|error| panic!("{error} at the end of {front}"));
        assert_eq!(step.consumed, whole.len());
        assert!(matches!(step.event, Some(Event::Stanza(_) | Event::Nonza(_))), "{front}");
    }
}

#[test]
fn frames_stand_alone() {
    let outcome = read(
        FRAME,
        b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>\
          <message to='a@b'><body>x</body></message> <iq id='1' type='get' xmlns='jabber:client'><a xmlns='b'/></iq>\
          <close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
    );
    assert_eq!(outcome.error, None);
    let kinds: Vec<_> = outcome.events.iter().map(|event| event.split(['(', ' ']).next().unwrap_or("")).collect();
    assert_eq!(kinds, ["Open", "Stanza", "Stanza", "Close"]);
    assert_eq!(read(FRAME, b"</stream:stream>").error, Some(NotWellFormed));
    assert_eq!(read(FRAME, b"<?xml version='1.0'?>").error, Some(RestrictedXml));
    assert_eq!(read(FRAME, b"<stream:features/>").error, Some(NotWellFormed));
}

#[test]
fn the_handshake_of_a_component_is_no_stanza() {
    let setting = Setting { content: ContentNamespace::Component, ..SERVER };
    let header = format!("<stream:stream xmlns='jabber:component:accept' to='x' {STREAM}>");
    with_header(setting, &header, "<handshake>abc</handshake>", |event| match event {
        Event::Nonza(element) => {
            assert!(element.is("handshake", "jabber:component:accept"));
            assert_eq!(element.text(), "abc");
        }
        other => panic!("{other:?}"),
    });
}

//! Properties over generated and damaged documents, with rxml as an independent judge.

use proptest::prelude::*;

use super::*;
use crate::stanza::{CLIENT_NS, Namespaces, Payload, Stanza};
use crate::xml::Element;

/// The entry for fuzzing: whatever the bytes are, nothing panics, the way of cutting them does not
/// matter, and what is accepted is canonical, can be understood, and is accepted by rxml.
pub(super) fn examine(setting: Setting, bytes: &[u8]) {
    let whole = read_pieces(setting, [bytes]);
    for size in [1, 7] {
        assert_eq!(read_pieces(setting, bytes.chunks(size)), whole, "{}", String::from_utf8_lossy(bytes));
    }
    let mut reader = Reader::new(setting.framing, setting.content, setting.limits);
    let mut rest = bytes;
    loop {
        match reader.next(rest) {
            Err(_) => break,
            Ok(step) => {
                let read = &rest[..step.consumed];
                rest = &rest[step.consumed..];
                match step.event {
                    None => break,
                    Some(Event::Nonza(element)) => examine_nonza(setting, read, &element),
                    Some(Event::Stanza(stanza)) => examine_stanza(&stanza),
                    Some(Event::Rejected(rejected)) => examine_stanza(&rejected.stanza),
                    Some(_) => {}
                }
            }
        }
    }
    if setting.framing == Framing::Stream && whole.error.is_none() {
        let read = &bytes[..bytes.len() - whole.left];
        assert_eq!(
            judge(read.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(read)),
            Ok(()),
            "{}",
            String::from_utf8_lossy(read)
        );
    }
}

/// An element is what quick-xml reads of it, unless it is one that the gate has to write again.
fn examine_nonza(setting: Setting, read: &[u8], element: &Element) {
    let text = str::from_utf8(read).unwrap();
    let is_simple = !["<![", "&#", "\r", "\t", "\n", ":", "jabber:server"].iter().any(|it| text.contains(it));
    if let Ok(expected) = Element::parse(text, setting.content.as_str())
        && is_simple
    {
        assert_eq!(*element, expected, "{text}");
    }
}

/// The gate has noted every namespace in the payload but that of the content.
fn is_noted(payload: &Payload<'_>, element: &Element) -> bool {
    let is_own = element.ns() == CLIENT_NS || payload.may_have(Namespaces::of(element.ns().as_bytes()));
    is_own && element.elements().all(|child| is_noted(payload, child))
}

fn examine_stanza(stanza: &Stanza<'_>) {
    assert!(Element::parse_all(stanza.payload.as_str(), "jabber:client").is_ok(), "{stanza:?}");
    assert!(stanza.payload.elements().iter().all(|element| is_noted(&stanza.payload, element)), "{stanza:?}");
    // Written and read again it is the same, and its payload is not touched.
    let text = stanza.to_xml();
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::OWN);
    let step = reader.next(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let again = match step.event {
        Some(Event::Stanza(stanza)) => stanza,
        Some(Event::Rejected(rejected)) => rejected.stanza,
        other => panic!("{other:?}: {text}"),
    };
    assert_eq!(again, *stanza, "{text}");
    let borrowed =
        again.payload.is_empty() || text.as_bytes().as_ptr_range().contains(&again.payload.as_str().as_ptr());
    assert!(borrowed, "{text}");
}

/// Whether rxml can read `bytes`, of which the end may be missing.
fn judge(bytes: &[u8]) -> Result<(), String> {
    use rxml::Parse;
    // rxml refuses a CR in an attribute value unless a LF follows, which XML 1.0 §2.11 allows.
    let bytes: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }).collect();
    let mut parser = rxml::Parser::new();
    let mut rest = bytes.as_slice();
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return Ok(()),
            Err(rxml::error::EndOrError::Error(error)) => return Err(error.to_string()),
        }
    }
}

/// Pieces of markup from which documents are put together, some of them wrong.
fn piece() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "message", "iq", "presence", "body", "x", "p:x", "c:body", "stream:y", "é", "1", "a:b:c",
    ]);
    let attribute = prop::sample::select(vec![
        "",
        " a='1'",
        " p:a='1'",
        " xmlns='y'",
        " xmlns='jabber:client'",
        " xmlns='jabber:server'",
        " xmlns=''",
        " xmlns:p='y'",
        " xmlns:p='z'",
        " xmlns:p=''",
        " xmlns:c='jabber:client'",
        " xmlns:c='y'",
        " c:a='&lt;'",
        " type='get'",
        " id='&#65;'",
        " to='a@b'",
        " a=\"x\ty\"",
        " q:a='1'",
        " xml:lang='de'",
        "b='2'",
        " a",
    ]);
    let text = prop::sample::select(vec![
        "text",
        " ",
        "&amp;",
        "&#65;",
        "&#xd;",
        "\r\n",
        "]]>",
        "<![CDATA[a<b]]>",
        "ä",
        "\u{FFFF}",
        "\u{FF0C}",
        "&x;",
        "<!-- -->",
        "0123456789abcdef0123456789",
        "]]",
        ">",
        "\u{1}",
    ]);
    prop_oneof![
        3 => (names.clone(), prop::collection::vec(attribute.clone(), 0..4)).prop_map(|(name, attributes)| format!("<{name}{}>", attributes.concat())),
        1 => (names.clone(), prop::collection::vec(attribute, 0..3)).prop_map(|(name, attributes)| format!("<{name}{}/>", attributes.concat())),
        2 => names.prop_map(|name| format!("</{name}>")),
        3 => text.prop_map(str::to_owned),
    ]
}

/// Elements that nest properly.
fn tree() -> impl Strategy<Value = String> {
    let attributes = prop::sample::subsequence(
        vec![" a='1&#9;'", " xmlns:p='z'", " p:a='1'", " xmlns='y'", " xml:lang='de'", " c:a='\n'"],
        0..3,
    );
    let leaf = prop::sample::select(vec![
        "text",
        "&amp;&#65;",
        "\r\n",
        "<![CDATA[a<b\r]]>",
        "äöü日本",
        "<a/>",
        "<p:b/>",
        "<c:body/>",
        "<body xmlns='jabber:client'/>",
        "<b xmlns='jabber:server'/>",
        "<b xmlns=''/>",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let names = prop::sample::select(vec!["x", "p:x", "c:message", "body", "stream:z"]);
        (names, attributes.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(name, attributes, inner)| format!("<{name}{}>{}</{name}>", attributes.concat(), inner.concat()))
    })
}

/// The elements of `input` inside a stanza that declares what [`tree`] uses.
fn wrapped(inner: &str, declarations: &str) -> String {
    format!("<message xmlns:p='y' {declarations}>{inner}</message>")
}

/// Stanzas that break a rule, with declarations that the next one must not find.
fn refused() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "<message to='@' xmlns:p='refused' xmlns:c='jabber:client'>INSIDE</message>",
        "<message from='/' xmlns:p='refused' xmlns:c='jabber:client' xml:lang='de'>INSIDE</message>",
        "<presence type='what' xmlns:p='refused' xmlns:c='jabber:client'>INSIDE</presence>",
        "<iq id='1' type='what' xmlns:p='refused' xmlns:c='jabber:client'>INSIDE</iq>",
        "<c:iq id='1' type='set' xmlns:c='jabber:client' xmlns='refused' xmlns:p='y'><a/>INSIDE<b/></c:iq>",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        examine(CLIENT, &bytes);
        examine(FRAME, &bytes);
        examine(CLIENT, &[CLIENT_HEADER.as_bytes(), &bytes].concat());
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..12)) {
        examine(CLIENT, format!("{CLIENT_HEADER}{}", pieces.concat()).as_bytes());
        examine(SERVER, format!("{SERVER_HEADER}<message xmlns:p='y' xmlns:c='jabber:server'>{}</message>", pieces.concat()).as_bytes());
        examine(FRAME, pieces.concat().as_bytes());
    }

    // Proves: RFC 6120 §11.3
    #[test]
    fn damaged_documents(inner in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = format!("{CLIENT_HEADER}{}", wrapped(&inner, "xmlns:c='jabber:client'")).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        examine(CLIENT, &bytes);
    }

    #[test]
    fn damaged_headers(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = SERVER_HEADER.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        examine(SERVER, &bytes);
    }

    /// T-SMUG-4: a stanza that was refused leaves nothing behind for the next one (CVE-2019-1000007).
    #[test]
    fn what_was_refused_leaves_nothing_behind(refused in refused(), inside in tree(), next in tree()) {
        let refused = refused.replace("INSIDE", &inside);
        let next = wrapped(&next, "xmlns:c='jabber:client'");
        let with = format!("{CLIENT_HEADER}{refused}{next}");
        let without = format!("{CLIENT_HEADER}{next}");
        let (with, without) = (read_pieces(CLIENT, [with.as_bytes()]), read_pieces(CLIENT, [without.as_bytes()]));
        prop_assert!(with.events[1].starts_with("Rejected"), "{refused}: {with:?}");
        prop_assert_eq!(&with.events[2..], &without.events[1..], "{}", refused);
        prop_assert_eq!((with.error, with.left), (without.error, without.left));
    }

    // Proves: RFC 6120 §11.3
    /// The canonical form says what the original says.
    #[test]
    fn the_meaning_is_kept(inner in tree()) {
        let document = wrapped(&inner, "xmlns:c='jabber:client'");
        examine(CLIENT, format!("{CLIENT_HEADER}{document}").as_bytes());
        one_event(CLIENT, &document, |event| match event {
            Event::Stanza(stanza) => {
                let original = Element::parse(
                    &format!("<r xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{document}</r>"),
                    "",
                );
                let original = original.unwrap().elements().next().unwrap().nodes().to_vec();
                let canonical = format!("<r xmlns='jabber:client'>{}</r>", stanza.payload.as_str());
                let canonical = Element::parse(&canonical, "").unwrap().nodes().to_vec();
                // Both as they are written, and content namespaces are one.
                let text = |nodes: &[crate::xml::Node]| {
                    let mut out = String::new();
                    let mut parent = Element::new("r", "jabber:client");
                    for node in nodes {
                        match node {
                            crate::xml::Node::Element(element) => parent.push(element.clone()),
                            crate::xml::Node::Text(text) => parent = parent.with_text(text),
                        }
                    }
                    parent.write(&mut out, "");
                    out.replace(" xmlns='jabber:server'", " xmlns='jabber:client'")
                };
                let (one, two) = (Element::parse(&text(&original), ""), Element::parse(&text(&canonical), ""));
                assert_eq!(one, two, "{document}");
            }
            other => panic!("{other:?}"),
        });
    }
}

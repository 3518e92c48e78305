//! The gate: whatever comes, what it lets in is canonical, stays within its limits, and is the same when it is read again.

use comity::stanza::{CLIENT_NS, Namespaces, Payload, Stanza};
use comity::stream::{ContentNamespace, Event, Framing, Limits, Reader};
use comity::xml::{Element, Node};

use crate::gate::{self, Setting};

pub(crate) fn run(bytes: &[u8]) {
    let Some((setting, rest)) = Setting::of(bytes) else { return };
    let whole = setting.whole(rest);
    let limits = setting.limits;
    gate::read(&mut setting.reader(), &whole, |own, event| {
        // White space before an element is consumed with it and does not count.
        let own = own.trim_ascii_start();
        match event {
            Event::Open(_) => assert!(own.len() <= limits.header + "\u{FEFF}".len(), "a header is too long"),
            Event::Stanza(stanza) => examine(&stanza, own, limits),
            Event::Rejected(rejected) => examine(&rejected.stanza, own, limits),
            Event::Nonza(element) => {
                assert!(own.len() <= limits.element && depth(&element) <= limits.depth, "an element is too large");
            }
            Event::Close => {}
        }
    });
}

fn examine(stanza: &Stanza<'_>, own: &[u8], limits: Limits) {
    let payload = stanza.payload.as_str();
    assert!(own.len() <= limits.element && payload.len() <= limits.element, "a stanza is too large: {payload}");
    let nodes = Element::parse_all(payload, CLIENT_NS);
    let nodes = nodes.unwrap_or_else(|error| panic!("{error}: {payload}"));
    let elements: Vec<Element> = stanza.payload.elements();
    assert_eq!(elements.len(), nodes.iter().filter(|node| matches!(node, Node::Element(_))).count());
    for element in &elements {
        assert!(depth(element) < limits.depth, "too deep: {payload}");
        assert!(is_noted(&stanza.payload, element), "{payload}");
    }
    // Written and read again it is the same, and nobody has to write its payload again.
    let text = stanza.to_xml();
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::OWN);
    let step = reader.next(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(step.consumed, text.len(), "{text}");
    let again = match step.event {
        Some(Event::Stanza(stanza)) => stanza,
        Some(Event::Rejected(rejected)) => rejected.stanza,
        other => panic!("{other:?}: {text}"),
    };
    assert_eq!(again, *stanza, "{text}");
    let place = again.payload.as_str().as_ptr();
    assert!(again.payload.is_empty() || text.as_bytes().as_ptr_range().contains(&place), "not canonical: {text}");
}

/// What `xml:` is bound to without anybody's declaration.
const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

/// The gate has noted every namespace in the payload but that of the content, and the one that nobody declares.
fn is_noted(payload: &Payload<'_>, element: &Element) -> bool {
    let own = [CLIENT_NS, XML_NS].contains(&element.ns()) || payload.may_have(Namespaces::of(element.ns().as_bytes()));
    own && element.elements().all(|child| is_noted(payload, child))
}

fn depth(element: &Element) -> usize {
    1 + element.elements().map(depth).max().unwrap_or(0)
}

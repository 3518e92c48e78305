//! The tree behind the gate: what is read is written as it was meant, for us and for others.

use comity::stanza::CLIENT_NS;
use comity::xml::{Element, Node, escaped};

use crate::found::{Found, Piece};
use crate::gate;
use crate::readers::written_alone;

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        // It reads text that has not passed the gate, too: what is stored may be damaged.
        if let Ok(nodes) = Element::parse_all(text, CLIENT_NS) {
            let written: String = nodes
                .iter()
                .map(|node| match node {
                    Node::Element(element) => element.to_xml(CLIENT_NS),
                    Node::Text(text) => escaped(text).into_owned(),
                })
                .collect();
            assert_eq!(Element::parse_all(&written, CLIENT_NS).as_ref(), Ok(&nodes), "{text}");
        }
    }
    for mut element in gate::elements(bytes) {
        for inherited in [CLIENT_NS, ""] {
            let xml = element.to_xml(inherited);
            assert_eq!(Element::parse(&xml, inherited).as_ref(), Ok(&element), "{xml}");
        }
        let found = written_alone(&element.to_xml(CLIENT_NS), CLIENT_NS);
        assert_eq!(found, Found::of(&element));
        let text: String = found.inside.iter().filter_map(Piece::text).collect();
        assert_eq!(text, element.text());
        element.wipe();
        assert!(
            element.text().is_empty() && element.attributes().all(|(_, value)| value.bytes().all(|octet| octet == 0)),
            "{xml}",
            xml = element.to_xml("")
        );
    }
}

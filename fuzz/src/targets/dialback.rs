//! Dialback: what is read is written again as it was meant, and everybody reads it so.

use comity::federation::dialback_again;
use comity::stream::{ContentNamespace, Event, Framing, Limits, Reader};
use comity::xml::Element;

use crate::gate;
use crate::readers::written_alone;

const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

const LIMITS: Limits = Limits::UNAUTHENTICATED_SERVER;

pub(crate) fn run(bytes: &[u8]) {
    for element in said(bytes) {
        let Some(Some(xml)) = dialback_again(&element) else { continue };
        let found = written_alone(&xml, ContentNamespace::Server.as_str());
        // The domains are prepared; everything else is as it came.
        assert_eq!(found.name.1, element.name());
        for name in ["id", "type"] {
            let is_written = name == "type" || element.name() == "verify";
            assert!(!is_written || found.attribute("", name) == element.attribute(name), "{xml}");
        }
        // References take more than what they stand for: not everything that was let in would be once more.
        if xml.len() > LIMITS.element {
            continue;
        }
        let again = said(xml.as_bytes());
        let [again] = again.as_slice() else { panic!("not one element: {xml}") };
        assert_eq!(dialback_again(again), Some(Some(xml)));
    }
}

/// The elements that another server says before it has proven anything.
fn said(bytes: &[u8]) -> Vec<Element> {
    let mut reader = Reader::new(Framing::Stream, ContentNamespace::Server, LIMITS);
    let mut found = Vec::new();
    gate::read(&mut reader, &[HEADER.as_bytes(), bytes].concat(), |_, event| {
        if let Event::Nonza(element) = event {
            found.push(element);
        }
    });
    found
}

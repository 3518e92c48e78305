//! XEP-0288 Bidirectional Server-to-Server Connections, version 1.0.1: the words in which servers agree that stanzas go both
//! ways on one stream.

use crate::xml::Element;

/// Namespace of the stream feature (XEP-0288 §2.1).
const FEATURE_NS: &str = "urn:xmpp:features:bidi";
/// Namespace of what the side says that has opened the stream (XEP-0288 §2.2).
const NS: &str = "urn:xmpp:bidi";

/// The feature.
pub(crate) fn feature() -> Element {
    Element::new("bidi", FEATURE_NS)
}

/// Whether it is among the features of a peer.
pub(crate) fn is_offered(features: &Element) -> bool {
    features.child("bidi", FEATURE_NS).is_some()
}

/// From here on stanzas go both ways, as far as domains are proven.
pub(crate) fn request() -> Element {
    Element::new("bidi", NS)
}

pub(crate) fn is_request(element: &Element) -> bool {
    element.is("bidi", NS)
}

//! XEP-0478 Stream Limits Advertisement, version 0.2.0: how large a stanza may be on a stream and how long
//! the peer may be silent, so that nobody finds out by losing the stream.

use crate::hooks::{Bound, Extension, Peer, Registrar, Spec};
use crate::negotiation::features::STREAM_LIMITS_NS as NS;
use crate::stream::Limits;
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0478", version: "0.2.0" },
    name: "stream-limits",
    // It is a stream feature and nothing that entities are asked for.
    advertises: &[],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    let settings = at.settings.clone();
    at.stream_feature(move |stream| {
        let strangers = |limits: Limits| Bound { bytes: limits.element, silence: None };
        let bound = match (stream.peer, stream.authenticated) {
            (Peer::Client, false) => strangers(Limits::UNAUTHENTICATED),
            (Peer::Client, true) => settings.load().clients,
            // Who proves its domain by dialback gets no features after that, so these would be taken for
            // the limits of the whole stream.
            (Peer::Server, false) if stream.encrypted => return None,
            (Peer::Server, false) => strangers(Limits::UNAUTHENTICATED_SERVER),
            (Peer::Server, true) => settings.load().servers,
        };
        Some(limits(bound))
    });
}

/// §3.1.
fn limits(bound: Bound) -> Element {
    let number = |name, number: String| Element::new(name, NS).with_text(&number);
    let limits = Element::new("limits", NS).with_child(number("max-bytes", bound.bytes.to_string()));
    match bound.silence {
        Some(silence) => limits.with_child(number("idle-seconds", silence.as_secs().to_string())),
        None => limits,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // Proves: XEP-0478 §3
    #[test]
    fn what_is_said() {
        let bound = Bound { bytes: 10_000, silence: Some(Duration::from_millis(1_800_900)) };
        assert_eq!(
            limits(bound).to_xml(""),
            "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes>\
             <idle-seconds>1800</idle-seconds></limits>"
        );
        assert!(!limits(Bound { silence: None, ..bound }).to_xml("").contains("idle"));
    }
}

//! XEP-0352 Client State Indication, version 1.0.0: what may wait for a client that nobody looks at.
//! `docs/client-state.md` is the same for people.

use std::sync::Arc;

use crate::hooks::{Attention, ClientState, Extension, Peer, Registrar, Spec, Urgency};
use crate::stanza::{Kind, MessageType, PresenceType, Stanza};
use crate::xml::Element;

use super::{CHAT_STATES_NS, HINTS_NS, MUC_USER_NS as USER_NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0352", version: "1.0.0" },
    name: "client-state",
    // It is a stream feature and nothing that entities are asked for.
    advertises: &[],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:csi:0";

/// XEP-0060: something that somebody has published.
const EVENT_NS: &str = "http://jabber.org/protocol/pubsub#event";

fn install(at: &mut Registrar<'_>) {
    at.stream_feature(|stream| {
        let is_user = stream.peer == Peer::Client && stream.authenticated;
        is_user.then(|| Element::new("csi", NS))
    });
    at.client_state(ClientState { read, urgency });
    // XEP-0386 §3.2: a session may begin with nobody looking at its client.
    let outbound = Arc::clone(at.outbound);
    at.inline_feature(NS, move |session, request| {
        if let Some(attention) = read(request) {
            outbound.attend(session, attention);
        }
        None
    });
}

/// XEP-0352 §4.2.
fn read(element: &Element) -> Option<Attention> {
    match (element.name(), element.ns()) {
        ("active", NS) => Some(Attention::Active),
        ("inactive", NS) => Some(Attention::Inactive),
        _ => None,
    }
}

/// XEP-0352 §3.2: what nobody misses as long as nobody looks.
fn urgency(stanza: &Stanza<'_>) -> Urgency {
    let mut children = stanza.payload.children();
    match stanza.kind {
        // Rooms say more by presence than who is there, and in an order that matters.
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
            if children.any(|child| child.ns == USER_NS) { Urgency::Later } else { Urgency::Latest }
        }
        Kind::Message(MessageType::Headline) if children.any(|child| (child.name, child.ns) == ("event", EVENT_NS)) => {
            Urgency::Later
        }
        Kind::Message(MessageType::Chat | MessageType::Normal | MessageType::Groupchat) if is_chat_state(stanza) => {
            Urgency::Latest
        }
        Kind::Message(_) | Kind::Presence(_) | Kind::Iq(_) => Urgency::Now,
    }
}

/// Whether a message tells that somebody is writing, or is not, and nothing else.
fn is_chat_state(stanza: &Stanza<'_>) -> bool {
    let mut states = 0;
    stanza.payload.children().all(|child| {
        states += usize::from(child.ns == CHAT_STATES_NS);
        matches!(child.ns, CHAT_STATES_NS | HINTS_NS) || child.name == "thread"
    }) && states > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, Payload};

    fn judged(kind: Kind, payload: &str) -> Urgency {
        urgency(&Stanza::new(kind).payload(Payload::canonical(payload)))
    }

    const STATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    const HINT: &str = "<no-store xmlns='urn:xmpp:hints'/>";
    const EVENT: &str = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>";
    const ROOM: &str = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    const BODY: &str = "<body>hi</body>";
    const RECEIPT: &str = "<received xmlns='urn:xmpp:receipts' id='1'/>";

    // Proves: XEP-0352 §3.2
    #[test]
    fn each_row_of_the_table() {
        use {
            MessageType as M, PresenceType as P,
            Urgency::{Later, Latest, Now},
        };
        let held = |kind: P| matches!(kind, P::Available | P::Unavailable);
        for kind in P::ALL {
            for (payload, urgency) in [("", Latest), ("<show>away</show>", Latest), (ROOM, Later)] {
                let expected = if held(*kind) { urgency } else { Now };
                assert_eq!(judged(Kind::Presence(*kind), payload), expected, "{kind:?} {payload}");
            }
        }
        for kind in IqType::ALL {
            assert_eq!(judged(Kind::Iq(*kind), EVENT), Now, "{kind:?}");
        }
        for kind in M::ALL {
            let talks = matches!(kind, M::Chat | M::Normal | M::Groupchat);
            for payload in ["", BODY, RECEIPT, HINT, "<thread>1</thread>"] {
                assert_eq!(judged(Kind::Message(*kind), payload), Now, "{kind:?} {payload}");
            }
            for payload in [STATE.to_owned(), format!("<thread>1</thread>{HINT}{STATE}")] {
                let expected = if talks { Latest } else { Now };
                assert_eq!(judged(Kind::Message(*kind), &payload), expected, "{kind:?} {payload}");
            }
            for payload in [format!("{STATE}{BODY}"), format!("{RECEIPT}{STATE}")] {
                assert_eq!(judged(Kind::Message(*kind), &payload), Now, "{kind:?} {payload}");
            }
            let expected = if *kind == M::Headline { Later } else { Now };
            assert_eq!(judged(Kind::Message(*kind), EVENT), expected, "{kind:?}");
        }
    }

    // Proves: XEP-0352 §4.2
    #[test]
    fn what_clients_say() {
        for (xml, said) in [
            ("<active xmlns='urn:xmpp:csi:0'/>", Some(Attention::Active)),
            ("<inactive xmlns='urn:xmpp:csi:0'/>", Some(Attention::Inactive)),
            ("<csi xmlns='urn:xmpp:csi:0'/>", None),
            ("<active xmlns='x'/>", None),
        ] {
            assert_eq!(read(&Element::parse(xml, "").unwrap()), said, "{xml}");
        }
    }
}

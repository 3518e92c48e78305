//! What is worth archiving. `docs/archive.md` is the same for people.

use crate::stanza::{CLIENT_NS, Child, Kind, MessageType, Namespaces, Stanza};

use super::super::HINTS_NS;
use super::super::xep_0424_retraction::api::NS as RETRACTION_NS;
use super::super::xep_0425_moderation::api::{FASTENED_NS, OLD_RETRACTION_NS};
use super::api::{CALLS_NS, CONFERENCE_NS, GROUP_CALLS_NS, MARKERS_NS, RECEIPTS_NS};

/// What is encrypted: in both versions of XEP-0384, by XEP-0373 or XEP-0027, or by whatever names itself (XEP-0380).
const ENCRYPTED: &[(&str, &str)] = &[
    ("encrypted", "eu.siacs.conversations.axolotl"),
    ("encrypted", "urn:xmpp:omemo:2"),
    ("openpgp", "urn:xmpp:openpgp:0"),
    ("x", "jabber:x:encrypted"),
    ("encryption", "urn:xmpp:eme:0"),
];

/// One of those or of these is enough: an element, or any element of the namespace if it has no name.
const KEPT: &[(&str, &str)] = &[
    ("body", CLIENT_NS),
    // Receipts (XEP-0184) and markers (XEP-0333), not the wish for them.
    ("received", RECEIPTS_NS),
    ("received", MARKERS_NS),
    ("displayed", MARKERS_NS),
    ("acknowledged", MARKERS_NS),
    // Changes of other messages: reactions (XEP-0444), retractions (XEP-0424), corrections (XEP-0308), and what is
    // fastened to them (XEP-0422).
    ("reactions", "urn:xmpp:reactions:0"),
    ("retract", RETRACTION_NS),
    ("retract", OLD_RETRACTION_NS),
    ("replace", "urn:xmpp:message-correct:0"),
    ("apply-to", FASTENED_NS),
    // Invitations to calls (XEP-0353, XEP-0482) and to rooms (XEP-0249).
    ("", CALLS_NS),
    ("", GROUP_CALLS_NS),
    ("x", CONFERENCE_NS),
    // The sender wants it (XEP-0334).
    ("store", HINTS_NS),
];

/// Where something may be that rules it out.
const HINTS: Namespaces = Namespaces::of(HINTS_NS.as_bytes());

/// Whether the archive keeps the message.
pub(super) fn is_archived(stanza: &Stanza<'_>) -> bool {
    matches!(stanza.kind, Kind::Message(MessageType::Chat | MessageType::Normal)) && is_worth_keeping(stanza)
}

/// Whether a message is worth it, whatever its type.
pub(super) fn is_worth_keeping(stanza: &Stanza<'_>) -> bool {
    if !stanza.payload.may_have(HINTS) {
        // Nothing that comes later rules out what came before.
        return stanza.payload.children().any(is_kept);
    }
    let mut kept = false;
    for child in stanza.payload.children() {
        if child.ns == HINTS_NS && matches!(child.name, "no-store" | "no-permanent-store") {
            return false;
        }
        kept = kept || is_kept(child);
    }
    kept
}

fn is_kept(child: Child<'_>) -> bool {
    is_encrypted(child) || KEPT.iter().any(|(name, ns)| child.ns == *ns && (name.is_empty() || child.name == *name))
}

/// Whether something is text that only the recipient can read.
pub(super) fn is_encrypted(child: Child<'_>) -> bool {
    ENCRYPTED.contains(&(child.name, child.ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;

    fn kept(kind: MessageType, payload: &str) -> bool {
        is_archived(&Stanza::new(Kind::Message(kind)).payload(Payload::canonical(payload)))
    }

    #[test]
    fn each_row_of_the_table_is_enough() {
        for (name, ns) in KEPT.iter().chain(ENCRYPTED) {
            let name = if name.is_empty() { "invite" } else { name };
            let payload = format!("<thread>1</thread><{name} xmlns='{ns}'/>");
            assert!(kept(MessageType::Chat, &payload) && kept(MessageType::Normal, &payload), "{payload}");
            for hint in ["no-store", "no-permanent-store"] {
                assert!(!kept(MessageType::Chat, &format!("{payload}<{hint} xmlns='{HINTS_NS}'/>")), "{payload}");
            }
            for kind in [MessageType::Headline, MessageType::Groupchat, MessageType::Error] {
                assert!(!kept(kind, &payload), "{payload}");
            }
        }
    }

    #[test]
    fn what_the_gate_has_noted_makes_no_difference() {
        for (text, other) in [
            ("<body>hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>", true),
            ("<active xmlns='http://jabber.org/protocol/chatstates'/><body>hi</body>", true),
            ("<active xmlns='http://jabber.org/protocol/chatstates'/>", false),
        ] {
            let noted = Namespaces::of(b"http://jabber.org/protocol/chatstates");
            let stanza = Stanza::new(Kind::Message(MessageType::Chat)).payload(Payload::noted(text, noted));
            assert!(!noted.may_have(HINTS));
            assert_eq!((is_archived(&stanza), kept(MessageType::Chat, text)), (other, other), "{text}");
        }
    }

    #[test]
    fn what_passes_is_not_kept() {
        for payload in [
            "",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
            "<request xmlns='urn:xmpp:receipts'/>",
            "<markable xmlns='urn:xmpp:chat-markers:0'/>",
            "<x xmlns='x'><body xmlns='jabber:client'>hi</body></x>",
            "<no-copy xmlns='urn:xmpp:hints'/>",
        ] {
            assert!(!kept(MessageType::Chat, payload), "{payload}");
        }
        assert!(!kept(MessageType::Chat, "<no-store xmlns='urn:xmpp:hints'/><body>hi</body>"));
        assert!(!kept(MessageType::Chat, "<body>hi</body><no-store xmlns='urn:xmpp:hints'/>"));
        assert!(kept(MessageType::Chat, "<body>hi</body><no-store xmlns='x'/>"));
    }
}

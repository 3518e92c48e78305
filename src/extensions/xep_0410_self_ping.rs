//! XEP-0410 MUC Self-Ping (Schrödinger's Chat), version 1.1.0: a client asks whether it is in a room by a ping to itself,
//! and the room answers at once, without asking any client (§3.3).

use crate::hooks::{Entity, Extension, Spec};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0410", version: "1.1.0" },
    name: "self-ping",
    advertises: &[(Entity::Room, "http://jabber.org/protocol/muc#self-ping-optimization")],
    wanted: Extension::ALWAYS,
    commands: &[],
    // Rooms answer.
    install: |_| {},
};

/// For rooms.
pub(super) mod api {
    use crate::jid::Jid;
    use crate::stanza::{Kind, Stanza};

    use super::super::xep_0199_ping::api::NS as PING_NS;
    use crate::stanza::IqType;

    /// Whether an occupant at `own`, which is `room/nick`, asks whether he is there.
    pub(in crate::extensions) fn is_self_ping(stanza: &Stanza<'_>, own: &Jid) -> bool {
        stanza.kind == Kind::Iq(IqType::Get)
            && stanza.to.as_ref() == Some(own)
            && stanza.payload.children().next().is_some_and(|child| child.name == "ping" && child.ns == PING_NS)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::stanza::Payload;

        // Proves: XEP-0410 §3.3
        #[test]
        fn a_ping_to_oneself() {
            let own: Jid = "characters@chat.shakespeare.lit/JuliC".parse().unwrap();
            let ask = |kind, to: &Jid, payload: &str| {
                is_self_ping(
                    &Stanza::new(Kind::Iq(kind)).to(to.clone()).payload(Payload::canonical(payload.to_owned())),
                    &own,
                )
            };
            let ping = "<ping xmlns='urn:xmpp:ping'/>";
            assert!(ask(IqType::Get, &own, ping));
            assert!(!ask(IqType::Set, &own, ping) && !ask(IqType::Get, &own, "<ping xmlns='x'/>"));
            let other = "characters@chat.shakespeare.lit/Romeo".parse().unwrap();
            assert!(!ask(IqType::Get, &other, ping));
        }
    }
}

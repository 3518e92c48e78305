//! For rooms of this server, which answer at once whether an occupant is in, without asking any client (XEP-0410 §3.3).

use crate::extensions::PING_NS;
use crate::jid::Jid;
use crate::stanza::{IqType, Kind, Stanza};

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

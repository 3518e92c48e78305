//! What of a stanza is passed on to occupants: everything but what only the room may say (XEP-0045 §17.3, XEP-0421 §4,
//! XEP-0359 §3).

use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Namespaces, Payload};
use crate::xml::Element;

use super::super::xep_0160_offline::api::DELAY_NS;
use super::super::xep_0359_stanza_ids::api::NS as IDS_NS;
use super::super::xep_0421_occupant_ids::api::NS as OCCUPANT_NS;
use super::super::{MUC_NS as NS, MUC_USER_NS as USER_NS};

/// Where something may be that is not passed on.
const OURS: Namespaces = Namespaces::of(NS.as_bytes())
    .with(Namespaces::of(USER_NS.as_bytes()))
    .with(Namespaces::of(OCCUPANT_NS.as_bytes()))
    .with(Namespaces::of(IDS_NS.as_bytes()))
    .with(Namespaces::of(DELAY_NS.as_bytes()));

/// The payload without that.
pub(super) fn passed_on(payload: &Payload<'_>, room: &BareJid) -> Payload<'static> {
    if !payload.may_have(OURS) {
        return payload.borrow().into_owned();
    }
    let elements = payload.elements();
    if !elements.iter().any(|element| is_ours(element, room)) {
        return payload.borrow().into_owned();
    }
    let mut rest = String::new();
    for element in elements.iter().filter(|element| !is_ours(element, room)) {
        element.write(&mut rest, CLIENT_NS);
    }
    Payload::canonical(rest)
}

fn is_ours(element: &Element, room: &BareJid) -> bool {
    // Whatever cannot be read names nobody, and is no loss.
    let is_room = |name| {
        let address = element.attribute(name).map(Jid::parse);
        address.is_none_or(|address| address.map_or(true, |address| address.bare_str() == room.as_str()))
    };
    match (element.name(), element.ns()) {
        ("x", NS | USER_NS) => true,
        ("occupant-id", OCCUPANT_NS) => true,
        ("stanza-id", IDS_NS) => is_room("by"),
        ("delay", DELAY_NS) => is_room("from"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0045 §17.3, XEP-0421 §4, XEP-0359 §3, XEP-0313 §6.1.2
    #[test]
    fn nobody_speaks_for_the_room() {
        let room = BareJid::parse("coven@chat.shakespeare.lit").unwrap();
        let passed = |payload: &str| passed_on(&Payload::canonical(payload.to_owned()), &room).as_str().to_owned();
        for forged in [
            "<x xmlns='http://jabber.org/protocol/muc'/>",
            "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner'/></x>",
            "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='x'/>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='coven@chat.shakespeare.lit'/>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='Coven@chat.shakespeare.lit/x'/>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='x'/>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='@'/>",
            "<delay xmlns='urn:xmpp:delay' from='coven@chat.shakespeare.lit' stamp='2002-10-13T23:58:37Z'/>",
            "<delay xmlns='urn:xmpp:delay' stamp='2002-10-13T23:58:37Z'/>",
            // Not only the first of several, however they are spelt.
            "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='x'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='y'/>\
             <p:occupant-id xmlns:p='urn:xmpp:occupant-id:0' id='z'><p:occupant-id id='x'/></p:occupant-id>",
        ] {
            assert_eq!(passed(&format!("<body>a &lt; b</body>{forged}")), "<body>a &lt; b</body>", "{forged}");
            assert_eq!(passed(&format!("{forged}<body>a &lt; b</body>{forged}")), "<body>a &lt; b</body>", "{forged}");
        }
        for other in [
            "",
            "<origin-id xmlns='urn:xmpp:sid:0' id='x'/>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='romeo@montague.lit'/>",
            "<delay xmlns='urn:xmpp:delay' from='irc.shakespeare.lit' stamp='2002-10-13T23:58:37Z'/>",
            "<x xmlns='jabber:x:oob'><url>x</url></x>",
        ] {
            assert_eq!(passed(other), other);
        }
    }
}

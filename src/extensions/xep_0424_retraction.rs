//! XEP-0424 Message Retraction, version 0.4.2: what somebody takes back goes out of the logs of both sides, and out of
//! what waits for the recipient. A tombstone stays in the archive, and the retraction with it.

use crate::clock::Timestamp;
use crate::hooks::{Entity, Extension, Registrar, Retraction, Spec};
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Kind, MessageType, Stanza};

use self::api::{NS, is_final, taken_back, tombstone};
use super::MUC_USER_NS as USER_NS;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0424", version: "0.4.2" },
    name: "message-retraction",
    advertises: &[
        (Entity::Domain, NS),
        (Entity::Account, NS),
        (Entity::Account, "urn:xmpp:message-retract:1#tombstone"),
    ],
    commands: &[],
    wanted: |settings| settings.archive.is_some(),
    install,
};

/// For extensions that recognise retractions, and rooms, which have archives of their own.
pub(super) mod api {
    use crate::clock::Timestamp;
    use crate::stanza::{Namespaces, Stanza};
    use crate::xml::Element;

    pub(in crate::extensions) const NS: &str = "urn:xmpp:message-retract:1";

    /// Where a retraction may be.
    const MAY_BE: Namespaces = Namespaces::of(NS.as_bytes());

    /// The ids of the message that `stanza` takes back, and its own, which a tombstone names (XEP-0424 §4).
    pub(in crate::extensions) fn taken_back(stanza: &Stanza<'_>) -> Option<(String, String)> {
        // Hardly any message is one.
        if !stanza.payload.may_have(MAY_BE) {
            return None;
        }
        let elements = stanza.payload.elements();
        let of = elements.iter().find(|element| element.is("retract", NS))?.attribute("id")?;
        Some((of.to_owned(), stanza.id.as_deref()?.to_owned()))
    }

    /// What is left of a message that was taken back by the one with the id `by`.
    pub(in crate::extensions) fn tombstone(by: &str, now: Timestamp) -> Element {
        Element::new("retracted", NS).with("id", by).with("stamp", &now.to_string())
    }

    /// Whether nobody can take a message back: one that was is gone already, and a retraction stays (XEP-0424 §5).
    pub(in crate::extensions) fn is_final(message: &Stanza<'_>) -> bool {
        message.payload.children().any(|child| child.ns == NS && matches!(child.name, "retract" | "retracted"))
    }
}

fn install(at: &mut Registrar<'_>) {
    let clock = at.clock.clone();
    at.retraction(move |stanza| read(stanza, || clock.now()));
}

/// What `stanza` takes back, if it does.
fn read(stanza: &Stanza<'_>, now: impl FnOnce() -> Timestamp) -> Option<Retraction> {
    if !matches!(stanza.kind, Kind::Message(MessageType::Normal | MessageType::Chat)) {
        return None;
    }
    let (of, id) = taken_back(stanza)?;
    let tombstone = tombstone(&id, now()).to_xml(CLIENT_NS);
    let (from, to, is_private) = (stanza.from.clone()?, stanza.to.as_ref()?.to_bare(), is_between_occupants(stanza));
    let (wanted, sender) = (of.clone(), from.to_bare());
    let replaces = move |owner: &BareJid, earlier: &Stanza<'_>| {
        let is_of_sender = match &earlier.from {
            // XEP-0424 §5: the same bare JID, in a room the same occupant.
            Some(author) if author.bare_str() == sender.as_str() => {
                let is_private = is_private || is_between_occupants(earlier);
                !is_private || sender == *owner || *author == from
            }
            _ => false,
        };
        is_of_sender
            && earlier.id.as_deref() == Some(wanted.as_str())
            && earlier.to.as_ref().map(Jid::bare_str) == Some(to.as_str())
            && !is_final(earlier)
    };
    Some(Retraction { of, tombstone, replaces: Box::new(replaces) })
}

/// Whether a message has the mark of those between two occupants of a room.
fn is_between_occupants(message: &Stanza<'_>) -> bool {
    message.payload.children().any(|child| child.name == "x" && child.ns == USER_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;

    const ROMEO: &str = "romeo@montague.example/orchard";

    fn message<'a>(from: &str, id: &'a str, payload: &'a str) -> Stanza<'a> {
        Stanza::new(Kind::Message(MessageType::Chat))
            .from(from.parse::<Jid>().unwrap())
            .to("juliet@capulet.example".parse::<Jid>().unwrap())
            .id(id)
            .payload(Payload::canonical(payload))
    }

    const RETRACT: &str = "<retract xmlns='urn:xmpp:message-retract:1' id='a'/>";
    const OCCUPANT: &str = "<x xmlns='http://jabber.org/protocol/muc#user'/>";

    fn taken_back(owner: &str, retraction: &Stanza<'_>, earlier: &Stanza<'_>) -> bool {
        let owner = owner.parse().unwrap();
        read(retraction, Timestamp::default).is_some_and(|it| (it.replaces)(&owner, earlier))
    }

    // Proves: XEP-0424 §4
    #[test]
    fn a_tombstone_names_the_retraction() {
        let retraction = read(&message(ROMEO, "r", RETRACT), Timestamp::default).unwrap();
        assert_eq!(retraction.of, "a");
        assert_eq!(
            retraction.tombstone,
            "<retracted xmlns='urn:xmpp:message-retract:1' id='r' stamp='1970-01-01T00:00:00.000Z'/>"
        );
        let mut nameless = message(ROMEO, "r", RETRACT);
        nameless.id = None;
        assert!(read(&nameless, Timestamp::default).is_none());
        let mut news = message(ROMEO, "r", RETRACT);
        news.kind = Kind::Message(MessageType::Headline);
        assert!(read(&news, Timestamp::default).is_none());
        assert!(read(&message(ROMEO, "r", "<body>urn:xmpp:message-retract:1</body>"), Timestamp::default).is_none());
    }

    // Proves: XEP-0424 §5
    #[test]
    fn only_who_sent_a_message_takes_it_back() {
        let retraction = message("romeo@montague.example/tomb", "r", RETRACT);
        for owner in ["romeo@montague.example", "juliet@capulet.example"] {
            assert!(taken_back(owner, &retraction, &message(ROMEO, "a", "<body>hi</body>")));
            assert!(!taken_back(owner, &retraction, &message(ROMEO, "b", "<body>hi</body>")));
            assert!(!taken_back(owner, &retraction, &message("paris@x.example/y", "a", "<body>hi</body>")));
            let mut elsewhere = message(ROMEO, "a", "<body>hi</body>");
            elsewhere.to = Some("nurse@capulet.example".parse().unwrap());
            assert!(!taken_back(owner, &retraction, &elsewhere));
            assert!(!taken_back(owner, &retraction, &message(ROMEO, "a", RETRACT)), "it would not be known any more");
        }
    }

    // Proves: XEP-0424 §5
    #[test]
    fn occupants_of_a_room_do_not_take_back_what_others_said() {
        let (one, other) = ("coven@chat.example/firstwitch", "coven@chat.example/secondwitch");
        let (said, retract) = (format!("<body>hi</body>{OCCUPANT}"), format!("{RETRACT}{OCCUPANT}"));
        let juliet = "juliet@capulet.example";
        assert!(taken_back(juliet, &message(one, "r", &retract), &message(one, "a", &said)));
        assert!(!taken_back(juliet, &message(other, "r", &retract), &message(one, "a", &said)));
        assert!(!taken_back(juliet, &message(other, "r", RETRACT), &message(one, "a", &said)));
        assert!(!taken_back(juliet, &message(other, "r", &retract), &message(one, "a", "<body>hi</body>")));
        // What one has said oneself, from whatever client.
        assert!(taken_back(
            "romeo@montague.example",
            &message("romeo@montague.example/x", "r", &retract),
            &message(ROMEO, "a", &said)
        ));
    }
}

//! What is worth waking a phone for. `docs/push.md` is the same for people.

use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Kind, MessageType, Payload, Stanza};
use crate::xml::Element;

use super::super::xep_0280_carbons::api::received;
use super::super::xep_0313_archive::api::{CALLS_NS, CONFERENCE_NS, GROUP_CALLS_NS, is_encrypted};
use super::super::xep_0424_retraction::api::NS as RETRACTION_NS;

/// The most characters of a text that a service is told.
const MOST: usize = 200;

/// Whether somebody wants to know of a message at once: of one that the account gets, or of a copy of it.
pub(super) fn is_worth(stanza: &Stanza<'_>) -> bool {
    is_news(stanza.kind, &stanza.payload)
        || received(stanza).is_some_and(|message| is_news(stanza.kind, &inside(&message)))
}

fn is_news(kind: Kind, payload: &Payload<'_>) -> bool {
    if !matches!(kind, Kind::Message(MessageType::Chat | MessageType::Normal | MessageType::Groupchat)) {
        return false;
    }
    let mut is_news = false;
    for child in payload.children() {
        match (child.name, child.ns) {
            // What takes something back has a text for clients that do not know what it is.
            ("retract", RETRACTION_NS) => return false,
            ("body", CLIENT_NS) | ("propose", CALLS_NS) | ("invite", GROUP_CALLS_NS) | ("x", CONFERENCE_NS) => {
                is_news = true;
            }
            _ => is_news |= is_encrypted(child),
        }
    }
    is_news
}

fn inside(message: &Element) -> Payload<'static> {
    let mut payload = String::new();
    message.elements().for_each(|element| element.write(&mut payload, CLIENT_NS));
    Payload::canonical(payload)
}

/// Who has written a message, and how it begins, where that can be read.
pub(super) fn told(stanza: &Stanza<'_>) -> (Option<Jid>, Option<String>) {
    if let Some(message) = received(stanza) {
        let sender = message.attribute("from").and_then(|from| from.parse().ok());
        return (sender, text(&inside(&message)));
    }
    (stanza.from.clone(), text(&stanza.payload))
}

fn text(payload: &Payload<'_>) -> Option<String> {
    if payload.children().any(is_encrypted) {
        // What stands beside it is for clients that cannot read it.
        return None;
    }
    let elements = payload.elements();
    let body = elements.iter().find(|element| element.is("body", CLIENT_NS))?.text();
    let mut characters = body.trim().chars();
    let mut text: String = characters.by_ref().take(MOST).collect();
    if characters.next().is_some() {
        text.push('…');
    }
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "<body>hi</body>";
    const OMEMO: &str = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>";

    fn message(kind: MessageType, payload: &str) -> Stanza<'static> {
        let from = Jid::parse("juliet@capulet.example/balcony").unwrap();
        Stanza::new(Kind::Message(kind)).from(from).payload(Payload::canonical(payload.to_owned()))
    }

    /// A copy as the server makes it.
    fn copy(name: &str, inside: &str) -> Stanza<'static> {
        let message = format!("<message xmlns='jabber:client' from='paris@capulet.example/x'>{inside}</message>");
        let forwarded = format!("<forwarded xmlns='urn:xmpp:forward:0'>{message}</forwarded>");
        let copy = format!("<{name} xmlns='urn:xmpp:carbons:2'>{forwarded}</{name}>");
        let from = Jid::parse("romeo@montague.example").unwrap();
        Stanza::new(Kind::Message(MessageType::Chat)).from(from).payload(Payload::canonical(copy))
    }

    // Proves: XEP-0357 §7, XEP-0353 §3.1
    #[test]
    fn each_row_of_the_table() {
        use MessageType::{Chat, Error, Groupchat, Headline, Normal};
        let news = [
            BODY,
            OMEMO,
            "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>",
            "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>",
            "<invite xmlns='urn:xmpp:call-invites:0'/>",
            "<x xmlns='jabber:x:conference' jid='room@chat.example'/>",
        ];
        let nothing = [
            "",
            "<subject>news</subject>",
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
            "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>",
            "<ringing xmlns='urn:xmpp:jingle-message:0' id='1'/>",
            "<finish xmlns='urn:xmpp:jingle-message:0' id='1'/>",
            "<retract xmlns='urn:xmpp:message-retract:1' id='1'/><body>taken back</body>",
            "<x xmlns='x'><body xmlns='jabber:client'>hi</body></x>",
        ];
        for (payloads, expected) in [(&news[..], true), (&nothing[..], false)] {
            for payload in payloads {
                for kind in [Chat, Normal, Groupchat] {
                    assert_eq!(is_worth(&message(kind, payload)), expected, "{kind:?} {payload}");
                }
                for kind in [Error, Headline] {
                    assert!(!is_worth(&message(kind, payload)), "{kind:?} {payload}");
                }
                assert_eq!(is_worth(&copy("received", payload)), expected, "{payload}");
                assert!(!is_worth(&copy("sent", payload)), "{payload}");
            }
        }
    }

    #[test]
    fn what_is_told() {
        let told = |stanza: &Stanza<'_>| {
            let (sender, text) = told(stanza);
            (sender.map(|sender| sender.to_string()).unwrap_or_default(), text)
        };
        let juliet = "juliet@capulet.example/balcony".to_owned();
        let hi = Some("hi".to_owned());
        assert_eq!(told(&message(MessageType::Chat, BODY)), (juliet.clone(), hi.clone()));
        assert_eq!(told(&copy("received", BODY)), ("paris@capulet.example/x".to_owned(), hi));
        for payload in
            [format!("{OMEMO}{BODY}"), format!("{BODY}{OMEMO}"), OMEMO.to_owned(), "<body> </body>".to_owned()]
        {
            assert_eq!(told(&message(MessageType::Chat, &payload)), (juliet.clone(), None), "{payload}");
        }
        let long = told(&message(MessageType::Chat, &format!("<body>{}</body>", "é".repeat(MOST + 1)))).1.unwrap();
        assert_eq!(long, "é".repeat(MOST) + "…");
    }
}

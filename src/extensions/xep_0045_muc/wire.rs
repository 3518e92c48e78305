//! Stanzas to rooms, read once: what comes out is what a room decides about.

use crate::hooks::Verb;
use crate::stanza::{CLIENT_NS, Condition, IqType, Kind, MessageType, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::super::MUC_NS as NS;
use super::super::xep_0313_archive::api::{Asked, is_worth_keeping};
use super::command::{Command, Entry, Speech};
use super::history::Wish;
use super::request::Request;

/// Errors that say that nobody is there (XEP-0045 §18.1.2), and the one with which servers answer for a session that is gone
/// (RFC 6121 §8.5.3.2).
const GONE: [Condition; 7] = [
    Condition::Gone,
    Condition::ItemNotFound,
    Condition::RecipientUnavailable,
    Condition::Redirect,
    Condition::RemoteServerNotFound,
    Condition::RemoteServerTimeout,
    Condition::ServiceUnavailable,
];

/// Octets of what somebody says of his availability: everybody in the room gets it, and so does everybody who comes.
pub(super) const MOST_PRESENCE: usize = 16 * 1024;

/// What a stanza wants; nothing if it wants nothing.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(stanza: &Stanza<'_>) -> Result<Option<Command>, StanzaError> {
    let is_to_room = stanza.to.as_ref().is_some_and(crate::jid::Jid::is_bare);
    Ok(match stanza.kind {
        Kind::Presence(PresenceType::Available) if stanza.payload.as_str().len() > MOST_PRESENCE => {
            let text = format!("a presence in a room has at most {MOST_PRESENCE} bytes");
            return Err(StanzaError::new(Condition::PolicyViolation, text));
        }
        Kind::Presence(PresenceType::Available) => Some(available(stanza)),
        Kind::Presence(PresenceType::Unavailable) => Some(Command::Leave),
        Kind::Presence(PresenceType::Error) => says_gone(stanza).then_some(Command::Gone),
        // §17.3: none of these is a way in or out.
        Kind::Presence(_) => None,
        Kind::Message(MessageType::Error) if says_gone(stanza) => Some(Command::Gone),
        Kind::Message(MessageType::Error) => (!is_to_room).then_some(Command::Whisper),
        Kind::Message(MessageType::Groupchat) if is_to_room => Some(Command::Say(speech(stanza))),
        Kind::Message(_) if is_to_room => Some(Command::Write),
        Kind::Message(_) => Some(Command::Whisper),
        Kind::Iq(IqType::Result | IqType::Error) => (!is_to_room).then_some(Command::Answer),
        Kind::Iq(IqType::Get | IqType::Set) if !is_to_room => Some(Command::Forward),
        Kind::Iq(kind) => {
            let verb = if kind == IqType::Set { Verb::Set } else { Verb::Get };
            let payload = stanza.payload.first().ok_or(Condition::BadRequest)?;
            Some(match Asked::read(verb, &payload) {
                Some(asked) => Command::Read(asked?),
                None => Command::Ask(Request::parse(verb, &payload)?),
            })
        }
    })
}

/// Whether somebody wants to enter, or is here and says so.
fn available(stanza: &Stanza<'_>) -> Command {
    let is_marked = stanza.payload.children().any(|child| child.name == "x" && child.ns == NS);
    let elements = if is_marked { stanza.payload.elements() } else { Vec::new() };
    let Some(x) = elements.iter().find(|element| element.is("x", NS)) else { return Command::Present };
    let password = x.child("password", NS).map(Element::text);
    Command::Enter(Entry { password, history: Wish::read(x) })
}

fn speech(stanza: &Stanza<'_>) -> Speech {
    if changes_subject(stanza) {
        let elements = stanza.payload.elements();
        let subject = elements.iter().find(|element| element.is("subject", CLIENT_NS));
        return Speech::Subject(subject.map(Element::text).unwrap_or_default());
    }
    Speech::Message { kept: is_worth_keeping(stanza) }
}

/// Whether a message is a change of the subject: it has one and neither body nor thread (XEP-0045 §8.1).
pub(super) fn changes_subject(stanza: &Stanza<'_>) -> bool {
    let (mut has_subject, mut has_more) = (false, false);
    for child in stanza.payload.children().filter(|child| child.ns == CLIENT_NS) {
        has_subject |= child.name == "subject";
        has_more |= matches!(child.name, "body" | "thread");
    }
    has_subject && !has_more
}

fn says_gone(stanza: &Stanza<'_>) -> bool {
    let elements = stanza.payload.elements();
    let condition = elements.iter().find(|it| it.is("error", CLIENT_NS)).and_then(StanzaError::condition_of);
    condition.is_some_and(|condition| GONE.contains(&condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;

    fn read_one(kind: Kind, to: &str, payload: &str) -> Result<Option<String>, Condition> {
        let stanza = Stanza::new(kind)
            .to(to.parse::<crate::jid::Jid>().unwrap())
            .payload(Payload::canonical(payload.to_owned()));
        read(&stanza).map(|command| command.map(|command| format!("{command:?}"))).map_err(|error| error.condition)
    }

    // Proves: XEP-0045 §7.2.1, §8.1, §17.2, §17.3
    #[test]
    fn what_stanzas_want() {
        const ROOM: &str = "coven@chat.shakespeare.lit";
        const NICK: &str = "coven@chat.shakespeare.lit/firstwitch";
        let presence = |kind, payload: &str| read_one(Kind::Presence(kind), NICK, payload);
        let entry =
            presence(PresenceType::Available, "<x xmlns='http://jabber.org/protocol/muc'><password>p</password></x>");
        assert!(entry.unwrap().unwrap().contains("Enter(Entry { password: Some(\"p\")"));
        assert_eq!(presence(PresenceType::Available, "<show>away</show>"), Ok(Some("Present".to_owned())));
        assert_eq!(presence(PresenceType::Unavailable, ""), Ok(Some("Leave".to_owned())));
        let long = format!("<status>{}</status>", "x".repeat(MOST_PRESENCE));
        assert_eq!(presence(PresenceType::Available, &long), Err(Condition::PolicyViolation));
        assert_eq!(presence(PresenceType::Unavailable, &long), Ok(Some("Leave".to_owned())), "he may go");
        for kind in [PresenceType::Probe, PresenceType::Subscribe, PresenceType::Unsubscribed, PresenceType::Error] {
            let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
            assert_eq!(presence(kind, x), Ok(None), "{kind:?}");
        }
        let message = |kind, to: &str, payload: &str| read_one(Kind::Message(kind), to, payload).unwrap();
        let subject = "<subject>x</subject>";
        let said = |payload: &str| message(MessageType::Groupchat, ROOM, payload).unwrap();
        assert_eq!(said(subject), "Say(Subject(\"x\"))");
        assert_eq!(said("<subject/>"), "Say(Subject(\"\"))");
        for more in ["<body>x</body>", "<thread>x</thread><body>x</body>"] {
            assert_eq!(said(&format!("{subject}{more}")), "Say(Message { kept: true })");
        }
        assert_eq!(said(&format!("{subject}<thread>x</thread>")), "Say(Message { kept: false })");
        assert_eq!(said("<composing xmlns='http://jabber.org/protocol/chatstates'/>"), "Say(Message { kept: false })");
        assert_eq!(message(MessageType::Chat, NICK, "").unwrap(), "Whisper");
        assert_eq!(message(MessageType::Normal, ROOM, "").unwrap(), "Write");
        assert_eq!(read_one(Kind::Iq(IqType::Get), NICK, "<a xmlns='b'/>").unwrap().unwrap(), "Forward");
        assert_eq!(read_one(Kind::Iq(IqType::Get), ROOM, "<a xmlns='b'/>"), Err(Condition::ServiceUnavailable));
        assert_eq!(read_one(Kind::Iq(IqType::Get), ROOM, ""), Err(Condition::BadRequest));
        assert_eq!(read_one(Kind::Iq(IqType::Result), NICK, "").unwrap().unwrap(), "Answer");
        assert_eq!(read_one(Kind::Iq(IqType::Result), ROOM, ""), Ok(None));
    }

    // Proves: XEP-0045 §18.1.2, RFC 6121 §8.5.3.2
    #[test]
    fn which_errors_say_that_nobody_is_there() {
        for condition in Condition::ALL {
            let payload = StanzaError::from(*condition).to_element().to_xml(CLIENT_NS);
            let to = "coven@chat.shakespeare.lit/firstwitch";
            let read = |kind| read_one(kind, to, &payload).unwrap();
            let is_gone = GONE.contains(condition);
            let expected = if is_gone { "Gone" } else { "Whisper" };
            assert_eq!(read(Kind::Message(MessageType::Error)).as_deref(), Some(expected), "{condition:?}");
            assert_eq!(read(Kind::Presence(PresenceType::Error)).is_some(), is_gone, "{condition:?}");
        }
    }
}

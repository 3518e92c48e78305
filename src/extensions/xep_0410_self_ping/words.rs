//! The words between a room and its occupants (XEP-0045), as far as they tell who is in.

use std::fmt;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::extensions::{MUC_NS, MUC_USER_NS, PING_NS};
use crate::fnv;
use crate::hooks::Reply;
use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Condition, ErrorType, IqType, Kind, Payload, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::rules::Verdict;

/// The longest presence that is said again, in bytes; of a longer one nothing is left but that he is there.
const MOST_BYTES: usize = 2048;

/// What somebody says when he enters.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// His presence, without what concerns the room.
    presence: Box<str>,
    /// What he has asked the room for, until it has let him in.
    asked: Option<Box<str>>,
    password: Option<Zeroizing<String>>,
}

/// What a presence from a room says of whom it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// It is about its receiver (status 110).
    pub(super) is_own: bool,
    /// The room is new (201).
    pub(super) is_new: bool,
    /// He is there, under another name (303).
    pub(super) is_renamed: bool,
}

impl Entry {
    /// Reads the presence of somebody who enters; `None` if he does not.
    pub(super) fn read(presence: &Stanza<'_>) -> Option<Self> {
        if !presence.payload.as_str().contains(MUC_NS) {
            return None;
        }
        let elements = presence.payload.elements();
        let x = elements.iter().find(|element| element.is("x", MUC_NS))?;
        let password = x.child("password", MUC_NS).map(|password| Zeroizing::new(password.text()));
        let mut entry = Self { presence: Box::default(), asked: Some(x.to_xml(CLIENT_NS).into()), password };
        entry.says(&elements);
        Some(entry)
    }

    /// That of somebody who was in before: his presence, as everybody sees it.
    pub(super) fn old(presence: &Stanza<'_>) -> Self {
        let mut entry = Self::default();
        entry.update(presence);
        entry
    }

    /// He says more of himself.
    pub(super) fn update(&mut self, presence: &Stanza<'_>) {
        self.says(&presence.payload.elements());
    }

    fn says(&mut self, elements: &[Element]) {
        let mut text = String::new();
        let rest = elements.iter().filter(|element| !element.is("x", MUC_NS));
        rest.for_each(|element| element.write(&mut text, CLIENT_NS));
        self.presence = if text.len() <= MOST_BYTES { text.into() } else { Box::default() };
    }

    /// The room has let him in.
    pub(super) fn is_granted(&mut self) {
        self.asked = None;
    }

    /// Whether the room has ever let him in.
    pub(super) const fn is_old(&self) -> bool {
        self.asked.is_none()
    }

    /// What is said to enter again: he wants what was said since `since`.
    pub(super) fn again(&self, since: Timestamp) -> Payload<'static> {
        let mut text = String::from(&*self.presence);
        match &self.asked {
            Some(asked) => text.push_str(asked),
            None => {
                let mut x = Element::new("x", MUC_NS);
                x.push(Element::new("history", MUC_NS).with("since", &since.to_string()));
                if let Some(password) = &self.password {
                    x.push(Element::new("password", MUC_NS).with_text(password));
                }
                x.write(&mut text, CLIENT_NS);
                x.wipe();
            }
        }
        Payload::canonical(text)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("presence", &self.presence).finish_non_exhaustive()
    }
}

impl Said {
    pub(super) fn read(presence: &Stanza<'_>) -> Self {
        let mut said = Self::default();
        // Most presences in a room are about somebody else.
        if !presence.payload.as_str().contains("<status ") {
            return said;
        }
        let elements = presence.payload.elements();
        let x = elements.iter().filter(|element| element.is("x", MUC_USER_NS));
        for status in x.flat_map(Element::elements).filter(|it| it.is("status", MUC_USER_NS)) {
            match status.attribute("code") {
                Some("110") => said.is_own = true,
                Some("201") => said.is_new = true,
                Some("303") => said.is_renamed = true,
                _ => {}
            }
        }
        said
    }
}

/// The question whether the occupant is in (XEP-0410 §3.2).
pub(super) fn ping(session: Jid, occupant: Jid) -> Stanza<'static> {
    Stanza::new(Kind::Iq(IqType::Get)).from(session).to(occupant).payload(Element::new("ping", PING_NS))
}

/// What the answer says. Beyond XEP-0410 §3.2, `item-not-found` says that he is out: that is what services say of a room that
/// has gone with their memory, and whoever has changed his name is asked after under the new one. A service that says
/// `wait` has not looked.
pub(super) fn verdict(reply: &Reply) -> Verdict {
    let Reply::Answered(answer) = reply else { return Verdict::Silent };
    if answer.kind == Kind::Iq(IqType::Result) {
        return Verdict::In;
    }
    let (condition, may_change) = reason(answer);
    match condition {
        _ if may_change => Verdict::Unreachable,
        Some(Condition::ServiceUnavailable | Condition::FeatureNotImplemented) => Verdict::In,
        _ => Verdict::Out,
    }
}

/// The condition of an error, and whether the next attempt may end in another way.
pub(super) fn reason(stanza: &Stanza<'_>) -> (Option<Condition>, bool) {
    let elements = stanza.payload.elements();
    let Some(error) = elements.iter().find(|element| element.is("error", CLIENT_NS)) else { return (None, false) };
    let condition = StanzaError::condition_of(error);
    let waits = error.attribute("type") == Some(ErrorType::Wait.as_str());
    let is_elsewhere = matches!(condition, Some(Condition::RemoteServerNotFound | Condition::RemoteServerTimeout));
    (condition, waits || is_elsewhere)
}

/// What the client of `session` is told who is out of a room although nobody has put him out: a technical problem (XEP-0045
/// §11.1).
pub(super) fn out(session: &Jid, occupant: &Jid, why: &str) -> String {
    let item = Element::new("item", MUC_USER_NS).with("affiliation", "none").with("role", "none");
    let item = item.with_child(Element::new("reason", MUC_USER_NS).with_text(why));
    let status = |code| Element::new("status", MUC_USER_NS).with("code", code);
    let x = Element::new("x", MUC_USER_NS).with_child(item).with_child(status("110")).with_child(status("333"));
    unavailable(occupant.clone(), session.clone()).payload(x).to_xml()
}

/// What it is told of another occupant who has gone meanwhile.
pub(super) fn gone(session: &Jid, occupant: Jid) -> String {
    let item = Element::new("item", MUC_USER_NS).with("affiliation", "none").with("role", "none");
    unavailable(occupant, session.clone()).payload(Element::new("x", MUC_USER_NS).with_child(item)).to_xml()
}

pub(super) fn unavailable(from: Jid, to: Jid) -> Stanza<'static> {
    Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(from).to(to)
}

/// What tells a message in a room from others, if it says anything that a room shows again: who has said it, what he has
/// called it, and its text.
pub(super) fn fingerprint(message: &Stanza<'_>) -> Option<u64> {
    let payload = message.payload.as_str();
    let body = payload.get(payload.find("<body")?..payload.rfind("</body>")?)?;
    let from = message.from.as_ref()?.as_str();
    let id = message.id.as_deref().unwrap_or_default();
    Some(fnv::hash(from.bytes().chain([0]).chain(id.bytes()).chain([0]).chain(body.bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    fn presence(payload: &'static str) -> Stanza<'static> {
        Stanza::new(Kind::Presence(PresenceType::Available)).payload(Payload::canonical(payload))
    }

    fn answer(error: &str) -> Reply {
        let kind = if error.is_empty() { IqType::Result } else { IqType::Error };
        Reply::Answered(Stanza::new(Kind::Iq(kind)).payload(Payload::canonical(error.to_owned())))
    }

    // Proves: XEP-0410 §3.2
    #[test]
    fn what_an_answer_says() {
        let error = |kind: &str, condition: &str| {
            answer(&format!("<error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
        };
        for (reply, expected) in [
            (answer(""), Verdict::In),
            (error("cancel", "service-unavailable"), Verdict::In),
            (error("cancel", "feature-not-implemented"), Verdict::In),
            (error("cancel", "not-acceptable"), Verdict::Out),
            (error("modify", "not-acceptable"), Verdict::Out),
            (error("cancel", "not-allowed"), Verdict::Out),
            (error("modify", "bad-request"), Verdict::Out),
            (error("cancel", "item-not-found"), Verdict::Out),
            (error("wait", "service-unavailable"), Verdict::Unreachable),
            (error("cancel", "remote-server-not-found"), Verdict::Unreachable),
            (error("wait", "remote-server-timeout"), Verdict::Unreachable),
            (error("cancel", "remote-server-timeout"), Verdict::Unreachable),
            (Reply::Silent, Verdict::Silent),
        ] {
            assert_eq!(verdict(&reply), expected, "{reply:?}");
        }
    }

    // Proves: XEP-0045 §7.2.1, §7.2.5, §7.2.14
    #[test]
    fn who_enters_again_says_what_he_said_and_asks_for_what_is_new() {
        let mut entry = Entry::read(&presence(
            "<show>away</show><x xmlns='http://jabber.org/protocol/muc'><password>a&lt;b</password>\
             <history maxstanzas='5'/></x>",
        ))
        .unwrap();
        let since = Timestamp::from_unix_ms(0);
        assert_eq!(
            entry.again(since).as_str(),
            "<show>away</show><x xmlns='http://jabber.org/protocol/muc'><password>a&lt;b</password>\
             <history maxstanzas='5'/></x>",
            "the room has not heard it"
        );
        assert!(!entry.is_old());
        entry.is_granted();
        entry.update(&presence("<status>here</status>"));
        assert_eq!(
            entry.again(since).as_str(),
            "<status>here</status><x xmlns='http://jabber.org/protocol/muc'>\
             <history since='1970-01-01T00:00:00.000Z'/><password>a&lt;b</password></x>"
        );
        assert!(entry.is_old());
        assert_eq!(Entry::read(&presence("<show>away</show>")), None);
        let long = format!("<status>{}</status>", "x".repeat(MOST_BYTES));
        entry.update(&Stanza::new(Kind::Presence(PresenceType::Available)).payload(Payload::canonical(long)));
        assert!(entry.again(since).as_str().starts_with("<x "));
    }

    // Proves: XEP-0045 §7.2.2
    #[test]
    fn what_a_presence_says() {
        let said = |codes: &[&str]| {
            let codes: String = codes.iter().map(|code| format!("<status code='{code}'/>")).collect();
            let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/>{codes}</x>");
            let presence = Stanza::new(Kind::Presence(PresenceType::Available)).payload(Payload::canonical(x));
            let Said { is_own, is_new, is_renamed } = Said::read(&presence);
            (is_own, is_new, is_renamed)
        };
        assert_eq!(said(&[]), (false, false, false));
        assert_eq!(said(&["100", "110"]), (true, false, false));
        assert_eq!(said(&["110", "201"]), (true, true, false));
        assert_eq!(said(&["303"]), (false, false, true));
        assert_eq!(Said::read(&presence("<status>110</status>")), Said::default());
    }

    // Proves: XEP-0045 §11.1
    #[test]
    fn who_is_out_is_told_why() {
        assert_eq!(
            out(&jid("romeo@montague.lit/orchard"), &jid("hall@rooms.capulet.lit/romeo"), "it is gone"),
            "<presence type='unavailable' from='hall@rooms.capulet.lit/romeo' to='romeo@montague.lit/orchard'>\
             <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'>\
             <reason>it is gone</reason></item><status code='110'/><status code='333'/></x></presence>"
        );
    }

    #[test]
    fn a_message_is_known_when_it_comes_again() {
        let message = |from: &str, id: &str, payload: &'static str| {
            let kind = Kind::Message(crate::stanza::MessageType::Groupchat);
            fingerprint(&Stanza::new(kind).from(jid(from)).id(id.to_owned()).payload(Payload::canonical(payload)))
        };
        let first = message("hall@rooms.capulet.lit/romeo", "1", "<body>hi</body>");
        assert!(first.is_some());
        let again = "<body>hi</body><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:05:37Z'/>";
        assert_eq!(message("hall@rooms.capulet.lit/romeo", "1", again), first);
        for (from, id, payload) in [
            ("hall@rooms.capulet.lit/tybalt", "1", "<body>hi</body>"),
            ("hall@rooms.capulet.lit/romeo", "2", "<body>hi</body>"),
            ("hall@rooms.capulet.lit/romeo", "1", "<body>ho</body>"),
        ] {
            assert_ne!(message(from, id, payload), first);
        }
        assert_eq!(message("hall@rooms.capulet.lit/romeo", "1", "<subject>s</subject>"), None);
    }
}

//! XEP-0160 Offline Messages, version 1.0.1, stamped as XEP-0203 Delayed Delivery, version 2.0,
//! says: messages that no resource can receive are entries of the account's log until one can; those of whose safety the
//! sender is told are there from the beginning, in case the server ends before they arrive.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::{Delayed, Entity, Extension, Passing, Registrar, Settings, Shelf, Spec, Verdict};
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::stanza::{CLIENT_NS, Condition, Kind, MessageType, Stanza, StanzaError};
use crate::storage::{Direction, Marks, Position, Storage, Stored};

use self::api::{DELAY_NS, stamped, write_delay};
use super::xep_0359_stanza_ids::api::Ids;
use super::{CHAT_STATES_NS, HINTS_NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0160", version: "1.0.1" },
    name: "offline",
    advertises: &[(Entity::Domain, "msgoffline")],
    wanted: Extension::ALWAYS,
    commands: &[],
    install,
};

/// For extensions that show when messages came.
pub(super) mod api {
    use crate::clock::Timestamp;
    use crate::stanza::{Payload, Stanza};
    use crate::storage::Entry;
    use crate::stream::{ContentNamespace, read_back};
    use crate::xml::escape_into;

    /// XEP-0203.
    pub(in crate::extensions) const DELAY_NS: &str = "urn:xmpp:delay";

    /// Appends that `from` had a stanza already at `time` (XEP-0203 §2).
    pub(in crate::extensions) fn write_delay(out: &mut String, from: &str, time: Timestamp) {
        out.push_str("<delay xmlns='");
        out.push_str(DELAY_NS);
        out.push_str("' from='");
        escape_into(out, from);
        out.push_str("' stamp='");
        out.push_str(&time.to_string());
        out.push_str("'/>");
    }

    /// The stanza of a log entry with the time at which it came to `from`, and with `tail`.
    pub(in crate::extensions) fn stamped(entry: &Entry, from: &str, tail: &str) -> Option<Stanza<'static>> {
        let (_, stanza) = read_back(&entry.payload, ContentNamespace::Client).next()?;
        let mut stanza = stanza.into_owned();
        let mut payload = stanza.payload.as_str().to_owned();
        write_delay(&mut payload, from, Timestamp::from_unix_ms(entry.time.try_into().unwrap_or(i64::MAX)));
        payload.push_str(tail);
        stanza.payload = Payload::canonical(payload);
        Some(stanza)
    }
}

fn install(at: &mut Registrar<'_>) {
    let (storage, settings) = (at.storage.clone(), at.settings.clone());
    let it = Arc::new(Offline { storage, settings, ids: Ids::new(at.storage.secret()) });
    let domains = Arc::clone(&at.settings.load().domains);
    at.arriving(DELAY_NS, move |stanza| discard(stanza, &domains));
    let keeper = Arc::clone(&it);
    at.queued(move |passing| keeper.queue(passing));
    let keeper = Arc::clone(&it);
    at.undelivered(move |passing, shelf| keeper.keep(passing, shelf));
    at.backlog(move |account, positions| Arc::clone(&it).fetch(account, positions));
}

struct Offline {
    storage: Storage,
    settings: Live<Settings>,
    /// Of entries that are archived, too.
    ids: Option<Ids>,
}

impl Offline {
    fn queue(&self, passing: &mut Passing<'_, '_>) {
        // What is archived is in the log anyway, and worth it.
        let is_kind = match passing.stanza.kind {
            // An error settles what somebody was promised. It is for one session alone, and goes with it.
            Kind::Message(MessageType::Normal | MessageType::Chat | MessageType::Error) => true,
            // What another server is to have, whoever reads it there.
            Kind::Message(MessageType::Groupchat) => passing.direction == Direction::Sent,
            _ => false,
        };
        let is_kept = passing.marks.contains(Marks::ARCHIVED)
            || (passing.promised && is_kind && Worth::of(passing.stanza) == Worth::Keeping);
        if is_kept {
            passing.keep(&self.storage, Marks::QUEUED);
        }
    }

    fn keep(&self, passing: &mut Passing<'_, '_>, shelf: &mut Shelf) -> Verdict {
        let Kind::Message(kind) = passing.stanza.kind else { return Verdict::Pass };
        let is_kind = match kind {
            MessageType::Normal | MessageType::Chat => true,
            // XEP-0160 §3: not for whoever comes next.
            MessageType::Error => passing.awaited,
            MessageType::Groupchat | MessageType::Headline => false,
        };
        if !is_kind {
            return Verdict::Pass;
        }
        match Worth::of(passing.stanza) {
            Worth::Keeping => {}
            // In the words in which it comes back from an account that is not there (RFC 6120 §13.11).
            Worth::Telling => return Verdict::Refuse(Condition::ServiceUnavailable.into()),
            Worth::Nothing => return Verdict::Taken,
        }
        if shelf.undelivered.len() >= self.settings.load().offline_messages {
            return Verdict::Refuse(StanzaError::new(Condition::ServiceUnavailable, "too many messages wait already"));
        }
        let position = passing.keep(&self.storage, Marks::UNDELIVERED);
        shelf.undelivered.insert(position.number());
        Verdict::Taken
    }

    async fn fetch(self: Arc<Self>, account: BareJid, positions: Vec<u64>) -> Vec<Delayed> {
        let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else { return Vec::new() };
        let (mut found, mut after) = (Vec::new(), first.checked_sub(1).map(Position::new));
        // Entries that are on their way to somebody else may lie between those that are asked for.
        while found.len() < positions.len() {
            let page = match self.storage.undelivered(&account, after, positions.len()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "offline messages could not be read");
                    return found;
                }
            };
            for position in page.damaged {
                tracing::error!(position = position.number(), "an offline message is damaged and left out");
            }
            let wanted = page.entries.iter().filter(|stored| positions.contains(&stored.position.number()));
            found.extend(wanted.filter_map(|stored| {
                let stanza = self.stamped(stored, &account)?;
                Some(Delayed { position: stored.position.number(), stanza })
            }));
            after = page.more;
            if after.is_none_or(|after| after.number() >= *last) {
                break;
            }
        }
        found
    }
}

impl Offline {
    /// An entry as its account receives it.
    fn stamped(&self, stored: &Stored, account: &BareJid) -> Option<Stanza<'static>> {
        let mut tail = String::new();
        let is_shown = stored.entry.marks.contains(Marks::ARCHIVED) && self.settings.load().archives(account.domain());
        if let Some(ids) = self.ids.as_ref().filter(|_| is_shown) {
            ids.write_element(&mut tail, account, stored.position);
        }
        stamped(&stored.entry, account.domain(), &tail)
    }
}

/// Says that `domain` had a stanza already at `time`, in canonical XML.
#[must_use]
pub fn delay(domain: &str, time: Timestamp) -> String {
    let mut delay = String::new();
    write_delay(&mut delay, domain, time);
    delay
}

/// What a message is worth that nobody can receive now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It says something to be read later.
    Keeping,
    /// It does, and its sender does not want it stored: he is told (XEP-0334 §4.2).
    Telling,
    /// It carries nothing but a chat state (XEP-0160 §3).
    Nothing,
}

impl Worth {
    fn of(stanza: &Stanza<'_>) -> Self {
        let (mut says_something, mut is_stored) = (false, true);
        for child in stanza.payload.children() {
            match (child.ns, child.name) {
                (HINTS_NS, "no-store") => is_stored = false,
                (HINTS_NS, "store") => says_something = true,
                (CLIENT_NS, "thread") | (HINTS_NS | CHAT_STATES_NS, _) => {}
                _ => says_something = true,
            }
        }
        match (says_something, is_stored) {
            (true, true) => Self::Keeping,
            (true, false) => Self::Telling,
            (false, _) => Self::Nothing,
        }
    }
}

/// XEP-0203 §5: takes out what claims to be this server's note of a delay.
fn discard(stanza: &mut Stanza<'_>, domains: &[String]) {
    let is_ours = |from: &str| domains.iter().any(|domain| domain == from);
    stanza.payload.remove(|element| {
        let from = element.attribute("from").and_then(|from| Jid::parse(from).ok());
        element.is("delay", DELAY_NS) && from.is_some_and(|from| is_ours(from.as_str()))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Payload;
    use crate::storage::Entry;

    fn message(payload: &str) -> Stanza<'_> {
        Stanza::new(Kind::Message(MessageType::Chat)).payload(Payload::canonical(payload))
    }

    // Proves: XEP-0160 §3, XEP-0334 §4.2, §4.4
    #[test]
    fn chat_states_alone_are_not_kept() {
        let worth = |payload: &str| Worth::of(&message(payload));
        let (state, no_store) =
            ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", "<no-store xmlns='urn:xmpp:hints'/>");
        for payload in ["<body>hi</body>", "<x xmlns='jabber:x:oob'/>", "<subject>hi</subject>"] {
            assert_eq!(worth(&format!("{payload}{state}")), Worth::Keeping, "{payload}");
            assert_eq!(worth(&format!("{no_store}{payload}{state}")), Worth::Telling, "{payload}");
            let hint = "<no-permanent-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>";
            assert_eq!(worth(&format!("{hint}{payload}")), Worth::Keeping, "{payload}");
        }
        for payload in ["", state, no_store, "<thread>1</thread>", "<no-copy xmlns='urn:xmpp:hints'/>"] {
            assert_eq!(worth(payload), Worth::Nothing, "{payload}");
            assert_eq!(worth(&format!("{payload}{no_store}<thread>1</thread>{state}")), Worth::Nothing, "{payload}");
        }
        assert_eq!(worth(&format!("{state}<store xmlns='urn:xmpp:hints'/>")), Worth::Keeping);
    }

    // Proves: XEP-0203 §5
    #[test]
    fn notes_of_a_delay_in_our_name_are_taken_out() {
        let discarded = |payload: &str| {
            let mut stanza = message(payload);
            discard(&mut stanza, &["capulet.example".to_owned()]);
            stanza.payload.as_str().to_owned()
        };
        let delay = |from: &str| format!("<body>a</body><delay xmlns='urn:xmpp:delay' from='{from}' stamp='x'/>");
        for from in ["capulet.example", "Capulet.EXAMPLE"] {
            assert_eq!(discarded(&delay(from)), "<body>a</body>");
        }
        for from in ["juliet@capulet.example", "chat.capulet.example", "@", "montague.example"] {
            assert_eq!(discarded(&delay(from)), delay(from));
        }
        assert_eq!(discarded("<delay xmlns='urn:xmpp:delay' stamp='x'/>"), "<delay xmlns='urn:xmpp:delay' stamp='x'/>");
    }

    // Proves: XEP-0203 §2
    #[test]
    fn the_stamp_follows_what_the_sender_wrote() {
        let entry = Entry {
            direction: Direction::Received,
            peer: "romeo@montague.example/orchard".into(),
            time: 0,
            marks: Marks::UNDELIVERED,
            payload:
                "<message from='romeo@montague.example/orchard' to='juliet@capulet.example'><body>hi</body></message>"
                    .into(),
        };
        let stanza = stamped(&entry, "capulet.example", "").unwrap();
        assert_eq!(
            stanza.payload.as_str(),
            "<body>hi</body><delay xmlns='urn:xmpp:delay' from='capulet.example' stamp='1970-01-01T00:00:00.000Z'/>"
        );
    }
}

//! The subject of a room (XEP-0045 §7.2.15, §8.1).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::Jid;
use crate::stanza::{CLIENT_NS, Kind, MessageType, Payload, Stanza};
use crate::xml::Element;

use super::super::xep_0160_offline::api::write_delay;
use super::super::xep_0421_occupant_ids::api::write_element;
use super::room::Room;

/// What was set last, by whom and when. It may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) text: String,
    /// `room/nick`, as it was then.
    pub(super) by: String,
    /// That of whoever has set it (XEP-0421).
    pub(super) occupant: String,
    /// Unix time in milliseconds.
    pub(super) time: i64,
}

impl Room {
    /// What somebody gets who has just entered, behind the history.
    pub(super) fn subject_now(&self) -> Arc<Stanza<'static>> {
        let message = Stanza::new(Kind::Message(MessageType::Groupchat));
        let text = self.subject.as_ref().map_or("", |subject| &subject.text);
        let mut payload = Element::new("subject", CLIENT_NS).with_text(text).to_xml(CLIENT_NS);
        let Some(subject) = &self.subject else {
            return Arc::new(message.from(Jid::from(self.jid.clone())).payload(Payload::canonical(payload)));
        };
        write_element(&mut payload, &subject.occupant);
        write_delay(&mut payload, self.jid.as_str(), Timestamp::from_unix_ms(subject.time));
        // A nick that is none any more, because the tables of Unicode moved on, is nobody's.
        let by = Jid::parse(&subject.by).unwrap_or_else(|_| Jid::from(self.jid.clone()));
        Arc::new(message.from(by).payload(Payload::canonical(payload)))
    }
}

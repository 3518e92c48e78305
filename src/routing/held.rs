//! What waits for a client that nobody looks at (the mechanism behind XEP-0352). It has no number in the session's queue
//! yet, so that it may be replaced by something newer.

use std::collections::VecDeque;

use crate::hooks::{Attention, ClientState, Urgency};
use crate::jid::Jid;
use crate::stanza::{Kind, Stanza};

/// How much may wait; with more than that everything goes out.
const MOST: usize = 100;
const MOST_BYTES: usize = 32 * 1024;

/// Judges how urgent a stanza is.
pub(super) type Judge = fn(&Stanza<'_>) -> Urgency;

/// Who judges for a client that says this; nothing waits where nobody does.
pub(super) fn judge(attention: Attention, words: &ClientState) -> Option<Judge> {
    match attention {
        Attention::Active => None,
        Attention::Inactive => Some(words.urgency),
    }
}

/// The stanzas that wait, in their order.
#[derive(Debug)]
pub(super) struct Held {
    judge: Judge,
    stanzas: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    /// What a newer one has to be to take its place.
    key: Option<Key>,
    text: String,
}

/// A kind of stanza, its sender, and whom it is for: a copy may be for somebody else.
type Key = (&'static str, Jid, Option<String>);

impl Held {
    pub(super) const fn new(judge: Judge) -> Self {
        Self { judge, stanzas: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn urgency(&self, stanza: &Stanza<'_>) -> Urgency {
        (self.judge)(stanza)
    }

    /// Lets a stanza wait that is written as `text`; `false` if there is too much now.
    pub(super) fn hold(&mut self, stanza: &Stanza<'_>, urgency: Urgency, text: String) -> bool {
        let key = stanza.from.clone().filter(|_| urgency == Urgency::Latest).map(|from| {
            let to = stanza.to.as_ref().filter(|_| matches!(stanza.kind, Kind::Message(_)));
            (stanza.kind.name(), from, to.map(|to| to.bare_str().to_owned()))
        });
        let older = self.stanzas.iter().position(|waiting| key.is_some() && waiting.key == key);
        if let Some(older) = older.and_then(|place| self.stanzas.remove(place)) {
            self.bytes -= older.text.len();
        }
        self.bytes += text.len();
        self.stanzas.push_back(Waiting { key, text });
        self.stanzas.len() <= MOST && self.bytes <= MOST_BYTES
    }

    /// How many bytes wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything that waits, to go out.
    pub(super) fn release(&mut self) -> impl Iterator<Item = String> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.stanzas).into_iter().map(|waiting| waiting.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{MessageType, PresenceType};

    fn later(_: &Stanza<'_>) -> Urgency {
        Urgency::Later
    }

    fn from(kind: Kind, from: &str) -> Stanza<'static> {
        Stanza::new(kind).from(Jid::parse(from).unwrap())
    }

    const PRESENCE: Kind = Kind::Presence(PresenceType::Available);
    const MESSAGE: Kind = Kind::Message(MessageType::Chat);

    #[test]
    fn the_newest_of_a_kind_takes_the_place_of_the_others() {
        let mut held = Held::new(later);
        let mut hold = |stanza: &Stanza<'static>, urgency, text: &str| held.hold(stanza, urgency, text.to_owned());
        assert!(hold(&from(PRESENCE, "a@x.example/1"), Urgency::Latest, "1"));
        assert!(hold(&from(PRESENCE, "a@x.example/2"), Urgency::Latest, "2"));
        assert!(hold(&from(MESSAGE, "a@x.example/1"), Urgency::Latest, "3"));
        assert!(hold(&from(PRESENCE, "a@x.example/1"), Urgency::Later, "4"));
        assert!(hold(&from(Kind::Presence(PresenceType::Unavailable), "a@x.example/1"), Urgency::Latest, "5"));
        let to = |jid: &str| from(MESSAGE, "a@x.example/1").to(Jid::parse(jid).unwrap());
        assert!(hold(&to("b@x.example/1"), Urgency::Latest, "6"));
        assert!(hold(&to("c@x.example"), Urgency::Latest, "7"));
        assert!(hold(&to("b@x.example"), Urgency::Latest, "8"));
        assert_eq!(held.release().collect::<Vec<_>>(), ["2", "3", "4", "5", "7", "8"]);
        assert_eq!((held.release().count(), held.bytes), (0, 0));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let stanza = from(PRESENCE, "a@x.example/1");
        let mut held = Held::new(later);
        assert!((0..MOST).all(|_| held.hold(&stanza, Urgency::Later, String::new())));
        assert!(!held.hold(&stanza, Urgency::Later, String::new()));
        assert_eq!(held.release().count(), MOST + 1);
        assert!(held.hold(&stanza, Urgency::Latest, "x".repeat(MOST_BYTES)));
        assert!(held.hold(&stanza, Urgency::Latest, "x".repeat(MOST_BYTES)), "what is replaced does not count");
        assert!(!held.hold(&stanza, Urgency::Later, "x".to_owned()));
    }
}

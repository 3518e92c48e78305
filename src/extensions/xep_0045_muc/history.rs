//! What somebody who enters is shown of what was said before (XEP-0045 §7.2.13, §7.2.14).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::stanza::Stanza;
use crate::storage::Position;
use crate::xml::Element;

use super::super::MUC_NS as NS;
use super::moderation::Burial;

/// What he wants to see of it: whatever is the least counts (§7.2.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// Characters of the whole stanzas.
    pub(super) max_chars: Option<usize>,
    pub(super) max_stanzas: Option<usize>,
    pub(super) seconds: Option<u64>,
    pub(super) since: Option<Timestamp>,
}

/// One message of the past, as it is shown.
#[derive(Debug, Clone)]
pub(super) struct Past {
    /// Stamped, and to nobody yet.
    pub(super) stanza: Arc<Stanza<'static>>,
    pub(super) time: Timestamp,
    /// Where the log has it, or would.
    pub(super) position: Position,
}

/// Octets of all messages together: whoever says very much is soon forgotten.
const MOST_BYTES: usize = 256 * 1024;

/// The last messages, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    all: VecDeque<Past>,
    bytes: usize,
}

impl Wish {
    /// Reads the `<history/>` in the `<x/>` of whoever enters. What makes no sense restricts nothing.
    pub(super) fn read(x: &Element) -> Self {
        let Some(history) = x.child("history", NS) else { return Self::default() };
        let number = |name| history.attribute(name).and_then(|text| text.parse::<u64>().ok());
        let count = |name| number(name).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Self {
            max_chars: count("maxchars"),
            max_stanzas: count("maxstanzas"),
            seconds: number("seconds"),
            since: history.attribute("since").and_then(Timestamp::parse),
        }
    }
}

impl Past {
    pub(super) fn new(stanza: Stanza<'static>, time: Timestamp, position: Position) -> Self {
        Self { stanza: Arc::new(stanza), time, position }
    }

    fn bytes(&self) -> usize {
        self.stanza.payload.as_str().len()
    }

    /// Characters of the whole stanza: hardly anybody asks.
    fn chars(&self) -> usize {
        self.stanza.to_xml().chars().count()
    }
}

impl History {
    /// One more; `most` are kept.
    pub(super) fn push(&mut self, past: Past, most: usize) {
        self.bytes += past.bytes();
        self.all.push_back(past);
        self.keep(most);
    }

    /// Octets of all that is kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the oldest ones beyond `most`.
    pub(super) fn keep(&mut self, most: usize) {
        while self.all.len() > most || self.bytes > MOST_BYTES {
            self.forget_first();
        }
    }

    /// Forgets those that are older than `most`.
    pub(super) fn expire(&mut self, most: Duration, now: Timestamp) {
        while self.all.front().is_some_and(|past| now.since(past.time) > most) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.bytes -= self.all.pop_front().map_or(self.bytes, |past| past.bytes());
    }

    /// What is shown of them, the oldest first.
    pub(super) fn shown(&self, wish: &Wish, now: Timestamp) -> impl Iterator<Item = &Past> {
        let (mut chars, mut stanzas) = (wish.max_chars, wish.max_stanzas.unwrap_or(usize::MAX));
        let fits = |past: &&Past| {
            let fits = wish.since.is_none_or(|since| past.time >= since)
                && wish.seconds.is_none_or(|seconds| now.since(past.time) <= Duration::from_secs(seconds))
                && stanzas > 0;
            let rest = chars.map(|chars| chars.checked_sub(past.chars()));
            let fits = fits && rest != Some(None);
            chars = rest.map(Option::unwrap_or_default);
            stanzas = stanzas.saturating_sub(1);
            fits
        };
        let shown = self.all.iter().rev().take_while(fits).count();
        self.all.iter().skip(self.all.len() - shown)
    }

    /// Leaves a tombstone of a message, if it is the one.
    pub(super) fn bury(&mut self, burial: &Burial) {
        let buried = self.all.iter_mut().find(|past| past.position == burial.position);
        if let Some((past, left)) = buried.and_then(|past| burial.of(&past.stanza).map(|left| (past, left))) {
            self.bytes -= past.bytes();
            *past = Past::new(left, past.time, past.position);
            self.bytes += past.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Kind, MessageType, Payload};

    /// Ten messages of a hundred characters each, one each minute.
    fn history() -> History {
        let mut history = History::default();
        for minute in 0..12_u8 {
            let bare = Stanza::new(Kind::Message(MessageType::Groupchat));
            let frame = bare.clone().payload(Payload::canonical("<body></body>")).to_xml().len();
            let text = char::from(b'a' + minute).to_string().repeat(100 - frame);
            let stanza = bare.payload(Payload::canonical(format!("<body>{text}</body>")));
            history.push(Past::new(stanza, at(minute.into()), Position::new(minute.into())), 10);
        }
        history
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000 + minute * 60_000)
    }

    fn shown(wish: &Wish) -> Vec<u64> {
        history().shown(wish, at(12)).map(|past| past.position.number()).collect()
    }

    // Proves: XEP-0045 §7.2.14
    #[test]
    fn the_least_of_all_limits_counts() {
        assert_eq!(shown(&Wish::default()), (2..12).collect::<Vec<_>>());
        assert_eq!(shown(&Wish { max_stanzas: Some(3), ..Wish::default() }), [9, 10, 11]);
        assert_eq!(shown(&Wish { max_stanzas: Some(0), ..Wish::default() }), [0; 0]);
        assert_eq!(shown(&Wish { max_chars: Some(0), ..Wish::default() }), [0; 0]);
        assert_eq!(shown(&Wish { max_chars: Some(299), ..Wish::default() }), [10, 11], "whole stanzas only");
        assert_eq!(shown(&Wish { max_chars: Some(300), ..Wish::default() }), [9, 10, 11]);
        assert_eq!(shown(&Wish { seconds: Some(120), ..Wish::default() }), [10, 11]);
        assert_eq!(shown(&Wish { since: Some(at(9)), ..Wish::default() }), [9, 10, 11]);
        let both = Wish { since: Some(at(9)), seconds: Some(60), max_stanzas: Some(9), max_chars: Some(9999) };
        assert_eq!(shown(&both), [11]);
        assert_eq!(shown(&Wish { seconds: Some(u64::MAX), ..Wish::default() }).len(), 10);
    }

    // Proves: XEP-0045 §7.2.14
    #[test]
    fn what_somebody_wants_to_see() {
        let read = |attributes: &str| {
            Wish::read(&Element::parse(&format!("<x xmlns='{NS}'><history {attributes}/></x>"), "").unwrap())
        };
        assert_eq!(read("maxchars='65000'").max_chars, Some(65000));
        assert_eq!(read("maxstanzas='20' seconds='180'").max_stanzas, Some(20));
        assert_eq!(read("maxstanzas='20' seconds='180'").seconds, Some(180));
        assert_eq!(read("since='1970-01-01T00:00:00Z'").since, Some(Timestamp::from_unix_ms(0)));
        assert_eq!(read("maxchars='-1' maxstanzas='x' seconds='' since='yesterday'"), Wish::default());
        assert_eq!(Wish::read(&Element::new("x", NS)), Wish::default());
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut history = history();
        history.expire(Duration::from_secs(180), at(12));
        let all = Wish::default();
        let shown = history.shown(&all, at(12)).map(|past| past.position.number());
        assert_eq!(shown.collect::<Vec<_>>(), [9, 10, 11]);
    }

    #[test]
    fn very_long_messages_are_soon_forgotten() {
        let mut history = history();
        let long = |text: &str| {
            let payload = Payload::canonical(format!("<body>{}</body>", text.repeat(100_000)));
            Stanza::new(Kind::Message(MessageType::Groupchat)).payload(payload)
        };
        for (number, text) in [(20, "x"), (21, "y"), (22, "z")] {
            history.push(Past::new(long(text), at(13), Position::new(number)), 10);
        }
        let all = Wish::default();
        let shown = history.shown(&all, at(13)).map(|past| past.position.number());
        assert_eq!(shown.collect::<Vec<_>>(), [21, 22]);
        history.push(Past::new(long("xyz"), at(13), Position::new(23)), 10);
        assert_eq!(history.shown(&Wish::default(), at(13)).count(), 0, "not even one that is too long alone");
        assert_eq!(history.bytes, 0);
    }

    #[test]
    fn a_message_can_be_taken_back() {
        let mut history = history();
        history.bury(&Burial { position: Position::new(5), author: None, tombstone: Element::new("gone", "urn:x") });
        let all = Wish::default();
        let buried = history.shown(&all, at(12)).filter(|past| !past.stanza.payload.as_str().contains("body"));
        assert_eq!(buried.map(|past| past.position.number()).collect::<Vec<_>>(), [5]);
    }
}

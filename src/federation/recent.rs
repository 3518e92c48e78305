//! Messages that another server may send once more: because this one was killed before it could say that it has them,
//! because that one was killed before it noted the answer, or because nothing came through any more.
//!
//! What a peer does not know to have arrived it sends again, in front of everything else. So each message is remembered as a
//! number until that cannot be any more, here and in storage, where a row has what one batch or a few have brought and is
//! written with what they caused (decision 0017). It must never know of streams.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::Instant;

use crate::jid::Jid;
use crate::stanza::{Kind, Stanza};

/// How long a message is remembered while there is a stream: twice as long as a peer waits for an answer. Without a stream
/// time stands still, because then nothing can be sent again either.
const AGE: Duration = Duration::from_secs(120);
/// So many messages at most, and what came last.
const MOST: usize = 65_536;
/// A row that has so many is not written again.
const ROW: usize = 16;

/// The messages of one pair of domains.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The oldest first.
    full: VecDeque<Portion>,
    /// What comes joins these, in the row with this number.
    prints: Vec<u64>,
    number: u64,
    /// How many messages there are.
    count: usize,
    /// Rows that are not needed any more, and that storage may have.
    gone: Vec<u64>,
}

/// A row that is not written again.
#[derive(Debug)]
struct Portion {
    number: u64,
    /// When the next one began.
    since: Instant,
    prints: Vec<u64>,
}

impl Recent {
    /// How many messages are remembered.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Messages have come. What they cause is written, if it is anything, before further ones come.
    pub(super) fn add(&mut self, prints: impl Iterator<Item = u64>, now: Instant) {
        let mut prints = prints.peekable();
        if prints.peek().is_none() {
            return;
        }
        if self.prints.len() >= ROW {
            self.close(now);
        }
        let before = self.prints.len();
        self.prints.extend(prints);
        self.count += self.prints.len() - before;
        while self.count > MOST
            || self.full.front().is_some_and(|first| now.saturating_duration_since(first.since) > AGE)
        {
            let Some(first) = self.full.pop_front() else { break };
            self.count -= first.prints.len();
            self.gone.push(first.number);
        }
    }

    fn close(&mut self, now: Instant) {
        self.full.push_back(Portion { number: self.number, since: now, prints: std::mem::take(&mut self.prints) });
        self.number += 1;
    }

    /// The row that changes now, and what it has.
    pub(super) fn row(&self) -> (u64, &[u64]) {
        (self.number, &self.prints)
    }

    /// The rows that are not needed any more.
    pub(super) fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    /// All rows that storage may have.
    pub(super) fn rows(&self) -> impl Iterator<Item = u64> {
        let full = self.full.iter().map(|portion| portion.number);
        full.chain(self.gone.iter().copied()).chain([self.number])
    }

    /// A row that storage has; they come in the order of their numbers.
    pub(super) fn restore(&mut self, number: u64, prints: Vec<u64>, now: Instant) {
        self.count += prints.len();
        (self.number, self.prints) = (number, prints);
        self.close(now);
    }

    /// A stream begins: all is as if it had just come. Gives all.
    pub(super) fn begin(&mut self, now: Instant) -> HashSet<u64> {
        self.full.iter_mut().for_each(|portion| portion.since = now);
        let full = self.full.iter().flat_map(|portion| &portion.prints);
        full.chain(&self.prints).copied().collect()
    }
}

/// What tells a message from others of its pair: its sender, its id, and what it says. `None` without an id: then nobody
/// can say whether somebody says the same thing twice.
pub(super) fn fingerprint(stanza: &Stanza<'_>) -> Option<u64> {
    let (Kind::Message(_), Some(id)) = (stanza.kind, stanza.id.as_deref()) else { return None };
    let mut said = stanza.payload.as_str();
    // A message that is sent once more may say how late it is, behind everything else.
    while let Some((front, _)) =
        said.rsplit_once("<delay ").filter(|(_, last)| last.ends_with("/>") && !last.contains('<'))
    {
        said = front;
    }
    // Nobody must be able to say something with the number of what somebody else is about to say.
    let mut context = Context::new(&SHA256);
    let [from, to] = [&stanza.from, &stanza.to].map(|address| address.as_ref().map_or("", Jid::as_str));
    for part in [from, to, id, said] {
        context.update(part.as_bytes());
        // No text has it (XML 1.0 §2.2).
        context.update(&[0]);
    }
    Some(u64::from_be_bytes(*context.finish().as_ref().first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, MessageType, Payload};

    #[test]
    fn a_message_is_told_by_who_says_what_under_which_id() {
        let print = |from: &str, id: &'static str, said: &str| {
            let message = Stanza::new(Kind::Message(MessageType::Chat)).from(from.parse::<Jid>().ok()).id(id);
            fingerprint(&message.payload(Payload::canonical(said))).unwrap()
        };
        let delay = "<delay xmlns='urn:xmpp:delay' from='here.example' stamp='2026-01-01T00:00:00.000Z'/>";
        let one = print("a@here.example/x", "1", "<body>hi</body>");
        assert_eq!(one, 16_461_607_741_356_058_957, "it is kept, so it must never change");
        assert_eq!(one, print("a@here.example/x", "1", &format!("<body>hi</body>{delay}{delay}")));
        assert_ne!(one, print("a@here.example/x", "1", &format!("<body>hi</body>{delay}<x xmlns='y'/>")));
        for other in [
            print("a@here.example/y", "1", "<body>hi</body>"),
            print("a@here.example/x", "2", "<body>hi</body>"),
            print("a@here.example/x", "1", "<body>ho</body>"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(fingerprint(&Stanza::new(Kind::Message(MessageType::Chat))), None);
        assert_eq!(fingerprint(&Stanza::new(Kind::Iq(IqType::Get)).id("1")), None);
    }

    #[test]
    fn recent_messages_are_bounded_in_time_and_number() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        for batch in 0..=MOST as u64 / 64 {
            recent.add(batch * 64..(batch + 1) * 64, begin);
        }
        assert_eq!((recent.count(), recent.take_gone()), (MOST, vec![0]));
        assert!(!recent.begin(begin).contains(&63));
        recent.add(0..1, begin + AGE + Duration::from_secs(1));
        assert_eq!(
            (recent.count(), recent.row().1),
            (65, &[0][..]),
            "as long as others joined the last row it was young"
        );
    }

    #[test]
    fn time_stands_still_without_a_stream() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        recent.add(0..ROW as u64, begin);
        recent.add(100..101, begin);
        let later = begin + Duration::from_secs(100_000);
        assert_eq!(recent.begin(later).len(), ROW + 1);
        recent.add(101..102, later + AGE);
        assert_eq!((recent.count(), recent.row()), (ROW + 2, (1, &[100, 101][..])));
        recent.add(102..103, later + AGE + Duration::from_secs(1));
        assert_eq!((recent.count(), recent.take_gone()), (3, vec![0]));
    }

    #[test]
    fn what_is_restored_is_remembered_and_its_rows_stay() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.restore(6, vec![1, 2], now);
        recent.restore(9, vec![3], now);
        assert_eq!(recent.begin(now), [1, 2, 3].into());
        assert_eq!(recent.row(), (10, &[][..]));
        recent.add([4].into_iter(), now);
        assert_eq!(recent.row(), (10, &[4][..]));
        assert_eq!(recent.rows().collect::<Vec<_>>(), [6, 9, 10]);
    }
}

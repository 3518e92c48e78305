//! Messages that another server may send once more: because this one was killed before it could say that it has them,
//! because that one was killed before it noted the answer, or because nothing came through any more.
//!
//! What a peer does not know to have arrived it sends again, in front of everything else. So each message is remembered as a
//! number until that cannot be any more, here and in storage, where a row has what one batch or a few have brought and is
//! written with what they caused (decision 0017). It must never know of streams.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::Instant;

use crate::fnv;
use crate::jid::Jid;
use crate::stanza::{Kind, Stanza};

/// How long a message is remembered while there is a stream: twice as long as a peer waits for an answer. Without a stream
/// time stands still, because then nothing can be sent again either.
const AGE: Duration = Duration::from_secs(120);
/// A message that is sent once more after this time says how late it is (XEP-0203). Otherwise somebody says the same again.
const FRESH: Duration = Duration::from_secs(600);
/// A longer silence counts as one of this length: whatever comes behind it is late, and what was said meanwhile did not
/// reach the peer.
const SILENCE: Duration = Duration::from_secs(60);
/// So many messages at most, and what came last.
const MOST: usize = 65_536;
/// A row that has so many is not written again.
const ROW: usize = 16;

/// The messages of one pair of domains.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The oldest first.
    full: VecDeque<Portion>,
    /// What comes joins these, in the row with this number; when the last came, and, as long as `anew` is known, who has said
    /// them.
    prints: Vec<u64>,
    senders: Vec<u64>,
    number: u64,
    came: Option<Instant>,
    /// When messages came last, or a stream began.
    latest: Option<Instant>,
    /// How many messages there are.
    count: usize,
    /// Rows that are not needed any more, and that storage may have.
    gone: Vec<u64>,
    /// Of the stream that counts, as long as something may come once more on it.
    anew: Option<Anew>,
}

/// A row that is not written again.
#[derive(Debug)]
struct Portion {
    number: u64,
    /// When the last came, and the same on a clock that stands still without a stream.
    came: Instant,
    since: Instant,
    prints: Vec<u64>,
}

/// What may come once more, how often, and when it has come.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    left: HashMap<u64, (usize, Instant)>,
    /// Some of it has.
    some: bool,
    anew: Anew,
}

/// Who has said something new on a stream. A server that was killed keeps the order of each sender, and no other: behind that
/// nothing comes once more of him, and of everybody else it still may.
#[derive(Debug, Clone, Default)]
struct Anew {
    senders: HashSet<u64>,
    /// Nothing comes once more so long after the stream has begun.
    until: Option<Instant>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    Again,
    New,
    /// It is, and nothing has come once more before it.
    NewFirst,
}

/// A message as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) number: u64,
    /// Stands for who says it.
    sender: u64,
    /// It says how late it is.
    is_late: bool,
}

impl Anew {
    /// Nothing comes once more of anybody; of too many senders nobody keeps account.
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now > until) || self.senders.len() >= MOST
    }
}

impl Recent {
    /// How many numbers are remembered.
    pub(super) fn size(&self) -> usize {
        self.count + self.anew.as_ref().map_or(0, |anew| anew.senders.len())
    }

    /// Messages have come. What they cause is written, if it is anything, before further ones come.
    pub(super) fn add(&mut self, prints: impl Iterator<Item = Print>, now: Instant) {
        let mut prints = prints.peekable();
        if prints.peek().is_none() {
            return;
        }
        if self.prints.len() >= ROW {
            self.close(now);
        }
        self.pass_time(now);
        if self.anew.as_ref().is_some_and(|anew| anew.is_over(now)) {
            self.anew = None;
        }
        let before = self.prints.len();
        for print in prints {
            self.prints.push(print.number);
            if let Some(anew) = &mut self.anew {
                anew.senders.insert(print.sender);
                self.senders.push(print.sender);
            }
        }
        self.came = Some(now);
        self.count += self.prints.len() - before;
        self.forget_old(now);
    }

    /// What there is has become older: by as much as it was silent, but for what is too long.
    fn pass_time(&mut self, now: Instant) {
        let silence = self.latest.replace(now).map_or(Duration::ZERO, |latest| now.saturating_duration_since(latest));
        if let Some(more) = silence.checked_sub(SILENCE) {
            self.full.iter_mut().for_each(|portion| portion.since += more);
        }
    }

    fn close(&mut self, now: Instant) {
        let came = self.came.take().unwrap_or(now);
        let prints = std::mem::take(&mut self.prints);
        self.senders.clear();
        self.full.push_back(Portion { number: self.number, came, since: came, prints });
        self.number += 1;
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |first: &Portion| now.saturating_duration_since(first.since) > AGE;
        while self.count > MOST || self.full.front().is_some_and(is_old) {
            let Some(first) = self.full.pop_front() else { break };
            self.count -= first.prints.len();
            self.gone.push(first.number);
        }
    }

    /// The row that changes now, and what it has.
    pub(super) fn row(&self) -> (u64, &[u64]) {
        (self.number, &self.prints)
    }

    /// Who has said that, as long as something may come once more on the stream.
    pub(super) fn senders(&self) -> Option<&[u64]> {
        self.anew.as_ref().map(|_| self.senders.as_slice())
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

    /// A row that storage has; they come in the order of their numbers. `senders` have said what is in it, if something could
    /// still come once more on its stream; `begins` if that is not the stream of the row before.
    pub(super) fn restore(
        &mut self,
        (number, prints): (u64, Vec<u64>),
        senders: Option<Vec<u64>>,
        begins: bool,
        now: Instant,
    ) {
        self.count += prints.len();
        (self.number, self.prints) = (number, prints);
        self.close(now);
        let before = self.anew.take().filter(|_| !begins).unwrap_or_default();
        self.anew = senders.map(|more| Anew { senders: before.senders.into_iter().chain(more).collect(), ..before });
    }

    /// A stream begins. Gives what may come on it once more.
    pub(super) fn begin(&mut self, now: Instant) -> Repeats {
        self.latest = Some(now);
        self.anew = Some(Anew::default()).filter(|_| self.count > 0);
        self.resume(now)
    }

    /// The stream goes on. Gives what may come on it once more; what has done so is not sent again.
    pub(super) fn resume(&mut self, now: Instant) -> Repeats {
        let Some(anew) = &mut self.anew else { return Repeats::default() };
        anew.until = Some(now + AGE);
        let anew = anew.clone();
        if !self.prints.is_empty() {
            self.close(now);
        }
        self.latest = Some(now);
        let mut left: HashMap<u64, (usize, Instant)> = HashMap::with_capacity(self.count);
        for portion in &mut self.full {
            portion.since = now;
            for print in &portion.prints {
                let (times, came) = left.entry(*print).or_insert((0, portion.came));
                (*times, *came) = (*times + 1, portion.came);
            }
        }
        Repeats { left, some: false, anew }
    }

    /// What is new has come first on a stream: the peer was sure of everything else, or will be if it lives a little longer.
    pub(super) fn confirmed(&mut self, now: Instant) {
        let is_old = |first: &mut Portion| now.saturating_duration_since(first.came) > AGE;
        while let Some(first) = self.full.pop_front_if(is_old) {
            self.count -= first.prints.len();
            self.gone.push(first.number);
        }
    }

    /// A stream has gone on up to now, and has ended in order.
    pub(super) fn end(&mut self, now: Instant) {
        if !self.prints.is_empty() {
            self.close(now);
        }
        self.anew = None;
        self.pass_time(now);
        self.forget_old(now);
    }
}

impl Repeats {
    /// Whether a message has come before. It may come as often as it has come: whoever says something twice under one id says
    /// it twice when it is sent once more, too. The first message of a sender that is new ends it for him. Nobody asks for
    /// the time, `now`, of what comes behind all that.
    pub(super) fn take(&mut self, print: Print, now: impl Fn() -> Instant) -> Coming {
        if self.left.is_empty() {
            return Coming::New;
        }
        if !self.anew.senders.contains(&print.sender)
            && let Some((times, came)) = self.left.get_mut(&print.number).filter(|(times, _)| *times > 0)
        {
            if !print.is_late && now().saturating_duration_since(*came) > FRESH {
                return Coming::New;
            }
            *times -= 1;
            self.some = true;
            return Coming::Again;
        }
        let is_first = !self.some && self.anew.senders.is_empty();
        self.anew.senders.insert(print.sender);
        if self.anew.is_over(now()) {
            // An idle stream holds no memory.
            *self = Self::default();
        }
        if is_first { Coming::NewFirst } else { Coming::New }
    }
}

/// What tells a message from others of its pair: its sender, its id, and what it says. `None` without an id: then nobody
/// can say whether somebody says the same thing twice.
pub(super) fn fingerprint(stanza: &Stanza<'_>) -> Option<Print> {
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
    let number = u64::from_be_bytes(*context.finish().as_ref().first_chunk()?);
    let sender = fnv::hash(from.bytes());
    Some(Print { number, sender, is_late: said.len() < stanza.payload.as_str().len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, MessageType, Payload};

    const SECOND: Duration = Duration::from_secs(1);

    /// Messages of somebody.
    fn said(numbers: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Print> {
        numbers.into_iter().map(|number| Print { number, sender: 0, is_late: false })
    }

    #[test]
    fn a_message_is_told_by_who_says_what_under_which_id() {
        let print = |from: &str, id: &'static str, said: &str| {
            let message = Stanza::new(Kind::Message(MessageType::Chat)).from(from.parse::<Jid>().ok()).id(id);
            fingerprint(&message.payload(Payload::canonical(said))).unwrap()
        };
        let delay = "<delay xmlns='urn:xmpp:delay' from='here.example' stamp='2026-01-01T00:00:00.000Z'/>";
        let one = print("a@here.example/x", "1", "<body>hi</body>");
        assert_eq!(one, Print { number: 16_461_607_741_356_058_957, ..one }, "it is kept, so it never changes");
        let late = print("a@here.example/x", "1", &format!("<body>hi</body>{delay}{delay}"));
        assert_eq!(late, Print { is_late: true, ..one });
        for other in [
            print("a@here.example/x", "1", &format!("<body>hi</body>{delay}<x xmlns='y'/>")),
            print("a@here.example/y", "1", "<body>hi</body>"),
            print("a@here.example/x", "2", "<body>hi</body>"),
            print("a@here.example/x", "1", "<body>ho</body>"),
        ] {
            assert_ne!(one.number, other.number);
        }
        assert_eq!(fingerprint(&Stanza::new(Kind::Message(MessageType::Chat))), None);
        assert_eq!(fingerprint(&Stanza::new(Kind::Iq(IqType::Get)).id("1")), None);
    }

    #[test]
    fn recent_messages_are_bounded_in_time_and_number() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        for batch in 0..=MOST as u64 / 64 {
            recent.add(said(batch * 64..(batch + 1) * 64), begin);
        }
        assert_eq!((recent.count, recent.take_gone()), (MOST, vec![0]));
        recent.add(said(0..1), begin + SILENCE);
        assert_eq!((recent.count, recent.take_gone()), (MOST + 1 - 64, vec![1]));
        recent.add(said(1..2), begin + AGE);
        recent.add(said(2..3), begin + AGE + SECOND);
        assert_eq!((recent.count, recent.row().1), (3, &[0, 1, 2][..]));
    }

    #[test]
    fn time_stands_still_without_a_stream() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        recent.add(said(0..ROW as u64), begin);
        let later = begin + Duration::from_secs(100_000);
        assert_eq!(recent.begin(later).left.len(), ROW);
        recent.add(said(101..102), later + SILENCE);
        recent.add(said(102..103), later + AGE);
        assert_eq!((recent.count, recent.row()), (ROW + 2, (1, &[101, 102][..])));
        recent.add(said(103..104), later + AGE + SECOND);
        assert_eq!((recent.count, recent.take_gone()), (3, vec![0]));
        // Its end may have been held up as well.
        recent.end(later + 10 * AGE);
        assert_eq!((recent.count, recent.take_gone()), (3, vec![]));
        recent.end(later + 10 * AGE + SILENCE);
        assert_eq!((recent.count, recent.take_gone()), (3, vec![]));
        recent.end(later + 10 * AGE + SILENCE + SECOND);
        assert_eq!((recent.count, recent.take_gone(), recent.row()), (0, vec![1], (2, &[][..])));
    }

    #[test]
    fn what_was_held_up_on_the_way_does_not_make_the_rest_old() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        recent.add(said(0..ROW as u64), begin);
        recent.add(said(101..102), begin + 100 * AGE);
        assert_eq!((recent.count, recent.take_gone()), (ROW + 1, vec![]));
    }

    #[test]
    fn what_comes_once_more_comes_first_and_as_often_as_before_and_soon_or_stamped() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.add(said([1, 2, 2, 3]), now);
        let print = |number| Print { number, sender: 0, is_late: false };
        let mut repeats = recent.begin(now);
        let taken = [2, 2, 1, 2, 3].map(|number| repeats.take(print(number), || now + FRESH));
        assert_eq!(taken, [Coming::Again, Coming::Again, Coming::Again, Coming::New, Coming::New]);
        let mut repeats = recent.begin(now);
        let late = |number| Print { number, sender: 0, is_late: true };
        assert_eq!(repeats.take(late(1), || now + 2 * FRESH), Coming::Again);
        assert_eq!(repeats.take(print(2), || now + FRESH + SECOND), Coming::New, "somebody says it again");
        assert_eq!(
            [late(3), print(4), late(2)].map(|it| repeats.take(it, || now)),
            [Coming::Again, Coming::New, Coming::New]
        );
        assert_eq!(recent.begin(now).take(print(4), || now), Coming::NewFirst);
        recent.confirmed(now + AGE);
        assert_eq!(recent.count, 4);
        recent.confirmed(now + AGE + SECOND);
        assert_eq!((recent.count, recent.take_gone()), (0, vec![0]));
    }

    #[test]
    fn what_one_sender_says_anew_ends_nothing_for_another() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.add(said([1, 2, 3]), now);
        let of = |sender, number| Print { number, sender, is_late: false };
        let mut repeats = recent.begin(now);
        let taken = [of(0, 4), of(1, 1), of(0, 2), of(1, 5), of(1, 3)].map(|print| repeats.take(print, || now));
        assert_eq!(taken, [Coming::NewFirst, Coming::Again, Coming::New, Coming::New, Coming::New]);
        assert_eq!(repeats.take(of(2, 3), || now), Coming::Again);
        let mut repeats = recent.begin(now);
        assert_eq!(repeats.take(of(0, 4), || now + AGE + SECOND), Coming::NewFirst);
        assert_eq!(repeats.take(of(1, 1), || now), Coming::New, "that is over");
    }

    #[test]
    fn what_is_restored_is_remembered_and_its_rows_stay() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.restore((6, vec![1, 2]), None, true, now);
        recent.restore((9, vec![3, 2]), None, true, now);
        assert_eq!(recent.begin(now).left, [(1, (1, now)), (2, (2, now)), (3, (1, now))].into());
        assert_eq!(recent.row(), (10, &[][..]));
        recent.add(said([4]), now);
        assert_eq!(recent.row(), (10, &[4][..]));
        assert_eq!(recent.rows().collect::<Vec<_>>(), [6, 9, 10]);
    }

    #[test]
    fn a_stream_that_goes_on_knows_who_has_said_something_new() {
        let of = |sender, number| Print { number, sender, is_late: false };
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.begin(now);
        recent.add([of(0, 1), of(1, 2), of(2, 3)].into_iter(), now);
        assert_eq!(recent.senders(), None, "there was nothing that could come once more");
        assert!(recent.resume(now).left.is_empty());
        recent.begin(now);
        assert_eq!(recent.senders(), Some(&[][..]));
        recent.add([of(0, 4)].into_iter(), now);
        recent.resume(now + AGE);
        recent.add([of(2, 5), of(2, 6)].into_iter(), now + AGE);
        assert_eq!((recent.row(), recent.senders()), ((2, &[5, 6][..]), Some(&[2, 2][..])));
        let mut restored = Recent::default();
        restored.restore((0, vec![1, 2, 3]), None, true, now);
        restored.restore((1, vec![4]), Some(vec![0]), true, now);
        restored.restore((2, vec![5, 6]), Some(vec![2, 2]), false, now);
        for recent in [&mut recent, &mut restored] {
            let mut repeats = recent.resume(now + AGE);
            let taken = [of(0, 1), of(1, 2), of(2, 3)].map(|print| repeats.take(print, || now + AGE));
            assert_eq!(taken, [Coming::New, Coming::Again, Coming::New]);
        }
        recent.add([of(1, 7)].into_iter(), now + 2 * AGE + SECOND);
        assert_eq!(recent.senders(), None, "nobody has so much time");
        restored.restore((3, vec![7]), None, false, now);
        assert!(restored.resume(now).left.is_empty(), "that was known before the restart, too");
    }

    #[test]
    fn those_who_have_said_something_new_are_bounded() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.add(said([1]), now);
        let mut repeats = recent.begin(now);
        for sender in 1..=MOST as u64 {
            let print = Print { number: sender + 1, sender, is_late: false };
            assert_ne!(repeats.take(print, || now), Coming::Again);
            recent.add([print].into_iter(), now);
        }
        assert!(repeats.left.is_empty() && repeats.anew.senders.is_empty());
        assert_eq!(recent.size(), 2 * MOST);
        recent.add(said([0]), now);
        assert_eq!((recent.size(), recent.senders()), (recent.count, None));
    }
}

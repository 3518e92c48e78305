//! What waits for one other domain, and what was sent there and is not confirmed: order, bounds, and what becomes of it
//! when a link breaks.
//!
//! Pure. A stanza is written into the queue's bytes when it is queued. It must never know of links, nor what time it is.
//!
//! **What nobody was promised** leaves the queue when its last byte has been handed to the operating system, and is
//! regarded as delivered. One that was not handed over completely cannot have been read by the peer: bytes are handed
//! over in portions that fit into one TLS record ([`PORTION`]), and neither half an element nor half a record is of any
//! use to the receiver. So the whole stanza is written again on the next link, and nothing is sent twice.
//!
//! **What storage keeps** ([`Kept`]) stays in the queue until the peer has confirmed it, and goes out again on the next
//! link if this one breaks before. A peer that counts (XEP-0198) is asked to from the first such stanza on, and then
//! everything stays until it is confirmed, so that a stream can be resumed without gap or repetition. Any other peer
//! handles the stanzas of a stream in order (RFC 6120 §10.1), so the answer to a request that was sent behind them confirms
//! them, whatever it says. Either question is a *probe* here, and one is under way at a time.

mod counted;
mod entry;
mod pieces;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use self::counted::Counts;
use self::entry::{Entry, Fate, Hold, push_with};
pub(crate) use self::entry::{Kept, Left, head};
use self::pieces::Pieces;
use crate::clock::Timestamp;
use crate::stanza::Stanza;

/// So much is handed over at a time: the plain text of one TLS record (RFC 8446 §5.1).
pub(crate) const PORTION: usize = 16 * 1024;

/// What an entry costs beside its bytes: its place in a list that may be half empty, an id and addresses.
const OVERHEAD: usize = 448;

/// So many answers may wait for a peer that asks.
const ASIDES: usize = 256;
/// With so many bytes unconfirmed a probe is sent although more is to be written: seldom enough that a busy link does not
/// feel it.
const MUCH: usize = 64 * 1024;
/// Otherwise probes are so far apart.
const SPACING: Duration = Duration::from_secs(1);
/// How long a peer may take to answer a probe.
const PATIENCE: Duration = Duration::from_secs(60);
/// What has waited for so long says so (XEP-0203).
pub(crate) const LATE: Duration = Duration::from_secs(5);

/// One domain pair's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order: first those that were sent and are not confirmed.
    entries: VecDeque<Entry>,
    /// The entries as they go on the stream.
    bytes: Pieces,
    /// How many entries have been handed over completely on the current link, and their bytes.
    sent: usize,
    sent_bytes: usize,
    /// Bytes of the entry behind them that have been handed over.
    written: usize,
    /// How many stanzas have been delivered since the queue exists.
    gone: u64,
    /// The largest stanza that goes through the current link.
    largest: Option<usize>,
    mode: Mode,
    /// Of the current link, or of one that may be resumed.
    counts: Option<Counts>,
    /// So many entries are answers to questions of the peer.
    asides: usize,
    /// Messages go out again that the peer may have: if it counts it can tell.
    again: bool,
    probe: Option<Probe>,
    /// When the last probe of this link was made.
    probed: Option<Instant>,
}

/// How the current link confirms.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By answering requests.
    #[default]
    Answers,
    /// By counting, if it is asked to with these words, in front of what is to be confirmed.
    Offered(&'static str),
    /// By counting.
    Counts,
}

/// The probe that is under way.
#[derive(Debug)]
struct Probe {
    id: String,
    /// It confirms all before this one, counted as `gone` is.
    upto: u64,
    /// When it was handed over.
    asked: Option<Instant>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many stanzas wait or are not confirmed.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many stanzas have been delivered so far.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// What the queue is charged with.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + self.entries.len() * OVERHEAD
    }

    /// Whether something was sent and is not confirmed.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.sent > 0
    }

    /// Adds a stanza at the end; gives its cost, or the stanza if it does not go through the current link.
    pub(crate) fn push(&mut self, stanza: Stanza<'static>, kept: Option<Kept>) -> Result<usize, Box<Stanza<'static>>> {
        let length = self.bytes.push(|out| stanza.write(out));
        if self.largest.is_some_and(|largest| length > largest) {
            self.bytes.take_back(length);
            return Err(Box::new(stanza));
        }
        let mut cost = length + OVERHEAD;
        if let (Some(_), Mode::Offered(words)) = (kept, self.mode) {
            self.bytes.insert_before_last(length, words);
            self.entries.push_back(Entry::aside(words.len(), Hold::Opening));
            self.mode = Mode::Counts;
            cost += words.len() + OVERHEAD;
        }
        let hold = kept.map_or(Hold::Sent, Hold::Confirmed);
        self.entries.push_back(Entry { length, head: Some(head(stanza)), hold, number: 0 });
        Ok(cost)
    }

    /// Adds what is no stanza at the end; gives its cost.
    fn push_aside(&mut self, text: &str, hold: Hold) -> usize {
        let length = self.bytes.push(|out| out.push_str(text));
        self.entries.push_back(Entry::aside(length, hold));
        length + OVERHEAD
    }

    /// Adds an answer to a question of the peer; gives its cost, or nothing if the peer does not take what it has asked for.
    pub(crate) fn aside(&mut self, text: &str) -> Option<usize> {
        if self.asides >= ASIDES {
            return None;
        }
        self.asides += 1;
        Some(self.push_aside(text, Hold::Aside))
    }

    /// The next bytes to hand over, at most a portion.
    pub(crate) fn portion(&self) -> &[u8] {
        let rest = self.bytes.at(self.sent_bytes + self.written).as_bytes();
        rest.get(..PORTION).unwrap_or(rest)
    }

    /// Whether a stanza has been handed over in part.
    pub(crate) fn is_cut(&self) -> bool {
        self.written > 0
    }

    /// What is left of it.
    pub(crate) fn rest(&self) -> &[u8] {
        let length = self.entries.get(self.sent).map_or(0, |entry| entry.length.saturating_sub(self.written));
        let rest = self.bytes.at(self.sent_bytes + self.written).as_bytes();
        rest.get(..length.min(PORTION)).unwrap_or(rest)
    }

    /// `count` bytes have been handed over at the time `now`; what is not to be confirmed and stands first is delivered.
    /// Gives the cost of what is gone.
    pub(crate) fn handed_over(&mut self, count: usize, now: Instant) -> usize {
        self.written += count;
        while let Some(entry) = self.entries.get_mut(self.sent).filter(|entry| entry.length <= self.written) {
            self.written -= entry.length;
            self.sent_bytes += entry.length;
            self.sent += 1;
            match (&entry.hold, &mut self.counts, &mut self.probe) {
                (Hold::Sent | Hold::Confirmed(_), Some(counts), _) => {
                    counts.sent += 1;
                    entry.number = counts.sent;
                }
                (Hold::Opening, counts, _) => {
                    *counts = Some(Counts::default());
                    self.again = false;
                }
                (Hold::Probe, _, Some(probe)) => probe.asked = Some(now),
                _ => {}
            }
        }
        let mut left = Left::default();
        self.release(&mut left);
        left.freed
    }

    /// The answer to a probe has come: all before it is delivered. `None` if this is not about the one that is under way.
    pub(crate) fn answered(&mut self, id: &str) -> Option<Left> {
        // Nobody knows its name who has not read it.
        let is_meant = |probe: &mut Probe| probe.id == id && probe.asked.is_some();
        let probe = self.probe.take_if(|probe| self.mode != Mode::Counts && is_meant(probe))?;
        Some(self.confirm(probe.upto))
    }

    /// Everything that was sent is delivered.
    pub(crate) fn confirm_all(&mut self) -> Left {
        self.probe = None;
        self.confirm(u64::MAX)
    }

    fn confirm(&mut self, upto: u64) -> Left {
        let mut left = Left::default();
        while self.sent > 0 && self.gone < upto {
            self.pop(&mut left);
        }
        self.release(&mut left);
        left
    }

    /// What was sent, stands first and is not to be confirmed is gone.
    fn release(&mut self, left: &mut Left) {
        while self.sent > 0 && self.entries.front().is_some_and(|entry| !entry.stays()) {
            self.pop(left);
        }
    }

    /// The first of those that were sent is delivered.
    fn pop(&mut self, left: &mut Left) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.sent -= 1;
        self.sent_bytes -= entry.length;
        self.bytes.advance(entry.length);
        self.gone += 1;
        self.asides -= usize::from(matches!(entry.hold, Hold::Aside));
        left.freed += entry.length + OVERHEAD;
        if let Some(kept) = entry.kept() {
            left.positions(*kept);
        }
    }

    /// When a probe is to be made, if anything is to be confirmed and none is under way.
    pub(crate) fn probe_due(&self, now: Instant) -> Option<Instant> {
        if self.probe.is_some() || self.sent == 0 {
            return None;
        }
        if self.sent_bytes >= MUCH {
            return Some(now);
        }
        let is_drained = self.sent == self.entries.len();
        is_drained.then(|| self.probed.map_or(now, |last| last + SPACING))
    }

    /// Puts a probe called `id` behind everything; gives its cost.
    pub(crate) fn probe(&mut self, id: String, probe: &str, now: Instant) -> usize {
        self.probe = Some(Probe { id, upto: self.gone + self.entries.len() as u64, asked: None });
        self.probed = Some(now);
        self.push_aside(probe, Hold::Probe)
    }

    /// When the peer has had long enough to answer the probe.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        Some(self.probe.as_ref()?.asked? + PATIENCE)
    }

    /// The link has broken: what was not confirmed or not handed over completely goes out anew. Gives what is gone all
    /// the same.
    pub(crate) fn link_lost(&mut self, now: Instant) -> Left {
        let sent = std::mem::take(&mut self.sent);
        (self.sent_bytes, self.written, self.asides) = (0, 0, 0);
        (self.largest, self.mode, self.probe, self.probed) = (None, Mode::Answers, None, None);
        if let Some(counts) = &mut self.counts {
            counts.lost = Some(now);
        }
        let mut delivered = 0;
        let left = self.sort(0, |place, entry| match entry.hold {
            Hold::Sent if place < sent && entry.number == 0 => {
                delivered += 1;
                Fate::LeavesQuietly
            }
            Hold::Probe | Hold::Opening | Hold::Aside => Fate::LeavesQuietly,
            Hold::Sent | Hold::Confirmed(_) => Fate::Stays,
        });
        self.gone += delivered;
        left
    }

    /// A link begins on which nothing larger than `largest` goes, and which counts if it is asked to with the words
    /// `offered`. What is late gets the element that `stamp` makes of the time at which it came. Gives what is too large.
    pub(crate) fn begin(
        &mut self,
        (largest, offered): (Option<usize>, Option<&'static str>),
        now: Instant,
        stamp: impl Fn(Timestamp) -> String,
    ) -> Left {
        self.largest = largest;
        let left = self.sort(0, |_, entry| {
            let mut tail = None;
            if let Hold::Confirmed(kept) = &mut entry.hold
                && !kept.stamped
                && now.saturating_duration_since(kept.since) >= LATE
            {
                kept.stamped = true;
                tail = Some(stamp(kept.time));
            }
            let length = entry.length + tail.as_ref().map_or(0, String::len);
            match tail {
                _ if largest.is_some_and(|largest| length > largest) => Fate::Leaves,
                Some(tail) => Fate::StaysWith(tail),
                None => Fate::Stays,
            }
        });
        if let Some(words) = offered.filter(|_| self.counts.is_none()) {
            self.mode = Mode::Offered(words);
            if self.is_kept() || self.again {
                self.bytes.push_front(words);
                self.entries.push_front(Entry::aside(words.len(), Hold::Opening));
                self.mode = Mode::Counts;
            }
        }
        left
    }

    /// No link can be had for now: what storage does not keep leaves, but for messages that the peer may have already, if
    /// the link before has broken after `since`.
    pub(crate) fn leave_behind(&mut self, since: Option<Instant>) -> Left {
        let lost = self.counts.as_ref().and_then(|counts| counts.lost);
        let is_fresh = lost.zip(since).is_some_and(|(lost, since)| lost > since);
        let stays = |entry: &Entry| entry.kept().is_some() || (is_fresh && entry.is_unsure());
        let Some(first) = self.entries.iter().position(|entry| !stays(entry)) else { return Left::default() };
        self.sort(first, |_, entry| if stays(entry) { Fate::Stays } else { Fate::Leaves })
    }

    /// What storage keeps and has waited since `before` or longer leaves; only when no link can be had.
    pub(crate) fn expire(&mut self, before: Instant) -> Left {
        let is_old = |entry: &Entry| entry.kept().is_some_and(|kept| kept.since <= before);
        if self.oldest().is_none_or(|oldest| oldest > before) {
            return Left::default();
        }
        self.sort(0, |_, entry| if is_old(entry) { Fate::Leaves } else { Fate::Stays })
    }

    /// Whether storage keeps anything of it.
    pub(crate) fn is_kept(&self) -> bool {
        self.entries.iter().any(|entry| entry.kept().is_some())
    }

    /// Since when the first of those has waited that storage keeps.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        Some(self.entries.iter().find_map(Entry::kept)?.since)
    }

    /// Everything leaves.
    pub(crate) fn take_all(&mut self) -> Left {
        let mut left = Left::default();
        let queue = std::mem::replace(self, Self { gone: self.gone, ..Self::default() });
        queue.entries.into_iter().for_each(|entry| left.take(entry));
        left
    }

    /// Positions below `upto` of what the log has only as queued; from now on it is said to have it as undelivered.
    pub(crate) fn settle(&mut self, upto: u64) -> Vec<u64> {
        let late = self.entries.iter_mut().filter_map(|entry| match &mut entry.hold {
            Hold::Confirmed(kept) if !kept.marked && kept.position < upto => {
                kept.marked = true;
                Some(kept.position)
            }
            _ => None,
        });
        late.collect()
    }

    /// Decides about every entry from the place `first` on; only between links, when nothing has been handed over.
    fn sort(&mut self, first: usize, mut judge: impl FnMut(usize, &mut Entry) -> Fate) -> Left {
        let mut left = Left::default();
        let mut rest = self.bytes.split_off(self.entries.iter().take(first).map(|entry| entry.length).sum());
        for (place, mut entry) in self.entries.split_off(first).into_iter().enumerate() {
            let (length, fate) = (entry.length, judge(first + place, &mut entry));
            let text = rest.at(0).get(..length).unwrap_or_default();
            match fate {
                Fate::LeavesQuietly => {
                    entry.head = None;
                    left.take(entry);
                }
                Fate::Leaves => left.take(entry),
                Fate::Stays => {
                    self.bytes.push(|out| out.push_str(text));
                    self.entries.push_back(entry);
                }
                Fate::StaysWith(tail) => {
                    entry.length = self.bytes.push(|out| push_with(out, text, &tail));
                    self.entries.push_back(entry);
                }
            }
            rest.advance(length);
        }
        left
    }
}

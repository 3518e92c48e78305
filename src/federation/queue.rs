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
//! link if this one breaks before. A peer handles the stanzas of a stream in order (RFC 6120 §10.1), so the answer to a
//! probe that was sent behind them confirms them, whatever it says; one probe is under way at a time.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::stanza::{Payload, Stanza};

/// So much is handed over at a time: the plain text of one TLS record (RFC 8446 §5.1).
pub(crate) const PORTION: usize = 16 * 1024;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 256;

/// With so many bytes unconfirmed a probe is sent although more is to be written: seldom enough that a busy link does not
/// feel it.
const MUCH: usize = 64 * 1024;
/// Otherwise probes are so far apart.
const SPACING: Duration = Duration::from_secs(1);
/// How long a peer may take to answer a probe.
const PATIENCE: Duration = Duration::from_secs(60);
/// What has waited for so long says so (XEP-0203).
const LATE: Duration = Duration::from_secs(5);

/// One domain pair's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order: first those that were sent and are not confirmed.
    entries: VecDeque<Entry>,
    /// The entries as they go on the stream, behind `done` bytes that belong to entries that are gone.
    bytes: String,
    done: usize,
    /// How many entries have been handed over completely on the current link, and their bytes.
    sent: usize,
    sent_bytes: usize,
    /// Bytes of the entry behind them that have been handed over.
    written: usize,
    /// How many stanzas have been delivered since the queue exists.
    gone: u64,
    /// The largest stanza that goes through the current link.
    largest: Option<usize>,
    probe: Option<Probe>,
    /// When the last probe of this link was made.
    probed: Option<Instant>,
}

/// A queued stanza: where it ends, and what is needed to answer it.
#[derive(Debug)]
struct Entry {
    length: usize,
    head: Stanza<'static>,
    hold: Hold,
}

/// Until when an entry stays.
#[derive(Debug)]
enum Hold {
    /// Until it is handed over.
    Sent,
    /// Until it is confirmed.
    Confirmed(Kept),
    /// Until it is handed over, and no longer than the link: it is a question of ours.
    Probe,
}

/// A stanza that storage keeps until it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its place in the log of the local domain.
    pub(crate) position: u64,
    /// When it came.
    pub(crate) time: Timestamp,
    pub(crate) since: Instant,
    /// The log says that it is undelivered; otherwise it is only queued there.
    pub(crate) marked: bool,
    /// It says how late it is.
    pub(crate) stamped: bool,
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

/// What has left the queue.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Left {
    /// To be answered, if it was not delivered.
    pub(crate) heads: Vec<Stanza<'static>>,
    /// What the log has as undelivered.
    pub(crate) marked: Vec<u64>,
    /// What the log has as queued.
    pub(crate) unmarked: Vec<u64>,
    /// What the queue was charged with for it.
    pub(crate) freed: usize,
}

/// What becomes of an entry between two links.
enum Fate {
    Stays,
    /// With this element behind its payload.
    StaysWith(String),
    Leaves,
}

impl Left {
    fn take(&mut self, entry: Entry) {
        self.freed += entry.length + OVERHEAD;
        if let Some(kept) = entry.kept() {
            self.positions(*kept);
        }
        if !matches!(entry.hold, Hold::Probe) {
            self.heads.push(entry.head);
        }
    }

    fn positions(&mut self, kept: Kept) {
        let positions = if kept.marked { &mut self.marked } else { &mut self.unmarked };
        positions.push(kept.position);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.heads.extend(other.heads);
        self.marked.extend(other.marked);
        self.unmarked.extend(other.unmarked);
        self.freed += other.freed;
    }
}

impl Entry {
    const fn kept(&self) -> Option<&Kept> {
        match &self.hold {
            Hold::Confirmed(kept) => Some(kept),
            Hold::Sent | Hold::Probe => None,
        }
    }
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
        self.bytes.len() - self.done + self.entries.len() * OVERHEAD
    }

    /// Whether something was sent and is not confirmed.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.sent > 0
    }

    /// Adds a stanza at the end; gives its cost, or the stanza if it does not go through the current link.
    pub(crate) fn push(&mut self, stanza: Stanza<'static>, kept: Option<Kept>) -> Result<usize, Box<Stanza<'static>>> {
        let before = self.bytes.len();
        stanza.write(&mut self.bytes);
        let length = self.bytes.len() - before;
        if self.largest.is_some_and(|largest| length > largest) {
            self.bytes.truncate(before);
            return Err(Box::new(stanza));
        }
        let hold = kept.map_or(Hold::Sent, Hold::Confirmed);
        self.entries.push_back(Entry { length, head: head(stanza), hold });
        Ok(length + OVERHEAD)
    }

    /// The next bytes to hand over, at most a portion.
    pub(crate) fn portion(&self) -> &[u8] {
        let rest = self.bytes.as_bytes().get(self.done + self.sent_bytes + self.written..).unwrap_or_default();
        rest.get(..PORTION).unwrap_or(rest)
    }

    /// `count` bytes have been handed over at the time `now`; what is not to be confirmed and stands first is delivered.
    /// Gives the cost of what is gone.
    pub(crate) fn handed_over(&mut self, count: usize, now: Instant) -> usize {
        self.written += count;
        while let Some(entry) = self.entries.get(self.sent).filter(|entry| entry.length <= self.written) {
            self.written -= entry.length;
            self.sent_bytes += entry.length;
            self.sent += 1;
            if let (Hold::Probe, Some(probe)) = (&entry.hold, &mut self.probe) {
                probe.asked = Some(now);
            }
        }
        let mut left = Left::default();
        self.release(&mut left);
        left.freed
    }

    /// The answer to a probe has come: all before it is delivered. `None` if this is not about the one that is under way.
    pub(crate) fn answered(&mut self, id: &str) -> Option<Left> {
        // Nobody knows its name who has not read it.
        let probe = self.probe.take_if(|probe| probe.id == id && probe.asked.is_some())?;
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
        while self.sent > 0 && self.entries.front().is_some_and(|entry| entry.kept().is_none()) {
            self.pop(left);
        }
        self.compact();
    }

    /// The first of those that were sent is delivered.
    fn pop(&mut self, left: &mut Left) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.sent -= 1;
        self.sent_bytes -= entry.length;
        self.done += entry.length;
        self.gone += 1;
        left.freed += entry.length + OVERHEAD;
        if let Some(kept) = entry.kept() {
            left.positions(*kept);
        }
    }

    fn compact(&mut self) {
        // Moving the rest costs less than what was written since the last time.
        if self.done >= self.bytes.len() / 2 {
            self.bytes.drain(..self.done);
            self.done = 0;
            if self.bytes.is_empty() {
                // An idle queue holds no memory.
                self.bytes = String::new();
            }
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
    pub(crate) fn probe(&mut self, id: String, probe: Stanza<'static>, now: Instant) -> usize {
        let before = self.bytes.len();
        probe.write(&mut self.bytes);
        let length = self.bytes.len() - before;
        self.probe = Some(Probe { id, upto: self.gone + self.entries.len() as u64, asked: None });
        self.probed = Some(now);
        self.entries.push_back(Entry { length, head: head(probe), hold: Hold::Probe });
        length + OVERHEAD
    }

    /// When the peer has had long enough to answer the probe.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        Some(self.probe.as_ref()?.asked? + PATIENCE)
    }

    /// The link has broken: what was not confirmed or not handed over completely goes out anew. Gives what is gone all
    /// the same.
    pub(crate) fn link_lost(&mut self) -> Left {
        let sent = std::mem::take(&mut self.sent);
        (self.sent_bytes, self.written) = (0, 0);
        (self.largest, self.probe, self.probed) = (None, None, None);
        let mut delivered = 0;
        let left = self.sort(0, |place, entry| match entry.hold {
            Hold::Sent if place < sent => {
                delivered += 1;
                Fate::Leaves
            }
            Hold::Probe => Fate::Leaves,
            Hold::Sent | Hold::Confirmed(_) => Fate::Stays,
        });
        self.gone += delivered;
        left
    }

    /// A link begins on which nothing larger than `largest` goes. What is late gets the element that `stamp` makes of the
    /// time at which it came. Gives what is too large.
    pub(crate) fn begin(&mut self, largest: Option<usize>, now: Instant, stamp: impl Fn(Timestamp) -> String) -> Left {
        self.largest = largest;
        self.sort(0, |_, entry| {
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
        })
    }

    /// No link can be had for now: what storage does not keep leaves.
    pub(crate) fn leave_behind(&mut self) -> Left {
        let Some(first) = self.entries.iter().position(|entry| entry.kept().is_none()) else { return Left::default() };
        self.sort(first, |_, entry| if entry.kept().is_some() { Fate::Stays } else { Fate::Leaves })
    }

    /// What stands first and has waited since `before` or longer leaves; only when no link can be had.
    pub(crate) fn expire(&mut self, before: Instant) -> Left {
        let mut left = Left::default();
        let is_old = |entry: &mut Entry| entry.kept().is_some_and(|kept| kept.since <= before);
        while let Some(entry) = self.entries.pop_front_if(is_old) {
            self.done += entry.length;
            left.take(entry);
        }
        self.compact();
        left
    }

    /// Since when what stands first has waited, if storage keeps it.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        Some(self.entries.front()?.kept()?.since)
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
            Hold::Sent | Hold::Confirmed(_) | Hold::Probe => None,
        });
        late.collect()
    }

    /// Decides about every entry from the place `first` on; only between links, when nothing has been handed over.
    fn sort(&mut self, first: usize, mut judge: impl FnMut(usize, &mut Entry) -> Fate) -> Left {
        let mut left = Left::default();
        let begin = self.entries.iter().take(first).fold(self.done, |sum, entry| sum + entry.length);
        let bytes = self.bytes.split_off(begin);
        let mut rest = bytes.as_str();
        for (place, mut entry) in self.entries.split_off(first).into_iter().enumerate() {
            let (text, behind) = rest.split_at_checked(entry.length).unwrap_or((rest, ""));
            rest = behind;
            match judge(first + place, &mut entry) {
                Fate::Leaves => {
                    left.take(entry);
                    continue;
                }
                Fate::Stays => self.bytes.push_str(text),
                Fate::StaysWith(tail) => {
                    let before = self.bytes.len();
                    push_with(&mut self.bytes, text, &tail);
                    entry.length = self.bytes.len() - before;
                }
            }
            self.entries.push_back(entry);
        }
        self.compact();
        left
    }
}

/// Writes a stanza with one more element behind its payload.
fn push_with(out: &mut String, stanza: &str, tail: &str) {
    // A stanza without payload has nothing that could be late.
    let end = stanza.rfind("</").filter(|_| stanza.ends_with('>') && !stanza.ends_with("/>"));
    let (front, end) = end.and_then(|at| stanza.split_at_checked(at)).unwrap_or((stanza, ""));
    out.push_str(front);
    if !end.is_empty() {
        out.push_str(tail);
        out.push_str(end);
    }
}

/// The stanza without its payload: enough to answer it with an error.
pub(crate) fn head(mut stanza: Stanza<'static>) -> Stanza<'static> {
    stanza.payload = Payload::EMPTY;
    stanza
}

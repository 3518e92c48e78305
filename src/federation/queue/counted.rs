//! Confirmation by a peer that counts (XEP-0198), and streams that go on after their connection has broken.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Fate, Left};
use super::{Mode, Queue};
use crate::hooks::TooHigh;
use crate::routing::modulo;
use crate::stanza::Kind;

/// The numbers of stanzas that the peer counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) confirmed: u64,
    pub(super) sent: u64,
    /// What the stream is called if it may be resumed, and for how long.
    pub(super) name: Option<(String, Duration)>,
    /// Since when there is no link.
    pub(super) lost: Option<Instant>,
}

impl Counts {
    /// The number that the peer means by `handled`.
    fn reach(&self, handled: u32) -> Result<u64, TooHigh> {
        let more = u64::from(handled.wrapping_sub(modulo(self.confirmed)));
        if more <= self.sent - self.confirmed {
            return Ok(self.confirmed + more);
        }
        // It may have said so before.
        let behind = modulo(self.confirmed).wrapping_sub(handled);
        let known = behind <= u32::MAX / 2 && u64::from(behind) <= self.confirmed;
        if known { Ok(self.confirmed) } else { Err(TooHigh { handled, sent: modulo(self.sent) }) }
    }
}

impl Queue {
    /// The peer has counted up to `handled`, modulo 2^32.
    pub(crate) fn acknowledged(&mut self, handled: u32) -> Result<Left, TooHigh> {
        let Some(counts) = &mut self.counts else { return Ok(Left::default()) };
        let upto = counts.reach(handled)?;
        counts.confirmed = upto;
        self.probe.take_if(|probe| probe.asked.is_some());
        let mut left = Left::default();
        while self.sent > 0 && self.entries.front().is_some_and(|entry| entry.number <= upto) {
            self.pop(&mut left);
        }
        self.release(&mut left);
        Ok(left)
    }

    /// The peer counts, and the stream may be resumed under this name for so long.
    pub(crate) fn counted(&mut self, name: Option<(String, Duration)>) {
        if let Some(counts) = &mut self.counts {
            counts.name = name;
        }
    }

    /// The peer does not count after all.
    pub(crate) fn uncounted(&mut self) -> Left {
        (self.mode, self.counts, self.probe) = (Mode::Answers, None, None);
        self.entries.iter_mut().for_each(|entry| entry.number = 0);
        let mut left = Left::default();
        self.release(&mut left);
        left
    }

    /// Whether the peer counts, or has been asked to.
    pub(crate) fn is_counted(&self) -> bool {
        self.mode == Mode::Counts
    }

    /// What the stream is called that may be resumed.
    pub(crate) fn resumable(&self, now: Instant) -> Option<String> {
        let counts = self.counts.as_ref()?;
        let (name, time) = counts.name.as_ref()?;
        (now.saturating_duration_since(counts.lost?) < *time).then(|| name.clone())
    }

    /// The stream was closed in order: it is not resumed.
    pub(crate) fn closed(&mut self) {
        if let Some(counts) = &mut self.counts {
            counts.name = None;
        }
    }

    /// The stream goes on on a new link, of whose stanzas the peer has handled `handled`: the rest goes out again, whatever
    /// it is.
    pub(crate) fn resumed(&mut self, handled: u32) -> Result<Left, TooHigh> {
        let Some(counts) = &mut self.counts else { return Ok(Left::default()) };
        let upto = counts.reach(handled)?;
        // What a peer has forgotten that it handled is done all the same; from here on both count from the same number.
        (counts.confirmed, counts.sent, counts.lost) = (handled.into(), handled.into(), None);
        self.mode = Mode::Counts;
        Ok(self.leave_delivered(upto))
    }

    fn leave_delivered(&mut self, upto: u64) -> Left {
        let mut delivered = 0;
        let left = self.sort(0, |_, entry| {
            if (1..=upto).contains(&entry.number) {
                delivered += 1;
                return Fate::LeavesQuietly;
            }
            entry.number = 0;
            Fate::Stays
        });
        self.gone += delivered;
        left
    }

    /// The stream does not go on; the peer may have said how far it had come. Of the rest messages go out again, never
    /// requests, which are to be answered, and of presence only what is still true.
    pub(crate) fn not_resumed(&mut self, handled: Option<u32>) -> Left {
        let Some(counts) = self.counts.take() else { return Left::default() };
        let upto = handled.and_then(|handled| counts.reach(handled).ok()).unwrap_or(counts.confirmed);
        let mut later = HashSet::new();
        let mut stale: Vec<bool> = self.entries.iter().rev().map(|entry| entry.is_stale(&mut later)).collect();
        stale.reverse();
        let left = self.sort(0, |place, entry| match entry.head.as_ref().map(|head| head.kind) {
            _ if entry.number == 0 || entry.number <= upto => Fate::Stays,
            Some(Kind::Iq(_)) => Fate::Leaves,
            Some(Kind::Presence(_)) if stale.get(place) == Some(&true) => Fate::LeavesQuietly,
            _ => {
                entry.number = 0;
                Fate::Stays
            }
        });
        let mut all = self.leave_delivered(upto);
        all.join(left);
        all
    }
}

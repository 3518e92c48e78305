//! What a session keeps until its client has confirmed it: numbers, bytes, and whether the client
//! may come back for them after a lost connection.
//!
//! Counts are 64 bits wide in here and modulo 2^32 on the wire.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::fnv;
use crate::hooks::TooHigh;
use crate::storage::{Queued, Receipt};
use crate::stream::StreamError;

use super::binding::Binding;
use super::pieces::Pieces;
use super::suspended::UNSEEN;
use super::unanswered::{Asked, Requests};

/// Stanzas that may wait to be confirmed, however short they are.
const MOST: usize = 10_000;

/// Stanzas after which a confirmation is asked for although an earlier request is unanswered.
const BURST: u64 = 10;

/// From when on a session keeps what it writes, and how it asks.
#[derive(Debug)]
pub struct Retention {
    /// Written before the first stanza that counts.
    pub opening: String,
    /// Asks the client to confirm.
    pub request: &'static str,
    /// Whether the client may come back.
    pub resumption: Option<Resumption>,
}

/// What a session whose client may come back is called, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    /// Nobody can guess it.
    pub name: String,
    pub time: Duration,
}

/// What came from a client before it lost its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handled {
    /// Stanzas since they are counted.
    pub count: u64,
    /// They are in safe hands once this is durable.
    pub receipt: Receipt,
}

/// How the stanzas of a session are counted that its client may come back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resumable {
    pub(super) name: String,
    /// The place at which counting begins.
    pub(super) first: u64,
    pub(super) confirmed: u64,
}

/// What is remembered of a session that its client may still ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lapsed {
    pub(super) name: String,
    pub(super) handled: Handled,
}

/// The state of a session that counts.
#[derive(Debug)]
pub(super) struct Retained {
    /// What was taken and is not confirmed; `gone` bytes at its front are, and not yet cut off.
    text: Pieces,
    gone: usize,
    /// The place behind those; `None` until the first take.
    start: Option<u64>,
    /// The place at which counting begins.
    first: u64,
    /// The places behind the stanzas that are not confirmed, taken or not.
    edges: VecDeque<u64>,
    confirmed: u64,
    /// Stanzas that have been taken.
    sent: u64,
    /// Up to which a confirmation has been asked for.
    asked: u64,
    /// Requests that are unanswered.
    requests: u32,
    /// The last answer confirmed something, so that the next may, too.
    progressed: bool,
    request: &'static str,
    pub(super) resumption: Option<Resumption>,
    /// The server has started since: only the client knows how many stanzas it has handled.
    restored: bool,
    /// Requests of the client that are open, if it may come back.
    open: Option<Box<Requests>>,
    /// Goes out with what is taken next and is not kept.
    pub(super) aside: String,
    /// Why the connection is to end, although the session may survive it.
    pub(super) cut: Option<StreamError>,
    /// There is no connection.
    pub(super) away: Option<Handled>,
    /// Who wants to take the session over.
    pub(super) heir: Option<oneshot::Sender<Binding>>,
}

/// Stands for the name of a session in the log's queues. They are kept: it must never change.
pub(super) fn session_key(name: &str) -> i64 {
    fnv::hash(name.bytes()).cast_signed()
}

impl Retained {
    /// Nothing yet; the first stanza that counts begins at the place `first`.
    pub(super) const fn new(first: u64, request: &'static str, resumption: Option<Resumption>) -> Self {
        Self {
            text: Pieces::new(),
            gone: 0,
            start: None,
            first,
            edges: VecDeque::new(),
            confirmed: 0,
            sent: 0,
            asked: 0,
            requests: 0,
            progressed: false,
            request,
            resumption,
            restored: false,
            open: None,
            aside: String::new(),
            cut: None,
            away: None,
            heir: None,
        }
    }

    /// The session of a server that has ended; its client has not come back yet.
    pub(super) const fn restored(request: &'static str, resumption: Resumption, handled: Handled) -> Self {
        let mut retained = Self::new(0, request, Some(resumption));
        (retained.restored, retained.away) = (true, Some(handled));
        retained
    }

    /// The place of the youngest stanza in the queue of a session that its client may come back to.
    pub(super) fn queued(&self) -> Option<Queued> {
        let resumption = self.resumption.as_ref()?;
        // Before the client of a restored session has said how many stanzas it has got, it has got none of these.
        let before = if self.restored { UNSEEN } else { self.confirmed };
        Some(Queued { session: session_key(&resumption.name), number: before + self.edges.len() as u64 })
    }

    /// The client's stanza with the number `count` is a request.
    pub(super) fn asks(&mut self, count: u64, id: &str, to: Option<&str>) {
        if self.resumption.is_some() {
            self.open.get_or_insert_default().ask(count, id, to);
        }
    }

    /// The youngest stanza in the queue answers the request `id`.
    pub(super) fn answered(&mut self, id: &str) {
        let number = self.confirmed + self.edges.len() as u64;
        if let Some(requests) = &mut self.open {
            requests.answered(id, number);
        }
    }

    /// Whether storage takes a request for unanswered that the client has the answer to.
    pub(super) fn is_stale(&self) -> bool {
        self.open.as_ref().is_some_and(|requests| requests.is_stale())
    }

    /// What the session is called, if the client may come back, and what storage is to know of its requests from now on, if
    /// that changes; see [`Requests::note`].
    pub(super) fn unanswered(&mut self, count: Option<u64>) -> Option<(String, Option<Vec<Asked>>)> {
        let name = self.resumption.as_ref()?.name.clone();
        let noted = self.open.as_mut().and_then(|requests| requests.note(count));
        // An idle session owns no buffer.
        self.open.take_if(|requests| requests.is_over());
        Some((name, noted))
    }

    /// How stanzas are counted, if the client may come back.
    pub(super) fn resumable(&self) -> Option<Resumable> {
        let name = self.resumption.as_ref()?.name.clone();
        // Before the client of a restored session has said where the counts begin, nothing has a number.
        let first = if self.restored { u64::MAX } else { self.first };
        Some(Resumable { name, first, confirmed: self.confirmed })
    }

    /// As if so many stanzas had been confirmed already.
    #[cfg(test)]
    pub(super) const fn begin_at(&mut self, count: u64) {
        (self.confirmed, self.sent, self.asked) = (count, count, count);
    }

    /// Whether this is the session that a client means by `name`.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.resumption.as_ref().is_some_and(|resumption| resumption.name == name)
    }

    /// Bytes that are kept although they were taken, or wait and will not be kept.
    pub(super) fn held(&self) -> usize {
        self.text.len() - self.gone + self.aside.len()
    }

    /// What it takes to know where their stanzas end, in bytes.
    pub(super) fn bookkeeping(&self) -> usize {
        size_of::<u64>() * self.edges.len()
    }

    /// Whether too many stanzas wait to be confirmed, even if they are short.
    pub(super) fn is_full(&self) -> bool {
        self.edges.len() >= MOST
    }

    /// A stanza ends at `place`.
    pub(super) fn pushed(&mut self, place: u64) {
        self.edges.push_back(place);
    }

    /// Nothing was taken yet, so that all bytes are where they would be without counting.
    pub(super) const fn is_untouched(&self) -> bool {
        self.start.is_none()
    }

    /// The place up to which nothing has to be kept for the client's confirmation, if `written`
    /// bytes have been: what does not count is done with once it is written.
    pub(super) fn done(&self, written: u64) -> u64 {
        self.start.unwrap_or_default().max(written.min(self.first))
    }

    /// A `piece` that has waited goes out now, up to `place`; adds what is not kept.
    pub(super) fn take(&mut self, piece: &mut String, place: u64) {
        self.start.get_or_insert(place.saturating_sub(piece.len() as u64));
        self.text.append_piece(piece);
        let taken = match self.edges.back() {
            Some(last) if *last > place => self.edges.partition_point(|edge| *edge <= place),
            _ => self.edges.len(),
        };
        self.sent = self.confirmed + taken as u64;
        piece.push_str(&std::mem::take(&mut self.aside));
        if self.is_due() {
            (self.asked, self.progressed) = (self.sent, false);
            self.requests = self.requests.saturating_add(1);
            piece.push_str(self.request);
        }
    }

    /// The transport has taken `written` bytes: what does not count is done with.
    pub(super) fn written(&mut self, written: u64) {
        if written >= self.first && self.start.is_some_and(|start| start < self.first) {
            self.advance(self.first);
        }
    }

    /// Whether something goes out although no stanza waits.
    pub(super) fn has_more(&self) -> bool {
        !self.aside.is_empty() || self.is_due()
    }

    /// One request is under way at a time, unless much has followed it. A client that has nothing
    /// to confirm is not asked again for the same.
    const fn is_due(&self) -> bool {
        if self.requests == 0 {
            self.sent > self.confirmed && (self.sent > self.asked || self.progressed)
        } else {
            self.sent - self.asked >= BURST
        }
    }

    /// The client has handled `count` stanzas, modulo 2^32.
    pub(super) fn confirm(&mut self, count: u32) -> Result<(), TooHigh> {
        let more = u64::from(count.wrapping_sub(modulo(self.confirmed)));
        if more > self.sent - self.confirmed {
            // It may have said so before.
            let behind = u64::from(modulo(self.confirmed).wrapping_sub(count));
            let known = behind <= self.confirmed.min(u64::from(u32::MAX / 2));
            return if known { Ok(()) } else { Err(TooHigh { handled: count, sent: modulo(self.sent) }) };
        }
        self.requests = if self.confirmed + more >= self.asked { 0 } else { self.requests.saturating_sub(1) };
        self.progressed |= more > 0;
        for _ in 0..more {
            if let Some(place) = self.edges.pop_front() {
                self.confirmed += 1;
                self.advance(place);
            }
        }
        if self.edges.is_empty() {
            // An idle session owns no buffer.
            self.edges = VecDeque::new();
        }
        if let Some(requests) = &mut self.open {
            requests.confirmed(self.confirmed);
            if requests.is_over() {
                self.open = None;
            }
        }
        Ok(())
    }

    /// Nothing before `place`, which is the edge of a stanza, is needed any more.
    fn advance(&mut self, place: u64) {
        let start = self.start.get_or_insert(place);
        let more = place.saturating_sub(*start);
        *start += more;
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        self.gone = self.text.let_go(more.saturating_add(self.gone));
    }

    /// The client has come back on another connection and has handled `count` stanzas: everything
    /// else is put in front of what waits, to go out again.
    pub(super) fn resume(&mut self, count: u32, waiting: &mut Pieces) -> Result<(), TooHigh> {
        if std::mem::take(&mut self.restored) {
            // Nothing was sent since, so what the client says is where the counts begin.
            self.confirmed = u64::from(count);
        } else {
            self.confirm(count)?;
        }
        if self.start.is_some() {
            // Who knows the session's name has seen everything before the first stanza that counts.
            self.advance(self.first);
            let mut all = std::mem::take(&mut self.text).split_off(std::mem::take(&mut self.gone));
            all.extend(std::mem::take(waiting));
            *waiting = all;
        }
        (self.sent, self.asked) = (self.confirmed, self.confirmed);
        (self.requests, self.progressed) = (0, false);
        self.aside.clear();
        (self.away, self.cut) = (None, None);
        Ok(())
    }

    /// What was taken and is not confirmed.
    pub(super) fn unconfirmed(&self) -> impl Iterator<Item = &str> {
        let mut gone = self.gone;
        self.text.iter().map(move |piece| piece.get(std::mem::take(&mut gone)..).unwrap_or_default())
    }

    /// All that is not confirmed, taken or `waiting`.
    pub(super) fn all(self, waiting: Pieces) -> Pieces {
        let mut all = self.text.split_off(self.gone);
        all.extend(waiting);
        all
    }
}

/// As a count is written.
#[must_use]
pub fn modulo(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default()
}

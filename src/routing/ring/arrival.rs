//! What of a ring has arrived, as far as anybody can tell: the marks behind its stanzas.

use std::collections::{BTreeSet, VecDeque};

use crate::routing::marks::{Mark, Settled};

use super::{Ring, Talks};

impl Ring {
    /// The client has said something. Takes out the marks whose stanzas have arrived, as far as anybody can tell: the client
    /// has confirmed them, or where stanzas are not counted the transport had taken them before. Returns the positions of
    /// the undelivered ones. What has waited goes out while the client talks.
    pub(in crate::routing) fn delivered(&self, talks: Talks) -> Vec<u64> {
        let mut state = self.lock();
        if talks == Talks::Yes && state.held.is_some() {
            state.release();
        }
        state.sure = state.written;
        let upto = state.arrived();
        let done = state.marks.iter().take_while(|(place, _)| *place <= upto).count();
        let arrived = state.marks.drain(..done).filter_map(|(_, mark)| match mark {
            Mark::Undelivered(position) => Some(position),
            Mark::Queued(_) => None,
        });
        arrived.collect()
    }

    /// The positions of the entries of the log that it holds.
    pub(in crate::routing) fn positions(&self) -> BTreeSet<u64> {
        self.lock().marks.iter().map(|(_, mark)| mark.position()).collect()
    }

    /// Whether somebody has to look after the queued marks from now on; says so once.
    pub(in crate::routing) fn needs_watch(&self) -> bool {
        !std::mem::replace(&mut self.lock().watched, true)
    }

    /// Takes out the queued marks whose stanzas have arrived, and turns the others below the position `upto` into
    /// undelivered ones.
    pub(in crate::routing) fn settle(&self, upto: u64) -> Settled {
        let mut state = self.lock();
        let done = state.arrived();
        let (mut late, mut watched) = (Vec::new(), false);
        state.marks.retain_mut(|(place, mark)| {
            let Mark::Queued(queued) = *mark else { return true };
            if *place <= done {
                return false;
            }
            if queued.position < upto {
                *mark = Mark::Undelivered(queued.position);
                late.push(queued.position);
            } else {
                watched = true;
            }
            true
        });
        state.watched = watched;
        if state.marks.is_empty() {
            // An idle session owns no buffer.
            state.marks = VecDeque::new();
        }
        Settled { late, watched, is_over: state.shut }
    }

    /// Marks of stanzas that were written to a session that has ended, to be looked after like those of one that goes on.
    pub(in crate::routing) fn put_back(&self, marks: Vec<(u64, Mark)>) {
        self.lock().marks.extend(marks);
    }
}

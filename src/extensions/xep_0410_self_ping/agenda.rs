//! When somebody in a room is to be looked at next: the soonest first, so that nobody looks through all of them.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::jid::{BareJid, Jid};

/// A session in a room has at most one entry here, and knows when that is.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    all: BTreeSet<(Instant, Jid, BareJid)>,
    /// Something comes before what was the first.
    is_sooner: bool,
}

impl Agenda {
    /// Has a session looked at in a room when that is `due`, or before. If its entry is not later than that it stays as it
    /// is: whoever looks then sees that it is too soon. So what comes from a room, which puts off what is due, costs nothing
    /// here.
    pub(super) fn note(&mut self, entry: &mut Option<Instant>, due: Instant, (session, room): (&Jid, &BareJid)) {
        if entry.is_some_and(|entry| entry <= due) {
            return;
        }
        self.is_sooner |= self.next().is_none_or(|next| due < next);
        self.forget(entry.replace(due), (session, room));
        self.all.insert((due, session.clone(), room.clone()));
    }

    /// Nobody needs to look there any more.
    pub(super) fn forget(&mut self, entry: Option<Instant>, (session, room): (&Jid, &BareJid)) {
        if let Some(entry) = entry {
            self.all.remove(&(entry, session.clone(), room.clone()));
        }
    }

    /// Takes out the first whose time has come.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Jid, BareJid)> {
        let (due, ..) = self.all.first()?;
        if *due > now {
            return None;
        }
        self.all.pop_first().map(|(_, session, room)| (session, room))
    }

    /// When to look next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.all.first().map(|(due, ..)| *due)
    }

    /// Whether that is sooner than it was when this was asked last.
    pub(super) fn is_sooner(&mut self) -> bool {
        std::mem::take(&mut self.is_sooner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_is_the_first_whatever_it_is_called() {
        let (session, rooms): (Jid, [BareJid; 2]) = (
            "romeo@montague.lit/orchard".parse().unwrap(),
            ["a@rooms.lit", "z@rooms.lit"].map(|room| room.parse().unwrap()),
        );
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut agenda = Agenda::default();
        let mut entries = [None, None];
        agenda.note(&mut entries[0], at(20), (&session, &rooms[0]));
        assert!(agenda.is_sooner());
        agenda.note(&mut entries[1], at(10), (&session, &rooms[1]));
        assert!(agenda.is_sooner() && !agenda.is_sooner());
        // What is put off is looked at all the same; what is brought forward has no second entry.
        agenda.note(&mut entries[1], at(30), (&session, &rooms[1]));
        assert_eq!(entries[1], Some(at(10)));
        agenda.note(&mut entries[0], at(15), (&session, &rooms[0]));
        assert_eq!((agenda.next(), agenda.is_sooner()), (Some(at(10)), false));
        assert_eq!(agenda.take(at(9)), None);
        assert_eq!(agenda.take(at(20)), Some((session.clone(), rooms[1].clone())));
        agenda.forget(entries[0], (&session, &rooms[0]));
        assert_eq!((agenda.take(at(20)), agenda.next()), (None, None));
    }
}

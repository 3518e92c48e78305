//! Who of other domains is available, as far as clients here have been told: so that whoever goes without a word can be
//! said to be gone, resource by resource.
//!
//! Pure and bounded. Only contacts to whose presence somebody here is subscribed are in it, however many are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::PresenceType;

use super::remote::Pair;

/// So many resources are remembered altogether ...
const MOST: usize = 100_000;
/// ... and so many of one contact.
const RESOURCES: usize = 16;

/// The available resources of other domains, by the domain here that was told, and the one there.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    pairs: HashMap<Arc<str>, HashMap<Arc<str>, Crowd>>,
    count: usize,
}

/// Those of one pair of domains.
#[derive(Debug, Default)]
struct Crowd {
    /// Whoever was heard of before this number is in doubt.
    epoch: u32,
    /// By address, with the epoch in which it was heard of last.
    present: BTreeMap<Box<str>, u32>,
}

impl Attendance {
    /// A contact has said in `local` that it is there or not.
    pub(super) fn note(&mut self, local: &Arc<str>, from: &Jid, kind: PresenceType) {
        let remote = self.pairs.get_mut(local).and_then(|remotes| remotes.get_mut(from.domain()));
        match (kind, remote) {
            (PresenceType::Available, Some(crowd)) => self.count += usize::from(crowd.came(from, self.count)),
            (PresenceType::Available, None) => {
                let mut crowd = Crowd::default();
                if crowd.came(from, self.count) {
                    self.count += 1;
                    self.pairs.entry(Arc::clone(local)).or_default().insert(from.domain().into(), crowd);
                }
            }
            (PresenceType::Unavailable, Some(crowd)) => {
                self.count -= crowd.went(from);
                self.forget_empty(local, from.domain());
            }
            _ => {}
        }
    }

    /// Whoever is there now may be gone.
    pub(super) fn doubt(&mut self, pair: &Pair) {
        if let Some(crowd) = self.crowd(pair) {
            crowd.epoch = crowd.epoch.wrapping_add(1);
        }
    }

    /// Whether anybody counts as available.
    pub(super) fn has_anybody(&mut self, pair: &Pair) -> bool {
        self.crowd(pair).is_some_and(|crowd| !crowd.present.is_empty())
    }

    /// Those who have not been heard of since they were in doubt; they count as gone from here on.
    pub(super) fn take_doubtful(&mut self, pair: &Pair) -> Vec<Jid> {
        let Some(crowd) = self.crowd(pair) else { return Vec::new() };
        let epoch = crowd.epoch;
        let gone = crowd.present.extract_if(.., |_, heard| *heard != epoch);
        let gone: Vec<Box<str>> = gone.map(|(jid, _)| jid).collect();
        self.count -= gone.len();
        self.forget_empty(&pair.local, &pair.remote);
        // Each has been an address when it came.
        gone.iter().filter_map(|jid| Jid::parse(jid).ok()).collect()
    }

    /// Whether one of them has been heard of since.
    pub(super) fn is_present(&self, pair: &Pair, jid: &Jid) -> bool {
        let crowd = self.pairs.get(&pair.local).and_then(|remotes| remotes.get(&pair.remote));
        crowd.is_some_and(|crowd| crowd.present.contains_key(jid.as_str()))
    }

    fn forget_empty(&mut self, local: &str, remote: &str) {
        if let Some(remotes) = self.pairs.get_mut(local)
            && remotes.get(remote).is_some_and(|crowd| crowd.present.is_empty())
        {
            remotes.remove(remote);
        }
    }

    fn crowd(&mut self, pair: &Pair) -> Option<&mut Crowd> {
        self.pairs.get_mut(&pair.local)?.get_mut(&pair.remote)
    }
}

impl Crowd {
    /// Whether that makes one more; `all` is how many there are altogether.
    fn came(&mut self, from: &Jid, all: usize) -> bool {
        if from.is_bare() {
            return false;
        }
        if let Some(heard) = self.present.get_mut(from.as_str()) {
            *heard = self.epoch;
            return false;
        }
        if all >= MOST || self.of(from).count() >= RESOURCES {
            return false;
        }
        self.present.insert(from.as_str().into(), self.epoch);
        true
    }

    /// A bare JID stands for everybody of that name. Gives how many have gone.
    fn went(&mut self, from: &Jid) -> usize {
        if !from.is_bare() {
            return usize::from(self.present.remove(from.as_str()).is_some());
        }
        let gone: Vec<Box<str>> = self.of(from).cloned().collect();
        for jid in &gone {
            self.present.remove(jid);
        }
        gone.len()
    }

    /// The resources of a contact.
    fn of(&self, contact: &Jid) -> impl Iterator<Item = &Box<str>> {
        let prefix = format!("{}/", contact.bare_str());
        let from = self.present.range(Box::<str>::from(prefix.as_str())..);
        from.map(|(jid, _)| jid).take_while(move |jid| jid.starts_with(&prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: PresenceType = PresenceType::Available;
    const GONE: PresenceType = PresenceType::Unavailable;

    fn here() -> Arc<str> {
        "verona.example".into()
    }

    fn pair() -> Pair {
        Pair { local: here(), remote: "mantua.example".into() }
    }

    fn note(attendance: &mut Attendance, all: &[(&str, PresenceType)]) {
        all.iter().for_each(|(jid, kind)| attendance.note(&here(), &jid.parse().unwrap(), *kind));
    }

    fn doubtful(attendance: &mut Attendance) -> Vec<String> {
        attendance.take_doubtful(&pair()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_is_not_heard_of_again_is_gone() {
        let mut attendance = Attendance::default();
        note(
            &mut attendance,
            &[("a@mantua.example/x", THERE), ("a@mantua.example/y", THERE), ("b@mantua.example/x", THERE)],
        );
        assert!(doubtful(&mut attendance).is_empty());
        attendance.doubt(&pair());
        note(&mut attendance, &[("a@mantua.example/y", THERE), ("c@mantua.example/x", THERE)]);
        assert_eq!(doubtful(&mut attendance), ["a@mantua.example/x", "b@mantua.example/x"]);
        assert!(doubtful(&mut attendance).is_empty());
        for (jid, is_present) in [("a@mantua.example/x", false), ("a@mantua.example/y", true)] {
            assert_eq!(attendance.is_present(&pair(), &jid.parse().unwrap()), is_present);
        }
        attendance.doubt(&pair());
        assert_eq!(doubtful(&mut attendance), ["a@mantua.example/y", "c@mantua.example/x"]);
        assert_eq!((attendance.count, attendance.has_anybody(&pair())), (0, false));
    }

    #[test]
    fn who_says_goodbye_is_not_missed() {
        let mut attendance = Attendance::default();
        note(
            &mut attendance,
            &[("a@mantua.example/x", THERE), ("a@mantua.example/y", THERE), ("ab@mantua.example/x", THERE)],
        );
        note(
            &mut attendance,
            &[("a@mantua.example/x", GONE), ("a@mantua.example/x", GONE), ("z@mantua.example/x", GONE)],
        );
        assert_eq!(attendance.count, 2);
        // As an answer to a probe: none of its resources is there.
        note(&mut attendance, &[("a@mantua.example", GONE), ("a@mantua.example", THERE)]);
        attendance.doubt(&pair());
        assert_eq!(doubtful(&mut attendance), ["ab@mantua.example/x"]);
    }

    #[test]
    fn a_contact_takes_no_more_than_its_share() {
        let mut attendance = Attendance::default();
        for number in 0..RESOURCES + 5 {
            note(&mut attendance, &[(&format!("a@mantua.example/{number}"), THERE)]);
        }
        note(&mut attendance, &[("b@mantua.example/x", THERE)]);
        assert_eq!(attendance.count, RESOURCES + 1);
        attendance.count = MOST;
        note(&mut attendance, &[("c@mantua.example/x", THERE), ("c@padua.example/x", THERE)]);
        assert_eq!(attendance.count, MOST);
        assert_eq!(attendance.pairs[&here()].len(), 1);
    }
}

//! Who is in a room, as the room has told somebody here: what a session that was away for a while has to unlearn.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The names of a room that are remembered at most, and the longest of them, in bytes: nobody remembers the names of a room
/// that has more, or longer ones.
const MOST: usize = 5000;
const LONGEST: usize = 200;

/// A set of names that costs nothing to keep as it was.
pub(super) type Snapshot = Arc<BTreeSet<Arc<str>>>;

/// The names in one room; `None` if nobody remembers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names(Option<Snapshot>);

impl Default for Names {
    fn default() -> Self {
        Self(Some(Snapshot::default()))
    }
}

impl Names {
    /// As they are now.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.0.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |names| names.len())
    }

    /// Somebody is there; `is_room` says whether one more name may be remembered in all rooms together.
    pub(super) fn add(&mut self, name: &str, is_room: bool) {
        let Some(names) = &mut self.0 else { return };
        if names.contains(name) {
            return;
        }
        if name.len() > LONGEST || names.len() >= MOST || !is_room {
            self.0 = None;
            return;
        }
        Arc::make_mut(names).insert(name.into());
    }

    /// Somebody is not there any more.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(names) = self.0.as_mut().filter(|names| names.contains(name)) {
            Arc::make_mut(names).remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &Names) -> Option<Vec<String>> {
        names.snapshot().map(|names| names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut names = Names::default();
        names.add("romeo", true);
        names.add("juliet", true);
        let before = names.snapshot().unwrap();
        names.remove("romeo");
        names.remove("romeo");
        names.add("tybalt", true);
        assert_eq!(all(&names).unwrap(), ["juliet", "tybalt"]);
        assert_eq!(before.iter().map(|name| &**name).collect::<Vec<_>>(), ["juliet", "romeo"]);
    }

    #[test]
    fn too_many_are_not_remembered() {
        let mut names = Names::default();
        (0..MOST).for_each(|number| names.add(&number.to_string(), true));
        names.add("0", true);
        assert_eq!(names.len(), MOST);
        names.add("one more", true);
        assert_eq!((names.len(), names.snapshot()), (0, None));
        names.add("romeo", true);
        assert_eq!(all(&names), None, "they would not be all");
        for (name, is_room) in [("x".repeat(LONGEST + 1).as_str(), true), ("romeo", false)] {
            let mut names = Names::default();
            names.add(name, is_room);
            assert_eq!(all(&names), None);
        }
    }
}

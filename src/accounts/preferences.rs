//! Which of his messages the owner of an account wants archived (XEP-0441).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::jid::Jid;
use crate::storage::Cell;
use crate::xml::spelled;

/// What the owner has said; where there is nothing, everything is wanted.
pub const PREFERENCES: Cell<Preferences> = Cell::new("archive-preferences");

spelled! {
    /// What holds for whoever is on neither list (XEP-0441 §2.1.1).
    pub Usually { Always = "always", Never = "never", Roster = "roster" }
}

/// What somebody wants archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    #[serde(rename = "default", with = "usually")]
    pub usually: Usually,
    /// Prepared JIDs; a bare one stands for its resources.
    #[serde(default)]
    pub always: BTreeSet<String>,
    #[serde(default)]
    pub never: BTreeSet<String>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { usually: Usually::Always, always: BTreeSet::new(), never: BTreeSet::new() }
    }
}

impl Preferences {
    /// Whether messages exchanged with `peer` are wanted (XEP-0441 §2.3); `in_roster` says of its bare JID whether the
    /// roster has it. What is said of a resource counts more than what is said of the bare JID, and `never` more than
    /// `always`.
    #[must_use]
    pub fn want(&self, peer: &Jid, in_roster: impl FnOnce(&str) -> bool) -> bool {
        for name in [peer.as_str(), peer.bare_str()] {
            if self.never.contains(name) {
                return false;
            }
            if self.always.contains(name) {
                return true;
            }
        }
        match self.usually {
            Usually::Always => true,
            Usually::Never => false,
            Usually::Roster => in_roster(peer.bare_str()),
        }
    }
}

/// As it is spelt on the wire.
mod usually {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Usually;

    pub(super) fn serialize<S: Serializer>(usually: &Usually, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(usually.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Usually, D::Error> {
        let text = String::deserialize(from)?;
        Usually::parse(&text).ok_or_else(|| de::Error::custom("always, never or roster"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(usually: Usually, always: &[&str], never: &[&str], peer: &str) -> bool {
        let list = |jids: &[&str]| jids.iter().map(|jid| (*jid).to_owned()).collect();
        let preferences = Preferences { usually, always: list(always), never: list(never) };
        preferences.want(&peer.parse().unwrap(), |jid| jid == "romeo@montague.example")
    }

    // Proves: XEP-0441 §2.1, §2.3.1
    #[test]
    fn lists_go_before_the_default_and_the_roster_is_asked_for_bare_jids() {
        use Usually::{Always, Never, Roster};
        let (romeo, orchard, paris) = ("romeo@montague.example", "romeo@montague.example/orchard", "paris@x.example/y");
        for peer in [romeo, orchard, paris] {
            assert!(wants(Always, &[], &[], peer) && !wants(Never, &[], &[], peer));
        }
        assert!(wants(Roster, &[], &[], romeo) && wants(Roster, &[], &[], orchard) && !wants(Roster, &[], &[], paris));
        assert!(wants(Never, &[romeo], &[], romeo) && wants(Never, &[romeo], &[], orchard));
        assert!(!wants(Always, &[], &[romeo], romeo) && !wants(Roster, &[], &[romeo], orchard));
        // A listed resource is that one alone.
        assert!(wants(Never, &[orchard], &[], orchard) && !wants(Never, &[orchard], &[], romeo));
        assert!(wants(Always, &[orchard], &[romeo], orchard) && !wants(Always, &[orchard], &[romeo], romeo));
        assert!(!wants(Always, &[romeo], &[romeo], romeo));
        // A domain is an address of its own.
        assert!(!wants(Never, &["montague.example"], &[], romeo));
    }

    /// What is stored is read by later versions.
    #[test]
    fn the_stored_form_stays() {
        let text = r#"{"default":"roster","always":["a@b"],"never":[]}"#;
        let read: Preferences = serde_json::from_str(text).unwrap();
        assert_eq!(read.usually, Usually::Roster);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<Preferences>(r#"{"default":"perhaps"}"#).is_err());
    }
}

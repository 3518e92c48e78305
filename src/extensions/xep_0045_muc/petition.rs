//! Who has asked for something lately: people who decide about it are not asked again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::jid::BareJid;

/// Petitions that are remembered at once.
const MOST: usize = 500;

/// What somebody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Petition {
    /// To speak (XEP-0045 §7.13).
    Voice,
    /// To become a member (§7.10).
    Membership,
}

impl Petition {
    /// When he may ask again.
    const fn wait(self) -> Duration {
        match self {
            Self::Voice => Duration::from_secs(60),
            Self::Membership => Duration::from_secs(24 * 3600),
        }
    }
}

/// All that are remembered.
#[derive(Debug, Default)]
pub(super) struct Petitions(BTreeMap<(BareJid, Petition), Timestamp>);

/// What a petition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Those who decide are to be told.
    New,
    /// They know it already.
    Known,
    /// Too many have asked for something.
    TooMany,
}

impl Petitions {
    /// Notes that somebody asks for something.
    pub(super) fn note(&mut self, user: &BareJid, what: Petition, now: Timestamp) -> Heard {
        let is_old = |what: Petition, since: Timestamp| now.since(since) >= what.wait();
        if self.0.len() >= MOST {
            self.0.retain(|(_, what), since| !is_old(*what, *since));
        }
        let is_full = self.0.len() >= MOST;
        let key = (user.clone(), what);
        match self.0.get_mut(&key) {
            Some(since) if is_old(what, *since) => {
                *since = now;
                Heard::New
            }
            Some(_) => Heard::Known,
            None if is_full => Heard::TooMany,
            None => {
                self.0.insert(key, now);
                Heard::New
            }
        }
    }

    /// It has been decided.
    pub(super) fn forget(&mut self, user: &BareJid, what: Petition) {
        self.0.remove(&(user.clone(), what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_again_and_again() {
        let mut petitions = Petitions::default();
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1000);
        let user = |number: usize| format!("u{number}@example.org").parse::<BareJid>().unwrap();
        let mut ask = |number, what, seconds| petitions.note(&user(number), what, at(seconds));
        assert_eq!(ask(0, Petition::Voice, 0), Heard::New);
        assert_eq!(ask(0, Petition::Voice, 59), Heard::Known);
        assert_eq!(ask(0, Petition::Membership, 59), Heard::New);
        assert_eq!(ask(0, Petition::Voice, 60), Heard::New);
        for number in 1..MOST - 1 {
            assert_eq!(ask(number, Petition::Voice, 61), Heard::New);
        }
        assert_eq!(ask(MOST, Petition::Voice, 61), Heard::TooMany);
        assert_eq!(ask(1, Petition::Voice, 61), Heard::Known);
        // What is old makes room.
        assert_eq!(ask(MOST, Petition::Voice, 121), Heard::New);
        petitions.forget(&user(MOST), Petition::Voice);
        assert_eq!(petitions.note(&user(MOST), Petition::Voice, at(121)), Heard::New);
    }
}

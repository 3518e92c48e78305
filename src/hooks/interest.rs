//! What only those sessions get that have asked for it.

use serde::{Deserialize, Serialize};

/// Something that a session may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// To be told when somebody is blocked or is not any more.
    Blocklist,
    /// Copies of the messages that other sessions of the account send and get.
    Copies,
}

/// Whether it wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    No,
}

/// What a session wants. It is kept for those that may be resumed, so the numbers must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interests(u8);

impl Interest {
    const fn bit(self) -> u8 {
        match self {
            Self::Blocklist => 1,
            Self::Copies => 2,
        }
    }
}

impl Interests {
    #[must_use]
    pub const fn has(self, interest: Interest) -> bool {
        self.0 & interest.bit() != 0
    }

    /// The same but for one of them.
    #[must_use]
    pub const fn with(self, interest: Interest, wanted: Wanted) -> Self {
        match wanted {
            Wanted::Yes => Self(self.0 | interest.bit()),
            Wanted::No => Self(self.0 & !interest.bit()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_wanted_or_not() {
        let none = Interests::default();
        let one = none.with(Interest::Copies, Wanted::Yes);
        assert!(one.has(Interest::Copies) && !one.has(Interest::Blocklist));
        let both = one.with(Interest::Blocklist, Wanted::Yes);
        assert!(both.has(Interest::Copies) && both.has(Interest::Blocklist));
        assert_eq!(both.with(Interest::Copies, Wanted::No).with(Interest::Blocklist, Wanted::No), none);
        // As they are kept.
        assert_eq!(serde_json::to_string(&both).unwrap(), "3");
        assert_eq!(serde_json::from_str::<Interests>("2").unwrap(), one);
    }
}

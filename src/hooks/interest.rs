//! What only those sessions get that have asked for it.

use serde::{Deserialize, Serialize};

/// Something that a session may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// To be told when somebody is blocked or is not any more.
    Blocklist,
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
        let one = none.with(Interest::Blocklist, Wanted::Yes);
        assert!(one.has(Interest::Blocklist) && !none.has(Interest::Blocklist));
        assert_eq!(one.with(Interest::Blocklist, Wanted::No), none);
        // As they are kept.
        assert_eq!(serde_json::to_string(&one).unwrap(), "1");
        assert_eq!(serde_json::from_str::<Interests>("1").unwrap(), one);
    }
}

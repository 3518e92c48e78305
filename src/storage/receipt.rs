//! The number that says when a job is safe.

/// The number of a submitted job. Receipts grow in the order of submission, so the larger of two covers both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Receipt(u64);

impl Receipt {
    /// Nothing was written; always durable.
    pub const NONE: Self = Self(0);

    /// The receipt that covers this one and `other`.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.0 < other.0 { other } else { self }
    }

    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

//! What becomes of the servers of other domains, for whoever keeps something that depends on them.

/// A change between a domain of ours and another one. For each pair of domains the two follow each other, [`PeerChange::Lost`]
/// first, and the second not more often than every few seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerChange {
    /// A stream with the other server broke, or none could be had: what either side sent lately may not have arrived, and
    /// the other server may have forgotten everything that it had in memory. It may be there all the same.
    Lost,
    /// It has been reached again, or has reached us: whatever depends on it can be asked for anew.
    Back,
}

/// Hears of changes between a domain of ours and another one, in this order; waits for nothing.
pub(super) type Hearer = Box<dyn Fn(&str, &str, PeerChange) + Send + Sync>;

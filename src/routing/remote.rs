//! The seam to other domains' servers.

use std::sync::Arc;

use crate::stanza::Stanza;

/// A local and a remote domain: stanzas between them keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    pub local: Arc<str>,
    pub remote: Arc<str>,
}

/// Takes stanzas for other domains; implemented by `federation`.
pub trait RemoteDelivery: Send + Sync {
    /// Queues `stanzas` in order; never blocks. Each is delivered or answered with an error.
    fn send(&self, pair: &Pair, stanzas: Vec<Stanza<'static>>);
}

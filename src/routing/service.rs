//! The seam to whatever serves a whole domain and has no accounts.

use std::pin::Pin;

use crate::hooks::Hosted;
use crate::stanza::Stanza;

use super::batch::Batch;

/// Serves a domain: every stanza to an address of it comes here, whatever the address is.
///
/// A stanza is taken in the task that routes it, under a lock of the service's own. Nothing here
/// waits: what is to be done later, or by somebody else, is noted in the batch.
pub trait Service: Send + Sync {
    /// What a message waits for before it is taken, if the service could only remember it so far: whoever sends it would
    /// be told that it is in safe hands.
    fn ready(&self, _: &Stanza<'_>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }

    /// Takes a stanza whose `from` is settled; gives what answers it at once. Nobody answers an error.
    fn take(&self, stanza: &Stanza<'_>, batch: &mut Batch) -> Option<Stanza<'static>>;

    /// What the local domain `domain` says of it in its list of services, if it is to be in there.
    fn listed(&self, domain: &str) -> Option<Hosted>;
}

//! The one thing that federation wants from the rest of the server: to take what arrives.

use crate::federation::Federation;
use crate::federation::counting::Note;
use crate::hooks::Acknowledgement;
use crate::net::BoxFuture;
use crate::routing::{Origin, Pair, Router};
use crate::stanza::Stanza;
use crate::storage::Receipt;
use crate::stream::StreamError;

/// Takes stanzas that arrived, and errors for stanzas that could not leave.
pub trait Inbound: Send + Sync {
    /// Whether `domain` (prepared) is served here.
    fn is_local(&self, domain: &str) -> bool;

    /// The words in which servers acknowledge stanzas, if they are installed.
    fn acknowledgement(&self) -> Option<&dyn Acknowledgement>;

    /// Routes what one wake-up of one stream brought, in order. The stream has proven `pair`, and all
    /// stanzas are from and to its domains. If the peer is told what is in safe hands, that is so once the receipt is
    /// durable, and `note` is written with what they cause.
    fn arrived<'a>(
        &'a self,
        pair: &'a Pair,
        stanzas: Vec<Stanza<'a>>,
        note: Option<Note>,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>>;

    /// Routes errors to the local senders of stanzas that were not sent.
    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()>;

    /// A stream of `pair` broke, whichever side had opened it, or none could be had. What was said on it may be lost, and
    /// the other server may have forgotten everything.
    fn lost(&self, pair: &Pair);

    /// A stream of `pair` was established, by whichever side.
    fn reached(&self, pair: &Pair);
}

impl Inbound for Router {
    fn is_local(&self, domain: &str) -> bool {
        Self::is_local(self, domain)
    }

    fn acknowledgement(&self) -> Option<&dyn Acknowledgement> {
        Self::acknowledgement(self)
    }

    fn arrived<'a>(
        &'a self,
        pair: &'a Pair,
        stanzas: Vec<Stanza<'a>>,
        note: Option<Note>,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>> {
        Box::pin(async move {
            self.pressure().await;
            let mut batch = self.batch();
            if let Some(note) = note {
                batch.follow(Box::new(note));
            }
            for stanza in stanzas {
                let origin = Origin::Remote { local: &pair.local, remote: &pair.remote };
                self.route(origin, stanza, &mut batch).await?;
                batch.routed();
            }
            Ok(batch.finish())
        })
    }

    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut batch = self.batch();
            for error in errors {
                self.note_untold(&error);
                // What the server itself sends has addresses that need no check.
                let _ = self.route(Origin::Server, error, &mut batch).await;
            }
            batch.finish();
        })
    }

    fn lost(&self, pair: &Pair) {
        Self::lost(self, pair);
    }

    fn reached(&self, pair: &Pair) {
        Self::reached(self, pair);
    }
}

impl Federation {
    /// A stream of `pair` broke, or none could be had.
    pub(crate) fn lost(&self, pair: &Pair) {
        self.inbound().iter().for_each(|inbound| inbound.lost(pair));
    }

    /// A stream of `pair` was established.
    pub(crate) fn reached(&self, pair: &Pair) {
        self.inbound().iter().for_each(|inbound| inbound.reached(pair));
    }
}

//! The one thing that federation wants from the rest of the server: to take what arrives.

use crate::federation::Federation;
use crate::federation::counting::Note;
use crate::hooks::Acknowledgement;
use crate::net::BoxFuture;
use crate::routing::{Origin, Pair, Router};
use crate::stanza::Stanza;
use crate::storage::Receipt;
use crate::stream::StreamError;

/// What another server is told of what it has sent, and when.
pub enum Told {
    /// Nothing: whatever is with us counts as delivered.
    Nothing,
    /// That it is in safe hands, once it is.
    Safe,
    /// How much of it is (XEP-0198); that is written with what it causes.
    Counted(Note),
}

/// Takes stanzas that arrived, and errors for stanzas that could not leave.
pub trait Inbound: Send + Sync {
    /// Whether `domain` (prepared) is served here.
    fn is_local(&self, domain: &str) -> bool;

    /// The words in which servers acknowledge stanzas, if they are installed.
    fn acknowledgement(&self) -> Option<&dyn Acknowledgement>;

    /// Routes what one wake-up of one stream brought, in order. The stream has proven `pair`, and all
    /// stanzas are from and to its domains. What the peer is `told` to be in safe hands is once the receipt is durable.
    fn arrived<'a>(
        &'a self,
        pair: &'a Pair,
        stanzas: Vec<Stanza<'a>>,
        told: Told,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>>;

    /// Routes errors to the local senders of stanzas that were not sent.
    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()>;

    /// A stream of `pair` broke, whichever side had opened it. What was said on it may be lost, and the other server may have
    /// forgotten everything.
    fn lost(&self, pair: &Pair);

    /// We wanted a stream of `pair` and none could be had.
    fn out_of_reach(&self, pair: &Pair);

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
        told: Told,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>> {
        Box::pin(async move {
            self.pressure().await;
            let mut batch = self.batch();
            match told {
                Told::Nothing => {}
                Told::Safe => batch.promise(),
                Told::Counted(note) => batch.follow(Box::new(note)),
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

    fn out_of_reach(&self, pair: &Pair) {
        Self::out_of_reach(self, pair);
    }

    fn reached(&self, pair: &Pair) {
        Self::reached(self, pair);
    }
}

impl Federation {
    /// A stream of `pair` broke.
    pub(crate) fn lost(&self, pair: &Pair) {
        self.inbound().iter().for_each(|inbound| inbound.lost(pair));
    }

    /// None could be had.
    pub(crate) fn out_of_reach(&self, pair: &Pair) {
        self.inbound().iter().for_each(|inbound| inbound.out_of_reach(pair));
    }

    /// A stream of `pair` was established.
    pub(crate) fn reached(&self, pair: &Pair) {
        self.inbound().iter().for_each(|inbound| inbound.reached(pair));
    }
}

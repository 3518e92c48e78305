//! The one thing that federation wants from the rest of the server: to take what arrives.

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
    /// durable, and what is to be noted with it is written.
    fn arrived<'a>(
        &'a self,
        pair: &'a Pair,
        stanzas: Vec<Stanza<'a>>,
        note: Option<Note<'a>>,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>>;

    /// Routes errors to the local senders of stanzas that were not sent.
    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()>;
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
        note: Option<Note<'a>>,
    ) -> BoxFuture<'a, Result<Receipt, StreamError>> {
        Box::pin(async move {
            self.pressure().await;
            let mut batch = self.batch();
            if note.is_some() {
                batch.promise();
            }
            for stanza in stanzas {
                let origin = Origin::Remote { local: &pair.local, remote: &pair.remote };
                self.route(origin, stanza, &mut batch).await?;
            }
            if let Some(note) = note.filter(|_| batch.has_written()) {
                batch.note(|writes| note.write(writes));
            }
            Ok(batch.finish())
        })
    }

    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut batch = self.batch();
            for error in errors {
                // What the server itself sends has addresses that need no check.
                let _ = self.route(Origin::Server, error, &mut batch).await;
            }
            batch.finish();
        })
    }
}

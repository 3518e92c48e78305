//! The one thing that federation wants from the rest of the server: to take what arrives.

use crate::net::BoxFuture;
use crate::routing::{Origin, Pair, Router};
use crate::stanza::Stanza;
use crate::stream::StreamError;

/// Takes stanzas that arrived, and errors for stanzas that could not leave.
pub trait Inbound: Send + Sync {
    /// Whether `domain` (prepared) is served here.
    fn is_local(&self, domain: &str) -> bool;

    /// Routes what one wake-up of one stream brought, in order. The stream has proven `pair`, and all
    /// stanzas are from and to its domains.
    fn arrived<'a>(&'a self, pair: &'a Pair, stanzas: Vec<Stanza<'a>>) -> BoxFuture<'a, Result<(), StreamError>>;

    /// Routes errors to the local senders of stanzas that were not sent.
    fn bounced(&self, errors: Vec<Stanza<'static>>) -> BoxFuture<'_, ()>;
}

impl Inbound for Router {
    fn is_local(&self, domain: &str) -> bool {
        Self::is_local(self, domain)
    }

    fn arrived<'a>(&'a self, pair: &'a Pair, stanzas: Vec<Stanza<'a>>) -> BoxFuture<'a, Result<(), StreamError>> {
        Box::pin(async move {
            self.pressure().await;
            let mut batch = self.batch();
            for stanza in stanzas {
                let origin = Origin::Remote { local: &pair.local, remote: &pair.remote };
                self.route(origin, stanza, &mut batch).await?;
            }
            batch.finish();
            Ok(())
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

//! What goes by itself: archived messages that are too old or too many, what is left of removed accounts.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::crash;
use crate::hooks::operation::Nothing;
use crate::routing::operations::ACCOUNT_TIDY;
use crate::storage::{End, Error, Marks, Position, Range, View, Writes};

/// How often the oldest messages are looked at.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Entries that are looked at together, so that nobody else waits long.
const PORTION: usize = 512;

impl Node {
    /// Completes what was begun with removed accounts, and forgets them in the end, for ever.
    pub async fn tidy_accounts(self: Arc<Self>) {
        loop {
            if let Err(error) = self.operations.call(&ACCOUNT_TIDY, Nothing {}).await {
                tracing::warn!(%error, "removed accounts could not be tidied up");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Deletes what is too old or too much, for ever.
    pub async fn tidy_archive(self: Arc<Self>) {
        loop {
            let retention = **self.settings.retention.load();
            if let Some(retention) = retention
                && let Err(error) = self.expire(retention).await
            {
                tracing::warn!(%error, "old messages could not be deleted");
            }
            let most = **self.settings.archive_messages.load();
            if let Some(most) = most
                && let Err(error) = self.thin(most).await
            {
                tracing::warn!(%error, "surplus messages could not be deleted");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Leaves no account more than `most` archived messages; the oldest go first.
    ///
    /// # Errors
    /// What storage says.
    pub async fn thin(&self, most: u64) -> Result<(), Error> {
        for (owner, mut surplus) in self.storage.read(move |view| view.crowded(most)).await? {
            while surplus > 0 {
                let portion = usize::try_from(surplus).unwrap_or(PORTION).min(PORTION);
                let whose = owner.clone();
                let oldest = move |view: &View<'_>| view.archived(&whose, &Range::default(), End::Oldest, portion);
                let page = self.storage.read(oldest).await?;
                let mut writes = Writes::new();
                let mut gone = 0;
                for position in page.entries.iter().map(|stored| stored.position).chain(page.damaged) {
                    writes.unmark(&owner, position, Marks::ARCHIVED);
                    gone += 1;
                }
                if gone == 0 {
                    break;
                }
                surplus = surplus.saturating_sub(gone);
                let durable = self.storage.durable(self.storage.submit(writes)).await;
                durable.map_err(|lost| Error::Engine(lost.to_string()))?;
            }
        }
        Ok(())
    }

    /// Deletes archived messages that are older than `retention`.
    ///
    /// # Errors
    /// What storage says.
    pub async fn expire(&self, retention: Duration) -> Result<(), Error> {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let before = u64::try_from(self.clock.now().unix_ms().saturating_sub(retention)).unwrap_or_default();
        let mut after = Position::new(0);
        loop {
            let expired = self.storage.read(move |view| view.expired(after, before, PORTION)).await?;
            let mut writes = Writes::new();
            for (owner, position) in &expired.entries {
                writes.unmark(owner, *position, Marks::ARCHIVED);
            }
            let submitted = self.storage.submit(writes);
            if !expired.entries.is_empty() {
                crash::at(crash::Point::Retention);
            }
            self.storage.durable(submitted).await.map_err(|lost| Error::Engine(lost.to_string()))?;
            let Some(more) = expired.more else { return Ok(()) };
            after = more;
        }
    }
}

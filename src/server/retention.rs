//! Archived messages go when they are too old.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::storage::{Error, Marks, Position, Writes};

/// How often the oldest messages are looked at.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Entries that are looked at together, so that nobody else waits long.
const PORTION: usize = 512;

impl Node {
    /// Deletes what is too old, for ever.
    pub async fn tidy_archive(self: Arc<Self>) {
        loop {
            let retention = **self.settings.retention.load();
            if let Some(retention) = retention
                && let Err(error) = self.expire(retention).await
            {
                tracing::warn!(%error, "old messages could not be deleted");
            }
            tokio::time::sleep(INTERVAL).await;
        }
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
            let durable = self.storage.durable(self.storage.submit(writes)).await;
            durable.map_err(|lost| Error::Engine(lost.to_string()))?;
            let Some(more) = expired.more else { return Ok(()) };
            after = more;
        }
    }
}

//! What goes by itself: archived messages that are too old or too many, what is left of removed accounts.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::settings::Keeping;
use crate::crash;
use crate::hooks::operation::Nothing;
use crate::jid::BareJid;
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
            if let Err(error) = self.tidy_archives().await {
                tracing::warn!(%error, "old and surplus messages could not be deleted");
            }
            // Whoever changes what is kept does not want to wait for an hour.
            let _ = tokio::time::timeout(INTERVAL, self.settings.keeping_changed.notified()).await;
        }
    }

    /// Deletes what is too old or too much at this moment.
    ///
    /// # Errors
    /// What storage says first. What is wrong with one domain keeps nobody else's messages.
    pub async fn tidy_archives(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for Keeping { domain, retention, most } in &*self.settings.keeping.get() {
            if let Some(retention) = retention {
                result = result.and(self.expire(domain, *retention).await);
            }
            if let Some(most) = most {
                result = result.and(self.thin(domain, *most).await);
            }
        }
        result
    }

    /// Leaves no account or room of `domain` more than `most` archived messages; the oldest go first.
    async fn thin(&self, domain: &str, most: u64) -> Result<(), Error> {
        let domain = domain.to_owned();
        for (owner, mut surplus) in self.storage.read(move |view| view.crowded(&domain, most)).await? {
            while surplus > 0 {
                let portion = usize::try_from(surplus).unwrap_or(PORTION).min(PORTION);
                let whose = owner.clone();
                let oldest = move |view: &View<'_>| view.archived(&whose, &Range::default(), End::Oldest, portion);
                let page = self.storage.read(oldest).await?;
                let gone: Vec<_> = page.entries.iter().map(|stored| stored.position).chain(page.damaged).collect();
                if gone.is_empty() {
                    break;
                }
                surplus = surplus.saturating_sub(gone.len() as u64);
                self.forget(gone.into_iter().map(|position| (owner.clone(), position)).collect()).await?;
            }
        }
        Ok(())
    }

    /// Deletes archived messages of accounts or rooms of `domain` that are older than `retention`.
    async fn expire(&self, domain: &str, retention: Duration) -> Result<(), Error> {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let before = u64::try_from(self.clock.now().unix_ms().saturating_sub(retention)).unwrap_or_default();
        let mut from = None;
        loop {
            let (domain, owner) = (domain.to_owned(), from.take());
            let expired = move |view: &View<'_>| view.expired(&domain, owner.as_ref(), before, PORTION);
            let expired = self.storage.read(expired).await?;
            self.forget(expired.entries).await?;
            let Some(more) = expired.more else { return Ok(()) };
            from = Some(more);
        }
    }

    /// The archives do not show these any more.
    async fn forget(&self, entries: Vec<(BareJid, Position)>) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::new();
        for (owner, position) in &entries {
            writes.unmark(owner, *position, Marks::ARCHIVED);
        }
        // Those of one account come together.
        let mut owners: Vec<_> = entries.iter().map(|(owner, _)| owner).collect();
        owners.dedup();
        owners.iter().for_each(|owner| writes.trim(owner));
        let submitted = self.storage.submit(writes);
        crash::at(crash::Point::Retention);
        Ok(self.storage.durable(submitted).await?)
    }
}

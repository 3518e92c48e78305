//! The operation that ends the server.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::routing::Router;

use super::sessions::tell;

/// Stops the server in order after a while, for good or to start again.
pub const SERVICE_STOP: Operation<Stop, Nothing> = Operation::new("service.stop", Role::Operator);

/// How the server is to stop.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stop {
    /// In so many seconds.
    pub after: u64,
    pub then: Then,
    /// What everybody who is online reads before, in every domain.
    pub announcement: Option<String>,
}

/// What comes after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    Nothing,
    /// The same program with the same arguments.
    Start,
}

/// Tells whoever runs the server that it is to end.
#[derive(Debug, Default)]
pub struct Ending {
    asked: RwLock<Option<Then>>,
    told: Notify,
}

impl Ending {
    /// Waits until the server is to end.
    pub async fn wait(&self) -> Then {
        loop {
            let told = self.told.notified();
            if let Some(then) = *self.asked.read().unwrap_or_else(PoisonError::into_inner) {
                return then;
            }
            told.await;
        }
    }

    fn ask(&self, then: Then) {
        self.asked.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(then);
        self.told.notify_waiters();
    }

    /// Registers the operation.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(self: &Arc<Self>, router: &Arc<Router>, operations: &mut Operations) -> Result<(), NameTaken> {
        let (it, router) = (Arc::clone(self), Arc::clone(router));
        operations.register(&SERVICE_STOP, move |asked| stop(Arc::clone(&it), Arc::clone(&router), asked))
    }
}

async fn stop(ending: Arc<Ending>, router: Arc<Router>, asked: Stop) -> Result<Nothing, OperationError> {
    if let Some(text) = asked.announcement.filter(|text| !text.is_empty()) {
        for domain in router.domains() {
            tell(&router, &domain, &text).await?;
        }
    }
    tracing::info!(after = asked.after, then = ?asked.then, "an administrator ends the server");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(asked.after)).await;
        ending.ask(asked.then);
    });
    Ok(Nothing {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_who_comes_later_too() {
        let ending = Arc::new(Ending::default());
        let waiting = tokio::spawn({
            let ending = Arc::clone(&ending);
            async move { ending.wait().await }
        });
        tokio::task::yield_now().await;
        ending.ask(Then::Start);
        ending.ask(Then::Nothing);
        assert_eq!(waiting.await.unwrap(), Then::Start);
        assert_eq!(ending.wait().await, Then::Start, "the first one counts");
    }
}

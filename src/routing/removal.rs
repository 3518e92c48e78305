//! The end of an account, as far as those in memory are concerned.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::accounts::directory::Standing;
use crate::jid::BareJid;
use crate::stream::{StreamCondition, StreamError};

use super::Router;
use super::account::Account;

/// How long those who have something to do with an account are waited for; none of them takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether they are ready.
const STEP: Duration = Duration::from_millis(5);

impl Router {
    /// Ends the sessions of an account whose removal has begun; its contacts learn that both subscriptions
    /// are over. When this returns nothing more is written for it, so that its name can be given to somebody else.
    pub async fn remove_account(&self, jid: &BareJid) {
        self.supersede(jid, |_| true).await;
        let account = match self.accounts.leave(jid).await {
            Ok(Some(account)) => account,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "an account that is removed could not be read"),
        };
        let contacts: Vec<_> = {
            let mut state = account.lock();
            state.gone = true;
            state.contacts.drain()
        };
        let mut batch = self.batch();
        for (contact, entry) in contacts {
            self.part(&account, &contact, entry.state().remove(), &mut batch).await;
        }
        for resource in &account.lock().resources {
            resource.ring.close(StreamError::new(StreamCondition::NotAuthorized, "the account was removed"));
        }
        batch.finish();
        self.let_go(account).await;
    }

    /// Nothing is left of an account.
    pub fn removed(&self, jid: &BareJid) {
        self.accounts.left(jid);
    }

    /// Waits until everybody who has the account in his hands has handed over to storage what he has for it: its
    /// sessions have ended, messages that were on their way past its log are written.
    async fn let_go(&self, account: Arc<Account>) {
        let deadline = Instant::now() + PATIENCE;
        let behind = self.storage.slot().position();
        while (Arc::strong_count(&account) > 1 || self.storage.settled() < behind) && Instant::now() < deadline {
            sleep(STEP).await;
        }
    }

    /// Lets the owner of an account in from now on, or ends all that he is connected with.
    pub async fn stand(&self, jid: &BareJid, standing: Standing) {
        let mut batch = self.batch();
        // Loaded in any case: somebody may be reading it who does not see the change yet.
        if let Ok(Some(account)) = self.load(jid, &mut batch).await {
            let mut state = account.lock();
            state.standing = standing;
            let closed = state.resources.iter().filter(|_| standing == Standing::Disabled);
            for resource in closed {
                resource.ring.close(StreamError::new(StreamCondition::NotAuthorized, "the account is disabled"));
            }
        }
    }
}

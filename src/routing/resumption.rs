//! Sessions that outlive their connection: confirming, leaving, coming back (the mechanism behind
//! stream management).

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::hooks::{Attention, ClientState, TooHigh};
use crate::jid::BareJid;
use crate::storage::Receipt;

use super::Router;
use super::batch::Batch;
use super::binding::Binding;
use super::held::judge;
use super::retained::Handled;
use super::ring::Talks;

impl Router {
    /// Takes over the session of `user` that is called `name`, once its old connection has come to
    /// an end.
    ///
    /// # Errors
    /// There is no such session, any more or at all; if it is remembered, with what had come from its
    /// client.
    pub async fn claim(self: &Arc<Self>, user: &BareJid, name: &str) -> Result<Binding, Option<Handled>> {
        let Ok(Some(account)) = self.load(user, &mut self.batch()).await else { return Err(None) };
        let claimed = account.lock().resources.iter().find_map(|resource| resource.ring.claim(name));
        let binding = match claimed {
            Some(binding) => binding.await.ok(),
            None => self.revive(&account, name),
        };
        binding.ok_or_else(|| account.lock().lapsed.as_ref().and_then(|lapsed| lapsed.handled(name)))
    }
}

impl Binding {
    /// The client has handled `count` stanzas since they are counted, modulo 2^32.
    ///
    /// # Errors
    /// It was never sent as many.
    pub async fn confirm(&self, count: u32, batch: &mut Batch) -> Result<(), TooHigh> {
        if self.ring.confirm(count)? {
            self.note_requests(None, batch);
        }
        self.go_on(batch).await;
        Ok(())
    }

    /// The client says whether anybody looks at it.
    pub fn attend(&self, attention: Attention, words: &ClientState) {
        self.ring.attend(judge(attention, words));
    }

    /// The connection is lost and the session waits; `handled` is what has come over it.
    pub fn leave(&self, handled: Handled) {
        self.ring.leave(handled);
        self.tell_of_unconfirmed();
    }

    /// Waits for another connection to claim the session; `None` if the session is to end before.
    pub async fn heir(&self) -> Option<oneshot::Sender<Self>> {
        poll_fn(|context| self.ring.poll_heir(context)).await
    }

    /// The client is back and has handled `count` stanzas: the others go out again, once what is returned is durable.
    ///
    /// # Errors
    /// It was never sent as many; the session still waits.
    pub async fn resume(&mut self, count: u32, batch: &mut Batch) -> Result<Receipt, TooHigh> {
        self.ring.resume(count)?;
        self.ring.heard(self.router.clock.now());
        let mut receipt = Receipt::NONE;
        if let Some(session) = self.restored.take() {
            Box::pin(self.renew(*session, count, batch)).await;
            receipt = batch.flush();
        }
        self.go_on(batch).await;
        Ok(receipt)
    }

    /// What was confirmed is delivered, and there may be room for more.
    async fn go_on(&self, batch: &mut Batch) {
        self.delivered(Talks::No, batch);
        // It stays there until it has been announced: whoever waits for this may be cut off.
        let arriving = self.account.lock().resource_mut(self.id).and_then(|resource| resource.arriving.clone());
        if let Some(arriving) = arriving {
            Box::pin(self.router.arrive(self, *arriving, batch)).await;
        }
    }
}

//! A client that has authenticated asks for the session that it had before its connection was lost.

use crate::crash;
use crate::hooks::Acknowledgement;
use crate::jid::{BareJid, Jid};
use crate::routing::{Binding, Handled, modulo};
use crate::stanza::Condition;

use super::context::Context;
use super::detached::detach;
use super::dialogue::Dialogue;
use super::handshake::{Opened, shutdown};
use super::inbound::Inbound;
use super::wire::End;

/// What a client asks for.
pub(super) struct Previous {
    /// What the session is called.
    pub(super) name: String,
    /// How many of its stanzas the client has handled, modulo 2^32.
    pub(super) handled: u32,
}

/// What comes of that.
pub(super) enum Outcome {
    Resumed(Resumed),
    /// There is no such session, which the client is to be told in these words.
    Failed(String),
}

/// A session that has been taken over and goes on once its client knows.
pub(super) struct Resumed {
    guard: Guard,
    /// What the client is to be told.
    pub(super) answer: String,
}

/// Takes the session over.
pub(super) async fn resume(
    context: &Context,
    (user, previous): (&BareJid, Previous),
    words: &dyn Acknowledgement,
) -> Result<Outcome, End> {
    let router = &context.router;
    let binding = match router.claim(user, &previous.name).await {
        Ok(binding) => binding,
        // It is there after the next start.
        Err(_) if router.is_stopping() => return Err(shutdown()),
        Err(lapsed) => {
            // What is not durable may never be, so it is not spoken of.
            let handled = lapsed.filter(|handled| router.is_durable(handled.receipt));
            let count = handled.map(|handled| modulo(handled.count));
            return Ok(Outcome::Failed(words.failed(Condition::ItemNotFound, count)));
        }
    };
    // Whatever happens until the client knows that it has its session back, it may try again.
    let handled = binding.ring.away().unwrap_or_default();
    let mut guard = Guard { binding: Some(binding), handled };
    if let Some(binding) = &mut guard.binding {
        let mut batch = router.batch();
        // What has come before counts, although it may be on its way to storage still: otherwise the
        // client would send it again.
        binding.handled(handled.count, &mut batch);
        if router.durable(batch.flush().max(handled.receipt)).await.is_err() {
            return Err(End::Lost);
        }
        let renewed = binding.resume(previous.handled, &mut batch).await.map_err(|fault| words.too_high(fault))?;
        if router.durable(renewed).await.is_err() {
            return Err(End::Lost);
        }
    }
    crash::at(crash::Point::Resume);
    let answer = words.resumed(&previous.name, modulo(handled.count));
    Ok(Outcome::Resumed(Resumed { guard, answer }))
}

impl Resumed {
    /// The address of the session.
    pub(super) fn jid(&self) -> Option<&Jid> {
        self.guard.binding.as_ref().map(|binding| &binding.jid)
    }

    /// Sends what was said, after which the session is its client's again.
    pub(super) async fn begin(mut self, dialogue: &mut Dialogue) -> Result<Option<Opened>, End> {
        dialogue.flush().await?;
        crash::at(crash::Point::Resume);
        let inbound = Box::new(Inbound::new(self.guard.handled.count, true));
        Ok(self.guard.binding.take().map(|binding| Opened { binding, inbound: Some(inbound) }))
    }
}

/// Lets the session wait again when it goes.
struct Guard {
    binding: Option<Binding>,
    handled: Handled,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(binding) = self.binding.take() {
            detach(binding, self.handled);
        }
    }
}

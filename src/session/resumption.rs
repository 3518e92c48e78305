//! A client that has authenticated asks for the session that it had before its connection was lost.

use crate::crash;
use crate::hooks::Acknowledgement;
use crate::jid::BareJid;
use crate::routing::{Binding, Handled, modulo};
use crate::stanza::Condition;

use super::detached::detach;
use super::dialogue::Dialogue;
use super::handshake::Context;
use super::inbound::Inbound;
use super::wire::End;

/// What a client asks for.
pub(super) struct Previous {
    /// What the session is called.
    pub(super) name: String,
    /// How many of its stanzas the client has handled, modulo 2^32.
    pub(super) handled: u32,
}

/// Takes the session over and says so; `None` if it does not exist, of which the client was told.
pub(super) async fn resume(
    context: &Context,
    dialogue: &mut Dialogue,
    (user, previous): (&BareJid, Previous),
    words: &dyn Acknowledgement,
) -> Result<Option<(Binding, Box<Inbound>)>, End> {
    let router = &context.router;
    let binding = match router.claim(user, &previous.name).await {
        Ok(binding) => binding,
        Err(lapsed) => {
            // What is not durable may never be, so it is not spoken of.
            let handled = lapsed.filter(|handled| router.is_durable(handled.receipt));
            let count = handled.map(|handled| modulo(handled.count));
            dialogue.say(&words.failed(Condition::ItemNotFound, count));
            return Ok(None);
        }
    };
    // Whatever happens until the client knows that it has its session back, it may try again.
    let handled = binding.ring.away().unwrap_or_default();
    let mut guard = Guard { binding: Some(binding), handled };
    if let Some(binding) = &mut guard.binding {
        let mut batch = router.batch();
        // What has come before counts, although it may be on its way to storage still: otherwise the
        // client would send it again.
        binding.handled(&previous.name, handled.count, &mut batch);
        if router.durable(batch.flush().max(handled.receipt)).await.is_err() {
            return Err(End::Lost);
        }
        binding.resume(previous.handled, &mut batch).await.map_err(|fault| words.too_high(fault))?;
    }
    crash::at(crash::Point::Resume);
    dialogue.say(&words.resumed(&previous.name, modulo(handled.count)));
    dialogue.flush().await?;
    crash::at(crash::Point::Resume);
    Ok(guard.binding.take().map(|binding| (binding, Box::new(Inbound::new(handled.count, Some(previous.name))))))
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

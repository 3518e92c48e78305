//! A session whose connection is lost: it keeps its resource and what is written to it until its
//! client comes back on another connection, or for as long as was agreed.

use crate::crash;
use crate::routing::{Binding, Handled};

/// Lets a session wait, in a task of its own: the connection's place is free for somebody else. A
/// session that is not to wait ends here. Says whether it waits.
pub(super) fn detach(binding: Binding, handled: Handled) -> bool {
    let runtime = tokio::runtime::Handle::try_current();
    let (Some(_), Ok(runtime)) = (binding.ring.resumption(), runtime) else { return false };
    binding.leave(handled);
    crash::at(crash::Point::Detach);
    runtime.spawn(wait(binding));
    true
}

/// Whoever drops the binding ends the session, so it does not matter how this ends.
async fn wait(mut binding: Binding) {
    let Some(resumption) = binding.ring.resumption() else { return };
    let mut end = std::pin::pin!(tokio::time::sleep(resumption.time));
    loop {
        let heir = tokio::select! {
            biased;
            heir = binding.heir() => heir,
            () = &mut end => return,
        };
        let Some(heir) = heir else { return };
        match heir.send(binding) {
            Ok(()) => return,
            // Meanwhile that connection was lost, too.
            Err(back) => binding = back,
        }
    }
}

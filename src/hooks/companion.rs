//! Presence that sessions have told somebody elsewhere who need not be a contact, as occupants tell a room (RFC 6121 §4.6): a
//! companion learns what passes, and sees to it that both sides go on believing the same.

use crate::jid::Jid;
use crate::stanza::Stanza;

/// Whether a stanza goes on to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    On,
    Ends,
}

/// Goes with sessions to other servers. Nothing here waits, and nothing calls routing before it has returned.
pub trait Companion: Send + Sync {
    /// A session tells its presence, available or not, to somebody of another server.
    fn told(&self, presence: &Stanza<'_>);

    /// A session hears a presence or a groupchat message from an address to whose bare JID it has told its presence.
    fn hears(&self, session: &Jid, stanza: &Stanza<'_>) -> Passage;

    /// A session has become unavailable to those whom it has told its presence.
    fn left(&self, session: &Jid, told: &[Jid]);
}

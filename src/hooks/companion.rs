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

/// Where somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Behind a service of this server.
    Here,
    /// On another server.
    Elsewhere,
}

/// Goes with sessions to other servers. Nothing here waits, and nothing calls routing before it has returned.
pub trait Companion: Send + Sync {
    /// A session tells its presence, available or not, to somebody who has no account here; whether it is in a room with
    /// that, or wants to be.
    fn told(&self, presence: &Stanza<'_>, there: There) -> bool;

    /// The client of a session is back that was in a room when this server ended, as this occupant; this is the presence
    /// that it announces, if it is available.
    fn back(&self, session: &Jid, occupant: &Jid, there: There, presence: Option<&Stanza<'_>>);

    /// A session hears a presence or a groupchat message from an address to whose bare JID it has told its presence.
    fn hears(&self, session: &Jid, stanza: &Stanza<'_>) -> Passage;

    /// A session has become unavailable to somebody whom it has told its presence.
    fn left(&self, session: &Jid, to: &Jid);

    /// It has become unavailable to everybody.
    fn gone(&self, session: &Jid);
}

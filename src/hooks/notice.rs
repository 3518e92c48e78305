//! Clients that are not there to see what comes, and that a service of theirs tells: routing finds them, the words are an
//! extension's.

use crate::accounts::push::Registration;
use crate::jid::BareJid;
use crate::stanza::Stanza;

/// A message has come that these clients have not seen.
#[derive(Debug)]
pub struct Notice<'a, 's> {
    pub account: &'a BareJid,
    pub stanza: &'a Stanza<'s>,
    /// There is at least one.
    pub absent: Vec<Registration>,
    /// Messages that wait for the account because nobody is there.
    pub waiting: usize,
}

/// How they are told.
pub(super) struct Notifier {
    /// Whether a message is worth it.
    pub(super) is_worth: fn(&Stanza<'_>) -> bool,
    /// Waits for nothing.
    pub(super) tell: Box<dyn Fn(&Notice<'_, '_>) + Send + Sync>,
}

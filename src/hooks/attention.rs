//! Whether somebody looks at a client, and what may wait until somebody does: the words and the judgement are an
//! extension's, the waiting is routing's.

use crate::stanza::Stanza;
use crate::xml::Element;

/// What a client says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    Active,
    Inactive,
}

/// How urgent a stanza is for a client that nobody looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It goes out at once, behind everything that has waited.
    Now,
    /// It may wait.
    Later,
    /// It may wait, and once another of this kind has come from the same sender it is worth nothing any more.
    Latest,
}

/// The words of clients, and the judgement.
#[derive(Debug, Clone, Copy)]
pub struct ClientState {
    /// What an element that is no stanza says; `None` if it does not belong here.
    pub read: fn(&Element) -> Option<Attention>,
    pub urgency: fn(&Stanza<'_>) -> Urgency,
}

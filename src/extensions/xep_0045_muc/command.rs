//! What somebody wants of a room, read from a stanza once (`wire`).

use crate::clock::Timestamp;
use crate::jid::Jid;
use crate::stanza::Stanza;
use crate::storage::Slot;

use super::super::xep_0313_archive::api::Asked;
use super::history::Wish;
use super::request::Request;

/// The moment at which a room is asked, and whatever else it does not know by itself.
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// Where a message goes that the room accepts: its id follows from it.
    pub(super) slot: Option<Slot>,
}

/// A stanza to a room or to an occupant of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The real address, as the router has settled it.
    pub(super) from: &'a Jid,
    /// The room, or `room/nick`.
    pub(super) to: &'a Jid,
    pub(super) stanza: &'a Stanza<'a>,
    /// The sender is an administrator of the server, and those own every room (`rooms.admins_own`).
    pub(super) is_admin: bool,
}

/// What a stanza says to a room.
#[derive(Debug)]
pub(super) enum Command {
    /// Available presence with the `<x/>` of XEP-0045 §7.2.1.
    Enter(Entry),
    /// Available presence without: a change of the nick or of the availability, or of somebody who is not here.
    Present,
    /// Unavailable presence.
    Leave,
    /// An error in answer to something that the room has sent, which says that nobody is there.
    Gone,
    /// A message of type `groupchat` to the room.
    Say(Speech),
    /// A message to one occupant.
    Whisper,
    /// A message to the room of another type: an invitation, a declined one, a request for voice.
    Write,
    /// An IQ request to the room.
    Ask(Request),
    /// An IQ request to the archive of the room, which is not in memory.
    Read(Asked),
    /// An IQ request to an occupant.
    Forward,
    /// An IQ result or error to an occupant, in answer to one that was forwarded.
    Answer,
}

impl Command {
    /// Whether it matters that somebody is above the room.
    pub(super) const fn wants_power(&self) -> bool {
        matches!(self, Self::Enter(_) | Self::Present | Self::Ask(_) | Self::Read(_) | Self::Write)
    }

    /// Whether the room may say something that has an id.
    pub(super) const fn wants_slot(&self) -> bool {
        match self {
            Self::Say(_) => true,
            Self::Ask(request) => request.wants_slot(),
            _ => false,
        }
    }
}

/// How somebody wants to enter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    pub(super) password: Option<String>,
    pub(super) history: Wish,
}

/// What a message to everybody is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speech {
    /// A subject and neither body nor thread (XEP-0045 §8.1).
    Subject(String),
    /// Anything else; whether the archive keeps it.
    Message { kept: bool },
}

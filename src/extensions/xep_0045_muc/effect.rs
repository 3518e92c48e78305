//! What follows from a command, in the order in which it has to happen.
//!
//! Effects are values: `outbox` brings them about. What is to be stored is durable before anything behind it is sent, but for
//! what is said to one person.

use std::sync::Arc;

use crate::hooks::{Answer, answering};
use crate::jid::{BareJid, Jid};
use crate::routing::Way;
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::storage::Slot;

use super::command::Call;
use super::moderation::Burial;
use super::occupant::{Affiliated, Number};
use super::reading::Reading;
use super::room_config::RoomConfig;
use super::subject::Subject;

/// Who is told something: all sessions in the room at one moment.
pub(super) type Roll = Arc<Vec<Receiver>>;

/// A session of an occupant.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    pub(super) jid: Jid,
    pub(super) occupant: Number,
    /// He sees real addresses.
    pub(super) sees: bool,
    /// To his session.
    pub(super) way: Way,
}

impl Receiver {
    pub(super) fn new(jid: Jid, occupant: Number, sees: bool) -> Self {
        Self { jid, occupant, sees, way: Way::default() }
    }
}

/// A stanza in both of its forms; where nothing is hidden they are the same. Nobody is addressed yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Face {
    /// For those who see real addresses.
    pub(super) open: Arc<Stanza<'static>>,
    /// For those who do not.
    pub(super) closed: Arc<Stanza<'static>>,
}

impl Face {
    /// The same for everybody.
    pub(super) fn alike(stanza: Stanza<'static>) -> Self {
        let stanza = Arc::new(stanza);
        Self { open: Arc::clone(&stanza), closed: stanza }
    }
}

/// Of somebody of whom nothing has been said yet.
impl Default for Face {
    fn default() -> Self {
        Self::alike(Stanza::new(Kind::Presence(PresenceType::Available)))
    }
}

/// One thing that follows.
#[derive(Debug)]
pub(super) enum Effect {
    /// One stanza for one session.
    Send { to: Jid, stanza: Arc<Stanza<'static>> },
    /// Stanzas for one session, in their order.
    Show { to: Jid, stanzas: Vec<Arc<Stanza<'static>>> },
    /// The same for all in the room but one occupant, if he is named.
    Tell { to: Roll, face: Face, except: Option<Number> },
    /// A stanza for somebody who need not be in the room nor connected.
    Post(Stanza<'static>),
    /// Something to be stored.
    Keep(Change),
    /// Somebody is to be shown what is in the archive.
    Read(Box<Reading>),
    /// A message of the archive is to become a tombstone, if it is the one.
    Bury(Box<Burial>),
    /// The room is no more: nobody is to find it.
    Closed,
}

/// What is stored of a room.
#[derive(Debug)]
pub(super) enum Change {
    /// It becomes persistent: everything that is known of it.
    Begin(Box<RoomConfig>, Option<Subject>, Vec<(BareJid, Affiliated)>),
    /// It is stored no more.
    End,
    Config(Box<RoomConfig>),
    Subject(Subject),
    /// `None` where nothing is left to know.
    Affiliation(BareJid, Option<Affiliated>),
    /// Another card, or none any more (XEP-0486).
    Card(Option<String>),
    /// A message for the archive. `sender` is the real address, `time` Unix time in milliseconds.
    Append {
        slot: Slot,
        message: Arc<Stanza<'static>>,
        sender: Jid,
        time: u64,
    },
}

/// Effects in their order. What answers a request stands between what had to happen before it and what the others are told
/// behind it (XEP-0045 §8.2).
#[derive(Debug, Default)]
pub(super) struct Effects {
    first: Vec<Effect>,
    behind: Vec<Effect>,
}

impl Effects {
    /// Happens before the answer.
    pub(super) fn push(&mut self, effect: Effect) {
        self.first.push(effect);
    }

    /// Happens behind the answer, if there is one.
    pub(super) fn push_behind(&mut self, effect: Effect) {
        self.behind.push(effect);
    }

    pub(super) fn send(&mut self, to: &Jid, stanza: Arc<Stanza<'static>>) {
        self.push(Effect::Send { to: to.clone(), stanza });
    }

    /// Answers whoever calls, if that can be answered.
    pub(super) fn answer(&mut self, call: &Call<'_>, answer: Answer) {
        if let Some(mut answer) = answering(call.stanza, answer) {
            answer.to = None;
            self.send(call.from, Arc::new(answer));
        }
    }

    pub(super) fn tell(&mut self, to: Roll, face: Face, except: Option<Number>) {
        self.push(Effect::Tell { to, face, except });
    }

    /// The same behind the answer.
    pub(super) fn tell_behind(&mut self, to: Roll, face: Face, except: Option<Number>) {
        self.push_behind(Effect::Tell { to, face, except });
    }

    pub(super) fn keep(&mut self, change: Change) {
        self.push(Effect::Keep(change));
    }

    /// All of them.
    pub(super) fn into_all(mut self) -> Vec<Effect> {
        self.first.append(&mut self.behind);
        self.first
    }
}

//! Stages: plain functions on a stanza's way from or to a local account, never futures.
//!
//! A stage says what is to become of the stanza in the account's log; routing does it, once, when all have spoken.

use std::collections::BTreeSet;
use std::fmt;

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::stanza::{Namespaces, Payload, Stanza, StanzaError};
use crate::storage::{Direction, Marks, Position, Slot, Storage};

use super::catalogue::{Switched, wanted};
use super::notice::{Notice, Notifier};

/// What of an account's log is held in memory.
#[derive(Debug, Default)]
pub struct Shelf {
    /// Positions of entries that nobody has received.
    pub undelivered: BTreeSet<u64>,
}

/// Where a stanza is in the log of an account.
#[derive(Debug)]
pub enum Place {
    /// Nobody has asked for a place.
    None,
    /// It will be an entry there if it has marks.
    Free(Slot),
    /// It is an entry already, and gets more marks.
    Taken {
        position: Position,
        /// The archive shows it.
        archived: bool,
    },
}

/// A message on its way from or to `account`, with what a stage may change.
#[derive(Debug)]
pub struct Passing<'a, 's> {
    pub account: &'a BareJid,
    pub direction: Direction,
    pub stanza: &'a Stanza<'s>,
    pub now: Timestamp,
    /// Why the log keeps it.
    pub marks: Marks,
    pub place: Place,
    /// Canonical elements that this account gets behind the payload.
    pub tail: String,
    /// Its sender is told when it is in safe hands.
    pub promised: bool,
    /// It is one that the account sends, and other sessions of the account may be shown it.
    pub shown: bool,
    /// The owner of the account has nothing against its being archived.
    pub archivable: bool,
    /// A session is to get it that waits for its client since the server has started.
    pub awaited: bool,
}

impl<'a, 's> Passing<'a, 's> {
    /// Nothing is known of it yet.
    #[must_use]
    pub const fn new(account: &'a BareJid, direction: Direction, stanza: &'a Stanza<'s>, now: Timestamp) -> Self {
        Self {
            account,
            direction,
            stanza,
            now,
            marks: Marks::NONE,
            place: Place::None,
            tail: String::new(),
            promised: false,
            shown: false,
            archivable: true,
            awaited: false,
        }
    }

    /// What further sessions may get a copy of.
    #[must_use]
    pub fn original(&self) -> Original<'_, 's> {
        Original { account: self.account, direction: self.direction, stanza: self.stanza, tail: &self.tail }
    }

    /// Where the log keeps it, if it does.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        match &self.place {
            Place::None => None,
            Place::Taken { position, .. } => Some(*position),
            Place::Free(slot) => Some(slot.position()),
        }
    }

    /// Has the log keep it for the reason `marks`; returns where.
    pub fn keep(&mut self, storage: &Storage, marks: Marks) -> Position {
        self.marks = self.marks | marks;
        self.position().unwrap_or_else(|| {
            let slot = storage.slot();
            let position = slot.position();
            self.place = Place::Free(slot);
            position
        })
    }
}

/// A message that an account sends or gets, for those of its sessions that do not send or get it themselves.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a, 's> {
    pub account: &'a BareJid,
    pub direction: Direction,
    pub stanza: &'a Stanza<'s>,
    /// Canonical elements that this account gets behind the payload.
    pub tail: &'a str,
}

/// What they get.
#[derive(Debug, Clone, PartialEq)]
pub struct Duplicate {
    pub payload: Payload<'static>,
    pub readers: Readers,
}

/// Which of the sessions that want copies get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    All,
    /// Those that have told the other side that they are there, as occupants of a room do.
    Present,
}

type Replaces = dyn Fn(&BareJid, &Stanza<'_>) -> bool + Send;

/// A message takes back an earlier one.
pub struct Retraction {
    /// The id of the earlier one: only a message that contains it is looked at.
    pub of: String,
    /// The canonical elements that take the place of what it said.
    pub tombstone: String,
    /// Whether a message in the log of this account is the one.
    pub replaces: Box<Replaces>,
}

/// What a stage of the kind `Undelivered` decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next one may look.
    Pass,
    /// It is taken care of; the sender hears nothing.
    Taken,
    /// The sender gets this error.
    Refuse(StanzaError),
}

type Pass = Box<dyn Fn(&mut Passing<'_, '_>) + Send + Sync>;
type Undelivered = Box<dyn Fn(&mut Passing<'_, '_>, &mut Shelf) -> Verdict + Send + Sync>;
type Copy = Box<dyn Fn(&Original<'_, '_>) -> Option<Duplicate> + Send + Sync>;
type Retract = Box<dyn Fn(&Stanza<'_>) -> Option<Retraction> + Send + Sync>;
type Private = Box<dyn Fn(&BareJid, &Stanza<'_>) -> bool + Send + Sync>;

/// A stage that looks at messages which may have something of a certain namespace.
pub(super) struct Arriving {
    namespace: Namespaces,
    stage: Box<dyn Fn(&mut Stanza<'_>) + Send + Sync>,
}

impl Arriving {
    pub(super) fn new(namespace: &'static str, stage: impl Fn(&mut Stanza<'_>) + Send + Sync + 'static) -> Self {
        Self { namespace: Namespaces::of(namespace.as_bytes()), stage: Box::new(stage) }
    }
}

/// Everything that looks at stanzas on their way.
#[derive(Default)]
pub struct Stages {
    pub(super) arriving: Vec<Switched<Arriving>>,
    pub(super) archive: Vec<Switched<Pass>>,
    pub(super) queued: Vec<Switched<Pass>>,
    pub(super) copy: Vec<Switched<Copy>>,
    pub(super) undelivered: Vec<Switched<Undelivered>>,
    pub(super) private: Vec<Private>,
    pub(super) retraction: Vec<Retract>,
    pub(super) notifier: Option<Switched<Notifier>>,
}

impl Stages {
    /// Validate: looks at a message that comes from outside, before anybody else does.
    pub fn arriving(&self, stanza: &mut Stanza<'_>) {
        for arriving in wanted(&self.arriving) {
            if stanza.payload.may_have(arriving.namespace) {
                (arriving.stage)(stanza);
            }
        }
    }

    /// Whether [`Stages::archive`] does anything.
    #[must_use]
    pub fn archives(&self) -> bool {
        wanted(&self.archive).next().is_some()
    }

    /// Archive: decides whether the account's log keeps a message that goes out or is about to be delivered.
    pub fn archive(&self, passing: &mut Passing<'_, '_>) {
        wanted(&self.archive).for_each(|stage| stage(passing));
    }

    /// Queued: decides whether the account's log keeps a message until the sessions that it goes to have got it.
    pub fn queued(&self, passing: &mut Passing<'_, '_>) {
        wanted(&self.queued).for_each(|stage| stage(passing));
    }

    /// Copy: what further sessions of an account get of a message. It is asked about an error only if that answers a
    /// message of which there was a copy.
    #[must_use]
    pub fn copy(&self, original: &Original<'_, '_>) -> Option<Duplicate> {
        wanted(&self.copy).find_map(|stage| stage(original))
    }

    /// Undelivered: takes a message that nobody can receive now.
    pub fn undelivered(&self, passing: &mut Passing<'_, '_>, shelf: &mut Shelf) -> Verdict {
        let mut verdicts = wanted(&self.undelivered).map(|stage| stage(passing, shelf));
        verdicts.find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass)
    }

    /// What a message takes back, if it does; asked once the logs have kept it.
    #[must_use]
    pub fn retraction(&self, stanza: &Stanza<'_>) -> Option<Retraction> {
        self.retraction.iter().find_map(|stage| stage(stanza))
    }

    /// Whether clients that are not there are told of a message.
    #[must_use]
    pub fn is_told(&self, stanza: &Stanza<'_>) -> bool {
        wanted(self.notifier.as_slice()).any(|notifier| (notifier.is_worth)(stanza))
    }

    /// Tells them; waits for nothing.
    pub fn tell(&self, notice: &Notice<'_, '_>) {
        wanted(self.notifier.as_slice()).for_each(|notifier| (notifier.tell)(notice));
    }

    /// Whether a message was meant for one session of the account and for nobody else.
    #[must_use]
    pub fn is_private(&self, account: &BareJid, stanza: &Stanza<'_>) -> bool {
        self.private.iter().any(|stage| stage(account, stanza))
    }
}

impl fmt::Debug for Retraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retraction").field("of", &self.of).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").finish_non_exhaustive()
    }
}

//! A room in memory, and what it has still to send.
//!
//! Effects come about in their order. Whatever stands behind something that is to be stored waits until that is durable, so
//! that nobody sees what a crash could undo; what waits is sent by a task that there is only while something waits. What the
//! room passes on to one person does not wait: it is kept for him with the batch of whoever sends it, who is told that it is
//! in safe hands (decision 0032).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::jid::Jid;
use crate::routing::{Batch, Router};
use crate::stanza::{Kind, Letter, MessageType, Stanza};
use crate::storage::Receipt;

use super::command::{Call, Command, Moment};
use super::effect::{Change, Effect, Effects, Face, Roll};
use super::kept::{self, Durable, Listed};
use super::moderation::Burial;
use super::occupant::Number;
use super::room::Room;
use super::service::Rooms;
use super::wire;

/// A room in memory.
pub(super) struct Hosted {
    pub(super) room: Room,
    waiting: VecDeque<Waiting>,
    /// Somebody sends what waits.
    pub(super) is_sending: bool,
    /// When a stanza has last come.
    pub(super) touched: Timestamp,
    /// When all were last told something.
    pub(super) told: Timestamp,
    /// The room is no more; what comes now is for the next one of this name.
    pub(super) is_closed: bool,
    pub(super) late: Vec<Stanza<'static>>,
    /// The configuration of which the list of rooms knows.
    listed: u32,
    /// Errors that the room has not heard yet.
    back: Vec<Stanza<'static>>,
}

/// Something that is not done yet.
enum Waiting {
    /// What stands behind it waits for this.
    Until(Receipt),
    /// The same, and the receipt is not known yet.
    Written(oneshot::Receiver<Receipt>),
    /// Somebody asks for it at this moment.
    Asked,
    Outgoing(Outgoing),
}

/// An effect that sends something.
enum Outgoing {
    Send(Jid, Arc<Stanza<'static>>),
    Show(Jid, Vec<Arc<Stanza<'static>>>),
    Tell(Roll, Face, Option<Number>),
}

impl Outgoing {
    /// What somebody says to one other, or why it is not to be said.
    fn is_letter(&self) -> bool {
        match self {
            Self::Send(_, stanza) => {
                matches!(stanza.kind, Kind::Message(kind) if kind != MessageType::Groupchat)
            }
            Self::Show(..) | Self::Tell(..) => false,
        }
    }
}

/// What whoever sends has to do next.
pub(super) enum Next {
    /// Wait until this is durable.
    Until(Receipt),
    /// Wait until the receipt is known, and tell it.
    Written(oneshot::Receiver<Receipt>),
    /// There is nothing left.
    Nothing,
}

impl Hosted {
    pub(super) fn new(room: Room, now: Timestamp) -> Self {
        Self {
            room,
            waiting: VecDeque::new(),
            is_sending: false,
            touched: now,
            told: now,
            is_closed: false,
            late: Vec::new(),
            // Nothing is known of one that is made; what storage has is known already.
            listed: 0,
            back: Vec::new(),
        }
    }

    /// Nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Gives the room a command. What follows comes about now, or waits.
    pub(super) fn take(&mut self, rooms: &Rooms, call: &Call<'_>, command: Command, batch: &mut Batch) {
        self.touched = rooms.clock.now();
        self.apply(rooms, call, command, batch);
        self.hear_back(rooms, batch);
        // Under the lock of the room: the next one may be in another batch.
        batch.hand_over();
    }

    fn apply(&mut self, rooms: &Rooms, call: &Call<'_>, command: Command, batch: &mut Batch) {
        let slot = command.wants_slot().then(|| rooms.storage.slot());
        let moment = Moment { now: rooms.clock.now(), slot };
        let effects = self.room.apply(moment, call, command);
        self.bring(rooms, effects, batch);
    }

    /// Brings effects about, or has them wait for their turn.
    pub(super) fn bring_about(&mut self, rooms: &Rooms, effects: Effects, batch: &mut Batch) {
        self.bring(rooms, effects, batch);
        self.hear_back(rooms, batch);
        batch.hand_over();
    }

    fn bring(&mut self, rooms: &Rooms, effects: Effects, batch: &mut Batch) {
        for effect in effects.into_all() {
            let outgoing = match effect {
                Effect::Send { to, stanza } => Outgoing::Send(to, stanza),
                Effect::Show { to, stanzas } => Outgoing::Show(to, stanzas),
                Effect::Tell { to, face, except } => Outgoing::Tell(to, face, except),
                Effect::Post(stanza) => {
                    batch.post(stanza);
                    continue;
                }
                Effect::Keep(change) => {
                    self.keep(rooms, change, batch);
                    continue;
                }
                Effect::Read(reading) => {
                    rooms.show_later(*reading);
                    continue;
                }
                Effect::Bury(burial) => {
                    self.bury(rooms, *burial);
                    continue;
                }
                Effect::Closed => {
                    self.is_closed = true;
                    continue;
                }
            };
            if self.waiting.is_empty() || outgoing.is_letter() {
                self.send(rooms, outgoing, batch);
            } else {
                self.waiting.push_back(Waiting::Outgoing(outgoing));
            }
        }
        if self.listed != self.room.version || self.is_closed {
            self.listed = self.room.version;
            let is_there = !self.is_closed && !self.room.locked;
            rooms.list(&self.room.jid, is_there.then(|| Listed::of(&self.room)));
        }
    }

    /// Those who are not there have answered at once: the room hears it.
    fn hear_back(&mut self, rooms: &Rooms, batch: &mut Batch) {
        while let Some(error) = self.back.pop() {
            if let (Some(from), Some(to)) = (&error.from, &error.to)
                && let Ok(Some(command)) = wire::read(&error)
            {
                self.apply(rooms, &Call { from, to, stanza: &error, is_admin: false }, command, batch);
            }
        }
    }

    fn keep(&mut self, rooms: &Rooms, change: Change, batch: &mut Batch) {
        let whose = (&rooms.name, &self.room);
        match kept::keep(change, whose, &rooms.storage, batch) {
            Ok(Durable::At(receipt)) => {
                batch.cover(receipt);
                if !rooms.storage.is_durable(receipt) {
                    self.waiting.push_back(Waiting::Until(receipt));
                }
            }
            Ok(Durable::WithBatch) => self.waiting.push_back(Waiting::Written(batch.receipt_to_come())),
            Err(error) => tracing::error!(room = %self.room.jid, %error, "a change of a room could not be written"),
        }
    }

    /// Leaves a tombstone: the message has to be read, and what stands behind it waits for that.
    fn bury(&mut self, rooms: &Rooms, burial: Burial) {
        if !self.room.is_stored() {
            return;
        }
        // Without a runtime the server has ended.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (told, receipt) = oneshot::channel();
        self.waiting.push_back(Waiting::Written(receipt));
        let (storage, room) = (rooms.storage.clone(), self.room.jid.clone());
        runtime.spawn(async move {
            match kept::bury(&storage, room.clone(), burial).await {
                // Nobody waits who has given up.
                Ok(receipt) => drop(told.send(receipt)),
                Err(error) => tracing::error!(%room, %error, "a message could not be taken back"),
            }
        });
    }

    /// Sends what waits, up to something that is not durable yet.
    pub(super) fn go_on(&mut self, rooms: &Rooms, batch: &mut Batch) -> Next {
        let next = self.go_on_until(rooms, batch);
        batch.hand_over();
        next
    }

    fn go_on_until(&mut self, rooms: &Rooms, batch: &mut Batch) -> Next {
        loop {
            match self.waiting.front_mut() {
                None => return Next::Nothing,
                Some(Waiting::Until(receipt)) if !rooms.storage.is_durable(*receipt) => return Next::Until(*receipt),
                Some(Waiting::Until(_)) => drop(self.waiting.pop_front()),
                Some(waiting @ Waiting::Written(_)) => {
                    if let Waiting::Written(told) = std::mem::replace(waiting, Waiting::Asked) {
                        return Next::Written(told);
                    }
                }
                // Nobody else sends.
                Some(Waiting::Asked) => return Next::Nothing,
                Some(Waiting::Outgoing(_)) => {
                    if let Some(Waiting::Outgoing(outgoing)) = self.waiting.pop_front() {
                        self.send(rooms, outgoing, batch);
                        self.hear_back(rooms, batch);
                    }
                }
            }
        }
    }

    /// Whoever sends has learned with which receipt the first of what waits is durable.
    pub(super) fn learned(&mut self, receipt: Receipt) {
        if let Some(first) = self.waiting.front_mut() {
            *first = Waiting::Until(receipt);
        }
    }

    /// Nothing that waits will ever be durable.
    pub(super) fn give_up(&mut self) {
        self.waiting.clear();
    }

    fn send(&mut self, rooms: &Rooms, outgoing: Outgoing, batch: &mut Batch) {
        let Some(router) = rooms.router() else { return };
        match outgoing {
            Outgoing::Send(to, stanza) => self.back.extend(router.hand(&stanza, &to, batch)),
            Outgoing::Show(to, stanzas) => self.back.extend(router.hand_all(&stanzas, &to, batch)),
            Outgoing::Tell(to, face, except) => {
                self.told = rooms.clock.now();
                tell(&router, (&to, &face, except), &mut self.back, batch);
            }
        }
    }
}

/// Sends a stanza to everybody: it is written once, or twice where some see more than others.
fn tell(
    router: &Router,
    (to, face, except): (&Roll, &Face, Option<Number>),
    back: &mut Vec<Stanza<'static>>,
    batch: &mut Batch,
) {
    let is_alike = Arc::ptr_eq(&face.open, &face.closed);
    let closed = face.closed.letter();
    let open: Option<Letter> = (!is_alike).then(|| face.open.letter());
    for receiver in to.iter().filter(|receiver| Some(receiver.occupant) != except) {
        let (stanza, letter) = match &open {
            Some(open) if receiver.sees => (&face.open, open),
            _ => (&face.closed, &closed),
        };
        back.extend(router.hand_letter(stanza, letter, (&receiver.jid, &receiver.way), batch));
    }
}

//! Messages on their way past the accounts that they are from and to: the stages look at them, and the logs keep what
//! the stages want kept.

use std::sync::Arc;

use crate::hooks::{Original, Passing, Place, Shelf, Stages, Verdict};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, Stanza};
use crate::storage::{Direction, Entry, Marks, Position};

use super::Router;
use super::account::{Account, State, Written};
use super::batch::Batch;
use super::blocking::unheard;
use super::delivery::{Delivery, Reach};
use super::departure::Known;
use super::marks::{Mark, Queued};
use super::push::Come;
use super::router::Back;
use super::suspended::Meant;

impl Router {
    pub(super) fn stages(&self) -> Option<&Stages> {
        self.hooks().map(crate::hooks::Hooks::stages)
    }

    /// A message comes from outside.
    pub(super) fn arriving(&self, stanza: &mut Stanza<'_>) {
        if matches!(stanza.kind, Kind::Message(_))
            && let Some(stages) = self.stages()
        {
            stages.arriving(stanza);
        }
    }

    /// The local account that a message is for, if it has to be read before the entries of both sides can be written
    /// together ([`Router::hold`]).
    pub(super) fn unread(&self, stanza: &Stanza<'_>) -> Option<BareJid> {
        let to = stanza.to.as_ref().filter(|_| matches!(stanza.kind, Kind::Message(_)))?;
        self.stages().filter(|stages| stages.archives())?;
        let is_unread =
            to.local().is_some() && self.hosts.has_accounts(to.domain()) && !self.accounts.has(to.bare_str());
        is_unread.then(|| to.to_bare())
    }

    /// The local account `account` sends a stanza.
    pub(super) fn sent(&self, account: &Account, stanza: &Stanza<'_>, batch: &mut Batch) {
        let shown = account.may_copy();
        let stages = self.stages().filter(|stages| shown || stages.archives());
        let Some(stages) = stages.filter(|_| matches!(stanza.kind, Kind::Message(_))) else { return };
        // What somebody sends to himself is kept, and copied, as what he receives.
        if stanza.to.as_ref().is_none_or(|to| to.bare_str() == account.jid.as_str()) {
            return;
        }
        let mut passing = Passing::new(&account.jid, Direction::Sent, stanza, self.clock.now());
        passing.shown = shown;
        passing.archivable = account.lock().archives(stanza.to.as_ref());
        stages.archive(&mut passing);
        if shown {
            self.copy_sent(account, &passing.original(), batch);
        }
        keep(passing, batch);
    }

    /// Delivers a message to an account whose lock is held.
    pub(super) fn receive(
        &self,
        account: &BareJid,
        state: &mut State,
        stanza: &Stanza<'_>,
        to: &Jid,
        batch: &mut Batch,
    ) -> Back {
        let original = Original { account, direction: Direction::Received, stanza, tail: "" };
        let awaited =
            state.awaited && Meant::by(stanza, to, state).is_some_and(|meant| self.suspended.awaits(account, meant));
        let reach = match state.decide(stanza, to) {
            Delivery::To(reach) => Some(reach),
            Delivery::Undelivered => None,
            Delivery::Refuse(_) | Delivery::Ignore if awaited => None,
            Delivery::Refuse(condition) => return stanza.error(&condition.into()),
            Delivery::OnBehalf => return None,
            Delivery::Ignore => {
                if let Some(copies) = self.copies(state, &original, None) {
                    copies.write(state, &original, batch);
                }
                return None;
            }
        };
        let copying = state.wants_copies();
        let mut is_kept = reach.is_none();
        let passing = || Passing::new(account, Direction::Received, stanza, self.clock.now());
        let stages = self.stages().filter(|stages| batch.promised || awaited || stages.archives());
        let (copies, back) = if let Some(stages) = stages {
            let mut passing = passing();
            (passing.promised, passing.awaited) = (batch.promised, awaited);
            passing.archivable = state.archives(stanza.from.as_ref());
            stages.archive(&mut passing);
            is_kept |= passing.marks.contains(Marks::ARCHIVED);
            let copies = if copying { self.copies(state, &passing.original(), reach) } else { None };
            (copies, self.pass_on(stages, passing, reach, state, batch))
        } else {
            // Nobody asks for the time of most messages, or for anything else about them.
            let copies = if copying { self.copies(state, &original, reach) } else { None };
            let written = reach.is_some_and(|reach| state.write(reach, Written::of(stanza), None, batch));
            (copies, if written { None } else { self.shelve(passing(), None, state, batch) })
        };
        // What was refused has not come.
        if back.is_none() {
            if let Some(copies) = &copies {
                copies.write(state, &original, batch);
            }
            if state.push.is_some() {
                self.tell_absent(account, state, stanza, Come { reach, is_copied: copies.is_some(), is_kept });
            }
        }
        back
    }

    /// Hands a message that the log may keep over to the resources that are meant, or keeps it for later.
    fn pass_on(
        &self,
        stages: &Stages,
        mut passing: Passing<'_, '_>,
        reach: Option<Reach>,
        state: &mut State,
        batch: &mut Batch,
    ) -> Back {
        if let Some(reach) = reach {
            stages.queued(&mut passing);
            if passing.awaited && stages.undelivered(&mut passing, &mut state.shelf) == Verdict::Taken {
                self.keep_waiting(&passing, state, batch);
            }
            let position = passing.position().filter(|_| passing.marks.contains(Marks::QUEUED));
            let archived = passing.marks.contains(Marks::ARCHIVED);
            let queued = position.map(|position| Queued { position: position.number(), archived });
            if self.hand_over(state, reach, (&passing, queued), batch) {
                keep(passing, batch);
                return None;
            }
        }
        self.shelve(passing, None, state, batch)
    }

    /// Sessions that wait for their clients since the server has started get an undelivered message when they are back, and
    /// nobody else before.
    fn keep_waiting(&self, passing: &Passing<'_, '_>, state: &mut State, batch: &mut Batch) {
        let Passing { account, stanza, .. } = *passing;
        let position = passing.position().filter(|_| passing.marks.contains(Marks::UNDELIVERED));
        let meant = stanza.to.as_ref().and_then(|to| Meant::by(stanza, to, state));
        let (Some(position), Some(meant)) = (position, meant) else { return };
        for queued in self.suspended.keep(account, position.number(), meant) {
            state.in_flight.insert(position.number());
            batch.writes.queue(account, position, queued);
        }
    }

    /// Writes a message to the resources that are meant; if the log keeps it as queued, until it has arrived.
    fn hand_over(
        &self,
        state: &State,
        reach: Reach,
        (passing, queued): (&Passing<'_, '_>, Option<Queued>),
        batch: &mut Batch,
    ) -> bool {
        let entry = queued.map(|queued| (passing.account, Mark::Queued(queued)));
        let is_noted = batch.text.is_some();
        if passing.marks != Marks::NONE && matches!(passing.place, Place::Free(_)) {
            // The log is to have it, and what it has is copied.
            note(passing.stanza, batch);
        }
        let text = batch.text.take();
        let written = Written { stanza: passing.stanza, text: text.as_deref(), tail: &passing.tail };
        let reached = state.write(reach, written, entry, batch);
        batch.text = text.filter(|_| reached || is_noted);
        if queued.is_some() {
            // Before the entry is with the writer: from then on somebody may ask what has become of it.
            state.reached(reach).for_each(|resource| self.watch(passing.account, &resource.ring));
        }
        reached
    }

    /// Finds another way for a message that was written to a session and has not arrived.
    pub(super) fn receive_again(
        &self,
        account: &BareJid,
        state: &mut State,
        (stanza, known): (&Stanza<'_>, Known),
        batch: &mut Batch,
    ) -> Back {
        if self.stages().is_some_and(|stages| stages.is_private(account, stanza)) {
            return None;
        }
        if stanza.from.as_ref().is_some_and(|from| state.blocked.blocks(from)) {
            return unheard(stanza);
        }
        batch.text = None;
        let mut passing = Passing::new(account, Direction::Received, stanza, self.clock.now());
        // Its entry is on its way to storage before the marks. Otherwise whoever sent it has not handed it over yet, the
        // marks would find nothing, and it gets an entry of its own.
        let settled = self.storage.settled().number();
        let queued = known.queued.filter(|queued| queued.position < settled);
        if let Some(Queued { position, archived }) = queued {
            passing.place = Place::Taken { position: Position::new(position), archived };
        }
        if self.is_stopping() {
            // Its session is kept for the next start, and so is what it was sent.
            let Some(number) = known.number.filter(|_| known.moves || passing.position().is_some()) else {
                return self.shelve(passing, known.number, state, batch);
            };
            let position = passing.keep(&self.storage, Marks::UNDELIVERED);
            state.shelf.undelivered.insert(position.number());
            batch.writes.queue(account, position, number);
            keep(passing, batch);
            return None;
        }
        // Whatever resource it was sent to: the account is to get it.
        let (reach, back) = match state.decide(stanza, &Jid::from(account.clone())) {
            Delivery::To(reach) if self.hand_over(state, reach, (&passing, queued), batch) => (Some(reach), None),
            Delivery::To(_) | Delivery::Undelivered => (None, self.shelve(passing, None, state, batch)),
            Delivery::Refuse(condition) => return stanza.error(&condition.into()),
            Delivery::OnBehalf | Delivery::Ignore => return None,
        };
        if back.is_none() && state.push.is_some() {
            let is_kept = reach.is_none() || queued.is_some_and(|queued| queued.archived);
            self.tell_absent(account, state, stanza, Come { reach, is_copied: false, is_kept });
        }
        back
    }

    /// Whether an account with nobody to read it would drop the message without a word. Then one that
    /// does not exist says nothing either: the answer would tell who exists (RFC 6120 §13.11).
    pub(super) fn is_dropped(&self, to: &Jid, stanza: &Stanza<'_>) -> bool {
        let Some(stages) = self.stages().filter(|_| matches!(stanza.kind, Kind::Message(_))) else { return false };
        let account = to.to_bare();
        let mut passing = Passing::new(&account, Direction::Received, stanza, self.clock.now());
        stages.undelivered(&mut passing, &mut Shelf::default()) == Verdict::Taken && passing.marks == Marks::NONE
    }

    /// Nobody can receive the message now: the stages of kind `Undelivered` look at it. It may have a `number` in a
    /// session that is kept for the next start.
    fn shelve(
        &self,
        mut passing: Passing<'_, '_>,
        number: Option<crate::storage::Queued>,
        state: &mut State,
        batch: &mut Batch,
    ) -> Back {
        passing.marks = passing.marks.without(Marks::QUEUED);
        let verdict = self.stages().map_or(Verdict::Pass, |stages| stages.undelivered(&mut passing, &mut state.shelf));
        let stanza = passing.stanza;
        let error = match verdict {
            // It stays in the archive, so it has arrived in a way.
            Verdict::Refuse(_) if matches!(passing.place, Place::Taken { archived: true, .. }) => return None,
            Verdict::Taken => None,
            Verdict::Refuse(error) => Some(error),
            Verdict::Pass => Some(Condition::ServiceUnavailable.into()),
        };
        if let Some(error) = error {
            // Who hears that it did not arrive need not fear that it is read later.
            return stanza.error(&error);
        }
        if let (Some(number), Some(position)) = (number, passing.position()) {
            batch.writes.queue(passing.account, position, number);
        }
        if passing.awaited {
            self.keep_waiting(&passing, state, batch);
        }
        keep(passing, batch);
        // Whoever reads the shelf may look for its entries in storage at once.
        batch.kept();
        batch.write();
        None
    }
}

/// Does in the log what the stages want.
pub(super) fn keep(passing: Passing<'_, '_>, batch: &mut Batch) {
    let Passing { account, direction, stanza, now, marks, place, .. } = passing;
    if marks == Marks::NONE {
        return;
    }
    let slot = match place {
        Place::None => return,
        Place::Taken { position, .. } => return batch.writes.mark(account, position, marks),
        Place::Free(slot) => slot,
    };
    let peer = match direction {
        Direction::Received => stanza.from.as_ref(),
        Direction::Sent => stanza.to.as_ref(),
    };
    let entry = Entry {
        direction,
        peer: peer.map_or_else(|| Arc::from(""), Jid::shared),
        time: now.unix_ms().try_into().unwrap_or_default(),
        marks,
        payload: Arc::clone(note(stanza, batch)),
    };
    batch.writes.append(account, slot, entry);
}

/// The message that is being routed, as the logs keep it.
fn note<'a>(stanza: &Stanza<'_>, batch: &'a mut Batch) -> &'a Arc<str> {
    batch.text.get_or_insert_with(|| stanza.to_xml().into())
}

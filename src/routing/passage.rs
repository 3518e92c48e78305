//! Messages on their way past the accounts that they are from and to: the stages look at them, and the logs keep what
//! the stages want kept.

use std::sync::Arc;

use crate::hooks::{Passing, Place, Returned, Shelf, Stages, Verdict};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, Stanza};
use crate::storage::{Direction, Entry, Marks};

use super::Router;
use super::account::State;
use super::batch::Batch;
use super::delivery::Delivery;
use super::router::Back;

impl Router {
    fn stages(&self) -> Option<&Stages> {
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

    /// The local account `account` sends a stanza.
    pub(super) fn sent(&self, account: &BareJid, stanza: &Stanza<'_>, batch: &mut Batch) {
        let stages = self.stages().filter(|stages| stages.archives());
        let Some(stages) = stages.filter(|_| matches!(stanza.kind, Kind::Message(_))) else { return };
        // What somebody sends to himself is kept as what he receives.
        if stanza.to.as_ref().is_none_or(|to| to.bare_str() == account.as_str()) {
            return;
        }
        let mut passing = Passing::new(account, Direction::Sent, stanza, self.clock.now());
        stages.archive(&mut passing);
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
        let reach = match state.decide(stanza, to) {
            Delivery::To(reach) => Some(reach),
            Delivery::Undelivered => None,
            Delivery::Refuse(condition) => return stanza.error(&condition.into()),
            Delivery::OnBehalf | Delivery::Ignore => return None,
        };
        let passing = || Passing::new(account, Direction::Received, stanza, self.clock.now());
        let written =
            |tail: &str, batch: &mut Batch| reach.is_some_and(|reach| state.write(reach, stanza, tail, batch));
        let Some(stages) = self.stages().filter(|stages| stages.archives()) else {
            // Nobody asks for the time of most messages, or for anything else about them.
            return if written("", batch) { None } else { self.shelve(passing(), state, batch) };
        };
        let mut passing = passing();
        stages.archive(&mut passing);
        if written(&passing.tail, batch) {
            keep(passing, batch);
            return None;
        }
        self.shelve(passing, state, batch)
    }

    /// Finds another way for a message that was written to a session and has not arrived.
    pub(super) fn receive_again(
        &self,
        account: &BareJid,
        state: &mut State,
        stanza: &Stanza<'_>,
        batch: &mut Batch,
    ) -> Back {
        let returned = self.stages().map_or(Returned::Unknown, |stages| stages.returned(account, stanza));
        // Whatever resource it was sent to: the account is to get it.
        let to = Jid::from(account.clone());
        match returned {
            Returned::Worthless => return None,
            Returned::Unknown | Returned::Kept(_) => match state.offer(stanza, &to, batch) {
                Delivery::Undelivered => {}
                Delivery::Refuse(condition) => return stanza.error(&condition.into()),
                Delivery::To(_) | Delivery::OnBehalf | Delivery::Ignore => return None,
            },
        }
        batch.text = None;
        let mut passing = Passing::new(account, Direction::Received, stanza, self.clock.now());
        if let Returned::Kept(position) = returned
            && position < self.storage.settled()
        {
            // Its entry is on its way to storage before the marks. Otherwise whoever sent it has not handed it over
            // yet, the marks would find nothing, and it gets an entry of its own.
            passing.place = Place::Taken(position);
        }
        self.shelve(passing, state, batch)
    }

    /// Whether an account with nobody to read it would drop the message without a word. Then one that
    /// does not exist says nothing either: the answer would tell who exists (RFC 6120 §13.11).
    pub(super) fn is_dropped(&self, to: &Jid, stanza: &Stanza<'_>) -> bool {
        let Some(stages) = self.stages().filter(|_| matches!(stanza.kind, Kind::Message(_))) else { return false };
        let account = to.to_bare();
        let mut passing = Passing::new(&account, Direction::Received, stanza, self.clock.now());
        stages.undelivered(&mut passing, &mut Shelf::default()) == Verdict::Taken && passing.marks == Marks::NONE
    }

    /// Nobody can receive the message now: the stages of kind `Undelivered` look at it.
    fn shelve(&self, mut passing: Passing<'_, '_>, state: &mut State, batch: &mut Batch) -> Back {
        let verdict = self.stages().map_or(Verdict::Pass, |stages| stages.undelivered(&mut passing, &mut state.shelf));
        let stanza = passing.stanza;
        let error = match verdict {
            // It stays in the archive, so it has arrived in a way.
            Verdict::Refuse(_) if matches!(passing.place, Place::Taken(_)) => return None,
            Verdict::Taken => None,
            Verdict::Refuse(error) => Some(error),
            Verdict::Pass => Some(Condition::ServiceUnavailable.into()),
        };
        if let Some(error) = error {
            // Who hears that it did not arrive need not fear that it is read later.
            return stanza.error(&error);
        }
        keep(passing, batch);
        // Whoever reads the shelf may look for its entries in storage at once.
        batch.write();
        None
    }
}

/// Does in the log what the stages want.
fn keep(passing: Passing<'_, '_>, batch: &mut Batch) {
    let Passing { account, direction, stanza, now, marks, place, .. } = passing;
    if marks == Marks::NONE {
        return;
    }
    let slot = match place {
        Place::None => return,
        Place::Taken(position) => return batch.writes.mark(account, position, marks),
        Place::Free(slot) => slot,
    };
    let peer = match direction {
        Direction::Received => stanza.from.as_ref(),
        Direction::Sent => stanza.to.as_ref(),
    };
    let text = batch.text.get_or_insert_with(|| stanza.to_xml().into());
    let entry = Entry {
        direction,
        peer: peer.map_or_else(|| Arc::from(""), Jid::shared),
        time: now.unix_ms().try_into().unwrap_or_default(),
        marks,
        payload: Arc::clone(text),
    };
    batch.writes.append(account, slot, entry);
}

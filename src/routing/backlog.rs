//! Messages that were kept while nobody could receive them, on their way to a resource that can.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;

use crate::jid::BareJid;
use crate::stanza::{Kind, MessageType, Stanza};
use crate::storage::{Error, Marks, View};

use super::Router;
use super::account::{Account, Resource, State};
use super::batch::Batch;
use super::binding::Binding;
use super::marks::Mark;
use super::ring::Ring;
use super::watch::arrived;

/// What happens when a session has as much to read as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Somebody else's task waits until it has read.
    Wait,
    /// Its own task does not wait for what it has to read itself.
    None,
}

/// How a session caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CaughtUp {
    /// Nothing waits.
    All,
    /// It has as much to read as it may have.
    Full,
    /// It is ending.
    Ending,
}

/// How many messages are in memory at once on their way from the log into a ring.
const PORTION: usize = 32;

/// Positions that are being read for one ring. Those that do not get there are free again.
struct Claim<'a> {
    account: &'a Account,
    positions: BTreeSet<u64>,
}

impl<'a> Claim<'a> {
    /// The next portion of what waits and is on its way to nobody.
    fn next(account: &'a Account) -> Option<Self> {
        Self::some(account, PORTION)
    }

    /// So much of it.
    fn some(account: &'a Account, most: usize) -> Option<Self> {
        let mut state = account.lock();
        let positions: BTreeSet<u64> = waiting(&state).take(most).collect();
        state.in_flight.extend(&positions);
        (!positions.is_empty()).then_some(Self { account, positions })
    }

    /// What is left cannot be read; nobody is to try again before the account is loaded anew.
    fn give_up(mut self) {
        let mut state = self.account.lock();
        for position in std::mem::take(&mut self.positions) {
            state.shelf.undelivered.remove(&position);
            state.in_flight.remove(&position);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.positions.is_empty() {
            let mut state = self.account.lock();
            state.in_flight.retain(|position| !self.positions.contains(position));
        }
    }
}

/// The positions of messages that are on their way to nobody.
pub(super) fn waiting(state: &State) -> impl Iterator<Item = u64> {
    state.shelf.undelivered.difference(&state.in_flight).copied()
}

impl Router {
    /// Writes what waits for an account into the ring of one of its sessions, as fast as it reads.
    pub(super) async fn catch_up(
        &self,
        account: &Account,
        ring: &Arc<Ring>,
        patience: Patience,
        batch: &mut Batch,
    ) -> CaughtUp {
        loop {
            if patience == Patience::None && !ring.has_room() {
                return CaughtUp::Full;
            }
            let Some(claim) = Claim::next(account) else { return CaughtUp::All };
            let caught_up = self.hand_claimed(claim, ring, patience, batch).await;
            if caught_up != CaughtUp::All {
                return caught_up;
            }
        }
    }

    /// Writes what has these positions, and is on its way to nobody else, into the ring of a session.
    pub(super) async fn catch_up_with(
        &self,
        account: &Account,
        ring: &Arc<Ring>,
        positions: BTreeSet<u64>,
        batch: &mut Batch,
    ) -> CaughtUp {
        let mut all = Claim { account, positions };
        while !all.positions.is_empty() {
            let behind = all.positions.iter().nth(PORTION).copied();
            let behind = behind.map(|first| all.positions.split_off(&first)).unwrap_or_default();
            let claim = Claim { account, positions: std::mem::replace(&mut all.positions, behind) };
            let caught_up = self.hand_claimed(claim, ring, Patience::None, batch).await;
            if caught_up != CaughtUp::All {
                return caught_up;
            }
        }
        CaughtUp::All
    }

    async fn hand_claimed(
        &self,
        mut claim: Claim<'_>,
        ring: &Arc<Ring>,
        patience: Patience,
        batch: &mut Batch,
    ) -> CaughtUp {
        let account = claim.account;
        batch.flush();
        let Some(hooks) = self.hooks() else { return CaughtUp::All };
        // Storage shows only what is durable.
        if self.storage.durable(self.storage.latest()).await.is_err() {
            return CaughtUp::Ending;
        }
        for kept in hooks.backlog(&account.jid, claim.positions.iter().copied().collect()).await {
            if patience == Patience::None && !ring.has_room() {
                return CaughtUp::Full;
            }
            let is_blocked = kept.stanza.from.as_ref().is_some_and(|from| account.blocks(from));
            if is_blocked || is_for_another(&kept.stanza, account, ring) {
                // He has been blocked since (XEP-0191 §3.3), or the session has gone that was to get it.
                arrived(&mut account.lock(), &account.jid, vec![kept.position], &mut batch.writes);
                claim.positions.remove(&kept.position);
                continue;
            }
            let has_room = patience == Patience::None || room(ring, batch).await;
            let mark = Mark::Undelivered(kept.position);
            if !has_room || !batch.push_entry(&account.jid, ring, mark, |out| kept.stanza.write(out)) {
                return CaughtUp::Ending;
            }
            // From here on the ring's marks stand for it.
            claim.positions.remove(&kept.position);
        }
        claim.give_up();
        CaughtUp::All
    }
}

impl Binding {
    /// Leaves to the archive what waits for the account and is archived: the client reads it there (XEP-0386 §3.2). The rest
    /// still waits for it.
    pub async fn leave_to_archive(&self, batch: &mut Batch) {
        let account = &self.account;
        let Some(claim) = Claim::some(account, usize::MAX) else { return };
        batch.flush();
        let storage = &self.router.storage;
        if storage.durable(storage.latest()).await.is_err() {
            return;
        }
        let (owner, wanted) = (account.jid.clone(), claim.positions.clone());
        let archived = storage.read(move |view| archived(view, &owner, &wanted)).await;
        match archived {
            Ok(archived) => arrived(&mut account.lock(), &account.jid, archived, &mut batch.writes),
            // It is sent to the client, then, although it is in the archive as well.
            Err(error) => tracing::error!(%error, "what waits for an account could not be read"),
        }
    }
}

/// Those of the positions that the archive shows.
fn archived(view: &View<'_>, owner: &BareJid, wanted: &BTreeSet<u64>) -> Result<Vec<u64>, Error> {
    let (mut archived, mut after) = (Vec::new(), None);
    loop {
        let page = view.undelivered(owner, after, PORTION)?;
        let shown = page.entries.iter().filter(|stored| stored.entry.marks.contains(Marks::ARCHIVED));
        archived.extend(shown.map(|stored| stored.position.number()).filter(|number| wanted.contains(number)));
        after = page.more;
        if after.is_none() {
            return Ok(archived);
        }
    }
}

/// Whether a stanza is an error for another session than this one (RFC 6121 §8.5.3.2.1).
fn is_for_another(stanza: &Stanza<'_>, account: &Account, ring: &Arc<Ring>) -> bool {
    let is_meant = |it: &Resource| stanza.to.as_ref() == Some(&it.jid) && Arc::ptr_eq(&it.ring, ring);
    stanza.kind == Kind::Message(MessageType::Error) && !account.lock().resources.iter().any(is_meant)
}

async fn room(ring: &Ring, batch: &mut Batch) -> bool {
    poll_fn(|context| {
        let room = ring.poll_room(context);
        if room.is_pending() {
            // The session may not know yet that there is something to read.
            batch.flush();
        }
        room
    })
    .await
}

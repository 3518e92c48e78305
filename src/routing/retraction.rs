//! Messages that are taken back (XEP-0424): the logs of both sides forget what they said, and what waits for its
//! recipient is not delivered.

use memchr::memmem::Finder;

use crate::hooks::Retraction;
use crate::jid::{BareJid, Jid};
use crate::stanza::{Payload, Stanza};
use crate::storage::{End, Entry, Error, Marks, Position, Range, View};
use crate::stream::{ContentNamespace, read_back};
use crate::xml::escape_into;

use super::Router;
use super::batch::Batch;

/// Archived messages exchanged with the other side that are looked through, the youngest first: it is nearly always one
/// of the last, and who names one that is not there should not cost more.
const MOST: usize = 1000;

/// Entries that are in memory at once.
const PORTION: usize = 50;

/// A message that was taken back, and what is left of it.
struct Found {
    owner: BareJid,
    position: Position,
    left: String,
}

impl Router {
    /// What a message takes back.
    pub(super) fn retraction(&self, stanza: &Stanza<'_>) -> Option<Retraction> {
        self.hooks()?.stages().retraction(stanza)
    }

    /// Takes a message back that came before `stanza`.
    pub(super) async fn retract(&self, stanza: &Stanza<'_>, retraction: Retraction, batch: &mut Batch) {
        let (Some(from), Some(to)) = (stanza.from.as_ref().map(Jid::to_bare), stanza.to.as_ref().map(Jid::to_bare))
        else {
            return;
        };
        // It may be on its way to storage.
        batch.flush();
        if self.storage.durable(self.storage.latest()).await.is_err() {
            return;
        }
        let mut sides = vec![(from.clone(), to.clone()), (to, from)];
        sides.dedup();
        sides.retain(|(owner, _)| owner.local().is_some() && self.has_accounts(owner.domain()));
        let found = self.storage.read(move |view| {
            let found = sides.iter().map(|(owner, peer)| find(view, owner, peer, &retraction));
            found.collect::<Result<Vec<_>, _>>()
        });
        let found = match found.await {
            Ok(found) => found,
            Err(error) => return tracing::error!(%error, "a message that was taken back could not be looked for"),
        };
        for Found { owner, position, left } in found.into_iter().flatten() {
            let Ok(Some(account)) = self.load(&owner, batch).await else { continue };
            batch.hold(&account);
            let mut state = account.lock();
            batch.writes.replace(&owner, position, left.into());
            let number = position.number();
            if !state.in_flight.contains(&number) && state.shelf.undelivered.remove(&number) {
                batch.writes.unmark(&owner, position, Marks::UNDELIVERED);
            }
        }
    }
}

fn find(view: &View<'_>, owner: &BareJid, peer: &BareJid, retraction: &Retraction) -> Result<Option<Found>, Error> {
    let mut name = String::new();
    escape_into(&mut name, &retraction.of);
    let finder = Finder::new(&name);
    let left = |entry: &Entry| {
        finder.find(entry.payload.as_bytes())?;
        let stanza = read(&entry.payload).filter(|stanza| (retraction.replaces)(owner, stanza))?;
        Some(stanza.payload(Payload::canonical(retraction.tombstone.as_str())).to_xml())
    };
    let found = |position, left| Some(Found { owner: owner.clone(), position, left });
    // What waits need not be archived.
    let (mut waiting, mut after) = (None, None);
    loop {
        let page = view.undelivered(owner, after, PORTION)?;
        waiting = page.entries.iter().rev().find_map(|it| found(it.position, left(&it.entry)?)).or(waiting);
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    if waiting.is_some() {
        return Ok(waiting);
    }
    let mut range = Range { peer: Some(peer.clone().into()), ..Range::default() };
    for _ in 0..MOST / PORTION {
        let page = view.archived(owner, &range, End::Youngest, PORTION)?;
        let archived = page.entries.iter().rev().find_map(|it| found(it.position, left(&it.entry)?));
        if archived.is_some() || page.more.is_none() {
            return Ok(archived);
        }
        range.before = page.more;
    }
    Ok(None)
}

fn read(payload: &str) -> Option<Stanza<'_>> {
    read_back(payload, ContentNamespace::Client).next().map(|(_, stanza)| stanza)
}

//! The end of a session: whoever saw the resource is told, and what it did not get goes to another
//! resource, to offline storage, or back to its sender.
//!
//! Nothing here waits, so that a session which panics or is cancelled leaves as one that ends well.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::{Condition, IqType, Kind, PresenceType, Stanza};
use crate::storage::{self, Marks, Position};
use crate::stream::{ContentNamespace, read_back};

use super::Router;
use super::account::{Account, State};
use super::backlog::Patience;
use super::batch::Batch;
use super::hosts::Host;
use super::marks::{Mark, Queued, Remains};
use super::presence::leave;
use super::retained::session_key;
use super::ring::Ring;
use super::suspended::{Session, forget, heir, note_requests, release};
use super::watch::arrived;

/// A session that ends.
pub(super) struct Departing<'a> {
    pub(super) jid: &'a Jid,
    pub(super) ring: &'a Ring,
    pub(super) account: &'a Arc<Account>,
    pub(super) id: u64,
    /// What it was before the server started, if its client did not get as far as to say what it has.
    pub(super) restored: Option<&'a Session>,
    /// The server stops, and the client may come back to it after the next start.
    pub(super) is_kept: bool,
}

impl Router {
    /// A session gives its resource back. One whose resource another one has taken over (RFC 6120 §7.7.2.2) has only its
    /// unsent stanzas to give back.
    pub(super) fn depart(&self, departing: &Departing<'_>) {
        let Departing { jid, ring, account, id, restored, is_kept } = *departing;
        let mut batch = self.batch();
        let (left, answers, heir) = {
            // One hold of the lock: a message that comes now is stored behind those that were unsent.
            let mut state = account.lock();
            let left = leave(&mut state, id);
            if is_kept {
                note_requests(jid, ring, None, &mut batch.writes);
            }
            let mut remains = ring.shut();
            if let Some(lapsed) = remains.lapsed.clone() {
                state.lapsed.get_or_insert_default().push(lapsed);
            }
            if let Some(resumable) = remains.resumable.take_if(|_| !is_kept) {
                forget(jid, &resumable.name, &mut batch.writes);
            }
            if let Some(restored) = restored.filter(|_| !is_kept) {
                restored.release(&mut state, &account.jid, &mut batch.writes);
            }
            let mut others = state.held_by_others(id);
            others.append(&mut self.suspended.positions(&account.jid));
            self.keep_unsure((account, &mut state), (ring, &mut remains), &others, &mut batch);
            let late = remains.marks.iter().filter_map(|(_, mark)| mark.undelivered());
            let (free, got): (Vec<u64>, Vec<u64>) =
                late.filter(|it| !others.contains(it)).partition(|it| state.shelf.undelivered.contains(it));
            if remains.resumable.is_none() {
                // Another session has got these.
                arrived(&mut state, &account.jid, got, &mut batch.writes);
            }
            release(&mut state, &free);
            let answers = self.redeliver(account, &mut state, (&remains, &others), &mut batch);
            let heir = if self.is_stopping() { None } else { heir(&state) };
            // Under the lock, so that nobody takes for done with what was queued.
            batch.write();
            (left, answers, heir)
        };
        if let Some((_, audience)) = left {
            let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(jid.clone());
            self.note_last_seen(account, &audience, &gone, &mut batch);
            if is_kept {
                self.gone(jid);
            } else {
                self.tell(&audience, &gone, &mut batch);
            }
        }
        for answer in answers {
            self.bounce(&answer, &mut batch);
        }
        batch.finish();
        self.inherit(account, heir);
    }

    /// A session gets what waits for nobody else. If no runtime is left to read that now, the next session gets it.
    pub(super) fn inherit(&self, account: &Arc<Account>, heir: Option<Arc<Ring>>) {
        if let (Some(ring), Ok(runtime), Some(router)) =
            (heir, tokio::runtime::Handle::try_current(), self.own.upgrade())
        {
            let account = Arc::clone(account);
            runtime.spawn(async move {
                let mut batch = router.batch();
                router.catch_up(&account, &ring, Patience::Wait, &mut batch).await;
                batch.finish();
            });
        }
    }

    /// Entries of the log that were written to a client which confirms nothing, and has said nothing since, wait again unless
    /// `others` hold them: the connection may have been dead.
    fn keep_unsure(
        &self,
        (account, state): (&Account, &mut State),
        (ring, remains): (&Ring, &mut Remains),
        others: &BTreeSet<u64>,
        batch: &mut Batch,
    ) {
        let settled = self.storage.settled().number();
        let mut early = Vec::new();
        for (place, mark) in &mut remains.marks {
            let Mark::Queued(Queued { position, .. }) = *mark else { continue };
            if *place > remains.written || others.contains(&position) {
                continue;
            }
            if position < settled {
                *mark = Mark::Undelivered(position);
                state.shelf.undelivered.insert(position);
                batch.writes.mark(&account.jid, Position::new(position), Marks::UNDELIVERED);
            } else {
                // The entry itself is not with the storage writer yet.
                early.push((*place, *mark));
            }
        }
        ring.put_back(early);
    }

    /// Finds another way for the stanzas that have not arrived and are not entries of the log that `others` hold; returns the
    /// errors for those that have none.
    fn redeliver(
        &self,
        account: &Arc<Account>,
        state: &mut State,
        (remains, others): (&Remains, &BTreeSet<u64>),
        batch: &mut Batch,
    ) -> Vec<Stanza<'static>> {
        let mut answers = Vec::new();
        // What comes behind something that gets an entry only now gets another one, behind that. In an archive the place of an
        // entry is what it is called by.
        let may_move = self.stages().is_some_and(|stages| !stages.archives());
        let mut has_kept = false;
        unsent(remains, |stanza, mut known| {
            if !self.is_stopping() && known.queued.is_some_and(|queued| others.contains(&queued.position)) {
                // It goes another way with somebody else.
                return;
            }
            let moves = has_kept && may_move;
            if let Some(position) = known.undelivered {
                let waits = state.shelf.undelivered.contains(&position) && !others.contains(&position);
                if !(moves && waits) {
                    return;
                }
                arrived(state, &account.jid, vec![position], &mut batch.writes);
                known.moves = true;
            } else if let Some(queued) = known.queued.take_if(|it| moves && !others.contains(&it.position)) {
                known.moves = true;
                batch.writes.unmark(&account.jid, Position::new(queued.position), Marks::QUEUED);
            }
            let (is_new, last) = (known.queued.is_none(), state.shelf.undelivered.last().copied());
            let answer = match stanza.kind {
                // Nobody is left who could read it.
                Kind::Message(_) if state.gone => stanza.error(&Condition::ServiceUnavailable.into()),
                Kind::Message(_) => self.receive_again(&account.jid, state, (&stanza, known), batch),
                // RFC 6120 §8.2.3: a request is answered, always.
                Kind::Iq(IqType::Get | IqType::Set) => stanza.error(&Condition::ServiceUnavailable.into()),
                Kind::Iq(_) | Kind::Presence(_) => None,
            };
            has_kept |= is_new && state.shelf.undelivered.last().copied() > last;
            answers.extend(answer);
        });
        answers
    }

    /// Delivers an error without waiting for anything: in an account that is not loaded there is
    /// nobody to read it.
    pub fn bounce(&self, answer: &Stanza<'_>, batch: &mut Batch) {
        let Some(to) = &answer.to else { return };
        match self.hosts.of(to.domain()) {
            Host::Remote => {
                self.to_remote(answer, to, batch);
            }
            // An error is not answered.
            Host::Service(service) => drop(service.take(answer, batch)),
            Host::Accounts if to.local().is_none() => self.requests.answered(answer),
            Host::Accounts => {
                let account = self.accounts.cached(to.bare_str());
                let is_heard = |account: &Arc<Account>| !answer.from.as_ref().is_some_and(|from| account.blocks(from));
                if let Some(account) = account.filter(is_heard) {
                    account.lock().offer(answer, to, batch);
                }
            }
        }
    }
}

/// What is known of a stanza that has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// The log has it there as undelivered.
    pub(super) undelivered: Option<u64>,
    /// It had an entry, and gets another one.
    pub(super) moves: bool,
    /// It is this entry of the log.
    pub(super) queued: Option<Queued>,
    /// It has this number in a session that its client may come back to.
    pub(super) number: Option<storage::Queued>,
}

/// Reads back the stanzas that have not arrived.
fn unsent(remains: &Remains, mut each: impl FnMut(Stanza<'_>, Known)) {
    let mut marks = remains.marks.iter().peekable();
    let mut counted = 0;
    for (place, stanza) in placed(remains) {
        // What is not written yet is presence, which is not looked at.
        let resumable = remains.resumable.as_ref().filter(|resumable| place > resumable.first);
        let number = resumable.map(|resumable| {
            counted += 1;
            let session = session_key(&resumable.name);
            storage::Queued { session, number: resumable.confirmed + counted }
        });
        let Some(stanza) = stanza.filter(|_| place > remains.written) else { continue };
        // Both are in the order of the places.
        while marks.next_if(|(marked, _)| *marked < place).is_some() {}
        match marks.next_if(|(marked, _)| *marked == place) {
            Some((_, Mark::Undelivered(position))) => {
                each(stanza, Known { undelivered: Some(*position), number, ..Known::default() });
            }
            Some((_, Mark::Queued(queued))) => {
                each(stanza, Known { queued: Some(*queued), number, ..Known::default() });
            }
            None => each(stanza, Known { number, ..Known::default() }),
        }
    }
}

/// The stanzas, each with the place behind it. Of those that are not written yet there is only the place behind all of them.
fn placed(remains: &Remains) -> impl Iterator<Item = (u64, Option<Stanza<'_>>)> {
    let mut start = remains.start;
    remains.text.parts().flat_map(move |part| {
        let (before, end) = (start, start + part.bytes as u64);
        start = end;
        let written = read_back(part.text, ContentNamespace::Client);
        let written = written.map(move |(end, stanza)| (before + end as u64, Some(stanza)));
        written.chain(std::iter::repeat_n((end, None), part.unwritten))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::pieces::Pieces;

    #[test]
    fn only_what_was_not_written_comes_back() {
        let stanzas = ["<message id='a'/>", "<message id='b'/>", "<iq type='get' id='c'><x xmlns='x'/></iq>"];
        let first = stanzas[0].len() as u64;
        let length = stanzas.concat().len() as u64;
        let ids = |written, marks: &[(u64, Mark)]| {
            let mut text = Pieces::from(stanzas[0].to_owned());
            text.extend(Pieces::from(stanzas[1..].concat()));
            let remains = Remains {
                text,
                start: 100,
                written,
                marks: marks.iter().copied().collect(),
                lapsed: None,
                resumable: None,
            };
            let mut ids = String::new();
            unsent(&remains, |stanza, Known { undelivered, queued, .. }| {
                ids.push_str(undelivered.map_or(stanza.id.as_deref().unwrap(), |_| "-"));
                queued.into_iter().for_each(|queued| ids.push_str(&queued.position.to_string()));
            });
            ids
        };
        assert_eq!(ids(0, &[]), "abc");
        assert_eq!(ids(100 + first, &[]), "bc");
        assert_eq!(ids(100 + first - 1, &[]), "abc", "half a stanza is none");
        assert_eq!(ids(0, &[(100 + 2 * first, Mark::Undelivered(7))]), "a-c", "the log has it still");
        let queued = Mark::Queued(Queued { position: 7, archived: false });
        assert_eq!(ids(0, &[(100 + first, Mark::Undelivered(6)), (100 + 2 * first, queued)]), "-b7c");
        assert_eq!(ids(100 + length, &[]), "");
    }
}

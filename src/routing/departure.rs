//! The end of a session: whoever saw the resource is told, and what it did not get goes to another
//! resource, to offline storage, or back to its sender.
//!
//! Nothing here waits, so that a session which panics or is cancelled leaves as one that ends well.

use std::sync::Arc;

use crate::stanza::{Condition, IqType, Kind, PresenceType, Stanza};
use crate::stream::{ContentNamespace, Event, Framing, Limits, Reader};

use super::Router;
use super::account::{Account, State};
use super::backlog::{Patience, waiting};
use super::batch::Batch;
use super::binding::Binding;
use super::hosts::Host;
use super::presence::leave;
use super::ring::Remains;

impl Binding {
    /// Gives the resource back; called by the drop alone. A session whose resource another one has
    /// taken over (RFC 6120 §7.7.2.2) has only its unsent stanzas to give back.
    pub(super) fn depart(&self) {
        let router = &self.router;
        let mut batch = router.batch();
        let (left, answers, heir) = {
            // One hold of the lock: a message that comes now is stored behind those that were unsent.
            let mut state = self.account.lock();
            let left = leave(&mut state, self.id);
            let remains = self.ring.shut();
            if let Some(lapsed) = remains.lapsed.clone() {
                state.lapsed.get_or_insert_default().push(lapsed);
            }
            for (_, position) in &remains.marks {
                state.in_flight.remove(position);
            }
            let answers = router.redeliver(&self.account, &mut state, &remains, &mut batch);
            // A session without connection may not read for long, and the next one gets them, too.
            let heir = state.most_available().filter(|it| it.ring.away().is_none() && waiting(&state).next().is_some());
            (left, answers, heir.map(|heir| Arc::clone(&heir.ring)))
        };
        if let Some((_, audience)) = left {
            let gone = Stanza::new(Kind::Presence(PresenceType::Unavailable)).from(self.jid.clone());
            router.tell(&audience, &gone, &mut batch);
        }
        for answer in answers {
            router.bounce(&answer, &mut batch);
        }
        batch.finish();
        // Messages from the log that nobody has confirmed are there still; if no runtime is left to
        // read them now, the next session gets them.
        if let (Some(ring), Ok(runtime)) = (heir, tokio::runtime::Handle::try_current()) {
            let (router, account) = (Arc::clone(router), Arc::clone(&self.account));
            runtime.spawn(async move {
                let mut batch = router.batch();
                router.catch_up(&account, &ring, Patience::Wait, &mut batch).await;
                batch.finish();
            });
        }
    }
}

impl Router {
    /// Finds another way for the stanzas that have not arrived, and returns the errors
    /// for those that have none.
    fn redeliver(
        &self,
        account: &Arc<Account>,
        state: &mut State,
        remains: &Remains,
        batch: &mut Batch,
    ) -> Vec<Stanza<'static>> {
        let mut answers = Vec::new();
        unsent(remains, |stanza| {
            let answer = match stanza.kind {
                Kind::Message(_) => self.receive_again(&account.jid, state, &stanza, batch),
                // RFC 6120 §8.2.3: a request is answered, always.
                Kind::Iq(IqType::Get | IqType::Set) => stanza.error(&Condition::ServiceUnavailable.into()),
                Kind::Iq(_) | Kind::Presence(_) => None,
            };
            answers.extend(answer);
        });
        answers
    }

    /// Delivers an error without waiting for anything: in an account that is not loaded there is
    /// nobody to read it.
    pub fn bounce(&self, answer: &Stanza<'_>, batch: &mut Batch) {
        let Some(to) = &answer.to else { return };
        match self.hosts.of(to.domain()) {
            Host::Remote => self.to_remote(answer, to, batch),
            // An error is not answered.
            Host::Service(service) => drop(service.take(answer, batch)),
            Host::Accounts if to.local().is_none() => self.requests.answered(answer),
            Host::Accounts => {
                if let Some(account) = self.accounts.cached(to.bare_str()) {
                    account.lock().offer(answer, to, batch);
                }
            }
        }
    }
}

/// Reads back the stanzas that have not arrived, those of the log aside.
fn unsent(remains: &Remains, mut each: impl FnMut(Stanza<'_>)) {
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::OWN);
    let mut done = 0;
    while let Some(rest) = remains.text.as_bytes().get(done..).filter(|rest| !rest.is_empty()) {
        let Ok(step) = reader.next(rest) else { return };
        if step.consumed == 0 {
            return;
        }
        done += step.consumed;
        let place = remains.start + done as u64;
        let in_log = remains.marks.iter().any(|(marked, _)| *marked == place);
        if let Some(Event::Stanza(stanza)) = step.event
            && place > remains.written
            && !in_log
        {
            each(stanza);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_written_comes_back() {
        let stanzas = ["<message id='a'/>", "<message id='b'/>", "<iq type='get' id='c'><x xmlns='x'/></iq>"];
        let first = stanzas[0].len() as u64;
        let text = stanzas.concat();
        let ids = |written, marks: &[(u64, u64)]| {
            let remains = Remains {
                text: text.clone(),
                start: 100,
                written,
                marks: marks.iter().copied().collect(),
                lapsed: None,
            };
            let mut ids = String::new();
            unsent(&remains, |stanza| ids.push_str(stanza.id.as_deref().unwrap()));
            ids
        };
        assert_eq!(ids(0, &[]), "abc");
        assert_eq!(ids(100 + first, &[]), "bc");
        assert_eq!(ids(100 + first - 1, &[]), "abc", "half a stanza is none");
        assert_eq!(ids(0, &[(100 + 2 * first, 7)]), "ac", "the log has it still");
        assert_eq!(ids(100 + text.len() as u64, &[]), "");
    }
}

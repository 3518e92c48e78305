//! IQ requests that the server itself sends, matched with their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::jid::Jid;
use crate::stanza::Stanza;

/// The requests that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Mutex<HashMap<String, Waiting>>,
    /// How many of them were sent on behalf of sessions, for those who look at everything that a session gets.
    for_sessions: AtomicUsize,
}

#[derive(Debug)]
struct Waiting {
    /// Only the one who was asked may answer.
    asked: Option<Jid>,
    /// On whose behalf, if it is a session's.
    session: Option<Jid>,
    answer: oneshot::Sender<Stanza<'static>>,
}

impl Requests {
    /// Notes a request to `asked` under `id`, which nobody can guess; it is sent on behalf of `session`, if there is one.
    pub(super) fn expect(
        &self,
        id: String,
        asked: Option<Jid>,
        session: Option<Jid>,
    ) -> oneshot::Receiver<Stanza<'static>> {
        let (answer, receiver) = oneshot::channel();
        self.for_sessions.fetch_add(usize::from(session.is_some()), Ordering::Relaxed);
        self.lock().insert(id, Waiting { asked, session, answer });
        receiver
    }

    /// Hands an IQ result or error to who asked; anything that nobody asked for is dropped
    /// (RFC 6120 §8.2.3).
    pub(super) fn answered(&self, stanza: &Stanza<'_>) {
        self.take(stanza, |request| request.asked == stanza.from && request.session.is_none());
    }

    /// The same for one to a session; `false` if that has asked itself.
    pub(super) fn answered_for_session(&self, stanza: &Stanza<'_>) -> bool {
        self.for_sessions.load(Ordering::Relaxed) > 0
            && self.take(stanza, |request| {
                request.asked == stanza.from && request.session.is_some() && request.session == stanza.to
            })
    }

    fn take(&self, stanza: &Stanza<'_>, is_meant: impl Fn(&Waiting) -> bool) -> bool {
        let Some(id) = stanza.id.as_deref() else { return false };
        let mut waiting = self.lock();
        if !waiting.get(id).is_some_and(is_meant) {
            return false;
        }
        let request = waiting.remove(id);
        drop(waiting);
        let Some(request) = self.uncounted(request) else { return false };
        // The asking side may have given up in this moment.
        drop(request.answer.send(stanza.borrow().into_owned()));
        true
    }

    /// Forgets a request whose time is over.
    pub(super) fn forget(&self, id: &str) {
        let request = self.lock().remove(id);
        self.uncounted(request);
    }

    fn uncounted(&self, request: Option<Waiting>) -> Option<Waiting> {
        let is_for_session = request.as_ref().is_some_and(|request| request.session.is_some());
        self.for_sessions.fetch_sub(usize::from(is_for_session), Ordering::Relaxed);
        request
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{IqType, Kind};

    #[test]
    fn only_who_was_asked_may_answer() {
        let requests = Requests::default();
        let asked: Jid = "romeo@montague.example/orchard".parse().unwrap();
        let other: Jid = "tybalt@capulet.example/hall".parse().unwrap();
        let mut answer = requests.expect("x".into(), Some(asked.clone()), None);
        let result = Stanza::new(Kind::Iq(IqType::Result)).id("x");
        requests.answered(&result.clone().from(other));
        assert!(answer.try_recv().is_err());
        requests.answered(&result.clone().from(asked.clone()));
        assert_eq!(answer.try_recv().unwrap().from, Some(asked));
        requests.answered(&result);
    }

    #[test]
    fn what_a_session_is_asked_for_does_not_reach_its_client() {
        let requests = Requests::default();
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        let (room, session) = (jid("hall@rooms.example/romeo"), jid("romeo@montague.example/orchard"));
        let result = Stanza::new(Kind::Iq(IqType::Result)).id("x").from(room.clone()).to(session.clone());
        assert!(!requests.answered_for_session(&result), "nobody has asked");
        let mut answer = requests.expect("x".into(), Some(room.clone()), Some(session.clone()));
        requests.answered(&result);
        for other in [
            result.clone().from(jid("hall@rooms.example/tybalt")),
            result.clone().to(jid("romeo@montague.example/balcony")),
            result.clone().id("y"),
        ] {
            assert!(!requests.answered_for_session(&other));
        }
        assert!(answer.try_recv().is_err());
        assert!(requests.answered_for_session(&result));
        assert_eq!(answer.try_recv().unwrap().from, Some(room.clone()));
        assert!(!requests.answered_for_session(&result), "once");
        drop(requests.expect("z".into(), Some(room), Some(session)));
        requests.forget("z");
        assert_eq!(requests.for_sessions.load(Ordering::Relaxed), 0);
    }
}

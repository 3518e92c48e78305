//! IQ requests that the server itself sends, matched with their answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::jid::Jid;
use crate::stanza::Stanza;

/// The requests that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// Only the one who was asked may answer.
    asked: Option<Jid>,
    answer: oneshot::Sender<Stanza<'static>>,
}

impl Requests {
    /// Notes a request to `asked` under `id`, which nobody can guess.
    pub(super) fn expect(&self, id: String, asked: Option<Jid>) -> oneshot::Receiver<Stanza<'static>> {
        let (answer, receiver) = oneshot::channel();
        self.lock().insert(id, Waiting { asked, answer });
        receiver
    }

    /// Hands an IQ result or error to who asked; anything that nobody asked for is dropped
    /// (RFC 6120 §8.2.3).
    pub(super) fn answered(&self, stanza: &Stanza<'_>) {
        let Some(id) = stanza.id.as_deref() else { return };
        let mut waiting = self.lock();
        if waiting.get(id).is_some_and(|request| request.asked == stanza.from)
            && let Some(request) = waiting.remove(id)
        {
            // The asking side may have given up in this moment.
            drop(request.answer.send(stanza.borrow().into_owned()));
        }
    }

    /// Forgets a request whose time is over.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
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
        let mut answer = requests.expect("x".into(), Some(asked.clone()));
        let result = Stanza::new(Kind::Iq(IqType::Result)).id("x");
        requests.answered(&result.clone().from(other));
        assert!(answer.try_recv().is_err());
        requests.answered(&result.clone().from(asked.clone()));
        assert_eq!(answer.try_recv().unwrap().from, Some(asked));
        requests.answered(&result);
    }
}

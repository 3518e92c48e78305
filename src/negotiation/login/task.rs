//! What a client may have to do between its proof and the end (XEP-0388 §2.6.3): keys for a hash function that its account
//! has none for (XEP-0480).

use crate::accounts::credentials::{Credentials, Iterations, ScramHash, ScramKeys};
use crate::accounts::sasl::{SaslCondition, SaslError};
use crate::jid::BareJid;
use crate::negotiation::xep_0388_sasl2::{self as sasl2, SASL2_NS};
use crate::negotiation::xep_0480_upgrade as upgrade;
use crate::xml::Element;

use super::{Effect, Login, NewKeys, State};

/// For which hash functions an account has no keys that its client can make.
#[derive(Debug)]
pub(super) struct Lacking {
    hashes: Vec<ScramHash>,
    /// By which the keys are known that were made of the same password.
    of: Vec<u8>,
}

/// A client that has proved who it is.
#[derive(Debug)]
pub(super) struct Task {
    user: BareJid,
    hash: ScramHash,
    step: Step,
}

/// How far it has come.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It has been told of the task.
    Offered,
    /// The caller makes a salt.
    Salting,
    /// It has got the salt.
    Salted([u8; 16]),
    /// The caller keeps the keys.
    Keeping,
}

impl Login {
    /// Notes what the account lacks of what the client can make and is offered.
    pub(super) fn note_lacking(&mut self, credentials: &Credentials) {
        let offered: Vec<ScramHash> = self.offer.upgrades().collect();
        let mut hashes = self.wishes.upgrades.clone();
        hashes.retain(|hash| offered.contains(hash) && !credentials.has(*hash));
        hashes.dedup();
        let of = credentials.mark();
        self.lacking = (!hashes.is_empty()).then_some(Lacking { hashes, of });
    }

    /// The next hash function that the client shall make keys for.
    pub(super) fn next_task(&mut self) -> Option<ScramHash> {
        self.lacking.as_mut().and_then(|lacking| lacking.hashes.pop())
    }

    /// Tells the client of its task; `last` is what the mechanism has to say at the end.
    pub(super) fn assign(&mut self, user: BareJid, hash: ScramHash, last: Option<&[u8]>) -> Vec<Effect> {
        self.state = State::Task(Box::new(Task { user, hash, step: Step::Offered }));
        vec![Effect::Send(sasl2::go_on(last, upgrade::task(hash)))]
    }

    /// The client goes on with its task; `None` if what it says does not belong to that.
    pub(super) fn go_on(&mut self, element: &Element) -> Option<Vec<Effect>> {
        let State::Task(task) = &mut self.state else { return None };
        match task.step {
            Step::Offered if element.is("next", SASL2_NS) => {
                if element.attribute("task") != Some(upgrade::task(task.hash)) {
                    return Some(self.fail(SaslError::malformed("this is not the task")));
                }
                task.step = Step::Salting;
                Some(vec![Effect::Salt])
            }
            Step::Salted(salt) if element.is("task-data", SASL2_NS) => {
                let keys = upgrade::salted_password(element, task.hash)
                    .map(|salted| ScramKeys::of_salted(task.hash, &salted, &salt, Iterations::default()));
                let (keys, of) = match (keys, &self.lacking) {
                    (Ok(keys), Some(lacking)) => (keys, lacking.of.clone()),
                    (Err(error), _) => return Some(self.fail(error)),
                    (Ok(_), None) => return None,
                };
                task.step = Step::Keeping;
                Some(vec![Effect::Keep(Box::new(NewKeys { account: task.user.clone(), hash: task.hash, keys, of }))])
            }
            Step::Offered | Step::Salting | Step::Salted(_) | Step::Keeping => None,
        }
    }

    /// The answer to [`Effect::Salt`]: random octets. Ignored if nothing was asked.
    pub fn salted(&mut self, salt: [u8; 16]) -> Vec<Effect> {
        match &mut self.state {
            State::Task(task) if matches!(task.step, Step::Salting) => {
                task.step = Step::Salted(salt);
                vec![Effect::Send(sasl2::task_data(upgrade::salt(&salt, Iterations::default())))]
            }
            _ => Vec::new(),
        }
    }

    /// The answer to [`Effect::Keep`]: whether the keys are in safe hands. Ignored if nothing was asked.
    pub fn kept<E>(&mut self, kept: &Result<(), E>) -> Vec<Effect> {
        let user = match &self.state {
            State::Task(task) if matches!(task.step, Step::Keeping) => task.user.clone(),
            _ => return Vec::new(),
        };
        match (kept, self.next_task()) {
            (Err(_), _) => self.fail(SaslCondition::TemporaryAuthFailure.into()),
            (Ok(()), Some(next)) => self.assign(user, next, None),
            // What the mechanism had to say was said before.
            (Ok(()), None) => self.enter(user, None, None),
        }
    }
}

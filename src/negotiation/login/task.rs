//! What a client may have to do between its proof and the end (XEP-0388 §2.6.3): keys for a hash function that its account
//! has none for (XEP-0480).

use crate::accounts::credentials::{Credentials, Iterations, ScramHash, ScramKeys};
use crate::accounts::sasl::{SaslCondition, SaslError};
use crate::jid::BareJid;
use crate::negotiation::xep_0388_sasl2::{self as sasl2, SASL2_NS};
use crate::negotiation::xep_0480_upgrade as upgrade;
use crate::xml::Element;

use super::{Effect, Login, NewKeys, State};

/// For which hash function an account has no keys that its client can make: there is only one that somebody may have none
/// for.
#[derive(Debug)]
pub(super) struct Lacking {
    hash: ScramHash,
    /// By which the keys are known that were made of the same password.
    of: Vec<u8>,
}

/// A client that has proved who it is.
#[derive(Debug)]
pub(super) struct Task {
    user: BareJid,
    lacking: Lacking,
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
        let is_lacking = |hash: &ScramHash| self.wishes.upgrades.contains(hash) && !credentials.has(*hash);
        let lacking = self.offer.upgrades().find(is_lacking);
        self.lacking = lacking.map(|hash| Lacking { hash, of: credentials.mark() });
    }

    /// Tells the client of its task; `last` is what the mechanism has to say at the end.
    pub(super) fn assign(&mut self, user: BareJid, lacking: Lacking, last: Option<&[u8]>) -> Vec<Effect> {
        let task = upgrade::task(lacking.hash);
        self.state = State::Task(Box::new(Task { user, lacking, step: Step::Offered }));
        vec![Effect::Send(sasl2::go_on(last, task))]
    }

    /// The client goes on with its task; `None` if what it says does not belong to that.
    pub(super) fn go_on(&mut self, element: &Element) -> Option<Vec<Effect>> {
        let State::Task(task) = &mut self.state else { return None };
        let hash = task.lacking.hash;
        match task.step {
            Step::Offered if element.is("next", SASL2_NS) => {
                if element.attribute("task") != Some(upgrade::task(hash)) {
                    return Some(self.give_up(SaslError::malformed("this is not the task")));
                }
                task.step = Step::Salting;
                Some(vec![Effect::Salt])
            }
            Step::Salted(salt) if element.is("task-data", SASL2_NS) => {
                let salted = match upgrade::salted_password(element, hash) {
                    Ok(salted) => salted,
                    Err(error) => return Some(self.give_up(error)),
                };
                let keys = ScramKeys::of_salted(hash, &salted, &salt, Iterations::default());
                task.step = Step::Keeping;
                let of = std::mem::take(&mut task.lacking.of);
                Some(vec![Effect::Keep(Box::new(NewKeys { account: task.user.clone(), hash, keys, of }))])
            }
            Step::Offered | Step::Salting | Step::Salted(_) | Step::Keeping => None,
        }
    }

    /// The client fails at its task. Nobody authenticates again once the server has said `<continue/>` (XEP-0388 §4.8).
    pub(super) fn give_up(&mut self, error: SaslError) -> Vec<Effect> {
        let effects = self.fail(error);
        self.state = State::Done;
        effects
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
        match kept {
            Err(_) => self.give_up(SaslCondition::TemporaryAuthFailure.into()),
            // What the mechanism had to say was said before.
            Ok(()) => self.enter(user, None, None),
        }
    }
}

//! When somebody logged in, on its way to storage: noted at once and written together once a second, so that
//! a thousand people who come in the same moment cause one write, and nobody who comes after them waits for it.
//!
//! Nobody is promised anything by it. A crash forgets the logins of the last second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::accounts::activity::LAST_LOGIN;
use crate::accounts::clients;
use crate::accounts::tokens::AgentId;
use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::Writes;

use super::Router;

/// Rows that are written together at most: others want to write, too.
const PORTION: usize = 256;

/// Logins that storage does not know of: by account, and by client where it has said which one it is.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<HashMap<Who, Timestamp>>);

type Who = (BareJid, Option<AgentId>);

impl Logins {
    /// Notes a login, of an account or of one of its clients.
    pub(super) fn note(&self, account: &BareJid, agent: Option<&AgentId>, at: Timestamp) {
        self.lock().insert((account.clone(), agent.cloned()), at);
    }

    fn take(&self) -> HashMap<Who, Timestamp> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// Notes that a client has logged in that has said which one it is.
    pub fn note_client(&self, account: &BareJid, agent: &AgentId) {
        self.logins.note(account, Some(agent), self.clock.now());
    }

    /// Hands the logins that were noted to the storage writer.
    pub fn write_logins(&self) {
        let (mut writes, mut rows) = (Writes::new(), 0);
        for ((account, agent), at) in self.logins.take() {
            let put = match agent {
                None => LAST_LOGIN.put(&mut writes, &account, &at),
                Some(agent) => clients::seen(&mut writes, &account, agent.as_str(), at),
            };
            if let Err(error) = put {
                tracing::error!(%error, "the time of a login could not be written");
            }
            rows += 1;
            if rows % PORTION == 0 {
                self.storage.submit(std::mem::take(&mut writes));
            }
        }
        self.storage.submit(writes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[tokio::test(start_paused = true)]
    async fn logins_are_written_together() {
        let mut world = World::new();
        let node = world.server("verona.example").unwrap();
        let juliet = BareJid::parse("juliet@verona.example").unwrap();
        let last = || LAST_LOGIN.get(&node.storage, &juliet);
        let _balcony = world.login(&juliet.with_resource("balcony").unwrap()).await.unwrap();
        assert_eq!(last().await.unwrap(), None, "nobody who comes next has to wait for it");
        node.router.settle(node.router.settled());
        assert_eq!(last().await.unwrap(), Some(node.clock.now()));
    }
}

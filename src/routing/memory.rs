//! What accounts and sessions hold, counted for whoever runs the server: a walk over what is there, so that nothing has to be
//! counted as it comes and goes. Others have their turn on the way.

use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::Router;

/// What accounts in memory and their sessions hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Accounts with a session.
    pub online: usize,
    /// Accounts without one, which go when there are too many.
    pub offline: usize,
    /// Sessions with a connection whose clients are looked at, as far as they have said.
    pub active: Class,
    /// Those whose clients have said that nobody looks at them.
    pub inactive: Class,
    /// Those without a connection: their clients may come back.
    pub detached: Class,
    /// Bytes that may wait for one session.
    pub bound: usize,
}

/// The sessions of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub sessions: usize,
    /// Bytes that wait to be written, read or confirmed, with what it takes to know where they end.
    pub bytes: usize,
    /// Those of the session that has the most of them.
    pub largest: usize,
}

/// What waits for one session, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) bytes: usize,
    pub(super) is_inactive: bool,
    pub(super) is_detached: bool,
}

impl Memory {
    fn count(&mut self, waiting: Waiting) {
        let class = match waiting {
            Waiting { is_detached: true, .. } => &mut self.detached,
            Waiting { is_inactive: true, .. } => &mut self.inactive,
            Waiting { .. } => &mut self.active,
        };
        class.sessions += 1;
        class.bytes += waiting.bytes;
        class.largest = class.largest.max(waiting.bytes);
    }
}

impl Router {
    /// Counts what accounts and sessions hold.
    pub async fn memory(&self) -> Memory {
        let mut memory = Memory { bound: self.limits.load().ring_bytes, ..Memory::default() };
        for part in self.accounts.parts() {
            for account in part {
                let state = account.lock();
                let count = if state.resources.is_empty() { &mut memory.offline } else { &mut memory.online };
                *count += 1;
                state.resources.iter().for_each(|resource| memory.count(resource.ring.waiting()));
            }
            yield_now().await;
        }
        memory
    }
}

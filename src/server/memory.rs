//! What an operator sees of what the server holds in memory, and for whom.
//!
//! Counted, not allocated: what is there is gone over when somebody asks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::components::Components;
use crate::extensions::{RoomMemory, Rooms};
use crate::federation::{self, Federation};
use crate::hooks::operation::{NameTaken, Nothing, Operation, Operations, Role};
use crate::listeners::admission::Admission;
use crate::routing::{self, Router};

use super::settings::STRANGER_BYTES;

/// Counts what the server holds for whom.
pub const MEMORY: Operation<Nothing, Memory> = Operation::new("status.memory", Role::Operator);

/// What the server holds for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes of the whole process in memory, where the system tells.
    pub resident: Option<u64>,
    pub strangers: Strangers,
    /// Accounts and client sessions.
    pub clients: routing::Memory,
    /// Other domains.
    pub servers: federation::Memory,
    /// Bytes that wait for components.
    pub components: usize,
    /// By domain.
    pub rooms: Vec<RoomMemory>,
}

/// Connections that have not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strangers {
    pub connections: usize,
    /// What so many may take, and all that there may be.
    pub allowed: usize,
    pub bound: usize,
}

/// Whose memory is counted.
pub(super) struct Owners {
    admission: Arc<Admission>,
    router: Arc<Router>,
    federation: Arc<Federation>,
    components: Arc<Components>,
    rooms: Vec<Arc<Rooms>>,
}

impl Owners {
    pub(super) fn new(
        admission: &Arc<Admission>,
        router: &Arc<Router>,
        federation: &Arc<Federation>,
        components: &Arc<Components>,
        rooms: &[Arc<Rooms>],
    ) -> Self {
        let (admission, router, federation) = (Arc::clone(admission), Arc::clone(router), Arc::clone(federation));
        Self { admission, router, federation, components: Arc::clone(components), rooms: rooms.to_vec() }
    }

    /// Registers the operation.
    ///
    /// # Errors
    /// The name is taken.
    pub(super) fn register(self, operations: &mut Operations) -> Result<(), NameTaken> {
        let owners = Arc::new(self);
        operations.register(&MEMORY, move |_| {
            let owners = Arc::clone(&owners);
            async move { Ok(owners.count().await) }
        })
    }

    async fn count(&self) -> Memory {
        let connections = self.admission.counts().0;
        let mut rooms = Vec::new();
        for service in &self.rooms {
            rooms.push(service.memory().await);
        }
        Memory {
            resident: resident(),
            strangers: Strangers {
                connections,
                allowed: connections * STRANGER_BYTES,
                bound: self.admission.most_strangers() * STRANGER_BYTES,
            },
            clients: self.router.memory().await,
            servers: self.federation.memory().await,
            components: self.components.standings().iter().map(|it| it.waiting).sum(),
            rooms,
        }
    }
}

/// What this process has in memory, as Linux says it.
fn resident() -> Option<u64> {
    read_resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn read_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::read_resident;

    #[test]
    fn linux_says_how_much_is_resident() {
        assert_eq!(read_resident("VmPeak:\t   9000 kB\nVmRSS:\t    8192 kB\nThreads:\t4\n"), Some(8 << 20));
        assert_eq!(read_resident("VmRSS:\tmuch\n"), None);
        assert_eq!(read_resident(""), None);
    }
}

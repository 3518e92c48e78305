//! What a running server says about itself.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::hooks::{Nothing, Operation, Role};

/// How the server is.
pub const STATUS: Operation<Nothing, Status> = Operation::new("status", Role::Operator);

/// Facts about a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program that runs, which may be older than the one that asks.
    pub version: String,
    /// In milliseconds since 1970.
    pub started: Timestamp,
    pub domains: Vec<String>,
    /// Clients that have bound a resource.
    pub clients: usize,
    /// Connections from and to other servers.
    pub links: usize,
    /// Stanzas that wait for other servers.
    pub queued: usize,
}

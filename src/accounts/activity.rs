//! When the owner of an account was here last.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::storage::Cell;

/// When a client of the account bound a resource last.
pub const LAST_LOGIN: Cell<Timestamp> = Cell::new("last-login");

/// When the last available resource of the account became unavailable.
pub const LAST_SEEN: Cell<LastSeen> = Cell::new("last-seen");

/// The end of an account's presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    pub at: Timestamp,
    /// What the owner left to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

//! What the rooms of one domain hold, counted for whoever runs the server: a walk over what is there.

use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::service::{Rooms, State};

/// So many rooms are looked at before others have their turn.
const TURN: usize = 64;

/// What the rooms of one domain hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub domain: String,
    /// Rooms in memory.
    pub rooms: usize,
    /// Who is in them, and whom they know.
    pub occupants: usize,
    pub affiliations: usize,
    /// Bytes of what was said that whoever enters is shown.
    pub history: usize,
    /// Stanzas that wait for a room, and effects of a room that wait for what comes before them.
    pub waiting: usize,
}

impl Rooms {
    /// Counts what the rooms hold.
    pub async fn memory(&self) -> Memory {
        let mut memory = Memory { domain: self.name().to_owned(), ..Memory::default() };
        for places in self.places().chunks(TURN) {
            for place in places {
                match &*place.lock() {
                    State::Coming(stanzas, _) => memory.waiting += stanzas.len(),
                    State::Here(hosted) => {
                        memory.rooms += 1;
                        memory.occupants += hosted.room.occupants.len();
                        memory.affiliations += hosted.room.affiliations.len();
                        memory.history += hosted.room.history.bytes();
                        memory.waiting += hosted.waiting();
                    }
                    State::Gone => {}
                }
            }
            yield_now().await;
        }
        memory
    }
}

//! A room by itself, for those who try it with whatever may come.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::discovery::About;
use crate::jid::{BareJid, Jid};
use crate::stanza::Stanza;
use crate::storage::Storage;

use super::super::xep_0359_stanza_ids::api::Ids;
use super::super::xep_0421_occupant_ids::api::OccupantIds;
use super::command::{Call, Moment};
use super::effect::{Effect, Effects};
use super::rate::Rate;
use super::room::{Bounds, Keys, Room};
use super::room_config::RoomConfig;
use super::wire;

/// What came of it.
pub struct Outcome {
    /// Who was told what, in this order.
    pub told: Vec<(Jid, Stanza<'static>)>,
    pub occupants: usize,
    pub owners: usize,
    pub is_closed: bool,
}

/// Plays stanzas against a new room, which its owner has still to configure; `storage` numbers what could be kept. Each stanza
/// says whom it is from and to.
#[must_use]
pub fn play(
    storage: &Storage,
    (room, owner): (&BareJid, &BareJid),
    occupants: usize,
    stanzas: &[Stanza<'_>],
) -> Option<Outcome> {
    let (ids, occupant_ids) = (Arc::new(Ids::new(&[7; 32])?), OccupantIds::new(&[7; 32]));
    let keys = Arc::new(Keys { ids, occupant_ids, features: About::default() });
    let bounds = Bounds { occupants, messages: Rate { per_second: 2, burst: 4 } };
    let mut room = Room::new(room.clone(), owner, RoomConfig::default(), keys, bounds);
    let mut outcome = Outcome { told: Vec::new(), occupants: 0, owners: 0, is_closed: false };
    for (second, stanza) in (1_000_000_i64..).zip(stanzas) {
        let (from, to) = (stanza.from.as_ref()?, stanza.to.as_ref()?);
        let call = Call { from, to, stanza, is_admin: false };
        let at = Moment { now: Timestamp::from_unix_ms(second * 1000), slot: Some(storage.slot()) };
        let effects = match wire::read(stanza) {
            Ok(Some(command)) => room.apply(at, &call, command),
            Ok(None) => continue,
            Err(error) => {
                let mut effects = Effects::default();
                effects.answer(&call, Err(error));
                effects
            }
        };
        effects.into_all().into_iter().for_each(|effect| outcome.follow(effect));
        if outcome.is_closed {
            break;
        }
    }
    outcome.occupants = room.occupants.len();
    outcome.owners = room.owners();
    Some(outcome)
}

impl Outcome {
    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, stanza } => self.told.push((to, (*stanza).clone())),
            Effect::Show { to, stanzas } => {
                self.told.extend(stanzas.into_iter().map(|stanza| (to.clone(), (*stanza).clone())));
            }
            Effect::Tell { to, face, except } => {
                let told = to.iter().filter(|receiver| Some(receiver.occupant) != except);
                self.told.extend(told.map(|receiver| {
                    let stanza = if receiver.sees { &face.open } else { &face.closed };
                    (receiver.jid.clone(), (**stanza).clone())
                }));
            }
            Effect::Post(stanza) => self.told.extend(stanza.to.clone().map(|to| (to, stanza))),
            Effect::Closed => self.is_closed = true,
            // What is stored is nothing that anybody hears.
            Effect::Keep(_) | Effect::Read(_) | Effect::Bury(_) => {}
        }
    }
}

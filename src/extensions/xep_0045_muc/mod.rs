//! XEP-0045 Multi-User Chat, version 1.35.5: rooms on a domain of their own, `[services] rooms`.
//!
//! What a room does is decided by [`room::Room`], which takes a [`command::Command`] and gives [`effect::Effects`]: no I/O,
//! no clock, no randomness, no lock. Around it:
//!
//! - `association`, `privileges`, `room_config`: who may do what, as data.
//! - `command`, `request`, `wire`: what somebody wants, read from a stanza once.
//! - `effect`, `item`, `traffic`: what follows from it, what is said of an occupant, what of a stanza is passed on.
//! - `room`, `occupant`, `face`, `entry`, `nick`, `leaving`, `speech`, `subject`, `history`, `standing`, `reconfiguration`,
//!   `forwarding`, `about`, `rate`: the room itself, one file for each part of its life.
//! - `admin`, `owner`, `config_form`, `register`, `petition`, `voice`, `invite`, `moderation`, `avatar`, `reason`: what admins,
//!   owners and those who want something of them ask a room for.
//! - `service`, `outbox`, `kept`, `listing`, `watch`: the service that has the rooms: which are in memory, in which order
//!   their effects reach storage and occupants, who is not there any more.
//! - `memory`: what they hold, for whoever runs the server.

mod about;
mod admin;
mod association;
mod avatar;
mod command;
mod config_form;
mod effect;
mod entry;
mod face;
mod forwarding;
mod history;
mod invite;
mod item;
mod kept;
mod leaving;
mod listing;
mod memory;
mod moderation;
mod nick;
mod occupant;
mod outbox;
mod owner;
mod petition;
#[cfg(feature = "testing")]
pub mod play;
mod privileges;
mod rate;
mod reading;
mod reason;
mod reconfiguration;
mod register;
mod request;
mod room;
mod room_config;
mod service;
mod speech;
mod standing;
mod subject;
#[cfg(test)]
mod tests;
mod traffic;
mod voice;
mod watch;
mod wire;

pub use memory::Memory;
pub use service::Rooms;

use super::MUC_NS;
use super::xep_0359_stanza_ids::api::NS as IDS_NS;
use crate::hooks::discovery::Identity;
use crate::hooks::{Entity, Extension, Spec};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0045", version: "1.35.5" },
    name: "rooms",
    advertises: &[
        (Entity::Rooms, MUC_NS),
        (Entity::Rooms, STABLE_ID),
        (Entity::Room, MUC_NS),
        (Entity::Room, STABLE_ID),
        (Entity::Room, IDS_NS),
    ],
    wanted: |settings| settings.rooms.is_some(),
    commands: &[],
    install: |at| {
        at.identity(Entity::Rooms, Identity { category: "conference", kind: "text", name: Some(TITLE) });
    },
};

/// What people read in the list of services.
const TITLE: &str = "Rooms";

/// A message comes back with the id that it was sent with (XEP-0045 §7.4).
const STABLE_ID: &str = "http://jabber.org/protocol/muc#stable_id";

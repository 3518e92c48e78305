//! XEP-0045 Multi-User Chat, version 1.35.3: rooms on a domain of their own, `[services] rooms`.
//!
//! What a room does is decided by [`room::Room`], which takes a [`command::Command`] and gives [`effect::Effects`]: no I/O,
//! no clock, no randomness, no lock. Around it:
//!
//! - `association`, `privileges`, `room_config`: who may do what, as data.
//! - `command`, `request`, `wire`: what somebody wants, read from a stanza once.
//! - `effect`: what follows from it.
//! - `room`, `occupant`, `entry`, `nick`, `leaving`, `speech`, `subject`, `history`, `standing`, `forwarding`, `about`: the
//!   room itself, one file for each part of its life.
//! - `admin`, `owner`, `config_form`, `register`, `voice`, `invite`, `moderation`: what admins, owners and those who want
//!   something of them ask a room for.
//! - `service`, `table`, `outbox`, `kept`, `listing`, `watch`: the service that has the rooms: which are in memory, in which
//!   order their effects reach storage and occupants, who is not there any more.

mod admin;
mod association;
mod avatar;
mod command;
mod config_form;
mod effect;
mod invite;
mod moderation;
mod occupant;
mod owner;
mod petition;
mod privileges;
mod register;
mod request;
mod room;
mod room_config;
mod standing;
mod voice;

//! What an extension says about itself; service discovery and documentation are derived from it.

use super::catalogue::Settings;
use super::command::Command;
use super::registrar::Registrar;

/// Where an extension is specified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// For instance `XEP-0199`.
    pub name: &'static str,
    /// The version of the document that was followed.
    pub version: &'static str,
}

/// Who is addressed: the domain itself, an account by its bare JID, the domain of rooms, or a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entity {
    Domain,
    Account,
    Rooms,
    Room,
}

/// An extension: a constant in its own file, named once in `extensions::ALL`.
#[derive(Debug, Clone, Copy)]
pub struct Extension {
    pub spec: Spec,
    /// As in `[extensions.NAME]`.
    pub name: &'static str,
    /// Features of XEP-0030, by who has them.
    pub advertises: &'static [(Entity, &'static str)],
    /// Whether the operator wants it; asked again whenever the settings change.
    pub wanted: fn(&Settings) -> bool,
    /// What administrators can have it do (XEP-0050).
    pub commands: &'static [Command],
    /// Registers the handlers.
    pub install: fn(&mut Registrar<'_>),
}

impl Extension {
    /// For [`Extension::wanted`]: nobody can do without it.
    pub const ALWAYS: fn(&Settings) -> bool = |_| true;
}

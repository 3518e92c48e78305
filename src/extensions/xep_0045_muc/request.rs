//! IQ requests to a room: each is read by the file whose business it is.

use crate::hooks::Verb;
use crate::hooks::discovery::INFO_NS;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0054_vcard::api as vcard;
use super::super::xep_0077_registration::api::NS as REGISTER_NS;
use super::super::xep_0199_ping::api::NS as PING_NS;
use super::super::xep_0425_moderation::api as moderation;
use super::super::xep_0486_avatars::api::Card;
use super::{about, admin, owner, reason, register};

/// A request of which somebody here knows what it means.
#[derive(Debug)]
pub(super) enum Request {
    /// Service discovery.
    About(about::Request),
    /// XEP-0199.
    Ping,
    /// `muc#admin`: lists of people, and changes of them.
    Admin(admin::Request),
    /// XEP-0486: another card.
    Card(Card),
    /// XEP-0425.
    Moderate(moderation::Moderation),
    /// `muc#owner`: the configuration and the end of the room.
    Owner(owner::Request),
    /// XEP-0077, for members.
    Register(register::Request),
}

impl Request {
    /// Reads a request by the name and the namespace of its payload.
    ///
    /// # Errors
    /// `service-unavailable` for what nobody knows, otherwise what is wrong with it.
    pub(super) fn parse(verb: Verb, element: &Element) -> Result<Self, StanzaError> {
        match (element.name(), element.ns()) {
            ("query", INFO_NS | ITEMS_NS) if verb == Verb::Get => Ok(Self::About(about::Request::parse(element))),
            ("ping", PING_NS) if verb == Verb::Get => Ok(Self::Ping),
            ("query", admin::NS) => admin::Request::parse(verb, element).map(Self::Admin),
            (vcard::NAME, vcard::NS) if verb == Verb::Set => Card::read(element).map(Self::Card),
            (moderation::NAME, moderation::NS) | (moderation::OLD_NAME, moderation::FASTENED_NS)
                if verb == Verb::Set =>
            {
                let moderation = moderation::Moderation::parse(element)?;
                reason::check(moderation.reason.as_deref())?;
                Ok(Self::Moderate(moderation))
            }
            ("query", REGISTER_NS) => register::Request::parse(verb, element).map(Self::Register),
            ("query", owner::NS) => owner::Request::parse(verb, element).map(Self::Owner),
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }

    /// Whether it makes the room say something that has an id.
    pub(super) const fn wants_slot(&self) -> bool {
        matches!(self, Self::Moderate(_))
    }
}

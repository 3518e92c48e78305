//! IQ requests to a room: each is read by the file whose business it is.

use crate::hooks::Verb;
use crate::hooks::discovery::INFO_NS;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0199_ping::api::NS as PING_NS;
use super::{about, owner};

/// A request of which somebody here knows what it means.
#[derive(Debug)]
pub(super) enum Request {
    /// Service discovery.
    About(about::Request),
    /// XEP-0199.
    Ping,
    /// `muc#owner`: the configuration and the end of the room.
    Owner(owner::Request),
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
            ("query", owner::NS) => owner::Request::parse(verb, element).map(Self::Owner),
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }
}

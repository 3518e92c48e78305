//! IQ requests to a room: each is read by the file whose business it is.

use crate::hooks::Verb;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::owner;

/// A request of which somebody here knows what it means.
#[derive(Debug)]
pub(super) enum Request {
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
            ("query", owner::NS) => owner::Request::parse(verb, element).map(Self::Owner),
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }
}

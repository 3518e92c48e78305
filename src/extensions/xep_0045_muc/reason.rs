//! Why somebody does something to others: a text that the room passes on to them.

use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

/// Octets of a reason.
const MOST: usize = 1024;

/// The reason in an element, if it gives one.
pub(super) fn read(element: &Element, ns: &str) -> Result<Option<String>, StanzaError> {
    let reason = element.child("reason", ns).map(Element::text).filter(|reason| !reason.is_empty());
    check(reason.as_deref())?;
    Ok(reason)
}

/// Whether it can be passed on.
pub(super) fn check(reason: Option<&str>) -> Result<(), StanzaError> {
    if reason.is_some_and(|reason| reason.len() > MOST) {
        return Err(StanzaError::new(Condition::NotAcceptable, format!("a reason has at most {MOST} bytes")));
    }
    Ok(())
}

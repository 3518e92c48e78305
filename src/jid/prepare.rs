//! Preparation of the three parts (RFC 7622 §3.2 to §3.4).

use std::borrow::Cow;

use super::JidError;

/// Prepares a localpart.
///
/// # Errors
/// [`JidError::Localpart`].
pub fn localpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.is_empty() { Err(JidError::Localpart) } else { Ok(text.to_ascii_lowercase().into()) }
}

/// Prepares a domainpart.
///
/// # Errors
/// [`JidError::Domainpart`].
pub fn domainpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.is_empty() { Err(JidError::Domainpart) } else { Ok(text.to_ascii_lowercase().into()) }
}

/// Prepares a resourcepart.
///
/// # Errors
/// [`JidError::Resourcepart`].
pub fn resourcepart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.is_empty() { Err(JidError::Resourcepart) } else { Ok(text.into()) }
}

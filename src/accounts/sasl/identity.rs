//! The authorization identity (RFC 6120 §6.3.8).

use crate::jid::BareJid;

use super::error::{SaslCondition, SaslError};

/// Admits an authorization identity for somebody who proves to be `account`: none, or that account itself.
///
/// # Errors
/// `invalid-authzid` for anybody else and for what is no bare JID.
pub(super) fn admit(authzid: Option<&str>, account: &BareJid) -> Result<(), SaslError> {
    match authzid {
        None => Ok(()),
        Some(text) if BareJid::parse(text).is_ok_and(|jid| jid == *account) => Ok(()),
        Some(_) => Err(SaslError::new(SaslCondition::InvalidAuthzid, "only your own bare JID is allowed")),
    }
}

/// The account of the authentication identity `user` at `domain`.
///
/// # Errors
/// `not-authorized` for what is no localpart, as for every name that nobody has.
pub(super) fn account(user: &str, domain: &str) -> Result<BareJid, SaslError> {
    BareJid::account(user, domain).map_err(|_| SaslError::from(SaslCondition::NotAuthorized))
}

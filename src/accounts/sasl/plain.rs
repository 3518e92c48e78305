//! PLAIN (RFC 4616); whether the stream is confidential is checked before it gets here.

use crate::accounts::credentials::{Password, PasswordError};
use crate::jid::BareJid;

use super::error::{SaslCondition, SaslError};
use super::identity;

/// The longest message: an authorization identity, a name and a password at their limits.
const MAX_MESSAGE: usize = 4096;

/// Who wants to log in, and with what.
#[derive(Debug, Clone)]
pub struct Plain {
    pub account: BareJid,
    pub password: Password,
}

impl Plain {
    /// Reads the one message of the mechanism, for an account at `domain`.
    ///
    /// # Errors
    /// `malformed-request`, `invalid-authzid`, or `not-authorized` if no account can have such a name or password.
    pub fn parse(message: &[u8], domain: &str) -> Result<Self, SaslError> {
        if message.len() > MAX_MESSAGE {
            return Err(SaslError::malformed("the message is too long"));
        }
        let text = str::from_utf8(message).map_err(|_| SaslError::malformed("the message is not UTF-8"))?;
        let mut parts = text.split('\0');
        let (Some(authzid), Some(user), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SaslError::malformed("the message has three parts"));
        };
        if user.is_empty() || password.is_empty() {
            return Err(SaslError::malformed("name and password are not empty"));
        }
        let account = identity::account(user, domain)?;
        identity::admit((!authzid.is_empty()).then_some(authzid), &account)?;
        let password = Password::prepare(password).map_err(|error| match error {
            PasswordError::Empty | PasswordError::TooLong | PasswordError::Character => {
                SaslError::from(SaslCondition::NotAuthorized)
            }
        })?;
        Ok(Self { account, password })
    }
}

//! HT-SHA-256, server side: one message proves that somebody has a token, another one that the server has it, too
//! (draft-schmaus-kitten-sasl-ht-09, the one that XEP-0484 refers to).

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use crate::jid::BareJid;

use super::channel_binding::{BindingType, Bindings};
use super::error::{SaslCondition, SaslError};
use super::identity;

/// Octets of the hash at the end of the message.
const HASH: usize = 32;

/// The longest message: a localpart at its limit, before it is prepared.
const MAX_MESSAGE: usize = 4096;

/// The one message of a client.
#[derive(Clone)]
pub struct Presented {
    pub account: BareJid,
    /// Without channel binding it is the same each time: as good as the token.
    hash: Zeroizing<[u8; HASH]>,
    /// The data of the channel binding; nothing where the mechanism has none.
    binding: Vec<u8>,
}

impl Presented {
    /// Reads the message for an account at `domain`; `bindings` is what was offered on this connection.
    ///
    /// # Errors
    /// `malformed-request`; `not-authorized` where the channel binding cannot be, or where nobody can have such a name.
    pub fn parse(
        binding: Option<BindingType>,
        bindings: &Bindings,
        domain: &str,
        message: &[u8],
    ) -> Result<Self, SaslError> {
        if message.len() > MAX_MESSAGE {
            return Err(SaslError::malformed("the message is too long"));
        }
        let end = message.iter().position(|octet| *octet == 0);
        let (user, hash) = end.and_then(|end| message.split_at_checked(end)).unwrap_or_default();
        let user = str::from_utf8(user).map_err(|_| SaslError::malformed("the name is not UTF-8"))?;
        let hash = hash.get(1..).and_then(|hash| <[u8; HASH]>::try_from(hash).ok());
        let hash = hash.ok_or_else(|| SaslError::malformed("the message is a name, a NUL and 32 octets"))?;
        if user.is_empty() {
            return Err(SaslError::malformed("the name is empty"));
        }
        let binding = match binding {
            None => Vec::new(),
            Some(kind) => {
                let refused =
                    SaslError::new(SaslCondition::NotAuthorized, "this connection has no such channel binding");
                bindings.data(kind).ok_or(refused)?.to_vec()
            }
        };
        Ok(Self { account: identity::account(user, domain)?, hash: Zeroizing::new(hash), binding })
    }

    /// Whether it was made with `token`.
    #[must_use]
    pub fn fits(&self, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.hashed(token, b"Initiator").as_ref(), self.hash.as_slice()).is_ok()
    }

    /// The answer to whoever has made it with `token`.
    #[must_use]
    pub fn answer(&self, token: &str) -> Vec<u8> {
        self.hashed(token, b"Responder").as_ref().to_vec()
    }

    fn hashed(&self, token: &str, role: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()));
        context.update(role);
        context.update(&self.binding);
        context.sign()
    }
}

/// Prints whose it is, and nothing that proves it.
impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const TOKEN: &str = "WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm";

    /// What a client of `user` sends that has a token.
    pub(crate) fn message(user: &str, token: &str, binding: &[u8]) -> Vec<u8> {
        let data = [b"Initiator".as_slice(), binding].concat();
        let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()), &data);
        [user.as_bytes(), &[0], hash.as_ref()].concat()
    }

    fn bindings() -> Bindings {
        Bindings { exporter: Some([5; 32].into()), end_point: Some(vec![6; 32]) }
    }

    // The values come from another implementation of HMAC (Python's).
    #[test]
    fn both_sides_prove_that_they_have_the_token() {
        for (kind, theirs, ours) in [
            (None, "kJd4dGGhhOD6hOwAwTgRkLbE0WqOxEU8eyrF5/z5Ne0=", "TlE0CWMUdIY7mGyfPoweJ8op0derntQJfnr9YAe/nGI="),
            (
                Some(BindingType::TlsExporter),
                "qmfQ3iU9SYZWjYI3VUGiuMfANA3JxSXyPqo3rMcb67o=",
                "OnnaO3hywQtal9BoSUB1vmDkURNm3Bq5tOrrQmn/9g8=",
            ),
            (
                Some(BindingType::TlsServerEndPoint),
                "mmJsvxNlHGfZpDfEphuO9mv0ZZtmPd+m7zLcAEMkkFU=",
                "TaNmvqwaXD4yvSKGpTAPkKHJb6I22NtTfj3hIAxGpiA=",
            ),
        ] {
            let mut sent = b"juliet\0".to_vec();
            sent.extend(STANDARD.decode(theirs).unwrap());
            let data = kind.and_then(|kind| bindings().data(kind).map(<[u8]>::to_vec)).unwrap_or_default();
            assert_eq!(sent, message("juliet", TOKEN, &data));
            let presented = Presented::parse(kind, &bindings(), "example.org", &sent).unwrap();
            assert_eq!(presented.account.as_str(), "juliet@example.org");
            assert!(presented.fits(TOKEN) && !presented.fits("another"));
            assert_eq!(STANDARD.encode(presented.answer(TOKEN)), ours);
            assert!(!format!("{presented:?}").contains("hash"));
            // It is worth nothing with another mechanism.
            for other in [None, Some(BindingType::TlsExporter), Some(BindingType::TlsServerEndPoint)] {
                let presented = Presented::parse(other, &bindings(), "example.org", &sent).unwrap();
                assert_eq!(presented.fits(TOKEN), other == kind);
            }
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        use SaslCondition::{MalformedRequest, NotAuthorized};
        let hash = [1; 32];
        let with = |user: &[u8], hash: &[u8]| [user, &[0], hash].concat();
        for (message, condition) in [
            (Vec::new(), MalformedRequest),
            (b"juliet".to_vec(), MalformedRequest),
            (b"juliet\0".to_vec(), MalformedRequest),
            (with(b"juliet", &hash[1..]), MalformedRequest),
            (with(b"juliet", &[1; 33]), MalformedRequest),
            (with(b"", &hash), MalformedRequest),
            (with(b"\xff", &hash), MalformedRequest),
            (with(&[b'x'; 4096], &hash), MalformedRequest),
            (with(b"a@b", &hash), NotAuthorized),
            (with(&[b'x'; 1100], &hash), NotAuthorized),
        ] {
            let found = Presented::parse(None, &bindings(), "example.org", &message);
            assert_eq!(found.map_err(|error| error.condition).err(), Some(condition), "{message:?}");
        }
        let good = with(b"juliet", &hash);
        let without = Presented::parse(Some(BindingType::TlsExporter), &Bindings::NONE, "example.org", &good);
        assert_eq!(without.err().map(|error| error.condition), Some(NotAuthorized));
    }

    proptest::proptest! {
        /// Strangers choose every octet of it.
        #[test]
        fn arbitrary_messages_do_no_harm(message in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(presented) = Presented::parse(None, &bindings(), "example.org", &message) {
                proptest::prop_assert!(!presented.fits(TOKEN));
            }
        }
    }
}

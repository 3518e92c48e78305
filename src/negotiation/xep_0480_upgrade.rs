//! XEP-0480 SASL Upgrade Tasks, version 0.2.0: a client makes keys for a hash function that its account has none for; the
//! words. Tasks are those of XEP-0388 §2.6.3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::accounts::credentials::{Iterations, ScramHash};
use crate::accounts::sasl::SaslError;
use crate::xml::Element;

use super::sasl_profile::decoded;

/// Namespace of the feature, and of the request.
pub const UPGRADE_NS: &str = "urn:xmpp:sasl:upgrade:0";

const SCRAM_UPGRADE_NS: &str = "urn:xmpp:scram-upgrade:0";

/// The task by which keys for this hash function are made (XEP-0480 §2.1).
#[must_use]
pub const fn task(hash: ScramHash) -> &'static str {
    match hash {
        ScramHash::Sha1 => "UPGR-SCRAM-SHA-1",
        ScramHash::Sha256 => "UPGR-SCRAM-SHA-256",
        ScramHash::Sha512 => "UPGR-SCRAM-SHA-512",
    }
}

/// The hash function that a task is for, if it is one of ours.
#[must_use]
pub fn hash_of(name: &str) -> Option<ScramHash> {
    ScramHash::ALL.iter().copied().find(|hash| task(*hash) == name.trim())
}

/// `<salt/>` (XEP-0480 §3).
#[must_use]
pub fn salt(salt: &[u8], iterations: Iterations) -> Element {
    let salt = Element::new("salt", SCRAM_UPGRADE_NS).with_text(&STANDARD.encode(salt));
    salt.with("iterations", &iterations.count().to_string())
}

/// The `SaltedPassword` in the answer of a client: as good as the password.
///
/// # Errors
/// `malformed-request`.
pub fn salted_password(task_data: &Element, hash: ScramHash) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    let malformed = || SaslError::malformed("the task is answered with one salted password, as long as its hash");
    let mut elements = task_data.elements();
    let (Some(found), None) = (elements.next(), elements.next()) else { return Err(malformed()) };
    let text = Zeroizing::new(found.text());
    let salted = found.is("hash", SCRAM_UPGRADE_NS).then(|| decoded(text.trim_ascii())).flatten();
    salted.filter(|salted| salted.len() == hash.len()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0480 §2.1, §3
    #[test]
    fn words_of_both_sides() {
        for hash in ScramHash::ALL.iter().copied() {
            assert_eq!(hash_of(task(hash)), Some(hash));
        }
        assert_eq!(hash_of("UPGR-SCRAM-SHA-1-PLUS"), None, "channel bindings have nothing to do with it");
        assert_eq!(
            salt(b"A_SXCRXQ6sek8bf_Z", Iterations::new(4096).unwrap()).to_xml(""),
            "<salt xmlns='urn:xmpp:scram-upgrade:0' iterations='4096'>QV9TWENSWFE2c2VrOGJmX1o=</salt>"
        );
        let read = |inner: &str| {
            let xml = format!("<task-data xmlns='urn:xmpp:sasl:2'>{inner}</task-data>");
            salted_password(&Element::parse(&xml, "").unwrap(), ScramHash::Sha256).ok()
        };
        let hash = "<hash xmlns='urn:xmpp:scram-upgrade:0'>\n BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=\n</hash>";
        assert_eq!(read(hash).map(|salted| salted.len()), Some(32));
        for wrong in [
            "",
            "<hash xmlns='urn:xmpp:scram-upgrade:0'/>",
            "<hash xmlns='urn:xmpp:scram-upgrade:0'>?</hash>",
            "<hash xmlns='urn:xmpp:scram-upgrade:0'>AAAA</hash>",
            "<hash xmlns='urn:example'>BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=</hash>",
            &hash.repeat(2),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

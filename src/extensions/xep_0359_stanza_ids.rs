//! XEP-0359 Unique and Stable Stanza IDs, version 0.7.0: what an account receives and its archive keeps has an id of the
//! archive, and nobody else can give one in its name.
//!
//! The id is the position in the log, encrypted as one block together with a check of the owner: nobody can predict one,
//! and the position is found without an index.

use std::sync::Arc;

use crate::hooks::{Entity, Extension, Registrar, Spec};
use crate::jid::Jid;
use crate::stanza::Stanza;

use self::api::NS;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0359", version: "0.7.0" },
    name: "stanza-ids",
    advertises: &[(Entity::Account, NS)],
    commands: &[],
    wanted: |settings| settings.archive.is_some(),
    install,
};

fn install(at: &mut Registrar<'_>) {
    let domains = Arc::clone(&at.settings.load().domains);
    at.arriving(NS, move |stanza| strip(stanza, &domains));
}

/// XEP-0359 §3: takes out the ids that only this server may give.
fn strip(stanza: &mut Stanza<'_>, domains: &[String]) {
    // The ids of this namespace that clients give their messages (§2.2) are none of ours.
    if !stanza.payload.children().any(|child| child.name == "stanza-id" && child.ns == NS) {
        return;
    }
    let is_ours = |by: &str| Jid::parse(by).map_or(true, |by| domains.iter().any(|domain| domain == by.domain()));
    stanza.payload.remove(|it| it.is("stanza-id", NS) && it.attribute("by").is_none_or(is_ours));
}

/// For extensions that show ids.
pub(super) mod api {
    use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use crate::fnv;
    use crate::jid::BareJid;
    use crate::storage::Position;
    use crate::xml::escape_into;

    pub(in crate::extensions) const NS: &str = "urn:xmpp:sid:0";

    /// Octets of an AES block, and characters of an id.
    const BLOCK: usize = 16;
    const ID: usize = 22;

    /// Separates this use of the server's secret from any other.
    const PURPOSE: &[u8] = b"XEP-0359 stanza ids";

    /// Gives ids to positions and finds the positions again.
    pub(in crate::extensions) struct Ids {
        seal: EncryptingKey,
        open: DecryptingKey,
    }

    impl Ids {
        /// Ids under the key that follows from `secret`; `None` if the cryptographic library fails.
        pub(in crate::extensions) fn new(secret: &[u8]) -> Option<Self> {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
            let key = || UnboundCipherKey::new(&AES_128, tag.as_ref().get(..BLOCK).unwrap_or_default());
            Some(Self { seal: EncryptingKey::ecb(key().ok()?).ok()?, open: DecryptingKey::ecb(key().ok()?).ok()? })
        }

        /// Appends the id of a position in the log of `owner`; it needs no escaping.
        pub(in crate::extensions) fn write(&self, out: &mut String, owner: &BareJid, position: Position) {
            let number = (u128::from(position.number()) << 64) | u128::from(check(owner));
            let (mut block, mut text) = (number.to_be_bytes(), [0; ID]);
            // Neither fails for a whole block.
            if self.seal.encrypt(&mut block).is_ok()
                && let Ok(length) = URL_SAFE_NO_PAD.encode_slice(block, &mut text)
                && let Some(Ok(text)) = text.get(..length).map(str::from_utf8)
            {
                out.push_str(text);
            }
        }

        /// The position in the log of `owner` that has the id `text`.
        pub(in crate::extensions) fn position(&self, owner: &BareJid, text: &str) -> Option<Position> {
            let mut block = [0; BLOCK];
            if text.len() != ID || URL_SAFE_NO_PAD.decode_slice(text, &mut block).ok()? != BLOCK {
                return None;
            }
            self.open.decrypt(&mut block, DecryptionContext::None).ok()?;
            let number = u128::from_be_bytes(block);
            let position = u64::try_from(number >> 64).ok()?;
            (number & u128::from(u64::MAX) == u128::from(check(owner))).then(|| Position::new(position))
        }

        /// Appends the element that tells `owner` the id.
        pub(in crate::extensions) fn write_element(&self, out: &mut String, owner: &BareJid, position: Position) {
            out.reserve(owner.as_str().len() + 80);
            out.push_str("<stanza-id xmlns='");
            out.push_str(NS);
            out.push_str("' id='");
            self.write(out, owner, position);
            out.push_str("' by='");
            escape_into(out, owner.as_str());
            out.push_str("'/>");
        }
    }

    /// Tells the owners of two logs apart. Ids depend on it: it must never change.
    fn check(owner: &BareJid) -> u64 {
        fnv::hash(owner.as_str().bytes())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn id(ids: &Ids, owner: &BareJid, position: u64) -> String {
            let mut out = String::new();
            ids.write(&mut out, owner, Position::new(position));
            out
        }

        // Proves: XEP-0313 §3, XEP-0359 §2.1, §6
        #[test]
        fn an_id_is_its_position_to_its_owner_alone() {
            let ids = Ids::new(&[7; 32]).unwrap();
            let (romeo, juliet) =
                (BareJid::parse("romeo@montague.example").unwrap(), BareJid::parse("juliet@capulet.example").unwrap());
            for position in [1, 2, u64::MAX] {
                let text = id(&ids, &romeo, position);
                assert_eq!(text.len(), ID);
                assert_eq!(ids.position(&romeo, &text), Some(Position::new(position)));
                assert_eq!(ids.position(&juliet, &text), None);
                assert_eq!(Ids::new(&[8; 32]).unwrap().position(&romeo, &text), None);
                assert_eq!(ids.position(&romeo, &text.to_ascii_uppercase()), None);
            }
            for text in ["", "1", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "é", "*********************!"] {
                assert_eq!(ids.position(&romeo, text), None, "{text}");
            }
        }

        // Proves: XEP-0313 §6.2, XEP-0359 §2.1
        /// Clients remember ids: they must never change.
        #[test]
        fn known_id() {
            let ids = Ids::new(&[7; 32]).unwrap();
            assert_eq!(id(&ids, &BareJid::parse("romeo@montague.example").unwrap(), 1), "v9aUha8bwbgVaWcSFAz1dw");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Kind, MessageType, Payload};

    // Proves: XEP-0359 §3
    #[test]
    fn ids_in_our_name_are_taken_out() {
        let stripped = |payload: &str| {
            let mut stanza =
                Stanza::new(Kind::Message(MessageType::Chat)).payload(Payload::canonical(payload.to_owned()));
            strip(&mut stanza, &["capulet.example".to_owned()]);
            stanza.payload.as_str().to_owned()
        };
        let id = |by: &str| format!("<body>a &lt; b</body><stanza-id xmlns='urn:xmpp:sid:0' id='x' by='{by}'/>");
        for by in ["juliet@capulet.example", "capulet.example", "Juliet@Capulet.EXAMPLE", "@", ""] {
            assert_eq!(stripped(&id(by)), "<body>a &lt; b</body>", "{by}");
        }
        for by in ["room@chat.capulet.example", "romeo@montague.example"] {
            assert_eq!(stripped(&id(by)), id(by));
        }
        let other = "<origin-id xmlns='urn:xmpp:sid:0' id='x'/><x xmlns='x'><stanza-id xmlns='urn:xmpp:sid:0' by='capulet.example'/></x>";
        assert_eq!(stripped(other), other);
        assert_eq!(stripped("<stanza-id xmlns='urn:xmpp:sid:0' id='x'/><body/>"), "<body/>");
        // What stands beside it is written again, and says what it said, whatever its namespaces are.
        let odd = "<x xmlns='x' xmlns:p='}/&gt;&lt;body/&gt;&lt;y z=&apos;}' p:a='1'/>";
        let written = stripped(&format!("<stanza-id xmlns='urn:xmpp:sid:0' id='x'/>{odd}"));
        assert_eq!(Payload::canonical(written.clone()).elements(), Payload::canonical(odd).elements(), "{written}");
    }
}

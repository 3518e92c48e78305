//! XEP-0421 Occupant identifiers for semi-anonymous MUCs, version 1.0.1: whoever is in a room is known there by an id that
//! stays the same whatever he calls himself, and says nothing of who he is.

use crate::hooks::{Entity, Extension, Spec};

use self::api::NS;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0421", version: "1.0.1" },
    name: "occupant-ids",
    advertises: &[(Entity::Rooms, NS), (Entity::Room, NS)],
    wanted: Extension::ALWAYS,
    commands: &[],
    // Rooms write them.
    install: |_| {},
};

/// For rooms.
pub(super) mod api {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use crate::jid::BareJid;
    use crate::xml::escape_into;

    pub(in crate::extensions) const NS: &str = "urn:xmpp:occupant-id:0";

    /// Separates this use of the server's secret from any other.
    const PURPOSE: &[u8] = b"XEP-0421 occupant ids";

    /// Gives ids to the occupants of rooms (XEP-0421 §4.1).
    pub(in crate::extensions) struct OccupantIds(hmac::Key);

    impl OccupantIds {
        /// Ids under the key that follows from `secret`.
        pub(in crate::extensions) fn new(secret: &[u8]) -> Self {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
            Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
        }

        /// The id of `user` in `room`; it needs no escaping.
        pub(in crate::extensions) fn id(&self, room: &BareJid, user: &BareJid) -> String {
            let mut context = hmac::Context::with_key(&self.0);
            context.update(room.as_str().as_bytes());
            // No address has a NUL.
            context.update(&[0]);
            context.update(user.as_str().as_bytes());
            URL_SAFE_NO_PAD.encode(context.sign())
        }
    }

    /// Appends the element that tells an id.
    pub(in crate::extensions) fn write_element(out: &mut String, id: &str) {
        out.push_str("<occupant-id xmlns='");
        out.push_str(NS);
        out.push_str("' id='");
        escape_into(out, id);
        out.push_str("'/>");
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // Proves: XEP-0421 §4.1
        #[test]
        fn an_id_is_of_one_user_in_one_room() {
            let jid = |text: &str| BareJid::parse(text).unwrap();
            let (coven, heath) = (jid("coven@chat.shakespeare.lit"), jid("heath@chat.shakespeare.lit"));
            let (hag, crone) = (jid("hag66@shakespeare.lit"), jid("crone1@shakespeare.lit"));
            let ids = OccupantIds::new(&[7; 32]);
            let id = ids.id(&coven, &hag);
            assert_eq!(id, ids.id(&coven, &hag));
            assert!(id.len() <= 128 && !id.contains("hag66"), "{id}");
            for other in [ids.id(&coven, &crone), ids.id(&heath, &hag), OccupantIds::new(&[8; 32]).id(&coven, &hag)] {
                assert_ne!(id, other);
            }
        }

        // Proves: XEP-0421 §4.1
        /// Clients remember ids: they must never change.
        #[test]
        fn known_id() {
            let jid = |text: &str| BareJid::parse(text).unwrap();
            let id = OccupantIds::new(&[7; 32]).id(&jid("coven@chat.shakespeare.lit"), &jid("hag66@shakespeare.lit"));
            let mut element = String::new();
            write_element(&mut element, &id);
            assert_eq!(element, format!("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>"));
            assert_eq!(id, "YBdZYndLLjUx_eJtZNKbsc_50xwsVuYG4PwAwguoiF8");
        }
    }
}

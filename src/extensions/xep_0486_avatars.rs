//! XEP-0486 MUC Avatars, version 0.1.0: the card of a room, with its picture. Rooms keep it; what of it others are told is
//! decided here.

use crate::hooks::{Entity, Extension, Spec};

use super::xep_0054_vcard::api::NS;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0486", version: "0.1.0" },
    name: "room-avatars",
    advertises: &[(Entity::Rooms, NS), (Entity::Room, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    // Rooms keep the cards.
    install: |_| {},
};

/// For rooms.
pub(super) mod api {
    use aws_lc_rs::digest;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use crate::hexadecimal;
    use crate::stanza::{Condition, StanzaError};
    use crate::xml::Element;

    use super::super::xep_0054_vcard::api::{MOST, NS};

    /// The field of the room's description with the hashes (XEP-0486#registrar-formtype).
    pub(in crate::extensions) const HASHES: &str = "muc#roominfo_avatarhash";

    /// Pictures of one card.
    const MOST_PICTURES: usize = 8;

    /// A card that somebody has written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::extensions) struct Card {
        /// As it was written; nothing if it is empty, which takes the card away (XEP-0486#owner-publish).
        pub(in crate::extensions) text: Option<String>,
        /// Of its pictures, as XEP-0153 §3.1 makes them.
        pub(in crate::extensions) hashes: Vec<String>,
    }

    impl Card {
        /// Reads a card.
        ///
        /// # Errors
        /// `bad-request`: a picture is none; `policy-violation`: it is too large.
        pub(in crate::extensions) fn read(card: &Element) -> Result<Self, StanzaError> {
            let text = card.to_xml("");
            if text.len() > MOST {
                return Err(StanzaError::new(Condition::PolicyViolation, format!("a card has at most {MOST} bytes")));
            }
            if card.elements().next().is_none() {
                return Ok(Self { text: None, hashes: Vec::new() });
            }
            let pictures: Vec<&Element> = card
                .elements()
                .filter(|element| element.is("PHOTO", NS))
                .filter_map(|photo| photo.child("BINVAL", NS))
                .collect();
            if pictures.len() > MOST_PICTURES {
                let text = format!("a card has at most {MOST_PICTURES} pictures");
                return Err(StanzaError::new(Condition::PolicyViolation, text));
            }
            let hashes = pictures.into_iter().map(hash).collect::<Result<Vec<_>, _>>()?;
            Ok(Self { text: Some(text), hashes: hashes.into_iter().flatten().collect() })
        }
    }

    /// What stands for a picture; nothing if there is none.
    fn hash(picture: &Element) -> Result<Option<String>, StanzaError> {
        // Old clients break the lines.
        let encoded: String = picture.text().split_ascii_whitespace().collect();
        let decoded = STANDARD.decode(encoded);
        let octets = decoded.map_err(|_| StanzaError::new(Condition::BadRequest, "a picture is no base64"))?;
        if octets.is_empty() {
            return Ok(None);
        }
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &octets);
        Ok(Some(hexadecimal::text(digest.as_ref())))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn read(inside: &str) -> Result<Card, Condition> {
            let card = Element::parse(&format!("<vCard xmlns='{NS}'>{inside}</vCard>"), "").unwrap();
            Card::read(&card).map_err(|error| error.condition)
        }

        // Proves: XEP-0486 §3.2, §3.3, §5.1
        #[test]
        fn a_picture_is_known_by_its_hash() {
            let photo = |octets: &str| format!("<PHOTO><TYPE>image/png</TYPE><BINVAL>{octets}</BINVAL></PHOTO>");
            // That of the text "abc" is in every book about hashes.
            let abc = "a9993e364706816aba3e25717850c26c9cd0d89d";
            let card = read(&photo("YWJj")).unwrap();
            assert_eq!(card.hashes, [abc]);
            assert_eq!(card.text, Some(format!("<vCard xmlns='{NS}'>{}</vCard>", photo("YWJj"))));
            assert_eq!(read(&photo(" YW\n Jj ")).unwrap().hashes, [abc]);
            assert_eq!(read(&(photo("YWJj") + &photo("YWJj"))).unwrap().hashes, [abc, abc]);
            assert_eq!(read(""), Ok(Card { text: None, hashes: Vec::new() }));
            assert!(read("<FN>The coven</FN>").unwrap().hashes.is_empty());
            assert!(read(&photo("")).unwrap().hashes.is_empty());
            assert_eq!(read(&photo("?")), Err(Condition::BadRequest));
            assert_eq!(read(&photo("YWJj").repeat(MOST_PICTURES + 1)), Err(Condition::PolicyViolation));
            assert_eq!(read(&photo(&"YWJj".repeat(MOST / 4))), Err(Condition::PolicyViolation));
        }
    }
}

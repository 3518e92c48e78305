//! XEP-0425 Moderated Message Retraction, version 0.3.0: what somebody has said in a room, moderators take back. Rooms act;
//! these are the words, also those of version 0.2 of the document, which clients still use.

use crate::hooks::{Entity, Extension, Spec};

use self::api::{NS, OLD_NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0425", version: "0.3.0" },
    name: "moderation",
    advertises: &[(Entity::Room, NS), (Entity::Room, OLD_NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    // Rooms write them.
    install: |_| {},
};

/// For rooms.
pub(super) mod api {
    use crate::clock::Timestamp;
    use crate::stanza::{Condition, StanzaError};
    use crate::xml::Element;

    use super::super::xep_0424_retraction::api::{NS as RETRACTION_NS, tombstone};

    /// The elements that ask.
    pub(in crate::extensions) const NAME: &str = "moderate";
    pub(in crate::extensions) const OLD_NAME: &str = "apply-to";

    pub(in crate::extensions) const NS: &str = "urn:xmpp:message-moderate:1";

    /// The same in version 0.2, which was fastened to a message (XEP-0422) and had its own retractions.
    pub(in crate::extensions) const OLD_NS: &str = "urn:xmpp:message-moderate:0";
    pub(in crate::extensions) const FASTENED_NS: &str = "urn:xmpp:fasten:0";
    pub(in crate::extensions) const OLD_RETRACTION_NS: &str = "urn:xmpp:message-retract:0";

    /// What a moderator asks for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::extensions) struct Moderation {
        /// Of the message, as the room has given it.
        pub(in crate::extensions) id: String,
        pub(in crate::extensions) reason: Option<String>,
    }

    /// Who has done it.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::extensions) struct Moderator<'a> {
        /// `room/nick`.
        pub(in crate::extensions) address: &'a str,
        pub(in crate::extensions) occupant: &'a Element,
    }

    impl Moderation {
        /// Reads the request, in either version.
        ///
        /// # Errors
        /// `bad-request`: something is missing; `feature-not-implemented`: it is no retraction.
        pub(in crate::extensions) fn parse(element: &Element) -> Result<Self, StanzaError> {
            let is_new = element.is(NAME, NS);
            let moderate = if is_new { Some(element) } else { element.child(NAME, OLD_NS) };
            let (Some(moderate), Some(id)) = (moderate, element.attribute("id")) else {
                return Err(StanzaError::new(Condition::BadRequest, "a message has to be named"));
            };
            let (ns, retraction) = if is_new { (NS, RETRACTION_NS) } else { (OLD_NS, OLD_RETRACTION_NS) };
            if moderate.child("retract", retraction).is_none() {
                return Err(StanzaError::new(Condition::FeatureNotImplemented, "messages can be retracted"));
            }
            let reason = moderate.child("reason", ns).map(Element::text).filter(|reason| !reason.is_empty());
            Ok(Self { id: id.to_owned(), reason })
        }

        /// What all occupants are told, in both versions (XEP-0425#usecase-success).
        pub(in crate::extensions) fn told(&self, by: Moderator<'_>) -> [Element; 2] {
            let retract = Element::new("retract", RETRACTION_NS).with("id", &self.id).with_child(by.moderated(NS));
            let old = by.moderated(OLD_NS).with_child(Element::new("retract", OLD_RETRACTION_NS));
            let old = self.reason_in(old, OLD_NS);
            let fastened = Element::new(OLD_NAME, FASTENED_NS).with("id", &self.id).with_child(old);
            [self.reason_in(retract, RETRACTION_NS), fastened]
        }

        /// What is left of the message (XEP-0425#tombstones); `told` is the id of what was told then.
        pub(in crate::extensions) fn tombstone(&self, by: Moderator<'_>, told: &str, now: Timestamp) -> Element {
            self.reason_in(tombstone(told, now).with_child(by.moderated(NS)), RETRACTION_NS)
        }

        fn reason_in(&self, element: Element, ns: &str) -> Element {
            match &self.reason {
                Some(reason) => element.with_child(Element::new("reason", ns).with_text(reason)),
                None => element,
            }
        }
    }

    impl Moderator<'_> {
        fn moderated(self, ns: &str) -> Element {
            Element::new("moderated", ns).with("by", self.address).with_child(self.occupant.clone())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn parsed(xml: &str) -> Result<Moderation, Condition> {
            Moderation::parse(&Element::parse(xml, "").unwrap()).map_err(|error| error.condition)
        }

        fn moderation(reason: Option<&str>) -> Moderation {
            Moderation { id: "a".to_owned(), reason: reason.map(str::to_owned) }
        }

        // Proves: XEP-0425 §3
        #[test]
        fn what_moderators_ask_in_both_versions() {
            let new = |inside: &str| parsed(&format!("<moderate xmlns='{NS}' id='a'>{inside}</moderate>"));
            let old = |inside: &str| {
                parsed(&format!(
                    "<apply-to xmlns='{FASTENED_NS}' id='a'><moderate xmlns='{OLD_NS}'>{inside}</moderate></apply-to>"
                ))
            };
            let (retract, old_retract) =
                (format!("<retract xmlns='{RETRACTION_NS}'/>"), format!("<retract xmlns='{OLD_RETRACTION_NS}'/>"));
            assert_eq!(new(&retract), Ok(moderation(None)));
            assert_eq!(new(&format!("{retract}<reason>x</reason>")), Ok(moderation(Some("x"))));
            assert_eq!(old(&old_retract), Ok(moderation(None)));
            assert_eq!(old(&format!("{old_retract}<reason>x</reason>")), Ok(moderation(Some("x"))));
            assert_eq!(new(&old_retract), Err(Condition::FeatureNotImplemented));
            assert_eq!(old(&retract), Err(Condition::FeatureNotImplemented));
            assert_eq!(parsed(&format!("<moderate xmlns='{NS}'>{retract}</moderate>")), Err(Condition::BadRequest));
            assert_eq!(parsed(&format!("<apply-to xmlns='{FASTENED_NS}' id='a'/>")), Err(Condition::BadRequest));
        }

        // Proves: XEP-0425 §3.1, §4
        #[test]
        fn what_occupants_are_told_and_what_stays() {
            let occupant = Element::new("occupant-id", "urn:example").with("id", "o");
            let by = Moderator { address: "coven@chat.example/firstwitch", occupant: &occupant };
            let moderated = |ns: &str, inside: &str| {
                format!(
                    "<moderated xmlns='{ns}' by='coven@chat.example/firstwitch'><occupant-id xmlns='urn:example' id='o'/>{inside}</moderated>"
                )
            };
            let [told, old] = moderation(Some("why")).told(by);
            assert_eq!(
                told.to_xml(""),
                format!("<retract xmlns='{RETRACTION_NS}' id='a'>{}<reason>why</reason></retract>", moderated(NS, ""))
            );
            let inside = format!("<retract xmlns='{OLD_RETRACTION_NS}'/><reason>why</reason>");
            assert_eq!(
                old.to_xml(""),
                format!("<apply-to xmlns='{FASTENED_NS}' id='a'>{}</apply-to>", moderated(OLD_NS, &inside))
            );
            assert_eq!(
                moderation(None).tombstone(by, "m", Timestamp::default()).to_xml(""),
                format!(
                    "<retracted xmlns='{RETRACTION_NS}' id='m' stamp='1970-01-01T00:00:00.000Z'>{}</retracted>",
                    moderated(NS, "")
                )
            );
        }
    }
}

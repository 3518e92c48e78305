//! XEP-0390 Entity Capabilities 2.0, version 0.3.2: the successor of XEP-0115, whose hash cannot be the
//! same for two different answers. Nobody here needs the capabilities of others.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::hooks::discovery::INFO_NS;
use crate::hooks::{Entity, Extension, Registrar, Spec, form};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0390", version: "0.3.2" },
    name: "capabilities-2",
    advertises: &[(Entity::Domain, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:caps";

/// Namespace of a hash value (XEP-0300).
const HASHES_NS: &str = "urn:xmpp:hashes:2";

/// One that everybody must have (XEP-0414).
const ALGORITHM: &str = "sha-256";

fn install(at: &mut Registrar<'_>) {
    // §4.3.
    at.alias(Entity::Domain, |info| format!("{NS}#{ALGORITHM}.{}", hash(info)));
    let about = at.catalogue.about_domains().clone();
    // §5.2, for clients and servers alike.
    at.stream_feature(move |stream| {
        let hash = hash(&about.info(None).filter(|_| stream.authenticated)?);
        let hash = Element::new("hash", HASHES_NS).with("algo", ALGORITHM).with_text(&hash);
        Some(Element::new("c", NS).with_child(hash))
    });
}

fn hash(info: &Element) -> String {
    BASE64_STANDARD.encode(digest::digest(&digest::SHA256, &input(info)))
}

/// Stands behind each value (§4.1).
const END_OF_VALUE: u8 = 0x1f;
/// Behind each field of a form, and each identity.
const END_OF_FIELD: u8 = 0x1e;
/// Behind each form.
const END_OF_FORM: u8 = 0x1d;
/// Behind all features, all identities, all forms.
const END_OF_PART: u8 = 0x1c;

/// What is hashed (§4.1).
fn input(info: &Element) -> Vec<u8> {
    let named = |name: &'static str| info.elements().filter(move |element| element.is(name, INFO_NS));
    let features = named("feature").map(|feature| value(feature.attribute("var")));
    let identities = named("identity").map(|identity| {
        let parts = ["category", "type", "xml:lang", "name"].map(|name| value(identity.attribute(name)));
        ended(parts.concat(), END_OF_FIELD)
    });
    let forms = info.elements().filter(|element| element.is("x", form::NS)).map(|form| {
        let fields = form.elements().filter(|element| element.is("field", form::NS)).map(|field| {
            let values = field.elements().filter(|element| element.is("value", form::NS));
            let values = sorted(values.map(|it| value(Some(&it.text()))));
            ended([value(field.attribute("var")), values].concat(), END_OF_FIELD)
        });
        ended(sorted(fields), END_OF_FORM)
    });
    [sorted(features), sorted(identities), sorted(forms)].map(|part| ended(part, END_OF_PART)).concat()
}

fn value(text: Option<&str>) -> Vec<u8> {
    ended(text.unwrap_or_default().into(), END_OF_VALUE)
}

fn ended(mut octets: Vec<u8>, end: u8) -> Vec<u8> {
    octets.push(end);
    octets
}

/// One after the other, ordered by their octets.
fn sorted(strings: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut strings: Vec<_> = strings.collect();
    strings.sort_unstable();
    strings.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inside: &str, features: &[&str]) -> String {
        let features: String = features.iter().map(|var| format!("<feature var='{var}'/>")).collect();
        hash(&Element::parse(&format!("<query xmlns='{INFO_NS}'>{inside}{features}</query>"), "").unwrap())
    }

    // Proves: XEP-0390 §4.1, §4.2, §4.5.1
    #[test]
    fn the_simple_example() {
        let features = [
            "http://jabber.org/protocol/si",
            "http://jabber.org/protocol/bytestreams",
            "http://jabber.org/protocol/chatstates",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "urn:xmpp:ping",
            "jabber:iq:time",
            "jabber:iq:privacy",
            "jabber:iq:version",
            "http://jabber.org/protocol/rosterx",
            "urn:xmpp:time",
            "jabber:x:oob",
            "http://jabber.org/protocol/ibb",
            "http://jabber.org/protocol/si/profile/file-transfer",
            "urn:xmpp:receipts",
            "jabber:iq:roster",
            "jabber:iq:last",
        ];
        let identity = "<identity category='client' name='BombusMod' type='mobile'/>";
        assert_eq!(of(identity, &features), "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=");
    }

    // Proves: XEP-0390 §4.1, §4.5.2
    #[test]
    fn the_complex_example() {
        let features = [
            "games:board",
            "http://jabber.org/protocol/activity",
            "http://jabber.org/protocol/activity+notify",
            "http://jabber.org/protocol/bytestreams",
            "http://jabber.org/protocol/chatstates",
            "http://jabber.org/protocol/commands",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "http://jabber.org/protocol/evil",
            "http://jabber.org/protocol/feature-neg",
            "http://jabber.org/protocol/geoloc",
            "http://jabber.org/protocol/geoloc+notify",
            "http://jabber.org/protocol/ibb",
            "http://jabber.org/protocol/iqibb",
            "http://jabber.org/protocol/mood",
            "http://jabber.org/protocol/mood+notify",
            "http://jabber.org/protocol/rosterx",
            "http://jabber.org/protocol/si",
            "http://jabber.org/protocol/si/profile/file-transfer",
            "http://jabber.org/protocol/tune",
            "http://www.facebook.com/xmpp/messages",
            "http://www.xmpp.org/extensions/xep-0084.html#ns-metadata+notify",
            "jabber:iq:avatar",
            "jabber:iq:browse",
            "jabber:iq:dtcp",
            "jabber:iq:filexfer",
            "jabber:iq:ibb",
            "jabber:iq:inband",
            "jabber:iq:jidlink",
            "jabber:iq:last",
            "jabber:iq:oob",
            "jabber:iq:privacy",
            "jabber:iq:roster",
            "jabber:iq:time",
            "jabber:iq:version",
            "jabber:x:data",
            "jabber:x:event",
            "jabber:x:oob",
            "urn:xmpp:avatar:metadata+notify",
            "urn:xmpp:ping",
            "urn:xmpp:receipts",
            "urn:xmpp:time",
        ];
        let inside = "<identity category='client' name='Tkabber' type='pc' xml:lang='en'/>\
            <identity category='client' name='\u{422}\u{43a}\u{430}\u{431}\u{431}\u{435}\u{440}' type='pc' xml:lang='ru'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
            <field var='software'><value>Tkabber</value></field>\
            <field var='software_version'><value>0.11.1-svn-20111216-mod (Tcl/Tk 8.6b2)</value></field>\
            <field var='os'><value>Windows</value></field><field var='os_version'><value>XP</value></field></x>";
        assert_eq!(of(inside, &features), "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=");
    }

    // Proves: XEP-0390 §4.1
    #[test]
    fn what_looks_alike_hashes_to_something_else() {
        assert_ne!(of("", &["a", "b"]), of("", &["ab"]));
        let form = |inside: &str| of(&format!("<x xmlns='jabber:x:data'>{inside}</x>"), &[]);
        assert_ne!(form("<field var='a'><value>b</value></field>"), form("<field var='a'/><field var='b'/>"));
    }
}

//! XEP-0115 Entity Capabilities, version 1.6.0: a hash of what the domain says about itself, so that
//! clients and servers that have seen it need not ask. Nobody here needs the capabilities of others.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::hooks::discovery::INFO_NS;
use crate::hooks::{Entity, Extension, Registrar, Spec, form};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0115", version: "1.6.0" },
    name: "capabilities",
    advertises: &[(Entity::Domain, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "http://jabber.org/protocol/caps";

/// Names the software (§4): where people find out more about it.
const NODE: &str = env!("CARGO_PKG_HOMEPAGE");

fn install(at: &mut Registrar<'_>) {
    at.alias(Entity::Domain, |info| format!("{NODE}#{}", verification(info)));
    let about = at.catalogue.about_domains().clone();
    // §6.3, for clients and servers alike.
    at.stream_feature(move |stream| {
        let ver = verification(&about.info(None).filter(|_| stream.authenticated)?);
        Some(Element::new("c", NS).with("hash", "sha-1").with("node", NODE).with("ver", &ver))
    });
}

/// The verification string of a `disco#info` (§5.1).
fn verification(info: &Element) -> String {
    BASE64_STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, hashed(info).as_bytes()))
}

/// What is hashed; text in Rust sorts by its octets.
fn hashed(info: &Element) -> String {
    let named = |name: &'static str| info.elements().filter(move |element| element.is(name, INFO_NS));
    let attribute = |element: &Element, name: &str| element.attribute(name).unwrap_or_default().to_owned();
    let mut identities: Vec<[String; 4]> = named("identity")
        .map(|identity| ["category", "type", "xml:lang", "name"].map(|name| attribute(identity, name)))
        .collect();
    identities.sort_unstable();
    let mut features: Vec<String> = named("feature").map(|feature| attribute(feature, "var")).collect();
    features.sort_unstable();
    let mut forms: Vec<Vec<String>> =
        info.elements().filter(|element| element.is("x", form::NS)).filter_map(form_parts).collect();
    forms.sort_unstable();
    let parts = identities.iter().map(|identity| identity.join("/")).chain(features).chain(forms.concat());
    parts.fold(String::new(), |text, part| text + &part + "<")
}

/// Its `FORM_TYPE`, then each other field with its values; `None` for a form without (§5.4).
fn form_parts(form: &Element) -> Option<Vec<String>> {
    let values = |field: &Element| {
        let values = field.elements().filter(|value| value.is("value", form::NS)).map(Element::text);
        let mut values: Vec<String> = values.collect();
        values.sort_unstable();
        values
    };
    let mut parts = Vec::new();
    let mut fields = Vec::new();
    for field in form.elements().filter(|element| element.is("field", form::NS)) {
        match field.attribute("var") {
            Some("FORM_TYPE") if field.attribute("type") == Some("hidden") => parts = values(field),
            var => fields.push((var.unwrap_or_default().to_owned(), values(field))),
        }
    }
    if parts.is_empty() {
        return None;
    }
    fields.sort_unstable();
    parts.extend(fields.into_iter().flat_map(|(var, values)| std::iter::once(var).chain(values)));
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(inside: &str) -> String {
        verification(&Element::parse(&format!("<query xmlns='{INFO_NS}'>{inside}</query>"), "").unwrap())
    }

    // Proves: XEP-0115 §5.1, §5.2
    #[test]
    fn the_simple_example() {
        let inside = "<identity category='client' type='pc' name='Exodus 0.9.1'/>\
            <feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/caps'/>";
        assert_eq!(hash(inside), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    // Proves: XEP-0115 §5.1, §5.3, §5.4
    #[test]
    fn the_complex_example() {
        let field = |var: &str, values: &[&str]| {
            let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
            format!("<field var='{var}'>{values}</field>")
        };
        let inside = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='\u{3a8} 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>"
            .to_owned()
            + &field("software", &["Psi"])
            + &field("ip_version", &["ipv6", "ipv4"])
            + "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>"
            + &field("os_version", &["10.5.1"])
            + &field("os", &["Mac"])
            + &field("software_version", &["0.11"])
            + "</x>";
        assert_eq!(hash(&inside), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
        // Forms that do not say what they are do not count.
        let odd = "<x xmlns='jabber:x:data' type='result'><field var='a'><value>b</value></field></x>";
        assert_eq!(hash(&(inside.clone() + odd)), hash(&inside));
        let shown = odd.replace("'a'", "'FORM_TYPE'");
        assert_eq!(hash(&(inside.clone() + &shown)), hash(&inside));
    }

    // Proves: XEP-0115 §5.1
    #[test]
    fn identities_and_forms_have_an_order() {
        let info = Element::parse(
            &format!(
                "<query xmlns='{INFO_NS}'><identity category='b' type='a'/><identity category='a' type='b' name='/'/>\
                 <x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>z</value></field></x>\
                 <x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>y</value></field><field var='f'/></x></query>"
            ),
            "",
        );
        assert_eq!(hashed(&info.unwrap()), "a/b///<b/a//<y<f<z<");
    }
}

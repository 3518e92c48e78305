//! XEP-0386 Bind 2, version 1.1.0: a resource together with authentication, and what its session begins with.

use crate::jid::resourcepart;
use crate::xml::Element;

/// Namespace of the request.
pub const BIND2_NS: &str = "urn:xmpp:bind:0";

/// A request to bind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// What the client calls itself, for everybody to see.
    pub tag: Option<String>,
    /// What the session is to begin with; extensions may know it.
    pub features: Vec<Element>,
}

impl Wish {
    /// Reads `<bind/>`.
    #[must_use]
    pub fn of(bind: &Element) -> Self {
        let mut wish = Self::default();
        for child in bind.elements() {
            if child.is("tag", BIND2_NS) {
                wish.tag = Some(child.text()).filter(|tag| !tag.is_empty());
            } else {
                wish.features.push(child.clone());
            }
        }
        wish
    }

    /// The resource whose own part is `generated`; a tag that no resource may have is left out (XEP-0386 §3.2.1).
    #[must_use]
    pub fn resource(&self, generated: &str) -> String {
        let tagged = self.tag.as_ref().map(|tag| format!("{tag}/{generated}"));
        let prepared = tagged.as_deref().and_then(|tagged| resourcepart(tagged).ok());
        prepared.map_or_else(|| generated.to_owned(), std::borrow::Cow::into_owned)
    }
}

/// Whether `resource` is one whose own part is `generated`.
#[must_use]
pub fn is_of(resource: &str, generated: &str) -> bool {
    resource.strip_suffix(generated).is_some_and(|tag| tag.is_empty() || tag.ends_with('/'))
}

/// `<bound/>`; `results` is XML: what the session begins with.
#[must_use]
pub fn bound(results: &str) -> String {
    ["<bound xmlns='", BIND2_NS, "'>", results, "</bound>"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0386 §3.2.1
    #[test]
    fn a_resource_is_what_the_client_calls_itself_and_what_the_server_makes() {
        let wish = |xml: &str| Wish::of(&Element::parse(xml, BIND2_NS).unwrap());
        for (xml, resource) in [
            ("<bind/>", "rQ7Lwut0"),
            ("<bind><tag/></bind>", "rQ7Lwut0"),
            ("<bind><tag>AwesomeXMPP</tag></bind>", "AwesomeXMPP/rQ7Lwut0"),
            ("<bind><tag>A/B c</tag></bind>", "A/B c/rQ7Lwut0"),
            ("<bind><tag>a\u{7}b</tag></bind>", "rQ7Lwut0"),
            (&format!("<bind><tag>{}</tag></bind>", "x".repeat(1020)), "rQ7Lwut0"),
        ] {
            assert_eq!(wish(xml).resource("rQ7Lwut0"), resource);
            assert!(is_of(resource, "rQ7Lwut0"));
        }
        for other in ["", "x", "xrQ7Lwut0", "rQ7Lwut0/x", "x/rQ7Lwut"] {
            assert!(!is_of(other, "rQ7Lwut0"), "{other}");
        }
        let wish = wish("<bind><enable xmlns='urn:xmpp:carbons:2'/><tag>X</tag><x/></bind>");
        assert_eq!(wish.features.len(), 2);
        assert_eq!(bound("<x xmlns='y'/>"), "<bound xmlns='urn:xmpp:bind:0'><x xmlns='y'/></bound>");
    }
}

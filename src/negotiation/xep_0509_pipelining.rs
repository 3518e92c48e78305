//! XEP-0509 Initial Authentication Pipelining, version 0.2.0: a client that remembers what it was offered the last time
//! authenticates before it has seen what is offered now, and learns without harm if that has changed.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::xml::Element;

use super::features::Features;

/// Namespace of the feature.
pub const IAP_NS: &str = "urn:xmpp:iap:0";

/// Octets of the hash that are told: nobody gains anything by two offers with the same one.
const OCTETS: usize = 12;

/// What a stream offers, as a text that changes when it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion(String);

impl ConfigVersion {
    /// The version of these features, in which it is not mentioned itself (XEP-0509 §2.3.1).
    #[must_use]
    pub fn of(features: &Features) -> Self {
        let hash = digest(&SHA256, features.xml().as_bytes());
        Self(STANDARD.encode(hash.as_ref().get(..OCTETS).unwrap_or_default()))
    }

    /// The feature.
    #[must_use]
    pub fn feature(&self) -> Element {
        Element::new("config-version", IAP_NS).with("scheme", "opaque").with("value", &self.0)
    }

    /// Whether a client means this one; no other counts as good as it.
    #[must_use]
    pub fn is(&self, value: &str) -> bool {
        self.0 == value
    }
}

/// What a client means that names no version.
#[must_use]
pub fn value(element: &Element) -> String {
    element.attribute("value").unwrap_or_default().to_owned()
}

/// `<config-version-mismatch/>`.
#[must_use]
pub fn mismatch() -> Element {
    Element::new("config-version-mismatch", IAP_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0509 §2.1, §2.3.1
    #[test]
    fn the_version_is_another_one_when_something_else_is_offered() {
        let version = |name| ConfigVersion::of(&Features::default().with(&Element::new(name, "urn:example")));
        let feature = version("a").feature();
        // It never changes while the features do not: clients remember it.
        assert_eq!(
            feature.to_xml(""),
            "<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='qtH5ZpGEff6SlgaK'/>"
        );
        let told = value(&feature);
        assert!(version("a").is(&told) && !version("b").is(&told) && !version("a").is(""));
        assert_eq!(value(&Element::new("config-version", IAP_NS)), "");
    }
}

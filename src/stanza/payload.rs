//! The canonical payload of a stanza.

use std::borrow::Cow;

use crate::xml::{Element, Node};

use super::CLIENT_NS;
use super::children::{Child, Children};

/// The children of a stanza as XML text in canonical form: complete relative to the content
/// namespace (whose elements stand unprefixed and undeclared), no CDATA, only declared prefixes,
/// safe to splice into any stream, archive or copy as it stands.
///
/// Only the gate and our own writer make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload<'a>(Cow<'a, str>);

impl<'a> Payload<'a> {
    pub const EMPTY: Self = Self(Cow::Borrowed(""));

    /// Takes text that is canonical already; the caller vouches for it.
    #[must_use]
    pub fn canonical(text: impl Into<Cow<'a, str>>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn borrow(&self) -> Payload<'_> {
        Payload(Cow::Borrowed(&self.0))
    }

    #[must_use]
    pub fn into_owned(self) -> Payload<'static> {
        Payload(Cow::Owned(self.0.into_owned()))
    }

    /// What the start tags of the child elements say, for those who need not know what is inside.
    pub fn children(&self) -> impl Iterator<Item = Child<'_>> {
        Children::new(&self.0)
    }

    /// The child elements, read with quick-xml. Elements of the content namespace are in
    /// [`CLIENT_NS`] whatever stream they came from. Empty if the text is broken, which the gate
    /// rules out.
    #[must_use]
    pub fn elements(&self) -> Vec<Element> {
        let nodes = Element::parse_all(&self.0, CLIENT_NS).unwrap_or_default();
        nodes
            .into_iter()
            .filter_map(|node| match node {
                Node::Element(element) => Some(element),
                Node::Text(_) => None,
            })
            .collect()
    }

    /// The first child element, which in an IQ request is the only one (RFC 6120 §8.2.3).
    #[must_use]
    pub fn first(&self) -> Option<Element> {
        self.elements().into_iter().next()
    }
}

impl From<Element> for Payload<'_> {
    fn from(element: Element) -> Self {
        Self(Cow::Owned(element.to_xml(CLIENT_NS)))
    }
}

//! The canonical payload of a stanza.

use std::borrow::Cow;

use crate::xml::{Element, Node};

use super::CLIENT_NS;
use super::children::{Child, Children};
use super::namespaces::Namespaces;

/// The children of a stanza as XML text in canonical form: complete relative to the content
/// namespace (whose elements stand unprefixed and undeclared), no CDATA, only declared prefixes,
/// safe to splice into any stream, archive or copy as it stands.
///
/// Only the gate and our own writer make one.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    text: Cow<'a, str>,
    /// The namespaces that are declared in it.
    noted: Namespaces,
}

impl<'a> Payload<'a> {
    pub const EMPTY: Self = Self { text: Cow::Borrowed(""), noted: Namespaces::NONE };

    /// Takes text that is canonical already; the caller vouches for it.
    #[must_use]
    pub fn canonical(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), noted: Namespaces::ANY }
    }

    /// The same for text in which no other namespaces than these are declared: what has none is that of the content.
    #[must_use]
    pub const fn noted(text: &'a str, noted: Namespaces) -> Self {
        Self { text: Cow::Borrowed(text), noted }
    }

    /// Whether something of one of these namespaces may be in it, which are not that of the content: a no is certain, and
    /// costs nothing.
    #[must_use]
    pub const fn may_have(&self, namespaces: Namespaces) -> bool {
        self.noted.may_have(namespaces)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    #[must_use]
    pub fn borrow(&self) -> Payload<'_> {
        Payload { text: Cow::Borrowed(&self.text), noted: self.noted }
    }

    #[must_use]
    pub fn into_owned(self) -> Payload<'static> {
        Payload { text: Cow::Owned(self.text.into_owned()), noted: self.noted }
    }

    /// What the start tags of the child elements say, for those who need not know what is inside.
    pub fn children(&self) -> impl Iterator<Item = Child<'_>> {
        Children::new(&self.text)
    }

    /// The child elements, read with quick-xml. Elements of the content namespace are in
    /// [`CLIENT_NS`] whatever stream they came from. Empty if the text is broken, which the gate
    /// rules out.
    #[must_use]
    pub fn elements(&self) -> Vec<Element> {
        let nodes = Element::parse_all(&self.text, CLIENT_NS).unwrap_or_default();
        nodes
            .into_iter()
            .filter_map(|node| match node {
                Node::Element(element) => Some(element),
                Node::Text(_) => None,
            })
            .collect()
    }

    /// Takes out the child elements that are meant. If there are none, the text stays as it is written.
    pub fn remove(&mut self, is_meant: impl Fn(&Element) -> bool) {
        let elements = self.elements();
        if elements.iter().any(&is_meant) {
            let mut text = String::new();
            elements.iter().filter(|it| !is_meant(it)).for_each(|it| it.write(&mut text, CLIENT_NS));
            self.text = text.into();
        }
    }

    /// The first child element, which in an IQ request is the only one (RFC 6120 §8.2.3).
    #[must_use]
    pub fn first(&self) -> Option<Element> {
        self.elements().into_iter().next()
    }
}

/// What was noted about a text is no part of it.
impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Payload<'_> {}

impl From<Element> for Payload<'_> {
    fn from(element: Element) -> Self {
        Self::canonical(element.to_xml(CLIENT_NS))
    }
}

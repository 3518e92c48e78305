//! What a reader finds in a document (the part of the XML Information Set that anybody looks at): elements with their namespaces,
//! attributes in any order, character data. Prefixes are not among it.

use std::collections::BTreeMap;

use comity::stanza::CLIENT_NS;
use comity::stream::ContentNamespace;
use comity::xml::{Element, Node};

/// A namespace, which may be empty, and a name without prefix.
pub(crate) type Name = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) attributes: BTreeMap<Name, String>,
    pub(crate) inside: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Element(Found),
    Text(String),
}

/// What `xml:` is bound to for ever.
const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

impl Found {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, attributes: BTreeMap::new(), inside: Vec::new() }
    }

    /// What our own tree says of it.
    pub(crate) fn of(element: &Element) -> Self {
        let attribute = |(name, value): (&str, &str)| {
            let (ns, local) = if let Some(local) = name.strip_prefix("xml:") {
                (XML_NS, local)
            } else {
                name.strip_prefix('{').and_then(|name| name.rsplit_once('}')).unwrap_or(("", name))
            };
            ((ns.to_owned(), local.to_owned()), value.to_owned())
        };
        let piece = |node: &Node| match node {
            Node::Element(element) => Piece::Element(Self::of(element)),
            Node::Text(text) => Piece::Text(text.clone()),
        };
        Self {
            name: (element.ns().to_owned(), element.name().to_owned()),
            attributes: element.attributes().map(attribute).collect(),
            inside: element.nodes().iter().map(piece).collect(),
        }
    }

    /// Adds character data, which comes in any number of pieces.
    pub(crate) fn push_text(&mut self, text: &str) {
        match self.inside.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.inside.push(Piece::Text(text.to_owned())),
        }
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.inside.iter().filter_map(|piece| match piece {
            Piece::Element(element) => Some(element),
            Piece::Text(_) => None,
        })
    }

    pub(crate) fn attribute(&self, ns: &str, local: &str) -> Option<&str> {
        let mut all = self.attributes.iter();
        all.find(|((its, name), _)| its == ns && name == local).map(|(_, value)| value.as_str())
    }

    pub(crate) fn lang(&self) -> Option<&str> {
        self.attribute(XML_NS, "lang")
    }

    /// The same with one namespace for all content namespaces, which is what the gate makes of them.
    pub(crate) fn unified(mut self) -> Self {
        let content = [ContentNamespace::Server, ContentNamespace::Component];
        if content.iter().any(|known| known.as_str() == self.name.0) {
            CLIENT_NS.clone_into(&mut self.name.0);
        }
        self.inside = self.inside.into_iter().map(Piece::unified).collect();
        self
    }
}

impl Piece {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Element(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    fn unified(self) -> Self {
        match self {
            Self::Element(element) => Self::Element(element.unified()),
            text @ Self::Text(_) => text,
        }
    }
}

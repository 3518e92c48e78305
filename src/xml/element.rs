//! A small tree for the payloads that the server itself consumes or writes.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, PrefixDeclaration, ResolveResult};
use quick_xml::reader::NsReader;
use zeroize::Zeroize;

use super::escape::{escape_into, escape_text_into};

/// What `xml:` is bound to for ever (Namespaces in XML 1.0 §3): nothing else may be, and nobody declares it.
pub(crate) const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

/// Why a piece of text is not a sequence of elements.
///
/// Payloads have passed the gate before, so from the network this is never seen; stored or
/// configured text may produce it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not well-formed XML")
    }
}

impl std::error::Error for Malformed {}

/// An element with its namespace resolved; prefixes are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: Box<str>,
    ns: Box<str>,
    attributes: Vec<(Box<str>, Box<str>)>,
    children: Vec<Node>,
}

/// What may stand inside an [`Element`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// An empty element `name` in namespace `ns`.
    #[must_use]
    pub fn new(name: &str, ns: &str) -> Self {
        Self { name: name.into(), ns: ns.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Adds attribute `name`; the only prefix that may be used is `xml:`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets attribute `name`.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.attributes.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.attributes.push((name.into(), value.into())),
        }
    }

    /// Adds a child element.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// Adds character data.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    /// Adds a child element in place.
    pub fn push(&mut self, child: Self) {
        self.children.push(Node::Element(child));
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// Whether this is the element `name` of namespace `ns`.
    #[must_use]
    pub fn is(&self, name: &str, ns: &str) -> bool {
        &*self.name == name && &*self.ns == ns
    }

    /// The value of the attribute without namespace (or `xml:…`) called `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// All attributes in document order; those of a foreign namespace are named `{namespace}name`.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first child element `name` of namespace `ns`.
    #[must_use]
    pub fn child(&self, name: &str, ns: &str) -> Option<&Self> {
        self.elements().find(|child| child.is(name, ns))
    }

    /// The child elements in document order.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// All children in document order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.children
    }

    /// The character data directly inside this element, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Overwrites its text and its attributes, as far as anything in them may be secret.
    pub fn wipe(&mut self) {
        self.attributes.iter_mut().for_each(|(_, value)| value.zeroize());
        for node in &mut self.children {
            match node {
                Node::Element(element) => element.wipe(),
                Node::Text(text) => text.zeroize(),
            }
        }
    }

    /// Appends this element as XML where the default namespace in force is `inherited`.
    pub fn write(&self, out: &mut String, inherited: &str) {
        let (prefix, within) = if &*self.ns == XML_NS { ("xml:", inherited) } else { ("", &*self.ns) };
        out.push('<');
        out.push_str(prefix);
        out.push_str(&self.name);
        if within != inherited {
            out.push_str(" xmlns='");
            escape_into(out, &self.ns);
            out.push('\'');
        }
        for (count, (name, value)) in self.attributes.iter().enumerate() {
            write_attribute(out, count, name, value);
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.children {
            match node {
                Node::Element(child) => child.write(out, within),
                Node::Text(text) => escape_text_into(out, text),
            }
        }
        out.push_str("</");
        out.push_str(prefix);
        out.push_str(&self.name);
        out.push('>');
    }

    /// This element as XML where the default namespace in force is `inherited`.
    #[must_use]
    pub fn to_xml(&self, inherited: &str) -> String {
        let mut out = String::new();
        self.write(&mut out, inherited);
        out
    }

    /// Reads a sequence of elements where the default namespace in force is `inherited`.
    ///
    /// # Errors
    /// [`Malformed`] if `text` is not a sequence of complete elements.
    pub fn parse_all(text: &str, inherited: &str) -> Result<Vec<Node>, Malformed> {
        parse(text, inherited)
    }

    /// Reads the one element that `text` holds.
    ///
    /// # Errors
    /// [`Malformed`] if `text` is not exactly one element.
    pub fn parse(text: &str, inherited: &str) -> Result<Self, Malformed> {
        let mut only = None;
        for node in parse(text, inherited)? {
            match node {
                Node::Element(element) if only.is_none() => only = Some(element),
                Node::Text(text) if text.trim().is_empty() => {}
                _ => return Err(Malformed),
            }
        }
        only.ok_or(Malformed)
    }
}

fn write_attribute(out: &mut String, count: usize, name: &str, value: &str) {
    out.push(' ');
    // A namespace may have braces in it, a name has none: what is behind the first one may be anything.
    if let Some((ns, local)) = name.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) {
        let prefix = format!("a{count}");
        out.push_str("xmlns:");
        out.push_str(&prefix);
        out.push_str("='");
        escape_into(out, ns);
        out.push_str("' ");
        out.push_str(&prefix);
        out.push(':');
        out.push_str(local);
    } else {
        out.push_str(name);
    }
    out.push_str("='");
    escape_into(out, value);
    out.push('\'');
}

fn parse(text: &str, inherited: &str) -> Result<Vec<Node>, Malformed> {
    let mut reader = NsReader::from_str(text);
    let inherit = reader.resolver_mut().add(PrefixDeclaration::Default, Namespace(inherited));
    inherit.map_err(|_| Malformed)?;
    let mut open: Vec<Element> = Vec::new();
    let mut done = Vec::new();
    loop {
        match reader.read_event().map_err(|_| Malformed)? {
            Event::Start(tag) => open.push(element(&reader, &tag)?),
            Event::Empty(tag) => {
                let element = element(&reader, &tag)?;
                attach(&mut open, &mut done, Node::Element(element));
            }
            Event::End(_) => {
                let element = open.pop().ok_or(Malformed)?;
                attach(&mut open, &mut done, Node::Element(element));
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                attach_text(&mut open, &mut done, &text);
            }
            Event::CData(data) => {
                let text = data.xml10_content();
                attach_text(&mut open, &mut done, &text);
            }
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref().map_err(|_| Malformed)? {
                    Some(character) => character.to_string(),
                    None => predefined(&reference).ok_or(Malformed)?.to_owned(),
                };
                attach_text(&mut open, &mut done, &text);
            }
            Event::Eof if open.is_empty() => return Ok(done),
            Event::Eof | Event::Comment(_) | Event::PI(_) | Event::DocType(_) | Event::Decl(_) => {
                return Err(Malformed);
            }
        }
    }
}

fn attach(open: &mut [Element], done: &mut Vec<Node>, node: Node) {
    match open.last_mut() {
        Some(parent) => parent.children.push(node),
        None => done.push(node),
    }
}

fn attach_text(open: &mut [Element], done: &mut Vec<Node>, text: &str) {
    let siblings = match open.last_mut() {
        Some(parent) => &mut parent.children,
        None => done,
    };
    match siblings.last_mut() {
        Some(Node::Text(before)) => before.push_str(text),
        // An empty CDATA section is nothing (XML 1.0 §2.7).
        _ if text.is_empty() => {}
        _ => siblings.push(Node::Text(text.to_owned())),
    }
}

fn predefined(name: &str) -> Option<&'static str> {
    quick_xml::escape::resolve_xml_entity(name)
}

fn element(reader: &NsReader<&[u8]>, tag: &BytesStart<'_>) -> Result<Element, Malformed> {
    let resolver = reader.resolver();
    let (ns, name) = resolver.resolve_element(tag.name());
    let ns = match ns {
        ResolveResult::Bound(ns) => meant(ns)?,
        // `xmlns=''` takes the inherited namespace away.
        ResolveResult::Unbound => Cow::Borrowed(""),
        ResolveResult::Unknown(_) => return Err(Malformed),
    };
    let mut element = Element::new(name.into_inner(), &ns);
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|_| Malformed)?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let value = attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0).map_err(|_| Malformed)?;
        let (ns, name) = resolver.resolve_attribute(attribute.key);
        let name = match ns {
            ResolveResult::Bound(ns) if ns.into_inner() == XML_NS => format!("xml:{}", name.into_inner()),
            ResolveResult::Bound(ns) => format!("{{{}}}{}", meant(ns)?, name.into_inner()),
            ResolveResult::Unbound => name.into_inner().to_owned(),
            ResolveResult::Unknown(_) => return Err(Malformed),
        };
        element.attributes.push((name.into(), value.into()));
    }
    Ok(element)
}

/// The namespace that a declaration means: quick-xml gives its value as it is written.
fn meant(ns: Namespace<'_>) -> Result<Cow<'_, str>, Malformed> {
    quick_xml::escape::unescape(ns.into_inner()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_namespaces_are_resolved() {
        let element = Element::parse("<p:a xmlns:p='x&amp;y' p:b='1'><c xmlns='z&#xd;'/></p:a>", "").unwrap();
        let expected = Element::new("a", "x&y").with("{x&y}b", "1").with_child(Element::new("c", "z\r"));
        assert_eq!(element, expected);
        assert_eq!(Element::parse(&element.to_xml(""), ""), Ok(element));
    }

    #[test]
    fn reads_what_it_writes() {
        let element = Element::new("query", "a:b")
            .with("id", "<'\">&\n")
            .with("xml:lang", "en")
            .with("{urn:x}y", "z")
            .with_child(Element::new("item", "a:b").with_text("1 < 2\r"))
            .with_child(Element::new("other", "c"));
        assert_eq!(Element::parse(&element.to_xml("jabber:client"), "jabber:client"), Ok(element));
    }

    /// Whoever chooses a namespace writes no markup with it.
    #[test]
    fn braces_in_namespaces_stay_in_them() {
        for ns in ["}", "a}b", "}/&gt;&lt;injected/&gt;&lt;b c='}", "{", "{}{}"] {
            let ns = ns.replace('\'', "&apos;");
            let element = Element::parse(&format!("<a xmlns:p='{ns}' p:b='1'/>"), "x").unwrap();
            assert_eq!(element.attributes().count(), 1);
            let written = element.to_xml("x");
            assert_eq!(Element::parse(&written, "x").as_ref(), Ok(&element), "{written}");
        }
    }

    /// Nobody may declare the namespace of `xml:` as the one of names without prefix (Namespaces in XML 1.0 §3).
    #[test]
    fn a_name_in_the_namespace_of_xml_keeps_its_prefix() {
        let text = "<a xmlns='x'><xml:b c='1'><d/><xml:e/><f xmlns='y'/></xml:b></a>";
        let element = Element::parse(text, "jabber:client").unwrap();
        let inside = element.elements().next().unwrap();
        assert_eq!((inside.ns(), inside.name()), (XML_NS, "b"));
        assert_eq!(inside.elements().map(Element::ns).collect::<Vec<_>>(), ["x", XML_NS, "y"]);
        assert_eq!(element.to_xml("jabber:client"), text);
    }

    #[test]
    fn an_unprefixed_name_inherits_the_namespace() {
        let element = Element::parse("<body>hi &amp; &#x21;<![CDATA[<]]></body>", "jabber:client");
        assert_eq!(element, Ok(Element::new("body", "jabber:client").with_text("hi & !<")));
    }

    #[test]
    fn the_inherited_namespace_can_be_taken_away() {
        let element = Element::parse("<body xmlns=''><a/></body>", "jabber:client");
        assert_eq!(element, Ok(Element::new("body", "").with_child(Element::new("a", ""))));
    }

    #[test]
    fn prefixes_are_resolved() {
        let element = Element::parse("<p:a xmlns:p='x'><b xmlns='y'/></p:a>", "jabber:client");
        assert_eq!(element, Ok(Element::new("a", "x").with_child(Element::new("b", "y"))));
    }

    #[test]
    fn broken_text_is_an_error() {
        for text in ["<a>", "</a>", "<a/><b/>", "text", "<a b='1' b='2'/>", "<a>&x;</a>", "<!--x--><a/>"] {
            assert_eq!(Element::parse(text, "x"), Err(Malformed), "{text}");
        }
    }
}

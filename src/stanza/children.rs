//! The child elements of a canonical payload at a glance: their names, without a tree and without an allocation.

use memchr::{memchr, memchr3};

use super::CLIENT_NS;
use crate::xml::XML_NS;

/// A child element of a stanza, as its start tag names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child<'a> {
    /// Without prefix.
    pub name: &'a str,
    /// As it is written; that of the content is [`CLIENT_NS`].
    pub ns: &'a str,
}

/// Goes from one child to the next.
pub(super) struct Children<'a> {
    rest: &'a str,
    /// How many elements are open.
    depth: usize,
}

impl<'a> Children<'a> {
    /// The children in `payload`, which is canonical: well-formed, and every prefix of a child is declared on it.
    pub(super) const fn new(payload: &'a str) -> Self {
        Self { rest: payload, depth: 0 }
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        loop {
            let at = memchr(b'<', self.rest.as_bytes())?;
            self.rest = self.rest.get(at + 1..)?;
            if self.rest.starts_with('/') {
                self.depth = self.depth.saturating_sub(1);
                continue;
            }
            let end = end_of_tag(self.rest)?;
            let (tag, rest) = (self.rest.get(..end)?, self.rest.get(end + 1..)?);
            self.rest = rest;
            let is_child = self.depth == 0;
            let content = tag.strip_suffix('/');
            if content.is_none() {
                self.depth += 1;
            }
            if is_child {
                return Some(child(content.unwrap_or(tag)));
            }
        }
    }
}

/// Where the start tag ends that `text` begins with: a `>` may stand inside quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr3(b'>', b'\'', b'"', bytes.get(from..)?)?;
        let quote = *bytes.get(at)?;
        if quote == b'>' {
            return Some(at);
        }
        from = at + 2 + memchr(quote, bytes.get(at + 1..)?)?;
    }
}

fn child(tag: &str) -> Child<'_> {
    let (name, attributes) = tag.split_once(is_space).unwrap_or((tag, ""));
    let (prefix, name) = name.split_once(':').map_or((None, name), |(prefix, name)| (Some(prefix), name));
    // The one prefix that nobody declares.
    let otherwise = if prefix == Some("xml") { XML_NS } else { CLIENT_NS };
    Child { name, ns: declared(attributes, prefix).unwrap_or(otherwise) }
}

/// The namespace that is declared for `prefix`.
fn declared<'a>(mut attributes: &'a str, prefix: Option<&str>) -> Option<&'a str> {
    loop {
        let (name, rest) = attributes.split_once('=')?;
        let rest = rest.trim_start_matches(is_space);
        let quote = rest.chars().next()?;
        let (value, after) = rest.get(1..)?.split_once(quote)?;
        let known = match name.trim_matches(is_space).strip_prefix("xmlns") {
            Some("") => prefix.is_none(),
            Some(declared) => prefix.is_some() && declared.strip_prefix(':') == prefix,
            None => false,
        };
        if known {
            return Some(value);
        }
        attributes = after;
    }
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(payload: &str) -> Vec<(&str, &str)> {
        Children::new(payload).map(|child| (child.name, child.ns)).collect()
    }

    #[test]
    fn only_children_are_seen() {
        assert_eq!(children(""), []);
        assert_eq!(children("text"), []);
        assert_eq!(children("<body>hi</body>"), [("body", CLIENT_NS)]);
        assert_eq!(
            children("<a xmlns='x'><body xmlns='jabber:client'/><b><c/></b></a> <subject/><body  a='>' />"),
            [("a", "x"), ("subject", CLIENT_NS), ("body", CLIENT_NS)]
        );
    }

    #[test]
    fn namespaces_are_found_however_they_are_written() {
        assert_eq!(children("<a\nb='c=\"d' xmlns\t=\n\"x\"/><a/>"), [("a", "x"), ("a", CLIENT_NS)]);
        assert_eq!(children("<p:a xmlns='y' xmlns:q='z' xmlns:p='x'><p:body/></p:a>"), [("a", "x")]);
        assert_eq!(children("<a xmlns:xmlns2='y' axmlns='z'/>"), [("a", CLIENT_NS)]);
        assert_eq!(children("<xml:body/><xml:a xmlns='x'>b</xml:a>"), [("body", XML_NS), ("a", XML_NS)]);
    }

    #[test]
    fn broken_text_ends_it() {
        for text in ["<", "<a", "<a b='", "<a b='>", "</a", "<a/><b c=\"'", "</></></><"] {
            Children::new(text).for_each(drop);
        }
    }
}

//! Writes again what is correct but not canonical: see [`Payload`](crate::stanza::Payload) for the
//! form and `namespace` for the one rule about content namespaces.
//!
//! The text has passed the scan; nothing is checked twice. Prefixes keep their names.

use std::borrow::Cow;

use crate::stanza::CLIENT_NS;
use crate::xml::escape_into;

use super::characters::is_space;
use super::namespace::is_content;
use super::record::Declaration;
use super::refusal::Refusal;
use super::scan::Around;
use super::value::{attribute, rewrite_cdata, rewrite_text};

/// A prefix in scope.
struct Binding<'t> {
    prefix: &'t str,
    namespace: Cow<'t, str>,
    /// Whether what has been written declares it, too.
    written: bool,
}

/// An element that is open.
struct Open<'t> {
    /// As written again.
    name: &'t str,
    /// How many bindings were in scope around it.
    bindings: usize,
    /// The default namespace as it was and as it is written; every content namespace counts as
    /// [`CLIENT_NS`].
    read: Cow<'t, str>,
    written: Cow<'t, str>,
}

/// One run over a payload.
pub(super) struct Rewrite<'t> {
    out: String,
    limit: usize,
    /// The default namespaces around the payload, as in [`Open`].
    read: Cow<'t, str>,
    bindings: Vec<Binding<'t>>,
    open: Vec<Open<'t>>,
}

/// The prefixes and namespaces that `declarations` of the element `text` bind.
pub(super) fn declared_on<'t>(text: &'t str, declarations: &[Declaration]) -> Vec<(&'t str, &'t str)> {
    let ranges = declarations.iter().map(|declaration| (declaration.prefix_range(), declaration.value_range()));
    ranges.filter_map(|(prefix, value)| Some((text.get(prefix)?, text.get(value)?))).collect()
}

/// One namespace name for all content namespaces.
fn unified(namespace: Cow<'_, str>) -> Cow<'_, str> {
    if is_content(namespace.as_bytes()) { Cow::Borrowed(CLIENT_NS) } else { namespace }
}

impl<'t> Rewrite<'t> {
    /// `inner` are the declarations of the stanza element as written.
    pub(super) fn new(around: Around<'t>, inner: Vec<(&'t str, &'t str)>) -> Self {
        let mut read = unified(Cow::Borrowed(around.outer.default(around.content)));
        let mut bindings = Vec::new();
        let mut bind = |prefix, namespace| bindings.push(Binding { prefix, namespace, written: false });
        for (prefix, namespace) in around.outer.bindings() {
            bind(prefix, Cow::Borrowed(namespace));
        }
        for (prefix, namespace) in inner {
            if prefix.is_empty() {
                read = unified(attribute(namespace));
            } else {
                bind(prefix, attribute(namespace));
            }
        }
        Self { out: String::new(), limit: around.limits.element, read, bindings, open: Vec::new() }
    }

    /// Writes `text`, a sequence of elements and character data, in canonical form.
    pub(super) fn run(mut self, text: &'t str) -> Result<String, Refusal> {
        let mut rest = text;
        while !rest.is_empty() {
            rest = if let Some(section) = rest.strip_prefix("<![CDATA[") {
                let (inside, behind) = section.split_once("]]>").unwrap_or((section, ""));
                rewrite_cdata(&mut self.out, inside);
                behind
            } else if let Some(tag) = rest.strip_prefix("</") {
                self.end();
                tag.split_once('>').map_or("", |(_, behind)| behind)
            } else if let Some(tag) = rest.strip_prefix('<') {
                self.start(tag)
            } else {
                let (characters, behind) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
                rewrite_text(&mut self.out, characters);
                behind
            };
            // What is written again may be longer: a prefix declared once on the header or on the
            // stanza is declared at each use.
            if self.out.len() > self.limit {
                return Err(Refusal::limit("the element is too long once it is in canonical form"));
            }
        }
        Ok(self.out)
    }

    fn end(&mut self) {
        if let Some(open) = self.open.pop() {
            self.out.push_str("</");
            self.out.push_str(open.name);
            self.out.push('>');
            self.bindings.truncate(open.bindings);
        }
    }

    /// Writes a start or empty-element tag; what follows it.
    fn start(&mut self, tag: &'t str) -> &'t str {
        let (name, rest) =
            tag.split_at(tag.find(|c: char| is_ascii_space(c) || c == '/' || c == '>').unwrap_or(tag.len()));
        let bindings = self.bindings.len();
        let mut read = self.open.last().map_or_else(|| self.read.clone(), |parent| parent.read.clone());
        let mut written = self.open.last().map_or(Cow::Borrowed(CLIENT_NS), |parent| parent.written.clone());
        let (attributes, empty, rest) = attributes(rest);
        for (name, value) in &attributes {
            if *name == "xmlns" {
                read = unified(value.clone());
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                self.bindings.push(Binding { prefix, namespace: value.clone(), written: true });
            }
        }
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let namespace = if prefix.is_empty() { read.clone() } else { unified(self.namespace(prefix)) };
        let unprefixed = prefix.is_empty() || namespace == CLIENT_NS;
        let name = if unprefixed { local } else { name };
        self.out.push('<');
        self.out.push_str(name);
        if !unprefixed {
            self.declare(prefix);
        } else if written != namespace {
            self.write_attribute("xmlns", &namespace);
            written = namespace;
        }
        for (name, value) in &attributes {
            if *name == "xmlns" {
                continue;
            }
            if let Some((prefix, _)) = name.split_once(':')
                && prefix != "xmlns"
            {
                self.declare(prefix);
            }
            self.write_attribute(name, value);
        }
        if empty {
            self.out.push_str("/>");
            self.bindings.truncate(bindings);
        } else {
            self.out.push('>');
            self.open.push(Open { name, bindings, read, written });
        }
        rest
    }

    /// What `prefix` is bound to.
    fn namespace(&self, prefix: &str) -> Cow<'t, str> {
        let found = self.bindings.iter().rev().find(|binding| binding.prefix == prefix);
        found.map_or(Cow::Borrowed(""), |binding| binding.namespace.clone())
    }

    /// Declares `prefix` here if only something around the payload does.
    fn declare(&mut self, prefix: &str) {
        let Some(found) = self.bindings.iter().rev().find(|binding| binding.prefix == prefix) else { return };
        if !found.written {
            let binding = Binding { prefix: found.prefix, namespace: found.namespace.clone(), written: true };
            self.write_attribute(&format!("xmlns:{prefix}"), &binding.namespace);
            self.bindings.push(binding);
        }
    }

    fn write_attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        escape_into(&mut self.out, value);
        self.out.push('\'');
    }
}

fn is_ascii_space(character: char) -> bool {
    u8::try_from(character).is_ok_and(is_space)
}

/// An attribute's name and value.
type Pair<'t> = (&'t str, Cow<'t, str>);

/// Reads the attributes at the start of `rest`, then the end of the tag: whether the element is
/// empty, and what follows.
fn attributes(mut rest: &str) -> (Vec<Pair<'_>>, bool, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_ascii_space);
        if let Some(behind) = rest.strip_prefix("/>") {
            return (found, true, behind);
        }
        if let Some(behind) = rest.strip_prefix('>') {
            return (found, false, behind);
        }
        let Some((name, value)) = rest.split_once('=') else { return (found, false, "") };
        let value = value.trim_start_matches(is_ascii_space);
        let quote = value.chars().next().unwrap_or_default();
        let Some((raw, behind)) = value.get(1..).and_then(|value| value.split_once(quote)) else {
            return (found, false, "");
        };
        found.push((name.trim_end_matches(is_ascii_space), attribute(raw)));
        rest = behind;
    }
}

//! Namespaces in XML 1.0: what a start tag declares, whether its names are bound, whether two of
//! its attributes are one, and whether the payload around it is still canonical.

use std::borrow::Cow;

use super::namespace::{Outer, XMLNS_NS, is_content};
use super::record::{Attribute, Declaration, DefaultNs, Open, small};
use super::refusal::Refusal;
use super::scan::{Around, First, Scan};
use crate::stanza::Namespaces;
use crate::xml::XML_NS;

/// Where a prefix is declared, as far as it matters to the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the payload, or for ever.
    Inside,
    Outside,
}

/// What a name is bound to: the namespace, and where that is declared.
struct Bound<'t> {
    namespace: Cow<'t, [u8]>,
    place: Place,
}

impl Scan {
    /// Takes the attribute just read.
    pub(super) fn attribute(&mut self, bytes: &[u8], around: Around<'_>) -> Result<(), Refusal> {
        let Some((new, before)) = self.tag_attributes().split_last() else { return Ok(()) };
        let name = new.name(bytes);
        if before.iter().any(|known| known.name(bytes) == name) {
            return Err(Refusal::malformed("an attribute that stands twice"));
        }
        if let Some(declaration) = new.declaration(bytes) {
            self.noted = self.noted.with(check_declaration(&declaration, bytes)?);
            self.declarations.push(declaration);
            return if self.declarations.len() + around.outer.len() > around.limits.declarations {
                Err(Refusal::limit("too many namespaces are declared"))
            } else {
                Ok(())
            };
        }
        let declared = self.open.last().map_or(0, |tag| self.declarations.len() - usize::from(tag.declarations));
        if before.len() + 1 - declared > around.limits.attributes {
            return Err(Refusal::limit("an element has too many attributes"));
        }
        Ok(())
    }

    /// The attributes of the tag that is being read, declarations included.
    fn tag_attributes(&self) -> &[Attribute] {
        let before = if self.open.len() > 1 { usize::from(self.head) } else { 0 };
        self.attributes.get(before..).unwrap_or_default()
    }

    /// The attributes of the first-level element, declarations included.
    pub(super) fn head_attributes(&self) -> &[Attribute] {
        self.attributes.get(..usize::from(self.head)).unwrap_or_default()
    }

    /// The declarations of a stanza element.
    pub(super) fn outside_declarations(&self) -> &[Declaration] {
        self.declarations.get(..usize::from(self.outside)).unwrap_or_default()
    }

    /// Takes the start tag just read.
    pub(super) fn enter(&mut self, bytes: &[u8], around: Around<'_>) -> Result<(), Refusal> {
        let level = self.open.len();
        let Some(tag) = self.open.last().copied() else { return Ok(()) };
        if self.first == First::Root {
            self.head = small(self.attributes.len());
            self.bound(tag.prefix(bytes), bytes, around.outer)?;
            return self.check_attributes(bytes, around.outer).map(|_| ());
        }
        let default = if level == 1 {
            self.enter_first(tag, bytes, around)?
        } else {
            self.enter_inner(tag, bytes, around.outer)?
        };
        if let Some(open) = self.open.last_mut() {
            open.default = default;
        }
        self.attributes.truncate(usize::from(self.head));
        Ok(())
    }

    /// The first-level element: decides what it is.
    fn enter_first(&mut self, tag: Open, bytes: &[u8], around: Around<'_>) -> Result<DefaultNs, Refusal> {
        let own = self.own_default(tag);
        let default = match own {
            Some(own) => own.namespace(bytes),
            None => Cow::Borrowed(around.outer.default(around.content).as_bytes()),
        };
        let prefix = tag.prefix(bytes);
        let default_is_content = is_content(&default);
        let namespace = if prefix.is_empty() { default } else { self.bound(prefix, bytes, around.outer)?.namespace };
        self.first = classify(&namespace, tag.local(bytes), around)?;
        let own = own.is_some();
        self.head = small(self.attributes.len());
        if self.first == First::Nonza {
            // The whole element is the payload.
            let attributes_inside = self.check_attributes(bytes, around.outer)?;
            let name_inside = if prefix.is_empty() {
                own && !default_is_content || !own && default_is_content
            } else {
                self.bound(prefix, bytes, around.outer)?.place == Place::Inside
            };
            self.canonical &= attributes_inside && name_inside;
            return Ok(match (default_is_content, own) {
                (true, _) => DefaultNs::Content,
                (false, true) => DefaultNs::Inside,
                (false, false) => DefaultNs::Outside,
            });
        }
        self.check_attributes(bytes, around.outer)?;
        // Only the payload matters, and it begins here.
        self.canonical = true;
        self.outside = small(self.declarations.len());
        Ok(if default_is_content { DefaultNs::Content } else { DefaultNs::Outside })
    }

    /// An element of the payload: decides whether it is canonical.
    fn enter_inner(&mut self, tag: Open, bytes: &[u8], outer: &Outer) -> Result<DefaultNs, Refusal> {
        let inherited = self.open.iter().rev().nth(1).map_or(DefaultNs::Outside, |parent| parent.default);
        let default = match self.own_default(tag).map(|own| own.namespace(bytes)) {
            None => inherited,
            Some(own) if is_content(&own) => {
                // Redundant, or not the one name that it has below a foreign element.
                self.canonical &= inherited != DefaultNs::Content && &*own == crate::stanza::CLIENT_NS.as_bytes();
                DefaultNs::Content
            }
            Some(_) => DefaultNs::Inside,
        };
        let prefix = tag.prefix(bytes);
        if prefix.is_empty() {
            self.canonical &= default != DefaultNs::Outside;
        } else {
            let bound = self.bound(prefix, bytes, outer)?;
            self.canonical &= bound.place == Place::Inside && !is_content(&bound.namespace);
        }
        self.canonical &= self.check_attributes(bytes, outer)?;
        Ok(default)
    }

    /// The default namespace that `tag` itself declares.
    fn own_default(&self, tag: Open) -> Option<Declaration> {
        let own = self.declarations.get(usize::from(tag.declarations)..).unwrap_or_default();
        own.iter().find(|declaration| declaration.is_default()).copied()
    }

    /// What `prefix` is bound to; the empty prefix is always fine.
    fn bound<'t>(&self, prefix: &[u8], bytes: &'t [u8], outer: &'t Outer) -> Result<Bound<'t>, Refusal> {
        if prefix.is_empty() {
            return Ok(Bound { namespace: Cow::Borrowed(&[]), place: Place::Inside });
        }
        if prefix == b"xml" {
            return Ok(Bound { namespace: Cow::Borrowed(XML_NS.as_bytes()), place: Place::Inside });
        }
        let found = self.declarations.iter().enumerate().rev().find(|(_, known)| known.prefix(bytes) == prefix);
        if let Some((place, declaration)) = found {
            let inside = place >= usize::from(self.outside);
            let place = if inside { Place::Inside } else { Place::Outside };
            return Ok(Bound { namespace: declaration.namespace(bytes), place });
        }
        match outer.binding(prefix) {
            Some(namespace) => Ok(Bound { namespace: Cow::Borrowed(namespace.as_bytes()), place: Place::Outside }),
            None => Err(Refusal::malformed("a prefix that is not declared")),
        }
    }

    /// Checks that prefixes are bound and expanded names differ (Namespaces in XML 1.0 §6.3);
    /// whether all prefixes are declared inside the payload.
    fn check_attributes(&self, bytes: &[u8], outer: &Outer) -> Result<bool, Refusal> {
        let prefixed = self
            .tag_attributes()
            .iter()
            .filter(|attribute| attribute.is_prefixed() && !attribute.name(bytes).starts_with(b"xmlns:"));
        let mut inside = true;
        for (count, attribute) in prefixed.clone().enumerate() {
            let bound = self.bound(attribute.prefix(bytes), bytes, outer)?;
            inside &= bound.place == Place::Inside;
            let local = attribute.local(bytes);
            for before in prefixed.clone().take(count).filter(|before| before.local(bytes) == local) {
                let other = self.bound(before.prefix(bytes), bytes, outer)?;
                if other.namespace == bound.namespace {
                    return Err(Refusal::malformed("an attribute that stands twice under two prefixes"));
                }
            }
        }
        Ok(inside)
    }
}

/// What a first-level element is (RFC 6120 §4.8.3, §4.9.3.24).
fn classify(namespace: &[u8], local: &[u8], around: Around<'_>) -> Result<First, Refusal> {
    use super::namespace::ContentNamespace::Component;
    if !is_content(namespace) {
        return Ok(First::Nonza);
    }
    if namespace != around.content.as_str().as_bytes() {
        return Err(Refusal::namespace("the content namespace of another kind of stream"));
    }
    match local {
        b"message" => Ok(First::Message),
        b"presence" => Ok(First::Presence),
        b"iq" => Ok(First::Iq),
        // XEP-0114 puts its one nonza into the content namespace.
        b"handshake" if around.content == Component => Ok(First::Nonza),
        _ => Err(Refusal::stanza("stanzas are message, presence and iq")),
    }
}

/// The constraints of Namespaces in XML 1.0 §3 and §2.2 on one declaration; gives what is noted of it.
fn check_declaration(declaration: &Declaration, bytes: &[u8]) -> Result<Namespaces, Refusal> {
    let namespace = declaration.namespace(bytes);
    let is_xml = &*namespace == XML_NS.as_bytes();
    let fine = match declaration.prefix(bytes) {
        b"xml" => is_xml,
        b"xmlns" => false,
        prefix => !is_xml && &*namespace != XMLNS_NS.as_bytes() && (prefix.is_empty() || !namespace.is_empty()),
    };
    if fine {
        Ok(Namespaces::of(&namespace))
    } else {
        Err(Refusal::malformed("a namespace declaration that is not allowed"))
    }
}

//! What the scan remembers of elements, attributes and declarations: places in the text, counted
//! from the start of the first-level element, so that nothing is copied.

use std::borrow::Cow;
use std::ops::Range;

use super::value::{attribute, attribute_bytes};

/// What unprefixed names mean at some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultNs {
    /// The content namespace.
    Content,
    /// Another namespace, declared inside the payload.
    Inside,
    /// Another namespace, declared around the payload.
    Outside,
}

/// An element that is open. Places count from the start of the first-level element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) start: u32,
    pub(super) length: u16,
    /// The length of the prefix, or 0.
    pub(super) prefix: u16,
    /// How many declarations were in scope before this element.
    pub(super) declarations: u16,
    pub(super) default: DefaultNs,
}

/// An attribute of the first-level element or of the tag that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute {
    pub(super) start: u32,
    pub(super) value: u32,
    pub(super) value_end: u32,
    pub(super) length: u16,
    pub(super) prefix: u16,
    /// Whether the value stands for itself: no references, no white space but spaces.
    pub(super) plain: bool,
}

/// A namespace declaration in scope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declaration {
    pub(super) start: u32,
    pub(super) value: u32,
    pub(super) value_end: u32,
    /// The length of the prefix; 0 for the default namespace.
    pub(super) length: u16,
    /// As in [`Attribute`].
    pub(super) plain: bool,
}

/// Places, which the limits bound.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Lengths of names, which `MAX_NAME` bounds, and counts.
pub(super) fn small(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn part(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

impl Open {
    pub(super) fn name<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        part(bytes, self.start, self.start + u32::from(self.length))
    }

    pub(super) fn prefix<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        part(bytes, self.start, self.start + u32::from(self.prefix))
    }

    pub(super) fn local<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        local(self.name(bytes), self.prefix)
    }
}

fn local(name: &[u8], prefix: u16) -> &[u8] {
    if prefix == 0 { name } else { name.get(usize::from(prefix) + 1..).unwrap_or_default() }
}

impl Attribute {
    pub(super) fn name<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        part(bytes, self.start, self.start + u32::from(self.length))
    }

    pub(super) fn prefix<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        part(bytes, self.start, self.start + u32::from(self.prefix))
    }

    pub(super) fn local<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        local(self.name(bytes), self.prefix)
    }

    pub(super) fn is_prefixed(&self) -> bool {
        self.prefix != 0
    }

    /// What the value stands for.
    pub(super) fn resolved<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let raw = text.get(self.value as usize..self.value_end as usize)?;
        Some(if self.plain { Cow::Borrowed(raw) } else { attribute(raw) })
    }

    /// The declaration that this attribute is (Namespaces in XML 1.0 §3).
    pub(super) fn declaration(&self, bytes: &[u8]) -> Option<Declaration> {
        if !self.name(bytes).starts_with(b"xmlns") {
            return None;
        }
        let (value, value_end, plain) = (self.value, self.value_end, self.plain);
        match (self.prefix, self.length) {
            (0, 5) => Some(Declaration { start: self.start, value, value_end, length: 0, plain }),
            (5, length) => Some(Declaration { start: self.start + 6, value, value_end, length: length - 6, plain }),
            _ => None,
        }
    }
}

impl Declaration {
    /// Where the prefix stands.
    pub(super) fn prefix_range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.length)
    }

    /// Where the value stands.
    pub(super) fn value_range(&self) -> Range<usize> {
        self.value as usize..self.value_end as usize
    }

    pub(super) fn is_default(&self) -> bool {
        self.length == 0
    }

    /// Empty for the default namespace.
    pub(super) fn prefix<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        part(bytes, self.start, self.start + u32::from(self.length))
    }

    /// The namespace, or nothing where one is taken back.
    pub(super) fn namespace<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let raw = part(bytes, self.value, self.value_end);
        if self.plain { Cow::Borrowed(raw) } else { attribute_bytes(raw) }
    }
}

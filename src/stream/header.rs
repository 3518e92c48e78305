//! Stream headers, read and written (RFC 6120 §4.7, §4.8).

use std::borrow::Cow;

use crate::xml::{Element, escape_into};

use super::event::Header;
use super::language::Language;
use super::namespace::{ContentNamespace, DIALBACK_NS, Declared, Outer};
use super::refusal::Refusal;
use super::scan::Scan;
use super::{STREAMS_NS, StreamError};

/// The end of every stream.
pub const CLOSE: &str = "</stream:stream>";

/// What stands in a header that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderFields<'a> {
    pub to: Option<&'a str>,
    pub from: Option<&'a str>,
    pub id: Option<&'a str>,
    /// `None` where the peer sent none (RFC 6120 §4.7.5 rule 4); by default 1.0.
    pub version: Option<(u32, u32)>,
    pub lang: Option<&'a str>,
}

impl Default for HeaderFields<'_> {
    fn default() -> Self {
        Self { to: None, from: None, id: None, version: Some((1, 0)), lang: None }
    }
}

/// Appends an XML declaration and the start tag of a stream.
pub fn write_header(out: &mut String, content: ContentNamespace, fields: &HeaderFields<'_>) {
    out.push_str("<?xml version='1.0'?><stream:stream xmlns='");
    out.push_str(content.as_str());
    out.push_str("' xmlns:stream='");
    out.push_str(STREAMS_NS);
    out.push('\'');
    if content == ContentNamespace::Server {
        write_attribute(out, "xmlns:db", DIALBACK_NS);
    }
    let texts = [("from", fields.from), ("to", fields.to), ("id", fields.id), ("xml:lang", fields.lang)];
    for (name, value) in texts {
        if let Some(value) = value {
            write_attribute(out, name, value);
        }
    }
    if let Some((major, minor)) = fields.version {
        write_attribute(out, "version", &format!("{major}.{minor}"));
    }
    out.push('>');
}

fn write_attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escape_into(out, value);
    out.push('\'');
}

/// Reads the root's start tag that `scan` has found in `text`.
pub(super) fn read(text: &str, scan: &Scan, content: ContentNamespace) -> Result<(Header, Outer), StreamError> {
    let bytes = text.as_bytes();
    let Some(tag) = scan.open.first().copied() else {
        return Err(Refusal::format("not a stream header").into());
    };
    if tag.local(bytes) != b"stream" {
        return Err(Refusal::format("not a stream header").into());
    }
    let mut outer = match usual(tag.name(bytes), bytes, scan, content) {
        Some(usual) => usual,
        None => declared(text, scan, content)?.into_outer(),
    };
    let mut header = Header { dialback: outer.has_dialback(), ..Header::default() };
    for found in scan.head_attributes() {
        let value = || found.resolved(text).map(Cow::into_owned);
        match found.name(bytes) {
            b"to" => header.to = value(),
            b"from" => header.from = value(),
            b"id" => header.id = value(),
            b"version" => header.version = value().as_deref().and_then(version),
            b"xml:lang" => header.lang = value(),
            _ => {}
        }
    }
    outer.set_language(header.lang.as_deref().map_or(Language::UNKNOWN, Language::read));
    Ok((header, outer))
}

/// What the header declares, if it is the usual one, without a copy of anything.
fn usual(root: &[u8], bytes: &[u8], scan: &Scan, content: ContentNamespace) -> Option<Outer> {
    let (mut default, mut stream, mut dialback) = (false, false, false);
    for declaration in &scan.declarations {
        let (seen, expected) = match declaration.prefix(bytes) {
            [] => (&mut default, content.as_str()),
            b"stream" => (&mut stream, STREAMS_NS),
            b"db" => (&mut dialback, DIALBACK_NS),
            b"xml" => continue,
            _ => return None,
        };
        *seen = *declaration.namespace(bytes) == *expected.as_bytes();
        if !*seen {
            return None;
        }
    }
    let usual = Outer::Usual { dialback, language: Language::UNKNOWN };
    (root == b"stream:stream" && default && stream).then_some(usual)
}

/// Reads the `<open/>` of a WebSocket stream (RFC 7395 §3.4).
pub(super) fn from_open(open: &Element) -> Header {
    let text = |name| open.attribute(name).map(str::to_owned);
    Header {
        to: text("to"),
        from: text("from"),
        id: text("id"),
        version: open.attribute("version").and_then(version),
        lang: text("xml:lang"),
        dialback: false,
    }
}

/// Leading zeros do not count (RFC 6120 §4.7.5).
fn version(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (major, minor) = text.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

/// What any other header declares.
fn declared(text: &str, scan: &Scan, content: ContentNamespace) -> Result<Declared, Refusal> {
    let bytes = text.as_bytes();
    let owned = |part: &[u8]| String::from_utf8_lossy(part).into_owned().into_boxed_str();
    let mut declared = Declared {
        root: scan.open.first().map(|root| owned(root.name(bytes))).unwrap_or_default(),
        default: Box::default(),
        prefixes: Vec::new(),
        language: Language::UNKNOWN,
    };
    for declaration in &scan.declarations {
        let namespace = owned(&declaration.namespace(bytes));
        match declaration.prefix(bytes) {
            [] => declared.default = namespace,
            b"xml" => {}
            prefix => declared.prefixes.push((owned(prefix), namespace)),
        }
    }
    let prefix = scan.open.first().map(|root| root.prefix(bytes)).unwrap_or_default();
    let namespace = if prefix.is_empty() {
        Some(&declared.default)
    } else {
        declared.prefixes.iter().find(|(known, _)| known.as_bytes() == prefix).map(|(_, namespace)| namespace)
    };
    if namespace.is_none_or(|namespace| &**namespace != STREAMS_NS) {
        return Err(Refusal::namespace("not the namespace of streams"));
    }
    if !["", content.as_str(), STREAMS_NS].contains(&&*declared.default) {
        return Err(Refusal::namespace("not the content namespace of this stream"));
    }
    Ok(declared)
}

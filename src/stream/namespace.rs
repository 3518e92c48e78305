//! The namespaces that the gate itself must know (RFC 6120 §4.8).
//!
//! **One content namespace.** A stanza means the same on a client, server or component stream, and
//! its payload is spliced from one into another. Therefore inside a payload the namespaces
//! `jabber:client`, `jabber:server` and `jabber:component:accept` are one, whatever the stream:
//!
//! - directly in the stanza, and below elements of that namespace, such elements stand unprefixed
//!   and without `xmlns`: they inherit the namespace of the stream on which they travel;
//! - below an element of another namespace (a forwarded `<message/>`) they declare
//!   `xmlns='jabber:client'`, on every stream and in every archive.
//!
//! Otherwise `<body xmlns='jabber:server'/>` would be no body for this server and become one on the
//! next stream. On the first level only the stream's own content namespace makes a stanza.

use crate::stanza::CLIENT_NS;

use super::STREAMS_NS;
use super::language::Language;

const SERVER_NS: &str = "jabber:server";
const COMPONENT_NS: &str = "jabber:component:accept";

/// Namespace of server dialback, declared on server streams (RFC 6120 §4.8.4).
pub const DIALBACK_NS: &str = "jabber:server:dialback";

/// Namespace of the frames that open and close a WebSocket stream (RFC 7395 §3.3).
pub(super) const FRAMING_NS: &str = "urn:ietf:params:xml:ns:xmpp-framing";

/// What `xmlns:` is bound to for ever (Namespaces in XML 1.0 §3).
pub(super) const XMLNS_NS: &str = "http://www.w3.org/2000/xmlns/";

/// The namespace of the stanzas on a stream (RFC 6120 §4.8.3, XEP-0114).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentNamespace {
    Client,
    Server,
    Component,
}

impl ContentNamespace {
    /// The namespace name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => CLIENT_NS,
            Self::Server => SERVER_NS,
            Self::Component => COMPONENT_NS,
        }
    }
}

/// Whether `namespace` is a content namespace of any kind of stream.
pub(super) fn is_content(namespace: &[u8]) -> bool {
    namespace.starts_with(b"jabber:")
        && [CLIENT_NS, SERVER_NS, COMPONENT_NS].iter().any(|known| known.as_bytes() == namespace)
}

/// What the stream header declared: the scope in which every first-level element stands.
///
/// The usual header costs no memory.
#[derive(Debug)]
pub(super) enum Outer {
    /// Frames stand alone; the content namespace is taken for granted.
    Frame,
    /// `<stream:stream xmlns='CONTENT' xmlns:stream='…'>`, with `xmlns:db` or without.
    Usual {
        dialback: bool,
        language: Language,
    },
    Other(Box<Declared>),
}

/// The declarations of a header that is not the usual one.
#[derive(Debug)]
pub(super) struct Declared {
    /// The root's name as written.
    pub(super) root: Box<str>,
    pub(super) default: Box<str>,
    pub(super) prefixes: Vec<(Box<str>, Box<str>)>,
    pub(super) language: Language,
}

impl Declared {
    /// Takes the least memory that holds this.
    pub(super) fn into_outer(mut self) -> Outer {
        self.prefixes.shrink_to_fit();
        Outer::Other(Box::new(self))
    }
}

impl Outer {
    /// The name of the root element, `None` where there is none.
    pub(super) fn root(&self) -> Option<&str> {
        match self {
            Self::Frame => None,
            Self::Usual { .. } => Some("stream:stream"),
            Self::Other(declared) => Some(&declared.root),
        }
    }

    /// The default namespace; empty if there is none.
    pub(super) fn default(&self, content: ContentNamespace) -> &str {
        match self {
            Self::Frame | Self::Usual { .. } => content.as_str(),
            Self::Other(declared) => &declared.default,
        }
    }

    /// What `prefix` is bound to.
    pub(super) fn binding(&self, prefix: &[u8]) -> Option<&str> {
        match self {
            Self::Frame => None,
            Self::Usual { dialback, .. } => match prefix {
                b"stream" => Some(STREAMS_NS),
                b"db" if *dialback => Some(DIALBACK_NS),
                _ => None,
            },
            Self::Other(declared) => declared
                .prefixes
                .iter()
                .find(|(known, _)| known.as_bytes() == prefix)
                .map(|(_, namespace)| &**namespace),
        }
    }

    /// Every prefix and what it is bound to.
    pub(super) fn bindings(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Frame => Vec::new(),
            Self::Usual { dialback: false, .. } => vec![("stream", STREAMS_NS)],
            Self::Usual { dialback: true, .. } => vec![("stream", STREAMS_NS), ("db", DIALBACK_NS)],
            Self::Other(declared) => {
                declared.prefixes.iter().map(|(prefix, namespace)| (&**prefix, &**namespace)).collect()
            }
        }
    }

    /// The language of the stream.
    pub(super) fn language(&self) -> Language {
        match self {
            Self::Frame => Language::UNKNOWN,
            Self::Usual { language, .. } => *language,
            Self::Other(declared) => declared.language,
        }
    }

    pub(super) fn set_language(&mut self, read: Language) {
        match self {
            Self::Frame => {}
            Self::Usual { language, .. } => *language = read,
            Self::Other(declared) => declared.language = read,
        }
    }

    /// Whether the namespace of server dialback is declared.
    pub(super) fn has_dialback(&self) -> bool {
        match self {
            Self::Frame => false,
            Self::Usual { dialback, .. } => *dialback,
            Self::Other(declared) => declared.prefixes.iter().any(|(_, namespace)| &**namespace == DIALBACK_NS),
        }
    }

    /// How many declarations it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Frame => 0,
            Self::Usual { dialback, .. } => 2 + usize::from(*dialback),
            Self::Other(declared) => declared.prefixes.len() + usize::from(!declared.default.is_empty()),
        }
    }
}

//! The three stanzas and their errors (RFC 6120 §8): a typed header and a canonical payload.
//!
//! Knows nothing of sockets, storage or any XEP.

mod children;
mod error;
mod kind;
mod namespaces;
mod payload;

pub use children::Child;
pub use error::{Condition, ErrorType, StanzaError};
pub use kind::{IqType, Kind, MessageType, PresenceType};
pub use namespaces::Namespaces;
pub use payload::Payload;

use std::borrow::Cow;

use crate::jid::Jid;
use crate::xml::escape_into;

/// Namespace of the content of a client stream; payloads are canonical relative to the content
/// namespace of whatever stream they travel on.
pub const CLIENT_NS: &str = "jabber:client";

/// A stanza: header fields, prepared, and the payload as it will be forwarded.
///
/// On the way through the server it borrows from the input buffer; [`Stanza::into_owned`] is for
/// the few places that keep one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stanza<'a> {
    pub kind: Kind,
    pub from: Option<Jid>,
    pub to: Option<Jid>,
    /// Unescaped.
    pub id: Option<Cow<'a, str>>,
    /// Unescaped value of `xml:lang`.
    pub lang: Option<Cow<'a, str>>,
    pub payload: Payload<'a>,
}

impl<'a> Stanza<'a> {
    /// A stanza of `kind` without addresses, id, language and payload.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, from: None, to: None, id: None, lang: None, payload: Payload::EMPTY }
    }

    #[must_use]
    pub fn from(mut self, from: impl Into<Option<Jid>>) -> Self {
        self.from = from.into();
        self
    }

    #[must_use]
    pub fn to(mut self, to: impl Into<Option<Jid>>) -> Self {
        self.to = to.into();
        self
    }

    #[must_use]
    pub fn id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    #[must_use]
    pub fn payload(mut self, payload: impl Into<Payload<'a>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Stanza<'static> {
        Stanza {
            kind: self.kind,
            from: self.from,
            to: self.to,
            id: self.id.map(|id| Cow::Owned(id.into_owned())),
            lang: self.lang.map(|lang| Cow::Owned(lang.into_owned())),
            payload: self.payload.into_owned(),
        }
    }

    /// The same stanza, borrowed.
    #[must_use]
    pub fn borrow(&self) -> Stanza<'_> {
        Stanza {
            kind: self.kind,
            from: self.from.clone(),
            to: self.to.clone(),
            id: self.id.as_deref().map(Cow::Borrowed),
            lang: self.lang.as_deref().map(Cow::Borrowed),
            payload: self.payload.borrow(),
        }
    }

    /// The result of this IQ request: addresses swapped, same id (RFC 6120 §8.2.3).
    #[must_use]
    pub fn result(&self) -> Stanza<'static> {
        Stanza {
            kind: Kind::Iq(IqType::Result),
            from: self.to.clone(),
            to: self.from.clone(),
            id: self.id.as_deref().map(|id| Cow::Owned(id.to_owned())),
            lang: None,
            payload: Payload::EMPTY,
        }
    }

    /// The error that answers this stanza, or `None` where no answer is allowed: to an error, to
    /// an IQ result (RFC 6120 §8.3.1).
    #[must_use]
    pub fn error(&self, error: &StanzaError) -> Option<Stanza<'static>> {
        let kind = self.kind.error()?;
        let mut id = self.id.as_deref().map(|id| Cow::Owned(id.to_owned()));
        if matches!(kind, Kind::Iq(_)) {
            // RFC 6120 §8.2.3: an IQ has an id, even if it answers one that had none.
            id.get_or_insert_default();
        }
        Some(Stanza {
            kind,
            from: self.to.clone(),
            to: self.from.clone(),
            id,
            lang: None,
            payload: Payload::from(error.to_element()),
        })
    }

    /// Appends the stanza as it stands on a stream whose default namespace is the content
    /// namespace.
    pub fn write(&self, out: &mut String) {
        self.write_whole(out, self.to.as_ref().map(Jid::as_str), "");
    }

    /// Like [`Stanza::write`] with another `to`: one payload, many receivers.
    pub fn write_to(&self, out: &mut String, to: Option<&str>) {
        self.write_whole(out, to, "");
    }

    /// The same for very many receivers.
    #[must_use]
    pub fn letter(&self) -> Letter {
        let mut text = String::new();
        self.write_whole(&mut text, None, "");
        // The name of a stanza needs no escaping, and its attributes are in any order.
        let name = 1 + self.kind.name().len();
        text.insert_str(name, " to=''");
        Letter { text, gap: name + " to='".len() }
    }

    /// Like [`Stanza::write`] with the canonical elements `tail` behind the payload.
    pub fn write_with(&self, out: &mut String, tail: &str) {
        self.write_whole(out, self.to.as_ref().map(Jid::as_str), tail);
    }

    /// The same where `text` is the stanza as it stands: a copy is cheaper.
    pub fn copy_with(&self, out: &mut String, text: &str, tail: &str) {
        debug_assert_eq!(text, self.to_xml(), "the text is that of another stanza");
        let end = text.len().saturating_sub("</>".len() + self.kind.name().len());
        match text.split_at_checked(end).filter(|_| !self.payload.is_empty()) {
            Some((text, end)) => {
                out.reserve(text.len() + tail.len() + end.len());
                out.push_str(text);
                out.push_str(tail);
                out.push_str(end);
            }
            None => self.write_with(out, tail),
        }
    }

    fn write_whole(&self, out: &mut String, to: Option<&str>, tail: &str) {
        let name = self.kind.name();
        out.reserve(self.payload.as_str().len() + tail.len() + 160);
        out.push('<');
        out.push_str(name);
        if let Some(kind) = self.kind.type_attribute() {
            out.push_str(" type='");
            out.push_str(kind);
            out.push('\'');
        }
        if let Some(id) = &self.id {
            attribute(out, " id='", id);
        }
        if let Some(from) = &self.from {
            attribute(out, " from='", from.as_str());
        }
        if let Some(to) = to {
            attribute(out, " to='", to);
        }
        if let Some(lang) = &self.lang {
            attribute(out, " xml:lang='", lang);
        }
        if self.payload.is_empty() && tail.is_empty() {
            out.push_str("/>");
        } else {
            out.push('>');
            out.push_str(self.payload.as_str());
            out.push_str(tail);
            out.push_str("</");
            out.push_str(name);
            out.push('>');
        }
    }

    /// The stanza as text, see [`Stanza::write`].
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// A stanza that is written but for whom it is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    text: String,
    /// Where the address is missing.
    gap: usize,
}

impl Letter {
    /// Appends the stanza to `to`.
    pub fn write_to(&self, out: &mut String, to: &str) {
        let (head, rest) = self.text.split_at_checked(self.gap).unwrap_or((&self.text, ""));
        out.reserve(self.text.len() + to.len());
        out.push_str(head);
        escape_into(out, to);
        out.push_str(rest);
    }
}

/// Appends an attribute that begins with `opening`, up to its quote.
fn attribute(out: &mut String, opening: &str, value: &str) {
    out.push_str(opening);
    escape_into(out, value);
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_the_stanza_with_its_address() {
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        let bare = Stanza::new(Kind::Presence(PresenceType::Available));
        let full = Stanza::new(Kind::Presence(PresenceType::Unavailable))
            .from(jid("juliet@capulet.example/balcony"))
            .to(jid("nobody@capulet.example"))
            .id("a'")
            .payload(Payload::canonical("<status>away</status>"));
        assert_eq!(letter(&bare), "<presence to='o&apos;neil@x.example'/>");
        assert_eq!(
            letter(&full),
            "<presence to='o&apos;neil@x.example' type='unavailable' id='a&apos;' \
             from='juliet@capulet.example/balcony'><status>away</status></presence>"
        );
    }

    #[test]
    fn a_copy_is_what_would_be_written() {
        for payload in ["", "<body>é</body>"] {
            let stanza = Stanza::new(Kind::Message(MessageType::Chat)).id("a'").payload(Payload::canonical(payload));
            for tail in ["", "<x xmlns='x'/>"] {
                let (mut written, mut copied) = ("<a/>".to_owned(), "<a/>".to_owned());
                stanza.write_with(&mut written, tail);
                stanza.copy_with(&mut copied, &stanza.to_xml(), tail);
                assert_eq!(written, copied);
            }
        }
    }

    fn letter(stanza: &Stanza<'_>) -> String {
        let mut out = String::new();
        stanza.letter().write_to(&mut out, "o'neil@x.example");
        out
    }
}

//! What the gate reports.

use crate::stanza::{Stanza, StanzaError};
use crate::xml::Element;

/// The outcome of one call of [`Reader::next`](super::Reader::next).
#[derive(Debug, PartialEq)]
pub struct Step<'b> {
    /// How many bytes are done with, whatever the event.
    pub consumed: usize,
    /// `None`: more bytes are needed.
    pub event: Option<Event<'b>>,
}

/// Something complete that the peer sent.
#[derive(Debug, PartialEq)]
pub enum Event<'b> {
    /// The stream header.
    Open(Header),
    Stanza(Stanza<'b>),
    /// A stanza that is to be answered with an error; the stream goes on.
    Rejected(Rejected<'b>),
    /// A first-level element that is no stanza and not in a content namespace.
    Nonza(Element),
    /// The end tag of the stream.
    Close,
}

/// The attributes of a stream header (RFC 6120 §4.7), unescaped but not examined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    pub to: Option<String>,
    pub from: Option<String>,
    pub id: Option<String>,
    /// `None` if missing or not two numbers: the version is 0.9 then.
    pub version: Option<(u32, u32)>,
    pub lang: Option<String>,
    /// Whether the namespace of server dialback is declared (XEP-0220).
    pub dialback: bool,
}

/// A stanza that breaks a rule of RFC 6120 §8 but not the stream.
#[derive(Debug, PartialEq)]
pub struct Rejected<'b> {
    /// What could be understood: a malformed address is `None`; an IQ of unknown type is given as
    /// `get` and presence of unknown type as available, so that the error can be made from it.
    pub stanza: Stanza<'b>,
    pub error: StanzaError,
    pub fault: Fault,
}

/// Which part of a stanza is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    From,
    To,
    Other,
}

impl Event<'_> {
    /// The same event, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Open(header) => Event::Open(header),
            Self::Stanza(stanza) => Event::Stanza(stanza.into_owned()),
            Self::Rejected(it) => {
                Event::Rejected(Rejected { stanza: it.stanza.into_owned(), error: it.error, fault: it.fault })
            }
            Self::Nonza(element) => Event::Nonza(element),
            Self::Close => Event::Close,
        }
    }
}

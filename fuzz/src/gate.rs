//! What the gate makes of octets, for the targets that lie behind it: nothing else reaches them in a server either.

use comity::stanza::Stanza;
use comity::stream::{ContentNamespace, Event, Framing, Limits, Reader, StreamCondition};
use comity::xml::Element;

/// What stands at the beginning of streams in whose body most of the trying is done.
const CLIENT_HEADER: &str = "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SERVER_HEADER: &str = "<?xml version='1.0'?><stream:stream to='a.example' from='b.example' version='1.0' \
     xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>";

/// A peer's side of a stream.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) framing: Framing,
    pub(crate) content: ContentNamespace,
    pub(crate) limits: Limits,
    /// What has been said already.
    pub(crate) header: &'static str,
}

impl Setting {
    /// The one that the first octet of an input stands for, with the rest of it.
    pub(crate) fn of(bytes: &[u8]) -> Option<(Self, &[u8])> {
        use ContentNamespace::{Client, Component, Server};
        let stream = |content, limits, header| Self { framing: Framing::Stream, content, limits, header };
        let (first, rest) = bytes.split_first()?;
        let setting = match first {
            b'c' => stream(Client, Limits::CLIENT, CLIENT_HEADER),
            b's' => stream(Server, Limits::SERVER, SERVER_HEADER),
            b'u' => stream(Client, Limits::UNAUTHENTICATED, CLIENT_HEADER),
            b'C' => stream(Client, Limits::CLIENT, ""),
            b'S' => stream(Server, Limits::SERVER, ""),
            b'P' => stream(Component, Limits::SERVER, ""),
            b'f' => Self { framing: Framing::Frame, content: Client, limits: Limits::OWN, header: "" },
            _ => return None,
        };
        Some((setting, rest))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.framing, self.content, self.limits)
    }

    /// The header and what came behind it.
    pub(crate) fn whole(&self, rest: &[u8]) -> Vec<u8> {
        [self.header.as_bytes(), rest].concat()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// How many octets belong to events.
    pub(crate) read: usize,
    pub(crate) error: Option<StreamCondition>,
}

/// Reads everything that has come whole; `each` gets every event with the octets that it was made of.
pub(crate) fn read(reader: &mut Reader, bytes: &[u8], mut each: impl FnMut(&[u8], Event<'_>)) -> End {
    let mut read = 0;
    loop {
        let rest = bytes.get(read..).unwrap_or_default();
        match reader.next(rest) {
            Err(error) => return End { read, error: Some(error.condition) },
            Ok(step) => {
                let own = rest.get(..step.consumed).expect("no more is consumed than has come");
                let Some(event) = step.event else { return End { read, error: None } };
                read += step.consumed;
                each(own, event);
            }
        }
    }
}

/// The stanzas in `bytes`, as a client that has logged in would send them.
pub(crate) fn stanzas(bytes: &[u8]) -> Vec<Stanza<'static>> {
    let mut found = Vec::new();
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::CLIENT);
    read(&mut reader, bytes, |_, event| {
        if let Event::Stanza(stanza) = event {
            found.push(stanza.into_owned());
        }
    });
    found
}

/// Elements that are no stanzas.
pub(crate) fn nonzas(bytes: &[u8]) -> Vec<Element> {
    let mut found = Vec::new();
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::UNAUTHENTICATED);
    read(&mut reader, bytes, |_, event| {
        if let Event::Nonza(element) = event {
            found.push(element);
        }
    });
    found
}

/// Elements that extensions look at: what is no stanza, and what is in stanzas.
pub(crate) fn elements(bytes: &[u8]) -> Vec<Element> {
    let mut found = Vec::new();
    let mut reader = Reader::new(Framing::Frame, ContentNamespace::Client, Limits::CLIENT);
    read(&mut reader, bytes, |_, event| match event {
        Event::Nonza(element) => found.push(element),
        Event::Stanza(stanza) => found.extend(stanza.payload.elements()),
        _ => {}
    });
    found
}

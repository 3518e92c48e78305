//! Tests of the gate. Whatever a case is about, it is read in one piece, byte by byte, and cut in
//! two at every place: the outcome must be the same.

mod canonical;
mod properties;
mod refusals;
mod stanzas;
mod streams;

use super::{ContentNamespace, Event, Framing, Limits, Reader, StreamCondition, StreamError};

pub(super) const CLIENT_HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub(super) const SERVER_HEADER: &str = "<?xml version='1.0'?><stream:stream to='a.example' from='b.example' \
     version='1.0' xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

/// What came of some bytes: the events as text, and the error that ended the stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) events: Vec<String>,
    pub(super) error: Option<StreamCondition>,
    /// Bytes that wait for more.
    pub(super) left: usize,
}

/// A peer's side of a stream.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) framing: Framing,
    pub(super) content: ContentNamespace,
    pub(super) limits: Limits,
}

pub(super) const CLIENT: Setting =
    Setting { framing: Framing::Stream, content: ContentNamespace::Client, limits: Limits::CLIENT };
pub(super) const SERVER: Setting =
    Setting { framing: Framing::Stream, content: ContentNamespace::Server, limits: Limits::SERVER };
pub(super) const FRAME: Setting =
    Setting { framing: Framing::Frame, content: ContentNamespace::Client, limits: Limits::OWN };

/// Takes every event that `buffer` holds, and what it consumed off its front.
pub(super) fn drain(
    reader: &mut Reader,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&Event<'_>),
) -> Result<(), StreamError> {
    loop {
        let step = reader.next(buffer)?;
        assert!(step.consumed <= buffer.len());
        let more = step.event.is_some();
        if let Some(event) = &step.event {
            take(event);
        }
        let consumed = step.consumed;
        buffer.drain(..consumed);
        if !more {
            return Ok(());
        }
    }
}

pub(super) fn read_pieces<'a>(setting: Setting, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = Reader::new(setting.framing, setting.content, setting.limits);
    let mut buffer = Vec::new();
    let mut outcome = Outcome { events: Vec::new(), error: None, left: 0 };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let done = drain(&mut reader, &mut buffer, |event| outcome.events.push(format!("{event:?}")));
        if let Err(error) = done {
            outcome.error = Some(error.condition);
            return outcome;
        }
    }
    outcome.left = buffer.len();
    outcome
}

/// Reads `input` in every way of cutting it and expects one outcome.
pub(super) fn read(setting: Setting, input: &[u8]) -> Outcome {
    let whole = read_pieces(setting, [input]);
    let bytes = read_pieces(setting, input.chunks(1));
    assert_eq!(bytes, whole, "byte by byte: {}", String::from_utf8_lossy(input));
    for at in 0..input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(read_pieces(setting, [a, b]), whole, "cut at {at}: {}", String::from_utf8_lossy(input));
    }
    whole
}

/// The error that `input` meets behind the usual header, if any.
pub(super) fn refusal(setting: Setting, input: &[u8]) -> Option<StreamCondition> {
    let header = match setting.content {
        ContentNamespace::Server => SERVER_HEADER,
        _ => CLIENT_HEADER,
    };
    let mut all = header.as_bytes().to_vec();
    all.extend_from_slice(input);
    let outcome = read(setting, &all);
    assert!(outcome.events.first().is_some_and(|event| event.starts_with("Open")), "{outcome:?}");
    outcome.error
}

/// Runs `check` on the one event that `input` is behind the usual header.
pub(super) fn one_event(setting: Setting, input: &str, check: impl FnOnce(&Event<'_>)) {
    let header = match setting.framing {
        Framing::Frame => "",
        Framing::Stream if setting.content == ContentNamespace::Server => SERVER_HEADER,
        Framing::Stream => CLIENT_HEADER,
    };
    with_header(setting, header, input, check);
}

pub(super) fn with_header(setting: Setting, header: &str, input: &str, check: impl FnOnce(&Event<'_>)) {
    read(setting, format!("{header}{input}").as_bytes());
    let mut reader = Reader::new(setting.framing, setting.content, setting.limits);
    let mut buffer = header.as_bytes().to_vec();
    drain(&mut reader, &mut buffer, |_| {}).unwrap();
    let step = reader.next(input.as_bytes()).unwrap_or_else(|error| panic!("{error} in {input}"));
    check(&step.event.unwrap_or_else(|| panic!("{input}")));
}

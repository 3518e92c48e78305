//! The reader of one direction of a stream.

use zeroize::Zeroizing;

use crate::xml::Element;

use super::characters::skip_space;
use super::event::{Event, Step};
use super::head;
use super::header;
use super::language::Language;
use super::limits::Limits;
use super::namespace::{ContentNamespace, FRAMING_NS, Outer};
use super::prolog;
use super::refusal::Refusal;
use super::rewrite::Rewrite;
use super::scan::{Around, First, Progress, Scan};
use super::{StreamCondition, StreamError};

/// How elements follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One long document (RFC 6120 §4.1).
    Stream,
    /// Elements that stand alone, in the content namespace if they declare none: what the server
    /// itself has written, and the frames of RFC 7395, whose `<open/>` and `<close/>` become
    /// [`Event::Open`] and [`Event::Close`].
    Frame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of the stream has been read.
    Start,
    /// The same, but white space may still belong to the stream before.
    Restarted,
    /// Inside of the stream, between or in first-level elements.
    Body,
    /// Inside the end tag, behind its name.
    EndTag,
    /// The header was an empty-element tag.
    Ended,
    Closed,
}

/// Bytes in, events out: the gate (RFC 6120 §4, §8, §11).
///
/// Whether and where something is refused depends on the bytes alone, never on how they were cut.
/// After an error the stream is lost; the reader must not be asked again.
#[derive(Debug)]
pub struct Reader {
    framing: Framing,
    content: ContentNamespace,
    phase: Phase,
    limits: Limits,
    /// How many bytes at the front of the buffer are known to be UTF-8.
    valid: usize,
    outer: Outer,
    scan: Scan,
}

/// What may be looked at.
struct Window<'b> {
    bytes: &'b [u8],
    /// At least the same as text, if all of it has come at once.
    text: Option<&'b str>,
    /// What is wrong if this is not enough.
    refusal: Option<Refusal>,
}

impl<'b> Window<'b> {
    /// The first `end` bytes as text.
    fn text(&self, end: usize) -> Result<&'b str, Refusal> {
        if let Some(text) = self.text.and_then(|text| text.get(..end)) {
            return Ok(text);
        }
        let bytes = self.bytes.get(..end).unwrap_or_default();
        simdutf8::basic::from_utf8(bytes).map_err(|_| Refusal::encoding("not UTF-8"))
    }
}

impl Reader {
    #[must_use]
    pub const fn new(framing: Framing, content: ContentNamespace, limits: Limits) -> Self {
        let phase = match framing {
            Framing::Stream => Phase::Start,
            Framing::Frame => Phase::Body,
        };
        Self { framing, content, phase, limits, valid: 0, outer: Outer::Frame, scan: Scan::new() }
    }

    /// Changes the limits, unless an element is being read, which ends under those that it began with.
    pub const fn set_limits(&mut self, limits: Limits) {
        if !self.scan.is_busy() {
            self.limits = limits;
        }
    }

    /// The language that the header gave the stream.
    #[must_use]
    pub fn language(&self) -> Language {
        self.outer.language()
    }

    /// Expects a new stream header (RFC 6120 §4.3.3). The buffer may be another one from here on.
    pub fn restart(&mut self) {
        self.phase = match self.framing {
            Framing::Stream => Phase::Restarted,
            Framing::Frame => Phase::Body,
        };
        self.valid = 0;
        self.outer = Outer::Frame;
        self.scan.clear();
        self.scan.rest();
    }

    /// Reads the next event. `buffer` holds all bytes that have not been consumed; call again with
    /// the rest, and what has arrived, after taking [`Step::consumed`] bytes off the front.
    ///
    /// # Errors
    /// What the peer is to be told before the stream is closed.
    pub fn next<'b>(&mut self, buffer: &'b [u8]) -> Result<Step<'b>, StreamError> {
        let step = match self.phase {
            Phase::Start | Phase::Restarted => self.header(buffer),
            Phase::Body => self.body(buffer),
            Phase::EndTag => self.end_tag(buffer, 0),
            Phase::Ended => {
                self.phase = Phase::Closed;
                Ok(Step { consumed: 0, event: Some(Event::Close) })
            }
            Phase::Closed => match skip_space(buffer, 0) {
                consumed if consumed == buffer.len() => Ok(Step { consumed, event: None }),
                _ => Err(Refusal::malformed("something behind the end of the stream").into()),
            },
        }?;
        self.valid = self.valid.saturating_sub(step.consumed);
        Ok(step)
    }

    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.scan.heap_bytes()
    }

    /// The part of `buffer` from `at` on that may be looked at: no more than `limit` bytes, valid
    /// UTF-8.
    ///
    /// One byte beyond the limit counts as arrived, the bytes behind it do not: then a limit is
    /// the same whether the bytes come singly or all together.
    fn window<'b>(&mut self, buffer: &'b [u8], at: usize, limit: usize) -> Window<'b> {
        self.valid = self.valid.max(at);
        let end = buffer.len().min(at.saturating_add(limit).saturating_add(1));
        let from_start = self.valid == at;
        let (mut broken, mut text) = (false, None);
        if let Some(fresh) = buffer.get(self.valid..end).filter(|fresh| !fresh.is_empty()) {
            match simdutf8::compat::from_utf8(fresh) {
                Ok(checked) => {
                    self.valid = end;
                    text = from_start.then_some(checked);
                }
                Err(error) => {
                    self.valid += error.valid_up_to();
                    broken = error.error_len().is_some();
                }
            }
        }
        let allowed = at.saturating_add(limit);
        let bytes = buffer.get(at..self.valid.min(allowed)).unwrap_or_default();
        let refusal = if broken && self.valid < allowed {
            Some(Refusal::encoding("not UTF-8"))
        } else if buffer.len() > allowed {
            Some(Refusal::limit("an element is too long"))
        } else {
            None
        };
        Window { bytes, text, refusal }
    }

    /// Nothing complete has come.
    fn starve<'b>(&mut self, consumed: usize, refusal: Option<Refusal>) -> Result<Step<'b>, StreamError> {
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        if !self.scan.is_busy() {
            self.scan.rest();
        }
        Ok(Step { consumed, event: None })
    }

    fn header<'b>(&mut self, buffer: &'b [u8]) -> Result<Step<'b>, StreamError> {
        let begin = if self.phase == Phase::Restarted { skip_space(buffer, 0) } else { 0 };
        if begin < buffer.len() {
            self.phase = Phase::Start;
        }
        let window = self.window(buffer, begin, self.limits.header);
        if !self.scan.is_busy() {
            match prolog::root_start(window.bytes)? {
                Some(at) => self.scan.begin(First::Root, at),
                None => return self.starve(begin, window.refusal),
            }
        }
        let around = Around { outer: &self.outer, content: self.content, limits: &self.limits };
        let Progress::Done(end) = self.scan.advance(window.bytes, around)? else {
            return self.starve(begin, window.refusal);
        };
        let text = window.text(end)?;
        let (header, outer) = header::read(text, &self.scan, self.content)?;
        self.outer = outer;
        self.phase = if self.scan.body_end == 0 { Phase::Body } else { Phase::Ended };
        self.scan.clear();
        Ok(Step { consumed: begin + end, event: Some(Event::Open(header)) })
    }

    fn body<'b>(&mut self, buffer: &'b [u8]) -> Result<Step<'b>, StreamError> {
        let begin = if self.scan.is_busy() { 0 } else { skip_space(buffer, 0) };
        if begin == buffer.len() {
            return self.starve(begin, None);
        }
        let window = self.window(buffer, begin, self.limits.element);
        if !self.scan.is_busy() {
            match window.bytes {
                [] | [b'<'] => return self.starve(begin, window.refusal),
                [b'<', b'/', ..] => return self.end_name(buffer, begin, window),
                [b'<', ..] => self.scan.begin(First::Unknown, 0),
                [0..b' ', ..] => return Err(Refusal::malformed("control characters are not allowed").into()),
                [..] => return Err(Refusal::format("text between first-level elements").into()),
            }
        }
        let around = Around { outer: &self.outer, content: self.content, limits: &self.limits };
        let Progress::Done(end) = self.scan.advance(window.bytes, around)? else {
            return self.starve(begin, window.refusal);
        };
        let text = window.text(end)?;
        let event = match self.scan.first {
            First::Message | First::Presence | First::Iq => head::stanza(text, &self.scan, around)?,
            First::Nonza | First::Unknown | First::Root => self.nonza(text)?,
        };
        self.scan.clear();
        Ok(Step { consumed: begin + end, event: Some(event) })
    }

    fn nonza(&mut self, text: &str) -> Result<Event<'static>, StreamError> {
        let around = Around { outer: &self.outer, content: self.content, limits: &self.limits };
        let inherited = self.content.as_str();
        let element = if let Some(element) = simple(text, &self.scan, inherited) {
            Ok(element)
        } else if self.scan.canonical {
            Element::parse(text, inherited)
        } else {
            // A password may be in it.
            let rewritten = Rewrite::new(around, Vec::with_capacity(2 * text.len())).run(text)?;
            Element::parse(&Zeroizing::new(rewritten), inherited)
        };
        let element =
            element.map_err(|_| StreamError::new(StreamCondition::BadFormat, "an element that cannot be read"))?;
        Ok(match (self.framing, element.name()) {
            (Framing::Frame, "open") if element.ns() == FRAMING_NS => Event::Open(header::from_open(&element)),
            (Framing::Frame, "close") if element.ns() == FRAMING_NS => {
                self.phase = Phase::Closed;
                Event::Close
            }
            _ => Event::Nonza(element),
        })
    }

    /// The end tag of the stream up to its name.
    fn end_name<'b>(&mut self, buffer: &'b [u8], begin: usize, window: Window<'_>) -> Result<Step<'b>, StreamError> {
        const MISMATCH: Refusal = Refusal::malformed("an end tag that ends nothing");
        let root = self.outer.root().ok_or(MISMATCH)?.as_bytes();
        let name = window.bytes.get(2..).unwrap_or_default();
        if name.len() < root.len() && root.starts_with(name) {
            return self.starve(begin, window.refusal);
        }
        if !name.starts_with(root) {
            return Err(MISMATCH.into());
        }
        let behind = begin + 2 + root.len();
        if buffer.get(behind).is_none() {
            return self.starve(begin, window.refusal);
        }
        self.phase = Phase::EndTag;
        self.end_tag(buffer, behind)
    }

    /// The rest of the end tag: white space is consumed as it comes.
    fn end_tag<'b>(&mut self, buffer: &'b [u8], from: usize) -> Result<Step<'b>, StreamError> {
        let at = skip_space(buffer, from);
        match buffer.get(at) {
            None => self.starve(at, None),
            Some(b'>') => {
                self.phase = Phase::Closed;
                Ok(Step { consumed: at + 1, event: Some(Event::Close) })
            }
            Some(_) => Err(Refusal::malformed("an end tag that ends nothing").into()),
        }
    }
}

/// An element without children and prefixes as the scan has found it, which is what most of those are that are no
/// stanzas; `None` for any other.
fn simple(text: &str, scan: &Scan, inherited: &str) -> Option<Element> {
    let name = text.get(1..)?.split([' ', '\t', '\n', '\r', '/', '>']).next()?;
    let inside = text.get(scan.body..scan.body_end)?;
    if !scan.canonical || scan.children > 0 || name.contains(':') || inside.contains('&') {
        return None;
    }
    let bytes = text.as_bytes();
    let default = scan.head_attributes().iter().find(|attribute| attribute.name(bytes) == b"xmlns");
    let mut element = match default {
        Some(default) => Element::new(name, &default.resolved(text)?),
        None => Element::new(name, inherited),
    };
    for attribute in scan.head_attributes() {
        if attribute.is_prefixed() {
            return None;
        }
        let name = str::from_utf8(attribute.name(bytes)).ok()?;
        if name != "xmlns" {
            element.set(name, &attribute.resolved(text)?);
        }
    }
    Some(if inside.is_empty() { element } else { element.with_text(inside) })
}

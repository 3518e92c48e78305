//! The resumable scanner: one element (or the start of a document up to the root's start tag),
//! byte after byte, each looked at once however the bytes arrive.
//!
//! What it says depends only on the bytes up to the place it has reached, never on how they were
//! cut into pieces. Names and namespaces are in `scope`.

use super::characters::{
    MAX_NAME, NameRun, Suspect, cdata_end, is_space, name_run, qualified, reference, simple_name, skip_space, suspect,
    text_end, value_end,
};
use super::limits::Limits;
use super::namespace::{ContentNamespace, Outer};
use super::record::{Attribute, Declaration, DefaultNs, Open, offset, small};
use super::refusal::Refusal;
use crate::stanza::Namespaces;

/// What a scan needs to know of its stream.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) outer: &'a Outer,
    pub(super) content: ContentNamespace,
    pub(super) limits: &'a Limits,
}

/// Where the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In character data, or before the element itself.
    Content,
    /// On a `<`.
    Markup,
    CData,
    ElementName,
    /// Between attributes; whether white space has been seen.
    Tag {
        spaced: bool,
    },
    AttributeName,
    /// Behind an attribute's name.
    Equals,
    /// Behind the `=`.
    Quote,
    Value(u8),
    /// Behind the `/` of an empty-element tag.
    Slash,
    /// On the `</` of an end tag.
    EndName,
    EndSpace,
}

/// What a state leads to.
enum Flow {
    Go(State),
    More,
    Done,
}

/// What the first-level element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The root: the scan ends with its start tag.
    Root,
    /// The start tag has not been read.
    Unknown,
    Message,
    Presence,
    Iq,
    Nonza,
}

/// How far a scan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// The element ends before this place.
    Done(usize),
}

/// The state of the scan of one element.
#[derive(Debug)]
pub(super) struct Scan {
    state: State,
    pub(super) first: First,
    /// Whether the payload can be passed on as it stands.
    pub(super) canonical: bool,
    /// Child elements of the first-level element: 0, 1 or more.
    pub(super) children: u8,
    /// How many attributes belong to the first-level element; they come first.
    pub(super) head: u16,
    /// How many declarations stand on a stanza element and thus outside of the payload.
    pub(super) outside: u16,
    /// The namespaces that were declared.
    pub(super) noted: Namespaces,
    at: usize,
    /// Where the name begins that is being read.
    mark: usize,
    /// Where the payload begins and ends.
    pub(super) body: usize,
    pub(super) body_end: usize,
    pub(super) open: Vec<Open>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) declarations: Vec<Declaration>,
}

const NO_VALUE: Refusal = Refusal::malformed("an attribute without a quoted value");

impl Scan {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Content,
            first: First::Unknown,
            canonical: true,
            children: 0,
            head: 0,
            outside: 0,
            noted: Namespaces::NONE,
            at: 0,
            mark: 0,
            body: 0,
            body_end: 0,
            open: Vec::new(),
            attributes: Vec::new(),
            declarations: Vec::new(),
        }
    }

    /// Begins with the `<` at `at`.
    pub(super) fn begin(&mut self, first: First, at: usize) {
        self.clear();
        self.state = State::Markup;
        self.first = first;
        self.at = at;
    }

    /// Whether an element is being read.
    pub(super) const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Content) || !self.open.is_empty()
    }

    /// Forgets the element.
    pub(super) fn clear(&mut self) {
        self.state = State::Content;
        self.canonical = true;
        self.children = 0;
        self.head = 0;
        self.outside = 0;
        self.noted = Namespaces::NONE;
        self.body = 0;
        self.body_end = 0;
        self.open.clear();
        self.attributes.clear();
        self.declarations.clear();
    }

    /// How much heap memory it holds.
    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.open.capacity() * size_of::<Open>()
            + self.attributes.capacity() * size_of::<Attribute>()
            + self.declarations.capacity() * size_of::<Declaration>()
    }

    /// Gives memory back while the stream is idle.
    pub(super) fn rest(&mut self) {
        self.open = Vec::new();
        self.attributes = Vec::new();
        self.declarations = Vec::new();
    }

    /// Reads on; `bytes` begins where it began at the first call and is as long or longer.
    pub(super) fn advance(&mut self, bytes: &[u8], around: Around<'_>) -> Result<Progress, Refusal> {
        loop {
            let flow = match self.state {
                State::Content => self.content(bytes)?,
                State::Markup => self.markup(bytes)?,
                State::CData => self.cdata(bytes)?,
                State::ElementName => self.element_name(bytes, around.limits)?,
                State::Tag { spaced } => self.tag(bytes, spaced, around)?,
                State::AttributeName => self.attribute_name(bytes)?,
                State::Equals => self.equals(bytes)?,
                State::Quote => self.quote(bytes)?,
                State::Value(quote) => self.value(bytes, quote, around)?,
                State::Slash => self.slash(bytes, around)?,
                State::EndName => self.end_name(bytes)?,
                State::EndSpace => self.end_space(bytes)?,
            };
            match flow {
                Flow::Go(state) => self.state = state,
                Flow::More => return Ok(Progress::More),
                Flow::Done => {
                    self.state = State::Content;
                    return Ok(Progress::Done(self.at));
                }
            }
        }
    }

    fn content(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        loop {
            // Between two tags there is often nothing.
            if bytes.get(self.at) != Some(&b'<') {
                self.at = text_end(bytes, self.at);
            }
            match bytes.get(self.at) {
                None => return Ok(Flow::More),
                Some(b'<') => return Ok(Flow::Go(State::Markup)),
                Some(b'>') => {
                    // Both brackets are character data: no markup ends with one.
                    if bytes.get(..self.at).is_some_and(|before| before.ends_with(b"]]")) {
                        return Err(Refusal::malformed("]]> in character data"));
                    }
                    self.at += 1;
                }
                Some(b'&') => {
                    let rest = bytes.get(self.at..).unwrap_or_default();
                    let Some(found) = reference(rest)? else { return Ok(Flow::More) };
                    self.canonical &= !found.numeric || found.character == '\r';
                    self.at += found.length;
                }
                Some(_) => match suspect(bytes, self.at)? {
                    Suspect::Space => self.at += 1,
                    Suspect::CarriageReturn => {
                        self.canonical = false;
                        self.at += 1;
                    }
                    Suspect::Ordinary(length) => self.at += length,
                    Suspect::Cut => return Ok(Flow::More),
                },
            }
        }
    }

    fn markup(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        const CDATA: &[u8] = b"<![CDATA[";
        let rest = bytes.get(self.at..).unwrap_or_default();
        match *rest {
            [] | [_] | [_, b'!'] => Ok(Flow::More),
            [_, b'/', ..] => Ok(Flow::Go(State::EndName)),
            [_, b'?', ..] => Err(Refusal::restricted("processing instructions are not allowed")),
            [_, b'!', b'-', ..] => Err(Refusal::restricted("comments are not allowed")),
            [_, b'!', b'a'..=b'z' | b'A'..=b'Z', ..] => {
                Err(Refusal::restricted("document type declarations are not allowed"))
            }
            [_, b'!', ..] if self.open.is_empty() => Err(Refusal::format("text outside of an element")),
            [_, b'!', ..] if rest.starts_with(CDATA) => {
                self.canonical = false;
                self.at += CDATA.len();
                self.mark = self.at;
                Ok(Flow::Go(State::CData))
            }
            [_, b'!', ..] if CDATA.starts_with(rest) => Ok(Flow::More),
            [_, b'!', ..] => Err(Refusal::malformed("unknown markup")),
            [_, _, ..] => {
                self.at += 1;
                self.mark = self.at;
                Ok(Flow::Go(State::ElementName))
            }
        }
    }

    fn cdata(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        loop {
            self.at = cdata_end(bytes, self.at);
            match bytes.get(self.at) {
                None => return Ok(Flow::More),
                Some(b'>') => {
                    self.at += 1;
                    if bytes.get(self.mark..self.at).is_some_and(|section| section.ends_with(b"]]>")) {
                        return Ok(Flow::Go(State::Content));
                    }
                }
                Some(_) => match suspect(bytes, self.at)? {
                    Suspect::Space | Suspect::CarriageReturn => self.at += 1,
                    Suspect::Ordinary(length) => self.at += length,
                    Suspect::Cut => return Ok(Flow::More),
                },
            }
        }
    }

    /// Reads on in a name: its length and that of its prefix; `None` if it may go on.
    fn name(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Refusal> {
        if self.at == self.mark
            && let Some(end) = simple_name(bytes, self.mark)
        {
            self.at = end;
            return Ok(Some((end - self.mark, 0)));
        }
        let run = name_run(bytes, self.at);
        let (NameRun::Ended(end) | NameRun::Starved(end)) = run;
        self.at = end;
        if end - self.mark > MAX_NAME {
            return Err(Refusal::limit("a name is too long"));
        }
        if matches!(run, NameRun::Starved(_)) {
            return Ok(None);
        }
        let name = bytes.get(self.mark..end).unwrap_or_default();
        Ok(Some((name.len(), qualified(name)?)))
    }

    fn element_name(&mut self, bytes: &[u8], limits: &Limits) -> Result<Flow, Refusal> {
        let Some((length, prefix)) = self.name(bytes)? else { return Ok(Flow::More) };
        if self.open.len() >= limits.depth && self.first != First::Root {
            return Err(Refusal::limit("elements are nested too deeply"));
        }
        if self.open.len() == 1 && self.children < 2 {
            self.children += 1;
        }
        self.open.push(Open {
            start: offset(self.mark),
            length: small(length),
            prefix: small(prefix),
            declarations: small(self.declarations.len()),
            default: DefaultNs::Outside,
        });
        Ok(Flow::Go(State::Tag { spaced: false }))
    }

    fn tag(&mut self, bytes: &[u8], spaced: bool, around: Around<'_>) -> Result<Flow, Refusal> {
        let next = skip_space(bytes, self.at);
        let spaced = spaced || next > self.at;
        self.at = next;
        match bytes.get(next) {
            None => {
                self.state = State::Tag { spaced };
                Ok(Flow::More)
            }
            Some(b'>') => {
                self.at += 1;
                self.enter(bytes, around)?;
                if self.open.len() == 1 {
                    self.body = self.at;
                }
                Ok(if self.first == First::Root { Flow::Done } else { Flow::Go(State::Content) })
            }
            Some(b'/') => {
                self.at += 1;
                Ok(Flow::Go(State::Slash))
            }
            Some(_) if spaced => {
                self.mark = next;
                Ok(Flow::Go(State::AttributeName))
            }
            Some(_) => Err(Refusal::malformed("a name or white space is missing in a tag")),
        }
    }

    fn slash(&mut self, bytes: &[u8], around: Around<'_>) -> Result<Flow, Refusal> {
        match bytes.get(self.at) {
            None => return Ok(Flow::More),
            Some(b'>') => self.at += 1,
            Some(_) => return Err(Refusal::malformed("a slash inside a tag")),
        }
        self.enter(bytes, around)?;
        if self.open.len() == 1 {
            self.body = self.at;
            self.body_end = self.at;
        }
        Ok(if self.first == First::Root { Flow::Done } else { self.leave() })
    }

    /// Closes the innermost element.
    fn leave(&mut self) -> Flow {
        if let Some(closed) = self.open.pop()
            && !self.open.is_empty()
        {
            self.declarations.truncate(usize::from(closed.declarations));
            return Flow::Go(State::Content);
        }
        Flow::Done
    }

    fn attribute_name(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        let Some((length, prefix)) = self.name(bytes)? else { return Ok(Flow::More) };
        self.attributes.push(Attribute {
            start: offset(self.mark),
            value: 0,
            value_end: 0,
            length: small(length),
            prefix: small(prefix),
            plain: true,
        });
        // Nearly always the quote is near.
        match bytes.get(self.at..) {
            Some([b'=', quote @ (b'\'' | b'"'), ..]) => {
                self.at += 2;
                Ok(self.begin_value(*quote))
            }
            _ => Ok(Flow::Go(State::Equals)),
        }
    }

    /// Behind the quote that begins a value.
    fn begin_value(&mut self, quote: u8) -> Flow {
        if let Some(attribute) = self.attributes.last_mut() {
            attribute.value = offset(self.at);
        }
        Flow::Go(State::Value(quote))
    }

    /// The value that is being read does not stand for itself.
    fn not_plain(&mut self) {
        if let Some(attribute) = self.attributes.last_mut() {
            attribute.plain = false;
        }
    }

    fn equals(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        self.at = skip_space(bytes, self.at);
        match bytes.get(self.at) {
            None => Ok(Flow::More),
            Some(b'=') => {
                self.at += 1;
                Ok(Flow::Go(State::Quote))
            }
            Some(_) => Err(NO_VALUE),
        }
    }

    fn quote(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        self.at = skip_space(bytes, self.at);
        match bytes.get(self.at) {
            None => Ok(Flow::More),
            Some(quote @ (b'\'' | b'"')) => {
                self.at += 1;
                Ok(self.begin_value(*quote))
            }
            Some(_) => Err(NO_VALUE),
        }
    }

    fn value(&mut self, bytes: &[u8], quote: u8, around: Around<'_>) -> Result<Flow, Refusal> {
        loop {
            self.at = value_end(bytes, self.at, quote);
            match bytes.get(self.at) {
                None => return Ok(Flow::More),
                Some(b'<') => return Err(Refusal::malformed("< in an attribute value")),
                Some(b'&') => {
                    let rest = bytes.get(self.at..).unwrap_or_default();
                    let Some(found) = reference(rest)? else { return Ok(Flow::More) };
                    self.canonical &= !found.numeric || matches!(found.character, '\t' | '\n' | '\r');
                    self.not_plain();
                    self.at += found.length;
                }
                Some(byte) if *byte == quote => {
                    if let Some(attribute) = self.attributes.last_mut() {
                        attribute.value_end = offset(self.at);
                    }
                    self.at += 1;
                    self.attribute(bytes, around)?;
                    return Ok(Flow::Go(State::Tag { spaced: false }));
                }
                Some(_) => match suspect(bytes, self.at)? {
                    Suspect::Space | Suspect::CarriageReturn => {
                        self.canonical = false;
                        self.not_plain();
                        self.at += 1;
                    }
                    Suspect::Ordinary(length) => self.at += length,
                    Suspect::Cut => return Ok(Flow::More),
                },
            }
        }
    }

    fn end_name(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        const MISMATCH: Refusal = Refusal::malformed("an end tag that ends nothing");
        let expected = self.open.last().ok_or(MISMATCH)?.name(bytes);
        let name = bytes.get(self.at + 2..).unwrap_or_default();
        if name.len() < expected.len() {
            return if expected.starts_with(name) { Ok(Flow::More) } else { Err(MISMATCH) };
        }
        if !name.starts_with(expected) {
            return Err(MISMATCH);
        }
        if self.open.len() == 1 {
            self.body_end = self.at;
        }
        self.at += 2 + expected.len();
        Ok(Flow::Go(State::EndSpace))
    }

    fn end_space(&mut self, bytes: &[u8]) -> Result<Flow, Refusal> {
        if bytes.get(self.at).is_some_and(|byte| *byte != b'>' && !is_space(*byte)) {
            return Err(Refusal::malformed("an end tag that ends nothing"));
        }
        self.at = skip_space(bytes, self.at);
        match bytes.get(self.at) {
            None => Ok(Flow::More),
            Some(b'>') => {
                self.at += 1;
                Ok(self.leave())
            }
            Some(_) => Err(Refusal::malformed("an end tag that holds more than a name")),
        }
    }
}

//! What servers write in tests, as documents for the XML Schema validation of `make check`.
//!
//! Every stream becomes one document, with its end tag if that is missing, in the folder that the
//! environment variable `COMITY_WRITTEN` names; if it names none, nothing is recorded. Two things
//! are added to what was written, and `schemas/README.md` says why: `xsi:type`, which repeats what
//! kind of stream or stanza it is, and an element around each child of a stanza that the server has
//! not written but passes on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::Transport;
use crate::stanza::CLIENT_NS;
use crate::stream::{CLOSE, ContentNamespace, Event, Framing, Header, Limits, Reader};
use crate::xml::Element;

/// What the rooms of a domain are called in tests.
const ROOMS: &str = "rooms.";

/// A server of this name says what a test has it say: nothing that comes from it is its own.
const OUTLAW: &str = "outlaw.";

/// Bytes of one connection that are recorded; what comes after them is left out.
const MOST: usize = 1 << 20;

/// The first words of every stream.
const DECLARATION: &str = "<?xml ";

/// Says to a server that has connected that stanzas may come to it (XEP-0288).
const BOTH_WAYS: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";

/// Stands around what others have written.
const OTHERS: (&str, &str) = ("<o:others xmlns:o='tag:comity:others'>", "</o:others>");

/// Who has opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Somebody else: a client, a server, a component.
    Receiving,
    /// The server that writes.
    Initiating,
}

/// The server's end of a connection that somebody has opened: what is written to it is recorded.
#[must_use]
pub fn served(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Transport {
    tapped(Transport::plain(io, None), Side::Receiving)
}

/// The same where somebody at `peer` has opened it.
#[must_use]
pub fn served_from(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: SocketAddr) -> Transport {
    tapped(Transport::plain(io, Some(peer)), Side::Receiving)
}

/// The server's end of a connection that it has opened itself to `peer`.
pub(super) fn dialled(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: SocketAddr) -> Transport {
    tapped(Transport::plain(io, Some(peer)), Side::Initiating)
}

/// Whether stanzas may go to whoever has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    One,
    Both,
}

fn tapped(transport: Transport, side: Side) -> Transport {
    match Recorder::new(side) {
        Some(mut recorder) => transport.heard_by(Box::new(move |bytes| recorder.heard(bytes))),
        None => transport,
    }
}

/// Takes down what a server writes on one connection; the documents are there when it goes.
pub(super) struct Recorder {
    folder: PathBuf,
    test: String,
    side: Side,
    bytes: Vec<u8>,
}

impl Recorder {
    /// `None` where nobody wants documents.
    pub(super) fn new(side: Side) -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("COMITY_WRITTEN")?);
        // Tests run in threads that have their names.
        let test = std::thread::current().name().unwrap_or("unnamed").to_owned();
        Some(Self { folder, test, side, bytes: Vec::new() })
    }

    pub(super) fn heard(&mut self, bytes: &[u8]) {
        let room = MOST.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

impl Drop for Recorder {
    #[expect(clippy::expect_used, reason = "a test fails that was to leave documents and cannot")]
    fn drop(&mut self) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        for document in documents(&self.bytes, self.side) {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{}-{number}.xml", file_name(&self.test), std::process::id());
            let text = document.text(&self.test);
            write(&self.folder, &name, &text).expect("a folder for what servers write");
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), text)
}

/// A test's name without what a file name should not have.
fn file_name(test: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    test.chars().map(plain).take(80).collect()
}

/// One stream as a server wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Document {
    header: String,
    /// The elements of the first level, one a line.
    elements: Vec<String>,
}

impl Document {
    /// The whole document; the comment on top is for whoever looks for the cause of a fault.
    #[must_use]
    pub fn text(&self, test: &str) -> String {
        // Two hyphens must not stand in a comment.
        let test = test.replace("--", "- -");
        let mut text = format!("<?xml version='1.0'?>\n<!-- elements: {}; test: {test} -->\n", self.elements.len());
        text.push_str(&self.header);
        for element in &self.elements {
            text.push('\n');
            text.push_str(element);
        }
        text.push('\n');
        text.push_str(CLOSE);
        text.push('\n');
        text
    }
}

/// The streams that began one after the other on a connection. What is not a complete element at
/// the end of a stream is left out: the connection was cut there.
#[must_use]
pub fn documents(bytes: &[u8], side: Side) -> Vec<Document> {
    let text = String::from_utf8_lossy(bytes);
    // It is said before anything is proven, and the stream that begins then does not repeat it.
    let way = if text.contains(BOTH_WAYS) { Way::Both } else { Way::One };
    // It begins no element of a stream: the gate lets none pass.
    let streams = text.split(DECLARATION).skip(1);
    streams.filter_map(|stream| document(&format!("{DECLARATION}{stream}"), (side, way))).collect()
}

fn document(stream: &str, kind: (Side, Way)) -> Option<Document> {
    let content = content_of(stream);
    let mut reader = Reader::new(Framing::Stream, content, Limits::OWN);
    let mut document = Document::default();
    let mut own = Header::default();
    let mut rest = stream;
    loop {
        let Ok(step) = reader.next(rest.as_bytes()) else {
            // Whatever is wrong with it: the validation is to see it.
            document.elements.push(rest.to_owned());
            return Some(document);
        };
        let (written, behind) = rest.split_at(step.consumed);
        let written = written.trim();
        match step.event {
            None | Some(Event::Close) => break,
            Some(Event::Open(header)) => {
                own = header;
                document.header = typed_header(written, content, kind);
            }
            Some(Event::Stanza(_) | Event::Rejected(_)) => {
                let domain = own.from.as_deref().filter(|from| !from.starts_with(OUTLAW));
                document.elements.push(stanza(written, domain.unwrap_or_default()));
            }
            Some(Event::Nonza(_)) => document.elements.push(written.to_owned()),
        }
        rest = behind;
    }
    (!document.header.is_empty()).then_some(document)
}

/// The namespace of the stanzas on this stream.
fn content_of(stream: &str) -> ContentNamespace {
    let header = stream.split_once('>').map_or(stream, |(declaration, rest)| {
        // The header is the second tag.
        rest.split_once('>').map_or(declaration, |(header, _)| header)
    });
    let kinds = [ContentNamespace::Server, ContentNamespace::Component];
    let known = kinds.into_iter().find(|kind| header.contains(&format!("xmlns='{}'", kind.as_str())));
    known.unwrap_or(ContentNamespace::Client)
}

/// The header without its XML declaration, with the kind of the stream.
fn typed_header(written: &str, content: ContentNamespace, (side, way): (Side, Way)) -> String {
    let kind = match (content, side, way) {
        (ContentNamespace::Client, ..) => "client",
        (ContentNamespace::Component, ..) => "component",
        (ContentNamespace::Server, Side::Receiving, Way::One) => "server",
        (ContentNamespace::Server, Side::Receiving, Way::Both) => "both-ways",
        (ContentNamespace::Server, Side::Initiating, _) => "initial",
    };
    let header = written.split_once("?>").map_or(written, |(_, header)| header).trim_start();
    with_type(header, &format!("stream:{kind}"))
}

/// A start tag, and what follows it, with `xsi:type`.
fn with_type(element: &str, kind: &str) -> String {
    let name = element.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).unwrap_or(element.len());
    let (begin, end) = element.split_at(name);
    format!("{begin} xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='{kind}'{end}")
}

/// A stanza with its kind, and with everything enclosed that is not from the server of `domain`.
fn stanza(written: &str, domain: &str) -> String {
    let (Some(parts), Ok(element)) = (Parts::of(written), Element::parse(written, CLIENT_NS)) else {
        return written.to_owned();
    };
    let kind = element.attribute("type").unwrap_or_default();
    let is_own = is_from_server(&element, domain);
    let is_from_room = element.attribute("from").is_some_and(|from| is_at_room(from, domain));
    let schema_type = match (element.name(), kind) {
        // Somebody may say that there was an error and not which one; the server may not.
        (name, "error") if !is_own && element.child("error", CLIENT_NS).is_none() => format!("{name}.unexplained"),
        (name, "error") => format!("{name}.error"),
        ("message", _) => "message.any".to_owned(),
        ("iq", "result") => "iq.result".to_owned(),
        ("iq", _) => "iq.request".to_owned(),
        (_, "") => "presence.available".to_owned(),
        (_, "probe") => "presence.probe".to_owned(),
        (_, _) => "presence.other".to_owned(),
    };
    let mut out = with_type(parts.start, &schema_type);
    for child in &parts.children {
        match child {
            Node::Text(text) => out.push_str(text),
            Node::Element(child) if is_own || is_added(child, (kind, is_from_room), domain) => {
                out.push_str(&own(child, domain));
            }
            // Writing to a string cannot fail.
            Node::Element(child) => drop(write!(out, "{}{child}{}", OTHERS.0, OTHERS.1)),
        }
    }
    out.push_str(parts.end);
    out
}

/// Whether the server itself speaks: it leaves `from` out, or speaks for a domain or an account. In
/// presence it only ever repeats what somebody has said.
fn is_from_server(stanza: &Element, domain: &str) -> bool {
    stanza.name() != "presence"
        && stanza.attribute("from").is_none_or(|from| !from.contains('/') && is_at(from, domain))
}

/// Whether the server has added this child to a stanza of somebody else.
fn is_added(child: &str, (kind, is_from_room): (&str, bool), domain: &str) -> bool {
    let Ok(element) = Element::parse(child, CLIENT_NS) else { return true };
    let at = |name: &str| element.attribute(name).is_some_and(|value| is_at(value, domain));
    match (element.name(), element.ns()) {
        ("error", CLIENT_NS) => kind == "error",
        ("delay", "urn:xmpp:delay") => at("from"),
        ("stanza-id", "urn:xmpp:sid:0") => at("by"),
        // Nobody but a room says these in its name.
        ("occupant-id", "urn:xmpp:occupant-id:0") | ("x", "http://jabber.org/protocol/muc#user") => is_from_room,
        // In the archive; nobody else writes it in a test.
        ("retracted", "urn:xmpp:message-retract:1") => true,
        _ => false,
    }
}

/// Whether an address is of this domain, or of the rooms that tests have below it.
fn is_at(jid: &str, domain: &str) -> bool {
    let bare = jid.split('/').next().unwrap_or_default();
    let host = bare.rsplit('@').next().unwrap_or_default();
    host.strip_prefix(ROOMS).unwrap_or(host) == domain
}

/// Whether an address is of the rooms that tests have below a domain.
fn is_at_room(jid: &str, domain: &str) -> bool {
    !domain.is_empty() && is_at(jid, domain) && jid.contains(&format!("{ROOMS}{domain}"))
}

/// What the server has written itself; inside of it may be a stanza that it forwards (XEP-0297).
fn own(element: &str, domain: &str) -> String {
    let Some(parts) = Parts::of(element) else { return element.to_owned() };
    let forwards = parts.start.starts_with("<forwarded ") && parts.start.contains("'urn:xmpp:forward:0'");
    let mut out = parts.start.to_owned();
    for child in &parts.children {
        match child {
            Node::Text(text) => out.push_str(text),
            Node::Element(child) if forwards && !child.starts_with("<delay ") => out.push_str(&stanza(child, domain)),
            Node::Element(child) => out.push_str(&own(child, domain)),
        }
    }
    out.push_str(parts.end);
    out
}

/// An element in pieces that, put together, are the element again.
struct Parts<'a> {
    start: &'a str,
    children: Vec<Node<'a>>,
    end: &'a str,
}

enum Node<'a> {
    Element(&'a str),
    Text(&'a str),
}

impl<'a> Parts<'a> {
    /// Takes canonical text apart: no comments, no CDATA, and as many end tags as start tags.
    fn of(element: &'a str) -> Option<Self> {
        let start = tag(element)?;
        let mut parts = Self { start, children: Vec::new(), end: "" };
        if start.ends_with("/>") {
            return Some(parts);
        }
        let mut rest = element.get(start.len()..)?;
        while !rest.starts_with("</") {
            let length = if rest.starts_with('<') { whole(rest)? } else { rest.find('<')? };
            let (child, behind) = rest.split_at(length);
            parts.children.push(if child.starts_with('<') { Node::Element(child) } else { Node::Text(child) });
            rest = behind;
        }
        parts.end = rest;
        Some(parts)
    }
}

/// The tag that `text` begins with: a `>` may stand inside quotes.
fn tag(text: &str) -> Option<&str> {
    let mut quote = None;
    let end = text.bytes().position(|byte| match (quote, byte) {
        (None, b'>') => true,
        (None, b'\'' | b'"') => {
            quote = Some(byte);
            false
        }
        (Some(open), _) if open == byte => {
            quote = None;
            false
        }
        _ => false,
    })?;
    text.get(..=end)
}

/// How long the element is that `text` begins with.
fn whole(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let tag = tag(text.get(at..)?)?;
        at += tag.len();
        if tag.starts_with("</") {
            depth = depth.checked_sub(1)?;
        } else if !tag.ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return Some(at);
        }
        at += text.get(at..)?.find('<')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XSI: &str = " xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type=";
    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                          xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1'>";

    fn recorded(written: &str) -> Vec<Document> {
        documents(written.as_bytes(), Side::Receiving)
    }

    /// What becomes of one stanza on a client stream of `a.example`.
    fn becomes(stanza: &str) -> String {
        let mut all = recorded(&format!("{HEADER}{stanza}"));
        assert_eq!(all.len(), 1, "{stanza}");
        let mut elements = all.remove(0).elements;
        assert_eq!(elements.len(), 1, "{stanza}");
        elements.remove(0).replace(XSI, " T=").replace(OTHERS.0, "[").replace(OTHERS.1, "]")
    }

    #[test]
    fn every_stream_of_a_connection_is_a_document() {
        let nonza = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let all = recorded(&format!("{HEADER}<stream:features/>{nonza}{HEADER} <stream:features/>\n{CLOSE}"));
        let [first, second] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(first.elements, ["<stream:features/>", nonza]);
        assert_eq!(second.elements, ["<stream:features/>"]);
        let text = second.text("a--b");
        let begin = "<?xml version='1.0'?>\n<!-- elements: 1; test: a- -b -->\n<stream:stream ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains(&format!("{XSI}'stream:client' xmlns='jabber:client'")), "{text}");
        assert!(text.ends_with(&format!("\n<stream:features/>\n{CLOSE}\n")), "{text}");
    }

    #[test]
    fn what_was_cut_off_is_left_out_and_what_is_wrong_is_not() {
        assert!(recorded("").is_empty());
        assert!(recorded("<?xml version='1.0'?><stream:stream xml").is_empty());
        assert_eq!(recorded(&format!("{HEADER}<stream:features/><messa"))[0].elements, ["<stream:features/>"]);
        assert_eq!(recorded(&format!("{HEADER}<a xmlns='x'/><b><c></b>"))[0].elements[1], "<b><c></b>");
        assert_eq!(recorded(&format!("{HEADER}{CLOSE}"))[0].elements, [""; 0]);
    }

    #[test]
    fn streams_have_kinds() {
        let kind = |before: &str, content: &str, side| {
            let header = HEADER.replace("jabber:client", content);
            let text = documents(format!("{before}{header}").as_bytes(), side).pop().unwrap().text("");
            text.split("xsi:type='stream:").nth(1).and_then(|rest| rest.split('\'').next()).map(str::to_owned)
        };
        for (content, side, expected) in [
            ("jabber:client", Side::Receiving, "client"),
            ("jabber:server", Side::Receiving, "server"),
            ("jabber:server", Side::Initiating, "initial"),
            ("jabber:component:accept", Side::Receiving, "component"),
        ] {
            assert_eq!(kind("", content, side).as_deref(), Some(expected), "{content}");
        }
        let offered = format!("{HEADER}<stream:features>{BOTH_WAYS}</stream:features>");
        assert_eq!(kind(&offered, "jabber:server", Side::Receiving).as_deref(), Some("both-ways"));
    }

    #[test]
    fn what_the_server_says_stays_as_it_is() {
        for (written, expected) in [
            ("<iq type='result' id='1'/>", "<iq T='iq.result' type='result' id='1'/>"),
            (
                "<iq type='set' id='1' from='juliet@a.example'><q xmlns='y' a='>'>&gt;</q></iq>",
                "<iq T='iq.request' type='set' id='1' from='juliet@a.example'><q xmlns='y' a='>'>&gt;</q></iq>",
            ),
            (
                "<message from='a.example'><body>hi</body></message>",
                "<message T='message.any' from='a.example'><body>hi</body></message>",
            ),
            (
                "<presence type='error' from='b@a.example'><x xmlns='y'/><error type='cancel'/></presence>",
                "<presence T='presence.error' type='error' from='b@a.example'>[<x xmlns='y'/>]<error type='cancel'/>\
                 </presence>",
            ),
        ] {
            assert_eq!(becomes(written), expected);
        }
    }

    #[test]
    fn what_others_say_is_enclosed() {
        for (written, expected) in [
            (
                "<iq type='get' id='1' from='b@a.example/c'><q xmlns='y'><r/></q><s xmlns='y'/></iq>",
                "<iq T='iq.request' type='get' id='1' from='b@a.example/c'>[<q xmlns='y'><r/></q>][<s xmlns='y'/>]\
                 </iq>",
            ),
            (
                "<message from='b.example'><body>hi</body><delay xmlns='urn:xmpp:delay' from='b.example' stamp=''/>\
                 <delay xmlns='urn:xmpp:delay' from='a.example' stamp=''/>\
                 <stanza-id xmlns='urn:xmpp:sid:0' by='b@a.example' id='1'/></message>",
                "<message T='message.any' from='b.example'>[<body>hi</body>]\
                 [<delay xmlns='urn:xmpp:delay' from='b.example' stamp=''/>]\
                 <delay xmlns='urn:xmpp:delay' from='a.example' stamp=''/>\
                 <stanza-id xmlns='urn:xmpp:sid:0' by='b@a.example' id='1'/></message>",
            ),
            (
                "<presence from='a.example'>\n</presence>",
                "<presence T='presence.available' from='a.example'>\n</presence>",
            ),
            (
                "<message type='error' from='b@a.example/c'><body/></message>",
                "<message T='message.unexplained' type='error' from='b@a.example/c'>[<body/>]</message>",
            ),
            (
                "<presence type='subscribe' from='b@a.example'><status/></presence>",
                "<presence T='presence.other' type='subscribe' from='b@a.example'>[<status/>]</presence>",
            ),
        ] {
            assert_eq!(becomes(written), expected);
        }
    }

    #[test]
    fn what_is_forwarded_is_enclosed_inside_of_what_is_said() {
        let forwarded = |message: &str| {
            format!(
                "<message from='b@a.example'><result xmlns='urn:xmpp:mam:2' id='1'>\
                 <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp=''/>{message}</forwarded>\
                 </result></message>"
            )
        };
        assert_eq!(
            becomes(&forwarded("<message xmlns='jabber:client' from='c@a.example/d'><body>hi</body></message>")),
            forwarded(
                "<message T='message.any' xmlns='jabber:client' from='c@a.example/d'>[<body>hi</body>]</message>"
            )
            .replacen("<message", "<message T='message.any'", 1)
        );
    }
}

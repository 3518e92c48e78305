//! Other readers of XML: rxml in this process; expat and libxml2 in one of their own (`judges/judges.c`), which the environment
//! variable `COMITY_JUDGES` names. Whatever the gate lets in and whatever the server writes, all of them find the same in it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use comity::stream::{DIALBACK_NS, STREAMS_NS};
use comity::xml::Element;
use rxml::{Event, Options, Parse, Parser, WithOptions};

use crate::found::{Found, Piece};

/// What all readers find in a document.
///
/// # Panics
/// If one of them refuses it, or finds something else.
pub(crate) fn agreed(document: &str) -> Found {
    let document = &*short_references(document);
    let found = with_rxml(document).unwrap_or_else(|why| panic!("rxml: {why}: {document}"));
    let others = JUDGES.with_borrow_mut(|judges| judges.as_mut().map(|judges| judges.ask(document)));
    for (name, other) in others.into_iter().flatten() {
        let other = other.unwrap_or_else(|why| panic!("{name}: {why}: {document}"));
        assert_eq!(other, found, "{name} and rxml read otherwise: {document}");
    }
    found
}

/// The same without zeros at the beginning of numbers of characters. XML 1.0 §4.1 allows any number of them, but rxml reads eight digits,
/// and libxml2 (2.9) no letter behind the tenth.
fn short_references(text: &str) -> Cow<'_, str> {
    if !text.contains("&#") {
        return Cow::Borrowed(text);
    }
    let mut short = String::with_capacity(text.len());
    for part in text.split_inclusive("]]>") {
        let (markup, literal) = part.split_at(part.find("<![CDATA[").unwrap_or(part.len()));
        for (at, piece) in markup.split("&#").enumerate() {
            let (mark, number) = match piece.strip_prefix('x') {
                _ if at == 0 => ("", piece),
                Some(hexadecimal) => ("&#x", hexadecimal.trim_start_matches('0')),
                None => ("&#", piece.trim_start_matches('0')),
            };
            short.extend([mark, number]);
        }
        short.push_str(literal);
    }
    Cow::Owned(short)
}

/// What all readers find in elements that the server has written for a stream with this content namespace, ours among them.
///
/// # Panics
/// If one of them refuses it, or finds something else.
pub(crate) fn written(xml: &str, content: &str) -> Found {
    let document = format!("<all xmlns='{content}' xmlns:stream='{STREAMS_NS}' xmlns:db='{DIALBACK_NS}'>{xml}</all>");
    let found = agreed(&document);
    let ours = Element::parse(&document, "").unwrap_or_else(|error| panic!("we: {error}: {document}"));
    assert_eq!(Found::of(&ours), found, "we read otherwise: {document}");
    found
}

/// The same for one element: nobody finds another beside it.
///
/// # Panics
/// If somebody does.
pub(crate) fn written_alone(xml: &str, content: &str) -> Found {
    let mut all = written(xml, content);
    match (all.inside.pop(), all.inside.as_slice()) {
        (Some(Piece::Element(only)), []) => only,
        _ => panic!("not one element: {xml}"),
    }
}

// -- rxml

/// The longest name or value that it reads: more than any input has. It asks for as much memory.
const LONGEST: usize = 1 << 16;

fn with_rxml(document: &str) -> Result<Found, String> {
    // XML 1.0 §2.11 has a reader do so first; rxml refuses a CR in a value where it does not.
    let text = document.replace("\r\n", "\n").replace('\r', "\n");
    let mut parser = Parser::with_options(Options { max_token_length: LONGEST, ..Options::default() });
    // Of what may stand before the root (XML 1.0 §2.8), rxml knows less; the others see whether it may here.
    let text = text.trim_start_matches('\u{FEFF}');
    let text = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or(text, |(_, root)| root);
    let mut rest = text.trim_start_matches(['\n', '\t', ' ']).as_bytes();
    let mut open = vec![Found::new(Default::default())];
    while let Some(event) = parser.parse(&mut rest, true).map_err(|error| format!("{error:?}"))? {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, local), attributes) => {
                let mut element = Found::new((ns.to_string(), local.to_string()));
                for ((ns, local), value) in attributes {
                    element.attributes.insert((ns.to_string(), local.to_string()), value);
                }
                open.push(element);
            }
            Event::Text(_, text) => innermost(&mut open)?.push_text(&text),
            Event::EndElement(_) => close(&mut open)?,
        }
    }
    root(open)
}

fn innermost(open: &mut [Found]) -> Result<&mut Found, String> {
    open.last_mut().ok_or_else(|| "an end without a beginning".to_owned())
}

fn close(open: &mut Vec<Found>) -> Result<(), String> {
    let closed = open.pop().ok_or("an end without a beginning")?;
    innermost(open)?.inside.push(Piece::Element(closed));
    Ok(())
}

/// The one element in what stands for the document.
fn root(mut open: Vec<Found>) -> Result<Found, String> {
    let mut document = open.pop().filter(|_| open.is_empty()).ok_or("an element has no end")?;
    match (document.inside.pop(), document.inside.as_slice()) {
        (Some(Piece::Element(root)), []) => Ok(root),
        _ => Err("not one root".to_owned()),
    }
}

// -- expat and libxml2

thread_local! {
    static JUDGES: RefCell<Option<Judges>> = RefCell::new(PROGRAM.as_ref().map(|program| Judges::call(program)));
}

static PROGRAM: LazyLock<Option<std::ffi::OsString>> = LazyLock::new(|| std::env::var_os("COMITY_JUDGES"));

struct Judges {
    process: Child,
    documents: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Judges {
    fn call(program: &std::ffi::OsStr) -> Self {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (documents, answers) = process.stdin.take().zip(process.stdout.take()).expect("both ends are pipes");
        Self { process, documents: BufWriter::new(documents), answers: BufReader::new(answers) }
    }

    fn ask(&mut self, document: &str) -> [(&'static str, Result<Found, String>); 2] {
        let length = u32::try_from(document.len()).expect("a document of less than 4 GiB");
        let asked = self
            .documents
            .write_all(&length.to_le_bytes())
            .and_then(|()| self.documents.write_all(document.as_bytes()));
        asked.and_then(|()| self.documents.flush()).expect("the other readers listen");
        ["expat", "libxml2"].map(|name| (name, self.answer()))
    }

    fn answer(&mut self) -> Result<Found, String> {
        let (mut is_read, mut length) = ([0], [0; 4]);
        self.answers.read_exact(&mut is_read).expect("an answer");
        self.answers.read_exact(&mut length).expect("a length");
        let mut octets = vec![0; u32::from_le_bytes(length) as usize];
        self.answers.read_exact(&mut octets).expect("what was found");
        let text = String::from_utf8(octets).map_err(|error| error.to_string())?;
        if is_read == [1] { understood(&text) } else { Err(text) }
    }
}

impl Drop for Judges {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads an answer, as `judges.c` says that it is written.
fn understood(text: &str) -> Result<Found, String> {
    const MARKS: [char; 4] = ['\u{1}', '\u{3}', '\u{5}', '\u{6}'];
    let mut open = vec![Found::new(Default::default())];
    let mut rest = text;
    while let Some(mark) = rest.chars().next() {
        let behind = &rest[mark.len_utf8()..];
        let (said, behind) = behind.split_at(behind.find(MARKS).unwrap_or(behind.len()));
        match mark {
            '\u{1}' => open.push(Found::new(name(said)?)),
            '\u{3}' => {
                let (named, value) = said.split_once('\u{4}').ok_or("an attribute without a value")?;
                if innermost(&mut open)?.attributes.insert(name(named)?, value.to_owned()).is_some() {
                    return Err(format!("{named} twice"));
                }
            }
            '\u{5}' => innermost(&mut open)?.push_text(said),
            '\u{6}' => {
                close(&mut open)?;
                innermost(&mut open)?.push_text(said);
            }
            _ => return Err("text outside of elements".to_owned()),
        }
        rest = behind;
    }
    root(open)
}

fn name(text: &str) -> Result<(String, String), String> {
    let (ns, local) = text.split_once('\u{2}').ok_or("a name without its parts")?;
    Ok((ns.to_owned(), local.to_owned()))
}

//! What the gate lets in, others read as well, and find the same in it; and what we make of it for those whom it is for.
//!
//! Stanzas of a stream are compared three times: as everybody reads what came, as we have understood it, and as everybody reads what
//! we write. The answers that the gate itself has for what is wrong with a stanza are among what we write.

use comity::stanza::CLIENT_NS;
use comity::stream::{Event, Framing, HeaderFields, STREAMS_NS, write_header};

use crate::found::Found;
use crate::gate::{self, Setting};
use crate::readers::{agreed, written};
use crate::tally;

/// What the gate has made of a first-level element.
enum Said {
    /// As we write it.
    Stanza(String),
    /// Nothing that is passed on.
    Other,
    /// As we have understood it.
    Nonza(Found),
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((setting, rest)) = Setting::of(bytes) else { return };
    let whole = setting.whole(rest);
    let (mut said, mut ours, mut is_closed) = (Vec::new(), String::new(), false);
    let end = gate::read(&mut setting.reader(), &whole, |_, event| match event {
        Event::Open(header) => {
            let fields = HeaderFields {
                to: header.from.as_deref(),
                from: header.to.as_deref(),
                id: header.id.as_deref(),
                version: header.version,
                lang: header.lang.as_deref(),
            };
            answered(&setting, &fields);
            if setting.framing == Framing::Frame {
                said.push(Said::Other);
            }
        }
        Event::Stanza(stanza) => said.push(Said::Stanza(stanza.to_xml())),
        Event::Rejected(rejected) => {
            ours.push_str(&rejected.stanza.error(&rejected.error).map(|answer| answer.to_xml()).unwrap_or_default());
            said.push(Said::Other);
        }
        Event::Nonza(element) => said.push(Said::Nonza(Found::of(&element).unified())),
        Event::Close if setting.framing == Framing::Frame => said.push(Said::Other),
        Event::Close => is_closed = true,
    });
    if !ours.is_empty() {
        written(&ours, CLIENT_NS);
    }
    if said.is_empty() && !is_closed {
        return;
    }
    let came = String::from_utf8_lossy(&whole[..end.read]);
    let came = match setting.framing {
        Framing::Frame => format!("<frames xmlns='{CLIENT_NS}'>{came}</frames>"),
        Framing::Stream if is_closed => came.into_owned(),
        Framing::Stream => format!("{came}</{}>", root_of(&came)),
    };
    compare(agreed(&came), &said, &came);
    if said.iter().any(|said| !matches!(said, Said::Other)) {
        tally::compared();
    }
}

/// Whether the gate lets in something of an input: about the others nobody else is asked.
pub(crate) fn is_let_in(bytes: &[u8]) -> bool {
    let Some((setting, rest)) = Setting::of(bytes) else { return false };
    let mut is_let_in = false;
    gate::read(&mut setting.reader(), &setting.whole(rest), |_, event| {
        is_let_in |= matches!(event, Event::Stanza(_) | Event::Nonza(_));
    });
    is_let_in
}

/// The header that answers one says the same, whatever was in it.
fn answered(setting: &Setting, fields: &HeaderFields<'_>) {
    let mut header = String::new();
    write_header(&mut header, setting.content, fields);
    let found = agreed(&format!("{header}</stream:stream>"));
    assert_eq!(found.name, (STREAMS_NS.to_owned(), "stream".to_owned()));
    for (name, value) in [("from", fields.from), ("to", fields.to), ("id", fields.id)] {
        assert_eq!(found.attribute("", name), value, "{header}");
    }
    assert!(found.attributes.len() <= 5, "{header}");
}

/// The name of the root, as it is written.
fn root_of(document: &str) -> &str {
    let behind = document.trim_start_matches('\u{FEFF}');
    let behind = behind.strip_prefix("<?xml").and_then(|rest| rest.split_once('>')).map_or(behind, |(_, rest)| rest);
    let name = behind.trim_start().strip_prefix('<').unwrap_or_default();
    name.split([' ', '\t', '\r', '\n', '/', '>']).next().unwrap_or_default()
}

fn compare(came: Found, said: &[Said], text: &str) {
    let came = came.unified();
    assert_eq!(came.elements().count(), said.len(), "others find more or less than we: {text}");
    let forwarded: String = said.iter().filter_map(Said::written).collect();
    let written = written(&forwarded, CLIENT_NS).unified();
    let mut forwarded = written.elements();
    for (came, said) in came.elements().zip(said) {
        match said {
            Said::Other => {}
            Said::Nonza(understood) => assert_eq!(came, understood, "{text}"),
            Said::Stanza(xml) => {
                let forwarded = forwarded.next().unwrap_or_else(|| panic!("nobody finds {xml}"));
                assert_eq!(came.inside, forwarded.inside, "{text} became {xml}");
                assert_eq!(came.name, forwarded.name, "{text} became {xml}");
                assert_eq!(came.attribute("", "id"), forwarded.attribute("", "id"), "{text} became {xml}");
                assert_eq!(came.lang(), forwarded.lang(), "{text} became {xml}");
            }
        }
    }
    assert_eq!(forwarded.next(), None, "a stanza out of nothing");
}

impl Said {
    fn written(&self) -> Option<&str> {
        match self {
            Self::Stanza(xml) => Some(xml),
            Self::Other | Self::Nonza(_) => None,
        }
    }
}

//! The typed head of a stanza (RFC 6120 §8.1, §8.2), made from the attributes that the scan found.

use std::borrow::Cow;

use crate::jid::{Jid, JidError};
use crate::stanza::{Condition, IqType, Kind, MessageType, Payload, PresenceType, Stanza, StanzaError};

use super::event::{Event, Fault, Rejected};
use super::refusal::Refusal;
use super::rewrite::{Rewrite, declared_on};
use super::scan::{Around, First, Scan};

/// The attributes of a stanza that count, unescaped.
#[derive(Default)]
struct Head<'b> {
    kind: Option<Cow<'b, str>>,
    id: Option<Cow<'b, str>>,
    from: Option<Cow<'b, str>>,
    to: Option<Cow<'b, str>>,
    lang: Option<Cow<'b, str>>,
}

/// Makes a stanza of the complete element `text`.
pub(super) fn stanza<'b>(text: &'b str, scan: &Scan, around: Around<'_>) -> Result<Event<'b>, Refusal> {
    let head = head(text, scan);
    let payload = text.get(scan.body..scan.body_end).unwrap_or_default();
    let payload = if scan.canonical {
        // All that it has is declared in it.
        Payload::noted(payload, scan.noted)
    } else {
        let rewrite = Rewrite::new(around, declared_on(text, scan.outside_declarations()));
        Payload::canonical(rewrite.run(payload)?)
    };
    let (kind, mut complaint) = kind(scan.first, head.kind.as_deref());
    if let Kind::Iq(kind) = kind {
        complaint = complaint.or_else(|| iq_complaint(kind, scan.children, head.id.is_some()));
    }
    let mut rejection = complaint.map(|text| (StanzaError::new(Condition::BadRequest, text), Fault::Other));
    let to = address(head.to.as_deref(), Fault::To, &mut rejection);
    // A fault of `from` comes before all others: nobody can be answered then.
    let from = address(head.from.as_deref(), Fault::From, &mut rejection);
    let stanza = Stanza { kind, from, to, id: head.id, lang: head.lang, payload };
    Ok(match rejection {
        None => Event::Stanza(stanza),
        Some((error, fault)) => Event::Rejected(Rejected { stanza, error, fault }),
    })
}

/// The one pass over the attributes; others than these are dropped.
fn head<'b>(text: &'b str, scan: &Scan) -> Head<'b> {
    let mut head = Head::default();
    for found in scan.head_attributes() {
        let field = match found.name(text.as_bytes()) {
            b"type" => &mut head.kind,
            b"id" => &mut head.id,
            b"from" => &mut head.from,
            b"to" => &mut head.to,
            b"xml:lang" => &mut head.lang,
            _ => continue,
        };
        *field = found.resolved(text);
    }
    head
}

fn kind(first: First, kind: Option<&str>) -> (Kind, Option<&'static str>) {
    match first {
        First::Presence => match kind.map(PresenceType::parse) {
            None => (Kind::Presence(PresenceType::Available), None),
            // Availability is the absence of a type, not one of its values (RFC 6121 §4.7.1).
            Some(None | Some(PresenceType::Available)) => {
                (Kind::Presence(PresenceType::Available), Some("unknown type of presence"))
            }
            Some(Some(known)) => (Kind::Presence(known), None),
        },
        First::Iq => match kind.and_then(IqType::parse) {
            Some(known) => (Kind::Iq(known), None),
            None => (Kind::Iq(IqType::Get), Some("an IQ is of type get, set, result or error")),
        },
        // An unknown type is to be read as normal (RFC 6121 §5.2.2).
        _ => (Kind::Message(kind.and_then(MessageType::parse).unwrap_or(MessageType::Normal)), None),
    }
}

/// The rules of RFC 6120 §8.2.3 for an IQ.
fn iq_complaint(kind: IqType, children: u8, has_id: bool) -> Option<&'static str> {
    match (kind, children) {
        _ if !has_id => Some("an IQ needs an id"),
        (IqType::Get | IqType::Set, 0 | 2..) => Some("a request has exactly one child element"),
        (IqType::Result, 2..) => Some("a result has at most one child element"),
        _ => None,
    }
}

fn address(text: Option<&str>, fault: Fault, rejection: &mut Option<(StanzaError, Fault)>) -> Option<Jid> {
    match Jid::parse(text?) {
        Ok(jid) => Some(jid),
        Err(error) => {
            *rejection = Some((malformed(error), fault));
            None
        }
    }
}

fn malformed(error: JidError) -> StanzaError {
    StanzaError::new(Condition::JidMalformed, error.to_string())
}

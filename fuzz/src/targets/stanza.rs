//! Stanzas: read, written in every way that there is, answered; and everybody reads of them what we mean.

use comity::jid::Jid;
use comity::stanza::{CLIENT_NS, Child, Condition, IqType, Kind, Stanza, StanzaError};
use comity::stream::{ContentNamespace, read_back};
use comity::xml::Element;

use crate::gate;
use crate::readers::{written, written_alone};

pub(crate) fn run(bytes: &[u8]) {
    for stanza in gate::stanzas(bytes) {
        let text = stanza.to_xml();
        assert_eq!(read(&text).as_ref(), Some(&stanza), "{text}");
        written_alone(&text, CLIENT_NS);
        to_others(&stanza);
        with_more(&stanza, &text);
        children(&stanza);
        answers(&stanza);
    }
}

/// The one stanza in `text`.
fn read(text: &str) -> Option<Stanza<'_>> {
    let mut found = read_back(text, ContentNamespace::Client);
    found.next().filter(|(end, _)| *end == text.len()).map(|(_, stanza)| stanza)
}

fn to_others(stanza: &Stanza<'_>) {
    for to in ["a@b.example/o'neil&\"<", "b.example"] {
        let (mut one, mut other) = (String::new(), String::new());
        stanza.write_to(&mut one, Some("b.example"));
        stanza.letter().write_to(&mut other, to);
        let expected = Stanza { to: to.parse().ok(), ..stanza.borrow() };
        assert_eq!(read(&other), Some(expected), "{other}");
        assert_eq!(read(&one).and_then(|read| read.to), Jid::parse("b.example").ok(), "{one}");
    }
}

/// What is added stands behind everything that was there.
fn with_more(stanza: &Stanza<'_>, text: &str) {
    let tail = "<delay xmlns='urn:xmpp:delay' stamp='x'/>";
    let (mut one, mut other) = (String::new(), String::new());
    stanza.write_with(&mut one, tail);
    stanza.copy_with(&mut other, text, tail);
    assert_eq!(one, other);
    // An IQ has one child.
    if !matches!(stanza.kind, Kind::Iq(_)) {
        let read = read(&one).unwrap_or_else(|| panic!("no stanza: {one}"));
        assert_eq!(read.payload.as_str(), format!("{}{tail}", stanza.payload.as_str()));
    }
}

/// At a glance as in the tree.
fn children(stanza: &Stanza<'_>) {
    let payload = stanza.payload.as_str();
    let elements = stanza.payload.elements();
    let seen: Vec<Child<'_>> = stanza.payload.children().collect();
    let names: Vec<&str> = seen.iter().map(|child| child.name).collect();
    assert_eq!(names, elements.iter().map(|element| element.name()).collect::<Vec<_>>(), "{payload}");
    for (child, element) in seen.iter().zip(&elements) {
        // References in a namespace are as they were written.
        assert!(child.ns.contains('&') || child.ns == element.ns(), "{payload}");
    }
    // Without the first one the others are what they were, for everybody.
    if let Some((first, others)) = elements.split_first() {
        let mut rest = stanza.payload.borrow();
        rest.remove(|element| element == first);
        let kept: Vec<_> = others.iter().filter(|it| *it != first).cloned().collect();
        assert_eq!(rest.elements(), kept, "{payload} became {}", rest.as_str());
        assert_eq!(written(rest.as_str(), CLIENT_NS).elements().count(), kept.len(), "{}", rest.as_str());
    }
    let mut none = stanza.payload.borrow();
    none.remove(|_| true);
    assert!(elements.is_empty() == (none.as_str() == payload) && none.elements().is_empty(), "{payload}");
}

fn answers(stanza: &Stanza<'_>) {
    let text = stanza.id.as_deref().unwrap_or("'\"<>&");
    let detail = Element::new("a", "urn:example").with("b", text).with_text(text);
    let error = StanzaError::new(Condition::BadRequest, text).with_detail(detail);
    let answer = stanza.error(&error);
    assert_eq!(answer.is_some(), stanza.kind.error().is_some());
    let result = matches!(stanza.kind, Kind::Iq(IqType::Get | IqType::Set)).then(|| stanza.result());
    for answer in answer.into_iter().chain(result) {
        assert_eq!((&answer.from, &answer.to), (&stanza.to, &stanza.from));
        assert!(answer.error(&error).is_none(), "an answer is not answered");
        let text = answer.to_xml();
        let found = written_alone(&text, CLIENT_NS);
        assert_eq!(found.attribute("", "id"), answer.id.as_deref(), "{text}");
        assert!(stanza.id.is_none() || answer.id == stanza.id, "{text}");
        assert_eq!(read(&text), Some(answer), "{text}");
    }
    // Nobody finds a third one in two.
    let two = stanza.to_xml().repeat(2);
    assert_eq!(written(&two, CLIENT_NS).inside.len(), 2, "{two}");
}

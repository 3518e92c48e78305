//! What stanzas say: heads, rejections, nonzas.

use super::*;
use crate::stanza::{Condition, IqType, Kind, MessageType, PresenceType, Stanza};
use crate::stream::{Fault, STREAMS_NS};

fn stanza(input: &str, check: impl FnOnce(&Stanza<'_>)) {
    one_event(CLIENT, input, |event| match event {
        Event::Stanza(stanza) => check(stanza),
        other => panic!("{other:?}"),
    });
}

fn rejected(input: &str, condition: Condition, fault: Fault, kind: Kind) {
    one_event(CLIENT, input, |event| match event {
        Event::Rejected(rejected) => {
            assert_eq!((rejected.error.condition, rejected.fault), (condition, fault), "{input}");
            assert_eq!(rejected.stanza.kind, kind, "{input}");
        }
        other => panic!("{other:?}"),
    });
}

// Proves: RFC 6120 §8.1.1, §8.1.2, §8.1.3, §8.1.5, RFC 6121 §4.7.1
#[test]
fn the_head_of_a_stanza_is_typed_and_unescaped() {
    let input = "<message xmlns:x='y' x:to='no' other='no' id='&lt;1&#x3e;' type='chat' to='juliet@example.org/a&amp;b' \
                 from='romeo@example.org' xml:lang='de'><body>hi</body></message>";
    stanza(input, |stanza| {
        assert_eq!(stanza.kind, Kind::Message(MessageType::Chat));
        assert_eq!(stanza.id.as_deref(), Some("<1>"));
        assert_eq!(stanza.to.as_ref().map(|to| to.as_str()), Some("juliet@example.org/a&b"));
        assert_eq!(stanza.from.as_ref().map(|from| from.as_str()), Some("romeo@example.org"));
        assert_eq!(stanza.lang.as_deref(), Some("de"));
        assert_eq!(stanza.payload.as_str(), "<body>hi</body>");
    });
    stanza("<presence/>", |found| assert_eq!(*found, Stanza::new(Kind::Presence(PresenceType::Available))));
    stanza("<presence></presence >", |found| assert_eq!(*found, Stanza::new(Kind::Presence(PresenceType::Available))));
    stanza("<message id='a\tb'/>", |found| assert_eq!(found.id.as_deref(), Some("a b")));
}

// Proves: RFC 6120 §8.1.4, §8.2.1, §8.2.2, §8.2.3, RFC 6121 §5.2.2
#[test]
fn types() {
    for (input, kind) in [
        ("<message type='groupchat'/>", Kind::Message(MessageType::Groupchat)),
        ("<message type='unknown'/>", Kind::Message(MessageType::Normal)),
        ("<message type=''/>", Kind::Message(MessageType::Normal)),
        ("<presence type='unavailable'/>", Kind::Presence(PresenceType::Unavailable)),
        ("<iq type='result' id='1'/>", Kind::Iq(IqType::Result)),
        ("<iq type='result' id='1'> <a xmlns='b'/></iq>", Kind::Iq(IqType::Result)),
        ("<iq type='error' id='1'><a xmlns='b'/><error/></iq>", Kind::Iq(IqType::Error)),
        ("<iq type='get' id='1'> \n<a xmlns='b'><b/><c/></a> </iq>", Kind::Iq(IqType::Get)),
        ("<iq type='set' id=''><a xmlns='b'/></iq>", Kind::Iq(IqType::Set)),
    ] {
        stanza(input, |stanza| assert_eq!(stanza.kind, kind, "{input}"));
    }
}

// Proves: RFC 6120 §8.2.3
#[test]
fn rejections_leave_the_stream_open() {
    use Condition::{BadRequest, JidMalformed};
    let available = Kind::Presence(PresenceType::Available);
    let get = Kind::Iq(IqType::Get);
    rejected("<presence type='x'/>", BadRequest, Fault::Other, available);
    rejected("<presence type='available'/>", BadRequest, Fault::Other, available);
    rejected("<presence type=''/>", BadRequest, Fault::Other, available);
    rejected("<iq id='1'/>", BadRequest, Fault::Other, get);
    rejected("<iq id='1' type='x'><a xmlns='b'/></iq>", BadRequest, Fault::Other, get);
    rejected("<iq type='get'><a xmlns='b'/></iq>", BadRequest, Fault::Other, get);
    rejected("<iq id='1' type='get'/>", BadRequest, Fault::Other, get);
    rejected("<iq id='1' type='get'>text</iq>", BadRequest, Fault::Other, get);
    rejected("<iq id='1' type='set'><a/><b/></iq>", BadRequest, Fault::Other, Kind::Iq(IqType::Set));
    rejected("<iq id='1' type='result'><a/><b/></iq>", BadRequest, Fault::Other, Kind::Iq(IqType::Result));
    let message = Kind::Message(MessageType::Normal);
    rejected("<message to=''/>", JidMalformed, Fault::To, message);
    rejected("<message from=''/>", JidMalformed, Fault::From, message);
    rejected("<message to='@' from='/'/>", JidMalformed, Fault::From, message);
    rejected("<iq to='a@' id='1' type='get'/>", JidMalformed, Fault::To, get);
    let outcome = read(CLIENT, format!("{CLIENT_HEADER}<message to=''/><message/>").as_bytes());
    assert_eq!((outcome.events.len(), outcome.error), (3, None));
    one_event(CLIENT, "<message to='@' from='a@b' id='7'><a xmlns='b'/></message>", |event| match event {
        Event::Rejected(rejected) => {
            assert_eq!(rejected.stanza.to, None);
            assert!(rejected.stanza.from.is_some());
            assert_eq!(rejected.stanza.payload.as_str(), "<a xmlns='b'/>");
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn nonzas_have_their_namespaces() {
    for (header, input, name, ns) in [
        (CLIENT_HEADER, "<r xmlns='urn:xmpp:sm:3'/>", "r", "urn:xmpp:sm:3"),
        (CLIENT_HEADER, "<x:r xmlns:x='urn:xmpp:sm:3'/>", "r", "urn:xmpp:sm:3"),
        (CLIENT_HEADER, "<message xmlns='urn:x'><body/></message>", "message", "urn:x"),
        (CLIENT_HEADER, "<stream:error><a xmlns='b'/></stream:error>", "error", STREAMS_NS),
        (SERVER_HEADER, "<db:result from='a' to='b'>x</db:result>", "result", "jabber:server:dialback"),
        ("<stream xmlns='http://etherx.jabber.org/streams'>", "<features/>", "features", STREAMS_NS),
    ] {
        let setting = if header == SERVER_HEADER { SERVER } else { CLIENT };
        with_header(setting, header, input, |event| match event {
            Event::Nonza(element) => assert!(element.is(name, ns), "{element:?}"),
            other => panic!("{other:?}"),
        });
    }
    one_event(
        CLIENT,
        "<stream:a xmlns='u' stream:b='c'><stream:d><e>x</e></stream:d></stream:a>",
        |event| match event {
            Event::Nonza(element) => {
                let inner = element.child("d", STREAMS_NS).and_then(|d| d.child("e", "u"));
                assert_eq!(inner.map(crate::xml::Element::text).as_deref(), Some("x"));
            }
            other => panic!("{other:?}"),
        },
    );
}

#[test]
fn stanzas_need_not_inherit_the_content_namespace() {
    for (header, input) in [
        (CLIENT_HEADER, "<c:message xmlns:c='jabber:client'><c:body>x</c:body></c:message>"),
        (CLIENT_HEADER, "<message xmlns='jabber:client'><body>x</body></message>"),
        (CLIENT_HEADER, "<message xmlns='jabber&#58;client'><body>x</body></message>"),
        (
            "<stream xmlns='http://etherx.jabber.org/streams'>",
            "<message xmlns='jabber:client'><body>x</body></message>",
        ),
        (
            "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:j='jabber:client'>",
            "<j:message><j:body>x</j:body></j:message>",
        ),
    ] {
        with_header(CLIENT, header, input, |event| match event {
            Event::Stanza(stanza) => assert_eq!(stanza.payload.as_str(), "<body>x</body>", "{input}"),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_batch_is_read_one_by_one() {
    let outcome = read_pieces(CLIENT, [format!("{CLIENT_HEADER}{}", "<message>ä</message>\n".repeat(500)).as_bytes()]);
    assert_eq!((outcome.events.len(), outcome.error, outcome.left), (501, None, 0));
}

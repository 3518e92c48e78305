//! XEP-0280 Message Carbons, version 1.0.1: which messages further sessions of an account get a copy of, and what it
//! looks like. `docs/carbons.md` is the same for people.
//!
//! A copy comes from the account itself, and nobody else can make something that looks like one.

use std::sync::Arc;

use crate::hooks::{
    Answer, Call, Duplicate, Entity, Extension, Interest, Original, Outbound, Readers, Registrar, Relation, Request,
    Spec, Wanted,
};
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Child, Condition, Kind, MessageType, Payload, Stanza, StanzaError};
use crate::storage::{Direction, Storage};
use crate::xml::Element;

use super::xep_0313_archive::api::{CONFERENCE_NS, FORWARD_NS, MARKERS_NS, RECEIPTS_NS};
use super::{CHAT_STATES_NS, HINTS_NS, MUC_USER_NS as USER_NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0280", version: "1.0.1" },
    name: "carbons",
    advertises: &[(Entity::Domain, NS), (Entity::Domain, "urn:xmpp:carbons:rules:0")],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:carbons:2";

/// For extensions that look at what clients get.
pub(super) mod api {
    use crate::stanza::{CLIENT_NS, Stanza};
    use crate::xml::Element;

    use super::{FORWARD_NS, NS, RECEIVED};

    /// What the account has got, if this is a copy of it that the server has made.
    pub(in crate::extensions) fn received(copy: &Stanza<'_>) -> Option<Element> {
        if !copy.from.as_ref().is_some_and(crate::jid::Jid::is_bare) {
            return None;
        }
        let received = copy.payload.first().filter(|it| it.is(RECEIVED, NS))?;
        received.child("forwarded", FORWARD_NS)?.child("message", CLIENT_NS).cloned()
    }
}

/// Octets of a copy beside the message itself, about.
const AROUND: usize = 400;

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(Carbons { outbound: Arc::clone(at.outbound), storage: at.storage.clone() });
    at.iq_set(Entity::Account, &it, |it, call: Call<Enable>| it.set(call.from, call.relation, Wanted::Yes));
    at.iq_set(Entity::Account, &it, |it, call: Call<Disable>| it.set(call.from, call.relation, Wanted::No));
    // XEP-0386 §3.2: from the first stanza on. What storage has to know is there before the client is told of anything later.
    let outbound = Arc::clone(at.outbound);
    at.inline_feature(NS, move |session, request| {
        if request.is("enable", NS) {
            outbound.interest(session, Interest::Copies, Wanted::Yes);
        }
        None
    });
    at.copy(duplicate);
    at.private(is_copy);
    at.arriving(NS, strip);
}

struct Carbons {
    outbound: Arc<dyn Outbound>,
    storage: Storage,
}

impl Carbons {
    /// XEP-0280 §4, §5, §10.1: as often as a client likes.
    async fn set(self: Arc<Self>, session: Jid, relation: Relation, wanted: Wanted) -> Answer {
        if relation != Relation::Owner {
            return Err(Condition::NotAllowed.into());
        }
        let receipt = self.outbound.interest(&session, Interest::Copies, wanted);
        let durable = self.storage.durable(receipt).await;
        durable.map_err(|_| StanzaError::from(Condition::InternalServerError))?;
        Ok(None)
    }
}

/// XEP-0280 §7, §8: the copy of a message that is worth one.
fn duplicate(original: &Original<'_, '_>) -> Option<Duplicate> {
    let readers = readers(original)?;
    let name = match original.direction {
        Direction::Sent => SENT,
        Direction::Received => RECEIVED,
    };
    let Original { stanza, tail, .. } = original;
    let mut out = String::with_capacity(stanza.payload.as_str().len() + tail.len() + AROUND);
    let mut put = |texts: &[&str]| texts.iter().for_each(|text| out.push_str(text));
    put(&["<", name, " xmlns='", NS, "'><forwarded xmlns='", FORWARD_NS, "'>"]);
    // A forwarded message names its namespace.
    let place = out.len() + "<message".len();
    stanza.write_with(&mut out, tail);
    out.insert_str(place, &format!(" xmlns='{CLIENT_NS}'"));
    out.push_str("</forwarded></");
    out.push_str(name);
    out.push('>');
    Some(Duplicate { payload: Payload::canonical(out), readers })
}

const SENT: &str = "sent";
const RECEIVED: &str = "received";

/// The rules of XEP-0280 §6.1: who gets a copy, if anybody does.
fn readers(original: &Original<'_, '_>) -> Option<Readers> {
    let Kind::Message(kind) = original.stanza.kind else { return None };
    let mut found = Found::default();
    for child in original.stanza.payload.children() {
        found.note(child)?;
    }
    if kind == MessageType::Groupchat {
        return None;
    }
    if found.in_room && is_invitation(original.stanza) {
        found.instant = true;
    } else if found.in_room && kind != MessageType::Error {
        let is_full = |jid: &Option<Jid>| jid.as_ref().is_some_and(|jid| !jid.is_bare());
        match original.direction {
            // The room sends it to everybody who shares the nickname.
            Direction::Received if is_full(&original.stanza.from) => return None,
            Direction::Sent if is_full(&original.stanza.to) => return Some(Readers::Present),
            _ => {}
        }
    }
    let is_copied = match kind {
        MessageType::Groupchat => false,
        // It answers something that was copied, or nobody would ask.
        MessageType::Chat | MessageType::Error => true,
        MessageType::Normal => found.body || found.instant,
        MessageType::Headline => found.instant,
    };
    is_copied.then_some(Readers::All)
}

/// What the children of a message say about it.
#[derive(Default)]
struct Found {
    body: bool,
    /// Something that is typical of conversations.
    instant: bool,
    /// It passes a room.
    in_room: bool,
}

impl Found {
    /// `None` if the sender wants no copies.
    fn note(&mut self, child: Child<'_>) -> Option<()> {
        match (child.name, child.ns) {
            ("private", NS) | ("no-copy", HINTS_NS) => return None,
            ("body", CLIENT_NS) => self.body = true,
            (_, RECEIPTS_NS | CHAT_STATES_NS | MARKERS_NS) | ("x", CONFERENCE_NS) => self.instant = true,
            ("x", USER_NS) => self.in_room = true,
            _ => {}
        }
        Some(())
    }
}

/// Whether a room passes an invitation on.
fn is_invitation(stanza: &Stanza<'_>) -> bool {
    let elements = stanza.payload.elements();
    elements.iter().any(|element| element.is("x", USER_NS) && element.child("invite", USER_NS).is_some())
}

/// Whether this is a copy that the server has made: nobody but itself sends from an account without resource.
fn is_copy(account: &BareJid, stanza: &Stanza<'_>) -> bool {
    let is_own = stanza.from.as_ref().is_some_and(|from| from.as_str() == account.as_str());
    is_own && stanza.payload.children().any(|child| is_wrapper(child.name, child.ns))
}

fn is_wrapper(name: &str, ns: &str) -> bool {
    ns == NS && matches!(name, SENT | RECEIVED)
}

/// XEP-0280 §11: takes out what somebody has written to look like a copy.
fn strip(stanza: &mut Stanza<'_>) {
    if stanza.payload.children().any(|child| is_wrapper(child.name, child.ns)) {
        stanza.payload.remove(|element| is_wrapper(element.name(), element.ns()));
    }
}

/// A client wants copies.
struct Enable;

impl Request for Enable {
    const NAME: &'static str = "enable";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

/// It does not.
struct Disable;

impl Request for Disable {
    const NAME: &'static str = "disable";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    /// The rows of the table in `docs/carbons.md`: what each message type and payload leads to. `full` and `bare` are
    /// the address of the other side.
    fn decided(kind: MessageType, direction: Direction, peer: &str, payload: &str) -> Option<Readers> {
        let account = BareJid::parse("romeo@montague.example").unwrap();
        let own = Jid::parse("romeo@montague.example/orchard").unwrap();
        let peer = Jid::parse(peer).unwrap();
        let (from, to) = match direction {
            Direction::Sent => (own, peer),
            Direction::Received => (peer, own),
        };
        let stanza = Stanza::new(Kind::Message(kind)).from(from).to(to).payload(Payload::canonical(payload));
        readers(&Original { account: &account, direction, stanza: &stanza, tail: "" })
    }

    const DIRECTIONS: [Direction; 2] = [Direction::Sent, Direction::Received];
    const PEERS: [&str; 2] = ["juliet@capulet.example", "juliet@capulet.example/balcony"];
    const BODY: &str = "<body>hi</body>";
    const UNKNOWN: &str = "<x xmlns='x'><body xmlns='jabber:client'>hi</body></x>";
    const RECEIPT: &str = "<received xmlns='urn:xmpp:receipts' id='1'/>";
    const WISH: &str = "<request xmlns='urn:xmpp:receipts'/>";
    const STATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    const MARKER: &str = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>";
    const DIRECT: &str = "<x xmlns='jabber:x:conference' jid='room@chat.example'/>";
    const MEDIATED: &str = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b.example'/></x>";
    const ROOM: &str = "<x xmlns='http://jabber.org/protocol/muc#user'/>";

    fn each(mut check: impl FnMut(Direction, &str)) {
        DIRECTIONS.iter().for_each(|direction| PEERS.iter().for_each(|peer| check(*direction, peer)));
    }

    // Proves: XEP-0280 §6.1, §6.2
    #[test]
    fn each_row_of_the_table() {
        use MessageType::{Chat, Error, Groupchat, Headline, Normal};
        let copied = |kind, payload: &str, expected: bool| {
            each(|direction, peer| {
                let expected = expected.then_some(Readers::All);
                assert_eq!(
                    decided(kind, direction, peer, payload),
                    expected,
                    "{kind:?} {direction:?} {peer} {payload}"
                );
            });
        };
        for payload in ["", BODY, UNKNOWN, RECEIPT, WISH, STATE, MARKER, DIRECT, MEDIATED] {
            let instant = [RECEIPT, WISH, STATE, MARKER, DIRECT, MEDIATED].contains(&payload);
            copied(Chat, payload, true);
            copied(Normal, payload, payload == BODY || instant);
            copied(Headline, payload, instant);
            copied(Groupchat, payload, false);
            copied(Error, payload, true);
        }
    }

    // Proves: XEP-0280 §9, XEP-0334 §4.3
    #[test]
    fn whoever_wants_no_copies_gets_none() {
        for hint in ["<private xmlns='urn:xmpp:carbons:2'/>", "<no-copy xmlns='urn:xmpp:hints'/>"] {
            for kind in MessageType::ALL {
                for payload in ["", BODY, RECEIPT, DIRECT, MEDIATED, ROOM] {
                    let both = [format!("{payload}{hint}"), format!("{hint}{payload}")];
                    each(|direction, peer| {
                        let none = both.iter().all(|it| decided(*kind, direction, peer, it).is_none());
                        assert!(none, "{kind:?} {direction:?} {both:?}");
                    });
                }
            }
        }
        // Only where they stand on the first level.
        let inside = format!("{BODY}<x xmlns='x'><private xmlns='urn:xmpp:carbons:2'/></x><private xmlns='x'/>");
        assert_eq!(decided(MessageType::Chat, Direction::Sent, PEERS[0], &inside), Some(Readers::All));
    }

    // Proves: XEP-0280 §6.1
    #[test]
    fn messages_that_pass_a_room() {
        let private = format!("{BODY}{ROOM}");
        let chat = |direction, peer| decided(MessageType::Chat, direction, peer, &private);
        assert_eq!(chat(Direction::Sent, "room@chat.example/nick"), Some(Readers::Present));
        assert_eq!(chat(Direction::Received, "room@chat.example/nick"), None);
        assert_eq!(chat(Direction::Received, "room@chat.example"), Some(Readers::All));
        assert_eq!(chat(Direction::Sent, "room@chat.example"), Some(Readers::All));
        let error = decided(MessageType::Error, Direction::Received, "room@chat.example/nick", &private);
        assert_eq!(error, Some(Readers::All));
    }

    // Proves: XEP-0280 §7, §8, XEP-0297 §3.2
    #[test]
    fn a_copy_holds_the_message_as_it_is() {
        let account = BareJid::parse("romeo@montague.example").unwrap();
        let stanza = Stanza::new(Kind::Message(MessageType::Chat))
            .id("a'")
            .from(Jid::parse("juliet@capulet.example/balcony").unwrap())
            .to(Jid::parse("romeo@montague.example").unwrap())
            .payload(Payload::canonical("<body>a &lt; b</body>"));
        let wrapped = |direction, name: &str, tail: &str, end: &str| {
            let copy = duplicate(&Original { account: &account, direction, stanza: &stanza, tail }).unwrap();
            assert_eq!(
                copy.payload.as_str(),
                format!(
                    "<{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                     <message xmlns='jabber:client' type='chat' id='a&apos;' from='juliet@capulet.example/balcony' \
                     to='romeo@montague.example'><body>a &lt; b</body>{end}</message></forwarded></{name}>"
                )
            );
        };
        wrapped(Direction::Received, "received", "<x xmlns='x'/>", "<x xmlns='x'/>");
        wrapped(Direction::Sent, "sent", "", "");
    }

    // Proves: XEP-0280 §11
    #[test]
    fn what_looks_like_a_copy_is_taken_out() {
        let stripped = |payload: &str| {
            let mut stanza =
                Stanza::new(Kind::Message(MessageType::Chat)).payload(Payload::canonical(payload.to_owned()));
            strip(&mut stanza);
            stanza.payload.as_str().to_owned()
        };
        let forged = |name: &str| {
            format!(
                "<{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message \
                 xmlns='jabber:client'><body>a</body></message></forwarded></{name}>"
            )
        };
        for name in ["sent", "received"] {
            let forged = forged(name);
            assert_eq!(stripped(&forged), "");
            assert_eq!(
                stripped(&format!("{forged}<body>b</body>{forged}<x xmlns='x'/>")),
                "<body>b</body><x xmlns='x'/>"
            );
            let prefixed = format!("<c:{name} xmlns:c='urn:xmpp:carbons:2'/><body>b</body>");
            assert_eq!(stripped(&prefixed), "<body>b</body>");
            // What somebody forwards is his own business.
            let inside = format!("<forwarded xmlns='urn:xmpp:forward:0'>{forged}</forwarded>");
            assert_eq!(stripped(&inside), inside);
        }
        let private = "<body>a</body><private xmlns='urn:xmpp:carbons:2'/>";
        assert_eq!(stripped(private), private);
    }

    // Proves: XEP-0280 §10.3
    #[test]
    fn only_the_server_makes_copies() {
        let account = BareJid::parse("romeo@montague.example").unwrap();
        let message = |from: &str, payload: &'static str| {
            let stanza = Stanza::new(Kind::Message(MessageType::Chat)).from(Jid::parse(from).unwrap());
            is_copy(&account, &stanza.payload(Payload::canonical(payload)))
        };
        let copy = "<sent xmlns='urn:xmpp:carbons:2'/>";
        assert!(message("romeo@montague.example", copy));
        assert!(message("romeo@montague.example", "<received xmlns='urn:xmpp:carbons:2'/>"));
        assert!(!message("romeo@montague.example/orchard", copy));
        assert!(!message("juliet@capulet.example", copy));
        assert!(!message("romeo@montague.example", BODY));
    }

    /// Ways to make something that looks like a copy of a message of Juliet's.
    fn forgeries(name: &str) -> [String; 7] {
        let forged = "<message xmlns='jabber:client' from='juliet@capulet.example/balcony' to='romeo@verona.example' \
                      type='chat'><body>meet me</body></message>";
        let forwarded = format!("<forwarded xmlns='urn:xmpp:forward:0'>{forged}</forwarded>");
        let copy = format!("<{name} xmlns='{NS}'>{forwarded}</{name}>");
        [
            copy.clone(),
            format!("{copy}{copy}"),
            format!("<body>hi</body>{copy}<x xmlns='x'/>"),
            format!("<c:{name} xmlns:c='{NS}'>{forwarded}</c:{name}>"),
            format!("<{name} xmlns=\"{NS}\"\n>{copy}{forwarded}</{name} >"),
            format!("<{name} xmlns='urn:xmpp:carbons&#58;2'>{forwarded}</{name}>"),
            format!(
                "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>{copy}</message></forwarded>"
            ),
        ]
    }

    /// Whether what came shows `sender` as the one who has written it.
    fn is_genuine(found: &Element, sender: &str) -> bool {
        let wrappers: Vec<&Element> = found.elements().filter(|it| is_wrapper(it.name(), it.ns())).collect();
        let [wrapper] = wrappers.as_slice() else {
            return wrappers.is_empty() && found.attribute("from") == Some(sender);
        };
        let inside = wrapper.child("forwarded", FORWARD_NS).and_then(|it| it.child("message", CLIENT_NS));
        let author = inside.and_then(|message| message.attribute("from"));
        found.attribute("from") == Some("romeo@verona.example") && author == Some(sender)
    }

    // Proves: XEP-0280 §11
    #[tokio::test(start_paused = true)]
    async fn nothing_forged_reaches_a_client_as_genuine() {
        let mut world = World::new();
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        let mut orchard = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
        let mut phone = world.login(&jid("romeo@verona.example/phone")).await.unwrap();
        orchard.send("<presence><priority>1</priority></presence>").await;
        phone.send(&format!("<presence/><iq type='set' id='1'><enable xmlns='{NS}'/></iq>")).await;
        world.settle().await;
        while orchard.received().is_some() || phone.received().is_some() {}
        let mut seen = 0;
        for sender in ["tybalt@verona.example/hall", "paris@mantua.example/hall", "romeo@verona.example/garden"] {
            let mut client = world.login(&jid(sender)).await.unwrap();
            for to in ["romeo@verona.example", "romeo@verona.example/orchard", "romeo@verona.example/phone"] {
                for forgery in [SENT, RECEIVED].iter().flat_map(|name| forgeries(name)) {
                    client.send(&format!("<message to='{to}' type='chat'>{forgery}</message>")).await;
                    world.settle().await;
                    let mut heard = 0;
                    while let Some(found) = orchard.received().or_else(|| phone.received()) {
                        assert!(is_genuine(&found, sender), "{sender} {to} {forgery}\n{}", found.to_xml(CLIENT_NS));
                        heard += 1;
                    }
                    assert!(heard > 0, "{sender} {to} {forgery}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 126);
    }
}

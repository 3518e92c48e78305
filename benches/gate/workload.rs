//! What is measured: messages as clients write them, and the ways on which they go.

use std::error::Error;
use std::future::poll_fn;
use std::hint::black_box;
use std::sync::Arc;

use comity::jid::Jid;
use comity::routing::{Binding, Origin, Router, Taken};
use comity::server::Node;
use comity::stream::{ContentNamespace, Event, Framing, Limits, Reader};
use comity::testing::World;

const HEADER: &[u8] = b"<stream:stream to='a.localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
const DOMAIN: &str = "a.localhost";

/// One kind of message, as a client writes it.
pub(crate) struct Document {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// The kinds of messages.
pub(crate) fn documents() -> [Document; 3] {
    let chat = "<message to='romeo@a.localhost' type='chat' id='c1f39a3e-7f5d-4b3c-9d55-1ecb1fd5ff01'>\
        <body>Wherefore art thou, Romeo? Deny thy father and refuse thy name.</body>\
        <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
        <markable xmlns='urn:xmpp:chat-markers:0'/></message>";
    let keys: String = (0..8)
        .map(|rid| {
            format!("<key rid='{}'>{}</key>", 1_000_001 + rid * 77_777, "QWxsIHRoZSB3b3JsZCdzIGEgc3RhZ2U".repeat(7))
        })
        .collect();
    let omemo = format!(
        "<message to='romeo@a.localhost' type='chat' id='c1f39a3e'><encrypted xmlns='eu.siacs.conversations.axolotl'>\
         <header sid='1234567'>{keys}<iv>bWF5IHRoZSBmb3Vy</iv></header><payload>{}</payload></encrypted>\
         <encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='eu.siacs.conversations.axolotl'/>\
         <body>I sent you an OMEMO encrypted message</body><store xmlns='urn:xmpp:hints'/></message>",
        "cGFydGluZyBpcyBzdWNo".repeat(6)
    );
    let cyrillic = "<message to='romeo@a.localhost' type='chat' id='c2'><body>Скажи-ка, дядя, ведь не даром Москва, \
        спалённая пожаром, французу отдана? Ведь были ж схватки боевые, да, говорят, ещё какие!</body></message>";
    [
        Document { name: "chat", text: chat.to_owned() },
        Document { name: "OMEMO", text: omemo },
        Document { name: "Cyrillic", text: cyrillic.to_owned() },
    ]
}

/// How far a message goes.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Through the gate.
    Whole,
    /// Through the gate, in two pieces.
    Pieces,
    /// From the sender's bytes to those in the receiver's ring, taken out: gate, routing, writing.
    Routed,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::Pieces, Self::Routed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "gate",
            Self::Pieces => "gate-in-two-pieces",
            Self::Routed => "routed",
        }
    }
}

/// A message that goes its way again and again.
pub(crate) enum Workload<'t> {
    Gate {
        text: &'t str,
        /// Where the pieces end.
        ends: Vec<usize>,
        reader: Reader,
    },
    Routed {
        text: &'t str,
        reader: Reader,
        server: Box<Server>,
    },
}

/// A server with two sessions on it.
pub(crate) struct Server {
    node: Arc<Node>,
    sender: Binding,
    receiver: Binding,
    /// What the server lives in.
    _world: World,
}

impl<'t> Workload<'t> {
    pub(crate) async fn new(way: Way, text: &'t str) -> Result<Self, Box<dyn Error>> {
        let reader = stream()?;
        Ok(match way {
            Way::Whole => Self::Gate { text, ends: vec![text.len()], reader },
            Way::Pieces => Self::Gate { text, ends: vec![text.len() / 2, text.len()], reader },
            Way::Routed => Self::Routed { text, reader, server: Box::new(Server::new().await?) },
        })
    }

    /// Sends so many messages, one after the other.
    pub(crate) async fn run(&mut self, messages: u32) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Gate { text, ends, reader } => gate(text, ends, reader, messages),
            Self::Routed { text, reader, server } => {
                for _ in 0..messages {
                    send(&server.node.router, reader, &server.sender, text).await?;
                    if take(&server.receiver).await?.is_empty() {
                        return Err("nothing was delivered".into());
                    }
                }
                Ok(())
            }
        }
    }
}

impl Server {
    async fn new() -> Result<Self, Box<dyn Error>> {
        let mut world = World::new();
        let node = world.server(DOMAIN)?;
        let (juliet, romeo): (Jid, Jid) = ("juliet@a.localhost/one".parse()?, "romeo@a.localhost/two".parse()?);
        for jid in [&juliet, &romeo] {
            world.account(jid).await?;
        }
        let (sender, receiver) = (bind(&node.router, &juliet).await?, bind(&node.router, &romeo).await?);
        Ok(Self { node, sender, receiver, _world: world })
    }
}

fn stream() -> Result<Reader, Box<dyn Error>> {
    let mut reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::CLIENT);
    match reader.next(HEADER)?.event {
        Some(Event::Open(_)) => Ok(reader),
        other => Err(format!("instead of a header: {other:?}").into()),
    }
}

/// Through the gate; each message arrives in pieces that end at `ends`.
fn gate(text: &str, ends: &[usize], reader: &mut Reader, messages: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..messages {
        let mut stanza = false;
        for end in ends {
            let step = reader.next(black_box(text.as_bytes().get(..*end).unwrap_or_default()))?;
            stanza = matches!(black_box(&step.event), Some(Event::Stanza(_)));
        }
        if !stanza {
            return Err("a message was not understood".into());
        }
    }
    Ok(())
}

/// Binds a resource and makes it available.
async fn bind(router: &Arc<Router>, jid: &Jid) -> Result<Binding, Box<dyn Error>> {
    let mut batch = router.batch();
    let resource = jid.resource().unwrap_or_default();
    let binding = router.bind(&jid.to_bare(), resource, &mut batch).await.map_err(|error| format!("{error:?}"))?;
    batch.finish();
    send(router, &mut stream()?, &binding, "<presence/>").await?;
    take(&binding).await?;
    Ok(binding)
}

async fn send(router: &Router, reader: &mut Reader, from: &Binding, text: &str) -> Result<(), Box<dyn Error>> {
    let Some(Event::Stanza(stanza)) = reader.next(black_box(text.as_bytes()))?.event else {
        return Err("no stanza".into());
    };
    let mut batch = router.batch();
    router.route(Origin::Client(from), stanza, &mut batch).await?;
    batch.finish();
    Ok(())
}

/// What the session's task would write now.
async fn take(binding: &Binding) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    match poll_fn(|context| binding.ring.poll_take(context, &mut out)).await {
        Taken::Bytes => {
            binding.ring.written(out.len());
            Ok(out)
        }
        end => Err(format!("closed: {end:?}").into()),
    }
}

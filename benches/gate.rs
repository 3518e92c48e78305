//! What a message costs: nanoseconds through the gate, and through a whole server's routing from
//! one local session to another.
//!
//! `cargo bench --bench gate`; each figure is the median of many rounds, which are so short that
//! hardly one of them is interrupted.

use std::error::Error;
use std::future::poll_fn;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use comity::jid::Jid;
use comity::routing::{Binding, Origin, Router, Taken};
use comity::stream::{ContentNamespace, Event, Framing, Limits, Reader};
use comity::testing::World;

const HEADER: &[u8] = b"<stream:stream to='a.localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
const DOMAIN: &str = "a.localhost";

const ROUNDS: usize = 401;
/// Messages of one round.
const MESSAGES: u32 = 500;

/// One kind of message, as a client writes it.
struct Document {
    name: &'static str,
    text: String,
}

fn documents() -> [Document; 3] {
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

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{:<12} {:>8} {:>12} {:>16} {:>12}", "message", "bytes", "gate ns", "gate, 2 pieces", "routed ns");
    let mut figures = Vec::new();
    for document in documents() {
        let whole = median(|| gate(&document.text, &[document.text.len()]))?;
        let pieces = median(|| gate(&document.text, &[document.text.len() / 2, document.text.len()]))?;
        let routed = runtime.block_on(routed(&document.text))?;
        let (name, bytes) = (document.name, document.text.len());
        println!("{name:<12} {bytes:>8} {whole:>12.0} {pieces:>16.0} {routed:>12.0}");
        figures.push(serde_json::json!({
            "message": name, "bytes": bytes, "gate_ns": whole, "gate_two_pieces_ns": pieces, "routed_ns": routed,
        }));
    }
    println!("\n{}", serde_json::json!({ "gate": figures }));
    Ok(())
}

/// The median of the rounds, in nanoseconds per message.
fn median(mut round: impl FnMut() -> Result<f64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut times = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    times.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".into())
}

fn stream() -> Result<Reader, Box<dyn Error>> {
    let mut reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::CLIENT);
    match reader.next(HEADER)?.event {
        Some(Event::Open(_)) => Ok(reader),
        other => Err(format!("instead of a header: {other:?}").into()),
    }
}

/// One round through the gate; the message arrives in pieces that end at `ends`.
fn gate(text: &str, ends: &[usize]) -> Result<f64, Box<dyn Error>> {
    let mut reader = stream()?;
    let started = Instant::now();
    for _ in 0..MESSAGES {
        let mut stanza = false;
        for end in ends {
            let step = reader.next(black_box(text.as_bytes().get(..*end).unwrap_or_default()))?;
            stanza = matches!(black_box(&step.event), Some(Event::Stanza(_)));
        }
        if !stanza {
            return Err("a message was not understood".into());
        }
    }
    Ok(per_message(started))
}

/// From the sender's bytes to those in the receiver's ring, taken out: gate, routing, writing.
async fn routed(text: &str) -> Result<f64, Box<dyn Error>> {
    let mut world = World::new();
    let node = world.server(DOMAIN)?;
    let (juliet, romeo): (Jid, Jid) = ("juliet@a.localhost/one".parse()?, "romeo@a.localhost/two".parse()?);
    let mut bindings = Vec::new();
    for jid in [&juliet, &romeo] {
        world.account(jid).await?;
        bindings.push(bind(&node.router, jid).await?);
    }
    let [sender, receiver] = bindings.as_slice() else { return Err("two bindings".into()) };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut reader = stream()?;
        let started = Instant::now();
        for _ in 0..MESSAGES {
            send(&node.router, &mut reader, sender, text).await?;
            if take(receiver).await?.is_empty() {
                return Err("nothing was delivered".into());
            }
        }
        times.push(per_message(started));
    }
    median(|| times.pop().ok_or_else(|| "no rounds".into()))
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

fn per_message(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES)
}

//! Sessions of TLS that are resumed between servers: what they prove, and what becomes of those that lead to nothing.

use rustls::ClientConfig;
use rustls::client::Resumption;

use super::back::stanza;
use super::limits::set;
use super::world::{EXTERNAL, PORT, Raw, Server, World, pair};
use super::*;
use crate::clock::Timestamp;
use crate::federation::proof::{Key, Pins};
use crate::net::dns::Tlsa;
use crate::net::tls::{ClientCertificate, ClientTls, Outgoing as OutgoingTls, ServerTls};
use crate::stream::Limits;

/// A time at which no certificate is valid any more: in the year 9000.
const TOO_LATE: Timestamp = Timestamp::from_unix_ms(7030 * 365 * 24 * 3_600_000);

fn way() -> crate::routing::Pair {
    pair("here.example", "there.example")
}

fn pinned(key: [u8; 32]) -> impl Fn(&mut crate::federation::Settings) {
    move |settings| settings.pins = [("there.example".to_owned(), Key(key))].into_iter().collect()
}

/// Sends something on a stream that ends afterwards; gives whether either side saw that a session was resumed.
async fn sent(one: &Server, other: &Server, id: usize) -> [bool; 2] {
    one.federation.send(&way(), vec![hello(id).into()]);
    assert_eq!(other.arrival().await.id.as_deref(), Some(&*id.to_string()));
    let resumed = [one, other].map(|side| side.federation.streams()[0].tls.as_ref().unwrap().ends_with(", resumed"));
    sleep(Duration::from_secs(1300)).await;
    assert!(one.federation.streams().is_empty() && other.federation.streams().is_empty());
    resumed
}

#[tokio::test(start_paused = true)]
async fn two_servers_of_ours_resume_and_prove_themselves_all_the_same() {
    let world = World::new();
    let (one, other) = (world.server(&here()), world.server(&there()));
    for (id, resumed) in [false, true, true].into_iter().enumerate() {
        assert_eq!(sent(&one, &other, id).await, [resumed; 2], "{id}");
    }
    one.federation.send(&way(), vec![hello(3).into()]);
    other.arrival().await;
    for side in [&one, &other] {
        let streams = side.federation.streams();
        assert!(streams[0].pairs[0].proof.starts_with("proven by the certificate for"), "{streams:?}");
        assert_eq!(streams[0].certificate.as_ref().map(String::len), Some(64));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_judged_by_what_counts_when_its_session_is_resumed() {
    for (change, why) in [
        ("pin", "is not one of those that are pinned"),
        ("record", "fits none of the 1 signed TLSA records"),
        ("date", "expired"),
        ("trust", "which is not trusted here"),
    ] {
        let world = World::with_clock();
        let (one, other) = (world.server(&here()), world.server(&there()));
        assert_eq!(sent(&one, &other, 1).await, [false; 2]);
        let before = (world.clock.now(), one.federation.ways().trust.get());
        match change {
            "pin" => set(&one, pinned([1; 32])),
            "record" => {
                let data = vec![1; 32];
                let record = Tlsa { usage: 3, selector: 1, matching: 1, data };
                world.net.publish_key(&format!("_{PORT}._tcp.host-192-0-2-2.example"), record);
                ["there.example", "host-192-0-2-2.example"].iter().for_each(|name| world.net.sign(name));
            }
            "date" => world.clock.set(TOO_LATE),
            _ => one.federation.ways().trust.replace(crate::net::tls::Trust::nobody()),
        }
        one.federation.send(&way(), vec![hello(2).into()]);
        let (_, text, id) = one.bounce().await;
        assert!(id == "2" && text.contains(why), "{change}: {text}");
        assert!(!other.got_more().await && one.federation.streams().is_empty());
        if change == "record" {
            continue;
        }
        // It was tried with the session, which is why nothing is resumed for a while.
        set(&one, |settings| settings.pins = Pins::default());
        world.clock.set(before.0);
        one.federation.ways().trust.replace(crate::net::tls::Trust::clone(&before.1));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(sent(&one, &other, 3).await, [false; 2], "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_is_judged_by_what_counts_when_he_resumes() {
    let world = World::with_clock();
    let (other, now) = (world.server(&there()), world.clock.now());
    let tls = ClientTls::new(world.identities(&here())).unwrap();
    let mut config = ClientConfig::clone(&tls.config("here.example", OutgoingTls::StartTls, ClientCertificate::Shown));
    // Somebody who keeps what he was given, whatever becomes of it.
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let pin = |settings: &mut crate::federation::Settings| {
        settings.pins = [("here.example".to_owned(), Key([1; 32]))].into_iter().collect();
    };
    let changes: [(&dyn Fn(), bool); 5] = [
        (&|| {}, true),
        (&|| set(&other, pin), false),
        (&|| set(&other, |settings| settings.pins = Pins::default()), true),
        (&|| world.clock.set(TOO_LATE), false),
        (&|| world.clock.set(now), true),
    ];
    for (number, (change, is_accepted)) in changes.into_iter().enumerate() {
        change();
        let connecting = world.secured_by(Arc::clone(&config), "here.example", "there.example", THERE);
        let (mut raw, features, _) = connecting.await;
        assert_eq!(raw.resumed(), number > 0, "{number}");
        assert_eq!(features.contains("EXTERNAL"), is_accepted, "{number}: {features}");
        if is_accepted {
            raw.external("here.example", "there.example").await;
            raw.say(&hello(number).to_xml()).await;
            assert_eq!(other.arrival().await.id.as_deref(), Some(&*number.to_string()));
        } else {
            raw.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").await;
            let answer = raw.element().await;
            assert!(answer.contains("<failure"), "{answer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_go_on_with_a_session_is_met_as_a_stranger() {
    let world = World::new();
    world.publish("there.example", 0, THERE, Start::Starttls);
    let mut incoming = world.net.listen(address(THERE));
    let one = world.hidden(&here());
    let tls = ServerTls::new(world.identities(&there())).unwrap();
    let mut resumed = Vec::new();
    for id in 0..4 {
        one.federation.send(&way(), vec![hello(id).into()]);
        let mut raw = loop {
            let io = incoming.recv().await.unwrap();
            let raw = Raw::answering(io, &tls, ("there.example", "here.example"), EXTERNAL).await;
            resumed.push(raw.resumed());
            if !raw.resumed() {
                break raw;
            }
        };
        assert!(raw.element().await.contains("EXTERNAL"));
        raw.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await;
        raw.wire.restart();
        raw.answer_header("there.example", "here.example", "").await;
        raw.wire.trust_peer(Limits::SERVER);
        assert_eq!(stanza(&mut raw).await.id.as_deref(), Some(&*id.to_string()));
        raw.say("</stream:stream>").await;
        raw.rest().await;
        sleep(Duration::from_secs(60)).await;
    }
    // The second time it was tried, and nothing was lost; then not any more.
    assert_eq!(resumed, [false, true, false, false, false]);
}

//! What is in safe hands, and what is written together.

use std::sync::Arc;
use std::time::Duration;

use super::jid;
use crate::accounts::contact::Contact;
use crate::accounts::subscription::{Half, State};
use crate::jid::BareJid;
use crate::routing::CONTACTS;
use crate::storage::{Storage, Writes};
use crate::testing::{Client, Options, PASSWORD, Raw, World, writing};

/// The numbers that the server gives in what has come, and how what has come is called.
fn counts(client: &mut Client) -> Vec<(String, Option<u32>)> {
    std::iter::from_fn(|| client.received())
        .map(|it| (it.name().to_owned(), it.attribute("h").map(|h| h.parse().unwrap())))
        .collect()
}

// Proves: XEP-0198 §4
#[tokio::test(start_paused = true)]
async fn only_what_is_durable_is_acknowledged() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    world.server_on("verona.example", &Options::default(), storage).unwrap();
    let balcony = jid("juliet@verona.example/balcony");
    let both = async {
        // She is not available, so that messages to her are stored.
        let juliet = world.login(&balcony).await.unwrap();
        (world.login(&jid("romeo@verona.example/orchard")).await.unwrap(), juliet)
    };
    let (mut romeo, _juliet) = writing(&mut stepper, both).await;
    let answer = |count| ("a".to_owned(), Some(count));
    let message = "<message to='juliet@verona.example'><body>hi</body></message>";
    let ping = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    let ask = "<r xmlns='urn:xmpp:sm:3'/>";

    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    romeo.send(&format!("{message}{ask}")).await;
    world.settle().await;
    assert_eq!(counts(&mut romeo), [("enabled".to_owned(), None)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(counts(&mut romeo), [answer(0)], "after a quarter of a second it is answered in any case");

    // What writes nothing has to wait for what came before it, and the answer does not.
    romeo.send(&format!("{ping}{ask}{ping}")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let counted = counts(&mut romeo);
    assert!(counted.contains(&answer(0)) && !counted.contains(&answer(1)), "{counted:?}");
    stepper.step();
    world.settle().await;
    assert_eq!(counts(&mut romeo), [answer(3)], "the rest follows unasked");
    romeo.send(ask).await;
    world.settle().await;
    assert_eq!(counts(&mut romeo), [answer(3)]);

    // Whoever comes back need not send again what is on its way.
    romeo.send(message).await;
    world.settle().await;
    romeo.vanish();
    let mut connection = Raw::new(world.connect("verona.example").unwrap());
    let tls = Arc::clone(&world.client_tls);
    connection.authenticate(tls, &jid("romeo@verona.example"), PASSWORD).await.unwrap();
    let mut romeo = romeo.resume(connection, None).await;
    world.settle().await;
    assert_eq!(counts(&mut romeo), []);
    stepper.step();
    world.settle().await;
    let expected = [("resumed".to_owned(), Some(4))];
    assert_eq!(counts(&mut romeo).first(), expected.first());
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_message_are_archived_together() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let mut world = World::new();
    let options = Options { config: "[archive]\nenabled = true\n".to_owned() };
    world.server_on("verona.example", &options, storage).unwrap();
    let both = async {
        // She has an account, and nobody has asked for it yet.
        world.account(&jid("juliet@verona.example")).await.unwrap();
        world.login(&jid("romeo@verona.example/orchard")).await.unwrap()
    };
    let mut romeo = writing(&mut stepper, both).await;
    stepper.step();
    romeo.send("<message to='juliet@verona.example' type='chat'><body>hi</body></message>").await;
    world.settle().await;
    stepper.step();
    let (storage, _stepper) = Storage::reopen_stepped(stepper.crash()).unwrap();
    for owner in ["romeo@verona.example", "juliet@verona.example"] {
        let page = storage.page(&BareJid::parse(owner).unwrap(), None, 10).await.unwrap();
        assert_eq!(page.entries.len(), 1, "{owner}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_subscription_are_written_together() {
    let (romeo, juliet) = (jid("romeo@verona.example/orchard"), jid("juliet@verona.example"));
    let ask = "<presence type='subscribe' to='juliet@verona.example'/>";
    let remove = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'>\
                  <item jid='juliet@verona.example' subscription='remove'/></query></iq>";
    let subscribed = State { to: Half::Subscribed, from: Half::Subscribed, ..State::default() };
    let asked = (State { to: Half::Pending, ..State::default() }, State { from: Half::Pending, ..State::default() });
    let cases = [(State::default(), ask, asked), (subscribed, remove, (State::default(), State::default()))];
    for (before, change, after) in cases {
        let (storage, mut stepper) = Storage::open_stepped().unwrap();
        let both = [(romeo.to_bare(), juliet.to_bare()), (juliet.to_bare(), romeo.to_bare())];
        for (owner, other) in &both {
            let (mut writes, mut contact) = (Writes::new(), Contact::default());
            contact.set_state(other, before, None);
            CONTACTS.put(&mut writes, owner, other.as_str(), &contact).unwrap();
            storage.submit(writes);
        }
        let mut world = World::new();
        world.server_on("verona.example", &Options::default(), storage).unwrap();
        let begun = async {
            // She has an account, and nobody has asked for it yet.
            world.account(&juliet).await.unwrap();
            world.login(&romeo).await.unwrap()
        };
        let mut client = writing(&mut stepper, begun).await;
        stepper.step();
        client.send(change).await;
        world.settle().await;
        stepper.step();
        let (storage, _stepper) = Storage::reopen_stepped(stepper.crash()).unwrap();
        let mut sides = Vec::new();
        for (owner, other) in &both {
            let contact = CONTACTS.get(&storage, owner, other.as_str()).await.unwrap();
            sides.push(contact.unwrap_or_default().state());
        }
        assert_eq!(sides, [after.0, after.1], "{change}");
    }
}

//! RFC 6121 appendix A carried out: every stanza in every state of the user towards every state of the
//! contact, on one server and between two, against what the two state machines say. (That those say
//! what the tables of the appendix say is proved beside them.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::accounts::contact::Contact;
use crate::accounts::subscription::{Half, State as Standing};
use crate::routing::{CONTACTS, Origin};
use crate::testing::{Client, Options, World};
use crate::xml::Element;

/// The states of appendix A.1, and pre-approval where there is none yet (§3.4).
fn states() -> Vec<Standing> {
    let halves = [Half::None, Half::Pending, Half::Subscribed];
    let plain = halves.iter().flat_map(|to| halves.map(|from| Standing { to: *to, from, approved: false }));
    let approved = halves.map(|to| Standing { to, from: Half::None, approved: true });
    plain.chain(approved).collect()
}

/// One of two people, with a client that is interested and available.
struct Side {
    jid: BareJid,
    client: Client,
    router: Arc<Router>,
}

impl Side {
    async fn new(world: &mut World, jid: &str) -> Self {
        let full: Jid = jid.parse().unwrap();
        let mut client = world.login(&full).await.unwrap();
        client.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>").await;
        world.settle().await;
        while client.received().is_some() {}
        Self { jid: full.to_bare(), client, router: Arc::clone(&world.server(full.domain()).unwrap().router) }
    }

    fn account(&self) -> Arc<Account> {
        self.router.accounts.cached(self.jid.as_str()).unwrap()
    }

    /// As if it had come to this long ago.
    fn stand(&self, other: &Self, standing: Standing) {
        let request = standing.pending_in().then(|| Request {
            from: other.jid.clone(),
            id: None,
            lang: None,
            payload: String::new(),
        });
        let mut contact = Contact::default();
        contact.set_state(&other.jid, standing, request);
        self.account().lock().contacts.set(&other.jid, contact);
    }

    fn standing(&self, other: &Self) -> Standing {
        self.account().lock().contacts.state(other.jid.as_str())
    }

    /// What has come, in few words.
    fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.received()).map(|element| words(&element)).collect()
    }
}

fn words(element: &Element) -> String {
    if element.name() == "presence" {
        let from = element.attribute("from").unwrap_or_default();
        return format!("{} of {from}", element.attribute("type").unwrap_or("available"));
    }
    let item = element.elements().next().and_then(|query| query.elements().next()).unwrap();
    let said = |name| item.attribute(name).unwrap_or("-");
    format!("push {} {} {} {}", said("jid"), said("subscription"), said("ask"), said("approved"))
}

/// What both people hear, by the rules of §3.
#[derive(Default)]
struct Told {
    user: Vec<String>,
    contact: Vec<String>,
}

fn push_of(other: &BareJid, state: Standing) -> String {
    let ask = if state.ask() { "subscribe" } else { "-" };
    let approved = if state.approved { "true" } else { "-" };
    format!("push {other} {} {ask} {approved}", state.subscription().as_str())
}

fn said(kind: PresenceType, of: &str) -> String {
    format!("{} of {of}", kind.as_str())
}

/// The user, who stands so, sends a stanza to the contact, who stands so.
fn play(
    kind: SubscriptionType,
    (user, contact): (&Side, &Side),
    (mut own, mut other): (Standing, Standing),
) -> (Told, Standing, Standing) {
    let mut told = Told::default();
    let availability =
        |share| if share == Share::Available { PresenceType::Available } else { PresenceType::Unavailable };
    let full = |side: &Side| side.client.jid.clone().unwrap().to_string();
    let sent = outbound(own, kind);
    own = sent.state;
    if sent.push {
        told.user.push(push_of(&contact.jid, own));
    }
    // §3.2.2: he is gone before she hears why.
    if sent.share == Some(Share::Unavailable) {
        told.contact.push(said(PresenceType::Unavailable, &full(user)));
    }
    if sent.forward {
        let received = inbound(other, kind);
        other = received.state;
        // §3.1.6, §3.2.3, §3.3.3: the stanza comes before the push.
        if received.forward {
            told.contact.push(said(kind.presence_type(), user.jid.as_str()));
        }
        if received.push {
            told.contact.push(push_of(&user.jid, other));
        }
        if let Some(reply) = received.reply.and_then(SubscriptionType::of) {
            let answered = inbound(own, reply);
            own = answered.state;
            if answered.forward {
                told.user.push(said(reply.presence_type(), contact.jid.as_str()));
            }
            if answered.push {
                told.user.push(push_of(&contact.jid, own));
            }
            assert_eq!(answered.reply, None, "an answer is not answered");
        }
        if let Some(share) = received.share {
            told.user.push(said(availability(share), &full(contact)));
        }
    }
    // §3.1.5: she sees him after she has heard that she may.
    if sent.share == Some(Share::Available) {
        told.contact.push(said(PresenceType::Available, &full(user)));
    }
    (told, own, other)
}

async fn all_between(user: &str, contact: &str) {
    let mut world = World::new();
    let mut user = Side::new(&mut world, user).await;
    let mut contact = Side::new(&mut world, contact).await;
    let mut seen = BTreeMap::<&str, usize>::new();
    for own in states() {
        for other in states() {
            for kind in SubscriptionType::ALL {
                user.stand(&contact, own);
                contact.stand(&user, other);
                let (told, own_after, other_after) = play(*kind, (&user, &contact), (own, other));
                let name = kind.presence_type().as_str();
                user.client.send(&format!("<presence type='{name}' to='{}'/>", contact.jid)).await;
                // As long as two servers need to find each other.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let case = format!("{name}: {own:?} {other:?}");
                assert_eq!(user.heard(), told.user, "the user, {case}");
                assert_eq!(contact.heard(), told.contact, "the contact, {case}");
                assert_eq!((user.standing(&contact), contact.standing(&user)), (own_after, other_after), "{case}");
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    assert!(seen.len() == 4 && seen.values().all(|count| *count == 144), "{seen:?}");
}

// Proves: RFC 6121 §A.2, §A.3, §3.1, §3.2, §3.3, §3.4
#[tokio::test(start_paused = true)]
async fn every_stanza_in_every_state_on_one_server() {
    all_between("romeo@verona.example/orchard", "juliet@verona.example/balcony").await;
}

// Proves: RFC 6121 §A.2, §A.3, §3.1, §3.2, §3.3, §3.4
#[tokio::test(start_paused = true)]
async fn every_stanza_in_every_state_between_two_servers() {
    all_between("romeo@verona.example/orchard", "juliet@mantua.example/balcony").await;
}

/// What is in storage is what is in memory.
// Proves: RFC 6121 §3.1.3
#[tokio::test(start_paused = true)]
async fn a_state_is_kept() {
    let mut world = World::new();
    let user = Side::new(&mut world, "romeo@verona.example/orchard").await;
    let contact = Side::new(&mut world, "juliet@verona.example/balcony").await;
    let mut client = user.client;
    for kind in SubscriptionType::ALL {
        let name = kind.presence_type().as_str();
        client.send(&format!("<presence type='{name}' to='{}'/>", contact.jid)).await;
        world.settle().await;
        for (owner, other) in [(&user.jid, &contact.jid), (&contact.jid, &user.jid)] {
            let account = user.router.accounts.cached(owner.as_str()).unwrap();
            let stored = CONTACTS.get(&user.router.storage, owner, other.as_str()).await.unwrap();
            let stored = stored.unwrap_or_default().state();
            assert_eq!(stored, account.lock().contacts.state(other.as_str()), "{name} {owner}");
        }
    }
}

fn full(jid: &str) -> Jid {
    jid.parse().unwrap()
}

/// What has come about tybalt: presence by its type, the roster by his subscription.
fn news(juliet: &mut Client) -> Vec<String> {
    let all = std::iter::from_fn(|| juliet.received());
    let told = |element: Element| match element.elements().next().and_then(|query| query.elements().next()) {
        Some(item) if item.name() == "item" => item.attribute("subscription").map(str::to_owned),
        _ => element.attribute("type").map(str::to_owned),
    };
    all.filter_map(told).collect()
}

// Proves: RFC 6121 §8.5.3.2.2
#[tokio::test(start_paused = true)]
async fn only_a_request_may_name_a_resource_that_is_gone() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    world.server("mantua.example").unwrap();
    let mut juliet = world.login(&full("juliet@verona.example/balcony")).await.unwrap();
    juliet.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>").await;
    juliet.send("<presence type='subscribe' to='tybalt@mantua.example'/>").await;
    world.settle().await;
    news(&mut juliet);
    let there = "juliet@verona.example/balcony";
    for (kind, to, expected) in [
        (PresenceType::Subscribed, "juliet@verona.example/gone", vec![]),
        (PresenceType::Unsubscribed, "juliet@verona.example/gone", vec![]),
        (PresenceType::Unsubscribe, "juliet@verona.example/gone", vec![]),
        (PresenceType::Subscribe, "juliet@verona.example/gone", vec!["subscribe"]),
        (PresenceType::Subscribed, there, vec!["subscribed", "to"]),
    ] {
        let stanza = Stanza::new(Kind::Presence(kind)).from(full("tybalt@mantua.example")).to(full(to));
        let origin = Origin::Remote { local: "verona.example", remote: "mantua.example" };
        let mut batch = node.router.batch();
        node.router.route(origin, stanza, &mut batch).await.unwrap();
        batch.finish();
        world.settle().await;
        assert_eq!(news(&mut juliet), expected, "{kind:?} to {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_domain_that_wait_leave_room_for_others() {
    let mut world = World::new();
    let options = Options { config: "[limits]\nserver_requests_waiting = 2\n".to_owned() };
    let node = world.server_with("verona.example", &options).unwrap();
    let juliet: Jid = "juliet@verona.example".parse().unwrap();
    world.account(&juliet).await.unwrap();
    for from in ["a@mantua.example", "b@mantua.example", "c@mantua.example", "b@mantua.example", "c@padua.example"] {
        let from: Jid = from.parse().unwrap();
        let remote = from.domain().to_owned();
        let request = Stanza::new(Kind::Presence(PresenceType::Subscribe)).from(from).to(juliet.clone());
        let mut batch = node.router.batch();
        let origin = Origin::Remote { local: "verona.example", remote: &remote };
        node.router.route(origin, request, &mut batch).await.unwrap();
        batch.finish();
    }
    let account = node.router.accounts.cached("juliet@verona.example").unwrap();
    let waiting: Vec<String> = account.lock().contacts.requests().map(|it| it.from.to_string()).collect();
    assert_eq!(waiting, ["a@mantua.example", "b@mantua.example", "c@padua.example"]);
}

#[tokio::test(start_paused = true)]
async fn storage_has_what_came_last_whoever_is_done_first() {
    let mut world = World::new();
    let node = world.server("verona.example").unwrap();
    let juliet: Jid = "juliet@verona.example".parse().unwrap();
    world.account(&juliet).await.unwrap();
    let (mut first, mut second) = (node.router.batch(), node.router.batch());
    for (kind, batch) in [(PresenceType::Subscribe, &mut first), (PresenceType::Unsubscribe, &mut second)] {
        let stanza = Stanza::new(Kind::Presence(kind)).from(full("romeo@mantua.example")).to(juliet.clone());
        let origin = Origin::Remote { local: "verona.example", remote: "mantua.example" };
        node.router.route(origin, stanza, batch).await.unwrap();
    }
    second.finish();
    let receipt = first.finish();
    node.storage.durable(receipt).await.unwrap();
    let here = node.router.accounts.cached("juliet@verona.example").unwrap().lock().contacts.len();
    let kept = CONTACTS.all(&node.storage, &juliet.to_bare()).await.unwrap();
    assert_eq!((here, kept.len()), (0, 0), "{kept:?}");
}

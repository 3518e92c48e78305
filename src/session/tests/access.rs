//! People see which clients have access to their account, and take it from them (XEP-0494).

use super::sasl2::{
    COUNTED, DOMAIN, FAST, PHONE, WANTS_TOKEN, bind, element, enter, failure, part, password, stanza, token_of,
    with_token, world,
};
use super::*;
use crate::hooks::operation::Role;

const CAM: &str = "urn:xmpp:cam:0";
const TABLET: &str = "11111111-4d72-4749-b3d3-740edbf87770";

/// Asks with a client that has nothing else to read, and gives the answer.
async fn ask(world: &World, client: &mut Client, kind: &str, request: &str) -> Element {
    client.send(&format!("<iq type='{kind}' id='cam'>{request}</iq>")).await;
    world.settle().await;
    client.pick(|element| element.attribute("id") == Some("cam")).expect("an answer")
}

/// The clients in the list: id, whether it is connected, how it has authenticated, what it calls itself.
async fn list(world: &World, client: &mut Client) -> Vec<(String, bool, String, String)> {
    let answer = ask(world, client, "get", &format!("<list xmlns='{CAM}'/>")).await;
    let clients = answer.child("clients", CAM).unwrap_or_else(|| panic!("{}", answer.to_xml("")));
    let names = |of: Option<&Element>| of.unwrap().elements().map(Element::name).collect::<Vec<_>>().join(" ");
    clients
        .elements()
        .map(|it| {
            assert_eq!(part(it, "permission").unwrap().attribute("status"), Some("unrestricted"));
            let called = part(it, "user-agent").unwrap().elements().map(Element::text).collect();
            let connected = it.attribute("connected") == Some("true");
            (it.attribute("id").unwrap().to_owned(), connected, names(part(it, "auth")), called)
        })
        .collect()
}

async fn revoke(world: &World, client: &mut Client, id: &str) -> String {
    let answer = ask(world, client, "set", &format!("<revoke xmlns='{CAM}' id='{id}'/>")).await;
    if answer.attribute("type") == Some("result") {
        return "result".to_owned();
    }
    let error = answer.elements().find(|it| it.name() == "error").unwrap();
    error.elements().map(Element::name).collect::<Vec<_>>().join(" ")
}

// Proves: XEP-0494 §3.1, §3.2
#[tokio::test(start_paused = true)]
async fn a_client_whose_access_is_revoked_is_out_within_a_second() {
    let mut world = world("").await;
    let mut desk = world.login(&jid("romeo@verona.example/desk")).await.unwrap();
    let (mut phone, success) = enter(&mut world, &password(PHONE, &[WANTS_TOKEN, &bind(COUNTED)].concat())).await;
    let token = token_of(&success).unwrap();
    element(&mut phone).await;
    let (mut tablet, _) = enter(&mut world, &password(TABLET, "")).await;
    element(&mut tablet).await;
    tablet.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
    stanza(&mut tablet).await;

    let listed = list(&world, &mut desk).await;
    let auth: Vec<_> =
        listed.iter().map(|(_, connected, auth, called)| (*connected, auth.as_str(), called.as_str())).collect();
    assert_eq!(auth, [(true, "password", "Test"), (true, "password fast", "Test"), (true, "password", "")]);
    let (tablet_id, phone_id, desk_id) = (&listed[0].0, &listed[1].0, &listed[2].0);

    // Its session ends, its token is worth nothing, and the owner is told that it knows the password.
    assert_eq!(revoke(&world, &mut desk, phone_id).await, "service-unavailable password-reset-required");
    let error = StreamError::from_element(&element(&mut phone).await);
    assert_eq!(error.condition, StreamCondition::NotAuthorized);
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
    world.settle().await;
    let listed = list(&world, &mut desk).await;
    assert_eq!(listed.iter().map(|(id, ..)| id).collect::<Vec<_>>(), [tablet_id, desk_id]);
    tablet.send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    assert_eq!(stanza(&mut tablet).await.attribute("id"), Some("p"), "the others stay");
    assert_eq!(revoke(&world, &mut desk, phone_id).await, "item-not-found");
    assert_eq!(revoke(&world, &mut desk, "x").await, "item-not-found");

    // A client may give itself up, and reads that it was done.
    assert_eq!(revoke(&world, &mut desk, desk_id).await, "service-unavailable password-reset-required");
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.settle().await;
    assert!(desk.pick(|element| element.name() == "closed").is_some());
}

// Proves: XEP-0494 §3.2, §6
#[tokio::test(start_paused = true)]
async fn who_has_nothing_but_a_session_or_a_token_does_not_come_back() {
    let mut world = world("").await;
    let node = world.server(DOMAIN).unwrap();
    let (_phone, _) = enter(&mut world, &password(PHONE, &[WANTS_TOKEN, &bind(COUNTED)].concat())).await;
    // A new password: whoever had access has none any more, and is not listed.
    let change = serde_json::json!({ "jid": "romeo@verona.example", "password": PASSWORD });
    node.operations.run("account.password", Role::Operator, change).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.settle().await;
    let mut desk = world.login(&jid("romeo@verona.example/desk")).await.unwrap();
    assert_eq!(list(&world, &mut desk).await.len(), 1);
    // Who is only known by its token, as those from before clients were remembered.
    world.reconfigure(DOMAIN, &Options { config: "[limits]\nclient_retention = \"0s\"\n".into() }).unwrap();
    let (mut phone, success) = enter(&mut world, &password(PHONE, &[WANTS_TOKEN, &bind(COUNTED)].concat())).await;
    let token = token_of(&success).unwrap();
    element(&mut phone).await;
    let listed = list(&world, &mut desk).await;
    assert_eq!((listed.len(), listed[0].1, listed[0].2.as_str()), (2, true, "fast"));
    assert_eq!(revoke(&world, &mut desk, &listed[0].0).await, "result");
    assert_eq!(element(&mut phone).await.name(), "error");
    assert_eq!(failure(&mut world, &with_token(&token, PHONE, FAST)).await, "not-authorized");
}

// Proves: XEP-0494 §3.1, §5
#[tokio::test(start_paused = true)]
async fn sessions_that_wait_are_listed_and_end_and_nobody_else_may_ask() {
    let mut world = world("").await;
    let (phone, success) = enter(&mut world, &password(PHONE, &bind(COUNTED))).await;
    let previd = part(part(&success, "bound").unwrap(), "enabled").unwrap().attribute("id").unwrap().to_owned();
    drop(phone);
    world.restart(DOMAIN).await.unwrap();
    let mut desk = world.login(&jid("romeo@verona.example/desk")).await.unwrap();
    let listed = list(&world, &mut desk).await;
    assert_eq!(listed.iter().map(|(_, connected, ..)| *connected).collect::<Vec<_>>(), [true, true]);
    revoke(&world, &mut desk, &listed[0].0).await;
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='0'/>");
    let (_raw, success) = enter(&mut world, &password(PHONE, &resume)).await;
    assert!(part(&success, "failed").is_some(), "{}", success.to_xml(""));

    let mut juliet = world.login(&jid("juliet@verona.example/balcony")).await.unwrap();
    for request in [format!("<list xmlns='{CAM}'/>"), format!("<revoke xmlns='{CAM}' id='{}'/>", listed[0].0)] {
        let kind = if request.starts_with("<list") { "get" } else { "set" };
        juliet.send(&format!("<iq type='{kind}' id='x' to='romeo@verona.example'>{request}</iq>")).await;
        world.settle().await;
        let answer = juliet.pick(|element| element.attribute("id") == Some("x")).unwrap();
        assert_eq!(answer.attribute("type"), Some("error"), "{request}");
    }
}

//! Attempts to log in that fail (decision 0018): nobody learns whether there is an account, guessing comes to an end, and
//! the owner of an account is not locked out.

use std::net::SocketAddr;

use super::sasl2::{
    DOMAIN, FAST, PHONE, WANTS_TOKEN, authenticate, bind, element, enter, names, open, password, token_of, with_token,
    world,
};
use super::*;
use crate::accounts::directory;
use crate::hooks::operation::Role;
use crate::session::Security;
use crate::testing::served_from;

const BOUNDS: &str = "[limits]\nfailed_logins_per_address = 3\nfailed_logins_per_account = 5\n";

/// A connection from this address with TLS from its first byte.
async fn from(world: &mut World, address: u8) -> Raw {
    let node = world.server(DOMAIN).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let peer = SocketAddr::from(([192, 0, 2, address], 50_000));
    tokio::spawn(async move { node.serve_client(served_from(theirs, peer), Security::Direct).await });
    let mut raw = Raw::new(ours);
    raw.start_tls(Arc::clone(&world.client_tls), DOMAIN).await.unwrap();
    raw
}

/// Everything that is said between the features and the end of an attempt, as XML.
async fn attempt(raw: &mut Raw, said: &[&str]) -> String {
    let mut heard = String::new();
    for said in said {
        raw.send(said).await;
        heard.push_str(&element(raw).await.to_xml(""));
    }
    heard
}

/// The end of an attempt with this password from this address: the name of the element, and of the condition.
async fn outcome(world: &mut World, address: u8, user: &str, password: &str) -> String {
    let mut raw = from(world, address).await;
    open(&mut raw, None, "").await;
    let message = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    raw.send(&format!("<auth xmlns='{SASL_NS}' mechanism='PLAIN'>{message}</auth>")).await;
    let answer = element(&mut raw).await;
    let condition = answer.elements().next().map(Element::name).unwrap_or_default();
    format!("{} {condition}", answer.name()).trim_end().to_owned()
}

const WRONG: &str = "failure not-authorized";
const LATER: &str = "failure temporary-auth-failure";

/// What a client hears that tries `user` by each mechanism, in both profiles, with a wrong password.
async fn heard(world: &mut World, address: u8, user: &str) -> Vec<String> {
    let mut heard = Vec::new();
    for hash in ScramHash::ALL.iter().copied() {
        for sasl2 in [false, true] {
            let name = Mechanism::Scram(hash, Variant::Bare).as_str();
            let client =
                ScramClient::new(hash, user, Password::prepare("wrong").unwrap(), ClientBinding::Unsupported, "abc");
            let mut raw = from(world, address).await;
            open(&mut raw, None, "").await;
            let first = client.first();
            let begin = if sasl2 {
                authenticate(name, first.as_bytes(), PHONE, "")
            } else {
                let first = BASE64_STANDARD.encode(&first);
                format!("<auth xmlns='{SASL_NS}' mechanism='{name}'>{first}</auth>")
            };
            raw.send(&begin).await;
            let challenge = element(&mut raw).await;
            let challenged = String::from_utf8(BASE64_STANDARD.decode(challenge.text()).unwrap()).unwrap();
            // The nonce and the salt are random; that they are as long as for anybody else is what counts.
            heard.push(challenged.split(',').map(|part| format!("{}{} ", &part[..2], part.len())).collect());
            let (last, _) = client.respond(challenged.as_bytes()).unwrap();
            let last = BASE64_STANDARD.encode(last);
            heard.push(attempt(&mut raw, &[&format!("<response xmlns='{}'>{last}</response>", challenge.ns())]).await);
        }
    }
    for said in [
        format!("<auth xmlns='{SASL_NS}' mechanism='PLAIN'>{}</auth>", BASE64_STANDARD.encode(format!("\0{user}\0x"))),
        authenticate("PLAIN", format!("\0{user}\0x").as_bytes(), PHONE, &bind("")),
        authenticate("HT-SHA-256-NONE", &[user.as_bytes(), &[0; 33]].concat(), PHONE, FAST),
    ] {
        let mut raw = from(world, address).await;
        open(&mut raw, None, "").await;
        heard.push(attempt(&mut raw, &[&said]).await);
    }
    heard
}

// Proves: RFC 6120 §6.5.10
#[tokio::test(start_paused = true)]
async fn nothing_tells_an_account_from_one_that_is_not_there() {
    let mut world = World::new();
    let config = "[limits]\nfailed_logins_per_account = 4\n".into();
    let node = world.server_with(DOMAIN, &Options { config }).unwrap();
    // As accounts are made, with as many iterations.
    let keys = directory::derive(&Password::prepare(PASSWORD).unwrap());
    directory::create(&node.storage, &jid("romeo@verona.example").to_bare(), &keys, node.clock.now()).await.unwrap();
    // Both come to the bound on the way.
    let there = heard(&mut world, 1, "romeo").await;
    let missing = heard(&mut world, 2, "nemo5").await;
    assert_eq!(there, missing);
    assert!(there.iter().any(|it| it.contains("not-authorized")));
    assert!(there.iter().any(|it| it.contains("temporary-auth-failure")), "{there:?}");
    let disabled = serde_json::json!({ "jid": "romeo@verona.example" });
    node.operations.run("account.disable", Role::Operator, disabled).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(heard(&mut world, 3, "romeo").await, missing);
}

// Proves: RFC 6120 §13.12
#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_is_stopped_and_others_are_not() {
    let mut world = world(BOUNDS).await;
    for user in ["romeo", "nemo", "romeo"] {
        assert_eq!(outcome(&mut world, 1, user, "wrong").await, WRONG);
    }
    assert_eq!(outcome(&mut world, 1, "romeo", "wrong").await, LATER);
    assert_eq!(outcome(&mut world, 1, "romeo", PASSWORD).await, LATER, "even a right guess is not told");
    assert_eq!(outcome(&mut world, 2, "romeo", PASSWORD).await, "success");
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(outcome(&mut world, 1, "romeo", PASSWORD).await, "success");
    world.reconfigure(DOMAIN, &Options { config: "[limits]\nfailed_logins_per_address = 0\n".into() }).unwrap();
    for _ in 0..10 {
        assert_eq!(outcome(&mut world, 3, "romeo", "wrong").await, WRONG);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_attacked_is_open_to_its_owner() {
    let mut world = world(BOUNDS).await;
    // A session, a client with a token, one that is known by its id, and an address that is known.
    let mut connected = world.login(&jid("romeo@verona.example/orchard")).await.unwrap();
    let (_raw, success) = enter(&mut world, &password(PHONE, WANTS_TOKEN)).await;
    let token = token_of(&success).unwrap();
    assert_eq!(outcome(&mut world, 9, "romeo", PASSWORD).await, "success");
    for address in 20..25 {
        assert_eq!(outcome(&mut world, address, "romeo", "wrong").await, WRONG);
    }
    assert_eq!(outcome(&mut world, 25, "romeo", "wrong").await, LATER);
    assert_eq!(outcome(&mut world, 26, "romeo", PASSWORD).await, LATER);
    assert_eq!(outcome(&mut world, 26, "nemo", "wrong").await, WRONG, "another account");

    connected.send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    world.settle().await;
    assert_eq!(connected.received().unwrap().attribute("type"), Some("result"));
    assert_eq!(outcome(&mut world, 9, "romeo", PASSWORD).await, "success");
    for said in [with_token(&token, PHONE, FAST), password(PHONE, "")] {
        let mut raw = from(&mut world, 30).await;
        open(&mut raw, None, &said).await;
        assert_eq!(element(&mut raw).await.name(), "success");
    }
    let other = password("11111111-4d72-4749-b3d3-740edbf87770", "");
    let mut raw = from(&mut world, 31).await;
    open(&mut raw, None, &other).await;
    assert_eq!(names(&element(&mut raw).await), ["temporary-auth-failure", "text"]);
}

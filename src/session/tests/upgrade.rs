//! Keys that clients make later (XEP-0480), and logins before the features are seen (XEP-0509), on whole servers.

use super::sasl2::{
    DOMAIN, PHONE, SASL2, bind, element, enter, identifier, names, old_world, open, part, password, secured, world,
};
use super::*;

pub(super) const UPGRADE: &str = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>";

/// Logs in and does the task; gives what comes at the end.
async fn upgraded(world: &mut World) -> Element {
    let mut raw = secured(world).await;
    let features = open(&mut raw, Some("romeo@verona.example"), "").await;
    let upgrade = part(part(&features, "authentication").unwrap(), "upgrade").unwrap();
    assert_eq!(upgrade.to_xml(SASL2), UPGRADE);
    raw.send(&password(PHONE, &[UPGRADE, &bind("")].concat())).await;
    let task = element(&mut raw).await;
    assert_eq!(
        task.to_xml(""),
        format!("<continue xmlns='{SASL2}'><tasks><task>UPGR-SCRAM-SHA-512</task></tasks></continue>")
    );
    raw.send(&format!("<next xmlns='{SASL2}' task='UPGR-SCRAM-SHA-512'/>")).await;
    let data = element(&mut raw).await;
    let salt = data.elements().next().unwrap();
    let iterations = Iterations::new(salt.attribute("iterations").unwrap().parse().unwrap()).unwrap();
    let salt = BASE64_STANDARD.decode(salt.text()).unwrap();
    let salted = ScramHash::Sha512.salted(&Password::prepare(PASSWORD).unwrap(), &salt, iterations.count());
    let salted = BASE64_STANDARD.encode(salted);
    let hash = format!("<hash xmlns='urn:xmpp:scram-upgrade:0'>{salted}</hash>");
    raw.send(&format!("<task-data xmlns='{SASL2}'>{hash}</task-data>")).await;
    element(&mut raw).await
}

// Proves: XEP-0480 §2.1, §2.2, §2.3, §3
#[tokio::test(start_paused = true)]
async fn a_client_makes_the_keys_that_its_account_lacks() {
    let mut world = old_world().await;
    let success = upgraded(&mut world).await;
    assert!(identifier(&success).starts_with("romeo@verona.example/Test/"), "{}", success.to_xml(""));
    // It is not asked again, and the next start has it offered.
    let (_raw, success) = enter(&mut world, &password(PHONE, &[UPGRADE, &bind("")].concat())).await;
    assert_eq!(names(&success), ["authorization-identifier", "bound"]);
    world.restart(DOMAIN).await.unwrap();
    let mut raw = secured(&mut world).await;
    let features = open(&mut raw, None, "").await;
    let authentication = part(&features, "authentication").unwrap();
    assert_eq!(authentication.elements().next().unwrap().text(), "SCRAM-SHA-512-PLUS");
    assert!(part(authentication, "upgrade").is_none());
    assert_eq!(scram(&mut raw, ScramHash::Sha512).await, Ok(()));
}

// Proves: XEP-0509 §2.1, §2.2, §2.3.1
#[tokio::test(start_paused = true)]
async fn a_client_says_who_it_is_before_it_sees_what_is_offered() {
    let mut world = world("").await;
    let told = async |world: &mut World, said: &str| {
        let mut raw = secured(world).await;
        let features = open(&mut raw, Some("romeo@verona.example"), said).await;
        (raw, part(&features, "config-version").unwrap().to_xml(""))
    };
    let (_raw, version) = told(&mut world, "").await;
    assert!(version.starts_with("<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='"), "{version}");
    let said = password(PHONE, &[version.as_str(), &bind("")].concat());
    let (mut raw, again) = told(&mut world, &said).await;
    assert_eq!(again, version, "it is the same for everybody, for as long as the same is offered");
    assert!(element(&mut raw).await.is("success", SASL2));
    world.restart(DOMAIN).await.unwrap();
    assert_eq!(told(&mut world, "").await.1, version);

    let config = "[limits]\ntoken_lifetime = \"0s\"\nfailed_logins_per_account = 1\n";
    world.reconfigure(DOMAIN, &Options { config: config.into() }).unwrap();
    let (mut raw, changed) = told(&mut world, &said).await;
    assert_ne!(changed, version);
    let failure = format!(
        "<failure xmlns='{SASL2}'><aborted xmlns='{SASL_NS}'/><config-version-mismatch xmlns='urn:xmpp:iap:0'/></failure>"
    );
    assert_eq!(element(&mut raw).await.to_xml(""), failure);
    raw.send(&said.replace(&version, &changed)).await;
    assert!(element(&mut raw).await.is("success", SASL2), "it was no failed attempt");
}

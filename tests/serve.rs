//! The program as an operator runs it: init, serve, account, status, reload, stop.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use comity::net::tls::development::DevelopmentCa;
use comity::testing::Raw;
use site::Site;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn accounts_come_and_go_while_the_server_runs() {
    let mut site = Site::new("serve");
    // Before the first start the command opens the storage itself.
    assert!(site.run(&["account", "add", "romeo@verona.example", "--password-stdin"], "orchard\n").status.success());
    site.start();
    assert!(site.run(&["account", "add", "juliet@verona.example", "--password-stdin"], "balcony\n").status.success());
    let listed = site.run(&["account", "list"], "");
    assert_eq!(text(&listed.stdout), "juliet@verona.example\nromeo@verona.example\n");

    let mut romeo = site.log_in("romeo@verona.example/orchard", "orchard").await.unwrap();
    let mut juliet = site.log_in("juliet@verona.example/balcony", "balcony").await.unwrap();
    assert!(site.log_in("juliet@verona.example/x", "wrong").await.is_err());
    juliet.send("<presence/>").await;
    assert_eq!(juliet.next().await.unwrap().name(), "presence");
    romeo.send("<message to='juliet@verona.example' type='chat'><body>Speak!</body></message>").await;
    let message = juliet.next().await.unwrap();
    assert_eq!(message.attribute("from"), Some("romeo@verona.example/orchard"));

    let status = site.run(&["status", "--json"], "");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["sessions"], 2);

    // A removed account's sessions end, and it cannot log in again.
    assert!(site.run(&["account", "remove", "juliet@verona.example"], "").status.success());
    while let Some(stanza) = juliet.next().await {
        assert_ne!(stanza.name(), "message");
    }
    assert!(site.log_in("juliet@verona.example/balcony", "balcony").await.is_err());
    assert_eq!(site.run(&["account", "remove", "juliet@verona.example"], "").status.code(), Some(1));
    assert!(site.stop().success());
    assert_eq!(site.run(&["status"], "").status.code(), Some(1));
}

#[tokio::test]
async fn certificates_are_read_again_without_dropping_a_stream() {
    let mut site = Site::new("reload");
    assert!(site.run(&["account", "add", "romeo@verona.example", "--password-stdin"], "orchard\n").status.success());
    site.start();
    let mut before = site.log_in("romeo@verona.example/before", "orchard").await.unwrap();
    // Another authority, so that only the new certificate satisfies the next client.
    site.ca = Arc::new(DevelopmentCa::generate().unwrap());
    site.certify();
    site.signal("-HUP");
    let mut after = loop {
        if let Ok(client) = site.log_in("romeo@verona.example/after", "orchard").await {
            break client;
        }
        tokio::task::yield_now().await;
    };
    after.send("<message to='romeo@verona.example/before' id='1'><body>still there?</body></message>").await;
    assert_eq!(before.next().await.unwrap().attribute("id"), Some("1"));
    assert!(site.stop().success());
}

#[tokio::test]
async fn a_component_is_shown_while_it_is_connected() {
    let mut site = Site::new("component");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = site.directory.join("comity.toml");
    let lines = std::fs::read_to_string(&config).unwrap().replace("[tls]", &format!("component = \"{port}\"\n[tls]"));
    let component = "[[components]]\nname = \"irc.verona.example\"\nsecret_file = \"irc.secret\"\n";
    std::fs::write(&config, lines + component).unwrap();
    // A secret that cannot be read is no reason to go on without.
    assert_eq!(site.run(&["serve"], "").status.code(), Some(1));
    std::fs::write(site.directory.join("irc.secret"), "sesame\n").unwrap();
    site.start();
    let shown = |site: &Site| {
        let status = site.run(&["status", "--json"], "");
        serde_json::from_slice::<serde_json::Value>(&status.stdout).unwrap()["components"][0].clone()
    };
    assert_eq!(shown(&site)["name"], "irc.verona.example");
    assert!(shown(&site)["connected"].is_null());
    let socket = tokio::net::TcpStream::connect(port).await.unwrap();
    let mut irc = Raw::of_component(socket).shake_hands("irc.verona.example", "sesame").await.unwrap();
    assert!(shown(&site)["connected"].is_number());
    let human = site.run(&["status"], "");
    let human = text(&human.stdout);
    assert!(human.contains("irc.verona.example connected from 127.0.0.1:"), "{human}");
    assert!(!text(&site.run(&["config", "explain"], "").stdout).contains("sesame"));
    assert!(site.stop().success());
    assert_eq!(irc.next().await.unwrap().elements().next().unwrap().name(), "system-shutdown");
}

#[test]
fn wrong_configuration_is_refused_with_its_place() {
    let site = Site::new("config");
    let config = site.directory.join("comity.toml");
    std::fs::write(&config, "domain = \"verona.example\"\n[listen]\nc2z = \"127.0.0.1:5222\"\n").unwrap();
    let refused = site.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(told.contains("comity.toml") && told.contains("3") && told.contains("c2s"), "{told}");
}

#[test]
fn without_a_certificate_it_serves_only_this_machine() {
    let site = Site::new("open");
    let config = "domain = \"verona.example\"\ndata_dir = \"data\"\n[listen]\nc2s = \"0.0.0.0:0\"\n";
    std::fs::write(site.directory.join("comity.toml"), config).unwrap();
    let refused = site.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("certbot"), "{}", text(&refused.stderr));
}

#[test]
fn what_init_writes_can_be_served() {
    let site = Site::new("init");
    std::fs::remove_file(site.directory.join("comity.toml")).unwrap();
    let written = site.run(&["init", "verona.example"], "");
    assert!(written.status.success());
    assert!(text(&written.stdout).contains("_xmpp-server._tcp.verona.example."), "{}", text(&written.stdout));
    assert!(Path::new(&site.directory.join("comity.toml")).exists());
    assert_eq!(site.run(&["init", "verona.example"], "").status.code(), Some(1));
    assert!(site.run(&["config", "explain", "listen.c2s"], "").status.success());
}

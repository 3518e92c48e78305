//! The program as an operator runs it: init, serve, account, status, reload, stop.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::path::Path;
use std::sync::Arc;

use comity::net::tls::development::DevelopmentCa;
use site::Site;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

// Proves: RFC 6120 §3
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

//! The program as an operator runs it: init, serve, account, status, reload, stop.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use comity::crash::{NO_RANDOMNESS, VARIABLE};
use comity::net::tls::development::DevelopmentCa;
use comity::stream::Event;
use comity::testing::Raw;
use site::{Site, free};

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
async fn accounts_are_closed_and_given_powers() {
    let mut site = Site::new("powers");
    let done = |arguments: &[&str], input: &str| {
        let output = site.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    done(&["account", "add", "escalus@verona.example", "--admin", "--password-stdin"], "prince\n");
    done(&["account", "add", "romeo@verona.example", "--password-stdin"], "orchard\n");
    done(&["account", "disable", "romeo@verona.example"], "");
    assert_eq!(
        done(&["account", "list"], ""),
        "escalus@verona.example (administrator)\nromeo@verona.example (disabled)\n"
    );
    let listed: serde_json::Value = serde_json::from_str(&done(&["account", "list", "--json"], "")).unwrap();
    assert_eq!(listed[1]["disabled"], true);
    site.start();
    let refused = site.log_in("romeo@verona.example/orchard", "orchard").await.err().unwrap();
    assert!(refused.contains("account-disabled"), "{refused}");
    assert!(site.run(&["account", "enable", "romeo@verona.example"], "").status.success());
    let mut romeo = site.log_in("romeo@verona.example/orchard", "orchard").await.unwrap();
    assert!(site.run(&["account", "disable", "romeo@verona.example"], "").status.success());
    assert_eq!(romeo.next().await.unwrap().name(), "error");
    assert_eq!(site.run(&["account", "disable", "nobody@verona.example"], "").status.code(), Some(1));

    // A name is given away once, unless somebody insists.
    assert!(site.run(&["account", "remove", "romeo@verona.example"], "").status.success());
    let add = ["account", "add", "romeo@verona.example", "--password-stdin"];
    let refused = site.run(&add, "garden\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("closed until"), "{}", text(&refused.stderr));
    assert!(site.run(&[&add[..], &["--reuse"]].concat(), "garden\n").status.success());
    site.log_in("romeo@verona.example/orchard", "garden").await.unwrap();

    // What is removed while the server is down is gone, and tidied up when it runs.
    assert!(site.stop().success());
    assert!(site.run(&["account", "remove", "romeo@verona.example"], "").status.success());
    assert_eq!(text(&site.run(&["account", "list"], "").stdout), "escalus@verona.example (administrator)\n");
    site.start();
    assert!(site.log_in("romeo@verona.example/orchard", "garden").await.is_err());
    assert!(site.stop().success());
}

/// A server that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an administrator sends to have the server stop now.
fn ending(command: &str) -> String {
    format!(
        "<iq type='set' id='1' to='verona.example'><command xmlns='http://jabber.org/protocol/commands' \
         node='http://jabber.org/protocol/admin#{command}'><x xmlns='jabber:x:data' type='submit'>\
         <field var='delay'><value>0</value></field></x></command></iq>"
    )
}

#[tokio::test]
async fn an_administrator_restarts_and_stops_the_server() {
    let site = Site::new("restart");
    let add = ["account", "add", "escalus@verona.example", "--admin", "--password-stdin"];
    assert!(site.run(&add, "prince\n").status.success());
    let mut child = site.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut server = Running(child);
    for command in ["restart", "shutdown"] {
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        let mut escalus = site.log_in("escalus@verona.example/palace", "prince").await.unwrap();
        escalus.send(&ending(command)).await;
        assert_eq!(escalus.next().await.unwrap().attribute("type"), Some("result"));
        assert_eq!(escalus.next().await.unwrap().name(), "error", "the stream ends with system-shutdown");
    }
    assert!(said.next().is_none());
    assert!(server.0.wait().unwrap().success());
}

/// The id that the server gives to a stream; nothing if it is not there any more.
async fn stream_id(site: &Site) -> Option<String> {
    let mut raw = Raw::new(tokio::net::TcpStream::connect(site.c2s).await.ok()?);
    raw.send(
        "<stream:stream to='verona.example' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
    )
    .await;
    match raw.event().await {
        Ok(Some(Event::Open(header))) => header.id,
        _ => None,
    }
}

#[tokio::test]
async fn a_server_without_randomness_ends() {
    let mut site = Site::new("randomness");
    let gone = site.directory.join("gone");
    let value = format!("{NO_RANDOMNESS}{}", gone.display());
    assert!(site.start_with(&[(VARIABLE, &value)]));
    assert!(stream_id(&site).await.is_some_and(|id| id.len() == 32));
    std::fs::write(&gone, "").unwrap();
    // What it has in stock it gives out, and then no more.
    let mut ids = BTreeSet::new();
    while let Some(id) = stream_id(&site).await {
        assert_eq!(id.len(), 32, "{id}");
        assert!(ids.insert(id) && ids.len() < 10_000, "it goes on");
    }
    assert!(!site.ended().success());
    let log = site.directory.join("log");
    let told = || std::fs::read_to_string(&log).unwrap().matches("gives no random octets").count();
    let before = told();
    assert!(before > 0);
    // Nor does it start.
    assert!(!site.start_with(&[(VARIABLE, &value)]));
    assert!(!site.ended().success());
    assert!(told() > before);
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
    let port = free();
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

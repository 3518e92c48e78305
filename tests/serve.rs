//! The program as an operator runs it: init, serve, account, status, reload, stop.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use comity::jid::Jid;
use comity::net::tls::development::DevelopmentCa;
use comity::testing::Raw;

/// A directory with a configuration, and the server that runs with it.
struct Site {
    directory: PathBuf,
    c2s: SocketAddr,
    ca: DevelopmentCa,
    server: Option<Child>,
}

impl Site {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("comity-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let c2s = free();
        let config = format!(
            "domain = \"verona.example\"\ndata_dir = \"data\"\n\
             [listen]\nc2s = \"{c2s}\"\nc2s_tls = []\ns2s = []\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n"
        );
        std::fs::write(directory.join("comity.toml"), config).unwrap();
        let site = Self { directory, c2s, ca: DevelopmentCa::generate().unwrap(), server: None };
        site.certify();
        site
    }

    /// Writes a fresh certificate.
    fn certify(&self) {
        let issued = self.ca.issue(&["verona.example"]).unwrap();
        std::fs::write(self.directory.join("chain.pem"), issued.chain_pem).unwrap();
        std::fs::write(self.directory.join("key.pem"), issued.key_pem).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comity"));
        command.current_dir(&self.directory).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn start(&mut self) {
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.server = Some(child);
        assert_eq!(line, "ready\n");
    }

    fn signal(&self, name: &str) {
        let pid = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM");
        self.server.take().unwrap().wait().unwrap()
    }

    fn client_tls(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(comity::net::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    async fn log_in(&self, jid: &str, password: &str) -> Result<comity::testing::Client, String> {
        let jid: Jid = jid.parse().unwrap();
        let socket = tokio::net::TcpStream::connect(self.c2s).await.unwrap();
        Raw::new(socket).log_in(self.client_tls(), &jid, password).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

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
    site.ca = DevelopmentCa::generate().unwrap();
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

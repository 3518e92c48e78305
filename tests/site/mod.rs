//! A directory with a configuration, and the program that runs with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use comity::jid::Jid;
use comity::net::tls::development::DevelopmentCa;
use comity::testing::{Client, Raw};

/// What the server logs when it panics.
pub(crate) const PANIC: &str = "panic, by a defect of this server";

/// A directory with a configuration, and the server that runs with it.
pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    pub(crate) c2s: SocketAddr,
    pub(crate) ca: Arc<DevelopmentCa>,
    server: Option<Child>,
}

impl Site {
    /// One domain with a certificate, one listener for clients.
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("comity-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let c2s = free();
        let config = format!(
            "domain = \"verona.example\"\ndata_dir = \"data\"\n\
             [listen]\nc2s = \"{c2s}\"\nc2s_tls = []\ns2s = []\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n"
        );
        std::fs::write(directory.join("comity.toml"), config).unwrap();
        let site = Self { directory, c2s, ca: Arc::new(DevelopmentCa::generate().unwrap()), server: None };
        site.certify();
        site
    }

    /// Writes a fresh certificate.
    pub(crate) fn certify(&self) {
        let issued = self.ca.issue(&["verona.example"]).unwrap();
        std::fs::write(self.directory.join("chain.pem"), issued.chain_pem).unwrap();
        std::fs::write(self.directory.join("key.pem"), issued.key_pem).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comity"));
        command.current_dir(&self.directory).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts the server, which adds to the file `log`, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        assert!(self.start_with(&[]), "the server has ended: see the file log in {}", self.directory.display());
    }

    /// The same with further environment variables; says whether it became ready. Otherwise it has ended.
    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) -> bool {
        let log = File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.server = Some(child);
        line == "ready\n"
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap().success());
    }

    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    /// Waits for the end of the server.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.server.take().unwrap().wait().unwrap()
    }

    pub(crate) fn client_tls(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(comity::net::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    pub(crate) async fn log_in(&self, jid: &str, password: &str) -> Result<Client, String> {
        let jid: Jid = jid.parse().unwrap();
        let socket = tokio::net::TcpStream::connect(self.c2s).await.unwrap();
        Raw::new(socket).recorded().log_in(self.client_tls(), &jid, password).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            eprintln!("for whoever looks for the reason: {}", self.directory.display());
            return;
        }
        // A test that has it panic takes the log away.
        let log = std::fs::read(self.directory.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let panics: Vec<&str> = log.lines().filter(|line| line.contains(PANIC)).collect();
        assert!(panics.is_empty(), "see {}: {panics:?}", self.directory.display());
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// An address on which nobody listens. Its port is one that the system gives to nobody by itself, or a connection of
/// this test might have it before the server does.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + u16::try_from(number % 12_000).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

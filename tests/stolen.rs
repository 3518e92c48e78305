//! Whoever steals the database, the logs and an image of the server's memory, one second after people have logged in, has
//! nothing to log in with: no password, no token, and nothing that a client has sent to prove that it knows one. Some have said one
//! thing after the other, and some everything in one breath, as clients do that come back.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use comity::accounts::credentials::{Password, ScramHash};
use comity::accounts::sasl::channel_binding::BindingType;
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::jid::Jid;
use comity::testing::{Client, Raw};
use comity::xml::Element;
use memchr::memmem;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, OtherNameValue, SanType,
};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use site::Site;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// People who log in step by step: with a password by the profile of RFC 6120, by SASL2 and then with a token, and with a wrong
/// password at first. As many of each.
const STEP_BY_STEP: usize = 30;

/// People who say everything in one breath, in six ways. As many of each.
const IN_ONE_BREATH: usize = 30;

const ACCOUNTS: usize = STEP_BY_STEP + IN_ONE_BREATH;

/// Memory that is read at once.
const PIECE: usize = 1 << 20;

const DOMAIN: &str = "verona.example";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const SASL2: &str = "urn:xmpp:sasl:2";
const FAST: &str = "<fast xmlns='urn:xmpp:fast:0'/>";
const BIND: &str = "<bind xmlns='urn:xmpp:bind:0'><tag>Test</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";

fn password(number: usize) -> String {
    // No canary is found in the name of another one.
    format!("Kanarienvogel {number:04}: {:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1))
}

fn jid(number: usize) -> Jid {
    format!("person{number}@verona.example/desk").parse().unwrap()
}

fn agent(number: usize) -> String {
    format!("<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf8{number:04}'/>")
}

fn wants_token(mechanism: &str) -> String {
    format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>")
}

async fn socket(site: &Site) -> TcpStream {
    TcpStream::connect(site.c2s).await.unwrap()
}

/// Logs in by SASL2, step by step, and gives the answer.
async fn enter(site: &Site, number: usize, token: Option<&str>, password: &str, more: &str) -> (Client, Element) {
    let wishes = [agent(number).as_str(), "<bind xmlns='urn:xmpp:bind:0'/>", more].concat();
    let raw = Raw::new(socket(site).await);
    let client = raw.enter(site.client_tls(), &jid(number), (token, password), &wishes).await;
    let mut client = client.unwrap();
    let answer = client.next().await.unwrap();
    (client, answer)
}

// -- everything in one breath

/// A socket on which what is written goes out when an answer is waited for: the end of a handshake, and all that is said behind
/// it, arrive together.
struct Breath {
    socket: TcpStream,
    said: Vec<u8>,
}

impl Breath {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.said.is_empty() {
            let taken = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.said))?;
            self.said.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Breath {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for Breath {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.said.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A connection inside TLS, on which the server has not heard yet that the handshake is over.
async fn secured(site: &Site, tls: Arc<ClientConfig>) -> Raw {
    let mut raw = Raw::new(Breath { socket: socket(site).await, said: Vec::new() });
    raw.ask_for_tls(tls, DOMAIN).await.unwrap();
    raw
}

fn authenticate(number: usize, mechanism: &str, message: &[u8], more: &str) -> String {
    let initial = STANDARD.encode(message);
    let agent = agent(number);
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>{agent}{more}\
         </authenticate>"
    )
}

/// Opens a stream and says `said` in the same breath; gives the first answer.
async fn ask(raw: &mut Raw, said: &str) -> Element {
    raw.open_with(DOMAIN, said).await.unwrap();
    raw.element().await.unwrap()
}

/// The same where it is to work.
async fn succeed(raw: &mut Raw, said: &str) -> Element {
    let answer = ask(raw, said).await;
    assert_eq!(answer.name(), "success", "{}", answer.to_xml(""));
    answer
}

fn token_of(success: &Element) -> String {
    success.elements().find(|it| it.name() == "token").unwrap().attribute("token").unwrap().to_owned()
}

/// The session that a client may ask for when it comes back.
fn resume(success: &Element) -> String {
    let bound = success.elements().find(|it| it.name() == "bound").unwrap();
    let id = bound.elements().find(|it| it.name() == "enabled").unwrap().attribute("id").unwrap();
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")
}

/// Comes back with a token, for the session that it had: SASL2, Bind 2, FAST and XEP-0198 in one round trip.
async fn come_back(site: &Site, canaries: &mut Canaries, number: usize, mechanism: &str, success: &Element) -> Raw {
    let token = token_of(success);
    let mut raw = secured(site, site.client_tls()).await;
    let binding = match mechanism {
        "HT-SHA-256-EXPR" => raw.exporter().unwrap().to_vec(),
        _ => Vec::new(),
    };
    canaries.add_token(number, &token, &binding);
    let message = [format!("person{number}\0").as_bytes(), &proof(&token, &binding)].concat();
    let more = [FAST, &resume(success), BIND].concat();
    let success = succeed(&mut raw, &authenticate(number, mechanism, &message, &more)).await;
    assert!(success.elements().any(|it| it.name() == "resumed"), "{}", success.to_xml(""));
    raw
}

/// What proves that somebody has a token.
fn proof(token: &str, binding: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    hmac::sign(&key, &[b"Initiator".as_slice(), binding].concat()).as_ref().to_vec()
}

/// Logs in by SCRAM, the first message in one breath with the header: by SASL2 with channel binding, or as RFC 6120 has it.
async fn scram(site: &Site, canaries: &mut Canaries, number: usize, mechanism: &str) -> (Raw, Element) {
    let mut raw = secured(site, site.client_tls()).await;
    let hash = if mechanism.starts_with("SCRAM-SHA-512") { ScramHash::Sha512 } else { ScramHash::Sha256 };
    let is_bound = mechanism.ends_with("-PLUS");
    let binding = if is_bound {
        ClientBinding::Bound(BindingType::TlsExporter, raw.exporter().unwrap().to_vec())
    } else {
        ClientBinding::Unsupported
    };
    let prepared = Password::prepare(&password(number)).unwrap();
    let client =
        ScramClient::new(hash, &format!("person{number}"), prepared.clone(), binding, "fyko+d2lbbFgONRv9qkxdawL");
    let (first, namespace) = if is_bound {
        let more = [BIND, &wants_token("HT-SHA-256-NONE")].concat();
        (authenticate(number, mechanism, client.first().as_bytes(), &more), SASL2)
    } else {
        let message = STANDARD.encode(client.first());
        (format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{message}</auth>"), SASL)
    };
    let challenge = STANDARD.decode(ask(&mut raw, &first).await.text()).unwrap();
    let (last, _) = client.respond(&challenge).unwrap();
    canaries.add_scram(number, hash, &prepared, &challenge, &last);
    raw.send(&format!("<response xmlns='{namespace}'>{}</response>", STANDARD.encode(&last))).await;
    let success = raw.element().await.unwrap();
    assert_eq!(success.name(), "success", "{}", success.to_xml(""));
    (raw, success)
}

/// Says everything in one breath, in one of six ways; the connections on which it has worked.
async fn breathe(site: &Site, clients: &Vouching, canaries: &mut Canaries, number: usize) -> Raw {
    let plain = |password: &str| format!("\0person{number}\0{password}").into_bytes();
    let with_plain = |mechanism: &str| {
        authenticate(number, "PLAIN", &plain(&password(number)), &[BIND, &wants_token(mechanism)].concat())
    };
    match number % 6 {
        0 | 1 => {
            let mechanism = ["HT-SHA-256-EXPR", "HT-SHA-256-NONE"][number % 6];
            let mut raw = secured(site, site.client_tls()).await;
            let success = succeed(&mut raw, &with_plain(mechanism)).await;
            drop(raw);
            come_back(site, canaries, number, mechanism, &success).await
        }
        2 => {
            let (raw, success) = scram(site, canaries, number, "SCRAM-SHA-256-PLUS").await;
            drop(raw);
            come_back(site, canaries, number, "HT-SHA-256-NONE", &success).await
        }
        3 => scram(site, canaries, number, "SCRAM-SHA-512").await.0,
        4 => {
            let mut raw = secured(site, clients.client_tls(site, number)).await;
            let more = [BIND, &wants_token("HT-SHA-256-EXPR")].concat();
            let success = succeed(&mut raw, &authenticate(number, "EXTERNAL", b"", &more)).await;
            drop(raw);
            come_back(site, canaries, number, "HT-SHA-256-EXPR", &success).await
        }
        _ => {
            // Mistyped at first, and then broken off in the middle of what encodes it.
            let nearly = password(number + 1000);
            canaries.add_password(number, &nearly);
            let mut raw = secured(site, site.client_tls()).await;
            let auth = |message: &str| format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{message}</auth>");
            let failure = ask(&mut raw, &auth(&STANDARD.encode(plain(&nearly)))).await;
            assert_eq!(failure.name(), "failure");
            let message = STANDARD.encode(plain(&password(number)));
            raw.send(&auth(&format!("{message}?"))).await;
            assert_eq!(raw.element().await.unwrap().name(), "failure");
            raw.send(&auth(&message)).await;
            assert_eq!(raw.element().await.unwrap().name(), "success");
            raw
        }
    }
}

/// An authority that vouches for clients.
struct Vouching {
    issuer: Issuer<'static, KeyPair>,
}

impl Vouching {
    /// Has the server of the site trust it.
    fn new(site: &Site) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(site.directory.join("clients.pem"), certificate.pem()).unwrap();
        let file = site.directory.join("comity.toml");
        let config = fs::read_to_string(&file).unwrap();
        fs::write(file, config.replace("[tls]\n", "[tls]\nclient_trust_anchors = [\"clients.pem\"]\n")).unwrap();
        Self { issuer: Issuer::new(params, key) }
    }

    /// A client with a certificate for this person.
    fn client_tls(&self, site: &Site, number: usize) -> Arc<ClientConfig> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let address = OtherNameValue::Utf8String(format!("person{number}@verona.example"));
        // id-on-xmppAddr (RFC 6120 §13.7.1.4).
        params.subject_alt_names = vec![SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], address))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(site.ca.certificate().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(comity::net::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Arc::new(config.with_client_auth_cert(chain, key).unwrap())
    }
}

// -- what is looked for

/// What is looked for, each with what it is.
#[derive(Default)]
struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    fn add(&mut self, what: &str, octets: impl AsRef<[u8]>) {
        self.0.push((what.to_owned(), octets.as_ref().to_vec()));
    }

    /// A password, and the message of PLAIN with it as it was sent.
    fn add_password(&mut self, number: usize, password: &str) {
        self.add(&format!("password {number}"), password);
        let message = format!("\0person{number}\0{password}");
        self.add(&format!("message with password {number}"), STANDARD.encode(&message));
    }

    /// A token, and the message that proves that somebody has it.
    fn add_token(&mut self, number: usize, token: &str, binding: &[u8]) {
        self.add(&format!("token {number}"), token);
        self.add(&format!("token {number} as it was made"), URL_SAFE_NO_PAD.decode(token).unwrap());
        let proof = proof(token, binding);
        self.add(&format!("proof of token {number}"), &proof);
        let message = [format!("person{number}\0").as_bytes(), &proof].concat();
        self.add(&format!("message with token {number}"), STANDARD.encode(message));
    }

    /// What a client makes of its password for SCRAM (RFC 5802 §3): the salted one and the key are as good as the password, and
    /// so is the proof for whoever has the database.
    fn add_scram(&mut self, number: usize, hash: ScramHash, password: &Password, challenge: &[u8], last: &str) {
        let challenge = std::str::from_utf8(challenge).unwrap();
        let value = |name: &str| challenge.split(',').find_map(|it| it.strip_prefix(name)).unwrap();
        let salt = STANDARD.decode(value("s=")).unwrap();
        let salted = hash.salted(password, &salt, value("i=").parse().unwrap());
        self.add(&format!("salted password {number}"), &salted);
        self.add(&format!("client key {number}"), hash.hmac(&salted, b"Client Key"));
        let proof = last.rsplit_once("p=").unwrap().1;
        self.add(&format!("proof of password {number}, as it was sent"), proof);
        self.add(&format!("proof of password {number}"), STANDARD.decode(proof).unwrap());
        self.add(&format!("message with proof of password {number}"), STANDARD.encode(last));
    }

    /// Which of them are in `octets`.
    fn found_in(&self, octets: &[u8]) -> Vec<&str> {
        let is_there = |octets: &[u8], canary: &[u8]| memmem::find(octets, canary).is_some();
        self.0.iter().filter(|(_, canary)| is_there(octets, canary)).map(|(what, _)| what.as_str()).collect()
    }
}

/// Everything that the process can read of its memory, in pieces that overlap.
fn memory(pid: u32, mut each: impl FnMut(&str, &[u8])) {
    let image = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    for line in maps.lines().map(Result::unwrap) {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
        let name = fields.nth(3).unwrap_or("anonymous");
        // The program itself is a file, and the kernel's own pages are nobody's memory.
        if !access.starts_with("rw") || name.starts_with("[v") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut piece = vec![0; PIECE];
        while at < to {
            let size = usize::try_from(to - at).unwrap().min(PIECE);
            let Ok(read) = image.read_at(piece.get_mut(..size).unwrap(), at) else { break };
            if read == 0 {
                break;
            }
            each(&format!("{name} at {at:x}"), piece.get(..read).unwrap());
            let next = at + read as u64;
            at = if next < to { next - (read as u64 / 4).min(4096) } else { next };
        }
    }
}

fn files(directory: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, each);
        } else if path.is_file() && path.file_name().is_none_or(|name| name != "token.key") {
            each(&path, &fs::read(&path).unwrap());
        }
    }
}

/// Everybody logs in; the clients stay.
async fn log_in_all(site: &Site, vouching: &Vouching, canaries: &mut Canaries) -> (Vec<Client>, Vec<Raw>) {
    let (mut clients, mut raws) = (Vec::new(), Vec::new());
    for number in 0..ACCOUNTS {
        canaries.add_password(number, &password(number));
        match number % 3 {
            _ if number >= STEP_BY_STEP => raws.push(breathe(site, vouching, canaries, number).await),
            0 => clients.push(site.log_in(jid(number).as_str(), &password(number)).await.unwrap()),
            1 => {
                let wants = wants_token("HT-SHA-256-NONE");
                let (_gone, success) = enter(site, number, None, &password(number), &wants).await;
                let token = token_of(&success);
                canaries.add_token(number, &token, b"");
                let (client, success) = enter(site, number, Some(&token), "", FAST).await;
                assert_eq!(success.name(), "success");
                clients.push(client);
            }
            _ => {
                // Somebody mistypes: that is a secret, too.
                let nearly = password(number + 1000);
                canaries.add_password(number, &nearly);
                let (_gone, failure) = enter(site, number, None, &nearly, "").await;
                assert_eq!(failure.name(), "failure");
                let (client, success) = enter(site, number, None, &password(number), "").await;
                assert_eq!(success.name(), "success");
                clients.push(client);
            }
        }
    }
    (clients, raws)
}

#[tokio::test]
async fn nothing_that_logs_in_is_left_behind() {
    let mut site = Site::new("stolen");
    let vouching = Vouching::new(&site);
    let list: String =
        (0..ACCOUNTS).map(|number| format!("person{number}@verona.example {}\n", password(number))).collect();
    let imported = site.run(&["account", "import", "-"], &list);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert!(site.start_with(&[("COMITY_LOG", "trace")]));

    let mut canaries = Canaries::default();
    let clients = log_in_all(&site, &vouching, &mut canaries).await;
    // A password in two forms for everybody, and of half of them what was made of it, or a token, in four or five.
    assert!(canaries.0.len() >= 4 * ACCOUNTS, "{} canaries", canaries.0.len());
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut found: Vec<String> = Vec::new();
    let (mut octets, mut is_image) = (0, false);
    memory(site.pid(), |place, piece| {
        octets += piece.len();
        is_image |= memmem::find(piece, b"person0@verona.example/desk").is_some();
        found.extend(canaries.found_in(piece).iter().map(|what| format!("memory, {place}: {what}")));
    });
    // Those who are connected are in it: it is the memory of this server.
    assert!(is_image && octets > 1 << 20, "{octets} octets");
    let mut is_database = false;
    files(&site.directory, &mut |path, octets| {
        is_database |= memmem::find(octets, b"stored_key").is_some();
        found.extend(canaries.found_in(octets).iter().map(|what| format!("{}: {what}", path.display())));
    });
    assert!(is_database, "the keys are in it");
    assert!(found.is_empty(), "{} hits:\n{}", found.len(), found.join("\n"));
    drop(clients);
    assert!(site.stop().success());
    // What is left is enough for the server.
    site.start();
    site.log_in(jid(0).as_str(), &password(0)).await.unwrap();
    assert!(site.log_in(jid(0).as_str(), &password(1)).await.is_err());
    assert!(site.stop().success());
}

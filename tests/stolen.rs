//! Whoever steals the database, the logs and an image of the server's memory, one second after people have logged in, has
//! nothing to log in with: no password, no token, and nothing that a client has sent to prove that it knows one.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use comity::jid::Jid;
use comity::testing::{Client, Raw};
use comity::xml::Element;
use memchr::memmem;
use site::Site;

/// People who log in with a password by the profile of RFC 6120, and by SASL2 and then with a token: as many of each.
const PEOPLE: usize = 10;

/// Accounts of people of both kinds, and of as many whose password is wrong at first.
const ACCOUNTS: usize = 3 * PEOPLE;

/// Memory that is read at once.
const PIECE: usize = 1 << 20;

fn password(number: usize) -> String {
    // No canary is found in the name of another one.
    format!("Kanarienvogel {number:04}: {:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1))
}

fn jid(number: usize) -> Jid {
    format!("person{number}@verona.example/desk").parse().unwrap()
}

async fn raw(site: &Site) -> Raw {
    Raw::new(tokio::net::TcpStream::connect(site.c2s).await.unwrap())
}

/// Logs in by SASL2 and gives the answer.
async fn enter(site: &Site, number: usize, token: Option<&str>, password: &str, more: &str) -> (Client, Element) {
    let agent =
        format!("<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf8{number:04}'/><bind xmlns='urn:xmpp:bind:0'/>");
    let wishes = [agent.as_str(), more].concat();
    let client = raw(site).await.enter(site.client_tls(), &jid(number), (token, password), &wishes).await;
    let mut client = client.unwrap();
    let answer = client.next().await.unwrap();
    (client, answer)
}

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

#[tokio::test]
async fn nothing_that_logs_in_is_left_behind() {
    let mut site = Site::new("stolen");
    let list: String =
        (0..ACCOUNTS).map(|number| format!("person{number}@verona.example {}\n", password(number))).collect();
    let imported = site.run(&["account", "import", "-"], &list);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert!(site.start_with(&[("COMITY_LOG", "trace")]));

    let mut canaries = Canaries::default();
    let (mut clients, mut tokens) = (Vec::new(), 0);
    for number in 0..ACCOUNTS {
        canaries.add_password(number, &password(number));
        match number % 3 {
            0 => {
                clients.push(site.log_in(jid(number).as_str(), &password(number)).await.unwrap());
            }
            1 => {
                let wants = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
                let (_gone, success) = enter(&site, number, None, &password(number), wants).await;
                let token = success.elements().find(|it| it.name() == "token").unwrap().attribute("token").unwrap();
                canaries.add(&format!("token {number}"), token);
                canaries.add(&format!("token {number} as it was made"), URL_SAFE_NO_PAD.decode(token).unwrap());
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, token.as_bytes());
                let proof = aws_lc_rs::hmac::sign(&key, b"Initiator");
                canaries.add(&format!("proof of token {number}"), proof.as_ref());
                let message = [format!("person{number}\0").as_bytes(), proof.as_ref()].concat();
                canaries.add(&format!("message with token {number}"), STANDARD.encode(message));
                tokens += 1;
                let fast = "<fast xmlns='urn:xmpp:fast:0'/>";
                let (client, success) = enter(&site, number, Some(token), "", fast).await;
                assert_eq!(success.name(), "success");
                clients.push(client);
            }
            _ => {
                // Somebody mistypes: that is a secret, too.
                let nearly = password(number + 1000);
                canaries.add_password(number, &nearly);
                let (_gone, failure) = enter(&site, number, None, &nearly, "").await;
                assert_eq!(failure.name(), "failure");
                let (client, success) = enter(&site, number, None, &password(number), "").await;
                assert_eq!(success.name(), "success");
                clients.push(client);
            }
        }
    }
    assert!(ACCOUNTS + tokens >= 40);
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

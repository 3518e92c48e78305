//! Fills the archives of accounts that exist, by way of the storage and not of the protocol: a benchmark of ten million
//! messages need not send them.
//!
//! `fill_archive DATA_DIR DOMAIN ACCOUNTS MESSAGES`: the accounts are called c0, c1 and so on. Of the messages of each,
//! one in a thousand is exchanged with the contact `rare`, the others with ten contacts in turn. They came one a second,
//! from the beginning of 2020 on.

#![expect(clippy::expect_used, reason = "a tool reports by panicking")]

use std::path::Path;

use comity::jid::BareJid;
use comity::storage::{Direction, Entry, Marks, Options, Storage, Writes};

/// The beginning of 2020 in Unix time, in milliseconds.
const BEGIN: u64 = 1_577_836_800_000;

/// Messages that are handed over together.
const PORTION: u64 = 512;

/// As long as people write on average, about.
const BODY: &str = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun. Arise, \
                    fair sun, and kill the envious moon, who is already sick and pale with grief.";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, domain, accounts, messages] = &arguments[..] else {
        return println!("fill_archive DATA_DIR DOMAIN ACCOUNTS MESSAGES");
    };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (accounts, messages) = (number(accounts), number(messages));
    let owners: Vec<BareJid> =
        (0..accounts).map(|it| BareJid::account(&format!("c{it}"), domain).expect("an address")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let storage = Storage::open(Path::new(directory), Options::default()).expect("the data");
        for owner in &owners {
            assert!(storage.exists(owner).await.expect("an answer"), "{owner} does not exist");
        }
        for first in (0..messages).step_by(usize::try_from(PORTION).expect("it is small")) {
            let mut writes = Writes::new();
            for number in first..messages.min(first + PORTION) {
                let owner = &owners[usize::try_from(number % accounts).expect("there are few")];
                let _ = writes.append(owner, storage.slot(), entry(owner, number, number / accounts));
            }
            storage.submit(writes);
            storage.pressure().await;
        }
        storage.durable(storage.latest()).await.expect("it is written");
        storage.close().await.expect("it is closed");
    });
}

/// The message with this number of all, and this one of its owner.
fn entry(owner: &BareJid, number: u64, own: u64) -> Entry {
    let name = if own % 1000 == 500 { "rare".to_owned() } else { format!("contact{}", own % 10) };
    let peer = format!("{name}@elsewhere.example/phone");
    let (direction, from, to) = if own.is_multiple_of(2) {
        (Direction::Received, peer.as_str(), owner.as_str())
    } else {
        (Direction::Sent, owner.as_str(), peer.as_str())
    };
    let payload =
        format!("<message type='chat' id='message-{number}' from='{from}' to='{to}'><body>{BODY}</body></message>");
    Entry {
        direction,
        peer: peer.as_str().into(),
        time: BEGIN + number * 1000,
        marks: Marks::ARCHIVED,
        payload: payload.into(),
    }
}

//! Whoever guesses a proof learns nothing from how long it takes to be refused: half of the guesses are wrong in the first
//! octet, the others in the last.

use std::hint::black_box;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::accounts::credentials::{Iterations, Password, ScramHash, ScramKeys};
use comity::accounts::sasl::Variant;
use comity::accounts::sasl::channel_binding::Bindings;
use comity::accounts::sasl::hashed_token::Presented;
use comity::accounts::sasl::scram::{ClientFirst, Nonce};
use comity::accounts::sasl::scram_client::{ClientBinding, ScramClient};
use comity::federation::judge_of_keys;
use comity::hexadecimal;

use crate::{Chance, Compared, Promise};

const KINDS: [&str; 2] = ["wrong in the first octet", "wrong in the last octet"];
const DOMAIN: &str = "verona.example";

pub(crate) fn compare(count: usize) -> Vec<Compared> {
    vec![scram(count), binding(count), token(count), dialback(count)]
}

/// A proof with one octet changed.
fn nearly(right: &[u8]) -> [Vec<u8>; 2] {
    [0, right.len() - 1].map(|at| {
        let mut wrong = right.to_vec();
        if let Some(octet) = wrong.get_mut(at) {
            *octet ^= 1;
        }
        wrong
    })
}

/// Asks as often for a result that is `false`. What is asked is made anew each time, in the same place for both kinds: where
/// something lies in memory tells by the time it takes, too.
fn ask<T>(
    count: usize,
    compared: &mut Compared,
    mut make: impl FnMut(usize) -> T,
    mut question: impl FnMut(T) -> bool,
) {
    let mut chance = Chance::new();
    for turn in 0..count + 1000 {
        let kind = chance.coin();
        let asked = black_box(make(kind));
        // What was written to make it is not to be waited for below.
        fence(Ordering::SeqCst);
        let begin = Instant::now();
        let accepted = black_box(question(asked));
        let took = begin.elapsed();
        assert!(!accepted, "a guess was right");
        // The first ones find everything cold.
        if turn >= 1000 {
            compared.times[kind].push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

struct Exchange {
    keys: ScramKeys,
    first: String,
    nonce: Nonce,
    last: String,
}

fn exchange() -> Exchange {
    let password = Password::prepare("a password").expect("a password");
    let iterations = Iterations::new(Iterations::MIN).expect("iterations");
    let keys = ScramKeys::derive(ScramHash::Sha256, &password, &[7; 16], iterations);
    let client = ScramClient::new(ScramHash::Sha256, "juliet", password, ClientBinding::Unsupported, "abcdefgh");
    let (first, nonce) = (client.first(), Nonce::new([9; 18]));
    let (challenge, _) = read(&first).challenge(&keys, &nonce, "");
    let (last, _) = client.respond(challenge.as_bytes()).expect("a response");
    Exchange { keys, first, nonce, last }
}

fn read(first: &str) -> ClientFirst {
    let mechanism = (ScramHash::Sha256, Variant::Bare);
    ClientFirst::parse(mechanism, &Bindings::NONE, DOMAIN, first.as_bytes()).expect("a first message")
}

/// The proof of SCRAM. What is compared is its hash, so that what is wrong in the proof is wrong everywhere.
fn scram(count: usize) -> Compared {
    let mut compared = Compared::new("a proof of SCRAM", KINDS, Promise::NoDifference);
    let it = exchange();
    let (front, proof) = it.last.rsplit_once(",p=").expect("a proof");
    let proof = BASE64_STANDARD.decode(proof).expect("Base64");
    let messages = nearly(&proof).map(|wrong| format!("{front},p={}", BASE64_STANDARD.encode(wrong)));
    let (_, challenged) = read(&it.first).challenge(&it.keys, &it.nonce, "");
    let make = |kind: usize| (challenged.clone(), messages[kind].clone());
    ask(count, &mut compared, make, |(challenged, message)| challenged.finish(message.as_bytes()).is_ok());
    compared
}

/// The channel binding, which is compared as it comes.
fn binding(count: usize) -> Compared {
    let mut compared = Compared::new("a channel binding", KINDS, Promise::NoDifference);
    let it = exchange();
    let (bound, rest) = it.last.split_once(',').expect("a channel binding");
    let bound = BASE64_STANDARD.decode(bound.trim_start_matches("c=")).expect("Base64");
    let messages = nearly(&bound).map(|wrong| format!("c={},{rest}", BASE64_STANDARD.encode(wrong)));
    let (_, challenged) = read(&it.first).challenge(&it.keys, &it.nonce, "");
    let make = |kind: usize| (challenged.clone(), messages[kind].clone());
    ask(count, &mut compared, make, |(challenged, message)| challenged.finish(message.as_bytes()).is_ok());
    compared
}

/// What is made of a token (XEP-0484).
fn token(count: usize) -> Compared {
    let mut compared = Compared::new("a token", KINDS, Promise::NoDifference);
    let token = "RZ-CGVkZ3Vlc3RzIHRva2VuIG9mIGp1bGlldA";
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, token.as_bytes());
    let right = aws_lc_rs::hmac::sign(&key, b"Initiator");
    let presented = nearly(right.as_ref()).map(|wrong| {
        let message = [b"juliet\0", &wrong[..]].concat();
        Presented::parse(None, &Bindings::NONE, DOMAIN, &message).expect("a message")
    });
    ask(count, &mut compared, |kind| presented[kind].clone(), |presented| presented.fits(token));
    compared
}

/// The key of dialback (XEP-0185), which is compared as it comes.
fn dialback(count: usize) -> Compared {
    const STREAM: [&str; 3] = [DOMAIN, "mantua.example", "D60000229F"];
    let mut compared = Compared::new("a key of dialback", KINDS, Promise::NoDifference);
    let secret = b"s3cr3tf0rd14lb4ck";
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, hexadecimal::text(key.as_ref()).as_bytes());
    let right = hexadecimal::text(aws_lc_rs::hmac::sign(&key, STREAM.join(" ").as_bytes()).as_ref());
    let is_right = judge_of_keys(secret);
    assert!(is_right(STREAM, &right), "a key that is right");
    let keys = nearly(right.as_bytes()).map(|wrong| String::from_utf8(wrong).expect("digits"));
    ask(count, &mut compared, |kind| keys[kind].clone(), |key| is_right(STREAM, &key));
    compared
}

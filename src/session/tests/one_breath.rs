//! Logins in one breath, as they are on the wire: `one_breath.txt`.

use aws_lc_rs::hmac;

use super::sasl2::{COUNTED, PHONE, bind, element, enter, identifier, overheard, part, password, token_of, world};
use super::*;
use crate::accounts::sasl::hashed_token::tests::message;

const TRANSCRIPTS: &str = include_str!("one_breath.txt");

/// One connection: its title, and what the client and the server say.
fn transcripts() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut all: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in TRANSCRIPTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("== ") {
            Some(title) => all.push((title, Vec::new())),
            None => all.last_mut().unwrap().1.push(line.split_once(": ").unwrap()),
        }
    }
    all
}

/// What stands between the first of `front` and the next of `back`.
fn between<'a>(text: &'a str, front: &str, back: &str) -> Option<&'a str> {
    text.split_once(front)?.1.split_once(back).map(|(inside, _)| inside)
}

/// What is different each time, by name.
#[derive(Default)]
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    fn given(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn taken(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }

    /// What the server has written, with names; the features are looked at elsewhere.
    fn read(&mut self, written: &str) -> String {
        if let Some(header) = between(written, "<stream:stream", ">") {
            self.set("$id", between(header, " id='", "'").unwrap());
            self.set("$version", between(written, "scheme='opaque' value='", "'").unwrap());
        }
        let mut parts = written.split("<stream:features>");
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let (_, rest) = part.split_once("</stream:features>").unwrap();
            text.extend(["<stream:features>*</stream:features>", rest]);
        }
        self.taken(&text)
    }
}

// Proves: XEP-0388 §2.6.1, XEP-0386 §3.2, XEP-0484 §3.4, XEP-0198 §9.2, §9.2.1, XEP-0509 §2.2
#[tokio::test(start_paused = true)]
async fn what_is_asked_in_one_breath_is_answered_on_the_wire_like_this() {
    let all = transcripts();
    assert_eq!(all.len(), 4);
    for (title, lines) in all {
        let mut world = world("").await;
        let wants = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>";
        let (mut raw, success) = enter(&mut world, &password(PHONE, &[&bind(COUNTED), wants].concat())).await;
        element(&mut raw).await;
        drop(raw);
        world.settle().await;
        let mut names = Names::default();
        let token = token_of(&success).unwrap();
        names.set("$full", identifier(&success));
        names.set("$session", part(part(&success, "bound").unwrap(), "enabled").unwrap().attribute("id").unwrap());

        let (mut raw, written) = overheard(&mut world).await;
        let exporter = raw.exporter().unwrap();
        names.set("$proof", BASE64_STANDARD.encode(message("romeo", &token, &exporter)));
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let answer = hmac::sign(&key, &[b"Responder".as_slice(), exporter.as_slice()].concat());
        names.set("$answer", BASE64_STANDARD.encode(answer));
        for (side, text) in lines {
            if side == "C" {
                raw.send(&names.given(text)).await;
                world.settle().await;
                continue;
            }
            let written = std::mem::take(&mut *written.lock().unwrap());
            assert_eq!(written.len(), 1, "{title}: one breath has one answer: {written:#?}");
            assert_eq!(names.read(&written.concat()), text, "{title}");
        }
        assert!(written.lock().unwrap().is_empty(), "{title}");
    }
}

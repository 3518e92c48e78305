//! Every message in every state: `states.txt` says by hand what must come of it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sasl2::{at, issued, key, lacking};
use super::*;
use crate::accounts::sasl::hashed_token::tests::message;
use crate::testing::cells;

const TABLE: &str = include_str!("states.txt");

/// Each with the one before it and what leads on: an input of the table.
const STATES: [(&str, &str, &str); 19] = [
    ("idle", "", ""),
    ("again", "idle", "authenticate by what was not offered"),
    ("old-first", "idle", "auth without a message"),
    ("old-proof", "old-scram", "somebody is found"),
    ("first", "idle", "authenticate without a message"),
    ("proof", "scram", "somebody is found"),
    ("task", "lacking", "the proof is admitted"),
    ("salt", "salting", "a salt"),
    ("given-up", "task", "abort"),
    ("in", "verify", "the proof is admitted"),
    ("old-in", "old-verify", "the proof is admitted"),
    ("scram", "idle", "authenticate with the first message of SCRAM"),
    ("plain", "first", "response with a password"),
    ("token", "idle", "authenticate with a token"),
    ("certificate", "idle", "authenticate with a certificate"),
    ("verify", "plain", "somebody is found"),
    ("judge", "proof", "response with a proof"),
    ("salting", "task", "next"),
    ("keeping", "salt", "task-data with keys"),
];

/// States that the table has no column for: what leads to them is said to a machine on which nothing was said.
const BESIDE: [(&str, &[&str]); 3] = [
    (
        "old-scram",
        &["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1qdWxpZXQscj1hYmM=</auth>"],
    ),
    (
        "old-verify",
        &["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABwZW5jaWw=</auth>", "? somebody"],
    ),
    (
        "lacking",
        &[
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AGp1bGlldABwZW5jaWw=</initial-response>\
             <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade></authenticate>",
            "? somebody with older keys",
        ],
    ),
];

/// Between the first message of SASL2 and the last (XEP-0388 §2.4).
const EXCLUSIVE: [&str; 6] = ["first", "proof", "task", "salt", "salting", "keeping"];

fn fresh() -> Login {
    let certified = vec!["juliet@example.org".parse().unwrap()];
    machine(Offer { certified, ..offer() }).called(ConfigVersion::of(&Features::default()))
}

/// What the table has somebody say.
struct Words {
    inputs: BTreeMap<&'static str, &'static str>,
    /// What changes with keys: by what stands for it in the table.
    made: [(&'static str, String); 3],
    slots: Slots,
    /// Keys are slow to derive.
    found: Found,
    older: Found,
}

impl Words {
    fn new(inputs: BTreeMap<&'static str, &'static str>) -> Self {
        let (slots, token) = issued(Mechanism::HashedToken(None));
        let last = |password: &str| {
            let mut login = fresh();
            login.nonza(&auth(SHA1.as_str(), Some(b"n,,n=juliet,r=abc")));
            let challenge = sent(&login.looked_up(found(), &nonce()));
            let client = client(ScramHash::Sha1, password, ClientBinding::Unsupported);
            STANDARD.encode(client.respond(&challenge).unwrap().0)
        };
        let token = STANDARD.encode(message("juliet", &token, b""));
        let made = [("{right}", last("pencil")), ("{wrong}", last("pen")), ("{token}", token)];
        Self { inputs, made, slots, found: found(), older: lacking() }
    }

    /// Says it to the machine.
    fn say(&self, login: &mut Login, said: &str) -> Vec<Effect> {
        match said.strip_prefix("? ") {
            Some(answer) => self.answer(login, answer),
            None => {
                let xml = self.made.iter().fold(said.to_owned(), |xml, (name, value)| xml.replace(name, value));
                login.nonza(&Element::parse(&xml, "").unwrap())
            }
        }
    }

    fn answer(&self, login: &mut Login, answer: &str) -> Vec<Effect> {
        let with_token = |login: &mut Login, found| login.token_found(found, &key(), at(1));
        match answer {
            "somebody" => login.looked_up(self.found.clone(), &nonce()),
            "somebody with older keys" => login.looked_up(self.older.clone(), &nonce()),
            "nobody" => login.looked_up(Found::Unknown, &nonce()),
            "unavailable" => login.looked_up(Found::Unavailable, &nonce()),
            "token" => with_token(login, FoundToken::Client(self.slots.clone(), Standing::Active)),
            "no token" => with_token(login, FoundToken::Unknown),
            "token unavailable" => with_token(login, FoundToken::Unavailable),
            "admitted" => login.judged(Judgement::Admitted),
            "wrong" => login.judged(Judgement::Wrong),
            "too many" => login.judged(Judgement::TooMany),
            "salt" => login.salted([1; 16]),
            "kept" => login.kept::<()>(&Ok(())),
            "not kept" => login.kept(&Err(())),
            _ => panic!("nobody answers {answer:?}"),
        }
    }

    /// The machine in this state.
    fn arrive(&self, state: &str) -> Login {
        if let Some((_, steps)) = BESIDE.iter().find(|(name, _)| *name == state) {
            let mut login = fresh();
            steps.iter().for_each(|step| drop(self.say(&mut login, step)));
            return login;
        }
        let (_, before, step) = STATES.iter().find(|(name, ..)| *name == state).unwrap();
        if before.is_empty() {
            return fresh();
        }
        let mut login = self.arrive(before);
        assert!(!self.say(&mut login, self.inputs[step]).is_empty(), "{state}");
        login
    }
}

/// What the effects amount to, in the words of the table.
fn outcome(effects: &[Effect]) -> String {
    let attempts = effects.iter().filter(|effect| matches!(effect, Effect::Failure { .. })).count();
    let mut all = told(effects);
    if all.first().is_some_and(|first| first.starts_with("failure")) {
        assert!(attempts == all.len() - 1, "{all:?}");
        all.truncate(1);
        if attempts == 0 {
            all.push("no attempt".to_owned());
        }
    }
    match effects {
        [] => "nothing".to_owned(),
        [Effect::LookUp(account)] if account.as_str() == "juliet@example.org" => "look up".to_owned(),
        [Effect::LookUpToken(account, _)] if account.as_str() == "juliet@example.org" => "look up a token".to_owned(),
        [Effect::Enter(entry)] if entry.user.as_str() == "juliet@example.org" => "in".to_owned(),
        _ => all.join(", "),
    }
}

// Proves: XEP-0388 §2.2, §2.3, §2.4, §2.5, §2.6.2, §2.6.3, §4.5, §4.8, XEP-0480 §2.3, §3, XEP-0484 §3.4, XEP-0509 §2.2
// Proves: RFC 6120 §6.4.2, §6.4.3, §6.4.4, §6.5
#[test]
fn every_message_in_every_state_of_both_profiles() {
    let names = STATES.map(|(name, ..)| name);
    let rows = cells(TABLE, &names).unwrap();
    let words = Words::new(rows.iter().map(|row| (row.name, row.said)).collect());
    let mut wrong = Vec::new();
    for state in names {
        assert_eq!(words.arrive(state).is_exclusive(), EXCLUSIVE.contains(&state), "{state}");
        for row in &rows {
            let found = outcome(&words.say(&mut words.arrive(state), row.said));
            if found != row.cells[state] {
                wrong.push(format!("{state}, {}: {found} instead of {}", row.name, row.cells[state]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), rows.len() * names.len());
}

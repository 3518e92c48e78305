//! Who may emit this from, for clients: stanzas with every `from` there is, drawn from a seed (RFC 6120 §8.1.2.1).
//!
//! Those between servers are in the tests of federation; `SENDERS` says how many there are together.

use std::collections::BTreeMap;

use crate::testing::Chance;

use super::*;

/// So many stanzas one check of the whole project tries, those between servers among them.
const SENDERS: usize = 20_000;

/// The session that speaks, and one that hears it.
const MALLORY: &str = "mallory@verona.example/den";
const ROMEO: &str = "romeo@verona.example/orchard";

/// What a client may give as its address: nothing, its account, its resource, however it is spelled.
const OWN: [&str; 7] = [
    "",
    "mallory@verona.example",
    MALLORY,
    "Mallory@VERONA.example",
    "MALLORY@verona.example./den",
    "mallory@verona\u{3002}example/den",
    "m\u{FF41}llory@verona.example",
];

/// All others.
const OTHERS: [(&str, &str); 19] = [
    ("another resource", "mallory@verona.example/lair"),
    ("another resource that is there", "mallory@verona.example/attic"),
    ("another spelling of the resource", "mallory@verona.example/Den"),
    ("the resource and more", "mallory@verona.example/den/den"),
    ("another account", "juliet@verona.example"),
    ("a resource of another account", "juliet@verona.example/den"),
    ("no account", "nobody@verona.example"),
    ("the receiver", ROMEO),
    ("the account of the receiver", "romeo@verona.example"),
    ("the server", "verona.example"),
    ("the server and the resource", "verona.example/den"),
    ("a namesake elsewhere", "mallory@mantua.example/den"),
    ("another server", "mantua.example"),
    ("a domain below", "mallory@sub.verona.example/den"),
    ("a domain that begins so", "mallory@verona.example.example/den"),
    // The first letter is Cyrillic.
    ("what looks alike", "mallory@\u{432}erona.example/den"),
    ("no domain", "mallory@/den"),
    ("no account but a resource", "@verona.example/den"),
    ("what is no address", "a b@verona.example"),
];

/// Kinds of stanzas with what is in them, and whether the receiver gets them: requests are for those who know each other, and
/// a subscription is for the account.
const KINDS: [(&str, &str, &str, bool); 12] = [
    ("message", "", "<body>x</body>", true),
    ("message", "chat", "<body>x</body>", true),
    ("message", "groupchat", "<body>x</body>", true),
    ("message", "headline", "<body>x</body>", true),
    ("message", "odd", "<body>x</body>", true),
    ("presence", "", "", true),
    ("presence", "unavailable", "", true),
    ("presence", "subscribe", "", false),
    ("presence", "probe", "", false),
    ("iq", "get", "<x xmlns='urn:example'/>", false),
    ("iq", "set", "<x xmlns='urn:example'/>", false),
    ("iq", "result", "", true),
];

/// Draws a stanza: its text, its id, whether it may be said, and whether it is heard then.
fn draw(chance: &mut Chance, seen: &mut BTreeMap<&'static str, usize>, number: usize) -> (String, String, bool, bool) {
    let is_own = chance.percent(92);
    let from = if is_own {
        let from = OWN[chance.place(OWN.len())];
        *seen.entry(from).or_default() += 1;
        from
    } else {
        let (what, from) = OTHERS[chance.place(OTHERS.len())];
        *seen.entry(what).or_default() += 1;
        from
    };
    let (name, of_type, inside, is_heard) = KINDS[chance.place(KINDS.len())];
    let from = if from.is_empty() { String::new() } else { format!(" from='{from}'") };
    let of_type = if of_type.is_empty() { String::new() } else { format!(" type='{of_type}'") };
    let id = format!("g{number}");
    let to = if chance.percent(50) { ROMEO } else { "ROMEO@Verona.example/orchard" };
    (format!("<{name}{of_type}{from} to='{to}' id='{id}'>{inside}</{name}>"), id, is_own, is_heard)
}

/// The ids of what somebody has heard, all of it from Mallory.
fn heard(client: &mut Client, about: &str) -> Vec<String> {
    let all = std::iter::from_fn(|| client.received());
    all.filter_map(|stanza| {
        let kind = stanza.attribute("type").unwrap_or_default();
        // RFC 6121 §3.1.2: people ask in the name of their account; answers to probes are of whoever is asked.
        let is_for_accounts = stanza.name() == "presence" && kind == "subscribe";
        let expected = if is_for_accounts { "mallory@verona.example" } else { MALLORY };
        assert_eq!(stanza.attribute("from"), Some(expected), "{about}: {}", stanza.to_xml(""));
        stanza.attribute("id").map(str::to_owned).filter(|_| !is_for_accounts)
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_million_stanzas_of_clients() {
    let all = std::env::var("SENDERS").map_or(SENDERS, |count| count.parse().unwrap());
    // The others are those between servers.
    let wanted = all / 5 * 2;
    let (mut seen, mut count, mut story, mut refused) = (BTreeMap::new(), 0, 0, 0);
    while count < wanted {
        // What a server remembers of those who were here is not what this is about.
        let mut world = World::new();
        let mut romeo = world.login(&jid(ROMEO)).await.unwrap();
        romeo.send("<presence/>").await;
        let _attic = world.login(&jid("mallory@verona.example/attic")).await.unwrap();
        world.settle().await;
        while romeo.received().is_some() {}
        for _ in 0..20 {
            let mut chance = Chance::of(2, &[story]);
            let about = format!("story {story}");
            story += 1;
            let mut mallory = world.login(&jid(MALLORY)).await.unwrap();
            let (mut said, mut expected, mut may_speak) = (String::new(), Vec::new(), true);
            for _ in 0..chance.between(5, 30) {
                count += 1;
                let (xml, id, is_own, is_heard) = draw(&mut chance, &mut seen, count);
                said.push_str(&xml);
                may_speak &= is_own;
                if may_speak && is_heard {
                    expected.push(id);
                }
            }
            mallory.send(&said).await;
            world.settle().await;
            let found = heard(&mut romeo, &about);
            assert_eq!(found, expected, "{about}: {said}");
            let end = mallory.pick(|it| it.name() == "error" && it.ns().ends_with("/streams"));
            let condition = end.as_ref().and_then(|end| end.elements().next().map(Element::name));
            assert_eq!(condition, (!may_speak).then_some("invalid-from"), "{about}: {said}");
            refused += u64::from(!may_speak);
            mallory.close().await;
            world.settle().await;
            assert_eq!(heard(&mut romeo, &about), [""; 0], "{about}: {said}");
        }
    }
    let missing: Vec<_> =
        OWN.into_iter().chain(OTHERS.map(|(what, _)| what)).filter(|what| !seen.contains_key(what)).collect();
    assert!(missing.is_empty() && refused > 0 && refused < story, "never drawn: {missing:?}, {refused} of {story}");
    println!("{count} stanzas of clients in {story} sessions, {refused} of them ended by the server: {seen:#?}");
}

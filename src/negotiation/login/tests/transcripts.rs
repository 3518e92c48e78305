//! Logins as they are on the wire, by every mechanism in both profiles, and every task: `transcripts.txt`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

const TRANSCRIPTS: &str = include_str!("transcripts.txt");

/// One login: its title, and what the client and the server say.
fn transcripts() -> Vec<(&'static str, Vec<(char, &'static str)>)> {
    let mut all: Vec<(&str, Vec<(char, &str)>)> = Vec::new();
    for line in TRANSCRIPTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("== ") {
            all.push((title, Vec::new()));
        } else {
            let (side, xml) = line.split_once(": ").unwrap();
            all.last_mut().unwrap().1.push((side.chars().next().unwrap(), xml));
        }
    }
    all
}

/// The tokens of juliet's client for this mechanism.
fn tokens(agent: &AgentId, mechanism: Mechanism) -> FoundToken {
    let account: BareJid = "juliet@example.org".parse().unwrap();
    let mut slots = Slots::default();
    let now = Timestamp::from_unix_ms(1_000_000_000_000);
    let lifetime = std::time::Duration::from_secs(21 * 86_400);
    let holder = Holder { account: &account, agent };
    slots.issue(&TokenKey::new(&[7; 32]), holder, mechanism, (now, lifetime), [1; 16]);
    FoundToken::Client(slots, Standing::Active)
}

/// What the server says to `element`, and what it keeps.
fn answers(login: &mut Login, element: &Element, kept: &mut Vec<NewKeys>) -> Vec<String> {
    let mechanism = element.attribute("mechanism").and_then(Mechanism::parse);
    // Whoever lacks keys has none for SHA-512.
    let lacks = login.offer.upgrades().next().is_some();
    let keys = if lacks { Credentials { sha512: None, ..credentials() } } else { credentials() };
    let mut said = Vec::new();
    let mut effects = std::collections::VecDeque::from(login.nonza(element));
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Send(element) => said.push(element.to_xml("")),
            Effect::Enter(entry) => said.push(entry.success("juliet@example.org", "")),
            Effect::LookUp(_) => {
                let found = Found::Account(Box::new(keys.clone()), Standing::Active);
                effects.extend(login.looked_up(found, &nonce()));
            }
            Effect::LookUpToken(_, agent) => {
                let now = Timestamp::from_unix_ms(1_000_000_000_000);
                effects.extend(login.token_found(tokens(&agent, mechanism.unwrap()), &TokenKey::new(&[7; 32]), now));
            }
            Effect::Verify(verification) => effects.extend(login.judged(natural(&verification.run()))),
            Effect::Judge(attempt) => effects.extend(login.judged(natural(&attempt))),
            Effect::Salt => effects.extend(login.salted([4; 16])),
            Effect::Keep(new) => {
                kept.push(*new);
                effects.extend(login.kept::<()>(&Ok(())));
            }
            Effect::Success { .. } | Effect::Failure { .. } => {}
            Effect::Close(error) => said.push(error.to_xml()),
        }
    }
    said
}

// Proves: XEP-0388 §2.5, §2.6.1, §2.6.3, XEP-0474 §6.1, XEP-0515 §4.1, XEP-0480 §2.2, §2.3, §3, XEP-0484 §3.4, XEP-0509 §2.2
// Proves: RFC 6120 §6.4
#[test]
fn every_login_is_on_the_wire_what_another_implementation_says() {
    let all = transcripts();
    for (title, lines) in &all {
        let hashes = if title.starts_with("UPGR") { ScramHash::OLD } else { ScramHash::ALL };
        let certified =
            if title.starts_with("EXTERNAL") { vec!["juliet@example.org".parse().unwrap()] } else { vec![] };
        let version = ConfigVersion::of(&Features::default());
        let mut login = machine(Offer { hashes, certified, ..offer() }).called(version);
        let (mut said, mut kept) = (Vec::new(), Vec::new());
        for (side, xml) in lines {
            match side {
                'C' => {
                    assert!(said.is_empty(), "{title}: {said:?}");
                    said = answers(&mut login, &Element::parse(xml, "").unwrap(), &mut kept);
                    said.reverse();
                }
                _ => assert_eq!(said.pop().as_deref(), Some(*xml), "{title}"),
            }
        }
        assert!(said.is_empty(), "{title}: {said:?}");
        for new in &kept {
            // As another implementation makes it of the same password.
            let stored = STANDARD.encode(&new.keys.stored_key);
            assert_eq!(
                stored,
                "+IdOemZpkUNSRv/fS+ukjFX1Y4CG1XIeNpoLgiNAwUrKiuZy5VzTKISICw+3PN9+d5oYBDKNOkTcn9T7MST3OQ=="
            );
            assert_eq!((new.account.as_str(), new.hash), ("juliet@example.org", ScramHash::Sha512));
        }
        assert_eq!(kept.len(), usize::from(title.starts_with("UPGR")), "{title}");
    }
    // Every mechanism is there, those without tokens in both profiles.
    for mechanism in Mechanism::ALL {
        let name = format!("mechanism='{}'", mechanism.as_str());
        let shown = |profile: &str| {
            let begins = |(side, xml): &(char, &str)| *side == 'C' && xml.contains(&name) && xml.starts_with(profile);
            all.iter().any(|(_, lines)| lines.iter().any(begins))
        };
        assert!(shown("<authenticate "), "{name}");
        assert_eq!(shown("<auth "), !matches!(mechanism, Mechanism::HashedToken(_)), "{name}");
    }
}

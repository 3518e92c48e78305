//! Who may say what on which stream: every address on every stream, and dialback that nobody asked for.
//!
//! Mallory is a server of its own, `evil.example`, and proves what it can in every way there is. Whatever it says in the
//! name of others reaches nobody. What is expected is worked out here from the specifications, not from the code.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::world::{EXTERNAL, OFFER, PORT, Plan, Raw, Server, World, header, message, pair, secret};
use super::*;
use crate::federation::proof::Key;
use crate::federation::xep_0220_dialback::Signer;
use crate::net::dns::Tlsa;

pub(super) const EVIL: &str = "192.0.2.66";

/// Who speaks: Mallory's own addresses, those of somebody else, of those who hear it, and what only looks alike.
const FROM: [&str; 10] = [
    "e@evil.example/x",
    "evil.example",
    "E@EVIL.example",
    "e@sub.evil.example",
    "a@here.example",
    "here.example",
    "c@there.example",
    "a@here.example.evil.example",
    "e@vil.example",
    "",
];

/// To whom.
const TO: [&str; 7] = [
    "b@there.example",
    "there.example",
    "B@THERE.example/x",
    "b@rooms.there.example",
    "b@unknown.example",
    "e@evil.example",
    "",
];

/// In which way Mallory has proven something on a stream that it has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It has not even started TLS.
    Plain,
    /// It could, and has not.
    Nothing,
    External,
    /// EXTERNAL, and then another of its domains by dialback without a call back.
    AnotherOfItsOwn,
    /// EXTERNAL, and then another of our domains.
    AnotherOfOurs,
    /// EXTERNAL, and then somebody else's domain, which was denied.
    AndDenied,
    Dialback,
    /// Whoever would know does not answer.
    DialbackUnanswered,
    Dane,
    Pin,
}

const WAYS: [Way; 10] = [
    Way::Plain,
    Way::Nothing,
    Way::External,
    Way::AnotherOfItsOwn,
    Way::AnotherOfOurs,
    Way::AndDenied,
    Way::Dialback,
    Way::DialbackUnanswered,
    Way::Dane,
    Way::Pin,
];

impl Way {
    /// Whether Mallory shows a certificate that the receiver trusts.
    pub(super) const fn shows_names(self) -> bool {
        !matches!(self, Self::Plain | Self::Dialback | Self::DialbackUnanswered | Self::Dane | Self::Pin)
    }

    /// The pairs that are proven: our domain and Mallory's.
    pub(super) fn pairs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain | Self::Nothing | Self::DialbackUnanswered => &[],
            Self::AnotherOfItsOwn => &[("there.example", "evil.example"), ("there.example", "sub.evil.example")],
            Self::AnotherOfOurs => &[("there.example", "evil.example"), ("rooms.there.example", "evil.example")],
            Self::External | Self::AndDenied | Self::Dialback | Self::Dane | Self::Pin => {
                &[("there.example", "evil.example")]
            }
        }
    }
}

fn domain(address: &str) -> String {
    let bare = address.split('/').next().unwrap_or_default();
    bare.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

/// What becomes of a stanza: `None` if it arrives, or the error that ends the stream.
fn expected(pairs: &[(&str, &str)], from: &str, to: &str) -> Option<&'static str> {
    let (from, to) = (domain(from), domain(to));
    if pairs.is_empty() {
        // RFC 6120 §4.9.3.12
        Some("not-authorized")
    } else if from.is_empty() || to.is_empty() {
        // RFC 6120 §8.1.1.2, §8.1.2.2: both MUST be there.
        Some("improper-addressing")
    } else if pairs.contains(&(to.as_str(), from.as_str())) {
        None
    } else if pairs.iter().any(|(_, theirs)| *theirs == from) && !to.ends_with("there.example") {
        // RFC 6120 §4.9.3.6
        Some("host-unknown")
    } else {
        // RFC 6120 §4.9.3.9
        Some("invalid-from")
    }
}

/// A kind of stanza for each case, so that none is forgotten; the server of these tests answers no result.
fn stanza(case: usize, from: &str, to: &str) -> String {
    let addresses: String = [("from", from), ("to", to)]
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!(" {name}='{value}'"))
        .collect();
    match case % 3 {
        0 => format!("<message{addresses} id='{case}'><body>x</body></message>"),
        1 => format!("<presence{addresses} id='{case}'/>"),
        _ => format!("<iq type='result'{addresses} id='{case}'/>"),
    }
}

pub(super) fn mallory() -> Plan<'static> {
    Plan { names: Some(&["evil.example", "sub.evil.example"]), ..Plan::new("evil.example", EVIL) }
}

/// The hash of the key in the certificate that `identities` show.
fn key_of(world: &World, plan: &Plan<'_>) -> ([u8; 32], Arc<crate::net::tls::Identities>) {
    let identities = world.identities(plan);
    let key = identities.all()[0].certified_key();
    let (_, parsed) = X509Certificate::from_der(&key.cert[0]).unwrap();
    let hash = digest(&SHA256, parsed.public_key().raw);
    (hash.as_ref().try_into().unwrap(), identities)
}

/// Whether a stream goes both ways (XEP-0288).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bidi {
    No,
    Yes,
}

/// Every way to prove something, on streams that go one way and on those that go both ways.
pub(super) fn ways() -> impl Iterator<Item = (Way, Bidi)> {
    WAYS.into_iter().flat_map(|way| [(way, Bidi::No), (way, Bidi::Yes)])
}

/// The server that hears Mallory, and whoever else there has to be.
pub(super) struct Stage {
    world: World,
    pub(super) server: Server,
    /// Mallory's own server, which says that its keys are good.
    _evil: Option<Server>,
    /// What Mallory shows, if it is always the same.
    identities: Option<Arc<crate::net::tls::Identities>>,
    way: Way,
    bidi: Bidi,
}

impl Stage {
    pub(super) fn new(way: Way, bidi: Bidi) -> Self {
        let world = World::new();
        let strange = Plan { names: None, ..mallory() };
        let (mut evil, mut identities, mut pins) = (None, None, Vec::new());
        let mut proofs = Proofs::Certificate;
        match way {
            Way::Dialback => {
                proofs = Proofs::CertificateOrDialback;
                evil = Some(world.server(&strange));
            }
            Way::DialbackUnanswered => {
                proofs = Proofs::CertificateOrDialback;
                world.publish("evil.example", 0, EVIL, Start::Starttls);
                let incoming = world.net.listen(address(EVIL));
                // Connections are taken, and nothing is said.
                tokio::spawn(async move {
                    let _kept = incoming;
                    std::future::pending::<()>().await;
                });
            }
            Way::Dane => {
                let (key, shown) = key_of(&world, &strange);
                identities = Some(shown);
                world.publish("evil.example", 0, EVIL, Start::Starttls);
                world.net.sign("evil.example");
                let host = "host-192-0-2-66.example";
                world.net.sign(host);
                let record = Tlsa { usage: 3, selector: 1, matching: 1, data: key.to_vec() };
                world.net.publish_key(&format!("_{PORT}._tcp.{host}"), record);
            }
            Way::Pin => {
                let (key, shown) = key_of(&world, &strange);
                identities = Some(shown);
                pins.push(("evil.example".to_owned(), Key(key)));
            }
            _ => {}
        }
        let server = world.server(&Plan { proofs, pins: &pins, bidi: bidi == Bidi::Yes, ..there() });
        Self { world, server, _evil: evil, identities, way, bidi }
    }

    /// A stream on which Mallory has proven what it can.
    pub(super) async fn stream(&self) -> Raw {
        let world = &self.world;
        if self.way == Way::Plain {
            let mut raw = world.raw(THERE);
            raw.say(&header("evil.example", "there.example")).await;
            raw.header().await;
            raw.element().await;
            return raw;
        }
        let names = mallory().names.filter(|_| self.way.shows_names());
        let plan = Plan { names, ..mallory() };
        let identities = self.identities.clone().unwrap_or_else(|| world.identities(&plan));
        let (mut raw, features, id) = world.secured_showing(identities, "evil.example", "there.example", THERE).await;
        assert_eq!(features.contains("urn:xmpp:features:bidi"), self.bidi == Bidi::Yes, "{features}");
        if self.bidi == Bidi::Yes {
            raw.say("<bidi xmlns='urn:xmpp:bidi'/>").await;
        }
        let is_trusted = !matches!(self.way, Way::Dialback | Way::DialbackUnanswered);
        assert_eq!(features.contains("EXTERNAL"), is_trusted, "{:?}: {features}", self.way);
        self.prove(&mut raw, &id).await;
        raw
    }

    /// Proves what is to be proven on the stream `id`.
    async fn prove(&self, raw: &mut Raw, id: &str) {
        let result = |from: &str, to: &str, key: &str| format!("<db:result from='{from}' to='{to}'>{key}</db:result>");
        match self.way {
            Way::Plain | Way::Nothing => {}
            Way::External | Way::Dane | Way::Pin => raw.external("evil.example", "there.example").await,
            Way::AnotherOfItsOwn => {
                raw.external("evil.example", "there.example").await;
                raw.say(&result("sub.evil.example", "there.example", "any")).await;
                assert!(raw.element().await.contains("valid"));
            }
            Way::AnotherOfOurs => {
                raw.external("evil.example", "there.example").await;
                raw.say(&result("evil.example", "rooms.there.example", "any")).await;
                assert!(raw.element().await.contains("valid"));
            }
            Way::AndDenied => {
                raw.external("evil.example", "there.example").await;
                raw.say(&result("here.example", "there.example", "any")).await;
                assert!(raw.element().await.contains("not-authorized"));
            }
            Way::Dialback => {
                let key = Signer::new(&secret(EVIL)).key("there.example", "evil.example", id);
                raw.say(&result("evil.example", "there.example", &key)).await;
                let answer = raw.element().await;
                assert!(answer.contains("type=\"valid\"") || answer.contains("type='valid'"), "{answer}");
            }
            Way::DialbackUnanswered => raw.say(&result("evil.example", "there.example", "guessed")).await,
        }
    }

    /// Says something on a stream of its own; the error that ends it, or `None` if a stanza has arrived.
    async fn outcome(&self, said: &str) -> Option<String> {
        let mut raw = self.stream().await;
        raw.say(said).await;
        raw.say("</stream:stream>").await;
        let rest = raw.rest().await;
        let error = rest.rfind("http://etherx.jabber.org/streams").and_then(|at| rest[at..].split_once("><"));
        match error {
            Some((_, error)) => {
                let end = error.find([' ', '/', '>']).unwrap();
                assert!(!self.server.got_more().await, "{said} arrived, and {rest}");
                Some(error[..end].to_owned())
            }
            None => {
                self.server.arrival().await;
                None
            }
        }
    }
}

// Proves: RFC 6120 §8.1.1.2, §8.1.2.2, §4.9.3.9, §4.9.3.12
#[tokio::test(start_paused = true)]
async fn every_address_on_every_stream_that_others_open() {
    let mut cases = 0;
    for (way, bidi) in ways() {
        let stage = Stage::new(way, bidi);
        let mut arrived = 0;
        for from in FROM {
            for to in TO {
                let expected = expected(way.pairs(), from, to);
                let found = stage.outcome(&stanza(cases, from, to)).await;
                assert_eq!(found.as_deref(), expected, "{way:?}, both ways: {bidi:?}: from {from:?} to {to:?}");
                arrived += usize::from(found.is_none());
                cases += 1;
            }
        }
        assert!(!stage.server.got_more().await);
        // Three spellings of one address for each pair, or one of another domain.
        let proven = way.pairs().iter().map(|(ours, theirs)| {
            let count = |list: &[&str], of: &str| list.iter().filter(|address| domain(address) == of).count();
            count(&FROM, theirs) * count(&TO, ours)
        });
        assert_eq!(arrived, proven.sum::<usize>(), "{way:?}");
    }
    assert!(cases >= 300, "{cases} cases");
}

/// Dialback that nobody asked for: every answer there is, and questions about what is not Mallory's.
fn unsolicited() -> Vec<String> {
    let mut all = Vec::new();
    for (from, to) in [
        ("evil.example", "there.example"),
        ("here.example", "there.example"),
        ("there.example", "evil.example"),
        ("there.example", "here.example"),
        ("there.example", "there.example"),
    ] {
        for kind in ["valid", "invalid", "error"] {
            let error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
            let content = if kind == "error" { error } else { "" };
            all.push(format!("<db:result from='{from}' to='{to}' type='{kind}'>{content}</db:result>"));
            for id in ["42", "1"] {
                all.push(format!("<db:verify from='{from}' to='{to}' id='{id}' type='{kind}'>{content}</db:verify>"));
            }
        }
    }
    all
}

// Proves: XEP-0220 §3.1
#[tokio::test(start_paused = true)]
async fn t_s2s_1_dialback_that_nobody_asked_for_proves_nothing_on_streams_that_others_open() {
    let mut cases = 0;
    for (way, bidi) in ways() {
        let stage = Stage::new(way, bidi);
        for said in unsolicited() {
            // The stream ends over it; whatever else Mallory says comes too late.
            let spoofed = "<message from='a@here.example' to='b@there.example'><body>x</body></message>";
            let found = stage.outcome(&format!("{said}{spoofed}")).await;
            assert_eq!(found.as_deref(), Some("policy-violation"), "{way:?}: {said}");
            cases += 1;
        }
    }
    assert!(cases >= 300, "{cases} cases");
}

/// Questions are answered, and prove nothing that is not Mallory's.
#[tokio::test(start_paused = true)]
async fn keys_for_other_domains_prove_nothing() {
    for (way, bidi) in ways() {
        let stage = Stage::new(way, bidi);
        for (from, to) in [
            ("here.example", "there.example"),
            ("there.example", "there.example"),
            ("rooms.there.example", "there.example"),
            ("evil.example", "unknown.example"),
            ("evil.example", "here.example"),
        ] {
            let key = format!("<db:result from='{from}' to='{to}'>0123</db:result>");
            let spoofed = format!("<message from='a@{from}' to='b@{to}'><body>x</body></message>");
            let found = stage.outcome(&format!("{key}{spoofed}")).await;
            assert!(found.is_some(), "{way:?}: {key}");
        }
    }
}

/// A stream that the server under test has opened to Mallory, who has accepted it, and what was sent on it.
pub(super) async fn opened(world: &World, server: &Server, has_dialback_only: bool, bidi: Bidi) -> Raw {
    let plan = mallory();
    let mut incoming = world.net.listen(address(EVIL));
    let question = message("b@there.example", "e@evil.example", 0);
    server.federation.send(&pair("there.example", "evil.example"), vec![question.into()]);
    let io = incoming.recv().await.unwrap();
    let dialback = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
    if has_dialback_only {
        let mut raw = world.answered(io, &plan, "there.example", &format!("{OFFER}{dialback}")).await;
        both_ways(&mut raw, bidi).await;
        assert!(raw.element().await.contains("<result"));
        raw.say("<db:result from='evil.example' to='there.example' type='valid'/>").await;
        return heard(raw).await;
    }
    let mut raw = world.answered(io, &plan, "there.example", &format!("{OFFER}{EXTERNAL}")).await;
    both_ways(&mut raw, bidi).await;
    assert!(raw.element().await.contains("EXTERNAL"));
    raw.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await;
    raw.wire.restart();
    raw.answer_header("evil.example", "there.example", dialback).await;
    heard(raw).await
}

/// The server wants stanzas both ways, if it is to.
async fn both_ways(raw: &mut Raw, bidi: Bidi) {
    if bidi == Bidi::Yes {
        assert!(raw.element().await.contains("urn:xmpp:bidi"));
    }
}

/// The stanza that the stream was opened for has come.
async fn heard(mut raw: Raw) -> Raw {
    assert_eq!(back::stanza(&mut raw).await.id.as_deref(), Some("0"));
    raw
}

// Proves: RFC 6120 §4.9.3.12, XEP-0220 §3.1
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_on_streams_that_we_open() {
    let mut cases = 0;
    for has_dialback_only in [false, true] {
        let world = World::new();
        world.publish("evil.example", 0, EVIL, Start::Starttls);
        let server = world.server(&there());
        for from in FROM {
            for to in TO {
                let mut raw = opened(&world, &server, has_dialback_only, Bidi::No).await;
                raw.say(&stanza(cases, from, to)).await;
                let rest = raw.rest().await;
                assert!(!server.got_more().await, "from {from:?} to {to:?}");
                assert!(rest.contains("</stream>"), "from {from:?} to {to:?}: {rest}");
                cases += 1;
            }
        }
        // Dialback has no effect at all, and the stream goes on.
        let mut raw = opened(&world, &server, has_dialback_only, Bidi::No).await;
        for said in unsolicited() {
            raw.say(&said).await;
            cases += 1;
        }
        let more = message("b@there.example", "e@evil.example", 0);
        server.federation.send(&pair("there.example", "evil.example"), vec![more.into()]);
        let mut raw = heard(raw).await;
        raw.say("<message from='a@here.example' to='b@there.example'/>").await;
        raw.rest().await;
        assert!(!server.got_more().await);
    }
    assert!(cases >= 200, "{cases} cases");
}

// Proves: XEP-0288 §2.2, RFC 6120 §8.1.2.2
#[tokio::test(start_paused = true)]
async fn xep_0288_2_2_on_streams_of_ours_that_go_both_ways_only_the_pair_passes() {
    let mut cases = 0;
    for has_dialback_only in [false, true] {
        let world = World::new();
        world.publish("evil.example", 0, EVIL, Start::Starttls);
        let server = world.server(&Plan { bidi: true, ..there() });
        for from in FROM {
            for to in TO {
                let expected = expected(&[("there.example", "evil.example")], from, to);
                let mut raw = opened(&world, &server, has_dialback_only, Bidi::Yes).await;
                raw.say(&stanza(cases, from, to)).await;
                if expected.is_none() {
                    let id = cases.to_string();
                    assert_eq!(server.arrival().await.id.as_deref(), Some(id.as_str()));
                    raw.say("</stream:stream>").await;
                }
                let rest = raw.rest().await;
                let found = ["not-authorized", "improper-addressing", "host-unknown", "invalid-from"]
                    .into_iter()
                    .find(|condition| rest.contains(&format!("<{condition}")));
                assert_eq!(found, expected, "from {from:?} to {to:?}: {rest}");
                assert!(!server.got_more().await, "from {from:?} to {to:?}");
                cases += 1;
            }
        }
        let mut raw = opened(&world, &server, has_dialback_only, Bidi::Yes).await;
        // Answers that nobody waits for have no effect; of the questions, a certificate answers what it can.
        for said in unsolicited() {
            raw.say(&said).await;
            cases += 1;
        }
        for (from, to, answer) in [
            ("here.example", "there.example", "not-authorized"),
            ("there.example", "there.example", "policy-violation"),
            ("evil.example", "unknown.example", "item-not-found"),
            ("sub.evil.example", "rooms.there.example", "valid"),
        ] {
            raw.say(&format!("<db:result from='{from}' to='{to}'>0123</db:result>")).await;
            let found = raw.element().await;
            assert!(found.contains(answer), "{from} to {to}: {found}");
            cases += 1;
        }
        raw.say("<message from='e@sub.evil.example' to='b@rooms.there.example' id='more'/>").await;
        assert_eq!(server.arrival().await.id.as_deref(), Some("more"));
        raw.say("<message from='a@here.example' to='b@there.example'/>").await;
        assert!(raw.rest().await.contains("<invalid-from"));
        assert!(!server.got_more().await);
    }
    assert!(cases >= 200, "{cases} cases");
}

/// Nobody whose certificate proves nothing is asked to send stanzas.
#[tokio::test(start_paused = true)]
async fn a_server_without_proof_is_not_told_that_its_stanzas_are_welcome() {
    let world = World::new();
    world.publish("evil.example", 0, EVIL, Start::Starttls);
    let proofs = Proofs::CertificateOrDialback;
    let server = world.server(&Plan { bidi: true, proofs, ..there() });
    let mut incoming = world.net.listen(address(EVIL));
    let question = message("b@there.example", "e@evil.example", 0);
    server.federation.send(&pair("there.example", "evil.example"), vec![question.into()]);
    let plan = Plan { names: None, ..mallory() };
    let offers = format!("{OFFER}<dialback xmlns='urn:xmpp:features:dialback'/>");
    let mut raw = world.answered(incoming.recv().await.unwrap(), &plan, "there.example", &offers).await;
    assert!(raw.element().await.contains("<result"));
    raw.say("<db:result from='evil.example' to='there.example' type='valid'/>").await;
    let mut raw = heard(raw).await;
    raw.say("<message from='e@evil.example' to='b@there.example'/>").await;
    assert!(raw.rest().await.contains("<not-authorized"));
    assert!(!server.got_more().await);
}

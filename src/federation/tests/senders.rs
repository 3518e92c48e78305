//! Who may emit this from: stanzas of every kind from and to everybody, drawn from a seed, on streams of every direction on which
//! the peer has proven this or that, or goes on to prove more.
//!
//! Mallory is the one of the tables in `spoofing`; here it says several things on a stream, so that what is right passes
//! before what is not, and goes on behind the end. What is expected is worked out from what was drawn, never from what is
//! written on the wire. `SENDERS` says how many stanzas there are, in this test and in the one of clients together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::spoofing::{Bidi, EVIL, Stage, Way, mallory, opened, ways};
use super::world::{Raw, Server};
use super::*;
use crate::federation::wire::Broken;
use crate::stream::{Event, Limits};
use crate::testing::Chance;

/// So many stanzas one check of the whole project tries.
const SENDERS: usize = 20_000;

/// A server hears so many streams that go one way, and makes place for another one.
const STREAMS: usize = 8;

/// What there are addresses of, and which domain that is.
const DOMAINS: [(&str, &str); 13] = [
    ("the peer", "evil.example"),
    ("a domain below the peer", "sub.evil.example"),
    ("one below that", "deep.sub.evil.example"),
    ("the receiver", "there.example"),
    ("a service of the receiver", "rooms.there.example"),
    ("a domain below the receiver that is not there", "other.there.example"),
    ("somebody else", "here.example"),
    ("nobody", "unknown.example"),
    ("what ends as the peer does", "here.example.evil.example"),
    ("what ends as the receiver does", "evil.example.there.example"),
    ("the end of the name of the peer", "vil.example"),
    ("what is above all", "example"),
    // The first letter is Cyrillic.
    ("what looks like the peer", "\u{435}vil.example"),
];

/// Those that the receiver serves, and those that the certificate of Mallory names.
const OURS: [&str; 2] = ["there.example", "rooms.there.example"];
const THEIRS: [&str; 2] = ["evil.example", "sub.evil.example"];

/// Writes a domain in another way.
type Spelling = fn(&str) -> String;

/// Ways to write one and the same domain: RFC 7622 §3.2 strips the last dot, UTS #46 maps the others.
const SPELLINGS: [(&str, Spelling); 5] = [
    ("as it is", str::to_owned),
    ("in capitals", str::to_uppercase),
    ("with a dot behind", |domain| format!("{domain}.")),
    ("with ideographic dots", |domain| domain.replace('.', "\u{3002}")),
    ("in full width", |domain| domain.replace('e', "\u{FF45}")),
];

const LOCALS: [&str; 4] = ["", "e@", "E@", "e\u{301}@"];
const RESOURCES: [&str; 3] = ["", "/x", "/\u{FC} @/x"];

/// What is no address, whatever domain it names.
const MALFORMED: [fn(&str) -> String; 9] = [
    |_| String::new(),
    |domain| format!("@{domain}"),
    |domain| format!("e@{domain}/"),
    |domain| format!("/{domain}"),
    |domain| format!("a b@{domain}"),
    |domain| format!("e@e@{domain}"),
    |domain| format!("e@x..{domain}"),
    |domain| format!("e@{domain} "),
    |domain| format!("e@{domain}/\u{7f}"),
];

/// Kinds of stanzas with what is in them; those behind the others are wrong in themselves.
static KINDS: [(&str, &str, &str); 21] = [
    ("message", "", "<body>x</body>"),
    ("message", "chat", "<body>x</body>"),
    ("message", "groupchat", "<body>x</body>"),
    ("message", "headline", "<body>x</body>"),
    ("message", "error", ""),
    // RFC 6121 §5.2.2: as a normal one.
    ("message", "odd", "<body>x</body>"),
    ("presence", "", ""),
    ("presence", "unavailable", ""),
    ("presence", "probe", ""),
    ("presence", "subscribe", ""),
    ("presence", "subscribed", ""),
    ("presence", "unsubscribed", ""),
    ("presence", "error", ""),
    ("iq", "result", ""),
    ("iq", "error", ""),
    ("iq", "set", "<x xmlns='urn:example'/>"),
    ("iq", "get", "<x xmlns='urn:example'/>"),
    ("presence", "odd", ""),
    ("iq", "odd", "<x xmlns='urn:example'/>"),
    ("iq", "set", ""),
    ("iq", "", "<x xmlns='urn:example'/>"),
];
/// So many of them are right.
const RIGHT: usize = 17;

/// In one of the two places of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    Missing,
    Malformed,
    Of(&'static str),
}

/// What becomes of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// It is answered or dropped, and the stream goes on.
    Stays,
    /// The stream ends over it.
    Ends(&'static str),
}

/// What the peer may do on a stream.
#[derive(Debug, Clone)]
struct Standing {
    /// Stanzas of the peer are welcome on it.
    takes: bool,
    /// Our domain and theirs.
    pairs: Vec<(&'static str, &'static str)>,
}

impl Standing {
    /// The rules for streams between servers.
    fn fate(&self, from: Address, to: Address, is_right: bool) -> Fate {
        let knows = |domain| self.pairs.iter().any(|(_, theirs)| *theirs == domain);
        match (from, to) {
            // RFC 6120 §4.9.3.12; a stream without XEP-0288 goes one way.
            _ if !self.takes || self.pairs.is_empty() => Fate::Ends("not-authorized"),
            // Nobody is there whom one could answer, and one odd address costs the others nothing.
            (Address::Malformed, _) => Fate::Stays,
            // RFC 6120 §8.3.3.8, for those who may speak at all
            (Address::Of(from), Address::Malformed) if knows(from) => Fate::Stays,
            (_, Address::Malformed) => Fate::Ends("invalid-from"),
            // RFC 6120 §8.1.1.2, §8.1.2.2: both MUST be there.
            (Address::Missing, _) | (_, Address::Missing) => Fate::Ends("improper-addressing"),
            // XEP-0220 §2.4: the pair counts, not each of its domains.
            (Address::Of(from), Address::Of(to)) if self.pairs.contains(&(to, from)) => {
                if is_right {
                    Fate::Arrives
                } else {
                    Fate::Stays
                }
            }
            // RFC 6120 §4.9.3.6
            (Address::Of(from), Address::Of(to)) if knows(from) && !OURS.contains(&to) => Fate::Ends("host-unknown"),
            // RFC 6120 §4.9.3.9
            _ => Fate::Ends("invalid-from"),
        }
    }
}

/// How often there was what.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn note(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// A stanza that was drawn.
#[derive(Debug)]
struct Drawn {
    xml: String,
    id: String,
    fate: Fate,
    is_get: bool,
}

/// Draws what is said on one stream.
struct Author<'a> {
    chance: Chance,
    standing: Standing,
    bidi: Bidi,
    seen: &'a mut Seen,
    count: usize,
}

impl Author<'_> {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.chance.place(of.len())]
    }

    /// True in so many of a hundred cases.
    fn happens(&mut self, percent: u64) -> bool {
        self.chance.percent(percent)
    }

    fn anybody(&mut self) -> (Address, String) {
        match self.chance.below(10) {
            0 => (Address::Missing, String::new()),
            1 => self.malformed(),
            _ => {
                let (_, domain) = self.one(&DOMAINS);
                self.written(domain)
            }
        }
    }

    fn malformed(&mut self) -> (Address, String) {
        let (_, domain) = self.one(&DOMAINS);
        let form = self.one(&MALFORMED);
        (Address::Malformed, form(domain))
    }

    fn written(&mut self, domain: &'static str) -> (Address, String) {
        let (spelling, spell) = self.one(&SPELLINGS);
        self.seen.note(format!("spelled {spelling}"));
        let (local, resource) = (self.one(&LOCALS), self.one(&RESOURCES));
        (Address::Of(domain), format!("{local}{}{resource}", spell(domain)))
    }

    fn stanza(&mut self) -> Drawn {
        let is_meant_well = self.happens(85);
        let pair = if is_meant_well && !self.standing.pairs.is_empty() {
            let pairs = self.standing.pairs.clone();
            Some(self.one(&pairs))
        } else {
            None
        };
        let ((from, from_text), (to, to_text)) = match pair {
            None => (self.anybody(), self.anybody()),
            Some((ours, theirs)) => match self.chance.below(20) {
                0 => (self.malformed(), self.anybody()),
                1 => (self.written(theirs), self.malformed()),
                _ => (self.written(theirs), self.written(ours)),
            },
        };
        let right = if self.happens(90) { &KINDS[..RIGHT] } else { &KINDS[RIGHT..] };
        let (mut kind, is_right) = (self.one(right), right.len() == RIGHT);
        let is_between_domains = !from_text.contains(['@', '/']) && !to_text.contains(['@', '/']);
        if self.bidi == Bidi::Yes && is_between_domains && kind.1 == "get" && is_right {
            // These wait for what came before them, and the server of these tests notes no request that comes late.
            kind = KINDS[0];
        }
        let (name, of_type, inside) = kind;
        for (place, address) in [("from", from), ("to", to)] {
            let what = match address {
                Address::Missing => "missing",
                Address::Malformed => "malformed",
                Address::Of(domain) => DOMAINS.iter().find(|(_, it)| *it == domain).map_or("", |(what, _)| what),
            };
            self.seen.note(format!("{place} {what}"));
        }
        self.seen.note(format!("{name} {of_type} {}", inside.is_empty()));
        let fate = self.standing.fate(from, to, is_right);
        self.count += 1;
        let id = format!("g{}", self.count);
        let of_type = if of_type.is_empty() { String::new() } else { format!(" type='{of_type}'") };
        let place = |name: &str, address: Address, text: &str| match address {
            Address::Missing => String::new(),
            _ => format!(" {name}='{text}'"),
        };
        let (from, to) = (place("from", from, &from_text), place("to", to, &to_text));
        let xml = format!("<{name}{of_type}{from}{to} id='{id}'>{inside}</{name}>");
        Drawn { xml, id, fate, is_get: kind.1 == "get" && is_right }
    }
}

/// What comes until the stream is over, without stanzas.
async fn rest(raw: &mut Raw) -> String {
    let mut all = String::new();
    loop {
        match raw.wire.event().await {
            Ok(Event::Stanza(_)) => {}
            Ok(Event::Nonza(element)) => all.push_str(&element.to_xml("")),
            Ok(Event::Close) => all.push_str("</stream>"),
            Ok(other) => panic!("{other:?}"),
            Err(Broken::Closed | Broken::Lost(_) | Broken::Unwelcome(_)) => return all,
            Err(Broken::Refused(error) | Broken::Told(error)) => panic!("{error}"),
        }
    }
}

/// The next element that is no stanza.
async fn element(raw: &mut Raw) -> String {
    loop {
        match raw.wire.event().await.unwrap() {
            Event::Stanza(_) => {}
            Event::Nonza(element) => return element.to_xml(""),
            other => panic!("{other:?}"),
        }
    }
}

/// Mallory proves one more pair, or fails to (XEP-0220 §2.2.1; the certificate decides).
async fn prove(raw: &mut Raw, author: &mut Author<'_>) {
    let from = author.one(&["evil.example", "sub.evil.example", "here.example", "there.example", "unknown.example"]);
    let to = author.one(&["there.example", "rooms.there.example", "other.there.example", "here.example"]);
    raw.say(&format!("<db:result from='{from}' to='{to}'>any</db:result>")).await;
    let answer = element(raw).await;
    let is_proven = THEIRS.contains(&from) && OURS.contains(&to);
    let is_valid = ["type='valid'", "type=\"valid\""].iter().any(|it| answer.contains(it));
    assert_eq!(is_valid, is_proven, "{from} to {to}: {answer}");
    if is_proven && !author.standing.pairs.contains(&(to, from)) {
        author.standing.pairs.push((to, from));
    }
    author.seen.note(format!("proves more: {is_proven}"));
}

/// Has said on a stream what `author` draws, and judges what has come of it.
async fn play(raw: &mut Raw, server: &Server, author: &mut Author<'_>, may_prove: bool, about: &str) {
    raw.wire.trust_peer(Limits::SERVER);
    let asked = || server.inbound.asked.load(Ordering::Relaxed);
    let (before, mut gets) = (asked(), 0);
    let mut last = None;
    for _ in 0..author.chance.between(1, 4) {
        if may_prove && author.happens(30) {
            prove(raw, author).await;
        }
        // All of it comes at once.
        let (mut said, mut expected) = (String::new(), BTreeSet::new());
        for _ in 0..author.chance.between(1, 8) {
            let drawn = author.stanza();
            author.seen.note(format!("{:?}", drawn.fate));
            match drawn.fate {
                Fate::Arrives | Fate::Stays => {
                    said.push_str(&drawn.xml);
                    let arrives = drawn.fate == Fate::Arrives;
                    gets += usize::from(arrives && drawn.is_get);
                    expected.extend(Some(drawn.id).filter(|_| arrives && !drawn.is_get));
                }
                Fate::Ends(_) => {
                    last = Some(drawn);
                    break;
                }
            }
        }
        raw.say(&said).await;
        let mut arrived = BTreeSet::new();
        while arrived.len() < expected.len() {
            let arrival = timeout(Duration::from_secs(60), server.arrival()).await;
            let arrival = arrival.unwrap_or_else(|_| panic!("{about}: not all has arrived of {said}"));
            arrived.insert(arrival.id.unwrap().into_owned());
        }
        assert_eq!(arrived, expected, "{about}: {said}");
        if last.is_some() {
            break;
        }
    }
    let (mut end, mut words) = (None, "</stream:stream>".to_owned());
    if let Some(last) = &last {
        words.clone_from(&last.xml);
        // Whatever comes behind the end comes too late, and be it right.
        for _ in 0..author.chance.below(3) {
            words.push_str(&author.stanza().xml);
            author.seen.note("behind the end".to_owned());
        }
        end = Some(last.fate);
    }
    // The server may be gone while this is on its way.
    let _ = raw.wire.write(&words).await;
    let rest = rest(raw).await;
    match end {
        Some(Fate::Ends(condition)) => assert!(rest.contains(&format!("<{condition}")), "{about}: {words}: {rest}"),
        _ => assert!(!rest.contains("error"), "{about}: {rest}"),
    }
    assert!(!server.got_more().await, "{about}: somebody has heard something of {words}");
    assert_eq!(asked() - before, gets, "{about}: requests, up to {words}");
}

/// Everything that may be drawn.
fn everything() -> BTreeSet<String> {
    let places = DOMAINS.iter().map(|(what, _)| *what).chain(["missing", "malformed"]);
    let addresses = places.flat_map(|what| ["from", "to"].map(|place| format!("{place} {what}")));
    let kinds = KINDS.iter().map(|(name, of_type, inside)| format!("{name} {of_type} {}", inside.is_empty()));
    let spellings = SPELLINGS.iter().map(|(spelling, _)| format!("spelled {spelling}"));
    let fates = [Fate::Arrives, Fate::Stays]
        .into_iter()
        .chain(["not-authorized", "improper-addressing", "host-unknown", "invalid-from"].map(Fate::Ends));
    let incoming = ways().map(|(way, bidi)| format!("they open, {way:?}, both ways: {bidi:?}"));
    let outgoing = [Bidi::No, Bidi::Yes].into_iter().flat_map(|bidi| {
        [false, true].map(|by_dialback| format!("we open, dialback: {by_dialback}, both ways: {bidi:?}"))
    });
    let rest = ["behind the end", "proves more: true", "proves more: false"].map(str::to_owned);
    addresses
        .chain(kinds)
        .chain(spellings)
        .chain(fates.map(|fate| format!("{fate:?}")))
        .chain(incoming)
        .chain(outgoing)
        .chain(rest)
        .collect()
}

/// Streams that Mallory opens.
async fn they_open(way: Way, bidi: Bidi, round: u64, author: &mut Author<'_>) {
    let stage = Stage::new(way, bidi);
    let (about, proven) = (format!("they open, {way:?}, both ways: {bidi:?}"), author.standing.clone());
    // What waits for a peer that takes it would meet the next stream before that is ready for it.
    for _ in 0..if bidi == Bidi::Yes { 1 } else { STREAMS } {
        author.standing = proven.clone();
        author.seen.note(about.clone());
        let mut raw = stage.stream().await;
        play(&mut raw, &stage.server, author, way.shows_names(), &format!("round {round}, {about}")).await;
    }
}

/// A stream that the server opens to Mallory.
async fn we_open(bidi: Bidi, round: u64, author: &mut Author<'_>) {
    let by_dialback = author.happens(50);
    let about = format!("we open, dialback: {by_dialback}, both ways: {bidi:?}");
    author.seen.note(about.clone());
    let world = World::new();
    world.publish("evil.example", 0, EVIL, Start::Starttls);
    let server = world.server(&Plan { bidi: bidi == Bidi::Yes, ..there() });
    let mut raw = opened(&world, &server, by_dialback, bidi).await;
    play(&mut raw, &server, author, bidi == Bidi::Yes, &format!("round {round}, {about}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_million_stanzas_of_other_servers() {
    let all = std::env::var("SENDERS").map_or(SENDERS, |count| count.parse().unwrap());
    // The others are those of clients.
    let wanted = all / 5 * 3;
    let (mut seen, mut count, mut round) = (Seen::default(), 0, 0);
    let incoming: Vec<(Way, Bidi)> = ways().collect();
    while count < wanted {
        let mut chance = Chance::of(1, &[round]);
        round += 1;
        let is_incoming = chance.percent(80);
        let way = is_incoming.then(|| incoming[chance.place(incoming.len())]);
        let bidi = way.map_or_else(|| if chance.percent(80) { Bidi::Yes } else { Bidi::No }, |(_, bidi)| bidi);
        let pairs = way.map_or(&[("there.example", "evil.example")][..], |(way, _)| way.pairs()).to_vec();
        let standing = Standing { takes: is_incoming || bidi == Bidi::Yes, pairs };
        let mut author = Author { chance, standing, bidi, seen: &mut seen, count };
        match way {
            Some((way, bidi)) => they_open(way, bidi, round, &mut author).await,
            None => we_open(bidi, round, &mut author).await,
        }
        count = author.count;
    }
    let missing: Vec<_> = everything().into_iter().filter(|what| !seen.0.contains_key(what)).collect();
    assert!(missing.is_empty(), "never drawn: {missing:?} among {count}");
    assert_eq!(mallory().names, Some(&THEIRS[..]));
    println!("{count} stanzas between servers: {:#?}", seen.0);
}

//! A room when the server is killed: nobody has seen a message that the room's archive does not have afterwards, in the order
//! in which it was seen; what its owner was told is done is done; and what one has said to another, and was told to be in safe
//! hands, the other has got.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use comity::crash::{CARELESS, VARIABLE};
use comity::testing::Client;
use comity::xml::Element;

use crate::cast::{Cut, DOMAIN, PASSWORD, upto};
use crate::plan::Random;
use crate::site::Site;
use crate::{CRASHES, SIGKILL};

const ROOM: &str = "hall@rooms.verona.example";
const MUC: &str = "http://jabber.org/protocol/muc";
const SID: &str = "urn:xmpp:sid:0";
const MAM: &str = "urn:xmpp:mam:2";
const SM: &str = "urn:xmpp:sm:3";

/// The first one owns the room.
const OCCUPANTS: [&str; 4] = ["owner", "romeo", "juliet", "tybalt"];

/// The one who says something to one other, and that one.
const WHISPERS: usize = 1;
const LISTENS: usize = 2;

/// People elsewhere whose affiliation changes.
const MEMBERS: usize = 7;

/// Copies that are seen in one cycle at least.
const LEAST: usize = 150;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// Somebody has seen it, and the archive does not have it.
    NotArchived { who: &'static str, id: String, archive_id: String },
    /// The archive has it under an id of another message.
    OtherMessage { who: &'static str, id: String },
    /// Somebody has seen it before one that comes later in the archive.
    OutOfOrder { who: &'static str, id: String },
    /// A room's message without the room's id.
    WithoutId { who: &'static str, id: String },
    /// The owner was told that it is done, and it is not.
    Undone { what: String, is: Option<String>, may_be: Vec<String> },
    /// It was said to one person, it was acknowledged, and he has not got it.
    Lost { id: String },
}

/// Something that the owner changes again and again.
#[derive(Debug, Default)]
struct Changes {
    /// What it may be, from the last one on of which the owner was told that it is done, each with its number.
    may_be: Vec<(usize, String)>,
}

impl Changes {
    fn asked(&mut self, number: usize, value: String) {
        self.may_be.push((number, value));
    }

    /// The change with this number is done, and whatever was before is over.
    fn done(&mut self, number: usize) {
        self.may_be.retain(|(other, _)| *other >= number);
    }

    /// As it is found; from here on nothing else may be.
    fn found(&mut self, what: &str, is: Option<String>) -> Option<Finding> {
        let may_be: Vec<String> = self.may_be.drain(..).map(|(_, value)| value).collect();
        let is_right = may_be.is_empty() || is.as_ref().is_some_and(|is| may_be.contains(is));
        self.may_be = is.iter().map(|is| (0, is.clone())).collect();
        (!is_right).then(|| Finding::Undone { what: what.to_owned(), is, may_be })
    }
}

/// A message as somebody has seen it: what its sender calls it, and its id in the archive.
type Sight = (String, Option<String>);

struct Stage {
    site: Site,
    cycle: usize,
    random: Random,
    clients: Vec<Client>,
    seen: Vec<Vec<Sight>>,
    /// The name of the room, and the affiliation of each of those elsewhere.
    name: Changes,
    members: BTreeMap<String, Changes>,
    /// Requests of the owner that have no answer yet, with what they change.
    open: BTreeMap<String, (Option<String>, usize)>,
    sent: usize,
    /// What the one has said in this cycle since that is counted; with an id if it was to the other.
    said: Vec<Option<String>>,
    /// So much of that is acknowledged.
    safe: usize,
    /// What the other has got of it.
    whispers: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_occupant_has_seen_is_in_the_archive_of_the_room() {
    let crashes = std::env::var("CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES / 2);
    let mut stage = Stage::new("crash-rooms");
    let (mut seen, mut whispered) = (0, 0);
    for _ in 0..crashes {
        let findings = stage.play(&[]).await;
        assert!(findings.is_empty(), "cycle {}: {findings:#?}", stage.cycle);
        seen += stage.seen.iter().map(Vec::len).sum::<usize>();
        whispered += stage.safe_whispers().count();
    }
    println!("crash-rooms: {crashes} ends, {seen} copies of messages seen, {whispered} acknowledged that were for one");
    assert!(seen >= crashes * LEAST && whispered >= crashes);
}

/// The harness is worth something only if it sees losses where there are some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_shows_what_it_has_not_kept_is_found_out() {
    let mut stage = Stage::new("crash-rooms-careless");
    assert_eq!(stage.play(&[]).await, [], "the room has to be there before");
    let findings = stage.play(&[(VARIABLE, CARELESS)]).await;
    let lost = findings.iter().filter(|it| matches!(it, Finding::NotArchived { .. })).count();
    assert!(lost > 10, "{findings:#?}");
    assert!(findings.iter().any(|it| matches!(it, Finding::Undone { .. })), "{findings:#?}");
}

impl Stage {
    fn new(name: &str) -> Self {
        let site = Site::new(name);
        let path = site.directory.join("comity.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let more = "[services]\nrooms = [\"rooms.verona.example\"]\n[rooms]\nmessages_per_second = 0\n\
                    [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = 0\n";
        std::fs::write(path, config + more).unwrap();
        for account in OCCUPANTS {
            let address = format!("{account}@{DOMAIN}");
            let added = site.run(&["account", "add", &address, "--password-stdin"], &format!("{PASSWORD}\n"));
            assert!(added.status.success());
        }
        Self {
            site,
            cycle: 0,
            random: Random::new(8),
            clients: Vec::new(),
            seen: Vec::new(),
            name: Changes::default(),
            members: BTreeMap::new(),
            open: BTreeMap::new(),
            sent: 0,
            said: Vec::new(),
            safe: 0,
            whispers: BTreeSet::new(),
        }
    }

    /// Everybody talks until the server is killed; when it is there again, its room is looked at.
    async fn play(&mut self, environment: &[(&str, &str)]) -> Vec<Finding> {
        self.cycle += 1;
        assert!(self.site.start_with(environment), "the server has ended before it was ready");
        self.enter().await.unwrap();
        self.talk().await;
        assert_eq!(self.site.ended().signal(), Some(SIGKILL));
        self.site.start();
        let findings = self.audit().await.unwrap();
        assert!(self.site.stop().success());
        findings
    }

    async fn enter(&mut self) -> Result<(), Cut> {
        (self.clients, self.seen) = (Vec::new(), OCCUPANTS.map(|_| Vec::new()).into());
        (self.said, self.safe, self.whispers) = (Vec::new(), 0, BTreeSet::new());
        for account in OCCUPANTS {
            let jid = format!("{account}@{DOMAIN}/{}", self.cycle);
            let mut client = self.site.log_in(&jid, PASSWORD).await.map_err(Cut)?;
            // What is shown of earlier cycles is none of this one.
            client
                .send(&format!(
                    "<presence to='{ROOM}/{account}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>"
                ))
                .await;
            upto(&mut client, |it| it.name() == "message").await?;
            if account == "owner" && self.cycle == 1 {
                client
                    .send(&configure("c", "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"))
                    .await;
                upto(&mut client, |it| it.attribute("id") == Some("c")).await?;
            }
            if account == OCCUPANTS[WHISPERS] {
                client.send(&format!("<enable xmlns='{SM}'/>")).await;
                upto(&mut client, |it| it.name() == "enabled").await?;
            }
            self.clients.push(client);
        }
        Ok(())
    }

    async fn talk(&mut self) {
        self.open.clear();
        let enough = LEAST + usize::try_from(self.random.below(400)).unwrap();
        let mut is_told = false;
        while !self.clients.iter().all(Client::is_over) {
            for (number, account) in OCCUPANTS.iter().enumerate() {
                let mut words = String::new();
                for _ in 0..1 + self.random.below(4) {
                    let id = format!("{account}-{}-{}", self.cycle, self.sent);
                    words += &format!("<message type='groupchat' to='{ROOM}' id='{id}'><body>{id}</body></message>");
                    self.sent += 1;
                    if number == WHISPERS {
                        self.said.push(None);
                    }
                }
                if number == 0 {
                    words += &self.changes();
                }
                if number == WHISPERS {
                    words += &self.whisper();
                }
                self.clients[number].send(&words).await;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            self.read();
            if !is_told && self.seen.iter().map(Vec::len).sum::<usize>() >= enough {
                is_told = true;
                let (pid, delay) = (self.site.pid().to_string(), Duration::from_micros(self.random.below(6000)));
                // Meanwhile everybody goes on.
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
                });
            }
        }
        // What was on its way when the server ended has been seen, too.
        for number in 0..self.clients.len() {
            while let Some(element) = self.clients[number].next().await {
                self.hear(number, &element);
            }
        }
    }

    /// What the owner changes in this round: the name of the room, and the affiliation of somebody.
    fn changes(&mut self) -> String {
        let (name, count) = (format!("Room {}", self.sent), self.sent);
        let field = format!("<field var='muc#roomconfig_roomname'><value>{name}</value></field>");
        let who = format!("member{}@elsewhere.example", count % MEMBERS);
        let affiliation = ["member", "admin", "outcast", "none"][count / MEMBERS % 4];
        let (first, second) = (format!("name-{count}"), format!("who-{count}"));
        self.open.insert(first.clone(), (None, count));
        self.open.insert(second.clone(), (Some(who.clone()), count));
        self.name.asked(count, name);
        self.members.entry(who.clone()).or_default().asked(count, affiliation.to_owned());
        configure(&first, &field)
            + &format!(
                "<iq type='set' id='{second}' to='{ROOM}'><query xmlns='{MUC}#admin'>\
                 <item affiliation='{affiliation}' jid='{who}'/></query></iq>"
            )
    }

    /// Something for one of the others, and how many stanzas have been handled?
    fn whisper(&mut self) -> String {
        let (id, to) = (format!("whisper-{}-{}", self.cycle, self.said.len()), OCCUPANTS[LISTENS]);
        let letter = format!("<message type='chat' to='{ROOM}/{to}' id='{id}'><body>{id}</body></message>");
        self.said.push(Some(id));
        format!("{letter}<r xmlns='{SM}'/>")
    }

    fn safe_whispers(&self) -> impl Iterator<Item = &String> {
        self.said.iter().take(self.safe).flatten()
    }

    fn read(&mut self) {
        for number in 0..self.clients.len() {
            while let Some(element) = self.clients[number].received() {
                self.hear(number, &element);
            }
        }
    }

    fn hear(&mut self, number: usize, element: &Element) {
        let id = element.attribute("id").unwrap_or_default();
        match (element.name(), element.attribute("type")) {
            ("message", Some("groupchat")) if element.elements().any(|it| it.name() == "body") => {
                let mark = element.elements().find(|it| it.is("stanza-id", SID) && it.attribute("by") == Some(ROOM));
                let mark = mark.and_then(|it| it.attribute("id")).map(str::to_owned);
                self.seen[number].push((id.to_owned(), mark));
            }
            ("message", Some("chat")) if number == LISTENS => _ = self.whispers.insert(id.to_owned()),
            ("a", _) if number == WHISPERS => self.safe = element.attribute("h").unwrap().parse().unwrap(),
            ("iq", Some("result")) => match self.open.remove(id) {
                Some((None, number)) => self.name.done(number),
                Some((Some(who), number)) => self.members.entry(who).or_default().done(number),
                None => {}
            },
            _ => {}
        }
    }

    /// The owner looks at the room.
    async fn audit(&mut self) -> Result<Vec<Finding>, Cut> {
        let mut owner = self.site.log_in(&format!("owner@{DOMAIN}/audit"), PASSWORD).await.map_err(Cut)?;
        owner.send(&format!("<presence to='{ROOM}/owner'><x xmlns='{MUC}'/></presence>")).await;
        let archive = archive(&mut owner).await?;
        let mut findings = Vec::new();
        for (who, seen) in OCCUPANTS.into_iter().zip(&self.seen) {
            findings.extend(judge(who, seen, &archive));
        }
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        let info = ask(&mut owner, "get", info).await?;
        let identity = info.elements().flat_map(Element::elements).find(|it| it.name() == "identity");
        let name = identity.and_then(|it| it.attribute("name")).map(str::to_owned);
        findings.extend(self.name.found("the name of the room", name));
        let mut affiliations = BTreeMap::new();
        for affiliation in ["member", "admin", "outcast"] {
            let query = format!("<query xmlns='{MUC}#admin'><item affiliation='{affiliation}'/></query>");
            let answer = ask(&mut owner, "get", &query).await?;
            for item in answer.elements().flat_map(Element::elements) {
                affiliations.insert(item.attribute("jid").unwrap_or_default().to_owned(), affiliation);
            }
        }
        for (who, changes) in &mut self.members {
            let is = affiliations.get(who).copied().unwrap_or("none").to_owned();
            findings.extend(changes.found(who, Some(is)));
        }
        owner.close().await;
        let address = format!("{}@{DOMAIN}/audit", OCCUPANTS[LISTENS]);
        let mut other = self.site.log_in(&address, PASSWORD).await.map_err(Cut)?;
        other.send("<presence/><iq type='get' id='so-far'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        for element in upto(&mut other, |it| it.attribute("id") == Some("so-far")).await? {
            self.hear(LISTENS, &element);
        }
        other.close().await;
        let lost = self.safe_whispers().filter(|id| !self.whispers.contains(*id));
        findings.extend(lost.map(|id| Finding::Lost { id: id.clone() }));
        Ok(findings)
    }
}

fn configure(id: &str, field: &str) -> String {
    format!(
        "<iq type='set' id='{id}' to='{ROOM}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>{MUC}#roomconfig</value></field>{field}</x></query></iq>"
    )
}

/// The result of a request to the room.
async fn ask(client: &mut Client, kind: &str, payload: &str) -> Result<Element, Cut> {
    client.send(&format!("<iq type='{kind}' id='ask' to='{ROOM}'>{payload}</iq>")).await;
    let mut all = upto(client, |it| it.attribute("id") == Some("ask")).await?;
    let answer = all.pop().ok_or_else(|| Cut("no answer".to_owned()))?;
    assert_eq!(answer.attribute("type"), Some("result"), "{}", answer.to_xml(""));
    Ok(answer)
}

/// Everything in the archive of the room, in its order: ids there, and what the senders have called it.
async fn archive(client: &mut Client) -> Result<Vec<(String, String)>, Cut> {
    let mut all: Vec<(String, String)> = Vec::new();
    loop {
        let after = all.last().map(|(id, _)| format!("<after>{id}</after>")).unwrap_or_default();
        client
            .send(&format!(
                "<iq type='set' id='page' to='{ROOM}'><query xmlns='{MAM}' queryid='page'>\
                 <set xmlns='http://jabber.org/protocol/rsm'><max>100</max>{after}</set></query></iq>"
            ))
            .await;
        let mut page = upto(client, |it| it.attribute("id") == Some("page")).await?;
        let end = page.pop().ok_or_else(|| Cut("no page".to_owned()))?;
        assert_eq!(end.attribute("type"), Some("result"), "{}", end.to_xml(""));
        let results = page.iter().flat_map(Element::elements).filter(|it| it.is("result", MAM));
        all.extend(results.filter_map(|result| {
            let message = result.elements().flat_map(Element::elements).find(|it| it.name() == "message")?;
            Some((result.attribute("id")?.to_owned(), message.attribute("id")?.to_owned()))
        }));
        let fin = end.elements().find(|it| it.is("fin", MAM));
        if fin.is_none_or(|fin| fin.attribute("complete") == Some("true")) {
            return Ok(all);
        }
    }
}

fn judge(who: &'static str, seen: &[Sight], archive: &[(String, String)]) -> Vec<Finding> {
    let places: BTreeMap<&str, (usize, &str)> =
        archive.iter().enumerate().map(|(place, (id, name))| (id.as_str(), (place, name.as_str()))).collect();
    let (mut findings, mut last) = (Vec::new(), None);
    for (id, mark) in seen {
        let id = || id.clone();
        let Some(mark) = mark else {
            findings.push(Finding::WithoutId { who, id: id() });
            continue;
        };
        match places.get(mark.as_str()) {
            None => findings.push(Finding::NotArchived { who, id: id(), archive_id: mark.clone() }),
            Some((_, name)) if *name != id() => findings.push(Finding::OtherMessage { who, id: id() }),
            Some((place, _)) if last.is_some_and(|last| *place <= last) => {
                findings.push(Finding::OutOfOrder { who, id: id() });
            }
            Some((place, _)) => last = Some(*place),
        }
    }
    findings
}

#[test]
fn the_judge_of_rooms_sees_what_is_wrong() {
    let archive = [("a", "1"), ("b", "2"), ("c", "3")].map(|(id, name)| (id.to_owned(), name.to_owned()));
    let judged = |seen: &[(&str, &str)]| {
        let mark = |mark: &str| Some(mark.to_owned()).filter(|mark| !mark.is_empty());
        let seen: Vec<Sight> = seen.iter().map(|(name, id)| ((*name).to_owned(), mark(id))).collect();
        judge("romeo", &seen, &archive)
    };
    let (who, id) = ("romeo", |id: &str| id.to_owned());
    assert_eq!(judged(&[("1", "a"), ("3", "c")]), []);
    assert_eq!(judged(&[("4", "d")]), [Finding::NotArchived { who, id: id("4"), archive_id: id("d") }]);
    assert_eq!(judged(&[("2", "a")]), [Finding::OtherMessage { who, id: id("2") }]);
    assert_eq!(judged(&[("2", "b"), ("1", "a")]), [Finding::OutOfOrder { who, id: id("1") }]);
    assert_eq!(judged(&[("1", "")]), [Finding::WithoutId { who, id: id("1") }]);

    let mut changes = Changes::default();
    assert_eq!(changes.found("x", Some(id("0"))), None);
    (1..=3).for_each(|number| changes.asked(number, number.to_string()));
    changes.done(2);
    let undone = Finding::Undone { what: id("x"), is: Some(id("1")), may_be: vec![id("2"), id("3")] };
    assert_eq!(changes.found("x", Some(id("1"))), Some(undone));
    changes.asked(4, id("2"));
    assert_eq!(changes.found("x", Some(id("2"))), None);
}

//! What the storage must hold, and what it does hold.

use std::collections::{BTreeMap, BTreeSet};

use comity::jid::BareJid;
use comity::storage::{Cell, End, Entry, Error, Map, Marks, Position, Queued, Range, Storage, Stored, View};

pub(crate) const TITLE: Cell<String> = Cell::new("title");
pub(crate) const ROSTER: Map<Vec<String>> = Map::new("roster");
/// How many jobs have been done. Every job writes it, so whoever finds a number finds a job.
pub(crate) const COUNT: Cell<u64> = Cell::new("count");

pub(crate) const DOMAINS: [&str; 2] = ["verona.lit", "capulet.lit"];
/// Two of them are in the samples of older schemas.
pub(crate) const ACCOUNTS: [&str; 5] =
    ["romeo@verona.lit", "juliet@capulet.lit", "benvolio@verona.lit", "nurse@capulet.lit", "tybalt@capulet.lit"];

/// Everything that the owners have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) owners: BTreeMap<String, Owner>,
    pub(crate) count: u64,
}

/// What one owner has. A domain without anything is not there, an account may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) title: Option<String>,
    pub(crate) roster: BTreeMap<String, Vec<String>>,
    pub(crate) log: BTreeMap<u64, (Marks, String)>,
    pub(crate) queued: BTreeMap<u64, Queued>,
}

pub(crate) fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// Why an owner could not be read as it is.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The storage says so.
    Found(String),
    /// It contradicts itself without a word.
    Silent(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Found(error.to_string())
    }
}

/// Reads everything.
pub(crate) fn read(storage: &Storage) -> Result<State, Fault> {
    let mut state = State::default();
    for name in ACCOUNTS.into_iter().chain(DOMAINS) {
        if let Some(owner) = owner(storage, name)? {
            state.owners.insert(name.to_owned(), owner);
        }
    }
    for domain in DOMAINS {
        let listed = storage.read_blocking(|view| view.owners(domain))?;
        let listed: BTreeSet<String> = listed.into_iter().map(|jid| jid.to_string()).collect();
        let found = state.owners.keys().filter(|name| name.ends_with(&format!("@{domain}"))).cloned().collect();
        if listed != found {
            return Err(Fault::Silent(format!("{domain}: {found:?} exist, {listed:?} are listed")));
        }
    }
    state.count = storage.read_blocking(|view| view.cell(&COUNT, &jid(DOMAINS[0])))?.unwrap_or(0);
    Ok(state)
}

/// Reads one owner through every way that leads to what it has.
pub(crate) fn owner(storage: &Storage, name: &str) -> Result<Option<Owner>, Fault> {
    let found = storage.read_blocking(|view| Ok(read_owner(view, name)))?;
    let is_empty = found.as_ref().is_ok_and(|owner| owner == &Some(Owner::default()));
    if is_empty && DOMAINS.contains(&name) { Ok(None) } else { found }
}

fn read_owner(view: &View<'_>, name: &str) -> Result<Option<Owner>, Fault> {
    let jid = jid(name);
    if !view.exists(&jid)? && !DOMAINS.contains(&name) {
        return Ok(None);
    }
    let mut owner = Owner {
        title: view.cell(&TITLE, &jid)?,
        roster: view.items(&ROSTER, &jid)?.into_iter().collect(),
        ..Owner::default()
    };
    let (mut after, mut met) = (None, Vec::new());
    loop {
        let page = view.page(&jid, after, 100)?;
        whole(name, &page.damaged)?;
        owner.log.extend(page.entries.iter().map(shown));
        let archived = page.entries.iter().filter(|stored| stored.entry.marks.contains(Marks::ARCHIVED));
        met.extend(archived.map(|stored| {
            let entry = &stored.entry;
            let (peer, _) = entry.peer.split_once('/').unwrap();
            Met { position: stored.position.number(), peer: peer.to_owned(), time: entry.time }
        }));
        let Some(more) = page.more else { break };
        after = Some(more);
    }
    // The two tables that lead to entries of the log must agree with it.
    let page = view.undelivered(&jid, None, 10_000)?;
    whole(name, &page.damaged)?;
    agree(name, "undelivered", &owner, Marks::UNDELIVERED, &page.entries)?;
    let count = view.undelivered_count(&jid)?;
    if count != page.entries.len() as u64 {
        return Err(Fault::Silent(format!("{name}: {count} are said to be undelivered")));
    }
    let page = view.archived(&jid, &Range::default(), End::Oldest, 10_000)?;
    whole(name, &page.damaged)?;
    agree(name, "archived", &owner, Marks::ARCHIVED, &page.entries)?;
    questions(name, view, &met)?;
    owner.queued = view.queued(&jid)?.into_iter().map(|(position, queued)| (position.number(), queued)).collect();
    Ok(Some(owner))
}

/// An archived entry.
struct Met {
    position: u64,
    peer: String,
    time: u64,
}

/// Looks for the entries of each peer, and for those before and after some times, from both ends.
fn questions(name: &str, view: &View<'_>, met: &[Met]) -> Result<(), Fault> {
    let peers: BTreeSet<&String> = met.iter().map(|it| &it.peer).collect();
    let peers = peers.into_iter().map(|peer| Range { peer: Some(peer.parse().unwrap()), ..Range::default() });
    let times = met.iter().step_by(met.len() / 4 + 1).map(|it| it.time);
    let times = times.flat_map(|time| {
        [Range { since: Some(time), ..Range::default() }, Range { until: Some(time), ..Range::default() }]
    });
    for (range, end) in peers.chain(times).flat_map(|range| [(range.clone(), End::Oldest), (range, End::Youngest)]) {
        let page = view.archived(&jid(name), &range, end, 10_000)?;
        whole(name, &page.damaged)?;
        let is_meant = |it: &&Met| {
            range.peer.as_ref().is_none_or(|peer| peer.as_str() == it.peer)
                && range.since.is_none_or(|since| it.time >= since)
                && range.until.is_none_or(|until| it.time <= until)
        };
        let found = page.entries.iter().map(|stored| stored.position.number());
        if !met.iter().filter(is_meant).map(|it| it.position).eq(found) {
            return Err(Fault::Silent(format!(
                "{name}: {} entries for {range:?} from the {end:?}",
                page.entries.len()
            )));
        }
    }
    Ok(())
}

fn shown(stored: &Stored) -> (u64, (Marks, String)) {
    let entry = &stored.entry;
    (stored.position.number(), (entry.marks, text(entry)))
}

pub(crate) fn text(entry: &Entry) -> String {
    format!("{:?} {} at {}: {}", entry.direction, entry.peer, entry.time, entry.payload)
}

fn whole(name: &str, damaged: &[Position]) -> Result<(), Fault> {
    if damaged.is_empty() { Ok(()) } else { Err(Fault::Found(format!("{name}: damaged entries {damaged:?}"))) }
}

fn agree(name: &str, table: &str, owner: &Owner, marks: Marks, found: &[Stored]) -> Result<(), Fault> {
    let expected = owner.log.iter().filter(|(_, (has, _))| has.contains(marks)).map(|(at, entry)| (*at, entry.clone()));
    if expected.eq(found.iter().map(shown)) {
        return Ok(());
    }
    let places: Vec<u64> = found.iter().map(|stored| stored.position.number()).collect();
    Err(Fault::Silent(format!("{name}: {table} are {places:?}, but the log has {:?}", owner.log)))
}

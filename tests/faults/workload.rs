//! What the watched process writes: jobs that follow from a seed, one after the other, and what they must lead to.

use std::collections::{BTreeMap, BTreeSet};

use comity::storage::{Direction, Entry, Marks, Position, Queued, Slot, Writes};

use crate::random::Random;
use crate::state::{self, ACCOUNTS, COUNT, DOMAINS, Owner, ROSTER, State, TITLE, jid};
use crate::trace::{Record, What};

/// What the process does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Hands in the job with this number.
    Submit(u64),
    /// Waits until everything is durable, and says so.
    Wait,
    /// Does nothing for so long that the write-ahead log is tidied up.
    Rest,
    /// Looks at one moment for so long that the write-ahead log cannot be emptied.
    Look,
    /// Takes positions and uses none.
    Waste(u32),
    /// Closes the storage and opens it again.
    Reopen,
}

/// A job: applied completely or not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Job {
    pub(crate) creates: Option<&'static str>,
    pub(crate) changes: Vec<(&'static str, Change)>,
}

/// Entries have numbers of their own, since nobody knows their positions beforehand.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Title(Option<String>),
    Item(String, Option<Vec<String>>),
    ClearItems,
    Append { entry: usize, marks: Marks, payload: String },
    Mark(usize, Marks),
    Unmark(usize, Marks),
    Queue(usize, Queued),
    Replace(usize, String),
    Remove(usize),
    Trim,
    Delete,
    HandOver,
}

/// What a run depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) seed: u64,
    /// How many jobs it has.
    pub(crate) length: u64,
    /// Begins with the sample of this version of the schema, or with nothing.
    pub(crate) sample: Option<i64>,
}

/// A whole run.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) steps: Vec<Step>,
    /// The job with number n is the n-th, from one.
    pub(crate) jobs: Vec<Job>,
}

impl Workload {
    pub(crate) fn new(Terms { seed, length, sample }: Terms) -> Self {
        let mut random = Random::new(seed);
        let (mut steps, mut jobs, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let mut alive: BTreeSet<&str> = ACCOUNTS[..if sample.is_some() { 2 } else { 0 }].iter().copied().collect();
        for number in 1..=length {
            let job = Job::draw(&mut random, number, &mut alive, &mut entries);
            let hands_over = job.changes.iter().any(|(_, change)| matches!(change, Change::HandOver));
            jobs.push(job);
            steps.push(Step::Submit(number));
            // What is handed over is behind what comes later, also in the same group.
            if hands_over || random.below(3) == 0 || number == length {
                steps.push(Step::Wait);
            }
            match random.below(24) {
                0 => steps.push(Step::Rest),
                1 => steps.extend([Step::Look, Step::Rest]),
                2 => steps.push(Step::Waste(5000)),
                3 => steps.extend([Step::Wait, Step::Reopen]),
                _ => {}
            }
        }
        Self { steps, jobs }
    }
}

impl Job {
    fn draw(
        random: &mut Random,
        number: u64,
        alive: &mut BTreeSet<&'static str>,
        entries: &mut Vec<&'static str>,
    ) -> Self {
        let mut job = Self::default();
        // The accounts come first, and come back later.
        let account = ACCOUNTS[usize::try_from(number - 1).unwrap() % ACCOUNTS.len()];
        if (number <= ACCOUNTS.len() as u64 || random.below(4) == 0) && alive.insert(account) {
            job.creates = Some(account);
        }
        for _ in 0..1 + random.below(4) {
            let owner = *random.pick(&ACCOUNTS);
            let change = match random.below(36) {
                0..4 => Change::Title(Some(text(random, 300))),
                4 => Change::Title(None),
                5..9 => Change::Item(format!("contact{}", random.below(9)), Some(vec![text(random, 200)])),
                9 => Change::Item(format!("contact{}", random.below(9)), None),
                10 => Change::ClearItems,
                // A domain has what is on its way to others.
                11..13 => {
                    let owner = *random.pick(&DOMAINS);
                    job.changes.push((owner, Self::append(random, owner, entries)));
                    continue;
                }
                13..23 => Self::append(random, owner, entries),
                23 => {
                    alive.remove(owner);
                    Change::Delete
                }
                24 => Change::HandOver,
                25 => Change::Trim,
                kind => {
                    let Some(entry) = entries.len().checked_sub(1).map(|most| most - random.below(most.min(20) + 1))
                    else {
                        continue;
                    };
                    let marks = *random.pick(&[Marks::UNDELIVERED, Marks::ARCHIVED]);
                    let change = match kind {
                        26..28 => Change::Mark(entry, marks),
                        28..31 => Change::Unmark(entry, marks),
                        31 | 32 => Change::Queue(entry, Queued { session: 7, number }),
                        33 | 34 => Change::Replace(entry, text(random, 400)),
                        _ => Change::Remove(entry),
                    };
                    job.changes.push((entries[entry], change));
                    continue;
                }
            };
            job.changes.push((owner, change));
        }
        job
    }

    fn append(random: &mut Random, owner: &'static str, entries: &mut Vec<&'static str>) -> Change {
        entries.push(owner);
        let marks = *random.pick(&[
            Marks::UNDELIVERED,
            Marks::ARCHIVED,
            Marks::ARCHIVED | Marks::UNDELIVERED,
            Marks::QUEUED,
            Marks::QUEUED | Marks::ARCHIVED,
        ]);
        // Now and then one that does not fit on a page.
        let most = if random.below(6) == 0 { 9000 } else { 400 };
        Change::Append { entry: entries.len() - 1, marks, payload: text(random, most) }
    }

    /// What is handed in. `take` gives a place for the entry with this number, `known` says which place it has, and
    /// `hand_over` up to where everything was handed in.
    pub(crate) fn writes(
        &self,
        number: u64,
        mut take: impl FnMut(usize) -> Slot,
        known: impl Fn(usize) -> Option<Position>,
        hand_over: impl Fn() -> Position,
    ) -> Writes {
        let mut writes = Writes::new();
        COUNT.put(&mut writes, &jid(DOMAINS[0]), &number).unwrap();
        let mut places = BTreeMap::new();
        for (name, change) in &self.changes {
            let owner = jid(name);
            let place = |entry: &usize| places.get(entry).copied().or_else(|| known(*entry));
            match change {
                Change::Title(Some(title)) => TITLE.put(&mut writes, &owner, title).unwrap(),
                Change::Title(None) => TITLE.delete(&mut writes, &owner),
                Change::Item(key, Some(item)) => ROSTER.put(&mut writes, &owner, key, item).unwrap(),
                Change::Item(key, None) => ROSTER.delete(&mut writes, &owner, key),
                Change::ClearItems => ROSTER.clear(&mut writes, &owner),
                Change::Append { entry, marks, payload } => {
                    let position = writes.append(&owner, take(*entry), stanza(*entry, *marks, payload));
                    places.insert(*entry, position);
                }
                Change::Mark(entry, marks) => each(place(entry), |it| writes.mark(&owner, it, *marks)),
                Change::Unmark(entry, marks) => each(place(entry), |it| writes.unmark(&owner, it, *marks)),
                Change::Queue(entry, queued) => each(place(entry), |it| writes.queue(&owner, it, *queued)),
                Change::Replace(entry, payload) => {
                    each(place(entry), |it| writes.replace(&owner, it, payload.as_str().into()));
                }
                Change::Remove(entry) => each(place(entry), |it| writes.remove(&owner, it)),
                Change::Trim => writes.trim(&owner),
                Change::Delete => writes.delete_owner(&owner),
                Change::HandOver => writes.hand_over(hand_over()),
            }
        }
        writes
    }
}

fn each(place: Option<Position>, mut act: impl FnMut(Position)) {
    if let Some(place) = place {
        act(place);
    }
}

fn text(random: &mut Random, most: usize) -> String {
    let length = random.below(most);
    (0..length).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect()
}

const PEERS: [&str; 3] = ["mercutio@verona.lit/street", "abram@verona.lit/square", "peter@capulet.lit/hall"];

/// The clock goes back now and then.
fn stanza(entry: usize, marks: Marks, payload: &str) -> Entry {
    let late = if entry.is_multiple_of(7) { 5000 } else { 0 };
    Entry {
        direction: if entry.is_multiple_of(2) { Direction::Received } else { Direction::Sent },
        peer: PEERS[entry % PEERS.len()].into(),
        time: 1_700_000_000_000 + entry as u64 * 1000 - late,
        marks,
        payload: payload.into(),
    }
}

/// What the process said up to some moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Every job up to this one is safe.
    pub(crate) safe: u64,
    /// Where the entries went; the last word counts, as a job that was not done is done again.
    pub(crate) places: BTreeMap<usize, u64>,
    /// Up to where a job handed over.
    pub(crate) handed: BTreeMap<u64, u64>,
    /// The highest position that anybody knows.
    pub(crate) highest: u64,
    /// After how many jobs the storage was opened, and which position was the next then.
    opened: Vec<(u64, u64)>,
}

impl Said {
    pub(crate) fn in_all(records: &[Record]) -> Self {
        let mut said = Self::default();
        records.iter().for_each(|record| said.hear(record));
        said
    }

    pub(crate) fn hear(&mut self, record: &Record) {
        let What::Note(note) = &record.what else { return };
        let words: Vec<&str> = note.split(' ').collect();
        let number = |word: usize| words[word].parse::<u64>().unwrap();
        match words[0] {
            "safe" => self.safe = self.safe.max(number(1)),
            "took" => {
                self.places.insert(usize::try_from(number(1)).unwrap(), number(2));
                self.highest = self.highest.max(number(2));
            }
            "hands" => {
                self.handed.insert(number(1), number(2));
            }
            "opened" => {
                self.opened.push((number(1), number(2)));
                self.highest = self.highest.max(number(2));
            }
            _ => {}
        }
    }
}

/// The state that jobs lead to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    state: State,
    /// Everything below was handed over.
    handed: u64,
}

impl Model {
    pub(crate) const fn starting_with(state: State) -> Self {
        Self { state, handed: 0 }
    }

    /// What must be found after the first `count` jobs, if the storage is opened then.
    pub(crate) fn after(mut self, workload: &Workload, said: &Said, count: u64) -> State {
        let jobs = workload.jobs.iter().take(usize::try_from(count).unwrap());
        for (number, job) in (1..).zip(jobs) {
            for (_, next) in said.opened.iter().filter(|(done, _)| *done + 1 == number) {
                self.open(*next);
            }
            self.apply(number, job, said);
        }
        self.state.count = count;
        self.open(u64::MAX);
        for owner in self.state.owners.values_mut() {
            let log = &owner.log;
            owner.queued.retain(|at, _| log.get(at).is_some_and(|(marks, _)| marks.contains(Marks::UNDELIVERED)));
        }
        self.state.owners.retain(|name, owner| !DOMAINS.contains(&name.as_str()) || *owner != Owner::default());
        self.state
    }

    /// What was on its way waits again.
    fn open(&mut self, next: u64) {
        for owner in self.state.owners.values_mut() {
            for (marks, _) in owner.log.range_mut(self.handed..).map(|(_, entry)| entry) {
                if marks.contains(Marks::QUEUED) {
                    *marks = *marks | Marks::UNDELIVERED;
                }
            }
        }
        self.handed = next;
    }

    fn apply(&mut self, number: u64, job: &Job, said: &Said) {
        if let Some(account) = job.creates {
            self.state.owners.insert(account.to_owned(), Owner::default());
        }
        for (name, change) in &job.changes {
            if matches!(change, Change::HandOver) {
                continue;
            }
            if DOMAINS.contains(name) {
                self.state.owners.entry((*name).to_owned()).or_default();
            }
            let Some(owner) = self.state.owners.get_mut(*name) else { continue };
            if matches!(change, Change::Delete) {
                self.state.owners.remove(*name);
            } else {
                owner.apply(change, said);
            }
        }
        if let Some(upto) = said.handed.get(&number) {
            self.hand_over(*upto);
        }
    }

    fn hand_over(&mut self, upto: u64) {
        let upto = upto.max(self.handed);
        for owner in self.state.owners.values_mut() {
            owner.log.retain(|at, (marks, _)| !(self.handed..upto).contains(at) || *marks != Marks::QUEUED);
            let log = &owner.log;
            owner.queued.retain(|at, _| {
                !(self.handed..upto).contains(at)
                    || log.get(at).is_some_and(|(marks, _)| marks.contains(Marks::UNDELIVERED))
            });
        }
        self.handed = upto;
    }
}

impl Owner {
    fn apply(&mut self, change: &Change, said: &Said) {
        let place = |entry: &usize| said.places.get(entry).copied().unwrap_or(0);
        match change {
            Change::Title(title) => self.title.clone_from(title),
            Change::Item(key, Some(item)) => {
                self.roster.insert(key.clone(), item.clone());
            }
            Change::Item(key, None) => {
                self.roster.remove(key);
            }
            Change::ClearItems => self.roster.clear(),
            Change::Append { entry, marks, payload } => {
                self.log.insert(place(entry), (*marks, state::text(&stanza(*entry, *marks, payload))));
            }
            Change::Mark(entry, marks) => {
                if let Some((has, _)) = self.log.get_mut(&place(entry)) {
                    *has = *has | *marks;
                }
            }
            Change::Unmark(entry, marks) => {
                let place = place(entry);
                if let Some((has, _)) = self.log.get_mut(&place) {
                    *has = has.without(*marks | Marks::QUEUED);
                    if has.is_empty() {
                        self.log.remove(&place);
                    }
                }
                if marks.contains(Marks::UNDELIVERED) {
                    self.queued.remove(&place);
                }
            }
            Change::Queue(entry, queued) => {
                self.queued.insert(place(entry), *queued);
            }
            Change::Remove(entry) => {
                self.log.remove(&place(entry));
            }
            Change::Replace(entry, payload) => {
                if let Some((marks, text)) = self.log.get_mut(&place(entry)) {
                    *text = state::text(&stanza(*entry, *marks, payload));
                }
            }
            Change::Trim | Change::Delete | Change::HandOver => {}
        }
    }
}

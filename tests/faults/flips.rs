//! Flipped bits and missing ends in the files of a data directory: nothing wrong is served without a word, and what is
//! damaged belongs to one account at most, or the start is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use comity::storage::{Direction, Entry, Marks, Options, Queued, Storage, Writes};

use crate::disk::{self, Files};
use crate::random::Random;
use crate::state::{self, ACCOUNTS, DOMAINS, Fault, Owner, ROSTER, TITLE, jid};
use crate::trace::{Stage, scratch};

/// In `make check`; `FAULTS_FLIPS` asks for more.
const FLIPS: usize = 200;

/// So many messages everybody gets.
const ROUNDS: u64 = 150;

const DATABASE: &str = "comity.sqlite";
const LOG: &str = "comity.sqlite-wal";
const SYNCED: &str = "comity.synced";

/// What everybody has, the secret, and the next position.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Truth {
    owners: BTreeMap<&'static str, Option<Owner>>,
    secret: [u8; 32],
    next: u64,
}

/// What came of one flipped bit, or of one end that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is there, because nobody used that bit or it was put right.
    Whole,
    /// So many owners have something that storage says is damaged.
    Found(usize),
    /// The start is refused.
    Refused,
}

fn names() -> impl Iterator<Item = &'static str> {
    ACCOUNTS.into_iter().chain(DOMAINS)
}

fn truth(storage: &Storage) -> Truth {
    let owners = names().map(|name| (name, state::owner(storage, name).unwrap())).collect();
    Truth { owners, secret: *storage.secret(), next: storage.slot().position().number() }
}

/// Opens `files` and compares everything with the truth.
fn outcome(directory: &Path, files: &Files, truth: &Truth) -> Result<Outcome, String> {
    disk::write(directory, files);
    let Ok(storage) = Storage::open(directory, Options::default()) else { return Ok(Outcome::Refused) };
    let outcome = compared(&storage, truth);
    // The next files have the same names, and what closes later would remove them.
    close(&storage);
    outcome
}

fn compared(storage: &Storage, truth: &Truth) -> Result<Outcome, String> {
    let mut damaged = 0;
    let mut found = BTreeMap::new();
    for name in names() {
        match state::owner(storage, name) {
            Ok(owner) => drop(found.insert(name, owner)),
            Err(Fault::Found(_)) => damaged += 1,
            Err(Fault::Silent(text)) => return Err(format!("contradicts itself: {text}")),
        }
    }
    let is = |truth: &Truth| found.iter().all(|(name, owner)| truth.owners[name] == *owner);
    if storage.secret() != &truth.secret {
        return Err("another secret".to_owned());
    }
    let next = storage.slot().position().number();
    if next <= truth.next {
        return Err(format!("position {next} is given again, {} was known", truth.next));
    }
    let listed: Vec<_> =
        DOMAINS.into_iter().flat_map(|it| storage.read_blocking(|view| view.owners(it)).unwrap_or_default()).collect();
    if damaged == 0 && listed.len() != ACCOUNTS.len() {
        return Err(format!("these accounts are listed: {listed:?}"));
    }
    match damaged {
        0 if is(truth) => Ok(Outcome::Whole),
        damaged if damaged > 0 && is(truth) => Ok(Outcome::Found(damaged)),
        _ => {
            let wrong = found.iter().filter(|(name, owner)| truth.owners[*name] != **owner);
            let wrong = wrong.map(|(name, owner)| format!("{name}: {}", difference(&truth.owners[name], owner)));
            Err(format!("{:?}, and {damaged} know", wrong.collect::<Vec<_>>()))
        }
    }
}

/// What of an owner is not as it should be.
fn difference(expected: &Option<Owner>, found: &Option<Owner>) -> String {
    let (Some(expected), Some(found)) = (expected, found) else {
        return format!("exists: {}", found.is_some());
    };
    let places = |one: &Owner, other: &Owner| {
        let only = one.log.iter().filter(|(at, entry)| other.log.get(at) != Some(entry));
        only.map(|(at, (marks, text))| format!("{at} {marks:?} {text}")).collect::<Vec<_>>()
    };
    let (lost, odd) = (places(expected, found), places(found, expected));
    let (title, roster) = (expected.title != found.title, expected.roster.len().abs_diff(found.roster.len()));
    format!("lost entries {lost:?}, odd entries {odd:?}, another title {title}, contacts {roster}")
}

/// Goes through some changes of a file, several at once; prints how often what came of it.
fn every(
    name: &str,
    count: usize,
    change: impl Fn(usize) -> (String, Files) + Sync,
    judge: impl Fn(&Path, &Files) -> Result<Outcome, String> + Sync,
) -> BTreeMap<Outcome, usize> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let part = |part: usize| {
            let (change, judge) = (&change, &judge);
            scope.spawn(move || {
                let directory = scratch().join(format!("flip-{:?}", std::thread::current().id()));
                let outcomes: Vec<_> = (part..count)
                    .step_by(threads)
                    .map(|number| {
                        let (what, files) = change(number);
                        judge(&directory, &files).map_err(|why| format!("{what}: {why}"))
                    })
                    .collect();
                let _ = std::fs::remove_dir_all(directory);
                outcomes
            })
        };
        let running: Vec<_> = (0..threads).map(part).collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let _ = std::fs::remove_dir(scratch());
    let wrong: Vec<_> = parts.iter().filter_map(|it| it.as_ref().err()).collect();
    let some: Vec<_> = wrong.iter().take(9).collect();
    assert!(wrong.is_empty(), "{name}: {} of {count} went unseen, such as: {some:#?}", wrong.len());
    let mut counted = BTreeMap::new();
    for outcome in parts.into_iter().flatten() {
        *counted.entry(outcome).or_insert(0) += 1;
    }
    println!("{name}, {count}: {counted:?}");
    counted
}

/// No start is refused, and what is damaged belongs to one account.
fn affects_one_at_most(counted: &BTreeMap<Outcome, usize>) {
    assert_eq!(counted.get(&Outcome::Refused), None, "a start is refused");
    let several = counted.keys().filter(|outcome| matches!(outcome, Outcome::Found(count) if *count > 1));
    assert_eq!(several.count(), 0, "more than one owner is damaged");
}

fn flips() -> usize {
    std::env::var("FAULTS_FLIPS").ok().map_or(FLIPS, |text| text.parse().unwrap())
}

fn flipped(files: &Files, name: &str, seed: u64, number: usize) -> (String, Files) {
    let mut random = Random::new(seed ^ (number as u64) << 20);
    let bit = random.below(files[name].len() * 8);
    with_flipped(files, name, bit)
}

fn with_flipped(files: &Files, name: &str, bit: usize) -> (String, Files) {
    let mut files = files.clone();
    files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
    (format!("{name}, octet {}, bit {}", bit / 8, bit % 8), files)
}

fn cut(files: &Files, name: &str, seed: u64, number: usize) -> (String, Files) {
    let mut files = files.clone();
    let bytes = files.get_mut(name).unwrap();
    let mut random = Random::new(seed ^ (number as u64) << 20);
    let length = random.below(bytes.len());
    // A file system cuts at a page more often than elsewhere.
    let length = if random.below(2) == 0 { length / 4096 * 4096 } else { length };
    bytes.truncate(length);
    (format!("{name}, cut to {length}"), files)
}

/// Gives everybody something of each kind.
fn fill(storage: &Storage) {
    let mut random = Random::new(3);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let text = |random: &mut Random, most| {
        let length = 1 + random.below(most);
        (0..length).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect::<String>()
    };
    for name in names() {
        let mut writes = Writes::new();
        let owner = jid(name);
        TITLE.put(&mut writes, &owner, &text(&mut random, 200)).unwrap();
        for number in 0..40 {
            ROSTER.put(&mut writes, &owner, &format!("contact{number}"), &vec![text(&mut random, 80)]).unwrap();
        }
        let done = if name.contains('@') {
            runtime.block_on(storage.create(&owner, writes)).map(drop).map_err(|error| error.to_string())
        } else {
            runtime.block_on(storage.durable(storage.submit(writes))).map_err(|error| error.to_string())
        };
        done.unwrap();
    }
    for round in 0..ROUNDS {
        let mut writes = Writes::new();
        for (number, name) in (0..).zip(names()) {
            // A domain has less: what is on its way to others.
            if !name.contains('@') && round % 8 != 0 {
                continue;
            }
            let marks = *random.pick(&[
                Marks::ARCHIVED,
                Marks::ARCHIVED | Marks::QUEUED,
                Marks::UNDELIVERED,
                Marks::ARCHIVED | Marks::UNDELIVERED,
            ]);
            let most = if random.below(50) == 0 { 6000 } else { 200 };
            let entry = Entry {
                direction: Direction::Received,
                peer: format!("peer{}@mantua.lit/x", random.below(4)).into(),
                time: 1_700_000_000_000 + round * 1000 - if random.below(20) == 0 { 60_000 } else { 0 },
                marks,
                payload: text(&mut random, most).into(),
            };
            let position = writes.append(&jid(name), storage.slot(), entry);
            if marks.contains(Marks::UNDELIVERED) && random.below(10) == 0 {
                writes.queue(&jid(name), position, Queued { session: i64::MIN / 3 + number, number: round });
            }
            // Some say something else later, and some go again, so that there are free pages and gaps.
            match random.below(8) {
                0 => writes.replace(&jid(name), position, text(&mut random, 100).into()),
                1 | 2 => writes.remove(&jid(name), position),
                _ => {}
            }
        }
        // Most is indexed.
        if [ROUNDS / 3, ROUNDS * 4 / 5].contains(&round) {
            (0..5000).for_each(|_| drop(storage.slot()));
        }
        runtime.block_on(storage.durable(storage.submit(writes))).unwrap();
    }
    let mut writes = Writes::new();
    writes.hand_over(storage.settled());
    runtime.block_on(storage.durable(storage.submit(writes))).unwrap();
}

/// A data directory whose write-ahead log is empty, and what is in it.
fn closed(name: &str) -> (Files, Truth) {
    let stage = Stage::new(name);
    let storage = Storage::open(&stage.data(), Options::default()).unwrap();
    fill(&storage);
    let truth = truth(&storage);
    close(&storage);
    let mut files = disk::read(&stage.data());
    files.retain(|name, _| name == DATABASE || name == LOG);
    assert!(files[DATABASE].len() > 200_000 && files.get(LOG).is_none_or(Vec::is_empty), "{:?}", files.keys());
    (files, truth)
}

/// One that a crash left, with nearly everything in the write-ahead log.
fn crashed(name: &str) -> (Files, Truth) {
    let stage = Stage::new(name);
    let storage = Storage::open(&stage.data(), Options::default()).unwrap();
    let reader = Reader::of(&storage);
    fill(&storage);
    let mut writes = Writes::new();
    TITLE.put(&mut writes, &jid(ACCOUNTS[0]), &"the last".to_owned()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(storage.durable(storage.submit(writes))).unwrap();
    let truth = truth(&storage);
    let mut files = disk::read(&stage.data());
    files.remove("comity.sqlite-shm");
    assert!(files[LOG].len() > 1_000_000 && files[DATABASE].len() < 200_000);
    reader.leave();
    close(&storage);
    (files, truth)
}

/// One that a crash left; how long its write-ahead log was after each of its last transactions, and what there was then.
fn growing(name: &str) -> (Files, Vec<(usize, Truth)>) {
    let stage = Stage::new(name);
    let storage = Storage::open(&stage.data(), Options::default()).unwrap();
    let reader = Reader::of(&storage);
    fill(&storage);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut grown = Vec::new();
    for number in 0..30 {
        let mut writes = Writes::new();
        let name = ACCOUNTS[number % ACCOUNTS.len()];
        TITLE.put(&mut writes, &jid(name), &format!("title {number}")).unwrap();
        let entry = Entry {
            direction: Direction::Received,
            peer: "peer@mantua.lit/x".into(),
            time: 1_700_000_000_000,
            marks: Marks::ARCHIVED,
            payload: "x".repeat(number * 300).into(),
        };
        writes.append(&jid(name), storage.slot(), entry);
        runtime.block_on(storage.durable(storage.submit(writes))).unwrap();
        let length = std::fs::metadata(stage.data().join(LOG)).unwrap().len();
        grown.push((usize::try_from(length).unwrap(), truth(&storage)));
    }
    let mut files = disk::read(&stage.data());
    files.remove("comity.sqlite-shm");
    reader.leave();
    close(&storage);
    assert!(grown.is_sorted_by_key(|(length, _)| *length));
    (files, grown)
}

/// Somebody who looks at the beginning, so that nothing can be moved out of the write-ahead log.
struct Reader {
    end: mpsc::Sender<()>,
    looking: std::thread::JoinHandle<()>,
}

impl Reader {
    fn of(storage: &Storage) -> Self {
        let (end, wait) = mpsc::channel::<()>();
        let reader = storage.clone();
        let (began, begin) = mpsc::channel();
        let looking = std::thread::spawn(move || {
            let looked = reader.read_blocking(|view| {
                view.exists(&jid(ACCOUNTS[0]))?;
                began.send(()).unwrap();
                let _ = wait.recv();
                Ok(())
            });
            looked.unwrap();
        });
        begin.recv().unwrap();
        Self { end, looking }
    }

    fn leave(self) {
        self.end.send(()).unwrap();
        self.looking.join().unwrap();
    }
}

fn close(storage: &Storage) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(storage.close()).unwrap();
}

#[test]
fn a_flipped_bit_in_the_database_is_found() {
    let (files, truth) = closed("flipped");
    let change = |number| flipped(&files, DATABASE, 1, number);
    let counted =
        every("flipped bits in the database", flips(), change, |directory, files| outcome(directory, files, &truth));
    affects_one_at_most(&counted);
}

/// What says what the file is, and where the tables begin.
#[test]
fn a_flipped_bit_in_the_first_page_stops_nobody() {
    const PAGE: usize = 4096 * 8;
    let (files, truth) = closed("first");
    let count = (flips() / 2).min(PAGE);
    // With as many in the header as behind it.
    let header = (0..count / 2).map(|number| number * 800 / (count / 2));
    let behind = (count / 2..count).map(|number| 800 + (number - count / 2) * (PAGE - 800) / (count - count / 2));
    let bits: Vec<usize> = header.chain(behind).collect();
    every(
        "flipped bits in the first page",
        count,
        |number| with_flipped(&files, DATABASE, bits[number]),
        |directory, files| match outcome(directory, files, &truth)? {
            Outcome::Whole => Ok(Outcome::Whole),
            other => Err(format!("{other:?}")),
        },
    );
}

#[test]
fn a_database_whose_end_is_missing_is_noticed() {
    let (files, truth) = closed("cut");
    let counted = every(
        "cut databases",
        flips() / 10,
        |number| cut(&files, DATABASE, 2, number),
        |directory, files| outcome(directory, files, &truth),
    );
    // At its end it may have nothing but free pages, or the last page of one account, which is found.
    let of = |outcome| counted.get(&outcome).copied().unwrap_or(0);
    let (refused, started) = (of(Outcome::Refused), of(Outcome::Whole) + of(Outcome::Found(1)));
    assert!(started + refused == flips() / 10 && started * 10 < refused, "{counted:?}");
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_is_found() {
    let (files, truth) = crashed("log");
    let change = |number| flipped(&files, LOG, 3, number);
    let counted = every("flipped bits in the write-ahead log", flips(), change, |directory, files| {
        outcome(directory, files, &truth)
    });
    affects_one_at_most(&counted);
}

/// Which page a frame holds, and whether a transaction ends with it: for that there is no checksum but that of the log.
#[test]
fn a_flipped_bit_in_the_head_of_a_frame_is_found() {
    let (header, page, head) = (32, 24 + 4096, 8 * 8);
    let (files, truth) = crashed("heads");
    let frames = (files[LOG].len() - header) / page;
    // The first one has nothing but the database before it.
    let place = |number: usize| if number < head { (0, number) } else { (number * 7919 % frames, number % head) };
    let bit = |(frame, bit): (usize, usize)| (header + frame * page) * 8 + bit;
    let change = |number| with_flipped(&files, LOG, bit(place(number)));
    let counted = every("flipped bits in the heads of frames", flips() / 5, change, |directory, files| {
        outcome(directory, files, &truth)
    });
    affects_one_at_most(&counted);
}

/// The bits of the last transaction have nothing behind them that says that it was synced.
#[test]
fn a_flipped_bit_in_the_last_transaction_is_found() {
    let (files, truth) = crashed("last");
    let last = 2 * (24 + 4096) * 8;
    let begin = files[LOG].len() * 8 - last;
    let change = |number: usize| with_flipped(&files, LOG, begin + number * 7919 % last);
    let counted = every("flipped bits at the end of the write-ahead log", flips() / 10, change, |directory, files| {
        outcome(directory, files, &truth)
    });
    affects_one_at_most(&counted);
}

/// A note that is damaged says nothing, and the write-ahead log is believed.
#[test]
fn a_flipped_bit_in_what_says_what_was_synced_does_no_harm() {
    let (files, truth) = crashed("note");
    let bits = files[SYNCED].len() * 8;
    let change = |bit| with_flipped(&files, SYNCED, bit);
    every("flipped bits in the note of what was synced", bits, change, |directory, files| {
        match outcome(directory, files, &truth)? {
            Outcome::Whole => Ok(Outcome::Whole),
            other => Err(format!("{other:?}")),
        }
    });
}

/// A write-ahead log that is cut somewhere, but not in front of the beginning of the last transactions.
fn shortened(files: &Files, first: usize, number: usize) -> (String, Files) {
    let (header, frame) = (32, 24 + 4096);
    let mut random = Random::new(4 ^ (number as u64) << 20);
    let length = first + random.below(files[LOG].len() - first);
    let length = if random.below(2) == 0 { (length - header) / frame * frame + header } else { length };
    let mut files = files.clone();
    files.get_mut(LOG).unwrap().truncate(length.max(first));
    (format!("{LOG}, cut to {}", length.max(first)), files)
}

/// As after a power loss in the middle of a write, when nothing says that more was synced.
#[test]
fn of_a_write_ahead_log_whose_end_is_missing_the_rest_is_taken() {
    let (mut files, grown) = growing("shortened");
    files.remove(SYNCED);
    let change = |number| shortened(&files, grown[0].0, number);
    every("cut write-ahead logs", flips() / 10, change, |directory, files| {
        let left = grown.iter().rev().find(|(length, _)| *length <= files[LOG].len()).unwrap();
        match outcome(directory, files, &left.1)? {
            Outcome::Whole => Ok(Outcome::Whole),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn an_end_of_the_write_ahead_log_that_was_synced_is_missed() {
    let (files, grown) = growing("missed");
    let (length, truth) = grown.last().unwrap();
    assert_eq!(*length, files[LOG].len());
    let scratch = scratch().join("uncut");
    assert_eq!(outcome(&scratch, &files, truth), Ok(Outcome::Whole));
    let _ = std::fs::remove_dir_all(scratch);
    let change = |number| shortened(&files, grown[0].0, number);
    every("cut write-ahead logs of which all was synced", flips() / 10, change, |directory, files| {
        match outcome(directory, files, truth)? {
            Outcome::Refused => Ok(Outcome::Refused),
            other => Err(format!("{other:?}")),
        }
    });
}

//! What every backend must do. A new backend adds one line at the foot.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Cell, CreateError, Direction, End, Entry, Error, Map, Marks, Options, Position, Queued, Range, Receipt, Storage,
    Stored, Writes,
};
use crate::jid::BareJid;

mod long;
mod model;

use self::long::what_was_exchanged_with_somebody_is_found;
use self::model::it_behaves_like_a_map_in_memory;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Item {
    name: Option<String>,
    groups: Vec<String>,
}

const TITLE: Cell<String> = Cell::new("title");
const COUNT: Cell<u64> = Cell::new("count");
const ROSTER: Map<Item> = Map::new("roster");
const NOTES: Map<String> = Map::new("notes");

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn item(name: &str) -> Item {
    Item { name: Some(name.to_owned()), groups: vec!["Capulet".to_owned()] }
}

fn entry(body: &str, marks: Marks) -> Entry {
    Entry {
        direction: Direction::Received,
        peer: "juliet@capulet.lit/balcony".into(),
        time: 1_700_000_000_123,
        marks,
        payload: format!("<message><body>{body}</body></message>").into(),
    }
}

/// Applies changes and waits for them.
async fn apply(storage: &Storage, change: impl FnOnce(&mut Writes)) -> Receipt {
    let mut writes = Writes::new();
    change(&mut writes);
    let receipt = storage.submit(writes);
    storage.durable(receipt).await.unwrap();
    receipt
}

async fn create(storage: &Storage, owner: &BareJid) {
    storage.create(owner, Writes::new()).await.unwrap();
}

async fn append(storage: &Storage, owner: &BareJid, entry: Entry) -> Position {
    let slot = storage.slot();
    let position = slot.position();
    apply(storage, |writes| assert_eq!(writes.append(owner, slot, entry), position)).await;
    position
}

async fn undelivered(storage: &Storage, owner: &BareJid) -> Vec<Stored> {
    let page = storage.undelivered(owner, None, 1000).await.unwrap();
    assert_eq!((page.damaged, page.more), (vec![], None));
    let (owner, count) = (owner.clone(), page.entries.len() as u64);
    assert_eq!(storage.read(move |view| view.undelivered_count(&owner)).await.unwrap(), count);
    page.entries
}

async fn everything(storage: &Storage, owner: &BareJid) -> Vec<Stored> {
    storage.page(owner, None, 1000).await.unwrap().entries
}

async fn a_cell_keeps_its_latest_value(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    create(&storage, &romeo).await;
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap(), None);
    apply(&storage, |writes| {
        TITLE.put(writes, &romeo, &"Montague".to_owned()).unwrap();
        COUNT.put(writes, &romeo, &7).unwrap();
        TITLE.put(writes, &romeo, &"лев \u{1f981} \"'&<".to_owned()).unwrap();
    })
    .await;
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap().as_deref(), Some("лев \u{1f981} \"'&<"));
    apply(&storage, |writes| TITLE.delete(writes, &romeo)).await;
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap(), None);
    assert_eq!(COUNT.get(&storage, &romeo).await.unwrap(), Some(7));
    // The first glance may open a connection, the next ones find it; what was written in between is there.
    for count in 8..12 {
        apply(&storage, |writes| COUNT.put(writes, &romeo, &count).unwrap()).await;
        let owner = romeo.clone();
        assert_eq!(storage.glance(move |view| view.cell(&COUNT, &owner)).await.unwrap(), Some(count));
    }
}

async fn a_map_keeps_values_by_key(storage: Storage) {
    let (romeo, other) = (jid("romeo@verona.lit"), jid("romeo@mantua.lit"));
    create(&storage, &romeo).await;
    create(&storage, &other).await;
    apply(&storage, |writes| {
        ROSTER.put(writes, &romeo, "nurse@capulet.lit", &item("Nurse")).unwrap();
        ROSTER.put(writes, &romeo, "juliet@capulet.lit", &item("Juliet")).unwrap();
        ROSTER.put(writes, &romeo, "juliet@capulet.lit", &item("Sun")).unwrap();
        ROSTER.put(writes, &other, "paris@verona.lit", &item("Paris")).unwrap();
        NOTES.put(writes, &romeo, "a", &"b".to_owned()).unwrap();
    })
    .await;
    let all = ROSTER.all(&storage, &romeo).await.unwrap();
    assert_eq!(all, [("juliet@capulet.lit".into(), item("Sun")), ("nurse@capulet.lit".into(), item("Nurse"))]);
    assert_eq!(ROSTER.get(&storage, &romeo, "nurse@capulet.lit").await.unwrap(), Some(item("Nurse")));
    apply(&storage, |writes| ROSTER.delete(writes, &romeo, "nurse@capulet.lit")).await;
    assert_eq!(ROSTER.get(&storage, &romeo, "nurse@capulet.lit").await.unwrap(), None);
    apply(&storage, |writes| ROSTER.clear(writes, &romeo)).await;
    assert_eq!(ROSTER.all(&storage, &romeo).await.unwrap(), []);
    assert_eq!(NOTES.all(&storage, &romeo).await.unwrap().len(), 1);
    assert_eq!(ROSTER.all(&storage, &other).await.unwrap().len(), 1);
}

async fn a_value_of_another_type_is_an_error(storage: Storage) {
    const OTHER: Cell<u64> = Cell::new("title");
    let verona = jid("verona.lit");
    apply(&storage, |writes| TITLE.put(writes, &verona, &"Verona".to_owned()).unwrap()).await;
    let error = OTHER.get(&storage, &verona).await.unwrap_err();
    assert!(matches!(&error, Error::Value { name, .. } if name == "title"), "{error}");
}

async fn a_domain_exists_always_and_is_no_account(storage: Storage) {
    let verona = jid("verona.lit");
    apply(&storage, |writes| COUNT.put(writes, &verona, &1).unwrap()).await;
    assert_eq!(COUNT.get(&storage, &verona).await.unwrap(), Some(1));
    assert_eq!(storage.owners("verona.lit").await.unwrap(), []);
}

async fn an_owner_is_created_once(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    assert!(!storage.exists(&romeo).await.unwrap());
    let with = |title: &str| {
        let mut writes = Writes::new();
        TITLE.put(&mut writes, &romeo, &title.to_owned()).unwrap();
        writes
    };
    // Both are under way before either is answered.
    let (first, second) = (storage.create(&romeo, with("first")), storage.create(&romeo, with("second")));
    let (first, second) = (first.await, second.await);
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(second, Err(CreateError::Exists));
    assert!(storage.exists(&romeo).await.unwrap());
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap().as_deref(), Some("first"));
    for name in ["tybalt@capulet.lit", "benvolio@verona.lit"] {
        create(&storage, &jid(name)).await;
    }
    assert_eq!(storage.owners("verona.lit").await.unwrap(), [jid("benvolio@verona.lit"), romeo]);
    assert_eq!(storage.owners("mantua.lit").await.unwrap(), []);
}

async fn writes_to_an_account_that_does_not_exist_are_dropped(storage: Storage) {
    let ghost = jid("ghost@verona.lit");
    let slot = storage.slot();
    apply(&storage, |writes| {
        TITLE.put(writes, &ghost, &"boo".to_owned()).unwrap();
        ROSTER.put(writes, &ghost, "a@b", &item("x")).unwrap();
        writes.append(&ghost, slot, entry("boo", Marks::UNDELIVERED));
    })
    .await;
    assert!(!storage.exists(&ghost).await.unwrap());
    create(&storage, &ghost).await;
    assert_eq!(TITLE.get(&storage, &ghost).await.unwrap(), None);
    assert_eq!(everything(&storage, &ghost).await, []);
}

async fn a_deleted_owner_leaves_nothing(storage: Storage) {
    let (romeo, benvolio) = (jid("romeo@verona.lit"), jid("benvolio@verona.lit"));
    for owner in [&romeo, &benvolio] {
        create(&storage, owner).await;
        apply(&storage, |writes| {
            TITLE.put(writes, owner, &"x".to_owned()).unwrap();
            ROSTER.put(writes, owner, "a@b", &item("x")).unwrap();
        })
        .await;
        append(&storage, owner, entry("1", Marks::UNDELIVERED)).await;
        append(&storage, owner, entry("2", Marks::ARCHIVED)).await;
    }
    let slot = storage.slot();
    apply(&storage, |writes| {
        writes.delete_owner(&romeo);
        writes.append(&romeo, slot, entry("too late", Marks::UNDELIVERED));
    })
    .await;
    assert!(!storage.exists(&romeo).await.unwrap());
    create(&storage, &romeo).await;
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap(), None);
    assert_eq!(ROSTER.all(&storage, &romeo).await.unwrap(), []);
    assert_eq!(everything(&storage, &romeo).await, []);
    assert_eq!(undelivered(&storage, &romeo).await, []);
    assert_eq!(everything(&storage, &benvolio).await.len(), 2);
    assert_eq!(undelivered(&storage, &benvolio).await.len(), 1);
}

async fn the_log_keeps_entries_whole_and_in_order(storage: Storage) {
    let (romeo, benvolio) = (jid("romeo@verona.lit"), jid("benvolio@verona.lit"));
    create(&storage, &romeo).await;
    create(&storage, &benvolio).await;
    let mut expected = Vec::new();
    for number in 0..10 {
        let direction = if number % 2 == 0 { Direction::Received } else { Direction::Sent };
        let entry = Entry { direction, time: number, ..entry(&format!("{number} é"), Marks::ARCHIVED) };
        let position = append(&storage, &romeo, entry.clone()).await;
        append(&storage, &benvolio, self::entry("other", Marks::ARCHIVED)).await;
        expected.push(Stored { position, entry });
    }
    assert!(expected.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(everything(&storage, &romeo).await, expected);
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = storage.page(&romeo, after, 3).await.unwrap();
        pages.extend(page.entries);
        let Some(more) = page.more else { break };
        after = Some(more);
    }
    assert_eq!(pages, expected);
}

/// The positions of one page, and whether there is more.
async fn archived(storage: &Storage, owner: &BareJid, range: &Range, end: End, limit: usize) -> (Vec<Position>, bool) {
    let (owner, range) = (owner.clone(), range.clone());
    let page = storage.read(move |view| view.archived(&owner, &range, end, limit)).await.unwrap();
    assert_eq!(page.damaged, []);
    (page.entries.iter().map(|stored| stored.position).collect(), page.more.is_some())
}

/// An archived entry: the number of its owner, its place, its time and its peer.
type Known = (usize, Position, u64, &'static str);

/// Fills the logs of two owners with more entries than are indexed at once.
async fn filled(storage: &Storage, owners: &[BareJid; 2]) -> Vec<Known> {
    let peers = ["juliet@capulet.lit/balcony", "juliet@capulet.lit/hall", "nurse@capulet.lit"];
    let mut model: Vec<Known> = Vec::new();
    for group in 0..11 {
        let mut writes = Writes::new();
        for number in 0..500 {
            let (who, peer) = (number % 2, peers[number / 2 % 3]);
            let marks = if number % 10 == 3 { Marks::UNDELIVERED } else { Marks::ARCHIVED };
            // Now and then the clock goes back.
            let time = (group * 500 + number as u64).saturating_sub(if group % 4 == 2 { 700 } else { 0 });
            let entry = Entry { peer: peer.into(), time, ..entry("x", marks) };
            let position = writes.append(&owners[who], storage.slot(), entry);
            if marks == Marks::ARCHIVED {
                model.push((who, position, time, peer));
            }
        }
        storage.durable(storage.submit(writes)).await.unwrap();
    }
    model
}

/// Whether the entry is in `range` of the owner with this number.
fn is_in(range: &Range, who: usize, (owner, position, time, peer): Known) -> bool {
    owner == who
        && range.after.is_none_or(|after| position > after)
        && range.before.is_none_or(|before| position < before)
        && range.since.is_none_or(|since| time >= since)
        && range.until.is_none_or(|until| time <= until)
        && range.is_with(peer)
}

/// More entries than are indexed at once, so that pages come from the index and from the end of the log.
async fn the_archive_is_read_from_both_ends(storage: Storage) {
    let owners = [jid("romeo@verona.lit"), jid("benvolio@verona.lit")];
    for owner in &owners {
        create(&storage, owner).await;
    }
    let mut model = filled(&storage, &owners).await;
    let unarchived = model.swap_remove(40);
    apply(&storage, |writes| writes.unmark(&owners[unarchived.0], unarchived.1, Marks::ARCHIVED)).await;
    let removed = model.pop().unwrap();
    apply(&storage, |writes| writes.remove(&owners[removed.0], removed.1)).await;
    model.sort_unstable();
    let peer = |text: &str| Some(text.parse().unwrap());
    let middle = model[model.len() / 2].1;
    let ranges = [
        Range::default(),
        Range { after: Some(middle), ..Range::default() },
        Range { before: Some(middle), ..Range::default() },
        Range { since: Some(3000), until: Some(5000), ..Range::default() },
        Range { peer: peer("juliet@capulet.lit"), ..Range::default() },
        Range { peer: peer("juliet@capulet.lit/hall"), since: Some(1000), ..Range::default() },
        Range { since: Some(1600), until: Some(1700), ..Range::default() },
        Range { since: Some(9000), ..Range::default() },
        Range { until: Some(400), ..Range::default() },
        Range { peer: peer("nurse@capulet.lit"), after: Some(middle), until: Some(4000), ..Range::default() },
        Range { peer: peer("nurse@capulet.lit"), before: Some(middle), since: Some(500), ..Range::default() },
        Range { peer: peer("paris@verona.lit"), before: Some(middle), ..Range::default() },
        Range { peer: peer("tybalt@capulet.lit"), ..Range::default() },
    ];
    for (who, range) in (0..2).flat_map(|who| ranges.iter().map(move |range| (who, range))) {
        let expected = model.iter().filter(|entry| is_in(range, who, **entry));
        let expected: Vec<_> = expected.map(|(_, position, ..)| *position).collect();
        let owner = &owners[who];
        for limit in [7, 1000, 10_000] {
            let upto = limit.min(expected.len());
            let first = archived(&storage, owner, range, End::Oldest, limit).await;
            assert_eq!(first, (expected[..upto].to_vec(), upto < expected.len()), "{range:?}");
            let last = archived(&storage, owner, range, End::Youngest, limit).await;
            assert_eq!(last, (expected[expected.len() - upto..].to_vec(), upto < expected.len()), "{range:?}");
        }
        if range.peer.as_ref().is_none_or(|peer| peer.is_bare()) {
            let (owner, range) = (owner.clone(), range.clone());
            let count = storage.read(move |view| view.archived_count(&owner, &range)).await.unwrap();
            assert_eq!(count, expected.len() as u64);
        }
    }
    let (owner, known) = (owners[0].clone(), model[0].1);
    let is_archived = storage.read(move |view| {
        Ok([known, removed.1, unarchived.1, model[model.len() - 1].1].map(|it| view.is_archived(&owner, it).unwrap()))
    });
    assert_eq!(is_archived.await.unwrap(), [true, false, false, false], "and the last is another's");
    apply(&storage, |writes| writes.delete_owner(&owners[0])).await;
    create(&storage, &owners[0]).await;
    assert_eq!(archived(&storage, &owners[0], &Range::default(), End::Oldest, 10).await, (vec![], false));
    assert_eq!(everything(&storage, &owners[0]).await, []);
}

async fn expired(
    storage: &Storage,
    from: Option<&BareJid>,
    before: u64,
    limit: usize,
) -> (Vec<(BareJid, Position)>, Option<BareJid>) {
    let from = from.cloned();
    let found = storage.read(move |view| view.expired("verona.lit", from.as_ref(), before, limit)).await.unwrap();
    (found.entries, found.more)
}

async fn what_is_too_old_is_found_in_order(storage: Storage) {
    let (romeo, benvolio, elsewhere) = (jid("romeo@verona.lit"), jid("benvolio@verona.lit"), jid("romeo@mantua.lit"));
    for owner in [&romeo, &benvolio, &elsewhere] {
        create(&storage, owner).await;
    }
    let at = |time, marks| Entry { time, ..entry("x", marks) };
    let first = append(&storage, &romeo, at(1, Marks::ARCHIVED)).await;
    append(&storage, &benvolio, at(2, Marks::UNDELIVERED)).await;
    let third = append(&storage, &benvolio, at(3, Marks::ARCHIVED | Marks::UNDELIVERED)).await;
    let fourth = append(&storage, &romeo, at(4, Marks::ARCHIVED)).await;
    append(&storage, &elsewhere, at(1, Marks::ARCHIVED)).await;
    // Nothing is indexed yet.
    let both = vec![(romeo.clone(), first), (benvolio.clone(), third)];
    assert_eq!(expired(&storage, None, 4, 9).await, (both, None));
    assert_eq!(expired(&storage, None, 1, 9).await, (vec![], None));
    // Now everything is.
    for _ in 0..5000 {
        drop(storage.slot());
    }
    let youngest = append(&storage, &romeo, at(3, Marks::ARCHIVED)).await;
    for _ in 0..2 {
        apply(&storage, |writes| writes.mark(&romeo, youngest, Marks::UNDELIVERED)).await;
    }
    let all = [(benvolio, third), (romeo.clone(), first), (romeo.clone(), fourth), (romeo.clone(), youngest)];
    let more = || Some(romeo.clone());
    for (from, before, limit, expected, more) in [
        // By account, the oldest first.
        (None, 5, 9, &all[..], None),
        (None, 5, 2, &all[..2], more()),
        (None, 5, 1, &all[..1], more()),
        (more(), 5, 9, &all[1..], None),
        // An account ends at the first that is not too old, so that none is missing in the middle.
        (None, 4, 9, &all[..2], None),
    ] {
        assert_eq!(expired(&storage, from.as_ref(), before, limit).await, (expected.to_vec(), more));
    }
}

async fn a_page_is_bounded_in_bytes(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    create(&storage, &romeo).await;
    for _ in 0..4 {
        append(&storage, &romeo, entry(&"x".repeat(600_000), Marks::UNDELIVERED)).await;
    }
    let page = storage.undelivered(&romeo, None, 1000).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    let rest = storage.undelivered(&romeo, page.more, 1000).await.unwrap();
    assert_eq!(rest.entries.len(), 2);
    let end = storage.undelivered(&romeo, rest.more, 1000).await.unwrap();
    assert_eq!((end.entries.len(), end.more), (0, None));
}

async fn marks_decide_how_long_an_entry_stays(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    create(&storage, &romeo).await;
    append(&storage, &romeo, entry("unmarked", Marks::NONE)).await;
    let offline = append(&storage, &romeo, entry("offline", Marks::UNDELIVERED)).await;
    let both = append(&storage, &romeo, entry("both", Marks::UNDELIVERED | Marks::ARCHIVED)).await;
    let archived = append(&storage, &romeo, entry("archived", Marks::ARCHIVED)).await;
    let positions = |entries: Vec<Stored>| entries.into_iter().map(|stored| stored.position).collect::<Vec<_>>();
    assert_eq!(positions(everything(&storage, &romeo).await), [offline, both, archived]);
    assert_eq!(positions(undelivered(&storage, &romeo).await), [offline, both]);

    apply(&storage, |writes| {
        for position in [offline, both] {
            writes.unmark(&romeo, position, Marks::UNDELIVERED);
        }
        writes.mark(&romeo, archived, Marks::UNDELIVERED);
    })
    .await;
    assert_eq!(positions(everything(&storage, &romeo).await), [both, archived]);
    let left = undelivered(&storage, &romeo).await;
    assert_eq!(left, [Stored { position: archived, entry: entry("archived", Marks::ARCHIVED | Marks::UNDELIVERED) }]);

    apply(&storage, |writes| writes.unmark(&romeo, archived, Marks::ARCHIVED)).await;
    assert_eq!(positions(undelivered(&storage, &romeo).await), [archived]);
    apply(&storage, |writes| {
        writes.unmark(&romeo, archived, Marks::UNDELIVERED | Marks::ARCHIVED);
        writes.remove(&romeo, both);
        // What is gone stays gone.
        writes.mark(&romeo, offline, Marks::UNDELIVERED);
    })
    .await;
    assert_eq!(everything(&storage, &romeo).await, []);
    assert_eq!(undelivered(&storage, &romeo).await, []);
}

async fn an_owner_cannot_touch_the_entries_of_another(storage: Storage) {
    let (romeo, tybalt) = (jid("romeo@verona.lit"), jid("tybalt@capulet.lit"));
    create(&storage, &romeo).await;
    create(&storage, &tybalt).await;
    let position = append(&storage, &romeo, entry("love", Marks::UNDELIVERED)).await;
    apply(&storage, |writes| {
        writes.unmark(&tybalt, position, Marks::UNDELIVERED);
        writes.mark(&tybalt, position, Marks::ARCHIVED | Marks::UNDELIVERED);
        writes.remove(&tybalt, position);
    })
    .await;
    assert_eq!(undelivered(&storage, &romeo).await.len(), 1);
    assert_eq!(undelivered(&storage, &tybalt).await, []);
    assert_eq!(everything(&storage, &tybalt).await, []);
}

async fn receipts_grow_and_the_latest_covers_all(storage: Storage) {
    let verona = jid("verona.lit");
    assert_eq!(storage.submit(Writes::new()), Receipt::NONE);
    storage.durable(Receipt::NONE).await.unwrap();
    let mut last = Receipt::NONE;
    for number in 0..2000 {
        let mut writes = Writes::new();
        COUNT.put(&mut writes, &verona, &number).unwrap();
        let receipt = storage.submit(writes);
        assert!(receipt > last);
        assert_eq!(last.max(receipt), receipt);
        last = receipt;
    }
    assert_eq!(storage.latest(), last);
    storage.durable(last).await.unwrap();
    assert!(storage.is_durable(last));
    assert_eq!(COUNT.get(&storage, &verona).await.unwrap(), Some(1999));
}

async fn nothing_is_acknowledged_after_close(storage: Storage) {
    let verona = jid("verona.lit");
    let mut writes = Writes::new();
    COUNT.put(&mut writes, &verona, &1).unwrap();
    let before = storage.submit(writes);
    storage.close().await.unwrap();
    storage.durable(before).await.unwrap();
    let mut writes = Writes::new();
    COUNT.put(&mut writes, &verona, &2).unwrap();
    let after = storage.submit(writes);
    assert!(storage.durable(after).await.is_err());
    assert!(matches!(storage.create(&jid("a@verona.lit"), Writes::new()).await, Err(CreateError::Lost(_))));
    storage.pressure().await;
    storage.close().await.unwrap();
}

/// A storage on disk in a directory that goes with it.
struct Disk(PathBuf);

impl Disk {
    fn open(name: &str) -> (Storage, Self) {
        let directory = std::env::temp_dir().join(format!("comity-conformance-{}-{name}", std::process::id()));
        (Storage::open(&directory, Options::default()).unwrap(), Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct PausedDisk;

impl PausedDisk {
    fn open(name: &str) -> (Storage, Disk) {
        Disk::open(name)
    }
}

struct Memory;

impl Memory {
    fn open(_: &str) -> (Storage, Self) {
        (Storage::open_in_memory().unwrap(), Self)
    }
}

async fn what_was_handed_over_goes_unless_it_waits(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    create(&storage, &romeo).await;
    let arrived = append(&storage, &romeo, entry("arrived", Marks::QUEUED)).await;
    let archived = append(&storage, &romeo, entry("archived", Marks::QUEUED | Marks::ARCHIVED)).await;
    let late = append(&storage, &romeo, entry("late", Marks::QUEUED)).await;
    let numbered = |number| Queued { session: -7, number };
    apply(&storage, |writes| {
        for (position, number) in [(arrived, 1), (archived, 2), (late, 3)] {
            writes.queue(&romeo, position, numbered(number));
        }
        writes.mark(&romeo, late, Marks::UNDELIVERED);
        writes.hand_over(storage.settled());
    })
    .await;
    let behind = append(&storage, &romeo, entry("behind", Marks::QUEUED)).await;
    let positions = |stored: Vec<Stored>| stored.iter().map(|stored| stored.position).collect::<Vec<_>>();
    assert_eq!(positions(everything(&storage, &romeo).await), [archived, late, behind]);
    assert_eq!(positions(undelivered(&storage, &romeo).await), [late]);
    let owner = romeo.clone();
    assert_eq!(storage.read(move |view| view.queued(&owner)).await.unwrap(), [(late, numbered(3))]);

    // Once somebody has got it, or the archive is too old, nothing holds it any more.
    apply(&storage, |writes| {
        writes.unmark(&romeo, late, Marks::UNDELIVERED);
        writes.unmark(&romeo, archived, Marks::ARCHIVED);
    })
    .await;
    assert_eq!(positions(everything(&storage, &romeo).await), [behind]);
    let owner = romeo.clone();
    assert_eq!(storage.read(move |view| view.queued(&owner)).await.unwrap(), []);
    // With its owner goes what is on its way, too.
    apply(&storage, |writes| writes.delete_owner(&romeo)).await;
    create(&storage, &romeo).await;
    assert_eq!(everything(&storage, &romeo).await, []);
}

macro_rules! suite {
    ($module:ident: $backend:ident, $flavour:meta, $cases:tt) => {
        mod $module {
            use super::*;
            suite!(@each $backend, $flavour, $cases);
        }
    };
    (@each $backend:ident, $flavour:meta, [$($case:ident),+ $(,)?]) => {
        $(
            #[$flavour]
            async fn $case() {
                let (storage, _kept) = $backend::open(concat!(stringify!($backend), "-", stringify!($case)));
                super::$case(storage.clone()).await;
                storage.close().await.unwrap();
            }
        )+
    };
    ($cases:tt in $($module:ident: $backend:ident, $flavour:meta;)+) => {
        $(suite!($module: $backend, $flavour, $cases);)+
    };
}

suite! {
    [
        a_cell_keeps_its_latest_value,
        a_map_keeps_values_by_key,
        a_value_of_another_type_is_an_error,
        a_domain_exists_always_and_is_no_account,
        an_owner_is_created_once,
        writes_to_an_account_that_does_not_exist_are_dropped,
        a_deleted_owner_leaves_nothing,
        the_log_keeps_entries_whole_and_in_order,
        the_archive_is_read_from_both_ends,
        what_is_too_old_is_found_in_order,
        a_page_is_bounded_in_bytes,
        marks_decide_how_long_an_entry_stays,
        what_was_handed_over_goes_unless_it_waits,
        an_owner_cannot_touch_the_entries_of_another,
        receipts_grow_and_the_latest_covers_all,
        nothing_is_acknowledged_after_close,
        it_behaves_like_a_map_in_memory,
        what_was_exchanged_with_somebody_is_found,
    ]
    in
    sqlite_on_disk: Disk, tokio::test;
    sqlite_on_disk_in_paused_time: PausedDisk, tokio::test(start_paused = true);
    sqlite_in_memory: Memory, tokio::test(start_paused = true);
}

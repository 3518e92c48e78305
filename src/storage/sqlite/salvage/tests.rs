//! What a salvaged database has of a damaged one.

use super::super::super::{Direction, Entry, Map, Options, Storage, Writes};
use super::*;
use crate::jid::BareJid;

const VALUES: Map<String> = Map::new("values");
/// From rows that share a page to those that go on in others, with every way of dividing them.
const LONG: (usize, usize) = (9000, 37);
const SHORT: (usize, usize) = (900, 31);

/// A database that is closed, with an item and an entry of each length up to one, in steps.
async fn filled(name: &str, (upto, step): (usize, usize)) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("comity-salvage-{name}-{}", std::process::id()));
    let storage = Storage::open(&directory, Options::default()).unwrap();
    // The name of a domain, which needs no account.
    let owner = BareJid::parse("verona.lit").unwrap();
    let mut writes = Writes::new();
    for length in (0..upto).step_by(step) {
        let text = "x".repeat(length);
        VALUES.put(&mut writes, &owner, &length.to_string(), &text).unwrap();
        let (direction, peer, marks) = (Direction::Received, "juliet@capulet.lit".into(), Marks::ARCHIVED);
        writes.append(&owner, storage.slot(), Entry { direction, peer, time: 7, marks, payload: text.into() });
    }
    storage.durable(storage.submit(writes)).await.unwrap();
    storage.close().await.unwrap();
    directory
}

fn pages(pages: &Pages) -> impl Iterator<Item = (Vec<u8>, usize)> {
    (1..=pages.count).map(|number| (pages.read(number).unwrap(), if number == 1 { 100 } else { 0 }))
}

#[tokio::test]
async fn rows_of_every_length_are_found() {
    let directory = filled("lengths", LONG).await;
    let all = Pages::open(&directory.join("comity.sqlite")).unwrap();
    let (mut items, mut entries) = (0, 0);
    for (page, header) in pages(&all) {
        let list = List::of(&page, header, &all);
        for place in list.places() {
            match all.cell(&page, list.kind, place) {
                Cell::Row((repair::Kind::Item, ..)) => items += 1,
                Cell::Row((repair::Kind::Entry, ..)) => entries += 1,
                Cell::Row(_) | Cell::Other => {}
                Cell::Broken => panic!("a row is damaged"),
            }
        }
    }
    assert_eq!([items, entries], [LONG.0.div_ceil(LONG.1); 2]);
    fs::remove_dir_all(&directory).unwrap();
}

/// What is found on a page, in any order: two places of a list may have become each other.
fn rows(all: &Pages, page: &[u8], header: usize) -> BTreeSet<String> {
    let list = List::of(page, header, all);
    let found = list.places().filter_map(|place| match all.cell(page, list.kind, place) {
        Cell::Row(found) => Some(found),
        Cell::Other => None,
        Cell::Broken => all.mended(page, list.kind, place),
    });
    found.map(|found| format!("{found:?}")).collect()
}

#[tokio::test]
async fn a_flipped_bit_of_a_list_costs_nothing() {
    let directory = filled("lists", SHORT).await;
    let all = Pages::open(&directory.join("comity.sqlite")).unwrap();
    let mut tried = 0;
    for (page, header) in pages(&all) {
        let (list, expected) = (List::of(&page, header, &all), rows(&all, &page, header));
        if expected.is_empty() {
            continue;
        }
        // How many there are, and where they are. No page has as many octets as the highest four bits would say.
        let numbers = [header + 3].into_iter().chain((0..list.cells.len()).map(|slot| list.start() + 2 * slot));
        for (place, bit) in numbers.flat_map(|place| (0..12).map(move |bit| (place, bit))) {
            let mut flipped = page.clone();
            flipped[place + 1 - bit / 8] ^= 1 << (bit % 8);
            assert_eq!(rows(&all, &flipped, header), expected, "octet {place}, bit {bit}");
            tried += 1;
        }
    }
    assert!(tried > 12 * 2 * SHORT.0 / SHORT.1, "{tried}");
    fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn what_cannot_be_put_right_is_counted_and_stays_as_damaged() {
    let directory = filled("lost", SHORT).await;
    let file = directory.join("comity.sqlite");
    let mut octets = fs::read(&file).unwrap();
    let place = octets.windows(300).position(|octets| octets.iter().all(|octet| *octet == b'x')).unwrap();
    octets[place..place + 2].copy_from_slice(b"yz");
    fs::write(&file, &octets).unwrap();
    let all = Pages::open(&file).unwrap();
    let copied = copy(&all, &all.free().unwrap(), &directory.join("new")).unwrap().unwrap();
    assert_eq!(copied.lost, 1);
    let damaged = |table: &str| -> i64 {
        let connection = Connection::open(directory.join("new")).unwrap();
        let query = format!("SELECT count(*) FROM {table} WHERE checksum = ?1");
        connection.query_row(&query, [KNOWN], |row| row.get(0)).unwrap()
    };
    assert_eq!(damaged("maps") + damaged("log"), 1);
    fs::remove_dir_all(&directory).unwrap();
}

//! Makes a new database of one whose trees are damaged.
//!
//! A page that leads to others holds few values of its own, and a page that holds values is no more than a list of rows
//! with their checksums. So all pages are read, whatever leads to them, and every row that is right goes into a new
//! database: what a flipped bit costs is the row that it is in, at most. What only says where to look is made anew, and so
//! is the schema. SQLite does not see the damaged file, which is kept beside the new one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::{Error, Marks};
use super::checksum::Kept;
use super::counter::Counter;
use super::examine::KNOWN;
use super::repair::{self, Row};
use super::wal::{self, word};
use super::{directory, header, index, schema};

/// No row is longer.
const LONGEST: usize = 1 << 26;
/// Octets of a page; the header says so, or the file is none of ours.
const PAGE: usize = 4096;
/// So many rows are tried to be put right; if there are more, it was no bit.
const MOST_BROKEN: usize = 64;

/// Replaces the database in `file`, which is in nobody's hands. `reason` says what is wrong with it.
pub(super) fn salvage(file: &Path, reason: &str) -> Result<(), Error> {
    let unable = || Error::Corrupt(reason.to_owned());
    // It would be taken for that of the new database. The header may have been in it.
    wal::settle(file)?;
    header::mend(file)?;
    let version = header::version(file)?.ok_or_else(unable)?;
    if version > schema::SCHEMA_VERSION && (version ^ schema::SCHEMA_VERSION).count_ones() > 1 {
        return Err(Error::Newer { found: version, known: schema::SCHEMA_VERSION });
    }
    tracing::error!(file = %file.display(), reason, "the database is damaged: its rows are copied into a new one");
    let pages = Pages::open(file)?;
    let free = pages.free().or_else(|| pages.unreached()).ok_or_else(unable)?;
    // Nobody would miss the rows that are not there.
    if pages.said > pages.count && pages.leads_beyond_end(&free) {
        return Err(unable());
    }
    let [new, old] = ["new", "damaged"].map(|ending| beside(file, ending));
    if new.exists() {
        fs::remove_file(&new).map_err(Error::at(&new))?;
    }
    let copied = copy(&pages, &free, &new)?.ok_or_else(unable)?;
    if old.exists() {
        fs::remove_file(&old).map_err(Error::at(&old))?;
    }
    fs::hard_link(file, &old).map_err(Error::at(&old))?;
    directory::put_in_place(&new, file)?;
    tracing::error!(kept = %old.display(), copied.rows, copied.lost, "the rows of the damaged database are in a new one");
    Ok(())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    PathBuf::from(path)
}

#[derive(Debug, Default)]
struct Copied {
    rows: usize,
    /// What is no row any more.
    lost: usize,
    /// What nobody can do without.
    reserved: Option<i64>,
    handed: Option<i64>,
    secret: Option<Vec<u8>>,
}

/// Copies every row into a database of its own; nothing comes of it if it can never be complete.
fn copy(pages: &Pages, free: &BTreeSet<u32>, new: &Path) -> Result<Option<Copied>, Error> {
    directory::create_file(new)?;
    let mut connection = Connection::open_with_flags(new, directory::WRITE)?;
    schema::migrate(&mut connection)?;
    let transaction = connection.transaction()?;
    let mut copied = Copied::default();
    for number in (1..=pages.count).filter(|number| !free.contains(number)) {
        copied.take_page(&transaction, pages, number)?;
    }
    let (Some(reserved), Some(handed), Some(secret)) = (copied.reserved, copied.handed, &copied.secret) else {
        return Ok(None);
    };
    Counter::Reserved.set(&transaction, reserved)?;
    Counter::Handed.set(&transaction, handed)?;
    schema::keep_secret(&transaction, secret)?;
    let waiting = "INSERT OR IGNORE INTO undelivered SELECT owner, position FROM log WHERE marks & ?1";
    transaction.execute(waiting, [Marks::UNDELIVERED.bits()])?;
    let behind: i64 = transaction.query_row("SELECT ifnull(max(position), 0) + 1 FROM log", [], |row| row.get(0))?;
    index::extend(&transaction, behind.unsigned_abs())?;
    transaction.commit()?;
    schema::configure(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(Some(copied))
}

impl Copied {
    fn take_page(&mut self, connection: &Connection, pages: &Pages, number: u32) -> Result<(), Error> {
        let page = pages.read(number)?;
        let list = List::of(&page, if number == 1 { 100 } else { 0 }, pages);
        let cells: Vec<_> = list.places().map(|place| (place, pages.cell(&page, list.kind, place))).collect();
        // Without its checksum a row of this table looks like one of the index.
        let has_places = cells.iter().any(|(_, cell)| matches!(cell, Cell::Row((repair::Kind::Queued, ..))));
        for (place, cell) in cells {
            match cell {
                Cell::Row(found) => self.take(connection, found)?,
                Cell::Other if !has_places => {}
                Cell::Other | Cell::Broken => {
                    let mended = if self.lost < MOST_BROKEN { pages.mended(&page, list.kind, place) } else { None };
                    if let Some(found) = mended {
                        self.take(connection, found)?;
                        continue;
                    }
                    self.lost += 1;
                    // What can be read of it stays, so that whoever wants it hears that it is damaged.
                    if let Some(Some((kind, row, marks))) = pages.read_row(&page, list.kind, place) {
                        self.take(connection, (kind, Row { checksum: KNOWN, ..row }, marks))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, connection: &Connection, (kind, mut row, marks): Found) -> Result<(), Error> {
        match kind {
            // One that is not right is of no use.
            repair::Kind::Secret | repair::Kind::Counter(_) if !row.is_right(kind) => {}
            repair::Kind::Secret => self.secret = row.texts.pop(),
            repair::Kind::Counter(Counter::Reserved) => self.reserved = row.numbers.pop(),
            repair::Kind::Counter(Counter::Handed) => self.handed = row.numbers.pop(),
            _ => self.rows += row.insert(connection, kind, marks)?,
        }
        Ok(())
    }
}

/// A row, where it may be from, and the marks if it is an entry.
type Found = (repair::Kind, Row, i64);

/// What is at one place of a page.
enum Cell {
    Row(Found),
    /// A row of a table that is made anew, or something that leads to other pages.
    Other,
    Broken,
}

/// What a page is: each kind has its own form of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Leads to other pages and has no rows.
    Branch = 5,
    /// Has rows with a number as their key.
    Table = 13,
    /// Has rows that are their own key.
    Leaf = 10,
    /// Has rows of that sort, too, and leads to other pages.
    Node = 2,
}

/// The list of what is on a page.
#[derive(Clone)]
struct List<'a> {
    page: &'a [u8],
    header: usize,
    kind: Kind,
    /// Where what is listed begins.
    cells: Vec<usize>,
}

impl<'a> List<'a> {
    /// The list as the header of the page says, or with another bit if that is right and this is not.
    fn of(page: &'a [u8], header: usize, pages: &Pages) -> Self {
        let octet = page.get(header).copied().unwrap_or(0);
        let known = [Kind::Branch, Kind::Table, Kind::Leaf, Kind::Node];
        let nearest = known.into_iter().min_by_key(|kind| (*kind as u8 ^ octet).count_ones());
        // A page that continues a long row begins with zero.
        let Some(nearest) = nearest.filter(|_| octet != 0) else {
            return Self { page, header, kind: Kind::Table, cells: Vec::new() };
        };
        let count = number(page, header + 3);
        let list = Self::with(page, header, nearest, count);
        if list.is_whole() {
            return list;
        }
        let counts = (0..12).map(|bit| Self::with(page, header, nearest, count ^ 1 << bit));
        let likely = known.into_iter().filter(|kind| (*kind as u8 ^ octet).count_ones() <= 1);
        let kinds = likely.map(|kind| Self::with(page, header, kind, count));
        let slots = (0..list.cells.len()).flat_map(|slot| (0..12).map(move |bit| (slot, bit)));
        let places = slots.map(|(slot, bit)| {
            let mut other = list.clone();
            other.cells.iter_mut().skip(slot).take(1).for_each(|place| *place ^= 1 << bit);
            other
        });
        // If it is the list that is wrong, no row is.
        let is_right = |other: &Self| other.is_whole() && other.broken(pages) == 0;
        kinds.chain(counts).chain(places).find(is_right).unwrap_or(list)
    }

    fn with(page: &'a [u8], header: usize, kind: Kind, count: usize) -> Self {
        let mut list = Self { page, header, kind, cells: Vec::new() };
        let start = list.start();
        list.cells.extend((0..count.min(page.len() / 4)).map(|slot| number(page, start + 2 * slot)));
        list
    }

    /// Where it begins on its page.
    fn start(&self) -> usize {
        self.header + if matches!(self.kind, Kind::Branch | Kind::Node) { 12 } else { 8 }
    }

    /// Whether all of the page is accounted for: every octet behind the list belongs to one cell or to none, as the page
    /// says. So nothing that was deleted is listed, and nothing is listed twice instead of something else.
    fn is_whole(&self) -> bool {
        let start = match number(self.page, self.header + 5) {
            0 => 1 << 16,
            start => start,
        };
        let loose = usize::from(self.page.get(self.header + 7).copied().unwrap_or(0));
        let mut used = start + loose;
        let mut gap = number(self.page, self.header + 1);
        while gap != 0 {
            let next = number(self.page, gap);
            if next != 0 && next <= gap {
                return false;
            }
            used += number(self.page, gap + 2);
            gap = next;
        }
        let mut before = start;
        let mut places = self.cells.clone();
        places.sort_unstable();
        for place in places {
            let Some(length) = extent(self.page, self.kind, place).filter(|_| place >= before) else {
                return false;
            };
            used += length;
            before = place + length;
        }
        used == self.page.len()
    }

    fn broken(&self, pages: &Pages) -> usize {
        self.places().filter(|place| matches!(pages.cell(self.page, self.kind, *place), Cell::Broken)).count()
    }

    /// Where rows begin.
    fn places(&self) -> impl Iterator<Item = usize> {
        self.cells.iter().copied().filter(|_| self.kind != Kind::Branch)
    }

    /// The pages to which it leads.
    fn children(&self) -> impl Iterator<Item = u32> {
        let leads = matches!(self.kind, Kind::Branch | Kind::Node);
        let places = self.cells.iter().copied().chain([self.header + 8]).filter(move |_| leads);
        places.map(|place| word(self.page, place).unwrap_or(u32::MAX))
    }
}

/// The file, page by page.
struct Pages {
    file: File,
    count: u32,
    /// How many there are as the header says, if it knows.
    said: u32,
}

impl Pages {
    fn open(path: &Path) -> Result<Self, Error> {
        let at = Error::at(path);
        let file = File::open(path).map_err(at)?;
        let mut header = [0; 100];
        file.read_exact_at(&mut header, 0).map_err(at)?;
        let length = file.metadata().map_err(at)?.len();
        let count = u32::try_from(length / PAGE as u64).map_err(|_| Error::Engine("the file is too long".into()))?;
        // It was noted with the last change that counts.
        let knows = word(&header, 24) == word(&header, 92);
        let said = word(&header, 28).filter(|_| knows).unwrap_or(0);
        Ok(Self { file, count, said })
    }

    /// Whether something leads to a page that is not there.
    fn leads_beyond_end(&self, free: &BTreeSet<u32>) -> bool {
        let led = (1..=self.count).filter(|number| !free.contains(number)).map(|number| self.led_from(number));
        led.into_iter().any(|led| led.is_none_or(|led| led.iter().any(|page| !(1..=self.count).contains(page))))
    }

    /// The pages to which nothing leads, for when their list is damaged; nothing if something else is damaged, too.
    fn unreached(&self) -> Option<BTreeSet<u32>> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![1]);
        while let Some(number) = next.pop() {
            let is_new = (1..=self.count).contains(&number) && reached.insert(number);
            next.extend(self.led_from(number).filter(|_| is_new)?);
        }
        Some((1..=self.count).filter(|number| !reached.contains(number)).collect())
    }

    /// The pages to which this one leads; nothing if that cannot be told. What continues a row leads to no other, for the
    /// row knows.
    fn led_from(&self, number: u32) -> Option<Vec<u32>> {
        let page = self.read(number).ok()?;
        let list = List::of(&page, if number == 1 { 100 } else { 0 }, self);
        let mut led: Vec<u32> = list.children().collect();
        for place in list.places() {
            let (key, values, rest) = self.record(&page, list.kind, place)?;
            led.extend(rest);
            if let (Some(_), [Value::Text(_), Value::Text(_), Value::Text(_), Value::Number(root), ..]) =
                (key, values.as_slice())
            {
                // A table, or something that has no page.
                led.extend(u32::try_from(*root).ok().filter(|root| *root != 0));
            }
        }
        Some(led)
    }

    fn read(&self, number: u32) -> Result<Vec<u8>, Error> {
        let mut page = vec![0; PAGE];
        let at = u64::from(number.saturating_sub(1)) * PAGE as u64;
        self.file.read_exact_at(&mut page, at).map_err(|error| Error::Engine(error.to_string()))?;
        Ok(page)
    }

    /// The pages that hold nothing; nothing if their list is damaged.
    fn free(&self) -> Option<BTreeSet<u32>> {
        let header = self.read(1).ok()?;
        let (mut trunk, count) = (word(&header, 32)?, word(&header, 36)?);
        let mut free = BTreeSet::new();
        while trunk != 0 {
            let page = self.read(trunk).ok()?;
            let leaves = usize::try_from(word(&page, 4)?).ok().filter(|leaves| *leaves <= PAGE / 4 - 2)?;
            let numbers = (0..leaves).map(|leaf| word(&page, 8 + 4 * leaf)).chain([Some(trunk)]);
            for number in numbers {
                number.filter(|number| (2..=self.count).contains(number) && free.insert(*number))?;
            }
            trunk = word(&page, 0)?;
        }
        (free.len() == usize::try_from(count).ok()?).then_some(free)
    }

    /// What begins there: the checksum tells.
    fn cell(&self, page: &[u8], kind: Kind, at: usize) -> Cell {
        match self.read_row(page, kind, at) {
            Some(Some(row)) if row.1.is_right(row.0) => Cell::Row(row),
            Some(None) => Cell::Other,
            _ => Cell::Broken,
        }
    }

    /// The row that is there if one bit of it is another, or one of its place.
    fn mended(&self, page: &[u8], kind: Kind, at: usize) -> Option<Found> {
        let mut page = page.to_vec();
        let mut found: Vec<Found> = Vec::new();
        let mut look = |page: &[u8], at| match self.cell(page, kind, at) {
            Cell::Row(right) if right.1.is_likely(right.0) && !found.contains(&right) => found.push(right),
            _ => {}
        };
        for (octet, bit) in (at..page.len()).flat_map(|octet| (0..8).map(move |bit| (octet, bit))) {
            *page.get_mut(octet)? ^= 1 << bit;
            look(&page, at);
            *page.get_mut(octet)? ^= 1 << bit;
        }
        if found.is_empty() {
            // Another place, which is in the list already if it is not the right one; or it goes on in other pages, and the
            // bit is there.
            let elsewhere = (0..16).find_map(|bit| match self.cell(&page, kind, at ^ 1 << bit) {
                Cell::Row(right) => Some(right),
                _ => None,
            });
            let there = || {
                let (table, row, marks) = self.read_row(&page, kind, at)??;
                Some((table, row.repaired(table)?, marks))
            };
            return there().or(elsewhere);
        }
        if found.len() == 1 { found.pop() } else { None }
    }

    /// The row that begins there; nothing in it if it is of a table that is made anew.
    fn read_row(&self, page: &[u8], kind: Kind, at: usize) -> Option<Option<Found>> {
        let (key, values, _) = self.record(page, kind, at)?;
        classify(key, &values)
    }

    /// The key, if it is a number, and the columns of what begins there; and on which pages it goes on.
    fn record(&self, page: &[u8], kind: Kind, at: usize) -> Option<(Option<i64>, Vec<Value>, Vec<u32>)> {
        let mut at = if kind == Kind::Node { at + 4 } else { at };
        let size = usize::try_from(varint(page, &mut at)?).ok().filter(|size| *size <= LONGEST)?;
        let key = if kind == Kind::Table { Some(varint(page, &mut at)?) } else { None };
        let (payload, rest) = self.payload(page, at, size, kind == Kind::Table)?;
        Some((key, record(&payload)?, rest))
    }

    /// What does not fit into a page goes on in others.
    fn payload(&self, page: &[u8], at: usize, size: usize, is_table: bool) -> Option<(Vec<u8>, Vec<u32>)> {
        let here = here(size, is_table);
        let mut payload = page.get(at..at + here)?.to_vec();
        let mut rest = Vec::new();
        let mut next = if here < size { word(page, at + here)? } else { 0 };
        while payload.len() < size {
            let page = (1..=self.count).contains(&next).then(|| self.read(next).ok())??;
            rest.push(next);
            next = word(&page, 0)?;
            payload.extend(page.get(4..)?.iter().take(size - payload.len()));
        }
        Some((payload, rest))
    }
}

/// How many octets of the page belong to what begins there.
fn extent(page: &[u8], kind: Kind, place: usize) -> Option<usize> {
    let mut at = if matches!(kind, Kind::Branch | Kind::Node) { place + 4 } else { place };
    if kind == Kind::Branch {
        varint(page, &mut at)?;
    } else {
        let size = usize::try_from(varint(page, &mut at)?).ok().filter(|size| *size <= LONGEST)?;
        if kind == Kind::Table {
            varint(page, &mut at)?;
        }
        let here = here(size, kind == Kind::Table);
        at += if here < size { here + 4 } else { size };
    }
    // No hole is smaller.
    Some((at - place).max(4)).filter(|length| place + length <= page.len())
}

/// How much of so long a row is on its page.
const fn here(size: usize, is_table: bool) -> usize {
    const LEAST: usize = (PAGE - 12) * 32 / 255 - 23;
    let most = if is_table { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
    if size <= most {
        return size;
    }
    let wanted = LEAST + (size - LEAST) % (PAGE - 4);
    if wanted <= most { wanted } else { LEAST }
}

enum Value {
    Null,
    Number(i64),
    Text(Vec<u8>),
    Octets(Vec<u8>),
}

/// The columns of a row.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let kind = varint(payload, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let octets = payload.get(body..body.checked_add(length)?)?;
        body += length;
        values.push(match kind {
            0 => Value::Null,
            8 | 9 => Value::Number(kind - 8),
            12.. if kind % 2 == 0 => Value::Octets(octets.to_vec()),
            12.. => Value::Text(octets.to_vec()),
            _ => {
                let sign = if octets.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
                Value::Number(octets.iter().fold(sign, |number, octet| number << 8 | i64::from(*octet)))
            }
        });
    }
    (at == header && body == payload.len()).then_some(values)
}

/// The row that columns make; nothing in it if it is of another table, nothing at all if it is of none.
fn classify(key: Option<i64>, values: &[Value]) -> Option<Option<Found>> {
    use Value::{Null, Number, Octets, Text};
    use repair::Kind;
    let row = |numbers: &[i64], texts: &[&Vec<u8>], checksum: &i64| Row {
        numbers: numbers.to_vec(),
        texts: texts.iter().map(|text| (*text).clone()).collect(),
        checksum: *checksum,
    };
    let found = match (key, values) {
        (Some(id), [Null, Text(domain), Text(local), Number(checksum)]) => {
            (Kind::Owner, row(&[id], &[domain, local], checksum), 0)
        }
        (
            Some(at),
            [Null, Number(owner), Number(way), Number(time), Number(marks), Number(sum), Text(peer), Text(text)],
        ) => (Kind::Entry, row(&[at, *owner, *way, *time], &[peer, text], sum), *marks),
        (None, [Number(owner), Text(name), Text(value), Number(checksum)]) => {
            (Kind::Cell, row(&[*owner], &[name, value], checksum), 0)
        }
        (None, [Number(owner), Text(name), Text(key), Text(value), Number(checksum)]) => {
            (Kind::Item, row(&[*owner], &[name, key, value], checksum), 0)
        }
        (Some(_), [Octets(one), Octets(other), Number(checksum)]) => {
            let is_right = Kept::Secret(one).checksum(0) == *checksum;
            (Kind::Secret, row(&[], &[if is_right { one } else { other }], checksum), 0)
        }
        (Some(_), [Number(value), Number(checksum)]) => {
            let counter = Counter::ALL.into_iter().find(|counter| counter.checksum(*value) == *checksum)?;
            (Kind::Counter(counter), row(&[*value], &[], checksum), 0)
        }
        (Some(_), [Number(version), Number(schema), Number(checksum)]) => {
            (Kind::Version, row(&[*version, *schema], &[], checksum), 0)
        }
        (None, [Number(position), Number(session), Number(number), Number(checksum)]) => {
            let queued = row(&[*position, *session, *number], &[], checksum);
            // Or it is of the index.
            if !queued.is_right(Kind::Queued) {
                return Some(None);
            }
            (Kind::Queued, queued, 0)
        }
        // What else there is of the index, undelivered, the names of owners, the schema.
        (None, [Number(_), Number(_)] | [Text(_), Text(_), Number(_)])
        | (Some(_), [Null, Number(_), Number(_)] | [Text(_), Text(_), Text(_), Number(_), Text(_) | Null]) => {
            return Some(None);
        }
        _ => return None,
    };
    Some(Some(found))
}

/// A number of one to nine octets.
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut number: u64 = 0;
    for place in 0..9 {
        let octet = *bytes.get(*at)?;
        *at += 1;
        if place == 8 {
            return Some((number << 8 | u64::from(octet)).cast_signed());
        }
        number = number << 7 | u64::from(octet & 0x7f);
        if octet < 0x80 {
            break;
        }
    }
    Some(number.cast_signed())
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |it| usize::from(it[0]) << 8 | usize::from(it[1]))
}

#[cfg(test)]
mod tests;

//! The write-ahead log, as it is found when the data is opened.
//!
//! SQLite uses it up to the first frame whose checksum is wrong and drops the rest without a word, for that is what a
//! crash leaves behind. Two things look the same and are none:
//!
//! - A bit has flipped, or the end is missing. Everything behind it was acknowledged; for the last transaction, which has
//!   nothing behind it, that is written in a file of its own (synced.rs). What is missing is an error. Each frame's checksum
//!   goes on from the one before, so what a frame should be follows from its neighbours: most flipped bits can be put right,
//!   and the others go into the database as they are, where what is stored has checksums of its own.
//! - A sync failed. The kernel shows what was written, and takes it for clean: it will never be on the disk, and no later
//!   sync says so. So the whole log is written once more before anything is built on it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::synced::{self, Synced};
use super::trial::Trial;

/// Octets before the first frame.
const HEADER: usize = 32;
/// Where the header says which log it is.
pub(super) const SALTS_AT: u64 = 16;
/// Octets of a frame before its page.
const FRAME: usize = 24;
/// The first word; the last bit says in which order checksums read words.
const MAGIC: u32 = 0x377f_0682;
/// The only version of the format.
const VERSION: u32 = 3_007_000;
/// More flipped bits are no accident.
const REPAIRS: usize = 16;

/// Brings the log of a database into a state in which SQLite finds all of it. Nobody may have the database open.
pub(super) fn mend(database: &Path, synced: Option<Synced>) -> Result<(), Error> {
    let path = path(database);
    let trial = Trial::of(database);
    match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(mut file) => rewrite(&mut file, &path, synced, |log, frame| trial.fits(log, frame)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::at(&path)(error)),
    }
}

/// The log of a database.
pub(super) fn path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    PathBuf::from(path)
}

/// Moves the log into the database, as SQLite does: what is committed, and nothing else. Nobody may have it open, and the
/// log is as [`mend`] has left it.
pub(super) fn settle(database: &Path) -> Result<(), Error> {
    let path = path(database);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(Error::at(&path))?,
    };
    if let Some(log) = Log::read(&bytes) {
        let file = OpenOptions::new().write(true).open(database).map_err(Error::at(database))?;
        log.settle(&file).and_then(|()| file.sync_all()).map_err(Error::at(database))?;
    }
    let emptied = OpenOptions::new().write(true).open(&path).and_then(|file| {
        file.set_len(0)?;
        file.sync_all()
    });
    emptied.map_err(Error::at(&path))
}

/// Tells of a log up to the end of a transaction how well a frame of it, counted from one, is in its place; `None` if it is
/// in the place of another.
trait Fits: Fn(&[u8], usize) -> Result<Option<usize>, Error> {}

impl<F: Fn(&[u8], usize) -> Result<Option<usize>, Error>> Fits for F {}

fn rewrite(file: &mut File, path: &Path, synced: Option<Synced>, fits: impl Fits) -> Result<(), Error> {
    let at = Error::at(path);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(at)?;
    if bytes.is_empty() {
        return Ok(());
    }
    repair(&mut bytes, path, synced, fits)?;
    file.rewind().map_err(at)?;
    file.write_all(&bytes).map_err(at)?;
    file.sync_all().map_err(at)
}

fn repair(bytes: &mut [u8], path: &Path, synced: Option<Synced>, fits: impl Fits) -> Result<(), Error> {
    let file = path.display();
    for _ in 0..REPAIRS {
        match examine(bytes, synced) {
            Found::Sound => return Ok(()),
            Found::Flipped { at, bit } => {
                tracing::error!(%file, octet = at, bit, "a flipped bit was put right");
                flip(bytes, at, bit);
            }
            Found::Unclear { frame, numbers } => match place(bytes, frame, &numbers, &fits)? {
                Place::AsItIs => {
                    accept(bytes, frame);
                    tracing::error!(%file, frame, "a bit has flipped; what it belonged to is damaged");
                }
                Place::Number { at, bit } => {
                    flip(bytes, at, bit);
                    tracing::error!(%file, frame, "a flipped bit in the number of a page was put right");
                }
                Place::Nowhere => {
                    accept(bytes, frame);
                    tracing::error!(
                        %file,
                        frame,
                        "a bit has flipped, and nothing tells which: a page is damaged, or in the place of another"
                    );
                }
            },
            Found::Damaged { frame } => {
                return Err(Error::Corrupt(format!("frame {frame} of {file}, which was synced")));
            }
            Found::Missing { frames, of } => {
                return Err(Error::Corrupt(format!(
                    "{file} has {frames} frames of {of} that were synced; without {} the server starts with what is there",
                    synced::path(path).display()
                )));
            }
        }
    }
    Err(Error::Corrupt(file.to_string()))
}

/// Where a page belongs.
enum Place {
    /// Where its frame says.
    AsItIs,
    /// Where it says when this bit is another.
    Number { at: usize, bit: u32 },
    /// In no place is the database in order.
    Nowhere,
}

/// Finds where the page of a frame, counted from one, belongs, if a bit of its number may have flipped.
fn place(bytes: &[u8], frame: usize, numbers: &[(usize, u32)], fits: &impl Fits) -> Result<Place, Error> {
    if numbers.is_empty() {
        return Ok(Place::AsItIs);
    }
    let fits = |log: &[u8]| transaction(log, frame).map_or(Ok(None), |log| fits(log, frame));
    let mut accepted = bytes.to_vec();
    accept(&mut accepted, frame);
    let mut best = fits(&accepted)?.map(|likeness| (likeness, Place::AsItIs));
    for &(at, bit) in numbers {
        let mut other = bytes.to_vec();
        flip(&mut other, at, bit);
        if let Some(likeness) = fits(&other)?
            && best.as_ref().is_none_or(|(most, _)| likeness > *most)
        {
            best = Some((likeness, Place::Number { at, bit }));
        }
    }
    Ok(best.map_or(Place::Nowhere, |(_, place)| place))
}

/// The number and the content of the page of a frame, counted from one.
pub(super) fn page(bytes: &[u8], frame: usize) -> Option<(u32, &[u8])> {
    let frame = Log::read(bytes)?.frame(frame.checked_sub(1)?)?;
    Some((word(frame, 0)?, frame.get(FRAME..)?))
}

fn flip(bytes: &mut [u8], at: usize, bit: u32) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// Puts right what can be put right in a log, without a database that it belongs to; `false` if it cannot. For those who try it
/// with whatever may come.
#[cfg(feature = "testing")]
pub fn mend_log(log: &mut [u8]) -> bool {
    repair(log, Path::new("log"), None, |_, _| Ok(Some(0))).is_ok()
}

/// What is wrong first.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing, or what a crash leaves.
    Sound,
    /// This bit.
    Flipped { at: usize, bit: u32 },
    /// Some bit of this frame, counted from one; these of the number of its page may be the one.
    Unclear { frame: usize, numbers: Vec<(usize, u32)> },
    /// More than a bit of this frame, which was synced.
    Damaged { frame: usize },
    /// The end of what was synced.
    Missing { frames: usize, of: usize },
}

/// The running checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

/// A log whose header is right.
struct Log<'a> {
    bytes: &'a [u8],
    is_big: bool,
    page: usize,
    salts: &'a [u8],
    /// The checksum before the first frame.
    seed: Sum,
    /// How many frames were synced for certain.
    synced: usize,
}

fn examine(bytes: &[u8], synced: Option<Synced>) -> Found {
    match Log::read(bytes) {
        Some(log) => Log { synced: synced.map_or(0, |synced| synced.frames_of(log.salts)), ..log }.examine(),
        None => examine_header(bytes),
    }
}

/// The header is wrong: is there a bit that makes it right?
fn examine_header(bytes: &[u8]) -> Found {
    for (at, bit) in (0..HEADER).flat_map(|at| (0..u8::BITS).map(move |bit| (at, bit))) {
        let mut flipped = bytes.get(..HEADER).unwrap_or_default().to_vec();
        flip(&mut flipped, at, bit);
        // The first frame must agree with it, or there is nothing to save.
        flipped.extend(bytes.iter().skip(HEADER).take(FRAME + (1 << 16)));
        if Log::read(&flipped).is_some_and(|log| log.frame(0).is_some_and(|frame| log.follows(log.seed, frame))) {
            return Found::Flipped { at, bit };
        }
    }
    Found::Sound
}

impl<'a> Log<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let (magic, page) = (word(header, 0)?, word(header, 8)?);
        let is_big = magic & 1 == 1;
        let seed = Sum(0, 0).over(header.get(..24)?, is_big);
        let page = usize::try_from(page).ok().filter(|page| page.is_power_of_two() && (512..=65536).contains(page))?;
        let is_right =
            magic & !1 == MAGIC && word(header, 4)? == VERSION && Sum(word(header, 24)?, word(header, 28)?) == seed;
        is_right.then_some(Self { bytes, is_big, page, salts: bytes.get(16..24)?, seed, synced: 0 })
    }

    /// The place of the frame with this number, counted from zero.
    const fn start(&self, number: usize) -> usize {
        HEADER + number * (FRAME + self.page)
    }

    /// That frame.
    fn frame(&self, number: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.start(number)..self.start(number + 1))
    }

    fn has_salts(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == Some(self.salts)
    }

    fn sum(&self, before: Sum, frame: &[u8]) -> Sum {
        before
            .over(frame.get(..8).unwrap_or_default(), self.is_big)
            .over(frame.get(FRAME..).unwrap_or_default(), self.is_big)
    }

    /// Whether `frame` was written behind one with the checksum `before`.
    fn follows(&self, before: Sum, frame: &[u8]) -> bool {
        self.has_salts(frame) && word(frame, 0) != Some(0) && self.sum(before, frame) == stored(frame)
    }

    fn examine(&self) -> Found {
        let (mut before, mut number) = (self.seed, 0);
        while let Some(frame) = self.frame(number) {
            if !self.follows(before, frame) {
                return self.explain(number, frame, before);
            }
            before = stored(frame);
            number += 1;
        }
        if number < self.synced { Found::Missing { frames: number, of: self.synced } } else { Found::Sound }
    }

    fn settle(&self, file: &File) -> std::io::Result<()> {
        let size = self.page as u64;
        let (mut before, mut number, mut group) = (self.seed, 0, Vec::new());
        while let Some(frame) = self.frame(number).filter(|frame| self.follows(before, frame)) {
            group.push(frame);
            // The last one of a transaction says how many pages there are then.
            if let Some(pages) = word(frame, 4).filter(|pages| *pages > 0) {
                for frame in group.drain(..) {
                    let page = u64::from(word(frame, 0).unwrap_or(1).saturating_sub(1));
                    file.write_all_at(frame.get(FRAME..).unwrap_or_default(), page * size)?;
                }
                file.set_len(u64::from(pages) * size)?;
            }
            before = stored(frame);
            number += 1;
        }
        Ok(())
    }

    fn explain(&self, number: usize, frame: &[u8], before: Sum) -> Found {
        let start = self.start(number);
        let (computed, stored) = (self.sum(before, frame), stored(frame));
        if computed == stored {
            let salts = frame.get(8..16).unwrap_or_default();
            return match only_bit(salts, self.salts) {
                Some((at, bit)) => Found::Flipped { at: start + 8 + at, bit },
                None => self.otherwise(number),
            };
        }
        if !self.has_salts(frame) {
            return self.otherwise(number);
        }
        let goes_on = |sum| self.frame(number + 1).is_some_and(|next| self.follows(sum, next));
        let in_sum = only_bit(&stored.bytes(), &computed.bytes());
        let in_page = self.candidates(frame, computed, stored);
        match (in_sum, in_page.as_slice()) {
            (Some((at, bit)), []) => Found::Flipped { at: start + 16 + at, bit },
            (Some((at, bit)), _) if goes_on(computed) => Found::Flipped { at: start + 16 + at, bit },
            (Some(_), _) if !goes_on(stored) => self.unclear(number, &in_page),
            (_, [(at, bit)]) => Found::Flipped { at: start + at, bit: *bit },
            (_, []) => self.otherwise(number),
            _ => self.unclear(number, &in_page),
        }
    }

    /// A crash may leave a sector that differs in one bit from what was to be written, too, and then the frame must go.
    fn unclear(&self, number: usize, candidates: &[(usize, u32)]) -> Found {
        match self.otherwise(number) {
            Found::Sound => Found::Sound,
            _ => {
                let numbers = candidates.iter().filter(|(at, _)| *at < 4);
                let numbers = numbers.map(|(at, bit)| (self.start(number) + at, *bit)).collect();
                Found::Unclear { frame: number + 1, numbers }
            }
        }
    }

    /// The bits of a frame that would have to be flipped for its checksum to be right. The checksum is linear, and its
    /// high bits repeat soon, so there may be several.
    fn candidates(&self, frame: &[u8], computed: Sum, stored: Sum) -> Vec<(usize, u32)> {
        let missing = Sum(stored.0.wrapping_sub(computed.0), stored.1.wrapping_sub(computed.1));
        let places = (0..8).step_by(8).chain((FRAME..FRAME + self.page).step_by(8));
        // What one more in the first and in the second word of a pair adds to the checksum, from the last pair back.
        let (mut first, mut second) = (Sum(1, 1), Sum(0, 1));
        let mut found = Vec::new();
        for place in places.rev() {
            for (at, effect) in [(place, first), (place + 4, second)] {
                let Some(octets) = frame.get(at..at + 4).and_then(|octets| octets.first_chunk()) else { continue };
                let value = if self.is_big { u32::from_be_bytes(*octets) } else { u32::from_le_bytes(*octets) };
                for bit in 0..u32::BITS {
                    let weight = 1_u32 << bit;
                    let change = if value & weight == 0 { weight } else { weight.wrapping_neg() };
                    if Sum(effect.0.wrapping_mul(change), effect.1.wrapping_mul(change)) == missing {
                        let octet = if self.is_big { 3 - bit / 8 } else { bit / 8 };
                        found.push((at + usize::try_from(octet).unwrap_or(0), bit % 8));
                    }
                }
            }
            (first, second) = (first.onward(), second.onward());
        }
        found
    }

    /// No bit explains it. A crash does, unless it is known to be synced, or something comes behind it that was written
    /// only after it was: what follows a commit.
    fn otherwise(&self, number: usize) -> Found {
        if number < self.synced {
            return Found::Damaged { frame: number + 1 };
        }
        let commits = (number..).map_while(|at| Some((self.frame(at)?, self.frame(at + 1)?)));
        let mut later = commits
            .filter(|(frame, _)| self.has_salts(frame) && word(frame, 4) != Some(0))
            .filter(|(frame, next)| self.follows(stored(frame), next));
        if later.next().is_some() { Found::Damaged { frame: number + 1 } } else { Found::Sound }
    }
}

/// The log up to the end of the transaction that has a frame, counted from one: what comes behind that may hide that a page was in a
/// wrong place. `None` if the frame has the number of a page that the database does not have then.
fn transaction(bytes: &[u8], frame: usize) -> Option<&[u8]> {
    let log = Log::read(bytes)?;
    let number = frame.checked_sub(1)?;
    let mut frames = (number..).map_while(|at| Some((at, word(log.frame(at)?, 4)?)));
    let (last, pages) = frames.find(|(_, pages)| *pages > 0)?;
    let page = word(log.frame(number)?, 0)?;
    bytes.get(..log.start(last + 1)).filter(|_| (1..=pages).contains(&page))
}

/// Makes the checksum of a frame, counted from one, and of those that follow it fit what they hold.
fn accept(bytes: &mut [u8], frame: usize) {
    let mut sums = Vec::new();
    let Some(log) = Log::read(bytes) else { return };
    let mut number = frame.saturating_sub(1);
    let mut right = match number.checked_sub(1) {
        Some(before) => log.frame(before).map_or(log.seed, stored),
        None => log.seed,
    };
    let mut previous = None;
    while let Some(frame) = log.frame(number) {
        if previous.is_some_and(|previous| !log.follows(previous, frame)) {
            break;
        }
        previous = Some(stored(frame));
        right = log.sum(right, frame);
        sums.push((log.start(number) + 16, right));
        number += 1;
    }
    for (at, sum) in sums {
        if let Some(place) = bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&sum.bytes());
        }
    }
}

impl Sum {
    fn over(self, bytes: &[u8], is_big: bool) -> Self {
        let value = |octets| if is_big { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) };
        bytes.as_chunks::<8>().0.iter().fold(self, |Self(one, other), [a, b, c, d, e, f, g, h]| {
            let one = one.wrapping_add(value([*a, *b, *c, *d])).wrapping_add(other);
            Self(one, other.wrapping_add(value([*e, *f, *g, *h])).wrapping_add(one))
        })
    }

    /// What becomes of a difference by another pair of words.
    const fn onward(self) -> Self {
        let one = self.0.wrapping_add(self.1);
        Self(one, self.1.wrapping_add(one))
    }

    fn bytes(self) -> [u8; 8] {
        let (one, other) = (u64::from(self.0), u64::from(self.1));
        (one << 32 | other).to_be_bytes()
    }
}

/// The checksum that a frame says it has.
fn stored(frame: &[u8]) -> Sum {
    Sum(word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0))
}

/// A number as SQLite writes it.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The one bit in which two texts of the same length differ.
fn only_bit(one: &[u8], other: &[u8]) -> Option<(usize, u32)> {
    let mut differences = one.iter().zip(other).map(|(one, other)| one ^ other).enumerate().filter(|(_, it)| *it != 0);
    let (at, difference) = differences.next()?;
    (difference.count_ones() == 1 && differences.next().is_none()).then(|| (at, difference.trailing_zeros()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log of three transactions with two frames each, as SQLite writes it.
    pub(in super::super) fn log() -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [MAGIC, VERSION, 512, 3, 0x1234_5678, 0x9abc_def0] {
            bytes.extend(number.to_be_bytes());
        }
        let mut sum = Sum(0, 0).over(&bytes, false);
        bytes.extend(sum.bytes());
        for number in 1..=6_u32 {
            let start = bytes.len();
            bytes.extend((number * 7).to_be_bytes());
            bytes.extend((if number % 2 == 0 { 99_u32 } else { 0 }).to_be_bytes());
            bytes.extend_from_within(16..24);
            bytes.extend([0; 8]);
            bytes.extend((0..512_u32).map(|at| u8::try_from((at * 31 + number * 17) % 251).unwrap()));
            sum = sum.over(&bytes[start..start + 8], false).over(&bytes[start + FRAME..], false);
            bytes[start + 16..start + FRAME].copy_from_slice(&sum.bytes());
        }
        bytes
    }

    #[test]
    fn a_whole_log_and_one_that_a_crash_cut_are_sound() {
        let whole = log();
        assert_eq!(examine(&whole, None), Found::Sound);
        for length in 0..whole.len() {
            assert_eq!(examine(&whole[..length], None), Found::Sound, "{length} octets");
        }
        // The last transaction was not synced: any sector of it may be missing.
        for lost in whole.len() - 2 * (512 + FRAME)..whole.len() - 100 {
            let mut torn = whole.clone();
            torn[lost..lost + 100].fill(0);
            assert!(!matches!(examine(&torn, None), Found::Damaged { .. }), "{lost}");
        }
    }

    #[test]
    fn every_flipped_bit_is_put_right_or_taken_as_it_is() {
        let whole = log();
        let (mut right, mut taken, mut dropped) = (0, 0, 0);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            repair(&mut flipped, Path::new("log"), None, |_, _| Ok(None)).unwrap();
            assert_eq!(examine(&flipped, None), Found::Sound);
            let log = Log::read(&flipped).unwrap();
            let frames = (0..6).scan(log.seed, |before, number| {
                let frame = log.frame(number).unwrap();
                let follows = log.follows(*before, frame);
                *before = stored(frame);
                follows.then_some(())
            });
            match frames.count() {
                6 if flipped == whole => right += 1,
                6 => taken += 1,
                // A transaction that may not have been synced.
                frames => {
                    assert!(frames >= 4, "bit {bit}: {frames} frames are found");
                    dropped += 1;
                }
            }
        }
        assert!(right > 2 * (taken + dropped), "{right} put right, {taken} taken as they are, {dropped} dropped");
        assert!(taken > dropped && dropped > 0);
    }

    #[test]
    fn damage_in_front_of_what_was_acknowledged_is_refused() {
        let mut damaged = log();
        damaged[HEADER + FRAME + 40..HEADER + FRAME + 60].fill(0xee);
        assert_eq!(examine(&damaged, None), Found::Damaged { frame: 1 });
        let error = repair(&mut damaged, Path::new("log"), None, |_, _| Ok(None)).unwrap_err();
        assert!(error.to_string().contains("frame 1"), "{error}");
    }

    /// That all of it was synced.
    fn all(whole: &[u8]) -> Option<Synced> {
        Some(Synced::of(whole[16..24].try_into().unwrap(), 6))
    }

    #[test]
    fn nothing_that_was_synced_is_dropped() {
        let whole = log();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            repair(&mut flipped, Path::new("log"), all(&whole), |_, _| Ok(None)).unwrap();
            assert_eq!(examine(&flipped, all(&whole)), Found::Sound, "bit {bit}");
        }
    }

    #[test]
    fn an_end_that_was_synced_is_missed() {
        let whole = log();
        assert_eq!(examine(&whole, all(&whole)), Found::Sound);
        for length in HEADER..whole.len() {
            let frames = (length - HEADER) / (FRAME + 512);
            assert_eq!(examine(&whole[..length], all(&whole)), Found::Missing { frames, of: 6 }, "{length} octets");
        }
        let error = repair(&mut whole[..900].to_vec(), Path::new("a/b-wal"), all(&whole), |_, _| Ok(None)).unwrap_err();
        assert!(error.to_string().contains("a/b-wal has 1 frames of 6"), "{error}");
    }

    #[test]
    fn what_is_committed_is_moved_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("comity-settle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = folder.join("database");
        let whole = log();
        let mut expected = vec![0xee; 100 * 512];
        std::fs::write(&database, &expected).unwrap();
        // The third transaction has one frame of two.
        std::fs::write(path(&database), &whole[..HEADER + 5 * (FRAME + 512)]).unwrap();
        settle(&database).unwrap();
        expected.truncate(99 * 512);
        for frame in 1..=4 {
            let (number, content) = page(&whole, frame).unwrap();
            let start = (usize::try_from(number).unwrap() - 1) * 512;
            expected[start..start + 512].copy_from_slice(content);
        }
        assert!(std::fs::read(&database).unwrap() == expected);
        assert_eq!(std::fs::metadata(path(&database)).unwrap().len(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

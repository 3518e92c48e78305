//! Puts right what one flipped bit has changed in a row: with a checksum of 64 bits, the only bit that makes it fit is the
//! one.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::checksum::{CELL, ITEM, OWNER, QUEUED, SECRET, VERSION, each_word, flips, sum_of};
use super::counter::Counter;

/// Positions and times are smaller.
const LARGEST: i64 = 1 << 56;

/// A row as it was read, with the columns that its checksum covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) numbers: Vec<i64>,
    pub(super) texts: Vec<Vec<u8>>,
    pub(super) checksum: i64,
}

/// Which table it is from: what its numbers and texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// id; domain, local
    Owner,
    /// owner; name, value
    Cell,
    /// owner; name, key, value
    Item,
    /// position, owner, direction, time; peer, payload
    Entry,
    /// position, session, number
    Queued,
    /// its value
    Counter(Counter),
    /// version, checksum of the schema
    Version,
    /// none; itself
    Secret,
}

impl Kind {
    /// How many numbers and texts a row has.
    pub(super) const fn shape(self) -> (usize, usize) {
        match self {
            Self::Owner | Self::Cell => (1, 2),
            Self::Item => (1, 3),
            Self::Entry => (4, 2),
            Self::Queued => (3, 0),
            Self::Counter(_) => (1, 0),
            Self::Version => (2, 0),
            Self::Secret => (0, 1),
        }
    }

    /// The checksum of a row with these columns.
    pub(super) fn sum(self, numbers: &[i64], texts: &[&[u8]]) -> Option<i64> {
        let (covered, places) = self.covered(numbers)?;
        Some(sum_of(covered.get(..places.len())?, texts))
    }

    /// The numbers with which the checksum begins, and which of the row's each is; there are as many as places.
    fn covered(self, numbers: &[i64]) -> Option<([i64; 4], &'static [Option<usize>])> {
        let one: &[Option<usize>] = &[None, Some(0)];
        Some(match (self, numbers) {
            (Self::Owner, [id]) => ([OWNER, *id, 0, 0], one),
            (Self::Cell, [owner]) => ([CELL, *owner, 0, 0], one),
            (Self::Item, [owner]) => ([ITEM, *owner, 0, 0], one),
            (Self::Entry, [position, owner, direction, time]) => {
                ([*position, *owner, *direction, *time], &[Some(0), Some(1), Some(2), Some(3)])
            }
            (Self::Queued, [position, session, number]) => {
                ([QUEUED, *position, *number, *session], &[None, Some(0), Some(2), Some(1)])
            }
            (Self::Counter(counter), [value]) => ([counter.kind(), *value, 0, 0], one),
            (Self::Version, [version, schema]) => ([VERSION, *version, *schema, 0], &[None, Some(0), Some(1)]),
            (Self::Secret, []) => ([SECRET, 0, 0, 0], &[None, None]),
            _ => return None,
        })
    }
}

impl Row {
    pub(super) fn is_right(&self, kind: Kind) -> bool {
        self.sum(kind) == Some(self.checksum)
    }

    /// Writes it into its table unless its place is taken there, with its `marks` if it is an entry; tells how many rows that
    /// makes. What stands in one row of its own is not written in this way.
    pub(super) fn insert(&self, connection: &Connection, kind: Kind, marks: i64) -> rusqlite::Result<usize> {
        let statement = match kind {
            Kind::Owner => "INSERT OR IGNORE INTO owners VALUES (?, ?, ?, ?)",
            Kind::Cell => "INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?)",
            Kind::Item => "INSERT OR IGNORE INTO maps VALUES (?, ?, ?, ?, ?)",
            Kind::Queued => "INSERT OR IGNORE INTO queued VALUES (?, ?, ?, ?)",
            Kind::Entry => "INSERT OR IGNORE INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            Kind::Counter(_) | Kind::Version | Kind::Secret => return Ok(0),
        };
        let mut columns: Vec<ValueRef<'_>> = self.numbers.iter().map(|number| ValueRef::Integer(*number)).collect();
        let texts = self.texts.iter().map(|text| ValueRef::Text(text));
        if kind == Kind::Entry {
            columns.extend([ValueRef::Integer(marks), ValueRef::Integer(self.checksum)]);
            columns.extend(texts);
        } else {
            columns.extend(texts);
            columns.push(ValueRef::Integer(self.checksum));
        }
        let columns = columns.into_iter().map(ToSqlOutput::Borrowed);
        connection.prepare_cached(statement)?.execute(params_from_iter(columns))
    }

    /// The row as it was written, if that can be told: some pairs of bits in neighbouring words have the same effect, and
    /// then one of the two makes something of it that is never written.
    pub(super) fn repaired(self, kind: Kind) -> Option<Self> {
        let texts: Vec<&[u8]> = self.texts.iter().map(Vec::as_slice).collect();
        let (covered, places) = kind.covered(&self.numbers)?;
        let covered = covered.get(..places.len())?;
        let mut words = Vec::new();
        each_word(covered, &texts, |word| words.push(word));
        let mut found = Vec::new();
        let computed = sum_of(covered, &texts);
        if (computed ^ self.checksum).count_ones() <= 1 {
            found.push(Self { checksum: computed, ..self.clone() });
        }
        for (word, bit) in flips(&words, self.checksum) {
            let mut row = self.clone();
            if let Some(place) = places.get(word) {
                if let Some(number) = place.and_then(|place| row.numbers.get_mut(place)) {
                    *number ^= 1 << bit;
                    found.push(row);
                }
                continue;
            }
            let octet = usize::try_from(bit / u8::BITS).unwrap_or(0);
            if let Some(octet) = row.octet(word - places.len(), octet) {
                *octet ^= 1 << (bit % u8::BITS);
                found.push(row);
            }
        }
        found.extend(self.without_signs().filter(|row| row.is_right(kind)));
        found.retain(|row| row.is_likely(kind));
        if found.len() == 1 { found.pop() } else { None }
    }

    /// Rows with a number that is not below zero any more: numbers are stored in as few octets as they need, so the highest
    /// bit of those is read as many.
    fn without_signs(&self) -> impl Iterator<Item = Self> {
        let places = (0..self.numbers.len()).flat_map(|place| [8, 16, 24, 32, 48].map(|bits| (place, bits)));
        places.filter_map(|(place, bits)| {
            let mut row = self.clone();
            let number = row.numbers.get_mut(place).filter(|number| **number < 0 && **number >> (bits - 1) == -1)?;
            *number += 1 << (bits - 1);
            Some(row)
        })
    }

    /// An octet of the texts: those that belong to a word of the checksum, counted from the first one of a text.
    fn octet(&mut self, mut word: usize, octet: usize) -> Option<&mut u8> {
        for text in &mut self.texts {
            // The length, what fills words, and the last one.
            let words = 2 + text.len() / 8;
            if word < words {
                return text.get_mut(word.checked_sub(1)? * 8 + octet);
            }
            word -= words;
        }
        None
    }

    /// Whether it can have been written: texts are UTF-8, and numbers come nowhere near the ends of their range but those
    /// that stand for something else.
    pub(super) fn is_likely(&self, kind: Kind) -> bool {
        // The session, and the checksum of the schema.
        let hash = if matches!(kind, Kind::Queued | Kind::Version) { 1 } else { usize::MAX };
        let mut numbers = self.numbers.iter().enumerate().filter(|(place, _)| *place != hash);
        numbers.all(|(_, number)| (0..LARGEST).contains(number))
            && (kind == Kind::Secret || self.texts.iter().all(|text| std::str::from_utf8(text).is_ok()))
    }

    /// The checksum that it should have.
    fn sum(&self, kind: Kind) -> Option<i64> {
        let texts: Vec<&[u8]> = self.texts.iter().map(Vec::as_slice).collect();
        kind.sum(&self.numbers, &texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_bits_that_explain_it_the_likely_one_counts() {
        let mut whole = Row { numbers: vec![7], texts: vec![vec![b'a'; 64], vec![b'b'; 64]], checksum: 0 };
        whole.checksum = whole.sum(Kind::Cell).unwrap();
        // The highest bit of a word, which moves to another of the next one.
        let (mut flipped, mut other) = (whole.clone(), whole.clone());
        flipped.texts[0][7] ^= 0x80;
        other.texts[0][11] ^= 0x10;
        for damaged in [flipped, other] {
            let (mut one, mut two) = (damaged.clone(), damaged.clone());
            one.texts[0][7] ^= 0x80;
            two.texts[0][11] ^= 0x10;
            assert!(one.is_right(Kind::Cell) && two.is_right(Kind::Cell));
            assert_eq!(damaged.repaired(Kind::Cell).unwrap(), whole);
        }
        // Where any octet can be, nobody knows.
        let mut secret = Row { numbers: Vec::new(), texts: vec![vec![b'a'; 32]], checksum: 0 };
        secret.checksum = secret.sum(Kind::Secret).unwrap();
        secret.texts[0][7] ^= 0x80;
        assert_eq!(secret.repaired(Kind::Secret), None);
    }

    #[test]
    fn every_bit_of_numbers_is_put_right() {
        for (kind, numbers) in [
            (Kind::Queued, vec![1 << 24, -5, 70_000]),
            (Kind::Counter(Counter::Handed), vec![1 << 25]),
            (Kind::Version, vec![5, -6]),
        ] {
            let mut whole = Row { numbers, texts: Vec::new(), checksum: 0 };
            whole.checksum = whole.sum(kind).unwrap();
            // As many as are stored of such a number.
            let bits = |number: i64| if number < 0 { 64 } else { 32 };
            for (place, bit) in
                (0..whole.numbers.len()).flat_map(|at| (0..bits(whole.numbers[at])).map(move |it| (at, it)))
            {
                let mut flipped = whole.clone();
                flipped.numbers[place] ^= 1 << bit;
                assert_eq!(flipped.repaired(kind).as_ref(), Some(&whole), "{kind:?}, number {place}, bit {bit}");
            }
        }
        // Five in one octet, and its highest bit.
        let mut whole = Row { numbers: vec![5], texts: vec![b"a".to_vec(), b"b".to_vec()], checksum: 0 };
        whole.checksum = whole.sum(Kind::Cell).unwrap();
        let flipped = Row { numbers: vec![i64::from(0x85_u8.cast_signed())], ..whole.clone() };
        assert_eq!(flipped.repaired(Kind::Cell), Some(whole));
        let reserved = Row { numbers: vec![9], texts: Vec::new(), checksum: Counter::Reserved.checksum(9) };
        assert!(!reserved.is_right(Kind::Counter(Counter::Handed)));
    }

    #[test]
    fn every_bit_of_a_short_row_is_put_right() {
        let mut whole =
            Row { numbers: vec![7], texts: vec![b"roster".to_vec(), b"juliet".to_vec(), "\u{e9}".into()], checksum: 0 };
        whole.checksum = whole.sum(Kind::Item).unwrap();
        assert!(whole.is_right(Kind::Item) && !whole.is_right(Kind::Cell));
        for bit in 0..64 {
            let mut flipped = whole.clone();
            flipped.numbers[0] ^= 1 << bit;
            assert_eq!(flipped.repaired(Kind::Item).unwrap(), whole);
            let mut flipped = whole.clone();
            flipped.checksum ^= 1 << bit;
            assert_eq!(flipped.repaired(Kind::Item).unwrap(), whole);
        }
        for (text, length) in [6, 6, 2].into_iter().enumerate() {
            for bit in 0..length * 8 {
                let mut flipped = whole.clone();
                flipped.texts[text][bit / 8] ^= 1 << (bit % 8);
                assert_eq!(flipped.repaired(Kind::Item).unwrap(), whole, "text {text}, bit {bit}");
            }
        }
        whole.texts[0] = b"ROSTER".to_vec();
        assert_eq!(whole.repaired(Kind::Item), None);
    }
}

//! Puts right what one flipped bit has changed in a row: with a checksum of 64 bits, the only bit that makes it fit is the
//! one.

use super::checksum::{CELL, ITEM, OWNER, sum};

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
}

impl Row {
    pub(super) fn is_right(&self, kind: Kind) -> bool {
        self.sum(kind) == Some(self.checksum)
    }

    /// The row as it was written, if that can be told: some pairs of bits in neighbouring words have the same effect.
    pub(super) fn repaired(mut self, kind: Kind) -> Option<Self> {
        let computed = self.sum(kind)?;
        let mut found = Vec::new();
        if (computed ^ self.checksum).count_ones() <= 1 {
            found.push(Self { checksum: computed, ..self.clone() });
        }
        for place in 0..self.numbers.len() {
            for bit in 0..i64::BITS {
                *self.numbers.get_mut(place)? ^= 1 << bit;
                if self.is_right(kind) {
                    found.push(self.clone());
                }
                *self.numbers.get_mut(place)? ^= 1 << bit;
            }
        }
        for (text, length) in self.texts.iter().map(Vec::len).enumerate().collect::<Vec<_>>() {
            for (octet, bit) in (0..length).flat_map(|octet| (0..u8::BITS).map(move |bit| (octet, bit))) {
                *self.texts.get_mut(text)?.get_mut(octet)? ^= 1 << bit;
                if self.is_right(kind) {
                    found.push(self.clone());
                }
                *self.texts.get_mut(text)?.get_mut(octet)? ^= 1 << bit;
            }
        }
        if found.len() == 1 { found.pop() } else { None }
    }

    /// The checksum that it should have.
    fn sum(&self, kind: Kind) -> Option<i64> {
        let texts: Vec<&[u8]> = self.texts.iter().map(Vec::as_slice).collect();
        match (kind, self.numbers.as_slice(), texts.as_slice()) {
            (Kind::Owner, [id], [domain, local]) => Some(sum([OWNER, *id], [domain, local])),
            (Kind::Cell, [owner], [name, value]) => Some(sum([CELL, *owner], [name, value])),
            (Kind::Item, [owner], [name, key, value]) => Some(sum([ITEM, *owner], [name, key, value])),
            (Kind::Entry, [position, owner, direction, time], [peer, payload]) => {
                Some(sum([*position, *owner, *direction, *time], [peer, payload]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_bits_explain_is_left_alone() {
        let mut whole = Row { numbers: vec![7], texts: vec![vec![b'a'; 64], vec![b'b'; 64]], checksum: 0 };
        whole.checksum = whole.sum(Kind::Cell).unwrap();
        let mut flipped = whole;
        // The highest bit of a word, which moves to another of the next one.
        flipped.texts[0][7] ^= 0x80;
        let mut other = flipped.clone();
        other.texts[0][11] ^= 0x10;
        assert!(other.is_right(Kind::Cell));
        assert_eq!(flipped.repaired(Kind::Cell), None);
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

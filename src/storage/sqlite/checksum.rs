//! The checksums of what is stored.

use super::super::Error;

/// Odd, so that multiplication loses nothing (the 64-bit golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Undoes a multiplication with it.
const INVERSE: u64 = 0xf1de_83e1_9937_733d;

/// The first number tells the tables apart.
pub(super) const CELL: i64 = 1;
pub(super) const ITEM: i64 = 2;
pub(super) const OWNER: i64 = 3;
pub(super) const SECRET: i64 = 4;
pub(super) const QUEUED: i64 = 5;
pub(super) const VERSION: i64 = 6;
pub(super) const RESERVED: i64 = 7;
pub(super) const INDEXED: i64 = 8;
pub(super) const HANDED: i64 = 9;

/// What the checksum of a log entry covers: everything but the marks, which change. The owner is among it, so that a
/// damaged row cannot show one account's stanza to another.
pub(super) struct Covered<'a> {
    pub(super) position: i64,
    pub(super) owner: i64,
    pub(super) direction: i64,
    pub(super) time: i64,
    pub(super) peer: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Covered<'_> {
    /// The checksum. Every step is a bijection of the state, so damage within one word of eight bytes is always found;
    /// other damage is missed once in about 2^64 cases. It is no protection against forgery.
    pub(super) fn checksum(&self) -> i64 {
        sum([self.position, self.owner, self.direction, self.time], [self.peer, self.payload])
    }
}

/// What else has a checksum, which covers all of it and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept<'a> {
    Cell {
        name: &'a str,
        value: &'a str,
    },
    Item {
        name: &'a str,
        key: &'a str,
        value: &'a str,
    },
    Owner {
        domain: &'a str,
        local: &'a str,
    },
    /// Nobody's.
    Secret(&'a [u8]),
}

impl Kept<'_> {
    pub(super) fn checksum(self, owner: i64) -> i64 {
        match self {
            Self::Cell { name, value } => sum([CELL, owner], [name.as_bytes(), value.as_bytes()]),
            Self::Item { name, key, value } => sum([ITEM, owner], [name.as_bytes(), key.as_bytes(), value.as_bytes()]),
            Self::Owner { domain, local } => sum([OWNER, owner], [domain.as_bytes(), local.as_bytes()]),
            Self::Secret(secret) => sum([SECRET, owner], [secret]),
        }
    }

    /// Whether it has the checksum that was stored with it. The error names what it is, and no value.
    pub(super) fn check(self, owner: i64, checksum: i64) -> Result<(), Error> {
        if self.checksum(owner) == checksum {
            return Ok(());
        }
        tracing::error!(owner, what = %self.name(), "a stored value is damaged");
        Err(Error::Damaged(self.name()))
    }

    fn name(self) -> String {
        match self {
            Self::Cell { name, .. } | Self::Item { name, .. } => format!("\"{name}\""),
            Self::Owner { domain, local: "" } => format!("the domain {domain}"),
            Self::Owner { domain, local } => format!("the account {local}@{domain}"),
            Self::Secret(_) => "the secret".to_owned(),
        }
    }
}

/// The checksum of the place of an entry in the queue of a session. The only number that uses all its bits comes last, so
/// that no bit of it looks like one of the next word.
pub(super) fn place(position: i64, session: i64, number: i64) -> i64 {
    sum([QUEUED, position, number, session], [])
}

pub(super) fn sum<const NUMBERS: usize, const TEXTS: usize>(numbers: [i64; NUMBERS], texts: [&[u8]; TEXTS]) -> i64 {
    sum_of(&numbers, &texts)
}

#[inline]
pub(super) fn sum_of(numbers: &[i64], texts: &[&[u8]]) -> i64 {
    let mut state = 0;
    each_word(numbers, texts, |word| state = mix(state, word));
    finished(state)
}

/// What a checksum is computed from. Of texts the length comes first, and the last word is filled up.
#[inline]
pub(super) fn each_word(numbers: &[i64], texts: &[&[u8]], mut each: impl FnMut([u8; 8])) {
    numbers.iter().for_each(|number| each(number.to_le_bytes()));
    for text in texts {
        each((text.len() as u64).to_le_bytes());
        let (words, rest) = text.as_chunks();
        words.iter().for_each(|word| each(*word));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        each(last);
    }
}

const fn finished(state: u64) -> i64 {
    let state = (state ^ (state >> 32)).wrapping_mul(FACTOR);
    (state ^ (state >> 29)).cast_signed()
}

/// The words of which `sum` is the checksum, but for one bit of one of them: which bits can that be? Every step can be
/// undone, so what a word should be follows from what comes before it and what comes behind.
pub(super) fn flips(words: &[[u8; 8]], sum: i64) -> Vec<(usize, u32)> {
    let before = words.iter().scan(0, |state, word| Some(std::mem::replace(state, mix(*state, *word))));
    let mut behind = unfinished(sum);
    let mut found = Vec::new();
    for (place, (before, word)) in before.collect::<Vec<_>>().into_iter().zip(words).enumerate().rev() {
        let word = u64::from_le_bytes(*word);
        let mixed = behind.rotate_right(29).wrapping_mul(INVERSE);
        let difference = mixed ^ before ^ word;
        if difference.is_power_of_two() {
            found.push((place, difference.trailing_zeros()));
        }
        behind = mixed ^ word;
    }
    found
}

/// The state of which this is the checksum.
const fn unfinished(sum: i64) -> u64 {
    let state = sum.cast_unsigned();
    let state = state ^ (state >> 29) ^ (state >> 58);
    let state = state.wrapping_mul(INVERSE);
    state ^ (state >> 32)
}

/// Stands for a text in an index. Stored values depend on it: it must never change.
pub(super) fn fingerprint(text: &str) -> i64 {
    Covered { position: 0, owner: 0, direction: 0, time: 0, peer: text.as_bytes(), payload: &[] }.checksum()
}

/// A number that looks like chance. Stored values depend on it: it must never change.
pub(super) const fn mixed(owner: i64, position: i64) -> u64 {
    let state = mix(mix(0, owner.to_le_bytes()), position.to_le_bytes());
    (state ^ (state >> 32)).wrapping_mul(FACTOR) >> 32
}

const fn mix(state: u64, word: [u8; 8]) -> u64 {
    (state ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(owner: i64, peer: &[u8], payload: &[u8]) -> i64 {
        Covered { position: 7, owner, direction: 0, time: 1_700_000_000_000, peer, payload }.checksum()
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let payload = b"<message to='romeo@verona.lit'><body>Art thou not Romeo?</body></message>".to_vec();
        let whole = of(1, b"juliet@capulet.lit", &payload);
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(1, b"juliet@capulet.lit", &flipped), whole, "bit {bit}");
        }
        assert_ne!(of(2, b"juliet@capulet.lit", &payload), whole);
        assert_ne!(of(1, b"juliet@capulet.li", &payload), whole);
    }

    #[test]
    fn the_bit_that_explains_it_is_among_those_that_are_found() {
        assert_eq!(FACTOR.wrapping_mul(INVERSE), 1);
        let mut words: Vec<[u8; 8]> = (0..40_u64).map(|number| (number * number * 77).to_le_bytes()).collect();
        let state = words.iter().fold(0, |state, word| mix(state, *word));
        let sum = finished(state);
        assert_eq!((unfinished(sum), flips(&words, sum)), (state, Vec::new()));
        for bit in 0..u32::try_from(words.len()).unwrap() * u64::BITS {
            let (place, within) = ((bit / 64) as usize, bit % 64);
            words[place][(within / 8) as usize] ^= 1 << (within % 8);
            assert!(flips(&words, sum).contains(&(place, within)), "bit {bit}");
            words[place][(within / 8) as usize] ^= 1 << (within % 8);
        }
    }

    #[test]
    fn bytes_that_move_between_fields_are_found() {
        assert_ne!(of(1, b"ab", b"c"), of(1, b"a", b"bc"));
        assert_ne!(of(1, b"a", b"b\0"), of(1, b"a", b"b"));
    }

    /// The stored values depend on it: it must never change.
    #[test]
    fn known_value() {
        assert_eq!(of(1, b"juliet@capulet.lit", b"<message/>"), 579_121_621_482_870_270);
        assert_eq!(fingerprint("juliet@capulet.lit"), -978_521_766_593_946_705);
        let kept = Kept::Item { name: "a", key: "b", value: "c" };
        kept.check(1, kept.checksum(1)).unwrap();
        assert!(kept.check(2, kept.checksum(1)).is_err());
        assert!(Kept::Cell { name: "a", value: "c" }.check(1, kept.checksum(1)).is_err());
    }
}

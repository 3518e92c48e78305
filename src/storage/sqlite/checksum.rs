//! The checksums of what is stored.

use super::super::Error;

/// Odd, so that multiplication loses nothing (the 64-bit golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first number tells the tables apart.
pub(super) const CELL: i64 = 1;
pub(super) const ITEM: i64 = 2;
pub(super) const OWNER: i64 = 3;
const SECRET: i64 = 4;

/// What the checksum of a log entry covers: everything that never changes. The owner is among it, so that a damaged row cannot show
/// one account's stanza to another.
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

pub(super) fn sum<const NUMBERS: usize, const TEXTS: usize>(numbers: [i64; NUMBERS], texts: [&[u8]; TEXTS]) -> i64 {
    let mut state = 0;
    for number in numbers {
        state = mix(state, number.to_le_bytes());
    }
    for text in texts {
        state = mix(state, (text.len() as u64).to_le_bytes());
        let (words, rest) = text.as_chunks();
        state = words.iter().fold(state, |state, word| mix(state, *word));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        state = mix(state, last);
    }
    let state = (state ^ (state >> 32)).wrapping_mul(FACTOR);
    (state ^ (state >> 29)).cast_signed()
}

/// Stands for a text in an index. Stored values depend on it: it must never change.
pub(super) fn fingerprint(text: &str) -> i64 {
    Covered { position: 0, owner: 0, direction: 0, time: 0, peer: text.as_bytes(), payload: &[] }.checksum()
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

//! The checksum of a log entry.

/// Odd, so that multiplication loses nothing (the 64-bit golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the checksum covers: everything that never changes. The owner is among it, so that a damaged row cannot show
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
        let mut state = 0;
        for number in [self.position, self.owner, self.direction, self.time] {
            state = mix(state, number.to_le_bytes());
        }
        for text in [self.peer, self.payload] {
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
    fn bytes_that_move_between_fields_are_found() {
        assert_ne!(of(1, b"ab", b"c"), of(1, b"a", b"bc"));
        assert_ne!(of(1, b"a", b"b\0"), of(1, b"a", b"b"));
    }

    /// The stored values depend on it: it must never change.
    #[test]
    fn known_value() {
        assert_eq!(of(1, b"juliet@capulet.lit", b"<message/>"), 579_121_621_482_870_270);
        assert_eq!(fingerprint("juliet@capulet.lit"), -978_521_766_593_946_705);
    }
}

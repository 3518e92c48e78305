//! A note of the namespaces in a payload. The gate takes it as it passes, and whoever looks for something of one namespace
//! asks it first, because most payloads have nothing of the kind.

/// A set of namespaces that may seem to hold more than it does, never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    pub const NONE: Self = Self(0);

    /// Nobody has looked: any may be there.
    pub const ANY: Self = Self(u32::MAX);

    /// The set of this one.
    #[must_use]
    pub const fn of(namespace: &[u8]) -> Self {
        // Namespaces differ at their ends. Whoever makes up one that looks like another has it looked for in vain.
        let end = match namespace.last_chunk::<8>() {
            Some(end) => u64::from_le_bytes(*end),
            None => 0,
        };
        Self(1 << ((end ^ namespace.len() as u64).wrapping_mul(MIX) >> SHIFT))
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether something of `other` may be in it: a no is certain.
    #[must_use]
    pub const fn may_have(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// An odd number without pattern; with this one hardly anything that clients say all the time is taken for something that
/// is looked for.
const MIX: u64 = 0x94d0_49bb_1331_11eb;
/// The upper bits of a product, of which five count to 32.
const SHIFT: u32 = 64 - 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_never_denied() {
        let names: [&[u8]; 4] = [b"", b"a", b"urn:example", b"http://example.org/protocol#event"];
        let mut noted = Namespaces::NONE;
        for name in names {
            let one = Namespaces::of(name);
            assert!(!Namespaces::NONE.may_have(one) && Namespaces::ANY.may_have(one));
            noted = noted.with(one);
            assert!(noted.may_have(one));
        }
        let others = (0..32_u8).filter(|letter| noted.may_have(Namespaces::of(&[b'x', *letter].repeat(5))));
        assert!(others.count() < 16, "most of what was not noted is denied");
    }
}

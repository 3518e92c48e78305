//! Places in memory in which something secret was, and from which it has moved on: nothing of it stays there.

use std::hint::black_box;

use zeroize::Zeroize;

/// Makes room for `more` octets behind those that are there; where they move, the old place is overwritten.
pub fn reserve(octets: &mut Vec<u8>, more: usize) {
    let needed = octets.len().saturating_add(more);
    if octets.capacity() < needed {
        resize(octets, needed.max(octets.capacity().saturating_mul(2)));
    }
}

/// Moves octets to a place with room for `room` of them, or for all that there are; the old place is overwritten.
pub fn resize(octets: &mut Vec<u8>, room: usize) {
    let mut moved = Vec::with_capacity(room.max(octets.len()));
    moved.extend_from_slice(octets);
    octets.as_mut_slice().zeroize();
    *octets = moved;
}

/// Overwrites a place on the heap of `size` octets that another library has let go just now: what an allocator got back last
/// it gives out first.
pub fn overwrite_freed(size: usize) {
    black_box(vec![0_u8; size]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_as_it_was() {
        let mut octets = b"secret".to_vec();
        let (before, length) = (octets.capacity(), octets.len());
        reserve(&mut octets, before - length);
        assert_eq!(octets.capacity(), before, "there was room");
        reserve(&mut octets, 1000);
        assert_eq!((octets.as_slice(), octets.capacity()), (&b"secret"[..], 1006));
        reserve(&mut octets, 1001);
        assert_eq!(octets.capacity(), 2012, "what grows piece by piece does not move for each of them");
        resize(&mut octets, 3);
        assert_eq!((octets.as_slice(), octets.capacity()), (&b"secret"[..], 6));
        overwrite_freed(0);
    }
}

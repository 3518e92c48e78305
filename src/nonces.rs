//! Random octets that are no secret: of nonces, and of names that nobody may foresee.
//!
//! They are drawn from the cryptographic library many at a time. Each draw asks the generator of the processor, which takes
//! microseconds, and a login needs half a dozen. What has been given out is erased here, but what is given out next lies in
//! memory, so nothing of it ever becomes a key.

use std::cell::RefCell;

use aws_lc_rs::rand;
use zeroize::Zeroize;

/// Octets that a thread has in stock at most.
const STOCK: usize = 512;

/// The operating system gives no random octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// What has been drawn and not given out: the front of `octets`.
struct Stock {
    octets: [u8; STOCK],
    left: usize,
}

thread_local! {
    static OURS: RefCell<Stock> = const { RefCell::new(Stock { octets: [0; STOCK], left: 0 }) };
}

/// Fills `room` with random octets that everybody may see.
///
/// # Errors
/// [`Exhausted`].
pub fn fill(room: &mut [u8]) -> Result<(), Exhausted> {
    OURS.with_borrow_mut(|stock| stock.fill(room))
}

impl Stock {
    fn fill(&mut self, room: &mut [u8]) -> Result<(), Exhausted> {
        if room.len() > STOCK {
            return draw(room);
        }
        if room.len() > self.left {
            self.left = 0;
            draw(&mut self.octets)?;
            self.left = STOCK;
        }
        let rest = self.left - room.len();
        let some = self.octets.get_mut(rest..self.left).unwrap_or_default();
        room.copy_from_slice(some);
        some.zeroize();
        self.left = rest;
        Ok(())
    }
}

fn draw(room: &mut [u8]) -> Result<(), Exhausted> {
    rand::fill(room).map_err(|_| Exhausted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_given_out_twice_and_nothing_stays() {
        let mut stock = Stock { octets: [0; STOCK], left: 0 };
        let mut seen = BTreeSet::new();
        for length in [16, 32, 12, 500, STOCK, 8, STOCK + 1, 9].into_iter().cycle().take(400) {
            let mut room = vec![0; length];
            stock.fill(&mut room).unwrap();
            assert!(seen.insert(room[..8].to_vec()), "{length}");
            assert!(stock.octets[stock.left..].iter().all(|octet| *octet == 0), "what is gone is erased");
        }
    }

    #[test]
    fn threads_have_nothing_in_common() {
        let draw = || {
            let mut room = [0; 16];
            fill(&mut room).unwrap();
            room
        };
        assert_ne!(draw(), std::thread::spawn(draw).join().unwrap());
        assert_eq!(fill(&mut []), Ok(()));
    }
}

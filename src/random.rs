//! Random octets from the cryptographic library, and names that nobody can foresee.
//!
//! A server without them keeps no promise: where there are none the process ends, as it does by the hand of that library
//! itself. So nobody here is given fewer octets than he asked for, or has to say what he does then.
//!
//! What everybody may see is drawn many octets at a time. Each draw asks the generator of the processor, which takes
//! microseconds, and a login needs half a dozen. What has been given out is erased here, but what is given out next lies in
//! memory, so nothing of it ever becomes a key: keys are drawn one by one.

use std::cell::RefCell;

use aws_lc_rs::rand;
use zeroize::Zeroize;

use crate::crash;
use crate::hexadecimal;

/// Octets that a thread has in stock at most.
const STOCK: usize = 512;

/// Octets of a token: more than anybody can try.
const TOKEN: usize = 16;

/// What has been drawn and not given out: the front of `octets`.
struct Stock {
    octets: [u8; STOCK],
    left: usize,
}

thread_local! {
    static OURS: RefCell<Stock> = const { RefCell::new(Stock { octets: [0; STOCK], left: 0 }) };
}

/// A name that nobody can foresee and that nobody has had before, in hexadecimal: of a stream, a request, a session.
/// Everybody may see it.
#[must_use]
pub fn token() -> String {
    hexadecimal::text(&nonce::<TOKEN>())
}

/// Random octets that everybody may see.
#[must_use]
pub fn nonce<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    fill(&mut octets);
    octets
}

/// Fills `room` with random octets that everybody may see.
pub fn fill(room: &mut [u8]) {
    OURS.with_borrow_mut(|stock| stock.fill(room));
}

/// Random octets, which may become a key.
#[must_use]
pub fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    draw(&mut octets);
    octets
}

/// Fills `room` with random octets, which may become a key.
pub fn draw(room: &mut [u8]) {
    if crash::is_without_randomness() || rand::fill(room).is_err() {
        tracing::error!("the operating system gives no random octets, without which nothing here is safe: the end");
        std::process::abort();
    }
}

impl Stock {
    fn fill(&mut self, room: &mut [u8]) {
        if room.len() > STOCK {
            return draw(room);
        }
        if room.len() > self.left {
            self.left = 0;
            draw(&mut self.octets);
            self.left = STOCK;
        }
        let rest = self.left - room.len();
        let some = self.octets.get_mut(rest..self.left).unwrap_or_default();
        room.copy_from_slice(some);
        some.zeroize();
        self.left = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Proves: RFC 6120 §4.7.3
    #[test]
    fn tokens_are_long_and_differ() {
        let tokens: BTreeSet<String> = std::iter::repeat_with(token).take(1000).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(tokens.iter().all(|token| token.len() == 32), "128 bits");
    }

    #[test]
    fn keys_differ_and_are_drawn_to_the_end() {
        let (one, other) = (octets::<64>(), octets::<64>());
        for (one, other) in one.chunks(16).zip(other.chunks(16)) {
            assert!(one != other && one != [0; 16]);
        }
    }

    #[test]
    fn nothing_is_given_out_twice_and_nothing_stays() {
        let mut stock = Stock { octets: [0; STOCK], left: 0 };
        let mut seen = BTreeSet::new();
        for length in [16, 32, 12, 500, STOCK, 8, STOCK + 1, 9].into_iter().cycle().take(400) {
            let mut room = vec![0; length];
            stock.fill(&mut room);
            assert!(seen.insert(room[..8].to_vec()), "{length}");
            assert!(stock.octets[stock.left..].iter().all(|octet| *octet == 0), "what is gone is erased");
        }
    }

    #[test]
    fn threads_have_nothing_in_common() {
        assert_ne!(nonce::<16>(), std::thread::spawn(nonce::<16>).join().unwrap());
        fill(&mut []);
    }
}

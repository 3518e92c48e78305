//! Counting stanzas in a stream of bytes without parsing it.

use memchr::memmem::Finder;

/// Counts a token in chunks of bytes; a token may lie across chunks.
pub struct Counter {
    finder: Finder<'static>,
    /// The end of what was seen, shorter than the token.
    tail: Vec<u8>,
}

impl Counter {
    pub fn new(token: &'static str) -> Self {
        Self { finder: Finder::new(token), tail: Vec::new() }
    }

    /// How often the token ends in `chunk`.
    pub fn count(&mut self, chunk: &[u8]) -> usize {
        let keep = self.finder.needle().len() - 1;
        let mut found = 0;
        if !self.tail.is_empty() {
            let old = self.tail.len();
            self.tail.extend_from_slice(&chunk[..chunk.len().min(keep)]);
            found += self.finder.find_iter(&self.tail).count();
            if chunk.len() < keep {
                let surplus = self.tail.len().saturating_sub(keep);
                self.tail.drain(..surplus);
                return found;
            }
            debug_assert!(old <= keep);
        }
        found += self.finder.find_iter(chunk).count();
        self.tail.clear();
        self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(keep)..]);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn every_way_to_cut_finds_the_same() {
        let text = b"<presence from='a'/><presence/><pres<presence to='b'></presence>";
        for size in 1..text.len() {
            let mut counter = Counter::new("<presence");
            let found: usize = text.chunks(size).map(|chunk| counter.count(chunk)).sum();
            assert_eq!(found, 3, "in chunks of {size}");
        }
    }
}

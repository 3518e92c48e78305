//! The bytes of a queue, in pieces: nothing is moved when more come, and what has gone gives its memory back. In one place a
//! queue of some megabytes would have left as much behind in the places from which it had moved.
//!
//! No entry is in two pieces.

use std::collections::VecDeque;

/// A piece that is not the only one has room for so much.
const PIECE: usize = 32 * 1024;
/// Where less room is left nothing more is put in: most stanzas are smaller.
const LITTLE: usize = 2 * 1024;
/// So much of the list stays when it is empty.
const FEW: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<String>,
    /// Bytes of the first one that are gone.
    done: usize,
    /// Bytes that are not.
    length: usize,
}

impl Pieces {
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    /// Adds an entry; gives its length.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut String)) -> usize {
        match self.pieces.back() {
            None => self.pieces.push_back(String::new()),
            Some(last) if last.len() >= PIECE / 2 && last.capacity() - last.len() < LITTLE => {
                self.pieces.push_back(String::with_capacity(PIECE));
            }
            Some(_) => {}
        }
        let Some(last) = self.pieces.back_mut() else { return 0 };
        let before = last.len();
        write(last);
        let added = last.len() - before;
        self.length += added;
        added
    }

    /// Takes the last entry back, which has this length.
    pub(super) fn take_back(&mut self, length: usize) {
        if let Some(last) = self.pieces.back_mut() {
            last.truncate(last.len() - length);
            self.length -= length;
            if last.is_empty() {
                self.pieces.pop_back();
            }
        }
    }

    /// Puts an entry in front of the last one, which has this length.
    pub(super) fn insert_before_last(&mut self, length: usize, text: &str) {
        if let Some(last) = self.pieces.back_mut() {
            last.insert_str(last.len() - length, text);
            self.length += text.len();
        }
    }

    /// Puts an entry in front of all.
    pub(super) fn push_front(&mut self, text: &str) {
        match self.pieces.front_mut() {
            Some(first) => first.insert_str(self.done, text),
            None => self.pieces.push_front(text.to_owned()),
        }
        self.length += text.len();
    }

    /// What stands at `place`, as far as it is in one piece.
    pub(super) fn at(&self, place: usize) -> &str {
        let mut place = self.done + place;
        for piece in &self.pieces {
            if place < piece.len() {
                return piece.get(place..).unwrap_or_default();
            }
            place -= piece.len();
        }
        ""
    }

    /// So many bytes at the front are gone: one entry, or several.
    pub(super) fn advance(&mut self, count: usize) {
        self.length -= count;
        self.done += count;
        while let Some(first) = self.pieces.front().filter(|first| first.len() <= self.done) {
            self.done -= first.len();
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.pieces.shrink_to(FEW);
        }
    }

    /// Takes out what begins at `place`, where an entry does.
    pub(super) fn split_off(&mut self, place: usize) -> Self {
        let length = self.length - place;
        let (mut at, mut number) = (self.done + place, 0);
        while let Some(piece) = self.pieces.get(number).filter(|piece| piece.len() <= at) {
            at -= piece.len();
            number += 1;
        }
        let mut pieces = self.pieces.split_off(number);
        if at > 0
            && let Some(first) = pieces.front_mut()
        {
            let rest = first.split_off(at);
            self.pieces.push_back(std::mem::replace(first, rest));
        }
        self.length = place;
        // What is gone stays in front of what stays.
        Self { pieces, done: 0, length }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is there, piece by piece.
    fn all(pieces: &Pieces) -> String {
        let mut out = String::new();
        while out.len() < pieces.len() {
            let more = pieces.at(out.len());
            assert!(!more.is_empty());
            out.push_str(more);
        }
        assert_eq!(pieces.at(out.len()), "");
        out
    }

    fn entry(number: usize, size: usize) -> String {
        format!("{number:0width$}", width = size.max(1))
    }

    proptest! {
        #[test]
        fn a_queue_in_pieces_is_one_in_one_piece(
            steps in prop::collection::vec((0_u8..8, prop_oneof![1_usize..400, 1_usize..40_000]), 1..200),
        ) {
            let (mut pieces, mut plain) = (Pieces::default(), VecDeque::new());
            for (number, (step, size)) in steps.into_iter().enumerate() {
                let text = entry(number, size);
                match step {
                    0 => {
                        pieces.push_front(&text);
                        plain.push_front(text);
                    }
                    1 if !plain.is_empty() => {
                        let last = plain.pop_back().unwrap();
                        pieces.insert_before_last(last.len(), &text);
                        plain.extend([text, last]);
                    }
                    2 => {
                        let gone: usize = plain.drain(..plain.len().min(size / 100)).map(|entry| entry.len()).sum();
                        pieces.advance(gone);
                    }
                    3 => {
                        prop_assert_eq!(pieces.push(|out| out.push_str(&text)), text.len());
                        pieces.take_back(text.len());
                    }
                    4 => {
                        let place = size % (plain.len() + 1);
                        let front: usize = plain.iter().take(place).map(String::len).sum();
                        let mut rest = pieces.split_off(front);
                        prop_assert_eq!(all(&pieces), plain.iter().take(place).cloned().collect::<String>());
                        for entry in plain.iter().skip(place) {
                            prop_assert_eq!(rest.at(0).get(..entry.len()), Some(entry.as_str()));
                            rest.advance(entry.len());
                            pieces.push(|out| out.push_str(entry));
                        }
                        prop_assert_eq!(rest.len(), 0);
                    }
                    _ => {
                        pieces.push(|out| out.push_str(&text));
                        plain.push_back(text);
                    }
                }
                prop_assert_eq!(pieces.len(), plain.iter().map(String::len).sum::<usize>());
                prop_assert_eq!(all(&pieces), plain.iter().map(String::as_str).collect::<String>());
            }
        }
    }

    #[test]
    fn what_waits_takes_little_more_than_it_is_and_what_has_gone_nothing() {
        let mut pieces = Pieces::default();
        let taken = |pieces: &Pieces| pieces.pieces.iter().map(String::capacity).sum::<usize>();
        for number in 0..10_000 {
            pieces.push(|out| out.push_str(&entry(number, 300)));
        }
        assert!(taken(&pieces) < pieces.len() * 11 / 10 + PIECE, "{} of {}", taken(&pieces), pieces.len());
        for _ in 0..9_000 {
            pieces.advance(300);
        }
        assert!(taken(&pieces) < pieces.len() * 11 / 10 + 2 * PIECE, "{} of {}", taken(&pieces), pieces.len());
        pieces.advance(300_000);
        assert_eq!((taken(&pieces), pieces.len(), pieces.done), (0, 0, 0));
        assert!(pieces.pieces.capacity() <= FEW);
    }
}

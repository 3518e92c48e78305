//! Text that waits, in pieces of whole stanzas: what is done with goes piece by piece, and nothing is moved to make room
//! for what comes.

use std::collections::VecDeque;

/// A piece that has more is not written to any further. With a usual stanza behind that it has 32 KiB, which allocators give
/// out without waste.
const FULL: usize = 31 * 1024;

/// Whole stanzas.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The youngest ones.
    last: String,
    /// Those before them: none, as long as their reader keeps up.
    older: Option<Box<Older>>,
}

/// Pieces that nothing is added to, the oldest first; there is at least one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Older {
    pieces: VecDeque<String>,
    bytes: usize,
}

impl From<String> for Pieces {
    fn from(text: String) -> Self {
        Self { last: text, older: None }
    }
}

impl Pieces {
    pub(super) const fn new() -> Self {
        Self { last: String::new(), older: None }
    }

    pub(super) fn len(&self) -> usize {
        self.last.len() + self.older.as_ref().map_or(0, |older| older.bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.last.is_empty() && self.older.is_none()
    }

    /// Lets `write` append a whole stanza; gives its length.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut String)) -> usize {
        if self.last.len() > FULL {
            self.close_last();
        }
        let before = self.last.len();
        write(&mut self.last);
        self.last.len() - before
    }

    /// Takes back what was appended last, which has so many bytes.
    pub(super) fn take_back(&mut self, bytes: usize) {
        self.last.truncate(self.last.len().saturating_sub(bytes));
        self.last.shrink_to_fit();
    }

    /// Appends a copy of a piece, to the last one if both fit into one.
    pub(super) fn append_piece(&mut self, piece: &str) {
        if self.last.len() + piece.len() > FULL {
            self.close_last();
        }
        self.last.push_str(piece);
    }

    /// Takes the oldest piece out; an empty one if there is none.
    pub(super) fn pop(&mut self) -> String {
        if self.older.is_some() { self.pop_older() } else { std::mem::take(&mut self.last) }
    }

    /// Puts `others` behind these.
    pub(super) fn extend(&mut self, mut others: Self) {
        while !others.is_empty() {
            self.close_last();
            self.last = others.pop();
        }
    }

    /// Lets go of the first `bytes`, in which whole stanzas are, as far as that costs little; says how many of them are
    /// there still.
    pub(super) fn let_go(&mut self, bytes: usize) -> usize {
        let mut rest = bytes.min(self.len());
        while rest > 0 && self.front().len() <= rest {
            rest -= self.pop().len();
        }
        if self.older.is_none() && rest > self.last.len() / 2 {
            // Seldom enough that every byte is moved at most once on average.
            self.last.drain(..rest);
            rest = 0;
        }
        rest
    }

    /// What is behind the first `bytes`.
    pub(super) fn split_off(mut self, bytes: usize) -> Self {
        let rest = self.let_go(bytes);
        let mut first = self.pop();
        first.drain(..rest);
        let mut split = Self::from(first);
        split.extend(self);
        split
    }

    /// The pieces in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let older = self.older.iter().flat_map(|older| &older.pieces);
        older.chain([&self.last]).map(String::as_str)
    }

    fn front(&self) -> &str {
        self.older.as_ref().and_then(|older| older.pieces.front()).unwrap_or(&self.last)
    }

    #[cold]
    fn close_last(&mut self) {
        if self.last.is_empty() {
            return;
        }
        let mut piece = std::mem::take(&mut self.last);
        piece.shrink_to_fit();
        let older = self.older.get_or_insert_default();
        older.bytes += piece.len();
        older.pieces.push_back(piece);
    }

    #[cold]
    fn pop_older(&mut self) -> String {
        let Some(older) = &mut self.older else { return String::new() };
        let piece = older.pieces.pop_front().unwrap_or_default();
        older.bytes -= piece.len();
        if older.pieces.is_empty() {
            self.older = None;
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many bytes as are asked for.
    fn text(bytes: usize) -> String {
        "é".repeat(bytes / 2) + &"x".repeat(bytes % 2)
    }

    fn lengths(pieces: &Pieces) -> Vec<usize> {
        pieces.iter().map(str::len).collect()
    }

    #[test]
    fn short_texts_share_a_piece_and_long_ones_have_their_own() {
        let mut pieces = Pieces::default();
        for _ in 0..70 {
            assert_eq!(pieces.append(|out| out.push_str(&text(1000))), 1000);
        }
        assert_eq!(lengths(&pieces), [32_000, 32_000, 6_000]);
        pieces.append(|out| out.push_str(&text(100_000)));
        pieces.append(|out| out.push_str("x"));
        assert_eq!(lengths(&pieces), [32_000, 32_000, 106_000, 1]);
        assert_eq!(pieces.len(), 170_001);
        let taken: Vec<usize> = std::iter::repeat_with(|| pieces.pop().len()).take(5).collect();
        assert_eq!(taken, [32_000, 32_000, 106_000, 1, 0]);
        assert!(pieces.is_empty() && pieces.len() == 0);
    }

    #[test]
    fn a_piece_that_waits_owns_no_more_than_it_has() {
        let mut pieces = Pieces::default();
        (0..100).for_each(|_| _ = pieces.append(|out| out.push_str(&text(999))));
        let older = pieces.older.as_ref().unwrap();
        assert!(older.pieces.iter().all(|piece| piece.capacity() == piece.len()));
        let last = pieces.last.len();
        let bytes = pieces.append(|out| out.push_str(&text(50_000)));
        pieces.take_back(bytes);
        assert_eq!((pieces.last.len(), pieces.last.capacity()), (last, last));
    }

    #[test]
    fn copies_are_put_together_as_long_as_they_fit() {
        let mut pieces = Pieces::default();
        [10_000, 10_000, 10_000, 10_000, 40_000, 5].iter().for_each(|bytes| pieces.append_piece(&text(*bytes)));
        assert_eq!(lengths(&pieces), [30_000, 10_000, 40_000, 5]);
    }

    #[test]
    fn what_is_let_go_goes_piece_by_piece() {
        const LONG: usize = 31_740;
        let all = || {
            let mut pieces = Pieces::default();
            [LONG, LONG, 10].iter().for_each(|bytes| pieces.append_piece(&text(*bytes)));
            pieces
        };
        let let_go = |bytes| {
            let mut pieces = all();
            let rest = pieces.let_go(bytes);
            (rest, lengths(&pieces))
        };
        assert_eq!(let_go(0), (0, vec![LONG, LONG, 10]));
        assert_eq!(let_go(LONG - 2), (LONG - 2, vec![LONG, LONG, 10]), "nothing is moved in front of others");
        assert_eq!(let_go(LONG), (0, vec![LONG, 10]));
        assert_eq!(let_go(2 * LONG + 4), (4, vec![10]));
        assert_eq!(let_go(2 * LONG + 6), (0, vec![4]), "the only one gets shorter");
        assert_eq!(let_go(2 * LONG + 10), (0, vec![0]));
        assert_eq!(let_go(usize::MAX), (0, vec![0]));
        let whole: String = all().iter().collect();
        for bytes in [0, 2, LONG - 2, LONG, LONG + 2, 2 * LONG, 2 * LONG + 6, 2 * LONG + 10] {
            let split = all().split_off(bytes);
            assert_eq!(split.len(), whole.len() - bytes);
            assert_eq!(split.iter().collect::<String>(), whole[bytes..]);
        }
    }

    #[test]
    fn one_text_behind_another() {
        let mut pieces = Pieces::from("a".to_owned());
        pieces.extend(Pieces::default());
        pieces.extend(Pieces::from("b".to_owned()));
        let mut front = Pieces::default();
        front.extend(pieces);
        front.append(|out| out.push('c'));
        assert_eq!(front.iter().collect::<Vec<_>>(), ["a", "bc"]);
    }
}

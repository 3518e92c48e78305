//! Text that waits, in pieces of whole stanzas: what is done with goes piece by piece, and nothing is moved to make room
//! for what comes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::Stanza;

/// A piece that has more is not written to any further. With a usual stanza behind that it has 32 KiB, which allocators give
/// out without waste.
const FULL: usize = 31 * 1024;

/// Whole stanzas.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pieces {
    /// The youngest ones.
    last: String,
    /// Those before them: none, as long as their reader keeps up.
    older: Option<Box<Older>>,
}

/// Pieces that nothing is added to, the oldest first; there is at least one.
#[derive(Debug, Default, PartialEq)]
struct Older {
    pieces: VecDeque<Piece>,
    /// How long they are, and what of that is in memory.
    bytes: usize,
    memory: usize,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Shown(Shown),
}

/// Stanzas that others have as well: they are written when it is their turn.
#[derive(Debug, PartialEq)]
struct Shown {
    stanzas: VecDeque<Arc<Stanza<'static>>>,
    to: Jid,
    bytes: usize,
}

/// What one of them takes.
const SHOWN: usize = size_of::<Arc<Stanza<'static>>>();

/// A piece, for whoever looks at it.
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: usize,
    /// Stanzas that are not in the text: they are not written yet.
    pub(super) unwritten: usize,
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

    /// What all that takes.
    pub(super) fn memory(&self) -> usize {
        self.last.len() + self.older.as_ref().map_or(0, |older| older.memory)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.last.is_empty() && self.older.is_none()
    }

    /// Whether what comes next is not written yet.
    pub(super) fn is_unwritten(&self) -> bool {
        self.older.as_ref().is_some_and(|older| matches!(older.pieces.front(), Some(Piece::Shown(_))))
    }

    /// Appends stanzas that are written to `to` later, when it is their turn; gives the length of each.
    pub(super) fn show(&mut self, stanzas: VecDeque<Arc<Stanza<'static>>>, to: &Jid) -> Vec<usize> {
        let mut text = String::new();
        let length = |stanza: &Arc<Stanza<'static>>| {
            text.clear();
            stanza.write_to(&mut text, Some(to.as_str()));
            text.len()
        };
        let lengths: Vec<usize> = stanzas.iter().map(length).collect();
        if !stanzas.is_empty() {
            self.close_last();
            self.add(Piece::Shown(Shown { stanzas, to: to.clone(), bytes: lengths.iter().sum() }));
        }
        lengths
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
            match others.take() {
                Some(piece) => self.add(piece),
                None => self.last = others.pop(),
            }
        }
    }

    /// Lets go of the first `bytes`, in which whole stanzas are, as far as that costs little; says how many of them are
    /// there still.
    pub(super) fn let_go(&mut self, bytes: usize) -> usize {
        let mut rest = bytes.min(self.len());
        while rest > 0 && self.front() <= rest {
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
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let older = self.older.iter().flat_map(|older| &older.pieces).map(|piece| match piece {
            Piece::Text(text) => Part::written(text),
            Piece::Shown(shown) => Part { text: "", bytes: shown.bytes, unwritten: shown.stanzas.len() },
        });
        older.chain([Part::written(&self.last)])
    }

    /// What is written of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.parts().map(|part| part.text)
    }

    /// How long the oldest is.
    fn front(&self) -> usize {
        let older = self.older.as_ref().and_then(|older| older.pieces.front());
        older.map_or(self.last.len(), Piece::bytes)
    }

    #[cold]
    fn close_last(&mut self) {
        if self.last.is_empty() {
            return;
        }
        let mut piece = std::mem::take(&mut self.last);
        piece.shrink_to_fit();
        self.add(Piece::Text(piece));
    }

    fn add(&mut self, piece: Piece) {
        let older = self.older.get_or_insert_default();
        older.bytes += piece.bytes();
        older.memory += piece.memory();
        older.pieces.push_back(piece);
    }

    /// Takes the oldest piece out as it is, if it is not the youngest as well.
    fn take(&mut self) -> Option<Piece> {
        let older = self.older.as_mut()?;
        let piece = older.pieces.pop_front();
        if let Some(piece) = &piece {
            older.bytes -= piece.bytes();
            older.memory -= piece.memory();
        }
        if older.pieces.is_empty() {
            self.older = None;
        }
        piece
    }

    #[cold]
    fn pop_older(&mut self) -> String {
        match self.take() {
            None => String::new(),
            Some(Piece::Text(text)) => text,
            Some(Piece::Shown(mut shown)) => {
                let text = shown.write_some();
                if !shown.stanzas.is_empty() {
                    let older = self.older.get_or_insert_default();
                    let rest = Piece::Shown(shown);
                    older.bytes += rest.bytes();
                    older.memory += rest.memory();
                    older.pieces.push_front(rest);
                }
                text
            }
        }
    }
}

impl<'a> Part<'a> {
    const fn written(text: &'a str) -> Self {
        Self { text, bytes: text.len(), unwritten: 0 }
    }
}

impl Piece {
    const fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Shown(shown) => shown.bytes,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Shown(shown) => SHOWN * shown.stanzas.len(),
        }
    }
}

impl Shown {
    /// Writes a piece.
    fn write_some(&mut self) -> String {
        let mut text = String::new();
        while text.len() <= FULL
            && let Some(stanza) = self.stanzas.pop_front()
        {
            stanza.write_to(&mut text, Some(self.to.as_str()));
        }
        self.bytes -= text.len();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Kind, PresenceType};

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
        pieces.append(|out| out.push('x'));
        assert_eq!(lengths(&pieces), [32_000, 32_000, 106_000, 1]);
        assert_eq!(pieces.len(), 170_001);
        let taken: Vec<usize> = std::iter::repeat_with(|| pieces.pop().len()).take(5).collect();
        assert_eq!(taken, [32_000, 32_000, 106_000, 1, 0]);
        assert!(pieces.is_empty());
    }

    #[test]
    fn a_piece_that_waits_owns_no_more_than_it_has() {
        let mut pieces = Pieces::default();
        (0..100).for_each(|_| _ = pieces.append(|out| out.push_str(&text(999))));
        let older = pieces.older.as_ref().unwrap();
        let is_tight = |piece: &Piece| matches!(piece, Piece::Text(text) if text.capacity() == text.len());
        assert!(older.pieces.iter().all(is_tight));
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
    fn what_is_shown_is_written_when_it_is_its_turn() {
        const COUNT: usize = 1000;
        let presence = |number: usize| {
            let from: Jid = format!("square@rooms.example/{number}").parse().unwrap();
            Arc::new(Stanza::new(Kind::Presence(PresenceType::Available)).from(from))
        };
        let to: Jid = "romeo@verona.example/orchard".parse().unwrap();
        let stanzas: VecDeque<_> = (0..COUNT).map(presence).collect();
        let mut whole = "<a/>".to_owned();
        stanzas.iter().for_each(|stanza| stanza.write_to(&mut whole, Some(to.as_str())));
        whole.push_str("<b/>");
        let mut pieces = Pieces::from("<a/>".to_owned());
        let lengths = pieces.show(stanzas, &to);
        pieces.append(|out| out.push_str("<b/>"));
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>() + 8), (COUNT, whole.len()));
        assert_eq!((pieces.len(), pieces.memory()), (whole.len(), COUNT * SHOWN + 8));
        let parts: Vec<_> = pieces.parts().map(|part| (part.text.to_owned(), part.unwritten)).collect();
        assert_eq!(parts, [("<a/>".to_owned(), 0), (String::new(), COUNT), ("<b/>".to_owned(), 0)]);
        // Put behind others it stays what it is.
        let mut behind = Pieces::default();
        behind.extend(pieces);
        assert_eq!((behind.len(), behind.memory(), behind.is_unwritten()), (whole.len(), COUNT * SHOWN + 8, false));
        let mut taken = behind.pop();
        assert!(behind.is_unwritten());
        while !behind.is_empty() {
            let piece = behind.pop();
            assert!(piece.len() <= FULL + 100, "{}", piece.len());
            taken.push_str(&piece);
            assert_eq!(behind.len(), whole.len() - taken.len());
        }
        assert_eq!((taken == whole, behind.memory()), (true, 0));
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

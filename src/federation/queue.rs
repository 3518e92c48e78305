//! What waits for one other domain: order, bounds, and what becomes of it when a link breaks.
//!
//! Pure. A stanza is written into the queue's bytes when it is queued and leaves it when its last byte
//! has been handed to the operating system. It must never know of links, of time.
//!
//! **In doubt.** XMPP between servers has no acknowledgement, so a stanza that was handed over completely
//! is regarded as delivered. One that was not cannot have been read by the peer: bytes are handed over
//! in portions that fit into one TLS record ([`PORTION`]), and neither half an element nor half a
//! record is of any use to the receiver. So the whole stanza is written again on the next link, and
//! nothing is ever sent twice.

use std::collections::VecDeque;

use crate::stanza::{Payload, Stanza};

/// So much is handed over at a time: the plain text of one TLS record (RFC 8446 §5.1).
pub(crate) const PORTION: usize = 16 * 1024;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 256;

/// One domain pair's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// The entries as they go on the stream, behind `done` bytes that have been handed over and belong
    /// to entries that are gone.
    bytes: String,
    done: usize,
    /// Bytes of the first entries that have been handed over on the current link.
    written: usize,
    /// How many stanzas have been handed over completely since the queue exists.
    gone: u64,
    /// The largest stanza that goes through the current link.
    largest: Option<usize>,
}

/// A queued stanza: where it ends, and what is needed to answer it.
#[derive(Debug)]
struct Entry {
    length: usize,
    head: Stanza<'static>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many stanzas have been handed over so far.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// What the queue is charged with.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() - self.done + self.entries.len() * OVERHEAD
    }

    /// Adds a stanza at the end; gives its cost, or the stanza if it does not go through the current link.
    pub(crate) fn push(&mut self, stanza: Stanza<'static>) -> Result<usize, Box<Stanza<'static>>> {
        let before = self.bytes.len();
        stanza.write(&mut self.bytes);
        let length = self.bytes.len() - before;
        if self.largest.is_some_and(|largest| length > largest) {
            self.bytes.truncate(before);
            return Err(Box::new(stanza));
        }
        self.entries.push_back(Entry { length, head: head(stanza) });
        Ok(length + OVERHEAD)
    }

    /// Nothing has been handed over on the current link, and nothing larger goes through it. Gives the heads
    /// of what does not, and their cost.
    pub(crate) fn limit(&mut self, largest: Option<usize>) -> (Vec<Stanza<'static>>, usize) {
        self.largest = largest;
        let fits = |entry: &Entry| largest.is_none_or(|largest| entry.length <= largest);
        let (mut refused, mut freed) = (Vec::new(), 0);
        if self.entries.iter().all(fits) {
            return (refused, freed);
        }
        let (bytes, entries) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.entries));
        let mut rest = bytes.get(self.done..).unwrap_or_default();
        self.done = 0;
        for entry in entries {
            let (stanza, behind) = rest.split_at_checked(entry.length).unwrap_or((rest, ""));
            rest = behind;
            if fits(&entry) {
                self.bytes.push_str(stanza);
                self.entries.push_back(entry);
            } else {
                freed += entry.length + OVERHEAD;
                refused.push(entry.head);
            }
        }
        (refused, freed)
    }

    /// The next bytes to hand over, at most a portion.
    pub(crate) fn portion(&self) -> &[u8] {
        let rest = self.bytes.as_bytes().get(self.done + self.written..).unwrap_or_default();
        rest.get(..PORTION).unwrap_or(rest)
    }

    /// `count` bytes have been handed over: entries that are complete are gone. Gives their cost.
    pub(crate) fn handed_over(&mut self, count: usize) -> usize {
        self.written += count;
        let mut freed = 0;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.length <= self.written) {
            self.written -= entry.length;
            self.done += entry.length;
            freed += entry.length + OVERHEAD;
            self.gone += 1;
        }
        // Moving the rest costs less than what was written since the last time.
        if self.done >= self.bytes.len() / 2 {
            self.bytes.drain(..self.done);
            self.done = 0;
            if self.bytes.is_empty() {
                // An idle queue holds no memory.
                self.bytes = String::new();
            }
        }
        freed
    }

    /// The link has broken: what was not handed over completely goes out anew.
    pub(crate) fn link_lost(&mut self) {
        self.written = 0;
        self.largest = None;
    }

    /// Gives up: the heads of all that is left, to be answered.
    pub(crate) fn take_all(&mut self) -> Vec<Stanza<'static>> {
        let queue = std::mem::replace(self, Self { gone: self.gone, ..Self::default() });
        queue.entries.into_iter().map(|entry| entry.head).collect()
    }
}

/// The stanza without its payload: enough to answer it with an error.
pub(crate) fn head(mut stanza: Stanza<'static>) -> Stanza<'static> {
    stanza.payload = Payload::EMPTY;
    stanza
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Kind, MessageType};

    fn message(id: usize, size: usize) -> Stanza<'static> {
        let body = format!("<body>{}</body>", "x".repeat(size));
        Stanza::new(Kind::Message(MessageType::Chat)).id(id.to_string()).payload(Payload::canonical(body))
    }

    fn queue(sizes: &[usize]) -> Queue {
        let mut queue = Queue::default();
        for (id, size) in sizes.iter().enumerate() {
            queue.push(message(id, *size)).unwrap();
        }
        queue
    }

    fn ids(stanzas: &[Stanza<'static>]) -> Vec<String> {
        stanzas.iter().map(|stanza| stanza.id.as_deref().unwrap().to_owned()).collect()
    }

    #[test]
    fn all_is_written_in_order_and_portions() {
        let sizes = [10, 40_000, 0, 5_000, 20_000];
        let mut queue = queue(&sizes);
        let whole: String = sizes.iter().enumerate().map(|(id, size)| message(id, *size).to_xml()).collect();
        let mut out = Vec::new();
        while !queue.portion().is_empty() {
            let portion = queue.portion().to_vec();
            assert!(portion.len() <= PORTION);
            out.extend_from_slice(&portion);
            queue.handed_over(portion.len());
        }
        assert_eq!(String::from_utf8(out).unwrap(), whole);
        assert!(queue.is_empty());
        assert_eq!(queue.cost(), 0);
    }

    #[test]
    fn costs_add_up() {
        let mut queue = Queue::default();
        let added: usize = (0..50).map(|id| queue.push(message(id, id * 100)).unwrap()).sum();
        assert_eq!(queue.cost(), added);
        let mut freed = 0;
        while !queue.portion().is_empty() {
            let step = queue.portion().len().min(1000);
            freed += queue.handed_over(step);
            assert_eq!(queue.cost(), added - freed);
        }
        assert_eq!(freed, added);
    }

    #[test]
    fn a_stanza_that_was_cut_goes_out_whole_on_the_next_link() {
        let mut queue = queue(&[10, 10, 10]);
        let length = message(0, 10).to_xml().len();
        queue.handed_over(length + 5);
        assert_eq!(queue.entries.len(), 2);
        queue.link_lost();
        let rest = message(1, 10).to_xml() + &message(2, 10).to_xml();
        assert_eq!(queue.portion(), rest.as_bytes());
    }

    // Proves: XEP-0478 §3
    #[test]
    fn what_is_too_large_for_a_link_comes_back() {
        let mut queue = queue(&[10, 20_000, 30, 20_000]);
        queue.handed_over(message(0, 10).to_xml().len() + 5);
        queue.link_lost();
        let before = queue.cost();
        let (refused, freed) = queue.limit(Some(10_000));
        assert_eq!(ids(&refused), ["1", "3"]);
        assert_eq!(queue.cost(), before - freed);
        let small = queue.push(message(4, 40)).unwrap();
        assert_eq!(queue.push(message(5, 20_000)).unwrap_err().id.as_deref(), Some("5"));
        assert_eq!(queue.portion(), (message(2, 30).to_xml() + &message(4, 40).to_xml()).as_bytes());
        assert_eq!(queue.cost(), before - freed + small);
        // Another link may take it.
        queue.link_lost();
        assert!(queue.push(message(6, 20_000)).is_ok());
        assert_eq!(queue.limit(None), (Vec::new(), 0));
    }

    #[test]
    fn what_is_given_up_keeps_its_order_and_loses_its_payload() {
        let mut queue = queue(&[10, 10, 10]);
        queue.handed_over(message(0, 10).to_xml().len());
        let left = queue.take_all();
        assert_eq!(ids(&left), ["1", "2"]);
        assert_eq!(queue.gone(), 1);
        assert!(left.iter().all(|stanza| stanza.payload.is_empty()));
        assert_eq!(queue.cost(), 0);
    }
}

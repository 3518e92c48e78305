//! Copies of messages for those sessions of an account that neither send nor get them (the mechanism behind XEP-0280).
//!
//! A copy is on its way for nobody: no log knows of it, it comes out of a session's ring or goes with it, and whatever is
//! said about it ends here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::fnv;
use crate::hooks::{Interest, Original, Readers};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, MessageType, Stanza};
use crate::storage::Direction;

use super::Router;
use super::account::{Account, Resource, State};
use super::batch::Batch;
use super::delivery::Reach;
use super::ring::Ring;

/// Copies that are ready to be written.
pub(super) struct Copies {
    stanza: Stanza<'static>,
    readers: Vec<(Arc<Ring>, Jid)>,
}

/// The last messages of an account of which there were copies.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<u64>);

impl Router {
    /// The copies that a message leads to, if there are any; those whom `reach` means get the message itself.
    pub(super) fn copies(
        &self,
        state: &State,
        original: &Original<'_, '_>,
        reach: Option<Reach>,
    ) -> Option<Box<Copies>> {
        let stanza = original.stanza;
        let is_reader = |(place, it): &(usize, &Resource)| {
            it.interests.has(Interest::Copies)
                && !reach.is_some_and(|reach| reach.includes(*place, it.priority()))
                && stanza.from.as_ref() != Some(&it.jid)
        };
        let mut readers = state.resources.iter().enumerate().filter(is_reader).map(|(_, it)| it).peekable();
        readers.peek()?;
        if stanza.kind == Kind::Message(MessageType::Error)
            && !state.copied.as_ref().is_some_and(|recent| recent.has(original))
        {
            // XEP-0280 §6.1: an error is worth a copy if that was which it answers.
            return None;
        }
        let duplicate = self.stages()?.copy(original)?;
        let peer = peer(original).map(Jid::bare_str);
        let is_meant = |it: &&Resource| match duplicate.readers {
            Readers::All => true,
            Readers::Present => it.directed.keys().any(|known| Some(known.bare_str()) == peer),
        };
        let readers: Vec<_> = readers.filter(is_meant).map(|it| (Arc::clone(&it.ring), it.jid.clone())).collect();
        let from = Jid::from(BareJid::clone(original.account));
        let kind = match stanza.kind {
            // The copy is none itself: it would have to say what has gone wrong with it (RFC 6120 §8.3.1).
            Kind::Message(MessageType::Error) => Kind::Message(MessageType::Normal),
            kind => kind,
        };
        let stanza = Stanza::new(kind).from(from).payload(duplicate.payload);
        (!readers.is_empty()).then(|| Box::new(Copies { stanza, readers }))
    }

    /// An account whose sessions may want copies sends a message.
    pub(super) fn copy_sent(&self, account: &Account, original: &Original<'_, '_>, batch: &mut Batch) {
        let mut state = account.lock();
        if !state.wants_copies() {
            account.forget_copies();
        } else if let Some(copies) = self.copies(&state, original, None) {
            copies.write(&mut state, original, batch);
        }
    }
}

impl State {
    /// Whether there is a session that wants copies.
    #[inline]
    pub(super) fn wants_copies(&self) -> bool {
        self.resources.iter().any(|it| it.interests.has(Interest::Copies))
    }
}

impl Copies {
    /// Writes them, one payload with as many headers.
    pub(super) fn write(&self, state: &mut State, original: &Original<'_, '_>, batch: &mut Batch) {
        for (ring, jid) in &self.readers {
            // A copy is as urgent as what it is a copy of.
            batch.push_stanza(ring, original.stanza, |out| self.stanza.write_to(out, Some(jid.as_str())));
        }
        state.copied.get_or_insert_default().note(original);
    }
}

impl Recent {
    /// How many are remembered.
    const MOST: usize = 64;

    fn note(&mut self, original: &Original<'_, '_>) {
        let Some(key) = key(original) else { return };
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(key);
    }

    /// Whether an error answers one of them.
    fn has(&self, error: &Original<'_, '_>) -> bool {
        key(error).is_some_and(|key| self.0.contains(&key))
    }
}

/// Whom the account sends to, or gets something from.
fn peer<'a>(original: &Original<'a, '_>) -> Option<&'a Jid> {
    match original.direction {
        Direction::Sent => original.stanza.to.as_ref(),
        Direction::Received => original.stanza.from.as_ref(),
    }
}

/// Stands for a message and for the error that answers it: both have the same id, and the same peer.
fn key(original: &Original<'_, '_>) -> Option<u64> {
    let (id, peer) = (original.stanza.id.as_deref()?, peer(original)?);
    Some(fnv::hash(id.bytes().chain([0]).chain(peer.bare_str().bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: MessageType, id: &str, (from, to): (&str, &str)) -> Stanza<'static> {
        let jid = |text: &str| Jid::parse(text).unwrap();
        Stanza::new(Kind::Message(kind)).id(id.to_owned()).from(jid(from)).to(jid(to))
    }

    const ROMEO: &str = "romeo@montague.example/orchard";
    const JULIET: &str = "juliet@capulet.example/balcony";

    // Proves: XEP-0280 §6.1
    #[test]
    fn an_error_answers_what_it_has_the_id_and_the_peer_of() {
        let account = BareJid::parse("romeo@montague.example").unwrap();
        let mut recent = Recent::default();
        let mut note = |stanza: &Stanza<'static>, direction| {
            recent.note(&Original { account: &account, direction, stanza, tail: "" });
        };
        note(&message(MessageType::Chat, "1", (ROMEO, "juliet@capulet.example")), Direction::Sent);
        note(&message(MessageType::Chat, "2", (JULIET, ROMEO)), Direction::Received);
        note(&Stanza::new(Kind::Message(MessageType::Chat)).to(Jid::parse(JULIET).unwrap()), Direction::Sent);
        let has = |recent: &Recent, id: &str, addresses, direction| {
            let stanza = message(MessageType::Error, id, addresses);
            recent.has(&Original { account: &account, direction, stanza: &stanza, tail: "" })
        };
        assert!(has(&recent, "1", (JULIET, ROMEO), Direction::Received));
        assert!(has(&recent, "1", ("juliet@capulet.example", ROMEO), Direction::Received));
        assert!(has(&recent, "2", (ROMEO, JULIET), Direction::Sent));
        assert!(!has(&recent, "3", (JULIET, ROMEO), Direction::Received));
        assert!(!has(&recent, "1", ("tybalt@capulet.example", ROMEO), Direction::Received));
        let nameless = Stanza::new(Kind::Message(MessageType::Error)).from(Jid::parse(JULIET).unwrap());
        let original = Original { account: &account, direction: Direction::Received, stanza: &nameless, tail: "" };
        assert!(!recent.has(&original));
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let account = BareJid::parse("romeo@montague.example").unwrap();
        let mut recent = Recent::default();
        for number in 0..Recent::MOST + 2 {
            let stanza = message(MessageType::Chat, &number.to_string(), (ROMEO, JULIET));
            recent.note(&Original { account: &account, direction: Direction::Sent, stanza: &stanza, tail: "" });
        }
        let has = |number: usize| {
            let stanza = message(MessageType::Error, &number.to_string(), (JULIET, ROMEO));
            recent.has(&Original { account: &account, direction: Direction::Received, stanza: &stanza, tail: "" })
        };
        assert!(!has(1) && has(2) && has(Recent::MOST + 1));
        assert_eq!(recent.0.len(), Recent::MOST);
    }
}

//! Which stanzas pass on a stream, whoever has opened it: those from and to the domains of a pair that the peer has proven on
//! that very stream (RFC 6120 §8.1.1.2, §8.1.2.2). Pure.

use crate::federation::incoming::{Proven, Rules};
use crate::jid::Jid;
use crate::routing::Pair;
use crate::stream::{StreamCondition, StreamError};

/// The pair for which a stanza with these addresses passes.
pub(crate) fn admit<'p>(
    proven: &'p [Proven],
    rules: &Rules,
    from: Option<&Jid>,
    to: Option<&Jid>,
) -> Result<&'p Pair, StreamError> {
    if proven.is_empty() {
        return Err(StreamError::new(StreamCondition::NotAuthorized, "a stanza before authentication"));
    }
    let (Some(from), Some(to)) = (from, to) else {
        return Err(StreamCondition::ImproperAddressing.into());
    };
    match proven.iter().find(|it| *it.pair.local == *to.domain() && *it.pair.remote == *from.domain()) {
        // It was welcome when it proved its domain, or in that way.
        Some(proven) if !rules.welcomes(proven) => Err(StreamCondition::PolicyViolation.into()),
        Some(proven) => Ok(&proven.pair),
        None if admit_sender(proven, Some(from)).is_some() && !(rules.is_local)(to.domain()) => {
            Err(StreamCondition::HostUnknown.into())
        }
        None => Err(StreamError::new(StreamCondition::InvalidFrom, "these domains were not proven on this stream")),
    }
}

/// The pair to which an answer to a stanza belongs of which only `from` is known.
pub(crate) fn admit_sender<'p>(proven: &'p [Proven], from: Option<&Jid>) -> Option<&'p Pair> {
    let from = from?;
    proven.iter().map(|proven| &proven.pair).find(|pair| *pair.remote == *from.domain())
}

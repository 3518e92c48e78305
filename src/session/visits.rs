//! What somebody may ask the server before he authenticates.

use std::net::SocketAddr;

use crate::hooks::{Verb, Visit, answering};
use crate::jid::{BareJid, Jid};
use crate::stanza::{IqType, Kind, Stanza};
use crate::stream::{StreamCondition, StreamError};

use super::context::Context;
use super::handshake::internal;
use super::wire::End;

/// The requests of one stream whose client has not authenticated.
#[derive(Debug, Default)]
pub(super) struct Visits {
    made: u8,
}

impl Visits {
    /// How many there may be: enough to read a form and to be refused a few times.
    const MOST: u8 = 10;

    /// Answers a request; whatever else it is ends the stream (RFC 6120 §4.9.3.12).
    pub(super) async fn answer(
        &mut self,
        context: &Context,
        domain: &BareJid,
        peer: Option<SocketAddr>,
        stanza: &Stanza<'_>,
    ) -> Result<Stanza<'static>, End> {
        self.made += 1;
        if self.made > Self::MOST {
            return Err(StreamError::new(StreamCondition::PolicyViolation, "too many requests before login").into());
        }
        let verb = match stanza.kind {
            Kind::Iq(IqType::Get) => Some(Verb::Get),
            Kind::Iq(IqType::Set) => Some(Verb::Set),
            _ => None,
        };
        let verb = verb.filter(|_| stanza.to.as_ref().is_none_or(|to| to.as_str() == domain.as_str()));
        let answer = verb.zip(stanza.payload.first()).and_then(|(verb, request)| {
            let visit = Visit { verb, domain: domain.clone(), peer: peer.map(|peer| peer.ip()), request: &request };
            context.router.strangers()?.answer(visit)
        });
        let answer = answer.ok_or_else(|| StreamError::from(StreamCondition::NotAuthorized))?.await;
        let mut answer = answering(stanza, answer).ok_or_else(internal)?;
        // He has no address, whatever he wrote.
        (answer.from, answer.to) = (Some(Jid::from(domain.clone())), None);
        Ok(answer)
    }
}

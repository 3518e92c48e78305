//! IQ requests that the server answers, for a domain or on behalf of an account.

use std::pin::Pin;

use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Stanza, StanzaError};
use crate::xml::Element;

/// The two kinds of request (RFC 6120 §8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    Set,
}

/// A typed payload of an IQ request: parsed at the edge, once.
pub trait Request: Sized + Send + 'static {
    /// Element name.
    const NAME: &'static str;
    /// Namespace.
    const NS: &'static str;

    /// Reads the payload.
    ///
    /// # Errors
    /// What the sender is to be told, usually `bad-request`.
    fn parse(element: &Element) -> Result<Self, StanzaError>;
}

/// How the sender of a request stands to the account that it addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// One of the account's own resources.
    Owner,
    /// Receives the account's presence (RFC 6121 §3).
    Subscriber,
    /// Must not learn whether the account exists (RFC 6120 §13.11).
    Stranger,
}

/// A request with its addresses.
#[derive(Debug, Clone)]
pub struct Call<R> {
    pub from: Jid,
    /// A domain or an account's bare JID.
    pub to: Jid,
    /// For a request to a domain: `Owner` of nothing, so `Subscriber` for its accounts and
    /// `Stranger` for everybody else.
    pub relation: Relation,
    pub request: R,
}

impl<R> Call<R> {
    /// Whose account it is about, for what is nobody else's business.
    ///
    /// # Errors
    /// `forbidden` if it is not the sender's own.
    pub fn owner(&self) -> Result<BareJid, StanzaError> {
        if self.relation == Relation::Owner { Ok(self.to.to_bare()) } else { Err(Condition::Forbidden.into()) }
    }
}

/// The payload of the result, if it has one, or the error.
pub type Answer = Result<Option<Element>, StanzaError>;

/// The stanza that answers `request`; none if that may not be answered (RFC 6120 §8.3.1).
#[must_use]
pub fn answering(request: &Stanza<'_>, answer: Answer) -> Option<Stanza<'static>> {
    match answer {
        Ok(Some(element)) => Some(request.result().payload(element)),
        Ok(None) => Some(request.result()),
        Err(error) => request.error(&error),
    }
}

/// An erased handler.
pub(super) type Handler = Box<dyn Fn(Call<&Element>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Erases a typed handler: the payload's type decides how the element is read.
pub(super) fn erase<R, T, F>(it: std::sync::Arc<T>, handle: fn(std::sync::Arc<T>, Call<R>) -> F) -> Handler
where
    R: Request,
    T: Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Box::new(move |call: Call<&Element>| match R::parse(call.request) {
        Ok(request) => {
            let call = Call { from: call.from, to: call.to, relation: call.relation, request };
            Box::pin(handle(std::sync::Arc::clone(&it), call))
        }
        Err(error) => Box::pin(std::future::ready(Err(error))),
    })
}

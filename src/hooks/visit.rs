//! Requests of clients that have not authenticated: on a secured stream, and of nobody but the server.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::jid::BareJid;
use crate::stanza::StanzaError;
use crate::xml::Element;

use super::iq::{Answer, Request, Verb};

/// A request of somebody of whom nothing is known but where he is.
#[derive(Debug, Clone)]
pub struct Visit<R> {
    pub verb: Verb,
    /// The domain of the stream.
    pub domain: BareJid,
    /// None for a connection in memory.
    pub peer: Option<IpAddr>,
    pub request: R,
}

/// An erased handler.
pub(super) type Handler = Box<dyn Fn(Visit<&Element>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// What strangers may ask for.
#[derive(Default)]
pub struct Strangers(Vec<Door>);

/// Says whether something may be asked for at this moment.
pub(super) type Open = Box<dyn Fn() -> bool + Send + Sync>;

struct Door {
    /// Name and namespace of the request.
    request: (&'static str, &'static str),
    open: Open,
    handler: Handler,
}

impl Strangers {
    /// Lets the handler of a request answer it; `None` if strangers have nothing to ask here.
    #[must_use]
    pub fn answer(&self, visit: Visit<&Element>) -> Option<impl Future<Output = Answer> + Send + use<>> {
        let asked = (visit.request.name(), visit.request.ns());
        let door = self.0.iter().find(|door| door.request == asked && (door.open)())?;
        Some((door.handler)(visit))
    }

    pub(super) fn add(&mut self, request: (&'static str, &'static str), open: Open, handler: Handler) {
        self.0.push(Door { request, open, handler });
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|door| door.request)).finish()
    }
}

/// Erases a typed handler.
pub(super) fn erase<R, T, F>(it: Arc<T>, handle: fn(Arc<T>, Visit<R>) -> F) -> Handler
where
    R: Request,
    T: Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Box::new(move |visit: Visit<&Element>| {
        let Visit { verb, domain, peer, request } = visit;
        match R::parse(request) {
            Ok(request) => Box::pin(handle(Arc::clone(&it), Visit { verb, domain, peer, request })),
            Err(error) => Box::pin(std::future::ready(Err::<_, StanzaError>(error))),
        }
    })
}

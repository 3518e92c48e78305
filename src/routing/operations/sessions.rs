//! The operations on sessions and on everybody who has one: only a running server has them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hooks::operation::{NameTaken, Operation, OperationError, Operations, Role};
use crate::jid::{BareJid, Jid};
use crate::routing::{Origin, Router};
use crate::stanza::{Kind, MessageType, Stanza};
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

use super::{DomainOf, domain};

/// Lists the sessions of a domain, as full JIDs.
pub const SESSION_LIST: Operation<DomainOf, Vec<String>> = Operation::new("session.list", Role::Operator);
/// Ends one session (full JID) or all of an account (bare JID); gives their number.
pub const SESSION_END: Operation<SessionName, usize> = Operation::new("session.end", Role::Operator);
/// Lists the accounts of a domain that have a session.
pub const ONLINE: Operation<DomainOf, Vec<Online>> = Operation::new("session.online", Role::Operator);
/// Sends a message to everybody who has a session in a domain; gives the number of sessions.
pub const ANNOUNCE: Operation<Announcement, usize> = Operation::new("announce", Role::Operator);

/// A session, or all of an account.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionName {
    pub jid: String,
}

/// An account that has a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Online {
    pub jid: String,
    /// Whether its owner is there, as far as his presence says.
    pub active: bool,
}

/// What everybody is to read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announcement {
    pub domain: String,
    pub text: String,
}

/// Registers the operations on the sessions of a running server.
///
/// # Errors
/// One of the names is taken.
pub(super) fn register(router: &Arc<Router>, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = Arc::clone(router);
    operations.register(&SESSION_LIST, move |asked: DomainOf| {
        let listed = domain(&asked.domain).map(|domain| {
            let mut sessions: Vec<_> = it.sessions(&domain).iter().map(ToString::to_string).collect();
            sessions.sort_unstable();
            sessions
        });
        std::future::ready(listed)
    })?;
    let it = Arc::clone(router);
    operations.register(&ONLINE, move |asked: DomainOf| {
        std::future::ready(domain(&asked.domain).map(|domain| {
            let online = |(jid, active): (BareJid, bool)| Online { jid: jid.to_string(), active };
            it.online(&domain).into_iter().map(online).collect()
        }))
    })?;
    let it = Arc::clone(router);
    operations.register(&SESSION_END, move |asked: SessionName| {
        let text = "an administrator has ended the session";
        let end = |jid| it.end_sessions(&jid, &StreamError::new(StreamCondition::PolicyViolation, text));
        let jid = Jid::parse(&asked.jid).map_err(|error| OperationError::Usage(format!("{}: {error}", asked.jid)));
        std::future::ready(jid.map(end))
    })?;
    let it = Arc::clone(router);
    operations.register(&ANNOUNCE, move |asked| announce(Arc::clone(&it), asked))
}

async fn announce(router: Arc<Router>, asked: Announcement) -> Result<usize, OperationError> {
    let domain = domain(&asked.domain)?;
    tell(&router, &domain, &asked.text).await
}

/// Sends a message to every session in a domain; gives their number.
pub(super) async fn tell(router: &Router, domain: &str, text: &str) -> Result<usize, OperationError> {
    let from = BareJid::of_domain(domain).map_err(|error| OperationError::Usage(error.to_string()))?;
    let sessions = router.sessions(domain);
    let mut batch = router.batch();
    for session in &sessions {
        let body = Element::new("body", crate::stanza::CLIENT_NS).with_text(text);
        let message = Stanza::new(Kind::Message(MessageType::Headline)).from(Jid::from(from.clone()));
        let routed = router.route(Origin::Server, message.to(session.clone()).payload(body), &mut batch).await;
        routed.map_err(|error| OperationError::Failed(error.condition.as_str().to_owned()))?;
    }
    batch.finish();
    Ok(sessions.len())
}

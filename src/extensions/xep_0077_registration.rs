//! XEP-0077 In-Band Registration, version 2.4: accounts that people make themselves, where the operator lets them, and
//! what they do with them: another password, the end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::accounts::credentials::Password;
use crate::clock::{Clock, Timestamp};
use crate::hooks::operation::{Nothing, OperationError, Operations};
use crate::hooks::{Answer, Call, Entity, Extension, Peer, Registrar, Relation, Request, Settings, Spec, Verb, Visit};
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::net::household;
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_CLOSE, ACCOUNT_PASSWORD, ACCOUNT_TIDY, AccountName, AccountPassword, NewAccount,
};
use crate::secret::Secret;
use crate::stanza::{Condition, ErrorType, StanzaError};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0077", version: "2.4" },
    name: "registration",
    advertises: &[(Entity::Domain, Query::NS)],
    commands: &[],
    wanted: |settings| settings.registration.open || settings.registration.self_service,
    install,
};

/// For rooms, where people register as well.
pub(super) mod api {
    pub(in crate::extensions) const NS: &str = "jabber:iq:register";
}

/// Namespace of the stream feature (XEP-0077 §7).
const FEATURE_NS: &str = "http://jabber.org/features/iq-register";

/// In which time attempts are counted.
const WINDOW: Duration = Duration::from_secs(3600);

/// Addresses whose attempts are remembered at once.
const MOST_ADDRESSES: usize = 10_000;

/// How long somebody who gives his account up has to read that it was done.
const FAREWELL: Duration = Duration::from_secs(1);

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(Registration {
        attempts: Attempts::default(),
        turns: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
        settings: at.settings.clone(),
        operations: Arc::clone(at.operations),
        clock: at.clock.clone(),
    });
    let settings = at.settings.clone();
    let open = move || settings.load().registration.open;
    let offered = open.clone();
    at.stream_feature(move |stream| {
        let stranger = stream.peer == Peer::Client && !stream.authenticated && stream.encrypted;
        (stranger && offered()).then(|| Element::new("register", FEATURE_NS))
    });
    at.before_login(open, &it, visited);
    for entity in [Entity::Domain, Entity::Account] {
        at.iq_get(entity, &it, |_, call| std::future::ready(shown(&call)));
        at.iq_set(entity, &it, changed);
    }
}

struct Registration {
    settings: Live<Settings>,
    attempts: Attempts,
    /// How many keys are made at once: each takes milliseconds of one processor.
    turns: Semaphore,
    operations: Arc<Operations>,
    clock: Clock,
}

/// XEP-0077 §3.1: somebody without an account asks what is needed, or has one made.
async fn visited(it: Arc<Registration>, visit: Visit<Query>) -> Answer {
    if visit.verb == Verb::Get {
        let instructions = "Choose a name and a password for your account.";
        let query = ["username", "password"].iter().fold(
            Element::new(Query::NAME, Query::NS)
                .with_child(Element::new("instructions", Query::NS).with_text(instructions)),
            |query, name| query.with_child(Element::new(name, Query::NS)),
        );
        return Ok(Some(query));
    }
    let Query { wish: Wish::Account { username: Some(username), password: Some(password) } } = visit.request else {
        return Err(StanzaError::new(Condition::NotAcceptable, "a name and a password are needed"));
    };
    let account = BareJid::account(&username, visit.domain.domain())
        .map_err(|error| StanzaError::new(Condition::NotAcceptable, error.to_string()))?;
    // Before anything about the name: which of them are taken is no reason to see another fault of the same request.
    Password::prepare(&password).map_err(|error| StanzaError::new(Condition::NotAcceptable, error.to_string()))?;
    let settings = it.settings.get();
    if let Some(peer) = visit.peer
        && !it.attempts.note(peer, it.clock.now(), settings.registration.attempts)
    {
        return Err(StanzaError::new(Condition::ResourceConstraint, "too many attempts, try again in an hour"));
    }
    // An administrator whose account is not there yet is not made by the first who comes along.
    let is_reserved = account.local().is_some_and(|local| settings.registration.reserved.contains(local));
    if is_reserved || settings.admins.contains(&account) {
        return Err(taken());
    }
    let turn = it.turns.acquire().await;
    let asked = NewAccount { jid: account.to_string(), password: Secret::new(password), admin: false, reuse: false };
    let made = it.operations.call(&ACCOUNT_ADD, asked).await;
    drop(turn);
    made.map_err(|error| match error {
        OperationError::Usage(text) => StanzaError::new(Condition::NotAcceptable, text),
        OperationError::Conflict(_) => taken(),
        OperationError::Unknown(text) | OperationError::Failed(text) => failed(&text),
    })?;
    tracing::info!(%account, peer = ?visit.peer, "somebody has made himself an account");
    Ok(None)
}

/// A name that is not to be had: that of an account, of one that was removed, of an administrator, or one that is reserved. Which of
/// these it is concerns nobody who asks.
fn taken() -> StanzaError {
    StanzaError::new(Condition::Conflict, "this name is not to be had")
}

/// XEP-0077 §3.1: what is known of somebody who has an account.
fn shown(call: &Call<Query>) -> Answer {
    let account = own(call)?;
    let username = Element::new("username", Query::NS).with_text(account.local().unwrap_or_default());
    let query = Element::new(Query::NAME, Query::NS).with_child(Element::new("registered", Query::NS));
    Ok(Some(query.with_child(username).with_child(Element::new("password", Query::NS))))
}

/// XEP-0077 §3.2, §3.3.
async fn changed(it: Arc<Registration>, call: Call<Query>) -> Answer {
    let account = own(&call)?;
    if !it.settings.load().registration.self_service {
        return Err(StanzaError::new(Condition::NotAllowed, "accounts are managed by the operator"));
    }
    match call.request.wish {
        Wish::End => give_up(&it, account).await,
        Wish::Account { username: Some(username), password: Some(password) } => {
            let named = BareJid::account(&username, account.domain()).ok();
            if named.as_ref() != Some(&account) {
                return Err(StanzaError::new(Condition::NotAllowed, "this is not the name of your account"));
            }
            let asked = AccountPassword { jid: account.to_string(), password: Secret::new(password) };
            it.operations.call(&ACCOUNT_PASSWORD, asked).await.map_err(|error| match error {
                OperationError::Usage(text) => StanzaError::new(Condition::NotAcceptable, text),
                error => failed(&error.to_string()),
            })?;
            Ok(None)
        }
        Wish::Account { .. } => Err(StanzaError::new(Condition::BadRequest, "a name and a password are needed")),
    }
}

/// From the answer on the account is gone; its contacts are told and its sessions end a moment later, so that the
/// answer arrives.
async fn give_up(it: &Arc<Registration>, account: BareJid) -> Answer {
    it.operations.call(&ACCOUNT_CLOSE, AccountName { jid: account.to_string() }).await.map_err(
        |error| match error {
            OperationError::Unknown(_) => StanzaError::from(Condition::RegistrationRequired),
            error => failed(&error.to_string()),
        },
    )?;
    tracing::info!(%account, "somebody has given his account up");
    let it = Arc::clone(it);
    tokio::spawn(async move {
        tokio::time::sleep(FAREWELL).await;
        if let Err(error) = it.operations.call(&ACCOUNT_TIDY, Nothing {}).await {
            tracing::error!(%error, "an account could not be removed completely; that is tried again");
        }
    });
    Ok(None)
}

/// Whose account it is about: that of who asks, at its own server.
fn own(call: &Call<Query>) -> Result<BareJid, StanzaError> {
    let is_own = match call.to.local() {
        Some(_) => call.relation == Relation::Owner,
        None => call.relation != Relation::Stranger && call.from.domain() == call.to.domain(),
    };
    let account = Some(&call.from).filter(|_| is_own).map(Jid::to_bare);
    account.ok_or_else(|| Condition::ServiceUnavailable.into())
}

fn failed(text: &str) -> StanzaError {
    tracing::error!(error = text, "a registration failed");
    Condition::InternalServerError.into()
}

/// How often addresses have tried to make an account.
#[derive(Default)]
struct Attempts {
    /// Since when they are counted, and how many there were.
    made: Mutex<HashMap<IpAddr, (Timestamp, usize)>>,
}

impl Attempts {
    /// Notes one more; `false` if there were more than `most`.
    fn note(&self, peer: IpAddr, now: Timestamp, most: usize) -> bool {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MOST_ADDRESSES {
            made.retain(|_, (since, _)| now.since(*since) < WINDOW);
        }
        let network = household(peer);
        if made.len() >= MOST_ADDRESSES && !made.contains_key(&network) {
            return false;
        }
        let (since, count) = made.entry(network).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= most
    }
}

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    /// An account, or another password for it.
    Account { username: Option<String>, password: Option<String> },
    /// To give his account up.
    End,
}

/// The request.
struct Query {
    wish: Wish,
}

impl Request for Query {
    const NAME: &'static str = "query";
    const NS: &'static str = api::NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        if element.child("remove", Self::NS).is_some() {
            // XEP-0077 §3.2: nothing beside it.
            let alone = element.elements().count() == 1;
            return if alone {
                Ok(Self { wish: Wish::End })
            } else {
                Err(StanzaError::from(Condition::BadRequest).with_type(ErrorType::Modify))
            };
        }
        let text = |name| element.child(name, Self::NS).map(Element::text).filter(|text| !text.is_empty());
        Ok(Self { wish: Wish::Account { username: text("username"), password: text("password") } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let wish = |inner: &str| {
            let xml = format!("<query xmlns='jabber:iq:register'>{inner}</query>");
            Query::parse(&Element::parse(&xml, "").unwrap()).map(|query| query.wish)
        };
        let account = |username: &str, password: Option<&str>| {
            Ok(Wish::Account { username: Some(username.to_owned()), password: password.map(str::to_owned) })
        };
        assert_eq!(wish("<username>bill</username><password>x</password>"), account("bill", Some("x")));
        assert_eq!(wish("<username>bill</username><password/>"), account("bill", None), "no password is none");
        assert_eq!(wish("<remove/>"), Ok(Wish::End));
        assert_eq!(
            wish("<remove/><username>bill</username>").map_err(|error| error.condition),
            Err(Condition::BadRequest)
        );
    }

    #[test]
    fn attempts_are_counted_by_address_and_hour() {
        let attempts = Attempts::default();
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1000);
        let here: IpAddr = [192, 0, 2, 1].into();
        assert!(attempts.note(here, at(0), 2) && attempts.note(here, at(1), 2));
        assert!(!attempts.note(here, at(2), 2));
        assert!(attempts.note([192, 0, 2, 2].into(), at(2), 2), "somebody else");
        assert!(attempts.note(here, at(3600), 2), "an hour later");
    }
}

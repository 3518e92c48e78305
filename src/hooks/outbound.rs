//! What an extension may do of its own accord.

use std::pin::Pin;
use std::time::Duration;

use crate::accounts::preferences::Preferences;
use crate::accounts::push::Registrations;
use crate::clock::Timestamp;
use crate::jid::{BareJid, Jid};
use crate::stanza::{Stanza, StanzaError};
use crate::storage::Receipt;
use crate::xml::Element;

use super::attention::Attention;
use super::interest::{Interest, Wanted};

/// The end of a request that the server sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A result or an error from whom it was sent to.
    Answered(Stanza<'static>),
    /// Nothing came in time.
    Silent,
}

/// Somebody beside the accounts whom a domain names to who asks what there is (XEP-0030 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosted {
    pub jid: Jid,
    /// For people.
    pub name: Option<String>,
}

/// A session of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated {
    pub jid: Jid,
    /// That of its client, or its own: by this its owner ends it.
    pub number: u64,
    /// When its client was last heard of, if that was since the server has started.
    pub last: Option<Timestamp>,
}

/// Who is not blocked any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unblocked {
    These(Vec<Jid>),
    All,
}

/// The way out, implemented by `routing`.
pub trait Outbound: Send + Sync {
    /// Sends an IQ request and waits for its answer; the id is chosen here. One that is sent on behalf of a session is
    /// answered to the server, and the session's client sees nothing of it.
    fn request(&self, iq: Stanza<'static>, timeout: Duration) -> Pin<Box<dyn Future<Output = Reply> + Send>>;

    /// Sends a stanza.
    fn send(&self, stanza: Stanza<'static>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Tells the presence of a session on its behalf to a room, which will hear of its end as well.
    fn present(&self, presence: Stanza<'static>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// How many bytes more the session `to` may be sent of its own asking.
    fn room(&self, to: &Jid) -> usize;

    /// Writes whole stanzas to the session `to`, in order, before anything that comes later.
    fn write(&self, to: &Jid, stanzas: &[String]);

    /// The available resources of a local account.
    fn resources(&self, account: &BareJid) -> Vec<Jid>;

    /// All sessions of a local account, those that wait for their clients among them.
    fn seats(&self, account: &BareJid) -> Vec<Seated>;

    /// Ends the sessions of a local account that have this number.
    fn unseat(&self, account: &BareJid, number: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Notes what a session wants or does not want any more. The receipt covers it, if storage has to know.
    fn interest(&self, session: &Jid, interest: Interest, wanted: Wanted) -> Receipt;

    /// The client of a session that has just begun says whether anybody looks at it.
    fn attend(&self, session: &Jid, attention: Attention);

    /// Whom a local account blocks that somebody is connected to, sorted.
    fn blocked(&self, account: &BareJid) -> Vec<String>;

    /// Has an account block addresses; the sessions that want to know get the request `push`.
    ///
    /// # Errors
    /// There are too many.
    fn block(&self, account: &BareJid, whom: Vec<Jid>, push: &Element) -> Result<Receipt, StanzaError>;

    /// The opposite.
    fn unblock(&self, account: &BareJid, whom: Unblocked, push: &Element) -> Receipt;

    /// What the owner of a local account wants archived from now on. It holds at once, and is durable once the future
    /// ends; until then nobody may be told.
    fn prefer(
        &self,
        account: &BareJid,
        preferences: Preferences,
    ) -> Pin<Box<dyn Future<Output = Result<(), StanzaError>> + Send>>;

    /// Changes who is told what the clients of a local account do not see. It holds at once, and is durable once the
    /// future ends.
    fn change_push(
        &self,
        account: &BareJid,
        change: Box<dyn FnOnce(&mut Registrations) + Send>,
    ) -> Pin<Box<dyn Future<Output = Result<(), StanzaError>> + Send>>;

    /// The services of the local domain `domain` that are there at the moment.
    fn services(&self, domain: &str) -> Vec<Hosted>;

    /// The sessions that have sent nothing since `before`.
    fn silent_since(&self, before: Timestamp) -> Vec<Jid>;

    /// Ends a session if its client has sent nothing since `before` (`connection-timeout`, RFC 6120
    /// §4.9.3.4).
    fn end_silent(&self, session: &Jid, before: Timestamp);
}

//! What the login machine asks for, and what it is answered.

use crate::accounts::attempts::Attempt;
use crate::accounts::clients::Means;
use crate::accounts::credentials::{Credentials, Password, ScramHash, ScramKeys};
use crate::accounts::directory::Standing;
use crate::accounts::sasl::{Mechanism, SaslCondition};
use crate::accounts::tokens::{AgentId, Slots};
use crate::accounts::traces::wipe_stack;
use crate::jid::BareJid;
use crate::negotiation::wishes::Wishes;
use crate::negotiation::xep_0388_sasl2 as sasl2;
use crate::stream::StreamError;
use crate::xml::Element;

use super::COMPARED;

/// What the caller has to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Write this element.
    Send(Element),
    /// Look the account up and call [`Login::looked_up`](super::Login::looked_up); read nothing from the stream until
    /// then.
    LookUp(BareJid),
    /// Call [`Verification::run`] where it disturbs nobody, and go on as with what it gives; read nothing until then.
    Verify(Verification),
    /// Judge the attempt and call [`Login::judged`](super::Login::judged); read nothing until then.
    Judge(Attempt),
    /// Look up the tokens of this client and call [`Login::token_found`](super::Login::token_found); read nothing from
    /// the stream until then.
    LookUpToken(BareJid, AgentId),
    /// Call [`Login::salted`](super::Login::salted) with random octets.
    Salt,
    /// Keep the keys, unless the password is another one by now, and call [`Login::kept`](super::Login::kept).
    Keep(Box<NewKeys>),
    /// The client is `user`; it will restart the stream.
    Success { user: BareJid },
    /// The client has authenticated by SASL2: do what it wanted, then write [`Entry::success`].
    Enter(Box<Entry>),
    /// An attempt has failed; the answer has been sent. For the log.
    Failure { condition: SaslCondition, left: u8 },
    /// Write the error and close the stream.
    Close(StreamError),
}

/// The answer to [`Effect::LookUp`].
#[derive(Debug, Clone)]
pub enum Found {
    /// Whether its owner may log in is told only to who has proved to be the owner (RFC 6120 §6.5.2).
    Account(Box<Credentials>, Standing),
    /// There is no such account.
    Unknown,
    /// The store does not answer (RFC 6120 §6.5.11).
    Unavailable,
}

/// The answer to [`Effect::LookUpToken`].
#[derive(Debug, Clone)]
pub enum FoundToken {
    Client(Slots, Standing),
    /// This client has no tokens, or there is no such account.
    Unknown,
    /// The store does not answer.
    Unavailable,
}

/// A client that has authenticated by SASL2.
#[derive(Debug)]
pub struct Entry {
    pub user: BareJid,
    pub wishes: Wishes,
    /// How the client has proved to be the user.
    pub means: Means,
    /// With which token.
    pub used: Option<UsedToken>,
    /// What the mechanism has to say at the end.
    pub(super) last: Option<Vec<u8>>,
}

/// The token with which a client has authenticated.
#[derive(Debug)]
pub struct UsedToken {
    pub mechanism: Mechanism,
    /// What is left.
    pub slots: Slots,
    /// It has to be kept.
    pub changed: bool,
    /// The token is old enough to be replaced.
    pub due: bool,
}

impl Entry {
    /// `<success/>` for the client, which is at `jid` now; `results` is XML: what came of its wishes.
    #[must_use]
    pub fn success(&self, jid: &str, results: &str) -> String {
        sasl2::success(self.last.as_deref(), jid, results)
    }
}

/// Keys that a client has made (XEP-0480).
#[derive(Debug, Clone)]
pub struct NewKeys {
    pub account: BareJid,
    pub hash: ScramHash,
    pub keys: ScramKeys,
    /// The mark of the keys with which the client has proved to be the owner.
    pub of: Vec<u8>,
}

/// A password to be compared with keys: milliseconds of work.
#[derive(Debug, Clone)]
pub struct Verification {
    pub(super) account: BareJid,
    pub(super) agent: Option<AgentId>,
    pub(super) stored: ScramKeys,
    pub(super) password: Password,
}

impl Verification {
    /// Compares; to be run off the worker threads.
    #[must_use]
    pub fn run(self) -> Attempt {
        let Self { account, agent, stored, password } = self;
        let verdict = stored.verify(COMPARED, &password);
        drop(password);
        wipe_stack();
        Attempt { account, agent, verdict }
    }
}

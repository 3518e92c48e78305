//! Tokens in place of a password (XEP-0484, version 0.2.0): each client of an account has two slots for them.
//!
//! The database has everything that a token is made of but the key, which is a file of its own: whoever steals the
//! database cannot log in with it (decision 0015). A token is bound to the account, to the client, to the mechanism that the
//! client has chosen for it and to its end.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::{Error, Look, Map, Storage, View, Writes};

use super::directory::{self, Standing};
use super::sasl::hashed_token::Presented;
use super::sasl::{Mechanism, SaslCondition};

/// Kept by the account, by client.
const TOKENS: Map<Slots> = Map::new("tokens");

/// Clients of one account that may have tokens; of further ones those go whose tokens end first.
const CLIENTS: usize = 50;

/// After this time a token that is used is replaced, so that one that was stolen is of use for a short time only.
const RENEWAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Octets of the secret from which tokens are derived.
pub const SECRET: usize = 32;

/// An installation of a client, as it calls itself (XEP-0388 §2.3). Nobody but the server learns it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentId(String);

impl AgentId {
    /// Reads the text of a UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let groups = text.split('-');
        let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = groups.clone().map(str::len).eq([8, 4, 4, 4, 12]) && groups.clone().all(is_hex);
        fits.then(|| Self(text.to_ascii_lowercase()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who has a token: a client of an account.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    pub account: &'a BareJid,
    pub agent: &'a AgentId,
}

/// What tokens are derived with. Clones are handles to the same.
#[derive(Clone)]
pub struct TokenKey(Arc<hmac::Key>);

impl TokenKey {
    /// `secret` is random, stays the same across restarts and is not in the database.
    #[must_use]
    pub fn new(secret: &[u8; SECRET]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The part of a resource by which a client is known to others (XEP-0386 §3.2.1): always the same, and without this key
    /// nobody gets from one to the other.
    #[must_use]
    pub fn resource(&self, holder: Holder<'_>) -> String {
        let tag = self.derive(&[b"resource", holder.account.as_str().as_bytes(), holder.agent.as_str().as_bytes()]);
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..9).unwrap_or_default())
    }

    /// The token as its holder knows it.
    fn token(&self, holder: Holder<'_>, token: &Token) -> Zeroizing<String> {
        let expires = token.expires.unix_ms().to_string();
        let parts: [&str; 6] =
            ["token", holder.account.as_str(), holder.agent.as_str(), &token.mechanism, &token.nonce, &expires];
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.derive(&parts.map(str::as_bytes))))
    }

    /// None of the parts holds a NUL.
    fn derive(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
            context.update(&[0]);
        }
        context.sign()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// A token at rest: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    nonce: String,
    mechanism: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl Token {
    /// What is looked at where there is none.
    fn of_nobody() -> Self {
        let (nonce, mechanism) = ("nobody has a token with this.".to_owned(), "HT-SHA-256-NONE".to_owned());
        Self { nonce, mechanism, issued: Timestamp::default(), expires: Timestamp::default() }
    }

    /// Whether it is old enough to be replaced.
    fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.issued) >= RENEWAL.min(self.expires.since(self.issued) / 2)
    }
}

/// The tokens of one client (XEP-0484 §5.1): the one in use, and one that the client may not have got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slots {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<Token>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<Token>,
}

/// What a client gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    pub token: Zeroizing<String>,
    pub expires: Timestamp,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A client has proved that it has a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Proves that the server has it, too.
    pub answer: Vec<u8>,
    /// What is left.
    pub slots: Slots,
    /// It has to be kept.
    pub changed: bool,
    /// The token is old enough to be replaced.
    pub due: bool,
}

impl Slots {
    /// Compares what a client has sent with its tokens. It takes as long where there are none.
    ///
    /// # Errors
    /// `credentials-expired` for who has a token whose time is over, `not-authorized` for everybody else.
    pub fn accept(
        mut self,
        key: &TokenKey,
        holder: Holder<'_>,
        (mechanism, presented): (Mechanism, &Presented),
        now: Timestamp,
    ) -> Result<Accepted, SaslCondition> {
        let nobody = Token::of_nobody();
        let fits = |slot: &Option<Token>| {
            let text = key.token(holder, slot.as_ref().unwrap_or(&nobody));
            let fits = presented.fits(&text);
            slot.as_ref().filter(|token| fits && token.mechanism == mechanism.as_str()).map(|_| text)
        };
        // Both are looked at in any case.
        let (new, current) = (fits(&self.new), fits(&self.current));
        let mut changed = false;
        if new.is_some() {
            (self.current, changed) = (self.new.take(), true);
        }
        let (Some(text), Some(token)) = (new.or(current), &self.current) else {
            return Err(SaslCondition::NotAuthorized);
        };
        if token.expires <= now {
            return Err(SaslCondition::CredentialsExpired);
        }
        let due = token.is_due(now);
        // XEP-0484 §3.5: whatever ends earlier is over.
        if self.new.as_ref().is_some_and(|new| new.expires < token.expires) {
            (self.new, changed) = (None, true);
        }
        Ok(Accepted { answer: presented.answer(&text), slots: self, changed, due })
    }

    /// Makes a token for `mechanism`, in place of one that the client has not used yet; `nonce` is fresh.
    pub fn issue(
        &mut self,
        key: &TokenKey,
        holder: Holder<'_>,
        mechanism: Mechanism,
        (now, lifetime): (Timestamp, Duration),
        nonce: [u8; 16],
    ) -> Issued {
        let expires = now.after(lifetime);
        let (nonce, mechanism) = (URL_SAFE_NO_PAD.encode(nonce), mechanism.as_str().to_owned());
        let token = Token { nonce, mechanism, issued: now, expires };
        let text = key.token(holder, &token);
        self.new = Some(token);
        Issued { token: text, expires }
    }

    /// When the last of them ends.
    fn end(&self) -> Option<Timestamp> {
        self.current.iter().chain(&self.new).map(|token| token.expires).max()
    }
}

/// The tokens of a client and whether the owner of the account may log in, if there are any: in one look, which takes as long
/// for an account that does not exist.
///
/// # Errors
/// What storage says.
pub fn found(look: Look<'_>, holder: Holder<'_>) -> Result<Option<(Slots, Standing)>, Error> {
    directory::item(look, holder.account, (&TOKENS, holder.agent.as_str()))
}

/// Keeps the tokens of a client; it is so once this returns.
///
/// # Errors
/// What storage says.
pub async fn keep(storage: &Storage, holder: Holder<'_>, slots: &Slots, now: Timestamp) -> Result<(), Error> {
    let mut others = TOKENS.all(storage, holder.account).await?;
    others.retain(|(agent, _)| agent != holder.agent.as_str());
    let mut writes = Writes::new();
    for agent in surplus(others, now) {
        TOKENS.delete(&mut writes, holder.account, &agent);
    }
    if *slots == Slots::default() {
        TOKENS.delete(&mut writes, holder.account, holder.agent.as_str());
    } else {
        TOKENS.put(&mut writes, holder.account, holder.agent.as_str(), slots)?;
    }
    storage.keep(writes).await
}

/// The clients that have no token any more, and those that are too many beside one more.
fn surplus(mut others: Vec<(String, Slots)>, now: Timestamp) -> Vec<String> {
    others.sort_by_key(|(_, slots)| slots.end());
    let over = others.partition_point(|(_, slots)| slots.end().is_none_or(|end| end <= now));
    let most = over.max(others.len().saturating_sub(CLIENTS - 1));
    others.truncate(most);
    others.into_iter().map(|(agent, _)| agent).collect()
}

/// The clients of an account that have a token which is good at this time, and since when they have one.
///
/// # Errors
/// What storage says.
pub(super) fn alive(view: &View<'_>, account: &BareJid, now: Timestamp) -> Result<Vec<(String, Timestamp)>, Error> {
    let slots = view.items(&TOKENS, account)?.into_iter();
    Ok(slots
        .filter(|(_, slots)| slots.end().is_some_and(|end| end > now))
        .map(|(agent, slots)| {
            let issued = slots.current.iter().chain(&slots.new).map(|token| token.issued).min();
            (agent, issued.unwrap_or_default())
        })
        .collect())
}

/// A client has no token any more.
pub(super) fn revoke_one(writes: &mut Writes, holder: Holder<'_>) {
    TOKENS.delete(writes, holder.account, holder.agent.as_str());
}

/// Nobody has a token for the account any more.
pub(super) fn revoke(writes: &mut Writes, account: &BareJid) {
    TOKENS.clear(writes, account);
}

#[cfg(test)]
mod tests {
    use super::super::sasl::channel_binding::{BindingType, Bindings};
    use super::super::sasl::hashed_token::tests::message;
    use super::*;

    const NONE: Mechanism = Mechanism::HashedToken(None);
    const DAY: Duration = Duration::from_secs(86_400);
    const LIFETIME: Duration = Duration::from_secs(21 * 86_400);

    fn key() -> TokenKey {
        TokenKey::new(&[7; SECRET])
    }

    fn juliet() -> BareJid {
        "juliet@example.org".parse().unwrap()
    }

    fn agent(number: u8) -> AgentId {
        AgentId::parse(&format!("d4565fa7-4d72-4749-b3d3-740edbf877{number:02x}")).unwrap()
    }

    fn at(days: u32) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000).after(DAY * days)
    }

    fn presented(token: &str) -> Presented {
        Presented::parse(None, &Bindings::NONE, "example.org", &message("juliet", token, b"")).unwrap()
    }

    fn issue(slots: &mut Slots, day: u32) -> String {
        let nonce = [u8::try_from(day).unwrap(); 16];
        let (account, agent) = (juliet(), agent(1));
        let holder = Holder { account: &account, agent: &agent };
        let issued = slots.issue(&key(), holder, NONE, (at(day), LIFETIME), nonce);
        assert_eq!(issued.expires, at(day + 21));
        assert!(!format!("{issued:?} {slots:?}").contains(issued.token.as_str()));
        issued.token.to_string()
    }

    fn accept(slots: &Slots, token: &str, day: u32) -> Result<Accepted, SaslCondition> {
        let (account, agent) = (juliet(), agent(1));
        slots.clone().accept(&key(), Holder { account: &account, agent: &agent }, (NONE, &presented(token)), at(day))
    }

    // Proves: XEP-0484 §3.5, §5.1
    #[test]
    fn a_new_token_replaces_the_old_one_when_it_is_used_and_not_before() {
        let mut slots = Slots::default();
        let first = issue(&mut slots, 0);
        let used = accept(&slots, &first, 0).unwrap();
        assert!(used.changed && !used.due);
        let mut slots = used.slots;
        let again = accept(&slots, &first, 1).unwrap();
        assert!(!again.changed && again.due, "after a day it is time for another one");
        let lost = issue(&mut slots, 1);
        let second = issue(&mut slots, 2);
        assert!(accept(&slots, &first, 2).is_ok(), "the client may not have got the new one");
        assert_eq!(accept(&slots, &lost, 2), Err(SaslCondition::NotAuthorized), "that was never used");
        let slots = accept(&slots, &second, 2).unwrap().slots;
        assert_eq!(accept(&slots, &first, 2), Err(SaslCondition::NotAuthorized));
        assert!(accept(&slots, &second, 3).is_ok());
    }

    // Proves: XEP-0484 §4.2
    #[test]
    fn a_token_ends() {
        let mut slots = Slots::default();
        let token = issue(&mut slots, 0);
        assert!(accept(&slots, &token, 20).is_ok());
        assert_eq!(accept(&slots, &token, 21), Err(SaslCondition::CredentialsExpired));
        assert_eq!(accept(&slots, "another", 21), Err(SaslCondition::NotAuthorized), "who has none learns nothing");
        // Tokens that are issued for a shorter time from now on end together with the older ones.
        let slots = accept(&slots, &token, 1).unwrap().slots;
        let mut shorter = slots;
        let (account, agent) = (juliet(), agent(1));
        let holder = Holder { account: &account, agent: &agent };
        shorter.issue(&key(), holder, NONE, (at(1), DAY), [9; 16]);
        let used = accept(&shorter, &token, 1).unwrap();
        assert!(used.changed && used.slots.new.is_none());
    }

    // Proves: XEP-0484 §3.4
    #[test]
    fn a_token_is_bound_to_its_account_its_client_and_its_mechanism() {
        let mut slots = Slots::default();
        let token = issue(&mut slots, 0);
        let accept = |account: &BareJid, agent: &AgentId, key: &TokenKey, mechanism| {
            let holder = Holder { account, agent };
            let accepted = slots.clone().accept(key, holder, (mechanism, &presented(&token)), at(0));
            accepted.map(|accepted| accepted.answer.len())
        };
        let no = Err(SaslCondition::NotAuthorized);
        assert_eq!(accept(&juliet(), &agent(1), &key(), NONE), Ok(32));
        assert_eq!(accept(&"romeo@example.org".parse().unwrap(), &agent(1), &key(), NONE), no);
        assert_eq!(accept(&juliet(), &agent(2), &key(), NONE), no);
        let bound = Mechanism::HashedToken(Some(BindingType::TlsExporter));
        assert_eq!(accept(&juliet(), &agent(1), &key(), bound), no);
        // Whoever has the database does not have the key.
        assert_eq!(accept(&juliet(), &agent(1), &TokenKey::new(&[8; SECRET]), NONE), no);
        let mut later = slots.clone();
        later.new.as_mut().unwrap().expires = at(100);
        assert_eq!(
            later
                .accept(&key(), Holder { account: &juliet(), agent: &agent(1) }, (NONE, &presented(&token)), at(0))
                .err(),
            no.err()
        );
    }

    #[test]
    fn what_is_kept_is_no_token() {
        let mut slots = Slots::default();
        let token = issue(&mut slots, 3);
        let kept = serde_json::to_string(&slots).unwrap();
        assert!(!kept.contains(&token) && token.len() == 43);
        assert_eq!(serde_json::from_str::<Slots>(&kept).unwrap(), slots);
        // It never changes: clients hold what was derived in this way.
        assert_eq!(token, "qIQopHBiGVUImkwv86ZmV9ZISnwO2NIrQxeqbI3ztD8");
        assert_eq!(format!("{:?}", key()), "TokenKey(…)");
    }

    #[tokio::test]
    async fn an_account_has_so_many_clients_with_tokens_and_no_more() {
        let storage = Storage::open_in_memory().unwrap();
        let account = juliet();
        let mut writes = Writes::new();
        storage.create(&account, Writes::new()).await.unwrap();
        for number in 0..60 {
            let mut slots = Slots::default();
            let agent = agent(number);
            let holder = Holder { account: &account, agent: &agent };
            // The first ones end at once.
            let lifetime = if number < 5 { Duration::ZERO } else { LIFETIME + DAY * u32::from(number) };
            slots.issue(&key(), holder, NONE, (at(0), lifetime), [number; 16]);
            keep(&storage, holder, &slots, at(0)).await.unwrap();
        }
        let left = TOKENS.all(&storage, &account).await.unwrap();
        assert_eq!(left.len(), CLIENTS);
        assert!(
            !left.iter().any(|(id, _)| id == agent(9).as_str()) && left.iter().any(|(id, _)| id == agent(10).as_str())
        );
        revoke(&mut writes, &account);
        storage.submit(writes);
        assert!(TOKENS.all(&storage, &account).await.unwrap().is_empty());
    }

    #[test]
    fn a_client_is_called_by_a_uuid() {
        let id = "D4565FA7-4d72-4749-b3d3-740edbf87770";
        assert_eq!(AgentId::parse(id).unwrap().as_str(), id.to_ascii_lowercase());
        for wrong in
            ["", "d4565fa7", "d4565fa74d724749b3d3740edbf87770", &id[1..], "g4565fa7-4d72-4749-b3d3-740edbf87770"]
        {
            assert_eq!(AgentId::parse(wrong), None, "{wrong}");
        }
        let (account, agent) = (juliet(), agent(1));
        let name = key().resource(Holder { account: &account, agent: &agent });
        assert_eq!(name.len(), 12);
        assert_eq!(name, key().resource(Holder { account: &account, agent: &agent }));
        assert_ne!(name, TokenKey::new(&[8; SECRET]).resource(Holder { account: &account, agent: &agent }));
    }
}

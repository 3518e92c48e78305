//! The clients that have access to an account, as far as they say which they are (XEP-0494, XEP-0388 §2.3).
//!
//! What they are called and how they have proved that they may is written when it changes, when they were here last at most
//! once a second. A new password ends the access of all of them, and with it what is known of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::fnv;
use crate::jid::BareJid;
use crate::storage::{Error, Map, Storage, View, Writes};

use super::tokens::{self, AgentId, Holder};

/// Kept by the account, by client.
const CLIENTS: Map<Client> = Map::new("clients");

/// When a client was here last, by the same keys.
const SEEN: Map<Timestamp> = Map::new("clients-seen");

/// Clients of an account that are remembered; of more, those go that have not been here for longest.
const MOST: usize = 100;

/// Characters of a name that a client gives itself.
const LONGEST: usize = 100;

/// How a client has proved that it may be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    Password,
    Certificate,
    Token,
}

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Client {
    /// When it was here first.
    pub first: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// It has presented the password that is in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificate: bool,
}

/// What a client calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    pub software: Option<String>,
    pub device: Option<String>,
}

impl Names {
    /// What of a name is kept.
    #[must_use]
    pub fn kept(name: &str) -> Option<String> {
        let kept: String = name.trim().chars().filter(|character| !character.is_control()).take(LONGEST).collect();
        (!kept.is_empty()).then_some(kept)
    }
}

/// A client that has access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub agent: AgentId,
    pub client: Client,
    /// When it was here last.
    pub last: Timestamp,
    /// It has a token (XEP-0484).
    pub token: bool,
}

impl Known {
    /// The number by which its sessions are known.
    #[must_use]
    pub fn number(&self) -> u64 {
        number(self.agent.as_str())
    }
}

/// The number that stands for a client, by its id, or for a session, by its full JID.
#[must_use]
pub fn number(name: &str) -> u64 {
    // Zero is nobody's.
    fnv::hash(name.bytes()).max(1)
}

/// Notes that a client has logged in, if that is something new; `retention` is how long clients are remembered.
///
/// # Errors
/// What storage says.
pub async fn note(
    storage: &Storage,
    holder: Holder<'_>,
    (names, means): (&Names, Means),
    (now, retention): (Timestamp, Duration),
) -> Result<(), Error> {
    if means == Means::Token || retention.is_zero() {
        return Ok(());
    }
    let (account, agent) = (holder.account.clone(), holder.agent.as_str().to_owned());
    let before = storage.glance(move |view| view.item(&CLIENTS, &account, &agent)).await?;
    let mut client = before.clone().unwrap_or(Client { first: now, ..Client::default() });
    (client.software, client.device) = (names.software.clone(), names.device.clone());
    client.password |= means == Means::Password;
    client.certificate |= means == Means::Certificate;
    if before.as_ref() == Some(&client) {
        return Ok(());
    }
    let account = holder.account.clone();
    let mut others = storage.read(move |view| last_seen(view, &account)).await?;
    others.retain(|(agent, _)| agent != holder.agent.as_str());
    others.sort_by_key(|(_, last)| *last);
    let over = others.partition_point(|(_, last)| now.since(*last) > retention);
    others.truncate(over.max(others.len().saturating_sub(MOST - 1)));
    let mut writes = Writes::new();
    for (agent, _) in others {
        CLIENTS.delete(&mut writes, holder.account, &agent);
        SEEN.delete(&mut writes, holder.account, &agent);
    }
    CLIENTS.put(&mut writes, holder.account, holder.agent.as_str(), &client)?;
    storage.submit(writes);
    Ok(())
}

/// Those that are remembered, and when they were here last.
fn last_seen(view: &View<'_>, account: &BareJid) -> Result<Vec<(String, Timestamp)>, Error> {
    let seen: BTreeMap<_, _> = view.items(&SEEN, account)?.into_iter().collect();
    let clients = view.items(&CLIENTS, account)?.into_iter();
    Ok(clients
        .map(|(agent, client)| {
            let last = seen.get(&agent).map_or(client.first, |at| client.first.max(*at));
            (agent, last)
        })
        .collect())
}

/// Notes when a client was here.
///
/// # Errors
/// [`Error::Value`].
pub fn seen(writes: &mut Writes, account: &BareJid, agent: &str, at: Timestamp) -> Result<(), Error> {
    SEEN.put(writes, account, agent, &at)
}

/// The clients that have access to an account without being connected, or are remembered as such.
///
/// # Errors
/// What storage says.
pub fn known(view: &View<'_>, account: &BareJid, (now, retention): (Timestamp, Duration)) -> Result<Vec<Known>, Error> {
    let mut tokens: BTreeMap<String, Timestamp> = tokens::alive(view, account, now)?.into_iter().collect();
    let seen: BTreeMap<_, _> = view.items(&SEEN, account)?.into_iter().collect();
    let last = |agent: &str, first: Timestamp| seen.get(agent).map_or(first, |at| first.max(*at));
    let mut all = Vec::new();
    for (agent, client) in view.items(&CLIENTS, account)? {
        let (token, last) = (tokens.remove(&agent).is_some(), last(&agent, client.first));
        if (token || now.since(last) <= retention)
            && let Some(agent) = AgentId::parse(&agent)
        {
            all.push(Known { agent, client, last, token });
        }
    }
    for (agent, issued) in tokens {
        let last = last(&agent, issued);
        if let Some(agent) = AgentId::parse(&agent) {
            all.push(Known { agent, client: Client { first: issued, ..Client::default() }, last, token: true });
        }
    }
    Ok(all)
}

/// A client has no access any more, as far as that can be taken from it; it is so once this returns.
///
/// # Errors
/// What storage says.
pub async fn revoke(storage: &Storage, holder: Holder<'_>) -> Result<(), Error> {
    let mut writes = Writes::new();
    CLIENTS.delete(&mut writes, holder.account, holder.agent.as_str());
    SEEN.delete(&mut writes, holder.account, holder.agent.as_str());
    tokens::revoke_one(&mut writes, holder);
    storage.keep(writes).await
}

/// There is a new password: nobody has access who does not know it.
pub(super) fn forget(writes: &mut Writes, account: &BareJid) {
    CLIENTS.clear(writes, account);
    SEEN.clear(writes, account);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(day: u32) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000).after(DAY * day)
    }

    fn agent(number: u8) -> AgentId {
        AgentId::parse(&format!("d4565fa7-4d72-4749-b3d3-740edbf877{number:02x}")).unwrap()
    }

    async fn list(storage: &Storage, day: u32) -> Vec<Known> {
        storage.durable(storage.latest()).await.unwrap();
        let account = "juliet@example.org".parse().unwrap();
        storage.read(move |view| known(view, &account, (at(day), DAY * 90))).await.unwrap()
    }

    // Proves: XEP-0494 §6
    #[tokio::test]
    async fn what_is_known_of_clients_is_what_they_say_and_not_for_ever() {
        let storage = Storage::open_in_memory().unwrap();
        let account: BareJid = "juliet@example.org".parse().unwrap();
        storage.create(&account, Writes::new()).await.unwrap();
        let names = Names { software: Names::kept(" Phone\u{7} app\n"), device: Names::kept(&"x".repeat(500)) };
        assert_eq!((names.software.as_deref(), names.device.as_ref().map(String::len)), (Some("Phone app"), Some(100)));
        assert_eq!(Names::kept(" \u{7}"), None);
        let note = async |number: u8, means: Means, day: u32| {
            let (agent, names) = (agent(number), &names);
            let holder = Holder { account: &account, agent: &agent };
            super::note(&storage, holder, (names, means), (at(day), DAY * 90)).await.unwrap();
            storage.durable(storage.latest()).await.unwrap();
        };
        note(1, Means::Password, 0).await;
        note(1, Means::Certificate, 1).await;
        note(2, Means::Token, 1).await;
        let found = list(&storage, 2).await;
        assert_eq!(found.len(), 1, "who has a token is known by it");
        assert!(found[0].client.password && found[0].client.certificate && found[0].client.first == at(0));
        let mut writes = Writes::new();
        seen(&mut writes, &account, agent(1).as_str(), at(50)).unwrap();
        storage.submit(writes);
        assert_eq!(list(&storage, 51).await[0].last, at(50));
        assert!(list(&storage, 141).await.is_empty(), "too long ago");
        for number in 0..=250 {
            note(number, Means::Password, 100).await;
        }
        assert_eq!(list(&storage, 100).await.len(), MOST);
        let (agent, mut writes) = (agent(250), Writes::new());
        let holder = Holder { account: &account, agent: &agent };
        revoke(&storage, holder).await.unwrap();
        assert_eq!(list(&storage, 100).await.len(), MOST - 1);
        forget(&mut writes, &account);
        storage.submit(writes);
        assert!(list(&storage, 100).await.is_empty());
    }
}

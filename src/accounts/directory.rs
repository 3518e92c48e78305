//! The accounts at rest: who exists, with which keys, and who may not log in.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::{Cell, CreateError, Error, Lost, Map, Storage, View, Writes};

use super::credentials::{Credentials, Iterations, Password, Salts, ScramHash};
use super::random::{self, Exhausted};
use super::{removal, tokens};

/// The SCRAM keys of an account; its password is kept nowhere.
const CREDENTIALS: Cell<Credentials> = Cell::new("credentials");

/// What is known of an account beside its keys.
const ACCOUNT: Cell<Account> = Cell::new("account");

/// Accounts that may not log in, and since when: kept by their domain, by localpart, so that they are found without
/// a look at all the others.
const DISABLED: Map<Timestamp> = Map::new("disabled");

/// Since when every account of a domain has keys for every hash function; kept by the domain.
const ALL_KEYS: Cell<Timestamp> = Cell::new("all-keys");

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub created: Timestamp,
}

/// Whether the owner of an account may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    #[default]
    Active,
    /// An administrator has said no; for everybody else the account is one that is offline.
    Disabled,
}

/// Why an account could not be made or changed.
#[derive(Debug)]
pub enum DirectoryError {
    Exists,
    Unknown,
    Storage(Error),
    Exhausted(Exhausted),
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("the account exists already"),
            Self::Unknown => f.write_str("there is no such account"),
            Self::Storage(error) => write!(f, "storage failed: {error}"),
            Self::Exhausted(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DirectoryError {}

impl From<Error> for DirectoryError {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl From<Lost> for DirectoryError {
    fn from(lost: Lost) -> Self {
        Self::Storage(Error::Engine(lost.to_string()))
    }
}

impl From<Exhausted> for DirectoryError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

/// Makes an account; it exists once this returns.
///
/// # Errors
/// [`DirectoryError::Exists`], or what storage says.
pub async fn create(
    storage: &Storage,
    jid: &BareJid,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(), DirectoryError> {
    let mut writes = Writes::new();
    CREDENTIALS.put(&mut writes, jid, credentials)?;
    ACCOUNT.put(&mut writes, jid, &Account { created: now })?;
    removal::forget(&mut writes, jid);
    match storage.create(jid, writes).await {
        Ok(_) => Ok(()),
        Err(CreateError::Exists) => Err(DirectoryError::Exists),
        Err(CreateError::Lost(lost)) => Err(lost.into()),
    }
}

/// Replaces the keys of an account; tokens that were given for the old ones are worth nothing any more.
///
/// # Errors
/// [`DirectoryError::Unknown`], or what storage says.
pub async fn set_credentials(
    storage: &Storage,
    jid: &BareJid,
    credentials: &Credentials,
) -> Result<(), DirectoryError> {
    if !exists(storage, jid).await? {
        return Err(DirectoryError::Unknown);
    }
    let mut writes = Writes::new();
    CREDENTIALS.put(&mut writes, jid, credentials)?;
    tokens::revoke(&mut writes, jid);
    Ok(storage.durable(storage.submit(writes)).await?)
}

/// The hash functions for which every account of `domain` has keys: only these may be offered, because an offer that
/// depends on the account would tell which accounts there are (decision 0016). Keys of new passwords are complete, so what is
/// found once stays so. Blocks for as long as it takes: for a program that is starting.
///
/// # Errors
/// What storage says.
pub fn hashes(storage: &Storage, domain: &str, now: Timestamp) -> Result<&'static [ScramHash], Error> {
    let owner = BareJid::from_kept(domain);
    let (known, complete) = storage.read_blocking(|view| {
        let known = view.cell(&ALL_KEYS, &owner)?.is_some();
        Ok((known, known || all_keys(view, domain)?))
    })?;
    if complete && !known {
        let mut writes = Writes::new();
        ALL_KEYS.put(&mut writes, &owner, &now)?;
        storage.submit(writes);
    }
    Ok(if complete { ScramHash::ALL } else { ScramHash::OLD })
}

fn all_keys(view: &View<'_>, domain: &str) -> Result<bool, Error> {
    for owner in view.owners(domain)? {
        if view.cell(&CREDENTIALS, &owner)?.is_some_and(|credentials| credentials.sha512.is_none()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets the owner of an account log in, or not; it is so once this returns.
///
/// # Errors
/// [`DirectoryError::Unknown`], or what storage says.
pub async fn set_standing(
    storage: &Storage,
    jid: &BareJid,
    standing: Standing,
    now: Timestamp,
) -> Result<(), DirectoryError> {
    if !exists(storage, jid).await? {
        return Err(DirectoryError::Unknown);
    }
    let mut writes = Writes::new();
    match standing {
        Standing::Active => let_in(&mut writes, jid),
        Standing::Disabled => DISABLED.put(&mut writes, &domain_of(jid), local(jid), &now)?,
    }
    Ok(storage.durable(storage.submit(writes)).await?)
}

/// Forgets that an account was disabled.
pub(super) fn let_in(writes: &mut Writes, jid: &BareJid) {
    DISABLED.delete(writes, &domain_of(jid), local(jid));
}

/// Whether there is an account.
///
/// # Errors
/// What storage says.
pub async fn exists(storage: &Storage, jid: &BareJid) -> Result<bool, Error> {
    let jid = jid.clone();
    storage.read(move |view| Ok(view.exists(&jid)? && !removal::is_pending(view, &jid)?)).await
}

/// The keys of an account and whether its owner may log in, if it exists. As much is read for one that does not.
///
/// # Errors
/// What storage says.
pub fn credentials(view: &View<'_>, jid: &BareJid) -> Result<Option<(Credentials, Standing)>, Error> {
    let (credentials, standing) = (view.cell(&CREDENTIALS, jid)?, standing(view, jid)?);
    let pending = removal::is_pending(view, jid)?;
    Ok(credentials.filter(|_| !pending).map(|credentials| (credentials, standing)))
}

/// Whether the owner of an account may log in.
///
/// # Errors
/// What storage says.
pub fn standing(view: &View<'_>, jid: &BareJid) -> Result<Standing, Error> {
    let disabled = view.item(&DISABLED, &domain_of(jid), local(jid))?;
    Ok(disabled.map_or(Standing::Active, |_| Standing::Disabled))
}

/// The accounts of a domain, sorted.
///
/// # Errors
/// What storage says.
pub async fn list(storage: &Storage, domain: &str) -> Result<Vec<BareJid>, Error> {
    let domain = BareJid::from_kept(domain);
    storage
        .read(move |view| {
            let pending = removal::pending(view, &domain)?;
            let mut owners = view.owners(domain.domain())?;
            owners.retain(|owner| !pending.contains(owner));
            Ok(owners)
        })
        .await
}

/// The accounts of a domain that are disabled, sorted.
///
/// # Errors
/// What storage says.
pub async fn disabled(storage: &Storage, domain: &str) -> Result<Vec<BareJid>, Error> {
    let domain = BareJid::from_kept(domain);
    let disabled = DISABLED.all(storage, &domain).await?;
    Ok(accounts_of(&domain, disabled.into_iter().map(|(local, _)| local)))
}

/// The account with each of these localparts.
pub(super) fn accounts_of(domain: &BareJid, locals: impl Iterator<Item = String>) -> Vec<BareJid> {
    locals.filter_map(|local| BareJid::account(&local, domain.domain()).ok()).collect()
}

/// The domain of an account, which keeps what has to outlive it or to be found without it.
pub(super) fn domain_of(jid: &BareJid) -> BareJid {
    BareJid::from_kept(jid.domain())
}

/// The key of an account in what its domain keeps.
pub(super) fn local(jid: &BareJid) -> &str {
    jid.local().unwrap_or_default()
}

/// The keys of a password, with fresh salts. Takes milliseconds: not for a thread that serves
/// others.
///
/// # Errors
/// [`Exhausted`].
pub fn derive(password: &Password) -> Result<Credentials, Exhausted> {
    let salts = Salts { sha1: random::octets()?, sha256: random::octets()?, sha512: random::octets()? };
    Ok(Credentials::derive(password, &salts, Iterations::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_function_is_offered_once_every_account_has_keys_for_it() {
        let storage = Storage::open_in_memory().unwrap();
        let now = Timestamp::default();
        let found = |domain: &str| hashes(&storage, domain, now).unwrap();
        let password = Password::prepare("pencil").unwrap();
        let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
        let keys = Credentials::derive(&password, &salts, Iterations::new(Iterations::MIN).unwrap());
        let old = Credentials { sha512: None, ..keys.clone() };
        let account = |name: &str| -> BareJid { name.parse().unwrap() };
        create(&storage, &account("new@a.example"), &keys, now).await.unwrap();
        create(&storage, &account("old@a.example"), &old, now).await.unwrap();
        create(&storage, &account("old@b.example"), &old, now).await.unwrap();
        assert_eq!((found("a.example"), found("b.example")), (ScramHash::OLD, ScramHash::OLD));
        assert_eq!(found("c.example"), ScramHash::ALL, "new accounts will have them");
        set_credentials(&storage, &account("old@a.example"), &keys).await.unwrap();
        assert_eq!((found("a.example"), found("b.example")), (ScramHash::ALL, ScramHash::OLD));
    }
}

//! The accounts at rest: who exists, with which keys.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::{Cell, CreateError, Error, Lost, Storage, View, Writes};

use super::credentials::{Credentials, Iterations, Password, Salts};
use super::random::{self, Exhausted};

/// The SCRAM keys of an account; its password is kept nowhere.
const CREDENTIALS: Cell<Credentials> = Cell::new("credentials");

/// What is known of an account beside its keys.
const ACCOUNT: Cell<Account> = Cell::new("account");

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub created: Timestamp,
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
    match storage.create(jid, writes).await {
        Ok(_) => Ok(()),
        Err(CreateError::Exists) => Err(DirectoryError::Exists),
        Err(CreateError::Lost(lost)) => Err(lost.into()),
    }
}

/// Replaces the keys of an account.
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
    Ok(storage.durable(storage.submit(writes)).await?)
}

/// Deletes an account with everything it has.
///
/// # Errors
/// [`DirectoryError::Unknown`], or what storage says.
pub async fn remove(storage: &Storage, jid: &BareJid) -> Result<(), DirectoryError> {
    if !exists(storage, jid).await? {
        return Err(DirectoryError::Unknown);
    }
    let mut writes = Writes::new();
    writes.delete_owner(jid);
    Ok(storage.durable(storage.submit(writes)).await?)
}

/// Whether there is an account.
///
/// # Errors
/// What storage says.
pub async fn exists(storage: &Storage, jid: &BareJid) -> Result<bool, Error> {
    storage.exists(jid).await
}

/// The keys of an account, if it exists.
///
/// # Errors
/// What storage says.
pub fn credentials(view: &View<'_>, jid: &BareJid) -> Result<Option<Credentials>, Error> {
    view.cell(&CREDENTIALS, jid)
}

/// The accounts of a domain, sorted.
///
/// # Errors
/// What storage says.
pub async fn list(storage: &Storage, domain: &str) -> Result<Vec<BareJid>, Error> {
    storage.owners(domain).await
}

/// The keys of a password, with fresh salts. Takes milliseconds: not for a thread that serves
/// others.
///
/// # Errors
/// [`Exhausted`].
pub fn derive(password: &Password) -> Result<Credentials, Exhausted> {
    let salts = Salts { sha1: random::octets()?, sha256: random::octets()? };
    Ok(Credentials::derive(password, &salts, Iterations::default()))
}

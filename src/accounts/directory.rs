//! The accounts at rest: who exists, with which keys, and who may not log in.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::hexadecimal;
use crate::jid::BareJid;
use crate::random;
use crate::storage::{Cell, CreateError, Error, Look, Map, Own, Storage, View, Writes};

use super::credentials::{Credentials, Iterations, Password, Salts, ScramHash, ScramKeys};
use super::removal::{self, REMOVED, Removed};
use super::{clients, tokens};

/// The SCRAM keys of an account; its password is kept nowhere.
const CREDENTIALS: Cell<Credentials> = Cell::new("credentials");

/// As long as what is kept of an account, and the keys of nobody.
const NOBODYS: &str = concat!(
    r#"{"sha1":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","iterations":10000,"stored_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAA=","#,
    r#""server_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="},"sha256":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","iterations":10000,"#,
    r#""stored_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","#,
    r#""server_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"sha512":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","#,
    r#""iterations":10000,"stored_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==","#,
    r#""server_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}}"#,
);

/// What is known of an account beside its keys.
const ACCOUNT: Cell<Account> = Cell::new("account");

/// Keys for a hash function that were made after the others of the same password, by a client (XEP-0480). Whoever changes
/// the password at the same moment need not know of them.
const LATER_KEYS: Cell<LaterKeys> = Cell::new("later-keys");

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

/// Keys, and the mark of those that they belong to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LaterKeys {
    of: String,
    sha512: ScramKeys,
}

/// Whether the owner of an account may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    #[default]
    Active,
    /// An administrator has said no; for everybody else the account is one that is offline.
    Disabled,
}

impl Standing {
    /// By since when it is disabled, if it is.
    fn of(disabled: Option<Timestamp>) -> Self {
        disabled.map_or(Self::Active, |_| Self::Disabled)
    }
}

/// Why an account could not be made or changed.
#[derive(Debug)]
pub enum DirectoryError {
    Exists,
    Unknown,
    Storage(Error),
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("the account exists already"),
            Self::Unknown => f.write_str("there is no such account"),
            Self::Storage(error) => write!(f, "storage failed: {error}"),
        }
    }
}

impl std::error::Error for DirectoryError {}

impl From<Error> for DirectoryError {
    fn from(error: Error) -> Self {
        Self::Storage(error)
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
        Err(CreateError::Lost(lost)) => Err(Error::from(lost).into()),
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
    LATER_KEYS.delete(&mut writes, jid);
    tokens::revoke(&mut writes, jid);
    clients::forget(&mut writes, jid);
    Ok(storage.keep(writes).await?)
}

/// The hash functions for which every account of `domain` has keys: only these may be offered, because an offer that
/// depends on the account would tell which accounts there are (decision 0016). Keys of new passwords are complete, so what is
/// found once stays so; those that clients have made later join the others then. Blocks for as long as it takes: for a
/// program that is starting.
///
/// # Errors
/// What storage says.
pub fn hashes(storage: &Storage, domain: &str, now: Timestamp) -> Result<&'static [ScramHash], Error> {
    let owner = BareJid::from_kept(domain);
    let found = storage.read_blocking(|view| {
        let known = view.cell(&ALL_KEYS, &owner)?.is_some();
        if known { Ok(Some(Vec::new())) } else { all_keys(view, domain) }
    })?;
    let Some(completed) = found else { return Ok(ScramHash::OLD) };
    let mut writes = Writes::new();
    for (account, credentials) in completed {
        CREDENTIALS.put(&mut writes, &account, &credentials)?;
        LATER_KEYS.delete(&mut writes, &account);
    }
    ALL_KEYS.put(&mut writes, &owner, &now)?;
    storage.submit(writes);
    Ok(ScramHash::ALL)
}

/// The accounts whose keys are complete with those that were made later; `None` if there is one that has not all, or of
/// which nobody knows what it has.
fn all_keys(view: &View<'_>, domain: &str) -> Result<Option<Vec<(BareJid, Credentials)>>, Error> {
    let mut completed = Vec::new();
    for owner in view.owners(domain)? {
        let credentials = match view.cell(&CREDENTIALS, &owner) {
            Err(Error::Damaged(_)) => return Ok(None),
            found => found?,
        };
        let Some(credentials) = credentials.filter(|it| it.sha512.is_none()) else { continue };
        match with_later_keys(view, &owner, credentials) {
            Ok(credentials) if credentials.sha512.is_some() => completed.push((owner, credentials)),
            Ok(_) | Err(Error::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(completed))
}

fn with_later_keys(view: &View<'_>, jid: &BareJid, mut credentials: Credentials) -> Result<Credentials, Error> {
    let later = view.cell(&LATER_KEYS, jid)?;
    let later = later.filter(|later| later.of == hexadecimal::text(&credentials.mark()));
    credentials.sha512 = credentials.sha512.or(later.map(|later| later.sha512));
    Ok(credentials)
}

/// The same as [`credentials`], with keys that were made later.
///
/// # Errors
/// What storage says.
pub fn complete_credentials(view: &View<'_>, jid: &BareJid) -> Result<Option<(Credentials, Standing)>, Error> {
    match credentials(view.look(), jid)? {
        Some((credentials, standing)) => Ok(Some((with_later_keys(view, jid, credentials)?, standing))),
        None => {
            view.cell(&LATER_KEYS, jid)?;
            Ok(None)
        }
    }
}

/// Keeps keys that a client has made for `hash`; `of` is the mark of those of the same password. It is so once this returns.
///
/// # Errors
/// What storage says.
pub async fn add_keys(
    storage: &Storage,
    jid: &BareJid,
    (hash, keys): (ScramHash, &ScramKeys),
    of: &[u8],
) -> Result<(), DirectoryError> {
    if hash != ScramHash::Sha512 {
        // Everybody has the others.
        return Ok(());
    }
    let mut writes = Writes::new();
    LATER_KEYS.put(&mut writes, jid, &LaterKeys { of: hexadecimal::text(of), sha512: keys.clone() })?;
    Ok(storage.keep(writes).await?)
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
    Ok(storage.keep(writes).await?)
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
pub fn credentials(look: Look<'_>, jid: &BareJid) -> Result<Option<(Credentials, Standing)>, Error> {
    let known = look.account(jid, Own::Cell(&CREDENTIALS), (&DISABLED, &REMOVED))?;
    if known.0.is_none() {
        // What can be read there is decoded here, so that both ways take equally long.
        std::hint::black_box(serde_json::from_str::<Credentials>(std::hint::black_box(NOBODYS)).is_ok());
    }
    Ok(of_owner(known))
}

/// What a map of an account has under `key`, and whether its owner may log in, if there is something. As much is read for an
/// account that does not exist.
///
/// # Errors
/// What storage says.
pub(super) fn item<V: Serialize + DeserializeOwned>(
    look: Look<'_>,
    jid: &BareJid,
    (map, key): (&Map<V>, &str),
) -> Result<Option<(V, Standing)>, Error> {
    look.account(jid, Own::Item(map, key), (&DISABLED, &REMOVED)).map(of_owner)
}

/// Nobody logs in to an account that is about to go.
fn of_owner<T>((own, disabled, removed): (Option<T>, Option<Timestamp>, Option<Removed>)) -> Option<(T, Standing)> {
    let pending = removed.is_some_and(|removed| removed.pending);
    own.filter(|_| !pending).map(|own| (own, Standing::of(disabled)))
}

/// Whether the owner of an account may log in.
///
/// # Errors
/// What storage says.
pub fn standing(view: &View<'_>, jid: &BareJid) -> Result<Standing, Error> {
    Ok(Standing::of(view.item(&DISABLED, &domain_of(jid), local(jid))?))
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
#[must_use]
pub fn derive(password: &Password) -> Credentials {
    let salts = Salts { sha1: random::octets(), sha256: random::octets(), sha512: random::octets() };
    Credentials::derive(password, &salts, Iterations::default())
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
        // A client makes what is missing, and the password changes meanwhile or not.
        let sha512 = keys.sha512.clone().unwrap();
        let of_b = account("old@b.example");
        add_keys(&storage, &of_b, (ScramHash::Sha512, &sha512), b"another password").await.unwrap();
        assert_eq!(found("b.example"), ScramHash::OLD);
        let of = of_b.clone();
        let complete = || {
            let of = of.clone();
            storage.read(move |view| complete_credentials(view, &of))
        };
        assert!(complete().await.unwrap().unwrap().0.sha512.is_none());
        add_keys(&storage, &of_b, (ScramHash::Sha512, &sha512), &old.mark()).await.unwrap();
        assert!(complete().await.unwrap().unwrap().0.sha512.is_some());
        assert_eq!(found("b.example"), ScramHash::ALL);
        storage.durable(storage.latest()).await.unwrap();
        let kept = storage.look(move |look| credentials(look, &of_b)).await.unwrap().unwrap().0;
        assert_eq!(kept.sha512.unwrap().stored_key, sha512.stored_key);
    }

    #[test]
    fn what_is_decoded_for_nobody_is_as_much_as_for_anybody() {
        let password = Password::prepare("pencil").unwrap();
        let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
        let kept = serde_json::to_string(&Credentials::derive(&password, &salts, Iterations::default())).unwrap();
        let nobodys: Credentials = serde_json::from_str(NOBODYS).unwrap();
        assert_eq!((NOBODYS.len(), serde_json::to_string(&nobodys).unwrap().as_str()), (kept.len(), NOBODYS));
    }
}

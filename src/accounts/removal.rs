//! Removed accounts. First the removal is written down, and from then on the account is gone for everybody, also
//! after a crash; then its contacts are told and what it had is deleted, a portion at a time. Its name is remembered:
//! for a time nobody else gets it, because others may still trust whoever is called so.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::{End, Error, Map, Position, Range, Storage, View, Writes};

use super::admins;
use super::directory::{self, DirectoryError, accounts_of, domain_of, local};

/// Kept by the domain, by localpart.
pub(super) const REMOVED: Map<Removed> = Map::new("removed");

/// Log entries that are deleted together, so that nobody else waits long for the writer.
const PORTION: usize = 512;

/// What is left of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Removed {
    at: Timestamp,
    /// Something of it may still be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) pending: bool,
}

/// Closes an account for good; it is gone once this returns, except for what [`finish`] deletes.
///
/// # Errors
/// [`DirectoryError::Unknown`], or what storage says.
pub async fn begin(storage: &Storage, jid: &BareJid, now: Timestamp) -> Result<(), DirectoryError> {
    if !directory::exists(storage, jid).await? {
        return Err(DirectoryError::Unknown);
    }
    let mut writes = Writes::new();
    REMOVED.put(&mut writes, &domain_of(jid), local(jid), &Removed { at: now, pending: true })?;
    // Whoever gets the name one day does not get its power.
    admins::dismiss(&mut writes, jid);
    Ok(storage.keep(writes).await?)
}

/// Deletes everything that a closed account has.
///
/// # Errors
/// What storage says.
pub async fn finish(storage: &Storage, jid: &BareJid) -> Result<(), DirectoryError> {
    let owner = jid.clone();
    let Some(removed) = storage.read(move |view| removed(view, &owner)).await?.filter(|removed| removed.pending) else {
        return Ok(());
    };
    clear(storage, jid, |view, owner, after| {
        view.archived(owner, &Range { after, ..Range::default() }, End::Oldest, PORTION)
    })
    .await?;
    clear(storage, jid, |view, owner, after| view.undelivered(owner, after, PORTION)).await?;
    let mut writes = Writes::new();
    writes.delete_owner(jid);
    directory::let_in(&mut writes, jid);
    REMOVED.put(&mut writes, &domain_of(jid), local(jid), &Removed { pending: false, ..removed })?;
    Ok(storage.keep(writes).await?)
}

/// Deletes the log entries that `read` finds.
async fn clear(
    storage: &Storage,
    jid: &BareJid,
    read: fn(&View<'_>, &BareJid, Option<Position>) -> Result<crate::storage::Page, Error>,
) -> Result<(), DirectoryError> {
    let mut after = None;
    loop {
        let owner = jid.clone();
        let page = storage.read(move |view| read(view, &owner, after)).await?;
        let mut writes = Writes::new();
        for position in page.entries.iter().map(|stored| stored.position).chain(page.damaged) {
            writes.remove(jid, position);
        }
        storage.keep(writes).await?;
        after = page.more;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// When the name of an account that was removed may be given to somebody else, if it was removed at all.
///
/// # Errors
/// What storage says.
pub async fn free_from(storage: &Storage, jid: &BareJid, closed: Duration) -> Result<Option<Timestamp>, Error> {
    let removed = REMOVED.get(storage, &domain_of(jid), local(jid)).await?;
    Ok(removed.map(|removed| removed.at.after(closed)))
}

/// Forgets the names that were removed before the time `before`.
///
/// # Errors
/// What storage says.
pub async fn forget_old(storage: &Storage, domain: &str, before: Timestamp) -> Result<(), DirectoryError> {
    let domain = BareJid::from_kept(domain);
    let mut writes = Writes::new();
    for (local, removed) in REMOVED.all(storage, &domain).await? {
        if !removed.pending && removed.at < before {
            REMOVED.delete(&mut writes, &domain, &local);
        }
    }
    Ok(storage.keep(writes).await?)
}

/// The accounts of a domain whose removal has begun and not ended.
///
/// # Errors
/// What storage says.
pub fn pending(view: &View<'_>, domain: &BareJid) -> Result<BTreeSet<BareJid>, Error> {
    let pending = view.items(&REMOVED, domain)?.into_iter().filter(|(_, removed)| removed.pending);
    Ok(accounts_of(domain, pending.map(|(local, _)| local)).into_iter().collect())
}

/// Whether the removal of an account has begun and not ended.
///
/// # Errors
/// What storage says.
pub fn is_pending(view: &View<'_>, jid: &BareJid) -> Result<bool, Error> {
    Ok(removed(view, jid)?.is_some_and(|removed| removed.pending))
}

fn removed(view: &View<'_>, jid: &BareJid) -> Result<Option<Removed>, Error> {
    view.item(&REMOVED, &domain_of(jid), local(jid))
}

/// The name is in use again.
pub(super) fn forget(writes: &mut Writes, jid: &BareJid) {
    REMOVED.delete(writes, &domain_of(jid), local(jid));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::credentials::{Credentials, Iterations, Password, Salts};
    use crate::storage::{Direction, Entry, Marks};

    const DAY: Duration = Duration::from_secs(86_400);

    async fn with_romeo() -> (Storage, BareJid) {
        let storage = Storage::open_in_memory().unwrap();
        let romeo: BareJid = "romeo@verona.example".parse().unwrap();
        create(&storage, &romeo).await.unwrap();
        (storage, romeo)
    }

    async fn create(storage: &Storage, jid: &BareJid) -> Result<(), DirectoryError> {
        let password = Password::prepare("orchard").unwrap();
        let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
        let keys = Credentials::derive(&password, &salts, Iterations::new(Iterations::MIN).unwrap());
        directory::create(storage, jid, &keys, Timestamp::default()).await
    }

    #[tokio::test]
    async fn a_removal_that_has_begun_is_one() {
        let (storage, romeo) = with_romeo().await;
        begin(&storage, &romeo, Timestamp::from_unix_ms(1)).await.unwrap();
        assert!(!directory::exists(&storage, &romeo).await.unwrap());
        assert!(directory::list(&storage, "verona.example").await.unwrap().is_empty());
        let owner = romeo.clone();
        assert!(storage.look(move |look| directory::credentials(look, &owner)).await.unwrap().is_none());
        assert!(matches!(begin(&storage, &romeo, Timestamp::default()).await, Err(DirectoryError::Unknown)));
        assert!(matches!(create(&storage, &romeo).await, Err(DirectoryError::Exists)), "something is left of it");
        let domain: BareJid = "verona.example".parse().unwrap();
        let left = storage.read(move |view| pending(view, &domain)).await.unwrap();
        assert_eq!(left, BTreeSet::from([romeo.clone()]));
        finish(&storage, &romeo).await.unwrap();
        finish(&storage, &romeo).await.unwrap();
        create(&storage, &romeo).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_removed_account() {
        let (storage, romeo) = with_romeo().await;
        let mut writes = Writes::new();
        for number in 0..PORTION as u64 + 3 {
            let marks = if number % 2 == 0 { Marks::ARCHIVED } else { Marks::ARCHIVED | Marks::UNDELIVERED };
            let entry = Entry {
                direction: Direction::Received,
                peer: "juliet@verona.example".into(),
                time: number,
                marks,
                payload: "<message/>".into(),
            };
            writes.append(&romeo, storage.slot(), entry);
        }
        storage.submit(writes);
        directory::set_standing(&storage, &romeo, directory::Standing::Disabled, Timestamp::default()).await.unwrap();
        begin(&storage, &romeo, Timestamp::default()).await.unwrap();
        finish(&storage, &romeo).await.unwrap();
        create(&storage, &romeo).await.unwrap();
        assert!(storage.page(&romeo, None, 1).await.unwrap().entries.is_empty());
        assert!(storage.undelivered(&romeo, None, 1).await.unwrap().entries.is_empty());
        assert!(directory::disabled(&storage, "verona.example").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_is_remembered_until_it_is_used_again_or_too_old() {
        let (storage, romeo) = with_romeo().await;
        let at = Timestamp::from_unix_ms(1000);
        assert_eq!(free_from(&storage, &romeo, DAY).await.unwrap(), None);
        begin(&storage, &romeo, at).await.unwrap();
        finish(&storage, &romeo).await.unwrap();
        assert_eq!(free_from(&storage, &romeo, DAY).await.unwrap(), Some(at.after(DAY)));
        forget_old(&storage, "verona.example", at).await.unwrap();
        assert!(free_from(&storage, &romeo, DAY).await.unwrap().is_some());
        forget_old(&storage, "verona.example", Timestamp::from_unix_ms(1001)).await.unwrap();
        assert_eq!(free_from(&storage, &romeo, DAY).await.unwrap(), None);
        create(&storage, &romeo).await.unwrap();
        begin(&storage, &romeo, at).await.unwrap();
        finish(&storage, &romeo).await.unwrap();
        create(&storage, &romeo).await.unwrap();
        assert_eq!(free_from(&storage, &romeo, DAY).await.unwrap(), None);
    }
}

//! The administrators: those of the configuration, and those that were added while the server ran. Who looks sees the
//! list of the moment.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::storage::{Error, Map, Storage, View, Writes};

use super::directory::{DirectoryError, accounts_of, domain_of, local};

/// Since when an account is an administrator; kept by its domain, by localpart.
const ADDED: Map<Timestamp> = Map::new("admins");

/// Who may use the commands of administrators.
#[derive(Debug, Default)]
pub struct Admins(RwLock<Lists>);

#[derive(Debug, Default)]
struct Lists {
    /// Those of the configuration, which only the configuration takes away.
    configured: BTreeSet<BareJid>,
    added: BTreeSet<BareJid>,
}

impl Admins {
    /// The administrators that are `configured` and those that were added.
    #[must_use]
    pub fn new(configured: impl IntoIterator<Item = BareJid>, added: impl IntoIterator<Item = BareJid>) -> Self {
        let lists = Lists { configured: configured.into_iter().collect(), added: added.into_iter().collect() };
        Self(RwLock::new(lists))
    }

    /// Whether `account` is one of them.
    #[must_use]
    pub fn contains(&self, account: &BareJid) -> bool {
        let lists = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lists.configured.contains(account) || lists.added.contains(account)
    }

    /// Whether the configuration says so.
    #[must_use]
    pub fn is_configured(&self, account: &BareJid) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).configured.contains(account)
    }

    /// All of them, sorted.
    #[must_use]
    pub fn all(&self) -> Vec<BareJid> {
        let lists = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lists.configured.union(&lists.added).cloned().collect()
    }

    /// Takes over another configuration.
    pub fn configure(&self, configured: impl IntoIterator<Item = BareJid>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).configured = configured.into_iter().collect();
    }

    /// Takes over what storage has, once it has it.
    pub fn replace_added(&self, added: BTreeSet<BareJid>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).added = added;
    }
}

/// Those of `domains` that were added.
///
/// # Errors
/// What storage says.
pub fn added(view: &View<'_>, domains: &[String]) -> Result<BTreeSet<BareJid>, Error> {
    let mut all = BTreeSet::new();
    for domain in domains {
        let domain = BareJid::from_kept(domain);
        let locals = view.items(&ADDED, &domain)?.into_iter().map(|(local, _)| local);
        all.extend(accounts_of(&domain, locals));
    }
    Ok(all)
}

/// Makes `wanted` the administrators that were added; it is so once this returns.
///
/// # Errors
/// What storage says.
pub async fn replace(
    storage: &Storage,
    before: &BTreeSet<BareJid>,
    wanted: &BTreeSet<BareJid>,
    now: Timestamp,
) -> Result<(), DirectoryError> {
    let mut writes = Writes::new();
    for account in before.difference(wanted) {
        dismiss(&mut writes, account);
    }
    for account in wanted.difference(before) {
        ADDED.put(&mut writes, &domain_of(account), local(account), &now)?;
    }
    Ok(storage.keep(writes).await?)
}

/// The account is none any more.
pub(super) fn dismiss(writes: &mut Writes, account: &BareJid) {
    ADDED.delete(writes, &domain_of(account), local(account));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jids<const N: usize>(names: [&str; N]) -> BTreeSet<BareJid> {
        names.iter().map(|name| format!("{name}@verona.example").parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn those_who_were_added_survive_and_the_others_are_configured() {
        let storage = Storage::open_in_memory().unwrap();
        let domains = ["verona.example".to_owned()];
        let stored = || {
            storage.read({
                let domains = domains.clone();
                move |view| added(view, &domains)
            })
        };
        let (both, one) = (jids(["escalus", "paris"]), jids(["paris"]));
        replace(&storage, &BTreeSet::new(), &both, Timestamp::default()).await.unwrap();
        assert_eq!(stored().await.unwrap(), both);
        replace(&storage, &both, &one, Timestamp::default()).await.unwrap();
        assert_eq!(stored().await.unwrap(), one);

        let admins = Admins::new(jids(["escalus"]), stored().await.unwrap());
        assert_eq!(admins.all(), Vec::from_iter(both.clone()));
        assert!(both.iter().all(|account| admins.contains(account)));
        admins.replace_added(BTreeSet::new());
        assert_eq!(admins.all(), Vec::from_iter(jids(["escalus"])));
        admins.configure([]);
        assert!(admins.all().is_empty());
    }
}

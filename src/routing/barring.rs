//! Who may communicate with a domain: its blacklist and its whitelist (XEP-0133 §4.11, §4.12). They hold in both
//! directions, and only for entities of other servers: an account of our own is disabled.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::clock::Timestamp;
use crate::hooks::operation::OperationError;
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, Stanza, StanzaError};
use crate::storage::{Error, Map, Storage, View, Writes};

use super::Router;
use super::batch::Batch;

/// The lists, each entry with the time since when it is there; kept by their domain.
const BLACKLIST: Map<Timestamp> = Map::new("blacklist");
const WHITELIST: Map<Timestamp> = Map::new("whitelist");

/// One of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum List {
    /// Who is on it, is barred.
    Black,
    /// If anybody is on it, everybody else is barred.
    White,
}

/// The lists of all domains.
#[derive(Debug, Default)]
pub(super) struct Barring {
    /// Whether there is any list: most servers have none, and every stanza asks.
    any: AtomicBool,
    domains: RwLock<HashMap<String, Lists>>,
}

#[derive(Debug, Default, Clone)]
struct Lists {
    black: BTreeSet<String>,
    white: BTreeSet<String>,
}

impl List {
    const fn map(self) -> &'static Map<Timestamp> {
        match self {
            Self::Black => &BLACKLIST,
            Self::White => &WHITELIST,
        }
    }
}

impl Barring {
    /// Whether the local domain `local` has nothing to do with `remote`.
    pub(super) fn bars(&self, local: &str, remote: Option<&Jid>) -> bool {
        self.any.load(Ordering::Relaxed)
            && remote.is_some_and(|remote| self.lists().get(local).is_some_and(|lists| lists.bar(remote)))
    }

    /// Reads the lists of `domain`.
    pub(super) fn load(&self, view: &View<'_>, domain: &str) -> Result<(), Error> {
        let owner = BareJid::from_kept(domain);
        for list in [List::Black, List::White] {
            self.put(list, domain, view.items(list.map(), &owner)?.into_iter().map(|(jid, _)| jid).collect());
        }
        Ok(())
    }

    /// One list of a domain, sorted.
    pub(super) fn show(&self, list: List, domain: &str) -> Vec<String> {
        self.lists().get(domain).map(|lists| lists.of(list).iter().cloned().collect()).unwrap_or_default()
    }

    /// Makes `wanted` one of the lists of a domain; it is durable, and holds, once this returns.
    pub(super) async fn replace(
        &self,
        storage: &Storage,
        (list, domain): (List, &str),
        wanted: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let owner = BareJid::from_kept(domain);
        let before: BTreeSet<String> = self.show(list, domain).into_iter().collect();
        let mut writes = Writes::new();
        for jid in before.difference(&wanted) {
            list.map().delete(&mut writes, &owner, jid);
        }
        for jid in wanted.difference(&before) {
            list.map().put(&mut writes, &owner, jid, &now)?;
        }
        storage.keep(writes).await?;
        self.put(list, domain, wanted);
        Ok(())
    }

    fn put(&self, list: List, domain: &str, jids: BTreeSet<String>) {
        let mut domains = self.domains.write().unwrap_or_else(PoisonError::into_inner);
        let lists = domains.entry(domain.to_owned()).or_default();
        match list {
            List::Black => lists.black = jids,
            List::White => lists.white = jids,
        }
        let any = domains.values().any(|lists| !lists.black.is_empty() || !lists.white.is_empty());
        self.any.store(any, Ordering::Relaxed);
    }

    fn lists(&self) -> RwLockReadGuard<'_, HashMap<String, Lists>> {
        self.domains.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    const fn of(&self, list: List) -> &BTreeSet<String> {
        match list {
            List::Black => &self.black,
            List::White => &self.white,
        }
    }

    fn bar(&self, jid: &Jid) -> bool {
        names(&self.black, jid) || (!self.white.is_empty() && !names(&self.white, jid))
    }
}

/// Whether a list names `jid` in one of the forms of XEP-0016 §2.1.
fn names(list: &BTreeSet<String>, jid: &Jid) -> bool {
    !list.is_empty()
        && (list.contains(jid.as_str())
            || list.contains(jid.bare_str())
            || list.contains(jid.domain())
            || jid.resource().is_some_and(|resource| list.contains(&format!("{}/{resource}", jid.domain()))))
}

/// What somebody is told who wants to talk to an entity that is barred.
pub(super) fn barred() -> StanzaError {
    StanzaError::new(Condition::NotAllowed, "this server does not let anybody communicate with that address")
}

/// The entries of a list, as they are kept.
///
/// # Errors
/// One of them is no address, or one of a domain that is served here.
pub(super) fn entries(router: &Router, texts: &[String]) -> Result<BTreeSet<String>, OperationError> {
    let mut entries = BTreeSet::new();
    for text in texts {
        let jid = Jid::parse(text).map_err(|error| OperationError::Usage(format!("{text}: {error}")))?;
        if router.is_local(jid.domain()) {
            let text = format!("{jid} is served here: disable the account instead");
            return Err(OperationError::Usage(text));
        }
        entries.insert(jid.as_str().to_owned());
    }
    Ok(entries)
}

impl Router {
    /// Answers what has come from an entity that is barred: a request has an answer in any case (RFC 6120 §8.2.3).
    pub(super) fn turn_away(&self, stanza: &Stanza<'_>, batch: &mut Batch) {
        let (Kind::Iq(_), Some(answer)) = (stanza.kind, stanza.error(&barred())) else { return };
        let (from, to) = (answer.from.as_ref().map(Jid::domain), answer.to.as_ref().map(Jid::domain));
        if let (Some(local), Some(remote)) = (from.and_then(|from| self.hosts.local(from)), to) {
            let remote = remote.to_owned();
            batch.send(local, &remote, answer.into_owned().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(black: &[&str], white: &[&str]) -> Lists {
        let list = |jids: &[&str]| jids.iter().map(|jid| (*jid).to_owned()).collect();
        Lists { black: list(black), white: list(white) }
    }

    #[test]
    fn an_entry_stands_for_everybody_below_it() {
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        for (entry, barred, free) in [
            ("mantua.example", "tybalt@mantua.example/x", "tybalt@sub.mantua.example"),
            ("tybalt@mantua.example", "tybalt@mantua.example/x", "romeo@mantua.example/x"),
            ("tybalt@mantua.example/x", "tybalt@mantua.example/x", "tybalt@mantua.example/y"),
            ("mantua.example/x", "tybalt@mantua.example/x", "tybalt@mantua.example"),
        ] {
            assert!(lists(&[entry], &[]).bar(&jid(barred)), "{entry}");
            assert!(!lists(&[entry], &[]).bar(&jid(free)), "{entry}");
            assert!(!lists(&[], &[entry]).bar(&jid(barred)), "{entry}");
            assert!(lists(&[], &[entry]).bar(&jid(free)), "{entry}");
        }
        assert!(!lists(&[], &[]).bar(&jid("tybalt@mantua.example")));
        assert!(lists(&["tybalt@mantua.example"], &["mantua.example"]).bar(&jid("tybalt@mantua.example/x")));
    }

    #[tokio::test]
    async fn a_list_is_kept() {
        let storage = Storage::open_in_memory().unwrap();
        let barring = Barring::default();
        let wanted = |jids: &[&str]| jids.iter().map(|jid| (*jid).to_owned()).collect::<BTreeSet<_>>();
        let here = (List::Black, "verona.example");
        let replace = |jids: &[&str]| barring.replace(&storage, here, wanted(jids), Timestamp::default());
        replace(&["mantua.example", "padua.example"]).await.unwrap();
        replace(&["padua.example"]).await.unwrap();
        let again = Barring::default();
        storage.read_blocking(|view| again.load(view, "verona.example")).unwrap();
        assert_eq!(again.show(List::Black, "verona.example"), ["padua.example"]);
        let padua: Jid = "x@padua.example".parse().unwrap();
        assert!(again.bars("verona.example", Some(&padua)));
        assert!(!again.bars("mantua.example", Some(&padua)), "another domain has a list of its own");
    }
}

//! Whom an account blocks (XEP-0191).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::jid::{BareJid, Jid};
use crate::storage::Map;

/// Since when an account blocks an address, by the address.
pub const BLOCKED: Map<Timestamp> = Map::new("blocked");

/// The addresses that an account blocks. Most block nobody, and then it is no more than a pointer.
#[derive(Debug, Default)]
pub struct Blocklist(Option<Box<List>>);

#[derive(Debug)]
struct List {
    owner: BareJid,
    addresses: BTreeSet<Arc<str>>,
    /// How long they are together.
    bytes: usize,
}

impl Blocklist {
    /// How many addresses there may be, and how long they may be together: they are in memory as long as the account is.
    pub const MOST: usize = 5000;
    pub const MOST_BYTES: usize = 256 * 1024;

    /// What storage has of it.
    #[must_use]
    pub fn kept(owner: &BareJid, addresses: impl IntoIterator<Item = String>) -> Self {
        let mut list = Self::default();
        addresses.into_iter().for_each(|address| list.add(owner, &address));
        list
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the account has nothing to do with `who` (XEP-0191 §6).
    ///
    /// Its own resources are never blocked (XEP-0191 §5), nor is the server itself, which could not serve it then.
    #[must_use]
    pub fn blocks(&self, who: &Jid) -> bool {
        let Some(list) = &self.0 else { return false };
        let is_exempt = who.bare_str() == list.owner.as_str() || who.as_str() == list.owner.domain();
        !is_exempt && [who.as_str(), who.bare_str(), who.domain()].iter().any(|it| list.addresses.contains(*it))
    }

    /// Whether this very address is on the list.
    #[must_use]
    pub fn contains(&self, address: &Jid) -> bool {
        self.0.as_ref().is_some_and(|list| list.addresses.contains(address.as_str()))
    }

    /// Whether these addresses, which are not on it, can be added.
    #[must_use]
    pub fn has_room(&self, added: &[&Jid]) -> bool {
        let (count, bytes) = self.0.as_ref().map_or((0, 0), |list| (list.addresses.len(), list.bytes));
        let more: usize = added.iter().map(|address| address.as_str().len()).sum();
        count + added.len() <= Self::MOST && bytes + more <= Self::MOST_BYTES
    }

    /// Puts an address on the list of `owner`.
    pub fn insert(&mut self, owner: &BareJid, address: &Jid) {
        self.add(owner, address.as_str());
    }

    fn add(&mut self, owner: &BareJid, address: &str) {
        let empty = || Box::new(List { owner: owner.clone(), addresses: BTreeSet::new(), bytes: 0 });
        let list = self.0.get_or_insert_with(empty);
        if list.addresses.insert(address.into()) {
            list.bytes += address.len();
        }
    }

    /// Takes an address off the list.
    pub fn remove(&mut self, address: &Jid) {
        let Some(list) = &mut self.0 else { return };
        if list.addresses.remove(address.as_str()) {
            list.bytes -= address.as_str().len();
        }
        if list.addresses.is_empty() {
            self.0 = None;
        }
    }

    /// The addresses, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flat_map(|list| &list.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    fn list(addresses: &[&str]) -> Blocklist {
        let owner = BareJid::parse("juliet@capulet.example").unwrap();
        Blocklist::kept(&owner, addresses.iter().map(|address| (*address).to_owned()))
    }

    // Proves: XEP-0191 §6
    #[test]
    fn an_address_blocks_what_belongs_to_it() {
        for (blocked, who, expected) in [
            ("romeo@montague.example/orchard", "romeo@montague.example/orchard", true),
            ("romeo@montague.example/orchard", "romeo@montague.example/tomb", false),
            ("romeo@montague.example/orchard", "romeo@montague.example", false),
            ("romeo@montague.example", "romeo@montague.example/orchard", true),
            ("romeo@montague.example", "romeo@montague.example", true),
            ("romeo@montague.example", "benvolio@montague.example", false),
            ("romeo@montague.example", "montague.example", false),
            ("montague.example/orchard", "montague.example/orchard", true),
            ("montague.example/orchard", "montague.example", false),
            ("montague.example/orchard", "romeo@montague.example/orchard", false),
            ("montague.example", "montague.example", true),
            ("montague.example", "montague.example/orchard", true),
            ("montague.example", "romeo@montague.example", true),
            ("montague.example", "romeo@montague.example/orchard", true),
            ("montague.example", "romeo@chat.montague.example", false),
        ] {
            assert_eq!(list(&[blocked]).blocks(&jid(who)), expected, "{blocked} {who}");
        }
        assert!(!list(&[]).blocks(&jid("romeo@montague.example")));
    }

    // Proves: XEP-0191 §5
    #[test]
    fn nobody_blocks_himself() {
        for blocked in ["capulet.example", "juliet@capulet.example", "juliet@capulet.example/balcony"] {
            for who in ["juliet@capulet.example/balcony", "juliet@capulet.example", "capulet.example"] {
                assert!(!list(&[blocked]).blocks(&jid(who)), "{blocked} {who}");
            }
        }
        assert!(list(&["capulet.example"]).blocks(&jid("tybalt@capulet.example/hall")));
    }

    #[test]
    fn what_is_put_on_can_be_taken_off() {
        let owner = BareJid::parse("juliet@capulet.example").unwrap();
        let mut list = Blocklist::default();
        let (romeo, paris) = (jid("romeo@montague.example"), jid("paris@verona.example"));
        for address in [&romeo, &paris, &romeo] {
            list.insert(&owner, address);
        }
        assert_eq!(list.addresses().map(|it| &**it).collect::<Vec<_>>(), [paris.as_str(), romeo.as_str()]);
        list.remove(&romeo);
        assert!(!list.contains(&romeo) && list.contains(&paris));
        list.remove(&romeo);
        list.remove(&paris);
        assert!(list.is_empty());
        assert_eq!(size_of::<Blocklist>(), size_of::<usize>());
    }

    #[test]
    fn there_is_an_end_to_it() {
        let many = Blocklist::kept(
            &BareJid::parse("juliet@capulet.example").unwrap(),
            (1..Blocklist::MOST).map(|number| format!("{number}@x.example")),
        );
        let (one, other) = (jid("a@x.example"), jid("b@x.example"));
        assert!(many.has_room(&[&one]));
        assert!(!many.has_room(&[&one, &other]));
        let long = jid(&format!("{}@x.example", "a".repeat(1000)));
        let long = vec![&long; Blocklist::MOST_BYTES / 1000];
        assert!(!Blocklist::default().has_room(&long));
    }
}

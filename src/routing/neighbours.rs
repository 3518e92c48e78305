//! Which accounts in memory have contacts at which domain, so that those whom it concerns that a domain has gone or is back
//! are found without a look at everybody.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::jid::BareJid;

use super::account::State;
use super::contacts::{Contacts, domain_of};

/// Accounts by the domains, other than their own, of their contacts. Each account is here from when it comes into memory until
/// it leaves it.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Mutex<HashMap<Box<str>, BTreeSet<BareJid>>>);

impl Neighbours {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, BTreeSet<BareJid>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account comes into memory.
    pub(super) fn came(&self, account: &BareJid, contacts: &Contacts) {
        let domains = domains(account, contacts);
        if domains.is_empty() {
            return;
        }
        let mut all = self.lock();
        domains.into_iter().for_each(|domain| add(&mut all, domain, account));
    }

    /// It leaves it.
    pub(super) fn went(&self, account: &BareJid, contacts: &Contacts) {
        let domains = domains(account, contacts);
        if domains.is_empty() {
            return;
        }
        let mut all = self.lock();
        domains.into_iter().for_each(|domain| remove(&mut all, domain, account));
    }

    /// The account has got or lost a contact; its lock is held.
    pub(super) fn changed(&self, account: &BareJid, state: &State, contact: &BareJid) {
        let domain = contact.domain();
        // What is removed has left already.
        if domain == account.domain() || state.gone {
            return;
        }
        if state.contacts.addresses().any(|jid| domain_of(jid) == domain) {
            add(&mut self.lock(), domain, account);
        } else {
            remove(&mut self.lock(), domain, account);
        }
    }

    /// The accounts with contacts at `domain`, in their order.
    pub(super) fn of(&self, domain: &str) -> Vec<BareJid> {
        self.lock().get(domain).into_iter().flatten().cloned().collect()
    }
}

fn add(all: &mut HashMap<Box<str>, BTreeSet<BareJid>>, domain: &str, account: &BareJid) {
    if let Some(known) = all.get_mut(domain) {
        known.insert(account.clone());
    } else {
        all.insert(domain.into(), [account.clone()].into());
    }
}

fn remove(all: &mut HashMap<Box<str>, BTreeSet<BareJid>>, domain: &str, account: &BareJid) {
    if let Some(known) = all.get_mut(domain) {
        known.remove(account);
        if known.is_empty() {
            all.remove(domain);
        }
    }
}

/// The domains of the contacts but the account's own, where most are.
fn domains<'c>(account: &BareJid, contacts: &'c Contacts) -> BTreeSet<&'c str> {
    contacts.addresses().map(domain_of).filter(|domain| *domain != account.domain()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::contact::Contact;
    use crate::accounts::roster::Item;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    fn contact(of: &str) -> (BareJid, Contact) {
        (jid(of), Contact { item: Some(Item::new(jid(of))), request: None })
    }

    fn state(contacts: &[&str]) -> State {
        State { contacts: contacts.iter().map(|of| contact(of)).collect(), ..State::default() }
    }

    #[test]
    fn accounts_are_found_by_the_domains_of_their_contacts() {
        let neighbours = Neighbours::default();
        let (juliet, nurse) = (jid("juliet@verona.example"), jid("nurse@verona.example"));
        let mut of_juliet = state(&["nurse@verona.example", "romeo@mantua.example", "friar@mantua.example"]);
        let of_nurse = state(&["peter@mantua.example", "padua.example"]);
        neighbours.came(&nurse, &of_nurse.contacts);
        neighbours.came(&juliet, &of_juliet.contacts);
        assert_eq!(neighbours.of("mantua.example"), [juliet.clone(), nurse.clone()]);
        assert_eq!(neighbours.of("padua.example"), std::slice::from_ref(&nurse));
        assert!(neighbours.of("verona.example").is_empty(), "that is their own");
        for (gone, still) in [("friar@mantua.example", true), ("romeo@mantua.example", false)] {
            of_juliet.contacts.set(&jid(gone), Contact::default());
            neighbours.changed(&juliet, &of_juliet, &jid(gone));
            assert_eq!(neighbours.of("mantua.example").contains(&juliet), still, "{gone}");
        }
        let (romeo, contact) = contact("romeo@mantua.example");
        of_juliet.contacts.set(&romeo, contact);
        neighbours.changed(&juliet, &of_juliet, &romeo);
        assert_eq!(neighbours.of("mantua.example"), [juliet.clone(), nurse.clone()]);
        neighbours.went(&juliet, &of_juliet.contacts);
        neighbours.went(&nurse, &of_nurse.contacts);
        of_juliet.gone = true;
        neighbours.changed(&juliet, &of_juliet, &romeo);
        assert!(neighbours.lock().is_empty(), "nothing is left of who is not in memory");
    }
}

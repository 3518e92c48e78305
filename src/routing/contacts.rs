//! The contacts of an account as they are held in memory: what routing asks at every presence is
//! one byte, what only a roster needs is packed. An account of a large organisation has hundreds of
//! them, so each counts.

use crate::accounts::contact::Contact;
use crate::accounts::roster::{Item, PendingIn, Request, state_of};
use crate::accounts::subscription::{State, Subscription};
use crate::jid::{BareJid, Jid};

/// Contacts, ordered by address.
#[derive(Debug, Default)]
pub(super) struct Contacts(Vec<Row>);

#[derive(Debug)]
struct Row {
    jid: BareJid,
    /// What the roster shows; `None` if it shows nothing.
    item: Option<Shown>,
    /// A request that waits for an answer.
    request: Option<Box<Request>>,
}

/// A roster item without its address.
#[derive(Debug)]
struct Shown {
    subscription: Subscription,
    ask: bool,
    approved: bool,
    /// The name, then the groups, each behind a NUL, which XML does not have; a name that is not
    /// set is empty, as RFC 6121 §2.1.2.2 has it.
    text: Box<str>,
}

impl Contacts {
    /// How the account stands with `jid` (a bare JID's text).
    pub(super) fn state(&self, jid: &str) -> State {
        self.row(jid).map(Row::state).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, jid: &BareJid) -> bool {
        self.row(jid.as_str()).is_some()
    }

    /// What is kept about `jid`.
    pub(super) fn get(&self, jid: &BareJid) -> Option<Contact> {
        self.row(jid.as_str()).map(Row::unpack)
    }

    /// Keeps `contact` from now on, or forgets it if nothing is left of it.
    pub(super) fn set(&mut self, jid: &BareJid, contact: Contact) {
        let place = self.0.binary_search_by(|row| row.jid.as_str().cmp(jid.as_str()));
        match (place, contact.is_blank()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => {
                if let Some(row) = self.0.get_mut(at) {
                    *row = Row::pack(jid.clone(), contact);
                }
            }
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, Row::pack(jid.clone(), contact)),
        }
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<(BareJid, Contact)> {
        std::mem::take(&mut self.0).iter().map(|row| (row.jid.clone(), row.unpack())).collect()
    }

    /// Every contact with its state.
    pub(super) fn states(&self) -> impl Iterator<Item = (&BareJid, State)> {
        self.0.iter().map(|row| (&row.jid, row.state()))
    }

    /// The roster, ordered by address.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        self.0.iter().filter_map(|row| row.unpack().item)
    }

    /// The requests that wait.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.0.iter().filter_map(|row| row.request.as_deref())
    }

    fn row(&self, jid: &str) -> Option<&Row> {
        let at = self.0.binary_search_by(|row| row.jid.as_str().cmp(jid)).ok()?;
        self.0.get(at)
    }
}

impl FromIterator<(BareJid, Contact)> for Contacts {
    fn from_iter<I: IntoIterator<Item = (BareJid, Contact)>>(contacts: I) -> Self {
        let mut rows: Vec<Row> = contacts.into_iter().map(|(jid, contact)| Row::pack(jid, contact)).collect();
        rows.sort_unstable_by(|one, other| one.jid.as_str().cmp(other.jid.as_str()));
        rows.shrink_to_fit();
        Self(rows)
    }
}

impl Row {
    fn pack(jid: BareJid, contact: Contact) -> Self {
        let shown = |item: Item| {
            let mut text = item.name.unwrap_or_default();
            for group in item.groups {
                text.push('\0');
                text.push_str(&group);
            }
            Shown { subscription: item.subscription, ask: item.ask, approved: item.approved, text: text.into() }
        };
        Self { jid, item: contact.item.map(shown), request: contact.request.map(Box::new) }
    }

    fn unpack(&self) -> Contact {
        let item = |shown: &Shown| {
            let mut parts = shown.text.split('\0').map(str::to_owned);
            let name = parts.next().filter(|name| !name.is_empty());
            Item {
                jid: self.jid.clone(),
                name,
                groups: parts.collect(),
                subscription: shown.subscription,
                ask: shown.ask,
                approved: shown.approved,
            }
        };
        Contact { item: self.item.as_ref().map(item), request: self.request.as_deref().cloned() }
    }

    fn state(&self) -> State {
        let pending = if self.request.is_some() { PendingIn::Yes } else { PendingIn::No };
        let shown = self.item.as_ref().map(|it| (it.subscription, it.ask, it.approved));
        state_of(shown.unwrap_or_default(), pending)
    }
}

/// Look-ups by the sender of a stanza.
impl Contacts {
    /// Whether `jid`, in whatever form, receives the account's presence.
    pub(super) fn is_subscriber(&self, jid: &Jid) -> bool {
        self.state(jid.bare_str()).subscription().has_from()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        text.parse().unwrap()
    }

    fn contact(name: Option<&str>, groups: &[&str]) -> Contact {
        let mut item = Item::new(jid("romeo@montague.example"));
        item.name = name.map(str::to_owned);
        item.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        item.subscription = Subscription::Both;
        Contact { item: Some(item), request: None }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let romeo = jid("romeo@montague.example");
        for kept in [
            contact(None, &[]),
            contact(Some("Romeo"), &[]),
            contact(None, &["Friends"]),
            contact(Some("R"), &["Friends", "Lovers of Verona"]),
        ] {
            let mut contacts = Contacts::default();
            contacts.set(&romeo, kept.clone());
            assert_eq!(contacts.get(&romeo), Some(kept.clone()));
            assert_eq!(contacts.state(romeo.as_str()), kept.state());
        }
    }

    #[test]
    fn they_are_found_by_address_and_stay_in_order() {
        let addresses = ["c@x.example", "a@x.example", "d.example", "b@x.example"].map(jid);
        let mut contacts: Contacts = addresses.iter().map(|jid| (jid.clone(), contact(None, &[]))).collect();
        contacts.set(&jid("aa@x.example"), contact(None, &[]));
        let order: Vec<_> = contacts.states().map(|(jid, _)| jid.as_str()).collect();
        assert_eq!(order, ["a@x.example", "aa@x.example", "b@x.example", "c@x.example", "d.example"]);
        assert!(contacts.is_subscriber(&"b@x.example/home".parse().unwrap()));
        contacts.set(&jid("b@x.example"), Contact::default());
        assert!(!contacts.contains(&jid("b@x.example")));
        assert_eq!(contacts.len(), 4);
        assert_eq!(contacts.drain().len(), 4);
        assert_eq!(contacts.len(), 0);
    }

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 56, "{}", size_of::<Row>());
    }
}

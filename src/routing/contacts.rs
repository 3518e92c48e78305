//! The contacts of an account as they are held in memory: one text and one row of places for all of
//! them, because an account has dozens to hundreds. A change writes both anew, which is rare.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::accounts::contact::Contact;
use crate::accounts::roster::{Item, PendingIn, Request, state_of};
use crate::accounts::subscription::{State, Subscription};
use crate::jid::{BareJid, Jid};

/// Contacts, ordered by address.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// For each contact its address and, where the roster shows a name or groups, the name and the
    /// groups, each behind a NUL, which XML does not have. A name that is not set is empty, as RFC
    /// 6121 §2.1.2.2 has it.
    text: Box<str>,
    rows: Box<[Row]>,
    /// The requests that wait for an answer.
    requests: BTreeMap<BareJid, Request>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// Where its part of the text ends.
    end: u32,
    /// How long its address is.
    jid: u16,
    /// What the roster shows; `None` if it shows nothing.
    shown: Option<Shown>,
}

/// How a roster item stands.
#[derive(Debug, Clone, Copy)]
struct Shown {
    subscription: Subscription,
    ask: bool,
    approved: bool,
}

/// One contact as it is kept.
#[derive(Clone, Copy)]
struct Kept<'a> {
    jid: &'a str,
    /// Name and groups, each behind a NUL.
    rest: &'a str,
    shown: Option<Shown>,
}

impl Contacts {
    /// How the account stands with `jid` (a bare JID's text).
    pub(super) fn state(&self, jid: &str) -> State {
        self.find(jid).ok().and_then(|at| self.kept(at)).map(|kept| self.state_of(kept)).unwrap_or_default()
    }

    /// What names and groups of one account may add up to: a change writes them anew, and the roster goes out as one
    /// stanza.
    pub(super) const MOST_BYTES: usize = 1 << 20;

    /// How long addresses, names and groups are together.
    pub(super) const fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn contains(&self, jid: &BareJid) -> bool {
        self.find(jid.as_str()).is_ok()
    }

    /// Whether `jid` (a bare JID's text) is in the roster.
    pub(super) fn shows(&self, jid: &str) -> bool {
        self.find(jid).ok().and_then(|at| self.kept(at)).is_some_and(|kept| kept.shown.is_some())
    }

    /// What is kept about `jid`.
    pub(super) fn get(&self, jid: &BareJid) -> Option<Contact> {
        let kept = self.kept(self.find(jid.as_str()).ok()?)?;
        Some(self.unpack(jid, kept))
    }

    /// Keeps `contact` from now on, or forgets it if nothing is left of it.
    pub(super) fn set(&mut self, jid: &BareJid, contact: Contact) {
        let (before, behind) = match self.find(jid.as_str()) {
            Ok(at) => (at, at + 1),
            Err(at) => (at, at),
        };
        self.requests.remove(jid.as_str());
        let mut packing = Packing::with_capacity(self.text.len(), self.rows.len() + 1);
        let all = |range: Range<usize>| range.filter_map(|at| self.kept(at));
        all(0..before).for_each(|kept| packing.keep(kept));
        let request = if contact.is_blank() { None } else { packing.pack(jid, contact) };
        all(behind..self.rows.len()).for_each(|kept| packing.keep(kept));
        (self.text, self.rows) = packing.finish();
        if let Some(request) = request {
            self.requests.insert(jid.clone(), request);
        }
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<(BareJid, Contact)> {
        let all = self.all().map(|kept| (BareJid::from_kept(kept.jid), kept));
        let all = all.map(|(jid, kept)| (jid.clone(), self.unpack(&jid, kept))).collect();
        *self = Self::default();
        all
    }

    /// The address of every contact, with its state.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, State)> {
        self.all().map(|kept| (kept.jid, self.state_of(kept)))
    }

    /// The address of every contact.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.all().map(|kept| kept.jid)
    }

    /// The roster, ordered by address.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        self.all().filter_map(|kept| kept.item(&BareJid::from_kept(kept.jid)))
    }

    /// The requests that wait.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    fn all(&self) -> impl Iterator<Item = Kept<'_>> {
        (0..self.rows.len()).filter_map(|at| self.kept(at))
    }

    /// Where the contact `jid` is, or would be.
    fn find(&self, jid: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.kept(middle).map_or("", |kept| kept.jid).cmp(jid) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn kept(&self, at: usize) -> Option<Kept<'_>> {
        let row = self.rows.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.rows.get(before)).map_or(0, |before| before.end);
        let (jid, rest) = self.text.get(start as usize..row.end as usize)?.split_at_checked(row.jid.into())?;
        Some(Kept { jid, rest, shown: row.shown })
    }

    fn unpack(&self, jid: &BareJid, kept: Kept<'_>) -> Contact {
        Contact { item: kept.item(jid), request: self.requests.get(jid.as_str()).cloned() }
    }

    fn state_of(&self, kept: Kept<'_>) -> State {
        let pending = if self.requests.contains_key(kept.jid) { PendingIn::Yes } else { PendingIn::No };
        state_of(kept.shown.map(|it| (it.subscription, it.ask, it.approved)).unwrap_or_default(), pending)
    }
}

impl FromIterator<(BareJid, Contact)> for Contacts {
    fn from_iter<I: IntoIterator<Item = (BareJid, Contact)>>(contacts: I) -> Self {
        let mut contacts: Vec<_> = contacts.into_iter().collect();
        contacts.sort_unstable_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let (mut packing, mut requests) = (Packing::with_capacity(0, contacts.len()), BTreeMap::new());
        for (jid, contact) in contacts {
            if let Some(request) = packing.pack(&jid, contact) {
                requests.insert(jid, request);
            }
        }
        let (text, rows) = packing.finish();
        Self { text, rows, requests }
    }
}

/// The domain of a contact (a bare JID's text).
pub(super) fn domain_of(contact: &str) -> &str {
    contact.split_once('@').map_or(contact, |(_, domain)| domain)
}

impl Kept<'_> {
    fn item(self, jid: &BareJid) -> Option<Item> {
        let Shown { subscription, ask, approved } = self.shown?;
        let mut parts = self.rest.split('\0').skip(1).map(str::to_owned);
        let name = parts.next().filter(|name| !name.is_empty());
        Some(Item { jid: jid.clone(), name, groups: parts.collect(), subscription, ask, approved })
    }
}

/// Contacts that are being written one behind the other.
struct Packing {
    text: String,
    rows: Vec<Row>,
}

impl Packing {
    fn with_capacity(text: usize, rows: usize) -> Self {
        Self { text: String::with_capacity(text), rows: Vec::with_capacity(rows) }
    }

    fn keep(&mut self, kept: Kept<'_>) {
        self.text.push_str(kept.jid);
        self.text.push_str(kept.rest);
        self.end(kept.jid, kept.shown);
    }

    /// Appends a contact and gives back its request, which is kept elsewhere.
    fn pack(&mut self, jid: &BareJid, contact: Contact) -> Option<Request> {
        self.text.push_str(jid.as_str());
        let shown = contact.item.map(|item| {
            let name = item.name.filter(|name| !name.is_empty());
            if name.is_some() || !item.groups.is_empty() {
                for part in std::iter::once(&name.unwrap_or_default()).chain(&item.groups) {
                    self.text.push('\0');
                    self.text.push_str(part);
                }
            }
            Shown { subscription: item.subscription, ask: item.ask, approved: item.approved }
        });
        self.end(jid.as_str(), shown);
        contact.request
    }

    fn end(&mut self, jid: &str, shown: Option<Shown>) {
        // The limits of a roster and of a stanza keep both far below.
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.rows.push(Row { end, jid: u16::try_from(jid.len()).unwrap_or(u16::MAX), shown });
    }

    fn finish(self) -> (Box<str>, Box<[Row]>) {
        (self.text.into(), self.rows.into())
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
        let order: Vec<_> = contacts.states().map(|(jid, _)| jid).collect();
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
        assert!(size_of::<Row>() <= 12, "{}", size_of::<Row>());
    }
}

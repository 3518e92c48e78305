//! A local account in memory: what is needed to route to it, loaded before the first stanza.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accounts::blocklist::Blocklist;
use crate::accounts::directory::Standing;
use crate::accounts::preferences::Preferences;
use crate::accounts::push::Registrations;
use crate::accounts::roster::Version;
use crate::hooks::{Interests, Shelf};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, IqType, Kind, Stanza};

use super::batch::Batch;
use super::contacts::Contacts;
use super::copies::Recent;
use super::delivery::{Delivery, Reach, Recipient, Target, decide};
use super::elsewhere::Told;
use super::marks::Mark;
use super::retained::{Handled, Lapsed};
use super::ring::Ring;

/// The account entry: shared by every session of the account and by every task that routes to it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) jid: BareJid,
    state: Mutex<State>,
    /// When it was last asked for, in the cache's own ticks.
    pub(super) used: AtomicU64,
    /// Whether it blocks anybody.
    pub(super) blocking: AtomicBool,
    /// Whether one of its sessions may want copies of what the others send.
    copying: AtomicBool,
}

/// What the lock protects. No lock of a second account is ever taken while one is held.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) standing: Standing,
    /// It was removed: nothing more is kept for it, and it gets nothing more.
    pub(super) gone: bool,
    /// Nobody has logged in to it before, and nobody has been told so.
    pub(super) unused: bool,
    pub(super) contacts: Contacts,
    pub(super) blocked: Blocklist,
    /// Counts every change of the roster (RFC 6121 §2.6).
    pub(super) roster_version: Version,
    pub(super) resources: Vec<Resource>,
    pub(super) shelf: Shelf,
    /// What its owner wants archived, if he has said so.
    pub(super) preferences: Option<Box<Preferences>>,
    /// Who tells its clients what they do not see, if they want that.
    pub(super) push: Option<Box<Registrations>>,
    /// Undelivered positions that some session's ring holds, or that are being read for one.
    pub(super) in_flight: BTreeSet<u64>,
    /// Sessions of it wait for their clients since the server has started.
    pub(super) awaited: bool,
    /// The last sessions whose clients might have come back and did not.
    pub(super) lapsed: Option<Box<LapsedSessions>>,
    /// The messages of which copies went out last, if any did.
    pub(super) copied: Option<Box<Recent>>,
}

/// Sessions that are over, the oldest first.
#[derive(Debug, Default)]
pub(super) struct LapsedSessions(VecDeque<Lapsed>);

impl LapsedSessions {
    /// How many are remembered.
    const MOST: usize = 8;

    pub(super) fn push(&mut self, lapsed: Lapsed) {
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(lapsed);
    }

    /// What had come from the client in the session called `name`.
    pub(super) fn handled(&self, name: &str) -> Option<Handled> {
        self.0.iter().find(|lapsed| lapsed.name == name).map(|lapsed| lapsed.handled)
    }
}

/// A stanza as sessions get it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) stanza: &'a Stanza<'a>,
    /// It is written already, in a log.
    pub(super) text: Option<&'a str>,
    /// What stands behind its payload.
    pub(super) tail: &'a str,
}

impl<'a> Written<'a> {
    pub(super) const fn of(stanza: &'a Stanza<'a>) -> Self {
        Self { stanza, text: None, tail: "" }
    }

    fn write(self, out: &mut String) {
        match self.text {
            Some(text) => self.stanza.copy_with(out, text, self.tail),
            None => self.stanza.write_with(out, self.tail),
        }
    }
}

/// A connected resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) jid: Jid,
    /// Tells two sessions apart that used the same resourcepart one after the other.
    pub(super) binding: u64,
    pub(super) ring: Arc<Ring>,
    pub(super) available: Option<Available>,
    /// Has asked for the roster, so it gets pushes (RFC 6121 §2.2).
    pub(super) interested: bool,
    /// What else it gets because it has asked for it.
    pub(super) interests: Interests,
    /// Who was sent directed presence (RFC 6121 §4.6).
    pub(super) directed: BTreeMap<Jid, Told>,
    /// The number of its client (XEP-0494), if it has said which one it is; otherwise zero.
    pub(super) client: u64,
    /// Its presence, while it catches up and must confirm before it gets more.
    pub(super) arriving: Option<Box<Available>>,
}

/// The last broadcast presence of an available resource.
#[derive(Debug, Clone)]
pub(super) struct Available {
    pub(super) priority: i8,
    pub(super) presence: Arc<Stanza<'static>>,
}

impl Resource {
    /// A resource that has just been bound.
    pub(super) fn new(jid: Jid, binding: u64, ring: Arc<Ring>) -> Self {
        Self {
            jid,
            binding,
            ring,
            available: None,
            interested: false,
            interests: Interests::default(),
            directed: BTreeMap::new(),
            client: 0,
            arriving: None,
        }
    }

    /// Its presence priority, if it is available.
    pub(super) fn priority(&self) -> Option<i8> {
        self.available.as_ref().map(|available| available.priority)
    }
}

impl Account {
    pub(super) fn new(jid: BareJid, state: State) -> Self {
        let blocking = AtomicBool::new(!state.blocked.is_empty());
        Self { jid, state: Mutex::new(state), used: AtomicU64::new(0), blocking, copying: AtomicBool::new(false) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held ends one session; the entry stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session wants copies from now on; the lock is held.
    pub(super) fn note_copies(&self) {
        self.copying.store(true, Ordering::Relaxed);
    }

    /// No session wants copies any more; the lock is held.
    pub(super) fn forget_copies(&self) {
        self.copying.store(false, Ordering::Relaxed);
    }

    /// Whether a session may want copies.
    pub(super) fn may_copy(&self) -> bool {
        self.copying.load(Ordering::Relaxed)
    }

    pub(super) fn touch(&self, tick: u64) {
        self.used.store(tick, Ordering::Relaxed);
    }
}

impl State {
    pub(super) fn resource_mut(&mut self, binding: u64) -> Option<&mut Resource> {
        self.resources.iter_mut().find(|resource| resource.binding == binding)
    }

    /// Takes a resource out; afterwards nothing reaches it.
    pub(super) fn remove(&mut self, binding: u64) -> Option<Resource> {
        let place = self.resources.iter().position(|resource| resource.binding == binding)?;
        Some(self.resources.remove(place))
    }

    /// How `to`, an address of this account, names it.
    pub(super) fn target(&self, to: &Jid) -> Target {
        if to.is_bare() {
            return Target::Bare;
        }
        let connected = self.resources.iter().position(|resource| resource.jid == *to);
        connected.map_or(Target::Gone, Target::Connected)
    }

    /// What the rules say of a stanza to the address `to`.
    pub(super) fn decide(&self, stanza: &Stanza<'_>, to: &Jid) -> Delivery {
        let highest = self.resources.iter().filter_map(Resource::priority).max();
        decide(stanza.kind, Recipient { highest, target: self.target(to) })
    }

    /// Writes a stanza to the resources that are meant; `entry` is what it is in the log, and whose. `false` if all of them are
    /// so slow that they are being ended.
    pub(super) fn write(
        &self,
        reach: Reach,
        written: Written<'_>,
        entry: Option<(&BareJid, Mark)>,
        batch: &mut Batch,
    ) -> bool {
        let mut reached = false;
        for resource in self.reached(reach) {
            let write = |out: &mut String| written.write(out);
            reached |= match entry {
                Some((account, mark)) => batch.push_entry(account, &resource.ring, mark, write),
                None => batch.push_stanza(&resource.ring, written.stanza, write),
            };
        }
        reached
    }

    /// The resources that are meant.
    pub(super) fn reached(&self, reach: Reach) -> impl Iterator<Item = &Resource> {
        let all = self.resources.iter().enumerate();
        all.filter(move |(place, it)| reach.includes(*place, it.priority())).map(|(_, resource)| resource)
    }

    /// Writes a stanza to the resources that the rules choose for the address `to`. Whatever is
    /// decided but [`Delivery::To`] is left to the caller.
    pub(super) fn offer(&self, stanza: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Delivery {
        let decided = self.decide(stanza, to);
        let Delivery::To(reach) = decided else { return decided };
        let written = match stanza.kind {
            Kind::Iq(IqType::Result | IqType::Error) => {
                self.reached(reach).any(|resource| batch.push_answer(&resource.ring, stanza))
            }
            _ => self.write(reach, Written::of(stanza), None, batch),
        };
        match stanza.kind {
            _ if written => decided,
            // The sessions that were chosen are so slow that they are being ended.
            Kind::Message(_) => Delivery::Undelivered,
            Kind::Iq(_) => Delivery::Refuse(Condition::ServiceUnavailable),
            Kind::Presence(_) => Delivery::Ignore,
        }
    }

    /// The most available resource that takes messages to the bare JID (RFC 6121 §8.5.2.1.1).
    pub(super) fn most_available(&self) -> Option<&Resource> {
        let able = self.resources.iter().filter(|resource| resource.priority().is_some_and(|priority| priority >= 0));
        able.max_by_key(|resource| resource.priority())
    }

    /// Somebody at `from` is not there any more: where `to` reaches resources, none of them has to tell
    /// him that it becomes unavailable (RFC 6121 §4.6.1).
    pub(super) fn forget_directed(&mut self, from: &Jid, to: &Jid, batch: &mut Batch) {
        let told = self.resources.iter_mut().filter(|it| !it.directed.is_empty() && (to.is_bare() || it.jid == *to));
        for resource in told {
            if resource.directed.remove(from) == Some(Told::Room) {
                resource.remember(batch);
            }
        }
    }

    /// The entries of the log that sessions other than `binding` hold.
    pub(super) fn held_by_others(&self, binding: u64) -> BTreeSet<u64> {
        let others = self.resources.iter().filter(|resource| resource.binding != binding);
        others.flat_map(|resource| resource.ring.positions()).collect()
    }

    /// Whether the owner wants messages archived that are exchanged with `peer`.
    pub(super) fn archives(&self, peer: Option<&Jid>) -> bool {
        let (Some(preferences), Some(peer)) = (&self.preferences, peer) else { return true };
        preferences.want(peer, |jid| self.contacts.shows(jid))
    }

    /// The contacts that receive this account's presence.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &str> {
        self.contacts.states().filter(|(_, state)| state.subscription().has_from()).map(|(jid, _)| jid)
    }

    /// Whether the account has nothing to do with the contact `jid` (a bare JID's text).
    pub(super) fn blocks_contact(&self, jid: &str) -> bool {
        !self.blocked.is_empty() && self.blocked.blocks(BareJid::from_kept(jid).as_jid())
    }

    /// Whether `jid` receives this account's presence.
    pub(super) fn is_subscriber(&self, jid: &Jid) -> bool {
        self.contacts.is_subscriber(jid)
    }

    /// The last presence of every available resource.
    pub(super) fn presences(&self) -> Vec<Arc<Stanza<'static>>> {
        self.resources.iter().filter_map(|it| it.available.as_ref()).map(|it| Arc::clone(&it.presence)).collect()
    }
}

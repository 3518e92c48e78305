//! Who is in a room, and with which sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::{BareJid, Jid};
use crate::stanza::Payload;

use super::association::{Affiliation, Role};
use super::effect::{Face, Receiver, Roll};
use super::rate::Bucket;

/// Tells occupants apart, also from those who were here before. Grows in the order in which they came.
pub(super) type Number = u32;

/// What a room knows of somebody for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Affiliated {
    pub(super) affiliation: Affiliation,
    /// Nobody else may be called so (XEP-0045 §7.10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nick: Option<String>,
    /// Why he is banned, or whatever was said with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// One session of an occupant.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) jid: Jid,
    /// What it said last of its availability, without what only the room may say.
    pub(super) presence: Payload<'static>,
    pub(super) language: Option<String>,
}

/// Somebody who is in the room under one nick, with one session or several (XEP-0045 §7.2.8).
#[derive(Debug)]
pub(super) struct Occupant {
    pub(super) number: Number,
    /// `room/nick`.
    pub(super) address: Jid,
    pub(super) user: BareJid,
    /// He owns the room as an administrator of the server.
    pub(super) is_admin: bool,
    pub(super) affiliation: Affiliation,
    pub(super) role: Role,
    /// His id in this room, whatever he is called (XEP-0421).
    pub(super) id: Arc<str>,
    /// The one that speaks for him is the last; there is always one.
    pub(super) sessions: Vec<Session>,
    /// His presence as others see it.
    pub(super) face: Face,
    /// How much he may say and show of himself.
    pub(super) pace: Bucket,
}

impl Occupant {
    pub(super) fn nick(&self) -> &str {
        self.address.resource().unwrap_or_default()
    }

    /// The session that speaks for him.
    pub(super) fn first(&self) -> Option<&Session> {
        self.sessions.last()
    }
}

/// All occupants.
#[derive(Debug, Default)]
pub(super) struct Occupants {
    /// In boxes: most rooms have few, and a map has space for more.
    all: BTreeMap<Number, Box<Occupant>>,
    /// By `room/nick`.
    nicks: HashMap<Jid, Number, foldhash::fast::RandomState>,
    sessions: HashMap<Jid, Number, foldhash::fast::RandomState>,
    /// All sessions, for those who tell all of them something. Whoever still tells something keeps the one of then.
    roll: Roll,
    next: Number,
    /// How far those are ahead who were here: nobody catches up by going and coming.
    paces: HashMap<BareJid, Bucket, foldhash::fast::RandomState>,
}

/// Those who have gone are remembered for their pace until they are so many; then those are forgotten who have caught up.
const MOST_PACES: usize = 500;

impl Occupants {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Occupant> {
        self.all.values().map(|occupant| &**occupant)
    }

    pub(super) fn get(&self, number: Number) -> Option<&Occupant> {
        self.all.get(&number).map(|occupant| &**occupant)
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Occupant> {
        self.all.get_mut(&number).map(|occupant| &mut **occupant)
    }

    /// The one who is called so, by `room/nick`.
    pub(super) fn called(&self, address: &Jid) -> Option<&Occupant> {
        self.get(*self.nicks.get(address)?)
    }

    /// The one whose session this is, by its real address.
    pub(super) fn at(&self, session: &Jid) -> Option<&Occupant> {
        self.get(*self.sessions.get(session)?)
    }

    /// All sessions as of now.
    pub(super) fn roll(&self) -> Roll {
        Arc::clone(&self.roll)
    }

    /// The number of whoever comes next.
    pub(super) const fn next_number(&self) -> Number {
        self.next
    }

    /// The pace of somebody who comes.
    pub(super) fn pace_of(&mut self, user: &BareJid, now: Timestamp) -> Bucket {
        if self.paces.len() >= MOST_PACES {
            self.paces.retain(|_, pace| !pace.is_idle(now));
        }
        self.paces.get(user).copied().unwrap_or_default()
    }

    /// Somebody comes.
    pub(super) fn enter(&mut self, occupant: Occupant) {
        let number = occupant.number;
        self.next = self.next.max(number.wrapping_add(1));
        self.nicks.insert(occupant.address.clone(), number);
        let sees = sees(&occupant);
        for session in &occupant.sessions {
            self.sessions.insert(session.jid.clone(), number);
            list(&mut self.roll, Receiver::new(session.jid.clone(), number, sees));
        }
        self.all.insert(number, Box::new(occupant));
    }

    /// One more session of somebody who is here.
    pub(super) fn join(&mut self, number: Number, session: Session) {
        let Some(occupant) = self.all.get_mut(&number) else { return };
        self.sessions.insert(session.jid.clone(), number);
        list(&mut self.roll, Receiver::new(session.jid.clone(), number, sees(occupant)));
        occupant.sessions.push(session);
    }

    /// A session of an occupant ends, one of several.
    pub(super) fn part(&mut self, session: &Jid) {
        let Some(number) = self.sessions.remove(session) else { return };
        if let Some(occupant) = self.all.get_mut(&number) {
            occupant.sessions.retain(|known| known.jid != *session);
        }
        Arc::make_mut(&mut self.roll).retain(|receiver| receiver.jid != *session);
    }

    /// Somebody goes, with all his sessions.
    pub(super) fn leave(&mut self, number: Number) -> Option<Occupant> {
        let occupant = self.all.remove(&number)?;
        self.nicks.remove(&occupant.address);
        for session in &occupant.sessions {
            self.sessions.remove(&session.jid);
        }
        Arc::make_mut(&mut self.roll).retain(|receiver| receiver.occupant != number);
        self.paces.insert(occupant.user.clone(), occupant.pace);
        Some(*occupant)
    }

    /// Somebody is called something else.
    pub(super) fn rename(&mut self, number: Number, address: Jid) {
        let Some(occupant) = self.all.get_mut(&number) else { return };
        self.nicks.remove(&occupant.address);
        self.nicks.insert(address.clone(), number);
        occupant.address = address;
    }

    /// Somebody has become something else.
    pub(super) fn set_role(&mut self, number: Number, role: Role) {
        let Some(occupant) = self.all.get_mut(&number) else { return };
        let before = sees(occupant);
        occupant.role = role;
        let sees = sees(occupant);
        if before != sees {
            let own = Arc::make_mut(&mut self.roll).iter_mut().filter(|receiver| receiver.occupant == number);
            own.for_each(|receiver| receiver.sees = sees);
        }
    }
}

/// Adds a session to those that are told. Most rooms have few occupants, or one: a list has space for four otherwise.
fn list(roll: &mut Roll, receiver: Receiver) {
    let roll = Arc::make_mut(roll);
    if roll.is_empty() {
        roll.reserve_exact(1);
    }
    roll.push(receiver);
}

/// Whether somebody sees the real addresses in a semi-anonymous room (XEP-0045 §7.2.4).
fn sees(occupant: &Occupant) -> bool {
    occupant.role == Role::Moderator
}

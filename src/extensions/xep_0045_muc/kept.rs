//! What storage has of rooms: the list of them is kept by the domain of the service, everything else by the room itself.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::routing::Batch;
use crate::storage::{
    Cell, Direction, End, Entry, Error, Map, Marks, Position, Range, Receipt, Storage, Stored, View, Writes,
};
use crate::stream::{ContentNamespace, read_back};

use super::super::xep_0160_offline::api::stamped;
use super::avatar::CARD;
use super::effect::Change;
use super::history::Past;
use super::moderation::Burial;
use super::occupant::Affiliated;
use super::room::Room;
use super::room_config::{Anonymity, RoomConfig};
use super::subject::Subject;
use super::wire::changes_subject;

/// The rooms of a service, by localpart.
const ROOMS: Map<Listed> = Map::new("rooms");
const CONFIG: Cell<RoomConfig> = Cell::new("room");
const SUBJECT: Cell<Subject> = Cell::new("room-subject");
/// By bare JID.
const AFFILIATIONS: Map<Affiliated> = Map::new("room-affiliations");

/// What is known of a room that is not in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// What people read in the list.
    pub(super) title: String,
    /// It is in the list.
    pub(super) public: bool,
    /// What a search looks at beside that (XEP-0433).
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) language: String,
    /// Everybody may enter who comes along.
    #[serde(default)]
    pub(super) open: bool,
    /// Its occupants do not see each other's addresses.
    #[serde(default)]
    pub(super) semi_anonymous: bool,
    /// Storage has it.
    #[serde(skip, default = "Listed::is_stored")]
    pub(super) stored: bool,
}

impl Listed {
    const fn is_stored() -> bool {
        true
    }

    pub(super) fn of(room: &Room) -> Self {
        let config = &room.config;
        Self {
            title: room.title().to_owned(),
            public: config.public,
            description: config.description.clone(),
            language: config.language.clone(),
            open: !config.members_only && config.password.is_none(),
            semi_anonymous: config.anonymity == Anonymity::SemiAnonymous,
            stored: room.is_stored(),
        }
    }
}

/// What storage has of one room.
pub(super) struct Found {
    pub(super) config: RoomConfig,
    subject: Option<Subject>,
    affiliations: Vec<(String, Affiliated)>,
    past: Vec<Stored>,
}

/// When a change is durable.
pub(super) enum Durable {
    /// With this receipt.
    At(Receipt),
    /// With whatever else the batch writes.
    WithBatch,
}

/// The rooms of `service`.
pub(super) fn rooms(view: &View<'_>, service: &BareJid) -> Result<Vec<(BareJid, Listed)>, Error> {
    let rooms = view.items(&ROOMS, service)?.into_iter();
    // A localpart that is none any more, because the tables of Unicode moved on, is the name of no room.
    Ok(rooms.filter_map(|(local, listed)| Some((address(&local, service)?, listed))).collect())
}

fn address(local: &str, service: &BareJid) -> Option<BareJid> {
    BareJid::parse(&format!("{local}@{}", service.as_str())).ok()
}

/// What there is of `room`, if there is anything.
pub(super) fn find(view: &View<'_>, room: &BareJid) -> Result<Option<Found>, Error> {
    let Some(config) = view.cell(&CONFIG, room)? else { return Ok(None) };
    let past = view.archived(room, &Range::default(), End::Youngest, config.history.max(1))?;
    let subject = view.cell(&SUBJECT, room)?;
    Ok(Some(Found { subject, affiliations: view.items(&AFFILIATIONS, room)?, past: past.entries, config }))
}

impl Found {
    /// Gives a room everything but its configuration.
    pub(super) fn fill(self, room: &mut Room) {
        room.subject = self.subject;
        for (user, known) in self.affiliations {
            if let Ok(user) = BareJid::parse(&user) {
                room.know(&user, Some(known));
            }
        }
        let most = room.config.history;
        for stored in self.past {
            if let Some(past) = past(room, &stored) {
                room.history.push(past, most);
            }
        }
    }
}

/// A message of the log as it is shown to who enters.
fn past(room: &Room, stored: &Stored) -> Option<Past> {
    let message = stamped(&stored.entry, room.jid.as_str(), "")?;
    let time = Timestamp::from_unix_ms(i64::try_from(stored.entry.time).ok()?);
    (!changes_subject(&message)).then(|| Past::new(message, time, stored.position))
}

/// Has storage keep a change of a room, and the service know what is listed of it.
pub(super) fn keep(
    change: Change,
    (service, changed): (&BareJid, &Room),
    storage: &Storage,
    batch: &mut Batch,
) -> Result<Durable, Error> {
    let (mut writes, room) = (Writes::new(), &changed.jid);
    let local = room.local().unwrap_or_default();
    match change {
        Change::Append { slot, message, sender, time } => {
            let payload = message.to_xml().into();
            let marks = Marks::ARCHIVED;
            let entry = Entry { direction: Direction::Received, peer: sender.shared(), time, marks, payload };
            batch.writes().append(room, slot, entry);
            return Ok(Durable::WithBatch);
        }
        Change::Begin(config, subject, affiliations) => {
            CONFIG.put(&mut writes, room, &config)?;
            if let Some(subject) = subject {
                SUBJECT.put(&mut writes, room, &subject)?;
            }
            for (user, known) in affiliations {
                AFFILIATIONS.put(&mut writes, room, user.as_str(), &known)?;
            }
            ROOMS.put(&mut writes, service, local, &Listed::of(changed))?;
            // The job is with the writer now; the end of it is that of everything up to the latest.
            drop(storage.create(room, writes));
            return Ok(Durable::At(storage.latest()));
        }
        Change::End => {
            ROOMS.delete(&mut writes, service, local);
            writes.delete_owner(room);
        }
        Change::Config(config) => {
            CONFIG.put(&mut writes, room, &config)?;
            ROOMS.put(&mut writes, service, local, &Listed::of(changed))?;
        }
        Change::Card(Some(card)) => CARD.put(&mut writes, room, &card)?,
        Change::Card(None) => CARD.delete(&mut writes, room),
        Change::Subject(subject) => SUBJECT.put(&mut writes, room, &subject)?,
        Change::Affiliation(user, Some(known)) => AFFILIATIONS.put(&mut writes, room, user.as_str(), &known)?,
        Change::Affiliation(user, None) => AFFILIATIONS.delete(&mut writes, room, user.as_str()),
    }
    // Under the lock of the room, so that storage gets its changes in the order in which they hold.
    Ok(Durable::At(storage.submit(writes)))
}

/// Leaves a tombstone of a message in the log of `room`, if it is the one.
pub(super) async fn bury(storage: &Storage, room: BareJid, burial: Burial) -> Result<Receipt, Error> {
    let number = burial.position.number();
    let (after, before) = (Position::new(number.saturating_sub(1)), Position::new(number.saturating_add(1)));
    let only = Range { after: Some(after), before: Some(before), ..Range::default() };
    let owner = room.clone();
    let found = storage.read(move |view| view.archived(&owner, &only, End::Oldest, 1)).await?;
    let mut writes = Writes::new();
    for stored in found.entries.iter().filter(|stored| stored.position == burial.position) {
        let message = read_back(&stored.entry.payload, ContentNamespace::Client).next();
        if let Some(left) = message.and_then(|(_, message)| burial.of(&message)) {
            writes.replace(&room, stored.position, left.to_xml().into());
        }
    }
    Ok(storage.submit(writes))
}

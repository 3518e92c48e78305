//! The service that has the rooms of one domain: which are in memory, who may make one, and who comes how often.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::RoomCreation;
use crate::hooks::{Catalogue, Hosted as Service, Outbound, RoomSettings};
use crate::jid::{BareJid, Jid};
use crate::routing::{self, Batch, Router};
use crate::stanza::{Condition, ErrorType, IqType, Kind, MessageType, Stanza, StanzaError};
use crate::storage::{self, Storage};

use super::super::xep_0313_archive::api::Archive;
use super::super::xep_0359_stanza_ids::api::Ids;
use super::super::xep_0421_occupant_ids::api::OccupantIds;
use super::command::{Call, Command};
use super::kept::{self, Listed};
use super::nick::not_here;
use super::outbox::Hosted;
use super::rate::{Bucket, Rate};
use super::room::{Bounds, Keys, Room};
use super::room_config::{Anonymity, RoomConfig};
use super::{avatar, wire};

/// So many stanzas wait for a room that is being read.
const MOST_WAITING: usize = 256;

/// So many other domains are remembered for how much comes from them; beyond that those are forgotten first of which
/// nothing has come for a while.
const MOST_DOMAINS: usize = 10_000;

/// The rooms of one domain.
pub struct Rooms {
    pub(super) name: BareJid,
    /// The domain that lists them.
    parent: Arc<str>,
    pub(super) storage: Storage,
    pub(super) clock: Clock,
    pub(super) catalogue: Catalogue,
    pub(super) keys: Arc<Keys>,
    pub(super) archive: Archive,
    router: OnceLock<Weak<Router>>,
    /// Those in memory.
    pub(super) table: RwLock<HashMap<BareJid, Arc<Place>, foldhash::fast::RandomState>>,
    /// All that there are, but those that are being made.
    pub(super) known: RwLock<BTreeMap<BareJid, Listed>>,
    visitors: Mutex<HashMap<Box<str>, Visitors>>,
    stopping: AtomicBool,
    own: Weak<Self>,
}

/// Where a room is in memory.
pub(super) struct Place {
    pub(super) room: BareJid,
    state: Mutex<State>,
}

/// What is there.
pub(super) enum State {
    /// It is being read; this waits for it, and who wants to wait himself does so until nobody sends.
    Coming(Vec<Stanza<'static>>, watch::Receiver<()>),
    Here(Box<Hosted>),
    /// Whoever finds it looks again.
    Gone,
}

/// How much has come from another domain.
#[derive(Debug, Default)]
struct Visitors {
    entries: Bucket,
    messages: Bucket,
}

impl Place {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    /// The rooms at `name`, which `parent` lists. Reads which there are, and blocks for as long as that takes.
    ///
    /// # Errors
    /// What storage says.
    pub fn new(
        name: BareJid,
        parent: Arc<str>,
        (storage, clock): (&Storage, &Clock),
        catalogue: &Catalogue,
        outbound: &Arc<dyn Outbound>,
    ) -> Result<Option<Arc<Self>>, storage::Error> {
        let Some(ids) = Ids::new(storage.secret()) else {
            tracing::error!("the cryptographic library fails: there are no rooms");
            return Ok(None);
        };
        let occupant_ids = OccupantIds::new(storage.secret());
        let ids = Arc::new(ids);
        let archive =
            Archive::new(storage.clone(), Arc::clone(outbound), Arc::clone(&ids), catalogue.settings().clone());
        let keys = Arc::new(Keys { ids, occupant_ids, features: catalogue.about_room().clone() });
        let known = storage.read_blocking(|view| kept::rooms(view, &name))?.into_iter().collect();
        Ok(Some(Arc::new_cyclic(|own| Self {
            name,
            parent,
            storage: storage.clone(),
            clock: clock.clone(),
            catalogue: catalogue.clone(),
            keys,
            archive,
            router: OnceLock::new(),
            table: RwLock::default(),
            known: RwLock::new(known),
            visitors: Mutex::default(),
            stopping: AtomicBool::new(false),
            own: own.clone(),
        })))
    }

    /// Says where what rooms send goes. Only the first call counts; the router is not kept alive.
    pub fn attach(&self, router: &Arc<Router>) {
        self.router.get_or_init(|| Arc::downgrade(router));
    }

    /// Its domain.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn router(&self) -> Option<Arc<Router>> {
        self.router.get().and_then(Weak::upgrade)
    }

    pub(super) fn own(&self) -> Option<Arc<Self>> {
        self.own.upgrade()
    }

    pub(super) fn settings(&self) -> Option<RoomSettings> {
        self.catalogue.settings().load().rooms.clone()
    }

    /// A room is there, or is no more.
    pub(super) fn list(&self, room: &BareJid, listed: Option<Listed>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match listed {
            Some(listed) => drop(known.insert(room.clone(), listed)),
            None => drop(known.remove(room)),
        }
    }

    /// What one room and one occupant may cost at this moment.
    pub(super) fn bounds(&self) -> Bounds {
        self.settings().map_or_else(Bounds::none, |settings| bounds(&settings))
    }

    /// Gives a room a stanza, with what was read from it.
    pub(super) fn give(&self, stanza: &Stanza<'_>, command: Command, batch: &mut Batch) -> Option<Stanza<'static>> {
        let (from, to) = (stanza.from.as_ref()?, stanza.to.as_ref()?);
        let call = Call { from, to, stanza, is_admin: command.wants_power() && self.is_admin(from) };
        loop {
            let place = match self.place(to.bare_str()) {
                Some(place) => place,
                None => match self.open(&call, &command) {
                    Ok(place) => place,
                    Err(Nowhere::Refused(error)) => return stanza.error(&error),
                    Err(Nowhere::NotHere) => return Some(not_here(&call).to(from.clone())),
                    Err(Nowhere::Nothing) => return None,
                },
            };
            let mut state = place.lock();
            let waiting = match &mut *state {
                State::Gone => continue,
                State::Coming(waiting, _) => waiting,
                State::Here(hosted) if hosted.is_closed => &mut hosted.late,
                State::Here(hosted) => {
                    hosted.take(self, &call, command, batch);
                    self.settle(&place, &mut state);
                    return None;
                }
            };
            if waiting.len() >= MOST_WAITING {
                let error = StanzaError::new(Condition::ResourceConstraint, "too much is waiting for the room");
                return stanza.error(&error);
            }
            waiting.push(stanza.borrow().into_owned());
            return None;
        }
    }

    /// Sees to what waits in a room that something has just happened to, and to a room that is no more.
    pub(super) fn settle(&self, place: &Arc<Place>, state: &mut State) {
        let State::Here(hosted) = state else { return };
        if hosted.room.occupants.is_empty() && !hosted.room.is_stored() {
            // Whoever has made it has not got in.
            hosted.is_closed = true;
        }
        if hosted.is_quiet() {
            if hosted.is_closed {
                self.close(place, state);
            }
        } else if !hosted.is_sending {
            hosted.is_sending = true;
            self.send_later(place);
        }
    }

    /// A room is no more, or nobody needs it in memory; what has come late goes to the next one.
    pub(super) fn close(&self, place: &Arc<Place>, state: &mut State) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(&place.room);
        if let State::Here(hosted) = std::mem::replace(state, State::Gone) {
            self.take_later(hosted.late);
        }
    }

    /// The room leaves memory if nobody needs it there.
    pub(super) fn put_away(&self, place: &Arc<Place>, state: &mut State) {
        if matches!(state, State::Here(hosted) if hosted.room.occupants.is_empty() && hosted.is_quiet()) {
            self.close(place, state);
        }
    }

    pub(super) fn place(&self, room: &str) -> Option<Arc<Place>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// Every room in memory.
    pub(super) fn places(&self) -> Vec<Arc<Place>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<_> = table.values().cloned().collect();
        // The same each time, so that what a test finds is found again.
        places.sort_unstable_by(|one, other| one.room.cmp(&other.room));
        places
    }

    /// The place of a room that is not in memory, or is to be made.
    fn open(&self, call: &Call<'_>, command: &Command) -> Result<Arc<Place>, Nowhere> {
        let room = call.to.to_bare();
        if let Some(place) = self.fetch(&room) {
            return Ok(place);
        }
        let made = State::Here(Box::new(self.make(&room, call, command)?));
        Ok(self.put(room, made).0)
    }

    /// The place of a room that storage has.
    fn fetch(&self, room: &BareJid) -> Option<Arc<Place>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(room).is_some_and(|it| it.stored);
        if !known {
            return None;
        }
        let (coming, until) = watch::channel(());
        let (place, is_new) = self.put(room.clone(), State::Coming(Vec::new(), until));
        if is_new {
            self.read_later(&place, coming);
        }
        Some(place)
    }

    /// Takes a room into memory, unless somebody was faster.
    fn put(&self, room: BareJid, state: State) -> (Arc<Place>, bool) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = table.get(&room) {
            return (Arc::clone(place), false);
        }
        let place = Arc::new(Place { room: room.clone(), state: Mutex::new(state) });
        table.insert(room, Arc::clone(&place));
        (place, true)
    }

    /// XEP-0045 §10.1: whoever enters a room that is not there makes it, if he may.
    fn make(&self, room: &BareJid, call: &Call<'_>, command: &Command) -> Result<Hosted, Nowhere> {
        match command {
            Command::Enter(_) => {}
            Command::Present => return Err(Nowhere::NotHere),
            Command::Leave | Command::Gone | Command::Answer => return Err(Nowhere::Nothing),
            // XEP-0410 §3.2: whoever asks himself whether he is here is not.
            Command::Forward => return Err(Nowhere::Refused(Condition::NotAcceptable.into())),
            Command::Say(_) | Command::Whisper | Command::Write | Command::Ask(_) | Command::Read(_) => {
                return Err(Nowhere::Refused(Condition::ItemNotFound.into()));
            }
        }
        let refused = |error: StanzaError| Err(Nowhere::Refused(error));
        let Some(settings) = self.settings().filter(|_| !self.stopping.load(Ordering::Acquire)) else {
            return refused(Condition::ServiceUnavailable.into());
        };
        let may = match settings.create {
            RoomCreation::Anybody => true,
            RoomCreation::Local => self.router().is_some_and(|router| router.has_accounts(call.from.domain())),
            RoomCreation::Admins => self.is_administrator(call.from),
        };
        if !may && !call.is_admin {
            return refused(StanzaError::new(Condition::NotAllowed, "you may not make rooms here"));
        }
        // Those that are locked still are in memory alone.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).len();
        let loaded = self.table.read().unwrap_or_else(PoisonError::into_inner).len();
        if known.max(loaded) >= settings.rooms {
            return refused(StanzaError::new(Condition::ResourceConstraint, "there are too many rooms"));
        }
        let (config, owner) = (default_config(&settings), call.from.to_bare());
        let room = Room::new(room.clone(), &owner, config, Arc::clone(&self.keys), bounds(&settings));
        Ok(Hosted::new(room, self.clock.now()))
    }

    /// A room of which storage has told.
    pub(super) fn made_of(&self, room: &BareJid, found: kept::Found) -> Hosted {
        let mut made = Room::stored(room.clone(), found.config.clone(), Arc::clone(&self.keys), self.bounds());
        found.fill(&mut made);
        Hosted::new(made, self.clock.now())
    }

    fn is_administrator(&self, who: &Jid) -> bool {
        self.catalogue.settings().load().admins.contains(&who.to_bare())
    }

    /// Whether somebody owns every room.
    pub(super) fn is_admin(&self, who: &Jid) -> bool {
        let settings = self.catalogue.settings().load();
        settings.rooms.as_ref().is_some_and(|rooms| rooms.admins_own) && settings.admins.contains(&who.to_bare())
    }

    /// Whether somebody of another domain comes too often (XEP-0045 §14.6).
    fn is_too_much(&self, from: &Jid, command: Option<&Command>) -> bool {
        if self.router().is_some_and(|router| router.is_local(from.domain())) {
            return false;
        }
        let Some(settings) = self.settings() else { return false };
        let rate = |per_second| Rate { per_second, burst: settings.burst };
        let now = self.clock.now();
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if visitors.len() >= MOST_DOMAINS {
            visitors.retain(|_, known| !known.entries.is_idle(now) || !known.messages.is_idle(now));
        }
        if !visitors.contains_key(from.domain()) {
            visitors.insert(from.domain().into(), Visitors::default());
        }
        let Some(known) = visitors.get_mut(from.domain()) else { return false };
        match command {
            Some(Command::Enter(_)) => !known.entries.take(now, rate(settings.domain_entries)),
            Some(Command::Leave | Command::Gone | Command::Answer) => false,
            _ => !known.messages.take(now, rate(settings.domain_messages)),
        }
    }

    /// Whether one more message from there would be one too many. It does not count yet.
    fn will_be_too_much(&self, from: &Jid) -> bool {
        if self.router().is_some_and(|router| router.is_local(from.domain())) {
            return false;
        }
        let Some(settings) = self.settings() else { return true };
        let rate = Rate { per_second: settings.domain_messages, burst: settings.burst };
        let visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = visitors.get(from.domain()).map(|known| known.messages);
        messages.is_some_and(|mut messages| !messages.take(self.clock.now(), rate))
    }

    /// From here on nobody makes a room.
    pub(super) fn note_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// What is to be said of a room that is not there.
enum Nowhere {
    Refused(StanzaError),
    /// Whoever is meant to be in it is not.
    NotHere,
    Nothing,
}

fn default_config(settings: &RoomSettings) -> RoomConfig {
    RoomConfig {
        persistent: settings.persistent,
        public: settings.public,
        anonymity: if settings.non_anonymous { Anonymity::NonAnonymous } else { Anonymity::SemiAnonymous },
        archive: settings.archive,
        history: settings.history.min(RoomConfig::MOST_HISTORY),
        ..RoomConfig::default()
    }
}

fn bounds(settings: &RoomSettings) -> Bounds {
    let messages = Rate { per_second: settings.messages, burst: settings.burst };
    Bounds { occupants: settings.occupants, messages }
}

impl routing::Service for Rooms {
    /// An invitation to a room that is not in memory waits here and not with the room. Whatever else is said to it comes
    /// from nobody who is in it.
    fn ready(&self, stanza: &Stanza<'_>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let Kind::Message(kind) = stanza.kind else { return None };
        let to = stanza.to.as_ref().filter(|to| to.is_bare() && to.local().is_some())?;
        if matches!(kind, MessageType::Groupchat | MessageType::Error) || self.will_be_too_much(stanza.from.as_ref()?) {
            return None;
        }
        let place = self.place(to.as_str()).or_else(|| self.fetch(&to.to_bare()))?;
        let state = place.lock();
        let State::Coming(_, until) = &*state else { return None };
        let mut until = until.clone();
        drop(state);
        Some(Box::pin(async move {
            // It is over when nobody is left who could send.
            let _ = until.changed().await;
        }))
    }

    fn take(&self, stanza: &Stanza<'_>, batch: &mut Batch) -> Option<Stanza<'static>> {
        let (from, to) = (stanza.from.as_ref()?, stanza.to.as_ref()?);
        let too_much = || {
            let error = StanzaError::new(Condition::PolicyViolation, "too much comes from your server");
            stanza.error(&error.with_type(ErrorType::Wait))
        };
        let (is_for_service, is_for_card) = (to.local().is_none(), avatar::is_asked_for(stanza));
        let is_request = matches!(stanza.kind, Kind::Iq(IqType::Get | IqType::Set));
        if (is_for_service || is_for_card) && is_request && self.is_too_much(from, None) {
            return too_much();
        }
        if is_for_service {
            return self.asked(stanza);
        }
        if is_for_card {
            return self.show_card(stanza);
        }
        let command = match wire::read(stanza) {
            Ok(command) => command?,
            Err(error) => return stanza.error(&error),
        };
        if self.is_too_much(from, Some(&command)) {
            return too_much();
        }
        self.give(stanza, command, batch)
    }

    fn listed(&self, domain: &str) -> Option<Service> {
        let is_there = *self.parent == *domain && self.settings().is_some();
        is_there.then(|| Service { jid: Jid::from(self.name.clone()), name: Some(super::TITLE.to_owned()) })
    }
}

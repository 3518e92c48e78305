//! What is built in, and which of it the operator wants at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::accounts::admins::Admins;
use crate::config::{Contact, RoomCreation};
use crate::live::Live;
use crate::xml::Element;

use super::command::Command;
use super::discovery::{About, Statements};
use super::extension::{Entity, Extension};
use super::inline_feature::InlineOffers;
use super::stream_feature::{StreamFeature, StreamFeatures};

/// What the operator has set for extensions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains whose accounts are here.
    pub domains: Arc<[String]>,
    /// Who may use the commands of administrators.
    pub admins: Arc<Admins>,
    /// Whom to write to about this server.
    pub contact: Contact,
    /// Messages that wait for one account at most.
    pub offline_messages: usize,
    /// For how long clients are remembered that are not connected.
    pub client_retention: Duration,
    /// Whether messages are archived, and how.
    pub archive: Option<ArchiveSettings>,
    /// Whether clients that are not there are told by services of theirs, and what.
    pub push: Option<PushSettings>,
    pub registration: RegistrationSettings,
    /// What holds for rooms, if there are any.
    pub rooms: Option<RoomSettings>,
    /// What is taken from a client that has authenticated.
    pub clients: Bound,
    /// What is taken from another server that has.
    pub servers: Bound,
}

/// Which accounts people make and manage themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationSettings {
    /// Whether anybody may make one.
    pub open: bool,
    /// Attempts of one address within an hour.
    pub attempts: usize,
    /// Localparts that nobody may take.
    pub reserved: BTreeSet<String>,
    /// Whether an account may be changed and given up.
    pub self_service: bool,
}

/// What the operator decides about rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    pub create: RoomCreation,
    /// Whether administrators of the server own every room.
    pub admins_own: bool,
    /// How many there may be.
    pub rooms: usize,
    /// How many may be in one.
    pub occupants: usize,
    /// What holds for a room if its owner does not say otherwise.
    pub persistent: bool,
    pub public: bool,
    pub non_anonymous: bool,
    pub archive: bool,
    pub history: usize,
    /// How long messages are shown to those who enter, if that has an end.
    pub retention: Option<Duration>,
    /// What one occupant may send each second in the long run; zero is no limit.
    pub messages: usize,
    /// The same for everybody of another domain: entries, and messages and requests.
    pub domain_entries: usize,
    pub domain_messages: usize,
    /// How many seconds' worth of these may come at once.
    pub burst: usize,
}

/// What services of others are told of a message, beside that there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushSettings {
    /// Whose it is.
    pub sender: bool,
    /// How it begins.
    pub body: bool,
}

/// What a peer may send on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The largest first-level element.
    pub bytes: usize,
    /// How long it may be silent before it is asked whether it is there, or the stream ends.
    pub silence: Option<Duration>,
}

/// How messages are archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// The most messages of one page.
    pub page: usize,
    /// Domains whose accounts have no archive all the same.
    pub except: BTreeSet<String>,
}

impl Settings {
    /// Whether accounts of `domain` have an archive.
    #[must_use]
    pub fn archives(&self, domain: &str) -> bool {
        self.archive.as_ref().is_some_and(|archive| !archive.except.contains(domain))
    }

    /// What of them is true for accounts of `domain`.
    fn at(&self, domain: &str) -> Self {
        let mut own = self.clone();
        own.archive = own.archive.filter(|_| self.archives(domain));
        own
    }
}

/// Every extension, and whether it is wanted; what is not wanted is neither asked nor advertised.
/// Clones are handles to the same one.
#[derive(Clone)]
pub struct Catalogue {
    extensions: Arc<[Switched<&'static Extension>]>,
    settings: Live<Settings>,
    /// What extensions have to say whenever the settings change.
    sources: Arc<OnceLock<Sources>>,
    domain: About,
    rooms: About,
    room: About,
    /// By their domain.
    accounts: Arc<BTreeMap<String, About>>,
    stream_features: StreamFeatures,
    inline_offers: InlineOffers,
}

/// What each extension is asked for, and whether it is to be asked.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) statements: Statements,
    pub(super) stream_features: Vec<Switched<StreamFeature>>,
    pub(super) at_login: Vec<Switched<Element>>,
    pub(super) at_binding: Vec<Switched<&'static str>>,
}

/// Whether an extension is wanted at this moment: looked at for every stanza.
#[derive(Debug, Clone)]
pub(super) struct Switch(Arc<AtomicBool>);

impl Switch {
    #[cfg(test)]
    pub(super) fn new(on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(on)))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something of an extension that may be wanted or not.
pub(super) struct Switched<T> {
    pub(super) switch: Switch,
    pub(super) it: T,
}

impl<T> Switched<T> {
    pub(super) fn new(switch: &Switch, it: T) -> Self {
        Self { switch: switch.clone(), it }
    }

    /// What it is, if it is wanted now.
    pub(super) fn get(&self) -> Option<&T> {
        self.switch.is_on().then_some(&self.it)
    }
}

/// Those that are wanted now.
pub(super) fn wanted<T>(all: &[Switched<T>]) -> impl Iterator<Item = &T> + Clone {
    all.iter().filter_map(Switched::get)
}

impl Catalogue {
    #[must_use]
    pub fn new(extensions: &'static [Extension], settings: Settings) -> Self {
        let switch = |extension: &Extension| Switch(Arc::new(AtomicBool::new((extension.wanted)(&settings))));
        let extensions = extensions.iter().map(|it| Switched { switch: switch(it), it }).collect();
        let accounts = settings.domains.iter().map(|domain| (domain.clone(), About::default())).collect();
        let accounts = Arc::new(accounts);
        Self {
            extensions,
            settings: Live::new(settings),
            sources: Arc::default(),
            domain: About::default(),
            rooms: About::default(),
            room: About::default(),
            accounts,
            stream_features: StreamFeatures::default(),
            inline_offers: InlineOffers::default(),
        }
    }

    /// What the operator has set, now and later.
    #[must_use]
    pub const fn settings(&self) -> &Live<Settings> {
        &self.settings
    }

    /// The operator has changed his mind.
    pub fn replace(&self, settings: Settings) {
        for Switched { switch: Switch(on), it } in &*self.extensions {
            on.store((it.wanted)(&settings), Ordering::Relaxed);
        }
        self.settings.replace(settings);
        self.publish();
    }

    /// What a domain says about itself, now and later: all of them say the same.
    #[must_use]
    pub const fn about_domains(&self) -> &About {
        &self.domain
    }

    /// What a service of rooms says about itself, now and later.
    #[must_use]
    pub const fn about_rooms(&self) -> &About {
        &self.rooms
    }

    /// What every room says about itself, now and later.
    #[must_use]
    pub const fn about_room(&self) -> &About {
        &self.room
    }

    /// What an account of `domain` says about itself, now and later.
    #[must_use]
    pub fn about_accounts(&self, domain: &str) -> Option<&About> {
        self.accounts.get(domain)
    }

    /// What the extensions offer on streams, now and later.
    #[must_use]
    pub const fn stream_features(&self) -> &StreamFeatures {
        &self.stream_features
    }

    /// What clients may ask for together with their login, now and later.
    #[must_use]
    pub const fn inline_offers(&self) -> &InlineOffers {
        &self.inline_offers
    }

    /// Everything is installed.
    pub(super) fn complete(&self, sources: Sources) {
        self.sources.get_or_init(|| sources);
        self.publish();
    }

    /// Has what extensions say be what the settings make of it.
    fn publish(&self) {
        let Some(sources) = self.sources.get() else { return };
        for (entity, about) in
            [(Entity::Domain, &self.domain), (Entity::Rooms, &self.rooms), (Entity::Room, &self.room)]
        {
            about.replace(sources.statements.about(entity, &features(entity, self.wanted())));
        }
        for (domain, about) in &*self.accounts {
            let own = self.settings.load().at(domain);
            let wanted = self.extensions.iter().map(|extension| extension.it).filter(|it| (it.wanted)(&own));
            about.replace(sources.statements.about(Entity::Account, &features(Entity::Account, wanted)));
        }
        // They may tell of it.
        self.stream_features.replace(wanted(&sources.stream_features));
        self.inline_offers.replace(wanted(&sources.at_login), wanted(&sources.at_binding).copied());
    }

    pub(super) fn all(&self) -> &[Switched<&'static Extension>] {
        &self.extensions
    }

    fn wanted(&self) -> impl Iterator<Item = &'static Extension> + use<'_> {
        wanted(&self.extensions).copied()
    }

    /// The commands that are declared by what is wanted.
    pub fn commands(&self) -> impl Iterator<Item = &'static Command> + use<'_> {
        self.wanted().flat_map(|extension| extension.commands)
    }
}

/// The features that `entity` has by these extensions, sorted.
fn features(entity: Entity, wanted: impl Iterator<Item = &'static Extension>) -> Vec<&'static str> {
    let declared = wanted.flat_map(|extension| extension.advertises);
    let mut features: Vec<_> = declared.filter(|(who, _)| *who == entity).map(|(_, feature)| *feature).collect();
    features.sort_unstable();
    features.dedup();
    features
}

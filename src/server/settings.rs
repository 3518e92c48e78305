//! What the configuration means to each part of the server, now and after it has changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::accounts::admins::Admins;
use crate::accounts::attempts;
use crate::config::{Archive, Config, DomainName, Period};
use crate::extensions;
use crate::federation;
use crate::federation::proof::Key;
use crate::hooks::{self, ArchiveSettings, Bound, Catalogue, PushSettings, RegistrationSettings, RoomSettings};
use crate::jid::BareJid;
use crate::listeners::admission::Bounds;
use crate::live::Live;
use crate::routing;
use crate::session;
use crate::stream::{Limits, Pace};

use super::node::SILENCE;

/// What one connection that has not authenticated may cost; the bound on their number follows.
pub(super) const STRANGER_BYTES: usize = 32 * 1024;

/// Accounts that stay loaded without a session.
const CACHED_ACCOUNTS: usize = 10_000;

/// The most messages of one page of an archive.
const ARCHIVE_PAGE: usize = 250;

/// What each part has of the configuration; all of them hold handles to the same.
pub(super) struct Settings {
    /// They never change.
    pub(super) domains: Arc<[String]>,
    pub(super) catalogue: Catalogue,
    pub(super) routing: Live<routing::Limits>,
    pub(super) sessions: Live<session::Settings>,
    pub(super) federation: Live<federation::Settings>,
    /// What becomes of archived messages, by the domain of their accounts or rooms.
    pub(super) keeping: Live<Vec<Keeping>>,
    /// It may have become something else.
    pub(super) keeping_changed: Notify,
    /// For how long nobody gets the name of an account that was removed.
    pub(super) name_reuse: Live<Duration>,
    /// Those of the configuration; whoever was added is noted here by the node.
    pub(super) admins: Arc<Admins>,
}

/// How long messages stay in the archives of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keeping {
    pub(super) domain: String,
    /// Their greatest age, if not any.
    pub(super) retention: Option<Duration>,
    /// How many an account or a room may have, if not any number.
    pub(super) most: Option<u64>,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        let domains: Arc<[String]> = config.domains.iter().map(|domain| domain.name.to_string()).collect();
        let admins = Arc::new(Admins::new(configured_admins(config), []));
        Self {
            catalogue: Catalogue::new(extensions::ALL, of_extensions(config, &domains, &admins)),
            routing: Live::new(of_routing(config)),
            sessions: Live::new(of_sessions(config)),
            federation: Live::new(of_federation(config, &domains)),
            keeping: Live::new(keeping(config)),
            keeping_changed: Notify::new(),
            name_reuse: Live::new(config.limits.name_reuse.duration()),
            admins,
            domains,
        }
    }

    /// Everybody works with `config` from now on.
    pub(super) fn replace(&self, config: &Config) {
        self.admins.configure(configured_admins(config));
        self.catalogue.replace(of_extensions(config, &self.domains, &self.admins));
        self.routing.replace(of_routing(config));
        self.sessions.replace(of_sessions(config));
        self.federation.replace(of_federation(config, &self.domains));
        self.keeping.replace(keeping(config));
        self.keeping_changed.notify_one();
        self.name_reuse.replace(config.limits.name_reuse.duration());
    }
}

/// How many connections there may be; `connections` is what the machine allows.
pub(super) fn bounds(config: &Config, connections: usize) -> Bounds {
    let per = |bytes: usize| (bytes / STRANGER_BYTES).max(1);
    Bounds {
        strangers: per(config.limits.unauthenticated_bytes.bytes()),
        per_network: per(config.limits.unauthenticated_bytes_per_address.bytes()),
        connections,
    }
}

/// The administrators that the configuration names.
fn configured_admins(config: &Config) -> impl Iterator<Item = BareJid> {
    config.admins.iter().map(|admin| admin.jid().clone())
}

fn of_extensions(config: &Config, domains: &Arc<[String]>, admins: &Arc<Admins>) -> hooks::Settings {
    let servers = of_federation(config, domains);
    hooks::Settings {
        domains: Arc::clone(domains),
        admins: Arc::clone(admins),
        contact: config.contact.clone(),
        archive: archive(config),
        offline_messages: config.limits.offline_messages,
        push: push(config),
        client_retention: config.limits.client_retention.duration(),
        registration: of_registration(config),
        rooms: of_rooms(config),
        clients: Bound { bytes: of_sessions(config).limits.element, silence: Some(SILENCE) },
        servers: Bound { bytes: servers.limits.element, silence: Some(servers.patience()) },
    }
}

fn push(config: &Config) -> Option<PushSettings> {
    let push = &config.push;
    push.enabled.then_some(PushSettings { sender: push.include_sender, body: push.include_body })
}

fn of_registration(config: &Config) -> RegistrationSettings {
    let registration = &config.registration;
    RegistrationSettings {
        open: registration.enabled,
        attempts: registration.attempts_per_address,
        reserved: registration.reserved_names.iter().map(|name| name.as_str().to_owned()).collect(),
        self_service: registration.self_service,
    }
}

fn of_rooms(config: &Config) -> Option<RoomSettings> {
    let rooms = &config.rooms;
    (!config.services.rooms.is_empty()).then(|| RoomSettings {
        create: rooms.create,
        admins_own: rooms.admins_own,
        rooms: rooms.rooms,
        occupants: rooms.occupants,
        persistent: rooms.persistent,
        public: rooms.public,
        non_anonymous: rooms.non_anonymous,
        archive: rooms.archive,
        history: rooms.history,
        retention: lasting(rooms.archive_retention),
        messages: rooms.messages_per_second,
        domain_entries: rooms.domain_entries_per_second,
        domain_messages: rooms.domain_messages_per_second,
        burst: usize::try_from(rooms.burst.duration().as_secs()).unwrap_or(usize::MAX),
    })
}

fn of_routing(config: &Config) -> routing::Limits {
    routing::Limits {
        ring_bytes: config.limits.ring_bytes.bytes(),
        sessions: config.limits.sessions_per_account,
        resume_timeout: config.limits.resume_timeout.duration(),
        contacts: config.limits.roster_items,
        requests: config.limits.server_requests_waiting,
        cached_accounts: CACHED_ACCOUNTS,
    }
}

fn of_sessions(config: &Config) -> session::Settings {
    session::Settings {
        limits: Limits { element: config.limits.client_stanza.bytes(), ..Limits::CLIENT },
        pace: Pace::new(
            config.limits.client_stanzas_per_second,
            config.limits.client_bytes_per_second.bytes(),
            config.limits.client_burst.duration(),
        ),
        without_tls: without_tls(config),
        deadline: config.limits.authentication_deadline.duration(),
        token_lifetime: config.limits.token_lifetime.duration(),
        client_retention: config.limits.client_retention.duration(),
        failures: attempts::Bounds {
            address: config.limits.failed_logins_per_address,
            account: config.limits.failed_logins_per_account,
        },
    }
}

/// The operator may have waived encryption, and is told each time.
fn without_tls(config: &Config) -> bool {
    if config.listen.c2s_without_tls {
        tracing::warn!(
            "listen.c2s_without_tls is set: CLIENTS MAY LOG IN WITHOUT ENCRYPTION. It is for tests on this machine only"
        );
    }
    config.listen.c2s_without_tls
}

fn of_federation(config: &Config, domains: &[String]) -> federation::Settings {
    let federation = &config.federation;
    federation::Settings {
        domains: domains.to_vec(),
        policy: federation::Policy::of(config),
        pins: federation.pins.iter().map(|pin| (pin.domain.as_str().to_owned(), Key(pin.key))).collect(),
        bidi: federation.bidi,
        connect_timeout: federation.connect_timeout.duration(),
        idle_timeout: federation.idle_timeout.duration(),
        expiry: federation.expiry.duration(),
        queue_bytes: federation.queue_bytes.bytes(),
        queue_bytes_total: federation.queue_bytes_total.bytes(),
        limits: Limits { element: config.limits.server_stanza.bytes(), ..Limits::SERVER },
        deadline: config.limits.authentication_deadline.duration(),
    }
}

/// If any domain has an archive.
fn archive(config: &Config) -> Option<ArchiveSettings> {
    let without = config.domains.iter().filter(|domain| !config.archive_of(domain).enabled);
    let except: BTreeSet<String> = without.map(|domain| domain.name.to_string()).collect();
    (except.len() < config.domains.len()).then_some(ArchiveSettings { page: ARCHIVE_PAGE, except })
}

fn keeping(config: &Config) -> Vec<Keeping> {
    let keeping = |domain: &DomainName, retention, most| Keeping {
        domain: domain.to_string(),
        retention: lasting(retention),
        most: u64::try_from(most).ok().filter(|most| *most > 0),
    };
    let accounts = config.domains.iter().map(|domain| {
        let Archive { retention, messages_per_account, .. } = config.archive_of(domain);
        keeping(&domain.name, retention, messages_per_account)
    });
    let (rooms, names) = (&config.rooms, config.services.rooms.iter());
    let rooms = names.map(|name| keeping(name, rooms.archive_retention, rooms.archive_messages_per_room));
    accounts.chain(rooms).collect()
}

/// How long something is kept; zero is for ever.
fn lasting(period: Period) -> Option<Duration> {
    Some(period.duration()).filter(|period| !period.is_zero())
}

#[cfg(test)]
mod tests;
